//! What is predicted: pictures, and rows of numbers.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use lyceum_core::{Error, Result};
use lyceum_data::{
    formats::{npy, parquet, picture, table},
    own::{self, Layout, Reading, text::Line},
};
use ndarray::{ArrayD, Axis, IxDyn};

use super::{AT_ONCE, extension};

/// An example, and what is known of it.
pub(super) struct Example {
    /// The path of a picture, the file and number of a row.
    pub(super) name: String,
    /// Its class.
    pub(super) truth: Option<String>,
    /// Its group.
    pub(super) group: Option<String>,
}

/// Something to predict.
pub(super) enum Input {
    /// One picture.
    Picture(Example),
    /// A file of rows, or - for the standard input.
    Numbers(PathBuf),
}

/// What an input holds: itself, or the pictures of a folder in the order of their names. `must` says whether a list has to have the columns
/// of labels and of groups, `numbers` whether labels are numbers.
pub(super) fn listed(
    input: &Path,
    layout: Option<Layout>,
    [label, group]: [&str; 2],
    must: [bool; 2],
    numbers: bool,
    found: &mut Vec<Input>,
) -> Result<()> {
    let unknown = |file: PathBuf| Input::Picture(Example { name: file.display().to_string(), truth: None, group: None });
    if input == Path::new("-") {
        found.push(Input::Numbers(input.to_owned()));
    } else if input.is_dir() {
        let before = found.len();
        match layout {
            Some(layout) => {
                // A list may have a column of that name, or none.
                let columns = own::columns_of_list(input)?;
                let asked = |column: &str| (layout == Layout::List && columns.iter().any(|name| name == column)).then(|| column.to_owned());
                for ((key, column), must) in [("--label", label), ("--group", group)].into_iter().zip(must) {
                    if layout == Layout::List && must && asked(column).is_none() {
                        return Err(Error::invalid(key, column, format!("a column of the list: {}", columns.join(", "))));
                    }
                }
                let reading = Reading { layout: Some(layout), label: asked(label), group: asked(group), numbers, ..Reading::default() };
                found.extend(own::pictures(input, &reading)?.into_iter().map(|picture| {
                    let name = picture.file.display().to_string();
                    Input::Picture(Example { name, truth: Some(picture.label).filter(|label| !label.is_empty()), group: picture.group })
                }));
            }
            None => found.extend(picture::in_folder(input)?.into_iter().map(unknown)),
        }
        if found.len() == before {
            return Err(Error::invalid("INPUT", format!("{}, a folder without pictures", input.display()), "PNG or JPEG files in it"));
        }
    } else if input.is_file() {
        if picture::is_one(input) {
            found.push(unknown(input.to_owned()));
        } else if ["npy", "npz", "csv", "parquet", "jsonl"].contains(&extension(input)) {
            found.push(Input::Numbers(input.to_owned()));
        } else {
            return Err(Error::invalid("INPUT", input.display(), "PNG, JPEG, .npy, .npz, .csv, .parquet or .jsonl files, folders, or -"));
        }
    } else {
        let hint = "A picture, a folder, a .npy, .npz, .csv, .parquet or .jsonl file was to be here.".into();
        return Err(Error::Missing { path: input.to_owned(), hint });
    }
    Ok(())
}

/// What is read of tables.
pub(super) struct Reads<'a> {
    /// The columns of labels and groups, which are no numbers of the examples.
    pub(super) known: [&'a str; 2],
    /// How many numbers an example has.
    pub(super) width: usize,
    /// What they are called, where the model knows.
    pub(super) columns: Vec<String>,
    /// Whether labels are numbers.
    pub(super) numbers: bool,
}

/// Rows of numbers, some at a time.
pub(super) fn numbers(path: &Path, reads: &Reads<'_>, work: &mut dyn FnMut(Vec<Example>, Vec<f32>) -> Result<()>) -> Result<()> {
    match extension(path) {
        "npy" => array(path, single(npy::read::<f32, IxDyn>(path), || npy::read::<f64, IxDyn>(path))?, reads.width, work),
        "npz" => {
            let wide = || npy::read_npz::<f64, IxDyn>(path, "x");
            let real = match npy::read_npz::<u8, IxDyn>(path, "x") {
                Ok(bytes) => bytes.mapv(|byte| f32::from(byte) / 255.0),
                Err(_) => single(npy::read_npz::<f32, IxDyn>(path, "x"), wide)?,
            };
            array(path, real, reads.width, work)
        }
        "parquet" => columns(path, reads, work),
        _ => lines(path, reads, work),
    }
}

fn single(narrow: Result<ArrayD<f32>>, wide: impl FnOnce() -> Result<ArrayD<f64>>) -> Result<ArrayD<f32>> {
    narrow.or_else(|error| Ok(wide().map_err(|_| error)?.mapv(|value| value as f32)))
}

fn called(path: &Path, row: usize) -> String {
    if path == Path::new("-") { row.to_string() } else { format!("{}:{row}", path.display()) }
}

