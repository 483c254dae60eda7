//! What of a row lies between two bounds.

use std::any::TypeId;

use pulp::Simd;

/// Some logits of a row with their labels.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    logits: Vec<f32>,
    labels: Vec<u32>,
    count: usize,
}

/// How many numbers may be written after the last that counts.
const SPARE: usize = 16;

impl Gathered {
    /// The logits, in the labels' order.
    #[inline(always)]
    pub(crate) fn logits(&self) -> &[f32] {
        &self.logits[..self.count]
    }

    /// Their labels.
    #[inline(always)]
    pub(crate) fn labels(&self) -> &[u32] {
        &self.labels[..self.count]
    }

    /// The logits sixteen at a time; the last sixteen end with numbers that mean nothing.
    #[inline(always)]
    pub(crate) fn sixteens(&self) -> &[[f32; SPARE]] {
        &self.logits.as_chunks().0[..self.count.div_ceil(SPARE)]
    }

    /// Takes the logits of `row` that are at least `bound` and, if there is a `ceiling`, not at least it. A value of type `S`
    /// shows that the processor has these instructions.
    #[inline(always)]
    pub(crate) fn take<S: Simd>(&mut self, _: S, row: &[f32], bound: f32, ceiling: Option<f32>) {
        // Room for all of them: what follows writes without growing.
        if self.logits.len() < row.len() + SPARE {
            self.logits.resize((row.len() + SPARE).next_multiple_of(SPARE), 0.0);
            self.labels.resize(self.logits.len(), 0);
        }
        #[cfg(target_arch = "x86_64")]
        if TypeId::of::<S>() == TypeId::of::<pulp::x86::V4>() {
            let (logits, labels) = (&mut self.logits, &mut self.labels);
            // SAFETY: a value of this type of instruction set exists only where the processor has AVX-512, and there is room.
            self.count = unsafe {
                match ceiling {
                    None => compress(row, logits, labels, |z| at_least(z, bound)),
                    Some(ceiling) => compress(row, logits, labels, |z| at_least(z, bound) & !at_least(z, ceiling)),
                }
            };
            return;
        }
        self.count = 0;
        for (label, &z) in row.iter().enumerate() {
            // Written whether it counts or not: there is no branch to guess.
            (self.logits[self.count], self.labels[self.count]) = (z, label as u32);
            self.count += usize::from(z >= bound && ceiling.is_none_or(|ceiling| z < ceiling));
        }
    }
}

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m512, __mmask16, _CMP_GE_OQ, _mm512_add_epi32, _mm512_cmp_ps_mask, _mm512_loadu_ps, _mm512_maskz_compress_epi32,
    _mm512_maskz_compress_ps, _mm512_maskz_loadu_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setr_epi32, _mm512_storeu_ps,
    _mm512_storeu_si512,
};

/// Which of sixteen logits are at least `bound`.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f")]
fn at_least(z: __m512, bound: f32) -> __mmask16 {
    _mm512_cmp_ps_mask::<_CMP_GE_OQ>(z, _mm512_set1_ps(bound))
}

/// Writes the logits that `keep` marks one after the other, and their labels; says how many there are.
///
/// # Safety
///
/// The processor has AVX-512, and both slices have room for the row and sixteen more.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,popcnt")]
unsafe fn compress(row: &[f32], logits: &mut [f32], labels: &mut [u32], keep: impl Fn(__m512) -> __mmask16) -> usize {
    assert!(logits.len() >= row.len() + SPARE && labels.len() >= row.len() + SPARE);
    let mut count = 0;
    let mut numbers = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let mut write = |z: __m512, valid: __mmask16| {
        let kept = keep(z) & valid;
        // Compressed in the register: storing compressed is many times slower on some processors.
        // SAFETY: at most as many were written before as there are logits before, and sixteen more have room.
        unsafe {
            _mm512_storeu_ps(logits.as_mut_ptr().add(count), _mm512_maskz_compress_ps(kept, z));
            _mm512_storeu_si512(labels.as_mut_ptr().add(count).cast(), _mm512_maskz_compress_epi32(kept, numbers));
        }
        count += kept.count_ones() as usize;
        numbers = _mm512_add_epi32(numbers, _mm512_set1_epi32(SPARE as i32));
    };
    let (parts, rest) = row.as_chunks::<SPARE>();
    for part in parts {
        // SAFETY: sixteen numbers.
        write(unsafe { _mm512_loadu_ps(part.as_ptr()) }, !0);
    }
    let valid = (1_u32 << rest.len()) as u16 - 1;
    // SAFETY: only what is in the row is read.
    write(unsafe { _mm512_maskz_loadu_ps(valid, rest.as_ptr()) }, valid);
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Take<'a>(&'a mut Gathered, &'a [f32], f32, Option<f32>);

    impl pulp::WithSimd for Take<'_> {
        type Output = ();

        fn with_simd<S: Simd>(self, simd: S) {
            self.0.take(simd, self.1, self.2, self.3);
        }
    }

    proptest! {
        #[test]
        fn every_instruction_set_takes_the_same(
            row in prop::collection::vec(prop_oneof![-3.0_f32..3.0, Just(f32::INFINITY), Just(f32::NEG_INFINITY), Just(1.0)], 0..200),
            bound in prop_oneof![-3.0_f32..3.0, Just(f32::NEG_INFINITY), Just(1.0)], height in prop::option::of(0.0_f32..2.0),
        ) {
            let ceiling = height.map(|height| bound + height);
            let expected: Vec<(u32, f32)> = (0..).zip(row.iter().copied())
                .filter(|(_, z)| *z >= bound && ceiling.is_none_or(|ceiling| *z < ceiling)).collect();
            let (mut widest, mut scalar) = (Gathered::default(), Gathered::default());
            pulp::Arch::new().dispatch(Take(&mut widest, &row, bound, ceiling));
            scalar.take(pulp::Scalar, &row, bound, ceiling);
            for found in [widest, scalar] {
                let found: Vec<(u32, f32)> = found.labels().iter().copied().zip(found.logits().iter().copied()).collect();
                prop_assert_eq!(&found, &expected);
            }
        }
    }
}
