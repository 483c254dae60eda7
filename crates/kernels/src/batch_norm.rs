//! Batch normalisation with the batch's own statistics, an added residual and ReLU in the same operator.
//!
//! ```text
//! y = act(γ x̂ + β + r),  x̂ = (x − m)/√(v + ε),  m, v: mean and variance of a channel over images and pixels
//! ∂x = γ/√(v + ε) · (∂y − mean(∂y) − x̂ · mean(∂y x̂)),  ∂γ = Σ ∂y x̂,  ∂β = Σ ∂y,  ∂r = ∂y
//! ```

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex, autodiff::checkpoint::strategy::CheckpointStrategy, backend_extension, tensor::FloatTensor,
    },
    tensor::{Tensor, activation as burn_activation, module},
};
use rayon::prelude::*;

use crate::{
    Activation, activation,
    autodiff::differentiable,
    flex::{Values, is_flex, tensor},
};

/// A normalised batch and what it was normalised with.
pub struct BatchNormOutput {
    /// `n × c × h × w`.
    pub output: Tensor<4>,
    /// The mean of each channel, without gradient.
    pub mean: Tensor<1>,
    /// The biased variance of each channel, without gradient.
    pub variance: Tensor<1>,
}

/// Normalises each channel of a batch to mean β and standard deviation γ, adds `residual`, applies an activation.
///
/// * `x`, `residual`: `n × c × h × w`.
/// * `gamma`, `beta`: `c`.
pub fn batch_norm(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    residual: Option<Tensor<4>>,
    epsilon: f64,
    activation: Activation,
) -> BatchNormOutput {
    let relu = activation == Activation::Relu;
    if is_flex(&x.device()) {
        let dims = x.dims();
        let residual = residual.unwrap_or_else(|| Tensor::zeros([0, 1, 1, 1], &x.device()));
        let (x, gamma, beta, residual) = (x.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch(), residual.into_dispatch());
        let (output, mean, variance) = <Dispatch as BatchNorm>::batch_norm_fused(x, gamma, beta, residual, dims, epsilon as f32, relu);
        return BatchNormOutput {
            output: Tensor::from_dispatch(output),
            mean: Tensor::<1>::from_dispatch(mean).inner(),
            variance: Tensor::<1>::from_dispatch(variance).inner(),
        };
    }
    let out = module::batch_norm_train(x, gamma, beta, epsilon);
    let y = match residual {
        Some(residual) => out.output + residual,
        None => out.output,
    };
    BatchNormOutput { output: if relu { burn_activation::relu(y) } else { y }, mean: out.mean.inner(), variance: out.variance.inner() }
}

/// The images of one channel.
fn channel(values: &[f32], [_, c, h, w]: [usize; 4], channel: usize) -> impl Iterator<Item = &[f32]> {
    values.chunks_exact(h * w).skip(channel).step_by(c)
}

/// The sum of f over images; within one in single precision by sixteen running sums, over images in double.
#[inline(always)]
fn sum<'a>(images: impl Iterator<Item = &'a [f32]>, f: impl Fn(f32) -> f32) -> f64 {
    let image = |values: &[f32]| {
        let (whole, rest) = values.as_chunks::<16>();
        let mut sums = [0.0_f32; 16];
        whole.iter().for_each(|chunk| (0..16).for_each(|lane| sums[lane] += f(chunk[lane])));
        f64::from(sums.iter().sum::<f32>() + rest.iter().map(|v| f(*v)).sum::<f32>())
    };
    images.map(image).sum()
}

/// Mean and biased variance of every channel.
fn statistics(x: &[f32], dims: [usize; 4]) -> (Vec<f32>, Vec<f32>) {
    let count = (dims[0] * dims[2] * dims[3]) as f64;
    let of_channel = |index: usize| {
        pulp::Arch::new().dispatch(|| {
            let mean = (sum(channel(x, dims, index), |v| v) / count) as f32;
            let variance = (sum(channel(x, dims, index), |v| (v - mean) * (v - mean)) / count) as f32;
            (mean, variance)
        })
    };
    (0..dims[1]).into_par_iter().map(of_channel).unzip()
}

fn forward(x: &[f32], scale: &[f32], shift: &[f32], residual: &[f32], dims: [usize; 4], relu: bool) -> Vec<f32> {
    let (area, image) = (dims[2] * dims[3], dims[1] * dims[2] * dims[3]);
    let mut output = vec![0.0; x.len()];
    let act = |y: f32| if relu { activation::relu(y) } else { y };
    output.par_chunks_exact_mut(image).enumerate().for_each(|(n, output)| {
        pulp::Arch::new().dispatch(|| {
            let start = n * image;
            for (c, output) in output.chunks_exact_mut(area).enumerate() {
                let at = start + c * area..start + (c + 1) * area;
                let (a, b) = (scale[c], shift[c]);
                let x = &x[at.clone()];
                if residual.is_empty() {
                    output.iter_mut().zip(x).for_each(|(y, x)| *y = act(a * x + b));
                } else {
                    output.iter_mut().zip(x.iter().zip(&residual[at])).for_each(|(y, (x, r))| *y = act(a * x + b + r));
                }
            }
        });
    });
    output
}

