//! One row of logits: where a label stands, and the head of the ranking.

use crate::{
    scheme::Scheme,
    score::{Place, Score},
    softmax::{GROUP, ONE, count_equal, group_maxima, maximum, members, sums_above, total, weight},
};

/// Buffers that a thread uses for one row after another.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    maxima: Vec<f32>,
    /// The groups whose maxima reach the bound.
    groups: Vec<u32>,
    /// The labels that reach the bound.
    labels: Vec<u32>,
    /// The same in the order of [`key`].
    head: Vec<u64>,
    /// The weights of the head.
    weights: Vec<u32>,
    /// How far below log Σ exp a head reached that was just long enough.
    depth: f32,
}

impl Scratch {
    /// The label at this rank, counted from 0, of the row whose [`prefix`] was found last; the head reaches at least to
    /// the first label after the prefix.
    pub(crate) fn label_at(&self, rank: usize) -> Option<u32> {
        self.head.get(rank).map(|&key| key as u32)
    }
}

/// Where `label` stands in the row: labels are ranked by falling logit, equal ones by rising number.
/// `None` if a logit is NaN.
#[inline(always)]
pub(crate) fn place(row: &[f32], label: usize, beta: f32) -> Option<Place> {
    let max = maximum(row)?;
    let z = row[label];
    let (all, above, count) = sums_above(row, max, beta, z);
    let equal = count_equal(&row[..label], z);
    let own = weight(z, max, beta);
    Some(Place {
        rank: 1 + count + equal,
        above: (above + equal as i64 * i64::from(own)) as f64,
        weight: f64::from(own),
        total: all as f64,
    })
}

/// Appends the labels whose score is at most their threshold, most likely first, and says how many.
/// `None` if a logit is NaN.
///
/// Scores rise along the ranking, so the set is a prefix of it. The head of the ranking is found without sorting the
/// row: all logits above a bound are all of the ranking down to it. The bound is where the rows before had it; where the
/// head turns out too short, a lower one is tried.
#[inline(always)]
pub(crate) fn prefix(
    row: &[f32],
    u: f64,
    beta: f32,
    score: &impl Score,
    (scheme, number): (&impl Scheme, usize),
    scratch: &mut Scratch,
    labels: &mut Vec<u32>,
) -> Option<usize> {
    let threshold = scheme.largest(number);
    let max = group_maxima(row, &mut scratch.maxima)?;
    let total = total(row, max, beta) as f64;
    let start = labels.len();
    let (mut above, mut known) = (0_i64, 0);
    // Where a row's mass lies below log Σ exp is alike from row to row, where it lies below the largest logit is not.
    let level = max + (total as f32 / ONE).ln() / beta;
    let (mut depth, mut step) = (scratch.depth, 0.5);
    loop {
        let bound = level - depth / beta;
        let all = !(bound.is_finite() && step < 64.0);
        gather_head(row, if all { f32::NEG_INFINITY } else { bound }, scratch);
        scratch.weights.resize(scratch.head.len(), 0);
        for (w, &key) in scratch.weights.iter_mut().zip(&scratch.head) {
            *w = row[key as u32 as usize].to_bits();
        }
        for w in &mut scratch.weights {
            *w = weight(f32::from_bits(*w), max, beta) as u32;
        }
        // What an earlier, shorter head held stands at the front of this one.
        for (rank, (&key, &w)) in scratch.head.iter().zip(&scratch.weights).enumerate().skip(known) {
            let place = Place { rank: rank + 1, above: above as f64, weight: f64::from(w), total };
            let score = score.at(&place, u);
            if score > threshold {
                if scratch.head.len() > rank + rank / 8 + 4 {
                    scratch.depth -= 0.01;
                }
                return Some(labels.len() - start);
            }
            if score <= scheme.threshold(number, key as u32) {
                labels.push(key as u32);
            }
            above += i64::from(w);
        }
        known = scratch.head.len();
        if all || scratch.head.len() == row.len() {
            return Some(labels.len() - start);
        }
        // One row in five may need a second try; lower bounds for all would cost more.
        scratch.depth += 0.04;
        depth += step;
        step *= 2.0;
    }
}

