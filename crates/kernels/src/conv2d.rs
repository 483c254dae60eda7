//! Two-dimensional convolution, with bias and ReLU in the same operator.
//!
//! ```text
//! y[n,o,p,q] = b[o] + Σ_{c,i,j} w[o,c,i,j] · x[n, c, s·p + d·i − pad, s·q + d·j − pad]
//! ```
//!
//! Three ways: [`direct`], for every shape, [`depthwise`], for channels on their own, and [`winograd`], with a quarter or a sixth of the multiplications, for kernels
//! of 3 × 3 and 5 × 5 between many channels.

mod depthwise;
mod direct;
mod epilogue;
mod filters;
mod prepared;
mod transform;
mod transposed;
mod winograd;

use std::{cell::RefCell, mem::MaybeUninit, thread::LocalKey};

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex, autodiff::checkpoint::strategy::CheckpointStrategy, backend_extension, tensor::FloatTensor,
    },
    tensor::{
        Tensor, activation as burn_activation, module,
        ops::{ConvOptions, MaxPoolOptions},
    },
};
use rayon::prelude::*;

use self::{
    epilogue::Epilogue,
    filters::{Five, Three},
};
pub use self::{
    prepared::{ConvScratch, PreparedConv},
    transposed::conv_transpose2d,
};
use crate::{
    Activation,
    autodiff::differentiable,
    check,
    flex::{Order, Values, images, is_flex, tensor},
    fresh::written,
    max_pool,
};

/// The convolution of images with a kernel, plus bias, through an activation.
///
/// * `x`: `n × c × h × w`, at least one image.
/// * `weight`: `o × c/groups × kh × kw`.
/// * `bias`: `o`.
/// * `options`: stride, padding, dilation, groups. Padding must be the same on both ends of an axis.
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, options: ConvOptions<2>, activation: Activation) -> Tensor<4> {
    if activation == Activation::Relu6 {
        return activation.apply(conv2d(x, weight, bias, options, Activation::None));
    }
    check_extents("conv2d", &x, &weight, bias.as_ref(), &options);
    let epilogue = if activation == Activation::Relu { Epilogue::Relu } else { Epilogue::Bias };
    match on_flex(&x, &weight, bias.as_ref(), &options, epilogue) {
        Some(y) => y,
        None if activation == Activation::Relu => burn_activation::relu(module::conv2d(x, weight, bias, options)),
        None => module::conv2d(x, weight, bias, options),
    }
}

/// [`conv2d`], the maximum over windows of 2 × 2 that touch, and ReLU. Rows and columns that do not fill a window are left
/// out. The convolution itself, four times as large as what is given out, never leaves the cache.
///
/// What is given out lies pixel by pixel in memory, and a next convolution reads it so.
pub fn conv2d_max_pool_relu(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, options: ConvOptions<2>) -> Tensor<4> {
    let output = check_extents("conv2d_max_pool_relu", &x, &weight, bias.as_ref(), &options);
    check::holds("conv2d_max_pool_relu", output.iter().all(|extent| *extent > 1), || {
        format!("the convolution gives {output:?} pixels, expected at least 2 × 2 for windows of 2 × 2")
    });
    if options.groups > 1 {
        return max_pool(conv2d(x, weight, bias, options, Activation::None), 2, Activation::Relu);
    }
    match on_flex(&x, &weight, bias.as_ref(), &options, Epilogue::MaxPool) {
        Some(y) => y,
        None => burn_activation::relu(module::max_pool2d(module::conv2d(x, weight, bias, options), MaxPoolOptions::new([2, 2]))),
    }
}

/// The convolution on burn's CPU backend; nothing on another device, or where the padding is not the same on both ends.
fn on_flex(x: &Tensor<4>, weight: &Tensor<4>, bias: Option<&Tensor<1>>, options: &ConvOptions<2>, epilogue: Epilogue) -> Option<Tensor<4>> {
    if !is_flex(&x.device()) || options.padding.iter().any(|(begin, end)| begin != end) {
        return None;
    }
    let geometry = Geometry::new(x.dims(), weight.dims(), options);
    let bias = bias.cloned().unwrap_or_else(|| Tensor::zeros([geometry.channels[1]], &x.device()));
    let [x, weight] = [x, weight].map(|tensor| tensor.clone().into_dispatch());
    let (y, _) = <Dispatch as Conv2d>::conv2d_fused(x, weight, bias.into_dispatch(), geometry, epilogue);
    Some(Tensor::from_dispatch(y))
}

