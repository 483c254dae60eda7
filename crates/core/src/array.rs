//! Named arrays and the safetensors files that hold them.

use std::{borrow::Cow, collections::HashMap, path::Path};

use safetensors::{Dtype, SafeTensors, View};

use crate::{Error, Result};

/// A named array of 32-bit floats.
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

/// Arrays as the bytes of a safetensors file.
pub fn encode(arrays: &[Array]) -> Result<Vec<u8>> {
    encode_noted(arrays, None)
}

/// The same with a text beside them, which [`note`] gives back.
pub fn encode_noted(arrays: &[Array], note: Option<String>) -> Result<Vec<u8>> {
    let note = note.map(|note| HashMap::from([(NOTE.to_owned(), note)]));
    let named = arrays.iter().map(|array| (array.name.as_str(), Stored(array)));
    safetensors::serialize(named, note).map_err(|error| Error::Failed(format!("cannot encode arrays: {error}")))
}

/// As a file holds it: its own bytes where they are in the file's order.
struct Stored<'a>(&'a Array);

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        if cfg!(target_endian = "little") {
            bytemuck::cast_slice(&self.0.values).into()
        } else {
            self.0.values.iter().flat_map(|value| value.to_le_bytes()).collect()
        }
    }

    fn data_len(&self) -> usize {
        size_of_val(self.0.values.as_slice())
    }
}

const NOTE: &str = "note";

/// The text beside the arrays of a safetensors file; `path` is what an error names.
pub fn note(path: &Path, bytes: &[u8]) -> Result<String> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| Error::damaged(path, error.to_string()))?;
    let note = header.metadata().as_ref().and_then(|entries| entries.get(NOTE)).cloned();
    note.ok_or_else(|| Error::damaged(path, "has no note in its header"))
}

/// The arrays of a safetensors file, in the order of their names; `path` is what an error names.
pub fn decode(path: &Path, bytes: &[u8]) -> Result<Vec<Array>> {
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
