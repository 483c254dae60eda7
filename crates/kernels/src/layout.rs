//! Matrices laid out anew: some of their columns, and their transpose, eight by eight where the processor has AVX.

use std::mem::MaybeUninit;

use crate::fresh::written;

/// The side of a block whose rows and columns stay in the first-level cache.
const BLOCK: usize = 64;

/// Columns `first..first + count` of a matrix whose rows are `width` long.
pub(crate) fn columns(matrix: &[f32], width: usize, first: usize, count: usize) -> Vec<f32> {
    let mut found = Vec::with_capacity(matrix.len() / width * count);
    matrix.chunks_exact(width).for_each(|row| found.extend_from_slice(&row[first..first + count]));
    found
}

/// The rows of `to` become the columns of `from` (`m × n`); they are `m` long and `stride` apart.
pub(crate) fn transpose(from: &[f32], [m, n]: [usize; 2], to: &mut [f32], stride: usize) {
    assert_eq!(from.len(), m * n, "a matrix of m × n");
    transpose_part(from, n, [m, n], to, stride);
}

/// The transpose of `m × n`.
pub(crate) fn transposed(from: &[f32], [m, n]: [usize; 2]) -> Vec<f32> {
    assert_eq!(from.len(), m * n, "a matrix of m × n");
    // SAFETY: each of the n rows of m numbers is written.
    let [to] = unsafe { written([m * n], |[to]| transpose_into(from, n, [m, n], to, m)) };
    to
}

/// As [`transpose`], out of a matrix whose rows are `width` apart.
pub(crate) fn transpose_part(from: &[f32], width: usize, extents: [usize; 2], to: &mut [f32], stride: usize) {
    // SAFETY: nothing is written there but numbers.
    let to = unsafe { &mut *(std::ptr::from_mut(to) as *mut [MaybeUninit<f32>]) };
    transpose_into(from, width, extents, to, stride);
}

/// As [`transpose_part`], into memory that holds nothing yet: after it, the first `m` numbers of each of `n` rows.
pub(crate) fn transpose_into(from: &[f32], width: usize, [m, n]: [usize; 2], to: &mut [MaybeUninit<f32>], stride: usize) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(width >= n && from.len() >= (m - 1) * width + n, "the matrix lies inside its slice");
    assert!(stride >= m && to.len() >= (n - 1) * stride + m, "its transpose lies inside its slice");
    for i in (0..m).step_by(BLOCK) {
        for j in (0..n).step_by(BLOCK) {
            block(from, width, to, stride, [i, j], [BLOCK.min(m - i), BLOCK.min(n - j)]);
        }
    }
}

fn block(from: &[f32], width: usize, to: &mut [MaybeUninit<f32>], stride: usize, [i0, j0]: [usize; 2], [rows, columns]: [usize; 2]) {
    #[allow(unused_mut)]
    let mut whole = [0, 0];
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx") {
        whole = [rows, columns].map(|extent| extent / 8 * 8);
        // SAFETY: the processor has AVX.
        unsafe { squares(from, width, to, stride, [i0, j0], whole) };
    }
    for i in i0..i0 + rows {
        let first = if i < i0 + whole[0] { j0 + whole[1] } else { j0 };
        for j in first..j0 + columns {
            to[j * stride + i].write(from[i * width + j]);
        }
    }
}

/// Transposes rows and columns that are multiples of eight.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
fn squares(from: &[f32], width: usize, to: &mut [MaybeUninit<f32>], stride: usize, [i0, j0]: [usize; 2], [rows, columns]: [usize; 2]) {
    for i in (i0..i0 + rows).step_by(8) {
        for j in (j0..j0 + columns).step_by(8) {
            let (from, to) = (&from[i * width + j..], &mut to[j * stride + i..]);
            assert!(from.len() >= 7 * width + 8 && to.len() >= 7 * stride + 8, "eight rows of eight");
            // SAFETY: the assertion covers the eight rows that are read and written.
            unsafe { square(from.as_ptr(), width, to.as_mut_ptr().cast(), stride) };
        }
    }
}

/// One square of eight by eight.
///
/// # Safety
/// Eight numbers can be read at each of eight places `width` apart from `from`, and written at each
/// of eight places `stride` apart from `to`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
#[inline]
unsafe fn square(from: *const f32, width: usize, to: *mut f32, stride: usize) {
    use std::arch::x86_64::{
        __m256, _MM_HINT_T0, _mm_prefetch, _mm256_loadu_ps, _mm256_permute2f128_ps, _mm256_shuffle_ps, _mm256_storeu_ps,
        _mm256_unpackhi_ps, _mm256_unpacklo_ps,
    };
    // Eight rows are more than the processor foresees by itself. What is asked for need not exist.
    for i in 8..16 {
        _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(i * width).cast());
    }
    // SAFETY: the caller's promise.
    let row: [__m256; 8] = std::array::from_fn(|i| unsafe { _mm256_loadu_ps(from.add(i * width)) });
    let pair: [__m256; 8] = std::array::from_fn(|i| {
        let (a, b) = (row[i / 2 * 2], row[i / 2 * 2 + 1]);
        if i % 2 == 0 { _mm256_unpacklo_ps(a, b) } else { _mm256_unpackhi_ps(a, b) }
    });
    // Columns i and i + 4 of four rows, in the two halves of a register.
    let four: [__m256; 8] = std::array::from_fn(|i| {
        let (a, b) = (pair[i / 4 * 4 + i % 4 / 2], pair[i / 4 * 4 + i % 4 / 2 + 2]);
        if i % 2 == 0 { _mm256_shuffle_ps::<0x44>(a, b) } else { _mm256_shuffle_ps::<0xEE>(a, b) }
    });
    for i in 0..4 {
        let low = _mm256_permute2f128_ps::<0x20>(four[i], four[i + 4]);
        let high = _mm256_permute2f128_ps::<0x31>(four[i], four[i + 4]);
        // SAFETY: the caller's promise.
        unsafe {
            _mm256_storeu_ps(to.add(i * stride), low);
            _mm256_storeu_ps(to.add((i + 4) * stride), high);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_finds_its_place_and_nothing_else_is_touched() {
        for (m, n) in [(0, 3), (1, 1), (4, 4), (8, 8), (3, 5), (64, 64), (65, 70), (130, 9)] {
            for (width, stride) in [(n, m), (n, m + 3), (n + 2, m)] {
                let from: Vec<f32> = (0..m * width).map(|i| i as f32).collect();
                let mut to = vec![-1.0; n * stride];
                transpose_part(&from, width, [m, n], &mut to, stride);
                for (index, found) in to.iter().enumerate() {
                    let (j, i) = (index / stride, index % stride);
                    assert_eq!(*found, if i < m { from[i * width + j] } else { -1.0 }, "{m} × {n} of {width} at {i}, {j}");
                }
            }
        }
    }
}
