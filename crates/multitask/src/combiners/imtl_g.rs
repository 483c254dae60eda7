//! Impartial multi-task learning, the gradient part.

use lyceum_core::{Result, Stream};
use ndarray::Array1;

use super::spectrum::{cosines, solve_least_squares};
use crate::combiner::{Rule, Step};

/// The combination Σ wᵢgᵢ, Σw = 1, whose projections on all unit gradients uᵢ = gᵢ/‖gᵢ‖ are equal
/// (Liu, Li, Kuang, Xue, Chen, Yang, Liao and Zhang 2021). With βᵢ = wᵢ‖gᵢ‖ and the cosines C, ⟨Σ βⱼuⱼ, uᵢ⟩ = Σⱼ Cᵢⱼβⱼ is to be
/// the same for all i: β ∝ C⁺(1 … 1), which does not depend on the lengths of the gradients. Weights may be negative. Tasks
/// without a gradient have weight 0; where no such combination exists (all gradients 0, or opposite), the mean.
#[derive(Debug, Clone, Copy)]
pub struct ImtlG;

impl Rule for ImtlG {
    fn coefficients(&mut self, step: Step<'_>, _: &mut Stream) -> Result<Vec<f64>> {
        let tasks = step.gram.nrows();
        let (used, cosines) = cosines(step.gram);
        let beta = solve_least_squares(&cosines, &Array1::ones(used.len()))?;
        // Cβ is what of (1 … 1) can be reached; of nothing β is rounding.
        if cosines.dot(&beta).mean().is_none_or(|reached| reached < 1e-9) {
            return Ok(vec![1.0 / tasks as f64; tasks]);
        }
        let mut w = vec![0.0; tasks];
        used.iter().zip(&beta).for_each(|(&i, beta)| w[i] = beta / step.gram[[i, i]].sqrt());
        let sum: f64 = w.iter().sum();
        if sum.abs() <= 1e-12 * w.iter().map(|w| w.abs()).sum::<f64>() {
            return Ok(vec![1.0 / tasks as f64; tasks]);
        }
        Ok(w.iter().map(|w| w / sum).collect())
    }
}
