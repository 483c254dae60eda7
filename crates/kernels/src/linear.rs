//! Fully connected layer with bias and ReLU in the same operator.
//!
//! ```text
//! y = act(xW + b),  x: n × d, W: d × k, b: k
//! ∂x = ∂y Wᵀ,  ∂W = xᵀ ∂y,  ∂b = column sums of ∂y
//! ```

use std::mem::MaybeUninit;

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex, autodiff::checkpoint::strategy::CheckpointStrategy, backend_extension, tensor::FloatTensor,
    },
    tensor::{Tensor, module},
};
use rayon::prelude::*;

use crate::{
    Activation,
    activation::{add_and_activate, gate_all},
    autodiff::differentiable,
    check,
    flex::{Values, is_flex, tensor},
    fresh::written,
    matmul::{self, Into, Left, Multiply, Right, strided},
};

/// xW + b through an activation.
///
/// * `x`: `n × d`.
/// * `gradient_input`: what stands for x in the gradient of the weight, ∂W = xᵀ∂y, and nowhere else; x itself if absent.
/// * `weight`: `d × k`.
/// * `bias`: `k`.
pub fn linear(x: Tensor<2>, gradient_input: Option<Tensor<2>>, weight: Tensor<2>, bias: Tensor<1>, activation: Activation) -> Tensor<2> {
    let shape = [x.dims()[0], x.dims()[1], weight.dims()[1]];
    check::same("linear", "the weight", weight.dims(), [shape[1], shape[2]]);
    check::same("linear", "the bias", bias.dims(), [shape[2]]);
    if let Some(other) = &gradient_input {
        check::same("linear", "the gradient's input", other.dims(), x.dims());
    }
    if activation == Activation::Relu6 {
        return activation.apply(linear(x, gradient_input, weight, bias, Activation::None));
    }
    if is_flex(&x.device()) {
        let relu = activation == Activation::Relu;
        let other = gradient_input.unwrap_or_else(|| x.clone()).into_dispatch();
        let y = <Dispatch as Linear>::linear_fused(x.into_dispatch(), other, weight.into_dispatch(), bias.into_dispatch(), shape, relu);
        return Tensor::from_dispatch(y);
    }
    let y = match gradient_input {
        None => module::linear(x, weight, Some(bias)),
        Some(other) => {
            // The value of the first with the gradient to the weight of the second.
            let shadow = other.detach().matmul(weight.clone());
            module::linear(x, weight.detach(), Some(bias)) + shadow.clone() - shadow.detach()
        }
    };
    activation.apply(y)
}

/// Rows of a tile: those of a task are a multiple of it.
const TILE: usize = 6;
/// Rows that share what a task lays out: a task has fewer only if the threads would not all get one.
const SHARED: usize = 96;
/// Tasks that a thread gets of a product with very many rows.
const TASKS: usize = 4;
/// Below this many multiplications a product is made on the thread that asks for it.
const PARALLEL: usize = 1 << 19;

/// A·B in parallel where it pays; each block of rows goes through `finish` while it is in cache.
fn product(values: &[f32], rows: &[usize], columns: &[usize], b: Right, n: usize, finish: impl Fn(&mut [f32]) + Sync) -> Vec<f32> {
    let len = rows.len() * n;
    if len == 0 {
        return Vec::new();
    }
    // A number is summed in the same order wherever the cuts are.
    let a_thread = rows.len().div_ceil(rayon::current_num_threads());
    let at_once = a_thread.div_ceil(TASKS).max(SHARED.min(a_thread)).next_multiple_of(TILE).min(matmul::ROWS);
    let block = |(rows, c): (&[usize], &mut [MaybeUninit<f32>])| {
        finish(Multiply { a: Left { values, rows, columns }, b, n, c: Into::Set(c) }.run());
    };
    // SAFETY: `Multiply` writes every number of every block, and the blocks cover the matrix.
    let [matrix] = unsafe {
        written([len], |[c]| {
            if len * columns.len() < PARALLEL {
                rows.chunks(at_once).zip(c.chunks_mut(at_once * n)).for_each(block);
            } else {
                rows.par_chunks(at_once).zip(c.par_chunks_mut(at_once * n)).for_each(block);
            }
        })
    };
    matrix
}

fn forward(x: &[f32], weight: &[f32], bias: &[f32], [n, d, k]: [usize; 3], rectify: bool) -> Vec<f32> {
    product(x, &strided(n, d), &strided(d, 1), Right::Rows(weight), k, |y| add_and_activate(y, bias, rectify))
}

