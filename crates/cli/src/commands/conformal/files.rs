//! What is read and written: logits in blocks, labels, numbers, sets.

use std::path::{Path, PathBuf};

use clap::Args;
use lyceum_conformal::{Known, Names, PredictionSets, logits, metrics};
use lyceum_core::{Error, Progress, Result};
use lyceum_data::formats::{
    npy::{self, MatrixView},
    parquet, table,
};
use ndarray::{Array2, ArrayView2, Axis, Ix1, Ix2, s};
use serde_json::json;

use crate::commands::{extension, said};

/// Numbers in a block: 32 MiB of float32.
const BLOCK: usize = 8 << 20;

/// Logits of a file, looked at in blocks of rows.
pub(super) struct Logits {
    held: Held,
    /// What the columns are called; nothing where they are only numbers.
    pub(super) classes: Vec<String>,
    /// What the rows are called; nothing where they have no names.
    pub(super) inputs: Vec<String>,
}

enum Held {
    Npy(npy::Matrix),
    Parquet(parquet::Rows),
    Memory(Array2<f32>),
}

/// Columns of tables that are no logits.
const INPUT: &str = "input";
pub(super) const LABEL: &str = "label";
pub(super) const GROUP: &str = "group";
pub(super) const WEIGHT: &str = "weight";

impl Logits {
    /// Opens a file; of a table, the columns `input`, `group`, `weight` and that of the labels are not logits.
    pub(super) fn open(option: &str, path: &Path, label: &str) -> Result<Self> {
        let except = [INPUT, label, GROUP, WEIGHT];
        let (held, columns, inputs) = match extension(path) {
            "npy" => (Held::Npy(npy::Matrix::open(path)?), Vec::new(), None),
            "npz" => {
                let narrow = npy::read_npz::<f32, Ix2>(path, "logits");
                let wide = |error| Ok::<_, Error>(logits::from_f64(npy::read_npz::<f64, Ix2>(path, "logits").map_err(|_| error)?.view()));
                (Held::Memory(narrow.or_else(wide)?), Vec::new(), None)
            }
            "parquet" => {
                let rows = parquet::Rows::open(path, &except)?;
                let columns = rows.columns().map(str::to_owned).collect();
                (Held::Parquet(rows), columns, parquet::texts(path, INPUT)?)
            }
            "csv" => {
                let mut table = table::read(path, &except)?;
                (Held::Memory(table.numbers), table.columns, table.texts[0].take())
            }
            _ => return Err(wrong_name(option, path)),
        };
        let numbers = |prefix: &str| columns.iter().enumerate().all(|(number, name)| *name == format!("{prefix}{number}"));
        let classes = if numbers("") || numbers("c") { Vec::new() } else { columns };
        Ok(Self { held, classes, inputs: inputs.unwrap_or_default() })
    }

    /// Rows and columns.
    pub(super) fn dim(&self) -> (usize, usize) {
        match &self.held {
            Held::Npy(matrix) => matrix.dim(),
            Held::Parquet(rows) => rows.dim(),
            Held::Memory(matrix) => matrix.dim(),
        }
    }

    /// Errors unless the columns have the names of a model's labels, where both have names.
    pub(super) fn check_classes(&self, names: &Names) -> Result<()> {
        if self.classes.is_empty() || names.classes.is_empty() || self.classes == names.classes {
            return Ok(());
        }
        let allowed = format!("those of the model, in their order: {}", names.classes.join(", "));
        Err(Error::invalid("the columns of the logits", self.classes.join(", "), allowed))
    }

