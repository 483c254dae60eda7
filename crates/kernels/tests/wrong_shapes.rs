//! Every operator refuses what does not fit, in words, on the calling thread, before it reads or writes anything.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::{Device, Tensor, TensorData, ops::ConvOptions};
use lyceum_kernels::{
    Activation, AdamConstants, Resampling, adam_step, attention, batch_norm, conv_transpose2d, conv2d, conv2d_max_pool_relu, gather_rows,
    group_norm, label_cross_entropy, layer_norm, linear, max_pool, mean, resample, sgd_step, softmax_cross_entropy, vector,
};
use proptest::{prelude::*, test_runner::TestCaseError};

/// Tracked or plain tensors: the two are dispatched differently.
#[derive(Clone, Copy)]
struct Make {
    tracked: bool,
}

impl Make {
    fn of<const D: usize>(self, shape: [usize; D]) -> Tensor<D> {
        let data = TensorData::new(vec![0.5_f32; shape.iter().product()], shape);
        let device = Device::flex();
        if self.tracked { Tensor::from_data(data, &device).autodiff().require_grad() } else { Tensor::from_data(data, &device) }
    }

    /// Reads the value, and with tracked tensors all gradients.
    fn run<const D: usize>(self, y: Tensor<D>) {
        if self.tracked { drop(y.sum().backward()) } else { drop(y.into_data()) }
    }
}

fn refused(operator: &str, work: impl Fn(Make)) -> Result<(), TestCaseError> {
    for tracked in [false, true] {
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(Make { tracked }))) else {
            return Err(TestCaseError::fail(format!("{operator} took it (tracked: {tracked})")));
        };
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
        prop_assert!(text.starts_with(&format!("{operator}: ")), "{} said: {}", operator, text);
    }
    Ok(())
}

/// A length that is not the right one: 0, too short, too long, a multiple.
fn wrong(right: usize, kind: u8) -> usize {
    match kind % 6 {
        0 => 0,
        1 => right - 1,
        2 => right + 1,
        3 => 2 * right,
        4 => right / 2,
        _ => right + 7,
    }
}

/// `shape` with one axis wrong.
fn bent<const D: usize>(mut shape: [usize; D], axis: usize, kind: u8) -> [usize; D] {
    shape[axis % D] = wrong(shape[axis % D], kind);
    shape
}

