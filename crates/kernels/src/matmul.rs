//! Matrix products on one thread: the engine under convolutions and fully connected layers.
//!
//! C ← A·B, or C ← C + A·B. The rows of B and C are contiguous. A is never laid out: element (i, r) lies at
//! `rows[i] + columns[r]`, which describes a matrix of any strides, and also the patches of an image that a convolution
//! multiplies with its weights. A tile of C stays in registers while r runs; the numbers of A are broadcast one by one.

use std::mem::MaybeUninit;

use pulp::{Simd, WithSimd};

/// A matrix that is read number by number: element (i, r) lies at `rows[i] + columns[r]`.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) rows: &'a [usize],
    pub(crate) columns: &'a [usize],
}

impl Left<'_> {
    /// A·B as a new matrix, `m × n`.
    pub(crate) fn times(self, b: &[f32], n: usize) -> Vec<f32> {
        let len = self.rows.len() * n;
        let mut product = Vec::with_capacity(len);
        Multiply { a: self, b, n, c: Into::Set(&mut product.spare_capacity_mut()[..len]) }.run();
        // SAFETY: `run` gives back the whole of the matrix with every number written.
        unsafe { product.set_len(len) };
        product
    }
}

/// C, and what is done with what it holds.
pub(crate) enum Into<'a> {
    /// C ← A·B; C need not hold anything yet.
    Set(&'a mut [MaybeUninit<f32>]),
    /// C ← A·B over what C holds.
    Over(&'a mut [f32]),
    /// C ← C + A·B.
    Add(&'a mut [f32]),
}

/// The product of A (`m × k`) and B (`k × n`, contiguous), into C (`m × n`, contiguous).
pub(crate) struct Multiply<'a, 'c> {
    pub(crate) a: Left<'a>,
    pub(crate) b: &'a [f32],
    pub(crate) n: usize,
    pub(crate) c: Into<'c>,
}

impl<'c> Multiply<'_, 'c> {
    /// Runs on this thread with the widest instructions of this machine; gives C.
    pub(crate) fn run(self) -> &'c mut [f32] {
        let [m, n, k] = [self.a.rows.len(), self.n, self.a.columns.len()];
        let add = matches!(self.c, Into::Add(_));
        let c = match self.c {
            Into::Set(c) => c,
            // SAFETY: a slice of numbers is one of numbers that may be missing; none is taken away below.
            Into::Over(c) | Into::Add(c) => unsafe { &mut *(std::ptr::from_mut(c) as *mut [MaybeUninit<f32>]) },
        };
        assert_eq!(c.len(), m * n, "C has m × n numbers");
        assert_eq!(self.b.len(), k * n, "B has k × n numbers");
        if let (Some(row), Some(column)) = (self.a.rows.iter().max(), self.a.columns.iter().max()) {
            assert!(row + column < self.a.values.len(), "A lies inside its slice");
        }
        pulp::Arch::new().dispatch(Tiles { a: self.a, b: self.b, n, c: c.as_mut_ptr().cast(), add });
        // SAFETY: the tiles cover all rows and columns of C, and each writes all that it covers.
        unsafe { c.assume_init_mut() }
    }
}

/// A product whose extents [`Multiply::run`] has checked: every element that it asks for lies inside its slice.
struct Tiles<'a> {
    a: Left<'a>,
    b: &'a [f32],
    n: usize,
    c: *mut f32,
    add: bool,
}

impl WithSimd for Tiles<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let mut column = 0;
        while column < self.n {
            let left = (self.n - column).div_ceil(S::F32_LANES);
            // Accumulators enough to hide the latency of the additions, and no more row pointers than there are general
            // registers: beyond 8 rows the compiler spills.
            column += if S::F32_LANES >= 16 {
                match left {
                    1 => self.columns::<S, 1, 8>(simd, column),
                    2 => self.columns::<S, 2, 8>(simd, column),
                    3 => self.columns::<S, 3, 8>(simd, column),
                    // Rather than four and a lone one.
                    5 => self.columns::<S, 5, 5>(simd, column),
                    _ => self.columns::<S, 4, 6>(simd, column),
                }
            } else {
                match left {
                    1 => self.columns::<S, 1, 8>(simd, column),
                    _ => self.columns::<S, 2, 6>(simd, column),
                }
            };
        }
    }
}

