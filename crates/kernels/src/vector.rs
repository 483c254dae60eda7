//! Long vectors: the whole of a model's parameters, or of its gradient, as one tensor.
//!
//! What is summed is summed in double precision over pieces of fixed length, and the pieces in their order, so a
//! result does not depend on the number of threads.

use burn::{
    backend::{Backend, Dispatch, Flex, backend_extension, tensor::FloatTensor},
    tensor::{Tensor, TensorData},
};
use rayon::prelude::*;

use crate::flex::{Values, is_flex, tensor};

/// The length of a piece: 64 KiB of floats, which stays in a core's second-level cache.
const PIECE: usize = 1 << 14;

/// ⟨a, b⟩ of two tensors of the same shape, without gradients.
pub fn dot(a: &Tensor<1>, b: &Tensor<1>) -> f64 {
    assert_eq!(a.dims(), b.dims(), "vectors of the same length");
    if is_flex(&a.device()) {
        let pieces = <Dispatch as LongVector>::dot_pieces(a.clone().inner().into_dispatch(), b.clone().inner().into_dispatch());
        sum_of_pieces(Tensor::from_dispatch(pieces))
    } else {
        f64::from((a.clone().inner() * b.clone().inner()).sum().into_scalar::<f32>())
    }
}

/// ‖a‖₂.
pub fn norm(a: &Tensor<1>) -> f64 {
    dot(a, a).sqrt()
}

/// a + s·b in one sweep, without gradients.
pub fn add_scaled(a: &Tensor<1>, s: f64, b: &Tensor<1>) -> Tensor<1> {
    assert_eq!(a.dims(), b.dims(), "vectors of the same length");
    let (a, b) = (a.clone().inner(), b.clone().inner());
    if is_flex(&a.device()) {
        Tensor::from_dispatch(<Dispatch as LongVector>::add_scaled(a.into_dispatch(), s as f32, b.into_dispatch()))
    } else {
        a + b * s
    }
}

/// Each piece's sum travels as two floats, high and low part.
fn sum_of_pieces(pieces: Tensor<1>) -> f64 {
    to_vec(&pieces).into_iter().map(f64::from).sum()
}

#[backend_extension(Flex)]
trait LongVector: Backend {
    fn dot_pieces(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;

    fn add_scaled(a: FloatTensor<Self>, s: f32, b: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl LongVector for Flex {
    fn dot_pieces(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        let (a, b) = (Values::of(&a), Values::of(&b));
        let sums: Vec<[f32; 2]> = a
            .as_slice()
            .par_chunks(PIECE)
            .zip(b.as_slice().par_chunks(PIECE))
            .map(|(a, b)| {
                let sum = dot_piece(a, b);
                let high = sum as f32;
                [high, (sum - f64::from(high)) as f32]
            })
            .collect();
        let n = 2 * sums.len();
        tensor(sums.into_flattened(), [n])
    }

    fn add_scaled(a: FloatTensor<Self>, s: f32, b: FloatTensor<Self>) -> FloatTensor<Self> {
        let (a, b) = (Values::of(&a), Values::of(&b));
        let (a, b) = (a.as_slice(), b.as_slice());
        let mut sum = vec![0.0; a.len()];
        sum.par_chunks_mut(PIECE).zip(a.par_chunks(PIECE).zip(b.par_chunks(PIECE))).for_each(|(sum, (a, b))| {
            sum.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum = a + s * b);
        });
        let n = sum.len();
        tensor(sum, [n])
    }
}

/// Eight running sums, so that the additions do not wait for one another.
fn dot_piece(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0_f64; 8];
    let (whole_a, rest_a) = a.as_chunks::<8>();
    let (whole_b, rest_b) = b.as_chunks::<8>();
    for (a, b) in whole_a.iter().zip(whole_b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += f64::from(*a) * f64::from(*b);
        }
    }
    let rest: f64 = rest_a.iter().zip(rest_b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    sums.iter().sum::<f64>() + rest
}

/// A vector's values.
pub fn to_vec(a: &Tensor<1>) -> Vec<f32> {
    a.clone().inner().try_into_vec_as().expect("the device gives back what it holds")
}

/// A vector of these values.
pub fn from_vec(values: Vec<f32>, device: &burn::tensor::Device) -> Tensor<1> {
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn vector(n: usize, f: impl Fn(usize) -> f32) -> Tensor<1> {
        from_vec((0..n).map(f).collect(), &Device::flex())
    }

    #[test]
    fn sums_are_exact_to_double_precision() {
        for n in [0, 1, 7, 8, 100, PIECE, 3 * PIECE + 5] {
            let (a, b) = (vector(n, |i| (i as f32 * 0.37).sin()), vector(n, |i| (i as f32 * 0.11).cos()));
            let expected: f64 = to_vec(&a).iter().zip(to_vec(&b)).map(|(a, b)| f64::from(*a) * f64::from(b)).sum();
            assert!((dot(&a, &b) - expected).abs() < 1e-9 * (1.0 + n as f64), "{n}");
            let moved = to_vec(&add_scaled(&a, -0.5, &b));
            assert!(moved.iter().zip(to_vec(&a).iter().zip(to_vec(&b))).all(|(m, (a, b))| *m == a - 0.5 * b));
        }
    }

    #[test]
    fn one_thread_and_many_give_the_same_bits() {
        let (a, b) = (vector(200_003, |i| (i as f32).sin()), vector(200_003, |i| (i as f32).cos()));
        let with = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| dot(&a, &b).to_bits());
        assert_eq!(with(1), with(4));
    }
}
