//! `lyceum run` and `lyceum resume`.

use std::path::{Path, PathBuf};

use lyceum_core::{Progress, Recipe, Result, Summary};
use serde_json::json;

/// Run a recipe and write everything to a run folder
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  lyceum run recipes/quickstart.toml
  lyceum run recipes/optim/sam.toml --set data.label_noise=0.6 --set seed=3 --out runs/sam-60
  lyceum run recipes/optim/sam.toml --set 'arm.0.estimator={asam={rho=0.5}}'

The run folder holds the recipe with every default written out, metrics.jsonl, TensorBoard events, checkpoints,
summary.json and report.html. After Ctrl-C or a crash, `lyceum resume` continues the run and ends with the same numbers.")]
pub(crate) struct Run {
    /// The recipe, a TOML file
    recipe: PathBuf,

    /// Override a key of the recipe; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,

    /// The run folder; by default runs/NAME, or runs/NAME-2 and so on where that is taken
    #[arg(long, short, value_name = "FOLDER")]
    out: Option<PathBuf>,

    /// Check the recipe and that its files exist, print it with every default written out, and stop
    #[arg(long = "dry-run")]
    check_only: bool,
}

/// Resume an interrupted run
#[derive(clap::Args)]
pub(crate) struct Resume {
    /// The run folder
    run: PathBuf,
}

impl Run {
    pub(crate) fn execute(self, progress: &Progress) -> Result<()> {
        let recipe = Recipe::read(&self.recipe, &self.overrides)?;
        if self.check_only {
            let resolved = lyceum_experiments::check(&recipe)?;
            super::said(progress, &json!({ "event": "end", "recipe": resolved }), || resolved.trim_end().to_owned());
            return Ok(());
        }
        let folder = self.out.unwrap_or_else(|| lyceum_experiments::free_folder(recipe.stem()));
        show(&lyceum_experiments::run(&recipe, &folder, progress)?, &folder, progress);
        Ok(())
    }
}

impl Resume {
    pub(crate) fn execute(self, progress: &Progress) -> Result<()> {
        show(&lyceum_experiments::resume(&self.run, progress)?, &self.run, progress);
        Ok(())
    }
}

pub(super) fn show(summary: &Summary, folder: &Path, progress: &Progress) {
    let report = folder.join("report.html");
    if progress.is_json() {
        say!("{}", json!({ "event": "end", "run": folder, "report": report, "summary": summary.values }));
    } else {
        say!("\n{}\nreport: {}", summary.table.markdown(), report.display());
    }
}
