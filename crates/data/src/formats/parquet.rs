//! Parquet: a matrix as one column a class, labels as one column, sets of labels as a list column.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use lyceum_core::{Error, Result, atomic};
use ndarray::{Array2, ArrayView2, Axis, s};
use parquet::{
    basic::{Compression, ConvertedType, LogicalType, Type},
    column::reader::ColumnReader,
    data_type::{FloatType, Int32Type, Int64Type},
    file::{
        properties::WriterProperties,
        reader::{FileReader, SerializedFileReader},
        writer::SerializedFileWriter,
    },
    schema::parser::parse_message_type,
};

/// Rows per read where a whole file is read.
const BLOCK: usize = 1 << 16;

/// A matrix, one numeric column of a file a column, that is read some rows at a time.
pub struct Rows {
    path: PathBuf,
    reader: SerializedFileReader<File>,
    /// The columns of the file that are columns of the matrix.
    wanted: Vec<usize>,
    names: Vec<String>,
}

impl Rows {
    /// Every column but `except`, and the index of a pandas table, is a column of the matrix; each must hold numbers, one a row.
    pub fn open(path: &Path, except: &[&str]) -> Result<Self> {
        let reader = open(path)?;
        let names = columns(&reader);
        let wanted: Vec<usize> =
            (0..names.len()).filter(|&index| !except.contains(&names[index].as_str()) && !is_index(&names[index])).collect();
        wanted.iter().try_for_each(|&index| numeric(path, &reader, index, &names[index]).map(drop))?;
        Ok(Self { path: path.into(), reader, wanted, names })
    }

    /// The names of its columns.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.wanted.iter().map(|&index| self.names[index].as_str())
    }

    /// Rows and columns.
    pub fn dim(&self) -> (usize, usize) {
        (self.reader.metadata().file_metadata().num_rows() as usize, self.wanted.len())
    }

    /// The matrix in blocks of `size` rows, the last of what is left: `each` gets the number of a block's first row, and
    /// the block. No more than a block and a page of each column is held at a time.
    pub fn blocks(&self, size: usize, mut each: impl FnMut(usize, ArrayView2<'_, f64>) -> Result<()>) -> Result<()> {
        let (rows, width) = self.dim();
        let size = size.clamp(1, rows.max(1));
        let mut block = Array2::<f64>::zeros((size, width));
        let (mut first, mut filled) = (0, 0);
        for group in 0..self.reader.num_row_groups() {
            let failed = |error: parquet::errors::ParquetError| Error::damaged(&self.path, error.to_string());
            let group = self.reader.get_row_group(group).map_err(failed)?;
            let columns = self.wanted.iter().map(|&index| group.get_column_reader(index));
            let mut columns: Vec<ColumnReader> = columns.collect::<parquet::errors::Result<_>>().map_err(failed)?;
            let mut left = group.metadata().num_rows() as usize;
            while left > 0 {
                let count = left.min(size - filled);
                for (to, (column, &index)) in columns.iter_mut().zip(&self.wanted).enumerate() {
                    let optional = self.reader.metadata().file_metadata().schema_descr().column(index).max_def_level() > 0;
                    let kind = (optional, is_unsigned(&self.reader, index));
                    let values = read_some(&self.path, column, count, kind, &self.names[index])?;
                    let cells = block.slice_mut(s![filled..filled + count, to]);
                    cells.into_iter().zip(values).for_each(|(cell, value)| *cell = value);
                }
                left -= count;
                filled += count;
                if filled == size {
                    each(first, block.view())?;
                    (first, filled) = (first + size, 0);
                }
            }
        }
        if filled > 0 { each(first, block.slice(s![..filled, ..])) } else { Ok(()) }
    }

    /// The whole matrix. Memory grows with what is read, not with what the file says it holds.
    pub fn read(&self) -> Result<Array2<f64>> {
        let mut all = Array2::zeros((0, self.dim().1));
        self.blocks(BLOCK, |_, block| all.append(Axis(0), block).map_err(|error| Error::damaged(&self.path, error.to_string())))?;
        Ok(all)
    }
}

/// Reads one whole-numbered column of class numbers.
pub fn labels(path: &Path, column: &str) -> Result<Vec<usize>> {
    let whole = |(row, value): (usize, f64)| {
        // Beyond 2⁵³ a float does not hold every whole number.
        if value >= 0.0 && value == value.trunc() && value < 9_007_199_254_740_992.0 {
            Ok(value as usize)
        } else {
            Err(Error::damaged(path, format!("row {row}: label {value}; allowed: whole numbers from 0")))
        }
    };
    numbers(path, column)?.into_iter().enumerate().map(whole).collect()
}

