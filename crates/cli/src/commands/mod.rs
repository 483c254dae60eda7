//! One file a sub-command.

pub(crate) mod active;
pub(crate) mod conformal;
pub(crate) mod data;
pub(crate) mod epidemic;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod list;
pub(crate) mod masking;
pub(crate) mod model;
pub(crate) mod predict;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod shell;
pub(crate) mod shrink;

use lyceum_core::{Error, Progress, Result};
use lyceum_train::graph::Shape;

/// What `--input` says: CxHxW, SxW or W.
fn shape(text: &str) -> Result<Shape> {
    let extents: Option<Vec<usize>> = text.split('x').map(|extent| extent.parse().ok().filter(|extent| *extent > 0)).collect();
    let shape = extents.and_then(|extents| Shape::of(&extents));
    shape.ok_or_else(|| Error::invalid("--input", text, "channels, height and width, such as 3x32x32"))
}

/// The extension of a file's name; empty if it has none.
fn extension(path: &std::path::Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

/// The end of a command: JSON where it was asked for, else a text.
fn said(progress: &Progress, event: &serde_json::Value, text: impl FnOnce() -> String) {
    if progress.is_json() { say!("{event}") } else { say!("{}", text()) }
}
