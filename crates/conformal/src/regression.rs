//! Prediction intervals for numbers: split, quantile regression, jackknife+ and CV+.

use lyceum_core::{Error, Result};
use ndarray::ArrayView2;

use crate::{mondrian::same_length, quantile};

/// A lower and an upper end.
pub type Interval = (f64, f64);

/// ŷ ± q with q the conformal quantile of |y − ŷ| (Lei, G'Sell, Rinaldo, Tibshirani and Wasserman 2018). With a
/// measure of difficulty σ̂ for each point the interval is ŷ ± q·σ̂, q that of |y − ŷ|/σ̂. [`split_intervals`] applies q.
pub fn split(predictions: &[f64], difficulty: Option<&[f64]>, y: &[f64], alpha: f64) -> Result<f64> {
    quantile::check_alpha(alpha)?;
    let mut scores: Vec<f64> = scaled_errors(predictions, difficulty, y)?.into_iter().map(f64::abs).collect();
    Ok(quantile::threshold(&mut scores, alpha))
}

/// (y − ŷ)/σ̂ of each point.
pub(crate) fn scaled_errors(predictions: &[f64], difficulty: Option<&[f64]>, y: &[f64]) -> Result<Vec<f64>> {
    same_length("y", y.len(), predictions.len())?;
    finite("prediction", predictions)?;
    finite("y", y)?;
    check_difficulty(difficulty, predictions.len())?;
    let scale = |row: usize| difficulty.map_or(1.0, |difficulty| difficulty[row]);
    Ok(predictions.iter().zip(y).enumerate().map(|(row, (p, y))| (y - p) / scale(row)).collect())
}

/// The intervals ŷ ± q, or ŷ ± q·σ̂, of new points, q from [`split`].
pub fn split_intervals(q: f64, predictions: &[f64], difficulty: Option<&[f64]>) -> Result<Vec<Interval>> {
    finite("prediction", predictions)?;
    check_difficulty(difficulty, predictions.len())?;
    let half = |row: usize| q * difficulty.map_or(1.0, |difficulty| difficulty[row]);
    Ok(predictions.iter().enumerate().map(|(row, p)| (p - half(row), p + half(row))).collect())
}

/// Conformalised quantile regression (Romano, Patterson and Candès 2019): \[lo − q, hi + q\] with q the conformal
/// quantile of max(lo − y, y − hi), which may be below 0. `ends` are the regression's quantiles of each point, lower and
/// upper; where they cross, sort them first. [`widened`] applies q.
pub fn quantile_regression(ends: &[Interval], y: &[f64], alpha: f64) -> Result<f64> {
    quantile::check_alpha(alpha)?;
    same_length("y", y.len(), ends.len())?;
    check_ends(ends)?;
    finite("y", y)?;
    let mut scores: Vec<f64> = ends.iter().zip(y).map(|((low, high), y)| (low - y).max(y - high)).collect();
    Ok(quantile::threshold(&mut scores, alpha))
}

/// The same with an error of its own at each end (Romano, Patterson and Candès 2019, theorem 2): \[lo − q₁, hi + q₂\] with q₁ and q₂ the
/// conformal quantiles of lo − y and of y − hi at α/2, so that each end is missed with probability α/2 at most.
pub fn asymmetric_quantile_regression(ends: &[Interval], y: &[f64], alpha: f64) -> Result<[f64; 2]> {
    quantile::check_alpha(alpha)?;
    same_length("y", y.len(), ends.len())?;
    check_ends(ends)?;
    finite("y", y)?;
    let quantile = |score: fn(&Interval, f64) -> f64| {
        let mut scores: Vec<f64> = ends.iter().zip(y).map(|(ends, y)| score(ends, *y)).collect();
        quantile::threshold(&mut scores, alpha / 2.0)
    };
    Ok([quantile(|(low, _), y| low - y), quantile(|(_, high), y| y - high)])
}

/// The quantiles of new points widened by q of [`quantile_regression`]. An interval that a negative q leaves nothing of is
/// its middle.
pub fn widened(q: f64, ends: &[Interval]) -> Result<Vec<Interval>> {
    widened_by([q; 2], ends)
}

/// As [`widened`], each end by its own.
pub fn widened_by([below, above]: [f64; 2], ends: &[Interval]) -> Result<Vec<Interval>> {
    check_ends(ends)?;
    let widen = |&(low, high): &Interval| {
        let (low_end, high_end) = (low - below, high + above);
        let middle = low + (high - low) / 2.0;
        if low_end <= high_end { (low_end, high_end) } else { (middle, middle) }
    };
    Ok(ends.iter().map(widen).collect())
}

