//! Conflict-averse gradient descent.

use lyceum_core::{Result, Stream};

use super::simplex::{dot, minimise, product, rounding, times};
use crate::combiner::{Rule, Step};

/// The direction near the mean g₀ that improves the worst task most: max_d min_i ⟨gᵢ, d⟩ with ‖d − g₀‖ ≤ c‖g₀‖
/// (Liu, Liu, Jin, Stone and Liu 2021). With g_w = Σ wᵢgᵢ, w on the simplex, the dual is min_w ⟨g_w, g₀⟩ + c‖g₀‖‖g_w‖ and
/// d = g₀ + c‖g₀‖/‖g_w‖ g_w. c = 0 is the mean, c → 1 tends to MGDA.
#[derive(Debug, Clone, Copy)]
pub struct CaGrad {
    /// c.
    pub radius: f64,
}

impl Rule for CaGrad {
    fn coefficients(&mut self, step: Step<'_>, _: &mut Stream) -> Result<Vec<f64>> {
        let gram = step.gram;
        let tasks = gram.nrows();
        let mean = vec![1.0 / tasks as f64; tasks];
        let to_mean = times(gram, &mean);
        let radius = self.radius * dot(&to_mean, &mean).max(0.0).sqrt();
        if radius == 0.0 {
            return Ok(mean);
        }
        let norm = |w: &[f64]| product(gram, w, w).max(0.0).sqrt();
        // d/dw of ⟨w, b⟩ + r√(wᵀGw).
        let slopes = |w: &[f64]| {
            let norm = norm(w);
            let factor = if norm > 0.0 { radius / norm } else { 0.0 };
            to_mean.iter().zip(times(gram, w)).map(|(b, g)| b + factor * g).collect()
        };
        // Where p = −⟨d, b⟩/r is the slope of the norm along d.
        let length = |w: &[f64], d: &[f64]| {
            let (at, along, curvature) = (product(gram, w, w), product(gram, w, d), product(gram, d, d));
            let p = -dot(&to_mean, d) / radius;
            if curvature <= p * p {
                return if p > 0.0 { f64::INFINITY } else { 0.0 };
            }
            (p * ((at * curvature - along * along).max(0.0) / (curvature - p * p)).sqrt() - along) / curvature
        };
        let gap = |w: &[f64], i: usize| {
            let norm = norm(w);
            1e-12 * radius * norm + rounding(gram, &mean, i) + if norm > 0.0 { radius / norm * rounding(gram, w, i) } else { 0.0 }
        };
        let w = minimise(tasks, slopes, length, gap);
        let (norm, terms) = (norm(&w), w.iter().zip(gram.diag()).map(|(w, g)| w * g.sqrt()).sum::<f64>());
        // Gradients that cancel leave no direction.
        if norm <= 1e-7 * terms {
            return Ok(mean);
        }
        Ok(mean.iter().zip(&w).map(|(mean, w)| mean + radius / norm * w).collect())
    }
}
