//! Optimisers over the whole parameter vector: SGD with momentum, Adam.

use burn::tensor::Device;
use lyceum_core::{Error, Result, range};
use lyceum_kernels::{AdamConstants, adam_step, sgd_step, vector};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{State, Vector};

/// Which optimiser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// v ← μv + g, w ← w − lr·v (Nesterov: w ← w − lr·(g + μv)).
    Sgd {
        /// μ.
        #[serde(default = "momentum", with = "range::BelowOne")]
        momentum: f64,
        /// Look ahead by one step of momentum.
        #[serde(default)]
        nesterov: bool,
    },
    /// Adam (Kingma and Ba 2015); weight decay is decoupled if it is asked for so.
    Adam {
        /// Decay of the first moment.
        #[serde(default = "beta1", with = "range::BelowOne")]
        beta1: f64,
        /// Decay of the second moment.
        #[serde(default = "beta2", with = "range::BelowOne")]
        beta2: f64,
        /// ε in the denominator.
        #[serde(default = "epsilon", with = "range::Positive")]
        epsilon: f64,
    },
}

fn momentum() -> f64 {
    0.9
}

fn beta1() -> f64 {
    0.9
}

fn beta2() -> f64 {
    0.999
}

fn epsilon() -> f64 {
    1e-8
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::Sgd { momentum: momentum(), nesterov: false }
    }
}

/// An optimiser with its state.
#[derive(Debug, Clone)]
pub struct Optimizer {
    config: OptimizerConfig,
    /// Steps made.
    step: u64,
    /// Velocity, or first and second moment; none before the first step.
    moments: Vec<Vector>,
}

impl OptimizerConfig {
    /// The optimiser before its first step; a constant out of its range is an error.
    pub fn init(&self) -> Result<Optimizer> {
        range::check(self)?;
        Ok(Optimizer { config: self.clone(), step: 0, moments: Vec::new() })
    }

    /// The names of the moments in a saved state.
    fn moments(&self) -> &'static [&'static str] {
        match self {
            Self::Sgd { momentum: 0.0, .. } => &[],
            Self::Sgd { .. } => &["velocity"],
            Self::Adam { .. } => &["first_moment", "second_moment"],
        }
    }
}

impl Optimizer {
    /// The parameters after one step.
    pub fn step(&mut self, rate: f64, parameters: Vector, gradient: Vector) -> Vector {
        self.step += 1;
        if self.moments.is_empty() {
            self.moments = self.config.moments().iter().map(|_| parameters.zeros_like()).collect();
        }
        let mut moments = std::mem::take(&mut self.moments).into_iter();
        match (&self.config, moments.next(), moments.next()) {
            (OptimizerConfig::Sgd { momentum, nesterov }, Some(velocity), _) => {
                let (parameters, velocity) = sgd_step(parameters, gradient, velocity, rate, *momentum, *nesterov);
                self.moments = vec![velocity];
                parameters
            }
            (OptimizerConfig::Adam { beta1, beta2, epsilon }, Some(first), Some(second)) => {
                let constants = AdamConstants { beta1: *beta1, beta2: *beta2, epsilon: *epsilon };
                let (parameters, first, second) = adam_step(parameters, gradient, first, second, rate, self.step, constants);
                self.moments = vec![first, second];
                parameters
            }
            _ => vector::added(parameters, -rate, &gradient),
        }
    }

    /// What must be saved to go on later.
    pub fn state(&self) -> State {
        let state = State::default().with_counter("step", self.step);
        self.config.moments().iter().zip(&self.moments).fold(state, |state, (name, moment)| state.with_vector(name, moment))
    }

    /// Goes on from a saved state.
    pub fn restore(&mut self, state: &State, device: &Device) -> Result<()> {
        self.step = state.counter("step");
        self.moments = self.config.moments().iter().filter_map(|name| state.vector(name, device)).collect();
        let expected = if self.step == 0 { 0 } else { self.config.moments().len() };
        if self.moments.len() == expected { Ok(()) } else { Err(Error::Failed("the saved state belongs to another optimiser".into())) }
    }
}