/// Panics unless images, kernel, bias and options fit one another; the pixels that come out.
fn check_extents(operator: &str, x: &Tensor<4>, weight: &Tensor<4>, bias: Option<&Tensor<1>>, options: &ConvOptions<2>) -> [usize; 2] {
    let (x, weight, groups) = (x.dims(), weight.dims(), options.groups);
    let all = [x.as_slice(), &weight, &options.stride, &options.dilation, &[groups]].concat();
    check::holds(operator, all.iter().all(|extent| *extent > 0), || {
        format!("images {x:?}, a kernel of {weight:?} and {options:?}, expected 1 or more of each")
    });
    let fit = weight[1].checked_mul(groups) == Some(x[1]) && weight[0].is_multiple_of(groups);
    check::holds(operator, fit, || format!("channels of images {x:?} do not fit a kernel of {weight:?} in {groups} groups"));
    if let Some(bias) = bias {
        check::same(operator, "the bias", bias.dims(), [weight[0]]);
    }
    let output = [0, 1].map(|axis| {
        let (begin, end) = options.padding[axis];
        let extent = begin.checked_add(end).and_then(|padding| padding.checked_add(x[axis + 2]));
        let span = options.dilation[axis].checked_mul(weight[axis + 2] - 1).and_then(|span| span.checked_add(1));
        match (extent, span) {
            (Some(extent), Some(span)) if span <= extent => (extent, (extent - span) / options.stride[axis] + 1),
            _ => panic!("{operator}: a kernel of {weight:?} does not fit images {x:?} with {options:?}"),
        }
    });
    let [(height, rows), (width, columns)] = output;
    check::product(operator, &[x[0], x[1], height, width]);
    check::product(operator, &[x[0], weight[0], rows, columns]);
    check::product(operator, &[weight[1], weight[2], weight[3], rows, columns]);
    [rows, columns]
}

/// Every extent of a convolution.
#[derive(Debug, Clone, Copy)]
struct Geometry {
    images: usize,
    /// Channels in and out, of all groups.
    channels: [usize; 2],
    groups: usize,
    input: [usize; 2],
    output: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
    /// How the images of x and ∂x lie, and those of ∂y.
    orders: [Order; 2],
}

impl Geometry {
    /// Of what [`check_extents`] has found to fit.
    fn new(x: [usize; 4], weight: [usize; 4], options: &ConvOptions<2>) -> Self {
        let (stride, dilation, groups) = (options.stride, options.dilation, options.groups);
        let padding = options.padding.map(|(begin, _)| begin);
        let output = [0, 1].map(|axis| {
            let (extent, span) = (x[axis + 2] + 2 * padding[axis], dilation[axis] * (weight[axis + 2] - 1) + 1);
            (extent - span) / stride[axis] + 1
        });
        Self {
            images: x[0],
            channels: [x[1], weight[0]],
            groups,
            input: [x[2], x[3]],
            output,
            kernel: [weight[2], weight[3]],
            stride,
            padding,
            dilation,
            orders: [Order::Planar; 2],
        }
    }

    /// Channels in and out of one group.
    fn group_channels(&self) -> [usize; 2] {
        self.channels.map(|channels| channels / self.groups)
    }

    fn input_len(&self) -> usize {
        self.channels[0] * self.input[0] * self.input[1]
    }

    fn output_pixels(&self) -> usize {
        self.output[0] * self.output[1]
    }

    fn output_len(&self) -> usize {
        self.channels[1] * self.output_pixels()
    }

    fn taps(&self) -> usize {
        self.group_channels()[0] * self.kernel[0] * self.kernel[1]
    }

    /// How many numbers the epilogue gives out of an image.
    fn given_len(&self, epilogue: Epilogue) -> usize {
        self.channels[1] * epilogue.extent(self.output).iter().product::<usize>()
    }

    /// The output, and what the epilogue keeps for the way back, made by `work` from at most so many images at once, in parallel.
    ///
    /// # Safety
    /// `work` writes every number of both slices that it gets.
    unsafe fn by_images(
        &self,
        epilogue: Epilogue,
        at_once: usize,
        x: &[f32],
        work: impl Fn(&[f32], &mut [MaybeUninit<f32>], &mut [MaybeUninit<f32>]) + Sync + Send,
    ) -> [Vec<f32>; 2] {
        assert_eq!(x.len(), self.images * self.input_len(), "every image is there");
        let at_once = evenly(self.images, at_once);
        let len = self.given_len(epilogue);
        // SAFETY: the chunks cover both, and the caller promises that `work` writes every number of each.
        unsafe {
            written([self.images * len, self.images * len * epilogue.kept()], |[output, winners]| {
                let mut winners: Vec<_> = winners.chunks_mut(at_once * len).collect();
                winners.resize_with(self.images.div_ceil(at_once), Default::default);
                let chunks = output.par_chunks_mut(at_once * len).zip(x.par_chunks(at_once * self.input_len())).zip(winners);
                chunks.for_each(|((output, x), winners)| work(x, output, winners));
            })
        }
    }

