//! Gradient normalisation.

use lyceum_core::{Error, Result, Stream};

use crate::combiner::{Rule, Step};

/// Weights w, Σw = T, that bring the weighted norms wᵢ‖gᵢ‖ to their mean times rᵢ^α, rᵢ how slowly task i has learned: its
/// loss over its first loss, over the mean of these (Chen, Badrinarayanan, Lee and Rabinovich 2018). The weights of a step are
/// those of the step before after one descent step on Σ |wᵢ‖gᵢ‖ − target|, targets held fixed.
#[derive(Debug, Clone)]
pub struct GradNorm {
    asymmetry: f64,
    rate: f64,
    tasks: usize,
    /// The first losses (NaN before), then the weights of each group.
    state: Vec<f32>,
}

impl GradNorm {
    /// `asymmetry` is α; `rate` the step of the weights.
    pub fn new(asymmetry: f64, rate: f64, tasks: usize, groups: usize) -> Self {
        let mut state = vec![f32::NAN; tasks];
        state.resize(tasks * (1 + groups), 1.0);
        Self { asymmetry, rate, tasks, state }
    }
}

impl Rule for GradNorm {
    fn coefficients(&mut self, step: Step<'_>, _: &mut Stream) -> Result<Vec<f64>> {
        let (first, weights) = self.state.split_at_mut(self.tasks);
        let losses = step.losses.unwrap_or_default();
        if let Some(task) = losses.iter().position(|loss| *loss <= 0.0) {
            return Err(Error::invalid(format!("loss of task {task}"), losses[task], "a number > 0 for this method"));
        }
        first.iter_mut().zip(losses).filter(|(first, _)| first.is_nan()).for_each(|(first, loss)| *first = *loss as f32);
        let weights = &mut weights[step.group * self.tasks..][..self.tasks];
        let progress: Vec<f64> = losses.iter().zip(first.iter()).map(|(loss, first)| loss / f64::from(*first)).collect();
        let mean_progress = progress.iter().sum::<f64>() / self.tasks as f64;
        let norms: Vec<f64> = step.gram.diag().iter().map(|g| g.sqrt()).collect();
        let mean_norm = weights.iter().zip(&norms).map(|(w, norm)| f64::from(*w) * norm).sum::<f64>() / self.tasks as f64;
        if mean_norm > 0.0 {
            for ((weight, norm), progress) in weights.iter_mut().zip(&norms).zip(&progress) {
                let target = mean_norm * (progress / mean_progress).powf(self.asymmetry);
                // The slope in units of the mean norm, so that the rate does not depend on the scale of the losses.
                let slope = (f64::from(*weight) * norm - target).signum() * norm / mean_norm;
                *weight = (f64::from(*weight) - self.rate * slope).max(1e-3) as f32;
            }
            let sum: f32 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight *= self.tasks as f32 / sum);
        }
        Ok(weights.iter().map(|weight| f64::from(*weight)).collect())
    }

    fn needs_losses(&self) -> bool {
        true
    }

    fn state(&self) -> Vec<f32> {
        self.state.clone()
    }

    fn restore(&mut self, state: &[f32]) -> Result<()> {
        if state.len() != self.state.len() {
            return Err(Error::Failed(format!("{} numbers of GradNorm; this combiner has {}", state.len(), self.state.len())));
        }
        self.state.copy_from_slice(state);
        Ok(())
    }
}
