//! The command `lyceum`, as the package installs it.

use std::ffi::OsString;

use pyo3::prelude::*;

/// Does what the arguments say, as the binary does; gives the exit status.
#[pyfunction]
pub(crate) fn main(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| lyceum_cli::main(arguments))
}
