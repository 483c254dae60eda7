//! Every experiment there is. To add a method: one crate, one line here.

use lyceum_core::{AnyExperiment, Recipe, Result};

/// The experiments by name.
pub(crate) const EXPERIMENTS: &[&dyn AnyExperiment] =
    &[&crate::certify::Certify, &crate::digit_tuples::DigitTuples, &lyceum_optim::experiment::Train];

/// The experiment that a recipe names.
pub(crate) fn find(recipe: &Recipe) -> Result<&'static dyn AnyExperiment> {
    let named = EXPERIMENTS.iter().find(|experiment| experiment.name() == recipe.experiment());
    named.copied().ok_or_else(|| recipe.unknown_experiment(&EXPERIMENTS.iter().map(|experiment| experiment.name()).collect::<Vec<_>>()))
}
