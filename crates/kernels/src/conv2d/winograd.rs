//! Convolutions with kernels of 5 × 5 by Winograd's minimal filtering, F(4×4, 5×5) (Lavin and Gray, "Fast algorithms for
//! convolutional neural networks", CVPR 2016).
//!
//! ```text
//! y = Aᵀ [ Σ_c (G w Gᵀ) ⊙ (Bᵀ x B) ] A      for each tile: 4 × 4 of y out of 8 × 8 of x
//! ```
//!
//! A product of polynomials is found from its values at the points 0, ±1, ±2, ±½ and ∞: 64 multiplications give the 16
//! outputs that take 400 by the definition. The sum over channels is one matrix product a point. All three products run in
//! the transformed domain; the backward pass is the adjoint of the forward pass, step by step:
//!
//! | product | at each of the 64 points |
//! |---|---|
//! | y | `tiles × c` times `c × o` |
//! | ∂x | `tiles × o` times `o × c` |
//! | ∂w | `c × tiles` times `tiles × o` |
//!
//! The transforms work on sixteen channels or fewer at once, so images are laid out pixel by pixel for them. Results differ
//! from those of the definition by about 1e-5 of the largest.

use std::marker::PhantomData;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{
    Frame, Geometry,
    epilogue::{Buffers, Epilogue},
    summed,
};
use crate::{
    layout::transpose,
    matmul::{Into, Left, Multiply, strided},
};

/// Extents of a kernel, of a tile of the output, of a tile of the input.
const KERNEL: usize = 5;
const OUT: usize = 4;
const TILE: usize = OUT + KERNEL - 1;
const POINTS: usize = TILE * TILE;
/// Channels come in such numbers that no register is filled in part.
const CHANNELS: usize = 16;
/// Tiles that are worked on at once, or those of one image: so many that the transformed kernels are seldom read anew.
const ROWS: usize = 64;
/// Groups of images whose ∂w are added up in the end, whatever the number of threads: at most so many, of so many tiles.
const GROUPS: usize = 8;
const GROUP_ROWS: usize = 2 * ROWS;

/// Whether a convolution can be done this way, and with less than half of the multiplications.
pub(super) fn pays(geometry: &Geometry) -> bool {
    let Geometry { channels, groups, kernel, stride, dilation, .. } = geometry;
    let shape = *kernel == [KERNEL; 2] && *stride == [1; 2] && *dilation == [1; 2] && *groups == 1;
    let tiles = geometry.output.map(|extent| extent.div_ceil(OUT)).iter().product::<usize>();
    shape
        && channels.iter().all(|channels| channels.is_multiple_of(CHANNELS))
        && 2 * POINTS * tiles <= KERNEL * KERNEL * geometry.output_pixels()
}

/// What a transform does along one axis: of N numbers it makes M.
///
/// Everything below is written out without closures and iterators: they would be functions of their own, compiled without
/// the instructions that `S` stands for.
trait Line<const N: usize, const M: usize> {
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
struct Input;

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
struct InputAdjoint;

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
struct Output;

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
struct OutputAdjoint;

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
struct Kernel;

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
struct KernelAdjoint;

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
struct Grid {
    squares: Vec<Square>,
    strides: [usize; 2],
}

struct Square {
    corner: usize,
    /// Rows and columns that there are; others are read as 0 and not written.
    inside: [usize; 2],
}

impl Grid {
    fn whole(corners: impl Iterator<Item = usize>, strides: [usize; 2]) -> Self {
        Self { squares: corners.map(|corner| Square { corner, inside: [usize::MAX; 2] }).collect(), strides }
    }

    /// Tiles in the transformed domain, where all vectors of one point follow one another.
    fn points(count: usize) -> Self {
        Self::whole(0..count, [TILE * count, count])
    }

