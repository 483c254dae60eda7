//! Eigenvalues and linear systems of a Gram matrix whose gradients may differ in length by any factor.

use lyceum_core::{Error, Result};
use ndarray::{Array1, Array2, ArrayView2};

/// How far eigenvalues may lie below the largest before they are rounding: products are summed in single precision.
const ROUNDING: f64 = 1e-9;

/// The tasks that have a gradient, and the cosines between their gradients.
pub(super) fn cosines(gram: ArrayView2<'_, f64>) -> (Vec<usize>, Array2<f64>) {
    let used: Vec<usize> = (0..gram.nrows()).filter(|&i| gram[[i, i]] > 0.0).collect();
    let norms: Vec<f64> = used.iter().map(|&i| gram[[i, i]].sqrt()).collect();
    let cosines = Array2::from_shape_fn((used.len(), used.len()), |(a, b)| gram[[used[a], used[b]]] / norms[a] / norms[b]);
    (used, cosines)
}

/// The eigenvalues, largest first, and as columns the eigenvectors of a Gram matrix, as many as its gradients have
/// dimensions: those of its cosines that are not rounding.
pub(super) fn eigen(gram: ArrayView2<'_, f64>) -> Result<(Vec<f64>, Array2<f64>)> {
    let rank = spectrum(cosines(gram).1)?.0.len();
    let (values, vectors) = jacobi(gram.to_owned())?;
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    order.truncate(rank);
    let vectors = Array2::from_shape_fn((gram.nrows(), order.len()), |(i, k)| vectors[[i, order[k]]]);
    Ok((order.into_iter().map(|k| values[k]).collect(), vectors))
}

/// C⁺b for a matrix of cosines.
pub(super) fn solve_least_squares(cosines: &Array2<f64>, b: &Array1<f64>) -> Result<Array1<f64>> {
    let (values, vectors) = spectrum(cosines.clone())?;
    let mut solution = Array1::zeros(b.len());
    for (value, vector) in values.iter().zip(vectors.columns()) {
        solution.scaled_add(vector.dot(b) / value, &vector);
    }
    Ok(solution)
}

/// The eigenvalues of a matrix of cosines that are not rounding, and their vectors.
fn spectrum(cosines: Array2<f64>) -> Result<(Vec<f64>, Array2<f64>)> {
    let n = cosines.nrows();
    let (values, vectors) = jacobi(cosines)?;
    let largest = values.iter().copied().fold(0.0, f64::max);
    let kept: Vec<usize> = (0..n).filter(|&k| values[k] > ROUNDING * largest).collect();
    let vectors = Array2::from_shape_fn((n, kept.len()), |(i, k)| vectors[[i, kept[k]]]);
    Ok((kept.into_iter().map(|k| values[k]).collect(), vectors))
}

/// Jacobi's rotations until every |aᵢⱼ| is rounding beside √(aᵢᵢaⱼⱼ). Then also eigenvalues far below the largest have all their
/// digits, as those of gradients of different lengths are (Demmel and Veselić 1992); other methods lose them.
fn jacobi(mut a: Array2<f64>) -> Result<(Vec<f64>, Array2<f64>)> {
    let n = a.nrows();
    let mut vectors = Array2::eye(n);
    for _ in 0..60 {
        let mut rotated = false;
        for p in 0..n {
            for q in p + 1..n {
                let (app, aqq, apq) = (a[[p, p]], a[[q, q]], a[[p, q]]);
                if apq.abs() <= f64::EPSILON * (app.abs().sqrt() * aqq.abs().sqrt()) || apq == 0.0 {
                    continue;
                }
                rotated = true;
                let half = (aqq - app) / (2.0 * apq);
                let t = half.signum() / (half.abs() + half.hypot(1.0));
                let c = 1.0 / t.hypot(1.0);
                let s = t * c;
                for k in 0..n {
                    let (x, y) = (a[[k, p]], a[[k, q]]);
                    (a[[k, p]], a[[k, q]]) = (c * x - s * y, s * x + c * y);
                    let (x, y): (f64, f64) = (vectors[[k, p]], vectors[[k, q]]);
                    (vectors[[k, p]], vectors[[k, q]]) = (c * x - s * y, s * x + c * y);
                }
                for k in 0..n {
                    let (x, y) = (a[[p, k]], a[[q, k]]);
                    (a[[p, k]], a[[q, k]]) = (c * x - s * y, s * x + c * y);
                }
                (a[[p, p]], a[[q, q]]) = (app - t * apq, aqq + t * apq);
                (a[[p, q]], a[[q, p]]) = (0.0, 0.0);
            }
        }
        if !rotated {
            break;
        }
    }
    let values: Vec<f64> = a.diag().to_vec();
    if values.iter().all(|value| value.is_finite()) {
        Ok((values, vectors))
    } else {
        Err(Error::Failed("the products of the gradients are beyond what numbers can hold".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn eigenvalues_of_graded_matrices_keep_their_digits() {
        // D C D with D = (1, 1e-8, 1e8): to first order the eigenvalues are those of the Schur complements.
        let c = array![[1.0, 0.5, 0.2], [0.5, 1.0, -0.3], [0.2, -0.3, 1.0]];
        let d = [1.0, 1e-8, 1e8];
        let gram = Array2::from_shape_fn((3, 3), |(i, j)| d[i] * c[[i, j]] * d[j]);
        let (values, vectors) = eigen(gram.view()).unwrap();
        let middle = 1.0 - 0.2 * 0.2;
        let determinant = 1.0 + 2.0 * 0.5 * 0.2 * -0.3 - 0.25 - 0.04 - 0.09;
        for (found, expected) in values.iter().zip([1e16, middle, 1e-16 * determinant / middle]) {
            assert!((found / expected - 1.0).abs() < 1e-9, "{values:?}");
        }
        let unit = vectors.t().dot(&vectors);
        assert!((unit - Array2::<f64>::eye(3)).iter().all(|v| v.abs() < 1e-12));
        // Rank 1, whatever the lengths.
        let parallel = Array2::from_shape_fn((3, 3), |(i, j)| d[i] * d[j]);
        assert_eq!(eigen(parallel.view()).unwrap().0.len(), 1);
        assert!(eigen(Array2::zeros((2, 2)).view()).unwrap().0.is_empty());
    }
}
