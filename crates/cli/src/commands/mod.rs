//! One file a sub-command.

pub(crate) mod active;
pub(crate) mod conformal;
pub(crate) mod data;
pub(crate) mod list;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod shell;
