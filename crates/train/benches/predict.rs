//! Logits of trained networks by batch: what `cargo xtask bench predict` compares with ONNX Runtime. Prints a JSON line a network and batch;
//! the number of threads is `RAYON_NUM_THREADS`. An argument names the one network to measure.

use std::time::Instant;

use lyceum_core::Seed;
use lyceum_data::Extent;
use lyceum_train::{ModelConfig, cpu, parallel};
use ndarray::Array2;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    parallel::enlist_this_thread();
    let extent = Extent { channels: 3, height: 32, width: 32 };
    for (name, config) in
        [("resnet20", ModelConfig::Resnet20), ("feddyn-cnn", ModelConfig::FeddynCnn), ("mobilenet-v2", ModelConfig::MobilenetV2)]
    {
        if std::env::args().skip(1).any(|argument| !argument.starts_with("--") && argument != name) {
            continue;
        }
        let net = config.init(extent, 10, Seed::new(1), &cpu()).expect("it fits");
        let predictor = net.predictor().expect("it folds");
        for batch in [1, 32, 256] {
            let inputs = Array2::from_shape_fn((batch, extent.len()), |(i, j)| ((i * 7919 + j) as f32 * 0.618).sin());
            let mut times = Vec::new();
            let begun = Instant::now();
            while times.len() < 5 || begun.elapsed().as_secs_f64() < 1.5 {
                let start = Instant::now();
                std::hint::black_box(predictor.logits(inputs.view()).expect("logits"));
                times.push(start.elapsed().as_secs_f64());
            }
            times.sort_by(f64::total_cmp);
            let threads = rayon::current_num_threads();
            println!("{{\"work\": \"{name}-{batch}-{threads}\", \"peer\": \"lyceum\", \"seconds\": {}}}", times[times.len() / 2]);
        }
    }
}
