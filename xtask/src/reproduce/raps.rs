//! Prediction sets for many classes: every score on numbers of two and three digits, and on 176 languages.

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
};

use anyhow::Result;
use statrs::distribution::{Binomial, DiscreteCDF};

use super::{Cell, Extent, Results, kept_cells, run_missing_cells, simulated};
use crate::{
    machine, python,
    shell::{self, cache, root},
};

/// Digits of a number, label smoothing in training: the more, the longer the tail of small probabilities.
const TASKS: [(usize, f64); 5] = [(2, 0.1), (3, 0.0), (3, 0.1), (3, 0.4), (3, 0.6)];
const METHODS: [&str; 7] = ["naive", "top-k", "LAC", "APS", "SAPS", "RAPS", "RAPS-adaptive"];
const SCORES: [&str; 5] = ["APS", "RAPS", "LAC", "SAPS", "top-k"];
const SCHEMES: [&str; 7] = ["marginal", "class-conditional", "clustered", "groups", "weighted", "cross-conformal", "p-values"];
const ALPHAS: [&str; 2] = ["0.1", "0.05"];

/// The test lines of the language identifier, from easy to hard.
const LINES: [&str; 3] = ["sentences", "word-pairs", "single-words"];

pub(super) fn run(extent: Extent) -> Result<()> {
    shell::data("mnist")?;
    let folder = root().join("results/raps");
    let kept = kept_cells(&folder, extent)?;
    let logits = if LINES.iter().all(|lines| kept.contains_key(*lines)) { PathBuf::new() } else { languages()? };
    let digits = TASKS.iter().map(|&(digits, smoothing)| cell(digits, smoothing));
    let languages = LINES.iter().map(|lines| Cell {
        recipe: "recipes/conformal/compare-scores.toml",
        name: (*lines).to_owned(),
        overrides: ["logits", "labels"].map(|what| format!("{what}={}", logits.join(format!("{lines}-{what}.npy")).display())).into(),
    });
    let mut cells: Vec<Cell> = digits.chain(languages).collect();
    let mut summaries = run_missing_cells("raps", &cells, &kept, extent)?;
    let machine = machine::describe()?;
    let mut text = String::from(
        "# Prediction sets for many classes\n\n\
         Every score on two classifiers, 20 random splits: half of the examples calibrate (3/10 of these fit the temperature and tune\n\
         RAPS), half test. Seed 1. Again: `cargo xtask reproduce raps`.\n\n\
         1. Numbers of two (100 classes) and three digits (1,000) put together from MNIST; a network with one hidden layer of 256\n\
         learns them from 60,000 numbers of training digits, with label smoothing as many networks for ImageNet had it: the more, the\n\
         weaker it is and the longer the tail of small probabilities. 20,000 numbers of test digits. Recipe: `recipes/conformal/raps.toml`.\n\
         2. The language identifier lid.176 of fastText (176 classes) on the test lines of the 67 languages that the Lingua detector\n\
         shares with it: sentences, pairs of words, single words. Recipe: `recipes/conformal/compare-scores.toml`.\n",
    );
    for (&(digits, smoothing), values) in TASKS.iter().zip(&summaries) {
        tables(&mut text, &format!("{} classes, label smoothing {smoothing}", 10_usize.pow(digits as u32)), values)?;
    }
    for (lines, values) in LINES.iter().zip(&summaries[TASKS.len()..]) {
        tables(&mut text, &format!("Language of {}", lines.replace('-', " ")), values)?;
    }
    writeln!(text, "\nSSCV: the largest difference from 1 − α of the coverage of sets of like size; `naive` is not calibrated.")?;
    let (cell, coverage) = simulated("lyceum-conformal", "set_coverage", &kept)?;
    guarantee(&mut text, &coverage)?;
    cells.push(cell);
    summaries.push(coverage);
    std::fs::create_dir_all(&folder)?;
    Results { folder: &folder, machine, seeds: &[1], cells: &cells, found: &summaries, kept }.write(text)
}

