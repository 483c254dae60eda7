//! The strategies, a file each.

mod a_gem;
mod ewc;
mod gpm;
mod hat;
mod lwf;
mod memory;
mod ogd;
mod replay;
mod si;

use lyceum_core::{Result, range};
use lyceum_train::graph::Graph;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use a_gem::AGem;
pub use ewc::Ewc;
pub use gpm::{Gpm, GpmConfig};
pub use hat::{Hat, HatConfig};
pub use lwf::LwF;
pub use memory::Memory;
pub use ogd::Ogd;
pub use replay::{DarkReplay, Replay};
pub use si::Si;

use crate::Strategy;

/// Naive fine-tuning: nothing is done against forgetting.
#[derive(Debug, Clone, Copy)]
pub struct Naive;

impl Strategy for Naive {}

/// Which strategy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum StrategyConfig {
    /// Plain fine-tuning: nothing is done against forgetting.
    Naive,
    /// All tasks at once: the bound that no continual learner passes. (The stream becomes one stage.)
    Multitask,
    /// [`Gpm`]: Gradient Projection Memory; gradients orthogonal to the inputs of earlier tasks (Saha et al. 2021).
    Gpm(GpmConfig),
    /// [`Hat`]: hard attention to the task; learnt masks of units (Serrà et al. 2018).
    Hat(HatConfig),
    /// [`Ewc`]: elastic weight consolidation; a quadratic penalty by the Fisher information (Kirkpatrick et al. 2017).
    Ewc {
        /// λ.
        #[serde(default = "ewc_strength", with = "range::NonNegative")]
        strength: f64,
        /// Examples of a task that the Fisher information comes from.
        #[serde(default = "ewc_samples", with = "range::AtLeastOne")]
        samples: usize,
    },
    /// [`Si`]: synaptic intelligence; a penalty by what each weight did for the loss (Zenke et al. 2017).
    Si {
        /// c.
        #[serde(default = "si_strength", with = "range::NonNegative")]
        strength: f64,
        /// ξ, against division by nothing.
        #[serde(default = "si_damping", with = "range::Positive")]
        damping: f64,
    },
    /// [`LwF`]: learning without forgetting; distils the network before the task (Li and Hoiem 2016).
    Lwf {
        /// The weight of the old network's answers.
        #[serde(default = "one", with = "range::NonNegative")]
        strength: f64,
        /// The temperature of these.
        #[serde(default = "two", with = "range::Positive")]
        temperature: f64,
    },
    /// [`Ogd`]: orthogonal gradient descent; gradients orthogonal to stored ones (Farajtabar et al. 2020).
    Ogd {
        /// Gradients kept of each task.
        #[serde(default = "ogd_samples", with = "range::AtLeastOne")]
        samples: usize,
    },
    /// [`AGem`]: averaged gradient episodic memory; no step that raises the loss on stored examples (Chaudhry et al. 2019).
    AGem {
        /// Examples kept.
        #[serde(default = "memory", with = "range::AtLeastOne")]
        memory: usize,
        /// Examples of the reference gradient.
        #[serde(default = "reference", with = "range::AtLeastOne")]
        reference: usize,
    },
    /// [`Replay`]: ER, experience replay; each batch is joined by stored examples (Chaudhry et al. 2019).
    Replay {
        /// Examples kept, by reservoir sampling.
        #[serde(default = "memory", with = "range::AtLeastOne")]
        memory: usize,
    },
    /// [`DarkReplay`]: DER++, replay of stored examples with their logits (Buzzega et al. 2020).
    DarkReplay {
        /// Examples kept, by reservoir sampling.
        #[serde(default = "memory", with = "range::AtLeastOne")]
        memory: usize,
        /// α: the weight of the logits' errors.
        #[serde(default = "half", with = "range::NonNegative")]
        logits: f64,
        /// β: the weight of the labels.
        #[serde(default = "half", with = "range::NonNegative")]
        labels: f64,
    },
}

/// A step of plain descent is stable while rate·λ·max F < 2: with λ = 100 and a rate of 0.02 the Fisher information of small
/// problems is beyond that.
fn ewc_strength() -> f64 {
    30.0
}

fn ewc_samples() -> usize {
    1_000
}

fn si_strength() -> f64 {
    0.1
}

fn si_damping() -> f64 {
    0.1
}

fn one() -> f64 {
    1.0
}

fn two() -> f64 {
    2.0
}

fn half() -> f64 {
    0.5
}

fn ogd_samples() -> usize {
    200
}

fn memory() -> usize {
    1_000
}

fn reference() -> usize {
    256
}

impl StrategyConfig {
    /// The strategy at its beginning; a constant out of its range is an error.
    pub fn build(&self) -> Result<Box<dyn Strategy>> {
        range::check(self)?;
        Ok(match self.clone() {
            Self::Naive | Self::Multitask => Box::new(Naive),
            Self::Gpm(config) => Box::new(Gpm::new(config)?),
            Self::Hat(config) => Box::new(Hat::new(config)),
            Self::Ewc { strength, samples } => Box::new(Ewc::new(strength, samples)),
            Self::Si { strength, damping } => Box::new(Si::new(strength, damping)),
            Self::Lwf { strength, temperature } => Box::new(LwF::new(strength, temperature)),
            Self::Ogd { samples } => Box::new(Ogd::new(samples)),
            Self::AGem { memory, reference } => Box::new(AGem::new(memory, reference)),
            Self::Replay { memory } => Box::new(Replay::new(memory)),
            Self::DarkReplay { memory, logits, labels } => Box::new(DarkReplay::new(memory, logits, labels)),
        })
    }

    /// An error unless it can learn with this network.
    pub fn check_network(&self, graph: &Graph) -> Result<()> {
        match self {
            Self::Gpm(_) => Gpm::check_network(graph),
            Self::Hat(_) => Hat::check_network(graph),
            _ => Ok(()),
        }
    }

    /// Its name in tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Naive => "naive",
            Self::Multitask => "multitask",
            Self::Gpm(_) => "GPM",
            Self::Hat(_) => "HAT",
            Self::Ewc { .. } => "EWC",
            Self::Si { .. } => "SI",
            Self::Lwf { .. } => "LwF",
            Self::Ogd { .. } => "OGD",
            Self::AGem { .. } => "A-GEM",
            Self::Replay { .. } => "ER",
            Self::DarkReplay { .. } => "DER++",
        }
    }
}
