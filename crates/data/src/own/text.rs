//! Texts: a .jsonl file, each line an object with `text` and `label`.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
};

use lyceum_core::{Error, Result, memory};
use ndarray::Array2;
use serde_json::Value;

use super::{Named, NamedPart, Reading};
use crate::{Extent, Inputs};

/// How many symbols texts are made of: the bytes of UTF-8, and 0 for what fills them up.
pub const SYMBOLS: usize = 257;
/// How many symbols of a text are read where nothing else is said.
pub const WINDOW: usize = 128;

/// The first bytes of a text, each with 1 added, at the end of a row; zeros before them.
pub fn symbols(text: &str, window: usize) -> Vec<f32> {
    let bytes = &text.as_bytes()[..text.len().min(window)];
    let mut row = vec![0.0; window - bytes.len()];
    row.extend(bytes.iter().map(|&byte| f32::from(byte) + 1.0));
    row
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its number in the file, from 1.
    pub number: usize,
    /// The text.
    pub text: String,
    /// What is said of it, by the keys that were asked for; a number as its digits.
    pub told: Vec<Option<String>>,
}

/// Each line of a file, with what it says under these keys.
///
/// # Errors
///
/// A line that is no object with a text `text`.
pub fn lines<'a>(path: &'a Path, reader: impl Read + 'a, keys: &'a [&'a str]) -> impl Iterator<Item = Result<Line>> + 'a {
    let read = move |(number, line): (usize, std::io::Result<String>)| -> Option<Result<Line>> {
        let wrong = |what: String| Error::damaged(path, format!("line {}: {what}", number + 1));
        let line = match line {
            Ok(line) if line.trim().is_empty() => return None,
            Ok(line) => line,
            Err(error) => return Some(Err(wrong(error.to_string()))),
        };
        let object: Value = match serde_json::from_str(line.trim_start_matches('\u{feff}')) {
            Ok(object) => object,
            Err(error) => return Some(Err(wrong(format!("{error}; allowed: an object with `text`")))),
        };
        let Some(text) = object.get("text").and_then(Value::as_str) else {
            return Some(Err(wrong("has no text under `text`".into())));
        };
        let told = |key: &&str| match object.get(*key) {
            Some(Value::String(value)) => Some(value.clone()),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Some(value.to_string()),
            _ => None,
        };
        Some(Ok(Line { number: number + 1, text: text.to_owned(), told: keys.iter().map(told).collect() }))
    };
    BufReader::new(reader).lines().enumerate().filter_map(read)
}

pub(super) fn read(path: &Path, reading: &Reading) -> Result<Named> {
    let window = reading.window.unwrap_or(WINDOW);
    let keys: Vec<&str> = std::iter::once(reading.label.as_deref().unwrap_or("label")).chain(reading.group.as_deref()).collect();
    let file = std::fs::File::open(path).map_err(Error::io("open", path))?;
    let (mut texts, mut labels, mut groups) = (Vec::new(), Vec::new(), Vec::new());
    for line in lines(path, file, &keys) {
        let Line { number, text, told } = line?;
        texts.push(text);
        for (column, (value, key)) in told.into_iter().zip(&keys).enumerate() {
            let value = value.ok_or_else(|| Error::damaged(path, format!("line {number}: has no `{key}`; allowed: a text or a number")))?;
            if column == 0 { &mut labels } else { &mut groups }.push(value);
        }
    }
    memory::check("data.window", &[texts.len().max(1), window])?;
    let values = texts.iter().flat_map(|text| symbols(text, window)).collect();
    let inputs = Array2::from_shape_vec((labels.len(), window), values).map_err(|error| Error::damaged(path, error.to_string()))?;
    let part = NamedPart { inputs: Inputs::from(inputs), labels, groups, names: Vec::new() };
    Ok(Named { extent: Extent { channels: 1, height: 1, width: window }, parts: vec![part], columns: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stand_at_the_end() {
        assert_eq!(symbols("ab", 4), [0.0, 0.0, 98.0, 99.0]);
        assert_eq!(symbols("é", 2), [196.0, 170.0]);
        assert_eq!(symbols("abc", 2), [98.0, 99.0]);
        assert_eq!(symbols("", 1), [0.0]);
    }

    #[test]
    fn lines_and_their_mistakes() {
        let path = Path::new("x.jsonl");
        let read = |text: &str| lines(path, text.as_bytes(), &["label", "n"]).collect::<Result<Vec<Line>>>();
        let found = read("\u{feff}{\"text\": \"a\\nb\", \"label\": \"x\", \"n\": 3}\n\n{\"text\": \"\", \"label\": 0}\n").unwrap();
        assert_eq!(found[0], Line { number: 1, text: "a\nb".into(), told: vec![Some("x".into()), Some("3".into())] });
        assert_eq!(found[1].told, [Some("0".to_owned()), None]);
        for (text, told) in
            [("{\"text\": \"a\"}\n[1]", "line 2: has no text"), ("{", "line 1: EOF"), ("{\"text\": 3}", "line 1: has no text")]
        {
            assert!(read(text).unwrap_err().to_string().contains(told));
        }
    }
}
