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
        let (mut count, mut first) = (0, 0);
        #[cfg(target_arch = "x86_64")]
        if TypeId::of::<S>() == TypeId::of::<pulp::x86::V3>() {
            first = row.len() / EIGHT * EIGHT;
            // Nothing is at least NaN.
            let ceiling = ceiling.unwrap_or(f32::NAN);
            // SAFETY: a value of this type of instruction set exists only where the processor has AVX2, and there is room.
            count = unsafe { compress_eights(&row[..first], &mut self.logits, &mut self.labels, (bound, ceiling)) };
        }
        // Written whether they count or not: there is no branch to guess.
        for (label, &z) in row.iter().enumerate().skip(first) {
            (self.logits[count], self.labels[count]) = (z, label as u32);
            count += usize::from(z >= bound && ceiling.is_none_or(|ceiling| z < ceiling));
        }
        self.count = count;
    }
}

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m512, __mmask16, _CMP_GE_OQ, _CMP_NGE_UQ, _mm_cvtsi64_si128, _mm256_add_epi32, _mm256_and_ps, _mm256_cmp_ps, _mm256_cvtepu8_epi32,
    _mm256_loadu_ps, _mm256_movemask_ps, _mm256_permutevar8x32_epi32, _mm256_permutevar8x32_ps, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_setr_epi32, _mm256_storeu_ps, _mm256_storeu_si256, _mm512_add_epi32, _mm512_cmp_ps_mask, _mm512_loadu_ps,
    _mm512_maskz_compress_epi32, _mm512_maskz_compress_ps, _mm512_maskz_loadu_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setr_epi32,
    _mm512_storeu_ps, _mm512_storeu_si512,
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

/// Logits in a register of AVX2.
#[cfg(target_arch = "x86_64")]
const EIGHT: usize = 8;

/// For each mask of eight bits the numbers of those that are set, one a byte.
#[cfg(target_arch = "x86_64")]
const SET: [u64; 1 << EIGHT] = {
    let mut table = [0; 1 << EIGHT];
    let mut mask = 0;
    while mask < table.len() {
        let (mut bit, mut count) = (0, 0);
        while bit < EIGHT {
            if mask >> bit & 1 == 1 {
                table[mask] |= (bit as u64) << (8 * count);
                count += 1;
            }
            bit += 1;
        }
        mask += 1;
    }
    table
};

/// Writes the logits that are at least the first bound and not at least the second one after the other, and their labels; says how
/// many there are. The length of the row is a multiple of [`EIGHT`].
///
/// # Safety
///
/// The processor has AVX2, and both slices have room for the row and eight more.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2,popcnt")]
unsafe fn compress_eights(row: &[f32], logits: &mut [f32], labels: &mut [u32], (bound, ceiling): (f32, f32)) -> usize {
    assert!(logits.len() >= row.len() + EIGHT && labels.len() >= row.len() + EIGHT);
    let (bound, ceiling) = (_mm256_set1_ps(bound), _mm256_set1_ps(ceiling));
    let (mut count, mut numbers) = (0, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    for part in row.as_chunks::<EIGHT>().0 {
        // SAFETY: eight numbers.
        let z = unsafe { _mm256_loadu_ps(part.as_ptr()) };
        let kept = _mm256_and_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(z, bound), _mm256_cmp_ps::<_CMP_NGE_UQ>(z, ceiling));
        let mask = _mm256_movemask_ps(kept) as usize;
        let places = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(SET[mask] as i64));
        // SAFETY: at most as many were written before as there are logits before, and eight more have room.
        unsafe {
            _mm256_storeu_ps(logits.as_mut_ptr().add(count), _mm256_permutevar8x32_ps(z, places));
            _mm256_storeu_si256(labels.as_mut_ptr().add(count).cast(), _mm256_permutevar8x32_epi32(numbers, places));
        }
        count += mask.count_ones() as usize;
        numbers = _mm256_add_epi32(numbers, _mm256_set1_epi32(EIGHT as i32));
    }
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
            #[allow(unused_mut, reason = "elsewhere there are two")]
            let mut all = vec![widest, scalar];
            #[cfg(target_arch = "x86_64")]
            if let Some(avx2) = pulp::x86::V3::try_new() {
                let mut eights = Gathered::default();
                eights.take(avx2, &row, bound, ceiling);
                all.push(eights);
            }
            for found in all {
                let found: Vec<(u32, f32)> = found.labels().iter().copied().zip(found.logits().iter().copied()).collect();
                prop_assert_eq!(&found, &expected);
            }
        }
    }
}
