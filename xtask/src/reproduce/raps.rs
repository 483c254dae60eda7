//! Prediction sets for many classes: every score on numbers of two and three digits.

use std::fmt::Write;

use anyhow::Result;
use serde_json::json;

use super::{Cell, run_cells};
use crate::{data, machine, shell::root};

/// Digits of a number, label smoothing in training: the more, the longer the tail of small probabilities.
const TASKS: [(usize, f64); 4] = [(2, 0.1), (3, 0.0), (3, 0.1), (3, 0.4)];
const METHODS: [&str; 7] = ["naive", "top-k", "LAC", "APS", "SAPS", "RAPS", "RAPS-adaptive"];
const ALPHAS: [&str; 2] = ["0.1", "0.05"];

pub(super) fn run() -> Result<()> {
    data::bring("mnist")?;
    let cells: Vec<Cell> = TASKS.iter().map(|&(digits, smoothing)| cell(digits, smoothing)).collect();
    let summaries = run_cells("raps", &cells)?;
    let machine = machine::describe()?;
    let mut text = String::from(
        "# Prediction sets for many classes\n\n\
         Numbers of two (100 classes) and three digits (1,000) put together from MNIST; a network with one hidden layer of 256\n\
         learns them from 60,000 numbers of training digits, with label smoothing as many networks for ImageNet had it. 20,000 numbers\n\
         of test digits: half calibrate (3/10 of these fit the temperature and tune RAPS), half test, 20 random splits. Seed 1.\n\
         Recipe: `recipes/conformal/raps.toml`; again: `cargo xtask reproduce raps`.\n",
    );
    for (&(digits, smoothing), values) in TASKS.iter().zip(&summaries) {
        let accuracy = 100.0 * values.get("accuracy").copied().unwrap_or(f64::NAN);
        write!(text, "\n## {} classes, label smoothing {smoothing}: right in {accuracy:.1} %\n", 10_usize.pow(digits as u32))?;
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
    }
    writeln!(
        text,
        "\nSSCV: the largest difference from 1 − α of the coverage of sets of like size; `naive` is not calibrated.\n\n{}.",
        machine::footer(&machine)
    )?;
    let folder = root().join("results/raps");
    std::fs::create_dir_all(&folder)?;
    let numbers: Vec<_> = cells.iter().zip(&summaries).map(|(cell, values)| json!({ "cell": cell.name, "values": values })).collect();
    let all = json!({ "machine": machine, "seed": 1, "cells": numbers });
    std::fs::write(folder.join("results.json"), serde_json::to_string_pretty(&all)? + "\n")?;
    std::fs::write(folder.join("README.md"), &text)?;
    println!("{text}");
    Ok(())
}

fn cell(digits: usize, smoothing: f64) -> Cell {
    Cell {
        recipe: "recipes/conformal/raps.toml",
        name: format!("digits-{digits}-smoothing-{smoothing}"),
        overrides: vec![format!("numbers.digits={digits}"), format!("training.label_smoothing={smoothing:.1}")],
    }
}
