//! What is written: a row for each example.

use std::{io::Write as _, path::Path};

use lyceum_conformal::regression::Interval;
use lyceum_core::{Error, Result};
use lyceum_data::formats::{
    parquet::{self, Column},
    table::{self, field},
};
use ndarray::Array2;
use serde_json::json;

use super::{Example, extension};

/// What is said of an example.
pub(super) enum Said<'a> {
    Classes {
        /// Likeliest first, with their probabilities.
        labels: Vec<(&'a str, f64)>,
        set: Option<Vec<&'a str>>,
    },
    Number {
        value: f64,
        interval: Option<Interval>,
    },
}

/// What is said of all examples.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Classes { top: usize, sets: bool },
    Number { intervals: bool },
}

impl Kind {
    /// The end of the first line of a .csv file.
    fn header(self) -> String {
        match self {
            Self::Classes { top, sets } => {
                let more: String = (2..=top).map(|n| format!(",label{n},probability{n}")).collect();
                format!(",label,probability{more}{}", if sets { ",set" } else { "" })
            }
            Self::Number { intervals } => format!(",value{}", if intervals { ",low,high" } else { "" }),
        }
    }

    /// The columns of a .parquet file, without rows.
    fn columns(self) -> Vec<(String, Column)> {
        match self {
            Self::Classes { top, sets } => {
                let place = |place: usize| {
                    let number = if place == 1 { String::new() } else { place.to_string() };
                    [(format!("label{number}"), Column::Texts(Vec::new())), (format!("probability{number}"), Column::Numbers(Vec::new()))]
                };
                (1..=top).flat_map(place).chain(sets.then(|| ("set".to_owned(), Column::Lists(Vec::new())))).collect()
            }
            Self::Number { intervals } => {
                let names = if intervals { &["value", "low", "high"][..] } else { &["value"] };
                names.iter().map(|name| ((*name).to_owned(), Column::Numbers(Vec::new()))).collect()
            }
        }
    }
}

impl Said<'_> {
    /// The end of a line of a .csv file.
    fn fields(&self) -> String {
        match self {
            Self::Classes { labels, set } => {
                let labels: String = labels.iter().map(|(label, p)| format!(",{},{p:.6}", field(label))).collect();
                labels + &set.as_ref().map(|set| format!(",{}", field(&table::list(set.iter().copied())))).unwrap_or_default()
            }
            Self::Number { value, interval } => {
                let ends = interval.map(|(low, high)| format!(",{},{}", low as f32, high as f32)).unwrap_or_default();
                format!(",{}{ends}", *value as f32)
            }
        }
    }

    /// Adds what is said to a line of a .jsonl file.
    fn tell(&self, line: &mut serde_json::Value) {
        match self {
            Self::Classes { labels, set } => {
                (line["label"], line["probability"]) = (json!(labels[0].0), json!(labels[0].1));
                if labels.len() > 1 {
                    line["labels"] = labels.iter().map(|(label, p)| json!({ "label": label, "probability": p })).collect();
                }
                if let Some(set) = set {
                    line["set"] = json!(set);
                }
            }
            Self::Number { value, interval } => {
                // The digits of single precision.
                let short = |value: f64| json!((value as f32).to_string().parse::<f64>().ok());
                line["value"] = short(*value);
                if let Some((low, high)) = interval {
                    (line["low"], line["high"]) = (short(*low), short(*high));
                }
            }
        }
    }

    /// The fields of a .parquet file, in the order of its columns.
    fn push(self, columns: &mut [(String, Column)]) {
        let (texts, numbers, set) = match self {
            Self::Classes { labels, set } => {
                let (texts, numbers) = labels.into_iter().map(|(label, p)| (label.to_owned(), p)).unzip();
                (texts, numbers, set)
            }
            Self::Number { value, interval } => {
                let ends = interval.into_iter().flat_map(|(low, high)| [low, high]);
                (Vec::new(), std::iter::once(value).chain(ends).collect::<Vec<f64>>(), None)
            }
        };
        let (mut texts, mut numbers) = (texts.into_iter(), numbers.into_iter());
        for (_, column) in columns {
            match column {
                Column::Texts(column) => column.extend(texts.next()),
                Column::Numbers(column) => column.extend(numbers.next()),
                Column::Lists(column) => column.extend(set.as_ref().map(|set| set.iter().map(|&label| label.to_owned()).collect())),
            }
        }
    }
}

/// What comes before the columns of what is known, these, and what comes after.
struct CsvRow {
    name: String,
    told: [Option<String>; 2],
    rest: String,
}

/// Rows on their way to a file or to the standard output.
pub(super) struct Writer {
    format: Format,
    to_output: bool,
    text: Vec<u8>,
}

enum Format {
    /// Rows of a file are held until it is known what is known of them; those for the standard output have the columns of the first.
    Csv {
        rows: Vec<CsvRow>,
        known: Option<[bool; 2]>,
        kind: Kind,
    },
    Lines,
    /// Columns, held until all are known: input, truth and group, and what is said.
    Parquet {
        known: [Vec<String>; 3],
        said: Vec<(String, Column)>,
    },
}

impl Writer {
    pub(super) fn new(out: Option<&Path>, json: bool, kind: Kind) -> Result<Self> {
        let csv = Format::Csv { rows: Vec::new(), known: None, kind };
        let format = match out.map(|path| (path, extension(path))) {
            Some((_, "csv")) => csv,
            Some((_, "jsonl")) => Format::Lines,
            Some((_, "parquet")) => Format::Parquet { known: Default::default(), said: kind.columns() },
            Some((path, _)) => return Err(Error::invalid("--out", path.display(), "a .csv, .jsonl or .parquet file")),
            None if json => Format::Lines,
            None => csv,
        };
        Ok(Self { format, to_output: out.is_none(), text: Vec::new() })
    }

