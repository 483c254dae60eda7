//! Convolutions of every shape as matrix products whose left matrix is never laid out: it is read out of the
//! (zero-padded) image through two tables of offsets.
//!
//! | product | rows | inner dimension | right matrix |
//! |---|---|---|---|
//! | y | output pixels | taps (c, i, j) | weights, `taps × o` |
//! | ∂x | input pixels of one phase of the stride | taps of that phase (i, o, j) | weights, `taps × c` |
//! | ∂w | taps (c, i, j) | output pixels | ∂y of one image, `pixels × o` |
//!
//! Images are worked on in parallel. ∂w is summed over groups of images whose number does not depend on the threads.

use std::{
    cell::RefCell,
    mem::{MaybeUninit, take},
    ops::Range,
};

use rayon::prelude::*;

use super::{
    Frame, Geometry,
    epilogue::{Buffers, Epilogue},
    lend, summed,
};
use crate::{
    layout::{transpose, transposed},
    matmul::{Into, Left, Multiply, Right},
};

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Buffers that a thread uses for one image after another.
#[derive(Default)]
struct Scratch {
    framed: Vec<f32>,
    framed_gradient: Vec<f32>,
    epilogue: Buffers,
    pixels_first: Vec<MaybeUninit<f32>>,
    output_gradient: Vec<f32>,
}

/// Tables and weights of the forward product.
struct Forward {
    geometry: Geometry,
    /// Offset of each output pixel's patch in a framed channel.
    pixels: Vec<usize>,
    /// Offset of each tap from a patch's corner.
    taps: Vec<usize>,
    /// For each group, `taps × o`.
    weights: Vec<Vec<f32>>,
}

impl Forward {
    fn new(geometry: Geometry, weight: &[f32]) -> Self {
        let [_, width] = geometry.frame().extent();
        let area = geometry.frame().extent().iter().product::<usize>();
        let [c, o] = geometry.group_channels();
        let pixel = |index: usize| {
            let [y, x] = [index / geometry.output[1], index % geometry.output[1]];
            y * geometry.stride[0] * width + x * geometry.stride[1]
        };
        let mut taps = Vec::with_capacity(geometry.taps());
        for channel in 0..c {
            for i in 0..geometry.kernel[0] {
                taps.extend((0..geometry.kernel[1]).map(|j| channel * area + i * geometry.dilation[0] * width + j * geometry.dilation[1]));
            }
        }
        let weights = weight.chunks_exact(o * geometry.taps()).map(|weight| transposed(weight, [o, geometry.taps()])).collect();
        Self { geometry, pixels: (0..geometry.output_pixels()).map(pixel).collect(), taps, weights }
    }

    /// The part of a framed image that one group reads.
    fn group<'a>(&self, framed: &'a [f32], group: usize) -> &'a [f32] {
        let size = framed.len() / self.geometry.groups;
        &framed[group * size..(group + 1) * size]
    }

    fn image(
        &self,
        image: &[f32],
        epilogue: Epilogue,
        bias: &[f32],
        output: &mut [MaybeUninit<f32>],
        winners: &mut [MaybeUninit<f32>],
        scratch: &mut Scratch,
    ) {
        let [_, o] = self.geometry.group_channels();
        let pixels = self.pixels.len();
        let framed = self.geometry.frame().around(image, &mut scratch.framed);
        scratch.pixels_first.resize(pixels * o, MaybeUninit::uninit());
        let len = output.len() / self.geometry.groups;
        for (group, (output, bias)) in output.chunks_exact_mut(len).zip(bias.chunks_exact(o)).enumerate() {
            let a = Left { values: self.group(framed, group), rows: &self.pixels, columns: &self.taps };
            let product = Multiply { a, b: Right::Rows(&self.weights[group]), n: o, c: Into::Set(&mut scratch.pixels_first) }.run();
            let winners = &mut winners[group * len * epilogue.kept()..][..len * epilogue.kept()];
            epilogue.apply(product, self.geometry.output, bias, output, winners);
        }
    }
}

