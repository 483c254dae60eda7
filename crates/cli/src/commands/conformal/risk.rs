//! `lyceum conformal risk`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lyceum_conformal::risk::{self, Correction, PValue};
use lyceum_core::{Progress, Result};
use lyceum_data::formats::npy;
use serde_json::json;

use crate::commands::said;

/// Choose a setting whose risk is at most alpha, for any loss
#[derive(Args)]
#[command(after_help = "\
Examples:
  lyceum conformal risk --losses losses.npy --alpha 0.1
  lyceum conformal risk --losses losses.npy --alpha 0.1 --method learn-then-test --delta 0.05
  lyceum conformal risk --losses errors.npy --method learn-then-test --p-value binomial --correction holm")]
pub(crate) struct Risk {
    /// The loss of each calibration example (row) at each setting (column): .npy, float64. Settings go from the least careful
    /// to the most careful for `control`, the other way for `learn-then-test` with `fixed-sequence`
    #[arg(long)]
    losses: PathBuf,

    /// The largest risk
    #[arg(long, default_value_t = 0.1, allow_negative_numbers = true)]
    alpha: f64,

    /// The guarantee
    #[arg(long, value_enum, default_value_t = Method::Control)]
    method: Method,

    /// `control`: the largest loss there can be
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    bound: f64,

    /// `learn-then-test`: the chance that the promise fails
    #[arg(long, default_value_t = 0.1, allow_negative_numbers = true)]
    delta: f64,

    /// `learn-then-test`: how it is said that a risk is not above alpha
    #[arg(long, value_enum, default_value_t = Test::HoeffdingBentkus)]
    p_value: Test,

    /// `learn-then-test`: how several settings together keep to delta
    #[arg(long, value_enum, default_value_t = Order::FixedSequence)]
    correction: Order,
}

#[derive(Clone, Copy, ValueEnum)]
enum Test {
    /// For any losses from 0 to 1
    HoeffdingBentkus,
    /// Exact, for losses that are 0 or 1
    Binomial,
}

#[derive(Clone, Copy, ValueEnum)]
enum Order {
    /// One setting after the other, from the safest on, until one fails
    FixedSequence,
    /// All settings, in any order
    Bonferroni,
    /// The same, with more settings
    Holm,
}

#[derive(Clone, Copy, ValueEnum)]
enum Method {
    /// The expected loss of a new example is at most alpha; losses must not rise along a row
    Control,
    /// With probability 1 - delta the risk of every setting that is named is at most alpha; any losses from 0 to 1
    LearnThenTest,
}

impl Risk {
    pub(super) fn execute(self, progress: &Progress) -> Result<()> {
        let losses = npy::read::<f64, ndarray::Ix2>(&self.losses)?;
        let valid = match self.method {
            Method::Control => risk::control(losses.view(), self.alpha, self.bound)?.into_iter().collect(),
            Method::LearnThenTest => {
                let p_value = match self.p_value {
                    Test::HoeffdingBentkus => PValue::HoeffdingBentkus,
                    Test::Binomial => PValue::Binomial,
                };
                let correction = match self.correction {
                    Order::FixedSequence => Correction::FixedSequence,
                    Order::Bonferroni => Correction::Bonferroni,
                    Order::Holm => Correction::Holm,
                };
                risk::learn_then_test(losses.view(), self.alpha, self.delta, p_value, correction)?
            }
        };
        said(progress, &json!({ "event": "end", "settings": valid }), || match valid.as_slice() {
            [] => format!("none of {} settings", losses.ncols()),
            [one] => format!("setting {one} of 0 to {}", losses.ncols() - 1),
            [first, .., last] if last - first + 1 == valid.len() => format!("settings {first} to {last} of 0 to {}", losses.ncols() - 1),
            all => format!("settings {all:?} of 0 to {}", losses.ncols() - 1),
        });
        Ok(())
    }
}
