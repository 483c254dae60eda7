//! The multiple-gradient descent algorithm.

use lyceum_core::{Result, Stream};
use ndarray::ArrayView2;

use super::simplex::{minimise, product, rounding, times};
use crate::combiner::{Rule, Step};

/// The shortest convex combination: min ‖Σ wᵢgᵢ‖² over w ≥ 0, Σw = 1 (Désidéri 2012; Sener and Koltun 2018). It descends in
/// every task, or is 0 where no direction does.
#[derive(Debug, Clone, Copy)]
pub struct Mgda;

impl Rule for Mgda {
    fn coefficients(&mut self, step: Step<'_>, _: &mut Stream) -> Result<Vec<f64>> {
        Ok(shortest(step.gram))
    }
}

/// The weights of the shortest convex combination.
fn shortest(gram: ArrayView2<'_, f64>) -> Vec<f64> {
    // It is no longer than the shortest gradient, which may be many orders of magnitude below the longest.
    let scale = gram.diag().iter().copied().fold(f64::INFINITY, f64::min);
    let length = |w: &[f64], d: &[f64]| {
        let curvature = product(gram, d, d);
        if curvature > 0.0 { -product(gram, w, d) / curvature } else { f64::INFINITY }
    };
    minimise(gram.nrows(), |w| times(gram, w), length, |w, i| 1e-14 * scale + rounding(gram, w, i))
}
