//! The filters F(4×4, 3×3) and F(4×4, 5×5) of [`winograd`](super::winograd): their points, and the six transforms of each.
//!
//! The points are 0, ∞ and pairs ±a, so that the parts that are even and odd in a are found once for both. Row i of Bᵀ holds the
//! coefficients of Π_{j≠i}(t − aⱼ), its last row those of the product over all points; row k of Aᵀ the powers aᵏ; row i of G the
//! powers of aᵢ over Π_{j≠i}(aᵢ − aⱼ).
//!
//! Everything is written out without closures and iterators: they would be functions of their own, compiled without the
//! instructions that `S` stands for.

use pulp::Simd;

use super::transform::{Along, Line, Map};

/// The side of a tile of the output.
pub(super) const OUT: usize = 4;

/// Minimal filtering of tiles of [`OUT`] × [`OUT`] with kernels of one size.
pub(super) trait Filter {
    /// The side of a kernel.
    const KERNEL: usize;
    /// The side of a tile of the input.
    const TILE: usize = OUT + Self::KERNEL - 1;
    /// Products in the transformed domain for each tile.
    const POINTS: usize = Self::TILE * Self::TILE;

    /// Bᵀ.
    type Input: Map;
    /// B.
    type InputAdjoint: Map;
    /// Aᵀ.
    type Output: Map;
    /// A.
    type OutputAdjoint: Map;
    /// G.
    type Kernel: Map;
    /// Gᵀ.
    type KernelAdjoint: Map;
}

/// F(4×4, 3×3), with the points 0, ±1, ±2 and ∞.
pub(super) struct Three;

impl Filter for Three {
    const KERNEL: usize = 3;
    type Input = Along<Input, 6, 6>;
    type InputAdjoint = Along<InputAdjoint, 6, 6>;
    type Output = Along<Output, 6, OUT>;
    type OutputAdjoint = Along<OutputAdjoint, OUT, 6>;
    type Kernel = Along<Kernel, 3, 6>;
    type KernelAdjoint = Along<KernelAdjoint, 6, 3>;
}

/// F(4×4, 5×5), with the points 0, ±1, ±2, ±½ and ∞.
pub(super) struct Five;

impl Filter for Five {
    const KERNEL: usize = 5;
    type Input = Along<Input, 8, 8>;
    type InputAdjoint = Along<InputAdjoint, 8, 8>;
    type Output = Along<Output, 8, OUT>;
    type OutputAdjoint = Along<OutputAdjoint, OUT, 8>;
    type Kernel = Along<Kernel, 5, 8>;
    type KernelAdjoint = Along<KernelAdjoint, 8, 5>;
}

/// a·x + y.
#[inline(always)]
fn scaled<S: Simd>(simd: S, a: f32, x: S::f32s, y: S::f32s) -> S::f32s {
    simd.mul_add_e_f32s(simd.splat_f32s(a), x, y)
}

/// Σ aᵢxᵢ.
#[inline(always)]
fn combine<S: Simd, const K: usize>(simd: S, a: [f32; K], x: [S::f32s; K]) -> S::f32s {
    let mut sum = simd.mul_f32s(simd.splat_f32s(a[K - 1]), x[K - 1]);
    for i in (0..K - 1).rev() {
        sum = scaled(simd, a[i], x[i], sum);
    }
    sum
}

/// The values at a and −a, from the parts that are even and odd in a.
#[inline(always)]
fn pair<S: Simd>(simd: S, even: S::f32s, odd: S::f32s) -> [S::f32s; 2] {
    [simd.add_f32s(even, odd), simd.sub_f32s(even, odd)]
}

/// The sums and the differences of the P pairs that lie between what belongs to 0 and to ∞.
#[inline(always)]
fn halves<S: Simd, const N: usize, const P: usize>(simd: S, x: [S::f32s; N]) -> [[S::f32s; P]; 2] {
    let mut halves = [[simd.splat_f32s(0.0); P]; 2];
    for i in 0..P {
        (halves[0][i], halves[1][i]) = (simd.add_f32s(x[1 + 2 * i], x[2 + 2 * i]), simd.sub_f32s(x[1 + 2 * i], x[2 + 2 * i]));
    }
    halves
}

