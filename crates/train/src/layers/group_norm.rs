//! Group normalisation (Wu and He 2018).

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use lyceum_kernels::{group_norm, layer_norm};

use super::trained;

/// y = γ(x − m)/√(v + ε) + β, with the mean m and the variance v of each group of channels of each example, γ and β a channel. One
/// group is layer normalisation.
#[derive(Module, Debug)]
pub struct GroupNorm {
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
    #[module(skip)]
    groups: usize,
}

impl GroupNorm {
    /// ε.
    pub const EPSILON: f64 = 1e-5;

    /// γ = 1, β = 0; the number of groups divides that of channels.
    pub fn new(channels: usize, groups: usize, device: &Device) -> Self {
        Self { gamma: trained(vec![1.0; channels], [channels], device), beta: trained(vec![0.0; channels], [channels], device), groups }
    }

    /// Into how many groups the channels fall.
    pub(crate) fn groups(&self) -> usize {
        self.groups
    }

    /// The normalised input, `n × c × h × w`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        group_norm(x, self.gamma.val(), self.beta.val(), self.groups, Self::EPSILON)
    }

    /// Of one group: the normalised rows of x + residual, both `n × c`.
    pub(crate) fn forward_rows(&self, x: Tensor<2>, residual: Option<Tensor<2>>) -> Tensor<2> {
        let residual = residual.unwrap_or_else(|| x.zeros_like());
        layer_norm(x, residual, self.gamma.val(), self.beta.val(), Self::EPSILON)
    }
}
