//! Logits ranked: falling, equal ones by rising label.

use crate::gather::Gathered;

/// Room to rank in, used again and again.
#[derive(Debug, Default)]
pub(crate) struct Ranking {
    /// Numbers that rise along the ranking, in order.
    sorted: Vec<u64>,
    /// Of each logit.
    buckets: Vec<u16>,
}

/// Up to how many logits counting for each how many are larger is faster than sorting.
const COUNTED: usize = 96;

/// How many buckets logits are put into.
const BUCKETS: usize = 1024;

/// A bucket with more logits than this is not sorted by insertion.
const CROWDED: u32 = 24;

impl Ranking {
    /// Writes the labels and logits of the piece in the order of the ranking.
    #[inline(always)]
    pub(crate) fn rank(&mut self, piece: &Gathered, labels: &mut [u32], logits: &mut [f32]) {
        if piece.labels().len() <= COUNTED && rank_by_counting(piece, labels, logits) {
            return;
        }
        if !self.rank_by_buckets(piece.logits(), piece.labels()) {
            self.sorted.clear();
            self.sorted.extend(piece.logits().iter().zip(piece.labels()).map(|(z, label)| key(*z, *label)));
            self.sorted.sort_unstable();
        }
        for ((to_label, to_logit), key) in labels.iter_mut().zip(logits).zip(&self.sorted) {
            (*to_logit, *to_label) = of_key(*key);
        }
    }

    /// Puts the keys into buckets by how far the logits lie below the largest, then each where it belongs among its neighbours.
    /// Says whether it has: not where infinities are, or a bucket is crowded.
    #[inline(always)]
    fn rank_by_buckets(&mut self, logits: &[f32], labels: &[u32]) -> bool {
        let (mut largest, mut least) = ([f32::NEG_INFINITY; 8], [f32::INFINITY; 8]);
        let (eights, rest) = logits.as_chunks::<8>();
        for eight in eights {
            for lane in 0..8 {
                largest[lane] = if eight[lane] > largest[lane] { eight[lane] } else { largest[lane] };
                least[lane] = if eight[lane] < least[lane] { eight[lane] } else { least[lane] };
            }
        }
        let largest = largest.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
        let least = least.iter().chain(rest).copied().fold(f32::INFINITY, f32::min);
        let scale = (BUCKETS as f32 - 0.5) / (largest - least);
        if !(scale.is_finite() && scale > 0.0 && largest.is_finite()) {
            return false;
        }
        let count = logits.len();
        self.buckets.resize(count.max(self.buckets.len()), 0);
        self.sorted.resize(count, 0);
        let (buckets, sorted) = (&mut self.buckets[..count], self.sorted.as_mut_slice());
        for (bucket, z) in buckets.iter_mut().zip(logits) {
            // From 0 to BUCKETS − 1, for the largest number is a little smaller than 1 / scale · BUCKETS.
            // SAFETY: it is finite, as both logits and the scale are, and far below 2³¹.
            *bucket = unsafe { ((largest - z) * scale).to_int_unchecked::<i32>() } as u16;
        }
        // Of each bucket, where the next of its logits belongs.
        let mut starts = [0_u32; BUCKETS];
        for bucket in &*buckets {
            starts[usize::from(*bucket) % BUCKETS] += 1;
        }
        let (mut sum, mut most) = (0, 0);
        for start in &mut starts {
            let held = *start;
            most = most.max(held);
            (*start, sum) = (sum, sum + held);
        }
        if most > CROWDED {
            return false;
        }
        for i in 0..count {
            let start = &mut starts[usize::from(buckets[i]) % BUCKETS];
            sorted[*start as usize] = key(logits[i], labels[i]);
            *start += 1;
        }
        // Neighbours in the wrong order are exchanged without a branch, which a processor could not guess.
        let mut carried = sorted[0];
        for i in 1..count {
            let next = sorted[i];
            sorted[i - 1] = carried.min(next);
            carried = carried.max(next);
        }
        sorted[count - 1] = carried;
        // After that most are where they belong.
        for end in 1..count {
            let (mut to, key) = (end, sorted[end]);
            while to > 0 && sorted[to - 1] > key {
                sorted[to] = sorted[to - 1];
                to -= 1;
            }
            sorted[to] = key;
        }
        true
    }
}

/// Ranks few logits by counting for each how many are larger: no branches, a register of logits at a time. Says whether
/// they all differ; equal ones must be ranked another way.
#[inline(always)]
fn rank_by_counting(piece: &Gathered, labels: &mut [u32], logits: &mut [f32]) -> bool {
    let mut sum = 0;
    for (mine, mine_labels) in piece.sixteens().iter().zip(piece.labels().chunks(16)) {
        let mut ranks = [0_u32; 16];
        for other in piece.logits() {
            for lane in 0..16 {
                ranks[lane] += u32::from(*other > mine[lane]);
            }
        }
        for lane in 0..mine_labels.len().min(16) {
            let rank = ranks[lane] as usize;
            (labels[rank], logits[rank]) = (mine_labels[lane], mine[lane]);
            sum += rank;
        }
    }
    // Where two are equal they have the rank of the first, and the sum is less.
    2 * sum == labels.len() * labels.len().saturating_sub(1)
}

/// A whole number that rises along the ranking: falling logits, equal ones by rising label. The label is its low half.
#[inline(always)]
fn key(z: f32, label: u32) -> u64 {
    // Adding 0 makes −0 and 0 the same number; the bits of floats of one sign are ordered as they are.
    let bits = (z + 0.0).to_bits();
    let rising = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    u64::from(!rising) << 32 | u64::from(label)
}

/// The logit, if it is not −0, and the label of a [`key`].
#[inline(always)]
fn of_key(key: u64) -> (f32, u32) {
    let rising = !((key >> 32) as u32);
    let bits = if rising >> 31 == 1 { rising ^ 1 << 31 } else { !rising };
    (f32::from_bits(bits), key as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_way_ranks_the_same(
            row in prop::collection::vec(prop_oneof![
                -3.0_f32..3.0, (-2..3_i32).prop_map(|z| z as f32), Just(f32::INFINITY), Just(-0.0), Just(1e30), Just(f32::MIN),
            ], 1..700),
            plain in any::<bool>(),
        ) {
            let row: Vec<f32> = row.into_iter().filter(|z| !plain || z.abs() <= 3.0).collect();
            let mut piece = Gathered::default();
            piece.take(pulp::Scalar, &row, f32::NEG_INFINITY, None);
            let mut expected: Vec<u32> = (0..row.len() as u32).collect();
            expected.sort_by(|a, b| row[*b as usize].partial_cmp(&row[*a as usize]).unwrap().then(a.cmp(b)));
            let (mut labels, mut logits) = (vec![0; row.len()], vec![0.0; row.len()]);
            let mut ranking = Ranking::default();
            ranking.rank(&piece, &mut labels, &mut logits);
            prop_assert_eq!(&labels, &expected);
            prop_assert!(labels.iter().zip(&logits).all(|(label, z)| row[*label as usize] == *z));
            if ranking.rank_by_buckets(&row, piece.labels()) {
                let found: Vec<u32> = ranking.sorted.iter().map(|key| of_key(*key).1).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