    /// The frame of zeros around an input image.
    fn frame(&self) -> Frame {
        Frame { channels: self.channels[0], inner: self.input, before: self.padding, after: self.padding }
    }
}

/// How a convolution is done.
struct Way {
    /// Whether x may lie pixel by pixel.
    pixels_first: bool,
    /// The output, and what the epilogue keeps, from x, weight and bias.
    forward: fn(Geometry, Epilogue, &[f32], &[f32], &[f32]) -> [Vec<f32>; 2],
    /// Gradients to x, weight and bias, where they are wanted, from x (which is read for that to the weight alone), weight, what was kept,
    /// and the gradient to the output.
    backward: fn(Geometry, Epilogue, &[f32], &[f32], &[f32], &[f32], [bool; 3]) -> [Vec<f32>; 3],
}

impl Way {
    fn of(geometry: &Geometry) -> Self {
        if winograd::pays::<Three>(geometry) {
            return Self { pixels_first: true, forward: winograd::forward::<Three>, backward: winograd::backward::<Three> };
        }
        if winograd::pays::<Five>(geometry) {
            return Self { pixels_first: true, forward: winograd::forward::<Five>, backward: winograd::backward::<Five> };
        }
        if depthwise::fits(geometry) {
            return Self { pixels_first: false, forward: depthwise::forward, backward: depthwise::backward };
        }
        Self { pixels_first: false, forward: direct::forward, backward: direct::backward }
    }
}

/// An image inside a frame of zeros.
#[derive(Debug, Clone, Copy)]
struct Frame {
    channels: usize,
    inner: [usize; 2],
    before: [usize; 2],
    after: [usize; 2],
}

impl Frame {
    fn extent(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.before[axis] + self.inner[axis] + self.after[axis])
    }

    /// The same around an image that lies pixel by pixel.
    fn of_pixels(&self) -> Self {
        let wide = |[height, width]: [usize; 2]| [height, width * self.channels];
        Self { channels: 1, inner: wide(self.inner), before: wide(self.before), after: wide(self.after) }
    }

    /// Where a row of the image begins in the framed one; rows of all channels are counted.
    fn row_start(&self, row: usize) -> usize {
        let [height, width] = self.extent();
        let (channel, y) = (row / self.inner[0], row % self.inner[0]);
        (channel * height + self.before[0] + y) * width + self.before[1]
    }

    /// The framed image: the image itself where the frame is empty, else a copy in `buffer`.
    fn around<'a>(&self, image: &'a [f32], buffer: &'a mut Vec<f32>) -> &'a [f32] {
        let [height, width] = self.extent();
        if [height, width] == self.inner {
            return image;
        }
        buffer.clear();
        buffer.resize(self.channels * height * width, 0.0);
        for (row, pixels) in image.chunks_exact(self.inner[1]).enumerate() {
            let start = self.row_start(row);
            buffer[start..start + pixels.len()].copy_from_slice(pixels);
        }
        buffer
    }

    /// The image inside a framed one, into `to`.
    fn inside(&self, framed: &[f32], to: &mut [f32]) {
        for (row, pixels) in to.chunks_exact_mut(self.inner[1]).enumerate() {
            let start = self.row_start(row);
            pixels.copy_from_slice(&framed[start..start + pixels.len()]);
        }
    }
}

/// Of `count` things how many at once, at most so many, so that the pieces are alike.
fn evenly(count: usize, at_most: usize) -> usize {
    count.div_ceil(count.div_ceil(at_most))
}

/// Numbers of an image up to which a thread keeps its buffers.
const KEPT: usize = 1 << 20;

/// Lends `work` the buffers of this thread, which are kept from one call to the next: made anew, they would be cleared, page by
/// page. Those for large images are not kept. `work` must not wait for other tasks: this thread could be given one that lends them too.
fn lend<S: Default, R>(buffers: &'static LocalKey<RefCell<S>>, geometry: &Geometry, work: impl FnOnce(&mut S) -> R) -> R {
    if geometry.input_len().max(geometry.output_len()) <= KEPT { buffers.with_borrow_mut(work) } else { work(&mut S::default()) }
}

