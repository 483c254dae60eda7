//! `cargo xtask reproduce`: an experiment over its grid and seeds, with table, figure and numbers in `results/NAME`.

mod active;
mod contact_tracing;
mod feddyn;
mod figure;
mod gpm;
mod gradient_vaccine;
mod masking;
mod raps;
mod sam;

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{
    machine,
    shell::{command, output, release, root, run},
};

/// How much of a grid is run.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    /// Keep the cells that the results have.
    pub(crate) missing: bool,
    /// How many of the seeds.
    pub(crate) seeds: Option<usize>,
    /// Begin no cell after so many minutes.
    pub(crate) minutes: Option<f64>,
}

/// With `missing`, cells that `results/NAME/results.json` has are kept as they are and only the others are run.
pub(crate) fn run_named(name: &str, extent: Extent) -> Result<()> {
    match name {
        "feddyn" => feddyn::run(extent),
        "pmi-masking" => masking::run_all(extent),
        "contact-tracing" => contact_tracing::run_all(extent),
        _ if extent.seeds.is_some() || extent.minutes.is_some() => {
            bail!("`--seeds` and `--minutes` are for contact-tracing, feddyn and pmi-masking")
        }
        "gpm" => gpm::run(extent),
        "gradient-vaccine" => gradient_vaccine::run(extent),
        "raps" => raps::run(extent),
        "sam" => sam::run(extent),
        "active" => active::run(extent),
        _ => bail!("no experiment `{name}`; there are: active, contact-tracing, feddyn, gpm, gradient-vaccine, pmi-masking, raps, sam"),
    }
}

/// One cell of a grid: a recipe with overrides, in a run folder of its own.
#[derive(Clone)]
struct Cell {
    recipe: &'static str,
    name: String,
    overrides: Vec<String>,
}

/// What the cells of an earlier reproduction found, each with the machine that it was measured on; nothing unless only missing
/// cells are to be run.
fn kept_cells(folder: &Path, extent: Extent) -> Result<BTreeMap<String, Value>> {
    let path = folder.join("results.json");
    if !extent.missing || !path.exists() {
        return Ok(BTreeMap::new());
    }
    let mut all: Value = serde_json::from_str(&std::fs::read_to_string(&path)?).with_context(|| path.display().to_string())?;
    let machine = all["machine"].take();
    let cells = all["cells"].as_array_mut().context("results without cells")?;
    let entry = |cell: &mut Value| {
        if cell["machine"].is_null() {
            cell["machine"] = machine.clone();
        }
        Some((cell["cell"].as_str()?.to_owned(), cell.take()))
    };
    Ok(cells.iter_mut().filter_map(entry).collect())
}

/// The summaries of all cells, in their order: of those `kept`, and of the others after running them; empty for cells that there was no
/// time to run.
fn run_missing_cells(
    experiment: &str,
    cells: &[Cell],
    kept: &BTreeMap<String, Value>,
    extent: Extent,
) -> Result<Vec<BTreeMap<String, f64>>> {
    let absent: Vec<Cell> = cells.iter().filter(|cell| !kept.contains_key(&cell.name)).cloned().collect();
    let folder = run_until(experiment, &absent, extent.minutes)?;
    let values = |cell: &Cell| match kept.get(&cell.name) {
        Some(cell) => numbers(&cell["values"]),
        None if extent.minutes.is_some() && !folder.join(&cell.name).join("summary.json").exists() => Ok(BTreeMap::new()),
        None => summary(&folder.join(&cell.name)),
    };
    cells.iter().map(values).collect()
}

