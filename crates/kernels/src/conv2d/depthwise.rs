//! Convolutions of each channel on its own: a plane, a kernel.
//!
//! ```text
//! y[n,c,p,q] = b[c] + Σ_{i,j} w[c,i,j] · x[n, c, s·p + d·i − pad, s·q + d·j − pad]
//! ```
//!
//! A plane is put into a frame of zeros whose columns are sorted by their remainder by the stride, so that what an output row reads
//! through one tap lies side by side. Planes are worked on in parallel; sums over images are made in their order.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use lyceum_core::vectorize;

use super::{Geometry, epilogue::Epilogue, sum_of};
use crate::{
    activation::{gate_all, relu},
    fresh::written,
};

/// Planes that a thread takes at a time.
const AT_ONCE: usize = 8;
/// Numbers that are worked on together; what is behind the last ones of a row is worked on with them and thrown away.
const LANES: usize = 8;
/// Groups of lanes whose sums are built side by side: one alone would wait for itself.
const SIDE_BY_SIDE: usize = 4;
/// Taps whose sums are built side by side.
const TAPS: usize = 9;

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
    /// The output, lanes after lanes.
    chunks: Vec<Chunk>,
    /// Columns of the output.
    width: usize,
}

/// Some numbers of an output row.
#[derive(Clone, Copy)]
struct Chunk {
    /// Index into the framed plane of what the first tap reads for the first number.
    from: usize,
    /// Index of the first number in the output plane.
    to: usize,
    /// How many numbers there are.
    live: usize,
}

impl Framed {
    fn new(geometry: &Geometry) -> Self {
        let Geometry { input, output, padding, dilation, kernel, .. } = *geometry;
        // A stride that is never taken would only make the frame large.
        let stride = [0, 1].map(|axis| if output[axis] == 1 { 1 } else { geometry.stride[axis] });
        let columns = (input[1] + 2 * padding[1]).div_ceil(stride[1]);
        let mut framed =
            Self { extent: [input[0] + 2 * padding[0], columns], stride, padding, taps: Vec::new(), chunks: Vec::new(), width: output[1] };
        let taps = (0..kernel[0] * kernel[1]).map(|tap| [tap / kernel[1] * dilation[0], tap % kernel[1] * dilation[1]]);
        framed.taps = taps.map(|[row, column]| framed.place(row, column)).collect();
        // How far the places of an output row's taps are from those of the row above.
        let step = stride[0] * stride[1] * columns;
        let chunk = |row: usize, column: usize| Chunk {
            from: row * step + column,
            to: row * output[1] + column,
            live: LANES.min(output[1] - column),
        };
        framed.chunks = (0..output[0]).flat_map(|row| (0..output[1]).step_by(LANES).map(move |column| chunk(row, column))).collect();
        framed
    }

    /// Of ∂y, where ∂x is a convolution of it: with stride 1.
    fn of_gradient(geometry: &Geometry) -> Option<Self> {
        let Geometry { input, output, padding, dilation, kernel, .. } = *geometry;
        let padding = [0, 1].map(|axis| (dilation[axis] * (kernel[axis] - 1)).checked_sub(padding[axis]));
        let ([Some(above), Some(left)], [1, 1]) = (padding, geometry.stride) else { return None };
        let mut framed = Self::new(&Geometry { input: output, output: input, padding: [above, left], ..*geometry });
        // Those of the kernel's rows from below, so that rows of ∂y are summed from above.
        framed.taps.chunks_exact_mut(kernel[1]).for_each(<[usize]>::reverse);
        Some(framed)
    }

    fn place(&self, row: usize, column: usize) -> usize {
        let [_, stride] = self.stride;
        (row * stride + column % stride) * self.extent[1] + column / stride
    }

    /// A plane's frame of zeros, and what the lanes behind the last row's end reach.
    fn buffer(&self) -> Vec<f32> {
        vec![0.0; self.extent[0] * self.stride[1] * self.extent[1] + LANES]
    }

