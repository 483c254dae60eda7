//! `lyceum conformal cross`.

use std::path::PathBuf;

use clap::Args;
use lyceum_conformal::{CrossConformal, logits};
use lyceum_core::{Progress, Result, Seed};
use lyceum_data::formats::npy;
use ndarray::Ix3;

use super::{
    files::{Labelled, SetsFile, whole},
    scoring::Scoring,
    test_seed,
};

/// Write prediction sets from cross-validation, without examples apart for calibration
///
/// Every training example has the logits of the model that left out its fold; a new example has those of every model.
/// Coverage is at least 1 - 2 alpha, in practice about 1 - alpha.
#[derive(Args)]
#[command(after_help = "\
Nothing is tuned here: --temperature is 1 unless it is given, and RAPS without --lambda is APS.

Example:
  lyceum conformal cross --logits out_of_fold.npy --labels y.npy --folds folds.npy --test by_model.npy --out sets.npz")]
pub(crate) struct Cross {
    #[command(flatten)]
    labelled: Labelled,

    #[command(flatten)]
    scoring: Scoring,

    /// The fold of each example, from 0: .npy, or what is called `fold` in a .npz, .csv or .parquet file
    #[arg(long)]
    folds: PathBuf,

    /// The logits of new examples by each model: .npy, float32 or float64, folds x examples x classes
    #[arg(long)]
    test: PathBuf,

    /// The seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Where the sets are written: .npz, .parquet, .csv or .jsonl; the standard output, as CSV, if absent
    #[arg(long, short)]
    out: Option<PathBuf>,
}

impl Cross {
    pub(super) fn execute(self, progress: &Progress) -> Result<()> {
        let out = SetsFile::new(self.out.as_deref())?;
        let config = self.scoring.config()?;
        let (out_of_fold, labels) = self.labelled.open()?;
        let folds = whole("--folds", &self.folds, "fold")?;
        let rows: Vec<usize> = (0..labels.len()).collect();
        let model = CrossConformal::calibrate(config, out_of_fold.pick(&rows)?.view(), &labels, &folds, Seed::new(self.seed))?;
        let wide = npy::read::<f64, Ix3>(&self.test).map(|test| logits::from_f64(test.view()));
        let test = wide.or_else(|_| npy::read::<f32, Ix3>(&self.test))?;
        let sets = model.predict(test.view(), test_seed(self.seed))?;
        out.write(&sets, &out_of_fold.classes, &[], progress)
    }
}
