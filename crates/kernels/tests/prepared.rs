//! Operators for inference beside those for training, on images that lie pixel by pixel.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use burn::tensor::{Device, Tensor, TensorData, ops::ConvOptions};
use lyceum_kernels::{Activation, ConvScratch, PreparedConv, conv2d, pixels::After};
use proptest::prelude::*;

fn wave(count: usize, rate: f32) -> Vec<f32> {
    (0..count).map(|i| ((i + 1) as f32 * rate).sin()).collect()
}

/// Channel by channel to pixel by pixel.
fn pixels(x: &[f32], channels: usize, len: usize) -> Vec<f32> {
    let pixels = len / channels;
    let image = |x: &[f32]| (0..len).map(|place| x[place % channels * pixels + place / channels]).collect::<Vec<f32>>();
    x.chunks_exact(len).flat_map(image).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// Every way of convolving, with a residual and a cut, alone and by all threads.
    #[test]
    fn a_prepared_convolution_is_the_convolution(
        images in 1_usize..4,
        inputs in 1_usize..4, outputs in 1_usize..4, multiple in prop::sample::select(vec![1_usize, 5, 16]),
        groups in prop::sample::select(vec![1_usize, 2, 3]),
        depthwise in any::<bool>(),
        height in 3_usize..12, width in 3_usize..12,
        kernel in prop::sample::select(vec![1_usize, 2, 3, 5]),
        stride in 1_usize..3, padding in 0_usize..3, dilation in 1_usize..3,
        parallel in any::<bool>(),
    ) {
        prop_assume!(dilation * (kernel - 1) < height.min(width) + 2 * padding);
        let groups = if depthwise { 7 * multiple } else { groups };
        let [c, o] = if depthwise { [groups; 2] } else { [inputs * multiple * groups, outputs * multiple * groups] };
        let options = ConvOptions::new([stride; 2], [padding; 2], [dilation; 2], groups);
        let (x, w, b) = (wave(images * c * height * width, 0.37), wave(o * (c / groups) * kernel * kernel, 0.71), wave(o, 1.3));
        let device = Device::flex();
        let tensor = |values: &[f32], shape: [usize; 4]| Tensor::<4>::from_data(TensorData::new(values.to_vec(), shape), &device);
        let bias = Tensor::<1>::from_data(TensorData::new(b.clone(), [o]), &device);
        let shape = [o, c / groups, kernel, kernel];
        let (x_tensor, w_tensor) = (tensor(&x, [images, c, height, width]), tensor(&w, shape));
        // Rounding grows with the sum of the absolute products, not with a sum in which they cancel.
        let magnitude = conv2d(x_tensor.clone().abs(), w_tensor.clone().abs(), None, options.clone(), Activation::None);
        let magnitude = magnitude.max().into_scalar::<f32>().max(1.0);
        let y = conv2d(x_tensor, w_tensor, Some(bias), options.clone(), Activation::None);
        let [_, _, h, v] = y.dims();
        let expected: Vec<f32> = y.try_into_vec_as().unwrap();
        let residual = wave(expected.len(), 0.9);
        let expected = pixels(&expected, o, o * h * v);
        let cut: Vec<f32> = expected.iter().zip(&residual).map(|(y, r)| (y + r).clamp(0.0, 6.0)).collect();
        let conv = PreparedConv::new([c, height, width], &w, shape, b, &options);
        let mut found = vec![f32::NAN; cut.len()];
        let after = After { residual: Some(&residual), activation: Activation::Relu6 };
        conv.run(&pixels(&x, c, c * height * width), &mut found, after, parallel, &mut ConvScratch::default());
        for (a, b) in found.iter().zip(&cut) {
            prop_assert!((a - b).abs() <= 2e-6 * magnitude, "{a} {b} {magnitude}");
        }
    }
}