fn array(path: &Path, all: ArrayD<f32>, width: usize, work: &mut dyn FnMut(Vec<Example>, Vec<f32>) -> Result<()>) -> Result<()> {
    let found = all.shape().to_vec();
    if all.ndim() < 2 || found[1..].iter().product::<usize>() != width {
        return Err(Error::damaged(path, format!("holds {found:?} numbers; allowed: n rows of {width}")));
    }
    let values: Vec<f32> = all.iter().copied().collect();
    for (batch, rows) in values.chunks(AT_ONCE * width).enumerate() {
        let example = |row| Example { name: called(path, batch * AT_ONCE + row), truth: None, group: None };
        work((0..rows.len() / width).map(example).collect(), rows.to_vec())?;
    }
    Ok(())
}

fn columns(path: &Path, reads: &Reads<'_>, work: &mut dyn FnMut(Vec<Example>, Vec<f32>) -> Result<()>) -> Result<()> {
    let [labels, groups] =
        [(reads.known[0], reads.numbers), (reads.known[1], false)].map(|(column, numbers)| -> Result<Option<Vec<String>>> {
            if !parquet::has_column(path, column)? {
                return Ok(None);
            }
            Ok(Some(match parquet::texts(path, column)? {
                Some(texts) => texts,
                None if numbers => parquet::numbers(path, column)?.iter().map(ToString::to_string).collect(),
                None => parquet::labels(path, column)?.iter().map(ToString::to_string).collect(),
            }))
        });
    let (labels, groups) = (labels?, groups?);
    let rows = parquet::Rows::open(path, &reads.known)?;
    if rows.dim().1 != reads.width {
        return Err(Error::damaged(path, format!("has {} columns of numbers; allowed: {}", rows.dim().1, reads.width)));
    }
    let order = table::places(path, &rows.columns().collect::<Vec<_>>(), &reads.columns)?;
    rows.blocks(AT_ONCE, |first, block| {
        let of = |texts: &Option<Vec<String>>, row: usize| texts.as_ref().and_then(|texts| texts.get(row).cloned());
        let example = |row| Example { name: called(path, row), truth: of(&labels, row), group: of(&groups, row) };
        let block = if order.is_empty() { block.to_owned() } else { block.select(Axis(1), &order) };
        work((first..first + block.nrows()).map(example).collect(), block.iter().map(|value| *value as f32).collect())
    })
}

/// Texts, some at a time: those of a .jsonl file, or the lines of the standard input.
pub(super) fn texts(path: &Path, known: [&str; 2], work: &mut dyn FnMut(Vec<Example>, Vec<String>) -> Result<()>) -> Result<()> {
    let (mut examples, mut texts) = (Vec::new(), Vec::new());
    let mut add = |line: Line, work: &mut dyn FnMut(Vec<Example>, Vec<String>) -> Result<()>, row: usize, last: bool| {
        let Line { text, mut told, .. } = line;
        let group = told.pop().flatten();
        examples.push(Example { name: called(path, row), truth: told.pop().flatten(), group });
        texts.push(text);
        if last || examples.len() == AT_ONCE { work(std::mem::take(&mut examples), std::mem::take(&mut texts)) } else { Ok(()) }
    };
    if path == Path::new("-") {
        for (row, text) in std::io::stdin().lines().enumerate() {
            let text = text.map_err(Error::io("read", path))?;
            // Somebody may be waiting for the answer.
            add(Line { number: row + 1, text, told: vec![None, None] }, work, row, true)?;
        }
        return Ok(());
    }
    let file = fs::File::open(path).map_err(Error::io("read", path))?;
    for (row, line) in own::text::lines(path, file, &known).enumerate() {
        add(line?, work, row, false)?;
    }
    work(examples, texts)
}

fn lines(path: &Path, reads: &Reads<'_>, work: &mut dyn FnMut(Vec<Example>, Vec<f32>) -> Result<()>) -> Result<()> {
    let reader: Box<dyn Read> =
        if path == Path::new("-") { Box::new(std::io::stdin()) } else { Box::new(fs::File::open(path).map_err(Error::io("read", path))?) };
    let (mut examples, mut rows) = (Vec::new(), Vec::new());
    let mut row = 0;
    table::stream(path, reader, &reads.known, &reads.columns, |found| {
        if found.numbers.len() != reads.width {
            let text = format!("line {}: found {} numbers; allowed: {}", found.line, found.numbers.len(), reads.width);
            return Err(Error::damaged(path, text));
        }
        let [truth, group] = <[Option<String>; 2]>::try_from(found.texts).unwrap_or_default();
        examples.push(Example { name: called(path, row), truth, group });
        rows.extend(found.numbers);
        row += 1;
        if examples.len() == AT_ONCE { work(std::mem::take(&mut examples), std::mem::take(&mut rows)) } else { Ok(()) }
    })?;
    work(examples, rows)
}
