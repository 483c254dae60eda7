//! Coverage on a stream whose distribution drifts: adaptive conformal inference.

use std::collections::VecDeque;

use lyceum_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::quantile;

/// α_{t+1} = α_t + γ(α − err_t), err_t = 1 where the set missed (Gibbs and Candès 2021). Whatever the stream,
/// |mean err − α| ≤ (max(α_1, 1 − α_1) + γ)/(γT).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adaptive {
    alpha: f64,
    gamma: f64,
    now: f64,
}

impl Adaptive {
    /// α is the share of misses that is aimed at, γ the step (the authors use 0.005).
    pub fn new(alpha: f64, gamma: f64) -> Result<Self> {
        quantile::check_alpha(alpha)?;
        if !(gamma > 0.0 && gamma.is_finite()) {
            return Err(Error::invalid("gamma", gamma, "a finite number > 0"));
        }
        Ok(Self { alpha, gamma, now: alpha })
    }

    /// α_t: 0 or below asks for every label, 1 or above for none.
    pub fn level(&self) -> f64 {
        self.now
    }

    /// The threshold at α_t for these scores, in any order.
    pub fn threshold(&self, scores: &mut [f64]) -> f64 {
        match self.now {
            level if level <= 0.0 => f64::INFINITY,
            level if level >= 1.0 => f64::NEG_INFINITY,
            level => quantile::threshold(scores, level),
        }
    }

    /// Learns whether the last set held the truth.
    pub fn update(&mut self, covered: bool) {
        self.now += self.gamma * (self.alpha - if covered { 0.0 } else { 1.0 });
    }
}

/// [`Adaptive`] over the scores of the last examples, for scores of any kind: those of labels, or |y − ŷ|.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Online {
    adaptive: Adaptive,
    window: usize,
    scores: VecDeque<f64>,
}

impl Online {
    /// Thresholds come from the last `window` scores.
    pub fn new(alpha: f64, gamma: f64, window: usize) -> Result<Self> {
        if window == 0 {
            return Err(Error::invalid("window", window, "a whole number >= 1"));
        }
        Ok(Self { adaptive: Adaptive::new(alpha, gamma)?, window, scores: VecDeque::new() })
    }

    /// The threshold for the next example: what scores at most this is in its set.
    pub fn threshold(&self) -> f64 {
        self.adaptive.threshold(&mut self.scores.iter().copied().collect::<Vec<f64>>())
    }

    /// Learns the score of the truth; says whether the set at [`threshold`](Self::threshold) held it.
    pub fn observe(&mut self, score: f64) -> Result<bool> {
        if score.is_nan() {
            return Err(Error::invalid("score", score, "a number"));
        }
        let covered = score <= self.threshold();
        self.adaptive.update(covered);
        self.scores.push_back(score);
        if self.scores.len() > self.window {
            self.scores.pop_front();
        }
        Ok(covered)
    }

    /// α_t.
    pub fn level(&self) -> f64 {
        self.adaptive.level()
    }

    /// The scores that thresholds come from, the oldest first.
    pub fn scores(&self) -> impl Iterator<Item = f64> {
        self.scores.iter().copied()
    }

    /// Restores the state that [`level`](Self::level) and [`scores`](Self::scores) returned.
    ///
    /// # Errors
    ///
    /// A level that is not finite, a score that is not a number, and more scores than the window holds.
    pub fn restore(&mut self, level: f64, scores: &[f64]) -> Result<()> {
        if !level.is_finite() {
            return Err(Error::invalid("level", level, "a finite number"));
        }
        if scores.len() > self.window || scores.iter().any(|score| score.is_nan()) {
            return Err(Error::invalid("scores", format!("{scores:?}"), format!("at most {} numbers", self.window)));
        }
        self.adaptive.now = level;
        self.scores = scores.iter().copied().collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lyceum_core::Seed;
    use rand::RngExt;

    #[test]
    fn levels_worked_by_hand() {
        let mut adaptive = Adaptive::new(0.1, 0.05).unwrap();
        let levels: Vec<f64> = [false, true, true]
            .map(|covered| {
                adaptive.update(covered);
                adaptive.level()
            })
            .to_vec();
        assert!(levels.iter().zip([0.055, 0.06, 0.065]).all(|(a, b)| (a - b).abs() < 1e-12), "{levels:?}");
    }

    #[test]
    fn it_covers_a_stream_that_drifts() {
        let (alpha, gamma, steps) = (0.1, 0.02, 4000);
        let mut online = Online::new(alpha, gamma, 300).unwrap();
        let mut rng = Seed::new(0).stream("drift");
        let missed = (0..steps).filter(|t| {
            let scale = 1.0 + f64::from(*t) / 400.0;
            !online.observe(scale * rng.random::<f64>()).unwrap()
        });
        let share = missed.count() as f64 / f64::from(steps);
        assert!((share - alpha).abs() <= (1.0 - alpha + gamma) / (gamma * f64::from(steps)), "{share}");
    }
}