/// What a channel's backward pass needs: 1/√(v+ε), mean of ∂y, mean of ∂y·x̂.
struct ChannelSums {
    scale: f32,
    gradient: f64,
    gradient_times_normal: f64,
}

/// Gradients to x, γ, β and the residual; the residual's is empty where it is not wanted.
fn backward(
    x: &[f32],
    gamma: &[f32],
    mean: &[f32],
    variance: &[f32],
    output: Option<&[f32]>,
    gradient: &[f32],
    dims: [usize; 4],
    epsilon: f32,
    want_residual: bool,
) -> [Vec<f32>; 4] {
    let (area, image) = (dims[2] * dims[3], dims[1] * dims[2] * dims[3]);
    let count = (dims[0] * area) as f64;
    let of_channel = |c: usize| {
        pulp::Arch::new().dispatch(|| {
            let scale = 1.0 / (variance[c] + epsilon).sqrt();
            let (mut all, mut times) = (0.0, 0.0);
            for (index, (x, g)) in channel(x, dims, c).zip(channel(gradient, dims, c)).enumerate() {
                let start = index * image + c * area;
                let (a, b) = match output {
                    Some(output) => sums(x, g, &output[start..start + area], mean[c]),
                    None => sums(x, g, &[], mean[c]),
                };
                all += f64::from(a);
                times += f64::from(b);
            }
            ChannelSums { scale, gradient: all, gradient_times_normal: times * f64::from(scale) }
        })
    };
    let channels: Vec<ChannelSums> = (0..dims[1]).into_par_iter().map(of_channel).collect();
    let mut dx = vec![0.0; x.len()];
    let mut dr = vec![0.0; if want_residual { x.len() } else { 0 }];
    let write = |n: usize, dx: &mut [f32], dr: &mut [f32]| {
        pulp::Arch::new().dispatch(|| {
            for (c, dx) in dx.chunks_exact_mut(area).enumerate() {
                let at = n * image + c * area..n * image + (c + 1) * area;
                let sums = &channels[c];
                // ∂x = a·∂y + b·x + d
                let a = gamma[c] * sums.scale;
                let b = -a * (sums.gradient_times_normal / count) as f32 * sums.scale;
                let d = -a * (sums.gradient / count) as f32 - b * mean[c];
                let (x, g) = (&x[at.clone()], &gradient[at.clone()]);
                match output {
                    Some(output) => {
                        let y = &output[at];
                        for (((dx, x), g), y) in dx.iter_mut().zip(x).zip(g).zip(y) {
                            *dx = a * if *y > 0.0 { *g } else { 0.0 } + b * x + d;
                        }
                        if want_residual {
                            let dr = &mut dr[c * area..(c + 1) * area];
                            dr.iter_mut().zip(g.iter().zip(y)).for_each(|(dr, (g, y))| *dr = if *y > 0.0 { *g } else { 0.0 });
                        }
                    }
                    None => {
                        dx.iter_mut().zip(x.iter().zip(g)).for_each(|(dx, (x, g))| *dx = a * g + b * x + d);
                        if want_residual {
                            dr[c * area..(c + 1) * area].copy_from_slice(g);
                        }
                    }
                }
            }
        });
    };
    if want_residual {
        let images = dx.par_chunks_exact_mut(image).zip(dr.par_chunks_exact_mut(image)).enumerate();
        images.for_each(|(n, (dx, dr))| write(n, dx, dr));
    } else {
        dx.par_chunks_exact_mut(image).enumerate().for_each(|(n, dx)| write(n, dx, &mut []));
    }
    let gamma_gradient = channels.iter().map(|sums| sums.gradient_times_normal as f32).collect();
    let beta_gradient = channels.iter().map(|sums| sums.gradient as f32).collect();
    [dx, gamma_gradient, beta_gradient, dr]
}

/// Σ ∂y and Σ ∂y (x − m) of one image, where y is above 0 if it is given.
#[inline(always)]
fn sums(x: &[f32], gradient: &[f32], output: &[f32], mean: f32) -> (f32, f32) {
    let (mut all, mut times) = ([0.0_f32; 16], [0.0_f32; 16]);
    let mut add = |lane: usize, x: f32, g: f32| {
        all[lane] += g;
        times[lane] += g * (x - mean);
    };
    let (xs, x_rest) = x.as_chunks::<16>();
    let (gs, g_rest) = gradient.as_chunks::<16>();
    if output.is_empty() {
        xs.iter().zip(gs).for_each(|(x, g)| (0..16).for_each(|lane| add(lane, x[lane], g[lane])));
        x_rest.iter().zip(g_rest).for_each(|(x, g)| add(0, *x, *g));
    } else {
        let (ys, y_rest) = output.as_chunks::<16>();
        for ((x, g), y) in xs.iter().zip(gs).zip(ys) {
            (0..16).for_each(|lane| add(lane, x[lane], if y[lane] > 0.0 { g[lane] } else { 0.0 }));
        }
        x_rest.iter().zip(g_rest).zip(y_rest).for_each(|((x, g), y)| add(0, *x, if *y > 0.0 { *g } else { 0.0 }));
    }
    (all.iter().sum(), times.iter().sum())
}

