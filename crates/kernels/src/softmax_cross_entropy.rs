//! Softmax and cross-entropy in one operator.
//!
//! For logits `z` (`n × k`) and target distributions `t` (`n × k`):
//!
//! ```text
//! loss_i      = Σ_j t_ij · (log Σ_l exp z_il − z_ij)
//! ∂loss_i/∂z_ij = p_ij · Σ_l t_il − t_ij        with p = softmax(z)
//! ```

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex, autodiff::checkpoint::strategy::CheckpointStrategy, backend_extension, tensor::FloatTensor,
    },
    tensor::{Tensor, activation::log_softmax},
};
use lyceum_core::{math::exp_of_negative, vectorize};
use rayon::prelude::*;

use crate::{
    autodiff::differentiable,
    check,
    flex::{Values, tensor},
};

/// The cross-entropy of each row, shape `n`.
///
/// * `logits`: `n × k`, differentiable.
/// * `targets`: `n × k`, each row a distribution over the classes (one-hot, smoothed or mixed); a constant.
pub fn softmax_cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    check::same("softmax_cross_entropy", "targets", targets.dims(), logits.dims());
    if crate::flex::is_flex(&logits.device()) {
        let losses = <Dispatch as SoftmaxCrossEntropy>::softmax_cross_entropy(logits.into_dispatch(), targets.into_dispatch());
        Tensor::from_dispatch(losses)
    } else {
        -(log_softmax(logits, 1) * targets).sum_dim(1).squeeze_dim(1)
    }
}

