//! Maximum over square windows that touch, with ReLU in the same operator.
//!
//! The gradient goes to the first of the largest values of a window; with ReLU to none where the largest is not above 0.

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex, autodiff::checkpoint::strategy::CheckpointStrategy, backend_extension, tensor::FloatTensor,
    },
    tensor::{Tensor, activation as burn_activation, module::max_pool2d, ops::MaxPoolOptions},
};
use lyceum_core::vectorize;
use rayon::prelude::*;

use crate::{
    Activation,
    activation::{gate_all, relu},
    autodiff::differentiable,
    check,
    flex::{Values, is_flex, tensor},
};

/// The maximum of each `size × size` window, through an activation. Rows and columns that do not fill a window are
/// left out.
///
/// * `x`: `n × c × h × w`, with `h` and `w` at least `size`.
pub fn max_pool(x: Tensor<4>, size: usize, activation: Activation) -> Tensor<4> {
    if activation == Activation::Relu6 {
        return activation.apply(max_pool(x, size, Activation::None));
    }
    let rectify = activation == Activation::Relu;
    let [n, c, h, w] = x.dims();
    check::holds("max_pool", size > 0 && h >= size && w >= size, || format!("windows of {size} in images of {h} × {w}"));
    if is_flex(&x.device()) {
        return Tensor::from_dispatch(<Dispatch as MaxPool>::max_pool(x.into_dispatch(), [n * c, h, w, size], [n, c], rectify));
    }
    let y = max_pool2d(x, MaxPoolOptions::new([size, size]));
    if rectify { burn_activation::relu(y) } else { y }
}

fn forward(x: &[f32], [_, h, w, size]: [usize; 4], rectify: bool) -> Vec<f32> {
    let (oh, ow) = (h / size, w / size);
    let mut output = vec![if rectify { 0.0 } else { f32::NEG_INFINITY }; x.len() / (h * w) * oh * ow];
    let planes = output.par_chunks_exact_mut(oh * ow).zip(x.par_chunks_exact(h * w)).with_min_len(16);
    planes.for_each(|(output, x)| {
        if size == 2 {
            return halve(output, x, w, rectify);
        }
        for (row, output) in output.chunks_exact_mut(ow).enumerate() {
            for x in x[row * size * w..(row + 1) * size * w].chunks_exact(w) {
                let windows = output.iter_mut().zip(x.chunks_exact(size));
                windows.for_each(|(y, window)| *y = window.iter().fold(*y, |max, x| if *x > max || x.is_nan() { *x } else { max }));
            }
        }
    });
    output
}

fn backward(x: &[f32], output: &[f32], gradient: &[f32], [_, h, w, size]: [usize; 4]) -> Vec<f32> {
    let (oh, ow) = (h / size, w / size);
    let mut input_gradient = vec![0.0; x.len()];
    let planes = input_gradient.par_chunks_exact_mut(h * w).zip(x.par_chunks_exact(h * w)).with_min_len(16);
    planes.zip(output.par_chunks_exact(oh * ow).zip(gradient.par_chunks_exact(oh * ow))).for_each(|((to, x), (output, gradient))| {
        if size == 2 {
            return spread(to, x, output, gradient, w);
        }
        for row in 0..oh {
            for column in 0..ow {
                let max = output[row * ow + column];
                let corner = row * size * w + column * size;
                let window = (0..size * size).map(|index| corner + index / size * w + index % size);
                // Where ReLU has cut, no value of the window equals the output, or only a 0 does.
                if let Some(at) = { window }.find(|&at| x[at] == max) {
                    to[at] = gradient[row * ow + column];
                }
            }
        }
    });
    input_gradient
}

vectorize! {
    /// The forward pass on one plane with windows of 2 × 2.
    fn halve(output: &mut [f32], x: &[f32], w: usize, rectify: bool) {
        let max = |a: f32, b: f32| if b > a || b.is_nan() { b } else { a };
        for (output, rows) in output.chunks_exact_mut(w / 2).zip(x.chunks_exact(2 * w)) {
            let (top, bottom) = rows.split_at(w);
            let (top, bottom) = (top.as_chunks::<2>().0, bottom.as_chunks::<2>().0);
            for ((y, a), b) in output.iter_mut().zip(top).zip(bottom) {
                let m = max(max(a[0], a[1]), max(b[0], b[1]));
                *y = if rectify { relu(m) } else { m };
            }
        }
    }
}

