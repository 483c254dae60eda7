//! Multi-head self-attention from packed queries, keys and values.
//!
//! ```text
//! P = softmax(QKᵀ/√e),  O = PV                      a head: Q, K, V, O are s × e
//! ∂V = Pᵀ∂O,  ∂P = ∂O Vᵀ,  ∂S = P ∘ (∂P − rowsum(∂P ∘ P))/√e,  ∂Q = ∂S K,  ∂K = ∂Sᵀ Q
//! ```

use std::mem::MaybeUninit;

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex, autodiff::checkpoint::strategy::CheckpointStrategy, backend_extension, tensor::FloatTensor,
    },
    tensor::{Tensor, activation::softmax},
};
use lyceum_core::{math::exp_of_negative, vectorize};
use rayon::prelude::*;

use crate::{
    autodiff::differentiable,
    check,
    flex::{Values, is_flex, tensor},
    fresh::written,
    layout::{columns, transpose_part},
    matmul::{Into, Left, Multiply, Right, strided},
};

/// The attention of each of `n` sequences to itself.
///
/// * `qkv`: `n·s × 3·h·e`, a token a row: the queries of all heads, their keys, their values.
/// * `mask`: `n·s`, 1 for a token that may be attended to, 0 for padding; at least one token of a sequence is 1.
/// * `heads`: h.
///
/// The result is `n·s × h·e`.
pub fn attention(qkv: Tensor<2>, mask: Tensor<1>, sequences: usize, heads: usize) -> Tensor<2> {
    let [tokens, width] = qkv.dims();
    let packed = heads.checked_mul(3).filter(|packed| *packed > 0 && width > 0 && width.is_multiple_of(*packed));
    check::holds("attention", sequences > 0 && tokens > 0 && tokens.is_multiple_of(sequences) && packed.is_some(), || {
        format!("qkv has shape [{tokens}, {width}], which does not divide into {sequences} sequences and {heads} heads")
    });
    check::same("attention", "the mask", mask.dims(), [tokens]);
    check::product("attention", &[tokens, heads, tokens / sequences]);
    let shape = [sequences, tokens / sequences, heads, width / (3 * heads)];
    if is_flex(&qkv.device()) {
        return Tensor::from_dispatch(<Dispatch as Attention>::attention(qkv.into_dispatch(), mask.into_dispatch(), shape));
    }
    let [n, s, h, e] = shape;
    let part = |index: usize| qkv.clone().narrow(1, index * h * e, h * e).reshape([n, s, h, e]).swap_dims(1, 2);
    let scores = part(0).matmul(part(1).transpose()) / (e as f64).sqrt();
    let blocked = mask.reshape([n, 1, 1, s]).equal_elem(0.0).expand([n, h, s, s]);
    let weights = softmax(scores.mask_fill(blocked, f32::NEG_INFINITY), 3);
    weights.matmul(part(2)).swap_dims(1, 2).reshape([n * s, h * e])
}

vectorize! {
    /// softmax(scale·row) over the places that the mask leaves, 0 elsewhere.
    fn softmax_row(row: &mut [f32], mask: &[f32], scale: f32) {
        let mut maxima = [f32::NEG_INFINITY; 16];
        for (row, mask) in row.chunks(16).zip(mask.chunks(16)) {
            for (max, (x, mask)) in maxima.iter_mut().zip(row.iter().zip(mask)) {
                let x = if *mask > 0.0 { *x } else { f32::NEG_INFINITY };
                *max = if x > *max { x } else { *max };
            }
        }
        let max = maxima.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for (x, mask) in row.iter_mut().zip(mask) {
            let p = exp_of_negative((*x - max) * scale);
            *x = if *mask > 0.0 { p } else { 0.0 };
        }
        let mut sums = [0.0_f32; 16];
        for row in row.chunks(16) {
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += x;
            }
        }
        let inverse = 1.0 / sums.iter().sum::<f32>();
        for x in row {
            *x *= inverse;
        }
    }
}

vectorize! {
    /// Turns ∂P into ∂S: p·(∂p − Σ ∂p·p)·scale.
    fn softmax_backward_row(p: &[f32], dp: &mut [f32], scale: f32) {
        let mut sums = [0.0_f32; 16];
        for (p, dp) in p.chunks(16).zip(dp.chunks(16)) {
            for (sum, (p, dp)) in sums.iter_mut().zip(p.iter().zip(dp)) {
                *sum += p * dp;
            }
        }
        let sum = sums.iter().sum::<f32>();
        for (dp, p) in dp.iter_mut().zip(p) {
            *dp = p * (*dp - sum) * scale;
        }
    }
}

