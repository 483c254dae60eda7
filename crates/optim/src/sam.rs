//! Sharpness-aware minimisation (Foret, Kleiner, Mobahi and Neyshabur, ICLR 2021).

use lyceum_core::Result;
use lyceum_train::{
    GradientEstimator, Oracle, Rate, Vector,
    estimator::Estimate,
    oracle::{Rows, Slopes},
};

use crate::perturbation::Perturbation;

/// The gradient at w + ε̂, where ε̂ is the perturbation for the gradient at w; ε̂ counts as a constant.
///
/// With several tasks ε̂ is that of the sum of their losses. With `m` the batch is cut into shards of m examples,
/// each with a perturbation of its own (m-sharpness), and the shards' gradients are averaged; the last shard may be
/// smaller. Every example is evaluated twice a step, whatever m.
pub struct SharpnessAware<P> {
    /// How to climb.
    pub(crate) perturbation: P,
    /// Examples that share one perturbation; `None` for the whole batch.
    pub(crate) m: Option<usize>,
}

impl<P: Perturbation> GradientEstimator for SharpnessAware<P> {
    fn estimate(&mut self, oracle: &mut dyn Oracle, parameters: &Vector, _: Rate) -> Result<Estimate> {
        let [here, there] = two_passes(oracle, parameters, &self.perturbation, self.m)?;
        Ok(Slopes { losses: here.losses, gradients: there.gradients })
    }
}

/// Slopes at w and at w + ε̂, averaged over shards of m examples.
pub(crate) fn two_passes(
    oracle: &mut dyn Oracle,
    parameters: &Vector,
    perturbation: &dyn Perturbation,
    m: Option<usize>,
) -> Result<[Slopes; 2]> {
    let n = oracle.examples();
    let m = m.unwrap_or(n).clamp(1, n.max(1));
    let mut mean: Option<[Slopes; 2]> = None;
    for start in (0..n).step_by(m) {
        let rows = Rows::Range(start..(start + m).min(n));
        let here = oracle.evaluate(parameters, &rows, true)?;
        let above = perturbation.climb(parameters, &here.total(), oracle.seed());
        let there = oracle.evaluate(&above, &rows, false)?;
        if m >= n {
            return Ok([here, there]);
        }
        let weight = (n - start).min(m) as f64 / n as f64;
        match &mut mean {
            None => mean = Some([here, there].map(|slopes| slopes.scaled(weight))),
            Some([mean_here, mean_there]) => {
                mean_here.add(weight, &here);
                mean_there.add(weight, &there);
            }
        }
    }
    mean.ok_or_else(|| lyceum_core::Error::Failed("a batch without examples".into()))
}
