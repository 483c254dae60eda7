//! Rates of the operators on the shapes of the nets that `cargo xtask bench kernels` trains, beside the rate of a large
//! product. Prints a JSON line each; `RAYON_NUM_THREADS` is the number of threads. An argument is what the names of the
//! operators to measure begin with.

use std::{hint::black_box, time::Instant};

use burn::tensor::{Device, Tensor, TensorData, ops::ConvOptions};
use lyceum_kernels::{Activation, attention, conv2d, linear};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let _ = rayon::ThreadPoolBuilder::new().use_current_thread().build_global();
    let (a, b) = (random([1024, 1024]).inner(), random([1024, 1024]).inner());
    let peer = median(|| drop(black_box(a.clone().matmul(b.clone()))));
    print("gemm crate 1024x1024x1024", &[("forward", 2.0 * 1024_f64.powi(3) / peer)]);
    linears();
    convolutions();
    let (n, s, h, e) = (16, 128, 4, 32);
    let qkv = random([n * s, 3 * h * e]);
    let mask = Tensor::<1>::ones([n * s], &Device::flex().autodiff());
    let flop = 4.0 * (n * h * s * s * e) as f64;
    measure("attention 16x128, 4 heads of 32", flop, 2.5, |i| attention(i.of(&qkv), i.of(&mask), n, h));
}

fn linears() {
    let shapes =
        [(1024, 1024, 1024), (50, 784, 200), (50, 1600, 384), (2048, 128, 384), (2048, 128, 128), (2048, 128, 512), (2048, 512, 128)];
    for (n, d, k) in shapes {
        let (x, weight, bias) = (random([n, d]), random([d, k]), random([k]));
        let flop = 2.0 * (n * d * k) as f64;
        measure(&format!("linear {n}x{d}x{k}"), flop, 2.0, |i| linear(i.of(&x), None, i.of(&weight), i.of(&bias), Activation::None));
    }
}

fn convolutions() {
    let shapes = [
        (50, 3, 64, 32, 5, 1, 0),
        (50, 64, 64, 14, 5, 1, 0),
        (64, 32, 32, 32, 3, 1, 1),
        (64, 32, 64, 32, 3, 2, 1),
        (64, 64, 64, 16, 3, 1, 1),
        (64, 128, 128, 8, 3, 1, 1),
    ];
    for (n, c, o, side, kernel, stride, padding) in shapes {
        let (x, weight) = (random([n, c, side, side]), random([o, c, kernel, kernel]));
        let out = (side + 2 * padding - kernel) / stride + 1;
        let flop = 2.0 * (n * o * out * out * c * kernel * kernel) as f64;
        let options = || ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1);
        let name = format!("conv2d {n}x{c}x{side}x{side} to {o}, {kernel}x{kernel} stride {stride}");
        measure(&name, flop, 2.0, |i| conv2d(i.of(&x), i.of(&weight), None, options(), Activation::None));
    }
}

/// Whether an operator's inputs are differentiated to.
#[derive(Clone, Copy)]
enum Inputs {
    Constant,
    Tracked,
}

impl Inputs {
    fn of<const D: usize>(self, tensor: &Tensor<D>) -> Tensor<D> {
        match self {
            Self::Constant => tensor.clone().inner(),
            Self::Tracked => tensor.clone(),
        }
    }
}

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    let n = shape.iter().product::<usize>();
    let values: Vec<f32> = (0..n).map(|i| ((i * 7919) as f32 * 0.618).sin()).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex().autodiff()).require_grad()
}

/// The rate of the forward pass, of `flop` operations, and of the backward pass, of `backward` times as many: the time
/// of both passes less that of the first and of the product with a direction that makes the gradient.
fn measure<const D: usize>(name: &str, flop: f64, backward: f64, forward: impl Fn(Inputs) -> Tensor<D>) {
    if std::env::args().skip(1).any(|argument| !argument.starts_with("--") && !name.starts_with(&argument)) {
        return;
    }
    let direction = forward(Inputs::Constant);
    let first = median(|| drop(black_box(forward(Inputs::Constant))));
    let both = median(|| drop(black_box((forward(Inputs::Tracked) * direction.clone().autodiff()).sum().backward())));
    let product = median(|| drop(black_box((direction.clone() * direction.clone()).sum().into_data())));
    print(name, &[("forward", flop / first), ("backward", flop * backward / (both - first - product))]);
}

fn median(work: impl Fn()) -> f64 {
    let mut times: Vec<f64> = (0..21)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn print(operator: &str, rates: &[(&str, f64)]) {
    let rates: String = rates.iter().map(|(pass, rate)| format!(", \"{pass}_gflops\": {:.1}", rate / 1e9)).collect();
    println!("{{\"operator\": \"{operator}\", \"threads\": {}{rates}}}", rayon::current_num_threads());
}
