//! `lyceum conformal p-values`.

use std::path::PathBuf;

use clap::Args;
use lyceum_conformal::conformal::{Copies, all_scores_of_part, p_values_of, scores_of_part};
use lyceum_core::{Error, Progress, Result, Seed};
use lyceum_data::formats::npy;
use ndarray::{Array2, Axis};
use serde_json::json;

use super::{
    files::{LABEL, Labelled, Logits, check_npy},
    scoring::Scoring,
    test_seed,
};
use crate::commands::said;

/// Write the p-value of every label of every row: the labels with p > alpha are the set at any alpha
#[derive(Args)]
#[command(after_help = "\
Nothing is tuned here: --temperature is 1 unless it is given, and RAPS without --lambda is APS.

Example:
  lyceum conformal p-values --logits cal.npy --labels y.npy --test test.npy --score lac --out p.npy")]
pub(crate) struct PValues {
    #[command(flatten)]
    labelled: Labelled,

    #[command(flatten)]
    scoring: Scoring,

    /// The logits of new examples: .npy, .npz, .csv or .parquet
    #[arg(long)]
    test: PathBuf,

    /// The seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Where the p-values are written: .npy, float64, a row an example
    #[arg(long, short)]
    out: PathBuf,
}

impl PValues {
    pub(super) fn execute(self, progress: &Progress) -> Result<()> {
        check_npy(&self.out)?;
        let config = self.scoring.config()?;
        let (logits, labels) = self.labelled.open()?;
        let test = Logits::open("--test", &self.test, LABEL)?;
        if test.dim().1 != logits.dim().1 {
            let allowed = format!("as many columns as --logits: {}", logits.dim().1);
            return Err(Error::invalid("--test", format!("{} columns", test.dim().1), allowed));
        }
        let (mut copies, mut calibration) = (Copies::default(), Vec::with_capacity(labels.len()));
        logits.blocks(|first, block| {
            let labels = &labels[first..first + block.nrows()];
            calibration.extend(scores_of_part(&mut copies, &config, block, labels, Seed::new(self.seed))?);
            Ok(())
        })?;
        let (mut copies, mut all) = (Copies::default(), Array2::<f64>::zeros((0, test.dim().1)));
        test.blocks(|_, block| {
            let part = p_values_of(&calibration, all_scores_of_part(&mut copies, &config, block, test_seed(self.seed))?);
            all.append(Axis(0), part.view()).map_err(|error| Error::Failed(error.to_string()))
        })?;
        npy::write(&self.out, &all)?;
        said(progress, &json!({ "event": "end", "rows": all.nrows(), "path": self.out }), || {
            format!("{} rows of p-values: {}", all.nrows(), self.out.display())
        });
        Ok(())
    }
}
