//! Gradient Projection Memory and its baselines on permuted and split MNIST.

use std::{collections::BTreeMap, fmt::Write};

use anyhow::Result;

use super::{Cell, Extent, Results, figure, kept_cells, mean_and_deviation, run_missing_cells};
use crate::{
    machine,
    shell::{self, root},
};

const SEEDS: [u64; 3] = [1, 2, 3];

/// Name and method. Strengths were chosen on the first four tasks of another stream (seed 101) from 30, 100, 300 (EWC) and 0.3, 1
/// (LwF); SI diverges on ten tasks with the 0.1 that was best on four, and has a fifth of it. Memories hold as many numbers as GPM
/// does at the end.
const PERMUTED: [(&str, &str); 13] = [
    ("GPM", "{gpm={thresholds=[0.95,0.99,0.99],samples=300}}"),
    ("naive", "\"naive\""),
    ("EWC", "{ewc={strength=30.0}}"),
    ("ER", "{replay={memory=570}}"),
    ("LwF", "{lwf={strength=0.3}}"),
    ("multitask", "\"multitask\""),
    ("SI", "{si={strength=0.02}}"),
    ("GPM, the authors' first rank", "{gpm={thresholds=[0.95,0.99,0.99],samples=300,rank_rule=\"authors\"}}"),
    ("DER++", "{dark-replay={memory=570}}"),
    ("A-GEM", "{a-gem={memory=570,reference=256}}"),
    ("scaled projection (SGP)", "{gpm={thresholds=[0.95,0.99,0.99],samples=300,scale=10.0}}"),
    ("HAT, told the task", "{hat={}}"),
    ("OGD", "{ogd={samples=10}}"),
];

const SPLIT: [(&str, &str); 6] = [
    ("GPM", "{gpm={thresholds=[0.97],samples=125}}"),
    ("HAT", "{hat={}}"),
    ("EWC", "{ewc={strength=30.0}}"),
    ("ER", "{replay={memory=200}}"),
    ("naive", "\"naive\""),
    ("multitask", "\"multitask\""),
];

/// A stream of tasks and what is compared on it.
struct Stream {
    name: &'static str,
    recipe: &'static str,
    title: &'static str,
    tasks: usize,
    methods: &'static [(&'static str, &'static str)],
}

const STREAMS: [Stream; 2] = [
    Stream {
        name: "permuted",
        recipe: "recipes/continual/pmnist.toml",
        title: "Ten permutations of MNIST, one head: 784-100-100-10, 54,000 examples a task, 5 epochs of batches of 10, SGD at 0.01",
        tasks: 10,
        methods: &PERMUTED,
    },
    Stream {
        name: "split",
        recipe: "recipes/continual/split-mnist.toml",
        title: "MNIST in five tasks of two digits, a head each: two convolutions and a hidden layer, 2 epochs of batches of 32",
        tasks: 5,
        methods: &SPLIT,
    },
];