/// Jackknife+ and CV+ (Barber, Candès, Ramdas and Tibshirani 2021): coverage at least 1 − 2α, in practice about 1 − α,
/// without data apart for calibration.
///
/// * `residuals`: |y_i − ŷ_{−i}(x_i)| of each training point, predicted by a model that did not see it (or its fold).
/// * `predictions`: `m × n`, the prediction of each new point by the model that left out training point i.
pub fn jackknife_plus(residuals: &[f64], predictions: ArrayView2<'_, f64>, alpha: f64) -> Result<Vec<Interval>> {
    quantile::check_alpha(alpha)?;
    if predictions.ncols() != residuals.len() {
        let allowed = format!("one for each of {} residuals", residuals.len());
        return Err(Error::invalid("predictions", format!("{} columns", predictions.ncols()), allowed));
    }
    each("residual", residuals, |value| *value >= 0.0 && value.is_finite(), "a finite number >= 0: |y - prediction|")?;
    if let Some(((row, column), value)) = predictions.indexed_iter().find(|(_, value)| !value.is_finite()) {
        return Err(Error::invalid(format!("prediction of row {row}, column {column}"), value, "a finite number"));
    }
    let interval = |row: ndarray::ArrayView1<'_, f64>| {
        let mut low: Vec<f64> = row.iter().zip(residuals).map(|(p, r)| -(p - r)).collect();
        let mut high: Vec<f64> = row.iter().zip(residuals).map(|(p, r)| p + r).collect();
        (-quantile::threshold(&mut low, alpha), quantile::threshold(&mut high, alpha))
    };
    Ok(predictions.rows().into_iter().map(interval).collect())
}

/// The jackknife-minmax (Barber et al. 2021): coverage at least 1 − α, with wider intervals than [`jackknife_plus`], of the same numbers:
/// from the least prediction less the conformal quantile of the residuals to the largest plus it.
pub fn jackknife_minmax(residuals: &[f64], predictions: ArrayView2<'_, f64>, alpha: f64) -> Result<Vec<Interval>> {
    // The same numbers are looked at in the same way.
    jackknife_plus(residuals, predictions, alpha)?;
    let q = quantile::threshold(&mut residuals.to_vec(), alpha);
    let ends = |row: ndarray::ArrayView1<'_, f64>| {
        let ends = row.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), p| (low.min(*p), high.max(*p)));
        (ends.0 - q, ends.1 + q)
    };
    Ok(predictions.rows().into_iter().map(ends).collect())
}

fn each<T: Copy + std::fmt::Debug>(what: &str, values: &[T], valid: impl Fn(&T) -> bool, allowed: &str) -> Result<()> {
    match values.iter().position(|value| !valid(value)) {
        Some(row) => Err(Error::invalid(format!("{what} of row {row}"), format!("{:?}", values[row]), allowed)),
        None => Ok(()),
    }
}

pub(crate) fn finite(what: &str, values: &[f64]) -> Result<()> {
    each(what, values, |value| value.is_finite(), "a finite number")
}

fn check_difficulty(difficulty: Option<&[f64]>, rows: usize) -> Result<()> {
    let Some(difficulty) = difficulty else { return Ok(()) };
    same_length("difficulty", difficulty.len(), rows)?;
    each("difficulty", difficulty, |value| *value > 0.0 && value.is_finite(), "a finite number > 0")
}

fn check_ends(ends: &[Interval]) -> Result<()> {
    let valid = |(low, high): &Interval| low.is_finite() && high.is_finite() && low <= high;
    each("ends", ends, valid, "finite numbers, the lower end first")
}

#[cfg(test)]
mod tests {
    use super::*;
    use lyceum_core::Seed;
    use ndarray::Array2;
    use rand::RngExt;

    #[test]
    fn quantiles_worked_by_hand() {
        let predictions = [0.0; 9];
        let y: Vec<f64> = (1..=9).map(f64::from).collect();
        assert_eq!(split(&predictions, None, &y, 0.1).unwrap(), 9.0);
        assert_eq!(split(&predictions, None, &y, 0.5).unwrap(), 5.0);
        assert_eq!(split(&predictions[..8], None, &y[..8], 0.1).unwrap(), f64::INFINITY);
        assert_eq!(split(&predictions, Some(&y), &y, 0.1).unwrap(), 1.0);
        assert_eq!(quantile_regression(&[(0.0, 20.0); 9], &y, 0.1).unwrap(), -1.0);
        assert_eq!(split_intervals(2.0, &[1.0, 5.0], Some(&[1.0, 0.5])).unwrap(), [(-1.0, 3.0), (4.0, 6.0)]);
        assert_eq!(widened(1.0, &[(0.0, 20.0)]).unwrap(), [(-1.0, 21.0)]);
        assert_eq!(widened(-3.0, &[(0.0, 4.0), (0.0, 8.0)]).unwrap(), [(2.0, 2.0), (3.0, 5.0)]);
        let found = jackknife_plus(&[1.0; 9], Array2::from_shape_fn((1, 9), |(_, i)| i as f64).view(), 0.1).unwrap();
        assert_eq!(found, [(-1.0, 9.0)]);
        assert!(split(&[f64::NAN], None, &[0.0], 0.1).is_err());
    }

