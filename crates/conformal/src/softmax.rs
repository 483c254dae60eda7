//! Softmax in whole numbers: exp(β(z − max z)) as a multiple of 2⁻²⁹.
//!
//! Whole numbers can be added in any order with the same result, so that the mass above a label is the same whether
//! it is summed over the row as it stands (calibration) or down the ranking (prediction), whatever the processor.

use std::f32::consts::{LN_2, LOG2_E};

use crate::draws::mix;

/// The binary logarithm of [`ONE`].
const BITS: u32 = 29;

/// What a weight of 1 is held as, which is the largest weight of every row. Four weights have room in 32 bits.
pub(crate) const ONE: f32 = (1 << BITS) as f32;

/// How many logits are worked on side by side.
const LANES: usize = 16;

/// The weight of logit `z` in a row with this maximum. Equal infinities share the mass.
///
/// It is ⌊2²⁹·2ⁿ·p(f)⌋ for β(z − max)·log₂e = n + f with n whole and |f| ≤ ½, where p is the polynomial of fifth degree
/// with p(0) = 1 and p′(0) = ln 2 that is nearest to 2ᶠ: their relative distance is below 2⁻²³.
#[inline(always)]
pub(crate) fn weight(z: f32, max: f32, beta: f32) -> i32 {
    // Adding 1.5·2²³ rounds to a whole number; what is left in the lowest bits is n + BITS.
    const TO_NEAREST: f32 = 12_582_912.0 + BITS as f32;
    let y = (z - max) * (beta * LOG2_E);
    // NaN, of equal infinities, is 0; below 2⁻⁶⁴ nothing is left.
    let y = if y < 0.0 { y } else { 0.0 };
    let y = if y > -64.0 { y } else { -64.0 };
    let shifted = y + TO_NEAREST;
    let f = y - (shifted - TO_NEAREST);
    let mut p = 1.330_060_5e-3_f32;
    p = p.mul_add(f, 9.669_691e-3);
    p = p.mul_add(f, 5.550_558_5e-2);
    p = p.mul_add(f, 2.402_228_3e-1);
    p = p.mul_add(f, LN_2);
    p = p.mul_add(f, 1.0);
    let scaled = f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23));
    // SAFETY: a finite number in [0, (1 + 2⁻²²)·2²⁹], which is far below 2³¹.
    unsafe { scaled.to_int_unchecked() }
}

/// Runs a block for the row's parts of [`LANES`], the last one filled up with `padding`. Not a function with a closure:
/// a closure's code would not be compiled for the instruction set of the function around it.
macro_rules! for_each_part {
    ($row:expr, $padding:expr, |$part:ident, $number:pat_param| $work:block) => {
        let (parts, rest) = $row.as_chunks::<LANES>();
        for ($number, $part) in parts.iter().enumerate() $work
        if !rest.is_empty() {
            let mut last = [$padding; LANES];
            last[..rest.len()].copy_from_slice(rest);
            let ($number, $part) = (parts.len(), &last);
            $work
        }
    };
}

/// The largest logit; `None` if one is NaN.
#[inline(always)]
pub(crate) fn maximum(row: &[f32]) -> Option<f32> {
    let (mut maxima, mut ordered) = ([f32::NEG_INFINITY; LANES], [true; LANES]);
    for_each_part!(row, f32::NEG_INFINITY, |part, _| {
        for lane in 0..LANES {
            ordered[lane] &= !part[lane].is_nan();
            maxima[lane] = if part[lane] > maxima[lane] { part[lane] } else { maxima[lane] };
        }
    });
    ordered.iter().all(|ordered| *ordered).then(|| maxima.iter().copied().fold(f32::NEG_INFINITY, |max, z| if z > max { z } else { max }))
}

