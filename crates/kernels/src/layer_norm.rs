//! Layer normalisation with an added residual in the same operator.
//!
//! ```text
//! z = x + r,  y = γ ẑ + β,  ẑ = (z − m)/√(v + ε),  m, v: mean and variance of a row
//! ∂z = (h − mean(h) − ẑ · mean(h ẑ))/√(v + ε) with h = γ ∂y,  ∂x = ∂r = ∂z,  ∂γ = Σ ∂y ẑ,  ∂β = Σ ∂y
//! ```

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex, autodiff::checkpoint::strategy::CheckpointStrategy, backend_extension, tensor::FloatTensor,
    },
    tensor::{Tensor, module},
};
use lyceum_core::vectorize;
use rayon::prelude::*;

use crate::{
    autodiff::differentiable,
    check,
    flex::{Values, is_flex, tensor},
};

/// Each row of x + residual with mean β and standard deviation γ.
///
/// * `x`, `residual`: `n × d`.
/// * `gamma`, `beta`: `d`.
pub fn layer_norm(x: Tensor<2>, residual: Tensor<2>, gamma: Tensor<1>, beta: Tensor<1>, epsilon: f64) -> Tensor<2> {
    let [_, d] = x.dims();
    check::holds("layer_norm", d > 0, || "x has rows of 0 numbers, expected 1 or more".into());
    check::same("layer_norm", "the residual", residual.dims(), x.dims());
    check::same("layer_norm", "gamma", gamma.dims(), [d]);
    check::same("layer_norm", "beta", beta.dims(), [d]);
    check::epsilon("layer_norm", epsilon);
    if is_flex(&x.device()) {
        let dims = x.dims();
        let (x, residual, gamma, beta) = (x.into_dispatch(), residual.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch());
        return Tensor::from_dispatch(<Dispatch as LayerNorm>::layer_norm_fused(x, residual, gamma, beta, dims, epsilon as f32));
    }
    module::layer_norm(x + residual, gamma, Some(beta), epsilon)
}

/// Rows whose part of ∂γ and ∂β is summed together; does not depend on the number of threads.
const ROWS: usize = 64;

vectorize! {
    /// Mean and 1/√(v + ε) of a row.
    pub(crate) fn moments(z: &[f32], epsilon: f32) -> (f32, f32) {
        let (whole, rest) = z.as_chunks::<16>();
        let mut sums = [0.0_f32; 16];
        for chunk in whole {
            for lane in 0..16 {
                sums[lane] += chunk[lane];
            }
        }
        let mean = (sums.iter().sum::<f32>() + rest.iter().sum::<f32>()) / z.len() as f32;
        let mut squares = [0.0_f32; 16];
        for chunk in whole {
            for lane in 0..16 {
                let d = chunk[lane] - mean;
                squares[lane] += d * d;
            }
        }
        let rest: f32 = rest.iter().map(|z| (z - mean) * (z - mean)).sum();
        let variance = (squares.iter().sum::<f32>() + rest) / z.len() as f32;
        (mean, 1.0 / (variance + epsilon).sqrt())
    }
}

vectorize! {
    fn forward_row(x: &[f32], r: &[f32], gamma: &[f32], beta: &[f32], epsilon: f32, z: &mut [f32], y: &mut [f32]) {
        for ((z, x), r) in z.iter_mut().zip(x).zip(r) {
            *z = x + r;
        }
        let (mean, scale) = moments(z, epsilon);
        for (((y, z), gamma), beta) in y.iter_mut().zip(&*z).zip(gamma).zip(beta) {
            *y = (z - mean) * scale * gamma + beta;
        }
    }
}

vectorize! {
    fn backward_row(z: &[f32], g: &[f32], gamma: &[f32], epsilon: f32, dz: &mut [f32], dgamma: &mut [f32], dbeta: &mut [f32]) {
        let (mean, scale) = moments(z, epsilon);
        let n = z.len();
        let (g, gamma, dz, dgamma, dbeta) = (&g[..n], &gamma[..n], &mut dz[..n], &mut dgamma[..n], &mut dbeta[..n]);
        let (mut all, mut times) = ([0.0_f32; 16], [0.0_f32; 16]);
        for i in 0..n {
            let normal = (z[i] - mean) * scale;
            let h = g[i] * gamma[i];
            dgamma[i] += g[i] * normal;
            dbeta[i] += g[i];
            dz[i] = h;
        }
        for start in (0..n).step_by(16) {
            for lane in 0..16.min(n - start) {
                let h = dz[start + lane];
                all[lane] += h;
                times[lane] += h * (z[start + lane] - mean) * scale;
            }
        }
        let (all, times) = (all.iter().sum::<f32>() / n as f32, times.iter().sum::<f32>() / n as f32);
        for i in 0..n {
            dz[i] = (dz[i] - all - (z[i] - mean) * scale * times) * scale;
        }
    }
}

