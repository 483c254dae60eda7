//! Experiments: recipes in, run folders out.

use std::path::{Path, PathBuf};

use lyceum_core::{Progress, Recipe, Summary, progress::Mode};
use pyo3::prelude::*;

use crate::{error::exception, threads::stoppable};

/// The folder, and what was found by name, as JSON that holds each number to the bit.
type Found = (PathBuf, String);

/// Runs a recipe: the path of one, or its text.
#[pyfunction]
pub(crate) fn run(
    py: Python<'_>,
    path: Option<PathBuf>,
    text: Option<String>,
    changes: Vec<String>,
    out: Option<PathBuf>,
    shown: bool,
) -> PyResult<Found> {
    let recipe = match (path, text) {
        (Some(path), _) => Recipe::read(&path, &changes),
        (None, text) => Recipe::parse_with("recipe", &text.unwrap_or_default(), &changes),
    };
    let recipe = recipe.map_err(exception)?;
    let folder = out.unwrap_or_else(|| lyceum_experiments::free_folder(recipe.stem()));
    let progress = progress(shown);
    let summary = stoppable(py, || lyceum_experiments::run(&recipe, &folder, &progress))?;
    Ok(found(&folder, &summary))
}

/// Goes on with a run.
#[pyfunction]
pub(crate) fn resume(py: Python<'_>, folder: PathBuf, shown: bool) -> PyResult<Found> {
    let progress = progress(shown);
    let summary = stoppable(py, || lyceum_experiments::resume(&folder, &progress))?;
    Ok(found(&folder, &summary))
}

/// Names, and a line on each.
#[pyfunction]
pub(crate) fn experiments() -> Vec<(&'static str, &'static str)> {
    lyceum_experiments::ALL.iter().map(|experiment| (experiment.name(), experiment.about())).collect()
}

fn progress(shown: bool) -> Progress {
    Progress::new(if shown { Mode::Auto } else { Mode::Quiet })
}

fn found(folder: &Path, summary: &Summary) -> Found {
    // As the summary is written: without what is not finite.
    let values = serde_json::to_value(summary).map(|summary| summary["values"].clone()).unwrap_or_default();
    (folder.into(), serde_json::json!({ "values": values, "table": summary.table.markdown() }).to_string())
}
