//! FedDyn and its baselines on MNIST: rounds and bytes to an accuracy.

use std::{collections::BTreeMap, fmt::Write};

use anyhow::Result;

use super::{Cell, Extent, Results, figure, kept_cells, mean_and_deviation, run_missing_cells};
use crate::{
    machine,
    shell::{self, root},
};

const SEEDS: [u64; 3] = [1, 2, 3];
const METHODS: [&str; 4] = ["FedDyn", "SCAFFOLD", "FedAvg", "FedProx"];
const TARGETS: [f64; 2] = [0.97, 0.98];
const RECIPE: &str = "recipes/federated/mnist.toml";

/// Name, and how examples are spread.
const SPLITS: [(&str, &str); 3] = [("IID", "\"even\""), ("Dirichlet 0.6", "{dirichlet=0.6}"), ("Dirichlet 0.3", "{dirichlet=0.3}")];
/// Percent of the clients that are active, rounds at most, rounds between evaluations.
const PARTICIPATION: [(u32, u32, u32); 3] = [(100, 20, 1), (10, 100, 2), (1, 400, 5)];
/// Name, and the recipe's model; the second with 100 and 10 % active alone.
const NETWORKS: [(&str, Option<&str>); 2] = [("", None), ("CNN, ", Some("model=\"feddyn-cnn\""))];
/// Name and deviation of the logarithm of the clients' sizes.
const SIZES: [(&str, f64); 2] = [("balanced", 0.0), ("unbalanced", 0.3)];

/// One row of the grid, whatever the seed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Setting {
    network: usize,
    split: usize,
    participation: usize,
    size: usize,
}

impl Setting {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for network in 0..NETWORKS.len() {
            for split in 0..SPLITS.len() {
                for participation in (0..PARTICIPATION.len()).filter(|participation| network == 0 || *participation < 2) {
                    all.extend((0..SIZES.len()).map(|size| Self { network, split, participation, size }));
                }
            }
        }
        all
    }

    fn cell(self, seed: u64) -> Cell {
        let ((_, split), (percent, rounds, every)) = (SPLITS[self.split], PARTICIPATION[self.participation]);
        Cell {
            recipe: RECIPE,
            name: format!("{}-seed-{seed}", self.name().replace([' ', ',', '%'], "")),
            overrides: [
                format!("clients.split={split}"),
                format!("clients.size_deviation={}", SIZES[self.size].1),
                format!("participation.fraction={}", f64::from(percent) / 100.0),
                format!("rounds={rounds}"),
                format!("evaluate_every={every}"),
                format!("targets={TARGETS:?}"),
                "stop_at_targets=true".into(),
                "evaluate_all=false".into(),
                format!("seed={seed}"),
            ]
            .into_iter()
            .chain(NETWORKS[self.network].1.map(str::to_owned))
            .collect(),
        }
    }

    fn name(self) -> String {
        format!("{}{}, {} %, {}", NETWORKS[self.network].0, SPLITS[self.split].0, PARTICIPATION[self.participation].0, SIZES[self.size].0)
    }
}

