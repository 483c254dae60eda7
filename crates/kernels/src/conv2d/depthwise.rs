//! Convolutions of each channel on its own: a plane, a kernel.
//!
//! ```text
//! y[n,c,p,q] = b[c] + Σ_{i,j} w[c,i,j] · x[n, c, s·p + d·i − pad, s·q + d·j − pad]
//! ```
//!
//! A plane is put into a frame of zeros whose columns are sorted by their remainder by the stride, so that what an output row reads
//! through one tap lies side by side. Planes are worked on in parallel; sums over images are made in their order.

use rayon::prelude::*;

use lyceum_core::vectorize;

use super::{Geometry, epilogue::Epilogue, sum_of};
use crate::activation::{gate_all, relu};

/// Planes that a thread takes at a time.
const AT_ONCE: usize = 8;

/// Whether each channel is convolved on its own.
pub(super) fn fits(geometry: &Geometry) -> bool {
    geometry.groups > 1 && geometry.channels == [geometry.groups; 2]
}

/// Where numbers stand in a framed plane.
struct Framed {
    /// Rows of the frame, and columns with the same remainder.
    extent: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    /// Of each tap, from the place of an output's first one.
    taps: Vec<usize>,
}

impl Framed {
    fn new(geometry: &Geometry) -> Self {
        let Geometry { input, padding, dilation, kernel, .. } = *geometry;
        // A stride that is never taken would only make the frame large.
        let stride = [0, 1].map(|axis| if geometry.output[axis] == 1 { 1 } else { geometry.stride[axis] });
        let columns = (input[1] + 2 * padding[1]).div_ceil(stride[1]);
        let mut framed = Self { extent: [input[0] + 2 * padding[0], columns], stride, padding, taps: Vec::new() };
        let taps = (0..kernel[0] * kernel[1]).map(|tap| [tap / kernel[1] * dilation[0], tap % kernel[1] * dilation[1]]);
        framed.taps = taps.map(|[row, column]| framed.place(row, column)).collect();
        framed
    }

    fn place(&self, row: usize, column: usize) -> usize {
        let [_, stride] = self.stride;
        (row * stride + column % stride) * self.extent[1] + column / stride
    }

    fn len(&self) -> usize {
        self.extent[0] * self.stride[1] * self.extent[1]
    }

    /// How far the places of an output row's taps are from those of the row above.
    fn step(&self) -> usize {
        self.stride[0] * self.stride[1] * self.extent[1]
    }

    /// Puts a plane into the frame, whose border is 0 already.
    fn put(&self, plane: &[f32], width: usize, framed: &mut [f32]) {
        for (row, numbers) in plane.chunks_exact(width).enumerate() {
            if self.stride[1] == 1 {
                let start = self.place(row + self.padding[0], self.padding[1]);
                framed[start..start + width].copy_from_slice(numbers);
            } else {
                for (column, number) in numbers.iter().enumerate() {
                    framed[self.place(row + self.padding[0], column + self.padding[1])] = *number;
                }
            }
        }
    }

    /// Takes a plane out of the frame.
    fn take(&self, framed: &[f32], width: usize, plane: &mut [f32]) {
        for (row, numbers) in plane.chunks_exact_mut(width).enumerate() {
            if self.stride[1] == 1 {
                let start = self.place(row + self.padding[0], self.padding[1]);
                numbers.copy_from_slice(&framed[start..start + width]);
            } else {
                for (column, number) in numbers.iter_mut().enumerate() {
                    *number = framed[self.place(row + self.padding[0], column + self.padding[1])];
                }
            }
        }
    }
}

