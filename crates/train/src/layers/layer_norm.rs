//! Layer normalisation (Ba, Kiros and Hinton 2016).

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use lyceum_kernels::layer_norm;

use super::trained;

/// y = γ(z − mean z)/√(var z + ε) + β of each row z = x + residual.
#[derive(Module, Debug)]
pub struct LayerNorm {
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
}

/// The ε of BERT.
const EPSILON: f64 = 1e-12;

impl LayerNorm {
    /// γ = 1, β = 0.
    pub fn new(width: usize, device: &Device) -> Self {
        Self { gamma: trained(vec![1.0; width], [width], device), beta: trained(vec![0.0; width], [width], device) }
    }

    /// The normalised rows of x + residual, both `n × d`.
    pub fn forward(&self, x: Tensor<2>, residual: Tensor<2>) -> Tensor<2> {
        layer_norm(x, residual, self.gamma.val(), self.beta.val(), EPSILON)
    }
}
