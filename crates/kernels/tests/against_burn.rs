//! Every operator beside burn's own, forward and all gradients, on random shapes.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use burn::tensor::{
    Device, Tensor, TensorData,
    activation::{relu, relu6},
    module,
    ops::{ConvOptions, ConvTransposeOptions, MaxPoolOptions},
};
use lyceum_kernels::{
    Activation, AdamConstants, adam_step, attention, batch_norm, conv_transpose2d, conv2d, conv2d_max_pool_relu, gather_rows, gelu,
    label_cross_entropy, layer_norm, linear, max_pool, sgd_step, softmax_cross_entropy,
};
use proptest::prelude::*;

fn random<const D: usize>(shape: [usize; D], seed: usize) -> Tensor<D> {
    let n = shape.iter().product::<usize>();
    let values: Vec<f32> = (0..n).map(|i| (((i + 1) * 7919 + seed * 104_729) as f32 * 0.618).sin()).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex().autodiff()).require_grad()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.inner().try_into_vec_as().unwrap()
}

/// Within `tolerance` of the largest value.
fn close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0_f32, |max, v| max.max(v.abs()));
    for (index, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * scale, "{what}, element {index}: {a} instead of {b}");
    }
}

#[derive(Debug, Clone)]
struct Case {
    images: usize,
    channels: [usize; 2],
    groups: usize,
    extent: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
}

fn check_convolution(case: &Case, with_bias: bool, activation: Activation, tolerance: f32) {
    let Case { images, channels: [c, o], groups, extent: [h, w], kernel: [kh, kw], stride, padding, dilation } = case.clone();
    let x = random([images, c, h, w], 1);
    let weight = random([o, c / groups, kh, kw], 2);
    let bias = with_bias.then(|| random([o], 3));
    let options = ConvOptions::new(stride, padding, dilation, groups);
    let theirs = module::conv2d(x.clone(), weight.clone(), bias.clone(), options.clone());
    let theirs = if activation == Activation::Relu { relu(theirs) } else { theirs };
    let ours = conv2d(x.clone(), weight.clone(), bias.clone(), options, activation);
    assert_eq!(ours.dims(), theirs.dims());
    close("y", &values(ours.clone()), &values(theirs.clone()), tolerance);
    let direction = random(ours.dims(), 4).inner().autodiff();
    let (ours, theirs) = ((ours * direction.clone()).sum().backward(), (theirs * direction).sum().backward());
    close("dx", &values(x.grad(&ours).unwrap()), &values(x.grad(&theirs).unwrap()), tolerance);
    close("dw", &values(weight.grad(&ours).unwrap()), &values(weight.grad(&theirs).unwrap()), tolerance);
    if let Some(bias) = bias {
        close("db", &values(bias.grad(&ours).unwrap()), &values(bias.grad(&theirs).unwrap()), tolerance);
    }
}

