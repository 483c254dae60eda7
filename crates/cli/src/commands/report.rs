//! `lyceum report`.

use std::path::PathBuf;

use lyceum_core::{Error, Progress, Result, Run, atomic};
use serde_json::json;

/// Write the report of a finished run again, and print where it is
#[derive(clap::Args)]
pub(crate) struct Report {
    /// The run folder
    run: PathBuf,

    /// Print the table of results instead
    #[arg(long)]
    table: bool,
}

impl Report {
    pub(crate) fn execute(self, progress: &Progress) -> Result<()> {
        let missing = || Error::Missing {
            path: self.run.join("report.json"),
            hint: format!("It is written when the run ends. To resume this run: lyceum resume {}", self.run.display()),
        };
        if self.table {
            let summary = Run::summary(&self.run)?.ok_or_else(missing)?;
            super::said(progress, &json!({ "event": "end", "summary": summary.values }), || summary.table.markdown());
            return Ok(());
        }
        let report = Run::report(&self.run)?.ok_or_else(missing)?;
        let path = self.run.join("report.html");
        atomic::write(&path, report.html().as_bytes())?;
        super::said(progress, &json!({ "event": "end", "report": path }), || path.display().to_string());
        Ok(())
    }
}
