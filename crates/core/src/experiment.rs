//! What an experiment is: configuration in, a [`Run`] to write to, a [`Summary`] out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Recipe, Result, Run, Violation, report::Table};

/// An experiment with a typed configuration. Each method crate exports its own; the binary lists them in one table.
pub trait Experiment: Sync {
    /// What a recipe says after its experiment's name; unknown keys must be refused (`deny_unknown_fields`).
    type Config: Serialize + DeserializeOwned;

    /// The name in a recipe.
    fn name(&self) -> &'static str;

    /// One line for `lyceum list`.
    fn about(&self) -> &'static str;

    /// Rules between fields, checked before anything is written.
    fn check(&self, _config: &Self::Config) -> Result<(), Violation> {
        Ok(())
    }

    /// Runs to the end, or goes on from the newest checkpoint in `run`.
    fn run(&self, config: &Self::Config, run: &Run) -> Result<Summary>;
}

/// An [`Experiment`] whose configuration type is hidden, so that a list can hold them all.
pub trait AnyExperiment: Sync {
    /// See [`Experiment::name`].
    fn name(&self) -> &'static str;

    /// See [`Experiment::about`].
    fn about(&self) -> &'static str;

    /// Reads and checks the configuration; gives the recipe with all defaults written out.
    fn resolve(&self, recipe: &Recipe) -> Result<String>;

    /// Runs a recipe that [`resolve`](Self::resolve) accepted.
    fn run_recipe(&self, recipe: &Recipe, run: &Run) -> Result<Summary>;
}

impl<E: Experiment> AnyExperiment for E {
    fn name(&self) -> &'static str {
        Experiment::name(self)
    }

    fn about(&self) -> &'static str {
        Experiment::about(self)
    }

    fn resolve(&self, recipe: &Recipe) -> Result<String> {
        let config: E::Config = recipe.config()?;
        self.check(&config).map_err(|violation| recipe.violation(&violation))?;
        recipe.resolved(&config)
    }

    fn run_recipe(&self, recipe: &Recipe, run: &Run) -> Result<Summary> {
        self.run(&recipe.config()?, run)
    }
}

/// What an experiment found: numbers for programs and a table for people.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Named results, for example `sam/test_accuracy`.
    pub values: BTreeMap<String, f64>,
    /// What is printed at the end.
    pub table: Table,
}
