//! The conformal quantile.

use lyceum_core::{Error, Result};

/// k = ⌈(1 − α)(n + 1)⌉, computed as n + 1 − ⌊α(n + 1)⌋ with a guard against the rounding of α(n + 1).
///
/// ```
/// use lyceum_conformal::quantile::rank;
/// assert_eq!([8, 9, 10, 11, 19, 99, 1000].map(|n| rank(n, 0.1)), [9, 9, 10, 11, 18, 90, 901]);
/// ```
pub fn rank(n: usize, alpha: f64) -> usize {
    let share = alpha * (n + 1) as f64;
    n + 1 - ((share + 1e-9 * share.max(1.0)).floor() as usize).min(n + 1)
}

/// The fewest calibration examples for which the threshold is finite: ⌈1/α⌉ − 1.
///
/// ```
/// use lyceum_conformal::quantile::fewest;
/// assert_eq!([0.5, 0.3, 0.1, 0.05, 0.01].map(fewest), [1, 3, 9, 19, 99]);
/// ```
pub fn fewest(alpha: f64) -> usize {
    let about = (1.0 / alpha) as usize;
    // The rank decides, which guards against rounding.
    (about.saturating_sub(2).max(1)..=about + 1).find(|n| rank(*n, alpha) <= *n).unwrap_or(about + 1)
}

/// Errors unless 0 < α < 1.
pub fn check_alpha(alpha: f64) -> Result<()> {
    if alpha > 0.0 && alpha < 1.0 { Ok(()) } else { Err(Error::invalid("alpha", alpha, "a number > 0 and < 1")) }
}

/// The k-th smallest score with k = ⌈(1 − α)(n + 1)⌉; infinity where k > n, so that every label is in the set.
/// The scores are reordered.
pub fn threshold(scores: &mut [f64], alpha: f64) -> f64 {
    let (n, k) = (scores.len(), rank(scores.len(), alpha));
    if k > n {
        return f64::INFINITY;
    }
    if k == 0 {
        return f64::NEG_INFINITY;
    }
    *scores.select_nth_unstable_by(k - 1, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_samples() {
        let mut scores: Vec<f64> = (1..=9).rev().map(f64::from).collect();
        assert_eq!(threshold(&mut scores, 0.1), 9.0);
        assert_eq!(threshold(&mut scores[..8], 0.1), f64::INFINITY);
        assert_eq!(threshold(&mut [], 0.1), f64::INFINITY);
        assert_eq!(threshold(&mut [3.0, 1.0, 2.0], 0.5), 2.0);
    }

    #[test]
    fn no_rounding_error_moves_the_rank() {
        for n in 0..5000 {
            for (thousandths, alpha) in [(100, 0.1), (50, 0.05), (10, 0.01), (200, 0.2), (300, 0.3), (5, 0.005)] {
                assert_eq!(rank(n, alpha), n + 1 - thousandths * (n + 1) / 1000, "n = {n}, alpha = {alpha}");
            }
        }
    }
}