#[backend_extension(Flex, Autodiff)]
trait SoftmaxCrossEntropy: Backend {
    fn softmax_cross_entropy(logits: FloatTensor<Self>, targets: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The gradient to the logits, given the gradient to each row's loss.
    fn softmax_cross_entropy_backward(
        logits: FloatTensor<Self>,
        targets: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl SoftmaxCrossEntropy for Flex {
    fn softmax_cross_entropy(logits: FloatTensor<Self>, targets: FloatTensor<Self>) -> FloatTensor<Self> {
        let n = logits.layout().shape()[0];
        let (logits, targets) = (Values::of(&logits), Values::of(&targets));
        tensor(forward(logits.as_slice(), targets.as_slice(), n), [n])
    }

    fn softmax_cross_entropy_backward(
        logits: FloatTensor<Self>,
        targets: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (n, k) = (logits.layout().shape()[0], logits.layout().shape()[1]);
        let (logits, targets, output_gradient) = (Values::of(&logits), Values::of(&targets), Values::of(&output_gradient));
        tensor(backward(logits.as_slice(), targets.as_slice(), output_gradient.as_slice()), [n, k])
    }
}

impl<B: SoftmaxCrossEntropy, C: CheckpointStrategy> SoftmaxCrossEntropy for Autodiff<B, C> {
    fn softmax_cross_entropy(logits: FloatTensor<Self>, targets: FloatTensor<Self>) -> FloatTensor<Self> {
        let (z, t) = (logits.primitive().clone(), targets.into_primitive());
        let output = B::softmax_cross_entropy(z.clone(), t.clone());
        differentiable::<B, C, 1>([&logits], output, move |gradient, _| {
            [Some(B::softmax_cross_entropy_backward(z.clone(), t.clone(), gradient))]
        })
    }

    /// A gradient of a gradient is not offered: the result is a constant.
    fn softmax_cross_entropy_backward(
        logits: FloatTensor<Self>,
        targets: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (logits, targets) = (logits.into_primitive(), targets.into_primitive());
        Self::FloatTensorPrimitive::new(B::softmax_cross_entropy_backward(logits, targets, output_gradient.into_primitive()))
    }
}

/// Rows that one task works on. The cut does not depend on the number of threads.
pub(crate) const ROWS: usize = 32;

fn forward(logits: &[f32], targets: &[f32], n: usize) -> Vec<f32> {
    let k = (logits.len() / n.max(1)).max(1);
    let row = |(z, t): (&[f32], &[f32])| {
        let (max, sum) = max_and_sum(z);
        let log_sum = max + sum.ln();
        z.iter().zip(t).map(|(z, t)| if *t == 0.0 { 0.0 } else { t * (log_sum - z) }).sum()
    };
    let mut losses = vec![0.0; n];
    losses.par_chunks_mut(ROWS).zip(logits.par_chunks(ROWS * k).zip(targets.par_chunks(ROWS * k))).for_each(|(losses, (z, t))| {
        losses.iter_mut().zip(z.chunks_exact(k).zip(t.chunks_exact(k))).for_each(|(loss, rows)| *loss = row(rows));
    });
    losses
}

fn backward(logits: &[f32], targets: &[f32], output_gradient: &[f32]) -> Vec<f32> {
    let k = (logits.len() / output_gradient.len().max(1)).max(1);
    let mut gradient = vec![0.0; logits.len()];
    let inputs = logits.par_chunks(ROWS * k).zip(targets.par_chunks(ROWS * k)).zip(output_gradient.par_chunks(ROWS));
    gradient.par_chunks_mut(ROWS * k).zip(inputs).for_each(|(gradient, ((z, t), g))| {
        let rows = gradient.chunks_exact_mut(k).zip(z.chunks_exact(k).zip(t.chunks_exact(k))).zip(g);
        for ((gradient, (z, t)), g) in rows {
            softmax_row(z, t.iter().sum::<f32>() * g, gradient);
            gradient.iter_mut().zip(t).for_each(|(gradient, t)| *gradient -= g * t);
        }
    });
    gradient
}

vectorize! {
    /// The largest logit and Σ exp(z − largest); NaN where a logit is NaN or +∞, so that a training that has diverged
    /// shows it.
    pub(crate) fn max_and_sum(z: &[f32]) -> (f32, f32) {
        let (whole, rest) = z.as_chunks::<16>();
        let (mut maxima, mut bad) = ([f32::NEG_INFINITY; 16], [false; 16]);
        for chunk in whole {
            for lane in 0..16 {
                maxima[lane] = if chunk[lane] > maxima[lane] { chunk[lane] } else { maxima[lane] };
                bad[lane] |= chunk[lane].is_nan() | (chunk[lane] == f32::INFINITY);
            }
        }
        for (lane, z) in rest.iter().enumerate() {
            maxima[lane] = if *z > maxima[lane] { *z } else { maxima[lane] };
            bad[lane] |= z.is_nan() | (*z == f32::INFINITY);
        }
        let max = maxima.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if bad.contains(&true) || max == f32::NEG_INFINITY {
            return (f32::NAN, f32::NAN);
        }
        let mut sums = [0.0_f32; 16];
        for chunk in whole {
            for lane in 0..16 {
                sums[lane] += exp_of_negative(chunk[lane] - max);
            }
        }
        for (lane, z) in rest.iter().enumerate() {
            sums[lane] += exp_of_negative(z - max);
        }
        (max, sums.iter().sum())
    }
}

/// `scale` · softmax(z), in `to`.
pub(crate) fn softmax_row(z: &[f32], scale: f32, to: &mut [f32]) {
    let (max, sum) = max_and_sum(z);
    exponentials(z, max, scale / sum, to);
}

vectorize! {
    fn exponentials(z: &[f32], max: f32, factor: f32, to: &mut [f32]) {
        to.iter_mut().zip(z).for_each(|(to, z)| *to = exp_of_negative(z - max) * factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use proptest::prelude::*;

    fn gradient(logits: &[f32], targets: &[f32], n: usize) -> Vec<f32> {
        let device = Device::flex().autodiff();
        let k = logits.len() / n;
        let data = |values: &[f32]| burn::tensor::TensorData::new(values.to_vec(), [n, k]);
        let z = Tensor::<2>::from_data(data(logits), &device).require_grad();
        let gradients = softmax_cross_entropy(z.clone(), Tensor::from_data(data(targets), &device)).sum().backward();
        z.grad(&gradients).unwrap().try_into_vec_as().unwrap()
    }

    /// The sum of losses in double precision, for finite differences.
    fn reference(logits: &[f32], targets: &[f32], k: usize, nudge: (usize, f64)) -> f64 {
        let z: Vec<f64> = logits.iter().enumerate().map(|(i, z)| f64::from(*z) + if i == nudge.0 { nudge.1 } else { 0.0 }).collect();
        let row = |(z, t): (&[f64], &[f32])| {
            let log_sum = z.iter().map(|z| z.exp()).sum::<f64>().ln();
            z.iter().zip(t).map(|(z, t)| f64::from(*t) * (log_sum - z)).sum::<f64>()
        };
        z.chunks(k).zip(targets.chunks(k)).map(row).sum()
    }

    proptest! {
        #[test]
        fn the_gradient_equals_finite_differences(n in 1_usize..5, k in 1_usize..6, seed in 0_u32..1000) {
            let value = |i: usize| ((i as f32 + 1.0) * 12.9898 + seed as f32).sin();
            let logits: Vec<f32> = (0..n * k).map(|i| 4.0 * value(i)).collect();
            let targets: Vec<f32> = (0..n * k).map(|i| value(i + 100).abs()).collect();
            for (i, found) in gradient(&logits, &targets, n).into_iter().enumerate() {
                let h = 1e-5;
                let expected = (reference(&logits, &targets, k, (i, h)) - reference(&logits, &targets, k, (i, -h))) / (2.0 * h);
                prop_assert!((f64::from(found) - expected).abs() < 2e-5, "{found} {expected}");
            }
        }
    }

    #[test]
    fn it_agrees_with_burns_own_operators() {
        let device = Device::flex();
        let logits = Tensor::<2>::from_floats([[1.0, -2.0, 30.0], [0.0, 0.5, 0.25]], &device);
        let targets = Tensor::<2>::from_floats([[0.0, 1.0, 0.0], [0.2, 0.3, 0.5]], &device);
        let expected: Vec<f32> = (-(log_softmax(logits.clone(), 1) * targets.clone()).sum_dim(1)).try_into_vec_as().unwrap();
        let found: Vec<f32> = softmax_cross_entropy(logits.transpose().transpose(), targets).try_into_vec_as().unwrap();
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }

    #[test]
    fn divergence_is_not_hidden() {
        for bad in [f32::NAN, f32::INFINITY] {
            for at in [0, 3, 17] {
                let mut logits = vec![0.5; 20];
                logits[at] = bad;
                let mut targets = vec![0.0; 20];
                targets[1] = 1.0;
                assert!(forward(&logits, &targets, 1)[0].is_nan());
                assert!(backward(&logits, &targets, &[1.0])[1].is_nan());
            }
        }
    }

    #[test]
    fn huge_logits_do_not_overflow() {
        let found = forward(&[1e30, 0.0, -1e30, 0.0], &[1.0, 0.0, 0.0, 1.0], 2);
        assert_eq!(found, [0.0, 0.0]);
        assert!(gradient(&[1e30, 0.0], &[0.0, 1.0], 1).iter().all(|g| g.is_finite()));
    }
}
