//! What is read and written: logits in blocks, labels, numbers, sets.

use std::path::{Path, PathBuf};

use clap::Args;
use lyceum_conformal::{Known, PredictionSets, logits, metrics};
use lyceum_core::{Error, Progress, Result};
use lyceum_data::formats::{
    npy::{self, MatrixView},
    parquet,
};
use ndarray::{Array2, ArrayView2, Axis, s};
use serde_json::json;

use crate::commands::said;

/// Numbers in a block: 32 MiB of float32.
const BLOCK: usize = 8 << 20;

/// Logits of a file, looked at in blocks of rows.
pub(super) enum Logits {
    Npy(npy::Matrix),
    Parquet(parquet::Rows),
}

impl Logits {
    /// Opens a file; columns of a .parquet file called `except` are not logits.
    pub(super) fn open(path: &Path, except: &[&str]) -> Result<Self> {
        match extension(path) {
            "npy" => npy::Matrix::open(path).map(Self::Npy),
            "parquet" => parquet::Rows::open(path, except).map(Self::Parquet),
            _ => Err(wrong_name("--logits", path)),
        }
    }

    /// Rows and columns.
    pub(super) fn dim(&self) -> (usize, usize) {
        match self {
            Self::Npy(matrix) => matrix.dim(),
            Self::Parquet(rows) => rows.dim(),
        }
    }

    /// All rows in order: `each` gets the number of a block's first row, and the block.
    pub(super) fn blocks(&self, mut each: impl FnMut(usize, ArrayView2<'_, f32>) -> Result<()>) -> Result<()> {
        let (rows, columns) = self.dim();
        let size = (BLOCK / columns.max(1)).max(1);
        match self {
            Self::Parquet(file) => file.blocks(size, |first, block| each(first, logits::from_f64(block).view())),
            Self::Npy(matrix) => (0..rows).step_by(size).try_for_each(|start| {
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
    /// The logits: .npy or .parquet
    #[arg(long)]
    logits: PathBuf,

    /// The labels: .npy or .parquet
    #[arg(long)]
    labels: PathBuf,

    /// The column of the labels in a .parquet file
    #[arg(long, default_value = "label")]
    label_column: String,
}

impl Labelled {
    /// The logits, one label a row.
    pub(super) fn open(&self) -> Result<(Logits, Vec<usize>)> {
        let logits = Logits::open(&self.logits, &[&self.label_column, GROUP, WEIGHT])?;
        let labels = whole("--labels", &self.labels, &self.label_column)?;
        if labels.len() != logits.dim().0 {
            let allowed = format!("as many as rows of logits: {}", logits.dim().0);
            return Err(Error::invalid("labels", labels.len(), allowed));
        }
        Ok((logits, labels))
    }
}

/// Columns of .parquet files.
pub(super) const GROUP: &str = "group";
pub(super) const WEIGHT: &str = "weight";

/// What some schemes know of each row.
#[derive(Args)]
pub(super) struct KnownFiles {
    /// Scheme `groups`: the group of each row, from 0: .npy, or the column `group` of a .parquet file
    #[arg(long)]
    groups: Option<PathBuf>,

    /// Scheme `weighted`: the weight of each row, the likelihood ratio of the new distribution to that of the calibration
    /// data, up to a constant: .npy, or the column `weight` of a .parquet file
    #[arg(long)]
    weights: Option<PathBuf>,
}

impl KnownFiles {
    /// Groups and weights, where they are given.
    pub(super) fn open(&self) -> Result<OpenKnown> {
        let groups = self.groups.as_deref().map(|path| whole("--groups", path, GROUP)).transpose()?;
        let weights = self.weights.as_deref().map(|path| numbers("--weights", path, WEIGHT)).transpose()?;
        Ok(OpenKnown { groups, weights })
    }
}

/// The values of [`KnownFiles`].
pub(super) struct OpenKnown {
    pub(super) groups: Option<Vec<usize>>,
    pub(super) weights: Option<Vec<f64>>,
}

impl OpenKnown {
    pub(super) fn view(&self) -> Known<'_> {
        Known { groups: self.groups.as_deref(), weights: self.weights.as_deref() }
    }
}

/// Whole numbers from 0, one a row.
pub(super) fn whole(option: &str, path: &Path, column: &str) -> Result<Vec<usize>> {
    match extension(path) {
        "npy" => npy::labels(path),
        "parquet" => parquet::labels(path, column),
        _ => Err(wrong_name(option, path)),
    }
}

/// Numbers, one a row.
pub(super) fn numbers(option: &str, path: &Path, column: &str) -> Result<Vec<f64>> {
    match extension(path) {
        "npy" => npy::numbers(path),
        "parquet" => parquet::numbers(path, column),
        _ => Err(wrong_name(option, path)),
    }
}

/// How sets are written to this file, and told of; asked before any work is done.
pub(super) fn writer_of_sets(path: &Path) -> Result<impl FnOnce(&PredictionSets, &Progress) -> Result<()>> {
    let write: fn(&Path, &[usize], &[u32]) -> Result<()> = match extension(path) {
        "npz" => npy::write_sets,
        "parquet" => parquet::write_sets,
        _ => return Err(Error::invalid("--out", path.display(), "a name that ends in .npz or .parquet")),
    };
    Ok(move |sets: &PredictionSets, progress: &Progress| {
        write(path, sets.starts(), sets.labels())?;
        let size = metrics::mean_size(sets);
        said(progress, &json!({ "event": "end", "path": path, "rows": sets.len(), "mean_size": size }), || {
            format!("{} sets, {size:.3} labels on average\nsets: {}", sets.len(), path.display())
        });
        Ok(())
    })
}

/// Errors unless an output's name ends in .npy.
pub(super) fn check_npy(path: &Path) -> Result<()> {
    if extension(path) == "npy" { Ok(()) } else { Err(Error::invalid("--out", path.display(), "a name that ends in .npy")) }
}

fn wrong_name(option: &str, path: &Path) -> Error {
    Error::invalid(option, path.display(), "a name that ends in .npy or .parquet")
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}
