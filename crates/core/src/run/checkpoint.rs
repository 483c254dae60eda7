//! Checkpoints: a folder with `state.json`, safetensors files, and a manifest of checksums that makes damage visible.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::metrics::Marks;
use crate::{
    Array, Error, Result,
    array::{decode, encode},
    atomic,
    checksum::sha256,
};

/// A whole checkpoint, read and verified.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    step: u64,
    state: serde_json::Value,
    files: BTreeMap<String, Vec<Array>>,
}

impl Checkpoint {
    /// The step after which it was made.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The state that was saved with it.
    pub fn state<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(self.state.clone()).map_err(|error| Error::damaged(self.folder.join("state.json"), error.to_string()))
    }

    /// The arrays of one of its files, in the order of their names.
    pub fn arrays(&self, file: &str) -> Result<&[Array]> {
        self.files.get(file).map(Vec::as_slice).ok_or_else(|| Error::damaged(&self.folder, format!("holds no {file}.safetensors")))
    }
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    step: u64,
    marks: Marks,
    /// File name to SHA-256.
    sha256: BTreeMap<String, String>,
}

pub(super) fn write(folder: &Path, step: u64, marks: Marks, state: &impl Serialize, files: &[(&str, &[Array])]) -> Result<()> {
    atomic::write_folder(folder, |inside| {
        let mut sums = BTreeMap::new();
        let mut add = |name: String, bytes: Vec<u8>| -> Result<()> {
            atomic::create_synced(&inside.join(&name), &bytes)?;
            sums.insert(name, sha256(&bytes));
            Ok(())
        };
        let state = serde_json::to_vec_pretty(state).map_err(|error| Error::Failed(format!("cannot write the state: {error}")))?;
        add("state.json".into(), state)?;
        for (name, arrays) in files {
            add(format!("{name}.safetensors"), encode(arrays)?)?;
        }
        super::write_json(&inside.join("manifest.json"), &Manifest { step, marks, sha256: sums })
    })
}

pub(super) fn read(folder: &Path) -> Result<(Checkpoint, Marks)> {
    let path = folder.join("manifest.json");
    let manifest: Manifest = super::read_json(&path)?.ok_or_else(|| Error::damaged(folder, "a checkpoint without its manifest"))?;
    let mut files = BTreeMap::new();
    let mut state = serde_json::Value::Null;
    for (name, expected) in &manifest.sha256 {
        let path = folder.join(name);
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        if sha256(&bytes) != *expected {
            return Err(Error::damaged(
                &path,
                format!("damaged: its SHA-256 is not the {}… of the manifest", &expected[..expected.len().min(12)]),
            ));
        }
        match name.strip_suffix(".safetensors") {
            Some(stem) => drop(files.insert(stem.to_owned(), decode(&path, &bytes)?)),
            None => state = serde_json::from_slice(&bytes).map_err(|error| Error::damaged(&path, error.to_string()))?,
        }
    }
    Ok((Checkpoint { folder: folder.into(), step: manifest.step, state, files }, manifest.marks))
}

/// The checkpoints of a folder, oldest first.
pub(super) fn list(folder: &Path) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(u64, PathBuf)> = entries.filter_map(|e| Some((e.file_name().to_str()?.parse().ok()?, e.path()))).collect();
    found.sort();
    found
}
