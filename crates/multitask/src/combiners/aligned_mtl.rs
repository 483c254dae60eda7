//! Aligned multi-task learning.

use lyceum_core::{Result, Stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spectrum::eigen;
use crate::combiner::{Rule, Step};

/// To what the singular values of the gradients are set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// The smallest that is not 0: converges as the method's proof has it.
    #[default]
    Min,
    /// Their median.
    Median,
    /// The root of the mean of their squares.
    Rms,
}

/// Gradients with all singular values made equal, so that no direction dominates: with G = VΛVᵀ and σ² = Λ the coefficients
/// are s·V diag(1/σ) Vᵀ w over the values that are not 0, w = (1 … 1) (Senushkin, Patakin, Kuznetsov and Konushin 2023).
#[derive(Debug, Clone, Copy)]
pub struct AlignedMtl {
    /// s.
    pub scale: Scale,
}

impl Rule for AlignedMtl {
    fn coefficients(&mut self, step: Step<'_>, _: &mut Stream) -> Result<Vec<f64>> {
        let tasks = step.gram.nrows();
        let (values, vectors) = eigen(step.gram)?;
        let sigmas: Vec<f64> = values.iter().map(|value| value.sqrt()).collect();
        if sigmas.is_empty() {
            return Ok(vec![1.0; tasks]);
        }
        let s = match self.scale {
            Scale::Min => sigmas.iter().copied().fold(f64::INFINITY, f64::min),
            Scale::Median => {
                let mut sorted = sigmas.clone();
                sorted.sort_unstable_by(f64::total_cmp);
                sorted[(sorted.len() - 1) / 2]
            }
            Scale::Rms => (sigmas.iter().map(|sigma| sigma * sigma).sum::<f64>() / sigmas.len() as f64).sqrt(),
        };
        let mut coefficients = vec![0.0; tasks];
        for (sigma, vector) in sigmas.iter().zip(vectors.columns()) {
            let factor = s / sigma * vector.sum();
            coefficients.iter_mut().zip(vector).for_each(|(c, v)| *c += factor * v);
        }
        Ok(coefficients)
    }
}
