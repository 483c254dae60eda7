//! Named arrays and the safetensors files that hold them.

use std::{borrow::Cow, collections::HashMap, path::Path};

use safetensors::{Dtype, SafeTensors, View};
use sha2::{Digest, Sha256};

use crate::{Error, Result, checksum::hex};

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
    serialize(arrays, None)
}

/// The bytes of a safetensors file, with a text in its header.
fn serialize(arrays: &[Array], note: Option<String>) -> Result<Vec<u8>> {
    let note = note.map(|note| HashMap::from([(NOTE.to_owned(), note)]));
    let mut names: Vec<&str> = arrays.iter().map(|array| array.name.as_str()).collect();
    names.sort_unstable();
    if let Some((twice, _)) = names.iter().zip(names.iter().skip(1)).find(|(a, b)| a == b) {
        return Err(Error::Failed(format!("cannot encode arrays: two are called `{twice}`")));
    }
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

/// The same with a text beside the arrays, and a checksum of both: [`decode_sealed`] notices when a byte has changed.
pub fn encode_sealed(arrays: &[Array], note: &str) -> Result<Vec<u8>> {
    serialize(arrays, Some(format!("{} {note}", checksum(&mut arrays.iter().collect::<Vec<_>>(), note))))
}

/// The arrays and the text of a file that [`encode_sealed`] made; an error that names the file if something has changed.
pub fn decode_sealed(path: &Path, bytes: &[u8]) -> Result<(Vec<Array>, String)> {
    let (arrays, sealed) = (decode(path, bytes)?, note(path, bytes)?);
    let (sum, note) = sealed.split_once(' ').ok_or_else(|| Error::damaged(path, "has no checksum in its header"))?;
    if sum == checksum(&mut arrays.iter().collect::<Vec<_>>(), note) {
        Ok((arrays, note.to_owned()))
    } else {
        Err(Error::damaged(path, "its checksum does not agree with what it holds"))
    }
}

/// SHA-256 of the text, and of names, shapes and values in the order of the names.
fn checksum(arrays: &mut [&Array], note: &str) -> String {
    arrays.sort_by(|a, b| a.name.cmp(&b.name));
    let mut sum = Sha256::new();
    let text = |text: &str, sum: &mut Sha256| {
        sum.update((text.len() as u64).to_le_bytes());
        sum.update(text);
    };
    text(note, &mut sum);
    for array in arrays.iter() {
        text(&array.name, &mut sum);
        sum.update((array.shape.len() as u64).to_le_bytes());
        array.shape.iter().for_each(|extent| sum.update((*extent as u64).to_le_bytes()));
        sum.update(Stored(array).data());
    }
    hex(&sum.finalize())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_bit_of_a_sealed_file_is_noticed() {
        let arrays = [Array::new("b", vec![2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), Array::new("a/c", vec![0], vec![])];
        let path = Path::new("x.safetensors");
        let whole = encode_sealed(&arrays, "of client 3").unwrap();
        let (found, note) = decode_sealed(path, &whole).unwrap();
        assert_eq!((found.len(), note.as_str()), (2, "of client 3"));
        for byte in 0..whole.len() {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[byte] ^= 1 << bit;
                // Spaces that fill up the header say nothing.
                let same = decode_sealed(path, &changed).is_ok_and(|found| found == decode_sealed(path, &whole).unwrap());
                assert!(!same || whole[byte] == b' ', "byte {byte}, bit {bit}");
            }
        }
        assert!(decode_sealed(path, &encode(&arrays).unwrap()).is_err());
        assert!(encode(&[arrays[0].clone(), arrays[0].clone()]).is_err());
    }
}