pub(super) fn run(extent: Extent) -> Result<()> {
    shell::data("mnist")?;
    let seeds = &SEEDS[..extent.seeds.unwrap_or(SEEDS.len()).clamp(1, SEEDS.len())];
    // What is cheap first, with all seeds, so that what has been done when somebody stops it is as even as can be.
    let mut grid: Vec<(Setting, u64)> =
        seeds.iter().flat_map(|seed| Setting::all().into_iter().map(move |setting| (setting, *seed))).collect();
    grid.sort_by_key(|(setting, seed)| (setting.network, std::cmp::Reverse(setting.participation), *seed));
    let cells: Vec<Cell> = grid.iter().map(|(setting, seed)| setting.cell(*seed)).collect();
    let folder = root().join("results/feddyn");
    let kept = kept_cells(&folder, extent)?;
    let machine = machine::describe()?;
    let found = run_missing_cells("feddyn", &cells, &kept, extent)?;
    let measured = grid.iter().copied().zip(&found).filter(|(_, values)| !values.is_empty());
    let by_cell: BTreeMap<(Setting, u64), &BTreeMap<String, f64>> = measured.collect();
    let measured_seeds =
        |setting: Setting| seeds.iter().copied().filter(|seed| by_cell.contains_key(&(setting, *seed))).collect::<Vec<u64>>();
    std::fs::create_dir_all(&folder)?;
    let mut text = format!(
        "# FedDyn\n\n\
         MNIST (60,000 images) on 100 clients, 784-200-200-10 (or the convolutional network of the authors: CNN), with the\n\
         settings of the authors: batches of 50, 5 local epochs, rate 0.1 times 0.998 a round, weight decay 1e-4, gradients clipped at 10, alpha = 0.01 for FedDyn in every row, mu = 1e-4 for FedProx. All\n\
         methods see the same clients and batches. Means over seeds {seeds:?}, or those of them that were run. Rounds until the server's model or the mean of the active clients' models is right about\n\
         97 % and 98 % of the test images, and megabytes up and down until then. A row ends after 20, 100 or 400\n\
         rounds (100, 10, 1 % active): `>` says that a seed did not get there, and the mean counts that end for it. With 10 and 1 % active\n\
         every second and every fifth round is evaluated.\n\n\
         Recipe: `{RECIPE}`. Again: `cargo xtask reproduce feddyn`.\n"
    );
    let mut rows = 0;
    let mut first = BTreeMap::from([("rounds", 0), ("bytes", 0)]);
    for target in TARGETS {
        writeln!(text, "\n## To {} %\n\n| clients | {} |\n|---|{}", 100.0 * target, METHODS.join(" | "), "---:|".repeat(METHODS.len()))?;
        for setting in Setting::all() {
            write!(text, "| {} |", setting.name())?;
            let seeds = measured_seeds(setting);
            if seeds.is_empty() {
                writeln!(text, " not run |{}", " |".repeat(METHODS.len() - 1))?;
                continue;
            }
            rows += 1;
            let mut means = Vec::new();
            for method in METHODS {
                let reached = |seed: &u64, key: &str, end: &str| {
                    let values = by_cell[&(setting, *seed)];
                    let value = |key: String| values.get(&format!("{method}/{key}")).copied();
                    (value(format!("{key}_to_{target}")), value(end.to_owned()).unwrap_or(f64::NAN))
                };
                let mean = |key: &str, end: &str| {
                    let all: Vec<(Option<f64>, f64)> = seeds.iter().map(|seed| reached(seed, key, end)).collect();
                    let short = all.iter().any(|(found, _)| found.is_none());
                    let values: Vec<f64> = all.iter().map(|(found, end)| found.unwrap_or(*end)).collect();
                    (mean_and_deviation(&values).0, short)
                };
                let ((rounds, short), (bytes, _)) = (mean("rounds", "rounds"), mean("bytes", "bytes"));
                let sign = if short { ">" } else { "" };
                write!(text, " {sign}{rounds:.1} ({sign}{:.0} MB) |", bytes / 1e6)?;
                means.push(if short { (f64::INFINITY, f64::INFINITY) } else { (rounds, bytes) });
            }
            writeln!(text)?;
            let least = |pick: fn(&(f64, f64)) -> f64| means.iter().skip(1).map(pick).fold(f64::INFINITY, f64::min);
            if means[0].0.is_finite() {
                *first.entry("rounds").or_insert(0) += usize::from(means[0].0 <= least(|(rounds, _)| *rounds));
                *first.entry("bytes").or_insert(0) += usize::from(means[0].1 <= least(|(_, bytes)| *bytes));
            }
        }
    }
    writeln!(
        text,
        "\nFedDyn is first or tied in {} of {} rows and targets by rounds and in {} by bytes (of all, also those that nobody reached).",
        first["rounds"], rows, first["bytes"]
    )?;
    for (participation, (percent, rounds, every)) in PARTICIPATION.into_iter().enumerate() {
        let setting = Setting { network: 0, split: 2, participation, size: 0 };
        let seeds = measured_seeds(setting);
        if seeds.is_empty() {
            continue;
        }
        let lines = METHODS.map(|method| {
            let point = |round: u32| {
                // A method that has reached the targets is not trained on.
                let values: Vec<f64> = seeds
                    .iter()
                    .filter_map(|seed| by_cell[&(setting, *seed)].get(&format!("{method}/accuracy/{round}")).copied())
                    .collect();
                let (mean, deviation) = mean_and_deviation(&values);
                (values.len() == seeds.len()).then_some((f64::from(round), 100.0 * mean, 100.0 * deviation))
            };
            figure::Line { name: method.into(), points: (every..=rounds).step_by(every as usize).filter_map(point).collect() }
        });
        let file = format!("dirichlet-0.3-{percent}.svg");
        let title = format!("Server model, Dirichlet 0.3, {percent} % active");
        figure::lines(&folder.join(&file), &title, ["round", "test accuracy, %"], &lines)?;
        write!(text, "\n![{title}]({file})\n")?;
    }
    Results { folder: &folder, machine, seeds, cells: &cells, found: &found, kept }.write(text)
}