    #[test]
    fn intervals_cover_over_many_splits() {
        let (mut covered, mut jackknife, trials) = ([0.0; 3], [0.0; 2], 1000);
        for trial in 0..trials {
            let mut rng = Seed::new(trial).stream("regression");
            let mut draw = || {
                let x = rng.random::<f64>();
                (x, 2.0 * x + (0.2 + x) * (rng.random::<f64>() - 0.5))
            };
            let calibration: Vec<(f64, f64)> = (0..30).map(|_| draw()).collect();
            let (x, y) = draw();
            let (px, py): (Vec<f64>, Vec<f64>) = calibration.iter().map(|(x, y)| (2.1 * x, *y)).unzip();
            let q = split(&px, None, &py, 0.2).unwrap();
            covered[0] += f64::from(u8::from((y - 2.1 * x).abs() <= q));
            let ends: Vec<Interval> = calibration.iter().map(|(x, _)| (1.8 * x, 2.2 * x)).collect();
            let q = quantile_regression(&ends, &py, 0.2).unwrap();
            covered[1] += f64::from(u8::from(1.8 * x - q <= y && y <= 2.2 * x + q));
            let q = asymmetric_quantile_regression(&ends, &py, 0.2).unwrap();
            let (low, high) = widened_by(q, &[(1.8 * x, 2.2 * x)]).unwrap()[0];
            covered[2] += f64::from(u8::from(low <= y && y <= high));
            // Leave-one-out slopes of a line through 0.
            let fit = |left_out: usize| {
                let sums = calibration.iter().enumerate().filter(|(i, _)| *i != left_out);
                let (xy, xx) = sums.fold((0.0, 0.0), |(xy, xx), (_, (x, y))| (xy + x * y, xx + x * x));
                xy / xx
            };
            let slopes: Vec<f64> = (0..30).map(fit).collect();
            let residuals: Vec<f64> = calibration.iter().zip(&slopes).map(|((x, y), slope)| (y - slope * x).abs()).collect();
            let predictions = Array2::from_shape_fn((1, 30), |(_, i)| slopes[i] * x);
            for (covered, interval) in jackknife.iter_mut().zip([jackknife_plus, jackknife_minmax]) {
                let (low, high) = interval(&residuals, predictions.view(), 0.2).unwrap()[0];
                *covered += f64::from(u8::from(low <= y && y <= high));
            }
        }
        // k = 25 of 30: 25/31 of the new points are covered on average; k = 28 at each end: 1 − 2·3/31.
        for (share, expected) in covered.map(|covered| covered / trials as f64).into_iter().zip([25.0 / 31.0, 25.0 / 31.0, 25.0 / 31.0]) {
            assert!((share - expected).abs() < 3.0 * (0.8_f64 * 0.2 / trials as f64).sqrt(), "{share}");
        }
        let [plus, minmax] = jackknife.map(|covered| covered / trials as f64);
        assert!(plus > 0.76 && minmax > 0.8 - 3.0 * (0.8_f64 * 0.2 / trials as f64).sqrt(), "{plus} {minmax}");
    }

    #[test]
    fn values_that_no_interval_can_come_from_are_refused() {
        let refused = |found: Result<f64>, what: &str| {
            let error = found.unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains(what), "{error}");
        };
        for wrong in [f64::NAN, f64::INFINITY] {
            refused(split(&[0.0, wrong], None, &[0.0; 2], 0.5), "prediction of row 1");
            refused(split(&[0.0; 2], None, &[wrong, 0.0], 0.5), "y of row 0");
            refused(quantile_regression(&[(0.0, wrong)], &[0.0], 0.5), "ends of row 0");
            assert!(split_intervals(1.0, &[wrong], None).is_err() && widened(1.0, &[(wrong, 1.0)]).is_err());
            assert!(jackknife_plus(&[wrong], Array2::zeros((1, 1)).view(), 0.5).is_err());
            assert!(jackknife_plus(&[1.0], Array2::from_elem((1, 1), wrong).view(), 0.5).is_err());
        }
        refused(split(&[0.0; 3], None, &[0.0; 2], 0.5), "y: found 2");
        refused(split(&[0.0], Some(&[-1.0]), &[0.0], 0.5), "difficulty of row 0");
        refused(split(&[0.0], None, &[0.0], f64::NAN), "alpha");
        refused(quantile_regression(&[(0.0, 1.0), (2.0, 1.0)], &[0.0; 2], 0.5), "ends of row 1");
        assert!(split_intervals(1.0, &[0.0], Some(&[1.0, 2.0])).is_err() && widened(1.0, &[(2.0, 1.0)]).is_err());
        assert!(jackknife_plus(&[-1.0], Array2::zeros((1, 1)).view(), 0.5).is_err());
    }
}