prop_compose! {
    fn case()(
        images in 1_usize..12, c in 1_usize..5, o in 1_usize..7, groups in 1_usize..4, extent in [1_usize..14, 1_usize..14],
        kernel in [1_usize..5, 1_usize..5], stride in [1_usize..4, 1_usize..4], padding in [0_usize..4, 0_usize..4],
        dilation in [1_usize..3, 1_usize..3],
    ) -> Case {
        // The padded image must hold the kernel.
        let fit = |axis: usize| extent[axis].max((dilation[axis] * (kernel[axis] - 1) + 1).saturating_sub(2 * padding[axis]));
        Case { images, channels: [c * groups, o * groups], groups, extent: [fit(0), fit(1)], kernel, stride, padding, dilation }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn convolutions(case in case(), with_bias: bool, rectified: bool) {
        check_convolution(&case, with_bias, if rectified { Activation::Relu } else { Activation::None }, 1e-5);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    /// Each channel on its own.
    #[test]
    fn depthwise_convolutions(case in case(), channels in 2_usize..9, wide in 0_usize..20, with_bias: bool, rectified: bool) {
        let extent = [case.extent[0], case.extent[1] + wide];
        let case = Case { channels: [channels; 2], groups: channels, extent, ..case };
        check_convolution(&case, with_bias, if rectified { Activation::Relu } else { Activation::None }, 1e-5);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn transposed_convolutions(
        images in 1_usize..9, o in 1_usize..5, c in 1_usize..5, tiled: bool, extent in [1_usize..9, 1_usize..9],
        kernel in [1_usize..5, 1_usize..5], stride in [1_usize..4, 1_usize..4], cut in [0_usize..3, 0_usize..3],
    ) {
        // Through transformed tiles, too.
        let (o, c, kernel, stride) = if tiled { (16 * o, 16 * c, [3; 2], [1; 2]) } else { (o, c, kernel, stride) };
        let padding = [0, 1].map(|axis| cut[axis].min(((extent[axis] - 1) * stride[axis] + kernel[axis] - 1) / 2));
        let (x, weight, bias) = (random([images, o, extent[0], extent[1]], 1), random([o, c, kernel[0], kernel[1]], 2), random([c], 3));
        let ours = conv_transpose2d(x.clone(), weight.clone(), bias.clone(), stride, padding);
        let options = ConvTransposeOptions::new(stride, padding, [0; 2], [1; 2], 1);
        let theirs = module::conv_transpose2d(x.clone(), weight.clone(), Some(bias.clone()), options);
        assert_eq!(ours.dims(), theirs.dims());
        close("y", &values(ours.clone()), &values(theirs.clone()), 3e-5);
        let direction = random(ours.dims(), 4).inner().autodiff();
        let (ours, theirs) = ((ours * direction.clone()).sum().backward(), (theirs * direction).sum().backward());
        close("dx", &values(x.grad(&ours).unwrap()), &values(x.grad(&theirs).unwrap()), 3e-5);
        close("dw", &values(weight.grad(&ours).unwrap()), &values(weight.grad(&theirs).unwrap()), 3e-5);
        close("db", &values(bias.grad(&ours).unwrap()), &values(bias.grad(&theirs).unwrap()), 3e-5);
    }
}

#[test]
fn convolutions_of_the_models() {
    let case = |images, channels, extent, kernel, stride, padding| Case {
        images,
        channels,
        groups: 1,
        extent: [extent; 2],
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [padding; 2],
        dilation: [1; 2],
    };
    for case in
        [case(9, [3, 64], 32, 5, 1, 0), case(3, [64, 64], 14, 5, 1, 0), case(5, [32, 64], 16, 3, 2, 1), case(4, [32, 64], 16, 1, 2, 0)]
    {
        check_convolution(&case, true, Activation::Relu, 1e-5);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// Shapes that go through transformed tiles: 3 × 3 and 5 × 5 between multiples of eight channels; tiles at the edges reach over.
    #[test]
    fn convolutions_in_tiles(
        images in 1_usize..8, c in 1_usize..8, o in 4_usize..8, extent in [8_usize..14, 8_usize..14], padding in [0_usize..5, 0_usize..5],
        five: bool, with_bias: bool,
    ) {
        let kernel = if five { [5; 2] } else { [3; 2] };
        let case = Case { images, channels: [8 * c, 8 * o], groups: 1, extent, kernel, stride: [1; 2], padding, dilation: [1; 2] };
        check_convolution(&case, with_bias, Activation::None, if five { 1e-4 } else { 3e-5 });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    /// Of shapes of both kinds: what is fused gives what is done apart, but for the order in which ∂b is summed.
    #[test]
    fn pooled_convolutions(case in case(), tiles_for in prop_oneof![Just(None), Just(Some(3)), Just(Some(5))], with_bias: bool) {
        let mut case = case;
        if let Some(kernel) = tiles_for {
            case = Case { channels: [16, 32], groups: 1, kernel: [kernel; 2], stride: [1; 2], dilation: [1; 2], ..case };
        }
        let span = |axis: usize| (case.dilation[axis] * (case.kernel[axis] - 1) + 1 + case.stride[axis]).saturating_sub(2 * case.padding[axis]);
        let [h, w] = [0, 1].map(|axis| case.extent[axis].max(span(axis)));
        let [c, o] = case.channels;
        let (x, weight) = (random([case.images, c, h, w], 1), random([o, c / case.groups, case.kernel[0], case.kernel[1]], 2));
        let bias = with_bias.then(|| random([o], 3));
        let options = || ConvOptions::new(case.stride, case.padding, case.dilation, case.groups);
        let apart = max_pool(conv2d(x.clone(), weight.clone(), bias.clone(), options(), Activation::None), 2, Activation::Relu);
        let fused = conv2d_max_pool_relu(x.clone(), weight.clone(), bias.clone(), options());
        prop_assert_eq!(fused.dims(), apart.dims());
        prop_assert_eq!(values(fused.clone()), values(apart.clone()));
        let direction = random(fused.dims(), 4).inner().autodiff();
        let (fused, apart) = ((fused * direction.clone()).sum().backward(), (apart * direction).sum().backward());
        prop_assert_eq!(values(x.grad(&fused).unwrap()), values(x.grad(&apart).unwrap()));
        prop_assert_eq!(values(weight.grad(&fused).unwrap()), values(weight.grad(&apart).unwrap()));
        if let Some(bias) = bias {
            close("db", &values(bias.grad(&fused).unwrap()), &values(bias.grad(&apart).unwrap()), 5e-6);
        }
    }
}

type Layer = fn(Tensor<4>, Tensor<4>, Option<Tensor<1>>, ConvOptions<2>) -> Tensor<4>;

/// What lies pixel by pixel in between, read by tiles with and without a frame and directly.
#[test]
fn pooled_convolutions_one_after_another() {
    for (channels, kernel, padding) in [(32, 3, 0), (32, 5, 0), (32, 3, 1), (32, 5, 2), (12, 3, 1)] {
        let (x, first, second) = (random([5, 3, 23, 21], 1), random([channels, 3, 3, 3], 2), random([16, channels, kernel, kernel], 3));
        let bias = random([16], 4);
        let options = |padding| ConvOptions::new([1; 2], [padding; 2], [1; 2], 1);
        let layers: [Layer; 2] = [conv2d_max_pool_relu, |x, weight, bias, options| {
            max_pool(conv2d(x, weight, bias, options, Activation::None), 2, Activation::Relu)
        }];
        let [fused, apart] = layers.map(|layer| {
            let between = layer(x.clone(), first.clone(), None, options(0));
            let y = layer(between, second.clone(), Some(bias.clone()), options(padding));
            let gradients = (y.clone() * random(y.dims(), 5).inner().autodiff()).sum().backward();
            [&x, &first, &second].into_iter().map(|of| values(of.grad(&gradients).unwrap())).chain([values(y)]).collect::<Vec<_>>()
        });
        assert!(fused == apart, "{channels} channels, {kernel} × {kernel}, padding {padding}");
    }
}

/// Where an output is nearly 0 its sign is a matter of rounding: with ReLU the tiles are compared with themselves.
#[test]
fn convolutions_in_tiles_through_relu() {
    for kernel in [3, 5] {
        let (x, weight, bias) = (random([9, 32, 11, 13], 1), random([64, 32, kernel, kernel], 2), random([64], 3));
        let options = || ConvOptions::new([1; 2], [2, 1], [1; 2], 1);
        let fused = conv2d(x.clone(), weight.clone(), Some(bias.clone()), options(), Activation::Relu);
        let apart = relu(conv2d(x.clone(), weight.clone(), Some(bias.clone()), options(), Activation::None));
        assert_eq!(values(fused.clone()), values(apart.clone()));
        let direction = random(fused.dims(), 4).inner().autodiff();
        let (fused, apart) = ((fused * direction.clone()).sum().backward(), (apart * direction).sum().backward());
        assert_eq!(values(x.grad(&fused).unwrap()), values(x.grad(&apart).unwrap()));
        assert_eq!(values(weight.grad(&fused).unwrap()), values(weight.grad(&apart).unwrap()));
        assert_eq!(values(bias.grad(&fused).unwrap()), values(bias.grad(&apart).unwrap()));
    }
}

fn linear_layer([n, d, k]: [usize; 3], rectified: bool) {
    let (x, weight, bias) = (random([n, d], 1), random([d, k], 2), random([k], 3));
    let theirs = module::linear(x.clone(), weight.clone(), Some(bias.clone()));
    let theirs = if rectified { relu(theirs) } else { theirs };
    let ours = linear(x.clone(), None, weight.clone(), bias.clone(), if rectified { Activation::Relu } else { Activation::None });
    close("y", &values(ours.clone()), &values(theirs.clone()), 5e-6);
    let direction = random([n, k], 4).inner().autodiff();
    let (ours, theirs) = ((ours * direction.clone()).sum().backward(), (theirs * direction).sum().backward());
    close("dx", &values(x.grad(&ours).unwrap()), &values(x.grad(&theirs).unwrap()), 5e-6);
    close("dw", &values(weight.grad(&ours).unwrap()), &values(weight.grad(&theirs).unwrap()), 5e-6);
    close("db", &values(bias.grad(&ours).unwrap()), &values(bias.grad(&theirs).unwrap()), 5e-6);
}

#[test]
fn linear_layers_beyond_the_cache() {
    linear_layer([300, 520, 260], false);
    linear_layer([530, 40, 2000], true);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn linear_layers(n in 1_usize..40, d in 1_usize..50, k in 1_usize..80, rectified: bool) {
        linear_layer([n, d, k], rectified);
    }

    #[test]
    fn pools(n in 1_usize..4, c in 1_usize..4, h in 2_usize..9, w in 2_usize..9, size in 1_usize..3, rectified: bool) {
        let x = random([n, c, h, w], 1);
        let theirs = module::max_pool2d(x.clone(), MaxPoolOptions::new([size, size]));
        let theirs = if rectified { relu(theirs) } else { theirs };
        let ours = max_pool(x.clone(), size, if rectified { Activation::Relu } else { Activation::None });
        prop_assert_eq!(values(ours.clone()), values(theirs.clone()));
        let direction = random(ours.dims(), 4).inner().autodiff();
        let (ours, theirs) = ((ours * direction.clone()).sum().backward(), (theirs * direction).sum().backward());
        prop_assert_eq!(values(x.grad(&ours).unwrap()), values(x.grad(&theirs).unwrap()));
    }

    #[test]
    fn batch_norms(n in 1_usize..7, c in 1_usize..5, h in 1_usize..9, w in 2_usize..9, function in 0_usize..3, with_residual: bool) {
        let activation = [Activation::None, Activation::Relu, Activation::Relu6][function];
        // So that some numbers are beyond 6.
        let scale = if activation == Activation::Relu6 { 9.0 } else { 1.0 };
        let (x, gamma, beta) = (random([n, c, h, w], 1), (random([c], 2).inner() * scale).autodiff().require_grad(), random([c], 3));
        let residual = with_residual.then(|| random([n, c, h, w], 5));
        let theirs = module::batch_norm_train(x.clone(), gamma.clone(), beta.clone(), 1e-5);
        let y = match &residual { Some(residual) => theirs.output + residual.clone(), None => theirs.output };
        let y = match activation {
            Activation::None => y,
            Activation::Relu => relu(y),
            Activation::Relu6 => relu6(y),
        };
        let ours = batch_norm(x.clone(), gamma.clone(), beta.clone(), residual.clone(), 1e-5, activation);
        close("y", &values(ours.output.clone()), &values(y.clone()), 2e-5);
        close("mean", &values(ours.mean), &values(theirs.mean), 1e-6);
        close("variance", &values(ours.variance), &values(theirs.variance), 1e-6);
        let direction = random([n, c, h, w], 4).inner().autodiff();
        let (a, b) = ((ours.output * direction.clone()).sum().backward(), (y * direction).sum().backward());
        close("dx", &values(x.grad(&a).unwrap()), &values(x.grad(&b).unwrap()), 2e-4);
        close("dgamma", &values(gamma.grad(&a).unwrap()), &values(gamma.grad(&b).unwrap()), 5e-5);
        close("dbeta", &values(beta.grad(&a).unwrap()), &values(beta.grad(&b).unwrap()), 5e-5);
        if let Some(residual) = residual {
            close("dr", &values(residual.grad(&a).unwrap()), &values(residual.grad(&b).unwrap()), 1e-6);
        }
    }
}

#[test]
fn optimiser_steps() {
    use burn_optim::{AdamWConfig, Optimizer, SgdConfig, momentum::MomentumConfig};
    let (mut w, mut v) = (random([1000], 1).inner(), random([1000], 0).inner() * 0.0);
    for nesterov in [false, true] {
        let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0).with_nesterov(nesterov);
        let theirs = SgdConfig::new().with_momentum(Some(momentum)).build();
        let (mut expected, mut state) = (w.clone(), None);
        for step in 0..4 {
            let g = random([1000], 10 + step).inner();
            (w, v) = sgd_step(w, g.clone(), v, 0.1, 0.9, nesterov);
            (expected, state) = theirs.step(0.1, expected, g, state);
        }
        close("sgd", &values(w.clone()), &values(expected), 1e-6);
        v = v * 0.0;
    }
    let constants = AdamConstants { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
    let theirs = AdamWConfig::new().with_beta_1(0.9).with_beta_2(0.999).with_epsilon(1e-8).with_weight_decay(0.0).build();
    let (mut expected, mut state, mut m, mut s) = (w.clone(), None, v.clone(), v);
    for step in 0..4 {
        let g = random([1000], 20 + step as usize).inner();
        (w, m, s) = adam_step(w, g.clone(), m, s, 0.01, step + 1, constants);
        (expected, state) = theirs.step(0.01, expected, g, state);
    }
    close("adam", &values(w), &values(expected), 2e-6);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn layer_norms(n in 1_usize..150, d in 2_usize..40) {
        let (x, r, gamma, beta) = (random([n, d], 1), random([n, d], 2), random([d], 3), random([d], 4));
        let theirs = module::layer_norm(x.clone() + r.clone(), gamma.clone(), Some(beta.clone()), 1e-5);
        let ours = layer_norm(x.clone(), r.clone(), gamma.clone(), beta.clone(), 1e-5);
        close("y", &values(ours.clone()), &values(theirs.clone()), 2e-5);
        let direction = random([n, d], 5).inner().autodiff();
        let (a, b) = ((ours * direction.clone()).sum().backward(), (theirs * direction).sum().backward());
        close("dx", &values(x.grad(&a).unwrap()), &values(x.grad(&b).unwrap()), 5e-4);
        close("dr", &values(r.grad(&a).unwrap()), &values(r.grad(&b).unwrap()), 5e-4);
        close("dgamma", &values(gamma.grad(&a).unwrap()), &values(gamma.grad(&b).unwrap()), 5e-5);
        close("dbeta", &values(beta.grad(&a).unwrap()), &values(beta.grad(&b).unwrap()), 5e-5);
    }

    #[test]
    fn gelus(n in 1_usize..30, d in 1_usize..30) {
        let x = random([n, d], 1);
        let wide = || x.clone() * 6.0;
        let (ours, theirs) = (gelu(wide()), burn::tensor::activation::gelu(wide()));
        close("y", &values(ours.clone()), &values(theirs.clone()), 1e-6);
        let (a, b) = (ours.sum().backward(), theirs.sum().backward());
        close("dx", &values(x.grad(&a).unwrap()), &values(x.grad(&b).unwrap()), 3e-6);
    }

    #[test]
    fn attentions(n in 1_usize..4, s in 1_usize..40, h in 1_usize..4, e in 1_usize..20, padding in 0_usize..5) {
        let qkv = random([n * s, 3 * h * e], 1);
        let mask: Vec<f32> = (0..n * s).map(|i| if i % s + padding.min(s - 1) < s { 1.0 } else { 0.0 }).collect();
        let mask = Tensor::<1>::from_data(TensorData::new(mask, [n * s]), &Device::flex().autodiff());
        let part = |index: usize| qkv.clone().narrow(1, index * h * e, h * e).reshape([n, s, h, e]).swap_dims(1, 2);
        let scores = part(0).matmul(part(1).transpose()) / (e as f64).sqrt();
        let blocked = mask.clone().reshape([n, 1, 1, s]).equal_elem(0.0).expand([n, h, s, s]);
        let weights = burn::tensor::activation::softmax(scores.mask_fill(blocked, f32::NEG_INFINITY), 3);
        let theirs = weights.matmul(part(2)).swap_dims(1, 2).reshape([n * s, h * e]);
        let ours = attention(qkv.clone(), mask, n, h);
        close("y", &values(ours.clone()), &values(theirs.clone()), 1e-5);
        let direction = random([n * s, h * e], 5).inner().autodiff();
        let (a, b) = ((ours * direction.clone()).sum().backward(), (theirs * direction).sum().backward());
        close("dqkv", &values(qkv.grad(&a).unwrap()), &values(qkv.grad(&b).unwrap()), 2e-5);
    }
}

proptest! {
    #[test]
    fn rows_by_their_numbers(v in 1_usize..2000, d in 1_usize..20, rows in prop::collection::vec(any::<prop::sample::Index>(), 0..50)) {
        let x = random([v, d], 1);
        let rows: Vec<u32> = rows.iter().map(|row| row.index(v) as u32).collect();
        let numbers: Vec<i64> = rows.iter().map(|row| i64::from(*row)).collect();
        prop_assume!(!rows.is_empty());
        let device = Device::flex().autodiff();
        let theirs = x.clone().select(0, Tensor::<1, burn::tensor::Int>::from_data(TensorData::new(numbers, [rows.len()]), &device));
        let ours = gather_rows(x.clone(), &rows);
        prop_assert_eq!(values(ours.clone()), values(theirs.clone()));
        let direction = random(ours.dims(), 2).inner().autodiff();
        let (ours, theirs) = ((ours * direction.clone()).sum().backward(), (theirs * direction).sum().backward());
        close("dx", &values(x.grad(&ours).unwrap()), &values(x.grad(&theirs).unwrap()), 1e-6);
    }

    #[test]
    fn cross_entropy_of_labels(n in 1_usize..80, k in 1_usize..70, seed in 0_usize..1000) {
        let logits = random([n, k], seed) * 10.0;
        let logits = Tensor::<2>::from_data(logits.inner().into_data(), &Device::flex().autodiff()).require_grad();
        let labels: Vec<u32> = (0..n).map(|i| (i * 31 + seed) as u32 % k as u32).collect();
        let one_hot: Vec<f32> = labels.iter().flat_map(|label| (0..k as u32).map(move |j| if j == *label { 1.0 } else { 0.0 })).collect();
        let one_hot = Tensor::<2>::from_data(TensorData::new(one_hot, [n, k]), &Device::flex().autodiff());
        let (ours, fused) = (label_cross_entropy(logits.clone(), &labels), softmax_cross_entropy(logits.clone(), one_hot.clone()));
        let theirs = -(burn::tensor::activation::log_softmax(logits.clone(), 1) * one_hot).sum_dim(1).squeeze_dim::<1>(1);
        close("losses", &values(ours.clone()), &values(theirs.clone()), 1e-6);
        close("fused", &values(fused.clone()), &values(theirs.clone()), 1e-6);
        let gradient = |losses: Tensor<1>| {
            let direction = random([n], 3).inner().autodiff();
            values(logits.grad(&(losses * direction).sum().backward()).unwrap())
        };
        let expected = gradient(theirs);
        close("gradient", &gradient(ours), &expected, 1e-6);
        close("fused gradient", &gradient(fused), &expected, 1e-6);
    }
}
