//! Proposals: with which probability each point of the pool is taken next.

use lyceum_core::{Error, Result};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How acquisition scores become probabilities over the points that are left.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Proposal {
    /// Every point alike.
    Uniform,
    /// q ∝ s; alike where all scores are 0.
    Proportional,
    /// q ∝ exp(T·s̄), s̄ the scores divided by their sum (or the scores themselves). T multiplies: larger is greedier.
    /// The authors use 10,000 to 15,000 on BALD scores of some thousand points.
    Softmax {
        /// T.
        inverse_temperature: f64,
        /// Whether scores are divided by their sum first.
        #[serde(default = "yes")]
        normalize: bool,
    },
    /// The point with the highest score (of equals the first) with probability 1 − ε, any point with ε.
    EpsilonGreedy {
        /// ε.
        epsilon: f64,
    },
}

fn yes() -> bool {
    true
}

impl Proposal {
    /// Errors where a constant is out of its range.
    pub fn check(&self) -> Result<()> {
        match *self {
            Self::Softmax { inverse_temperature: t, .. } if !(t >= 0.0 && t.is_finite()) => {
                Err(Error::invalid("inverse_temperature", t, "a finite number >= 0"))
            }
            // Greedy acquisition gives all other points probability 0: no estimator can mend that.
            Self::EpsilonGreedy { epsilon } if !(epsilon > 0.0 && epsilon <= 1.0) => {
                Err(Error::invalid("epsilon", epsilon, "a number > 0 and <= 1: without chance there is no unbiased estimate"))
            }
            _ => Ok(()),
        }
    }

    /// Weights of the points with these scores, in proportion to their probabilities; 0 for those that are `taken`.
    /// With `clip` κ > 0 each probability is raised to at least κ/n, n the number of points left, before they are
    /// brought to sum 1 again.
    ///
    /// For [`EpsilonGreedy`](Self::EpsilonGreedy) these are the weights of the part that chance plays.
    pub(crate) fn weights(&self, scores: &[f64], taken: &[bool], clip: f64) -> Result<Vec<f64>> {
        self.check()?;
        if !(0.0..=1.0).contains(&clip) {
            return Err(Error::invalid("clip", clip, "a number from 0 to 1"));
        }
        let seen = Seen::of(scores, taken);
        if let Some(index) = seen.not_finite {
            return Err(Error::invalid(format!("score of point {index}"), scores[index], "a finite number"));
        }
        let needs_sign = matches!(self, Self::Proportional | Self::Softmax { normalize: true, .. });
        if let (true, Some(index)) = (needs_sign, seen.negative) {
            return Err(Error::invalid(format!("score of point {index}"), scores[index], "a number >= 0 for this proposal"));
        }
        let factor = match *self {
            Self::Softmax { inverse_temperature, normalize: true } if seen.sum > 0.0 => inverse_temperature / seen.sum,
            Self::Softmax { inverse_temperature, .. } => inverse_temperature,
            _ => 0.0,
        };
        let mut weights = vec![0.0; scores.len()];
        let chunks = scores.par_chunks(CHUNK).zip(taken.par_chunks(CHUNK));
        weights.par_chunks_mut(CHUNK).zip(chunks).for_each(|(weights, (scores, taken))| {
            let places = weights.iter_mut().zip(scores.iter().zip(taken)).filter(|(_, (_, taken))| !**taken);
            match self {
                Self::Proportional if seen.sum > 0.0 => places.for_each(|(to, (score, _))| *to = *score),
                Self::Softmax { .. } => places.for_each(|(to, (score, _))| *to = (factor * (score - seen.max)).exp()),
                Self::Uniform | Self::EpsilonGreedy { .. } | Self::Proportional => places.for_each(|(to, _)| *to = 1.0),
            }
        });
        if clip > 0.0 {
            let least = clip * weights.iter().sum::<f64>() / seen.count as f64;
            weights.iter_mut().zip(taken).filter(|(_, taken)| !**taken).for_each(|(weight, _)| *weight = weight.max(least));
        }
        // A point that can never be taken makes every estimate biased.
        let none = |(weight, taken): (&f64, &bool)| *weight <= 0.0 && !*taken;
        let chunks = weights.par_chunks(CHUNK).zip(taken.par_chunks(CHUNK));
        let first = chunks.map(|(weights, taken)| weights.iter().zip(taken).position(none)).collect::<Vec<Option<usize>>>();
        if let Some(index) = first.iter().enumerate().find_map(|(chunk, index)| index.map(|index| chunk * CHUNK + index)) {
            return Err(Error::invalid(
                format!("score of point {index}"),
                format!("{}, which gives it probability 0", scores[index]),
                "scores that leave every point a chance, or clip > 0",
            ));
        }
        Ok(weights)
    }
}

