//! Every operator beside PyTorch's, forward and all gradients, on the random shapes of `bench/operator_cases.py`.
//!
//! Values are compared within 1e-5 of the largest one.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData, ops::ConvOptions};
use lyceum_kernels::{
    Activation, Resampling, attention, batch_norm, conv_transpose2d, conv2d, gelu, group_norm, layer_norm, linear, max_pool, resample,
    softmax_cross_entropy,
};
use safetensors::SafeTensors;
use serde_json::Value;

static FILE: &[u8] = include_bytes!("data/pytorch.safetensors");

/// One case's tensors.
struct Case<'a> {
    file: &'a SafeTensors<'a>,
    number: usize,
    options: &'a Value,
}

impl Case<'_> {
    fn array(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let view = self.file.tensor(&format!("{}/{name}", self.number)).unwrap();
        let values = view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        (view.shape().to_vec(), values)
    }

    fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        let (shape, values) = self.array(name);
        Tensor::from_data(TensorData::new(values, shape), &Device::flex().autodiff()).require_grad()
    }

    fn number(&self, option: &str) -> usize {
        self.options[option].as_u64().unwrap() as usize
    }

    fn pair(&self, option: &str) -> [usize; 2] {
        [0, 1].map(|axis| self.options[option][axis].as_u64().unwrap() as usize)
    }

    fn activation(&self) -> Activation {
        if self.options["relu"].as_bool().unwrap() { Activation::Relu } else { Activation::None }
    }

    fn close(&self, name: &str, found: &[f32]) {
        let (_, expected) = self.array(name);
        assert_eq!(found.len(), expected.len(), "case {}, {name}: {}", self.number, self.options);
        let scale = expected.iter().fold(1.0_f32, |max, value| max.max(value.abs()));
        for (index, (a, b)) in found.iter().zip(&expected).enumerate() {
            assert!((a - b).abs() <= 1e-5 * scale, "case {}, {name}, element {index}: {a} instead of {b}: {}", self.number, self.options);
        }
    }

    /// Compares images whose two sides are made of those that there were.
    fn resampled(&self, side: impl Fn(usize) -> Resampling) {
        let x = self.tensor::<4>("x");
        let [_, _, height, width] = x.dims();
        self.check(resample(x.clone(), side(height), side(width)), &[&("x", &x)]);
    }

    /// Compares an output, and the gradients that `gradients` takes from the backward pass.
    fn check<const D: usize>(&self, output: Tensor<D>, inputs: &[&dyn Differentiable]) {
        self.close("output", &output.clone().inner().try_into_vec_as::<f32>().unwrap());
        let direction = self.tensor::<D>("direction").inner().autodiff();
        let gradients = (output * direction).sum().backward();
        for input in inputs {
            let (name, values) = input.gradient(&gradients);
            self.close(&format!("d_{name}"), &values);
        }
    }
}

trait Differentiable {
    fn gradient(&self, gradients: &burn::tensor::Gradients) -> (&'static str, Vec<f32>);
}

impl<const D: usize> Differentiable for (&'static str, &Tensor<D>) {
    fn gradient(&self, gradients: &burn::tensor::Gradients) -> (&'static str, Vec<f32>) {
        (self.0, self.1.grad(gradients).unwrap().try_into_vec_as().unwrap())
    }
}

fn run(case: &Case<'_>) {
    match case.options["operator"].as_str().unwrap() {
        "conv2d" => {
            let (x, weight, bias) = (case.tensor("x"), case.tensor("weight"), case.tensor("bias"));
            let options = ConvOptions::new(case.pair("stride"), case.pair("padding"), case.pair("dilation"), case.number("groups"));
            let y = conv2d(x.clone(), weight.clone(), Some(bias.clone()), options, case.activation());
            case.check(y, &[&("x", &x), &("weight", &weight), &("bias", &bias)]);
        }
        "linear" => {
            let (x, weight, bias) = (case.tensor("x"), case.tensor("weight"), case.tensor("bias"));
            let y = linear(x.clone(), None, weight.clone(), bias.clone(), case.activation());
            case.check(y, &[&("x", &x), &("weight", &weight), &("bias", &bias)]);
        }
        "batch_norm" => {
            let (x, gamma, beta, residual) = (case.tensor("x"), case.tensor("gamma"), case.tensor("beta"), case.tensor("residual"));
            let out = batch_norm(x.clone(), gamma.clone(), beta.clone(), Some(residual.clone()), 1e-5, case.activation());
            case.check(out.output, &[&("x", &x), &("gamma", &gamma), &("beta", &beta), &("residual", &residual)]);
        }
        "max_pool" => {
            let x = case.tensor("x");
            case.check(max_pool(x.clone(), case.number("size"), case.activation()), &[&("x", &x)]);
        }
        "layer_norm" => {
            let (x, residual, gamma, beta) = (case.tensor("x"), case.tensor("residual"), case.tensor("gamma"), case.tensor("beta"));
            let y = layer_norm(x.clone(), residual.clone(), gamma.clone(), beta.clone(), 1e-5);
            case.check(y, &[&("x", &x), &("residual", &residual), &("gamma", &gamma), &("beta", &beta)]);
        }
        "gelu" => {
            let x = case.tensor("x");
            case.check(gelu(x.clone()), &[&("x", &x)]);
        }
        "attention" => {
            let qkv = case.tensor("qkv");
            let y = attention(qkv.clone(), case.tensor("mask"), case.number("sequences"), case.number("heads"));
            case.check(y, &[&("qkv", &qkv)]);
        }
        "softmax_cross_entropy" => {
            let logits = case.tensor("logits");
            case.check(softmax_cross_entropy(logits.clone(), case.tensor("targets")), &[&("logits", &logits)]);
        }
        "conv_transpose2d" => {
            let (x, weight, bias) = (case.tensor("x"), case.tensor("weight"), case.tensor("bias"));
            let y = conv_transpose2d(x.clone(), weight.clone(), bias.clone(), case.pair("stride"), case.pair("padding"));
            case.check(y, &[&("x", &x), &("weight", &weight), &("bias", &bias)]);
        }
        "group_norm" => {
            let (x, gamma, beta) = (case.tensor("x"), case.tensor("gamma"), case.tensor("beta"));
            let y = group_norm(x.clone(), gamma.clone(), beta.clone(), case.number("groups"), 1e-5);
            case.check(y, &[&("x", &x), &("gamma", &gamma), &("beta", &beta)]);
        }
        "average_pool" => {
            case.resampled(|side| Resampling::windows(side, case.number("size"), case.number("stride"), [case.number("padding"); 2]))
        }
        "adaptive_average_pool" => case.resampled(|side| Resampling::adaptive(side, case.number("size"))),
        "nearest" => case.resampled(|side| Resampling::nearest(side, case.number("factor"))),
        "bilinear" => case.resampled(|side| Resampling::bilinear(side, case.number("factor"))),
        other => panic!("no operator {other}"),
    }
}

#[test]
fn every_operator_agrees_with_pytorch() {
    let (_, metadata) = SafeTensors::read_metadata(FILE).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["cases"]).unwrap();
    let file = SafeTensors::deserialize(FILE).unwrap();
    let mut counts = BTreeMap::<&str, usize>::new();
    for (number, options) in cases.iter().enumerate() {
        run(&Case { file: &file, number, options });
        *counts.entry(options["operator"].as_str().unwrap()).or_default() += 1;
    }
    assert!(counts.len() == 14 && counts["conv2d"] == 16, "{counts:?}");
}
