//! One row of logits: where a label stands, and the head of the ranking.

use pulp::Simd;

use crate::{
    gather::Gathered,
    ranking::Ranking,
    scheme::Scheme,
    score::{Place, Score},
    softmax::{Above, Keys, ONE, above, count_equal, maximum, total, weight},
};

/// Buffers that a thread uses for one row after another.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// The head's next piece.
    piece: Gathered,
    ranking: Ranking,
    /// The head of the ranking: labels and logits.
    head: Vec<u32>,
    logits: Vec<f32>,
    /// The weights above each label of the head's last piece, its own weights, and its scores.
    above: Vec<f64>,
    weights: Vec<i32>,
    scores: Vec<f64>,
    /// How far down the first piece goes.
    depths: Depths,
    /// How many labels the rows before had together.
    found: usize,
}

/// How many kinds of rows [`Depths`] tells apart.
const KINDS: usize = 32;

/// How far below log Σ exp the first bound lies, in units of 1/β, learnt from row to row: what the scores make of a row
/// depends above all on how likely its first label is, so rows are told apart by that.
#[derive(Debug, Default)]
struct Depths {
    /// By [`kind`](Self::kind); 0 before the first row of a kind.
    depths: [f32; KINDS],
    last: f32,
}

impl Depths {
    /// Rows whose odds against the first label, Σ of the other weights over its own, are alike to a factor of 1.5: two kinds
    /// for each power of two, from 2⁻⁶ on.
    #[inline(always)]
    fn kind(odds: f32) -> usize {
        // The exponent of a number that is not negative, and whether its fraction is a half or more.
        let halves = odds.to_bits() >> 22;
        (halves.saturating_sub(2 * (127 - 6)) as usize).min(KINDS - 1)
    }

    #[inline(always)]
    fn first(&self, kind: usize) -> f32 {
        if self.depths[kind] > 0.0 { self.depths[kind] } else { self.last }
    }

    /// Learns that a row of this kind reached down to `reached`; whether its first piece was enough.
    #[inline(always)]
    fn learn(&mut self, kind: usize, reached: f32, enough: bool) {
        let depth = &mut self.depths[kind];
        if *depth > 0.0 {
            *depth += if enough { -STEP * ADAPTATION * SECOND_PIECES } else { STEP * ADAPTATION };
        } else {
            *depth = reached.max(f32::MIN_POSITIVE);
        }
        self.last = *depth;
    }
}

impl Scratch {
    /// Room for the labels of as many rows as those that were [`found`](Self::found) last.
    pub(crate) fn room(&self) -> usize {
        self.found + self.found / 4
    }

    /// Learns how many labels rows have.
    pub(crate) fn found(&mut self, labels: usize) {
        self.found = labels;
    }

    /// The label at this rank, counted from 0, of the row whose [`prefix`] was found last; the head reaches at least to
    /// the first label after the prefix.
    pub(crate) fn label_at(&self, rank: usize) -> Option<u32> {
        self.head.get(rank).copied()
    }

    /// Finds the scores of the head from the label at rank `known` on; `above` is the weight of all before it. Gives the
    /// weight of all.
    #[inline(always)]
    fn score(&mut self, known: usize, mut above: i64, (max, beta, total): (f32, f32, f64), u: Option<f64>, score: &impl Score) -> i64 {
        let logits = &self.logits[known..];
        self.weights.clear();
        self.weights.extend(logits.iter().map(|_| 0));
        for (w, &z) in self.weights.iter_mut().zip(logits) {
            *w = weight(z, max, beta);
        }
        self.above.clear();
        self.above.extend(self.weights.iter().map(|w| {
            let before = above;
            above += i64::from(*w);
            before as f64
        }));
        self.scores.clear();
        self.scores.resize(logits.len(), 0.0);
        // A loop each, and a score that no write can change: both are worked on a register at a time.
        let score = *score;
        let places = self.scores.iter_mut().zip(&self.above).zip(&self.weights).zip(known + 1..);
        if let Some(u) = u {
            for (((to, above), w), rank) in places {
                *to = score.at(&Place { rank, above: *above, weight: f64::from(*w), total }, u);
            }
        } else {
            for (((to, above), w), rank) in places {
                *to = score.bound(&Place { rank, above: *above, weight: f64::from(*w), total });
            }
        }
        above
    }
}

/// Where `label` stands in the row, and the row's fingerprint: labels are ranked by falling logit, equal ones by rising
/// number. `None` if a logit is NaN. `next` is the row that will be worked on after it, here and below.
#[inline(always)]
pub(crate) fn place((row, next): (&[f32], &[f32]), label: usize, beta: f32, keys: &Keys) -> Option<(Place, u64)> {
    let max = maximum(row)?;
    let z = row[label];
    let Above { all, mass, count, equal, fingerprint } = above(row, next, max, beta, z, keys);
    // Most often the label alone has this logit.
    let equal = if equal > 1 { count_equal(&row[..label], z) } else { 0 };
    let own = weight(z, max, beta);
    let above = (mass + equal as i64 * i64::from(own)) as f64;
    Some((Place { rank: 1 + count + equal, above, weight: f64::from(own), total: all as f64 }, fingerprint))
}

/// The row's fingerprint; `None` if a logit is NaN.
#[inline(always)]
pub(crate) fn fingerprint((row, next): (&[f32], &[f32]), beta: f32, keys: &Keys) -> Option<u64> {
    Some(total(row, next, maximum(row)?, beta, keys).1)
}

