//! The transposed convolution: what the backward pass of a convolution does to a gradient, and back.
//!
//! ```text
//! y[n,c,s·p + i − pad, s·q + j − pad] += w[o,c,i,j] · x[n,o,p,q],  y += b
//! ∂x: the convolution of ∂y with w;  ∂w: that of the convolution from ∂y to x;  ∂b = Σ ∂y
//! ```

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex, autodiff::checkpoint::strategy::CheckpointStrategy, backend_extension, tensor::FloatTensor,
    },
    tensor::{
        Tensor, module,
        ops::{ConvOptions, ConvTransposeOptions},
    },
};
use rayon::prelude::*;

use super::{Geometry, Way, epilogue::Epilogue, sum_of};
use crate::{
    autodiff::differentiable,
    check,
    flex::{Values, is_flex, tensor},
};

/// The adjoint of the convolution with the same kernel, stride and padding, plus bias.
///
/// * `x`: `n × o × h × w`, at least one image.
/// * `weight`: `o × c × kh × kw`.
/// * `bias`: `c`.
///
/// The result is `n × c × (h − 1)·s + kh − 2·pad × …`, which must be 1 or more.
pub fn conv_transpose2d(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>, stride: [usize; 2], padding: [usize; 2]) -> Tensor<4> {
    let ([n, o, h, w], [from, c, kh, kw]) = (x.dims(), weight.dims());
    let all = [n, o, h, w, c, kh, kw, stride[0], stride[1]];
    check::holds("conv_transpose2d", all.iter().all(|extent| *extent > 0), || {
        format!("images {:?}, a kernel of {:?} and the stride {stride:?}, expected 1 or more of each", x.dims(), weight.dims())
    });
    check::same("conv_transpose2d", "the weight's first axis", [from], [o]);
    check::same("conv_transpose2d", "the bias", bias.dims(), [c]);
    let side = |input: usize, kernel: usize, axis: usize| {
        let spread = (input - 1).checked_mul(stride[axis])?.checked_add(kernel)?;
        spread.checked_sub(padding[axis].checked_mul(2)?).filter(|side| *side > 0)
    };
    let (Some(height), Some(width)) = (side(h, kh, 0), side(w, kw, 1)) else {
        panic!("conv_transpose2d: padding {padding:?} leaves nothing of images {:?} with a kernel of {:?}", x.dims(), weight.dims())
    };
    let framed = |side: usize, axis: usize| padding[axis].saturating_mul(2).saturating_add(side);
    check::product("conv_transpose2d", &[n, c, framed(height, 0), framed(width, 1)]);
    if !is_flex(&x.device()) {
        return module::conv_transpose2d(x, weight, Some(bias), ConvTransposeOptions::new(stride, padding, [0; 2], [1; 2], 1));
    }
    let options = ConvOptions::new(stride, padding, [1; 2], 1);
    let geometry = Geometry::new([n, c, height, width], weight.dims(), &options);
    Tensor::from_dispatch(<Dispatch as Transposed>::transposed(x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch(), geometry))
}

#[backend_extension(Flex, Autodiff)]
trait Transposed: Backend {
    /// `geometry` is that of the convolution, from y to x.
    fn transposed(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>, geometry: Geometry) -> FloatTensor<Self>;

    /// Gradients to x, weight and bias; what is not wanted is empty.
    fn transposed_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        geometry: Geometry,
        wanted: [bool; 3],
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl Transposed for Flex {
    fn transposed(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>, geometry: Geometry) -> FloatTensor<Self> {
        let (x, weight, bias) = (Values::of(&x), Values::of(&weight), Values::of(&bias));
        let backward = Way::of(&geometry).backward;
        let [mut y, ..] = backward(geometry, Epilogue::Bias, &[], weight.as_slice(), &[], x.as_slice(), [true, false, false]);
        let bias = bias.as_slice();
        let planes = y.par_chunks_exact_mut(geometry.input[0] * geometry.input[1]).enumerate().with_min_len(16);
        planes.for_each(|(plane, y)| y.iter_mut().for_each(|y| *y += bias[plane % bias.len()]));
        let [height, width] = geometry.input;
        tensor(y, [geometry.images, geometry.channels[0], height, width])
    }

    fn transposed_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        geometry: Geometry,
        [want_x, want_weight, want_bias]: [bool; 3],
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (x, weight, gradient) = (Values::of(&x), Values::of(&weight), Values::of(&output_gradient));
        let (x, weight, gradient) = (x.as_slice(), weight.as_slice(), gradient.as_slice());
        let way = Way::of(&geometry);
        let [c, o] = geometry.channels;
        let ([oh, ow], [kh, kw]) = (geometry.output, geometry.kernel);
        let dx = if want_x {
            let [dx, _] = (way.forward)(geometry, Epilogue::Bias, gradient, weight, &vec![0.0; o]);
            tensor(dx, [geometry.images, o, oh, ow])
        } else {
            tensor(Vec::new(), [0, o, oh, ow])
        };
        let dw = if want_weight {
            let [_, dw, _] = (way.backward)(geometry, Epilogue::Bias, gradient, weight, &[], x, [false, true, false]);
            tensor(dw, [o, c, kh, kw])
        } else {
            tensor(Vec::new(), [0, c, kh, kw])
        };
        let mut db = vec![0.0; if want_bias { c } else { 0 }];
        if want_bias {
            let planes: Vec<f32> = gradient.par_chunks_exact(geometry.input[0] * geometry.input[1]).map(sum_of).collect();
            planes.chunks_exact(c).for_each(|image| db.iter_mut().zip(image).for_each(|(sum, part)| *sum += part));
        }
        let bias = db.len();
        (dx, dw, tensor(db, [bias]))
    }
}

impl<B: Transposed, C: CheckpointStrategy> Transposed for Autodiff<B, C> {
    fn transposed(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>, geometry: Geometry) -> FloatTensor<Self> {
        let (x_value, w_value) = (x.primitive().clone(), weight.primitive().clone());
        let output = B::transposed(x_value.clone(), w_value.clone(), bias.primitive().clone(), geometry);
        differentiable::<B, C, 3>([&x, &weight, &bias], output, move |gradient, wanted| {
            let (dx, dw, db) = B::transposed_backward(x_value.clone(), w_value.clone(), gradient, geometry, wanted);
            [wanted[0].then_some(dx), wanted[1].then_some(dw), wanted[2].then_some(db)]
        })
    }

    /// A gradient of a gradient is not offered: the results are constants.
    fn transposed_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        geometry: Geometry,
        wanted: [bool; 3],
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        let (dx, dw, db) = B::transposed_backward(x, weight, output_gradient.into_primitive(), geometry, wanted);
        (FloatTensor::<Self>::new(dx), FloatTensor::<Self>::new(dw), FloatTensor::<Self>::new(db))
    }
}