/// Writes a matrix with one float column a class, named `0`, `1`, …; and labels, if any, as the column `label`.
pub fn write_matrix(path: &Path, values: &Array2<f32>, labels: Option<&[usize]>) -> Result<()> {
    let mut schema: String = (0..values.ncols()).map(|column| format!("required float c{column};")).collect();
    if labels.is_some() {
        schema.push_str("required int64 label;");
    }
    write(path, &schema, |group| {
        for column in values.columns() {
            let mut writer = group.next_column()?.ok_or_else(too_few)?;
            writer.typed::<FloatType>().write_batch(&column.to_vec(), None, None)?;
            writer.close()?;
        }
        if let Some(labels) = labels {
            let labels: Vec<i64> = labels.iter().map(|&label| label as i64).collect();
            let mut writer = group.next_column()?.ok_or_else(too_few)?;
            writer.typed::<Int64Type>().write_batch(&labels, None, None)?;
            writer.close()?;
        }
        Ok(())
    })
}

/// Writes sets of labels (compressed sparse rows) as one list column `labels`.
pub fn write_sets(path: &Path, starts: &[usize], labels: &[u32]) -> Result<()> {
    let schema = "required group labels (LIST) { repeated group list { required int32 element; } }";
    let values: Vec<i32> = labels.iter().map(|&label| label as i32).collect();
    let (definition, repetition) = list_levels(starts.windows(2).map(|row| row[1] - row[0]));
    write(path, schema, |group| {
        let mut writer = group.next_column()?.ok_or_else(too_few)?;
        writer.typed::<Int32Type>().write_batch(&values, Some(&definition), Some(&repetition))?;
        writer.close()
    })
}

type Group<'a> = parquet::file::writer::SerializedRowGroupWriter<'a, Vec<u8>>;

fn too_few() -> parquet::errors::ParquetError {
    parquet::errors::ParquetError::General("the schema has too few columns".into())
}