    /// All rows in order: `each` gets the number of a block's first row, and the block.
    pub(super) fn blocks(&self, mut each: impl FnMut(usize, ArrayView2<'_, f32>) -> Result<()>) -> Result<()> {
        let (rows, columns) = self.dim();
        let size = (BLOCK / columns.max(1)).max(1);
        match &self.held {
            Held::Parquet(file) => file.blocks(size, |first, block| each(first, logits::from_f64(block).view())),
            Held::Memory(matrix) => each(0, matrix.view()),
            Held::Npy(matrix) => (0..rows).step_by(size).try_for_each(|start| {
                let range = s![start..(start + size).min(rows), ..];
                match matrix.view() {
                    MatrixView::Float32(view) => each(start, view.slice(range)),
                    MatrixView::Float64(view) => each(start, logits::from_f64(view.slice(range)).view()),
                }
            }),
        }
    }

    /// The rows of these numbers, which rise, as one matrix.
    pub(super) fn pick(&self, numbers: &[usize]) -> Result<Array2<f32>> {
        let mut picked = Array2::zeros((numbers.len(), self.dim().1));
        let mut filled = 0;
        self.blocks(|first, block| {
            while filled < numbers.len() && numbers[filled] < first + block.nrows() {
                picked.row_mut(filled).assign(&block.row(numbers[filled] - first));
                filled += 1;
            }
            Ok(())
        })?;
        Ok(picked)
    }

    /// As [`blocks`](Self::blocks), of the rows of these numbers, which rise: a block's first row counts among them.
    pub(super) fn picked_blocks(&self, numbers: &[usize], mut each: impl FnMut(usize, ArrayView2<'_, f32>) -> Result<()>) -> Result<()> {
        if numbers.len() == self.dim().0 {
            return self.blocks(each);
        }
        self.blocks(|first, block| {
            let [start, end] = [first, first + block.nrows()].map(|bound| numbers.partition_point(|&row| row < bound));
            let local: Vec<usize> = numbers[start..end].iter().map(|row| row - first).collect();
            each(start, block.select(Axis(0), &local).view())
        })
    }
}

/// Logits with labels.
#[derive(Args)]
pub(super) struct Labelled {
    /// The logits: .npy, .npz (the array `logits`), .csv or .parquet (a column for each class)
    #[arg(long)]
    logits: PathBuf,

    /// The labels, numbers from 0 or names of the logits' columns: .npy, .npz, .csv or .parquet; the file of the logits if absent
    #[arg(long)]
    labels: Option<PathBuf>,

    /// The column of the labels in a .csv or .parquet file, or the array of a .npz file
    #[arg(long, default_value = LABEL)]
    label_column: String,
}

impl Labelled {
    /// The logits, one label a row.
    pub(super) fn open(&self) -> Result<(Logits, Vec<usize>)> {
        let logits = Logits::open("--logits", &self.logits, &self.label_column)?;
        let path = self.labels.as_deref().unwrap_or(&self.logits);
        if self.labels.is_none() && extension(path) == "npy" {
            return Err(Error::invalid("--labels", "nothing", "a file: a .npy file of logits holds no labels"));
        }
        let labels = numbered("--labels", path, &self.label_column, &logits.classes)?;
        if labels.len() != logits.dim().0 {
            let allowed = format!("as many as rows of logits: {}", logits.dim().0);
            return Err(Error::invalid("labels", labels.len(), allowed));
        }
        Ok((logits, labels))
    }
}

/// What some schemes know of each row.
#[derive(Args)]
pub(super) struct KnownFiles {
    /// Scheme `groups`: the group of each row, a number from 0 or a name: .npy, or what is called `group` in a .npz, .csv or .parquet file
    #[arg(long)]
    groups: Option<PathBuf>,

    /// Scheme `weighted`: the weight of each row, the likelihood ratio of the new distribution to that of the calibration
    /// data, up to a constant: .npy, or what is called `weight` in a .npz, .csv or .parquet file
    #[arg(long)]
    weights: Option<PathBuf>,
}

impl KnownFiles {
    /// Groups and weights, where they are given, and the names of the groups: those of a model, or those that are found.
    pub(super) fn open(&self, names: Option<&Names>) -> Result<OpenKnown> {
        let mut known = OpenKnown { groups: None, weights: None, names: names.map(|names| names.groups.clone()).unwrap_or_default() };
        if let Some(path) = &self.groups {
            if names.is_none() {
                let mut found = texts(path, GROUP)?.unwrap_or_default();
                found.sort();
                found.dedup();
                known.names = if found.iter().all(|name| table::number(name).is_some()) { Vec::new() } else { found };
            }
            known.groups = Some(numbered("--groups", path, GROUP, &known.names)?);
        }
        known.weights = self.weights.as_deref().map(|path| numbers("--weights", path, WEIGHT)).transpose()?;
        Ok(known)
    }
}

/// The values of [`KnownFiles`].
pub(super) struct OpenKnown {
    pub(super) groups: Option<Vec<usize>>,
    pub(super) weights: Option<Vec<f64>>,
    /// What groups are called; nothing where they are numbers.
    pub(super) names: Vec<String>,
}

impl OpenKnown {
    pub(super) fn view(&self) -> Known<'_> {
        Known { groups: self.groups.as_deref(), weights: self.weights.as_deref() }
    }
}

/// Whole numbers from 0, one a row.
pub(super) fn whole(option: &str, path: &Path, column: &str) -> Result<Vec<usize>> {
    numbered(option, path, column, &[])
}

/// One whole number for each row: the number itself or, where there are `names`, the place of its name among them.
fn numbered(option: &str, path: &Path, column: &str, names: &[String]) -> Result<Vec<usize>> {
    match extension(path) {
        "npy" => return npy::labels(path),
        "npz" => return npy::labels_of_npz(path, column),
        "csv" | "parquet" => {}
        _ => return Err(wrong_name(option, path)),
    }
    let Some(texts) = texts(path, column)? else {
        return if extension(path) == "parquet" { parquet::labels(path, column) } else { Err(no_column(path, column)) };
    };
    let place = |(row, text): (usize, &String)| {
        let place = if names.is_empty() { table::number(text) } else { names.iter().position(|name| name == text) };
        let allowed = if names.is_empty() { "whole numbers from 0".to_owned() } else { format!("one of {}", names.join(", ")) };
        place.ok_or_else(|| Error::damaged(path, format!("row {row}, column `{column}`: found `{text:.40}`; allowed: {allowed}")))
    };
    texts.iter().enumerate().map(place).collect()
}

/// A column of texts; none where a table has no such column, or it holds numbers that are no texts.
fn texts(path: &Path, column: &str) -> Result<Option<Vec<String>>> {
    match extension(path) {
        "csv" => table::column(path, column),
        "parquet" => parquet::texts(path, column),
        _ => Ok(None),
    }
}

/// Numbers, one a row.
pub(super) fn numbers(option: &str, path: &Path, column: &str) -> Result<Vec<f64>> {
    match extension(path) {
        "npy" => npy::numbers(path),
        "npz" => {
            let narrow = |error| Ok::<_, Error>(npy::read_npz::<f32, Ix1>(path, column).map_err(|_| error)?.mapv(f64::from));
            Ok(npy::read_npz::<f64, Ix1>(path, column).or_else(narrow)?.to_vec())
        }
        "parquet" => parquet::numbers(path, column),
        "csv" => {
            let real = |(row, text): (usize, &String)| {
                text.parse()
                    .map_err(|_| Error::damaged(path, format!("row {row}, column `{column}`: found `{text:.40}`; allowed: a number")))
            };
            table::column(path, column)?.ok_or_else(|| no_column(path, column))?.iter().enumerate().map(real).collect()
        }
        _ => Err(wrong_name(option, path)),
    }
}

fn no_column(path: &Path, column: &str) -> Error {
    Error::damaged(path, format!("has no column `{column}`"))
}

/// How sets are written.
pub(super) struct SetsFile<'a> {
    path: Option<&'a Path>,
}

