//! Rows of a matrix by their numbers: the look-up of embeddings, and the positions at which a loss is taken.
//!
//! ```text
//! y[i] = x[rows[i]],  ∂x[r] = Σ over i with rows[i] = r of ∂y[i]
//! ```

use std::sync::Arc;

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex, autodiff::checkpoint::strategy::CheckpointStrategy, backend_extension, tensor::FloatTensor,
    },
    tensor::{Int, Tensor, TensorData},
};
use rayon::prelude::*;

use crate::{
    autodiff::differentiable,
    check,
    flex::{Values, is_flex, tensor},
};

/// The rows of `x` (`v × d`) with these numbers, in this order: `rows.len() × d`.
pub fn gather_rows(x: Tensor<2>, rows: &[u32]) -> Tensor<2> {
    let [v, d] = x.dims();
    check::holds("gather_rows", rows.iter().all(|&row| (row as usize) < v), || format!("a row beyond the {v} that x has"));
    check::product("gather_rows", &[rows.len().max(v), d]);
    if is_flex(&x.device()) {
        return Tensor::from_dispatch(<Dispatch as GatherRows>::gather_rows(x.into_dispatch(), rows.into(), [v, d]));
    }
    let numbers: Vec<i64> = rows.iter().map(|&row| i64::from(row)).collect();
    let device = x.device().inner();
    let numbers = Tensor::<1, Int>::from_data(TensorData::new(numbers, [rows.len()]), &device);
    if x.is_autodiff() { x.select(0, numbers.autodiff()) } else { x.select(0, numbers) }
}

fn forward(x: &[f32], rows: &[u32], d: usize) -> Vec<f32> {
    let mut y = Vec::with_capacity(rows.len() * d);
    rows.iter().for_each(|&row| y.extend_from_slice(&x[row as usize * d..(row as usize + 1) * d]));
    y
}

/// Rows of x that one task sums into. The cut does not depend on the number of threads.
const BLOCK: usize = 512;

fn backward(gradient: &[f32], rows: &[u32], [v, d]: [usize; 2]) -> Vec<f32> {
    let mut dx = vec![0.0; v * d];
    if d > 0 {
        dx.par_chunks_mut(BLOCK * d).enumerate().for_each(|(block, dx)| {
            for (&row, gradient) in rows.iter().zip(gradient.chunks_exact(d)) {
                if row as usize / BLOCK == block {
                    let at = row as usize % BLOCK * d;
                    dx[at..at + d].iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g);
                }
            }
        });
    }
    dx
}

#[backend_extension(Flex, Autodiff)]
trait GatherRows: Backend {
    fn gather_rows(x: FloatTensor<Self>, rows: Arc<[u32]>, dims: [usize; 2]) -> FloatTensor<Self>;

    fn gather_rows_backward(output_gradient: FloatTensor<Self>, rows: Arc<[u32]>, dims: [usize; 2]) -> FloatTensor<Self>;
}

impl GatherRows for Flex {
    fn gather_rows(x: FloatTensor<Self>, rows: Arc<[u32]>, [_, d]: [usize; 2]) -> FloatTensor<Self> {
        tensor(forward(Values::of(&x).as_slice(), &rows, d), [rows.len(), d])
    }

    fn gather_rows_backward(output_gradient: FloatTensor<Self>, rows: Arc<[u32]>, dims: [usize; 2]) -> FloatTensor<Self> {
        tensor(backward(Values::of(&output_gradient).as_slice(), &rows, dims), dims)
    }
}

impl<B: GatherRows, C: CheckpointStrategy> GatherRows for Autodiff<B, C> {
    fn gather_rows(x: FloatTensor<Self>, rows: Arc<[u32]>, dims: [usize; 2]) -> FloatTensor<Self> {
        let output = B::gather_rows(x.primitive().clone(), rows.clone(), dims);
        differentiable::<B, C, 1>([&x], output, move |gradient, _| [Some(B::gather_rows_backward(gradient, rows.clone(), dims))])
    }

    /// A gradient of a gradient is not offered: the result is a constant.
    fn gather_rows_backward(output_gradient: FloatTensor<Self>, rows: Arc<[u32]>, dims: [usize; 2]) -> FloatTensor<Self> {
        FloatTensor::<Self>::new(B::gather_rows_backward(output_gradient.into_primitive(), rows, dims))
    }
}
