//! Multi-task learning as a bargaining game.

use faer::{Mat, Side, linalg::solvers::Solve};
use lyceum_core::{Error, Result, Stream};
use ndarray::{Array1, Array2};

use super::spectrum::cosines;
use crate::combiner::{Rule, Step};

/// Nash's bargaining solution: α > 0 with Gα = 1/α, coordinate by coordinate; the update is Σ αᵢgᵢ (Navon, Shamsian, Achituve,
/// Maron, Kawaguchi, Chechik and Fetaya 2022). α is where the convex ½αᵀGα − Σ ln αᵢ is least; it is found by Newton's method
/// to rounding, where the authors approximate it. It does not depend on the scale of any task's loss. Tasks without a gradient
/// are left out; where gradients cancel, a small multiple of the identity keeps α finite.
#[derive(Debug, Clone, Copy)]
pub struct NashMtl;

/// The ridge, in units of each task's squared norm.
const RIDGE: f64 = 1e-8;

impl Rule for NashMtl {
    fn coefficients(&mut self, step: Step<'_>, _: &mut Stream) -> Result<Vec<f64>> {
        let tasks = step.gram.nrows();
        // In units of each task's norm.
        let (used, mut cosines) = cosines(step.gram);
        cosines.diag_mut().mapv_inplace(|one| one + RIDGE);
        let found = solve(&cosines)?;
        let mut coefficients = vec![0.0; tasks];
        used.iter().zip(found).for_each(|(&i, alpha)| coefficients[i] = alpha / step.gram[[i, i]].sqrt());
        Ok(coefficients)
    }
}

fn solve(gram: &Array2<f64>) -> Result<Array1<f64>> {
    let n = gram.nrows();
    let value = |alpha: &Array1<f64>| 0.5 * alpha.dot(&gram.dot(alpha)) - alpha.iter().map(|a| a.ln()).sum::<f64>();
    let mut alpha = Array1::from_elem(n, 1.0 / (n as f64).sqrt());
    for _ in 0..200 {
        let slope = gram.dot(&alpha) - alpha.mapv(f64::recip);
        let curvature = Mat::from_fn(n, n, |i, j| gram[[i, j]] + if i == j { alpha[i].powi(-2) } else { 0.0 });
        let right = Mat::from_fn(n, 1, |i, _| slope[i]);
        let factor = curvature.llt(Side::Lower).map_err(|error| Error::Failed(format!("Nash-MTL: {error:?}")))?;
        let solution = factor.solve(&right);
        let step = Array1::from_shape_fn(n, |i| solution[(i, 0)]);
        let decrement = slope.dot(&step);
        if decrement < 1e-24 * n as f64 {
            break;
        }
        let (now, mut length) = (value(&alpha), 1.0);
        loop {
            let next = &alpha - &(&step * length);
            if next.iter().all(|a| *a > 0.0) && value(&next) <= now - 1e-4 * length * decrement + 1e-14 * now.abs() {
                alpha = next;
                break;
            }
            length *= 0.5;
            if length < 1e-12 {
                return Ok(alpha);
            }
        }
    }
    Ok(alpha)
}
