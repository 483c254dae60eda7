//! Convolutions with kernels of 3 × 3 and 5 × 5 by Winograd's minimal filtering, F(4×4, 3×3) and F(4×4, 5×5) (Lavin and Gray,
//! "Fast algorithms for convolutional neural networks", CVPR 2016).
//!
//! ```text
//! y = Aᵀ [ Σ_c (G w Gᵀ) ⊙ (Bᵀ x B) ] A      for each tile: 4 × 4 of y out of 6 × 6 or 8 × 8 of x
//! ```
//!
//! A product of polynomials is found from its values at some [points](super::filters): 36 and 64 multiplications give the 16
//! outputs that take 144 and 400 by the definition. The sum over channels is one matrix product a point. All three products run
//! in the transformed domain; the backward pass is the adjoint of the forward pass, step by step:
//!
//! | product | at each of the points |
//! |---|---|
//! | y | `tiles × c` times `c × o` |
//! | ∂x | `tiles × o` times `o × c` |
//! | ∂w | `c × tiles` times `tiles × o` |
//!
//! The transforms work on several channels at once, so images are laid out pixel by pixel for them. Results are within 1e-4 of
//! the largest of those of the definition, mostly within 1e-5; with 3 × 3, within 3e-5.

use std::{cell::RefCell, marker::PhantomData, mem::MaybeUninit};

use rayon::prelude::*;

use super::{
    Frame, Geometry,
    epilogue::{Buffers, Epilogue},
    evenly,
    filters::{Filter, OUT},
    lend, summed,
    transform::{GAP, Grid, Map, Square, Store},
};
use crate::{
    flex::Order,
    layout::{transpose, transposed},
    matmul::{Into, Left, Multiply, Right, strided},
};

/// Channels come in such numbers that no register of eight numbers is filled in part.
const CHANNELS: usize = 8;
/// What it takes to bring a number into the transformed domain or back, in multiplications of a matrix product.
const TRANSFORM: usize = 24;
/// Tiles that are worked on at once, or those of one image: so many that the transformed kernels are seldom read anew.
const ROWS: usize = 64;
/// Points that a thread takes at a time where there is but one image.
const SHARE: usize = 9;
/// Groups of images whose ∂w are added up in the end, whatever the number of threads: at most so many, of so many tiles.
const GROUPS: usize = 8;
const GROUP_ROWS: usize = 2 * ROWS;

/// Whether a convolution can be done this way and takes less time so. The number of images does not count: an image gives the
/// same bits in every batch.
pub(super) fn pays<F: Filter>(geometry: &Geometry) -> bool {
    let tiles = geometry.output.map(|extent| extent.div_ceil(OUT)).iter().product::<usize>();
    let [c, o] = geometry.channels;
    geometry.kernel == [F::KERNEL; 2]
        && geometry.stride == [1; 2]
        && geometry.dilation == [1; 2]
        && geometry.groups == 1
        && geometry.channels.iter().all(|channels| channels.is_multiple_of(CHANNELS))
        && F::POINTS * tiles * (c * o + TRANSFORM * (c + o)) < geometry.taps() * o * geometry.output_pixels()
}

/// A convolution in tiles.
pub(super) struct Tiling<F> {
    geometry: Geometry,
    tiles: [usize; 2],
    /// The zeros around an image that the tiles reach into.
    frame: Frame,
    _filter: PhantomData<F>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Buffers that a thread uses for one chunk of images after another.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    framed: Vec<f32>,
    input_pixels: Vec<f32>,
    output_pixels: Vec<f32>,
    input_points: Vec<f32>,
    output_points: Vec<f32>,
    epilogue: Buffers,
}

impl<F: Filter> Tiling<F> {
    pub(super) fn new(geometry: Geometry) -> Self {
        let tiles = geometry.output.map(|extent| extent.div_ceil(OUT));
        let mut frame = geometry.frame();
        frame.after = [0, 1].map(|axis| OUT * tiles[axis] + F::KERNEL - 1 - geometry.padding[axis] - geometry.input[axis]);
        Self { geometry, tiles, frame, _filter: PhantomData }
    }

