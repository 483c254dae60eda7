//! Proposals: with which probability each point of the pool is taken next.

use lyceum_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// How acquisition scores become probabilities over the points that are left.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
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
        let left = || scores.iter().zip(taken).enumerate().filter(|(_, (_, taken))| !**taken).map(|(index, (score, _))| (index, *score));
        if let Some((index, score)) = left().find(|(_, score)| !score.is_finite()) {
            return Err(Error::invalid(format!("score of point {index}"), score, "a finite number"));
        }
        let negative = || left().find(|(_, score)| *score < 0.0);
        let count = left().count() as f64;
        let mut weights = vec![0.0; scores.len()];
        match *self {
            Self::Uniform | Self::EpsilonGreedy { .. } => left().for_each(|(index, _)| weights[index] = 1.0),
            Self::Proportional => {
                if let Some((index, score)) = negative() {
                    return Err(Error::invalid(format!("score of point {index}"), score, "a number >= 0 for a proportional proposal"));
                }
                left().for_each(|(index, score)| weights[index] = score);
            }
            Self::Softmax { inverse_temperature, normalize } => {
                let sum: f64 = left().map(|(_, score)| score).sum();
                if let (true, Some((index, score))) = (normalize, negative()) {
                    return Err(Error::invalid(format!("score of point {index}"), score, "a number >= 0, or normalize = false"));
                }
                let factor = if normalize && sum > 0.0 { inverse_temperature / sum } else { inverse_temperature };
                let max = left().map(|(_, score)| score).fold(f64::NEG_INFINITY, f64::max);
                left().for_each(|(index, score)| weights[index] = (factor * (score - max)).exp());
            }
        }
        let mut sum: f64 = weights.iter().sum();
        if sum == 0.0 {
            left().for_each(|(index, _)| weights[index] = 1.0);
            sum = count;
        }
        if clip > 0.0 {
            let least = clip * sum / count;
            left().for_each(|(index, _)| weights[index] = weights[index].max(least));
        }
        // A point that can never be taken makes every estimate biased.
        if let Some((index, score)) = left().find(|(index, _)| weights[*index] <= 0.0) {
            return Err(Error::invalid(
                format!("score of point {index}"),
                format!("{score}, which gives it probability 0"),
                "scores that leave every point a chance, or clip > 0",
            ));
        }
        Ok(weights)
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
