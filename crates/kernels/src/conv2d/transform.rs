//! Transforms of squares of numbers along both axes, and where these numbers lie.

use std::{marker::PhantomData, mem::MaybeUninit};

use pulp::{Simd, WithSimd};

use crate::dispatch::dispatch_lanes;

/// What a transform does along one axis: of N numbers it makes M.
pub(super) trait Line<const N: usize, const M: usize> {
    fn along<S: Simd>(simd: S, x: [S::f32s; N]) -> [S::f32s; M];
}

/// What makes squares of squares.
pub(super) trait Map {
    /// Transforms each square of `from`; the results are put into `to`, or added to it where squares overlap.
    fn squares(channels: usize, from: (&[f32], &Grid), to: (&mut [f32], &Grid), store: Store);
}

/// L along both axes: of N × N numbers it makes M × M.
pub(super) struct Along<L, const N: usize, const M: usize>(PhantomData<L>);

impl<L: Line<N, M>, const N: usize, const M: usize> Map for Along<L, N, M> {
    fn squares(channels: usize, from: (&[f32], &Grid), to: (&mut [f32], &Grid), store: Store) {
        dispatch_lanes(channels, Transform { _line: PhantomData::<L>, channels, from, to, store });
    }
}

/// Where the numbers of some squares lie. Number (i, j) of a square, in all channels, is vector `corner + i·strides[0] +
/// j·strides[1]`; a vector is as long as there are channels.
pub(super) struct Grid {
    pub(super) squares: Vec<Square>,
    pub(super) strides: [usize; 2],
}

/// Vectors between those of one point and the next. A power of two apart, the points of a square would all fall into a few sets of
/// the cache and throw one another out before their lines are full.
pub(super) const GAP: usize = 1;

pub(super) struct Square {
    pub(super) corner: usize,
    /// Rows and columns that there are; others are read as 0 and not written.
    pub(super) inside: [usize; 2],
}

impl Grid {
    pub(super) fn whole(corners: impl Iterator<Item = usize>, strides: [usize; 2]) -> Self {
        Self { squares: corners.map(|corner| Square { corner, inside: [usize::MAX; 2] }).collect(), strides }
    }

    /// Squares of the transformed domain, where all vectors of one point follow one another, and after them [`GAP`] unused ones.
    pub(super) fn points(side: usize, count: usize) -> Self {
        Self::whole(0..count, [side * (count + GAP), count + GAP])
    }

    /// Squares one after another.
    pub(super) fn in_turn(side: usize, count: usize) -> Self {
        Self::whole((0..count).map(|square| square * side * side), [side, 1])
    }
}

/// What is done with the results of a transform.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    Set,
    Add,
}

struct Transform<'a, L, const N: usize, const M: usize> {
    _line: PhantomData<L>,
    channels: usize,
    from: (&'a [f32], &'a Grid),
    to: (&'a mut [f32], &'a Grid),
    store: Store,
}

impl<L: Line<N, M>, const N: usize, const M: usize> WithSimd for Transform<'_, L, N, M> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        assert!(self.channels > 0 && self.channels.is_multiple_of(S::F32_LANES), "vectors fill whole registers");
        let blocks = self.channels / S::F32_LANES;
        let ((from, source), (to, target)) = (self.from, self.to);
        let (from, to) = (S::as_simd_f32s(from).0, S::as_mut_simd_f32s(to).0);
        for (read, write) in source.squares.iter().zip(&target.squares) {
            assert!(read.inside.iter().chain(&write.inside).all(|inside| *inside > 0), "a square has a row and a column");
            let ([rows, columns], [rows_to, columns_to]) = (read.inside.map(|n| n.min(N)), write.inside.map(|m| m.min(M)));
            let last = |square: &Square, strides: [usize; 2], [rows, columns]: [usize; 2]| {
                (square.corner + (rows - 1) * strides[0] + (columns - 1) * strides[1] + 1) * blocks
            };
            assert!(last(read, source.strides, [rows, columns]) <= from.len(), "a square is read inside its slice");
            assert!(last(write, target.strides, [rows_to, columns_to]) <= to.len(), "a square is written inside its slice");
            let (read, write) = (Steps::new(read.corner, source.strides, blocks), Steps::new(write.corner, target.strides, blocks));
            // SAFETY: no number of a square lies behind its last one, which the assertions have covered.
            unsafe {
                if [rows, columns, rows_to, columns_to] == [N, N, M, M] {
                    square::<S, L, N, M>(simd, from, read, [N, N], to, write, [M, M], self.store);
                } else {
                    square::<S, L, N, M>(simd, from, read, [rows, columns], to, write, [rows_to, columns_to], self.store);
                }
            }
        }
    }
}

/// Where a square's numbers lie in a slice of registers.
#[derive(Clone, Copy)]
struct Steps {
    corner: usize,
    strides: [usize; 2],
    blocks: usize,
}

impl Steps {
    fn new(corner: usize, strides: [usize; 2], blocks: usize) -> Self {
        Self { corner: corner * blocks, strides: strides.map(|stride| stride * blocks), blocks }
    }

    #[inline(always)]
    fn at(self, i: usize, j: usize) -> usize {
        self.corner + i * self.strides[0] + j * self.strides[1]
    }
}

/// L along both axes of one square, all channels. `inside`, `inside_to`: the rows and columns that there are.
///
/// # Safety
/// The numbers of the square that are inside, in all channels, lie inside `from`, and those of the result inside `to`.
#[inline(always)]
unsafe fn square<S: Simd, L: Line<N, M>, const N: usize, const M: usize>(
    simd: S,
    from: &[S::f32s],
    read: Steps,
    inside: [usize; 2],
    to: &mut [S::f32s],
    write: Steps,
    inside_to: [usize; 2],
    store: Store,
) {
    let zero = simd.splat_f32s(0.0);
    // The M × N numbers in between, not cleared for each block: all of them are written before they are read.
    let mut half = MaybeUninit::<[[S::f32s; N]; M]>::uninit();
    let half = half.as_mut_ptr().cast::<[S::f32s; N]>();
    for block in 0..read.blocks {
        for j in 0..N {
            let mut column = [zero; N];
            for i in 0..N {
                if i < inside[0] && j < inside[1] {
                    // SAFETY: the caller's promise.
                    column[i] = unsafe { *from.get_unchecked(read.at(i, j) + block) };
                }
            }
            let column = L::along(simd, column);
            for i in 0..M {
                // SAFETY: row i and column j of M and N.
                unsafe { half.add(i).cast::<S::f32s>().add(j).write(column[i]) };
            }
        }
        for i in 0..M {
            // SAFETY: row i of M, whose N numbers have been written.
            let row = L::along(simd, unsafe { half.add(i).read() });
            for j in 0..M {
                if i < inside_to[0] && j < inside_to[1] {
                    // SAFETY: the caller's promise.
                    let to = unsafe { to.get_unchecked_mut(write.at(i, j) + block) };
                    *to = if store == Store::Add { simd.add_f32s(*to, row[j]) } else { row[j] };
                }
            }
        }
    }
}
