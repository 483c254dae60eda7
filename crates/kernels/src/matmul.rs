//! Matrix products on one thread: the engine under convolutions and fully connected layers.
//!
//! C ← A·B, or C ← C + A·B. The rows of C are contiguous, and so are those of B, or its columns. Element (i, r) of A lies at
//! `rows[i] + columns[r]`, which describes a matrix of any strides, and also the patches of an image that a convolution
//! multiplies with its weights. A tile of C stays in registers while r runs; the numbers of A are broadcast one by one.
//!
//! A and B are worked on in blocks that the caches hold, and read where they lie. Only where the cache would suffer from how they
//! lie are blocks of A and panels of B laid out first, as in Goto and van de Geijn, "Anatomy of high-performance matrix
//! multiplication" (2008). Whatever the blocks, a number of C is the sum over r in its order, by fused multiplications and
//! additions from 0 or from what C held: the same bits.

use std::mem::MaybeUninit;

use pulp::{MemMask, Simd, WithSimd};

use crate::{dispatch::dispatch, fresh::written, layout::transpose_part};

/// A matrix that is read number by number: element (i, r) lies at `rows[i] + columns[r]`.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) rows: &'a [usize],
    pub(crate) columns: &'a [usize],
}

impl Left<'_> {
    /// A·B as a new matrix, `m × n`.
    pub(crate) fn times(self, b: Right, n: usize) -> Vec<f32> {
        // SAFETY: `run` gives back the whole of the matrix with every number written.
        let [product] = unsafe {
            written([self.rows.len() * n], |[c]| {
                Multiply { a: self, b, n, c: Into::Set(c) }.run();
            })
        };
        product
    }
}

/// B, one row after another, or one column after another.
#[derive(Clone, Copy)]
pub(crate) enum Right<'a> {
    /// `k × n`.
    Rows(&'a [f32]),
    /// `n × k`: panels of it are laid out for every block of rows of A.
    Columns(&'a [f32]),
    /// Laid out once for many products.
    Packed(&'a Packed),
}

/// B as panels, one behind the other, so that it is read from end to end: a panel holds some columns of all rows.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    values: Vec<f32>,
}

impl Packed {
    /// Of a matrix `k × n` in rows.
    pub(crate) fn new(rows: &[f32], n: usize) -> Self {
        struct Pack<'a>(&'a [f32], usize);
        impl WithSimd for Pack<'_> {
            type Output = Vec<f32>;

            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> Vec<f32> {
                let Self(rows, n) = self;
                let mut values = Vec::with_capacity(rows.len());
                let mut first = 0;
                while first < n {
                    let width = (panel_registers::<S>(n - first) * S::F32_LANES).min(n - first);
                    rows.chunks_exact(n).for_each(|row| values.extend_from_slice(&row[first..first + width]));
                    first += width;
                }
                values
            }
        }
        assert!(n > 0 && rows.len().is_multiple_of(n), "B has k × n numbers");
        Self { values: dispatch(Pack(rows, n)) }
    }
}

