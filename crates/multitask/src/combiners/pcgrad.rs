//! Projecting conflicting gradients.

use lyceum_core::{Result, Stream};

use super::projection::sum_of_altered;
use crate::combiner::{Rule, Step};

/// gᵢ' ← gᵢ' − ⟨gᵢ', gⱼ⟩/‖gⱼ‖² gⱼ for each j ≠ i in random order with ⟨gᵢ', gⱼ⟩ < 0; the update is Σ gᵢ'
/// (Yu, Kumar, Gupta, Levine, Hausman and Finn 2020).
#[derive(Debug, Clone, Copy)]
pub struct PcGrad;

impl Rule for PcGrad {
    fn coefficients(&mut self, step: Step<'_>, rng: &mut Stream) -> Result<Vec<f64>> {
        Ok(sum_of_altered(step.gram, rng, |altered, _, j| {
            let product = altered.product(j);
            if product < 0.0 && step.gram[[j, j]] > 0.0 {
                altered.add(-product / step.gram[[j, j]], j);
            }
        }))
    }
}
