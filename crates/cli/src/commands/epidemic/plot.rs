//! `lyceum epidemic plot`.

use std::path::PathBuf;

use clap::Args;
use lyceum_core::{Error, Progress, Result, run as run_files};
use lyceum_epidemic::report::{self, Summary};
use serde_json::json;

use super::{folder, write_report};
use crate::commands::said;

/// Draw simulations side by side
#[derive(Args)]
#[command(after_help = "\
Example:
  lyceum epidemic plot runs/none runs/bct1 runs/heuristic1 --out runs/side-by-side")]
pub(crate) struct Plot {
    /// Folders that `lyceum epidemic run` wrote
    #[arg(required = true)]
    runs: Vec<PathBuf>,

    /// The folder for the report
    #[arg(long, short)]
    out: PathBuf,
}

impl Plot {
    pub(super) fn execute(self, progress: &Progress) -> Result<()> {
        let summaries: Vec<(String, Summary)> = self
            .runs
            .iter()
            .map(|run| {
                let path = run.join("summary.json");
                let summary = run_files::read_json(&path)?
                    .ok_or_else(|| Error::Missing { path, hint: "Give folders that `lyceum epidemic run` wrote to the end.".into() })?;
                let name = run.file_name().map_or_else(|| run.display().to_string(), |name| name.to_string_lossy().into_owned());
                Ok((name, summary))
            })
            .collect::<Result<_>>()?;
        folder(&self.out)?;
        write_report(&self.out, &report::of_several(&summaries))?;
        let path = self.out.join("report.html");
        said(progress, &json!({ "event": "plotted", "report": path }), || format!("report: {}", path.display()));
        Ok(())
    }
}