/// The sum with sixteen running sums, so that the additions do not wait for one another.
fn sum_of(values: &[f32]) -> f32 {
    let (whole, rest) = values.as_chunks::<16>();
    let mut sums = [0.0_f32; 16];
    whole.iter().for_each(|chunk| sums.iter_mut().zip(chunk).for_each(|(sum, value)| *sum += value));
    sums.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

/// The sum of vectors, one after the other.
fn summed(parts: Vec<Vec<f32>>) -> Vec<f32> {
    let mut parts = parts.into_iter();
    let mut total = parts.next().unwrap_or_default();
    for part in parts {
        total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
    }
    total
}

#[backend_extension(Flex, Autodiff)]
trait Conv2d: Backend {
    /// The output, and what the backward pass shall be given of it: nothing, the output, or the winners of the windows.
    fn conv2d_fused(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        geometry: Geometry,
        epilogue: Epilogue,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradients to x, weight and bias; what is not wanted is empty.
    fn conv2d_fused_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        kept: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        geometry: Geometry,
        epilogue: Epilogue,
        wanted: [bool; 3],
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl Conv2d for Flex {
    fn conv2d_fused(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        geometry: Geometry,
        epilogue: Epilogue,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let way = Way::of(&geometry);
        let ((x, order), weight, bias) = (Values::of_images(&x, way.pixels_first), Values::of(&weight), Values::of(&bias));
        let geometry = Geometry { orders: [order, epilogue.order()], ..geometry };
        let [y, winners] = (way.forward)(geometry, epilogue, x.as_slice(), weight.as_slice(), bias.as_slice());
        let [height, width] = epilogue.extent(geometry.output);
        let y = images(y, [geometry.images, geometry.channels[1], height, width], epilogue.order());
        let kept = match epilogue {
            Epilogue::Bias => tensor(Vec::new(), [0]),
            Epilogue::Relu => y.clone(),
            Epilogue::MaxPool => tensor(winners, [geometry.images, height, width, geometry.channels[1]]),
        };
        (y, kept)
    }

    fn conv2d_fused_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        kept: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        geometry: Geometry,
        epilogue: Epilogue,
        wanted: [bool; 3],
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let way = Way::of(&geometry);
        let ((x, order), weight, kept) = (Values::of_images(&x, way.pixels_first), Values::of(&weight), Values::of(&kept));
        let (gradient, gradient_order) = Values::of_images(&output_gradient, epilogue.order() == Order::PixelsFirst);
        let geometry = Geometry { orders: [order, gradient_order], ..geometry };
        let [dx, dw, db] =
            (way.backward)(geometry, epilogue, x.as_slice(), weight.as_slice(), kept.as_slice(), gradient.as_slice(), wanted);
        let [c, o] = geometry.channels;
        let [h, w] = geometry.input;
        let [kh, kw] = geometry.kernel;
        let shaped = |values: Vec<f32>, [n, c, h, w]: [usize; 4], order| {
            let n = if values.is_empty() { 0 } else { n };
            images(values, [n, c, h, w], order)
        };
        let bias = db.len();
        let dw = shaped(dw, [o, c / geometry.groups, kh, kw], Order::Planar);
        (shaped(dx, [geometry.images, c, h, w], order), dw, tensor(db, [bias]))
    }
}

impl<B: Conv2d, C: CheckpointStrategy> Conv2d for Autodiff<B, C> {
    fn conv2d_fused(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        geometry: Geometry,
        epilogue: Epilogue,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (x_value, w_value) = (x.primitive().clone(), weight.primitive().clone());
        let (output, kept) = B::conv2d_fused(x_value.clone(), w_value.clone(), bias.primitive().clone(), geometry, epilogue);
        let found = kept.clone();
        let output = differentiable::<B, C, 3>([&x, &weight, &bias], output, move |gradient, wanted| {
            let (dx, dw, db) =
                B::conv2d_fused_backward(x_value.clone(), w_value.clone(), kept.clone(), gradient, geometry, epilogue, wanted);
            [wanted[0].then_some(dx), wanted[1].then_some(dw), wanted[2].then_some(db)]
        });
        (output, FloatTensor::<Self>::new(found))
    }

    /// A gradient of a gradient is not offered: the results are constants.
    fn conv2d_fused_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        kept: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        geometry: Geometry,
        epilogue: Epilogue,
        wanted: [bool; 3],
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (x, weight, kept) = (x.into_primitive(), weight.into_primitive(), kept.into_primitive());
        let (dx, dw, db) = B::conv2d_fused_backward(x, weight, kept, output_gradient.into_primitive(), geometry, epilogue, wanted);
        (FloatTensor::<Self>::new(dx), FloatTensor::<Self>::new(dw), FloatTensor::<Self>::new(db))
    }
}
