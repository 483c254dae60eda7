//! Every experiment that a recipe can name: method crates, which do not know of each other, joined.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use lyceum_core::{Progress, Recipe, progress::Mode};
//!
//! let recipe = Recipe::read(Path::new("recipes/quickstart.toml"), &["seed=2".into()])?;
//! let summary = lyceum_experiments::run(&recipe, Path::new("runs/quickstart"), &Progress::new(Mode::Auto))?;
//! println!("{}", summary.table.markdown());
//! # Ok::<(), lyceum_core::Error>(())
//! ```
//!
//! To add one: a module with an [`Experiment`](lyceum_core::Experiment), and a line in [`ALL`]. A feature for each method keeps what is
//! not wanted from being compiled; all are on by default.

#[cfg(feature = "active")]
pub mod active_testing;
#[cfg(feature = "active")]
pub mod active_training;
#[cfg(feature = "conformal")]
pub mod certify;
#[cfg(feature = "conformal")]
pub mod compare_scores;
#[cfg(feature = "continual")]
pub mod continual;
#[cfg(feature = "conformal")]
pub mod digit_tuples;
#[cfg(any(feature = "multilingual", feature = "pretraining"))]
mod encoder;
pub mod explain;
#[cfg(feature = "federated")]
pub mod federated;
#[cfg(feature = "conformal")]
mod guarantee;
#[cfg(feature = "epidemic")]
pub mod infectiousness;
#[cfg(feature = "multilingual")]
pub mod multilingual;
#[cfg(any(feature = "epidemic", feature = "pretraining"))]
mod order;
#[cfg(feature = "pretraining")]
pub mod pretraining;
#[cfg(feature = "conformal")]
pub mod regress;
mod seeds;
#[cfg(feature = "sparsify")]
pub mod shrink;
#[cfg(feature = "active")]
pub mod toy_regression;
#[cfg(feature = "conformal")]
pub mod trained;

use std::path::{Path, PathBuf};

use lyceum_core::{AnyExperiment, Progress, Recipe, Result, Run, Summary, run::Input};

/// The experiments, by name.
pub const ALL: &[&dyn AnyExperiment] = &[
    #[cfg(feature = "active")]
    &active_testing::ActiveTesting,
    #[cfg(feature = "active")]
    &active_training::ActiveTraining,
    #[cfg(feature = "conformal")]
    &certify::Certify,
    #[cfg(feature = "conformal")]
    &compare_scores::CompareScores,
    #[cfg(feature = "continual")]
    &continual::Continual,
    #[cfg(feature = "conformal")]
    &digit_tuples::DigitTuples,
    #[cfg(feature = "federated")]
    &federated::Federated,
    #[cfg(feature = "epidemic")]
    &infectiousness::LearnInfectiousness,
    #[cfg(feature = "multilingual")]
    &multilingual::Multilingual,
    #[cfg(feature = "pretraining")]
    &pretraining::Pretraining,
    #[cfg(feature = "conformal")]
    &regress::Regress,
    #[cfg(feature = "sparsify")]
    &shrink::Shrink,
    #[cfg(feature = "active")]
    &toy_regression::ToyRegression,
    &lyceum_optim::experiment::Train,
];

/// The experiment that a recipe names.
pub fn find(recipe: &Recipe) -> Result<&'static dyn AnyExperiment> {
    let named = ALL.iter().find(|experiment| experiment.name() == recipe.experiment());
    named.copied().ok_or_else(|| recipe.unknown_experiment(&ALL.iter().map(|experiment| experiment.name()).collect::<Vec<_>>()))
}

/// Runs a recipe in a new folder. Nothing is left of it where the recipe has a mistake, or a file that it reads.
pub fn run(recipe: &Recipe, folder: &Path, progress: &Progress) -> Result<Summary> {
    let experiment = find(recipe)?;
    let run = Run::create(folder, experiment, recipe, progress.clone())?;
    let outcome = seeds::run(experiment, recipe, &run);
    if outcome.as_ref().is_err_and(|error| error.exit_code() == 2) {
        run.discard_unless_begun();
    }
    outcome
}

/// Checks a recipe and that its files exist; returns the recipe with every default written out.
pub fn check(recipe: &Recipe) -> Result<String> {
    let experiment = find(recipe)?;
    let resolved = experiment.resolve(recipe)?;
    experiment.inputs(recipe)?.iter().try_for_each(Input::check)?;
    Ok(resolved)
}

/// `runs/NAME`, `runs/NAME-2`, …: the first that is not there.
pub fn free_folder(name: &str) -> PathBuf {
    let candidates = (1..).map(|n: u32| Path::new("runs").join(if n == 1 { name.into() } else { format!("{name}-{n}") }));
    candidates.into_iter().find(|folder| !folder.exists()).expect("numbers do not end")
}

/// Resumes a run whose recipe and input files have not changed. Returns the summary at once if the run has finished.
pub fn resume(folder: &Path, progress: &Progress) -> Result<Summary> {
    if let Some(summary) = Run::summary(folder)? {
        progress.note("This run has ended; nothing is left to do.");
        return Ok(summary);
    }
    let (run, recipe) = Run::open(folder, progress.clone())?;
    let experiment = find(&recipe)?;
    run.check_inputs(&experiment.inputs(&recipe)?)?;
    seeds::run(experiment, &recipe, &run)
}

/// The Rust code of the book, which is compiled and run as these are.
#[cfg(doctest)]
mod book {
    #[doc = include_str!("../../../docs/src/networks.md")]
    struct Networks;
    #[doc = include_str!("../../../docs/src/recipes-and-runs.md")]
    struct RecipesAndRuns;
}
