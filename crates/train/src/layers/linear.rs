//! y = xW + b.

use burn::{
    module::{Module, Param, ParamId},
    tensor::{Device, Tensor},
};
use lyceum_core::Stream;
use lyceum_kernels::{Activation, linear};

use super::{he_uniform, normal, trained};
use crate::Pass;

/// A fully connected layer: inputs `n × d`, outputs `n × k`.
#[derive(Module, Debug)]
pub struct Linear {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl Linear {
    /// Weight (`d × k`) by He's rule, bias 0.
    pub fn new(inputs: usize, outputs: usize, rng: &mut Stream, device: &Device) -> Self {
        Self { weight: he_uniform([inputs, outputs], inputs, rng, device), bias: trained(vec![0.0; outputs], [outputs], device) }
    }

    /// Weight (`d × k`) from N(0, deviation²), bias 0.
    pub fn with_normal_weight(inputs: usize, outputs: usize, deviation: f32, rng: &mut Stream, device: &Device) -> Self {
        Self { weight: normal([inputs, outputs], deviation, rng, device), bias: trained(vec![0.0; outputs], [outputs], device) }
    }

    /// By which a pass knows its weight.
    pub(crate) fn weight_id(&self) -> ParamId {
        self.weight.id
    }

    /// xW + b through an activation.
    pub fn forward(&self, x: Tensor<2>, activation: Activation, pass: &mut Pass) -> Tensor<2> {
        let gradient_input = pass.meet_rows(self.weight.id, &x);
        linear(x, gradient_input, self.weight.val(), self.bias.val(), activation)
    }
}