/// Appends the score of every label of a row, in the labels' order. `None` if a logit is NaN.
#[inline(always)]
pub(crate) fn all_scores(row: &[f32], u: f64, beta: f32, score: &impl Score, scratch: &mut Scratch, scores: &mut Vec<f64>) -> Option<()> {
    let max = group_maxima(row, &mut scratch.maxima)?;
    let total = total(row, max, beta) as f64;
    gather_head(row, f32::NEG_INFINITY, scratch);
    let start = scores.len();
    scores.resize(start + row.len(), 0.0);
    let mut above = 0_i64;
    for (rank, &key) in scratch.head.iter().enumerate() {
        let label = key as u32 as usize;
        let w = weight(row[label], max, beta);
        scores[start + label] = score.at(&Place { rank: rank + 1, above: above as f64, weight: f64::from(w), total }, u);
        above += i64::from(w);
    }
    Some(())
}

/// Puts into `scratch.head`, ranked, all logits that are at least `bound`.
#[inline(always)]
fn gather_head(row: &[f32], bound: f32, scratch: &mut Scratch) {
    // Appended without branches: what passes cannot be foreseen.
    scratch.groups.resize(scratch.maxima.len() + 1, 0);
    let mut groups = 0;
    for (group, &max) in scratch.maxima.iter().enumerate() {
        scratch.groups[groups] = group as u32;
        groups += usize::from(max >= bound);
    }
    scratch.labels.resize(groups * GROUP + 1, 0);
    let mut count = 0;
    for &group in &scratch.groups[..groups] {
        for label in members(group as usize, row.len()) {
            scratch.labels[count] = label as u32;
            count += usize::from(row[label] >= bound);
        }
    }
    scratch.head.resize(count, 0);
    for (key_of, &label) in scratch.head.iter_mut().zip(&scratch.labels[..count]) {
        *key_of = key(row[label as usize], label);
    }
    scratch.head.sort_unstable();
}

/// A whole number that rises along the ranking: falling logits, equal ones by rising label. The label is its low half.
#[inline(always)]
fn key(z: f32, label: u32) -> u64 {
    // Adding 0 makes −0 and 0 the same number; the bits of floats of one sign are ordered as they are.
    let bits = (z + 0.0).to_bits();
    let rising = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    u64::from(!rising) << 32 | u64::from(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{scheme::Marginal, score::Raps};
    use proptest::prelude::*;

    /// The plain way: sort the row, go down.
    fn plain(row: &[f32], u: f64, beta: f32, score: &impl Score, threshold: f64) -> Vec<u32> {
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|&a, &b| row[b].partial_cmp(&row[a]).unwrap().then(a.cmp(&b)));
        let max = row[order[0]];
        let w: Vec<f64> = order.iter().map(|&label| f64::from(weight(row[label], max, beta))).collect();
        let total = w.iter().sum();
        let at = |rank: usize| Place { rank: rank + 1, above: w[..rank].iter().sum(), weight: w[rank], total };
        order.iter().enumerate().filter(|(rank, _)| score.at(&at(*rank), u) <= threshold).map(|(_, &label)| label as u32).collect()
    }

    proptest! {
        #[test]
        fn the_head_is_the_head_of_the_sorted_row(
            row in prop::collection::vec(prop_oneof![-8.0_f32..8.0, (-2..3_i32).prop_map(|v| v as f32), Just(-0.0)], 1..700),
            u in 0.0..1.0_f64, threshold in 0.0..1.2_f64, lambda in prop_oneof![Just(0.0), 0.0..0.1_f64], k_reg in 0_usize..20,
        ) {
            let score = Raps { lambda, k_reg };
            let mut labels = Vec::new();
            let mut scratch = Scratch::default();
            let size = prefix(&row, u, 0.8, &score, (&Marginal(threshold), 0), &mut scratch, &mut labels).unwrap();
            prop_assert_eq!(&labels, &plain(&row, u, 0.8, &score, threshold));
            prop_assert_eq!(size, labels.len());
            // Both phases give a label the same score to the bit: it is in the set exactly if its score is at most τ.
            for label in 0..row.len() {
                let score = score.at(&place(&row, label, 0.8).unwrap(), u);
                prop_assert_eq!(score <= threshold, labels.contains(&(label as u32)));
            }
        }
    }
}
