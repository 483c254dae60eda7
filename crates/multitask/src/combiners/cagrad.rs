//! Conflict-averse gradient descent.

use lyceum_core::{Result, Stream};
use ndarray::{Array1, ArrayView2};

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
        let tasks = step.gram.nrows();
        let mean = vec![1.0 / tasks as f64; tasks];
        let scale = step.gram.diag().iter().copied().fold(0.0, f64::max);
        if self.radius == 0.0 || scale == 0.0 {
            return Ok(mean);
        }
        // In units of the largest gradient.
        let gram = &step.gram / scale;
        let to_mean = gram.dot(&Array1::from(mean.clone()));
        let radius = self.radius * to_mean.mean().unwrap_or(0.0).max(0.0).sqrt();
        let w = solve(gram.view(), &to_mean, radius);
        let norm = w.dot(&gram.dot(&w)).max(0.0).sqrt();
        if norm < 1e-12 {
            return Ok(mean);
        }
        Ok(mean.iter().zip(&w).map(|(mean, w)| mean + radius / norm * w).collect())
    }
}

/// min over the simplex of ⟨w, b⟩ + r√(wᵀGw), a convex function, by accelerated projected descent with restarts.
fn solve(gram: ArrayView2<'_, f64>, b: &Array1<f64>, radius: f64) -> Array1<f64> {
    let tasks = b.len();
    let norm = |w: &Array1<f64>| w.dot(&gram.dot(w)).max(0.0).sqrt();
    let value = |w: &Array1<f64>| w.dot(b) + radius * norm(w);
    let mut w = Array1::from_elem(tasks, 1.0 / tasks as f64);
    let (mut ahead, mut momentum, mut rate, mut now) = (w.clone(), 1.0_f64, 1.0_f64, value(&w));
    for _ in 0..5_000 {
        let slope = b + &(gram.dot(&ahead) * (radius / norm(&ahead).max(1e-12)));
        let (mut next, mut next_value);
        loop {
            next = onto_simplex(&ahead - &(&slope * rate));
            next_value = value(&next);
            let moved = &next - &ahead;
            if next_value <= value(&ahead) + slope.dot(&moved) + moved.dot(&moved) / (2.0 * rate) + 1e-15 || rate < 1e-12 {
                break;
            }
            rate *= 0.5;
        }
        let moved = (&next - &w).mapv(f64::abs).sum();
        if next_value > now {
            // Momentum has gone too far: begin again from here.
            (ahead, momentum) = (w.clone(), 1.0);
            if moved < 1e-12 {
                break;
            }
            continue;
        }
        let following = 0.5 * (1.0 + (1.0 + 4.0 * momentum * momentum).sqrt());
        ahead = &next + &((&next - &w) * ((momentum - 1.0) / following));
        (momentum, w, now) = (following, next, next_value);
        rate *= 1.2;
        if moved < 1e-13 {
            break;
        }
    }
    w
}

/// The nearest point with coordinates ≥ 0 and sum 1.
fn onto_simplex(mut point: Array1<f64>) -> Array1<f64> {
    let mut sorted = point.to_vec();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let (mut sum, mut shift) = (0.0, 0.0);
    for (index, value) in sorted.into_iter().enumerate() {
        sum += value;
        let candidate = (sum - 1.0) / (index + 1) as f64;
        if value > candidate {
            shift = candidate;
        }
    }
    point.mapv_inplace(|value| (value - shift).max(0.0));
    point
}
