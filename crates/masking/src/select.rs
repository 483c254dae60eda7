//! Which n-grams become the vocabulary.

use lyceum_core::{Error, Result};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    counting::Counts,
    scores::{LogProbabilities, Score},
};

/// How a vocabulary is chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SelectConfig {
    /// What n-grams of the same length are ranked by.
    pub score: Score,
    /// How many n-grams there should be in all.
    pub size: usize,
    /// The share of each length, from n = 2 on; all the same if none are given. What a length does not fill goes to the others.
    pub shares: Vec<f64>,
    /// The least score; by default 0 for mutual information (what is no more than its parts is no collocation), none for counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least: Option<f64>,
}

impl Default for SelectConfig {
    fn default() -> Self {
        Self { score: Score::Pmi, size: 800_000, shares: Vec::new(), least: None }
    }
}

/// A chosen n-gram.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen<'a> {
    /// Its words.
    pub words: Vec<&'a str>,
    /// How often it is in the corpus.
    pub count: u64,
    /// Its score.
    pub score: f64,
    /// The cut that decides the score: bit i is set where there is a cut after word i.
    pub cut: u32,
}

impl SelectConfig {
    /// Rules between fields, for n-grams of up to `orders` words.
    pub fn check(&self, orders: usize) -> Result<()> {
        if self.size == 0 {
            return Err(Error::invalid("size", 0, "1 and more"));
        }
        if let Some(share) = self.shares.iter().find(|share| !(share.is_finite() && **share >= 0.0)) {
            return Err(Error::invalid("shares", share, "numbers of 0 and more"));
        }
        if !self.shares.is_empty() && (self.shares.len() != orders - 1 || self.shares.iter().sum::<f64>() <= 0.0) {
            let allowed = format!("{} numbers, for n-grams of 2 to {orders} words, not all 0", orders - 1);
            return Err(Error::invalid("shares", format!("{:?}", self.shares), allowed));
        }
        if self.least.is_some_and(f64::is_nan) {
            return Err(Error::invalid("least score", "NaN", "a number"));
        }
        Ok(())
    }

    /// The n-grams of each length from 2 on, best first. Where scores are equal the words decide, in the order of the alphabet.
    pub fn choose<'a>(&self, counts: &'a Counts) -> Vec<Vec<Chosen<'a>>> {
        let log_p = LogProbabilities::new(counts);
        let least = self.least.unwrap_or(if self.score == Score::Frequency { f64::NEG_INFINITY } else { 0.0 });
        let ranked: Vec<Vec<(f64, u32, u32)>> = (2..=counts.orders.len())
            .map(|order| {
                let found = &counts.orders[order - 1];
                let score = |number: u32| {
                    let (score, cut) = self.score.of(found.counts[number as usize], &log_p.segments(&counts.parts(order, number)));
                    (score, number, cut)
                };
                let mut scored: Vec<(f64, u32, u32)> =
                    (0..found.len() as u32).into_par_iter().map(score).filter(|(score, ..)| *score >= least).collect();
                scored.par_sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
                scored
            })
            .collect();
        let quotas = self.quotas(&ranked.iter().map(Vec::len).collect::<Vec<usize>>());
        let text = |order: usize, number: u32| -> Vec<&'a str> {
            counts.words(order, number).into_iter().map(|word| counts.dictionary.word(word)).collect()
        };
        ranked
            .into_iter()
            .zip(quotas)
            .enumerate()
            .map(|(place, (mut scored, quota))| {
                let order = place + 2;
                // Those that are equal to the last that fits take part in the contest of words.
                let last = quota.checked_sub(1).and_then(|last| scored.get(last)).map(|last| last.0);
                scored.truncate(last.map_or(0, |last| scored.partition_point(|(score, ..)| *score >= last)));
                let mut chosen: Vec<Chosen> = scored
                    .into_par_iter()
                    .map(|(score, number, cut)| Chosen {
                        words: text(order, number),
                        count: counts.orders[order - 1].counts[number as usize],
                        score,
                        cut,
                    })
                    .collect();
                chosen.par_sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.words.cmp(&b.words)));
                chosen.truncate(quota);
                chosen
            })
            .collect()
    }

    /// How many of each length, given how many there are.
    fn quotas(&self, there: &[usize]) -> Vec<usize> {
        let shares = if self.shares.is_empty() { vec![1.0; there.len()] } else { self.shares.clone() };
        let mut quotas = vec![0_usize; there.len()];
        loop {
            let left = self.size - quotas.iter().sum::<usize>();
            let open: Vec<usize> = (0..there.len()).filter(|&order| quotas[order] < there[order] && shares[order] > 0.0).collect();
            let sum: f64 = open.iter().map(|&order| shares[order]).sum();
            let before: usize = quotas.iter().sum();
            for &order in &open {
                let more = (left as f64 * shares[order] / sum) as usize;
                quotas[order] = (quotas[order] + more).min(there[order]);
            }
            if quotas.iter().sum::<usize>() == before {
                // Fewer are left than there are lengths: one each, shortest first.
                open.iter().take(left).for_each(|&order| quotas[order] += 1);
                return quotas;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shares_are_filled_and_what_is_left_goes_on() {
        let quotas =
            |size, shares: &[f64], there: &[usize]| SelectConfig { size, shares: shares.to_vec(), ..SelectConfig::default() }.quotas(there);
        assert_eq!(quotas(100, &[], &[1000, 1000, 1000, 1000]), [25, 25, 25, 25]);
        assert_eq!(quotas(100, &[], &[1000, 1000, 5, 0]), [48, 47, 5, 0]);
        assert_eq!(quotas(100, &[3.0, 1.0, 0.0, 0.0], &[1000, 1000, 1000, 1000]), [75, 25, 0, 0]);
        assert_eq!(quotas(100, &[], &[10, 10, 0, 0]), [10, 10, 0, 0]);
        assert_eq!(quotas(2, &[], &[9, 9, 9, 9]), [1, 1, 0, 0]);
    }

    proptest! {
        #[test]
        fn quotas_hold(size in 1_usize..500, shares in proptest::collection::vec(0.1_f64..5.0, 4), there in proptest::collection::vec(0_usize..300, 4)) {
            let quotas = SelectConfig { size, shares, ..SelectConfig::default() }.quotas(&there);
            prop_assert!(quotas.iter().zip(&there).all(|(quota, there)| quota <= there));
            prop_assert_eq!(quotas.iter().sum::<usize>(), size.min(there.iter().sum()));
        }
    }
}