/// The number of registers in the next panel when this many columns remain.
#[inline(always)]
fn panel_registers<S: Simd>(columns: usize) -> usize {
    match (S::F32_LANES >= 16, columns.div_ceil(S::F32_LANES)) {
        (true, few @ 1..=3) => few,
        // Rather than four and a lone one.
        (true, 5) => 5,
        (true, _) => 4,
        (false, 1) => 1,
        (false, _) => 2,
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

/// The product of A (`m × k`) and B (`k × n`), into C (`m × n`, contiguous).
pub(crate) struct Multiply<'a, 'c> {
    pub(crate) a: Left<'a>,
    pub(crate) b: Right<'a>,
    pub(crate) n: usize,
    pub(crate) c: Into<'c>,
}

impl<'c> Multiply<'_, 'c> {
    /// Runs on this thread with the widest instructions of this machine; gives C.
    pub(crate) fn run(self) -> &'c mut [f32] {
        // SAFETY: `Blocks` goes through all rows and columns.
        unsafe { self.run_by(|blocks| dispatch(blocks)) }
    }

    /// # Safety
    /// `work` runs [`Blocks`], on any instructions that this machine has.
    unsafe fn run_by(self, work: impl FnOnce(Blocks)) -> &'c mut [f32] {
        let [m, n, k] = [self.a.rows.len(), self.n, self.a.columns.len()];
        let add = matches!(self.c, Into::Add(_));
        let c = match self.c {
            Into::Set(c) => c,
            // SAFETY: a slice of numbers is one of numbers that may be missing; none is taken away below.
            Into::Over(c) | Into::Add(c) => unsafe { &mut *(std::ptr::from_mut(c) as *mut [MaybeUninit<f32>]) },
        };
        assert_eq!(Some(c.len()), m.checked_mul(n), "C has m × n numbers");
        let (b, steps) = match self.b {
            Right::Rows(b) => (b, [n, 1]),
            Right::Columns(b) => (b, [1, k]),
            Right::Packed(packed) => (packed.values.as_slice(), [PACKED; 2]),
        };
        assert_eq!(Some(b.len()), k.checked_mul(n), "B has k × n numbers");
        if let (Some(row), Some(column)) = (self.a.rows.iter().max(), self.a.columns.iter().max()) {
            assert!(row.checked_add(*column).is_some_and(|last| last < self.a.values.len()), "A lies inside its slice");
        }
        work(Blocks { a: self.a, b, steps, n, c: c.as_mut_ptr().cast(), add });
        // SAFETY: the caller runs the blocks; they cover all rows and columns of C, and each writes all that it covers.
        unsafe { c.assume_init_mut() }
    }
}

/// Rows of A that are worked on at once: with [`INNER`] columns they stay in the second-level cache while all panels of B
/// go by.
pub(crate) const ROWS: usize = 192;
/// Numbers of the inner dimension that are added up before C is written: so many rows of a panel of B stay in the
/// first-level cache while the rows of A go by.
const INNER: usize = 256;
/// Rows of B a multiple of so many numbers apart fall into a few sets of the cache, where those of a panel throw one another out if
/// each is but a line. Panels of a B with more than so many numbers are laid out then, if so many rows of A share them.
const PERIOD: usize = 512;
const LARGE: usize = 1 << 16;
const SHARED: usize = 32;
/// A is laid out, if so many columns of B share it, where B is, or beyond so many numbers where A is the transpose of a matrix
/// in rows: read in place, each of its numbers would lie in another cache line.
const WIDE: usize = 64;
const TALL: usize = 1 << 14;

/// A product whose extents [`Multiply::run_by`] has checked: every element that it asks for lies inside its slice. Nothing else
/// makes one.
struct Blocks<'a> {
    a: Left<'a>,
    b: &'a [f32],
    /// From one row of B to the next, and from one column; or [`PACKED`].
    steps: [usize; 2],
    n: usize,
    c: *mut f32,
    add: bool,
}

/// In the place of steps: B is [`Packed`].
const PACKED: usize = 0;

impl WithSimd for Blocks<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (m, k) = (self.a.rows.len(), self.a.columns.len());
        let packed = self.steps[0] == PACKED;
        let crowded = !packed && S::F32_LANES < 16 && self.n.is_multiple_of(PERIOD) && k * self.n > LARGE && m >= SHARED;
        let lay_out = self.n >= WIDE && (crowded || m * k > TALL && step(self.a.rows) == Some(1));
        let (mut right, mut left) = ((crowded || self.steps[1] > 1).then(Vec::new), LaidOut::default());
        let mut first = 0;
        while first < m {
            let rows = &self.a.rows[first..(first + ROWS).min(m)];
            let mut inner = 0;
            loop {
                let columns = &self.a.columns[inner..(inner + INNER).min(k)];
                let part = Left { values: self.a.values, rows, columns };
                let a = if lay_out { left.lay_out(part) } else { part };
                // SAFETY: both are elements of their matrices, or right behind the last; and the block's rows and columns are among
                // those that `Multiply::run_by` has checked.
                unsafe {
                    let (b, c) = (self.b.as_ptr().add(inner * self.steps[0]), self.c.add(first * self.n));
                    let rows = [inner, k];
                    Block { a, b, rows, steps: self.steps, n: self.n, c, add: self.add || inner > 0 }.run(simd, right.as_mut());
                }
                inner += columns.len();
                if inner == k {
                    break;
                }
            }
            first += rows.len();
        }
    }
}

