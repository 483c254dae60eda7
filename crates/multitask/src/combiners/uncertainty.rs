//! Weights by homoscedastic uncertainty.

use lyceum_core::{Error, Result, Stream};

use crate::combiner::{Rule, Step};

/// The loss Σ (e^{−sᵢ}Lᵢ + sᵢ), s learnt with the network (Kendall, Gal and Cipolla 2018): the coefficients are e^{−sᵢ}, and
/// sᵢ ← sᵢ − rate·(1 − e^{−sᵢ}Lᵢ) after each step. One s a task, the same for all groups.
#[derive(Debug, Clone)]
pub struct Uncertainty {
    rate: f64,
    groups: usize,
    s: Vec<f32>,
}

impl Uncertainty {
    /// `rate` is the step of s.
    pub fn new(rate: f64, tasks: usize, groups: usize) -> Self {
        Self { rate, groups, s: vec![0.0; tasks] }
    }
}

impl Rule for Uncertainty {
    fn coefficients(&mut self, step: Step<'_>, _: &mut Stream) -> Result<Vec<f64>> {
        let weights: Vec<f64> = self.s.iter().map(|s| f64::from(-s).exp()).collect();
        if step.group + 1 == self.groups {
            let losses = step.losses.unwrap_or_default();
            for (s, (weight, loss)) in self.s.iter_mut().zip(weights.iter().zip(losses)) {
                *s -= (self.rate * (1.0 - weight * loss).clamp(-10.0, 1.0)) as f32;
            }
        }
        Ok(weights)
    }

    fn needs_losses(&self) -> bool {
        true
    }

    fn state(&self) -> Vec<f32> {
        self.s.clone()
    }

    fn restore(&mut self, state: &[f32]) -> Result<()> {
        if state.len() != self.s.len() {
            return Err(Error::Failed(format!("{} variances; this combiner has {}", state.len(), self.s.len())));
        }
        self.s.copy_from_slice(state);
        Ok(())
    }
}
