//! The files that a run reads, as it began.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{Error, Result, checksum};

/// A file that a run reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// Where it is.
    pub path: PathBuf,
    /// Where it comes from, should it be missing.
    pub hint: String,
}

impl Input {
    /// A file that the user names.
    pub fn named(path: impl Into<PathBuf>, hint: &str) -> Self {
        Self { path: path.into(), hint: hint.into() }
    }
}

/// The SHA-256 of each file by its path. An error names a file that is missing, and says where it comes from.
pub(super) fn sums(inputs: &[Input]) -> Result<BTreeMap<String, String>> {
    let sum = |Input { path, hint }: &Input| {
        let sum = checksum::sha256_of_file(path).map_err(Error::missing_or_io("read", path, hint))?;
        Ok((path.display().to_string(), sum))
    };
    inputs.iter().map(sum).collect()
}

/// An error if a file is not as it was when the run began.
pub(super) fn check(before: &BTreeMap<String, String>, inputs: &[Input]) -> Result<()> {
    for (path, sum) in sums(inputs)? {
        if before.get(&path).is_some_and(|before| *before != sum) {
            let found = "another content than when the run began";
            return Err(Error::invalid(path, found, "that content; a new run for other data"));
        }
    }
    Ok(())
}
