//! `lyceum export`.

use std::path::PathBuf;

use lyceum_core::{Progress, Result};
use serde_json::json;

use super::predict::Source;

/// Write a model as an ONNX file, with the names of its classes, what inputs are normalised by, its temperature and its sets or intervals
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  lyceum export runs/quickstart/seed-1/SAM --to net.onnx
  lyceum export net.onnx --input 3x224x224 --to fixed.onnx
  lyceum export net.onnx --sets model.json --classes names.txt --mean 0.5 --std 0.25 --to complete.onnx")]
pub(crate) struct Export {
    #[command(flatten)]
    source: Source,

    /// The file to write
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

impl Export {
    pub(crate) fn execute(self, progress: &Progress) -> Result<()> {
        let trained = self.source.open()?;
        trained.export(&self.to)?;
        let cost = trained.net().graph().cost();
        super::said(progress, &json!({ "event": "end", "path": self.to, "parameters": cost.parameters }), || {
            format!(
                "wrote {}: {} parameters, input {}, {}",
                self.to.display(),
                cost.parameters,
                trained.extents().iter().map(ToString::to_string).collect::<Vec<_>>().join("x"),
                trained.target.as_ref().map_or_else(|| format!("{} classes", trained.classes.len()), |_| "a number".to_owned())
            )
        });
        Ok(())
    }
}