fn write(path: &Path, fields: &str, fill: impl FnOnce(&mut Group<'_>) -> parquet::errors::Result<()>) -> Result<()> {
    write_group(path, || parse_message_type(&format!("message schema {{ {fields} }}")).map(Arc::new), fill)
}

fn write_group(
    path: &Path,
    schema: impl FnOnce() -> parquet::errors::Result<Arc<parquet::schema::types::Type>>,
    fill: impl FnOnce(&mut Group<'_>) -> parquet::errors::Result<()>,
) -> Result<()> {
    let build = || -> parquet::errors::Result<Vec<u8>> {
        let schema = schema()?;
        let properties = Arc::new(WriterProperties::builder().set_compression(Compression::SNAPPY).build());
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties)?;
        let mut group = writer.next_row_group()?;
        fill(&mut group)?;
        group.close()?;
        writer.into_inner()
    };
    atomic::write(path, &build().map_err(|error| Error::Failed(format!("{}: {error}", path.display())))?)
}

fn open(path: &Path) -> Result<SerializedFileReader<File>> {
    let file = File::open(path).map_err(Error::missing_or_io("open", path, "Give the path of a Parquet file."))?;
    let reader = SerializedFileReader::new(file).map_err(|error| Error::damaged(path, error.to_string()))?;
    let (metadata, said) = (reader.metadata(), reader.metadata().file_metadata().num_rows());
    let held = metadata.row_groups().iter().map(|group| group.num_rows());
    match held.clone().try_fold(0_i64, i64::checked_add) {
        Some(sum) if sum == said && held.clone().all(|rows| rows >= 0) => Ok(reader),
        _ => Err(Error::damaged(path, format!("says that it has {said} rows, and its groups {:?}", held.collect::<Vec<_>>()))),
    }
}

fn columns(reader: &SerializedFileReader<File>) -> Vec<String> {
    reader.metadata().file_metadata().schema_descr().columns().iter().map(|column| column.path().string()).collect()
}

/// Whether values of a column may be missing; errors where it does not hold numbers.
fn numeric(path: &Path, reader: &SerializedFileReader<File>, index: usize, name: &str) -> Result<bool> {
    let descriptor = reader.metadata().file_metadata().schema_descr().column(index);
    let kind = descriptor.physical_type();
    let meaning = match (descriptor.logical_type_ref(), descriptor.converted_type()) {
        (None, ConvertedType::NONE) => None,
        (Some(LogicalType::Integer(_)), _) => None,
        (None, converted) if signedness(converted).is_some() => None,
        (Some(logical), _) => Some(format!("{logical:?}")),
        (None, converted) => Some(converted.to_string()),
    };
    let numbers = matches!(kind, Type::FLOAT | Type::DOUBLE | Type::INT32 | Type::INT64);
    if !numbers || meaning.is_some() || descriptor.max_rep_level() > 0 {
        let found = meaning.map_or_else(|| kind.to_string(), |meaning| format!("{kind} that stands for {meaning}"));
        return Err(Error::damaged(path, format!("column `{name}` holds {found}; allowed: floats and integers, one value per row")));
    }
    Ok(descriptor.max_def_level() > 0)
}

/// Whether integers of this type are unsigned; `None` if it is not a type of integers.
fn signedness(converted: ConvertedType) -> Option<bool> {
    match converted {
        ConvertedType::INT_8 | ConvertedType::INT_16 | ConvertedType::INT_32 | ConvertedType::INT_64 => Some(false),
        ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64 => Some(true),
        _ => None,
    }
}

/// Whether a column's integers are to be read as unsigned.
fn is_unsigned(reader: &SerializedFileReader<File>, index: usize) -> bool {
    let descriptor = reader.metadata().file_metadata().schema_descr().column(index);
    match descriptor.logical_type_ref() {
        Some(LogicalType::Integer(kind)) => !kind.is_signed,
        _ => signedness(descriptor.converted_type()).unwrap_or(false),
    }
}

/// The next `count` values of a column.
fn read_some(path: &Path, column: &mut ColumnReader, count: usize, (optional, unsigned): (bool, bool), name: &str) -> Result<Vec<f64>> {
    let mut levels = Vec::new();
    macro_rules! typed {
        ($reader:expr, $convert:expr) => {{
            let mut values = Vec::with_capacity(count);
            let read = $reader.read_records(count, optional.then_some(&mut levels), None, &mut values);
            read.map(|_| values.into_iter().map($convert).collect())
        }};
    }
    let values: parquet::errors::Result<Vec<f64>> = match column {
        ColumnReader::FloatColumnReader(column) => typed!(column, f64::from),
        ColumnReader::DoubleColumnReader(column) => typed!(column, |v| v),
        ColumnReader::Int32ColumnReader(column) => typed!(column, |v| if unsigned { f64::from(v as u32) } else { f64::from(v) }),
        ColumnReader::Int64ColumnReader(column) => typed!(column, |v| if unsigned { v as u64 as f64 } else { v as f64 }),
        _ => unreachable!("`numeric` has looked"),
    };
    let values = values.map_err(|error| Error::damaged(path, error.to_string()))?;
    if values.len() != count {
        return Err(Error::damaged(path, format!("column `{name}`: {} of {count} values are missing", count - values.len())));
    }
    Ok(values)
}

/// A column to write.
pub enum Column {
    /// A text a row.
    Texts(Vec<String>),
    /// A number a row.
    Numbers(Vec<f64>),
    /// A list of texts a row.
    Lists(Vec<Vec<String>>),
}

/// Writes a table: columns with their names, each with as many rows.
pub fn write_table(path: &Path, columns: &[(String, Column)]) -> Result<()> {
    use parquet::{
        basic::Repetition,
        data_type::{ByteArray, ByteArrayType, DoubleType},
        schema::types::Type as Field,
    };
    let text = |name: &str| {
        let builder = Field::primitive_type_builder(name, Type::BYTE_ARRAY).with_repetition(Repetition::REQUIRED);
        builder.with_logical_type(Some(LogicalType::String)).with_converted_type(ConvertedType::UTF8).build()
    };
    let bytes = |texts: &[String]| texts.iter().map(|text| ByteArray::from(text.as_str())).collect::<Vec<_>>();
    let field = |(name, column): &(String, Column)| -> parquet::errors::Result<Arc<Field>> {
        Ok(Arc::new(match column {
            Column::Texts(_) => text(name)?,
            Column::Numbers(_) => Field::primitive_type_builder(name, Type::DOUBLE).with_repetition(Repetition::REQUIRED).build()?,
            Column::Lists(_) => {
                let element = Arc::new(text("element")?);
                let list = Field::group_type_builder("list").with_repetition(Repetition::REPEATED).with_fields(vec![element]).build()?;
                Field::group_type_builder(name)
                    .with_repetition(Repetition::REQUIRED)
                    .with_logical_type(Some(LogicalType::List))
                    .with_converted_type(ConvertedType::LIST)
                    .with_fields(vec![Arc::new(list)])
                    .build()?
            }
        }))
    };
    let schema = || -> parquet::errors::Result<Arc<Field>> {
        let fields = columns.iter().map(field).collect::<parquet::errors::Result<_>>()?;
        Ok(Arc::new(Field::group_type_builder("schema").with_fields(fields).build()?))
    };
    write_group(path, schema, |group| {
        for (_, column) in columns {
            let mut writer = group.next_column()?.ok_or_else(too_few)?;
            match column {
                Column::Texts(texts) => writer.typed::<ByteArrayType>().write_batch(&bytes(texts), None, None)?,
                Column::Numbers(numbers) => writer.typed::<DoubleType>().write_batch(numbers, None, None)?,
                Column::Lists(lists) => {
                    let (definition, repetition) = list_levels(lists.iter().map(Vec::len));
                    writer.typed::<ByteArrayType>().write_batch(&bytes(&lists.concat()), Some(&definition), Some(&repetition))?
                }
            };
            writer.close()?;
        }
        Ok(())
    })
}

/// Definition and repetition levels of lists of these lengths: an empty list is one entry that is not defined; a list of n is n entries of
/// which the first starts the row.
fn list_levels(lengths: impl Iterator<Item = usize>) -> (Vec<i16>, Vec<i16>) {
    let (mut definition, mut repetition) = (Vec::new(), Vec::new());
    for length in lengths {
        definition.extend(std::iter::repeat_n(i16::from(length > 0), length.max(1)));
        repetition.extend((0..length.max(1)).map(|at| i16::from(at > 0)));
    }
    (definition, repetition)
}

/// Whether a column is the index of a pandas table, and no data.
fn is_index(name: &str) -> bool {
    name.starts_with("__index_level_") && name.ends_with("__")
}

/// Whether a file has this column.
pub fn has_column(path: &Path, column: &str) -> Result<bool> {
    Ok(columns(&open(path)?).iter().any(|name| name == column))
}

/// One column of texts; none where the file has no such column, or it holds something else.
pub fn texts(path: &Path, column: &str) -> Result<Option<Vec<String>>> {
    let reader = open(path)?;
    let Some(index) = columns(&reader).iter().position(|name| name == column) else { return Ok(None) };
    let descriptor = reader.metadata().file_metadata().schema_descr().column(index);
    if descriptor.physical_type() != Type::BYTE_ARRAY || descriptor.max_rep_level() > 0 {
        return Ok(None);
    }
    let damaged = |what: String| Error::damaged(path, format!("column `{column}`: {what}"));
    let mut found = Vec::new();
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(|error| damaged(error.to_string()))?;
        let rows = group.metadata().num_rows() as usize;
        let ColumnReader::ByteArrayColumnReader(mut values) = group.get_column_reader(index).map_err(|error| damaged(error.to_string()))?
        else {
            return Ok(None);
        };
        let (mut bytes, mut levels) = (Vec::new(), Vec::new());
        let optional = descriptor.max_def_level() > 0;
        while bytes.len() < rows {
            let before = bytes.len();
            let read = values.read_records(rows - before, optional.then_some(&mut levels), None, &mut bytes);
            read.map_err(|error| damaged(error.to_string()))?;
            if bytes.len() == before {
                return Err(damaged(format!("{} of {rows} values are missing", rows - before)));
            }
        }
        for value in bytes {
            let text = std::str::from_utf8(value.data()).map_err(|_| damaged("a text that is not UTF-8".into()))?;
            found.push(text.to_owned());
        }
    }
    Ok(Some(found))
}

