//! Multinomial logistic regression.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use lyceum_core::Stream;
use lyceum_kernels::Activation;

use super::Network;
use crate::{Pass, layers::Linear};

/// One fully connected layer.
#[derive(Module, Debug)]
pub struct LinearModel {
    output: Linear,
}

impl LinearModel {
    /// From `inputs` numbers to `classes` logits.
    pub fn new(inputs: usize, classes: usize, rng: &mut Stream, device: &Device) -> Self {
        Self { output: Linear::new(inputs, classes, rng, device) }
    }
}

impl Network for LinearModel {
    fn forward(&self, inputs: Tensor<2>, pass: &mut Pass) -> Tensor<2> {
        self.output.forward(inputs, Activation::None, pass)
    }
}