fn backward(
    x: &[f32],
    weight: &[f32],
    output: Option<&[f32]>,
    gradient: &[f32],
    [n, d, k]: [usize; 3],
    [want_x, want_weight, want_bias]: [bool; 3],
) -> [Vec<f32>; 3] {
    let mut masked = Vec::new();
    let gradient = match output {
        None => gradient,
        Some(output) => {
            gate_all(&mut masked, gradient, output);
            &masked
        }
    };
    let mut found = [Vec::new(), Vec::new(), Vec::new()];
    if want_x {
        found[0] = product(gradient, &strided(n, k), &strided(k, 1), Right::Columns(weight), d, |_| ());
    }
    if want_weight {
        found[1] = product(x, &strided(d, 1), &strided(n, d), Right::Rows(gradient), k, |_| ());
    }
    if want_bias {
        found[2] = vec![0.0; k];
        gradient.chunks_exact(k.max(1)).for_each(|row| found[2].iter_mut().zip(row).for_each(|(sum, g)| *sum += g));
    }
    found
}

#[backend_extension(Flex, Autodiff)]
trait Linear: Backend {
    fn linear_fused(
        x: FloatTensor<Self>,
        gradient_input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        shape: [usize; 3],
        relu: bool,
    ) -> FloatTensor<Self>;

    /// Gradients to x, weight and bias; what is not wanted is empty. Without ReLU `output` is not looked at.
    fn linear_fused_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        output: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        shape: [usize; 3],
        relu: bool,
        wanted: [bool; 3],
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl Linear for Flex {
    fn linear_fused(
        x: FloatTensor<Self>,
        _: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        shape: [usize; 3],
        relu: bool,
    ) -> FloatTensor<Self> {
        let (x, weight, bias) = (Values::of(&x), Values::of(&weight), Values::of(&bias));
        tensor(forward(x.as_slice(), weight.as_slice(), bias.as_slice(), shape, relu), [shape[0], shape[2]])
    }

    fn linear_fused_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        output: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        shape: [usize; 3],
        relu: bool,
        wanted: [bool; 3],
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (x, weight, output, gradient) = (Values::of(&x), Values::of(&weight), Values::of(&output), Values::of(&output_gradient));
        let output = relu.then(|| output.as_slice());
        let [dx, dw, db] = backward(x.as_slice(), weight.as_slice(), output, gradient.as_slice(), shape, wanted);
        let [n, d, k] = shape;
        let rows = |count: usize, wanted: bool| if wanted { count } else { 0 };
        (tensor(dx, [rows(n, wanted[0]), d]), tensor(dw, [rows(d, wanted[1]), k]), tensor(db, [rows(k, wanted[2])]))
    }
}

impl<B: Linear, C: CheckpointStrategy> Linear for Autodiff<B, C> {
    fn linear_fused(
        x: FloatTensor<Self>,
        gradient_input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        shape: [usize; 3],
        relu: bool,
    ) -> FloatTensor<Self> {
        let (x_value, w_value) = (gradient_input.into_primitive(), weight.primitive().clone());
        let (input, other) = (x.primitive().clone(), x_value.clone());
        let output = B::linear_fused(input, other, w_value.clone(), bias.primitive().clone(), shape, relu);
        let kept = relu.then(|| output.clone());
        differentiable::<B, C, 3>([&x, &weight, &bias], output, move |gradient, wanted| {
            let kept = kept.clone().unwrap_or_else(|| gradient.clone());
            let (dx, dw, db) = B::linear_fused_backward(x_value.clone(), w_value.clone(), kept, gradient, shape, relu, wanted);
            [wanted[0].then_some(dx), wanted[1].then_some(dw), wanted[2].then_some(db)]
        })
    }

    /// A gradient of a gradient is not offered: the results are constants.
    fn linear_fused_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        output: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        shape: [usize; 3],
        relu: bool,
        wanted: [bool; 3],
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (x, weight, output) = (x.into_primitive(), weight.into_primitive(), output.into_primitive());
        let (dx, dw, db) = B::linear_fused_backward(x, weight, output, output_gradient.into_primitive(), shape, relu, wanted);
        (FloatTensor::<Self>::new(dx), FloatTensor::<Self>::new(dw), FloatTensor::<Self>::new(db))
    }
}
