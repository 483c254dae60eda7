//! Scores: how strange a label is for a row of probabilities.

mod lac;
mod raps;
mod saps;
mod top_k;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use lac::Lac;
pub use raps::Raps;
pub use saps::Saps;
pub use top_k::TopK;

use crate::softmax::ONE;

/// Where a label stands in its row. Masses are weights; divided by `total` they are probabilities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// 1 for the most likely label.
    pub rank: usize,
    /// The weight of all labels ranked above.
    pub above: f64,
    /// The label's own weight.
    pub weight: f64,
    /// The weight of all labels.
    pub total: f64,
}

impl Place {
    /// The probability of the most likely label: its weight is the same whole number in every row.
    #[inline(always)]
    pub fn largest(&self) -> f64 {
        f64::from(ONE) / self.total
    }
}

/// How strange a label is; must not fall along the ranking, so that a prediction set is a prefix of it.
pub trait Score: Copy + Sync {
    /// Whether the draw makes a difference.
    const RANDOMISED: bool = true;

    /// The score of the label at this place, with this point's draw `u` from [0, 1).
    fn at(&self, place: &Place, u: f64) -> f64;

    /// A bound that the label's score does not fall below, whatever u: the score at u = 1 of the label ranked just above it,
    /// −∞ for the first. A set of all labels whose bound is at most τ goes up to the first label that reaches τ.
    fn bound(&self, place: &Place) -> f64;
}

/// Which score, as a recipe or a saved model says it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ScoreConfig {
    /// [`Raps`].
    Raps {
        /// λ.
        lambda: f64,
        /// The rank up to which there is no penalty.
        k_reg: usize,
    },
    /// [`Raps`] without penalty: adaptive prediction sets (Romano, Sesia and Candès 2020).
    Aps,
    /// [`Lac`].
    Lac,
    /// [`Saps`].
    Saps {
        /// The step from rank to rank.
        weight: f64,
    },
    /// [`TopK`].
    TopK,
    /// The labels whose probabilities add up to 1 − α, with no calibration: the baseline of the paper. It does not
    /// have the guarantee.
    Naive,
}

impl ScoreConfig {
    /// RAPS with this λ and k_reg.
    pub fn raps(lambda: f64, k_reg: usize) -> Self {
        Self::Raps { lambda, k_reg }
    }

    /// Calls `work` with the score itself, so that it is compiled for each score.
    pub(crate) fn with<W: WithScore>(self, work: W) -> W::Output {
        match self {
            Self::Raps { lambda, k_reg } => work.call(&Raps { lambda, k_reg }),
            Self::Aps | Self::Naive => work.call(&Raps { lambda: 0.0, k_reg: 0 }),
            Self::Lac => work.call(&Lac),
            Self::Saps { weight } => work.call(&Saps { weight }),
            Self::TopK => work.call(&TopK),
        }
    }
}

/// Work that is generic over the score.
pub(crate) trait WithScore {
    type Output;

    fn call<S: Score>(self, score: &S) -> Self::Output;
}
