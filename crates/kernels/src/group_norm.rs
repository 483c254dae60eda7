//! Group normalisation: of each image, groups of channels with mean 0 and variance 1, then a scale and a shift for each channel.
//!
//! ```text
//! y = γ x̂ + β,  x̂ = (x − m)/√(v + ε),  m, v: mean and variance of a group
//! ∂x = (h − mean(h) − x̂ · mean(h x̂))/√(v + ε) with h = γ ∂y,  ∂γ = Σ ∂y x̂,  ∂β = Σ ∂y
//! ```

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex, autodiff::checkpoint::strategy::CheckpointStrategy, backend_extension, tensor::FloatTensor,
    },
    tensor::Tensor,
};
use lyceum_core::vectorize;
use rayon::prelude::*;

use crate::{
    autodiff::differentiable,
    check,
    flex::{Values, is_flex, tensor},
    layer_norm::moments,
};

/// The normalised images (Wu and He, *Group Normalization*, ECCV 2018).
///
/// * `x`: `n × c × h × w`; `groups` divides c.
/// * `gamma`, `beta`: `c`.
pub fn group_norm(x: Tensor<4>, gamma: Tensor<1>, beta: Tensor<1>, groups: usize, epsilon: f64) -> Tensor<4> {
    let [n, c, h, w] = x.dims();
    check::holds("group_norm", groups > 0 && c > 0 && c.is_multiple_of(groups) && h * w > 0, || {
        format!("images of {c} × {h} × {w} in {groups} groups, expected a divisor of the channels and 1 or more pixels")
    });
    check::same("group_norm", "gamma", gamma.dims(), [c]);
    check::same("group_norm", "beta", beta.dims(), [c]);
    check::epsilon("group_norm", epsilon);
    let extents = Extents { images: [n, c, h, w], groups, epsilon: epsilon as f32 };
    if is_flex(&x.device()) {
        let (x, gamma, beta) = (x.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch());
        return Tensor::from_dispatch(<Dispatch as GroupNorm>::group_norm_fused(x, gamma, beta, extents));
    }
    let grouped = x.reshape([n, groups, c / groups * h * w]);
    let centred = grouped.clone() - grouped.mean_dim(2);
    let deviation = (centred.clone().square().mean_dim(2) + epsilon).sqrt();
    (centred / deviation).reshape([n, c, h, w]) * gamma.reshape([1, c, 1, 1]) + beta.reshape([1, c, 1, 1])
}

/// Of a normalisation.
#[derive(Debug, Clone, Copy)]
struct Extents {
    images: [usize; 4],
    groups: usize,
    epsilon: f32,
}

impl Extents {
    fn pixels(self) -> usize {
        self.images[2] * self.images[3]
    }

    /// Channels of a group.
    fn channels(self) -> usize {
        self.images[1] / self.groups
    }

    /// The channels of the group with this number, counted over all images.
    fn of_group(self, values: &[f32], group: usize) -> &[f32] {
        &values[group % self.groups * self.channels()..][..self.channels()]
    }
}

vectorize! {
    /// (x − mean)·scale + shift
    fn affine(x: &[f32], mean: f32, scale: f32, shift: f32, y: &mut [f32]) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = (x - mean) * scale + shift);
    }
}

vectorize! {
    /// Σ g and Σ g·(x − mean), by sixteen running sums.
    fn gradient_sums(x: &[f32], g: &[f32], mean: f32) -> [f32; 2] {
        let (mut all, mut times) = ([0.0_f32; 16], [0.0_f32; 16]);
        for (x, g) in x.chunks(16).zip(g.chunks(16)) {
            for (lane, (x, g)) in x.iter().zip(g).enumerate() {
                all[lane] += g;
                times[lane] += g * (x - mean);
            }
        }
        [all.iter().sum(), times.iter().sum()]
    }
}

vectorize! {
    /// a·g + b·(x − mean) + c, of three constants.
    fn input_gradient(x: &[f32], g: &[f32], mean: f32, constants: [f32; 3], dx: &mut [f32]) {
        let [a, b, c] = constants;
        for (dx, (x, g)) in dx.iter_mut().zip(x.iter().zip(g)) {
            *dx = a * g + b * (x - mean) + c;
        }
    }
}

#[backend_extension(Flex, Autodiff)]
trait GroupNorm: Backend {
    fn group_norm_fused(x: FloatTensor<Self>, gamma: FloatTensor<Self>, beta: FloatTensor<Self>, extents: Extents) -> FloatTensor<Self>;

