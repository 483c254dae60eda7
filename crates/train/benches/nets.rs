//! One training step (forward, backward, SGD) of the nets that `cargo xtask bench kernels` compares with PyTorch.
//! Prints a JSON line a net; the number of threads is `RAYON_NUM_THREADS`. An argument names the one net to measure.

use std::time::Instant;

use burn::tensor::{Tensor, TensorData};
use lyceum_core::Seed;
use lyceum_data::Extent;
use lyceum_train::{
    Bert, BertConfig, CrossEntropy, MaskedTokens, ModelConfig, Objective, OptimizerConfig, Pipeline, Plain, Rate, TokenBatch, cpu,
    objective::LabelledBatch, parallel,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    parallel::enlist_this_thread();
    let grey = Extent { channels: 1, height: 28, width: 28 };
    let colour = Extent { channels: 3, height: 32, width: 32 };
    images("mlp", &ModelConfig::Mlp { hidden: vec![200, 200], dropout: 0.0 }, grey, 50, 400);
    images("cnn", &ModelConfig::FeddynCnn, colour, 50, 40);
    images("resnet", &ModelConfig::Resnet { widths: vec![32, 64, 128], blocks: 2 }, colour, 64, 12);
    images("mobilenet-v2", &ModelConfig::MobilenetV2, colour, 64, 6);
    images("densenet40", &ModelConfig::Densenet40, colour, 64, 4);
    masked_tokens();
}

fn images(name: &str, config: &ModelConfig, extent: Extent, n: usize, steps: usize) {
    let device = cpu();
    let model = config.init(extent, 10, Seed::new(1), &device).expect("it fits");
    let value = |i: usize| ((i * 7919) as f32 * 0.618).sin();
    let tensor = |values: Vec<f32>, width| Tensor::from_data(TensorData::new(values, [n, width]), &device);
    let inputs = tensor((0..n * extent.len()).map(value).collect(), extent.len());
    let targets = tensor((0..n * 10).map(|i| if i % 10 == (i / 10) % 10 { 1.0 } else { 0.0 }).collect(), 10);
    measure(name, model, &CrossEntropy::default(), &LabelledBatch { inputs, targets }, steps);
}

/// Four layers, 16 sequences of 128 tokens, 292 of them masked.
fn masked_tokens() {
    let config = BertConfig { vocabulary: 1000, dropout: 0.0, ..BertConfig::default() };
    let model = Bert::new(&config, &mut Seed::new(1).stream("model"), &cpu());
    let tokens: Vec<u32> = (0..16 * 128).map(|i| i * 7919 % 1000).collect();
    let targets = (0..292).map(|i| (i * 7, i * 31 % 1000)).collect();
    let batch = TokenBatch { length: 128, present: vec![true; tokens.len()], tokens, targets };
    measure("transformer", model, &MaskedTokens, &batch, 16);
}

fn measure<O: Objective>(name: &str, model: O::Model, objective: &O, batch: &O::Batch, steps: usize) {
    if std::env::args().skip(1).any(|argument| !argument.starts_with("--") && argument != name) {
        return;
    }
    let mut pipeline =
        Pipeline::new(model, Box::new(Plain), &OptimizerConfig::Sgd { momentum: 0.0, nesterov: false }).expect("constants in range");
    let mut step = || pipeline.step(objective, batch, Rate::constant(0.001), Seed::new(0)).expect("a finite loss");
    (0..steps / 4 + 2).for_each(|_| drop(step()));
    let mut times: Vec<f64> = (0..steps)
        .map(|_| {
            let start = Instant::now();
            step();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let threads = rayon::current_num_threads();
    println!("{{\"work\": \"{name}-{threads}\", \"peer\": \"lyceum\", \"seconds\": {}}}", times[times.len() / 2]);
}
