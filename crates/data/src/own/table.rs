//! Tables: an example a row, with a column of labels.

use std::path::Path;

use lyceum_core::{Error, Result};
use ndarray::Array2;

use super::{Named, NamedPart, Reading};
use crate::{Extent, Inputs, formats::table};

/// A .csv file with a header.
pub(super) fn read(path: &Path, reading: &Reading) -> Result<Named> {
    let label = reading.label.as_deref().unwrap_or("label");
    let wanted: Vec<&str> = std::iter::once(label).chain(reading.group.as_deref()).collect();
    let table = table::read(path, &wanted)?;
    let mut texts = table.texts.into_iter().zip(&wanted).zip([reading.label_key(), "data.group"]).map(|((texts, column), key)| {
        let text = || format!("has the columns {}; allowed: one called `{column}` ({key})", table.columns.join(", "));
        texts.ok_or_else(|| Error::damaged(path, text()))
    });
    let labels = texts.next().transpose()?.unwrap_or_default();
    let groups = texts.next().transpose()?.unwrap_or_default();
    Ok(named(table.numbers, table.columns, labels, groups))
}

/// A .parquet file, whose labels and groups are texts or whole numbers, targets any numbers.
#[cfg(feature = "parquet")]
pub(super) fn columns(path: &Path, reading: &Reading) -> Result<Named> {
    use crate::formats::parquet;
    let whole = |column: &str| -> Result<Vec<String>> {
        match parquet::texts(path, column)? {
            Some(texts) => Ok(texts),
            None => Ok(parquet::labels(path, column)?.iter().map(ToString::to_string).collect()),
        }
    };
    let label = reading.label.as_deref().unwrap_or("label");
    let labels = match parquet::texts(path, label) {
        Ok(None) if reading.numbers => parquet::numbers(path, label)?.iter().map(ToString::to_string).collect(),
        _ => whole(label)?,
    };
    let groups = reading.group.as_deref().map(whole).transpose()?.unwrap_or_default();
    let except: Vec<&str> = std::iter::once(label).chain(reading.group.as_deref()).collect();
    let rows = parquet::Rows::open(path, &except)?;
    let values = rows.read()?.mapv(|value| value as f32);
    Ok(named(values, rows.columns().map(str::to_owned).collect(), labels, groups))
}

fn named(values: Array2<f32>, columns: Vec<String>, labels: Vec<String>, groups: Vec<String>) -> Named {
    let extent = Extent { channels: 1, height: 1, width: values.ncols() };
    Named { extent, parts: vec![NamedPart { inputs: Inputs::from(values), labels, groups, names: Vec::new() }], columns }
}
