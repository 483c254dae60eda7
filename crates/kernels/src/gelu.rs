//! The Gaussian error linear unit.

use std::mem::MaybeUninit;

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex, autodiff::checkpoint::strategy::CheckpointStrategy, backend_extension, tensor::FloatTensor,
    },
    tensor::{Tensor, activation},
};
use lyceum_core::{
    math::{erf, exp_of_negative},
    vectorize,
};
use rayon::prelude::*;

use crate::{
    autodiff::differentiable,
    flex::{Values, is_flex, tensor},
    fresh::written,
};

/// x·Φ(x) with Φ the distribution function of the standard normal (Hendrycks and Gimpel 2016), element by element.
pub fn gelu(x: Tensor<2>) -> Tensor<2> {
    if is_flex(&x.device()) {
        let dims = x.dims();
        return Tensor::from_dispatch(<Dispatch as Gelu>::gelu_exact(x.into_dispatch(), dims));
    }
    activation::gelu(x)
}

/// The length of a piece of work.
const PIECE: usize = 1 << 14;

vectorize! {
    fn forward(x: &[f32], y: &mut [MaybeUninit<f32>]) {
        for (y, x) in y.iter_mut().zip(x) {
            y.write(0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)));
        }
    }
}

vectorize! {
    /// ∂x = ∂y · (Φ(x) + x·φ(x))
    fn backward(x: &[f32], g: &[f32], dx: &mut [MaybeUninit<f32>]) {
        const INV_SQRT_2PI: f32 = 0.398_942_3;
        for ((dx, x), g) in dx.iter_mut().zip(x).zip(g) {
            let distribution = 0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
            dx.write(g * (distribution + x * INV_SQRT_2PI * exp_of_negative(-0.5 * x * x)));
        }
    }
}

#[backend_extension(Flex, Autodiff)]
trait Gelu: Backend {
    fn gelu_exact(x: FloatTensor<Self>, dims: [usize; 2]) -> FloatTensor<Self>;

    fn gelu_exact_backward(x: FloatTensor<Self>, output_gradient: FloatTensor<Self>, dims: [usize; 2]) -> FloatTensor<Self>;
}

impl Gelu for Flex {
    fn gelu_exact(x: FloatTensor<Self>, dims: [usize; 2]) -> FloatTensor<Self> {
        let x = Values::of(&x);
        let x = x.as_slice();
        // SAFETY: the pieces of both cover them.
        let [y] = unsafe { written([x.len()], |[y]| y.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE)).for_each(|(y, x)| forward(x, y))) };
        tensor(y, dims)
    }

    fn gelu_exact_backward(x: FloatTensor<Self>, output_gradient: FloatTensor<Self>, dims: [usize; 2]) -> FloatTensor<Self> {
        let (x, g) = (Values::of(&x), Values::of(&output_gradient));
        let (x, g) = (x.as_slice(), g.as_slice());
        assert_eq!(x.len(), g.len(), "a gradient for each number");
        let pieces = x.par_chunks(PIECE).zip(g.par_chunks(PIECE));
        // SAFETY: the pieces of all three cover them.
        let [dx] = unsafe { written([x.len()], |[dx]| dx.par_chunks_mut(PIECE).zip(pieces).for_each(|(dx, (x, g))| backward(x, g, dx))) };
        tensor(dx, dims)
    }
}

impl<B: Gelu, C: CheckpointStrategy> Gelu for Autodiff<B, C> {
    fn gelu_exact(x: FloatTensor<Self>, dims: [usize; 2]) -> FloatTensor<Self> {
        let value = x.primitive().clone();
        let output = B::gelu_exact(value.clone(), dims);
        differentiable::<B, C, 1>([&x], output, move |gradient, _| [Some(B::gelu_exact_backward(value.clone(), gradient, dims))])
    }

    /// A gradient of a gradient is not offered: the result is a constant.
    fn gelu_exact_backward(x: FloatTensor<Self>, output_gradient: FloatTensor<Self>, dims: [usize; 2]) -> FloatTensor<Self> {
        FloatTensor::<Self>::new(B::gelu_exact_backward(x.into_primitive(), output_gradient.into_primitive(), dims))
    }
}