/// Appends the labels whose score is at most their threshold, most likely first; how many there are, and the row's
/// fingerprint, of which `draw` makes u (without one labels are judged by their bounds). `None` if a logit is NaN.
///
/// Scores rise along the ranking, so the set is a prefix of it. The ranking is found piece by piece, without sorting the
/// row: all logits above a bound, then those down to a lower one, until a score exceeds the threshold. The first bound is
/// where the rows before had it.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "a row, its draw, the rule, and room to work in")]
pub(crate) fn prefix<S: Simd>(
    simd: S,
    (row, next): (&[f32], &[f32]),
    draw: impl Fn(u64) -> Option<f64>,
    (beta, keys): (f32, &Keys),
    score: &impl Score,
    (scheme, number): (&dyn Scheme, usize),
    scratch: &mut Scratch,
    labels: &mut Vec<u32>,
) -> Option<(usize, u64)> {
    let threshold = scheme.largest(number);
    let max = maximum(row)?;
    let (total, fingerprint) = total(row, next, max, beta, keys);
    let (total, u) = (total as f64, draw(fingerprint));
    let start = labels.len();
    // Where a row's mass lies below log Σ exp is alike from row to row, where it lies below the largest logit is not.
    let level = max + (total as f32 / ONE).ln() / beta;
    let kind = Depths::kind((total as f32 - ONE) / ONE);
    let (mut depth, mut step, mut ceiling) = (scratch.depths.first(kind), STEP, None);
    let mut above = 0_i64;
    scratch.head.clear();
    scratch.logits.clear();
    loop {
        let bound = level - depth / beta;
        let all = !(bound.is_finite() && step < 64.0);
        let bound = if all { f32::NEG_INFINITY } else { bound };
        let known = scratch.head.len();
        scratch.piece.take(simd, row, bound, ceiling);
        extend_head(scratch);
        above = scratch.score(known, above, (max, beta, total), u, score);
        let inside = scratch.scores.iter().position(|score| *score > threshold);
        let reached = &scratch.head[known..][..inside.unwrap_or(scratch.scores.len())];
        if scheme.is_uniform() {
            labels.extend_from_slice(reached);
        } else {
            let scored = reached.iter().zip(&scratch.scores);
            labels.extend(scored.filter(|(label, score)| **score <= scheme.threshold(number, **label)).map(|(label, _)| *label));
        }
        if let Some(place) = inside {
            scratch.depths.learn(kind, (level - scratch.logits[known + place]) * beta, known == 0);
            return Some((labels.len() - start, fingerprint));
        }
        if all || scratch.head.len() == row.len() {
            return Some((labels.len() - start, fingerprint));
        }
        (ceiling, depth) = (Some(bound), depth + step);
        step *= 1.5;
    }
}

/// How far the second bound lies below the first, in units of 1/β: half as many labels again, or so.
const STEP: f32 = 0.25;

/// How fast the first bound follows the rows, as a share of [`STEP`].
const ADAPTATION: f32 = 0.1;

/// About how many rows need a second piece: a bound that suffices for more rows finds too much in most.
const SECOND_PIECES: f32 = 0.1;

/// Appends the score of every label of a row, in the labels' order. `None` if a logit is NaN.
#[inline(always)]
pub(crate) fn all_scores<S: Simd>(
    simd: S,
    (row, next): (&[f32], &[f32]),
    u: Option<f64>,
    (beta, keys): (f32, &Keys),
    score: &impl Score,
    scratch: &mut Scratch,
    scores: &mut Vec<f64>,
) -> Option<()> {
    let max = maximum(row)?;
    let total = total(row, next, max, beta, keys).0 as f64;
    scratch.head.clear();
    scratch.logits.clear();
    scratch.piece.take(simd, row, f32::NEG_INFINITY, None);
    extend_head(scratch);
    scratch.score(0, 0, (max, beta, total), u, score);
    let start = scores.len();
    scores.resize(start + row.len(), 0.0);
    for (&label, &score) in scratch.head.iter().zip(&scratch.scores) {
        scores[start + label as usize] = score;
    }
    Some(())
}

/// Appends the piece to the head, ranked.
#[inline(always)]
fn extend_head(scratch: &mut Scratch) {
    let Scratch { piece, ranking, head, logits, .. } = scratch;
    let (known, count) = (head.len(), piece.labels().len());
    head.resize(known + count, 0);
    logits.resize(known + count, 0.0);
    ranking.rank(piece, &mut head[known..], &mut logits[known..]);
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
            let keys = Keys::new(row.len());
            let (size, fingerprint) =
                prefix(pulp::Scalar, (&row, &[]), |_| Some(u), (0.8, &keys), &score, (&Marginal(threshold), 0), &mut scratch, &mut labels).unwrap();
            prop_assert_eq!(&labels, &plain(&row, u, 0.8, &score, threshold));
            prop_assert_eq!(size, labels.len());
            // Both phases give a label the same score to the bit: it is in the set exactly if its score is at most τ.
            for label in 0..row.len() {
                let (place, found) = place((&row, &[]), label, 0.8, &keys).unwrap();
                prop_assert_eq!(found, fingerprint);
                let score = score.at(&place, u);
                prop_assert_eq!(score <= threshold, labels.contains(&(label as u32)));
            }
        }
    }
}