    fn tiles_of_an_image(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    /// At most so many.
    fn images_at_once(&self) -> usize {
        (ROWS / self.tiles_of_an_image()).max(1)
    }

    /// How many numbers so many vectors are at all points.
    fn points_len(vectors: usize, channels: usize) -> usize {
        F::POINTS * (vectors + GAP) * channels
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
    pub(super) fn kernels(&self, weight: &[f32]) -> Vec<f32> {
        let [c, o] = self.geometry.channels;
        Self::transform_kernels(&transposed(weight, [o, self.geometry.taps()]), [c, o])
    }

    /// The same, at each point `o × c`.
    fn adjoint_kernels(&self, weight: &[f32]) -> Vec<f32> {
        let ([c, o], taps) = (self.geometry.channels, F::KERNEL * F::KERNEL);
        let mut taps_first = vec![0.0; weight.len()];
        let kernels = weight.chunks_exact(c * taps).zip(taps_first.chunks_exact_mut(c * taps));
        kernels.for_each(|(from, to)| transpose(from, [c, taps], to, c));
        Self::transform_kernels(&taps_first, [o, c])
    }

    /// Of `m × taps × n` at each point `m × n`.
    fn transform_kernels(taps_first: &[f32], [m, n]: [usize; 2]) -> Vec<f32> {
        let mut points = vec![0.0; Self::points_len(m, n)];
        F::Kernel::squares(n, (taps_first, &Grid::in_turn(F::KERNEL, m)), (&mut points, &Grid::points(F::TILE, m)), Store::Set);
        points
    }

    /// ∂w from the gradient to the transformed kernels.
    fn kernel_gradient(&self, points: &[f32]) -> Vec<f32> {
        let [c, o] = self.geometry.channels;
        let mut taps_first = vec![0.0; self.geometry.taps() * o];
        F::KernelAdjoint::squares(o, (points, &Grid::points(F::TILE, c)), (&mut taps_first, &Grid::in_turn(F::KERNEL, c)), Store::Set);
        transposed(&taps_first, [self.geometry.taps(), o])
    }

    /// Whether the pixels of x lie as the tiles want them.
    fn reads_in_place(&self) -> bool {
        self.geometry.orders[0] == Order::PixelsFirst && self.frame.extent() == self.geometry.input
    }

    /// Bᵀ x B of some images, in `scratch.input_points`: at each point `tiles × c`.
    fn transform_input(&self, x: &[f32], scratch: &mut Scratch) {
        let c = self.geometry.channels[0];
        let pixels = self.frame.extent().iter().product::<usize>();
        let images = x.len() / self.geometry.input_len();
        let x = if self.reads_in_place() {
            x
        } else {
            scratch.input_pixels.resize(images * pixels * c, 0.0);
            for (image, to) in x.chunks_exact(self.geometry.input_len()).zip(scratch.input_pixels.chunks_exact_mut(pixels * c)) {
                match self.geometry.orders[0] {
                    Order::Planar => transpose(self.frame.around(image, &mut scratch.framed), [c, pixels], to, c),
                    Order::PixelsFirst => to.copy_from_slice(self.frame.of_pixels().around(image, &mut scratch.framed)),
                }
            }
            &scratch.input_pixels
        };
        let tiles = images * self.tiles_of_an_image();
        scratch.input_points.resize(Self::points_len(tiles, c), 0.0);
        let points = Grid::points(F::TILE, tiles);
        F::Input::squares(c, (x, &self.input(images)), (&mut scratch.input_points, &points), Store::Set);
    }

    /// ∂x of some images, which is 0 before, from the gradient to their transformed tiles, which overlap.
    fn spread_input(&self, images: usize, x_gradient: &mut [f32], scratch: &mut Scratch) {
        let c = self.geometry.channels[0];
        let extent = self.frame.extent();
        let pixels = extent[0] * extent[1];
        let points = Grid::points(F::TILE, images * self.tiles_of_an_image());
        let points = (&scratch.input_points[..], &points);
        if self.reads_in_place() {
            return F::InputAdjoint::squares(c, points, (x_gradient, &self.input(images)), Store::Add);
        }
        scratch.input_pixels.clear();
        scratch.input_pixels.resize(images * pixels * c, 0.0);
        F::InputAdjoint::squares(c, points, (&mut scratch.input_pixels, &self.input(images)), Store::Add);
        for (to, from) in x_gradient.chunks_exact_mut(self.geometry.input_len()).zip(scratch.input_pixels.chunks_exact(pixels * c)) {
            if self.geometry.orders[0] == Order::PixelsFirst {
                self.frame.of_pixels().inside(from, to);
            } else if extent == self.geometry.input {
                transpose(from, [pixels, c], to, pixels);
            } else {
                scratch.framed.resize(pixels * c, 0.0);
                transpose(from, [pixels, c], &mut scratch.framed, pixels);
                self.frame.inside(&scratch.framed, to);
            }
        }
    }

    /// Writes the products of images to `y`, pixel by pixel. With `parallel`, all threads share the points of each chunk of images.
    pub(super) fn pixels(&self, x: &[f32], kernels: &[f32], y: &mut [f32], parallel: bool, scratch: &mut Scratch) {
        let [c, o] = self.geometry.channels;
        let at_once = self.images_at_once();
        let chunks = x.chunks(at_once * self.geometry.input_len()).zip(y.chunks_mut(at_once * self.geometry.output_len()));
        for (x, y) in chunks {
            let images = x.len() / self.geometry.input_len();
            let tiles = images * self.tiles_of_an_image();
            self.transform_input(x, scratch);
            scratch.output_points.resize(Self::points_len(tiles, o), 0.0);
            if parallel {
                let (each, other) = ((tiles + GAP) * c * SHARE, (c + GAP) * o * SHARE);
                let parts = scratch.input_points.par_chunks(each).zip(kernels.par_chunks(other));
                let outputs = scratch.output_points.par_chunks_mut((tiles + GAP) * o * SHARE);
                parts.zip(outputs).for_each(|((points, kernels), to)| multiply(points, kernels, [tiles, c, o], to));
            } else {
                multiply(&scratch.input_points, kernels, [tiles, c, o], &mut scratch.output_points);
            }
            let points = Grid::points(F::TILE, tiles);
            F::Output::squares(o, (&scratch.output_points, &points), (y, &self.output(images)), Store::Set);
        }
    }

    /// The outputs of some images.
    fn forward(
        &self,
        x: &[f32],
        kernels: &[f32],
        epilogue: Epilogue,
        bias: &[f32],
        output: &mut [MaybeUninit<f32>],
        winners: &mut [MaybeUninit<f32>],
        scratch: &mut Scratch,
    ) {
        let ([c, o], pixels) = (self.geometry.channels, self.geometry.output_pixels());
        let images = x.len() / self.geometry.input_len();
        let tiles = images * self.tiles_of_an_image();
        self.transform_input(x, scratch);
        scratch.output_points.resize(Self::points_len(tiles, o), 0.0);
        multiply(&scratch.input_points, kernels, [tiles, c, o], &mut scratch.output_points);
        scratch.output_pixels.resize(images * pixels * o, 0.0);
        let points = Grid::points(F::TILE, tiles);
        F::Output::squares(o, (&scratch.output_points, &points), (&mut scratch.output_pixels, &self.output(images)), Store::Set);
        let len = output.len() / images;
        let products = scratch.output_pixels.chunks_exact_mut(o * pixels);
        for (image, (output, products)) in output.chunks_exact_mut(len).zip(products).enumerate() {
            let winners = &mut winners[image * len * epilogue.kept()..][..len * epilogue.kept()];
            epilogue.apply(products, self.geometry.output, bias, output, winners);
        }
    }
}

/// The matrix of `m × n` at each point.
fn at_points(points: &[f32], m: usize, n: usize) -> impl Iterator<Item = &[f32]> {
    points.chunks_exact((m + GAP) * n).map(move |chunk| &chunk[..m * n])
}

/// At each point A (`m × k`) times B (`k × n`), in C.
fn multiply(a: &[f32], b: &[f32], [m, k, n]: [usize; 3], c: &mut [f32]) {
    let (rows, columns) = (strided(m, k), strided(k, 1));
    for ((a, b), c) in at_points(a, m, k).zip(at_points(b, k, n)).zip(c.chunks_exact_mut((m + GAP) * n)) {
        Multiply { a: Left { values: a, rows: &rows, columns: &columns }, b: Right::Rows(b), n, c: Into::Over(&mut c[..m * n]) }.run();
    }
}

/// The output, and what the epilogue keeps.
pub(super) fn forward<F: Filter + Sync>(geometry: Geometry, epilogue: Epilogue, x: &[f32], weight: &[f32], bias: &[f32]) -> [Vec<f32>; 2] {
    let tiling = Tiling::<F>::new(geometry);
    let kernels = tiling.kernels(weight);
    // SAFETY: `forward` applies the epilogue to each image, which writes every number of its part of both.
    unsafe {
        geometry.by_images(epilogue, tiling.images_at_once(), x, |x, output, winners| {
            lend(&SCRATCH, &geometry, |scratch| tiling.forward(x, &kernels, epilogue, bias, output, winners, scratch));
        })
    }
}

/// The sums over one group of images.
struct Sums {
    /// The gradient to the transformed kernels: nothing before the first images.
    kernels: Box<[MaybeUninit<f32>]>,
    bias: Vec<f32>,
}

/// What one backward pass needs for every chunk of images.
struct Backward<'a, F> {
    tiling: Tiling<F>,
    /// At each point `o × c`; empty if ∂x is not wanted.
    kernels: Vec<f32>,
    epilogue: Epilogue,
    x: &'a [f32],
    kept: &'a [f32],
    output_gradient: &'a [f32],
    wanted: [bool; 3],
}

impl<F: Filter> Backward<'_, F> {
    /// Images `first..first + count`: ∂x into `x_gradient`, their part of ∂w and ∂b onto `sums`, or in their place if there are none.
    ///
    /// # Safety
    /// With `begun`, an earlier call without it has written `sums`.
    unsafe fn images(&self, first: usize, count: usize, x_gradient: &mut [f32], sums: &mut Sums, begun: bool, scratch: &mut Scratch) {
        let (geometry, tiling) = (&self.tiling.geometry, &self.tiling);
        let ([c, o], pixels) = (geometry.channels, geometry.output_pixels());
        let tiles = count * tiling.tiles_of_an_image();
        let part = |len: usize, image: usize| image * len..(image + 1) * len;
        let outputs = geometry.given_len(self.epilogue);
        scratch.output_pixels.resize(count * pixels * o, 0.0);
        for (image, to) in (first..).zip(scratch.output_pixels.chunks_exact_mut(o * pixels)) {
            let gradient = (&self.output_gradient[part(outputs, image)], geometry.orders[1]);
            let kept = if self.epilogue == Epilogue::Bias { &[] } else { &self.kept[part(outputs, image)] };
            self.epilogue.gradient(gradient, kept, geometry.output, 1, &mut sums.bias, to, &mut scratch.epilogue, false);
        }
        scratch.output_points.resize(Tiling::<F>::points_len(tiles, o), 0.0);
        let points = Grid::points(F::TILE, tiles);
        F::OutputAdjoint::squares(o, (&scratch.output_pixels, &tiling.output(count)), (&mut scratch.output_points, &points), Store::Set);
        if self.wanted[1] {
            let len = geometry.input_len();
            tiling.transform_input(&self.x[first * len..(first + count) * len], scratch);
            let (rows, columns) = (strided(c, 1), strided(tiles, c));
            let factors = at_points(&scratch.input_points, tiles, c).zip(at_points(&scratch.output_points, tiles, o));
            for ((a, b), sum) in factors.zip(sums.kernels.chunks_exact_mut((c + GAP) * o)) {
                let (sum, gap) = sum.split_at_mut(c * o);
                let sum = if begun {
                    // SAFETY: the caller promises that the first images have written all of it.
                    Into::Add(unsafe { sum.assume_init_mut() })
                } else {
                    gap.fill(MaybeUninit::new(0.0));
                    Into::Set(sum)
                };
                Multiply { a: Left { values: a, rows: &rows, columns: &columns }, b: Right::Rows(b), n: o, c: sum }.run();
            }
        }
        if self.wanted[0] {
            scratch.input_points.resize(Tiling::<F>::points_len(tiles, c), 0.0);
            multiply(&scratch.output_points, &self.kernels, [tiles, o, c], &mut scratch.input_points);
            tiling.spread_input(count, x_gradient, scratch);
        }
    }
}

