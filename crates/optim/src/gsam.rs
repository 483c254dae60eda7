//! Surrogate-gap guided SAM (Zhuang et al., ICLR 2022).

use lyceum_core::Result;
use lyceum_kernels::vector;
use lyceum_train::{GradientEstimator, Oracle, Rate, Vector, estimator::Estimate, oracle::Slopes};

use crate::{perturbation::Ball, sam::two_passes};

/// g_s − α g_⊥, where g_s is the gradient at w + ε̂ and g_⊥ the part of the gradient at w that is orthogonal to g_s:
/// descends on the perturbed loss and shrinks its gap to the loss at w. ρ follows the learning rate from `rho` at its
/// peak to `rho_min` at 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gsam {
    /// ρ at the peak of the learning rate.
    pub(crate) rho: f64,
    /// ρ at learning rate 0.
    pub(crate) rho_min: f64,
    /// α.
    pub(crate) alpha: f64,
}

impl GradientEstimator for Gsam {
    fn estimate(&mut self, oracle: &mut dyn Oracle, parameters: &Vector, rate: Rate) -> Result<Estimate> {
        let rho = self.rho_min + (self.rho - self.rho_min) * rate.relative;
        let [here, there] = two_passes(oracle, parameters, &Ball { rho, p: 2.0 }, None)?;
        let combine = |(g, above): (&Vector, &Vector)| {
            let orthogonal = remove_component(g, above);
            vector::add_scaled(above, -self.alpha, &orthogonal)
        };
        let gradients = here.gradients.iter().zip(&there.gradients).map(combine).collect();
        Ok(Slopes { losses: here.losses, gradients })
    }
}

/// a minus its component along b.
pub(crate) fn remove_component(a: &Vector, b: &Vector) -> Vector {
    let square = vector::dot(b, b);
    if square > 0.0 { vector::add_scaled(a, -vector::dot(a, b) / square, b) } else { a.clone() }
}
