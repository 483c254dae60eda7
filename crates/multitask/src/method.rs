//! Every method by configuration.

use lyceum_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Combiner,
    combiner::Rule,
    combiners::{AlignedMtl, CaGrad, GradNorm, GradientVaccine, ImtlG, Mgda, NashMtl, PcGrad, Scale, Sum, Uncertainty},
};

/// Which method.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Method {
    /// [`Sum`]: Σ gᵢ, the gradient of the sum of the losses.
    #[default]
    Sum,
    /// [`Sum`] over T: (1/T) Σ gᵢ.
    Mean,
    /// [`PcGrad`]: takes out of each gradient what conflicts with another (Yu et al. 2020).
    #[serde(rename = "pcgrad")]
    PcGrad,
    /// [`GradientVaccine`]: brings the cosines of gradients up to their running means (Wang et al. 2021).
    GradientVaccine {
        /// β: how fast the target cosines follow those that are seen.
        #[serde(default = "vaccine_rate")]
        rate: f64,
    },
    /// [`Mgda`]: the shortest vector in the convex hull of the gradients (Désidéri 2012; Sener and Koltun 2018).
    Mgda,
    /// [`CaGrad`]: the best worst task near the mean gradient (Liu et al. 2021).
    #[serde(rename = "cagrad")]
    CaGrad {
        /// c: how far from the mean gradient the update may be, as a share of its norm.
        #[serde(default = "cagrad_radius")]
        radius: f64,
    },
    /// [`ImtlG`]: equal projections on all gradients' directions (Liu et al. 2021).
    ImtlG,
    /// [`NashMtl`]: the Nash bargaining solution of the tasks (Navon et al. 2022).
    NashMtl,
    /// [`AlignedMtl`]: the matrix of gradients with equal singular values (Senushkin et al. 2023).
    AlignedMtl {
        /// To what the singular values are set.
        #[serde(default)]
        scale: Scale,
    },
    /// [`GradNorm`]: learnt weights that balance the gradients' norms (Chen et al. 2018).
    #[serde(rename = "gradnorm")]
    GradNorm {
        /// α: how strongly tasks that learn slowly are favoured.
        #[serde(default = "gradnorm_asymmetry")]
        asymmetry: f64,
        /// The step of the weights.
        #[serde(default = "weight_rate")]
        rate: f64,
    },
    /// [`Uncertainty`]: weights by learnt variances of the tasks (Kendall et al. 2018).
    Uncertainty {
        /// The step of the logarithms of the variances.
        #[serde(default = "weight_rate")]
        rate: f64,
    },
}

fn vaccine_rate() -> f64 {
    0.01
}

fn cagrad_radius() -> f64 {
    0.5
}

fn gradnorm_asymmetry() -> f64 {
    1.5
}

fn weight_rate() -> f64 {
    0.025
}

impl Method {
    /// Each method once, with its usual constants.
    pub const ALL: [Self; 11] = [
        Self::Sum,
        Self::Mean,
        Self::PcGrad,
        Self::GradientVaccine { rate: 0.01 },
        Self::Mgda,
        Self::CaGrad { radius: 0.5 },
        Self::ImtlG,
        Self::NashMtl,
        Self::AlignedMtl { scale: Scale::Min },
        Self::GradNorm { asymmetry: 1.5, rate: 0.025 },
        Self::Uncertainty { rate: 0.025 },
    ];

    /// Errors where a constant is out of its range.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: &str, found: f64, allowed: &str| Err(Error::invalid(what, found, allowed));
        match *self {
            Self::GradientVaccine { rate } if !(0.0..=1.0).contains(&rate) => wrong("rate", rate, "0 to 1"),
            Self::CaGrad { radius } if !(0.0..1.0).contains(&radius) => wrong("radius", radius, "a number >= 0 and < 1"),
            Self::GradNorm { asymmetry, .. } if !(asymmetry >= 0.0 && asymmetry.is_finite()) => {
                wrong("asymmetry", asymmetry, "a finite number >= 0")
            }
            Self::GradNorm { rate, .. } | Self::Uncertainty { rate } if !(rate > 0.0 && rate.is_finite()) => {
                wrong("rate", rate, "a finite number > 0")
            }
            _ => Ok(()),
        }
    }

    /// The method's rule for gradients of this many tasks in this many groups, at its beginning.
    pub fn combiner(&self, tasks: usize, groups: usize) -> Result<Combiner> {
        self.check()?;
        if tasks == 0 || tasks > 4_096 {
            return Err(Error::invalid("tasks", tasks, "1 to 4096"));
        }
        if groups == 0 {
            return Err(Error::invalid("groups", groups, "at least 1"));
        }
        let rule: Box<dyn Rule> = match *self {
            Self::Sum => Box::new(Sum { coefficient: 1.0 }),
            Self::Mean => Box::new(Sum { coefficient: 1.0 / tasks as f64 }),
            Self::PcGrad => Box::new(PcGrad),
            Self::GradientVaccine { rate } => Box::new(GradientVaccine::new(rate, tasks, groups)),
            Self::Mgda => Box::new(Mgda),
            Self::CaGrad { radius } => Box::new(CaGrad { radius }),
            Self::ImtlG => Box::new(ImtlG),
            Self::NashMtl => Box::new(NashMtl),
            Self::AlignedMtl { scale } => Box::new(AlignedMtl { scale }),
            Self::GradNorm { asymmetry, rate } => Box::new(GradNorm::new(asymmetry, rate, tasks, groups)),
            Self::Uncertainty { rate } => Box::new(Uncertainty::new(rate, tasks, groups)),
        };
        Ok(Combiner::new(rule, tasks, groups))
    }
}