/// The output; nothing more is kept.
pub(super) fn forward(geometry: Geometry, epilogue: Epilogue, x: &[f32], weight: &[f32], bias: &[f32]) -> [Vec<f32>; 2] {
    assert!(epilogue != Epilogue::MaxPool, "the maximum is taken of plain convolutions alone");
    let framed = Framed::new(&geometry);
    let (inputs, outputs) = (geometry.input.iter().product::<usize>(), geometry.output_pixels());
    let (channels, taps) = (geometry.channels[0], framed.taps.len());
    let mut y = vec![0.0; geometry.images * geometry.output_len()];
    let planes = y.par_chunks_exact_mut(outputs).zip(x.par_chunks_exact(inputs)).enumerate().with_min_len(AT_ONCE);
    planes.for_each_init(
        || vec![0.0; framed.len()],
        |buffer, (plane, (y, x))| {
            let channel = plane % channels;
            framed.put(x, geometry.input[1], buffer);
            let kernel = &weight[channel * taps..(channel + 1) * taps];
            convolve(buffer, framed.step(), &framed.taps, kernel, bias[channel], epilogue == Epilogue::Relu, y, geometry.output[1]);
        },
    );
    [y, Vec::new()]
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
    let framed = Framed::new(&geometry);
    let (inputs, outputs) = (geometry.input.iter().product::<usize>(), geometry.output_pixels());
    let (channels, taps) = (geometry.channels[0], framed.taps.len());
    let planes = geometry.images * channels;
    let mut x_gradient = vec![0.0; if want_x { x.len() } else { 0 }];
    let mut x_gradients: Vec<&mut [f32]> = x_gradient.chunks_exact_mut(inputs).collect();
    x_gradients.resize_with(planes, Default::default);
    // Of each plane its part of ∂w, and of ∂b behind it.
    let mut parts = vec![0.0; planes * (taps + 1)];
    let work = parts.par_chunks_exact_mut(taps + 1).zip(x_gradients).enumerate().with_min_len(AT_ONCE);
    work.for_each_init(
        || (vec![0.0; framed.len()], vec![0.0; framed.len()], Vec::new()),
        |(buffer, gradient_buffer, gated), (plane, (part, x_gradient))| {
            let channel = plane % channels;
            let range = plane * outputs..(plane + 1) * outputs;
            let mut gradient = &output_gradient[range.clone()];
            if epilogue == Epilogue::Relu {
                gate_all(gated, gradient, &kept[range]);
                gradient = gated;
            }
            if want_weight {
                framed.put(&x[plane * inputs..(plane + 1) * inputs], geometry.input[1], buffer);
                products(buffer, framed.step(), &framed.taps, gradient, geometry.output[1], &mut part[..taps]);
            }
            part[taps] = sum_of(gradient);
            if want_x {
                gradient_buffer.fill(0.0);
                let kernel = &weight[channel * taps..(channel + 1) * taps];
                spread(gradient_buffer, framed.step(), &framed.taps, kernel, gradient, geometry.output[1]);
                framed.take(gradient_buffer, geometry.input[1], x_gradient);
            }
        },
    );
    let mut weight_gradient = vec![0.0; if want_weight { weight.len() } else { 0 }];
    let mut bias_gradient = vec![0.0; if want_bias { channels } else { 0 }];
    for (plane, part) in parts.chunks_exact(taps + 1).enumerate() {
        let channel = plane % channels;
        let to = weight_gradient.get_mut(channel * taps..(channel + 1) * taps).unwrap_or_default();
        to.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        bias_gradient.get_mut(channel).into_iter().for_each(|sum| *sum += part[taps]);
    }
    [x_gradient, weight_gradient, bias_gradient]
}

vectorize! {
    /// The output plane, `width` numbers a row, of a framed one.
    fn convolve(framed: &[f32], step: usize, taps: &[usize], kernel: &[f32], bias: f32, rectify: bool, output: &mut [f32], width: usize) {
        for (row, numbers) in output.chunks_exact_mut(width).enumerate() {
            let framed = &framed[row * step..];
            let (whole, rest) = numbers.as_chunks_mut::<8>();
            let done = 8 * whole.len();
            for (chunk, to) in whole.iter_mut().enumerate() {
                let mut sums = [bias; 8];
                for (tap, weight) in taps.iter().zip(kernel) {
                    let from = &framed[tap + 8 * chunk..][..8];
                    sums.iter_mut().zip(from).for_each(|(sum, x)| *sum += weight * x);
                }
                *to = if rectify { sums.map(relu) } else { sums };
            }
            for (column, to) in rest.iter_mut().enumerate() {
                let sum = taps.iter().zip(kernel).fold(bias, |sum, (tap, weight)| sum + weight * framed[tap + done + column]);
                *to = if rectify { relu(sum) } else { sum };
            }
        }
    }
}

vectorize! {
    /// Of each tap the sum of what it reads times the gradient to what it helps to make.
    fn products(framed: &[f32], step: usize, taps: &[usize], gradient: &[f32], width: usize, to: &mut [f32]) {
        for (tap, to) in taps.iter().zip(to) {
            let mut sums = [0.0_f32; 8];
            for (row, gradient) in gradient.chunks_exact(width).enumerate() {
                let x = &framed[row * step + tap..][..width];
                let ((whole_x, rest_x), (whole_g, rest_g)) = (x.as_chunks::<8>(), gradient.as_chunks::<8>());
                for (x, g) in whole_x.iter().zip(whole_g) {
                    sums.iter_mut().zip(x.iter().zip(g)).for_each(|(sum, (x, g))| *sum += x * g);
                }
                sums.iter_mut().zip(rest_x.iter().zip(rest_g)).for_each(|(sum, (x, g))| *sum += x * g);
            }
            *to = sums.iter().sum();
        }
    }
}

vectorize! {
    /// Adds the gradient through each tap to where the tap has read.
    fn spread(framed: &mut [f32], step: usize, taps: &[usize], kernel: &[f32], gradient: &[f32], width: usize) {
        for (row, gradient) in gradient.chunks_exact(width).enumerate() {
            for (tap, weight) in taps.iter().zip(kernel) {
                let to = &mut framed[row * step + tap..][..width];
                to.iter_mut().zip(gradient).for_each(|(to, g)| *to += weight * g);
            }
        }
    }
}
