//! A column of strings of a Parquet file, some rows at a time.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use lyceum_core::{Error, Result};
use parquet::{
    basic::Type,
    column::reader::{ColumnReader, ColumnReaderImpl},
    data_type::{ByteArray, ByteArrayType},
    errors::ParquetError,
    file::reader::{FileReader, SerializedFileReader},
};

/// The rows of a column from some row on.
pub(super) struct Rows {
    path: PathBuf,
    file: SerializedFileReader<File>,
    column: usize,
    optional: bool,
    group: usize,
    open: Option<ColumnReaderImpl<ByteArrayType>>,
    /// Rows to pass over.
    skip: u64,
}

/// Rows that are read at a time.
const BATCH: usize = 1_024;

impl Rows {
    pub(super) fn open(path: &Path, column: &str, skip: u64) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let file = SerializedFileReader::new(file).map_err(|error| Error::damaged(path, error.to_string()))?;
        let schema = file.metadata().file_metadata().schema_descr_ptr();
        let names: Vec<String> = schema.columns().iter().map(|column| column.path().string()).collect();
        let Some(number) = names.iter().position(|name| name == column) else {
            return Err(Error::damaged(path, format!("no column `{column}`; there are: {}", names.join(", "))));
        };
        let about = schema.column(number);
        if about.physical_type() != Type::BYTE_ARRAY || about.max_rep_level() > 0 {
            return Err(Error::damaged(path, format!("column `{column}` holds {}; allowed: strings", about.physical_type())));
        }
        let mut rows = Self { path: path.into(), file, column: number, optional: about.max_def_level() > 0, group: 0, open: None, skip };
        // Whole groups are passed over without reading them.
        while rows.group < rows.file.num_row_groups() {
            let count = rows.file.metadata().row_group(rows.group).num_rows() as u64;
            if rows.skip < count {
                break;
            }
            rows.skip -= count;
            rows.group += 1;
        }
        Ok(rows)
    }

    /// Documents of about so many bytes; none at the end. A row without a value is an empty one.
    pub(super) fn next_documents(&mut self, bytes: usize) -> Result<Vec<Vec<u8>>> {
        let path = self.path.clone();
        let failed = move |error: ParquetError| Error::damaged(&path, error.to_string());
        let (mut documents, mut total) = (Vec::new(), 0);
        while total < bytes {
            let Some(column) = &mut self.open else {
                if self.group == self.file.num_row_groups() {
                    break;
                }
                let group = self.file.get_row_group(self.group).map_err(&failed)?;
                let reader = group.get_column_reader(self.column).map_err(&failed)?;
                let ColumnReader::ByteArrayColumnReader(reader) = reader else {
                    return Err(Error::damaged(&self.path, "the column does not hold strings"));
                };
                self.open = Some(reader);
                self.group += 1;
                continue;
            };
            let wanted = if self.skip > 0 { BATCH.min(self.skip as usize) } else { BATCH };
            let (mut values, mut levels): (Vec<ByteArray>, Vec<i16>) = (Vec::new(), Vec::new());
            let (rows, _, _) = column.read_records(wanted, self.optional.then_some(&mut levels), None, &mut values).map_err(&failed)?;
            if rows == 0 {
                self.open = None;
                continue;
            }
            if self.skip > 0 {
                self.skip -= rows as u64;
                continue;
            }
            let mut values = values.into_iter();
            for row in 0..rows {
                // Without levels every row has a value.
                let value = if levels.get(row).is_none_or(|level| *level > 0) { values.next() } else { None };
                let document = value.map(|value| value.data().to_vec()).unwrap_or_default();
                total += document.len();
                documents.push(document);
            }
        }
        Ok(documents)
    }
}
