//! Work on the rows of a matrix: in chunks on all cores, with the widest instructions of this machine.

use lyceum_core::{Error, Result, interrupt};
use ndarray::{ArrayView2, Axis};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::row::Scratch;

/// Rows of a task.
pub(crate) const ROWS: usize = 128;

/// Work on some rows, whose code is inlined into a dispatch by instruction set.
pub(crate) trait RowWork: Sync {
    type Output: Send;

    /// The result for the rows from `first` on, or the number of a row with a NaN.
    fn rows<A: Simd>(&self, simd: A, first: usize, rows: &[&[f32]], scratch: &mut Scratch) -> Result<Self::Output, usize>;
}

/// Applies `work` to all chunks of [`ROWS`] rows; the results in the order of the rows.
pub(crate) fn in_chunks<W: RowWork>(logits: ArrayView2<'_, f32>, work: &W) -> Result<Vec<W::Output>> {
    in_these_chunks(logits, &(0..logits.nrows().div_ceil(ROWS)).collect::<Vec<_>>(), work)
}

/// As [`in_chunks`], for the chunks of these numbers.
pub(crate) fn in_these_chunks<W: RowWork>(logits: ArrayView2<'_, f32>, chunks: &[usize], work: &W) -> Result<Vec<W::Output>> {
    if logits.ncols() == 0 {
        return Err(Error::invalid("logits", "0 columns", "one column per class"));
    }
    let arch = pulp::Arch::new();
    let chunk = |scratch: &mut Scratch, index: &usize| {
        let first = index * ROWS;
        let part = logits.slice_axis(Axis(0), (first..(first + ROWS).min(logits.nrows())).into());
        // Rows that do not lie in one piece, for example of a transposed array, are copied.
        let part = part.as_standard_layout();
        let rows: Vec<&[f32]> = part.rows().into_iter().filter_map(|row| row.to_slice()).collect();
        interrupt::check()?;
        arch.dispatch(Dispatched { work, first, rows: &rows, scratch }).map_err(|row| {
            let column = logits.row(row).iter().position(|z| z.is_nan()).unwrap_or(0);
            Error::invalid(format!("logits, row {row}, column {column}"), "NaN", "numbers")
        })
    };
    chunks.par_iter().map_init(Scratch::default, chunk).collect()
}

/// Each row with the one after it; nothing comes after the last.
pub(crate) fn with_next<'a>(rows: &'a [&'a [f32]]) -> impl Iterator<Item = (&'a [f32], &'a [f32])> {
    rows.iter().enumerate().map(|(i, row)| (*row, rows.get(i + 1).copied().unwrap_or_default()))
}

struct Dispatched<'a, W> {
    work: &'a W,
    first: usize,
    rows: &'a [&'a [f32]],
    scratch: &'a mut Scratch,
}

impl<W: RowWork> WithSimd for Dispatched<'_, W> {
    type Output = Result<W::Output, usize>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        self.work.rows(simd, self.first, self.rows, self.scratch)
    }
}
