//! Draws points from a pool, and remembers with which probability.

use lyceum_core::{Error, Result, Seed};
use rand::RngExt;

use crate::{AcquisitionLog, Draw, Proposal, sum_tree::SumTree};

/// A proposal with its pool's record. What is drawn depends on the seed, the record and the scores alone: saved and
/// loaded at any moment, it goes on as if it had not been stopped. (A normalised softmax divides by the sum of the scores
/// that are left at each call of [`draw`](Self::draw), so one call for ten points is not ten calls for one.)
#[derive(Debug, Clone)]
pub struct Sampler {
    proposal: Proposal,
    clip: f64,
    seed: Seed,
    log: AcquisitionLog,
}

impl Sampler {
    /// A sampler that goes on from a record.
    pub fn new(proposal: Proposal, log: AcquisitionLog, seed: Seed) -> Result<Self> {
        proposal.check()?;
        Ok(Self { proposal, clip: 0.0, seed, log })
    }

    /// With every probability at least κ over the number of points left, before they are brought to sum 1 again.
    pub fn with_clip(mut self, clip: f64) -> Self {
        self.clip = clip;
        self
    }

    /// The record so far.
    pub fn log(&self) -> &AcquisitionLog {
        &self.log
    }

    /// The record.
    pub fn into_log(self) -> AcquisitionLog {
        self.log
    }

    /// Takes `count` points by their scores, one for each point of the pool; those of points that were taken are not
    /// looked at. The scores stay the same from draw to draw; each draw has its own probability among the points that
    /// are left. On an error nothing is taken.
    pub fn draw(&mut self, scores: &[f64], count: usize) -> Result<&[Draw]> {
        let (n, before) = (self.log.pool_size(), self.log.draws().len());
        if scores.len() != n {
            return Err(Error::invalid("scores", scores.len(), format!("one for each of the pool's {n} points")));
        }
        if count > n - before {
            return Err(Error::invalid("count", count, format!("at most {}, the points that are left", n - before)));
        }
        if count == 0 {
            return Ok(&[]);
        }
        let mut tree = SumTree::new(self.proposal.weights(scores, self.log.taken(), self.clip)?);
        let mut best = match self.proposal {
            Proposal::EpsilonGreedy { .. } => falling(scores, self.log.taken()),
            _ => Vec::new(),
        };
        for m in before..before + count {
            // Each draw has a stream of its own, so that a record that was saved in between changes nothing.
            let u: f64 = self.seed.stream_at("active/draw", m as u64).random();
            let draw = if let Proposal::EpsilonGreedy { epsilon } = self.proposal {
                while best.last().is_some_and(|&index| tree.weight(index) == 0.0) {
                    best.pop();
                }
                greedy(&tree, best.last().copied().unwrap_or_default(), epsilon, u, n - m)
            } else {
                let index = tree.at(u);
                Draw { index, log_q: (tree.weight(index) / tree.total()).ln() }
            };
            tree.take(draw.index);
            self.log.push(draw)?;
        }
        Ok(&self.log.draws()[before..])
    }
}

/// The highest score with probability 1 − ε, any of `left` points with ε.
fn greedy(tree: &SumTree, best: usize, epsilon: f64, u: f64, left: usize) -> Draw {
    let index = if u < 1.0 - epsilon { best } else { tree.at(((u - (1.0 - epsilon)) / epsilon).min(1.0 - f64::EPSILON)) };
    let q = epsilon / left as f64 + if index == best { 1.0 - epsilon } else { 0.0 };
    Draw { index, log_q: q.ln() }
}

/// The points that are left, by falling score from the end; of equals the first is last.
fn falling(scores: &[f64], taken: &[bool]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).filter(|&index| !taken[index]).collect();
    order.sort_unstable_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(b.cmp(&a)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Estimator;

    fn sampler(proposal: Proposal, pool: usize, seed: u64) -> Sampler {
        Sampler::new(proposal, AcquisitionLog::new(pool).unwrap(), Seed::new(seed)).unwrap()
    }

    const PROPOSALS: [Proposal; 4] = [
        Proposal::Uniform,
        Proposal::Proportional,
        Proposal::Softmax { inverse_temperature: 8.0, normalize: true },
        Proposal::EpsilonGreedy { epsilon: 0.3 },
    ];

    #[test]
    fn points_come_with_the_probability_that_is_written_down() {
        let scores = [0.5, 2.0, 1.0, 0.25];
        for proposal in PROPOSALS {
            let mut counts = [[0_u32; 4]; 4];
            let mut inverse = 0.0;
            let trials = 20_000;
            for seed in 0..trials {
                let mut sampler = sampler(proposal, 4, seed);
                let draws = sampler.draw(&scores, 2).unwrap();
                counts[draws[0].index][draws[1].index] += 1;
                // E[1/q] over the points of the support is how many there are.
                inverse += (-draws[0].log_q).exp() + (-draws[1].log_q).exp();
            }
            assert!((inverse / trials as f64 - 7.0).abs() < 0.25, "{proposal:?}: {}", inverse / trials as f64);
            for first in 0..4 {
                let found = counts[first].iter().sum::<u32>() as f64 / trials as f64;
                let weights = proposal.weights(&scores, &[false; 4], 0.0).unwrap();
                let share = weights[first] / weights.iter().sum::<f64>();
                let expected = match proposal {
                    Proposal::EpsilonGreedy { epsilon } => epsilon / 4.0 + if first == 1 { 1.0 - epsilon } else { 0.0 },
                    _ => share,
                };
                assert!((found - expected).abs() < 0.015, "{proposal:?} {first}: {found} {expected}");
            }
        }
    }

    #[test]
    fn stopping_and_going_on_changes_nothing() {
        let scores: Vec<f64> = (0..50).map(|i| f64::from(i % 7) + 0.5).collect();
        for proposal in PROPOSALS {
            let mut whole = sampler(proposal, 50, 3);
            whole.draw(&scores, 30).unwrap();
            let mut parts = sampler(proposal, 50, 3);
            for count in [1, 0, 9, 20] {
                let log = parts.log().clone();
                parts = Sampler::new(proposal, log, Seed::new(3)).unwrap();
                parts.draw(&scores, count).unwrap();
            }
            let indices = |sampler: &Sampler| sampler.log().draws().iter().map(|draw| draw.index).collect::<Vec<usize>>();
            // A softmax divides by the sum of the scores that are left when it is called.
            if !matches!(proposal, Proposal::Softmax { .. }) {
                assert_eq!(indices(&whole), indices(&parts));
            }
            let mut all = indices(&whole);
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), 30);
        }
    }

    #[test]
    fn the_whole_pool_can_be_taken_and_no_more() {
        let mut sampler = sampler(Proposal::Proportional, 6, 0);
        sampler.draw(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 6).unwrap();
        assert!(sampler.draw(&[1.0; 6], 1).unwrap_err().to_string().contains("count: found 1"));
        assert_eq!(sampler.log().weights(Estimator::Lure), [1.0; 6]);
        assert!(sampler.draw(&[1.0; 5], 0).unwrap_err().to_string().contains("scores: found 5"));
    }
}