impl<'a> SetsFile<'a> {
    /// To this file, or to the standard output; asked before any work is done.
    pub(super) fn new(path: Option<&'a Path>) -> Result<Self> {
        match path {
            Some(path) if !["npz", "parquet", "csv", "jsonl"].contains(&extension(path)) => {
                Err(Error::invalid("--out", path.display(), "a name that ends in .npz, .parquet, .csv or .jsonl"))
            }
            _ => Ok(Self { path }),
        }
    }

    /// Writes the sets and says so. Files of arrays hold the numbers of the labels; .csv and .jsonl files hold their names, if they have names.
    pub(super) fn write(&self, sets: &PredictionSets, classes: &[String], inputs: &[String], progress: &Progress) -> Result<()> {
        let text = |lines: bool| {
            let name = |label: &u32| classes.get(*label as usize).cloned().unwrap_or_else(|| label.to_string());
            let mut text = String::from(if lines { "" } else { "input,set\n" });
            for (row, set) in sets.iter().enumerate() {
                let input = inputs.get(row).cloned().unwrap_or_else(|| row.to_string());
                let set: Vec<String> = set.iter().map(name).collect();
                text += &if lines {
                    format!("{}\n", json!({ "input": input, "set": set }))
                } else {
                    format!("{},{}\n", table::field(&input), table::field(&table::list(set.iter().map(String::as_str))))
                };
            }
            text
        };
        let Some(path) = self.path else {
            crate::output::text(&text(progress.is_json()));
            return Ok(());
        };
        match extension(path) {
            "npz" => npy::write_sets(path, sets.starts(), sets.labels())?,
            "parquet" => parquet::write_sets(path, sets.starts(), sets.labels())?,
            kind => lyceum_core::atomic::write(path, text(kind == "jsonl").as_bytes())?,
        }
        let size = metrics::mean_size(sets);
        said(progress, &json!({ "event": "end", "path": path, "rows": sets.len(), "mean_size": size }), || {
            format!("{} sets, {size:.3} labels on average\nsets: {}", sets.len(), path.display())
        });
        Ok(())
    }
}

/// Errors unless an output's name ends in .npy.
pub(super) fn check_npy(path: &Path) -> Result<()> {
    if extension(path) == "npy" { Ok(()) } else { Err(Error::invalid("--out", path.display(), "a name that ends in .npy")) }
}

fn wrong_name(option: &str, path: &Path) -> Error {
    Error::invalid(option, path.display(), "a name that ends in .npy, .npz, .csv or .parquet")
}