fn conv([stride, padding, dilation]: [[usize; 2]; 3], groups: usize) -> ConvOptions<2> {
    // A literal: `ConvOptions::new` would refuse zeros itself.
    ConvOptions { stride, padding: padding.map(|pixels| (pixels, pixels)), dilation, groups }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 64 } else { 512 }))]
    #[test]
    fn transposed_convolutions_and_group_norms(axis in 0_usize..4, kind in 0_u8..6) {
        let [x, weight] = [[2, 3, 5, 4], [3, 2, 3, 3]];
        // Images of another size are images; so are more of them.
        let bent_x = bent(x, axis, kind);
        if bent_x[1] != x[1] || bent_x.contains(&0) {
            refused("conv_transpose2d", |make| make.run(conv_transpose2d(make.of(bent_x), make.of(weight), make.of([2]), [2; 2], [1; 2])))?;
        }
        refused("conv_transpose2d", |make| make.run(conv_transpose2d(make.of(x), make.of(weight), make.of([wrong(2, kind)]), [2; 2], [1; 2])))?;
        refused("conv_transpose2d", |make| make.run(conv_transpose2d(make.of(x), make.of(weight), make.of([2]), [0, 1], [1; 2])))?;
        refused("conv_transpose2d", |make| make.run(conv_transpose2d(make.of(x), make.of(weight), make.of([2]), [2; 2], [6; 2])))?;
        refused("conv_transpose2d", |make| make.run(conv_transpose2d(make.of(x), make.of(weight), make.of([2]), [2; 2], [usize::MAX; 2])))?;
        let images = [2, 6, 5, 4];
        refused("group_norm", |make| make.run(group_norm(make.of(images), make.of([wrong(6, kind)]), make.of([6]), 2, 1e-5)))?;
        refused("group_norm", |make| make.run(group_norm(make.of(images), make.of([6]), make.of([wrong(6, kind)]), 2, 1e-5)))?;
        for groups in [0, 4, 7, usize::MAX] {
            refused("group_norm", |make| make.run(group_norm(make.of(images), make.of([6]), make.of([6]), groups, 1e-5)))?;
        }
        refused("group_norm", |make| make.run(group_norm(make.of(images), make.of([6]), make.of([6]), 2, f64::NAN)))?;
    }

    #[test]
    fn resamplings(kind in 0_u8..6) {
        let x = [2, 3, 6, 4];
        let nearest = |side: usize| Resampling::nearest(side, 2);
        refused("resample", |make| make.run(resample(make.of(x), nearest(wrong(6, kind).max(1)), nearest(4))))?;
        refused("resample", |make| make.run(resample(make.of(x), Resampling::windows(6, 7, 1, [0; 2]), nearest(4))))?;
        refused("resample", |make| make.run(resample(make.of(x), Resampling::windows(6, 2, 1, [2; 2]), nearest(4))))?;
        refused("resample", |make| make.run(resample(make.of(x), Resampling::windows(6, 2, 0, [0; 2]), nearest(4))))?;
        refused("resample", |make| make.run(resample(make.of(x), Resampling::adaptive(6, 0), nearest(4))))?;
        refused("resample", |make| make.run(resample(make.of(x), Resampling::bilinear(6, 0), nearest(4))))?;
    }



    #[test]
    fn attentions(n in 1_usize..4, s in 1_usize..6, h in 1_usize..4, e in 1_usize..5, kind: u8, which in 0..5) {
        let (tokens, width) = (n * s, 3 * h * e);
        refused("attention", |make| {
            let (qkv, mask) = (make.of([tokens, width]), make.of([tokens]));
            make.run(match which {
                0 => attention(qkv, make.of([wrong(tokens, kind)]), n, h),
                1 => attention(qkv, mask, 0, h),
                2 => attention(qkv, mask, n, 0),
                3 => attention(qkv, mask, tokens + 1, h),
                _ => attention(make.of([tokens, width + 1]), mask, n, h),
            });
        })?;
    }

    /// Done directly, in tiles of 3 × 3 and of 5 × 5; with and without the maxima.
    #[test]
    fn convolutions(way in 0_usize..3, pooled: bool, images in 1_usize..3, kind: u8, axis in 0_usize..4, which in 0..9) {
        let (c, o, k) = [(2, 3, 3), (16, 32, 3), (16, 32, 5)][way];
        let operator = if pooled { "conv2d_max_pool_relu" } else { "conv2d" };
        let huge = [usize::MAX, 1 << 63, (usize::MAX >> 1) + 2][usize::from(kind) % 3];
        refused(operator, |make| {
            let (mut x, mut w, mut bias, mut options) = ([images, c, 12, 12], [o, c, k, k], o, conv([[1; 2], [0; 2], [1; 2]], 1));
            match which {
                0 | 1 => bias = wrong(o, kind),
                2 if axis < 2 => x = bent(x, 1, kind),
                2 => x[axis] = 0,
                3 => w = bent(w, 1, kind),
                4 => w[2 + axis % 2] = if kind.is_multiple_of(2) { 0 } else { 13 },
                5 => options.stride[axis % 2] = 0,
                6 => options.dilation[axis % 2] = if kind.is_multiple_of(4) { 0 } else { huge },
                7 => options.padding[axis % 2] = (huge, huge),
                _ => options.groups = if kind.is_multiple_of(2) { 0 } else { 5 },
            }
            let (x, w, bias) = (make.of(x), make.of(w), Some(make.of([bias])));
            make.run(if pooled { conv2d_max_pool_relu(x, w, bias, options) } else { conv2d(x, w, bias, options, Activation::None) });
        })?;
    }

    #[test]
    fn linears(n in 1_usize..5, d in 1_usize..5, k in 1_usize..5, kind: u8, axis in 0_usize..2, which in 0..3) {
        refused("linear", |make| {
            let (x, w, b) = (make.of([n, d]), make.of([d, k]), make.of([k]));
            make.run(match which {
                0 => linear(x, None, make.of(bent([d, k], axis, kind)), b, Activation::None),
                1 => linear(x, None, w, make.of([wrong(k, kind)]), Activation::None),
                _ => linear(x, Some(make.of(bent([n, d], axis, kind))), w, b, Activation::None),
            });
        })?;
    }

    #[test]
    fn batch_norms(
        shape in [1_usize..4, 1_usize..4, 1_usize..4, 1_usize..4], kind: u8, axis in 0_usize..4, which in 0..5,
        epsilon in prop_oneof![Just(f64::NAN), Just(-1e-5), Just(0.0), Just(1e-300), Just(f64::INFINITY)],
    ) {
        let c = shape[1];
        refused("batch_norm", |make| {
            let (mut x, mut gamma, mut beta, mut residual, mut small) = (shape, c, c, shape, 1e-5);
            match which {
                0 => gamma = wrong(c, kind),
                1 => beta = wrong(c, kind),
                2 => residual = bent(shape, axis, kind),
                3 => {
                    x[axis] = 0;
                    (residual, gamma, beta) = (x, x[1], x[1]);
                }
                _ => small = epsilon,
            }
            make.run(batch_norm(make.of(x), make.of([gamma]), make.of([beta]), Some(make.of(residual)), small, Activation::Relu).output);
        })?;
    }

    #[test]
    fn layer_norms(n in 1_usize..80, d in 1_usize..20, kind: u8, axis in 0_usize..2, which in 0..5) {
        refused("layer_norm", |make| {
            let (mut x, mut residual, mut gamma, mut beta, mut epsilon) = ([n, d], [n, d], d, d, 1e-5);
            match which {
                0 => residual = bent(residual, axis, kind),
                1 => gamma = wrong(d, kind),
                2 => beta = wrong(d, kind),
                3 => (x, residual, gamma, beta) = ([n, 0], [n, 0], 0, 0),
                _ => epsilon = f64::NAN,
            }
            make.run(layer_norm(make.of(x), make.of(residual), make.of([gamma]), make.of([beta]), epsilon));
        })?;
    }

    #[test]
    fn pools(h in 1_usize..6, w in 1_usize..6, none: bool) {
        refused("max_pool", |make| make.run(max_pool(make.of([2, 3, h, w]), if none { 0 } else { h.min(w) + 1 }, Activation::None)))?;
    }

    #[test]
    fn rows(v in 0_usize..9, d in 1_usize..4, beyond in prop_oneof![Just(0_u32), 1_u32..9, Just(u32::MAX - 9)]) {
        refused("gather_rows", |make| make.run(gather_rows(make.of([v, d]), &[v as u32 + beyond])))?;
    }

    #[test]
    fn cross_entropies(n in 1_usize..70, k in 1_usize..20, kind: u8, axis in 0_usize..2, at: prop::sample::Index, high: bool) {
        refused("softmax_cross_entropy", |make| make.run(softmax_cross_entropy(make.of([n, k]), make.of(bent([n, k], axis, kind)))))?;
        let mut labels = vec![0_u32; if high { n } else { wrong(n, kind) }];
        if high {
            labels[at.index(n)] = k as u32 + u32::from(kind);
        }
        refused("label_cross_entropy", |make| make.run(label_cross_entropy(make.of([n, k]), &labels)))?;
    }

    #[test]
    fn steps(n in 1_usize..40, kind: u8, which in 0_usize..3) {
        let v = |len: usize| Make { tracked: false }.of([len]);
        let len = |place: usize| if place == which { wrong(n, kind) } else { n };
        let constants = AdamConstants { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
        if which < 2 {
            refused("sgd_step", |_| drop(sgd_step(v(n), v(len(0)), v(len(1)), 0.1, 0.9, false)))?;
        }
        refused("adam_step", |_| drop(adam_step(v(n), v(len(0)), v(len(1)), v(len(2)), 0.1, 1, constants)))?;
        refused("adam_step", |_| drop(adam_step(v(n), v(n), v(n), v(n), 0.1, 0, constants)))?;
        refused("sgd_step", |_| drop(sgd_step(Make { tracked: true }.of([n]), v(n), v(n), 0.1, 0.9, false)))?;
    }

    #[test]
    fn vectors(n in 1_usize..40, kind: u8) {
        let other = wrong(n, kind);
        refused("dot", |make| {
            let _ = vector::dot(&make.of([n]), &make.of([other]));
        })?;
        refused("added", |make| drop(vector::added(make.of([n]), 1.0, &make.of([other]))))?;
        let terms = |linear, clip| vector::Terms { linear, inside: 0.0, clip, outside: 0.0 };
        refused("with_terms", |make| drop(vector::with_terms(make.of([n]), &make.of([n]), &terms(Some(make.of([other])), None))))?;
        refused("with_terms", |make| drop(vector::with_terms(make.of([n]), &make.of([n]), &terms(None, Some(f64::NAN)))))?;
        #[allow(clippy::reversed_empty_ranges, reason = "what is refused")]
        for range in [0..n + 1, 1..0] {
            refused("cleared", |make| drop(vector::cleared(make.of([n]), std::slice::from_ref(&range))))?;
        }
    }
}

/// Sizes whose products wrap around.
#[test]
fn absurd_sizes() {
    refused("attention", |make| make.run(attention(make.of([3, 2]), make.of([3]), 1, 6_148_914_691_236_517_206))).unwrap();
    let far = || conv([[1; 2], [0; 2], [1, usize::MAX]], 1);
    refused("conv2d", |make| make.run(conv2d(make.of([1, 1, 1, 4]), make.of([1, 1, 1, 2]), None, far(), Activation::None))).unwrap();
    refused("mean", |make| make.run(mean(make.of([0])))).unwrap();
}

/// What is empty but fits is no mistake.
#[test]
fn nothing_is_not_wrong() {
    let make = Make { tracked: true };
    make.run(linear(make.of([0, 3]), None, make.of([3, 2]), make.of([2]), Activation::None));
    make.run(gather_rows(make.of([4, 3]), &[]));
    make.run(label_cross_entropy(make.of([0, 3]), &[]));
    make.run(layer_norm(make.of([0, 3]), make.of([0, 3]), make.of([3]), make.of([3]), 1e-5));
}
