//! Tables as Parquet files.

use std::{path::Path, sync::Arc};

use lyceum_core::{Error, Result, atomic};
use parquet::{
    basic::{Compression, ZstdLevel},
    column::writer::ColumnWriter,
    data_type::ByteArray,
    errors::ParquetError,
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};

use super::{Column, Table};

impl Table {
    /// Writes the table, whole or not at all.
    pub fn write_parquet(&self, path: &Path) -> Result<()> {
        let bytes = self.bytes().map_err(|error| Error::Failed(format!("{}: {error}", path.display())))?;
        atomic::write(path, &bytes)
    }

    fn bytes(&self) -> Result<Vec<u8>, ParquetError> {
        let fields: Vec<String> = self
            .columns
            .iter()
            .map(|(name, column)| match column {
                Column::Whole(_) => format!("REQUIRED INT64 {name} (INTEGER(64, false));"),
                Column::Number(_) => format!("OPTIONAL DOUBLE {name};"),
                Column::Word(_) => format!("REQUIRED BYTE_ARRAY {name} (STRING);"),
            })
            .collect();
        let schema = Arc::new(parse_message_type(&format!("message {} {{ {} }}", self.name, fields.join(" ")))?);
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
        let mut bytes = Vec::new();
        let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties))?;
        let mut group = writer.next_row_group()?;
        for (_, column) in &self.columns {
            let Some(mut out) = group.next_column()? else { break };
            match (out.untyped(), column) {
                (ColumnWriter::Int64ColumnWriter(out), Column::Whole(values)) => {
                    let values: Vec<i64> = values.iter().map(|value| *value as i64).collect();
                    out.write_batch(&values, None, None)?;
                }
                (ColumnWriter::DoubleColumnWriter(out), Column::Number(values)) => {
                    let levels: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
                    let values: Vec<f64> = values.iter().flatten().copied().collect();
                    out.write_batch(&values, Some(&levels), None)?;
                }
                (ColumnWriter::ByteArrayColumnWriter(out), Column::Word(values)) => {
                    let values: Vec<ByteArray> = values.iter().map(|value| ByteArray::from(*value)).collect();
                    out.write_batch(&values, None, None)?;
                }
                _ => return Err(ParquetError::General("a column of another type than its schema".into())),
            }
            out.close()?;
        }
        group.close()?;
        writer.close()?;
        Ok(bytes)
    }
}
