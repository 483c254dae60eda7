//! The files that a run reads, as it began.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

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

    /// An error if it is not there.
    pub fn check(&self) -> Result<()> {
        let Self { path, hint } = self;
        std::fs::metadata(path).map(drop).map_err(Error::missing_or_io("read", path, hint))
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

/// An error if these are not the files that there were when the run began, by name and content. They may lie elsewhere.
pub(super) fn check(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Result<()> {
    let named = |sums: &BTreeMap<String, String>| -> BTreeSet<(String, String)> {
        let name = |path: &String| Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned();
        sums.iter().map(|(path, sum)| (name(path), sum.clone())).collect()
    };
    match named(before).symmetric_difference(&named(now)).next() {
        None => Ok(()),
        Some((name, _)) => Err(Error::invalid(name, "not what it was when the run began", "the same files; a new run for other data")),
    }
}
