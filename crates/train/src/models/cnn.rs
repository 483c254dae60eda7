//! A small convolutional network in the manner of LeNet.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use lyceum_core::Stream;
use lyceum_data::Extent;
use lyceum_kernels::{Activation, max_pool};

use super::{Network, flat, images};
use crate::{
    Pass,
    layers::{BatchNorm, Conv2d, Linear},
};

/// Convolution, batch normalisation, ReLU and pooling, some times; then a hidden layer.
#[derive(Module, Debug)]
pub struct Cnn {
    convolutions: Vec<Conv2d>,
    norms: Vec<BatchNorm>,
    hidden: Linear,
    hidden_norm: Option<BatchNorm>,
    output: Linear,
    #[module(skip)]
    extent: [usize; 3],
    #[module(skip)]
    hidden_width: usize,
    #[module(skip)]
    dropout: f64,
}

impl Cnn {
    /// See [`ModelConfig::Cnn`](super::ModelConfig::Cnn).
    #[allow(clippy::too_many_arguments, reason = "one argument a field of the configuration")]
    pub fn new(
        extent: Extent,
        channels: &[usize],
        hidden: usize,
        classes: usize,
        batch_norm: bool,
        dropout: f64,
        rng: &mut Stream,
        device: &Device,
    ) -> Self {
        let mut width = extent.channels;
        let mut convolution = |next: &usize| {
            let layer = Conv2d::new([std::mem::replace(&mut width, *next), *next], 3, rng, device).with_padding(1);
            if batch_norm { layer.without_bias() } else { layer }
        };
        let convolutions = channels.iter().map(&mut convolution).collect();
        let norms = channels.iter().filter(|_| batch_norm).map(|&channels| BatchNorm::new(channels, device)).collect();
        let features = (extent.height >> channels.len()) * (extent.width >> channels.len()) * width;
        Self {
            convolutions,
            norms,
            hidden: Linear::new(features, hidden, rng, device),
            hidden_norm: batch_norm.then(|| BatchNorm::new(hidden, device)),
            output: Linear::new(hidden, classes, rng, device),
            extent: [extent.channels, extent.height, extent.width],
            hidden_width: hidden,
            dropout,
        }
    }
}

impl Network for Cnn {
    fn forward(&self, inputs: Tensor<2>, pass: &mut Pass) -> Tensor<2> {
        let mut x = images(inputs, self.extent);
        for (index, convolution) in self.convolutions.iter().enumerate() {
            // ReLU after the maximum is the maximum after ReLU, on a quarter of the numbers.
            x = match self.norms.get(index) {
                Some(norm) => {
                    let x = convolution.forward(x, Activation::None, pass);
                    max_pool(norm.forward(x, None, Activation::None, pass), 2, Activation::Relu)
                }
                None => convolution.forward_max_pool_relu(x, pass),
            };
        }
        let x = match &self.hidden_norm {
            // Without it the features, which are all positive, let one large step switch every hidden unit off for good.
            Some(norm) => {
                let [n, width] = [x.dims()[0], self.hidden_width];
                let x = self.hidden.forward(flat(x), Activation::None, pass).reshape([n, width, 1, 1]);
                flat(norm.forward(x, None, Activation::Relu, pass))
            }
            None => self.hidden.forward(flat(x), Activation::Relu, pass),
        };
        let x = pass.dropout(x, self.dropout);
        self.output.forward(x, Activation::None, pass)
    }
}
