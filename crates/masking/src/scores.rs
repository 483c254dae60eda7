//! How much the words of an n-gram belong together.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::counting::Counts;

/// What n-grams are ranked by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Score {
    /// The smallest pointwise mutual information over all ways to cut the n-gram ([`pmi`]).
    #[default]
    Pmi,
    /// log p(w₁…wₙ)/Π p(wᵢ): the one cut between all words, which ranks a frequent word beside a collocation too high.
    NaivePmi,
    /// How often it is there.
    Frequency,
}

impl fmt::Display for Score {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Pmi => "pmi",
            Self::NaivePmi => "naive-pmi",
            Self::Frequency => "frequency",
        })
    }
}

/// The best explanation of an n-gram by its parts:
///
/// ```text
/// PMI(w₁…wₙ) = min over cuts s of  log [ p(w₁…wₙ) / Π_{t ∈ s} p(t) ]
/// ```
///
/// over the 2^(n−1) − 1 ways to cut it into two or more segments (Levine, Lenz, Lieber, Abend, Leyton-Brown, Tennenholtz and
/// Shoham, *PMI-Masking: Principled Masking of Correlated Spans*, ICLR 2021, equation 2).
///
/// `log_p[k][i]` is log p of the segment of k + 1 words that begins at word i. Gives the value and the cut that decides: bit
/// i is set where there is a cut after word i. Of cuts that are equally good the one with the smallest such number counts.
///
/// ```
/// use lyceum_masking::scores::pmi;
///
/// // 1,000 n-grams of each order; a 100, b 50, c 40, ab 30, bc 20, abc 15 times.
/// let p = |count: f64| (count / 1000.0).ln();
/// let (value, cut) = pmi(&[vec![p(100.0), p(50.0), p(40.0)], vec![p(30.0), p(20.0)], vec![p(15.0)]]);
/// assert!((value - 2.014903).abs() < 1e-6);
/// assert_eq!(cut, 0b01); // a|bc
/// ```
pub fn pmi(log_p: &[Vec<f64>]) -> (f64, u32) {
    let n = log_p.len();
    let whole = log_p[n - 1][0];
    let mut best = (f64::INFINITY, 0);
    for cut in 1..1_u32 << (n - 1) {
        let value = whole - explained(log_p, cut);
        if value < best.0 {
            best = (value, cut);
        }
    }
    best
}

/// Σ log p of the segments of a cut, from the first to the last.
fn explained(log_p: &[Vec<f64>], cut: u32) -> f64 {
    let n = log_p.len();
    let (mut sum, mut start) = (0.0, 0);
    for word in 0..n {
        if word + 1 == n || cut >> word & 1 == 1 {
            sum += log_p[word - start][start];
            start = word + 1;
        }
    }
    sum
}

impl Score {
    /// The score of an n-gram, and the cut that decides; `count` is how often it is there, `log_p` as for [`pmi`].
    pub fn of(self, count: u64, log_p: &[Vec<f64>]) -> (f64, u32) {
        let words = (1_u32 << (log_p.len() - 1)) - 1;
        match self {
            Self::Pmi => pmi(log_p),
            Self::NaivePmi => (log_p[log_p.len() - 1][0] - explained(log_p, words), words),
            Self::Frequency => (count as f64, 0),
        }
    }
}

/// log p = ln(count/total) of every frequent n-gram.
pub struct LogProbabilities(Vec<Vec<f64>>);

impl LogProbabilities {
    /// Of all orders.
    pub fn new(counts: &Counts) -> Self {
        let of = |order: &crate::counting::Order| {
            let total = (order.total as f64).ln();
            order.counts.iter().map(|&count| (count as f64).ln() - total).collect()
        };
        Self(counts.orders.iter().map(of).collect())
    }

    /// Those of all segments of an n-gram.
    pub fn segments(&self, parts: &[Vec<u32>]) -> Vec<Vec<f64>> {
        parts.iter().zip(&self.0).map(|(parts, log_p)| parts.iter().map(|&part| log_p[part as usize]).collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn log_p(counts: &[&[f64]]) -> Vec<Vec<f64>> {
        counts.iter().map(|counts| counts.iter().map(|count| (count / 1000.0).ln()).collect()).collect()
    }

    /// The case of the paper's page: a 100, b 50, c 40, ab 30, bc 20, abc 15 of 1,000 each.
    #[test]
    fn a_case_worked_by_hand() {
        let (value, cut) = pmi(&log_p(&[&[100.0, 50.0], &[30.0]]));
        assert!((value - 6.0_f64.ln()).abs() < 1e-12 && cut == 1);
        let three = log_p(&[&[100.0, 50.0, 40.0], &[30.0, 20.0], &[15.0]]);
        let of = |cut| three[2][0] - explained(&three, cut);
        for (cut, expected) in [(0b11, 4.317_488), (0b10, 2.525_729), (0b01, 2.014_903)] {
            assert!((of(cut) - expected).abs() < 1e-6, "{cut}: {}", of(cut));
        }
        assert!((Score::NaivePmi.of(15, &three).0 - 4.317_488).abs() < 1e-6);
        assert_eq!(Score::Frequency.of(15, &three).0, 15.0);
    }

    /// A pair glued to a frequent word: what explains it is the pair and the word.
    #[test]
    fn a_collocation_with_a_frequent_word_scores_low() {
        let three = log_p(&[&[900.0, 10.0, 10.0], &[9.0, 10.0], &[9.0]]);
        let (value, cut) = pmi(&three);
        assert!(value.abs() < 1e-9 && cut == 0b01);
        assert!(Score::NaivePmi.of(9, &three).0 > 4.0);
    }

    proptest! {
        /// Independent words have 0 whichever way they are cut, and n words have 2^(n-1) - 1 cuts: 15 for five.
        #[test]
        fn independent_words_have_nothing(p in proptest::collection::vec(0.01_f64..0.9, 2..6)) {
            let n = p.len();
            let log_p: Vec<Vec<f64>> =
                (0..n).map(|longer| (0..n - longer).map(|start| p[start..=start + longer].iter().map(|p| p.ln()).sum()).collect()).collect();
            prop_assert!(pmi(&log_p).0.abs() < 1e-9);
            prop_assert_eq!((1..1_u32 << (n - 1)).count(), (1 << (n - 1)) - 1);
        }
    }
}