pub(super) fn run(extent: Extent) -> Result<()> {
    shell::data("mnist")?;
    let grid: Vec<(&Stream, &str, &str, u64)> = STREAMS
        .iter()
        .flat_map(|stream| stream.methods.iter().flat_map(move |(name, method)| SEEDS.map(|seed| (stream, *name, *method, seed))))
        .collect();
    let cells: Vec<Cell> = grid
        .iter()
        .map(|(stream, name, method, seed)| Cell {
            recipe: stream.recipe,
            name: format!("{}-{}-seed-{seed}", stream.name, name.replace([' ', ',', '\''], "")),
            overrides: vec![format!("strategy.0.method={method}"), format!("strategy.0.name={name}"), format!("seed={seed}")],
        })
        .collect();
    let folder = root().join("results/gpm");
    let kept = kept_cells(&folder, extent)?;
    let found = run_missing_cells("gpm", &cells, &kept, extent)?;
    let by_cell: BTreeMap<(&str, &str, u64), &BTreeMap<String, f64>> =
        grid.iter().zip(&found).map(|((stream, name, _, seed), values)| ((stream.name, *name, *seed), values)).collect();
    let over_seeds = |stream: &str, name: &str, key: &str| {
        mean_and_deviation(&SEEDS.map(|seed| by_cell[&(stream, name, seed)].get(&format!("{name}/{key}")).copied().unwrap_or(f64::NAN)))
    };
    let machine = machine::describe()?;
    std::fs::create_dir_all(&folder)?;
    let mut text = format!(
        "# Gradient Projection Memory\n\n\
         Mean ± standard deviation over seeds {SEEDS:?}. ACC: mean accuracy on all tasks at the end; BWT: change of a task's accuracy since\n\
         it was learnt. Strengths of EWC and LwF were chosen on the first four tasks of another stream (SI's diverged on ten and was lowered);\n\
         A-GEM, ER and DER++ keep as many numbers as GPM does at the end. Again: `cargo xtask reproduce gpm`.\n"
    );
    for Stream { name: stream, recipe, title, tasks, methods } in STREAMS {
        write!(
            text,
            "\n## {title}\n\nRecipe: `{recipe}`.\n\n| strategy | ACC, % | BWT, points | at learning, % | numbers kept |\n|---|---:|---:|---:|---:|\n"
        )?;
        for (name, _) in methods {
            let shown = |key: &str, sign: bool| {
                let (mean, deviation) = over_seeds(stream, name, key);
                let (mean, deviation) = (100.0 * mean, 100.0 * deviation);
                if sign { format!("{mean:+.2} ± {deviation:.2}") } else { format!("{mean:.2} ± {deviation:.2}") }
            };
            let bwt = if *name == "multitask" { "–".to_owned() } else { shown("bwt", true) };
            let kept = over_seeds(stream, name, "kept_numbers").0;
            writeln!(text, "| {name} | {} | {bwt} | {} | {kept:.0} |", shown("acc", false), shown("at_learning", false))?;
        }
        let lines = methods.iter().filter(|(name, _)| *name != "multitask").map(|(name, _)| {
            let point = |t: usize| {
                let (mean, deviation) = mean_and_deviation(&SEEDS.map(|seed| {
                    let value =
                        |j: usize| by_cell[&(stream, *name, seed)].get(&format!("{name}/matrix/{t}/{j}")).copied().unwrap_or(f64::NAN);
                    (0..=t).map(value).sum::<f64>() / (t + 1) as f64
                }));
                ((t + 1) as f64, 100.0 * mean, 100.0 * deviation)
            };
            figure::Line { name: (*name).into(), points: (0..tasks).map(point).collect() }
        });
        let file = format!("{stream}.svg");
        figure::lines(
            &folder.join(&file),
            "Accuracy on the tasks so far",
            ["tasks learnt", "mean accuracy, %"],
            &lines.collect::<Vec<_>>(),
        )?;
        write!(text, "\n![accuracy]({file})\n")?;
    }
    text += "\n## How full the layers are (permuted, directions after each task)\n\n| layer | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n";
    for (layer, dimension) in [("hidden.0.weight", 784), ("hidden.1.weight", 100), ("output.weight", 100)] {
        write!(text, "| {layer} (of {dimension}) |")?;
        for t in 0..10 {
            // A parameter's name begins with that of the network's kind.
            let rank = |seed| {
                let values = by_cell[&("permuted", "GPM", seed)];
                values
                    .iter()
                    .find(|(key, _)| key.starts_with(&format!("GPM/rank/{t}/")) && key.ends_with(layer))
                    .map_or(f64::NAN, |(_, rank)| *rank)
            };
            write!(text, " {:.0} |", mean_and_deviation(&SEEDS.map(rank)).0)?;
        }
        writeln!(text)?;
    }
    Results { folder: &folder, machine, seeds: &SEEDS, cells: &cells, found: &found, kept }.write(text)
}
