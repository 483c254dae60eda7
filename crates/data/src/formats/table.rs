//! Tables with a header: .csv files.

use std::path::Path;

use lyceum_core::{Error, Result};
use ndarray::Array2;

/// A table, its columns of numbers as a matrix and others as texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The names of the columns of numbers.
    pub columns: Vec<String>,
    /// Their numbers, a row for each of the table.
    pub numbers: Array2<f32>,
    /// The columns that were asked for as texts; none where the table has no such column.
    pub texts: Vec<Option<Vec<String>>>,
}

/// Reads a table. The columns called `texts` are texts, all others numbers.
///
/// # Errors
///
/// A file that is no table, with the line; two columns of one name; and what is no number, with line and column.
pub fn read(path: &Path, texts: &[&str]) -> Result<Table> {
    let file = std::fs::File::open(path).map_err(Error::io("open", path))?;
    let failed = |error: csv::Error| Error::damaged(path, error.to_string());
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(file);
    let names: Vec<String> = reader.headers().map_err(failed)?.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
    if let Some(twice) = names.iter().enumerate().find(|(place, name)| names[..*place].contains(name)) {
        return Err(Error::damaged(path, format!("has two columns called `{}`; allowed: each name once", twice.1)));
    }
    let text_of: Vec<Option<usize>> = names.iter().map(|name| texts.iter().position(|text| text == name)).collect();
    let mut found: Vec<Option<Vec<String>>> = texts.iter().map(|text| names.iter().any(|name| name == text).then(Vec::new)).collect();
    let (mut values, mut rows) = (Vec::new(), 0);
    for record in reader.records() {
        let record = record.map_err(failed)?;
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != names.len() {
            return Err(Error::damaged(path, format!("line {line}: found {} fields; allowed: {}", record.len(), names.len())));
        }
        for (column, field) in record.iter().enumerate() {
            if let Some(place) = text_of[column] {
                found[place].iter_mut().for_each(|texts| texts.push(field.to_owned()));
                continue;
            }
            let wrong =
                |_| Error::damaged(path, format!("line {line}, column `{}`: found `{field:.40}`; allowed: a number", names[column]));
            values.push(field.parse::<f32>().map_err(wrong)?);
        }
        rows += 1;
    }
    let columns: Vec<String> = names.into_iter().zip(&text_of).filter(|(_, text)| text.is_none()).map(|(name, _)| name).collect();
    let numbers = Array2::from_shape_vec((rows, columns.len()), values).map_err(|error| Error::damaged(path, error.to_string()))?;
    Ok(Table { columns, numbers, texts: found })
}

/// One column as texts; none where the table has no such column.
///
/// # Errors
///
/// A file that is no table, with the line.
pub fn column(path: &Path, name: &str) -> Result<Option<Vec<String>>> {
    let file = std::fs::File::open(path).map_err(Error::io("open", path))?;
    let failed = |error: csv::Error| Error::damaged(path, error.to_string());
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
    let place = reader.headers().map_err(failed)?.iter().position(|found| found.trim_start_matches('\u{feff}') == name);
    let Some(place) = place else { return Ok(None) };
    let text = |record: csv::Result<csv::StringRecord>| Ok(record.map_err(failed)?.get(place).unwrap_or_default().to_owned());
    reader.records().map(text).collect::<Result<_>>().map(Some)
}

/// A field of such a file.
pub fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        let with = |text: &str, texts: &[&str]| {
            std::fs::write(&path, text).unwrap();
            read(&path, texts)
        };
        let table = with("\u{feff}a,name,b\n1,\"x, y\",-2.5\n3,z,1e3\n", &["name", "none"]).unwrap();
        assert_eq!(table.columns, ["a", "b"]);
        assert_eq!(table.numbers, ndarray::array![[1.0, -2.5], [3.0, 1000.0]]);
        assert_eq!(table.texts, [Some(vec!["x, y".to_owned(), "z".to_owned()]), None]);
        assert_eq!(column(&path, "a").unwrap(), Some(vec!["1".to_owned(), "3".to_owned()]));
        assert_eq!(column(&path, "c").unwrap(), None);
        for (text, told) in
            [("a,b\n1,x\n", "line 2, column `b`: found `x`"), ("a,a\n1,2\n", "two columns called `a`"), ("a,b\n1\n", "line 2: found 1")]
        {
            assert!(with(text, &[]).unwrap_err().to_string().contains(told));
        }
        assert_eq!(field("a \"b\", c"), "\"a \"\"b\"\", c\"");
    }
}