/// Runs cells side by side, one thread each; gives the folder of their runs. One that has ended is not run again, one that was
/// interrupted goes on, and none is begun after so many minutes.
fn run_until(experiment: &str, cells: &[Cell], minutes: Option<f64>) -> Result<PathBuf> {
    run("cargo", &["build", "--release"])?;
    let lyceum = release("lyceum")?;
    let folder = root().join("runs/reproduce").join(experiment);
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let started = Instant::now();
    let in_time = || minutes.is_none_or(|minutes| started.elapsed().as_secs_f64() < 60.0 * minutes);
    let worker = || {
        while in_time()
            && let Some(cell) = cells.get(next.fetch_add(1, Ordering::Relaxed))
        {
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
    match failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(folder),
    }
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
    output(command(lyceum, &arguments).env("RAYON_NUM_THREADS", "1"))?;
    clear(run)
}

/// Removes the checkpoints of a run that has ended, and of its arms: those of a whole grid would fill a disk.
fn clear(run: &Path) -> Result<()> {
    for entry in std::fs::read_dir(run)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name == "checkpoints") {
            std::fs::remove_dir_all(path)?;
        } else if path.is_dir() {
            clear(&path)?;
        }
    }
    Ok(())
}

fn summary(run: &Path) -> Result<BTreeMap<String, f64>> {
    let path = run.join("summary.json");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let value: Value = serde_json::from_str(&text)?;
    numbers(&value["values"])
}

fn numbers(values: &Value) -> Result<BTreeMap<String, f64>> {
    let values = values.as_object().context("a summary without values")?;
    Ok(values.iter().filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect())
}

/// What a reproduction writes.
struct Results<'a> {
    /// Its folder in `results`.
    folder: &'a Path,
    machine: Value,
    seeds: &'a [u64],
    cells: &'a [Cell],
    found: &'a [BTreeMap<String, f64>],
    kept: BTreeMap<String, Value>,
}

impl Results<'_> {
    /// Writes what every cell found and the page about it, with when and where it was measured, and prints the page.
    fn write(self, mut page: String) -> Result<()> {
        let Self { folder, mut machine, seeds, cells, found, mut kept } = self;
        let when = |machine: &Value| ["date", "commit"].map(|name| machine[name].as_str().unwrap_or_default().to_owned());
        let is_new = |(cell, values): (&Cell, &BTreeMap<String, f64>)| !values.is_empty() && !kept.contains_key(&cell.name);
        if !cells.iter().zip(found).any(is_new)
            && let Some(newest) = kept.values().map(|cell| &cell["machine"]).max_by_key(|machine| when(machine))
        {
            machine = newest.clone();
        }
        write!(page, "\n{}", machine::footer(&machine))?;
        let mut older: BTreeMap<String, usize> = BTreeMap::new();
        for [date, commit] in kept.values().map(|cell| when(&cell["machine"])).filter(|kept| *kept != when(&machine)) {
            *older.entry(format!("{commit} on {date}")).or_default() += 1;
        }
        older.iter().try_for_each(|(when, count)| write!(page, "; {count} of {} cells at {when}", cells.len()))?;
        page += ".\n";
        let numbers: Vec<_> = cells
            .iter()
            .zip(found)
            .filter(|(_, values)| !values.is_empty())
            .map(|(cell, values)| match kept.remove(&cell.name) {
                Some(kept) if kept["machine"] != machine => kept,
                _ => json!({ "cell": cell.name, "values": values }),
            })
            .collect();
        let all = json!({ "machine": machine, "seeds": seeds, "cells": numbers });
        std::fs::write(folder.join("results.json"), serde_json::to_string_pretty(&all)? + "\n")?;
        std::fs::write(folder.join("README.md"), &page)?;
        println!("{page}");
        Ok(())
    }
}

/// What the simulation `examples/NAME.rs` of a crate prints, as the cell NAME: run unless kept.
fn simulated(package: &str, name: &str, kept: &BTreeMap<String, Value>) -> Result<(Cell, BTreeMap<String, f64>)> {
    let cell = Cell { recipe: "", name: name.to_owned(), overrides: Vec::new() };
    let values = if let Some(cell) = kept.get(name) {
        numbers(&cell["values"])?
    } else {
        let text = output(&mut command("cargo", &["run", "--release", "--quiet", "--package", package, "--example", name]))?;
        numbers(&serde_json::from_str(&text)?)?
    };
    Ok((cell, values))
}

/// Mean and standard deviation over seeds.
fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    (mean, variance.sqrt())
}
