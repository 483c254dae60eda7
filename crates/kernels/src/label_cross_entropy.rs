//! Softmax and cross-entropy where each row has one right class: for many classes, such as the tokens of a vocabulary.
//!
//! ```text
//! loss_i = log Σ_l exp z_il − z_i,label(i),  ∂loss_i/∂z_ij = p_ij − [j = label(i)]        with p = softmax(z)
//! ```

use std::sync::Arc;

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex, autodiff::checkpoint::strategy::CheckpointStrategy, backend_extension, tensor::FloatTensor,
    },
    tensor::{Int, Tensor, TensorData, activation::log_softmax},
};
use rayon::prelude::*;

use crate::{
    autodiff::differentiable,
    check,
    flex::{Values, is_flex, tensor},
    softmax_cross_entropy::{ROWS, max_and_sum, softmax_row},
};

/// The cross-entropy of each row, shape `n`.
///
/// * `logits`: `n × k`, differentiable.
/// * `labels`: `n`, the number of each row's class.
pub fn label_cross_entropy(logits: Tensor<2>, labels: &[u32]) -> Tensor<1> {
    let [n, k] = logits.dims();
    let fit = labels.len() == n && labels.iter().all(|&label| (label as usize) < k);
    check::holds("label_cross_entropy", fit, || format!("expected one label below {k} for each of {n} rows"));
    if is_flex(&logits.device()) {
        let losses = <Dispatch as LabelCrossEntropy>::label_cross_entropy(logits.into_dispatch(), labels.into(), [n, k]);
        return Tensor::from_dispatch(losses);
    }
    let labels: Vec<i64> = labels.iter().map(|&label| i64::from(label)).collect();
    let device = logits.device().inner();
    let labels = Tensor::<2, Int>::from_data(TensorData::new(labels, [n, 1]), &device);
    let labels = if logits.is_autodiff() { labels.autodiff() } else { labels };
    -log_softmax(logits, 1).gather(1, labels).squeeze_dim(1)
}

fn forward(logits: &[f32], labels: &[u32], k: usize) -> Vec<f32> {
    let row = |(z, label): (&[f32], &u32)| {
        let (max, sum) = max_and_sum(z);
        max + sum.ln() - z[*label as usize]
    };
    let blocks = logits.par_chunks(ROWS * k).zip(labels.par_chunks(ROWS));
    blocks.flat_map_iter(|(z, labels)| z.chunks_exact(k).zip(labels).map(row)).collect()
}

fn backward(logits: &[f32], labels: &[u32], output_gradient: &[f32], k: usize) -> Vec<f32> {
    let mut gradient = vec![0.0; logits.len()];
    let inputs = logits.par_chunks(ROWS * k).zip(labels.par_chunks(ROWS).zip(output_gradient.par_chunks(ROWS)));
    gradient.par_chunks_mut(ROWS * k).zip(inputs).for_each(|(gradient, (z, (labels, g)))| {
        for ((gradient, z), (label, g)) in gradient.chunks_exact_mut(k).zip(z.chunks_exact(k)).zip(labels.iter().zip(g)) {
            softmax_row(z, *g, gradient);
            gradient[*label as usize] -= g;
        }
    });
    gradient
}

#[backend_extension(Flex, Autodiff)]
trait LabelCrossEntropy: Backend {
    fn label_cross_entropy(logits: FloatTensor<Self>, labels: Arc<[u32]>, dims: [usize; 2]) -> FloatTensor<Self>;

    /// The gradient to the logits, given the gradient to each row's loss.
    fn label_cross_entropy_backward(
        logits: FloatTensor<Self>,
        labels: Arc<[u32]>,
        output_gradient: FloatTensor<Self>,
        dims: [usize; 2],
    ) -> FloatTensor<Self>;
}

impl LabelCrossEntropy for Flex {
    fn label_cross_entropy(logits: FloatTensor<Self>, labels: Arc<[u32]>, [n, k]: [usize; 2]) -> FloatTensor<Self> {
        tensor(forward(Values::of(&logits).as_slice(), &labels, k), [n])
    }

    fn label_cross_entropy_backward(
        logits: FloatTensor<Self>,
        labels: Arc<[u32]>,
        output_gradient: FloatTensor<Self>,
        dims: [usize; 2],
    ) -> FloatTensor<Self> {
        let (logits, gradient) = (Values::of(&logits), Values::of(&output_gradient));
        tensor(backward(logits.as_slice(), &labels, gradient.as_slice(), dims[1]), dims)
    }
}

impl<B: LabelCrossEntropy, C: CheckpointStrategy> LabelCrossEntropy for Autodiff<B, C> {
    fn label_cross_entropy(logits: FloatTensor<Self>, labels: Arc<[u32]>, dims: [usize; 2]) -> FloatTensor<Self> {
        let z = logits.primitive().clone();
        let output = B::label_cross_entropy(z.clone(), labels.clone(), dims);
        differentiable::<B, C, 1>([&logits], output, move |gradient, _| {
            [Some(B::label_cross_entropy_backward(z.clone(), labels.clone(), gradient, dims))]
        })
    }

    /// A gradient of a gradient is not offered: the result is a constant.
    fn label_cross_entropy_backward(
        logits: FloatTensor<Self>,
        labels: Arc<[u32]>,
        output_gradient: FloatTensor<Self>,
        dims: [usize; 2],
    ) -> FloatTensor<Self> {
        let found = B::label_cross_entropy_backward(logits.into_primitive(), labels, output_gradient.into_primitive(), dims);
        FloatTensor::<Self>::new(found)
    }
}