/// Scores a task.
const CHUNK: usize = 1 << 14;

/// What one sweep over the scores of the points that are left tells.
#[derive(Clone, Copy)]
struct Seen {
    count: usize,
    sum: f64,
    max: f64,
    /// The first that is not finite, and the first below 0.
    not_finite: Option<usize>,
    negative: Option<usize>,
}

impl Seen {
    fn of(scores: &[f64], taken: &[bool]) -> Self {
        let nothing = Self { count: 0, sum: 0.0, max: f64::NEG_INFINITY, not_finite: None, negative: None };
        let chunk = |(number, (scores, taken)): (usize, (&[f64], &[bool]))| {
            let (mut seen, mut least) = (nothing, 0.0_f64);
            for (score, taken) in scores.iter().zip(taken) {
                let score = if *taken { 0.0 } else { *score };
                seen.count += usize::from(!*taken);
                seen.sum += score;
                least = least.min(score);
                seen.max = if *taken { seen.max } else { seen.max.max(score) };
            }
            // NaN and infinities stay in a sum.
            let place = |wrong: fn(f64) -> bool| {
                let hit = scores.iter().zip(taken).position(|(score, taken)| !*taken && wrong(*score));
                hit.map(|index| number * CHUNK + index)
            };
            if !seen.sum.is_finite() {
                seen.not_finite = place(|score| !score.is_finite());
            }
            if least < 0.0 {
                seen.negative = place(|score| score < 0.0);
            }
            seen
        };
        let parts: Vec<Self> = scores.par_chunks(CHUNK).zip(taken.par_chunks(CHUNK)).enumerate().map(chunk).collect();
        parts.into_iter().fold(nothing, |all, part| Self {
            count: all.count + part.count,
            sum: all.sum + part.sum,
            max: all.max.max(part.max),
            not_finite: all.not_finite.or(part.not_finite),
            negative: all.negative.or(part.negative),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probabilities(proposal: Proposal, scores: &[f64], clip: f64) -> Vec<f64> {
        let weights = proposal.weights(scores, &vec![false; scores.len()], clip).unwrap();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|w| w / sum).collect()
    }

    #[test]
    fn a_softmax_of_normalised_scores() {
        let found = probabilities(Proposal::Softmax { inverse_temperature: 2.0, normalize: true }, &[3.0, 1.0, 0.0], 0.0);
        for (found, expected) in found.iter().zip([0.628_532, 0.231_224, 0.140_244]) {
            assert!((found - expected).abs() < 1e-6, "{found}");
        }
    }

    #[test]
    fn clipping_leaves_every_point_a_chance() {
        let found = probabilities(Proposal::Proportional, &[9.0, 1.0, 0.0], 0.3);
        assert!((found[2] - 0.1 / 1.1).abs() < 1e-12 && (found[0] - 0.9 / 1.1).abs() < 1e-12);
        assert_eq!(probabilities(Proposal::Proportional, &[0.0; 4], 0.0), [0.25; 4]);
    }

    #[test]
    fn what_cannot_be_corrected_is_refused() {
        let refused = |proposal: Proposal, scores: &[f64]| proposal.weights(scores, &[false; 2], 0.0).unwrap_err().to_string();
        assert!(refused(Proposal::Proportional, &[1.0, 0.0]).contains("probability 0"));
        assert!(refused(Proposal::Proportional, &[1.0, -1.0]).contains("score of point 1"));
        assert!(refused(Proposal::Proportional, &[f64::NAN, 1.0]).contains("score of point 0"));
        assert!(refused(Proposal::EpsilonGreedy { epsilon: 0.0 }, &[1.0, 1.0]).contains("epsilon"));
    }
}
