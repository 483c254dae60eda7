//! The six transforms of [`winograd`](super::winograd) and where their numbers lie.

use pulp::{Simd, WithSimd};

/// Extents of a kernel, of a tile of the output, of a tile of the input.
pub(super) const KERNEL: usize = 5;
pub(super) const OUT: usize = 4;
pub(super) const TILE: usize = OUT + KERNEL - 1;

/// What a transform does along one axis: of N numbers it makes M.
///
/// Everything below is written out without closures and iterators: they would be functions of their own, compiled without
/// the instructions that `S` stands for.
pub(super) trait Line<const N: usize, const M: usize> {
    fn along<S: Simd>(simd: S, x: [S::f32s; N]) -> [S::f32s; M];
}

/// a·x + y.
#[inline(always)]
fn scaled<S: Simd>(simd: S, a: f32, x: S::f32s, y: S::f32s) -> S::f32s {
    simd.mul_add_e_f32s(simd.splat_f32s(a), x, y)
}

/// a·x + b·y + c·z.
#[inline(always)]
fn combine<S: Simd>(simd: S, [a, b, c]: [f32; 3], [x, y, z]: [S::f32s; 3]) -> S::f32s {
    scaled(simd, a, x, scaled(simd, b, y, simd.mul_f32s(simd.splat_f32s(c), z)))
}

/// The values at a and −a, from the parts that are even and odd in a.
#[inline(always)]
fn pair<S: Simd>(simd: S, even: S::f32s, odd: S::f32s) -> [S::f32s; 2] {
    [simd.add_f32s(even, odd), simd.sub_f32s(even, odd)]
}

/// The sums and the differences of what belongs to 1 and −1, 2 and −2, ½ and −½.
#[inline(always)]
fn halves<S: Simd>(simd: S, x: [S::f32s; TILE]) -> [[S::f32s; 3]; 2] {
    [
        [simd.add_f32s(x[1], x[2]), simd.add_f32s(x[3], x[4]), simd.add_f32s(x[5], x[6])],
        [simd.sub_f32s(x[1], x[2]), simd.sub_f32s(x[3], x[4]), simd.sub_f32s(x[5], x[6])],
    ]
}

/// Bᵀ: row i holds the coefficients of Π_{j≠i}(t − aⱼ), the last those of the product over all points.
pub(super) struct Input;

impl Line<TILE, TILE> for Input {
    #[inline(always)]
    fn along<S: Simd>(simd: S, x: [S::f32s; TILE]) -> [S::f32s; TILE] {
        let (even, odd) = ([x[2], x[4], x[6]], [x[1], x[3], x[5]]);
        let [one, minus_one] = pair(simd, combine(simd, [1.0, -4.25, 1.0], even), combine(simd, [1.0, -4.25, 1.0], odd));
        let [two, minus_two] = pair(simd, combine(simd, [0.25, -1.25, 1.0], even), combine(simd, [0.5, -2.5, 2.0], odd));
        let [half, minus_half] = pair(simd, combine(simd, [4.0, -5.0, 1.0], even), combine(simd, [2.0, -2.5, 0.5], odd));
        let zero = scaled(simd, 5.25, simd.sub_f32s(x[2], x[4]), simd.sub_f32s(x[6], x[0]));
        let infinity = scaled(simd, 5.25, simd.sub_f32s(x[3], x[5]), simd.sub_f32s(x[7], x[1]));
        [zero, one, minus_one, two, minus_two, half, minus_half, infinity]
    }
}

/// B.
pub(super) struct InputAdjoint;

impl Line<TILE, TILE> for InputAdjoint {
    #[inline(always)]
    fn along<S: Simd>(simd: S, x: [S::f32s; TILE]) -> [S::f32s; TILE] {
        let [zero, infinity] = [x[0], x[7]];
        let [sums, differences] = halves(simd, x);
        [
            simd.neg_f32s(zero),
            simd.sub_f32s(combine(simd, [1.0, 0.5, 2.0], differences), infinity),
            scaled(simd, 5.25, zero, combine(simd, [1.0, 0.25, 4.0], sums)),
            scaled(simd, 5.25, infinity, combine(simd, [-4.25, -2.5, -2.5], differences)),
            scaled(simd, -5.25, zero, combine(simd, [-4.25, -1.25, -5.0], sums)),
            scaled(simd, -5.25, infinity, combine(simd, [1.0, 2.0, 0.5], differences)),
            simd.add_f32s(combine(simd, [1.0, 1.0, 1.0], sums), zero),
            infinity,
        ]
    }
}

/// Aᵀ: row k holds the powers aᵏ.
pub(super) struct Output;

impl Line<TILE, OUT> for Output {
    #[inline(always)]
    fn along<S: Simd>(simd: S, x: [S::f32s; TILE]) -> [S::f32s; OUT] {
        let [sums, differences] = halves(simd, x);
        [
            simd.add_f32s(combine(simd, [1.0, 1.0, 1.0], sums), x[0]),
            combine(simd, [1.0, 2.0, 0.5], differences),
            combine(simd, [1.0, 4.0, 0.25], sums),
            simd.add_f32s(combine(simd, [1.0, 8.0, 0.125], differences), x[7]),
        ]
    }
}

/// A.
pub(super) struct OutputAdjoint;