impl Tiles<'_> {
    /// All rows of at most N registers of columns, in tiles of at most R rows; gives the number of columns.
    #[inline(always)]
    fn columns<S: Simd, const N: usize, const R: usize>(&mut self, simd: S, column: usize) -> usize {
        let columns = (N * S::F32_LANES).min(self.n - column);
        let m = self.a.rows.len();
        let mut row = 0;
        while row < m {
            // SAFETY: `Multiply::run` has shown that every row and column of the three matrices lies inside its slice, and the
            // tile's rows and columns are among them.
            row += unsafe {
                match m - row {
                    left if left >= R => self.tile::<S, N, R>(simd, row, column, columns),
                    left if left >= 4 => self.tile::<S, N, 4>(simd, row, column, columns),
                    left if left >= 2 => self.tile::<S, N, 2>(simd, row, column, columns),
                    _ => self.tile::<S, N, 1>(simd, row, column, columns),
                }
            };
        }
        columns
    }

    /// One tile; gives R.
    ///
    /// # Safety
    /// Rows `row..row + R` and columns `column..column + columns` exist, and N registers hold that many columns, the
    /// last of them at least one.
    #[inline(always)]
    unsafe fn tile<S: Simd, const N: usize, const R: usize>(&mut self, simd: S, row: usize, column: usize, columns: usize) -> usize {
        let lanes = S::F32_LANES;
        let last = columns - (N - 1) * lanes;
        let whole = last == lanes;
        let mask = simd.mask_between_m32s(0, last as u32);
        let zero = simd.splat_f32s(0.0);
        let mut sums = [[zero; N]; R];
        // SAFETY: by the caller's promise and `Multiply::run`, every address below is that of an element of A, B or C, or is
        // read and written under a mask that holds only such addresses.
        unsafe {
            let rows: [*const f32; R] = std::array::from_fn(|i| self.a.values.as_ptr().add(*self.a.rows.get_unchecked(row + i)));
            let mut b = self.b.as_ptr().add(column);
            for &at in self.a.columns {
                let mut right = [zero; N];
                for (j, register) in right.iter_mut().enumerate() {
                    let from = b.add(j * lanes);
                    *register =
                        if j + 1 < N || whole { from.cast::<S::f32s>().read_unaligned() } else { simd.mask_load_ptr_f32s(mask, from) };
                }
                for (pointer, sums) in rows.iter().zip(&mut sums) {
                    let left = simd.splat_f32s(*pointer.add(at));
                    for (sum, right) in sums.iter_mut().zip(right) {
                        *sum = simd.mul_add_e_f32s(left, right, *sum);
                    }
                }
                b = b.wrapping_add(self.n);
            }
            let c = self.c.add(row * self.n + column);
            for (i, row) in sums.iter().enumerate() {
                for (j, &sum) in row.iter().enumerate() {
                    let to = c.add(i * self.n + j * lanes);
                    if j + 1 < N || whole {
                        let old = if self.add { to.cast::<S::f32s>().read_unaligned() } else { zero };
                        to.cast::<S::f32s>().write_unaligned(simd.add_f32s(old, sum));
                    } else {
                        let old = if self.add { simd.mask_load_ptr_f32s(mask, to) } else { zero };
                        simd.mask_store_ptr_f32s(mask, to, simd.add_f32s(old, sum));
                    }
                }
            }
        }
        R
    }
}

/// `0, stride, 2·stride, …`: the rows or columns of a matrix with a fixed stride.
pub(crate) fn strided(count: usize, stride: usize) -> Vec<usize> {
    (0..count).map(|index| index * stride).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(m: usize, n: usize, k: usize, transposed: bool, add: bool) {
        let value = |i: usize| ((i * 2_654_435_761) % 17) as f32 - 8.0;
        let a: Vec<f32> = (0..m * k).map(value).collect();
        let b: Vec<f32> = (0..k * n).map(|i| value(i + 5)).collect();
        let mut c: Vec<f32> = (0..m * n).map(|i| value(i + 9)).collect();
        let before = c.clone();
        let (rows, columns) = if transposed { (strided(m, 1), strided(k, m)) } else { (strided(m, k), strided(k, 1)) };
        let mut fresh = vec![MaybeUninit::uninit(); m * n];
        let left = Left { values: &a, rows: &rows, columns: &columns };
        let c = Multiply { a: left, b: &b, n, c: if add { Into::Add(&mut c) } else { Into::Set(&mut fresh) } }.run();
        for i in 0..m {
            for j in 0..n {
                // Whole numbers: every order of summation gives the same.
                let product: f32 = (0..k).map(|r| a[rows[i] + columns[r]] * b[r * n + j]).sum();
                assert_eq!(c[i * n + j], if add { before[i * n + j] + product } else { product }, "{m} {n} {k} at {i}, {j}");
            }
        }
    }

    proptest! {
        #[test]
        fn products_equal_the_definition(m in 0_usize..30, n in 0_usize..150, k in 0_usize..12, transposed: bool, add: bool) {
            check(m, n, k, transposed, add);
        }
    }

    #[test]
    #[should_panic(expected = "A lies inside its slice")]
    fn an_offset_outside_is_refused() {
        let left = Left { values: &[1.0; 3], rows: &[0, 2], columns: &[0, 1] };
        Multiply { a: left, b: &[1.0; 2], n: 1, c: Into::Add(&mut [0.0; 2]) }.run();
    }
}
