//! Conformal predictive systems: a distribution of each new number, not one interval.

use lyceum_core::{Error, Result};

use crate::{
    quantile,
    regression::{Interval, scaled_errors},
};

/// A split conformal predictive system (Vovk, Petej, Nouretdinov, Manokhin and Gammerman 2020): with C₁ ≤ … ≤ Cₙ the calibration points'
/// (y − ŷ)/σ̂ and z = (y − ŷ)/σ̂ of a new point,
///
/// F(y, τ) = (#{Cᵢ < z} + τ(#{Cᵢ = z} + 1))/(n + 1),
///
/// which is uniform on \[0, 1\] at the true y if τ is, on exchangeable data, whatever predicts ŷ and σ̂.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictive {
    /// C₁ ≤ … ≤ Cₙ.
    errors: Vec<f64>,
    /// C₁ + … + Cᵢ, for i from 0.
    sums: Vec<f64>,
    /// ½ the mean of |Cᵢ − Cⱼ|.
    spread: f64,
}

impl Predictive {
    /// From predictions of points whose number y is known, with a measure of difficulty σ̂ for each (1 without). Errors where there are none.
    pub fn calibrate(predictions: &[f64], difficulty: Option<&[f64]>, y: &[f64]) -> Result<Self> {
        let mut errors = scaled_errors(predictions, difficulty, y)?;
        if errors.is_empty() {
            return Err(Error::invalid("y", "no numbers", "one or more to calibrate on"));
        }
        errors.sort_unstable_by(f64::total_cmp);
        let mut sums = vec![0.0];
        sums.extend(errors.iter().scan(0.0, |sum, error| {
            *sum += error;
            Some(*sum)
        }));
        let n = errors.len() as f64;
        let spread = errors.iter().enumerate().map(|(i, error)| error * (2.0 * i as f64 + 1.0 - n)).sum::<f64>() / (n * n);
        Ok(Self { errors, sums, spread })
    }

    /// F(y, τ) of one new point: the probability of a number up to y. `tau` is a uniform draw, or 0.5 where chance is not wanted.
    pub fn cdf(&self, prediction: f64, difficulty: f64, y: f64, tau: f64) -> f64 {
        let z = (y - prediction) / difficulty;
        let below = self.errors.partition_point(|error| *error < z);
        let equal = self.errors[below..].partition_point(|error| *error <= z);
        (below as f64 + tau * (equal as f64 + 1.0)) / (self.errors.len() as f64 + 1.0)
    }

    /// The quantile of one new point at a level from 0 to 1: ŷ + σ̂·Cₖ with k = ⌈level·(n + 1)⌉; infinite beyond the points.
    pub fn quantile(&self, prediction: f64, difficulty: f64, level: f64) -> f64 {
        prediction + difficulty * self.order(quantile::rank(self.errors.len(), 1.0 - level))
    }

    /// The interval of one new point that misses at each end with probability α/2 at most.
    pub fn interval(&self, prediction: f64, difficulty: f64, alpha: f64) -> Interval {
        let n = self.errors.len();
        let above = quantile::rank(n, alpha / 2.0);
        (prediction + difficulty * self.order(n + 1 - above), prediction + difficulty * self.order(above))
    }

    /// Cₖ, −∞ before the first and ∞ after the last.
    fn order(&self, k: usize) -> f64 {
        match k {
            0 => f64::NEG_INFINITY,
            k => self.errors.get(k - 1).copied().unwrap_or(f64::INFINITY),
        }
    }

    /// The continuous ranked probability score at y (Gneiting and Raftery 2007), E|Y − y| − ½E|Y − Y'|, Y with mass 1/n at each ŷ + σ̂·Cᵢ.
    pub fn crps(&self, prediction: f64, difficulty: f64, y: f64) -> f64 {
        let (z, n) = ((y - prediction) / difficulty, self.errors.len());
        let below = self.errors.partition_point(|error| *error < z);
        let (low, high) = (self.sums[below], self.sums[n] - self.sums[below]);
        let distance = (z * below as f64 - low + high - z * (n - below) as f64) / n as f64;
        difficulty * (distance - self.spread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lyceum_core::Seed;
    use rand::RngExt;

    #[test]
    fn worked_by_hand() {
        let system = Predictive::calibrate(&[0.0; 4], None, &[3.0, 1.0, 2.0, 2.0]).unwrap();
        assert_eq!([0.5, 1.0, 2.0, 2.5, 9.0].map(|y| system.cdf(0.0, 1.0, y, 0.5)), [0.1, 0.2, 0.5, 0.7, 0.9]);
        // At 10 ± twice the errors.
        assert_eq!(system.cdf(10.0, 2.0, 14.0, 1.0), 0.8);
        assert_eq!(
            [0.0, 0.2, 0.5, 0.8, 0.81].map(|level| system.quantile(10.0, 2.0, level)),
            [f64::NEG_INFINITY, 12.0, 14.0, 16.0, f64::INFINITY]
        );
        assert_eq!(system.interval(0.0, 1.0, 0.4), (1.0, 3.0));
        assert_eq!(system.interval(0.0, 1.0, 0.39), (f64::NEG_INFINITY, f64::INFINITY));
        // E|Y − 0| = 2, ½E|Y − Y'| = (4·1 + 2·2 + 4·1)/32.
        assert!((system.crps(0.0, 1.0, 0.0) - (2.0 - 0.375)).abs() < 1e-12);
        assert!(Predictive::calibrate(&[], None, &[]).is_err() && Predictive::calibrate(&[f64::NAN], None, &[0.0]).is_err());
    }

    #[test]
    fn the_truth_is_uniform_in_its_distribution_and_the_score_is_an_integral() {
        let (mut held, trials) = ([0; 10], 4000);
        for trial in 0..trials {
            let mut rng = Seed::new(trial).stream("predictive");
            // Rounded, so that there are ties.
            let mut draw = || (rng.random::<f64>() * rng.random::<f64>() * 20.0).round();
            let known: Vec<f64> = (0..12).map(|_| draw()).collect();
            let (y, system) = (draw(), Predictive::calibrate(&[1.0; 12], None, &known).unwrap());
            let share = system.cdf(1.0, 1.0, y, rng.random());
            held[(share * 10.0) as usize] += 1;
            if trial < 20 {
                let steps = (-40_000..80_000).map(|i| f64::from(i) / 2000.0 + 1.0 / 4000.0);
                let integral: f64 = steps
                    .map(|x| {
                        let below = known.iter().filter(|k| **k <= x).count() as f64 / 12.0;
                        (below - f64::from(u8::from(y <= x))).powi(2) / 2000.0
                    })
                    .sum();
                assert!((system.crps(1.0, 1.0, y) - integral).abs() < 1e-3, "{trial}");
            }
        }
        let chi: f64 = held.iter().map(|n| (f64::from(*n) - 400.0).powi(2) / 400.0).sum();
        assert!(chi < 27.9, "{held:?}: more than 27.9 in one of a thousand");
    }
}
