//! Convolutions for inference: weights are laid out once, images lie pixel by pixel, and what follows is done in the same sweep.

use std::ops::Range;

use burn::tensor::ops::ConvOptions;
use lyceum_core::vectorize;
use rayon::prelude::*;

use super::{
    Geometry,
    filters::{Five, Three},
    winograd::{self, Tiling},
};
use crate::{
    flex::Order,
    layout::transposed,
    matmul::{Into, Left, Multiply, Packed, Right},
    pixels::{After, finish},
};

/// A convolution whose weights are ready. Images lie one after another, in each pixel after pixel, in each of these all channels.
#[derive(Debug, Clone)]
pub struct PreparedConv {
    geometry: Geometry,
    bias: Vec<f32>,
    way: Way,
}

#[derive(Debug, Clone)]
enum Way {
    /// Of each group, `taps × o`; where a patch begins, and each tap in it.
    Product {
        weights: Vec<Packed>,
        pixels: Vec<usize>,
        taps: Vec<usize>,
    },
    /// `taps × c`; where each tap is in a patch.
    Depthwise {
        weights: Vec<f32>,
        taps: Vec<usize>,
    },
    /// The transformed kernels.
    Three(Vec<f32>),
    Five(Vec<f32>),
}

/// Buffers that are used for one convolution after another.
#[derive(Debug, Default)]
pub struct ConvScratch {
    framed: Vec<f32>,
    winograd: winograd::Scratch,
}

/// Output pixels that are worked on at once, so that what follows finds them in cache: a block of rows of the matrix product.
const PIXELS: usize = 192;
/// Output pixels of a row that a depthwise convolution works on at once, and channels.
const ACROSS: usize = 4;
const LANES: usize = 16;

impl PreparedConv {
    /// For images of these channels, rows and columns; `weight` is `o × c/groups × kh × kw`, as in [`conv2d`](super::conv2d).
    ///
    /// # Panics
    ///
    /// Where weight, bias and options do not fit the images.
    pub fn new([c, h, w]: [usize; 3], weight: &[f32], shape: [usize; 4], bias: Vec<f32>, options: &ConvOptions<2>) -> Self {
        let [o, inputs, kh, kw] = shape;
        assert!(weight.len() == shape.iter().product::<usize>() && bias.len() == o && inputs * options.groups == c, "a kernel that fits");
        assert!(o.is_multiple_of(options.groups), "as many outputs in each group");
        assert!(options.padding.iter().all(|(begin, end)| begin == end), "the same padding on both ends");
        let fits = |side: usize, padding: (usize, usize), kernel: usize, dilation: usize| side + 2 * padding.0 > dilation * (kernel - 1);
        assert!(
            fits(h, options.padding[0], kh, options.dilation[0]) && fits(w, options.padding[1], kw, options.dilation[1]),
            "images that the kernel fits into"
        );
        let mut geometry = Geometry::new([1, c, h, w], shape, options);
        geometry.orders = [Order::PixelsFirst; 2];
        let taps = kh * kw;
        let [_, width] = geometry.frame().extent();
        let offset = |tap: usize| (tap / kw * geometry.dilation[0] * width + tap % kw * geometry.dilation[1]) * c;
        let way = if winograd::pays::<Three>(&geometry) {
            Way::Three(Tiling::<Three>::new(geometry).kernels(weight))
        } else if winograd::pays::<Five>(&geometry) {
            Way::Five(Tiling::<Five>::new(geometry).kernels(weight))
        } else if geometry.groups > 1 && geometry.channels == [geometry.groups; 2] {
            Way::Depthwise { weights: transposed(weight, [o, taps]), taps: (0..taps).map(offset).collect() }
        } else {
            let each = o / geometry.groups;
            let of_group = |weight: &[f32]| {
                let at = |tap: usize, channel: usize, output: usize| weight[(output * inputs + channel) * taps + tap];
                let places = (0..taps).flat_map(|tap| (0..inputs).map(move |channel| (tap, channel)));
                let rows: Vec<f32> = places.flat_map(|(tap, channel)| (0..each).map(move |output| at(tap, channel, output))).collect();
                Packed::new(&rows, each)
            };
            let pixel = |index: usize| {
                let [y, x] = [index / geometry.output[1], index % geometry.output[1]];
                (y * geometry.stride[0] * width + x * geometry.stride[1]) * c
            };
            Way::Product {
                weights: weight.chunks_exact(each * inputs * taps).map(of_group).collect(),
                pixels: (0..geometry.output_pixels()).map(pixel).collect(),
                taps: (0..taps).flat_map(|tap| (0..inputs).map(move |channel| offset(tap) + channel)).collect(),
            }
        };
        Self { geometry, bias, way }
    }

    /// The convolution of some images, and what comes after it, in `y`; by all threads if `parallel`, else on this one.
    ///
    /// # Panics
    ///
    /// Where the lengths do not fit.
    pub fn run(&self, x: &[f32], y: &mut [f32], after: After<'_>, parallel: bool, scratch: &mut ConvScratch) {
        let (len, given) = (self.geometry.input_len(), self.geometry.output_len());
        let images = x.len() / len;
        assert!(x.len() == images * len && y.len() == images * given, "images of the prepared size");
        if images == 0 {
            return;
        }
        match &self.way {
            Way::Three(kernels) => Tiling::<Three>::new(self.geometry).pixels(x, kernels, y, parallel, &mut scratch.winograd),
            Way::Five(kernels) => Tiling::<Five>::new(self.geometry).pixels(x, kernels, y, parallel, &mut scratch.winograd),
            Way::Depthwise { .. } | Way::Product { .. } => {
                // Without a frame all images are one.
                let frame = self.geometry.frame().of_pixels();
                let joins = matches!(self.way, Way::Product { .. }) && frame.extent() == frame.inner;
                let at_once = if joins { images } else { 1 };
                for (first, (x, y)) in x.chunks_exact(at_once * len).zip(y.chunks_exact_mut(at_once * given)).enumerate() {
                    let framed = if joins { x } else { frame.around(x, &mut scratch.framed) };
                    let begin = first * at_once * given;
                    self.parts(framed, y, |range| after.part(begin + range.start..begin + range.end), parallel);
                }
                return;
            }
        }
        finish(y, &self.bias, after);
    }

