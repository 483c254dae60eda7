//! Intervals for the pool's risk that hold at every number of labels at once, for bounded losses.
//!
//! With losses in \[0, B\] the terms a_m of [`estimator`](crate::estimator) are at least 0 and have the risk R as
//! their expectation, given the draws before. So for every r ≥ R the wealth of a gambler who bets on them being larger,
//! Π (1 + λ_m (a_m − r)) with λ_m ∈ \[0, 1/r) chosen before draw m, is a supermartingale: that it ever exceeds 1/δ has
//! probability at most δ (Ville). The r at which it did not are above the risk no more often than that. The upper end
//! is the lower end for the losses B − L. (Waudby-Smith and Ramdas 2024, *Estimating means of bounded random variables
//! by betting*, for increments without an upper bound.)

use lyceum_core::{Error, Result};

use crate::AcquisitionLog;

impl AcquisitionLog {
    /// The interval that covers the pool's risk with this probability, whenever the labelling is stopped.
    ///
    /// `losses` are those at the draws, in their order, each in \[0, `bound`\].
    pub fn confidence_sequence(&self, losses: &[f64], bound: f64, level: f64) -> Result<(f64, f64)> {
        self.check_losses(losses)?;
        if !(bound > 0.0 && bound.is_finite()) {
            return Err(Error::invalid("bound", bound, "a finite number > 0"));
        }
        if !(level > 0.0 && level < 1.0) {
            return Err(Error::invalid("level", level, "a number > 0 and < 1"));
        }
        if let Some(m) = losses.iter().position(|loss| !(0.0..=bound).contains(loss)) {
            return Err(Error::invalid(format!("loss of draw {}", m + 1), losses[m], format!("a number from 0 to {bound}")));
        }
        let delta = 0.5 * (1.0 - level);
        let reversed: Vec<f64> = losses.iter().map(|loss| bound - loss).collect();
        let low = lower(&self.terms(losses), bound, delta);
        let high = bound - lower(&self.terms(&reversed), bound, delta);
        Ok((low, high.max(low)))
    }
}

/// The smallest r in \[0, bound\] at which the wealth never exceeded 1/δ.
fn lower(increments: &[f64], bound: f64, delta: f64) -> f64 {
    let bets = bets(increments, delta);
    let exceeds = |r: f64| {
        let (mut wealth, limit) = (0.0, (1.0 / delta).ln());
        increments.iter().zip(&bets).any(|(a, bet)| {
            // At most half of what is there: a loss leaves the rest.
            wealth += (bet.min(0.5 / r) * (a - r)).ln_1p();
            wealth > limit
        })
    };
    let (mut low, mut high) = (0.0, bound);
    if !exceeds(low + 1e-12 * bound) {
        return 0.0;
    }
    // The wealth falls as r rises.
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if exceeds(middle) { low = middle } else { high = middle }
    }
    low
}

/// λ_m from the increments before m: √(2 ln(1/δ) / (V m ln(m + 1))), V their variance.
fn bets(increments: &[f64], delta: f64) -> Vec<f64> {
    let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
    let bet = |(index, a): (usize, &f64)| {
        let m = (index + 1) as f64;
        let variance: f64 = if count < 2.0 { f64::INFINITY } else { (squares - sum * sum / count) / (count - 1.0) };
        let bet = (2.0 * (1.0 / delta).ln() / (variance.max(1e-12) * m * (m + 1.0).ln())).sqrt();
        sum += a;
        squares += a * a;
        count += 1.0;
        if bet.is_finite() { bet } else { 0.0 }
    };
    increments.iter().enumerate().map(bet).collect()
}

#[cfg(test)]
mod tests {
    use crate::{AcquisitionLog, Proposal, Sampler};
    use lyceum_core::Seed;

    #[test]
    fn it_covers_at_every_number_of_labels_and_narrows() {
        let losses: Vec<f64> = (0..400).map(|i| if i % 7 == 0 { 0.9 } else { 0.05 * f64::from(i % 3) }).collect();
        let risk = losses.iter().sum::<f64>() / 400.0;
        let scores: Vec<f64> = losses.iter().map(|loss| loss + 0.1).collect();
        let (mut missed, mut widths) = (0, [0.0; 2]);
        for seed in 0..100 {
            let mut sampler = Sampler::new(Proposal::Proportional, AcquisitionLog::new(400).unwrap(), Seed::new(seed)).unwrap();
            let mut ever = false;
            for step in 0..10 {
                sampler.draw(&scores, 20).unwrap();
                let found: Vec<f64> = sampler.log().draws().iter().map(|draw| losses[draw.index]).collect();
                let (low, high) = sampler.log().confidence_sequence(&found, 1.0, 0.9).unwrap();
                ever |= !(low <= risk && risk <= high);
                if step == 0 || step == 9 {
                    widths[step / 9] += (high - low) / 100.0;
                }
            }
            missed += u32::from(ever);
        }
        assert!(missed <= 10, "{missed} of 100 sequences missed the risk somewhere");
        assert!(widths[1] < 0.25 && widths[1] < 0.5 * widths[0], "{widths:?}");
    }

    #[test]
    fn losses_out_of_their_bound_are_refused() {
        let mut sampler = Sampler::new(Proposal::Uniform, AcquisitionLog::new(3).unwrap(), Seed::new(0)).unwrap();
        sampler.draw(&[1.0; 3], 2).unwrap();
        assert!(sampler.log().confidence_sequence(&[0.1, 1.5], 1.0, 0.9).unwrap_err().to_string().contains("loss of draw 2"));
        assert!(sampler.log().confidence_sequence(&[0.1], 1.0, 0.9).is_err());
    }
}