#[backend_extension(Flex, Autodiff)]
trait BatchNorm: Backend {
    /// Output, mean, biased variance. Without a residual that tensor is empty.
    fn batch_norm_fused(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        dims: [usize; 4],
        epsilon: f32,
        relu: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// Gradients to x, γ, β and the residual. Without ReLU `output` is not looked at.
    fn batch_norm_fused_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        output: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        dims: [usize; 4],
        epsilon: f32,
        relu: bool,
        want_residual: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl BatchNorm for Flex {
    fn batch_norm_fused(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        dims: [usize; 4],
        epsilon: f32,
        relu: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (x, gamma, beta, residual) = (Values::of(&x), Values::of(&gamma), Values::of(&beta), Values::of(&residual));
        let (mean, variance) = statistics(x.as_slice(), dims);
        let scale: Vec<f32> = gamma.as_slice().iter().zip(&variance).map(|(g, v)| g / (v + epsilon).sqrt()).collect();
        let shift: Vec<f32> = beta.as_slice().iter().zip(mean.iter().zip(&scale)).map(|(b, (m, a))| b - m * a).collect();
        let y = forward(x.as_slice(), &scale, &shift, residual.as_slice(), dims, relu);
        (tensor(y, dims), tensor(mean, [dims[1]]), tensor(variance, [dims[1]]))
    }

    fn batch_norm_fused_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        output: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        dims: [usize; 4],
        epsilon: f32,
        relu: bool,
        want_residual: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (x, gamma, mean, variance) = (Values::of(&x), Values::of(&gamma), Values::of(&mean), Values::of(&variance));
        let (output, gradient) = (Values::of(&output), Values::of(&output_gradient));
        let output = relu.then(|| output.as_slice());
        let [dx, dgamma, dbeta, dr] = backward(
            x.as_slice(),
            gamma.as_slice(),
            mean.as_slice(),
            variance.as_slice(),
            output,
            gradient.as_slice(),
            dims,
            epsilon,
            want_residual,
        );
        let dr_dims = if want_residual { dims } else { [0, 1, 1, 1] };
        (tensor(dx, dims), tensor(dgamma, [dims[1]]), tensor(dbeta, [dims[1]]), tensor(dr, dr_dims))
    }
}

impl<B: BatchNorm, C: CheckpointStrategy> BatchNorm for Autodiff<B, C> {
    fn batch_norm_fused(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        dims: [usize; 4],
        epsilon: f32,
        relu: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (x_value, gamma_value) = (x.primitive().clone(), gamma.primitive().clone());
        let (beta_value, residual_value) = (beta.primitive().clone(), residual.primitive().clone());
        let (output, mean, variance) =
            B::batch_norm_fused(x_value.clone(), gamma_value.clone(), beta_value, residual_value, dims, epsilon, relu);
        let kept = relu.then(|| output.clone());
        let (m, v) = (mean.clone(), variance.clone());
        let output = differentiable::<B, C, 4>([&x, &gamma, &beta, &residual], output, move |gradient, wanted| {
            let kept = kept.clone().unwrap_or_else(|| gradient.clone());
            let (dx, dgamma, dbeta, dr) = B::batch_norm_fused_backward(
                x_value.clone(),
                gamma_value.clone(),
                m.clone(),
                v.clone(),
                kept,
                gradient,
                dims,
                epsilon,
                relu,
                wanted[3],
            );
            [wanted[0].then_some(dx), wanted[1].then_some(dgamma), wanted[2].then_some(dbeta), wanted[3].then_some(dr)]
        });
        (output, FloatTensor::<Self>::new(mean), FloatTensor::<Self>::new(variance))
    }

    /// A gradient of a gradient is not offered: the results are constants.
    fn batch_norm_fused_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        output: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        dims: [usize; 4],
        epsilon: f32,
        relu: bool,
        want_residual: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (dx, dgamma, dbeta, dr) = B::batch_norm_fused_backward(
            x.into_primitive(),
            gamma.into_primitive(),
            mean.into_primitive(),
            variance.into_primitive(),
            output.into_primitive(),
            output_gradient.into_primitive(),
            dims,
            epsilon,
            relu,
            want_residual,
        );
        let constant = |value| FloatTensor::<Self>::new(value);
        (constant(dx), constant(dgamma), constant(dbeta), constant(dr))
    }
}
