//! Batch normalisation with the batch's own statistics, an added residual and ReLU in the same operator.
//!
//! ```text
//! y = act(γ x̂ + β + r),  x̂ = (x − m)/√(v + ε),  m, v: mean and variance of a channel over images and pixels
//! ∂x = γ/√(v + ε) · (∂y − mean(∂y) − x̂ · mean(∂y x̂)),  ∂γ = Σ ∂y x̂,  ∂β = Σ ∂y,  ∂r = ∂y
//! ```

use std::{mem::MaybeUninit, ops::Range};

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex, autodiff::checkpoint::strategy::CheckpointStrategy, backend_extension, tensor::FloatTensor,
    },
    tensor::{Tensor, module},
};
use lyceum_core::vectorize;
use rayon::prelude::*;

use crate::{
    Activation,
    activation::{NOWHERE, cut, gate_below},
    autodiff::differentiable,
    check,
    flex::{Values, is_flex, tensor},
    fresh::written,
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
    let shape = x.dims();
    check::holds("batch_norm", shape.iter().all(|extent| *extent > 0), || format!("x has shape {shape:?}, expected 1 or more of each"));
    check::same("batch_norm", "gamma", gamma.dims(), [shape[1]]);
    check::same("batch_norm", "beta", beta.dims(), [shape[1]]);
    if let Some(residual) = &residual {
        check::same("batch_norm", "the residual", residual.dims(), shape);
    }
    check::epsilon("batch_norm", epsilon);
    if is_flex(&x.device()) {
        let dims = x.dims();
        let residual = residual.unwrap_or_else(|| Tensor::zeros([0, 1, 1, 1], &x.device()));
        let (x, gamma, beta, residual) = (x.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch(), residual.into_dispatch());
        let (output, mean, variance) =
            <Dispatch as BatchNorm>::batch_norm_fused(x, gamma, beta, residual, dims, epsilon as f32, activation.ceiling());
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
    BatchNormOutput { output: activation.apply(y), mean: out.mean.inner(), variance: out.variance.inner() }
}

/// Mean and biased variance of every channel.
fn statistics(x: &[f32], dims: [usize; 4]) -> (Vec<f32>, Vec<f32>) {
    let count = (dims[0] * dims[2] * dims[3]) as f64;
    let mean: Vec<f32> = by_channel(dims, |_, at| f64::from(sum(&x[at]))).into_iter().map(|sum| (sum / count) as f32).collect();
    let squares = by_channel(dims, |c, at| f64::from(sum_of_squares(&x[at], mean[c])));
    let variance = squares.into_iter().map(|sum| (sum / count) as f32).collect();
    (mean, variance)
}

/// For each channel the sum over images of what `part` gives for the channel's place in an image. Images are worked on
/// in parallel, in the order in which they lie in memory, and added up in their order.
fn by_channel<T: Send + std::iter::Sum + Copy>(dims: [usize; 4], part: impl Fn(usize, Range<usize>) -> T + Sync) -> Vec<T> {
    let [images, channels, h, w] = dims;
    let area = h * w;
    let image = |n: usize| -> Vec<T> { (0..channels).map(|c| part(c, (n * channels + c) * area..(n * channels + c + 1) * area)).collect() };
    let parts: Vec<Vec<T>> = (0..images).into_par_iter().map(image).collect();
    (0..channels).map(|c| parts.iter().map(|image| image[c]).sum()).collect()
}

vectorize! {
    /// Σ x, by sixteen running sums.
    fn sum(x: &[f32]) -> f32 {
        let (whole, rest) = x.as_chunks::<16>();
        let mut sums = [0.0_f32; 16];
        for chunk in whole {
            for lane in 0..16 {
                sums[lane] += chunk[lane];
            }
        }
        sums.iter().sum::<f32>() + rest.iter().sum::<f32>()
    }
}

vectorize! {
    /// Σ (x − m)².
    fn sum_of_squares(x: &[f32], mean: f32) -> f32 {
        let (whole, rest) = x.as_chunks::<16>();
        let mut sums = [0.0_f32; 16];
        for chunk in whole {
            for lane in 0..16 {
                let d = chunk[lane] - mean;
                sums[lane] += d * d;
            }
        }
        sums.iter().sum::<f32>() + rest.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>()
    }
}

vectorize! {
    /// y = act(a·x + b + r) on one channel of one image; no residual where r is empty.
    fn normalize(y: &mut [MaybeUninit<f32>], x: &[f32], r: &[f32], a: f32, b: f32, ceiling: Option<f32>) {
        let y = y.iter_mut().zip(x);
        match (r.is_empty(), ceiling) {
            (true, None) => y.for_each(|(y, x)| *y = MaybeUninit::new(a * x + b)),
            (true, Some(ceiling)) => y.for_each(|(y, x)| *y = MaybeUninit::new(cut(a * x + b, ceiling))),
            (false, None) => y.zip(r).for_each(|((y, x), r)| *y = MaybeUninit::new(a * x + b + r)),
            (false, Some(ceiling)) => y.zip(r).for_each(|((y, x), r)| *y = MaybeUninit::new(cut(a * x + b + r, ceiling))),
        }
    }
}

fn forward(x: &[f32], scale: &[f32], shift: &[f32], residual: &[f32], dims: [usize; 4], ceiling: Option<f32>) -> Vec<f32> {
    let (area, image) = (dims[2] * dims[3], dims[1] * dims[2] * dims[3]);
    let one = |(n, output): (usize, &mut [MaybeUninit<f32>])| {
        for (c, output) in output.chunks_exact_mut(area).enumerate() {
            let at = n * image + c * area..n * image + (c + 1) * area;
            let r = if residual.is_empty() { residual } else { &residual[at.clone()] };
            normalize(output, &x[at], r, scale[c], shift[c], ceiling);
        }
    };
    assert_eq!(x.len(), dims[0] * image, "every image is there");
    // SAFETY: the images, and the channels in them, cover the output.
    let [output] = unsafe { written([x.len()], |[output]| output.par_chunks_exact_mut(image).enumerate().for_each(one)) };
    output
}

/// What a channel's backward pass needs: 1/√(v + ε), Σ ∂y, Σ ∂y·x̂.
struct ChannelSums {
    scale: f32,
    gradient: f64,
    gradient_times_normal: f64,
}

/// Two sums at once.
#[derive(Clone, Copy)]
struct Pair(f64, f64);

impl std::iter::Sum for Pair {
    fn sum<I: Iterator<Item = Self>>(pairs: I) -> Self {
        pairs.fold(Self(0.0, 0.0), |a, b| Self(a.0 + b.0, a.1 + b.1))
    }
}

/// What the backward pass reads.
struct Saved<'a> {
    x: &'a [f32],
    gamma: &'a [f32],
    mean: &'a [f32],
    variance: &'a [f32],
    /// The output, where it is cut at 0 and at a ceiling.
    output: Option<(&'a [f32], f32)>,
    epsilon: f32,
}

/// Gradients to x, γ, β and the residual; the residual's is empty where it is not wanted.
fn backward(saved: &Saved<'_>, gradient: &[f32], dims: [usize; 4], want_residual: bool) -> [Vec<f32>; 4] {
    let (area, image) = (dims[2] * dims[3], dims[1] * dims[2] * dims[3]);
    let count = (dims[0] * area) as f64;
    let ceiling = saved.output.map_or(NOWHERE, |(_, ceiling)| ceiling);
    let output_at = |at: Range<usize>| saved.output.map(|(output, _)| &output[at]).unwrap_or_default();
    let sums = by_channel(dims, |c, at| {
        let (all, times) = gradient_sums(&saved.x[at.clone()], &gradient[at.clone()], output_at(at), saved.mean[c], ceiling);
        Pair(f64::from(all), f64::from(times))
    });
    let channels: Vec<ChannelSums> = sums
        .into_iter()
        .zip(saved.variance)
        .map(|(Pair(gradient, times), variance)| {
            let scale = 1.0 / (variance + saved.epsilon).sqrt();
            ChannelSums { scale, gradient, gradient_times_normal: times * f64::from(scale) }
        })
        .collect();
    let one = |n: usize, dx: &mut [MaybeUninit<f32>], dr: &mut [MaybeUninit<f32>]| {
        for (c, dx) in dx.chunks_exact_mut(area).enumerate() {
            let at = n * image + c * area..n * image + (c + 1) * area;
            let sums = &channels[c];
            // ∂x = a·∂y + b·x + d
            let a = saved.gamma[c] * sums.scale;
            let b = -a * (sums.gradient_times_normal / count) as f32 * sums.scale;
            let d = -a * (sums.gradient / count) as f32 - b * saved.mean[c];
            let dr = if want_residual { &mut dr[c * area..(c + 1) * area] } else { &mut [] };
            input_gradient(dx, dr, &saved.x[at.clone()], &gradient[at.clone()], output_at(at), [a, b, d, ceiling]);
        }
    };
    let len = saved.x.len();
    assert_eq!(len, dims[0] * image, "every image is there");
    // SAFETY: the images, and the channels in them, cover both.
    let [dx, dr] = unsafe {
        written([len, if want_residual { len } else { 0 }], |[dx, dr]| {
            let dx = dx.par_chunks_exact_mut(image);
            if want_residual {
                dx.zip(dr.par_chunks_exact_mut(image)).enumerate().for_each(|(n, (dx, dr))| one(n, dx, dr));
            } else {
                dx.enumerate().for_each(|(n, dx)| one(n, dx, &mut []));
            }
        })
    };
    let gamma_gradient = channels.iter().map(|sums| sums.gradient_times_normal as f32).collect();
    let beta_gradient = channels.iter().map(|sums| sums.gradient as f32).collect();
    [dx, gamma_gradient, beta_gradient, dr]
}

vectorize! {
    /// ∂x = a·∂y + b·x + d and ∂r = ∂y on one channel of one image; where y is cut, ∂y is 0.
    fn input_gradient(
        dx: &mut [MaybeUninit<f32>],
        dr: &mut [MaybeUninit<f32>],
        x: &[f32],
        g: &[f32],
        y: &[f32],
        factors: [f32; 4],
    ) {
        let [a, b, d, ceiling] = factors;
        let n = dx.len();
        let (x, g) = (&x[..n], &g[..n]);
        if y.is_empty() {
            for i in 0..n {
                dx[i].write(a * g[i] + b * x[i] + d);
            }
            if !dr.is_empty() {
                dr.write_copy_of_slice(g);
            }
            return;
        }
        let y = &y[..n];
        for i in 0..n {
            let g = gate_below(g[i], y[i], ceiling);
            dx[i].write(a * g + b * x[i] + d);
        }
        for (dr, (g, y)) in dr.iter_mut().zip(g.iter().zip(y)) {
            dr.write(gate_below(*g, *y, ceiling));
        }
    }
}

vectorize! {
    /// Σ ∂y and Σ ∂y (x − m) of one channel of one image; where y is cut, ∂y is 0.
    fn gradient_sums(x: &[f32], g: &[f32], y: &[f32], mean: f32, ceiling: f32) -> (f32, f32) {
        let (mut all, mut times) = ([0.0_f32; 16], [0.0_f32; 16]);
        let (xs, x_rest) = x.as_chunks::<16>();
        let (gs, g_rest) = g.as_chunks::<16>();
        let (ys, y_rest) = y.as_chunks::<16>();
        if y.is_empty() {
            for (x, g) in xs.iter().zip(gs) {
                for lane in 0..16 {
                    all[lane] += g[lane];
                    times[lane] += g[lane] * (x[lane] - mean);
                }
            }
        } else {
            for ((x, g), y) in xs.iter().zip(gs).zip(ys) {
                for lane in 0..16 {
                    let g = gate_below(g[lane], y[lane], ceiling);
                    all[lane] += g;
                    times[lane] += g * (x[lane] - mean);
                }
            }
        }
        for (i, (x, g)) in x_rest.iter().zip(g_rest).enumerate() {
            let g = if y.is_empty() { *g } else { gate_below(*g, y_rest[i], ceiling) };
            all[i] += g;
            times[i] += g * (x - mean);
        }
        (all.iter().sum(), times.iter().sum())
    }
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
        ceiling: Option<f32>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// Gradients to x, γ, β and the residual. Without a ceiling `output` is not looked at.
    fn batch_norm_fused_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        output: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        dims: [usize; 4],
        epsilon: f32,
        ceiling: Option<f32>,
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
        ceiling: Option<f32>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (x, gamma, beta, residual) = (Values::of(&x), Values::of(&gamma), Values::of(&beta), Values::of(&residual));
        let (mean, variance) = statistics(x.as_slice(), dims);
        let scale: Vec<f32> = gamma.as_slice().iter().zip(&variance).map(|(g, v)| g / (v + epsilon).sqrt()).collect();
        let shift: Vec<f32> = beta.as_slice().iter().zip(mean.iter().zip(&scale)).map(|(b, (m, a))| b - m * a).collect();
        let y = forward(x.as_slice(), &scale, &shift, residual.as_slice(), dims, ceiling);
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
        ceiling: Option<f32>,
        want_residual: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (x, gamma, mean, variance) = (Values::of(&x), Values::of(&gamma), Values::of(&mean), Values::of(&variance));
        let (output, gradient) = (Values::of(&output), Values::of(&output_gradient));
        let saved = Saved {
            x: x.as_slice(),
            gamma: gamma.as_slice(),
            mean: mean.as_slice(),
            variance: variance.as_slice(),
            output: ceiling.map(|ceiling| (output.as_slice(), ceiling)),
            epsilon,
        };
        let [dx, dgamma, dbeta, dr] = backward(&saved, gradient.as_slice(), dims, want_residual);
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
        ceiling: Option<f32>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (x_value, gamma_value) = (x.primitive().clone(), gamma.primitive().clone());
        let (beta_value, residual_value) = (beta.primitive().clone(), residual.primitive().clone());
        let (output, mean, variance) =
            B::batch_norm_fused(x_value.clone(), gamma_value.clone(), beta_value, residual_value, dims, epsilon, ceiling);
        let kept = ceiling.map(|_| output.clone());
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
                ceiling,
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
        ceiling: Option<f32>,
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
            ceiling,
            want_residual,
        );
        let constant = |value| FloatTensor::<Self>::new(value);
        (constant(dx), constant(dgamma), constant(dbeta), constant(dr))
    }
}
