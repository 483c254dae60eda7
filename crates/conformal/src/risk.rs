//! Control of a risk other than missing: any loss that falls as sets grow, or any at all.

use lyceum_core::{Error, Result};
use ndarray::ArrayView2;
use statrs::distribution::{Binomial, DiscreteCDF};

use crate::quantile;

/// Conformal risk control (Angelopoulos, Bates, Fisch, Lei and Schuster 2024): the first λ of a rising grid with
/// n/(n + 1)·R̂_n(λ) + B/(n + 1) ≤ α. Then E[loss of a new point at λ̂] ≤ α.
///
/// * `losses`: `n × L`, the loss of each calibration point at each λ of the grid; must not rise along a row; at most
///   `bound` B.
///
/// `None` where no λ of the grid is enough.
pub fn control(losses: ArrayView2<'_, f64>, alpha: f64, bound: f64) -> Result<Option<usize>> {
    check(losses, bound)?;
    if !(alpha > 0.0 && alpha < bound) {
        return Err(Error::invalid("alpha", alpha, format!("a number > 0 and < {bound}, the largest loss")));
    }
    let n = losses.nrows() as f64;
    for (row, losses) in losses.rows().into_iter().enumerate() {
        if let Some(at) = losses.iter().zip(losses.iter().skip(1)).position(|(a, b)| *b > a + 1e-12) {
            let found = format!("{} after {}", losses[at + 1], losses[at]);
            return Err(Error::invalid(format!("loss of row {row}, column {}", at + 1), found, "losses that do not rise along the grid"));
        }
    }
    Ok(losses.columns().into_iter().position(|column| column.sum() / (n + 1.0) + bound / (n + 1.0) <= alpha + 1e-12))
}

/// Learn then test (Angelopoulos, Bates, Candès, Jordan and Lei 2021): the λ of a grid whose risk is at most α, all of
/// them with probability 1 − δ, for losses in \[0, 1\] that need not be monotone. Hypotheses are tested in the grid's
/// order, from the safest on, until one stands (fixed-sequence testing), so it should be sorted by rising risk.
pub fn learn_then_test(losses: ArrayView2<'_, f64>, alpha: f64, delta: f64) -> Result<Vec<usize>> {
    check(losses, 1.0)?;
    quantile::check_alpha(alpha)?;
    if !(delta > 0.0 && delta < 1.0) {
        return Err(Error::invalid("delta", delta, "a number > 0 and < 1"));
    }
    let n = losses.nrows();
    let valid = losses.columns().into_iter().map(|column| hoeffding_bentkus(column.sum() / n as f64, n, alpha)).take_while(|p| *p <= delta);
    Ok((0..valid.count()).collect())
}

/// A p-value for "the risk is above α" from the mean of n losses in \[0, 1\]: the smaller of Hoeffding's
/// exp(−n·kl(min(R̂, α), α)) and Bentkus' e·P(Bin(n, α) ≤ ⌈nR̂⌉).
pub fn hoeffding_bentkus(mean: f64, n: usize, alpha: f64) -> f64 {
    let a = mean.min(alpha);
    let term = |p: f64, q: f64| if p > 0.0 { p * (p / q).ln() } else { 0.0 };
    let hoeffding = (-(n as f64) * (term(a, alpha) + term(1.0 - a, 1.0 - alpha))).exp();
    let count = (n as f64 * mean - 1e-9).ceil().max(0.0) as u64;
    let bentkus = Binomial::new(alpha, n as u64).map_or(1.0, |binomial| std::f64::consts::E * binomial.cdf(count));
    hoeffding.min(bentkus).min(1.0)
}

fn check(losses: ArrayView2<'_, f64>, bound: f64) -> Result<()> {
    if !(bound > 0.0 && bound.is_finite()) {
        return Err(Error::invalid("bound", bound, "a finite number > 0"));
    }
    match losses.indexed_iter().find(|(_, loss)| !(**loss >= 0.0 && **loss <= bound)) {
        Some(((row, column), loss)) => Err(Error::invalid(format!("loss of row {row}, column {column}"), loss, format!("0 to {bound}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    /// With the loss "missed", risk control is split conformal prediction.
    #[test]
    fn missing_is_a_risk() {
        for n in [9, 20, 57] {
            let mut scores: Vec<f64> = (0..n).map(|i| f64::from(i * 31 % 97)).collect();
            let grid: Vec<f64> = (0..97).map(f64::from).collect();
            let losses = Array2::from_shape_fn((n as usize, 97), |(row, column)| if scores[row] <= grid[column] { 0.0 } else { 1.0 });
            let found = control(losses.view(), 0.2, 1.0).unwrap().map(|index| grid[index]);
            assert_eq!(found, Some(quantile::threshold(&mut scores, 0.2)), "{n}");
        }
        assert_eq!(control(Array2::ones((5, 3)).view(), 0.5, 1.0).unwrap(), None);
        let rising = Array2::from_shape_fn((2, 2), |(_, column)| column as f64);
        assert!(control(rising.view(), 0.5, 1.0).unwrap_err().to_string().contains("do not rise"));
    }

    #[test]
    fn p_values_are_valid() {
        assert_eq!(hoeffding_bentkus(0.5, 100, 0.1), 1.0);
        // P(Bin(100, 0.1) = 0) = 0.9¹⁰⁰, and Hoeffding gives the same for a mean of 0.
        assert!((hoeffding_bentkus(0.0, 100, 0.1) - 0.9_f64.powi(100)).abs() < 1e-12);
        let mut last = 0.0;
        for misses in 0..30 {
            let p = hoeffding_bentkus(f64::from(misses) / 100.0, 100, 0.1);
            assert!(p >= last && p >= Binomial::new(0.1, 100).unwrap().cdf(misses as u64) - 1e-12);
            last = p;
        }
        let losses = Array2::from_shape_fn((200, 4), |(row, column)| if row % 200 < column * 10 { 1.0 } else { 0.0 });
        assert_eq!(learn_then_test(losses.view(), 0.1, 0.1).unwrap(), [0, 1]);
    }
}