    pub(super) fn push(&mut self, example: &Example, said: Said<'_>) {
        let text_of = |text: &Option<String>| text.clone().unwrap_or_default();
        match &mut self.format {
            Format::Csv { rows, .. } => {
                let told = [&example.truth, &example.group].map(|text| text.as_ref().map(|text| field(text)));
                rows.push(CsvRow { name: field(&example.name), told, rest: said.fields() });
            }
            Format::Lines => {
                let mut line = json!({ "input": example.name });
                said.tell(&mut line);
                for (key, known) in [("truth", &example.truth), ("group", &example.group)] {
                    if let Some(known) = known {
                        line[key] = json!(known);
                    }
                }
                writeln!(self.text, "{line}").ok();
            }
            Format::Parquet { known, said: columns } => {
                let texts = [example.name.clone(), text_of(&example.truth), text_of(&example.group)];
                known.iter_mut().zip(texts).for_each(|(column, text)| column.push(text));
                said.push(columns);
            }
        }
    }

    /// What is written to the standard output goes there at once.
    pub(super) fn flush(&mut self) {
        if self.to_output {
            self.compose();
            crate::output::text(&String::from_utf8_lossy(&std::mem::take(&mut self.text)));
        }
    }

    /// Makes text of the rows that are held.
    fn compose(&mut self) {
        let Format::Csv { rows, known, kind } = &mut self.format else { return };
        let rows = std::mem::take(rows);
        let known = *known.get_or_insert_with(|| {
            let known = [0, 1].map(|place| rows.iter().any(|row| row.told[place].is_some()));
            self.text.extend(header(known, *kind).bytes());
            known
        });
        for CsvRow { name, told, rest } in rows {
            let told = told.into_iter().zip(known).filter(|(_, known)| *known).map(|(text, _)| format!(",{}", text.unwrap_or_default()));
            writeln!(self.text, "{name}{}{rest}", told.collect::<String>()).ok();
        }
    }

    pub(super) fn finish(mut self, path: &Path) -> Result<()> {
        self.compose();
        let Format::Parquet { known, said } = self.format else { return lyceum_core::atomic::write(path, &self.text) };
        let mut columns: Vec<(String, Column)> =
            ["input", "truth", "group"].iter().zip(known).map(|(name, texts)| ((*name).to_owned(), Column::Texts(texts))).collect();
        columns.extend(said);
        parquet::write_table(path, &columns)
    }
}

/// The first line of a .csv file.
fn header(known: [bool; 2], kind: Kind) -> String {
    let told: String = known.iter().zip([",truth", ",group"]).filter(|(known, _)| **known).map(|(_, name)| name).collect();
    format!("input{told}{}\n", kind.header())
}

/// Errors where classes cannot be columns of a table.
pub(super) fn check_names(classes: &[String]) -> Result<()> {
    let taken = |name: &&String| ["input", "label", "group", "weight"].contains(&name.as_str());
    let twice = classes.iter().enumerate().find(|(place, name)| classes[..*place].contains(name)).map(|(_, name)| name);
    match classes.iter().find(taken).or(twice) {
        Some(name) => {
            let allowed = "names that differ, other than input, label, group and weight, which are columns of the table; or a .npy file";
            Err(Error::invalid("--logits", format!("a class called `{name}`"), allowed))
        }
        None => Ok(()),
    }
}

/// Logits with the names of the examples, and the labels and groups that are known: a column for each class.
pub(super) fn write_logits(path: &Path, examples: &[Example], logits: &Array2<f32>, classes: &[String]) -> Result<()> {
    // Where some are known there is a column, with nothing for the others.
    let texts = |of: fn(&Example) -> Option<&String>| -> Option<Vec<String>> {
        let some = examples.iter().any(|example| of(example).is_some());
        some.then(|| examples.iter().map(|example| of(example).cloned().unwrap_or_default()).collect())
    };
    let known = [("label", texts(|example| example.truth.as_ref())), ("group", texts(|example| example.group.as_ref()))];
    let names = ("input", examples.iter().map(|example| example.name.clone()).collect());
    let known: Vec<(&str, Vec<String>)> =
        std::iter::once(names).chain(known.into_iter().filter_map(|(column, texts)| Some((column, texts?)))).collect();
    if extension(path) == "parquet" {
        let known = known.into_iter().map(|(column, texts)| (column.to_owned(), Column::Texts(texts)));
        let numbers = classes.iter().zip(logits.columns());
        let numbers =
            numbers.map(|(class, column)| (class.clone(), Column::Numbers(column.iter().map(|&logit| f64::from(logit)).collect())));
        return parquet::write_table(path, &known.chain(numbers).collect::<Vec<_>>());
    }
    let header = known.iter().map(|(column, _)| field(column)).chain(classes.iter().map(|class| field(class)));
    let mut text = header.collect::<Vec<_>>().join(",") + "\n";
    for (row, logits) in logits.rows().into_iter().enumerate() {
        let fields = known.iter().map(|(_, texts)| field(&texts[row])).chain(logits.iter().map(ToString::to_string));
        text += &(fields.collect::<Vec<_>>().join(",") + "\n");
    }
    lyceum_core::atomic::write(path, text.as_bytes())
}
