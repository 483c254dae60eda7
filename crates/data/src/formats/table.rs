//! Tables with a header: .csv files.

use std::{
    io::{BufRead as _, BufReader, Read},
    path::Path,
};

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

/// A row of a table that is read as it comes.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The line it begins on, from 1.
    pub line: u64,
    /// What is no text.
    pub numbers: Vec<f32>,
    /// The columns that were asked for as texts; none where there is no such column.
    pub texts: Vec<Option<String>>,
}

impl Row {
    fn in_order(mut self, order: &[usize]) -> Self {
        if !order.is_empty() {
            self.numbers = order.iter().map(|&place| self.numbers[place]).collect();
        }
        self
    }
}

/// Where the columns that are wanted are among those that are there; nothing if they are in order already, or none are wanted by name.
///
/// # Errors
///
/// Columns that are missing, and others.
pub fn places(path: &Path, found: &[&str], wanted: &[String]) -> Result<Vec<usize>> {
    if wanted.is_empty() || found.iter().eq(wanted) {
        return Ok(Vec::new());
    }
    if let Some(missing) = wanted.iter().find(|name| !found.contains(&name.as_str())) {
        return Err(Error::damaged(
            path,
            format!("has the columns {}; allowed: one called `{missing}`, as the model was trained with", found.join(", ")),
        ));
    }
    if let Some(other) = found.iter().find(|name| !wanted.iter().any(|wanted| wanted == *name)) {
        return Err(Error::damaged(
            path,
            format!("has a column `{other}`; allowed: those that the model was trained with: {}", wanted.join(", ")),
        ));
    }
    Ok(wanted.iter().filter_map(|name| found.iter().position(|found| found == name)).collect())
}

/// The columns of a table.
struct Header {
    names: Vec<String>,
    /// Of each column, which of the texts it is.
    texts: Vec<Option<usize>>,
    /// How many texts there may be.
    count: usize,
}

impl Header {
    fn new(path: &Path, record: &csv::StringRecord, texts: &[&str]) -> Result<Self> {
        let names: Vec<String> = record.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
        if let Some(twice) = names.iter().enumerate().find(|(place, name)| names[..*place].contains(name)) {
            return Err(Error::damaged(path, format!("has two columns called `{}`; allowed: each name once", twice.1)));
        }
        let texts_of = names.iter().map(|name| texts.iter().position(|text| text == name)).collect();
        Ok(Self { names, texts: texts_of, count: texts.len() })
    }

    /// The names of the columns of numbers.
    fn numbers(&self) -> impl Iterator<Item = &str> {
        self.names.iter().zip(&self.texts).filter(|(_, text)| text.is_none()).map(|(name, _)| name.as_str())
    }

    fn row(&self, path: &Path, record: &csv::StringRecord) -> Result<Row> {
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != self.texts.len() {
            return Err(Error::damaged(path, format!("line {line}: found {} fields; allowed: {}", record.len(), self.texts.len())));
        }
        let mut row = Row { line, numbers: Vec::with_capacity(record.len()), texts: vec![None; self.count] };
        for (column, field) in record.iter().enumerate() {
            if let Some(place) = self.texts[column] {
                row.texts[place] = Some(field.to_owned());
                continue;
            }
            let called = self.names.get(column).map_or_else(|| format!("field {}", column + 1), |name| format!("column `{name}`"));
            let wrong = |_| Error::damaged(path, format!("line {line}, {called}: found `{field:.40}`; allowed: a number"));
            row.numbers.push(field.trim_start_matches('\u{feff}').parse::<f32>().map_err(wrong)?);
        }
        Ok(row)
    }
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
    let header = Header::new(path, reader.headers().map_err(failed)?, texts)?;
    let mut found: Vec<Option<Vec<String>>> = (0..texts.len()).map(|text| header.texts.contains(&Some(text)).then(Vec::new)).collect();
    let (mut values, mut rows) = (Vec::new(), 0);
    for record in reader.records() {
        let row = header.row(path, &record.map_err(failed)?)?;
        values.extend(row.numbers);
        found.iter_mut().zip(row.texts).for_each(|(column, text)| column.iter_mut().for_each(|column| column.extend(text.clone())));
        rows += 1;
    }
    let columns: Vec<String> = header.numbers().map(str::to_owned).collect();
    let numbers = Array2::from_shape_vec((rows, columns.len()), values).map_err(|error| Error::damaged(path, error.to_string()))?;
    Ok(Table { columns, numbers, texts: found })
}

