//! Who takes part in a round.

use lyceum_core::{Seed, Stream, range};
use rand::{RngExt, seq::index};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which clients are active, which of them are slow, whose replies are lost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Participation {
    /// The share of clients that are active in a round.
    #[serde(with = "range::PositiveFraction")]
    pub fraction: f64,
    /// Draw every client on its own with this probability, as the authors of FedDyn do, instead of the same number each round; a
    /// round that nobody would take part in is drawn again.
    pub independent: bool,
    /// The probability that an active client is slow and gets through a part of its epochs only.
    #[serde(with = "range::Fraction")]
    pub stragglers: f64,
    /// The probability that a client has trained and its reply is lost.
    #[serde(with = "range::BelowOne")]
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
            let drawn = (0..TRIES).map(|_| (0..clients).filter(|_| rng.random::<f64>() < self.fraction).collect::<Vec<usize>>());
            let drawn = drawn.into_iter().find(|drawn| !drawn.is_empty());
            drawn.unwrap_or_else(|| at_least_one(clients, self.fraction, &mut rng))
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

/// How often nobody may be drawn before [`at_least_one`] is used instead: it has the same law, but other numbers.
const TRIES: usize = 100;

/// Clients drawn each with probability `q`, given that there is at least one: the first by its law, those after it freely.
fn at_least_one(clients: usize, q: f64, rng: &mut Stream) -> Vec<usize> {
    let Some(last) = clients.checked_sub(1) else { return Vec::new() };
    let pass = (-q).ln_1p();
    // P(first ≤ j) = (1 − (1 − q)^(j + 1))/(1 − (1 − q)^m).
    let some = -(clients as f64 * pass).exp_m1();
    let first = (((-rng.random::<f64>() * some).ln_1p() / pass) as usize).min(last);
    std::iter::once(first).chain((first + 1..clients).filter(|_| rng.random::<f64>() < q)).collect()
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

    #[test]
    fn a_round_that_almost_nobody_takes_part_in_is_drawn_at_once() {
        let draw = |fraction, seed| {
            let rare = Participation { fraction, independent: true, ..Participation::default() };
            rare.draw(5, 0, Seed::new(seed)).iter().map(|active| active.id).collect::<Vec<_>>()
        };
        for fraction in [1e-12, 1e-300, f64::MIN_POSITIVE / 8.0] {
            let mut counts = [0; 5];
            (0..5_000).for_each(|seed| {
                let drawn = draw(fraction, seed);
                assert_eq!(drawn.len(), 1);
                counts[drawn[0]] += 1;
            });
            // Each with probability 1/5, to four standard deviations.
            assert!(counts.iter().all(|count: &i32| (count - 1_000).abs() < 114), "{counts:?}");
        }
        // The law of at least one is that of drawing again and again.
        let mut rng = Seed::new(0).stream("law");
        let (mut counts, mut again) = ([0.0; 8], [0.0; 8]);
        for _ in 0..40_000 {
            let subset = |drawn: &[usize]| drawn.iter().map(|id| 1 << id).sum::<usize>();
            counts[subset(&at_least_one(3, 0.3, &mut rng))] += 1.0;
            let drawn = loop {
                let drawn: Vec<usize> = (0..3).filter(|_| rng.random::<f64>() < 0.3).collect();
                if !drawn.is_empty() {
                    break drawn;
                }
            };
            again[subset(&drawn)] += 1.0;
        }
        assert!(counts.iter().zip(again).all(|(a, b): (&f64, f64)| (a - b).abs() <= 4.5 * (a + b).sqrt()), "{counts:?} {again:?}");
    }
}
