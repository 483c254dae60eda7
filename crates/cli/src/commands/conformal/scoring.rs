//! How strange a label is: the options that `calibrate`, `p-values` and `cross` share.

use clap::{Args, ValueEnum};
use lyceum_conformal::{ConformalConfig, Randomization, ScoreConfig};
use lyceum_core::Result;

/// The score and its constants.
#[derive(Args)]
pub(super) struct Scoring {
    /// The share of examples whose set may miss the true label
    #[arg(long, default_value_t = 0.1, allow_negative_numbers = true)]
    alpha: f64,

    /// How strange a label is for a row of probabilities
    #[arg(long, value_enum, default_value_t = ScoreName::Raps)]
    score: ScoreName,

    /// RAPS: the penalty for each rank beyond --k-reg
    #[arg(long, requires = "k_reg", allow_negative_numbers = true)]
    pub(super) lambda: Option<f64>,

    /// RAPS: the rank up to which there is no penalty
    #[arg(long, requires = "lambda")]
    k_reg: Option<usize>,

    /// SAPS: the step from rank to rank
    #[arg(long, default_value_t = 0.1, allow_negative_numbers = true)]
    weight: f64,

    /// The softmax's temperature
    #[arg(long, allow_negative_numbers = true)]
    pub(super) temperature: Option<f64>,

    /// What randomness does for a set
    #[arg(long, value_enum, default_value_t = RandomizationName::Exact)]
    randomization: RandomizationName,

    /// Keep the most likely label in every set (covers a little more)
    #[arg(long)]
    no_empty: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScoreName {
    /// Regularised adaptive prediction sets
    Raps,
    /// Adaptive prediction sets
    Aps,
    /// Least ambiguous classifiers (THR): smallest on average
    Lac,
    /// Sorted adaptive prediction sets
    Saps,
    /// Sets of one size
    TopK,
    /// Probabilities that add up to 1 - alpha; no guarantee
    Naive,
}

#[derive(Clone, Copy, ValueEnum)]
enum RandomizationName {
    /// One random draw a row: coverage is 1 - alpha and not more
    Exact,
    /// Up to the first label that reaches the threshold
    Conservative,
    /// Deterministic, with a larger threshold
    Off,
}

impl Scoring {
    /// Whether λ and k_reg of RAPS are still to be chosen.
    pub(super) fn wants_tuning(&self) -> bool {
        matches!(self.score, ScoreName::Raps) && self.lambda.is_none()
    }

    /// The configuration, checked; RAPS without constants is APS until it is tuned, and the temperature 1 unless it is given.
    pub(super) fn config(&self) -> Result<ConformalConfig> {
        let score = match (self.score, self.lambda, self.k_reg) {
            (ScoreName::Raps, Some(lambda), Some(k_reg)) => ScoreConfig::Raps { lambda, k_reg },
            (ScoreName::Raps | ScoreName::Aps, ..) => ScoreConfig::Aps,
            (ScoreName::Lac, ..) => ScoreConfig::Lac,
            (ScoreName::Saps, ..) => ScoreConfig::Saps { weight: self.weight },
            (ScoreName::TopK, ..) => ScoreConfig::TopK,
            (ScoreName::Naive, ..) => ScoreConfig::Naive,
        };
        let randomization = match self.randomization {
            RandomizationName::Exact => Randomization::Exact,
            RandomizationName::Conservative => Randomization::Conservative,
            RandomizationName::Off => Randomization::Off,
        };
        let temperature = self.temperature.unwrap_or(1.0);
        let config = ConformalConfig { alpha: self.alpha, score, randomization, allow_empty: !self.no_empty, temperature };
        config.check()?;
        Ok(config)
    }
}

/// A score with its constants, for people.
pub(super) fn describe(score: ScoreConfig) -> String {
    match score {
        ScoreConfig::Raps { lambda, k_reg } => format!("RAPS, lambda {lambda}, k_reg {k_reg}"),
        other => format!("{other:?}"),
    }
}
