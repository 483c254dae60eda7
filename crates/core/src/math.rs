//! Functions that compilers turn into the widest instructions: no branches, no tables. Fused multiplications and additions
//! are written out (`mul_add`), never left to the compiler, so every processor gives the same bits.

/// exp(x) for x ≤ 0 with a relative error below 2⁻²²; 0 below −87.
#[inline(always)]
pub fn exp_of_negative(x: f32) -> f32 {
    const TO_NEAREST: f32 = 12_582_912.0; // 1.5·2²³: adding it rounds to a whole number
    let clamped = x.max(-87.0);
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, TO_NEAREST);
    let n = shifted - TO_NEAREST;
    // ln 2 in two parts, so that x − n ln 2 loses nothing.
    let r = n.mul_add(2.121_944_4e-4, n.mul_add(-0.693_359_4, clamped));
    let mut p = 1.987_569_1e-4_f32;
    p = p.mul_add(r, 1.398_199_9e-3);
    p = p.mul_add(r, 8.333_452e-3);
    p = p.mul_add(r, 4.166_579_6e-2);
    p = p.mul_add(r, 1.666_666_5e-1);
    p = p.mul_add(r, 0.5);
    let fraction = (p * r).mul_add(r, r) + 1.0;
    // 2ⁿ by the exponent's bits; n is the low bits of the shifted number.
    let found = fraction * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { found }
}

/// ln(x) for finite x > 0 (normal numbers) with a relative error below 2⁻²² away from 1 and an absolute one below 2⁻²⁴
/// near it (the polynomial of Cephes' logf).
#[inline(always)]
pub fn ln_of_positive(x: f32) -> f32 {
    // x = 2ⁿ·m with m in [√½, √2).
    let shifted = x.to_bits().wrapping_sub(0x3F35_04F3);
    let n = ((shifted as i32) >> 23) as f32;
    let m = f32::from_bits((shifted & 0x007F_FFFF).wrapping_add(0x3F35_04F3)) - 1.0;
    let square = m * m;
    let mut p = 7.037_683_6e-2;
    p = p * m - 1.151_461e-1;
    p = p * m + 1.167_699_9e-1;
    p = p * m - 1.242_014_1e-1;
    p = p * m + 1.424_932_3e-1;
    p = p * m - 1.666_805_8e-1;
    p = p * m + 2.000_071_5e-1;
    p = p * m - 2.499_999_4e-1;
    p = p * m + 3.333_333e-1;
    let small = p * m * square - n * 2.121_944_4e-4 - 0.5 * square;
    (m + small) + n * 0.693_359_4
}

/// erf(x) with an absolute error below 2·10⁻⁷ (Abramowitz and Stegun 7.1.26).
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let a = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * a);
    let p = t * (0.254_829_6 + t * (-0.284_496_74 + t * (1.421_413_7 + t * (-1.453_152 + t * 1.061_405_4))));
    let y = 1.0 - p * exp_of_negative(-a * a);
    if x < 0.0 { -y } else { y }
}

/// The mean of some values and the standard deviation √(Σ(x − mean)²/(n − 1)) of what they are a sample of; 0 of one
/// value, NaN of none.
pub fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (n - 1.0).max(1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_right_to_single_precision() {
        for i in 0..200_000 {
            let x = -87.0 * i as f32 / 200_000.0;
            let (found, expected) = (f64::from(exp_of_negative(x)), f64::from(x).exp());
            assert!((found - expected).abs() <= 3e-7 * expected, "{x} {found} {expected}");
        }
        assert_eq!((exp_of_negative(0.0), exp_of_negative(-88.0), exp_of_negative(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
    }

    #[test]
    fn the_logarithm_is_right_to_single_precision() {
        for i in 1..400_000_u32 {
            let x = f32::from_bits(0x0080_0000 + i * 5_011);
            let (found, expected) = (f64::from(ln_of_positive(x)), f64::from(x).ln());
            assert!((found - expected).abs() <= 1.2e-7 * expected.abs().max(0.5), "{x} {found} {expected}");
        }
        assert_eq!(ln_of_positive(1.0), 0.0);
    }

    #[test]
    fn the_error_function_at_known_points() {
        for (x, expected) in [(0.0, 0.0), (0.5, 0.520_499_9), (1.0, 0.842_700_8), (-1.0, -0.842_700_8), (2.0, 0.995_322_3), (9.0, 1.0)] {
            assert!((erf(x) - expected).abs() < 5e-7, "{x}");
        }
    }
}