/// A part of A in rows one behind the other.
#[derive(Default)]
struct LaidOut {
    values: Vec<f32>,
    rows: Vec<usize>,
    columns: Vec<usize>,
}

impl LaidOut {
    /// The part laid out, or as it is where neither its rows nor its columns are contiguous.
    fn lay_out<'a>(&'a mut self, part: Left<'a>) -> Left<'a> {
        let (m, k) = (part.rows.len(), part.columns.len());
        match (step(part.rows), step(part.columns)) {
            (_, Some(1)) => {
                self.values.clear();
                part.rows.iter().for_each(|row| self.values.extend_from_slice(&part.values[row + part.columns[0]..][..k]));
            }
            (Some(1), Some(width)) if width >= m => {
                self.values.resize(m * k, 0.0);
                transpose_part(&part.values[part.rows[0] + part.columns[0]..], width, [k, m], &mut self.values, k);
            }
            _ => return part,
        }
        (self.rows, self.columns) = (strided(m, k), strided(k, 1));
        Left { values: &self.values, rows: &self.rows, columns: &self.columns }
    }
}

/// The distance of all neighbours; none if they differ or there are no two.
fn step(offsets: &[usize]) -> Option<usize> {
    let step = offsets.get(1)?.checked_sub(offsets[0])?;
    offsets.windows(2).all(|pair| pair[0] + step == pair[1]).then_some(step)
}

/// The rows of a part of A times all columns of as many rows of B, into rows of C. B and C have n columns.
struct Block<'a> {
    a: Left<'a>,
    b: *const f32,
    /// Which row of B the first is, and how many there are.
    rows: [usize; 2],
    steps: [usize; 2],
    n: usize,
    c: *mut f32,
    add: bool,
}

/// Some columns of B, at most N registers of them.
#[derive(Clone, Copy)]
struct Panel {
    b: *const f32,
    /// From one row to the next, and from one column: 1, or the panel must be laid out.
    steps: [usize; 2],
    /// The first column of C.
    first: usize,
}

impl Panel {
    /// Puts the rows one behind the other into `buffer`.
    ///
    /// # Safety
    /// The panel has `rows` rows of the width of `row_of`.
    #[inline(always)]
    unsafe fn lay_out<S: Simd, const N: usize, const WHOLE: bool>(&mut self, row_of: Row<S, N, WHOLE>, rows: usize, buffer: &mut Vec<f32>) {
        let width = N * S::F32_LANES;
        buffer.resize(buffer.len().max(rows * width), 0.0);
        if self.steps[1] > 1 && rows > 0 {
            // SAFETY: from the first number of the first column to the last of the last one.
            let from = unsafe { std::slice::from_raw_parts(self.b, (row_of.columns - 1) * self.steps[1] + rows) };
            transpose_part(from, self.steps[1], [row_of.columns, rows], buffer, width);
        } else {
            let (mut from, mut to) = (self.b, buffer.as_mut_ptr());
            for _ in 0..rows {
                // SAFETY: the caller's promise; the buffer has room for all rows.
                unsafe { row_of.write(to, &row_of.read(from)) };
                from = from.wrapping_add(self.steps[0]);
                to = to.wrapping_add(width);
            }
        }
        (self.b, self.steps) = (buffer.as_ptr(), [width, 1]);
    }
}

/// How a row of columns is read and written: N registers, of which the last is not full unless they are WHOLE.
#[derive(Clone, Copy)]
struct Row<S: Simd, const N: usize, const WHOLE: bool> {
    simd: S,
    columns: usize,
    mask: MemMask<S::m32s>,
}

impl<S: Simd, const N: usize, const WHOLE: bool> Row<S, N, WHOLE> {
    #[inline(always)]
    fn new(simd: S, columns: usize) -> Self {
        Self { simd, columns, mask: simd.mask_between_m32s(0, (columns - (N - 1) * S::F32_LANES) as u32) }
    }

