//! Transposition of a matrix, four by four.

/// The side of a block whose rows and columns stay in the first-level cache.
const BLOCK: usize = 64;

/// `to` (`n × m`) becomes the transpose of `from` (`m × n`).
pub(crate) fn transpose(from: &[f32], m: usize, n: usize, to: &mut [f32]) {
    assert!(from.len() == m * n && to.len() == m * n, "both matrices have m × n numbers");
    for i in (0..m).step_by(BLOCK) {
        for j in (0..n).step_by(BLOCK) {
            block(from, to, [m, n], [i, j], [BLOCK.min(m - i), BLOCK.min(n - j)]);
        }
    }
}

fn block(from: &[f32], to: &mut [f32], [m, n]: [usize; 2], [i0, j0]: [usize; 2], [rows, columns]: [usize; 2]) {
    let (whole_rows, whole_columns) = (rows / 4 * 4, columns / 4 * 4);
    for i in (i0..i0 + whole_rows).step_by(4) {
        for j in (j0..j0 + whole_columns).step_by(4) {
            four_by_four(&from[i * n + j..], n, &mut to[j * m + i..], m);
        }
    }
    for i in i0..i0 + rows {
        let first = if i < i0 + whole_rows { j0 + whole_columns } else { j0 };
        for j in first..j0 + columns {
            to[j * m + i] = from[i * n + j];
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn four_by_four(from: &[f32], n: usize, to: &mut [f32], m: usize) {
    use std::arch::x86_64::{_mm_loadu_ps, _mm_movehl_ps, _mm_movelh_ps, _mm_storeu_ps, _mm_unpackhi_ps, _mm_unpacklo_ps};
    assert!(from.len() >= 3 * n + 4 && to.len() >= 3 * m + 4, "four rows of four");
    // SAFETY: SSE is part of every x86-64; the assertion covers the four rows that are read and written.
    unsafe {
        let row = |i: usize| _mm_loadu_ps(from.as_ptr().add(i * n));
        let (a, b, c, d) = (row(0), row(1), row(2), row(3));
        let (ab_low, ab_high) = (_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b));
        let (cd_low, cd_high) = (_mm_unpacklo_ps(c, d), _mm_unpackhi_ps(c, d));
        let to = to.as_mut_ptr();
        _mm_storeu_ps(to, _mm_movelh_ps(ab_low, cd_low));
        _mm_storeu_ps(to.add(m), _mm_movehl_ps(cd_low, ab_low));
        _mm_storeu_ps(to.add(2 * m), _mm_movelh_ps(ab_high, cd_high));
        _mm_storeu_ps(to.add(3 * m), _mm_movehl_ps(cd_high, ab_high));
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn four_by_four(from: &[f32], n: usize, to: &mut [f32], m: usize) {
    for i in 0..4 {
        for j in 0..4 {
            to[j * m + i] = from[i * n + j];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_finds_its_place() {
        for (m, n) in [(0, 3), (1, 1), (4, 4), (3, 5), (64, 64), (65, 70), (130, 9)] {
            let from: Vec<f32> = (0..m * n).map(|i| i as f32).collect();
            let mut to = vec![-1.0; m * n];
            transpose(&from, m, n, &mut to);
            assert!((0..m).all(|i| (0..n).all(|j| to[j * m + i] == from[i * n + j])), "{m} × {n}");
        }
    }
}