/// The output, and what the epilogue keeps.
pub(super) fn forward(geometry: Geometry, epilogue: Epilogue, x: &[f32], weight: &[f32], bias: &[f32]) -> [Vec<f32>; 2] {
    let forward = Forward::new(geometry, weight);
    // SAFETY: `image` applies the epilogue to each group of the image, which writes every number of its part of both.
    unsafe {
        geometry.by_images(epilogue, 1, x, |image, output, winners| {
            lend(&SCRATCH, &geometry, |scratch| forward.image(image, epilogue, bias, output, winners, scratch));
        })
    }
}

/// One phase of the stride along one axis: input positions `stride·t + phase`, and the kernel positions that reach them.
struct Phase {
    /// How many input positions there are.
    count: usize,
    /// Kernel position, and the output position it reads at t = 0 (at t it is that plus t).
    taps: Vec<(usize, isize)>,
}

impl Geometry {
    fn phases(&self, axis: usize) -> Vec<Phase> {
        let (stride, padding, dilation) = (self.stride[axis], self.padding[axis] as isize, self.dilation[axis] as isize);
        let phase = |phase: usize| {
            let reached = |k: usize| {
                let distance = phase as isize + padding - k as isize * dilation;
                (distance.rem_euclid(stride as isize) == 0).then(|| (k, distance.div_euclid(stride as isize)))
            };
            Phase { count: (self.input[axis] - phase).div_ceil(stride), taps: (0..self.kernel[axis]).filter_map(reached).collect() }
        };
        (0..stride.min(self.input[axis])).map(phase).collect()
    }

    /// The frame around an image of ∂y that every tap of every phase stays inside.
    fn gradient_frame(&self) -> Frame {
        let mut frame = Frame { channels: self.channels[1], inner: self.output, before: [0; 2], after: [0; 2] };
        for axis in 0..2 {
            for phase in self.phases(axis) {
                for (_, first) in &phase.taps {
                    let last = first + phase.count as isize - 1;
                    frame.before[axis] = frame.before[axis].max((-first).max(0) as usize);
                    frame.after[axis] = frame.after[axis].max((last - (self.output[axis] as isize - 1)).max(0) as usize);
                }
            }
        }
        frame
    }
}

/// Tables and weights of ∂x.
struct InputGradient {
    geometry: Geometry,
    frame: Frame,
    products: Vec<PhaseProduct>,
}

/// The product for some rows of input pixels of one phase.
struct PhaseProduct {
    /// Where each pixel lies in an input channel.
    positions: Vec<usize>,
    /// Offset of each pixel in a framed channel of ∂y.
    pixels: Vec<usize>,
    /// Offset of each tap.
    taps: Vec<usize>,
    /// For each group, `taps × c`.
    weights: Vec<Vec<f32>>,
}

impl InputGradient {
    fn new(geometry: Geometry, weight: &[f32]) -> Self {
        let frame = geometry.gradient_frame();
        let mut products = Vec::new();
        for (a, vertical) in geometry.phases(0).iter().enumerate() {
            for (b, horizontal) in geometry.phases(1).iter().enumerate() {
                for (rows, reached) in rows_by_taps(vertical, geometry.output[0]) {
                    let taps = &vertical.taps[reached];
                    products.push(PhaseProduct::new(&geometry, &frame, weight, [a, b], rows, taps, horizontal));
                }
            }
        }
        Self { geometry, frame, products }
    }

    fn image(&self, gradient: &[f32], input_gradient: &mut [f32], scratch: &mut Scratch) {
        let [c, _] = self.geometry.group_channels();
        let area = self.geometry.input[0] * self.geometry.input[1];
        let framed = self.frame.around(gradient, &mut scratch.framed_gradient);
        let size = framed.len() / self.geometry.groups;
        for (group, input_gradient) in input_gradient.chunks_exact_mut(c * area).enumerate() {
            for product in &self.products {
                let pixels = product.positions.len();
                scratch.pixels_first.resize(pixels * c, MaybeUninit::uninit());
                let a = Left { values: &framed[group * size..(group + 1) * size], rows: &product.pixels, columns: &product.taps };
                let found = Multiply { a, b: Right::Rows(&product.weights[group]), n: c, c: Into::Set(&mut scratch.pixels_first) }.run();
                scatter(found, c, &product.positions, input_gradient, area, &mut scratch.framed);
            }
        }
    }
}

