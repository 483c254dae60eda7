//! Efficient SAM (Du et al., ICLR 2022).

use lyceum_core::Result;
use lyceum_kernels::vector;
use lyceum_train::{
    GradientEstimator, Oracle, Rate, Vector,
    estimator::Estimate,
    oracle::{Rows, Slopes},
};
use rand::RngExt;

/// SAM on a part of the weights and a part of the examples: a random share `beta` of the weights is perturbed, with
/// the gradient scaled by 1/β, and the second gradient is taken on the share `gamma` of the examples whose loss rose
/// most. The evaluation that finds those examples makes no gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Esam {
    /// The radius ρ.
    pub(crate) rho: f64,
    /// The share β of the weights that is perturbed.
    pub(crate) beta: f64,
    /// The share γ of the examples of the second pass.
    pub(crate) gamma: f64,
}

impl GradientEstimator for Esam {
    fn estimate(&mut self, oracle: &mut dyn Oracle, parameters: &Vector, _: Rate) -> Result<Estimate> {
        let here = oracle.evaluate(parameters, &Rows::All, true)?;
        let gradient = here.total();
        let norm = vector::norm(&gradient);
        if norm == 0.0 {
            return Ok(here);
        }
        let mut rng = oracle.seed().stream("esam");
        let mask = (0..gradient.dims()[0]).map(|_| if rng.random::<f64>() < self.beta { 1.0 } else { 0.0 }).collect();
        let direction = gradient * vector::from_vec(mask, &parameters.device());
        let above = vector::add_scaled(parameters, self.rho / (norm * self.beta), &direction);
        let rows = if self.gamma < 1.0 { Rows::At(self.most_risen(oracle, parameters, &above)?) } else { Rows::All };
        let there = oracle.evaluate(&above, &rows, false)?;
        Ok(Slopes { losses: here.losses, gradients: there.gradients })
    }
}

impl Esam {
    /// The positions of the examples whose loss rose most, in rising order; at least one.
    fn most_risen(&self, oracle: &mut dyn Oracle, from: &Vector, to: &Vector) -> Result<Vec<usize>> {
        let (before, after) = (oracle.example_losses(from)?, oracle.example_losses(to)?);
        let rise = |position: &usize| after[*position] - before[*position];
        let mut order: Vec<usize> = (0..before.len()).collect();
        order.sort_by(|a, b| rise(b).total_cmp(&rise(a)));
        order.truncate(((self.gamma * before.len() as f64).ceil() as usize).max(1));
        order.sort_unstable();
        Ok(order)
    }
}