    /// Kernels of so many channels one after another.
    fn kernels(count: usize) -> Self {
        Self::whole((0..count).map(|channel| channel * KERNEL * KERNEL), [KERNEL, 1])
    }
}

/// L along both axes of each square.
struct Transform<'a, L, const N: usize, const M: usize> {
    from: (&'a [f32], &'a Grid),
    to: (&'a mut [f32], &'a Grid),
    channels: usize,
    /// Whether it is added to what is there: for squares that overlap.
    add: bool,
    line: PhantomData<L>,
}

impl<L: Line<N, M>, const N: usize, const M: usize> Transform<'_, L, N, M> {
    fn run(self, _: L) {
        pulp::Arch::new().dispatch(self);
    }
}

impl<L: Line<N, M>, const N: usize, const M: usize> WithSimd for Transform<'_, L, N, M> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let blocks = self.channels / S::F32_LANES;
        let ((from, source), (to, target)) = (self.from, self.to);
        let (from, to) = (S::as_simd_f32s(from).0, S::as_mut_simd_f32s(to).0);
        let zero = simd.splat_f32s(0.0);
        for (read, write) in source.squares.iter().zip(&target.squares) {
            let ([rows, columns], [rows_to, columns_to]) = (read.inside.map(|n| n.min(N)), write.inside.map(|m| m.min(M)));
            let last = |square: &Square, strides: [usize; 2], [rows, columns]: [usize; 2]| {
                (square.corner + (rows - 1) * strides[0] + (columns - 1) * strides[1] + 1) * blocks
            };
            assert!(last(read, source.strides, [rows, columns]) <= from.len(), "a square is read inside its slice");
            assert!(last(write, target.strides, [rows_to, columns_to]) <= to.len(), "a square is written inside its slice");
            for block in 0..blocks {
                let mut half = [[zero; N]; M];
                for j in 0..N {
                    let mut column = [zero; N];
                    for i in 0..N {
                        if i < rows && j < columns {
                            // SAFETY: no number of the square lies behind its last one, which the assertion has covered.
                            column[i] = unsafe {
                                *from.get_unchecked((read.corner + i * source.strides[0] + j * source.strides[1]) * blocks + block)
                            };
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
                        if i < rows_to && j < columns_to {
                            // SAFETY: as above.
                            let to = unsafe {
                                to.get_unchecked_mut((write.corner + i * target.strides[0] + j * target.strides[1]) * blocks + block)
                            };
                            *to = if self.add { simd.add_f32s(*to, row[j]) } else { row[j] };
                        }
                    }
                }
            }
        }
    }
}

/// A convolution in tiles.
struct Tiling {
    geometry: Geometry,
    tiles: [usize; 2],
    /// The zeros around an image that the tiles reach into.
    frame: Frame,
}

/// Buffers that a thread uses for one chunk of images after another.
#[derive(Default)]
struct Scratch {
    framed: Vec<f32>,
    input_pixels: Vec<f32>,
    output_pixels: Vec<f32>,
    input_points: Vec<f32>,
    output_points: Vec<f32>,
    epilogue: Buffers,
}

impl Tiling {
    fn new(geometry: Geometry) -> Self {
        let tiles = geometry.output.map(|extent| extent.div_ceil(OUT));
        let mut frame = geometry.frame();
        frame.after = [0, 1].map(|axis| OUT * tiles[axis] + KERNEL - 1 - geometry.padding[axis] - geometry.input[axis]);
        Self { geometry, tiles, frame }
    }

