//! The convolutional network of the FedDyn experiments (Acar et al., ICLR 2021).

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use lyceum_core::Stream;
use lyceum_data::Extent;
use lyceum_kernels::Activation;

use super::{Network, flat, images};
use crate::{
    Pass,
    layers::{Conv2d, Linear},
};

/// 5×5 convolution (64), pool, 5×5 convolution (64), pool, fully connected 384 and 192.
#[derive(Module, Debug)]
pub struct FedDynCnn {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
    #[module(skip)]
    extent: [usize; 3],
}

impl FedDynCnn {
    /// For images of at least 16×16 pixels.
    pub fn new(extent: Extent, classes: usize, rng: &mut Stream, device: &Device) -> Self {
        let side = |pixels: usize| ((pixels - 4) / 2 - 4) / 2;
        Self {
            conv1: Conv2d::new([extent.channels, 64], 5, rng, device),
            conv2: Conv2d::new([64, 64], 5, rng, device),
            fc1: Linear::new(64 * side(extent.height) * side(extent.width), 384, rng, device),
            fc2: Linear::new(384, 192, rng, device),
            fc3: Linear::new(192, classes, rng, device),
            extent: [extent.channels, extent.height, extent.width],
        }
    }
}

impl Network for FedDynCnn {
    fn forward(&self, inputs: Tensor<2>, pass: &mut Pass) -> Tensor<2> {
        let x = self.conv1.forward_max_pool_relu(images(inputs, self.extent), pass);
        let x = flat(self.conv2.forward_max_pool_relu(x, pass));
        let x = self.fc1.forward(x, Activation::Relu, pass);
        let x = self.fc2.forward(x, Activation::Relu, pass);
        self.fc3.forward(x, Activation::None, pass)
    }
}
