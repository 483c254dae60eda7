//! Two-dimensional convolution, with bias and ReLU in the same operator.
//!
//! ```text
//! y[n,o,p,q] = b[o] + Σ_{c,i,j} w[o,c,i,j] · x[n, c, s·p + d·i − pad, s·q + d·j − pad]
//! ```
//!
//! Two ways: [`direct`], for every shape, and [`winograd`], with about a sixth of the multiplications, for kernels of 5 × 5
//! between many channels.

mod direct;
mod winograd;

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex, autodiff::checkpoint::strategy::CheckpointStrategy, backend_extension, tensor::FloatTensor,
    },
    tensor::{Tensor, activation as burn_activation, module, ops::ConvOptions},
};

use crate::{
    Activation,
    autodiff::differentiable,
    flex::{Values, is_flex, tensor},
};

/// The convolution of images with a kernel, plus bias, through an activation.
///
/// * `x`: `n × c × h × w`, at least one image.
/// * `weight`: `o × c/groups × kh × kw`.
/// * `bias`: `o`.
/// * `options`: stride, padding, dilation, groups. Padding must be the same on both ends of an axis.
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, options: ConvOptions<2>, activation: Activation) -> Tensor<4> {
    let symmetric = options.padding.iter().all(|(begin, end)| begin == end);
    if is_flex(&x.device()) && symmetric {
        let geometry = Geometry::new(x.dims(), weight.dims(), &options);
        let bias = bias.unwrap_or_else(|| Tensor::zeros([0], &x.device()));
        let relu = activation == Activation::Relu;
        let output = <Dispatch as Conv2d>::conv2d_fused(x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch(), geometry, relu);
        return Tensor::from_dispatch(output);
    }
    let y = module::conv2d(x, weight, bias, options);
    match activation {
        Activation::None => y,
        Activation::Relu => burn_activation::relu(y),
    }
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
}

impl Geometry {
    fn new(x: [usize; 4], weight: [usize; 4], options: &ConvOptions<2>) -> Self {
        let (stride, dilation, groups) = (options.stride, options.dilation, options.groups);
        let padding = options.padding.map(|(begin, _)| begin);
        assert!(x.iter().all(|extent| *extent > 0), "a convolution needs at least one image with at least one pixel, found {x:?}");
        assert!(
            x[1] == weight[1] * groups && weight[0].is_multiple_of(groups),
            "channels {x:?} do not fit a kernel of {weight:?} in {groups} groups"
        );
        let output = [0, 1].map(|axis| {
            let (extent, span) = (x[axis + 2] + 2 * padding[axis], dilation[axis] * (weight[axis + 2] - 1) + 1);
            assert!(span <= extent, "a kernel that spans {span} does not fit {extent} pixels with padding");
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

    /// The frame of zeros around an input image.
    fn frame(&self) -> Frame {
        Frame { channels: self.channels[0], inner: self.input, before: self.padding, after: self.padding }
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

/// The sum with sixteen running sums, so that the additions do not wait for one another.
fn sum_of(values: &[f32]) -> f32 {
    let (whole, rest) = values.as_chunks::<16>();
    let mut sums = [0.0_f32; 16];
    whole.iter().for_each(|chunk| sums.iter_mut().zip(chunk).for_each(|(sum, value)| *sum += value));
    sums.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

#[backend_extension(Flex, Autodiff)]
trait Conv2d: Backend {
    fn conv2d_fused(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        geometry: Geometry,
        relu: bool,
    ) -> FloatTensor<Self>;

    /// Gradients to x, weight and bias; what is not wanted is empty. Without ReLU `output` is not looked at.
    fn conv2d_fused_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        output: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        geometry: Geometry,
        relu: bool,
        wanted: [bool; 3],
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl Conv2d for Flex {
    fn conv2d_fused(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        geometry: Geometry,
        relu: bool,
    ) -> FloatTensor<Self> {
        let (x, weight, bias) = (Values::of(&x), Values::of(&weight), Values::of(&bias));
        let forward = if winograd::pays(&geometry) { winograd::forward } else { direct::forward };
        let y = forward(geometry, x.as_slice(), weight.as_slice(), bias.as_slice(), relu);
        tensor(y, [geometry.images, geometry.channels[1], geometry.output[0], geometry.output[1]])
    }

    fn conv2d_fused_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        output: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        geometry: Geometry,
        relu: bool,
        wanted: [bool; 3],
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (x, weight, output, gradient) = (Values::of(&x), Values::of(&weight), Values::of(&output), Values::of(&output_gradient));
        let output = relu.then(|| output.as_slice());
        let backward = if winograd::pays(&geometry) { winograd::backward } else { direct::backward };
        let [dx, dw, db] = backward(geometry, x.as_slice(), weight.as_slice(), output, gradient.as_slice(), wanted);
        let [c, o] = geometry.channels;
        let [h, w] = geometry.input;
        let [kh, kw] = geometry.kernel;
        let shaped =
            |values: Vec<f32>, shape: [usize; 4]| if values.is_empty() { tensor(values, [0, 1, 1, 1]) } else { tensor(values, shape) };
        let bias = db.len();
        (shaped(dx, [geometry.images, c, h, w]), shaped(dw, [o, c / geometry.groups, kh, kw]), tensor(db, [bias]))
    }
}

impl<B: Conv2d, C: CheckpointStrategy> Conv2d for Autodiff<B, C> {
    fn conv2d_fused(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        geometry: Geometry,
        relu: bool,
    ) -> FloatTensor<Self> {
        let (x_value, w_value) = (x.primitive().clone(), weight.primitive().clone());
        let output = B::conv2d_fused(x_value.clone(), w_value.clone(), bias.primitive().clone(), geometry, relu);
        let kept = relu.then(|| output.clone());
        differentiable::<B, C, 3>([&x, &weight, &bias], output, move |gradient, wanted| {
            let kept = kept.clone().unwrap_or_else(|| gradient.clone());
            let (dx, dw, db) = B::conv2d_fused_backward(x_value.clone(), w_value.clone(), kept, gradient, geometry, relu, wanted);
            [wanted[0].then_some(dx), wanted[1].then_some(dw), wanted[2].then_some(db)]
        })
    }

    /// A gradient of a gradient is not offered: the results are constants.
    fn conv2d_fused_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        output: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        geometry: Geometry,
        relu: bool,
        wanted: [bool; 3],
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (x, weight, output) = (x.into_primitive(), weight.into_primitive(), output.into_primitive());
        let (dx, dw, db) = B::conv2d_fused_backward(x, weight, output, output_gradient.into_primitive(), geometry, relu, wanted);
        (FloatTensor::<Self>::new(dx), FloatTensor::<Self>::new(dw), FloatTensor::<Self>::new(db))
    }
}
