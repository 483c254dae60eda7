//! One row of logits: where a label stands, and the head of the ranking.

use crate::{
    scheme::Scheme,
    score::{Place, Score},
    softmax::{Above, ONE, above, between, count_equal, maximum, total, weight},
};

/// Buffers that a thread uses for one row after another.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// The labels between two bounds.
    labels: Vec<u32>,
    /// Their keys.
    keys: Vec<u64>,
    /// The head of the ranking, as keys.
    head: Vec<u64>,
    /// The weights of the head's last piece.
    weights: Vec<u32>,
    /// How far below log Σ exp the first bound lies, in units of 1/β.
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
    let Above { all, mass, count, equal } = above(row, max, beta, z);
    // Most often the label alone has this logit.
    let equal = if equal > 1 { count_equal(&row[..label], z) } else { 0 };
    let own = weight(z, max, beta);
    Some(Place { rank: 1 + count + equal, above: (mass + equal as i64 * i64::from(own)) as f64, weight: f64::from(own), total: all as f64 })
}

/// Appends the labels whose score is at most their threshold, most likely first, and says how many.
/// `None` if a logit is NaN.
///
/// Scores rise along the ranking, so the set is a prefix of it. The ranking is found piece by piece, without sorting the
/// row: all logits above a bound, then those down to a lower one, until a score exceeds the threshold. The first bound is
/// where the rows before had it.
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
    let max = maximum(row)?;
    let total = total(row, max, beta) as f64;
    let start = labels.len();
    // Where a row's mass lies below log Σ exp is alike from row to row, where it lies below the largest logit is not.
    let level = max + (total as f32 / ONE).ln() / beta;
    let (mut depth, mut step, mut ceiling) = (scratch.depth, STEP, f32::NAN);
    let mut above = 0_i64;
    scratch.head.clear();
    loop {
        let bound = level - depth / beta;
        let all = !(bound.is_finite() && step < 64.0);
        let bound = if all { f32::NEG_INFINITY } else { bound };
        let known = scratch.head.len();
        extend_head(row, bound, ceiling, scratch);
        scratch.weights.clear();
        scratch.weights.extend(scratch.head[known..].iter().map(|&key| row[key as u32 as usize].to_bits()));
        for w in &mut scratch.weights {
            *w = weight(f32::from_bits(*w), max, beta) as u32;
        }
        for (rank, (&key, &w)) in (known..).zip(scratch.head[known..].iter().zip(&scratch.weights)) {
            let place = Place { rank: rank + 1, above: above as f64, weight: f64::from(w), total };
            let score = score.at(&place, u);
            if score > threshold {
                // One row in three needs a second piece: bounds that suffice for more rows find too much in most.
                if known == 0 {
                    scratch.depth -= 0.5 * STEP * ADAPTATION;
                }
                return Some(labels.len() - start);
            }
            if score <= scheme.threshold(number, key as u32) {
                labels.push(key as u32);
            }
            above += i64::from(w);
        }
        if all || scratch.head.len() == row.len() {
            return Some(labels.len() - start);
        }
        if known == 0 {
            scratch.depth += STEP * ADAPTATION;
        }
        (ceiling, depth) = (bound, depth + step);
        step *= 1.5;
    }
}

/// How far the second bound lies below the first, in units of 1/β: half as many labels again, or so.
const STEP: f32 = 0.25;

/// How fast the first bound follows the rows, as a share of [`STEP`].
const ADAPTATION: f32 = 0.1;

/// Appends the score of every label of a row, in the labels' order. `None` if a logit is NaN.
#[inline(always)]
pub(crate) fn all_scores(row: &[f32], u: f64, beta: f32, score: &impl Score, scratch: &mut Scratch, scores: &mut Vec<f64>) -> Option<()> {
    let max = maximum(row)?;
    let total = total(row, max, beta) as f64;
    scratch.head.clear();
    extend_head(row, f32::NEG_INFINITY, f32::NAN, scratch);
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

/// Appends to `scratch.head`, ranked, all logits that are at least `bound` and not at least `ceiling`.
#[inline(always)]
fn extend_head(row: &[f32], bound: f32, ceiling: f32, scratch: &mut Scratch) {
    let count = between(row, bound, ceiling, &mut scratch.labels);
    let known = scratch.head.len();
    if count > COUNTED {
        scratch.head.extend(scratch.labels[..count].iter().map(|&label| key(row[label as usize], label)));
        scratch.head[known..].sort_unstable();
        return;
    }
    // Few keys are ranked by counting for each how many are smaller: no branches, a register of keys at a time.
    scratch.keys.clear();
    scratch.keys.extend(scratch.labels[..count].iter().map(|&label| key(row[label as usize], label)));
    scratch.keys.resize(count.next_multiple_of(KEYS), u64::MAX);
    scratch.head.resize(known + count, 0);
    for (block, mine) in scratch.keys.as_chunks::<KEYS>().0.iter().enumerate() {
        let mut ranks = [0_u64; KEYS];
        for other in &scratch.keys[..count] {
            for lane in 0..KEYS {
                ranks[lane] += u64::from(*other < mine[lane]);
            }
        }
        for (rank, key) in ranks.into_iter().zip(mine).take(count - block * KEYS) {
            scratch.head[known + rank as usize] = *key;
        }
    }
}

/// How many keys are ranked side by side.
const KEYS: usize = 8;

/// Up to how many keys counting is faster than sorting.
const COUNTED: usize = 128;

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