/// One column of numbers.
pub fn numbers(path: &Path, column: &str) -> Result<Vec<f64>> {
    let reader = open(path)?;
    let names = columns(&reader);
    let index = names
        .iter()
        .position(|name| name == column)
        .ok_or_else(|| Error::damaged(path, format!("has no column `{column}`; it has: {}", names.join(", "))))?;
    let optional = numeric(path, &reader, index, column)?;
    let mut all = Vec::new();
    for group in 0..reader.num_row_groups() {
        let failed = |error: parquet::errors::ParquetError| Error::damaged(path, error.to_string());
        let group = reader.get_row_group(group).map_err(failed)?;
        let mut values = group.get_column_reader(index).map_err(failed)?;
        let mut left = group.metadata().num_rows() as usize;
        while left > 0 {
            let count = left.min(BLOCK);
            all.extend(read_some(path, &mut values, count, (optional, is_unsigned(&reader, index)), column)?);
            left -= count;
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn a_matrix_and_its_labels_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.parquet");
        let values = array![[1.0_f32, 2.0], [3.0, 4.0], [5.0, 6.0]];
        write_matrix(&path, &values, Some(&[2, 0, 1])).unwrap();
        let rows = Rows::open(&path, &["label"]).unwrap();
        let values = values.mapv(f64::from);
        assert_eq!(rows.read().unwrap(), values);
        for size in 1..5 {
            let mut parts = Vec::new();
            rows.blocks(size, |first, block| {
                assert_eq!(block, values.slice(s![first..first + block.nrows(), ..]));
                parts.push(block.nrows());
                Ok(())
            })
            .unwrap();
            assert_eq!(parts.iter().sum::<usize>(), 3);
            assert!(parts.iter().all(|&rows| rows <= size));
        }
        assert_eq!(labels(&path, "label").unwrap(), [2, 0, 1]);
        assert!(labels(&path, "lable").unwrap_err().to_string().contains("c0, c1, label"));
    }

    /// A footer whose numbers of rows are changed: an error, and no memory for rows that are not there.
    #[test]
    fn rows_that_a_file_only_claims_are_missed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.parquet");
        let values = Array2::from_elem((300, 2), 1.5_f32);
        write_matrix(&path, &values, None).unwrap();
        let whole = std::fs::read(&path).unwrap();
        // 300 as thrift writes it: zigzag, seven bits a byte.
        let [said, huge]: [&[u8]; 2] = [&[0xd8, 0x04], &[0xfe, 0x7f]];
        let places: Vec<usize> = (0..whole.len() - 1).filter(|&at| whole[at..].starts_with(said)).collect();
        // The last four: of the file, of each column, of the group.
        let (of_file, of_group) = (places[places.len() - 4], places[places.len() - 1]);
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            (Rows::open(&path, &[]).and_then(|rows| rows.read()).map(|_| ()), numbers(&path, "c0").map(|_| ()))
        };
        assert!(matches!(read(&whole), (Ok(()), Ok(()))));
        let change = |places: &[usize]| {
            let mut bytes = whole.clone();
            places.iter().for_each(|&at| bytes[at..at + 2].copy_from_slice(huge));
            bytes
        };
        for places in [&[of_file][..], &[of_group], &[of_file, of_group]] {
            assert!(matches!(read(&change(places)), (Err(_), Err(_))), "{places:?}");
        }
    }

    #[test]
    fn columns_are_read_by_their_logical_type_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.parquet");
        let column = |field: &str, values: &[i32]| {
            write(&path, field, |group| {
                let mut writer = group.next_column()?.ok_or_else(too_few)?;
                writer.typed::<Int32Type>().write_batch(values, None, None)?;
                writer.close()
            })
            .unwrap();
            numbers(&path, "a")
        };
        assert_eq!(column("required int32 a (INTEGER(32, false));", &[-1, 5]).unwrap(), [4_294_967_295.0, 5.0]);
        assert_eq!(column("required int32 a (UINT_8);", &[200]).unwrap(), [200.0]);
        assert_eq!(column("required int32 a (INTEGER(16, true));", &[-3]).unwrap(), [-3.0]);
        assert_eq!(column("required int32 a;", &[-1]).unwrap(), [-1.0]);
        for field in ["required int32 a (DATE);", "required int32 a (DECIMAL(9, 2));", "required int32 a (TIME(MILLIS, true));"] {
            let error = column(field, &[1]).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains("stands for"), "{error}");
            assert!(Rows::open(&path, &[]).is_err());
        }
    }

    #[test]
    fn damaged_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.parquet");
        write_sets(&path, &[0, 2, 2, 3], &[5, 1, 7]).unwrap();
        let matrix = || Rows::open(&path, &[]).and_then(|rows| rows.read());
        assert!(matrix().unwrap_err().to_string().contains("one value per row"));
        let whole = std::fs::read(&path).unwrap();
        for cut in [0, 4, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(matrix().unwrap_err().exit_code(), 2);
        }
    }
}