/// Tables and buffers for the heads of one sequence.
struct Work {
    s: usize,
    e: usize,
    /// Distance of two tokens in the packed matrix.
    width: usize,
    packed_rows: Vec<usize>,
    rows_s: Vec<usize>,
    rows_e: Vec<usize>,
    ones: Vec<usize>,
}

impl Work {
    fn new([_, s, h, e]: [usize; 4]) -> Self {
        let width = 3 * h * e;
        Self { s, e, width, packed_rows: strided(s, width), rows_s: strided(s, s), rows_e: strided(s, e), ones: strided(s.max(e), 1) }
    }

    /// A head's queries (0), keys (1) or values (2) as `s × e`.
    fn copy(&self, sequence: &[f32], head: usize, which: usize) -> Vec<f32> {
        columns(sequence, self.width, self.column(head, which), self.e)
    }

    /// The same as `e × s`.
    fn transposed(&self, sequence: &[f32], head: usize, which: usize) -> Vec<f32> {
        let mut to = vec![0.0; self.e * self.s];
        transpose_part(&sequence[self.column(head, which)..], self.width, [self.s, self.e], &mut to, self.s);
        to
    }

    fn column(&self, head: usize, which: usize) -> usize {
        which * self.width / 3 + head * self.e
    }

    /// A·B with A `s × s`, or its transpose, and B `s × e`.
    fn square_times(&self, a: &[f32], transposed: bool, b: &[f32]) -> Vec<f32> {
        let (rows, columns): (&[usize], &[usize]) =
            if transposed { (&self.ones[..self.s], &self.rows_s) } else { (&self.rows_s, &self.ones[..self.s]) };
        Left { values: a, rows, columns }.times(Right::Rows(b), self.e)
    }

    /// A·Bᵀ with A `s × e` in rows at `rows`, and Bᵀ given.
    fn times_transposed<'a>(&self, a: &[f32], rows: &[usize], b: &[f32], c: &'a mut [MaybeUninit<f32>]) -> &'a mut [f32] {
        Multiply { a: Left { values: a, rows, columns: &self.ones[..self.e] }, b: Right::Rows(b), n: self.s, c: Into::Set(c) }.run()
    }
}

/// The outputs and the attention weights.
fn forward(qkv: &[f32], mask: &[f32], shape: [usize; 4]) -> (Vec<f32>, Vec<f32>) {
    let [n, s, h, e] = shape;
    let work = Work::new(shape);
    let scale = 1.0 / (e as f32).sqrt();
    let mut output = vec![0.0; n * s * h * e];
    let sequence = |((output, weights), (qkv, mask)): ((&mut [f32], &mut [MaybeUninit<f32>]), (&[f32], &[f32]))| {
        for (head, weights) in weights.chunks_exact_mut(s * s).enumerate() {
            let keys = work.transposed(qkv, head, 1);
            let weights = work.times_transposed(&qkv[head * e..], &work.packed_rows, &keys, weights);
            weights.chunks_exact_mut(s).for_each(|row| softmax_row(row, mask, scale));
            let values = work.square_times(weights, false, &work.copy(qkv, head, 2));
            for (token, values) in output.chunks_exact_mut(h * e).zip(values.chunks_exact(e)) {
                token[head * e..(head + 1) * e].copy_from_slice(values);
            }
        }
    };
    // SAFETY: every sequence multiplies into the whole of the places of each of its heads.
    let [weights] = unsafe {
        written([n * h * s * s], |[weights]| {
            let sequences = output.par_chunks_exact_mut(s * h * e).zip(weights.par_chunks_exact_mut(h * s * s));
            sequences.zip(qkv.par_chunks_exact(s * work.width).zip(mask.par_chunks_exact(s))).for_each(sequence);
        })
    };
    (output, weights)
}