    /// # Safety
    /// The columns can be read from `from`.
    #[inline(always)]
    unsafe fn read(self, from: *const f32) -> [S::f32s; N] {
        let mut row = [self.simd.splat_f32s(0.0); N];
        for (j, register) in row.iter_mut().enumerate() {
            let from = from.wrapping_add(j * S::F32_LANES);
            // SAFETY: the caller's promise.
            *register = unsafe {
                if WHOLE || j + 1 < N { from.cast::<S::f32s>().read_unaligned() } else { self.simd.mask_load_ptr_f32s(self.mask, from) }
            };
        }
        row
    }

    /// # Safety
    /// The columns can be written to `to`.
    #[inline(always)]
    unsafe fn write(self, to: *mut f32, row: &[S::f32s; N]) {
        for (j, &register) in row.iter().enumerate() {
            let to = to.wrapping_add(j * S::F32_LANES);
            // SAFETY: the caller's promise.
            unsafe {
                if WHOLE || j + 1 < N {
                    to.cast::<S::f32s>().write_unaligned(register);
                } else {
                    self.simd.mask_store_ptr_f32s(self.mask, to, register);
                }
            }
        }
    }
}

impl Block<'_> {
    /// Panel by panel, each laid out in `buffer` if there is one.
    ///
    /// # Safety
    /// Every row and column of the three matrices lies inside its slice.
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, simd: S, mut buffer: Option<&mut Vec<f32>>) {
        let mut first = 0;
        while first < self.n {
            let registers = panel_registers::<S>(self.n - first);
            let buffer = buffer.as_deref_mut();
            // Accumulators enough to hide the latency of the additions, and no more row pointers than there are general
            // registers: beyond 8 rows the compiler spills.
            // SAFETY: the caller's promise.
            first += unsafe {
                if S::F32_LANES >= 16 {
                    match registers {
                        1 => self.panel::<S, 1, 8, 7>(simd, first, buffer),
                        2 => self.panel::<S, 2, 8, 7>(simd, first, buffer),
                        3 => self.panel::<S, 3, 8, 7>(simd, first, buffer),
                        5 => self.panel::<S, 5, 5, 4>(simd, first, buffer),
                        _ => self.panel::<S, 4, 6, 5>(simd, first, buffer),
                    }
                } else {
                    match registers {
                        1 => self.panel::<S, 1, 8, 7>(simd, first, buffer),
                        _ => self.panel::<S, 2, 6, 5>(simd, first, buffer),
                    }
                }
            };
        }
    }

    /// All rows of at most N registers of columns, in tiles of at most R rows; gives the number of columns. Q is R − 1.
    ///
    /// # Safety
    /// As for [`run`](Self::run), and there is a column `first`.
    #[inline(always)]
    unsafe fn panel<S: Simd, const N: usize, const R: usize, const Q: usize>(
        &self,
        simd: S,
        first: usize,
        buffer: Option<&mut Vec<f32>>,
    ) -> usize {
        let columns = (N * S::F32_LANES).min(self.n - first);
        // SAFETY: the caller's promise, for columns that there are.
        unsafe {
            if columns == N * S::F32_LANES {
                self.tiles::<S, N, R, Q, true>(Row::new(simd, columns), first, buffer);
            } else {
                self.tiles::<S, N, R, Q, false>(Row::new(simd, columns), first, buffer);
            }
        }
        columns
    }

    /// # Safety
    /// As for [`run`](Self::run), and there are columns from `first` on for a row of `row_of`.
    #[inline(always)]
    unsafe fn tiles<S: Simd, const N: usize, const R: usize, const Q: usize, const WHOLE: bool>(
        &self,
        row_of: Row<S, N, WHOLE>,
        first: usize,
        buffer: Option<&mut Vec<f32>>,
    ) {
        // SAFETY: by the caller's promise every row and column of the three matrices lies inside its slice, and the panel's and
        // the tiles' are among them.
        unsafe {
            let mut panel = if self.steps[0] == PACKED {
                // All rows of the columns before, and the rows before of these.
                let [inner, k] = self.rows;
                Panel { b: self.b.add(first * k + inner * row_of.columns), steps: [row_of.columns, 1], first }
            } else {
                Panel { b: self.b.add(first * self.steps[1]), steps: self.steps, first }
            };
            if let Some(buffer) = buffer {
                panel.lay_out(row_of, self.a.columns.len(), buffer);
            }
            let mut row = 0;
            while row < self.a.rows.len() {
                let left = self.a.rows.len() - row;
                // So many tiles of Q rows that those after them are whole: in low ones the additions wait for one another.
                let shorter = (R - left % R) % R;
                row += match left {
                    left if shorter > 0 && shorter * Q <= left => self.tile::<S, N, Q, WHOLE>(row_of, row, panel),
                    left if left >= R => self.tile::<S, N, R, WHOLE>(row_of, row, panel),
                    left if left >= 4 => self.tile::<S, N, 4, WHOLE>(row_of, row, panel),
                    left if left >= 2 => self.tile::<S, N, 2, WHOLE>(row_of, row, panel),
                    _ => self.tile::<S, N, 1, WHOLE>(row_of, row, panel),
                };
            }
        }
    }

    /// One tile; gives R.
    ///
    /// # Safety
    /// Rows `row..row + R` exist, and the panel's are of the width of `row_of`.
    #[inline(always)]
    unsafe fn tile<S: Simd, const N: usize, const R: usize, const WHOLE: bool>(
        &self,
        row_of: Row<S, N, WHOLE>,
        row: usize,
        panel: Panel,
    ) -> usize {
        let simd = row_of.simd;
        let mut sums = [[simd.splat_f32s(0.0); N]; R];
        // SAFETY: by the caller's promise and `Multiply::run`, every address below is that of an element of A, B or C, or is
        // read and written under a mask that holds only such addresses.
        unsafe {
            let c = self.c.add(row * self.n + panel.first);
            if self.add {
                for (i, sums) in sums.iter_mut().enumerate() {
                    *sums = row_of.read(c.add(i * self.n));
                }
            }
            let rows: [*const f32; R] = std::array::from_fn(|i| self.a.values.as_ptr().add(*self.a.rows.get_unchecked(row + i)));
            let mut b = panel.b;
            for &at in self.a.columns {
                let right = row_of.read(b);
                for (pointer, sums) in rows.iter().zip(&mut sums) {
                    let left = simd.splat_f32s(*pointer.add(at));
                    for (sum, right) in sums.iter_mut().zip(right) {
                        *sum = simd.mul_add_e_f32s(left, right, *sum);
                    }
                }
                b = b.wrapping_add(panel.steps[0]);
            }
            for (i, sums) in sums.iter().enumerate() {
                row_of.write(c.add(i * self.n), sums);
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
    use crate::layout;
    use proptest::prelude::*;

    fn check([m, n, k]: [usize; 3], transposed: bool, by_columns: bool, add: bool) {
        let value = |i: usize| ((i * 2_654_435_761) % 17) as f32 - 8.0;
        let a: Vec<f32> = (0..m * k).map(value).collect();
        let b: Vec<f32> = (0..k * n).map(|i| value(i + 5)).collect();
        let mut c: Vec<f32> = (0..m * n).map(|i| value(i + 9)).collect();
        let before = c.clone();
        let (rows, columns) = if transposed { (strided(m, 1), strided(k, m)) } else { (strided(m, k), strided(k, 1)) };
        let mut fresh = vec![MaybeUninit::uninit(); m * n];
        let left = Left { values: &a, rows: &rows, columns: &columns };
        let b_columns = layout::transposed(&b, [k, n]);
        let right = if by_columns { Right::Columns(&b_columns) } else { Right::Rows(&b) };
        let c = Multiply { a: left, b: right, n, c: if add { Into::Add(&mut c) } else { Into::Set(&mut fresh) } }.run();
        for i in 0..m {
            for j in 0..n {
                // Whole numbers: every order of summation gives the same.
                let product: f32 = (0..k).map(|r| a[rows[i] + columns[r]] * b[r * n + j]).sum();
                assert_eq!(c[i * n + j], if add { before[i * n + j] + product } else { product }, "{m} {n} {k} at {i}, {j}");
            }
        }
    }

    #[test]
    fn products_in_blocks_equal_the_definition() {
        // Beyond each of the limits from which on a matrix is laid out, and over the edges of blocks and panels.
        for (m, n, k) in [(32, 512, 300), (31, 512, 300), (200, 70, 90), (193, 1024, 257), (193, 513, 257), (400, 10, 700), (17, 66_000, 1)]
        {
            for (transposed, by_columns, add) in [(false, false, false), (true, false, true), (false, true, false)] {
                check([m, n, k], transposed, by_columns, add);
            }
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_what_is_laid_out() {
        let value = |i: usize| ((i * 2_654_435_761) % 1_000_003) as f32 / 1e6 - 0.5;
        let (m, n, k) = (210, 512, 600);
        let (a, b): (Vec<f32>, Vec<f32>) = ((0..m * k).map(value).collect(), (0..k * n).map(|i| value(i + 7)).collect());
        for (rows, columns) in [(strided(m, k), strided(k, 1)), (strided(m, 1), strided(k, m))] {
            let part = |rows| Left { values: &a, rows, columns: &columns };
            let whole = part(&rows).times(Right::Rows(&b), n);
            // Too few rows to share anything.
            let each: Vec<f32> = rows.chunks(5).flat_map(|rows| part(rows).times(Right::Rows(&b), n)).collect();
            assert!(whole == each);
            assert!(whole == part(&rows).times(Right::Columns(&layout::transposed(&b, [k, n])), n));
            assert!(whole == part(&rows).times(Right::Packed(&Packed::new(&b, n)), n));
            // By instructions of other widths, for which other matrices are laid out.
            let by = |work: &dyn Fn(Blocks)| {
                let mut c = vec![MaybeUninit::uninit(); m * n];
                // SAFETY: `work` runs the blocks.
                unsafe { Multiply { a: part(&rows), b: Right::Rows(&b), n, c: Into::Set(&mut c) }.run_by(work).to_vec() }
            };
            assert!(whole == by(&|blocks| blocks.with_simd(pulp::Scalar256b)));
            #[cfg(target_arch = "x86_64")]
            if let Some(simd) = pulp::x86::V3::try_new() {
                assert!(whole == by(&|blocks| Simd::vectorize(simd, blocks)));
            }
        }
    }

    #[test]
    #[should_panic(expected = "A lies inside its slice")]
    fn offsets_whose_sum_wraps_around_are_noticed() {
        let a = Left { values: &[1.0; 10], rows: &[5], columns: &[usize::MAX - 2] };
        a.times(Right::Rows(&[1.0]), 1);
    }

    #[test]
    fn rows_and_columns_lie_anywhere() {
        let value = |i: usize| (i % 13) as f32 - 6.0;
        let values: Vec<f32> = (0..2000).map(value).collect();
        let (n, b) = (300, (0..300 * 300).map(value).collect::<Vec<f32>>());
        let (squares, descending, contiguous) = (|i: usize| i * i, |i: usize| 700 - 30 * i, |i: usize| i);
        let tables: [(fn(usize) -> usize, fn(usize) -> usize); 5] = [
            (squares, |r| r * 5 + r % 2),
            (descending, contiguous),
            (contiguous, contiguous),
            (contiguous, |r| 3 * r),
            (|_| 7, |r| 900 - r),
        ];
        for (row, column) in tables {
            let (rows, columns): (Vec<usize>, Vec<usize>) = ((0..20).map(row).collect(), (0..300).map(column).collect());
            let product = Left { values: &values, rows: &rows, columns: &columns }.times(Right::Rows(&b), n);
            for (index, found) in product.iter().enumerate() {
                let (i, j) = (index / n, index % n);
                assert_eq!(*found, columns.iter().enumerate().map(|(r, at)| values[rows[i] + at] * b[r * n + j]).sum::<f32>());
            }
        }
    }

    proptest! {
        #[test]
        fn products_equal_the_definition(m in 0_usize..30, n in 0_usize..150, k in 0_usize..12, transposed: bool, by_columns: bool, add: bool) {
            check([m, n, k], transposed, by_columns, add);
        }
    }

    #[test]
    #[should_panic(expected = "A lies inside its slice")]
    fn an_offset_outside_is_refused() {
        let left = Left { values: &[1.0; 3], rows: &[0, 2], columns: &[0, 1] };
        Multiply { a: left, b: Right::Rows(&[1.0; 2]), n: 1, c: Into::Add(&mut [0.0; 2]) }.run();
    }
}
