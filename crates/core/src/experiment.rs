//! What an experiment is: configuration in, a [`Run`] to write to, a [`Summary`] out.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, schema_for};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Error, Recipe, Report, Result, Run, Violation,
    recipe::HEAD,
    report::{Block, Table},
    run::Input,
};

/// An experiment with a typed configuration. Each method crate exports its own; the binary lists them in one table.
pub trait Experiment: Sync {
    /// What a recipe says after its experiment's name; unknown keys must be refused (`deny_unknown_fields`).
    type Config: Serialize + DeserializeOwned + JsonSchema;

    /// The name in a recipe.
    fn name(&self) -> &'static str;

    /// One line for `lyceum list`.
    fn about(&self) -> &'static str;

    /// Rules between fields, checked before anything is written.
    fn check(&self, _config: &Self::Config) -> Result<(), Violation> {
        Ok(())
    }

    /// The files that a run reads. They must exist before it starts, and be unchanged when it resumes.
    fn inputs(&self, _config: &Self::Config) -> Result<Vec<Input>> {
        Ok(Vec::new())
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

    /// The keys of its recipes, their types, defaults and meanings, as a JSON schema.
    fn schema(&self) -> Schema;

    /// Reads and checks the configuration; gives the recipe with all defaults written out.
    fn resolve(&self, recipe: &Recipe) -> Result<String>;

    /// See [`Experiment::inputs`].
    fn inputs(&self, recipe: &Recipe) -> Result<Vec<Input>>;

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

    fn schema(&self) -> Schema {
        schema_for!(E::Config)
    }

    fn resolve(&self, recipe: &Recipe) -> Result<String> {
        let config: E::Config = recipe.config().map_err(|error| with_home(error, &AnyExperiment::schema(self)))?;
        self.check(&config).map_err(|violation| recipe.violation(&violation))?;
        recipe.resolved(&config)
    }

    fn inputs(&self, recipe: &Recipe) -> Result<Vec<Input>> {
        Experiment::inputs(self, &recipe.config()?)
    }

    fn run_recipe(&self, recipe: &Recipe, run: &Run) -> Result<Summary> {
        let config: E::Config = recipe.config()?;
        self.check(&config).map_err(|violation| recipe.violation(&violation))?;
        self.run(&config, run).map_err(|error| match error {
            // Whatever loop it was that stopped.
            Error::Interrupted { .. } => run.interrupted(),
            error => error,
        })
    }
}

/// A key below a heading of TOML where it does not belong, though the recipe itself has one of that name: says so.
fn with_home(error: Error, schema: &Schema) -> Error {
    let Error::Recipe(mut error) = error else { return error };
    let key = error.message.strip_prefix("unknown key `").and_then(|rest| rest.strip_suffix('`')).unwrap_or_default();
    let is_own = HEAD.contains(&key) || schema.get("properties").is_some_and(|keys| keys.get(key).is_some());
    if is_own {
        error.help = Some(format!("`{key}` is a key of the recipe itself: write it above the first [table], or as [{key}]."));
    }
    Error::Recipe(error)
}

/// What an experiment found: numbers for programs and a table for people.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Named results, for example `sam/test_accuracy`. Those that are not finite are left out where they are written.
    #[serde(with = "finite")]
    pub values: BTreeMap<String, f64>,
    /// What is printed at the end.
    pub table: Table,
    /// What matters most of the values `ARM/KEY`, in the order of the table's columns; compared between seeds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headline: Vec<Measure>,
    /// What matters most of the metrics of each arm, drawn over its steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curves: Vec<Measure>,
}

/// A number that each arm of an experiment has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    /// Its key in [`Summary::values`] after the arm's name, or in the metrics.
    pub key: String,
    /// What it is called.
    pub title: String,
    /// Whether it is a share, to be shown in percent.
    #[serde(default)]
    pub share: bool,
}

impl Measure {
    /// A number.
    pub fn number(key: &str, title: &str) -> Self {
        Self { key: key.into(), title: title.into(), share: false }
    }

    /// A share from 0 to 1.
    pub fn share(key: &str, title: &str) -> Self {
        Self { share: true, ..Self::number(key, title) }
    }
}

/// JSON has no NaN: what is not finite is left out, and a null that an older version wrote is passed over.
mod finite {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(values: &BTreeMap<String, f64>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(values.iter().filter(|(_, value)| value.is_finite()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, f64>, D::Error> {
        let values = BTreeMap::<String, Option<f64>>::deserialize(from)?;
        Ok(values.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
    }
}

/// Arms of an experiment whose training diverged. The other arms go on, and the report says which arms ended early and why.
#[derive(Debug, Default)]
pub struct DivergedArms(Vec<(String, String)>);

impl DivergedArms {
    /// What an arm came to; `None`, with a warning, if it diverged.
    pub fn catch<T>(&mut self, run: &Run, name: &str, outcome: Result<T>) -> Result<Option<T>> {
        match outcome {
            Err(Error::Diverged(reason)) => {
                run.progress().warn(&format!("{name} has diverged and is left out: {reason}"));
                self.0.push((name.to_owned(), reason));
                Ok(None)
            }
            outcome => outcome.map(Some),
        }
    }

    /// Notes them in a summary whose table has a row for each arm: a row of their own, and `NAME/diverged` = 1. An error if no
    /// arm is left.
    pub fn note(&self, summary: &mut Summary) -> Result<()> {
        if !self.0.is_empty() && summary.table.rows.is_empty() {
            return Err(Error::Diverged(self.text()));
        }
        for (name, _) in &self.0 {
            let cells = [name.clone(), "diverged".into()].into_iter().chain(std::iter::repeat("–".into()));
            summary.table.push(cells.take(summary.table.columns.len()).collect::<Vec<String>>());
            summary.values.insert(format!("{name}/diverged"), 1.0);
        }
        Ok(())
    }

    /// The report with a section on them, if there are any.
    pub fn report(&self, report: Report) -> Report {
        if self.0.is_empty() { report } else { report.section("What ended early", [Block::Text(self.text())]) }
    }

    fn text(&self) -> String {
        self.0.iter().map(|(name, reason)| format!("{name} diverged: {reason}.")).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_with_a_value_that_is_not_finite_can_be_read_again() {
        let mut summary = Summary::default();
        summary.values.extend([("a".to_owned(), 1.5), ("b".to_owned(), f64::NAN), ("c".to_owned(), f64::INFINITY)]);
        let text = serde_json::to_string(&summary).unwrap();
        let again: Summary = serde_json::from_str(&text).unwrap();
        assert_eq!(again.values.into_iter().collect::<Vec<_>>(), [("a".to_owned(), 1.5)]);
        let old: Summary = serde_json::from_str(&text.replace("\"a\":1.5", "\"a\":null")).unwrap();
        assert!(old.values.is_empty());
    }
}
