//! Batch normalisation (Ioffe and Szegedy 2015).

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, module},
};
use lyceum_kernels::{Activation, batch_norm};

use super::trained;
use crate::Pass;

/// y = γ(x − m)/√(v + ε) + β a channel, with the batch's own m and v in training and running ones in evaluation.
///
/// In training the batch statistics are left in the [`Pass`]; whoever made the pass updates the running ones, or not.
#[derive(Module, Debug)]
pub struct BatchNorm {
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
    running_mean: Param<Tensor<1>>,
    running_variance: Param<Tensor<1>>,
}

impl BatchNorm {
    /// ε.
    pub const EPSILON: f64 = 1e-5;

    /// γ/√(v + ε): what evaluation multiplies a channel with.
    pub fn scale(gamma: f32, variance: f32) -> f64 {
        f64::from(gamma) / (f64::from(variance) + Self::EPSILON).sqrt()
    }

    /// γ = 1, β = 0.
    pub fn new(channels: usize, device: &Device) -> Self {
        let buffer = |value| trained(vec![value; channels], [channels], device).set_require_grad(false);
        Self {
            gamma: trained(vec![1.0; channels], [channels], device),
            beta: trained(vec![0.0; channels], [channels], device),
            running_mean: buffer(0.0),
            running_variance: buffer(1.0),
        }
    }

    /// The normalised input (`n × c × h × w`), plus a residual, through an activation.
    pub fn forward(&self, x: Tensor<4>, residual: Option<Tensor<4>>, activation: Activation, pass: &mut Pass) -> Tensor<4> {
        if !pass.is_training() {
            let (mean, variance) = (self.running_mean.val(), self.running_variance.val());
            let y = module::batch_norm(x, self.gamma.val(), self.beta.val(), mean, variance, Self::EPSILON);
            let y = residual.map_or(y.clone(), |residual| y + residual);
            return activation.apply(y);
        }
        let [n, _, h, w] = x.dims();
        let out = batch_norm(x, self.gamma.val(), self.beta.val(), residual, Self::EPSILON, activation);
        let count = (n * h * w) as f64;
        pass.leave_statistic(self.running_mean.id, out.mean);
        pass.leave_statistic(self.running_variance.id, out.variance * (count / (count - 1.0).max(1.0)));
        out.output
    }
}
