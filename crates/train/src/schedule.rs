//! Learning rates over a training.

use std::f64::consts::PI;

use lyceum_core::range;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the learning rate changes from the peak `lr`. Progress t runs from 0 to 1 over the steps after warm-up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// lr.
    Constant,
    /// lr · ½(1 + cos πt).
    Cosine,
    /// lr · `factor`^(number of `at` that t has passed).
    Step {
        /// Shares of the training after which the rate falls.
        #[serde(with = "range::Fractions")]
        at: Vec<f64>,
        /// What it is multiplied with.
        #[serde(with = "range::Fraction")]
        factor: f64,
    },
}

/// A learning rate and its peak: some estimators follow the schedule with constants of their own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// The largest rate of the training.
    pub peak: f64,
    /// This step's rate over the peak, from 0 to 1.
    pub relative: f64,
}

impl Rate {
    /// A rate that does not change.
    pub fn constant(peak: f64) -> Self {
        Self { peak, relative: 1.0 }
    }

    /// This step's rate.
    pub fn now(self) -> f64 {
        self.peak * self.relative
    }
}

impl Schedule {
    /// The rate for `step` of `total` over its peak; the first `warmup` steps rise linearly.
    pub fn relative(&self, step: u64, total: u64, warmup: u64) -> f64 {
        if step < warmup {
            return (step + 1) as f64 / warmup as f64;
        }
        let t = (step - warmup) as f64 / total.saturating_sub(warmup).max(1) as f64;
        match self {
            Self::Constant => 1.0,
            Self::Cosine => 0.5 * (1.0 + (PI * t.min(1.0)).cos()),
            Self::Step { at, factor } => factor.powi(at.iter().filter(|share| t >= **share).count() as i32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_at_the_ends_and_in_between() {
        assert_eq!(Schedule::Constant.relative(5, 10, 0), 1.0);
        let cosine: Vec<f64> = (0..=10).map(|step| Schedule::Cosine.relative(step, 10, 0)).collect();
        assert_eq!((cosine[0], (cosine[5] * 1e12).round(), cosine[10]), (1.0, 5e11, 0.0));
        let step = Schedule::Step { at: vec![0.5, 0.75], factor: 0.1 };
        let found: Vec<f64> = [0, 49, 50, 74, 75, 99].map(|s| (step.relative(s, 100, 0) * 1e6).round()).to_vec();
        assert_eq!(found, [1e6, 1e6, 1e5, 1e5, 1e4, 1e4]);
        assert_eq!([0, 1, 3].map(|s| Schedule::Cosine.relative(s, 10, 4)), [0.25, 0.5, 1.0]);
    }
}
