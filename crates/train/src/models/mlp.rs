//! Fully connected layers with ReLU.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use lyceum_core::Stream;
use lyceum_kernels::Activation;

use super::Network;
use crate::{Pass, layers::Linear};

/// A multi-layer perceptron.
#[derive(Module, Debug)]
pub struct Mlp {
    hidden: Vec<Linear>,
    output: Linear,
    #[module(skip)]
    dropout: f64,
}

impl Mlp {
    /// From `inputs` numbers over hidden layers of these widths, each followed by dropout, to `classes` logits.
    pub fn new(inputs: usize, hidden: &[usize], dropout: f64, classes: usize, rng: &mut Stream, device: &Device) -> Self {
        let mut width = inputs;
        let mut layer = |next: usize| Linear::new(std::mem::replace(&mut width, next), next, rng, device);
        Self { hidden: hidden.iter().map(|&next| layer(next)).collect(), output: layer(classes), dropout }
    }
}

impl Network for Mlp {
    fn forward(&self, inputs: Tensor<2>, pass: &mut Pass) -> Tensor<2> {
        let x = self.hidden.iter().fold(inputs, |x, layer| {
            let x = layer.forward(x, Activation::Relu, pass);
            pass.dropout(x, self.dropout)
        });
        self.output.forward(x, Activation::None, pass)
    }
}