fn backward(qkv: &[f32], weights: &[f32], gradient: &[f32], shape: [usize; 4]) -> Vec<f32> {
    let [_, s, h, e] = shape;
    let work = Work::new(shape);
    let scale = 1.0 / (e as f32).sqrt();
    let mut qkv_gradient = vec![0.0; qkv.len()];
    let inputs = qkv.par_chunks_exact(s * work.width).zip(weights.par_chunks_exact(h * s * s));
    let sequences = qkv_gradient.par_chunks_exact_mut(s * work.width).zip(gradient.par_chunks_exact(s * h * e));
    sequences.zip(inputs).for_each(|((to, gradient), (qkv, weights))| {
        let mut dp = vec![MaybeUninit::uninit(); s * s];
        for (head, weights) in weights.chunks_exact(s * s).enumerate() {
            let dout = columns(gradient, h * e, head * e, e);
            let dv = work.square_times(weights, true, &dout);
            let dp = work.times_transposed(&dout, &work.rows_e, &work.transposed(qkv, head, 2), &mut dp);
            weights.chunks_exact(s).zip(dp.chunks_exact_mut(s)).for_each(|(p, dp)| softmax_backward_row(p, dp, scale));
            let dq = work.square_times(dp, false, &work.copy(qkv, head, 1));
            let dk = work.square_times(dp, true, &work.copy(qkv, head, 0));
            for (which, part) in [dq, dk, dv].iter().enumerate() {
                let first = which * h * e + head * e;
                for (token, part) in to.chunks_exact_mut(work.width).zip(part.chunks_exact(e)) {
                    token[first..first + e].copy_from_slice(part);
                }
            }
        }
    });
    qkv_gradient
}

#[backend_extension(Flex, Autodiff)]
trait Attention: Backend {
    fn attention(qkv: FloatTensor<Self>, mask: FloatTensor<Self>, shape: [usize; 4]) -> FloatTensor<Self> {
        Self::attention_with_weights(qkv, mask, shape).0
    }

    /// The output, and the attention weights.
    fn attention_with_weights(qkv: FloatTensor<Self>, mask: FloatTensor<Self>, shape: [usize; 4])
    -> (FloatTensor<Self>, FloatTensor<Self>);

    fn attention_backward(
        qkv: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        shape: [usize; 4],
    ) -> FloatTensor<Self>;
}

impl Attention for Flex {
    fn attention_with_weights(
        qkv: FloatTensor<Self>,
        mask: FloatTensor<Self>,
        shape: [usize; 4],
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [n, s, h, e] = shape;
        let (output, weights) = forward(Values::of(&qkv).as_slice(), Values::of(&mask).as_slice(), shape);
        (tensor(output, [n * s, h * e]), tensor(weights, [n * h * s, s]))
    }

    fn attention_backward(
        qkv: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        shape: [usize; 4],
    ) -> FloatTensor<Self> {
        let [n, s, h, e] = shape;
        let (qkv, weights, gradient) = (Values::of(&qkv), Values::of(&weights), Values::of(&output_gradient));
        tensor(backward(qkv.as_slice(), weights.as_slice(), gradient.as_slice(), shape), [n * s, 3 * h * e])
    }
}

impl<B: Attention, C: CheckpointStrategy> Attention for Autodiff<B, C> {
    fn attention(qkv: FloatTensor<Self>, mask: FloatTensor<Self>, shape: [usize; 4]) -> FloatTensor<Self> {
        let value = qkv.primitive().clone();
        let (output, weights) = B::attention_with_weights(value.clone(), mask.into_primitive(), shape);
        differentiable::<B, C, 1>([&qkv], output, move |gradient, _| {
            [Some(B::attention_backward(value.clone(), weights.clone(), gradient, shape))]
        })
    }

    /// Only the operator above is differentiable: the results are constants.
    fn attention_with_weights(
        qkv: FloatTensor<Self>,
        mask: FloatTensor<Self>,
        shape: [usize; 4],
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (output, weights) = B::attention_with_weights(qkv.into_primitive(), mask.into_primitive(), shape);
        (FloatTensor::<Self>::new(output), FloatTensor::<Self>::new(weights))
    }

    /// A gradient of a gradient is not offered: the result is a constant.
    fn attention_backward(
        qkv: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        shape: [usize; 4],
    ) -> FloatTensor<Self> {
        let (qkv, weights, gradient) = (qkv.into_primitive(), weights.into_primitive(), output_gradient.into_primitive());
        FloatTensor::<Self>::new(B::attention_backward(qkv, weights, gradient, shape))
    }
}
