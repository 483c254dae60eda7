//! Calibrated intervals around what a model says of numbers.

use lyceum_core::{Error, Result};
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use crate::{
    quantile,
    regression::{self, Interval},
};

/// Intervals with coverage at least 1 − α on exchangeable data. Of a model that gives one number ŷ they are ŷ ± q
/// ([`regression::split`]); of one that gives three, a lower quantile, the median and an upper quantile, \[lo − q, hi + q\]
/// ([`regression::quantile_regression`]). Quantiles that cross are sorted first (Chernozhukov, Fernández-Val and Galichon 2010).
///
/// ```
/// use lyceum_conformal::intervals::Intervals;
/// use ndarray::array;
///
/// let intervals = Intervals::calibrate(array![[1.0], [2.0], [4.0]].view(), &[1.5, 2.0, 3.0], 0.5)?;
/// assert_eq!(intervals.of(array![[7.0]].view())?, [(6.5, 7.5)]);
/// # Ok::<(), lyceum_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Intervals {
    /// The share of numbers that may lie outside.
    alpha: f64,
    /// The conformal quantile; none where calibration examples are too few, and intervals are all numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    q: Option<f64>,
    /// How many examples it was calibrated on.
    calibration_size: usize,
}

#[derive(Deserialize)]
struct Unchecked {
    alpha: f64,
    #[serde(default)]
    q: Option<f64>,
    calibration_size: usize,
}

impl TryFrom<Unchecked> for Intervals {
    type Error = Error;

    fn try_from(Unchecked { alpha, q, calibration_size }: Unchecked) -> Result<Self> {
        quantile::check_alpha(alpha)?;
        match q {
            Some(q) if !q.is_finite() => Err(Error::invalid("q", q, "a finite number")),
            _ => Ok(Self { alpha, q, calibration_size }),
        }
    }
}

impl Intervals {
    /// From what a model gives for examples that it was not trained on, a row each, and the truth.
    ///
    /// # Errors
    ///
    /// Rows of neither one number nor three, another count of truths, and numbers that are not finite.
    pub fn calibrate(outputs: ArrayView2<'_, f64>, y: &[f64], alpha: f64) -> Result<Self> {
        let q = match outputs.ncols() {
            1 => regression::split(&outputs.iter().copied().collect::<Vec<_>>(), None, y, alpha)?,
            _ => regression::quantile_regression(&ends(outputs)?, y, alpha)?,
        };
        Ok(Self { alpha, q: Some(q).filter(|q| q.is_finite()), calibration_size: y.len() })
    }

    /// The intervals of new examples.
    ///
    /// # Errors
    ///
    /// As [`calibrate`](Self::calibrate).
    pub fn of(&self, outputs: ArrayView2<'_, f64>) -> Result<Vec<Interval>> {
        let q = self.q.unwrap_or(f64::INFINITY);
        match outputs.ncols() {
            1 => regression::split_intervals(q, &outputs.iter().copied().collect::<Vec<_>>(), None),
            _ => regression::widened(q, &ends(outputs)?),
        }
    }

    /// The share of numbers that may lie outside.
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// The conformal quantile, in units of the numbers; none where intervals are all numbers.
    pub fn q(&self) -> Option<f64> {
        self.q
    }

    /// How many examples it was calibrated on.
    pub fn calibration_size(&self) -> usize {
        self.calibration_size
    }
}

fn ends(outputs: ArrayView2<'_, f64>) -> Result<Vec<Interval>> {
    if outputs.ncols() != 3 {
        return Err(Error::invalid(
            "outputs",
            format!("{} numbers a row", outputs.ncols()),
            "1, or 3: two quantiles and the median between",
        ));
    }
    let of_row = |row: ndarray::ArrayView1<'_, f64>| {
        let mut row = row.to_vec();
        row.sort_by(f64::total_cmp);
        (row[0], row[2])
    };
    Ok(outputs.rows().into_iter().map(of_row).collect())
}

#[cfg(test)]
mod tests {
    use lyceum_core::Seed;
    use ndarray::{Array2, array};
    use rand::RngExt;

    use super::*;

    #[test]
    fn known_answers_and_too_few_examples() {
        let outputs = array![[5.0, 3.0, 1.0], [1.0, 2.0, 4.0], [0.0, 1.0, 2.0]];
        // Scores max(lo − y, y − hi): 0, 1, −1; with α = 1/2 the second of three.
        let found = Intervals::calibrate(outputs.view(), &[5.0, 5.0, 1.0], 0.5).unwrap();
        assert_eq!((found.q(), found.calibration_size()), (Some(0.0), 3));
        assert_eq!(found.of(array![[9.0, 7.0, 8.0]].view()).unwrap(), [(7.0, 9.0)]);
        let few = Intervals::calibrate(outputs.view(), &[5.0, 5.0, 1.0], 0.1).unwrap();
        assert_eq!((few.q(), few.of(outputs.view()).unwrap()[0]), (None, (f64::NEG_INFINITY, f64::INFINITY)));
        for model in [found, few] {
            assert_eq!(serde_json::from_str::<Intervals>(&serde_json::to_string(&model).unwrap()).unwrap(), model);
        }
        assert!(serde_json::from_str::<Intervals>(r#"{"alpha": 2.0, "calibration_size": 3}"#).is_err());
        assert!(Intervals::calibrate(array![[1.0, 2.0]].view(), &[1.0], 0.1).is_err());
        assert!(Intervals::calibrate(array![[f64::NAN]].view(), &[1.0], 0.1).is_err());
        assert!(found.of(array![[1.0, f64::NAN, 2.0]].view()).is_err());
    }

    #[test]
    fn new_numbers_are_covered_as_often_as_promised() {
        let (trials, n) = (2000, 19);
        let mut covered = [0.0; 2];
        for trial in 0..trials {
            let mut rng = Seed::new(trial).stream("intervals");
            let y: Vec<f64> = (0..=n).map(|_| rng.random::<f64>()).collect();
            for (covered, outputs) in covered.iter_mut().zip([Array2::from_elem((n, 1), 0.4), Array2::from_elem((n, 3), 0.4)]) {
                let model = Intervals::calibrate(outputs.view(), &y[..n], 0.2).unwrap();
                let (low, high) = model.of(outputs.slice(ndarray::s![..1, ..])).unwrap()[0];
                *covered += f64::from(u8::from(low <= y[n] && y[n] <= high));
            }
        }
        // The 16th of 19 scores: 16/20 of new numbers.
        for share in covered.map(|covered| covered / trials as f64) {
            assert!((share - 0.8).abs() < 4.0 * (0.16 / trials as f64).sqrt(), "{share}");
        }
    }
}
