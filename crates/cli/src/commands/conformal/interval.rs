//! `lyceum conformal interval`: regression.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use lyceum_conformal::regression;
use lyceum_core::{Error, Progress, Result};
use lyceum_data::formats::npy;
use ndarray::{Array2, Ix2};
use serde_json::json;

use super::files::{check_npy, numbers};
use crate::commands::said;

/// Write prediction intervals for numbers
#[derive(Subcommand)]
pub(crate) enum Interval {
    Split(Split),
    Quantile(Quantile),
    JackknifePlus(JackknifePlus),
}

/// prediction ± q, from calibration examples that were not used for training
#[derive(Args)]
#[command(after_help = "Example:\n  lyceum conformal interval split --predictions cal.npy --y y.npy --test test.npy --out intervals.npy")]
pub(crate) struct Split {
    /// The predictions of the calibration examples: .npy, or the column `prediction` of a .parquet file
    #[arg(long)]
    predictions: PathBuf,

    /// Their true values: .npy, or the column `y` of a .parquet file
    #[arg(long)]
    y: PathBuf,

    /// The predictions of new examples
    #[arg(long)]
    test: PathBuf,

    /// How difficult each calibration example is thought to be (> 0); intervals are as wide in proportion
    #[arg(long, requires = "test_difficulty")]
    difficulty: Option<PathBuf>,

    /// The same of the new examples
    #[arg(long, requires = "difficulty")]
    test_difficulty: Option<PathBuf>,

    #[command(flatten)]
    common: Common,
}

/// [low - q, high + q] around the quantiles of a regression (CQR)
#[derive(Args)]
#[command(after_help = "Example:\n  lyceum conformal interval quantile --ends cal.npy --y y.npy --test test.npy --out intervals.npy")]
pub(crate) struct Quantile {
    /// The lower and the upper quantile of each calibration example: .npy, float64, two columns
    #[arg(long)]
    ends: PathBuf,

    /// Their true values: .npy, or the column `y` of a .parquet file
    #[arg(long)]
    y: PathBuf,

    /// The quantiles of new examples: .npy, float64, two columns
    #[arg(long)]
    test: PathBuf,

    #[command(flatten)]
    common: Common,
}

/// From leave-one-out or cross-validated residuals, without examples apart (jackknife+, CV+)
#[derive(Args)]
#[command(after_help = "Example:\n  lyceum conformal interval jackknife-plus --residuals r.npy --test by_model.npy --out intervals.npy")]
pub(crate) struct JackknifePlus {
    /// |y - prediction| of each training example, by the model that left it (or its fold) out: .npy, or the column `residual`
    #[arg(long)]
    residuals: PathBuf,

    /// The prediction of each new example (row) by the model that left out each training example (column): .npy, float64
    #[arg(long)]
    test: PathBuf,

    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct Common {
    /// The share of values outside their interval
    #[arg(long, default_value_t = 0.1, allow_negative_numbers = true)]
    alpha: f64,

    /// Where the intervals are written: .npy, float64, low and high of each row
    #[arg(long, short)]
    out: PathBuf,
}

impl Interval {
    pub(super) fn execute(self, progress: &Progress) -> Result<()> {
        match self {
            Self::Split(command) => command.execute(progress),
            Self::Quantile(command) => command.execute(progress),
            Self::JackknifePlus(command) => command.execute(progress),
        }
    }
}

impl Split {
    fn execute(self, progress: &Progress) -> Result<()> {
        check_npy(&self.common.out)?;
        let predictions = numbers("--predictions", &self.predictions, "prediction")?;
        let y = numbers("--y", &self.y, "y")?;
        let test = numbers("--test", &self.test, "prediction")?;
        let hard = |path: &Option<PathBuf>| path.as_deref().map(|path| numbers("--difficulty", path, "difficulty")).transpose();
        let (difficulty, test_difficulty) = (hard(&self.difficulty)?, hard(&self.test_difficulty)?);
        if difficulty.is_some() != test_difficulty.is_some() {
            return Err(Error::invalid("difficulty", "a file for one part of the data", "files for both parts or for neither"));
        }
        let q = regression::split(&predictions, difficulty.as_deref(), &y, self.common.alpha)?;
        self.common.write(regression::split_intervals(q, &test, test_difficulty.as_deref())?, progress)
    }
}

impl Quantile {
    fn execute(self, progress: &Progress) -> Result<()> {
        check_npy(&self.common.out)?;
        let ends = |path: &Path| -> Result<Vec<regression::Interval>> {
            let found = npy::read::<f64, Ix2>(path)?;
            match found.ncols() {
                2 => Ok(found.rows().into_iter().map(|row| (row[0], row[1])).collect()),
                columns => Err(Error::damaged(path, format!("{columns} columns; allowed: 2, low and high"))),
            }
        };
        let y = numbers("--y", &self.y, "y")?;
        let q = regression::quantile_regression(&ends(&self.ends)?, &y, self.common.alpha)?;
        self.common.write(regression::widened(q, &ends(&self.test)?)?, progress)
    }
}

impl JackknifePlus {
    fn execute(self, progress: &Progress) -> Result<()> {
        check_npy(&self.common.out)?;
        let residuals = numbers("--residuals", &self.residuals, "residual")?;
        let test = npy::read::<f64, Ix2>(&self.test)?;
        self.common.write(regression::jackknife_plus(&residuals, test.view(), self.common.alpha)?, progress)
    }
}

impl Common {
    fn write(&self, intervals: impl IntoIterator<Item = regression::Interval>, progress: &Progress) -> Result<()> {
        let flat: Vec<f64> = intervals.into_iter().flat_map(|(low, high)| [low, high]).collect();
        let rows = flat.len() / 2;
        let width = flat.chunks_exact(2).map(|ends| ends[1] - ends[0]).sum::<f64>() / rows.max(1) as f64;
        let all = Array2::from_shape_vec((rows, 2), flat).map_err(|error| Error::Failed(error.to_string()))?;
        npy::write(&self.out, &all)?;
        said(progress, &json!({ "event": "end", "rows": rows, "mean_width": width, "path": self.out }), || {
            format!("{rows} intervals, {width:.6} wide on average\nintervals: {}", self.out.display())
        });
        Ok(())
    }
}