/// The coverage of every scheme × score × randomisation × way of calling.
fn guarantee(text: &mut String, values: &BTreeMap<String, f64>) -> Result<()> {
    let value = |name: &str| values.get(name).copied().unwrap_or(f64::NAN);
    let (alpha, splits) = (value("alpha"), value("splits"));
    let least = Binomial::new(1.0 - alpha, splits as u64)?.inverse_cdf(0.01) as f64;
    write!(
        text,
        "\n## The guarantee by simulation\n\n\
         Coverage in % at 1 − α = {:.0} %, over {splits} splits with 61 calibration points of 5 classes and one test point that counts,\n\
         all with one seed: of a matrix of six rows at once / in calls of two / row by row (`crates/conformal/examples/set_coverage.rs`).\n\
         Weighted: the test points are of another mixture of groups than the calibration. Binomially at 99 % none is below 1 − α from\n\
         {:.2} % on.\n\n\
         | scheme | randomisation |{} least |\n|---|---|{}---:|\n",
        100.0 * (1.0 - alpha),
        100.0 * least / splits,
        SCORES.map(|score| format!(" {score} |")).concat(),
        "---|".repeat(SCORES.len()),
    )?;
    let mut below = Vec::new();
    for scheme in SCHEMES {
        for randomization in ["exact", "conservative", "off"] {
            let mut worst = f64::INFINITY;
            write!(text, "| {scheme} | {randomization} |")?;
            for score in SCORES {
                let hits = ["whole", "batches", "rows"].map(|calling| value(&format!("{scheme}/{score}/{randomization}/{calling}")));
                worst = hits.into_iter().fold(worst, f64::min);
                below.extend(hits.iter().filter(|hits| **hits < least).map(|_| format!("{scheme}/{score}/{randomization}")));
                write!(text, " {} |", hits.map(|hits| format!("{:.1}", 100.0 * hits / splits)).join(" / "))?;
            }
            writeln!(text, " {:.2} |", 100.0 * worst / splits)?;
        }
    }
    let below = if below.is_empty() { "none".to_owned() } else { below.join(", ") };
    writeln!(text, "\nBelow 1 − α at 99 %: {below}.")?;
    Ok(())
}

/// A section with a table for each α.
fn tables(text: &mut String, title: &str, values: &BTreeMap<String, f64>) -> Result<()> {
    let accuracy = 100.0 * values.get("accuracy").copied().unwrap_or(f64::NAN);
    write!(text, "\n## {title}: right in {accuracy:.1} %\n")?;
    for alpha in ALPHAS {
        let value = |method: &str, name: &str| values.get(&format!("{alpha}/{method}/{name}")).copied().unwrap_or(f64::NAN);
        write!(text, "\nα = {alpha}\n\n| method | coverage | mean size | SSCV |\n|---|---:|---:|---:|\n")?;
        for method in METHODS {
            let (coverage, deviation) = (value(method, "coverage"), value(method, "coverage_deviation"));
            let (size, sscv) = (value(method, "mean_size"), value(method, "sscv"));
            writeln!(text, "| {method} | {coverage:.4} ± {deviation:.4} | {size:.2} | {sscv:.3} |")?;
        }
        writeln!(text, "\nAPS / RAPS: {:.2}", value("APS", "mean_size") / value("RAPS", "mean_size"))?;
    }
    Ok(())
}

/// The identifier's log-probabilities and the labels, in a folder.
fn languages() -> Result<PathBuf> {
    shell::data("lingua")?;
    let bench = root().join("bench");
    let python = python::environment("languages", &std::fs::read_to_string(bench.join("languages-requirements.txt"))?)?;
    let folder = cache().join("bench/languages");
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let arguments = [text(&bench.join("languages.py")), text(&folder), text(&shell::data_folder().join("lingua"))];
    shell::run(&python, &arguments.each_ref().map(String::as_str))?;
    Ok(folder)
}

fn cell(digits: usize, smoothing: f64) -> Cell {
    Cell {
        recipe: "recipes/conformal/raps.toml",
        name: format!("digits-{digits}-smoothing-{smoothing}"),
        overrides: vec![format!("numbers.digits={digits}"), format!("training.label_smoothing={smoothing:.1}")],
    }
}