vectorize! {
    /// The backward pass on one plane with windows of 2 × 2: the gradient goes to the first value that is the output.
    fn spread(to: &mut [f32], x: &[f32], output: &[f32], gradient: &[f32], w: usize) {
        let width = w / 2;
        let rows = to.chunks_exact_mut(2 * w).zip(x.chunks_exact(2 * w));
        for ((to, x), (y, g)) in rows.zip(output.chunks_exact(width).zip(gradient.chunks_exact(width))) {
            let (to_top, to_bottom) = to.split_at_mut(w);
            let (top, bottom) = x.split_at(w);
            let to = to_top.as_chunks_mut::<2>().0.iter_mut().zip(to_bottom.as_chunks_mut::<2>().0);
            let x = top.as_chunks::<2>().0.iter().zip(bottom.as_chunks::<2>().0);
            for (((to_a, to_b), (a, b)), (y, g)) in to.zip(x).zip(y.iter().zip(g)) {
                let first = a[0] == *y;
                let second = !first & (a[1] == *y);
                let third = !(first | second) & (b[0] == *y);
                let fourth = !(first | second | third) & (b[1] == *y);
                // By masks: which of the four it is cannot be foreseen, so branches would be guessed wrong.
                let pick = |hit: bool| f32::from_bits(g.to_bits() & u32::from(hit).wrapping_neg());
                *to_a = [pick(first), pick(second)];
                *to_b = [pick(third), pick(fourth)];
            }
        }
    }
}

#[backend_extension(Flex, Autodiff)]
trait MaxPool: Backend {
    /// `extents`: planes, height, width, window.
    fn max_pool(x: FloatTensor<Self>, extents: [usize; 4], planes: [usize; 2], relu: bool) -> FloatTensor<Self>;

    fn max_pool_backward(
        x: FloatTensor<Self>,
        output: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        extents: [usize; 4],
        planes: [usize; 2],
        relu: bool,
    ) -> FloatTensor<Self>;
}

impl MaxPool for Flex {
    fn max_pool(x: FloatTensor<Self>, extents: [usize; 4], [n, c]: [usize; 2], relu: bool) -> FloatTensor<Self> {
        let [_, h, w, size] = extents;
        tensor(forward(Values::of(&x).as_slice(), extents, relu), [n, c, h / size, w / size])
    }

    fn max_pool_backward(
        x: FloatTensor<Self>,
        output: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        extents: [usize; 4],
        [n, c]: [usize; 2],
        relu: bool,
    ) -> FloatTensor<Self> {
        let (x, output, gradient) = (Values::of(&x), Values::of(&output), Values::of(&output_gradient));
        let [_, h, w, _] = extents;
        let gradient = gradient.as_slice();
        let mut masked = Vec::new();
        let gradient = if relu {
            gate_all(&mut masked, gradient, output.as_slice());
            &masked
        } else {
            gradient
        };
        tensor(backward(x.as_slice(), output.as_slice(), gradient, extents), [n, c, h, w])
    }
}

impl<B: MaxPool, C: CheckpointStrategy> MaxPool for Autodiff<B, C> {
    fn max_pool(x: FloatTensor<Self>, extents: [usize; 4], planes: [usize; 2], relu: bool) -> FloatTensor<Self> {
        let value = x.primitive().clone();
        let output = B::max_pool(value.clone(), extents, planes, relu);
        let kept = output.clone();
        differentiable::<B, C, 1>([&x], output, move |gradient, _| {
            [Some(B::max_pool_backward(value.clone(), kept.clone(), gradient, extents, planes, relu))]
        })
    }

    /// A gradient of a gradient is not offered: the result is a constant.
    fn max_pool_backward(
        x: FloatTensor<Self>,
        output: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        extents: [usize; 4],
        planes: [usize; 2],
        relu: bool,
    ) -> FloatTensor<Self> {
        let (x, output) = (x.into_primitive(), output.into_primitive());
        FloatTensor::<Self>::new(B::max_pool_backward(x, output, output_gradient.into_primitive(), extents, planes, relu))
    }
}
