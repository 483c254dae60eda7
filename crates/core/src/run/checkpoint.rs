//! Checkpoints: a folder with `state.json`, safetensors files, and a manifest of checksums that makes damage visible.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::metrics::Marks;
use crate::{Error, Result, atomic};

/// A named array of 32-bit floats, as checkpoints hold them.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// The name, for example `conv1.weight`.
    pub name: String,
    /// The extent of each axis.
    pub shape: Vec<usize>,
    /// The values in row-major order.
    pub values: Vec<f32>,
}

impl Array {
    /// An array; the number of values must be the product of the shape.
    pub fn new(name: impl Into<String>, shape: Vec<usize>, values: Vec<f32>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "values must fill the shape");
        Self { name: name.into(), shape, values }
    }
}

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
        let mut sha256 = BTreeMap::new();
        let mut add = |name: String, bytes: Vec<u8>| -> Result<()> {
            atomic::create_synced(&inside.join(&name), &bytes)?;
            sha256.insert(name, hex(&bytes));
            Ok(())
        };
        let state = serde_json::to_vec_pretty(state).map_err(|error| Error::Failed(format!("cannot write the state: {error}")))?;
        add("state.json".into(), state)?;
        for (name, arrays) in files {
            add(format!("{name}.safetensors"), encode(arrays)?)?;
        }
        super::write_json(&inside.join("manifest.json"), &Manifest { step, marks, sha256 })
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
        if hex(&bytes) != *expected {
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

fn encode(arrays: &[Array]) -> Result<Vec<u8>> {
    let bytes: Vec<Vec<u8>> = arrays.iter().map(|a| a.values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let failed = |error: safetensors::SafeTensorError| Error::Failed(format!("cannot encode a checkpoint: {error}"));
    let views = arrays
        .iter()
        .zip(&bytes)
        .map(|(array, bytes)| Ok((array.name.as_str(), TensorView::new(Dtype::F32, array.shape.clone(), bytes).map_err(failed)?)));
    safetensors::serialize(views.collect::<Result<Vec<_>>>()?, None).map_err(failed)
}

fn decode(path: &Path, bytes: &[u8]) -> Result<Vec<Array>> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| Error::damaged(path, error.to_string()))?;
    let mut arrays = Vec::new();
    for (name, view) in tensors.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(Error::damaged(path, format!("`{name}` holds {:?}; allowed: F32", view.dtype())));
        }
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        arrays.push(Array::new(name, view.shape().to_vec(), values));
    }
    arrays.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(arrays)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