impl Line<OUT, TILE> for OutputAdjoint {
    #[inline(always)]
    fn along<S: Simd>(simd: S, y: [S::f32s; OUT]) -> [S::f32s; TILE] {
        let [one, minus_one] = powers(simd, 1.0, y);
        let [two, minus_two] = powers(simd, 2.0, y);
        let [half, minus_half] = powers(simd, 0.5, y);
        [y[0], one, minus_one, two, minus_two, half, minus_half, y[3]]
    }
}

/// Σ_k y_k aᵏ and Σ_k y_k (−a)ᵏ.
#[inline(always)]
fn powers<S: Simd>(simd: S, a: f32, y: [S::f32s; OUT]) -> [S::f32s; 2] {
    let odd = simd.mul_f32s(simd.splat_f32s(a), scaled(simd, a * a, y[3], y[1]));
    pair(simd, scaled(simd, a * a, y[2], y[0]), odd)
}

/// The points whose opposite is one too.
const PAIRS: [f32; 3] = [1.0, 2.0, 0.5];
/// What their rows of G are scaled with: 1 / Π_{j≠i}(aᵢ − aⱼ). At 0 that is −1.
const SCALES: [f32; 3] = [-2.0 / 9.0, 1.0 / 90.0, 32.0 / 45.0];

/// Column k of G: the scaled powers.
const fn column(k: usize) -> [f32; 3] {
    let mut column = SCALES;
    let mut i = 0;
    while i < k {
        column = [column[0] * PAIRS[0], column[1] * PAIRS[1], column[2] * PAIRS[2]];
        i += 1;
    }
    column
}

const COLUMNS: [[f32; 3]; KERNEL] = [column(0), column(1), column(2), column(3), column(4)];

/// G: row i holds the powers of aᵢ, scaled.
pub(super) struct Kernel;

impl Line<KERNEL, TILE> for Kernel {
    #[inline(always)]
    fn along<S: Simd>(simd: S, w: [S::f32s; KERNEL]) -> [S::f32s; TILE] {
        let mut points = [w[4]; TILE];
        points[0] = simd.neg_f32s(w[0]);
        for i in 0..PAIRS.len() {
            let even = combine(simd, [COLUMNS[0][i], COLUMNS[2][i], COLUMNS[4][i]], [w[0], w[2], w[4]]);
            let odd = scaled(simd, COLUMNS[1][i], w[1], simd.mul_f32s(simd.splat_f32s(COLUMNS[3][i]), w[3]));
            [points[1 + 2 * i], points[2 + 2 * i]] = pair(simd, even, odd);
        }
        points
    }
}

/// Gᵀ.
pub(super) struct KernelAdjoint;

impl Line<TILE, KERNEL> for KernelAdjoint {
    #[inline(always)]
    fn along<S: Simd>(simd: S, x: [S::f32s; TILE]) -> [S::f32s; KERNEL] {
        let [sums, differences] = halves(simd, x);
        [
            simd.sub_f32s(combine(simd, COLUMNS[0], sums), x[0]),
            combine(simd, COLUMNS[1], differences),
            combine(simd, COLUMNS[2], sums),
            combine(simd, COLUMNS[3], differences),
            simd.add_f32s(combine(simd, COLUMNS[4], sums), x[7]),
        ]
    }
}

/// Where the numbers of some squares lie. Number (i, j) of a square, in all channels, is vector `corner + i·strides[0] +
/// j·strides[1]`; a vector is as long as there are channels.
pub(super) struct Grid {
    pub(super) squares: Vec<Square>,
    pub(super) strides: [usize; 2],
}

pub(super) struct Square {
    pub(super) corner: usize,
    /// Rows and columns that there are; others are read as 0 and not written.
    pub(super) inside: [usize; 2],
}

impl Grid {
    pub(super) fn whole(corners: impl Iterator<Item = usize>, strides: [usize; 2]) -> Self {
        Self { squares: corners.map(|corner| Square { corner, inside: [usize::MAX; 2] }).collect(), strides }
    }

    /// Tiles in the transformed domain, where all vectors of one point follow one another.
    pub(super) fn points(count: usize) -> Self {
        Self::whole(0..count, [TILE * count, count])
    }

    /// Kernels of so many channels one after another.
    pub(super) fn kernels(count: usize) -> Self {
        Self::whole((0..count).map(|channel| channel * KERNEL * KERNEL), [KERNEL, 1])
    }
}

/// L along both axes of each square of `from`; the results are put into `to`, or added to it where squares overlap.
pub(super) fn transform<L: Line<N, M>, const N: usize, const M: usize>(
    line: L,
    channels: usize,
    from: (&[f32], &Grid),
    to: (&mut [f32], &Grid),
    store: Store,
) {
    pulp::Arch::new().dispatch(Transform { _line: line, channels, from, to, store });
}

/// What is done with the results of a transform.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    Set,
    Add,
}

struct Transform<'a, L, const N: usize, const M: usize> {
    _line: L,
    channels: usize,
    from: (&'a [f32], &'a Grid),
    to: (&'a mut [f32], &'a Grid),
    store: Store,
}

impl<L: Line<N, M>, const N: usize, const M: usize> WithSimd for Transform<'_, L, N, M> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let blocks = self.channels / S::F32_LANES;
        let ((from, source), (to, target)) = (self.from, self.to);
        let (from, to) = (S::as_simd_f32s(from).0, S::as_mut_simd_f32s(to).0);
        for (read, write) in source.squares.iter().zip(&target.squares) {
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
    for block in 0..read.blocks {
        let mut half = [[zero; N]; M];
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
                half[i][j] = column[i];
            }
        }
        for i in 0..M {
            let row = L::along(simd, half[i]);
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