/// Rows of one phase, cut where the set of vertical taps that read inside ∂y changes: the others would read zeros only.
fn rows_by_taps(vertical: &Phase, output: usize) -> Vec<(Range<usize>, Range<usize>)> {
    let reached = |t: usize| {
        let inside = |(_, first): &(usize, isize)| (0..output as isize).contains(&(first + t as isize));
        let start = vertical.taps.iter().position(inside).unwrap_or(0);
        start..vertical.taps.iter().rposition(inside).map_or(start, |last| last + 1)
    };
    let mut cuts: Vec<(Range<usize>, Range<usize>)> = Vec::new();
    for t in 0..vertical.count {
        let taps = reached(t);
        match cuts.last_mut() {
            Some((rows, last)) if *last == taps => rows.end = t + 1,
            _ => cuts.push((t..t + 1, taps)),
        }
    }
    cuts
}

impl PhaseProduct {
    fn new(
        geometry: &Geometry,
        frame: &Frame,
        weight: &[f32],
        [a, b]: [usize; 2],
        rows: Range<usize>,
        vertical: &[(usize, isize)],
        horizontal: &Phase,
    ) -> Self {
        let [c, o] = geometry.group_channels();
        let [height, width] = frame.extent();
        let [kernel_height, kernel_width] = geometry.kernel;
        let at = |y: isize, x: isize| (y + frame.before[0] as isize) as usize * width + (x + frame.before[1] as isize) as usize;
        let (mut positions, mut pixels) = (Vec::new(), Vec::new());
        for t in rows {
            for u in 0..horizontal.count {
                positions.push((geometry.stride[0] * t + a) * geometry.input[1] + geometry.stride[1] * u + b);
                // Offsets from the frame's corner; the taps bring it to its place.
                pixels.push(t * width + u);
            }
        }
        let mut taps = Vec::new();
        let mut kernel_positions = Vec::new();
        for &(i, y) in vertical {
            for channel in 0..o {
                for &(j, x) in &horizontal.taps {
                    taps.push(channel * height * width + at(y, x));
                    kernel_positions.push((channel, i, j));
                }
            }
        }
        let group = |weight: &[f32]| {
            let element = |(channel, i, j): &(usize, usize, usize)| (channel * c * kernel_height + i) * kernel_width + j;
            let row = |position| (0..c).map(move |input| weight[element(position) + input * kernel_height * kernel_width]);
            kernel_positions.iter().flat_map(row).collect()
        };
        let weights = weight.chunks_exact(o * geometry.taps()).map(group).collect();
        Self { positions, pixels, taps, weights }
    }
}

