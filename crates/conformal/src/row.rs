//! One row of logits: where a label stands, and the head of the ranking.

use crate::{
    score::{Place, Score},
    softmax::{group_maxima, members, sums_where, total, weight},
};

/// Buffers that a thread uses for one row after another.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    maxima: Vec<f32>,
    sorted_maxima: Vec<f32>,
    /// Labels in the order of [`key`].
    head: Vec<u64>,
    /// How long a head to look for first.
    want: usize,
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
pub(crate) fn place(row: &[f32], label: usize, beta: f32, scratch: &mut Scratch) -> Option<Place> {
    let max = group_maxima(row, &mut scratch.maxima)?;
    let z = row[label];
    // Before the label an equal logit ranks above it, after it below.
    let (before, after) = (&row[..label], &row[label + 1..]);
    let (all_before, above_before, count_before) = sums_where(before, max, beta, |other| other >= z);
    let (all_after, above_after, count_after) = sums_where(after, max, beta, |other| other > z);
    let own = weight(z, max, beta);
    Some(Place {
        rank: 1 + count_before + count_after,
        above: (above_before + above_after) as f64,
        weight: f64::from(own),
        total: (all_before + all_after + i64::from(own)) as f64,
    })
}

/// Appends the labels whose score is at most `threshold`, most likely first, and says how many.
/// `None` if a logit is NaN.
///
/// Scores rise along the ranking, so the set is a prefix of it. The head of the ranking is found without sorting the
/// row: among the maxima of groups of classes, the k-th largest is a bound that at least k logits reach; those that
/// reach it are all of the ranking down to it.
#[inline(always)]
pub(crate) fn prefix(
    row: &[f32],
    u: f64,
    beta: f32,
    score: &impl Score,
    threshold: f64,
    scratch: &mut Scratch,
    labels: &mut Vec<u32>,
) -> Option<usize> {
    let max = group_maxima(row, &mut scratch.maxima)?;
    let total = total(row, max, beta) as f64;
    let start = labels.len();
    let mut above = 0_i64;
    // Sets of neighbouring rows are of like size.
    let mut want = (scratch.want + scratch.want / 2).max(6);
    loop {
        gather_head(row, want, scratch);
        // What an earlier, shorter head held stands at the front of this one.
        let known = labels.len() - start;
        for (rank, &key) in scratch.head.iter().enumerate().skip(known) {
            let label = key as u32;
            let w = weight(row[label as usize], max, beta);
            let place = Place { rank: rank + 1, above: above as f64, weight: f64::from(w), total };
            if score.at(&place, u) > threshold {
                scratch.want = (scratch.want + rank + 2) / 2 + 1;
                return Some(labels.len() - start);
            }
            labels.push(label);
            above += i64::from(w);
        }
        if scratch.head.len() == row.len() {
            return Some(labels.len() - start);
        }
        want *= 3;
    }
}

/// Puts into `scratch.head`, ranked, all logits that are at least the `want`-th largest of the groups' maxima; all of
/// the row where there are not many more groups than that.
#[inline(always)]
fn gather_head(row: &[f32], want: usize, scratch: &mut Scratch) {
    let bound = if want < scratch.maxima.len() {
        scratch.sorted_maxima.clone_from(&scratch.maxima);
        *scratch.sorted_maxima.select_nth_unstable_by(want - 1, |a, b| b.total_cmp(a)).1
    } else {
        f32::NEG_INFINITY
    };
    scratch.head.clear();
    for (group, &max) in scratch.maxima.iter().enumerate() {
        if max >= bound {
            for label in members(group, row.len()) {
                if row[label] >= bound {
                    scratch.head.push(key(row[label], label));
                }
            }
        }
    }
    scratch.head.sort_unstable();
}

/// A whole number that rises along the ranking: falling logits, equal ones by rising label. The label is its low half.
#[inline(always)]
fn key(z: f32, label: usize) -> u64 {
    // Adding 0 makes −0 and 0 the same number; the bits of floats of one sign are ordered as they are.
    let bits = (z + 0.0).to_bits();
    let rising = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    u64::from(!rising) << 32 | label as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::Raps;
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
            let size = prefix(&row, u, 0.8, &score, threshold, &mut scratch, &mut labels).unwrap();
            prop_assert_eq!(&labels, &plain(&row, u, 0.8, &score, threshold));
            prop_assert_eq!(size, labels.len());
            // Both phases give a label the same score to the bit: it is in the set exactly if its score is at most τ.
            for label in 0..row.len() {
                let score = score.at(&place(&row, label, 0.8, &mut scratch).unwrap(), u);
                prop_assert_eq!(score <= threshold, labels.contains(&(label as u32)));
            }
        }
    }
}
