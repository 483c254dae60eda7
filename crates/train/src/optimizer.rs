//! burn's optimisers over the whole parameter vector.

use std::collections::BTreeMap;

use burn::{
    optim::{AdamW, AdamWConfig, Optimizer as _, RecordState, Sgd, SgdConfig, StateSink, StateSource, momentum::MomentumConfig},
    tensor::TensorData,
};
use lyceum_core::{Array, Error, Result, range};
use serde::{Deserialize, Serialize};

use crate::{State, Vector};

/// Which optimiser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// v ← μv + g, w ← w − lr·v (Nesterov: w ← w − lr·(g + μv)).
    Sgd {
        /// μ.
        #[serde(default = "momentum", deserialize_with = "range::below_one")]
        momentum: f64,
        /// Look ahead by one step of momentum.
        #[serde(default)]
        nesterov: bool,
    },
    /// Adam (Kingma and Ba 2015); weight decay is decoupled if it is asked for so.
    Adam {
        /// Decay of the first moment.
        #[serde(default = "beta1", deserialize_with = "range::below_one")]
        beta1: f64,
        /// Decay of the second moment.
        #[serde(default = "beta2", deserialize_with = "range::below_one")]
        beta2: f64,
        /// ε in the denominator.
        #[serde(default = "epsilon", deserialize_with = "range::positive")]
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
#[derive(Clone)]
pub struct Optimizer(Kind);

#[derive(Clone)]
#[allow(clippy::large_enum_variant, reason = "there is one optimiser a training")]
enum Kind {
    Sgd(Sgd, Option<<Sgd as burn::optim::Optimizer>::State<1>>),
    Adam(Box<AdamW>, Option<<AdamW as burn::optim::Optimizer>::State<1>>),
}

impl OptimizerConfig {
    /// The optimiser before its first step.
    pub fn init(&self) -> Optimizer {
        Optimizer(match self {
            Self::Sgd { momentum, nesterov } => {
                let with_momentum = MomentumConfig::new().with_momentum(*momentum).with_dampening(0.0).with_nesterov(*nesterov);
                Kind::Sgd(SgdConfig::new().with_momentum((*momentum > 0.0).then_some(with_momentum)).build(), None)
            }
            Self::Adam { beta1, beta2, epsilon } => {
                let config = AdamWConfig::new().with_beta_1(*beta1 as f32).with_beta_2(*beta2 as f32).with_epsilon(*epsilon as f32);
                Kind::Adam(Box::new(config.with_weight_decay(0.0).build()), None)
            }
        })
    }
}

impl Optimizer {
    /// The parameters after one step.
    pub fn step(&mut self, rate: f64, parameters: Vector, gradient: Vector) -> Vector {
        match &mut self.0 {
            Kind::Sgd(sgd, state) => {
                let (parameters, next) = sgd.step(rate, parameters, gradient, state.take());
                *state = next;
                parameters
            }
            Kind::Adam(adam, state) => {
                let (parameters, next) = adam.step(rate, parameters, gradient, state.take());
                *state = next;
                parameters
            }
        }
    }

    /// What must be saved to go on later.
    pub fn state(&self) -> Result<State> {
        let mut sink = StateSink::default();
        match &self.0 {
            Kind::Sgd(_, state) => state.iter().for_each(|state| state.state_flatten("", &mut sink)),
            Kind::Adam(_, state) => state.iter().for_each(|state| state.state_flatten("", &mut sink)),
        }
        let mut state = State::default();
        for (name, data) in sink.tensors {
            let shape: Vec<usize> = data.shape().iter().copied().collect();
            let values = data.try_into_vec::<f32>().map_err(|error| Error::Failed(format!("the optimiser's {name}: {error:?}")))?;
            state.arrays.push(Array::new(name, shape, values));
        }
        for (name, value) in sink.scalars {
            let value = u64::try_from(value).map_err(|_| Error::Failed(format!("the optimiser's {name} is not a whole number")))?;
            state.counters.insert(name, value);
        }
        Ok(state)
    }

    /// Goes on from a saved state.
    pub fn restore(&mut self, state: State, device: &burn::tensor::Device) -> Result<()> {
        if state == State::default() {
            return Ok(());
        }
        let scalars: BTreeMap<_, _> = state.counters.into_iter().map(|(name, value)| (name, value.into())).collect();
        let mut source = StateSource::new(scalars);
        for array in state.arrays {
            source.insert_tensor(array.name, TensorData::new(array.values, array.shape));
        }
        let missing = || Error::Failed("the saved state belongs to another optimiser".into());
        match &mut self.0 {
            Kind::Sgd(_, state) => *state = Some(RecordState::state_unflatten("", &mut source, device).ok_or_else(missing)?),
            Kind::Adam(_, state) => *state = Some(RecordState::state_unflatten("", &mut source, device).ok_or_else(missing)?),
        }
        Ok(())
    }
}
