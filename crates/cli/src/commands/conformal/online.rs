//! `lyceum conformal online`.

use std::path::PathBuf;

use clap::Args;
use lyceum_conformal::Online as Model;
use lyceum_core::{Progress, Result};
use lyceum_data::formats::npy;
use ndarray::Array1;
use serde_json::json;

use super::files::{check_npy, numbers};
use crate::commands::said;

/// Follow a stream that drifts: thresholds whose share of misses comes to alpha (adaptive conformal inference)
#[derive(Args)]
#[command(after_help = "\
The scores are those of the truth in the order of time, of any kind: |y - prediction|, or 1 - p of the true label. Threshold t
is known before score t; what scores at most that was in the set.

Example:
  lyceum conformal online --scores residuals.npy --alpha 0.1 --window 500 --out thresholds.npy")]
pub(crate) struct Online {
    /// The score of the truth at each time: .npy, or the column `score` of a .parquet file
    #[arg(long)]
    scores: PathBuf,

    /// The share of misses that is aimed at
    #[arg(long, default_value_t = 0.1, allow_negative_numbers = true)]
    alpha: f64,

    /// How fast the level follows misses
    #[arg(long, default_value_t = 0.005, allow_negative_numbers = true)]
    gamma: f64,

    /// How many of the last scores a threshold comes from
    #[arg(long, default_value_t = 500)]
    window: usize,

    /// Where the thresholds are written: .npy, float64; infinite where every label is in the set
    #[arg(long, short)]
    out: PathBuf,
}

impl Online {
    pub(super) fn execute(self, progress: &Progress) -> Result<()> {
        check_npy(&self.out)?;
        let scores = numbers("--scores", &self.scores, "score")?;
        let mut model = Model::new(self.alpha, self.gamma, self.window)?;
        let (mut thresholds, mut covered) = (Vec::with_capacity(scores.len()), 0_usize);
        for score in &scores {
            thresholds.push(model.threshold());
            covered += usize::from(model.observe(*score)?);
        }
        let share = covered as f64 / scores.len().max(1) as f64;
        npy::write(&self.out, &Array1::from(thresholds))?;
        let end = json!({ "event": "end", "steps": scores.len(), "coverage": share, "level": model.level(), "path": self.out });
        said(progress, &end, || {
            format!("{} steps, {share:.4} covered, level now {:.4}\nthresholds: {}", scores.len(), model.level(), self.out.display())
        });
        Ok(())
    }
}
