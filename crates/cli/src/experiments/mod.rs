//! Every experiment there is. To add a method: one crate, one line here.
//!
//! The experiments in this folder join method crates, which do not know of each other.

mod active_testing;
mod active_training;
mod certify;
mod compare_scores;
mod continual;
mod digit_tuples;
mod encoder;
mod federated;
mod infectiousness;
mod multilingual;
mod order;
mod pretraining;
mod toy_regression;

use lyceum_core::{AnyExperiment, Recipe, Result};

/// The experiments by name.
pub(crate) const EXPERIMENTS: &[&dyn AnyExperiment] = &[
    &active_testing::ActiveTesting,
    &active_training::ActiveTraining,
    &certify::Certify,
    &compare_scores::CompareScores,
    &continual::Continual,
    &digit_tuples::DigitTuples,
    &federated::Federated,
    &infectiousness::LearnInfectiousness,
    &multilingual::Multilingual,
    &pretraining::Pretraining,
    &toy_regression::ToyRegression,
    &lyceum_optim::experiment::Train,
];

/// The experiment that a recipe names.
pub(crate) fn find(recipe: &Recipe) -> Result<&'static dyn AnyExperiment> {
    let named = EXPERIMENTS.iter().find(|experiment| experiment.name() == recipe.experiment());
    named.copied().ok_or_else(|| recipe.unknown_experiment(&EXPERIMENTS.iter().map(|experiment| experiment.name()).collect::<Vec<_>>()))
}