    /// Whether every tap of every chunk lies in this plane.
    fn lies_in(&self, framed: &[f32]) -> bool {
        let furthest = self.chunks.last().map_or(0, |chunk| chunk.from) + self.taps.iter().max().copied().unwrap_or(0);
        framed.len() >= furthest + LANES
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
    fn take(&self, framed: &[f32], width: usize, plane: &mut [MaybeUninit<f32>]) {
        for (row, numbers) in plane.chunks_exact_mut(width).enumerate() {
            if self.stride[1] == 1 {
                let start = self.place(row + self.padding[0], self.padding[1]);
                numbers.write_copy_of_slice(&framed[start..start + width]);
            } else {
                for (column, number) in numbers.iter_mut().enumerate() {
                    number.write(framed[self.place(row + self.padding[0], column + self.padding[1])]);
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
    // SAFETY: `convolve` writes every number of every plane.
    let [y] = unsafe {
        written([geometry.images * geometry.output_len()], |[y]| {
            let planes = y.par_chunks_exact_mut(outputs).zip(x.par_chunks_exact(inputs)).enumerate().with_min_len(AT_ONCE);
            planes.for_each_init(
                || framed.buffer(),
                |buffer, (plane, (y, x))| {
                    let channel = plane % channels;
                    framed.put(x, geometry.input[1], buffer);
                    let kernel = &weight[channel * taps..(channel + 1) * taps];
                    convolve(&framed, buffer, kernel, bias[channel], epilogue == Epilogue::Relu, y);
                },
            );
        })
    };
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
    let (framed, of_gradient) = (Framed::new(&geometry), Framed::of_gradient(&geometry));
    let (inputs, outputs) = (geometry.input.iter().product::<usize>(), geometry.output_pixels());
    let (channels, taps) = (geometry.channels[0], framed.taps.len());
    let planes = geometry.images * channels;
    // Of each plane its part of ∂w, and of ∂b behind it.
    let mut parts = vec![0.0; planes * (taps + 1)];
    // SAFETY: `convolve` and `take` write every number of every plane.
    let [x_gradient] = unsafe {
        written([if want_x { planes * inputs } else { 0 }], |[x_gradient]| {
            let mut x_gradients: Vec<&mut [MaybeUninit<f32>]> = x_gradient.chunks_exact_mut(inputs).collect();
            x_gradients.resize_with(planes, Default::default);
            let work = parts.par_chunks_exact_mut(taps + 1).zip(x_gradients).enumerate().with_min_len(AT_ONCE);
            work.for_each_init(
                || (framed.buffer(), of_gradient.as_ref().unwrap_or(&framed).buffer(), Vec::new(), Vec::new()),
                |(buffer, gradient_buffer, gated, kernel), (plane, (part, x_gradient))| {
                    let channel = plane % channels;
                    let range = plane * outputs..(plane + 1) * outputs;
                    let mut gradient = &output_gradient[range.clone()];
                    if epilogue == Epilogue::Relu {
                        gate_all(gated, gradient, &kept[range]);
                        gradient = gated;
                    }
                    if want_weight {
                        framed.put(&x[plane * inputs..(plane + 1) * inputs], geometry.input[1], buffer);
                        products(&framed, buffer, gradient, &mut part[..taps]);
                    }
                    part[taps] = sum_of(gradient);
                    if !want_x {
                        return;
                    }
                    let weight = &weight[channel * taps..(channel + 1) * taps];
                    if let Some(of_gradient) = &of_gradient {
                        kernel.clear();
                        weight.rchunks_exact(geometry.kernel[1]).for_each(|row| kernel.extend_from_slice(row));
                        of_gradient.put(gradient, geometry.output[1], gradient_buffer);
                        convolve(of_gradient, gradient_buffer, kernel, 0.0, false, x_gradient);
                    } else {
                        gradient_buffer.fill(0.0);
                        spread(&framed, gradient_buffer, weight, gradient);
                        framed.take(gradient_buffer, geometry.input[1], x_gradient);
                    }
                },
            );
        })
    };
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

/// # Safety
/// `LANES` numbers can be read from `at` on.
#[inline(always)]
unsafe fn lanes(framed: &[f32], at: usize) -> [f32; LANES] {
    // SAFETY: the caller's promise.
    unsafe { framed.as_ptr().add(at).cast::<[f32; LANES]>().read_unaligned() }
}

vectorize! {
    /// The output plane of a framed one.
    fn convolve(frame: &Framed, framed: &[f32], kernel: &[f32], bias: f32, rectify: bool, output: &mut [MaybeUninit<f32>]) {
        assert!(frame.lies_in(framed), "every tap of every chunk lies in the plane");
        for chunks in frame.chunks.chunks(SIDE_BY_SIDE) {
            let at: [usize; SIDE_BY_SIDE] = std::array::from_fn(|number| chunks[number.min(chunks.len() - 1)].from);
            let mut sums = [[bias; LANES]; SIDE_BY_SIDE];
            for (tap, weight) in frame.taps.iter().zip(kernel) {
                for (sums, at) in sums.iter_mut().zip(at) {
                    // SAFETY: the assertion.
                    let from = unsafe { lanes(framed, at + tap) };
                    sums.iter_mut().zip(from).for_each(|(sum, x)| *sum += weight * x);
                }
            }
            for (sums, chunk) in sums.iter_mut().zip(chunks) {
                if rectify {
                    *sums = sums.map(relu);
                }
                let to = &mut output[chunk.to..];
                if chunk.live == LANES {
                    to[..LANES].write_copy_of_slice(&sums[..]);
                } else {
                    to[..chunk.live].write_copy_of_slice(&sums[..chunk.live]);
                }
            }
        }
    }
}

vectorize! {
    /// Of each tap the sum of what it reads times the gradient to what it helps to make.
    fn products(frame: &Framed, framed: &[f32], gradient: &[f32], to: &mut [f32]) {
        assert!(frame.lies_in(framed), "every tap of every chunk lies in the plane");
        for (taps, to) in frame.taps.chunks(TAPS).zip(to.chunks_mut(TAPS)) {
            let at: [usize; TAPS] = std::array::from_fn(|number| taps[number.min(taps.len() - 1)]);
            let mut sums = [[0.0_f32; LANES]; TAPS];
            for chunk in &frame.chunks {
                let mut g = [0.0; LANES];
                if chunk.live == LANES {
                    g.copy_from_slice(&gradient[chunk.to..][..LANES]);
                } else {
                    g[..chunk.live].copy_from_slice(&gradient[chunk.to..][..chunk.live]);
                }
                for (sums, tap) in sums.iter_mut().zip(at) {
                    // SAFETY: the assertion.
                    let x = unsafe { lanes(framed, chunk.from + tap) };
                    for lane in 0..LANES {
                        sums[lane] += x[lane] * g[lane];
                    }
                }
            }
            to.iter_mut().zip(sums).for_each(|(to, sums)| *to = sums.iter().sum());
        }
    }
}

vectorize! {
    /// Adds the gradient through each tap to where the tap has read.
    fn spread(frame: &Framed, framed: &mut [f32], kernel: &[f32], gradient: &[f32]) {
        for (chunks, gradient) in frame.chunks.chunks(frame.width.div_ceil(LANES)).zip(gradient.chunks_exact(frame.width)) {
            for (tap, weight) in frame.taps.iter().zip(kernel) {
                let to = &mut framed[chunks[0].from + tap..][..frame.width];
                to.iter_mut().zip(gradient).for_each(|(to, g)| *to += weight * g);
            }
        }
    }
}
