//! Two-dimensional convolution.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, ops::ConvOptions},
};
use lyceum_core::Stream;
use lyceum_kernels::{Activation, conv2d, conv2d_max_pool_relu};

use super::{he_uniform, trained};
use crate::{Pass, pass::Window};

/// A convolution: inputs `n × c × h × w`.
#[derive(Module, Debug)]
pub struct Conv2d {
    weight: Param<Tensor<4>>,
    bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    stride: [usize; 2],
    #[module(skip)]
    padding: [usize; 2],
    #[module(skip)]
    dilation: [usize; 2],
    #[module(skip)]
    groups: usize,
}

impl Conv2d {
    /// A square kernel of this size; weight by He's rule, bias 0.
    pub fn new(channels: [usize; 2], size: usize, rng: &mut Stream, device: &Device) -> Self {
        Self::grouped(channels, [size; 2], 1, rng, device)
    }

    /// A kernel of this height and width, where output channels see the input channels of their group alone; the number of groups divides both.
    pub fn grouped([inputs, outputs]: [usize; 2], [height, width]: [usize; 2], groups: usize, rng: &mut Stream, device: &Device) -> Self {
        let inputs = inputs / groups;
        let weight = he_uniform([outputs, inputs, height, width], inputs * height * width, rng, device);
        let bias = Some(trained(vec![0.0; outputs], [outputs], device));
        Self { weight, bias, stride: [1; 2], padding: [0; 2], dilation: [1; 2], groups }
    }

    /// With this distance between the pixels that a kernel sees.
    pub fn with_dilation(mut self, dilation: [usize; 2]) -> Self {
        self.dilation = dilation;
        self
    }

    /// With this stride.
    pub fn with_stride(mut self, stride: [usize; 2]) -> Self {
        self.stride = stride;
        self
    }

    /// With this many zeros around the input.
    pub fn with_padding(mut self, padding: [usize; 2]) -> Self {
        self.padding = padding;
        self
    }

    /// Without a bias, for a layer that is followed by batch normalisation.
    pub fn without_bias(mut self) -> Self {
        self.bias = None;
        self
    }

    /// The convolution through an activation.
    pub fn forward(&self, x: Tensor<4>, activation: Activation, pass: &mut Pass) -> Tensor<4> {
        let options = self.meet(&x, pass);
        conv2d(x, self.weight.val(), self.bias.as_ref().map(Param::val), options, activation)
    }

    /// The convolution through the maximum over windows of 2 × 2 and ReLU.
    pub fn forward_max_pool_relu(&self, x: Tensor<4>, pass: &mut Pass) -> Tensor<4> {
        let options = self.meet(&x, pass);
        conv2d_max_pool_relu(x, self.weight.val(), self.bias.as_ref().map(Param::val), options)
    }

    fn meet(&self, x: &Tensor<4>, pass: &mut Pass) -> ConvOptions<2> {
        let Self { stride, padding, dilation, groups, .. } = *self;
        let [_, _, height, width] = self.weight.dims();
        pass.meet_images(self.weight.id, x, Window { kernel: [height, width], stride, padding, dilation, groups });
        ConvOptions::new(stride, padding, dilation, groups)
    }
}
