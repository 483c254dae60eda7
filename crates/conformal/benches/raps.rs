//! RAPS on the logits of `cargo xtask bench conformal`, of a good and of a weak classifier: half calibrate, half are predicted. Prints JSON
//! lines.

use std::{path::Path, time::Instant};

use lyceum_conformal::{Conformal, ConformalConfig, ScoreConfig, metrics};
use lyceum_core::Seed;
use lyceum_data::formats::npy::{self, MatrixView};
use ndarray::Axis;
use rayon::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with("--")).expect("the folder of the data");
    for classifier in ["raps", "weak"] {
        measure(Path::new(&folder), classifier);
    }
}

fn measure(folder: &Path, classifier: &str) {
    let matrix = npy::Matrix::open(&folder.join(format!("{classifier}-logits.npy"))).expect("logits");
    let labels = npy::labels(&folder.join(format!("{classifier}-labels.npy"))).expect("labels");
    // In memory, as the peers have it.
    let MatrixView::Float32(logits) = matrix.view() else { panic!("the logits are float32") };
    let logits = logits.to_owned();
    let half = logits.nrows() / 2;
    let (calibration, test) = logits.view().split_at(Axis(0), half);
    let config = ConformalConfig { alpha: 0.1, score: ScoreConfig::raps(0.01, 5), ..ConformalConfig::default() };
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    let mut size = 0.0;
    for _ in 0..7 {
        let start = Instant::now();
        let conformal = Conformal::calibrate(config, calibration, &labels[..half], Seed::new(0)).expect("good data");
        times[0].push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        let sets = conformal.predict(test, Seed::new(1)).expect("good data");
        times[1].push(start.elapsed().as_secs_f64());
        size = metrics::mean_size(&sets);
        let start = Instant::now();
        let max = logits.as_slice().expect("one piece").par_chunks(1 << 16).map(read).reduce(|| f32::MIN, f32::max);
        times[2].push(start.elapsed().as_secs_f64());
        assert!(max.is_finite());
    }
    let [calibrate, predict, read] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    let parts = [("calibrate", calibrate), ("predict", predict), ("read", read)];
    let parts = if classifier == "raps" { &parts[..] } else { &[] };
    for &(work, seconds) in std::iter::once(&(classifier, calibrate + predict)).chain(parts) {
        println!("{{\"work\": \"{work}\", \"peer\": \"lyceum\", \"seconds\": {seconds}, \"mean_size\": {size}}}");
    }
}

/// The maximum by sixteen running ones: as fast as memory gives the numbers.
fn read(values: &[f32]) -> f32 {
    pulp::Arch::new().dispatch(|| {
        let (whole, rest) = values.as_chunks::<16>();
        let mut maxima = [f32::MIN; 16];
        whole
            .iter()
            .for_each(|chunk| (0..16).for_each(|lane| maxima[lane] = if chunk[lane] > maxima[lane] { chunk[lane] } else { maxima[lane] }));
        maxima.iter().chain(rest).copied().fold(f32::MIN, f32::max)
    })
}