/// Asks memory for the part of the next row that begins at `start`, as long as this one's block. Spread over the work on
/// a row, the requests cost nothing; all at once they would wait for one another.
#[inline(always)]
fn prefetch(next: &[f32], start: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..LANES * 4 * size_of::<f32>() / 64 {
        let address = next.as_ptr().wrapping_add(start + line * 16);
        // SAFETY: a prefetch reads nothing, and may be given any address.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (next, start);
}

/// Sums of weights in halves of sixteen bits each: two additions of whole registers, with room for [`HALVES`] of them.
#[derive(Clone, Copy)]
struct Halves {
    low: [u32; LANES],
    high: [u32; LANES],
}

/// How many sums of four weights [`Halves`] can hold.
const HALVES: usize = 1 << 16;

impl Halves {
    const ZERO: Self = Self { low: [0; LANES], high: [0; LANES] };

    #[inline(always)]
    fn add(&mut self, four: [u32; LANES]) {
        for (lane, four) in four.into_iter().enumerate() {
            self.low[lane] += four & 0xFFFF;
            self.high[lane] += four >> 16;
        }
    }

    #[inline(always)]
    fn sum(self) -> i64 {
        let sum = |half: [u32; LANES]| half.iter().map(|x| i64::from(*x)).sum::<i64>();
        sum(self.low) + (sum(self.high) << 16)
    }
}

/// Odd numbers, one per column, that [`Fingerprint`] multiplies weights by. They are the same for all seeds.
#[derive(Debug)]
pub(crate) struct Keys(Vec<[u32; LANES]>);

impl Keys {
    /// For rows of this length.
    pub(crate) fn new(columns: usize) -> Self {
        let key = |column: usize| (mix(column as u64) >> 32) as u32 | 1;
        Self((0..columns.div_ceil(LANES)).map(|part| std::array::from_fn(|lane| key(part * LANES + lane))).collect())
    }
}

/// Σ kᵢ·wᵢ modulo 2⁶⁴ over the weights of a row, the multilinear hash (Lemire and Kaser 2014); in lanes that are added in
/// the end. Rows of unlike weights have unlike sums but for one pair in billions.
#[derive(Clone, Copy)]
struct Fingerprint([u64; LANES / 2]);

impl Fingerprint {
    const ZERO: Self = Self([0; LANES / 2]);

    #[inline(always)]
    fn add(&mut self, weights: [u32; LANES], keys: &[u32; LANES]) {
        // Two numbers of 32 bits side by side: registers multiply the low halves, then the high ones.
        // SAFETY: arrays of plain numbers of one size.
        let (weights, keys) = unsafe {
            (std::mem::transmute::<[u32; LANES], [u64; LANES / 2]>(weights), std::mem::transmute::<[u32; LANES], [u64; LANES / 2]>(*keys))
        };
        const LOW: u64 = u32::MAX as u64;
        for (sum, (w, k)) in self.0.iter_mut().zip(weights.into_iter().zip(keys)) {
            *sum = sum.wrapping_add((w & LOW) * (k & LOW)).wrapping_add((w >> 32) * (k >> 32));
        }
    }

    #[inline(always)]
    fn finish(self) -> u64 {
        mix(self.0.iter().fold(0, |sum, lane| sum.wrapping_add(*lane)))
    }
}

/// The weights of sixteen logits.
#[inline(always)]
fn weights(part: &[f32; LANES], max: f32, beta: f32) -> [u32; LANES] {
    let mut weights = [0; LANES];
    for lane in 0..LANES {
        weights[lane] = weight(part[lane], max, beta) as u32;
    }
    weights
}

/// The sum of all weights of a row, and its fingerprint; `next` is the row that will be worked on after it.
#[inline(always)]
pub(crate) fn total(row: &[f32], next: &[f32], max: f32, beta: f32, keys: &Keys) -> (i64, u64) {
    let mut sum = -padding(row, max);
    let mut fingerprint = Fingerprint::ZERO;
    for (part_number, part) in row.chunks(HALVES * 4 * LANES).enumerate() {
        let mut sums = Halves::ZERO;
        let (blocks, rest) = part.as_chunks::<{ LANES * 4 }>();
        let keys = &keys.0[part_number * HALVES * 4..];
        let (block_keys, rest_keys) = keys.split_at(blocks.len() * 4);
        for (number, (block, keys)) in blocks.iter().zip(block_keys.as_chunks::<4>().0).enumerate() {
            prefetch(next, (part_number * HALVES + number) * LANES * 4);
            let mut four = [0_u32; LANES];
            for (part, keys) in block.as_chunks::<LANES>().0.iter().zip(keys) {
                let weights = weights(part, max, beta);
                for lane in 0..LANES {
                    four[lane] += weights[lane];
                }
                fingerprint.add(weights, keys);
            }
            sums.add(four);
        }
        let mut four = [0_u32; LANES];
        for_each_part!(rest, f32::NEG_INFINITY, |part, number| {
            let weights = weights(part, max, beta);
            for lane in 0..LANES {
                four[lane] += weights[lane];
            }
            fingerprint.add(weights, &rest_keys[number]);
        });
        sums.add(four);
        sum += sums.sum();
    }
    (sum, fingerprint.finish())
}

/// What a row has above a logit, and in all.
#[derive(Clone, Copy)]
pub(crate) struct Above {
    /// The sum of all weights.
    pub all: i64,
    /// The sum of the weights of larger logits.
    pub mass: i64,
    /// How many logits are larger.
    pub count: usize,
    /// How many are equal.
    pub equal: usize,
    /// The row's fingerprint.
    pub fingerprint: u64,
}

/// What the row has above `z`; `next` is the row that will be worked on after it.
#[inline(always)]
pub(crate) fn above(row: &[f32], next: &[f32], max: f32, beta: f32, z: f32, keys: &Keys) -> Above {
    let (mut all, mut above, mut count, mut at_least) = ([0_i64; LANES], [0_i64; LANES], [0_i32; LANES], [0_i32; LANES]);
    let mut fingerprint = Fingerprint::ZERO;
    let (blocks, rest) = row.as_chunks::<{ LANES * 4 }>();
    let (block_keys, rest_keys) = keys.0.split_at(blocks.len() * 4);
    for (number, (block, keys)) in blocks.iter().zip(block_keys.as_chunks::<4>().0).enumerate() {
        prefetch(next, number * LANES * 4);
        let (mut four, mut four_above) = ([0_u32; LANES], [0_u32; LANES]);
        for (part, keys) in block.as_chunks::<LANES>().0.iter().zip(keys) {
            let weights = weights(part, max, beta);
            fingerprint.add(weights, keys);
            for lane in 0..LANES {
                let hit = part[lane] > z;
                four[lane] += weights[lane];
                four_above[lane] += if hit { weights[lane] } else { 0 };
                count[lane] += i32::from(hit);
                at_least[lane] += i32::from(part[lane] >= z);
            }
        }
        for lane in 0..LANES {
            all[lane] += i64::from(four[lane]);
            above[lane] += i64::from(four_above[lane]);
        }
    }
    for_each_part!(rest, f32::NEG_INFINITY, |part, number| {
        let weights = weights(part, max, beta);
        fingerprint.add(weights, &rest_keys[number]);
        for lane in 0..LANES {
            let hit = part[lane] > z;
            all[lane] += i64::from(weights[lane]);
            above[lane] += i64::from(if hit { weights[lane] } else { 0 });
            count[lane] += i32::from(hit);
            at_least[lane] += i32::from(part[lane] >= z);
        }
    });
    let count = count.iter().sum::<i32>() as usize;
    let equal = at_least.iter().sum::<i32>() as usize - count;
    let all = all.iter().sum::<i64>() - padding(row, max);
    Above { all, mass: above.iter().sum(), count, equal, fingerprint: fingerprint.finish() }
}

/// How many logits are equal to `z`.
#[inline(always)]
pub(crate) fn count_equal(row: &[f32], z: f32) -> usize {
    let mut count = [0_i32; LANES];
    for_each_part!(row, f32::NAN, |part, _| {
        for lane in 0..LANES {
            count[lane] += i32::from(part[lane] == z);
        }
    });
    count.iter().sum::<i32>() as usize
}

/// What the −∞ that fill up the last part weigh: something only where the whole row is −∞.
#[inline(always)]
fn padding(row: &[f32], max: f32) -> i64 {
    let missing = row.len().next_multiple_of(LANES) - row.len();
    if max == f32::NEG_INFINITY { missing as i64 * ONE as i64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_gives_the_same_weights() {
        let row: Vec<f32> = (0..1003).map(|i| (i as f32 * 12.9898).sin() * 9.0).collect();
        let keys = Keys::new(row.len());
        let sum = || {
            let above = above(&row, &row, 9.0, 0.7, 2.0, &keys);
            (total(&row, &[], 9.0, 0.7, &keys), (above.all, above.fingerprint), above.mass)
        };
        assert_eq!(pulp::Arch::new().dispatch(sum), sum());
        assert_eq!(sum().0, sum().1);
        let expected: f64 = row.iter().map(|&z| ((f64::from(z) - 9.0) * 0.7).exp()).sum();
        assert!((sum().0.0 as f64 / f64::from(ONE) - expected).abs() < 1e-5 * expected);
    }

    #[test]
    fn rows_that_differ_have_fingerprints_that_differ() {
        // One label each that has all the mass; then two labels that share it, and permutations of one row.
        let keys = Keys::new(5_000);
        let print = |row: &[f32]| total(row, &[], maximum(row).unwrap(), 1.0, &keys).1;
        let with = |hot: &[usize]| {
            let mut row = vec![-100.0; 5_000];
            hot.iter().for_each(|&label| row[label] = 0.0);
            print(&row)
        };
        let mut prints: Vec<u64> = (0..5_000).map(|label| with(&[label])).collect();
        prints.extend((0..5_000).step_by(67).flat_map(|a| (a + 1..5_000).step_by(71).map(move |b| (a, b))).map(|(a, b)| with(&[a, b])));
        prints.extend((0..1_000).map(|turn| print(&(0..1_000).map(|i| ((i + turn) % 1_000) as f32 * -0.01).collect::<Vec<f32>>())));
        let count = prints.len();
        prints.sort_unstable();
        prints.dedup();
        assert_eq!(prints.len(), count);
    }

    #[test]
    fn infinities_share_the_mass() {
        let row = [f32::INFINITY, 1.0, f32::INFINITY];
        let max = maximum(&row).unwrap();
        assert_eq!(row.map(|z| weight(z, max, 1.0)), [1 << 29, 0, 1 << 29]);
        let row = [f32::NEG_INFINITY; 3];
        assert_eq!(row.map(|z| weight(z, f32::NEG_INFINITY, 1.0)), [1 << 29; 3]);
        assert_eq!((maximum(&row), total(&row, &[], f32::NEG_INFINITY, 1.0, &Keys::new(3)).0), (Some(f32::NEG_INFINITY), 3 << 29));
        assert_eq!(maximum(&[0.0, f32::NAN]), None);
    }
}
