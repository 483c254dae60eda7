//! LookSAM (Liu et al., CVPR 2022): SAM every k steps, and what it added in between.

use lyceum_core::Result;
use lyceum_kernels::vector;
use lyceum_train::{
    GradientEstimator, Oracle, Rate, State, Vector, cpu,
    estimator::Estimate,
    oracle::{Rows, Slopes},
};

use crate::{gsam::remove_component, perturbation::Ball, sam::two_passes};

/// Every k-th step is a step of SAM, whose gradient's part orthogonal to the plain one, g_v, is kept; the other steps
/// use g + α (‖g‖/‖g_v‖) g_v. Costs 1 + 1/k evaluations a step. With α = 0 it is SAM at every k-th step only.
pub struct LookSam {
    ball: Ball,
    alpha: f64,
    every: u64,
    step: u64,
    kept: Vec<Vector>,
}

impl LookSam {
    /// Radius ρ, weight α (0.7 in the paper), a step of SAM every `every` steps.
    pub(crate) fn new(rho: f64, alpha: f64, every: usize) -> Self {
        Self { ball: Ball { rho, p: 2.0 }, alpha, every: every as u64, step: 0, kept: Vec::new() }
    }
}

impl GradientEstimator for LookSam {
    fn estimate(&mut self, oracle: &mut dyn Oracle, parameters: &Vector, _: Rate) -> Result<Estimate> {
        let full = self.step.is_multiple_of(self.every);
        let estimate = if full {
            let [here, there] = two_passes(oracle, parameters, &self.ball, None)?;
            self.kept = there.gradients.iter().zip(&here.gradients).map(|(above, g)| remove_component(above, g)).collect();
            Slopes { losses: here.losses, gradients: there.gradients }
        } else {
            let here = oracle.evaluate(parameters, &Rows::All, true)?;
            let reuse = |(g, kept): (&Vector, &Vector)| {
                let length = vector::norm(kept);
                if length > 0.0 {
                    vector::add_scaled(g, self.alpha * vector::norm(g) / length, &kept.clone().to_device(&g.device()))
                } else {
                    g.clone()
                }
            };
            Slopes { losses: here.losses, gradients: here.gradients.iter().zip(&self.kept).map(reuse).collect() }
        };
        self.step += 1;
        Ok(estimate)
    }

    fn state(&self) -> State {
        let state = State::default().with_counter("step", self.step).with_counter("tasks", self.kept.len() as u64);
        self.kept.iter().enumerate().fold(state, |state, (task, kept)| state.with_vector(&format!("kept.{task}"), kept))
    }

    fn restore(&mut self, state: State) -> Result<()> {
        self.step = state.counter("step");
        self.kept = (0..state.counter("tasks")).filter_map(|task| state.vector(&format!("kept.{task}"), &cpu())).collect();
        Ok(())
    }
}