/// Bᵀ.
pub(super) struct Input;

impl Line<8, 8> for Input {
    #[inline(always)]
    fn along<S: Simd>(simd: S, x: [S::f32s; 8]) -> [S::f32s; 8] {
        let (even, odd) = ([x[2], x[4], x[6]], [x[1], x[3], x[5]]);
        let [one, minus_one] = pair(simd, combine(simd, [1.0, -4.25, 1.0], even), combine(simd, [1.0, -4.25, 1.0], odd));
        let [two, minus_two] = pair(simd, combine(simd, [0.25, -1.25, 1.0], even), combine(simd, [0.5, -2.5, 2.0], odd));
        let [half, minus_half] = pair(simd, combine(simd, [4.0, -5.0, 1.0], even), combine(simd, [2.0, -2.5, 0.5], odd));
        let zero = scaled(simd, 5.25, simd.sub_f32s(x[2], x[4]), simd.sub_f32s(x[6], x[0]));
        let infinity = scaled(simd, 5.25, simd.sub_f32s(x[3], x[5]), simd.sub_f32s(x[7], x[1]));
        [zero, one, minus_one, two, minus_two, half, minus_half, infinity]
    }
}

impl Line<6, 6> for Input {
    #[inline(always)]
    fn along<S: Simd>(simd: S, x: [S::f32s; 6]) -> [S::f32s; 6] {
        let (even, odd) = ([x[2], x[4]], [x[1], x[3]]);
        let [one, minus_one] = pair(simd, combine(simd, [-4.0, 1.0], even), combine(simd, [-4.0, 1.0], odd));
        let [two, minus_two] = pair(simd, combine(simd, [-1.0, 1.0], even), combine(simd, [-2.0, 2.0], odd));
        let zero = combine(simd, [4.0, -5.0, 1.0], [x[0], x[2], x[4]]);
        let infinity = combine(simd, [4.0, -5.0, 1.0], [x[1], x[3], x[5]]);
        [zero, one, minus_one, two, minus_two, infinity]
    }
}

/// B.
pub(super) struct InputAdjoint;