/// Reads rows as they come, with a header or without; between fields are commas, semicolons or tabs, whichever the first line has most of.
/// `columns` are the names of the numbers in the order that is wanted, if that matters: those of a header must be the same, in any order.
///
/// # Errors
///
/// As [`read`], and what `each` says.
pub fn stream(path: &Path, reader: impl Read, texts: &[&str], columns: &[String], mut each: impl FnMut(Row) -> Result<()>) -> Result<()> {
    let mut reader = BufReader::new(reader);
    let begin = reader.fill_buf().map_err(Error::io("read", path))?;
    let line = begin.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let count = |delimiter: &u8| line.split(|byte| byte == delimiter).count();
    let delimiter = [b'\t', b';', b','].into_iter().max_by_key(count).unwrap_or(b',');
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).trim(csv::Trim::All).delimiter(delimiter).from_reader(reader);
    let mut header: Option<Header> = None;
    let mut order = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| Error::damaged(path, error.to_string()))?;
        if let Some(header) = &header {
            each(header.row(path, &record)?.in_order(&order))?;
            continue;
        }
        let all_numbers = record.iter().all(|field| field.trim_start_matches('\u{feff}').parse::<f32>().is_ok());
        // 0, 1, 2, … are names that some programs give.
        let counted =
            record.len() > 1 && record.iter().enumerate().all(|(place, field)| field.trim_start_matches('\u{feff}') == place.to_string());
        let all_numbers = all_numbers && !counted;
        let found = if all_numbers {
            Header { names: Vec::new(), texts: vec![None; record.len()], count: texts.len() }
        } else {
            Header::new(path, &record, texts)?
        };
        if all_numbers {
            each(found.row(path, &record)?)?;
        }
        if !found.names.is_empty() {
            order = places(path, &found.numbers().collect::<Vec<_>>(), columns)?;
        }
        header = Some(found);
    }
    Ok(())
}

/// The names of all columns.
///
/// # Errors
///
/// A file that cannot be read.
pub fn names(path: &Path) -> Result<Vec<String>> {
    let failed = |error: csv::Error| Error::damaged(path, error.to_string());
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).map_err(failed)?;
    Ok(reader.headers().map_err(failed)?.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect())
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

/// A whole number that is written as such: no sign, no zeros before it.
pub fn number(text: &str) -> Option<usize> {
    text.parse().ok().filter(|number: &usize| number.to_string() == text)
}

/// Names in one field, a space between them; those with spaces or quotation marks are quoted as in JSON.
pub fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let quoted =
        |name: &str| if name.contains([' ', '"']) || name.is_empty() { serde_json::json!(name).to_string() } else { name.to_owned() };
    names.into_iter().map(quoted).collect::<Vec<_>>().join(" ")
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
        let streamed_as = |text: &str, columns: &[&str]| {
            let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
            let mut rows = Vec::new();
            stream(Path::new("x.csv"), text.as_bytes(), &["label", "group"], &columns, |row| {
                rows.push(row);
                Ok(())
            })
            .map(|()| rows)
        };
        let streamed = |text: &str| streamed_as(text, &[]);
        assert_eq!(streamed_as("b,a,label\n1,2,x\n", &["a", "b"]).unwrap()[0].numbers, [2.0, 1.0]);
        assert_eq!(streamed("0,1\n5,6\n").unwrap().len(), 1);
        assert!(streamed_as("b,c\n1,2\n", &["a", "b"]).unwrap_err().to_string().contains("one called `a`"));
        assert!(streamed_as("b,a,c\n1,2,3\n", &["a", "b"]).unwrap_err().to_string().contains("a column `c`"));
        let row = |line, numbers: &[f32], texts: [Option<&str>; 2]| Row {
            line,
            numbers: numbers.into(),
            texts: texts.map(|text| text.map(str::to_owned)).into(),
        };
        assert_eq!(streamed("\u{feff}1,2\n3,4\n").unwrap(), [row(1, &[1.0, 2.0], [None, None]), row(2, &[3.0, 4.0], [None, None])]);
        assert_eq!(streamed("a;label;b\n1;\"x; y\";2\n").unwrap(), [row(2, &[1.0, 2.0], [Some("x; y"), None])]);
        assert_eq!(streamed("").unwrap(), []);
        assert!(streamed("1,2\n3\n").unwrap_err().to_string().contains("line 2: found 1 fields; allowed: 2"));
        assert!(streamed("1,2\n3,x\n").unwrap_err().to_string().contains("line 2, field 2: found `x`"));
        assert_eq!(list(["cat", "big dog", ""]), "cat \"big dog\" \"\"");
        assert_eq!(field("a \"b\", c"), "\"a \"\"b\"\", c\"");
    }
}
