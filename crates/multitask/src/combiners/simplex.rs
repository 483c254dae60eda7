//! Convex functions of weights that are at least 0 and sum to 1.

use ndarray::ArrayView2;

/// The weights at which a function is least, by Frank–Wolfe steps towards the best task and away from the worst, each as far as
/// the function falls (Lacoste-Julien and Jaggi 2015). Nothing in it depends on the lengths of the tasks' gradients.
///
/// * `slopes`: the function's gradient at these weights.
/// * `length`: how far to go from these weights in this direction, if it is unbounded.
/// * `gap`: how far a task's slope may lie from the mean and still be rounding; where all do, the search ends.
pub(super) fn minimise(
    tasks: usize,
    slopes: impl Fn(&[f64]) -> Vec<f64>,
    length: impl Fn(&[f64], &[f64]) -> f64,
    gap: impl Fn(&[f64], usize) -> f64,
) -> Vec<f64> {
    let mut w = vec![1.0 / tasks as f64; tasks];
    for _ in 0..10_000 {
        // Found from the weights alone: what a long gradient leaves when its weight goes is rounding beside a short one.
        let slopes = slopes(&w);
        let value = dot(&slopes, &w);
        let off: Vec<f64> = (0..tasks).map(|i| slopes[i] - value).collect();
        let gaps: Vec<f64> = (0..tasks).map(|i| gap(&w, i)).collect();
        let best = (0..tasks).filter(|&i| -off[i] > gaps[i]).min_by(|&a, &b| off[a].total_cmp(&off[b]));
        let worst = (0..tasks).filter(|&i| w[i] > 0.0 && off[i] > gaps[i]).max_by(|&a, &b| off[a].total_cmp(&off[b]));
        let (pivot, sign, most) = match (best, worst) {
            (Some(best), worst) if worst.is_none_or(|worst| -off[best] >= off[worst]) => (best, 1.0, 1.0),
            (_, Some(worst)) => (worst, -1.0, w[worst] / (1.0 - w[worst]).max(1e-300)),
            _ => break,
        };
        let mut direction: Vec<f64> = w.iter().map(|w| -sign * w).collect();
        direction[pivot] += sign;
        let step = length(&w, &direction).clamp(0.0, most);
        let before = w.clone();
        w.iter_mut().zip(&direction).for_each(|(w, d)| *w = (*w + step * d).max(0.0));
        if step >= most {
            // Exactly the corner, or exactly without the worst.
            if sign > 0.0 { w.iter_mut().enumerate().for_each(|(i, w)| *w = f64::from(u8::from(i == pivot))) } else { w[pivot] = 0.0 }
        }
        if w == before {
            break;
        }
    }
    w
}

/// wᵀGv.
pub(super) fn product(gram: ArrayView2<'_, f64>, w: &[f64], v: &[f64]) -> f64 {
    gram.rows().into_iter().zip(w).map(|(row, w)| w * row.iter().zip(v).map(|(g, v)| g * v).sum::<f64>()).sum()
}

/// Gw.
pub(super) fn times(gram: ArrayView2<'_, f64>, w: &[f64]) -> Vec<f64> {
    gram.rows().into_iter().map(|row| row.iter().zip(w).map(|(g, w)| g * w).sum()).collect()
}

/// What of (Gw)ᵢ is rounding.
pub(super) fn rounding(gram: ArrayView2<'_, f64>, w: &[f64], i: usize) -> f64 {
    4.0 * f64::EPSILON * gram.row(i).iter().zip(w).map(|(g, w)| (g * w).abs()).sum::<f64>()
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