impl Line<8, 8> for InputAdjoint {
    #[inline(always)]
    fn along<S: Simd>(simd: S, x: [S::f32s; 8]) -> [S::f32s; 8] {
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

impl Line<6, 6> for InputAdjoint {
    #[inline(always)]
    fn along<S: Simd>(simd: S, x: [S::f32s; 6]) -> [S::f32s; 6] {
        let [zero, infinity] = [x[0], x[5]];
        let [sums, differences] = halves(simd, x);
        [
            simd.mul_f32s(simd.splat_f32s(4.0), zero),
            scaled(simd, 4.0, infinity, combine(simd, [-4.0, -2.0], differences)),
            scaled(simd, -5.0, zero, combine(simd, [-4.0, -1.0], sums)),
            scaled(simd, -5.0, infinity, combine(simd, [1.0, 2.0], differences)),
            simd.add_f32s(combine(simd, [1.0, 1.0], sums), zero),
            infinity,
        ]
    }
}

/// Aᵀ.
pub(super) struct Output;

impl Line<8, OUT> for Output {
    #[inline(always)]
    fn along<S: Simd>(simd: S, x: [S::f32s; 8]) -> [S::f32s; OUT] {
        let [sums, differences] = halves(simd, x);
        [
            simd.add_f32s(combine(simd, [1.0, 1.0, 1.0], sums), x[0]),
            combine(simd, [1.0, 2.0, 0.5], differences),
            combine(simd, [1.0, 4.0, 0.25], sums),
            simd.add_f32s(combine(simd, [1.0, 8.0, 0.125], differences), x[7]),
        ]
    }
}

impl Line<6, OUT> for Output {
    #[inline(always)]
    fn along<S: Simd>(simd: S, x: [S::f32s; 6]) -> [S::f32s; OUT] {
        let [sums, differences] = halves(simd, x);
        [
            simd.add_f32s(combine(simd, [1.0, 1.0], sums), x[0]),
            combine(simd, [1.0, 2.0], differences),
            combine(simd, [1.0, 4.0], sums),
            simd.add_f32s(combine(simd, [1.0, 8.0], differences), x[5]),
        ]
    }
}

/// A.
pub(super) struct OutputAdjoint;

impl Line<OUT, 8> for OutputAdjoint {
    #[inline(always)]
    fn along<S: Simd>(simd: S, y: [S::f32s; OUT]) -> [S::f32s; 8] {
        let [one, minus_one] = powers(simd, 1.0, y);
        let [two, minus_two] = powers(simd, 2.0, y);
        let [half, minus_half] = powers(simd, 0.5, y);
        [y[0], one, minus_one, two, minus_two, half, minus_half, y[3]]
    }
}

impl Line<OUT, 6> for OutputAdjoint {
    #[inline(always)]
    fn along<S: Simd>(simd: S, y: [S::f32s; OUT]) -> [S::f32s; 6] {
        let [one, minus_one] = powers(simd, 1.0, y);
        let [two, minus_two] = powers(simd, 2.0, y);
        [y[0], one, minus_one, two, minus_two, y[3]]
    }
}

/// Σ_k y_k aᵏ and Σ_k y_k (−a)ᵏ.
#[inline(always)]
fn powers<S: Simd>(simd: S, a: f32, y: [S::f32s; OUT]) -> [S::f32s; 2] {
    let odd = simd.mul_f32s(simd.splat_f32s(a), scaled(simd, a * a, y[3], y[1]));
    pair(simd, scaled(simd, a * a, y[2], y[0]), odd)
}

/// G.
pub(super) struct Kernel;

impl Line<3, 6> for Kernel {
    #[inline(always)]
    fn along<S: Simd>(simd: S, w: [S::f32s; 3]) -> [S::f32s; 6] {
        let [one, minus_one] = scaled_powers(simd, -1.0 / 6.0, 1.0, w);
        let [two, minus_two] = scaled_powers(simd, 1.0 / 24.0, 2.0, w);
        [simd.mul_f32s(simd.splat_f32s(0.25), w[0]), one, minus_one, two, minus_two, w[2]]
    }
}

/// s · Σ_k w_k aᵏ and s · Σ_k w_k (−a)ᵏ.
#[inline(always)]
fn scaled_powers<S: Simd>(simd: S, s: f32, a: f32, w: [S::f32s; 3]) -> [S::f32s; 2] {
    pair(simd, combine(simd, [s, s * a * a], [w[0], w[2]]), simd.mul_f32s(simd.splat_f32s(s * a), w[1]))
}

/// The points of F(4×4, 5×5) whose opposite is one too.
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

const COLUMNS: [[f32; 3]; 5] = [column(0), column(1), column(2), column(3), column(4)];

impl Line<5, 8> for Kernel {
    #[inline(always)]
    fn along<S: Simd>(simd: S, w: [S::f32s; 5]) -> [S::f32s; 8] {
        let mut points = [w[4]; 8];
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

impl Line<8, 5> for KernelAdjoint {
    #[inline(always)]
    fn along<S: Simd>(simd: S, x: [S::f32s; 8]) -> [S::f32s; 5] {
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

impl Line<6, 3> for KernelAdjoint {
    #[inline(always)]
    fn along<S: Simd>(simd: S, x: [S::f32s; 6]) -> [S::f32s; 3] {
        let [sums, differences] = halves(simd, x);
        [
            scaled(simd, 0.25, x[0], combine(simd, [-1.0 / 6.0, 1.0 / 24.0], sums)),
            combine(simd, [-1.0 / 6.0, 1.0 / 12.0], differences),
            simd.add_f32s(combine(simd, [-1.0 / 6.0, 1.0 / 6.0], sums), x[5]),
        ]
    }
}
