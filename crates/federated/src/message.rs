//! What server and clients send one another.

use std::collections::BTreeMap;

use lyceum_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// Named vectors and named numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Vectors, for example `model`.
    pub arrays: BTreeMap<String, Vec<f32>>,
    /// Numbers, for example `steps`.
    pub numbers: BTreeMap<String, f64>,
}

impl Message {
    /// A message with a vector of this name.
    pub fn with_array(mut self, name: &str, values: Vec<f32>) -> Self {
        self.arrays.insert(name.into(), values);
        self
    }

    /// A message with a number of this name.
    pub fn with_number(mut self, name: &str, value: f64) -> Self {
        self.numbers.insert(name.into(), value);
        self
    }

    /// The vector of this name.
    pub fn array(&self, name: &str) -> Result<&[f32]> {
        let found = self.arrays.get(name).map(Vec::as_slice);
        found.ok_or_else(|| Error::invalid(format!("`{name}` in a message"), "nothing", "a vector: do both sides use the same method?"))
    }

    /// The number of this name.
    pub fn number(&self, name: &str) -> Result<f64> {
        let found = self.numbers.get(name).copied();
        found.ok_or_else(|| Error::invalid(format!("`{name}` in a message"), "nothing", "a number: do both sides use the same method?"))
    }

    /// The bytes of its vectors, four a number: what a round costs. Names, single numbers and what a transport adds are not
    /// counted; they are the same few bytes for every method.
    pub fn bytes(&self) -> u64 {
        self.arrays.values().map(|values| 4 * values.len() as u64).sum()
    }
}
