//! Two-dimensional transposed convolution.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use lyceum_core::Stream;
use lyceum_kernels::conv_transpose2d;

use super::{he_uniform, trained};

/// The adjoint of a convolution with the same kernel, stride and padding, plus a bias: inputs `n × c × h × w`.
#[derive(Module, Debug)]
pub struct TransposedConv2d {
    weight: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
    #[module(skip)]
    stride: usize,
    #[module(skip)]
    padding: usize,
}

impl TransposedConv2d {
    /// A square kernel of this size; weight (`inputs × outputs × size × size`) by He's rule for what an output adds up, bias 0.
    pub fn new([inputs, outputs]: [usize; 2], size: usize, stride: usize, padding: usize, rng: &mut Stream, device: &Device) -> Self {
        let seen = (inputs * size * size).div_ceil(stride.saturating_mul(stride));
        let weight = he_uniform([inputs, outputs, size, size], seen, rng, device);
        Self { weight, bias: trained(vec![0.0; outputs], [outputs], device), stride, padding }
    }

    /// The transposed convolution.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        conv_transpose2d(x, self.weight.val(), self.bias.val(), [self.stride; 2], [self.padding; 2])
    }
}