/// Gradients to x, weight and bias; empty where they are not wanted.
pub(super) fn backward<F: Filter + Sync>(
    geometry: Geometry,
    epilogue: Epilogue,
    x: &[f32],
    weight: &[f32],
    kept: &[f32],
    output_gradient: &[f32],
    wanted: [bool; 3],
) -> [Vec<f32>; 3] {
    let ([c, o], [want_x, want_weight, want_bias]) = (geometry.channels, wanted);
    let tiling = Tiling::<F>::new(geometry);
    let kernels = if want_x { tiling.adjoint_kernels(weight) } else { Vec::new() };
    let pass = Backward { tiling, kernels, epilogue, x, kept, output_gradient, wanted };
    let groups = (geometry.images * pass.tiling.tiles_of_an_image()).div_ceil(GROUP_ROWS).min(GROUPS);
    let images = geometry.images.div_ceil(groups);
    let at_once = evenly(images, pass.tiling.images_at_once());
    let mut x_gradient = vec![0.0; if want_x { geometry.images * geometry.input_len() } else { 0 }];
    let mut parts: Vec<&mut [f32]> = x_gradient.chunks_mut(images * geometry.input_len()).collect();
    parts.resize_with(geometry.images.div_ceil(images), Default::default);
    let group = |(index, x_gradient): (usize, &mut [f32])| {
        let points = if want_weight { Tiling::<F>::points_len(c, o) } else { 0 };
        let mut sums = Sums { kernels: Box::new_uninit_slice(points), bias: vec![0.0; o] };
        let mut x_gradients = x_gradient.chunks_mut(at_once * geometry.input_len());
        let end = ((index + 1) * images).min(geometry.images);
        for first in (index * images..end).step_by(at_once) {
            let (count, begun) = (at_once.min(end - first), first > index * images);
            let x_gradient = x_gradients.next().unwrap_or_default();
            // SAFETY: the first images of a group come first.
            lend(&SCRATCH, &geometry, |scratch| unsafe { pass.images(first, count, x_gradient, &mut sums, begun, scratch) });
        }
        // SAFETY: there is no group without images, and the first ones have written all that there is.
        (unsafe { sums.kernels.assume_init() }.into_vec(), sums.bias)
    };
    let all: Vec<(Vec<f32>, Vec<f32>)> = parts.into_par_iter().enumerate().map(group).collect();
    let (kernels, biases) = all.into_iter().unzip();
    let weight_gradient = if want_weight { pass.tiling.kernel_gradient(&summed(kernels)) } else { Vec::new() };
    [x_gradient, weight_gradient, if want_bias { summed(biases) } else { Vec::new() }]
}
