//! Collocations of Debian's documentation, and a small BERT pre-trained with each way of masking.

use std::{collections::BTreeMap, fmt::Write};

use anyhow::Result;

use super::{Cell, Extent, Results, kept_cells, mean_and_deviation, run_missing_cells};
use crate::{
    machine,
    shell::{self, command, output, release, root, run},
};

const SEEDS: [u64; 3] = [1, 2, 3];
const RECIPE: &str = "recipes/masking/pretraining.toml";

/// Name, and what stands in the arm beside it.
const ARMS: [(&str, &str); 6] = [
    ("tokens", "method=\"token\""),
    ("words", "method=\"whole-word\""),
    ("spans", "method={span={p=0.2,longest=10}}"),
    ("PMI", "method=\"collocations\""),
    ("naive PMI", "method=\"collocations\",score=\"naive-pmi\""),
    ("frequency", "method=\"collocations\",score=\"frequency\""),
];
const PROBES: [&str; 3] = ["words", "spans", "collocations"];

pub(super) fn run_all(extent: Extent) -> Result<()> {
    shell::data("english")?;
    let seeds = &SEEDS[..extent.seeds.unwrap_or(SEEDS.len()).clamp(1, SEEDS.len())];
    let grid: Vec<(u64, &str, &str)> = seeds.iter().flat_map(|seed| ARMS.map(|(name, more)| (*seed, name, more))).collect();
    let cells: Vec<Cell> = grid
        .iter()
        .map(|(seed, name, more)| Cell {
            recipe: RECIPE,
            name: format!("{}-seed-{seed}", name.replace(' ', "-")),
            overrides: vec![format!("arm=[{{name=\"{name}\",{more}}}]"), format!("seed={seed}")],
        })
        .collect();
    let folder = root().join("results/pmi-masking");
    let kept = kept_cells(&folder, extent)?;
    let found = run_missing_cells("pmi-masking", &cells, &kept, extent)?;
    let by_cell: BTreeMap<(&str, u64), &BTreeMap<String, f64>> =
        grid.iter().zip(&found).map(|((seed, name, _), values)| ((*name, *seed), values)).collect();
    let value = |name: &str, seed: u64, key: &str| by_cell[&(name, seed)].get(&format!("{name}/{key}")).copied().unwrap_or(f64::NAN);
    let over_seeds = |name: &str, key: &str| mean_and_deviation(&seeds.iter().map(|seed| value(name, *seed, key)).collect::<Vec<f64>>());
    let machine = machine::describe()?;
    std::fs::create_dir_all(&folder)?;
    let mut text = format!(
        "# Collocations, and what masking them does\n\n\
         ## A small BERT with each way of masking\n\n\
         Two layers of width 128 learn from the same beginning, from the same rows in the same order, 2,000 steps of 32 rows of 64 tokens; only\n\
         what is masked differs. All are asked the same on 500 held-out rows: single words, spans of words (as SpanBERT draws them) and PMI\n\
         collocations, each masked as a whole. Loss in nats a masked token, and the share of tokens predicted right; mean ± standard deviation\n\
         over seeds {seeds:?}. Collocations were counted on all of the text, held-out rows too.\n\n\
         Recipe: `{RECIPE}`. Again: `cargo xtask reproduce pmi-masking`.\n\n\
         | masking | words: loss | right, % | spans: loss | right, % | collocations: loss | right, % |\n|---|---:|---:|---:|---:|---:|---:|\n"
    );
    for (name, _) in ARMS {
        write!(text, "| {name} |")?;
        for probe in PROBES {
            let ((loss, deviation), (right, spread)) =
                (over_seeds(name, &format!("{probe}/loss")), over_seeds(name, &format!("{probe}/accuracy")));
            if loss.is_nan() {
                write!(text, " not run | not run |")?;
            } else {
                write!(text, " {loss:.3} ± {deviation:.3} | {:.1} ± {:.1} |", 100.0 * right, 100.0 * spread)?;
            }
        }
        writeln!(text)?;
    }
    text += "\nDifference of the loss from masking spans in the same seed (negative is better):\n\n| masking | words | spans | collocations |\n|---|---:|---:|---:|\n";
    for (name, _) in ARMS.iter().filter(|(name, _)| *name != "spans") {
        write!(text, "| {name} |")?;
        for probe in PROBES {
            let key = format!("{probe}/loss");
            let differences: Vec<f64> = seeds.iter().map(|seed| value(name, *seed, &key) - value("spans", *seed, &key)).collect();
            let (mean, deviation) = mean_and_deviation(&differences);
            if mean.is_nan() { write!(text, " not run |")? } else { write!(text, " {mean:+.3} ± {deviation:.3} |")? }
        }
        writeln!(text)?;
    }
    text += &vocabulary()?;
    Results { folder: &folder, machine, seeds, cells: &cells, found: &found, kept }.write(text)
}

/// The strongest collocations of the whole corpus, by how often they must be there.
fn vocabulary() -> Result<String> {
    run("cargo", &["build", "--release"])?;
    let work = tempdir()?;
    let folder = shell::data_folder().join("english");
    let mut text = String::from("\n## The vocabulary\n");
    for min_count in [10, 300] {
        let out = work.join(format!("collocations-{min_count}"));
        let mut build = command(release("lyceum")?, &["--json", "masking", "build", "--no-numbers", "--min-count", &min_count.to_string()]);
        let mut paths: Vec<_> = std::fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        paths.sort();
        let said = output(build.arg("--out").arg(&out).args(paths))?;
        let built: serde_json::Value = serde_json::from_str(said.lines().last().unwrap_or_default())?;
        let table = std::fs::read_to_string(out.with_extension("tsv"))?;
        writeln!(
            text,
            "\nAll {} words, n-grams that are there {min_count} times or more ({} collocations of 2 to 5 words). The first 50 of each length, in the order of\n\
             their PMI; a bar is the cut that decides.\n",
            built["words"], built["collocations"]
        )?;
        for order in 2..=5 {
            let of_order =
                table.lines().skip(1).map(|line| line.split('\t').collect::<Vec<&str>>()).filter(|cells| cells[0] == order.to_string());
            let entries: Vec<String> =
                of_order.take(50).map(|cells| format!("{} ({:.1})", cells[5], cells[3].parse::<f64>().unwrap_or(f64::NAN))).collect();
            writeln!(text, "* {order} words: {}", entries.join(", "))?;
        }
    }
    std::fs::remove_dir_all(work)?;
    Ok(text)
}

fn tempdir() -> Result<std::path::PathBuf> {
    let folder = std::env::temp_dir().join(format!("lyceum-pmi-masking-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
