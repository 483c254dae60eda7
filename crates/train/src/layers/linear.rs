//! y = xW + b.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use lyceum_core::Stream;
use lyceum_kernels::{Activation, linear};

use super::uniform;

/// A fully connected layer: inputs `n × d`, outputs `n × k`.
#[derive(Module, Debug)]
pub struct Linear {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl Linear {
    /// Weight (`d × k`) and bias from U(−1/√d, 1/√d).
    pub fn new(inputs: usize, outputs: usize, rng: &mut Stream, device: &Device) -> Self {
        let bound = 1.0 / (inputs as f64).sqrt();
        Self { weight: uniform([inputs, outputs], bound, rng, device), bias: uniform([outputs], bound, rng, device) }
    }

    /// xW + b through an activation.
    pub fn forward(&self, x: Tensor<2>, activation: Activation) -> Tensor<2> {
        linear(x, self.weight.val(), self.bias.val(), activation)
    }
}
