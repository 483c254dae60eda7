//! SAM and SGD on MNIST with wrong labels.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{Cell, Extent, Results, figure, kept_cells, mean_and_deviation, run_missing_cells};
use crate::{
    machine,
    shell::{self, root},
};

const NOISE: [u32; 5] = [0, 20, 40, 60, 80];
const SEEDS: [u64; 3] = [1, 2, 3];
const ARMS: [(&str, &str); 4] = [
    ("SGD", "SGD, 20 epochs"),
    ("SGD-2x", "SGD, 40 epochs"),
    ("SAM-0.1", "SAM, ρ = 0.1, 20 epochs"),
    ("SAM-0.2", "SAM, ρ = 0.2, 20 epochs"),
];

pub(super) fn run(extent: Extent) -> Result<()> {
    shell::data("mnist")?;
    let machine = machine::describe()?;
    let folder = root().join("results/sam");
    let kept = kept_cells(&folder, extent)?;
    let grid: Vec<(u32, u64)> = SEEDS.iter().flat_map(|&seed| NOISE.map(|noise| (noise, seed))).collect();
    let cells: Vec<Cell> = grid.iter().map(|&(noise, seed)| cell(noise, seed)).collect();
    let summaries = run_missing_cells("sam", &cells, &kept, extent)?;
    let by_cell: BTreeMap<(u32, u64), _> = grid.into_iter().zip(&summaries).collect();
    let over_seeds =
        |noise: u32, key: &str| mean_and_deviation(&SEEDS.map(|seed| by_cell[&(noise, seed)].get(key).copied().unwrap_or(f64::NAN)));

    std::fs::create_dir_all(&folder)?;
    let figure = |file: &str, title: &str, label: &str, key: &str, scale: f64| {
        let line = |(arm, name): &(&str, &str)| figure::Line {
            name: (*name).into(),
            points: NOISE
                .map(|noise| {
                    let (mean, deviation) = over_seeds(noise, &format!("{arm}/{key}"));
                    (f64::from(noise), scale * mean, scale * deviation)
                })
                .to_vec(),
        };
        let lines: Vec<_> = ARMS.iter().map(line).collect();
        figure::lines(&folder.join(file), title, ["labels drawn at random, %", label], &lines)
    };
    figure("accuracy.svg", "MNIST, 5,000 examples: test accuracy after the last epoch", "test accuracy, %", "test_accuracy", 100.0)?;
    figure("eigenvalue.svg", "Largest eigenvalue of the Hessian of the training loss", "eigenvalue", "hessian_largest_eigenvalue", 1.0)?;

    let table = |key: &str, digits: usize, scale: f64| {
        let head = NOISE.map(|noise| format!("{noise} %")).join(" | ");
        let rule = NOISE.map(|_| "---:").join("|");
        let row = |(arm, name): &(&str, &str)| {
            let cell = |noise| {
                let (mean, deviation) = over_seeds(noise, &format!("{arm}/{key}"));
                format!("{:.digits$} ± {:.digits$}", scale * mean, scale * deviation)
            };
            format!("| {name} | {} |\n", NOISE.map(cell).join(" | "))
        };
        format!("| random labels | {head} |\n|---|{rule}|\n{}", ARMS.iter().map(row).collect::<String>())
    };
    let text = format!(
        "# SAM and SGD on wrong labels\n\n\
         MNIST, 5,000 training examples of which a share has a label drawn at random from all classes, a network of two\n\
         convolutions (16, 32) with batch normalisation and a hidden layer of 64, batches of 128, momentum 0.9, cosine decay.\n\
         Learning rate and weight decay were chosen for each arm by accuracy on held-out examples, with a seed that is not\n\
         reported, at 40 % noise and again at 80 % (the recipe says from what). One epoch of SAM costs two of SGD: `SGD, 40 epochs` has as many gradient\n\
         evaluations.\n\
         Mean ± standard deviation over seeds {SEEDS:?}. Recipe: `recipes/optim/sam.toml`; again: `cargo xtask reproduce sam`.\n\n\
         ## Test accuracy after the last epoch, %\n\n{}\n![accuracy](accuracy.svg)\n\n\
         ## Test accuracy at the epoch with the best validation accuracy, %\n\n{}\n\
         ## Largest eigenvalue of the Hessian of the training loss\n\n{}\n![eigenvalue](eigenvalue.svg)\n",
        table("test_accuracy", 2, 100.0),
        table("best_test_accuracy", 2, 100.0),
        table("hessian_largest_eigenvalue", 1, 1.0),
    );
    Results { folder: &folder, machine, seeds: &SEEDS, cells: &cells, found: &summaries, kept }.write(text)
}

/// The recipe's arms are tuned at 40 % noise. At 80 % its weight decay leaves nothing to learn: tuned again, in the same
/// way, each arm has these.
const AT_80: [(f64, f64); 4] = [(0.1, 0.02), (0.1, 0.02), (0.02, 0.02), (0.1, 0.005)];

fn cell(noise: u32, seed: u64) -> Cell {
    let mut overrides = vec![format!("data.label_noise={:.1}", f64::from(noise) / 100.0), format!("seed={seed}")];
    if noise == 80 {
        for (arm, (rate, decay)) in AT_80.iter().enumerate() {
            overrides.push(format!("arm.{arm}.learning_rate={rate}"));
            overrides.push(format!("arm.{arm}.weight_decay.at-origin={decay}"));
        }
    }
    Cell { recipe: "recipes/optim/sam.toml", name: format!("noise-{noise}-seed-{seed}"), overrides }
}
