//! Where files of data sets are looked for.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use lyceum_core::{
    Error, Result,
    checksum::{sha256, sha256_of_file},
};

/// A folder with one sub-folder a data set.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

/// A file of a data set and how to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its name in the data set's folder.
    pub name: &'static str,
    /// Its SHA-256 in hexadecimal, where it is known.
    pub sha256: Option<&'static str>,
}

impl Cache {
    /// `$LYCEUM_DATA`, else `$XDG_CACHE_HOME/lyceum/data`, else `~/.cache/lyceum/data`.
    pub fn locate() -> Self {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = || set("HOME").unwrap_or_default().join(".cache");
        let folder = set("LYCEUM_DATA").unwrap_or_else(|| set("XDG_CACHE_HOME").unwrap_or_else(home).join("lyceum/data"));
        Self { folder }
    }

    /// A cache in this folder.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The folder of one data set.
    pub fn folder(&self, dataset: &str) -> PathBuf {
        self.folder.join(dataset)
    }

    /// The content of a file. `hint` tells where it comes from if it is not there; a wrong checksum is an error.
    pub fn read(&self, dataset: &str, file: Known, hint: &str) -> Result<Vec<u8>> {
        let path = self.folder(dataset).join(file.name);
        let bytes = fs::read(&path).map_err(Error::missing_or_io("read", &path, hint))?;
        verify(&path, &sha256(&bytes), file)?;
        Ok(bytes)
    }

    /// Whether a file is there and whole.
    pub fn holds(&self, dataset: &str, file: Known) -> bool {
        let path = self.folder(dataset).join(file.name);
        sha256_of_file(&path).is_ok_and(|found| file.sha256.is_none_or(|expected| found == expected))
    }
}

fn verify(path: &Path, found: &str, file: Known) -> Result<()> {
    match file.sha256 {
        Some(expected) if found != expected => {
            let what =
                format!("is not the published file: SHA-256 {}…, expected {}…. Remove it and get it again.", &found[..12], &expected[..12]);
            Err(Error::damaged(path, what))
        }
        _ => Ok(()),
    }
}
