//! Softmax in whole numbers: exp(β(z − max z)) as a multiple of 2⁻³⁰.
//!
//! Whole numbers can be added in any order with the same result, so that the mass above a label is the same whether
//! it is summed over the row as it stands (calibration) or down the ranking (prediction). The arithmetic uses no fused
//! operations and no table, so every processor gives the same bits.

use lyceum_core::math::exp_of_negative;

/// What a weight of 1 is held as.
pub(crate) const ONE: f32 = (1 << 30) as f32;

/// How many logits are worked on side by side.
const LANES: usize = 16;

/// How many logits share a maximum in [`group_maxima`].
pub(crate) const GROUP: usize = 4;

/// The weight of logit `z` in a row with this maximum. Equal infinities share the mass.
#[inline(always)]
pub(crate) fn weight(z: f32, max: f32, beta: f32) -> i32 {
    let x = if z == max { 0.0 } else { (z - max) * beta };
    // SAFETY: the exponential gives a finite number in [0, 1 + 2⁻²²], so the product is far below 2³¹.
    unsafe { (exp_of_negative(x) * ONE).to_int_unchecked() }
}

/// The maximum of each group of logits, and of all; `None` if a logit is NaN.
///
/// A group has [`GROUP`] members that lie [`LANES`] apart, see [`members`], so that maxima are taken register by register.
#[inline(always)]
pub(crate) fn group_maxima(row: &[f32], maxima: &mut Vec<f32>) -> Option<f32> {
    maxima.clear();
    let (blocks, rest) = row.as_chunks::<{ LANES * GROUP }>();
    let (mut ordered, mut largest) = (true, [f32::NEG_INFINITY; LANES]);
    for block in blocks {
        let mut group = [f32::NEG_INFINITY; LANES];
        for part in block.as_chunks::<LANES>().0 {
            for lane in 0..LANES {
                ordered &= !part[lane].is_nan();
                group[lane] = if part[lane] > group[lane] { part[lane] } else { group[lane] };
            }
        }
        for lane in 0..LANES {
            largest[lane] = if group[lane] > largest[lane] { group[lane] } else { largest[lane] };
        }
        maxima.extend_from_slice(&group);
    }
    for (lane, _) in rest.iter().take(LANES).enumerate() {
        let group = rest[lane..].iter().step_by(LANES);
        ordered &= group.clone().all(|z| !z.is_nan());
        let max = group.copied().fold(f32::NEG_INFINITY, |max, z| if z > max { z } else { max });
        largest[lane] = if max > largest[lane] { max } else { largest[lane] };
        maxima.push(max);
    }
    ordered.then(|| largest.iter().copied().fold(f32::NEG_INFINITY, |max, z| if z > max { z } else { max }))
}

/// The labels of a group of a row of `n` logits.
#[inline(always)]
pub(crate) fn members(group: usize, n: usize) -> impl Iterator<Item = usize> {
    let first = group / LANES * (LANES * GROUP) + group % LANES;
    (0..GROUP).map(move |member| first + member * LANES).take_while(move |&label| label < n)
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
    for_each_part!(row, f32::NEG_INFINITY, |part| {
        for lane in 0..LANES {
            sums[lane] += i64::from(weight(part[lane], max, beta));
        }
    });
    sums.iter().sum::<i64>() - padding(row, max)
}

/// The sum of all weights, the sum of those whose logits are above `z`, and how many are.
#[inline(always)]
pub(crate) fn sums_above(row: &[f32], max: f32, beta: f32, z: f32) -> (i64, i64, usize) {
    let (mut all, mut above, mut count) = ([0_i64; LANES], [0_i64; LANES], [0_i32; LANES]);
    for_each_part!(row, f32::NEG_INFINITY, |part| {
        for lane in 0..LANES {
            let weight = weight(part[lane], max, beta);
            let hit = part[lane] > z;
            all[lane] += i64::from(weight);
            above[lane] += i64::from(if hit { weight } else { 0 });
            count[lane] += i32::from(hit);
        }
    });
    (all.iter().sum::<i64>() - padding(row, max), above.iter().sum(), count.iter().sum::<i32>() as usize)
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
        let sum = || (total(&row, 9.0, 0.7), sums_above(&row, 9.0, 0.7, 2.0));
        assert_eq!(pulp::Arch::new().dispatch(sum), sum());
        let expected: f64 = row.iter().map(|&z| ((f64::from(z) - 9.0) * 0.7).exp()).sum();
        assert!((sum().0 as f64 / f64::from(ONE) - expected).abs() < 1e-5 * expected);
    }

    #[test]
    fn infinities_share_the_mass() {
        let row = [f32::INFINITY, 1.0, f32::INFINITY];
        let max = group_maxima(&row, &mut Vec::new()).unwrap();
        assert_eq!(row.map(|z| weight(z, max, 1.0)), [1 << 30, 0, 1 << 30]);
        let row = [f32::NEG_INFINITY; 3];
        assert_eq!(row.map(|z| weight(z, f32::NEG_INFINITY, 1.0)), [1 << 30; 3]);
        assert_eq!((maximum(&row), total(&row, f32::NEG_INFINITY, 1.0)), (Some(f32::NEG_INFINITY), 3 << 30));
        assert_eq!(maximum(&[0.0, f32::NAN]), None);
        assert_eq!(group_maxima(&[0.0, f32::NAN], &mut Vec::new()), None);
    }

    #[test]
    fn groups_part_a_row() {
        for n in [0, 1, 15, 16, 17, 63, 64, 65, 100, 129] {
            let row: Vec<f32> = (0..n).map(|i| ((i * 37) % 101) as f32).collect();
            let mut maxima = Vec::new();
            group_maxima(&row, &mut maxima);
            let groups: Vec<Vec<usize>> = (0..maxima.len()).map(|group| members(group, n).collect()).collect();
            let mut all = groups.concat();
            all.sort_unstable();
            assert_eq!(all, (0..n).collect::<Vec<_>>());
            assert!(groups.iter().zip(&maxima).all(|(group, max)| group.iter().all(|&label| row[label] <= *max)));
            assert!(groups.iter().zip(&maxima).all(|(group, max)| group.iter().any(|&label| row[label] == *max)));
        }
    }
}