    /// The framed image, or images, in parts of some output pixels.
    fn parts<'a>(&self, framed: &[f32], y: &mut [f32], after: impl Fn(Range<usize>) -> After<'a> + Sync, parallel: bool) {
        let o = self.geometry.channels[1];
        let row = self.geometry.output[1];
        // Of a depthwise convolution whole rows.
        let pixels = match &self.way {
            Way::Depthwise { .. } => row,
            _ => {
                if parallel {
                    PIXELS / 4
                } else {
                    PIXELS
                }
            }
        };
        let part = |(number, y): (usize, &mut [f32])| {
            let first = number * pixels;
            match &self.way {
                Way::Depthwise { weights, taps } => {
                    let [_, width] = self.geometry.frame().extent();
                    let x = &framed[number * self.geometry.stride[0] * width * o..];
                    depthwise_row(x, self.geometry.stride[1] * o, weights, taps, &self.bias, y);
                    finish(y, &[], after(first * o..first * o + y.len()));
                }
                Way::Product { weights, pixels, taps } => {
                    let (image, len) = (self.geometry.output_pixels(), self.geometry.input_len());
                    let rows: Vec<usize> = (first..first + y.len() / o).map(|pixel| pixel / image * len + pixels[pixel % image]).collect();
                    self.product(framed, &rows, weights, taps, y);
                    finish(y, &self.bias, after(first * o..first * o + y.len()));
                }
                Way::Three(_) | Way::Five(_) => unreachable!("tiles are worked on whole"),
            }
        };
        if parallel {
            y.par_chunks_mut(pixels * o).enumerate().for_each(part);
        } else {
            y.chunks_mut(pixels * o).enumerate().for_each(part);
        }
    }

    fn product(&self, framed: &[f32], rows: &[usize], weights: &[Packed], taps: &[usize], y: &mut [f32]) {
        let [inputs, outputs] = self.geometry.group_channels();
        if let [weights] = weights {
            let a = Left { values: framed, rows, columns: taps };
            Multiply { a, b: Right::Packed(weights), n: outputs, c: Into::Over(y) }.run();
            return;
        }
        let mut product = vec![0.0; rows.len() * outputs];
        for (group, weights) in weights.iter().enumerate() {
            let a = Left { values: &framed[group * inputs..], rows, columns: taps };
            Multiply { a, b: Right::Packed(weights), n: outputs, c: Into::Over(&mut product) }.run();
            let to = y.chunks_exact_mut(self.geometry.channels[1]).zip(product.chunks_exact(outputs));
            to.for_each(|(to, from)| to[group * outputs..][..outputs].copy_from_slice(from));
        }
    }
}

vectorize! {
    /// One row of output pixels: y[p, c] = b[c] + Σ_t w[t, c] · x[p·step + t, c].
    fn depthwise_row(x: &[f32], step: usize, weights: &[f32], taps: &[usize], bias: &[f32], y: &mut [f32]) {
        let c = bias.len();
        let mut rows = y.chunks_exact_mut(ACROSS * c);
        let mut pixel = 0;
        for y in &mut rows {
            let mut first = 0;
            while first + LANES <= c {
                let mut sums = [[0.0_f32; LANES]; ACROSS];
                sums.iter_mut().for_each(|sums| sums.copy_from_slice(&bias[first..first + LANES]));
                for (tap, weights) in taps.iter().zip(weights.chunks_exact(c)) {
                    let w: &[f32; LANES] = weights[first..first + LANES].try_into().expect("as many");
                    for (across, sums) in sums.iter_mut().enumerate() {
                        let x: &[f32; LANES] = x[(pixel + across) * step + tap + first..][..LANES].try_into().expect("as many");
                        for lane in 0..LANES {
                            sums[lane] = w[lane].mul_add(x[lane], sums[lane]);
                        }
                    }
                }
                sums.iter().enumerate().for_each(|(across, sums)| y[across * c + first..][..LANES].copy_from_slice(sums));
                first += LANES;
            }
            for channel in first..c {
                for across in 0..ACROSS {
                    let products = taps.iter().zip(weights.chunks_exact(c));
                    y[across * c + channel] = products.fold(bias[channel], |sum, (tap, w)| {
                        w[channel].mul_add(x[(pixel + across) * step + tap + channel], sum)
                    });
                }
            }
            pixel += ACROSS;
        }
        for y in rows.into_remainder().chunks_exact_mut(c) {
            y.copy_from_slice(bias);
            for (tap, weights) in taps.iter().zip(weights.chunks_exact(c)) {
                let x = &x[pixel * step + tap..][..c];
                y.iter_mut().zip(weights.iter().zip(x)).for_each(|(y, (w, x))| *y = w.mul_add(*x, *y));
            }
            pixel += 1;
        }
    }
}
