//! One file a sub-command.

pub(crate) mod active;
pub(crate) mod conformal;
pub(crate) mod data;
pub(crate) mod epidemic;
pub(crate) mod explain;
pub(crate) mod list;
pub(crate) mod masking;
pub(crate) mod model;
pub(crate) mod predict;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod shell;

use lyceum_core::Progress;

/// The end of a command: JSON where it was asked for, else a text.
fn said(progress: &Progress, event: &serde_json::Value, text: impl FnOnce() -> String) {
    if progress.is_json() { say!("{event}") } else { say!("{}", text()) }
}
