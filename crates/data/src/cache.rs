//! Where files of data sets are looked for.

use std::{
    env, fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;

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

    /// The path of a file, or of the same packed by gzip where only that is there (`NAME.gz`, as the origins have them).
    pub fn path(&self, dataset: &str, file: Known) -> PathBuf {
        let plain = self.folder(dataset).join(file.name);
        let packed = self.folder(dataset).join(format!("{}.gz", file.name));
        if !plain.exists() && packed.exists() { packed } else { plain }
    }

    /// The content of a file, unpacked. `hint` tells where it comes from if it is not there; a wrong checksum is an error.
    pub fn read(&self, dataset: &str, file: Known, hint: &str) -> Result<Vec<u8>> {
        let path = self.path(dataset, file);
        let mut bytes = fs::read(&path).map_err(Error::missing_or_io("read", &path, hint))?;
        if is_packed(&path, file) {
            bytes = unpacked(&bytes).map_err(|error| Error::damaged(&path, error.to_string()))?;
        }
        verify(&path, &sha256(&bytes), file)?;
        Ok(bytes)
    }

    /// Whether a file is there and whole.
    pub fn holds(&self, dataset: &str, file: Known) -> bool {
        let path = self.path(dataset, file);
        let found = if is_packed(&path, file) {
            fs::read(&path).and_then(|bytes| unpacked(&bytes)).map(|bytes| sha256(&bytes)).ok()
        } else {
            sha256_of_file(&path).ok()
        };
        found.is_some_and(|found| file.sha256.is_none_or(|expected| found == expected))
    }
}

fn is_packed(path: &Path, file: Known) -> bool {
    path.file_name().is_some_and(|name| name != file.name)
}

/// The most that a packed file may hold: far more than any that is known, and no more than memory has.
const LARGEST: u64 = 1 << 30;

/// A file as it was before gzip packed it.
pub(crate) fn unpacked(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    MultiGzDecoder::new(bytes).take(LARGEST + 1).read_to_end(&mut plain)?;
    if plain.len() as u64 > LARGEST {
        return Err(io::Error::other(format!("more than {LARGEST} bytes once unpacked")));
    }
    Ok(plain)
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
