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
    stride: usize,
    #[module(skip)]
    padding: usize,
}

impl Conv2d {
    /// A square kernel of this size; weight by He's rule, bias 0.
    pub fn new(channels: [usize; 2], size: usize, rng: &mut Stream, device: &Device) -> Self {
        let weight = he_uniform([channels[1], channels[0], size, size], channels[0] * size * size, rng, device);
        Self { weight, bias: Some(trained(vec![0.0; channels[1]], [channels[1]], device)), stride: 1, padding: 0 }
    }

    /// With this stride.
    pub fn with_stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    /// With this many zeros around the input.
    pub fn with_padding(mut self, padding: usize) -> Self {
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
        let kernel = self.weight.dims()[2];
        pass.meet_images(self.weight.id, x, Window { kernel, stride: self.stride, padding: self.padding });
        ConvOptions::new([self.stride; 2], [self.padding; 2], [1; 2], 1)
    }
}