/// Puts `pixels × c` values to their positions in `c` channels of an image.
fn scatter(pixels_first: &[f32], c: usize, positions: &[usize], image: &mut [f32], area: usize, buffer: &mut Vec<f32>) {
    let n = positions.len();
    if positions[n - 1] - positions[0] + 1 == n {
        return transpose(pixels_first, [n, c], &mut image[positions[0]..], area);
    }
    buffer.resize(n * c, 0.0);
    transpose(pixels_first, [n, c], buffer, n);
    for (values, image) in buffer.chunks_exact(n).zip(image.chunks_exact_mut(area)) {
        positions.iter().zip(values).for_each(|(&position, value)| image[position] = *value);
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
    [want_x, want_weight, want_bias]: [bool; 3],
) -> [Vec<f32>; 3] {
    let forward = Forward::new(geometry, if want_weight { weight } else { &[] });
    let input_gradient = want_x.then(|| InputGradient::new(geometry, weight));
    let [_, o] = geometry.group_channels();
    let mut x_gradient = vec![0.0; if want_x { geometry.images * geometry.input_len() } else { 0 }];
    // Few groups where the sums are large: they are added up in the end.
    let groups = if weight.len() > 1 << 17 { 4 } else { 8 };
    let images = geometry.images.div_ceil(groups);
    let slices = |len: usize, index: usize| {
        let end = ((index + 1) * images).min(geometry.images);
        (index * images * len).min(end * len)..end * len
    };
    let work = |(index, x_gradient): (usize, &mut [f32]), scratch: &mut Scratch| {
        // Of each group of channels `taps × o`, and the bias.
        let mut weight_sum = vec![0.0; if want_weight { weight.len() } else { 0 }];
        let mut bias_sum = vec![0.0; geometry.channels[1]];
        let outputs = geometry.given_len(epilogue);
        let gradients = output_gradient[slices(outputs, index)].chunks_exact(outputs);
        let mut x_gradients = x_gradient.chunks_exact_mut(geometry.input_len());
        let (mut buffers, mut pixels_first) = (take(&mut scratch.epilogue), take(&mut scratch.output_gradient));
        pixels_first.resize(geometry.output_len(), 0.0);
        for (image, gradient) in (index * images..).zip(gradients) {
            let start = image * outputs;
            let kept = if epilogue == Epilogue::Bias { &[] } else { &kept[start..start + outputs] };
            let (extent, groups) = (geometry.output, geometry.groups);
            let gradient = (gradient, geometry.orders[1]);
            let gradient = epilogue.gradient(gradient, kept, extent, groups, &mut bias_sum, &mut pixels_first, &mut buffers, want_x);
            if want_weight {
                let input = &x[image * geometry.input_len()..][..geometry.input_len()];
                add_weight_gradient(&forward, input, &pixels_first, o, &mut weight_sum, scratch);
            }
            if let (Some(product), Some(x_gradient)) = (&input_gradient, x_gradients.next()) {
                product.image(gradient, x_gradient, scratch);
            }
        }
        (scratch.epilogue, scratch.output_gradient) = (buffers, pixels_first);
        (weight_sum, bias_sum)
    };
    let work = |part: (usize, &mut [f32])| lend(&SCRATCH, &geometry, |scratch| work(part, scratch));
    let all: Vec<(Vec<f32>, Vec<f32>)> = if want_x {
        x_gradient.par_chunks_mut(images * geometry.input_len()).enumerate().map(work).collect()
    } else {
        (0..geometry.images.div_ceil(images)).into_par_iter().map(|index| work((index, &mut []))).collect()
    };
    let (weights, biases) = all.into_iter().unzip();
    let taps_first = summed(weights);
    let mut weight_gradient = vec![0.0; taps_first.len()];
    let groups = taps_first.chunks_exact(o * geometry.taps()).zip(weight_gradient.chunks_exact_mut(o * geometry.taps()));
    groups.for_each(|(from, to)| transpose(from, [geometry.taps(), o], to, geometry.taps()));
    [x_gradient, weight_gradient, if want_bias { summed(biases) } else { Vec::new() }]
}

/// Adds one image's part of ∂w, from ∂y pixel by pixel.
fn add_weight_gradient(forward: &Forward, input: &[f32], gradient: &[f32], o: usize, sums: &mut [f32], scratch: &mut Scratch) {
    let pixels = forward.pixels.len();
    let framed = forward.geometry.frame().around(input, &mut scratch.framed);
    for (group, (sums, gradient)) in sums.chunks_exact_mut(o * forward.geometry.taps()).zip(gradient.chunks_exact(o * pixels)).enumerate() {
        let a = Left { values: forward.group(framed, group), rows: &forward.taps, columns: &forward.pixels };
        Multiply { a, b: Right::Rows(gradient), n: o, c: Into::Add(sums) }.run();
    }
}
