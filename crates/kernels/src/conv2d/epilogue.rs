//! What is done with a convolution's numbers while those of one image are in cache, and the way back.
//!
//! They come pixel by pixel, `pixels × o`, which makes the maximum over windows a maximum of whole rows.

use std::mem::MaybeUninit;

use lyceum_core::vectorize;

use super::sum_of;
use crate::{
    activation::{add_and_activate, gate_all, relu},
    flex::Order,
    layout::{transpose, transpose_into},
};

/// What follows the products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Epilogue {
    /// The bias.
    Bias,
    /// The bias and ReLU.
    Relu,
    /// The bias, the maximum over windows of 2 × 2, and ReLU. Rows and columns that do not fill a window are left out.
    MaxPool,
}

/// Of a maximum that ReLU has cut.
const NOBODY: f32 = -1.0;

/// Buffers for one image after another.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pooled: Vec<f32>,
    planar: Vec<f32>,
}

impl Epilogue {
    /// Rows and columns that are given out, of those of the convolution.
    pub(super) fn extent(self, convolution: [usize; 2]) -> [usize; 2] {
        if self == Self::MaxPool { convolution.map(|extent| extent / 2) } else { convolution }
    }

    /// How many numbers [`Self::apply`] keeps for the way back, for each that it gives out.
    pub(super) fn kept(self) -> usize {
        usize::from(self == Self::MaxPool)
    }

    /// How the output lies: the maxima as they are found, pixel by pixel, which is how the next convolution likes to read them.
    pub(super) fn order(self) -> Order {
        if self == Self::MaxPool { Order::PixelsFirst } else { Order::Planar }
    }

    /// Of one image's products (`pixels × o`, in rows and columns of `extent`) the output, in its [order](Self::order); in
    /// `winners` the places 0 to 3 of the maxima, pixel by pixel. Writes every number of both.
    pub(super) fn apply(
        self,
        products: &mut [f32],
        extent: [usize; 2],
        bias: &[f32],
        output: &mut [MaybeUninit<f32>],
        winners: &mut [MaybeUninit<f32>],
    ) {
        let (pixels, o) = (extent[0] * extent[1], bias.len());
        let given = o * self.extent(extent).iter().product::<usize>();
        assert!(
            o > 0 && products.len() == pixels * o && output.len() == given && winners.len() == given * self.kept(),
            "what is written covers the output and what is kept"
        );
        if self == Self::MaxPool {
            return pool(products, extent[1], bias, output, winners);
        }
        add_and_activate(products, bias, self == Self::Relu);
        transpose_into(products, o, [pixels, o], output, pixels);
    }

    /// The gradient to one image's products, of each group of channels pixel by pixel in `products`; given back channel by
    /// channel if that is wanted or comes for nothing, else empty. Adds the gradient to the bias. `kept`: with ReLU the
    /// output, with the maximum, of one group, the winners. Only with the maximum `gradient` may lie pixel by pixel.
    pub(super) fn gradient<'a>(
        self,
        (gradient, order): (&'a [f32], Order),
        kept: &[f32],
        extent: [usize; 2],
        groups: usize,
        bias: &mut [f32],
        products: &mut [f32],
        buffers: &'a mut Buffers,
        want_planar: bool,
    ) -> &'a [f32] {
        let (pixels, o) = (extent[0] * extent[1], bias.len() / groups);
        let Buffers { pooled, planar } = buffers;
        if self == Self::MaxPool {
            let gradient = if order == Order::Planar {
                pooled.resize(gradient.len(), 0.0);
                transpose(gradient, [o, gradient.len() / o], pooled, o);
                pooled
            } else {
                gradient
            };
            if extent.iter().any(|extent| !extent.is_multiple_of(2)) {
                products.fill(0.0);
            }
            unpool(gradient, kept, extent[1], products, bias);
            planar.resize(if want_planar { products.len() } else { 0 }, 0.0);
            if want_planar {
                transpose(products, [pixels, o], planar, pixels);
            }
            return planar;
        }
        let gradient = if self == Self::Relu {
            gate_all(planar, gradient, kept);
            planar
        } else {
            gradient
        };
        bias.iter_mut().zip(gradient.chunks_exact(pixels)).for_each(|(sum, channel)| *sum += sum_of(channel));
        for (from, to) in gradient.chunks_exact(pixels * o).zip(products.chunks_exact_mut(pixels * o)) {
            transpose(from, [o, pixels], to, o);
        }
        gradient
    }
}

/// Where the four rows of each window begin, in products of rows `width` pixels long, in units of pixels.
#[inline(always)]
fn corners(windows: usize, width: usize) -> impl Iterator<Item = [usize; 4]> {
    (0..windows).map(move |window| {
        let corner = window / (width / 2) * 2 * width + window % (width / 2) * 2;
        [corner, corner + 1, corner + width, corner + width + 1]
    })
}

vectorize! {
    fn pool(products: &[f32], width: usize, bias: &[f32], pooled: &mut [MaybeUninit<f32>], winners: &mut [MaybeUninit<f32>]) {
        let o = bias.len();
        let corners = corners(pooled.len() / o, width);
        let pixel = |pixel: usize| products[pixel * o..][..o].iter();
        for ((pooled, winners), [a, b, c, d]) in pooled.chunks_exact_mut(o).zip(winners.chunks_exact_mut(o)).zip(corners) {
            // Zipped, not indexed: with a check of bounds in it the loop would end in a tail of single numbers.
            let windows = pixel(a).zip(pixel(b)).zip(pixel(c).zip(pixel(d))).zip(bias);
            for ((pooled, winner), (((a, b), (c, d)), bias)) in pooled.iter_mut().zip(winners).zip(windows) {
                let (mut max, mut place) = (a + bias, 0.0);
                for (other, value) in [(1.0, b + bias), (2.0, c + bias), (3.0, d + bias)] {
                    let above = (value > max) | value.is_nan();
                    max = if above { value } else { max };
                    place = if above { other } else { place };
                }
                pooled.write(relu(max));
                winner.write(if max > 0.0 { place } else { NOBODY });
            }
        }
    }
}

vectorize! {
    /// Products outside every window are left as they are.
    fn unpool(pooled: &[f32], winners: &[f32], width: usize, products: &mut [f32], bias: &mut [f32]) {
        let o = bias.len();
        let corners = corners(pooled.len() / o, width);
        for ((gradient, winners), corners) in pooled.chunks_exact(o).zip(winners.chunks_exact(o)).zip(corners) {
            for (place, pixel) in [0.0, 1.0, 2.0, 3.0].into_iter().zip(corners) {
                for ((to, g), winner) in products[pixel * o..][..o].iter_mut().zip(gradient).zip(winners) {
                    *to = if *winner == place { *g } else { 0.0 };
                }
            }
            for ((sum, g), winner) in bias.iter_mut().zip(gradient).zip(winners) {
                *sum += if *winner == NOBODY { 0.0 } else { *g };
            }
        }
    }
}
