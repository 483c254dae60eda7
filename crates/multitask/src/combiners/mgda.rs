//! The multiple-gradient descent algorithm.

use lyceum_core::{Result, Stream};
use ndarray::ArrayView2;

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

/// Away-step Frank–Wolfe with exact line search; converges linearly on a polytope.
pub(super) fn shortest(gram: ArrayView2<'_, f64>) -> Vec<f64> {
    let tasks = gram.nrows();
    let mut w = vec![1.0 / tasks as f64; tasks];
    let scale = (0..tasks).map(|i| gram[[i, i]]).fold(0.0, f64::max);
    let mut slopes: Vec<f64> = gram.rows().into_iter().map(|row| row.iter().zip(&w).map(|(g, w)| g * w).sum()).collect();
    for _ in 0..10_000 {
        let value: f64 = slopes.iter().zip(&w).map(|(s, w)| s * w).sum();
        let best = (0..tasks).min_by(|&a, &b| slopes[a].total_cmp(&slopes[b])).unwrap_or(0);
        let worst = (0..tasks).filter(|&i| w[i] > 0.0).max_by(|&a, &b| slopes[a].total_cmp(&slopes[b])).unwrap_or(0);
        let (towards, away) = (value - slopes[best], slopes[worst] - value);
        if towards <= 1e-14 * scale {
            break;
        }
        // The direction d moves to the best task, or away from the worst of those with weight.
        let (pivot, sign, most) = if towards >= away { (best, 1.0, 1.0) } else { (worst, -1.0, w[worst] / (1.0 - w[worst]).max(1e-300)) };
        let squared = gram[[pivot, pivot]] - 2.0 * slopes[pivot] + value;
        let gain = if sign > 0.0 { towards } else { away };
        let step = if squared > 0.0 { (gain / squared).min(most) } else { most };
        for (i, (w, slope)) in w.iter_mut().zip(&mut slopes).enumerate() {
            *w = (*w - sign * step * *w).max(0.0);
            *slope += sign * step * (gram[[i, pivot]] - *slope);
        }
        w[pivot] += sign * step;
        if step >= most && sign < 0.0 {
            w[pivot] = 0.0;
        }
    }
    w
}
