//! Covariate shift: calibration examples weighted by how likely the new distribution makes them
//! (Tibshirani, Barber, Candès and Ramdas 2019).

use lyceum_core::{Error, Result, Seed};
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use crate::{
    ConformalConfig, PredictionSets,
    conformal::{check_classes, scores, sets},
    mondrian::same_length,
    scheme::ByRow,
};

/// Calibration scores with weights w = dP′/dP; the threshold depends on the weight of the new point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weighted {
    /// How sets are made.
    pub config: ConformalConfig,
    /// The calibration scores, rising, and the sum of the weights up to each.
    scores: Vec<(f64, f64)>,
    classes: usize,
}

impl Weighted {
    /// From held-out logits (`n × K`), their labels, and the weight of each: the likelihood ratio of the new
    /// distribution to that of the calibration data, up to a constant.
    pub fn calibrate(config: ConformalConfig, logits: ArrayView2<'_, f32>, labels: &[usize], weights: &[f64], seed: Seed) -> Result<Self> {
        Self::from_scores(config, &scores(&config, logits, labels, seed)?, weights, logits.ncols())
    }

    /// From the [`scores`] of the calibration examples and the weight of each.
    pub fn from_scores(config: ConformalConfig, scores: &[f64], weights: &[f64], classes: usize) -> Result<Self> {
        same_length("weights", weights.len(), scores.len())?;
        check_weights(weights)?;
        let sum: f64 = weights.iter().sum();
        if !sum.is_finite() {
            return Err(Error::invalid("weights", "a sum beyond the largest number", "weights whose sum is finite: scale them down"));
        }
        Ok(Self { config, scores: cumulative(scores.iter().copied().zip(weights.iter().copied()).collect()), classes })
    }

    /// How many labels there are.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The threshold of each row, from its weight.
    pub fn scheme(&self, weights: &[f64]) -> Result<ByRow> {
        check_weights(weights)?;
        Ok(ByRow(weights.iter().map(|&weight| self.threshold(weight)).collect()))
    }

    /// τ for a point with this weight: the smallest score s with Σ_{scores ≤ s} w ≥ (1 − α)(Σ w + `weight`); infinity
    /// where there is none.
    pub fn threshold(&self, weight: f64) -> f64 {
        let total = self.scores.last().map_or(0.0, |(_, sum)| *sum) + weight;
        let need = (1.0 - self.config.alpha) * total;
        let at = self.scores.partition_point(|(_, sum)| *sum < need * (1.0 - 1e-12));
        self.scores.get(at).map_or(f64::INFINITY, |(score, _)| *score)
    }

    /// The set of each row of logits, with the weight of each.
    pub fn predict(&self, logits: ArrayView2<'_, f32>, weights: &[f64], seed: Seed) -> Result<PredictionSets> {
        check_classes(logits, self.classes)?;
        same_length("weights", weights.len(), logits.nrows())?;
        sets(&self.config, &self.scheme(weights)?, logits, seed)
    }
}

fn check_weights(weights: &[f64]) -> Result<()> {
    match weights.iter().position(|weight| !(*weight >= 0.0 && weight.is_finite())) {
        Some(row) => Err(Error::invalid(format!("weight of row {row}"), weights[row], "a finite number >= 0")),
        None => Ok(()),
    }
}

fn cumulative(mut scores: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    scores.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut sum = 0.0;
    for (_, weight) in &mut scores {
        sum += *weight;
        *weight = sum;
    }
    scores
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantile;

    fn weighted(scores: &[(f64, f64)], alpha: f64) -> Weighted {
        let config = ConformalConfig { alpha, ..ConformalConfig::default() };
        Weighted { config, scores: cumulative(scores.to_vec()), classes: 2 }
    }

    #[test]
    fn thresholds_worked_by_hand() {
        let scores = [(1.0, 1.0), (2.0, 1.0), (3.0, 2.0)];
        assert_eq!(weighted(&scores, 0.4).threshold(1.0), 3.0);
        assert_eq!(weighted(&scores, 0.1).threshold(1.0), f64::INFINITY);
    }

    #[test]
    fn equal_weights_are_no_weights() {
        for n in [1, 8, 9, 19, 100, 333] {
            let scores: Vec<f64> = (0..n).map(|i| f64::from(i * 7919 % 1009)).collect();
            let pairs: Vec<(f64, f64)> = scores.iter().map(|score| (*score, 0.3)).collect();
            for alpha in [0.05, 0.1, 0.5] {
                assert_eq!(weighted(&pairs, alpha).threshold(0.3), quantile::threshold(&mut scores.clone(), alpha), "{n} {alpha}");
            }
        }
    }
}