    fn tiles_of_an_image(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    fn images_at_once(&self) -> usize {
        (ROWS / self.tiles_of_an_image()).max(1)
    }

    /// Image, first row and first column of the output of each tile.
    fn places(&self, images: usize) -> impl Iterator<Item = [usize; 3]> {
        let [rows, columns] = self.tiles;
        (0..images * rows * columns).map(move |tile| [tile / (rows * columns), tile / columns % rows * OUT, tile % columns * OUT])
    }

    fn input(&self, images: usize) -> Grid {
        let [height, width] = self.frame.extent();
        Grid::whole(self.places(images).map(|[image, y, x]| (image * height + y) * width + x), [width, 1])
    }

    fn output(&self, images: usize) -> Grid {
        let [height, width] = self.geometry.output;
        let square = |[image, y, x]: [usize; 3]| Square { corner: (image * height + y) * width + x, inside: [height - y, width - x] };
        Grid { squares: self.places(images).map(square).collect(), strides: [width, 1] }
    }

    /// G w Gᵀ: at each point `c × o`.
    fn kernels(&self, weight: &[f32]) -> Vec<f32> {
        let [c, o] = self.geometry.channels;
        let mut taps_first = vec![0.0; weight.len()];
        transpose(weight, [o, self.geometry.taps()], &mut taps_first, o);
        let mut points = vec![0.0; POINTS * c * o];
        let (from, to) = ((&taps_first[..], &Grid::kernels(c)), (&mut points[..], &Grid::points(c)));
        Transform { from, to, channels: o, add: false, line: PhantomData }.run(Kernel);
        points
    }

    /// ∂w from the gradient to the transformed kernels.
    fn kernel_gradient(&self, points: &[f32]) -> Vec<f32> {
        let [c, o] = self.geometry.channels;
        let mut taps_first = vec![0.0; self.geometry.taps() * o];
        let (from, to) = ((points, &Grid::points(c)), (&mut taps_first[..], &Grid::kernels(c)));
        Transform { from, to, channels: o, add: false, line: PhantomData }.run(KernelAdjoint);
        let mut gradient = vec![0.0; taps_first.len()];
        transpose(&taps_first, [self.geometry.taps(), o], &mut gradient, self.geometry.taps());
        gradient
    }

    /// Bᵀ x B of some images, in `scratch.input_points`: at each point `tiles × c`.
    fn transform_input(&self, x: &[f32], scratch: &mut Scratch) {
        let c = self.geometry.channels[0];
        let pixels = self.frame.extent().iter().product::<usize>();
        let images = x.len() / self.geometry.input_len();
        scratch.input_pixels.resize(images * pixels * c, 0.0);
        for (image, to) in x.chunks_exact(self.geometry.input_len()).zip(scratch.input_pixels.chunks_exact_mut(pixels * c)) {
            transpose(self.frame.around(image, &mut scratch.framed), [c, pixels], to, c);
        }
        let tiles = images * self.tiles_of_an_image();
        scratch.input_points.resize(POINTS * tiles * c, 0.0);
        let (from, to) = ((&scratch.input_pixels[..], &self.input(images)), (&mut scratch.input_points[..], &Grid::points(tiles)));
        Transform { from, to, channels: c, add: false, line: PhantomData }.run(Input);
    }

    /// ∂x of some images from the gradient to their transformed tiles, which overlap.
    fn spread_input(&self, images: usize, x_gradient: &mut [f32], scratch: &mut Scratch) {
        let c = self.geometry.channels[0];
        let extent = self.frame.extent();
        let pixels = extent[0] * extent[1];
        scratch.input_pixels.clear();
        scratch.input_pixels.resize(images * pixels * c, 0.0);
        let points = Grid::points(images * self.tiles_of_an_image());
        let (from, to) = ((&scratch.input_points[..], &points), (&mut scratch.input_pixels[..], &self.input(images)));
        Transform { from, to, channels: c, add: true, line: PhantomData }.run(InputAdjoint);
        for (to, from) in x_gradient.chunks_exact_mut(self.geometry.input_len()).zip(scratch.input_pixels.chunks_exact(pixels * c)) {
            if extent == self.geometry.input {
                transpose(from, [pixels, c], to, pixels);
            } else {
                scratch.framed.resize(pixels * c, 0.0);
                transpose(from, [pixels, c], &mut scratch.framed, pixels);
                self.frame.inside(&scratch.framed, to);
            }
        }
    }

    /// The outputs of some images.
    fn forward(
        &self,
        x: &[f32],
        kernels: &[f32],
        epilogue: Epilogue,
        bias: &[f32],
        output: &mut [f32],
        winners: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let ([c, o], pixels) = (self.geometry.channels, self.geometry.output_pixels());
        let images = x.len() / self.geometry.input_len();
        let tiles = images * self.tiles_of_an_image();
        self.transform_input(x, scratch);
        scratch.output_points.resize(POINTS * tiles * o, 0.0);
        multiply(&scratch.input_points, kernels, [tiles, c, o], &mut scratch.output_points);
        scratch.output_pixels.resize(images * pixels * o, 0.0);
        let (from, to) = ((&scratch.output_points[..], &Grid::points(tiles)), (&mut scratch.output_pixels[..], &self.output(images)));
        Transform { from, to, channels: o, add: false, line: PhantomData }.run(Output);
        let len = output.len() / images;
        let products = scratch.output_pixels.chunks_exact(o * pixels);
        for (image, (output, products)) in output.chunks_exact_mut(len).zip(products).enumerate() {
            let winners = &mut winners[image * len * epilogue.kept()..][..len * epilogue.kept()];
            epilogue.apply(products, self.geometry.output, bias, output, winners, &mut scratch.epilogue);
        }
    }
}

/// At each point A (`m × k`) times B (`k × n`), in C.
fn multiply(a: &[f32], b: &[f32], [m, k, n]: [usize; 3], c: &mut [f32]) {
    let (rows, columns) = (strided(m, k), strided(k, 1));
    for ((a, b), c) in a.chunks_exact(m * k).zip(b.chunks_exact(k * n)).zip(c.chunks_exact_mut(m * n)) {
        Multiply { a: Left { values: a, rows: &rows, columns: &columns }, b, n, c: Into::Over(c) }.run();
    }
}

/// The output, and what the epilogue keeps.
pub(super) fn forward(geometry: Geometry, epilogue: Epilogue, x: &[f32], weight: &[f32], bias: &[f32]) -> [Vec<f32>; 2] {
    let tiling = Tiling::new(geometry);
    let kernels = tiling.kernels(weight);
    geometry.by_images(epilogue, tiling.images_at_once(), x, Scratch::default, |scratch, x, output, winners| {
        tiling.forward(x, &kernels, epilogue, bias, output, winners, scratch);
    })
}

/// The sums over one group of images.
struct Sums {
    /// The gradient to the transformed kernels.
    kernels: Vec<f32>,
    bias: Vec<f32>,
}

/// What one backward pass needs for every chunk of images.
struct Backward<'a> {
    tiling: Tiling,
    /// At each point `o × c`; empty if ∂x is not wanted.
    kernels: Vec<f32>,
    epilogue: Epilogue,
    x: &'a [f32],
    kept: &'a [f32],
    output_gradient: &'a [f32],
    wanted: [bool; 3],
}