#[backend_extension(Flex, Autodiff)]
trait LayerNorm: Backend {
    fn layer_norm_fused(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        dims: [usize; 2],
        epsilon: f32,
    ) -> FloatTensor<Self> {
        Self::layer_norm_with_sum(x, residual, gamma, beta, dims, epsilon).0
    }

    /// The output, and x + residual.
    fn layer_norm_with_sum(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        dims: [usize; 2],
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradients to x + residual, γ and β.
    fn layer_norm_backward(
        sum: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        dims: [usize; 2],
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl LayerNorm for Flex {
    fn layer_norm_with_sum(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        [n, d]: [usize; 2],
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (x, r, gamma, beta) = (Values::of(&x), Values::of(&residual), Values::of(&gamma), Values::of(&beta));
        let (gamma, beta) = (gamma.as_slice(), beta.as_slice());
        let (mut z, mut y) = (vec![0.0; n * d], vec![0.0; n * d]);
        let blocks = z.par_chunks_mut(ROWS * d).zip(y.par_chunks_mut(ROWS * d));
        let inputs = x.as_slice().par_chunks(ROWS * d).zip(r.as_slice().par_chunks(ROWS * d));
        blocks.zip(inputs).for_each(|((z, y), (x, r))| {
            let rows = z.chunks_exact_mut(d).zip(y.chunks_exact_mut(d)).zip(x.chunks_exact(d).zip(r.chunks_exact(d)));
            rows.for_each(|((z, y), (x, r))| forward_row(x, r, gamma, beta, epsilon, z, y));
        });
        (tensor(y, [n, d]), tensor(z, [n, d]))
    }

    fn layer_norm_backward(
        sum: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        [n, d]: [usize; 2],
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (z, gamma, g) = (Values::of(&sum), Values::of(&gamma), Values::of(&output_gradient));
        let gamma = gamma.as_slice();
        let mut dz = vec![0.0; n * d];
        let block = |(dz, (z, g)): (&mut [f32], (&[f32], &[f32]))| {
            let (mut dgamma, mut dbeta) = (vec![0.0; d], vec![0.0; d]);
            let rows = dz.chunks_exact_mut(d).zip(z.chunks_exact(d).zip(g.chunks_exact(d)));
            rows.for_each(|(dz, (z, g))| backward_row(z, g, gamma, epsilon, dz, &mut dgamma, &mut dbeta));
            [dgamma, dbeta]
        };
        let inputs = z.as_slice().par_chunks(ROWS * d).zip(g.as_slice().par_chunks(ROWS * d));
        let parts: Vec<[Vec<f32>; 2]> = dz.par_chunks_mut(ROWS * d).zip(inputs).map(block).collect();
        let [mut dgamma, mut dbeta] = [vec![0.0; d], vec![0.0; d]];
        for [gamma, beta] in &parts {
            dgamma.iter_mut().zip(gamma).for_each(|(sum, part)| *sum += part);
            dbeta.iter_mut().zip(beta).for_each(|(sum, part)| *sum += part);
        }
        (tensor(dz, [n, d]), tensor(dgamma, [d]), tensor(dbeta, [d]))
    }
}

impl<B: LayerNorm, C: CheckpointStrategy> LayerNorm for Autodiff<B, C> {
    fn layer_norm_fused(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        dims: [usize; 2],
        epsilon: f32,
    ) -> FloatTensor<Self> {
        let gamma_value = gamma.primitive().clone();
        let (x_value, r_value, beta_value) = (x.primitive().clone(), residual.primitive().clone(), beta.primitive().clone());
        let (output, sum) = B::layer_norm_with_sum(x_value, r_value, gamma_value.clone(), beta_value, dims, epsilon);
        differentiable::<B, C, 4>([&x, &residual, &gamma, &beta], output, move |gradient, wanted| {
            let (dz, dgamma, dbeta) = B::layer_norm_backward(sum.clone(), gamma_value.clone(), gradient, dims, epsilon);
            [wanted[0].then(|| dz.clone()), wanted[1].then_some(dz), wanted[2].then_some(dgamma), wanted[3].then_some(dbeta)]
        })
    }

    /// Only the operator above is differentiable: the results are constants.
    fn layer_norm_with_sum(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        dims: [usize; 2],
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (x, residual, gamma, beta) = (x.into_primitive(), residual.into_primitive(), gamma.into_primitive(), beta.into_primitive());
        let (output, sum) = B::layer_norm_with_sum(x, residual, gamma, beta, dims, epsilon);
        (FloatTensor::<Self>::new(output), FloatTensor::<Self>::new(sum))
    }

    /// A gradient of a gradient is not offered: the results are constants.
    fn layer_norm_backward(
        sum: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        dims: [usize; 2],
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (dz, dgamma, dbeta) =
            B::layer_norm_backward(sum.into_primitive(), gamma.into_primitive(), output_gradient.into_primitive(), dims, epsilon);
        (FloatTensor::<Self>::new(dz), FloatTensor::<Self>::new(dgamma), FloatTensor::<Self>::new(dbeta))
    }
}
