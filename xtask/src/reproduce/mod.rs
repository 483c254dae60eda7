//! `cargo xtask reproduce`: an experiment over its grid and seeds, with table, figure and numbers in `results/NAME`.

mod active;
mod figure;
mod gpm;
mod gradient_vaccine;
mod raps;
mod sam;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::shell::{command, output, release, root, run};

pub(crate) fn run_named(name: &str) -> Result<()> {
    match name {
        "sam" => sam::run(),
        "raps" => raps::run(),
        "active" => active::run(),
        "gpm" => gpm::run(),
        "gradient-vaccine" => gradient_vaccine::run(),
        _ => bail!("no experiment `{name}`; there are: active, gpm, gradient-vaccine, raps, sam"),
    }
}

/// One cell of a grid: a recipe with overrides, in a run folder of its own.
struct Cell {
    recipe: &'static str,
    name: String,
    overrides: Vec<String>,
}

/// The summaries of all cells, in their order. Cells run side by side, one thread each; one that has ended is not run
/// again, one that was interrupted goes on.
fn run_cells(experiment: &str, cells: &[Cell]) -> Result<Vec<BTreeMap<String, f64>>> {
    run("cargo", &["build", "--release"])?;
    let lyceum = release("lyceum")?;
    let folder = root().join("runs/reproduce").join(experiment);
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let started = Instant::now();
    let worker = || {
        while let Some(cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
            let run = folder.join(&cell.name);
            if let Err(error) = run_cell(&lyceum, cell, &run) {
                *failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error.context(cell.name.clone()));
                next.store(cells.len(), Ordering::Relaxed);
            }
            eprintln!("{:6.0} s  {}", started.elapsed().as_secs_f64(), cell.name);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            scope.spawn(worker);
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        return Err(error);
    }
    cells.iter().map(|cell| summary(&folder.join(&cell.name))).collect()
}

fn run_cell(lyceum: &Path, cell: &Cell, run: &Path) -> Result<()> {
    if run.join("summary.json").exists() {
        return Ok(());
    }
    let folder = run.to_string_lossy().into_owned();
    let mut arguments = vec!["--quiet"];
    if run.join("recipe.toml").exists() {
        arguments.extend(["resume", &folder]);
    } else {
        arguments.extend(["run", cell.recipe, "--out", &folder]);
        cell.overrides.iter().for_each(|change| arguments.extend(["--set", change]));
    }
    output(command(lyceum, &arguments).env("RAYON_NUM_THREADS", "1")).map(drop)
}

fn summary(run: &Path) -> Result<BTreeMap<String, f64>> {
    let path = run.join("summary.json");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let value: Value = serde_json::from_str(&text)?;
    let values = value["values"].as_object().context("a summary without values")?;
    Ok(values.iter().filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect())
}

/// Writes what every cell found and the page about it into a folder of `results`, and prints the page.
fn write_results(folder: &Path, machine: &Value, seeds: &[u64], cells: &[Cell], found: &[BTreeMap<String, f64>], text: &str) -> Result<()> {
    let numbers: Vec<_> = cells.iter().zip(found).map(|(cell, values)| json!({ "cell": cell.name, "values": values })).collect();
    let all = json!({ "machine": machine, "seeds": seeds, "cells": numbers });
    std::fs::write(folder.join("results.json"), serde_json::to_string_pretty(&all)? + "\n")?;
    std::fs::write(folder.join("README.md"), text)?;
    println!("{text}");
    Ok(())
}

/// Mean and standard deviation over seeds.
fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    (mean, variance.sqrt())
}
