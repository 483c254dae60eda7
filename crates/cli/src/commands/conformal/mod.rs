//! `lyceum conformal`: prediction sets and intervals for a user's own predictions, on files.

mod calibrate;
mod cross;
mod evaluate;
mod files;
mod interval;
mod online;
mod p_values;
mod predict;
mod risk;
mod scoring;

use clap::Subcommand;
use lyceum_core::{Progress, Result, Seed};

/// Prediction sets with a coverage guarantee, from the logits of any classifier
///
/// Logits are a matrix, one row an example and one column a class, in a .npy file (float32 is mapped, not read) or a
/// .parquet file (one column a class, read some rows at a time): both may be larger than memory. Labels and groups are
/// whole numbers from 0, in a .npy file or in a column of a .parquet file.
#[derive(Subcommand)]
pub(crate) enum Conformal {
    Calibrate(calibrate::Calibrate),
    Predict(predict::Predict),
    Evaluate(evaluate::Evaluate),
    PValues(p_values::PValues),
    Cross(cross::Cross),
    Online(online::Online),
    Risk(risk::Risk),
    #[command(subcommand)]
    Interval(interval::Interval),
}

impl Conformal {
    pub(crate) fn execute(self, progress: &Progress) -> Result<()> {
        match self {
            Self::Calibrate(command) => command.execute(progress),
            Self::Predict(command) => command.execute(progress),
            Self::Evaluate(command) => command.execute(progress),
            Self::PValues(command) => command.execute(progress),
            Self::Cross(command) => command.execute(progress),
            Self::Online(command) => command.execute(progress),
            Self::Risk(command) => command.execute(progress),
            Self::Interval(command) => command.execute(progress),
        }
    }
}

/// The draws of prediction must not be those of calibration.
fn test_seed(seed: u64) -> Seed {
    Seed::new(seed).child("conformal/test")
}
