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

    /// With numbers of 64 bits of this name. Their halves lie side by side in an array, bit for bit.
    pub fn with_numbers(mut self, name: &str, numbers: &[f64]) -> Self {
        let half = |bits: u64| f32::from_bits(bits as u32);
        let values: Vec<f32> = numbers.iter().flat_map(|number| [half(number.to_bits() >> 32), half(number.to_bits())]).collect();
        self.arrays.push(Array::new(name, vec![values.len()], values));
        self
    }

    /// The numbers of this name; none if they were not saved.
    pub fn numbers(&self, name: &str) -> Vec<f64> {
        let values = self.arrays.iter().find(|array| array.name == name).map_or(&[][..], |array| &array.values);
        let number = |halves: &[f32; 2]| f64::from_bits(u64::from(halves[0].to_bits()) << 32 | u64::from(halves[1].to_bits()));
        values.as_chunks::<2>().0.iter().map(number).collect()
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
