//! Sums and means whose bits do not depend on the width of a processor's registers.

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex, autodiff::checkpoint::strategy::CheckpointStrategy, backend_extension, tensor::FloatTensor,
    },
    tensor::Tensor,
};

use crate::{
    autodiff::differentiable,
    check,
    flex::{Values, is_flex, tensor},
};

/// Σⱼ xᵢⱼ of each row, shape `n`: added up in double precision from left to right.
pub fn row_sums(x: Tensor<2>) -> Tensor<1> {
    if is_flex(&x.device()) {
        let dims = x.dims();
        return Tensor::from_dispatch(<Dispatch as RowSums>::row_sums(x.into_dispatch(), dims));
    }
    x.sum_dim(1).squeeze_dim(1)
}

/// The mean of a vector of at least one number, shape `1`.
pub fn mean(x: Tensor<1>) -> Tensor<1> {
    let [n] = x.dims();
    check::holds("mean", n > 0, || "a vector of 0 numbers, expected 1 or more".into());
    row_sums(x.reshape([1, n])) * (1.0 / n as f64)
}

fn forward(x: &[f32], [n, d]: [usize; 2]) -> Vec<f32> {
    if d == 0 {
        return vec![0.0; n];
    }
    x.chunks_exact(d).map(|row| row.iter().map(|x| f64::from(*x)).sum::<f64>() as f32).collect()
}

#[backend_extension(Flex, Autodiff)]
trait RowSums: Backend {
    fn row_sums(x: FloatTensor<Self>, dims: [usize; 2]) -> FloatTensor<Self>;

    fn row_sums_backward(output_gradient: FloatTensor<Self>, dims: [usize; 2]) -> FloatTensor<Self>;
}

impl RowSums for Flex {
    fn row_sums(x: FloatTensor<Self>, dims: [usize; 2]) -> FloatTensor<Self> {
        tensor(forward(Values::of(&x).as_slice(), dims), [dims[0]])
    }

    fn row_sums_backward(output_gradient: FloatTensor<Self>, dims: [usize; 2]) -> FloatTensor<Self> {
        let g = Values::of(&output_gradient);
        tensor(g.as_slice().iter().flat_map(|g| std::iter::repeat_n(*g, dims[1])).collect(), dims)
    }
}

impl<B: RowSums, C: CheckpointStrategy> RowSums for Autodiff<B, C> {
    fn row_sums(x: FloatTensor<Self>, dims: [usize; 2]) -> FloatTensor<Self> {
        let output = B::row_sums(x.primitive().clone(), dims);
        differentiable::<B, C, 1>([&x], output, move |gradient, _| [Some(B::row_sums_backward(gradient, dims))])
    }

    /// A gradient of a gradient is not offered: the result is a constant.
    fn row_sums_backward(output_gradient: FloatTensor<Self>, dims: [usize; 2]) -> FloatTensor<Self> {
        FloatTensor::<Self>::new(B::row_sums_backward(output_gradient.into_primitive(), dims))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn sums_and_gradients_worked_by_hand() {
        let device = Device::flex();
        let x = Tensor::<2>::from_data(TensorData::new(vec![1.0_f32, 2.0, 3.0, 1e8, 1.0, -1e8], [2, 3]), &device).autodiff().require_grad();
        let sums = row_sums(x.clone());
        assert_eq!(sums.clone().into_data().try_to_vec::<f32>().unwrap(), [6.0, 1.0]);
        let scale = Tensor::<1>::from_data(TensorData::new(vec![2.0_f32, -1.0], [2]), &device).autodiff();
        let gradients = (sums * scale).sum().backward();
        assert_eq!(x.grad(&gradients).unwrap().into_data().try_to_vec::<f32>().unwrap(), [2.0, 2.0, 2.0, -1.0, -1.0, -1.0]);
        let v = Tensor::<1>::from_data(TensorData::new(vec![1.0_f32, 2.0, 6.0], [3]), &device);
        assert_eq!(mean(v).into_data().try_to_vec::<f32>().unwrap(), [3.0]);
    }
}
