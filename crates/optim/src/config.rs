//! Which estimator, as a recipe says it.

use lyceum_core::{Result, range};
use lyceum_train::{GradientEstimator, Plain};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Esam, Gsam, LookSam, SharpnessAware,
    perturbation::{Adaptive, Ball, Random},
};

/// A gradient estimator and its constants.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum EstimatorConfig {
    /// The gradient at the parameters.
    #[default]
    Plain,
    /// [`SharpnessAware`] in a ball of any p-norm.
    Sam {
        /// The radius.
        #[serde(default = "rho", with = "range::NonNegative")]
        rho: f64,
        /// The order of the norm; `inf` for the largest coordinate.
        #[serde(default = "two", with = "range::NormOrder")]
        p: f64,
        /// Examples that share one perturbation; the whole batch if absent.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "range::OptionalAtLeastOne")]
        m: Option<usize>,
    },
    /// Adaptive SAM: the ball is stretched by |w| + η.
    Asam {
        /// The radius; about ten times that of SAM.
        #[serde(default = "rho_adaptive", with = "range::NonNegative")]
        rho: f64,
        /// η.
        #[serde(default = "eta", with = "range::NonNegative")]
        eta: f64,
        /// Examples that share one perturbation; the whole batch if absent.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "range::OptionalAtLeastOne")]
        m: Option<usize>,
    },
    /// [`Gsam`]: SAM that also lowers the surrogate gap (Zhuang et al. 2022).
    Gsam {
        /// The radius at the peak of the learning rate.
        #[serde(default = "rho", with = "range::NonNegative")]
        rho: f64,
        /// The radius at learning rate 0.
        #[serde(default = "rho", with = "range::NonNegative")]
        rho_min: f64,
        /// Weight of the orthogonal part.
        #[serde(default = "alpha_gsam", with = "range::NonNegative")]
        alpha: f64,
    },
    /// [`LookSam`]: SAM at every k-th step, its direction reused in between (Liu et al. 2022).
    Looksam {
        /// The radius.
        #[serde(default = "rho", with = "range::NonNegative")]
        rho: f64,
        /// Weight of the kept part.
        #[serde(default = "alpha_looksam", with = "range::NonNegative")]
        alpha: f64,
        /// A step of SAM every so many steps.
        #[serde(default = "every", with = "range::AtLeastOne")]
        every: usize,
    },
    /// [`Esam`]: SAM on some of the weights and the examples that matter (Du et al. 2022).
    Esam {
        /// The radius.
        #[serde(default = "rho", with = "range::NonNegative")]
        rho: f64,
        /// Share of the weights that is perturbed.
        #[serde(default = "half", with = "range::PositiveFraction")]
        beta: f64,
        /// Share of the examples of the second pass.
        #[serde(default = "half", with = "range::PositiveFraction")]
        gamma: f64,
    },
    /// The gradient at a random point at distance ρ: the baseline that shows that the direction matters.
    RandomPerturbation {
        /// The distance.
        #[serde(default = "rho", with = "range::NonNegative")]
        rho: f64,
    },
}

fn rho() -> f64 {
    0.05
}

fn rho_adaptive() -> f64 {
    0.5
}

fn two() -> f64 {
    2.0
}

fn eta() -> f64 {
    0.01
}

fn alpha_gsam() -> f64 {
    0.4
}

fn alpha_looksam() -> f64 {
    0.7
}

fn every() -> usize {
    5
}

fn half() -> f64 {
    0.5
}

impl EstimatorConfig {
    /// SAM in the Euclidean ball of this radius, one perturbation a batch.
    pub fn sam(rho: f64) -> Self {
        Self::Sam { rho, p: 2.0, m: None }
    }

    /// The estimator before its first step; a constant out of its range is an error.
    pub fn build(&self) -> Result<Box<dyn GradientEstimator>> {
        range::check(self)?;
        Ok(match *self {
            Self::Plain => Box::new(Plain),
            Self::Sam { rho, p, m } => Box::new(SharpnessAware { perturbation: Ball { rho, p }, m }),
            Self::Asam { rho, eta, m } => Box::new(SharpnessAware { perturbation: Adaptive { rho, eta }, m }),
            Self::Gsam { rho, rho_min, alpha } => Box::new(Gsam { rho, rho_min, alpha }),
            Self::Looksam { rho, alpha, every } => Box::new(LookSam::new(rho, alpha, every)),
            Self::Esam { rho, beta, gamma } => Box::new(Esam { rho, beta, gamma }),
            Self::RandomPerturbation { rho } => Box::new(SharpnessAware { perturbation: Random { rho }, m: None }),
        })
    }
}
