//! A residual network for small images (He et al. 2016).

use burn::{
    module::Module,
    tensor::{Device, Tensor, module::adaptive_avg_pool2d},
};
use lyceum_core::Stream;
use lyceum_data::Extent;
use lyceum_kernels::Activation;

use super::{Network, flat, images};
use crate::{
    Pass,
    layers::{BatchNorm, Conv2d, Linear},
};

/// A stem, stages of basic blocks, global average pooling, one fully connected layer.
#[derive(Module, Debug)]
pub struct ResNet {
    stem: Conv2d,
    stem_norm: BatchNorm,
    blocks: Vec<Block>,
    output: Linear,
    #[module(skip)]
    extent: [usize; 3],
}

/// relu(x + norm(conv(relu(norm(conv(x)))))), with a 1×1 convolution on x where the shapes differ.
#[derive(Module, Debug)]
struct Block {
    conv1: Conv2d,
    norm1: BatchNorm,
    conv2: Conv2d,
    norm2: BatchNorm,
    shortcut: Option<(Conv2d, BatchNorm)>,
}

impl ResNet {
    /// `blocks` basic blocks a stage; the first block of every stage but the first has stride 2.
    pub fn new(extent: Extent, widths: &[usize], blocks: usize, classes: usize, rng: &mut Stream, device: &Device) -> Self {
        let stem = Conv2d::new([extent.channels, widths[0]], 3, rng, device).with_padding(1).without_bias();
        let mut width = widths[0];
        let mut all = Vec::new();
        for (stage, &next) in widths.iter().enumerate() {
            for block in 0..blocks {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                all.push(Block::new(width, next, stride, rng, device));
                width = next;
            }
        }
        Self {
            stem,
            stem_norm: BatchNorm::new(widths[0], device),
            blocks: all,
            output: Linear::new(width, classes, rng, device),
            extent: [extent.channels, extent.height, extent.width],
        }
    }
}

impl Network for ResNet {
    fn forward(&self, inputs: Tensor<2>, pass: &mut Pass) -> Tensor<2> {
        let x = self.stem.forward(images(inputs, self.extent), Activation::None, pass);
        let x = self.stem_norm.forward(x, None, Activation::Relu, pass);
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x, pass));
        self.output.forward(flat(adaptive_avg_pool2d(x, [1, 1])), Activation::None, pass)
    }
}

impl Block {
    fn new(inputs: usize, outputs: usize, stride: usize, rng: &mut Stream, device: &Device) -> Self {
        let mut conv =
            |channels, size, stride| Conv2d::new(channels, size, rng, device).with_stride(stride).with_padding(size / 2).without_bias();
        Self {
            conv1: conv([inputs, outputs], 3, stride),
            norm1: BatchNorm::new(outputs, device),
            conv2: conv([outputs, outputs], 3, 1),
            norm2: BatchNorm::new(outputs, device),
            shortcut: (stride > 1 || inputs != outputs).then(|| (conv([inputs, outputs], 1, stride), BatchNorm::new(outputs, device))),
        }
    }

    fn forward(&self, x: Tensor<4>, pass: &mut Pass) -> Tensor<4> {
        let y = self.conv1.forward(x.clone(), Activation::None, pass);
        let y = self.norm1.forward(y, None, Activation::Relu, pass);
        let y = self.conv2.forward(y, Activation::None, pass);
        let x = match &self.shortcut {
            Some((conv, norm)) => {
                let x = conv.forward(x, Activation::None, pass);
                norm.forward(x, None, Activation::None, pass)
            }
            None => x,
        };
        self.norm2.forward(y, Some(x), Activation::Relu, pass)
    }
}
