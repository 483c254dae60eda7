//! What a part of the pipeline must save to go on later.

use std::collections::BTreeMap;

use burn::tensor::Device;
use lyceum_core::Array;
use lyceum_kernels::vector;

use crate::Vector;

/// Named arrays and counters.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// Arrays, by name.
    pub arrays: Vec<Array>,
    /// Whole numbers, by name.
    pub counters: BTreeMap<String, u64>,
}

impl State {
    /// With a vector of this name.
    pub fn with_vector(mut self, name: &str, values: &Vector) -> Self {
        let values = vector::to_vec(values);
        self.arrays.push(Array::new(name, vec![values.len()], values));
        self
    }

    /// With a counter of this name.
    pub fn with_counter(mut self, name: &str, value: u64) -> Self {
        self.counters.insert(name.into(), value);
        self
    }

    /// The vector of this name, if it was saved.
    pub fn vector(&self, name: &str, device: &Device) -> Option<Vector> {
        self.arrays.iter().find(|array| array.name == name).map(|array| vector::from_vec(array.values.clone(), device))
    }

    /// The counter of this name; 0 if it was not saved.
    pub fn counter(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }
}