impl Backward<'_> {
    /// Images `first..first + count`: ∂x into `x_gradient`, their part of ∂w and ∂b onto `sums`.
    fn images(&self, first: usize, count: usize, x_gradient: &mut [f32], sums: &mut Sums, scratch: &mut Scratch) {
        let (geometry, tiling) = (&self.tiling.geometry, &self.tiling);
        let ([c, o], pixels) = (geometry.channels, geometry.output_pixels());
        let tiles = count * tiling.tiles_of_an_image();
        let part = |len: usize, image: usize| image * len..(image + 1) * len;
        let outputs = o * self.epilogue.extent(geometry.output).iter().product::<usize>();
        scratch.output_pixels.resize(count * pixels * o, 0.0);
        for (image, to) in (first..).zip(scratch.output_pixels.chunks_exact_mut(o * pixels)) {
            let gradient = &self.output_gradient[part(outputs, image)];
            let kept = if self.epilogue == Epilogue::Bias { &[] } else { &self.kept[part(outputs, image)] };
            self.epilogue.gradient(gradient, kept, geometry.output, 1, &mut sums.bias, to, &mut scratch.epilogue, false);
        }
        scratch.output_points.resize(POINTS * tiles * o, 0.0);
        let (from, to) = ((&scratch.output_pixels[..], &tiling.output(count)), (&mut scratch.output_points[..], &Grid::points(tiles)));
        Transform { from, to, channels: o, add: false, line: PhantomData }.run(OutputAdjoint);
        if self.wanted[1] {
            let len = geometry.input_len();
            tiling.transform_input(&self.x[first * len..(first + count) * len], scratch);
            let (rows, columns) = (strided(c, 1), strided(tiles, c));
            let factors = scratch.input_points.chunks_exact(tiles * c).zip(scratch.output_points.chunks_exact(tiles * o));
            for ((a, b), c) in factors.zip(sums.kernels.chunks_exact_mut(c * o)) {
                Multiply { a: Left { values: a, rows: &rows, columns: &columns }, b, n: o, c: Into::Add(c) }.run();
            }
        }
        if self.wanted[0] {
            scratch.input_points.resize(POINTS * tiles * c, 0.0);
            multiply(&scratch.output_points, &self.kernels, [tiles, o, c], &mut scratch.input_points);
            tiling.spread_input(count, x_gradient, scratch);
        }
    }
}

