//! Softmax in whole numbers: exp(β(z − max z)) as a multiple of 2⁻²⁹.
//!
//! Whole numbers can be added in any order with the same result, so that the mass above a label is the same whether
//! it is summed over the row as it stands (calibration) or down the ranking (prediction), whatever the processor.

use lyceum_core::math::scaled_exp_of_negative;

/// The binary logarithm of [`ONE`].
const BITS: u32 = 29;

/// What a weight of 1 is held as. Four weights have room in 32 bits.
pub(crate) const ONE: f32 = (1 << BITS) as f32;

/// How many logits are worked on side by side.
const LANES: usize = 16;

/// The weight of logit `z` in a row with this maximum. Equal infinities share the mass.
#[inline(always)]
pub(crate) fn weight(z: f32, max: f32, beta: f32) -> i32 {
    let x = if z == max { 0.0 } else { (z - max) * beta };
    // SAFETY: the exponential gives a finite number in [0, (1 + 2⁻²²)·2²⁹], which is far below 2³¹.
    unsafe { scaled_exp_of_negative::<BITS>(x).to_int_unchecked() }
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

/// The sum of all weights of a row.
#[inline(always)]
pub(crate) fn total(row: &[f32], max: f32, beta: f32) -> i64 {
    let mut sums = [0_i64; LANES];
    let (blocks, rest) = row.as_chunks::<{ LANES * 4 }>();
    for block in blocks {
        let mut four = [0_u32; LANES];
        for part in block.as_chunks::<LANES>().0 {
            for lane in 0..LANES {
                four[lane] += weight(part[lane], max, beta) as u32;
            }
        }
        for lane in 0..LANES {
            sums[lane] += i64::from(four[lane]);
        }
    }
    for_each_part!(rest, f32::NEG_INFINITY, |part| {
        for lane in 0..LANES {
            sums[lane] += i64::from(weight(part[lane], max, beta));
        }
    });
    sums.iter().sum::<i64>() - padding(row, max)
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

/// What the row has above `z`.
#[inline(always)]
pub(crate) fn above(row: &[f32], max: f32, beta: f32, z: f32) -> Above {
    let (mut all, mut above, mut count, mut at_least) = ([0_i64; LANES], [0_i64; LANES], [0_i32; LANES], [0_i32; LANES]);
    let (blocks, rest) = row.as_chunks::<{ LANES * 4 }>();
    for block in blocks {
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

/// Overwrites `labels` with the labels whose logits are at least `bound` and not at least `ceiling`, in their order, and more
/// that mean nothing; says how many there are.
#[inline(always)]
pub(crate) fn between(row: &[f32], bound: f32, ceiling: f32, labels: &mut Vec<u32>) -> usize {
    // Room for all of them: what follows writes without growing.
    labels.resize(row.len() + 1, 0);
    let mut found = 0;
    let (blocks, rest) = row.as_chunks::<64>();
    let mut append = |mut mask: u64, first: u32| {
        while mask != 0 {
            labels[found] = first + mask.trailing_zeros();
            found += 1;
            mask &= mask - 1;
        }
    };
    for (number, block) in blocks.iter().enumerate() {
        append(mask_at_least(block, bound) & !mask_at_least(block, ceiling), number as u32 * 64);
    }
    let mut last = [f32::NAN; 64];
    last[..rest.len()].copy_from_slice(rest);
    append(mask_at_least(&last, bound) & !mask_at_least(&last, ceiling), blocks.len() as u32 * 64);
    found
}

/// Which of the logits are at least `bound`, as bits.
#[inline(always)]
fn mask_at_least(block: &[f32; 64], bound: f32) -> u64 {
    let mut mask = 0;
    for (number, part) in block.as_chunks::<LANES>().0.iter().enumerate() {
        let mut hits = [0_i8; LANES];
        for lane in 0..LANES {
            hits[lane] = -i8::from(part[lane] >= bound);
        }
        mask |= u64::from(sign_bits(hits)) << (number * LANES);
    }
    mask
}

/// The sign of each number as a bit.
#[inline(always)]
fn sign_bits(numbers: [i8; LANES]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: every x86-64 processor has SSE2, and any sixteen bytes are a register of it.
        unsafe { std::arch::x86_64::_mm_movemask_epi8(std::mem::transmute::<[i8; LANES], std::arch::x86_64::__m128i>(numbers)) as u32 }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        (0..LANES).map(|lane| u32::from(numbers[lane] < 0) << lane).sum()
    }
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
        let sum = || (total(&row, 9.0, 0.7), above(&row, 9.0, 0.7, 2.0).mass);
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
        assert_eq!((maximum(&row), total(&row, f32::NEG_INFINITY, 1.0)), (Some(f32::NEG_INFINITY), 3 << 29));
        assert_eq!(maximum(&[0.0, f32::NAN]), None);
    }
}
