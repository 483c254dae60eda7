//! A step of SAM and a plain one, in turn, on the nets of `cargo xtask bench sam`. Prints a JSON line a net and kind.

use std::time::Instant;

use burn::tensor::{Tensor, TensorData};
use lyceum_core::Seed;
use lyceum_data::Extent;
use lyceum_optim::EstimatorConfig;
use lyceum_train::{CrossEntropy, ModelConfig, Net, OptimizerConfig, Pipeline, Rate, cpu, objective::LabelledBatch, parallel};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    parallel::enlist_this_thread();
    let grey = Extent { channels: 1, height: 28, width: 28 };
    let colour = Extent { channels: 3, height: 32, width: 32 };
    measure("mlp", &ModelConfig::Mlp { hidden: vec![200, 200], dropout: 0.0 }, grey, 128, 300);
    measure("cnn", &ModelConfig::Cnn { channels: vec![16, 32], hidden: 64, batch_norm: true, dropout: 0.0 }, grey, 128, 60);
    measure("resnet", &ModelConfig::Resnet { widths: vec![32, 64, 128], blocks: 2 }, colour, 64, 8);
}

fn measure(name: &str, config: &ModelConfig, extent: Extent, n: usize, steps: usize) {
    let value = |i: usize| ((i * 7919) as f32 * 0.618).sin();
    let tensor = |values: Vec<f32>, width| Tensor::from_data(TensorData::new(values, [n, width]), &cpu());
    let inputs = tensor((0..n * extent.len()).map(value).collect(), extent.len());
    let targets = tensor((0..n * 10).map(|i| if i % 10 == (i / 10) % 10 { 1.0 } else { 0.0 }).collect(), 10);
    let batch = LabelledBatch { inputs, targets };
    let pipeline = |estimator: EstimatorConfig| {
        let model = config.init(extent, 10, Seed::new(1), &cpu()).expect("it fits");
        Pipeline::<Net>::new(model, estimator.build().expect("constants in range"), &OptimizerConfig::default())
            .expect("constants in range")
    };
    let kinds = [
        ("plain", EstimatorConfig::Plain),
        ("sam", EstimatorConfig::sam(0.05)),
        ("sam-m32", EstimatorConfig::Sam { rho: 0.05, p: 2.0, m: Some(32) }),
    ];
    let mut pipelines: Vec<_> = kinds.into_iter().map(|(kind, estimator)| (kind, pipeline(estimator), Vec::new())).collect();
    let objective = CrossEntropy::default();
    for step in 0..steps + 3 {
        for (_, pipeline, times) in &mut pipelines {
            let start = Instant::now();
            pipeline.step(&objective, &batch, Rate::constant(0.001), Seed::new(0)).expect("a finite loss");
            if step >= 3 {
                times.push(start.elapsed().as_secs_f64());
            }
        }
    }
    for (kind, _, mut times) in pipelines {
        times.sort_by(f64::total_cmp);
        println!("{{\"work\": \"{kind}-{name}\", \"peer\": \"lyceum\", \"seconds\": {}}}", times[times.len() / 2]);
    }
}
