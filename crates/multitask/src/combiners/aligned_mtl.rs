//! Aligned multi-task learning.

use faer::{Mat, Side};
use lyceum_core::{Error, Result, Stream};
use ndarray::{Array1, Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use crate::combiner::{Rule, Step};

/// To what the singular values of the gradients are set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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
        let sigmas: Vec<f64> = kept(&values).map(|(_, value)| value.sqrt()).collect();
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
        for (k, value) in kept(&values) {
            let vector = vectors.column(k);
            let factor = s / value.sqrt() * vector.sum();
            coefficients.iter_mut().zip(vector).for_each(|(c, v)| *c += factor * v);
        }
        Ok(coefficients)
    }
}

/// Eigenvalues and, as columns, eigenvectors of a symmetric matrix.
pub(super) fn eigen(gram: ArrayView2<'_, f64>) -> Result<(Vec<f64>, Array2<f64>)> {
    let n = gram.nrows();
    let matrix = Mat::from_fn(n, n, |i, j| gram[[i, j]]);
    let found =
        matrix.self_adjoint_eigen(Side::Lower).map_err(|error| Error::Failed(format!("eigenvalues of the Gram matrix: {error:?}")))?;
    let values = (0..n).map(|k| found.S()[k]).collect();
    Ok((values, Array2::from_shape_fn((n, n), |(i, j)| found.U()[(i, j)])))
}

/// The eigenvalues that are not rounding, with their numbers. Products are taken in single precision.
pub(super) fn kept(values: &[f64]) -> impl Iterator<Item = (usize, f64)> {
    let largest = values.iter().copied().fold(0.0, f64::max);
    values.iter().copied().enumerate().filter(move |(_, value)| *value > 1e-9 * largest && *value > 0.0)
}

/// G⁺b.
pub(super) fn solve_least_squares(gram: &Array2<f64>, b: &Array1<f64>) -> Result<Array1<f64>> {
    let (values, vectors) = eigen(gram.view())?;
    let mut solution = Array1::zeros(b.len());
    for (k, value) in kept(&values) {
        let vector = vectors.column(k);
        solution.scaled_add(vector.dot(b) / value, &vector);
    }
    Ok(solution)
}
