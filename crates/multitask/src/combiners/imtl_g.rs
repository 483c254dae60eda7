//! Impartial multi-task learning, the gradient part.

use lyceum_core::{Result, Stream};
use ndarray::{Array1, Array2};

use super::aligned_mtl::solve_least_squares;
use crate::combiner::{Rule, Step};

/// The combination Σ wᵢgᵢ, Σw = 1, whose projections on all unit gradients uᵢ = gᵢ/‖gᵢ‖ are equal
/// (Liu, Li, Kuang, Xue, Chen, Yang, Liao and Zhang 2021). In Gram space ⟨Σ wⱼgⱼ, uᵢ⟩ = Σⱼ wⱼGᵢⱼ/‖gᵢ‖ is to be the same for all
/// i: w ∝ G⁺(‖g₁‖ … ‖g_T‖). Weights may be negative. Where no such combination is (all gradients 0, or opposite), the mean.
#[derive(Debug, Clone, Copy)]
pub struct ImtlG;

impl Rule for ImtlG {
    fn coefficients(&mut self, step: Step<'_>, _: &mut Stream) -> Result<Vec<f64>> {
        let tasks = step.gram.nrows();
        let norms: Array1<f64> = step.gram.diag().mapv(f64::sqrt);
        let gram: Array2<f64> = step.gram.to_owned();
        let w = solve_least_squares(&gram, &norms)?;
        let sum = w.sum();
        if sum.abs() <= 1e-12 * w.mapv(f64::abs).sum() {
            return Ok(vec![1.0 / tasks as f64; tasks]);
        }
        Ok((w / sum).to_vec())
    }
}
