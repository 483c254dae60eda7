//! Prediction intervals for numbers: split, quantile regression, jackknife+ and CV+.

use lyceum_core::{Error, Result};
use ndarray::ArrayView2;

use crate::{mondrian::same_length, quantile};

/// A lower and an upper end.
pub type Interval = (f64, f64);

/// ŷ ± q with q the conformal quantile of |y − ŷ| (Lei, G'Sell, Rinaldo, Tibshirani and Wasserman 2018). With a
/// measure of difficulty σ̂ for each point the interval is ŷ ± q·σ̂, q that of |y − ŷ|/σ̂.
pub fn split(predictions: &[f64], difficulty: Option<&[f64]>, y: &[f64], alpha: f64) -> Result<f64> {
    same_length("y", y.len(), predictions.len())?;
    quantile::check_alpha(alpha)?;
    let scale = |row: usize| difficulty.map_or(1.0, |difficulty| difficulty[row]);
    if let Some(difficulty) = difficulty {
        same_length("difficulty", difficulty.len(), predictions.len())?;
        if let Some(row) = difficulty.iter().position(|value| !(*value > 0.0 && value.is_finite())) {
            return Err(Error::invalid(format!("difficulty of row {row}"), difficulty[row], "a finite number > 0"));
        }
    }
    let mut scores: Vec<f64> = predictions.iter().zip(y).enumerate().map(|(row, (p, y))| (y - p).abs() / scale(row)).collect();
    check_scores(&scores)?;
    Ok(quantile::threshold(&mut scores, alpha))
}

/// Conformalised quantile regression (Romano, Patterson and Candès 2019): \[lo − q, hi + q\] with q the conformal
/// quantile of max(lo − y, y − hi), which may be below 0. `ends` are the regression's quantiles of each point.
pub fn quantile_regression(ends: &[Interval], y: &[f64], alpha: f64) -> Result<f64> {
    same_length("y", y.len(), ends.len())?;
    quantile::check_alpha(alpha)?;
    let mut scores: Vec<f64> = ends.iter().zip(y).map(|((low, high), y)| (low - y).max(y - high)).collect();
    check_scores(&scores)?;
    Ok(quantile::threshold(&mut scores, alpha))
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
    check_scores(residuals)?;
    let interval = |row: ndarray::ArrayView1<'_, f64>| {
        let mut low: Vec<f64> = row.iter().zip(residuals).map(|(p, r)| -(p - r)).collect();
        let mut high: Vec<f64> = row.iter().zip(residuals).map(|(p, r)| p + r).collect();
        (-quantile::threshold(&mut low, alpha), quantile::threshold(&mut high, alpha))
    };
    Ok(predictions.rows().into_iter().map(interval).collect())
}

fn check_scores(scores: &[f64]) -> Result<()> {
    match scores.iter().position(|score| score.is_nan()) {
        Some(row) => Err(Error::invalid(format!("prediction or y of row {row}"), "NaN", "numbers")),
        None => Ok(()),
    }
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
        let found = jackknife_plus(&[1.0; 9], Array2::from_shape_fn((1, 9), |(_, i)| i as f64).view(), 0.1).unwrap();
        assert_eq!(found, [(-1.0, 9.0)]);
        assert!(split(&[f64::NAN], None, &[0.0], 0.1).is_err());
    }

    #[test]
    fn intervals_cover_over_many_splits() {
        let (mut covered, mut jackknife, trials) = ([0.0; 2], 0.0, 1000);
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
            // Leave-one-out slopes of a line through 0.
            let fit = |left_out: usize| {
                let sums = calibration.iter().enumerate().filter(|(i, _)| *i != left_out);
                let (xy, xx) = sums.fold((0.0, 0.0), |(xy, xx), (_, (x, y))| (xy + x * y, xx + x * x));
                xy / xx
            };
            let slopes: Vec<f64> = (0..30).map(fit).collect();
            let residuals: Vec<f64> = calibration.iter().zip(&slopes).map(|((x, y), slope)| (y - slope * x).abs()).collect();
            let predictions = Array2::from_shape_fn((1, 30), |(_, i)| slopes[i] * x);
            let (low, high) = jackknife_plus(&residuals, predictions.view(), 0.2).unwrap()[0];
            jackknife += f64::from(u8::from(low <= y && y <= high));
        }
        // k = 25 of 30: 25/31 of the new points are covered on average.
        for share in covered.map(|covered| covered / trials as f64) {
            assert!((share - 25.0 / 31.0).abs() < 3.0 * (0.8_f64 * 0.2 / trials as f64).sqrt(), "{share}");
        }
        assert!(jackknife / trials as f64 > 0.76, "{jackknife}");
    }
}