    /// Gradients to x, γ and β.
    fn group_norm_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        extents: Extents,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl GroupNorm for Flex {
    fn group_norm_fused(x: FloatTensor<Self>, gamma: FloatTensor<Self>, beta: FloatTensor<Self>, extents: Extents) -> FloatTensor<Self> {
        let (x, gamma, beta) = (Values::of(&x), Values::of(&gamma), Values::of(&beta));
        let (x, gamma, beta) = (x.as_slice(), gamma.as_slice(), beta.as_slice());
        let (pixels, size) = (extents.pixels(), extents.channels() * extents.pixels());
        let mut y = vec![0.0; x.len()];
        y.par_chunks_exact_mut(size).zip(x.par_chunks_exact(size)).enumerate().for_each(|(group, (y, x))| {
            let (mean, scale) = moments(x, extents.epsilon);
            let constants = extents.of_group(gamma, group).iter().zip(extents.of_group(beta, group));
            for ((y, x), (gamma, beta)) in y.chunks_exact_mut(pixels).zip(x.chunks_exact(pixels)).zip(constants) {
                affine(x, mean, scale * gamma, *beta, y);
            }
        });
        tensor(y, extents.images)
    }

    fn group_norm_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        extents: Extents,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (x, gamma, gradient) = (Values::of(&x), Values::of(&gamma), Values::of(&output_gradient));
        let (x, gamma, gradient) = (x.as_slice(), gamma.as_slice(), gradient.as_slice());
        let (pixels, channels) = (extents.pixels(), extents.channels());
        let size = channels * pixels;
        let mut dx = vec![0.0; x.len()];
        // Of each channel of each image its part of ∂β and ∂γ.
        let mut parts = vec![[0.0_f32; 2]; x.len() / pixels];
        let groups = dx.par_chunks_exact_mut(size).zip(parts.par_chunks_exact_mut(channels));
        let inputs = x.par_chunks_exact(size).zip(gradient.par_chunks_exact(size));
        groups.zip(inputs).enumerate().for_each(|(group, ((dx, parts), (x, g)))| {
            let (mean, scale) = moments(x, extents.epsilon);
            let gamma = extents.of_group(gamma, group);
            let (mut all, mut times) = (0.0, 0.0);
            for ((part, gamma), (x, g)) in parts.iter_mut().zip(gamma).zip(x.chunks_exact(pixels).zip(g.chunks_exact(pixels))) {
                let [sum, product] = gradient_sums(x, g, mean);
                *part = [sum, product * scale];
                all += gamma * sum;
                times += gamma * product * scale;
            }
            let (all, times) = (all / size as f32, times / size as f32);
            let constants = |gamma: f32| [gamma * scale, -times * scale * scale, -all * scale];
            let planes = dx.chunks_exact_mut(pixels).zip(x.chunks_exact(pixels).zip(g.chunks_exact(pixels)));
            planes.zip(gamma).for_each(|((dx, (x, g)), gamma)| input_gradient(x, g, mean, constants(*gamma), dx));
        });
        let c = extents.images[1];
        let [mut dgamma, mut dbeta] = [vec![0.0; c], vec![0.0; c]];
        for image in parts.chunks_exact(c) {
            for (channel, [sum, product]) in image.iter().enumerate() {
                dbeta[channel] += sum;
                dgamma[channel] += product;
            }
        }
        (tensor(dx, extents.images), tensor(dgamma, [c]), tensor(dbeta, [c]))
    }
}

impl<B: GroupNorm, C: CheckpointStrategy> GroupNorm for Autodiff<B, C> {
    fn group_norm_fused(x: FloatTensor<Self>, gamma: FloatTensor<Self>, beta: FloatTensor<Self>, extents: Extents) -> FloatTensor<Self> {
        let (x_value, gamma_value) = (x.primitive().clone(), gamma.primitive().clone());
        let output = B::group_norm_fused(x_value.clone(), gamma_value.clone(), beta.primitive().clone(), extents);
        differentiable::<B, C, 3>([&x, &gamma, &beta], output, move |gradient, wanted| {
            let (dx, dgamma, dbeta) = B::group_norm_backward(x_value.clone(), gamma_value.clone(), gradient, extents);
            [wanted[0].then_some(dx), wanted[1].then_some(dgamma), wanted[2].then_some(dbeta)]
        })
    }

    /// A gradient of a gradient is not offered: the results are constants.
    fn group_norm_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        extents: Extents,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (dx, dgamma, dbeta) =
            B::group_norm_backward(x.into_primitive(), gamma.into_primitive(), output_gradient.into_primitive(), extents);
        (FloatTensor::<Self>::new(dx), FloatTensor::<Self>::new(dgamma), FloatTensor::<Self>::new(dbeta))
    }
}
