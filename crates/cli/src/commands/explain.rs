//! `lyceum explain`.

use lyceum_core::{Error, Progress, Result, recipe::suggest};
use lyceum_experiments::{
    ALL,
    explain::{Key, chapter, keys, schema},
};
use serde_json::json;

use crate::output;

/// List every key of an experiment's recipe with its type, default and meaning
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  lyceum explain train
  lyceum explain train training.optimizer
  lyceum explain train --schema > train.schema.json

With the schema, editors complete and check recipes. For editors that use Taplo, start the recipe with
  #:schema train.schema.json")]
pub(crate) struct Explain {
    /// The experiment; `lyceum list` lists them
    #[arg(required_unless_present = "markdown")]
    experiment: Option<String>,

    /// Only keys with this prefix, for example training.optimizer
    key: Option<String>,

    /// Print a JSON schema instead
    #[arg(long, conflicts_with = "key")]
    schema: bool,

    /// Print the keys of all experiments as a chapter in Markdown
    #[arg(long, conflicts_with_all = ["experiment", "schema"])]
    markdown: bool,
}

/// Columns of the text.
const WIDTH: usize = 100;

impl Explain {
    pub(crate) fn execute(self, progress: &Progress) -> Result<()> {
        let Some(name) = self.experiment else {
            output::text(&chapter());
            return Ok(());
        };
        let names: Vec<&str> = ALL.iter().map(|experiment| experiment.name()).collect();
        let found = ALL.iter().find(|experiment| experiment.name() == name);
        let experiment = *found.ok_or_else(|| Error::Violated(format!("unknown experiment `{name}`. {}", suggest(&name, &names))))?;
        if self.schema {
            say!("{:#}", schema(experiment));
            return Ok(());
        }
        let mut all = keys(experiment);
        if let Some(start) = &self.key {
            let names: Vec<String> = all.iter().map(|key| key.name.clone()).collect();
            all.retain(|key| key.name.starts_with(start.as_str()));
            if all.is_empty() {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                return Err(Error::Violated(format!("no key of `{name}` starts with `{start}`. {}", suggest(start, &names))));
            }
        }
        if progress.is_json() {
            all.iter().for_each(|key| say!("{}", json!(key)));
        } else {
            say!("{name}: {}", experiment.about());
            all.iter().for_each(show);
        }
        Ok(())
    }
}

fn show(key: &Key) {
    let default = match (&key.default, key.required) {
        (_, true) => "  (required)".into(),
        (Some(default), _) => format!(" = {default}"),
        _ => String::new(),
    };
    say!("\n{}{default}", key.name);
    let words = [key.kind.as_str(), key.about.as_str()].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(". ");
    let mut line = String::from("   ");
    for word in words.split_whitespace() {
        if line.chars().count() + word.chars().count() >= WIDTH {
            say!("{line}");
            line = "   ".into();
        }
        line = line + " " + word;
    }
    if !line.trim().is_empty() {
        say!("{line}");
    }
}
