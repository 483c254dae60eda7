//! Softmax in whole numbers: exp(β(z − max z)) as a multiple of 2⁻²⁹.
//!
//! Whole numbers can be added in any order with the same result, so that the mass above a label is the same whether
//! it is summed over the row as it stands (calibration) or down the ranking (prediction), whatever the processor.

use std::f32::consts::{LN_2, LOG2_E};

/// The binary logarithm of [`ONE`].
const BITS: u32 = 29;

/// What a weight of 1 is held as. Four weights have room in 32 bits.
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
    ($row:expr, $padding:expr, |$part:ident| $work:block) => {
        let (parts, rest) = $row.as_chunks::<LANES>();
        for $part in parts $work
        if !rest.is_empty() {
            let mut last = [$padding; LANES];
            last[..rest.len()].copy_from_slice(rest);
            let $part = &last;
            $work
        }
    };
}

/// The largest logit; `None` if one is NaN.
#[inline(always)]
pub(crate) fn maximum(row: &[f32]) -> Option<f32> {
    let (mut maxima, mut ordered) = ([f32::NEG_INFINITY; LANES], [true; LANES]);
    for_each_part!(row, f32::NEG_INFINITY, |part| {
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

/// The sum of all weights of a row; `next` is the row that will be worked on after it.
#[inline(always)]
pub(crate) fn total(row: &[f32], next: &[f32], max: f32, beta: f32) -> i64 {
    let mut sum = -padding(row, max);
    for (part_number, part) in row.chunks(HALVES * 4 * LANES).enumerate() {
        let mut sums = Halves::ZERO;
        let (blocks, rest) = part.as_chunks::<{ LANES * 4 }>();
        for (number, block) in blocks.iter().enumerate() {
            prefetch(next, (part_number * HALVES + number) * LANES * 4);
            let mut four = [0_u32; LANES];
            for part in block.as_chunks::<LANES>().0 {
                for lane in 0..LANES {
                    four[lane] += weight(part[lane], max, beta) as u32;
                }
            }
            sums.add(four);
        }
        let mut four = [0_u32; LANES];
        for_each_part!(rest, f32::NEG_INFINITY, |part| {
            for lane in 0..LANES {
                four[lane] += weight(part[lane], max, beta) as u32;
            }
        });
        sums.add(four);
        sum += sums.sum();
    }
    sum
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
}

/// What the row has above `z`; `next` is the row that will be worked on after it.
#[inline(always)]
pub(crate) fn above(row: &[f32], next: &[f32], max: f32, beta: f32, z: f32) -> Above {
    let (mut all, mut above, mut count, mut at_least) = ([0_i64; LANES], [0_i64; LANES], [0_i32; LANES], [0_i32; LANES]);
    let (blocks, rest) = row.as_chunks::<{ LANES * 4 }>();
    for (number, block) in blocks.iter().enumerate() {
        prefetch(next, number * LANES * 4);
        let (mut four, mut four_above) = ([0_u32; LANES], [0_u32; LANES]);
        for part in block.as_chunks::<LANES>().0 {
            for lane in 0..LANES {
                let weight = weight(part[lane], max, beta) as u32;
                let hit = part[lane] > z;
                four[lane] += weight;
                four_above[lane] += if hit { weight } else { 0 };
                count[lane] += i32::from(hit);
                at_least[lane] += i32::from(part[lane] >= z);
            }
        }
        for lane in 0..LANES {
            all[lane] += i64::from(four[lane]);
            above[lane] += i64::from(four_above[lane]);
        }
    }
    for_each_part!(rest, f32::NEG_INFINITY, |part| {
        for lane in 0..LANES {
            let weight = weight(part[lane], max, beta);
            let hit = part[lane] > z;
            all[lane] += i64::from(weight);
            above[lane] += i64::from(if hit { weight } else { 0 });
            count[lane] += i32::from(hit);
            at_least[lane] += i32::from(part[lane] >= z);
        }
    });
    let count = count.iter().sum::<i32>() as usize;
    let equal = at_least.iter().sum::<i32>() as usize - count;
    Above { all: all.iter().sum::<i64>() - padding(row, max), mass: above.iter().sum(), count, equal }
}

/// How many logits are equal to `z`.
#[inline(always)]
pub(crate) fn count_equal(row: &[f32], z: f32) -> usize {
    let mut count = [0_i32; LANES];
    for_each_part!(row, f32::NAN, |part| {
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
        let sum = || (total(&row, &[], 9.0, 0.7), above(&row, &row, 9.0, 0.7, 2.0).mass);
        assert_eq!(pulp::Arch::new().dispatch(sum), sum());
        let expected: f64 = row.iter().map(|&z| ((f64::from(z) - 9.0) * 0.7).exp()).sum();
        assert!((sum().0 as f64 / f64::from(ONE) - expected).abs() < 1e-5 * expected);
    }

    #[test]
    fn infinities_share_the_mass() {
        let row = [f32::INFINITY, 1.0, f32::INFINITY];
        let max = maximum(&row).unwrap();
        assert_eq!(row.map(|z| weight(z, max, 1.0)), [1 << 29, 0, 1 << 29]);
        let row = [f32::NEG_INFINITY; 3];
        assert_eq!(row.map(|z| weight(z, f32::NEG_INFINITY, 1.0)), [1 << 29; 3]);
        assert_eq!((maximum(&row), total(&row, &[], f32::NEG_INFINITY, 1.0)), (Some(f32::NEG_INFINITY), 3 << 29));
        assert_eq!(maximum(&[0.0, f32::NAN]), None);
    }
}