/// Gradients to x, weight and bias; empty where they are not wanted.
pub(super) fn backward(
    geometry: Geometry,
    epilogue: Epilogue,
    x: &[f32],
    weight: &[f32],
    kept: &[f32],
    output_gradient: &[f32],
    wanted: [bool; 3],
) -> [Vec<f32>; 3] {
    let ([c, o], [want_x, want_weight, want_bias]) = (geometry.channels, wanted);
    let tiling = Tiling::new(geometry);
    let kernels = if want_x { transposed(&tiling.kernels(weight), [c, o]) } else { Vec::new() };
    let at_once = tiling.images_at_once();
    let pass = Backward { tiling, kernels, epilogue, x, kept, output_gradient, wanted };
    let groups = (geometry.images * pass.tiling.tiles_of_an_image()).div_ceil(GROUP_ROWS).min(GROUPS);
    let images = geometry.images.div_ceil(groups);
    let mut x_gradient = vec![0.0; if want_x { x.len() } else { 0 }];
    let mut parts: Vec<&mut [f32]> = x_gradient.chunks_mut(images * geometry.input_len()).collect();
    parts.resize_with(geometry.images.div_ceil(images), Default::default);
    let group = |(index, x_gradient): (usize, &mut [f32])| {
        let mut sums = Sums { kernels: vec![0.0; if want_weight { POINTS * c * o } else { 0 }], bias: vec![0.0; o] };
        let mut scratch = Scratch::default();
        let mut x_gradients = x_gradient.chunks_mut(at_once * geometry.input_len());
        let end = ((index + 1) * images).min(geometry.images);
        for first in (index * images..end).step_by(at_once) {
            pass.images(first, at_once.min(end - first), x_gradients.next().unwrap_or_default(), &mut sums, &mut scratch);
        }
        sums
    };
    let all: Vec<Sums> = parts.into_par_iter().enumerate().map(group).collect();
    let weight_gradient =
        if want_weight { pass.tiling.kernel_gradient(&summed(all.iter().map(|sums| &sums.kernels[..]))) } else { Vec::new() };
    [x_gradient, weight_gradient, if want_bias { summed(all.iter().map(|sums| &sums.bias[..])) } else { Vec::new() }]
}

/// At each point the transpose of `m × n`.
fn transposed(points: &[f32], [m, n]: [usize; 2]) -> Vec<f32> {
    let mut to = vec![0.0; points.len()];
    points.chunks_exact(m * n).zip(to.chunks_exact_mut(m * n)).for_each(|(from, to)| transpose(from, [m, n], to, m));
    to
}
