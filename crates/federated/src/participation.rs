//! Who takes part in a round.

use lyceum_core::{Seed, range};
use rand::{RngExt, seq::index};
use serde::{Deserialize, Serialize};

/// Which clients are active, which of them are slow, whose replies are lost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Participation {
    /// The share of clients that are active in a round.
    #[serde(deserialize_with = "range::positive_fraction")]
    pub fraction: f64,
    /// Draw every client on its own with this probability, as the authors of FedDyn do, instead of the same number each round; a
    /// round that nobody would take part in is drawn again.
    pub independent: bool,
    /// The probability that an active client is slow and gets through a part of its epochs only.
    #[serde(deserialize_with = "range::fraction")]
    pub stragglers: f64,
    /// The probability that a client has trained and its reply is lost.
    #[serde(deserialize_with = "range::below_one")]
    pub lost_replies: f64,
}

impl Default for Participation {
    fn default() -> Self {
        Self { fraction: 1.0, independent: false, stragglers: 0.0, lost_replies: 0.0 }
    }
}

/// An active client's fate in a round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Active {
    /// Which client.
    pub id: usize,
    /// The part of its work that it gets done, from 0 to 1.
    pub part: f64,
    /// Whether its reply arrives.
    pub arrives: bool,
}

impl Participation {
    /// The active clients of a round, by rising number. It depends on seed and round alone: every method sees the same.
    pub fn draw(&self, clients: usize, round: u64, seed: Seed) -> Vec<Active> {
        let mut rng = seed.stream_at("federated/participation", round);
        let mut chosen: Vec<usize> = if self.fraction >= 1.0 {
            (0..clients).collect()
        } else if self.independent {
            loop {
                let drawn: Vec<usize> = (0..clients).filter(|_| rng.random::<f64>() < self.fraction).collect();
                if !drawn.is_empty() || clients == 0 {
                    break drawn;
                }
            }
        } else {
            let count = ((self.fraction * clients as f64).round() as usize).clamp(1.min(clients), clients);
            index::sample(&mut rng, clients, count).into_vec()
        };
        chosen.sort_unstable();
        let mut active = |id: usize| {
            let (slow, part, lost) = (rng.random::<f64>(), rng.random::<f64>(), rng.random::<f64>());
            Active { id, part: if slow < self.stragglers { part } else { 1.0 }, arrives: lost >= self.lost_replies }
        };
        chosen.into_iter().map(&mut active).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_kept_and_rounds_differ() {
        let fixed = Participation { fraction: 0.1, ..Participation::default() };
        assert!((0..20).all(|round| fixed.draw(100, round, Seed::new(1)).len() == 10));
        assert_ne!(fixed.draw(100, 0, Seed::new(1)), fixed.draw(100, 1, Seed::new(1)));
        let independent = Participation { fraction: 0.01, independent: true, ..Participation::default() };
        let counts: Vec<usize> = (0..2_000).map(|round| independent.draw(100, round, Seed::new(1)).len()).collect();
        // Of a binomial law with mean 1, without 0: 1/(1 − 0.99¹⁰⁰) = 1.577.
        let mean = counts.iter().sum::<usize>() as f64 / 2_000.0;
        assert!(counts.iter().all(|count| *count > 0) && (mean - 1.577).abs() < 0.08, "{mean}");
        let hard = Participation { stragglers: 0.5, lost_replies: 0.25, ..Participation::default() };
        let drawn = hard.draw(10_000, 3, Seed::new(2));
        let slow = drawn.iter().filter(|active| active.part < 1.0).count();
        let lost = drawn.iter().filter(|active| !active.arrives).count();
        assert!(slow.abs_diff(5_000) < 200 && lost.abs_diff(2_500) < 200, "{slow} {lost}");
    }
}
