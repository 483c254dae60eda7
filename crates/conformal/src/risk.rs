//! Control of a risk other than missing: any loss that falls as sets grow, or any at all.

use lyceum_core::{Error, Result};
use ndarray::{ArrayView1, ArrayView2};
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

/// Which p-value says that the risk is not above α.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PValue {
    /// [`hoeffding_bentkus`], for losses in \[0, 1\].
    #[default]
    HoeffdingBentkus,
    /// P(Bin(n, α) ≤ Σ losses), exact for losses that are 0 or 1.
    Binomial,
}

/// How several tests together keep to δ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Correction {
    /// One after the other in the grid's order at the level δ, until a hypothesis is not rejected: for a grid sorted by rising risk.
    #[default]
    FixedSequence,
    /// Each at the level δ/L, in any order.
    Bonferroni,
    /// Holm (1979): the smallest p-value at the level δ/L, the next at δ/(L − 1), …, until a hypothesis is not rejected. It rejects at
    /// least what Bonferroni rejects.
    Holm,
}

/// Learn then test (Angelopoulos, Bates, Candès, Jordan and Lei 2021): the λ of a grid whose risk is at most α, all of
/// them with probability 1 − δ, for losses in \[0, 1\] that need not be monotone.
///
/// * `losses`: `n × L`, the loss of each calibration point at each λ of the grid.
///
/// # Errors
///
/// Losses out of range (for [`PValue::Binomial`] others than 0 and 1), α and δ out of range.
pub fn learn_then_test(losses: ArrayView2<'_, f64>, alpha: f64, delta: f64, p_value: PValue, correction: Correction) -> Result<Vec<usize>> {
    check(losses, 1.0)?;
    quantile::check_alpha(alpha)?;
    if !(delta > 0.0 && delta < 1.0) {
        return Err(Error::invalid("delta", delta, "a number > 0 and < 1"));
    }
    if let (PValue::Binomial, Some(((row, column), loss))) =
        (p_value, losses.indexed_iter().find(|(_, loss)| **loss != 0.0 && **loss != 1.0))
    {
        return Err(Error::invalid(format!("loss of row {row}, column {column}"), loss, "0 or 1, which the binomial test counts"));
    }
    let n = losses.nrows();
    let of_column = |column: ArrayView1<'_, f64>| match p_value {
        PValue::HoeffdingBentkus => hoeffding_bentkus(column.sum() / n as f64, n, alpha),
        PValue::Binomial => Binomial::new(alpha, n as u64).map_or(1.0, |binomial| binomial.cdf(column.sum() as u64)),
    };
    let p: Vec<f64> = losses.columns().into_iter().map(of_column).collect();
    let count = p.len();
    Ok(match correction {
        Correction::FixedSequence => (0..p.iter().take_while(|p| **p <= delta).count()).collect(),
        Correction::Bonferroni => (0..count).filter(|column| p[*column] <= delta / count as f64).collect(),
        Correction::Holm => {
            let mut order: Vec<usize> = (0..count).collect();
            order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
            let rejected = order.iter().enumerate().take_while(|(rank, column)| p[**column] <= delta / (count - rank) as f64).count();
            order.truncate(rejected);
            order.sort_unstable();
            order
        }
    })
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
    use lyceum_core::Seed;
    use ndarray::Array2;
    use rand::RngExt;

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
        let found = |p_value, correction| learn_then_test(losses.view(), 0.1, 0.1, p_value, correction).unwrap();
        assert_eq!(found(PValue::HoeffdingBentkus, Correction::FixedSequence), [0, 1]);
        for correction in [Correction::Bonferroni, Correction::Holm] {
            assert_eq!(found(PValue::Binomial, correction), [0, 1]);
        }
        let shares = losses.mapv(|loss| loss / 2.0);
        assert!(learn_then_test(shares.view(), 0.1, 0.1, PValue::Binomial, Correction::Holm).is_err());
    }

    /// Of grids whose columns all have a risk above α, one is chosen in a share δ of the draws at most.
    #[test]
    fn nothing_is_learnt_by_chance() {
        let (alpha, delta, trials) = (0.2, 0.2, 2000);
        let cases = [
            (PValue::HoeffdingBentkus, Correction::FixedSequence),
            (PValue::Binomial, Correction::FixedSequence),
            (PValue::Binomial, Correction::Bonferroni),
            (PValue::Binomial, Correction::Holm),
        ];
        let mut wrong = [0.0; 4];
        for trial in 0..trials {
            let mut rng = Seed::new(trial).stream("risk");
            let losses = Array2::from_shape_fn((100, 5), |_| if rng.random::<f64>() < alpha + 1e-9 { 1.0 } else { 0.0 });
            for (wrong, (p_value, correction)) in wrong.iter_mut().zip(cases) {
                let found = learn_then_test(losses.view(), alpha, delta, p_value, correction).unwrap();
                *wrong += f64::from(u8::from(!found.is_empty())) / trials as f64;
            }
        }
        assert!(wrong.iter().all(|share| *share < delta + 3.0 * (delta * (1.0 - delta) / trials as f64).sqrt()), "{wrong:?}");
        // The exact test is not idle, and Holm not behind Bonferroni.
        assert!(wrong[1] > 0.1 && wrong[2] > 0.05 && wrong[3] >= wrong[2], "{wrong:?}");
    }
}
