//! The server's state.

use std::collections::BTreeMap;

use lyceum_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// What the server keeps from round to round.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// Rounds that are behind.
    pub round: u64,
    /// m: how many clients there are, active or not.
    pub clients: usize,
    /// The model, and what the method adds, by name.
    pub arrays: BTreeMap<String, Vec<f32>>,
}

/// The name of the model among [`Server::arrays`] and in messages.
pub(crate) const MODEL: &str = "model";
/// The name of the running statistics.
pub(crate) const STATISTICS: &str = "statistics";

impl Server {
    /// A server with this model before its first round.
    pub fn new(model: Vec<f32>, clients: usize) -> Self {
        Self { round: 0, clients, arrays: BTreeMap::from([(MODEL.to_owned(), model)]) }
    }

    /// θ.
    pub fn model(&self) -> &[f32] {
        self.arrays.get(MODEL).map_or(&[], Vec::as_slice)
    }

    /// The running statistics of the model's batch normalisation; empty where there are none.
    pub fn statistics(&self) -> &[f32] {
        self.arrays.get(STATISTICS).map_or(&[], Vec::as_slice)
    }

    /// A vector of the method.
    pub fn array(&self, name: &str) -> Result<&[f32]> {
        self.arrays.get(name).map(Vec::as_slice).ok_or_else(|| Error::Failed(format!("the server's state has no `{name}`")))
    }

    /// The next round's server with this model.
    pub(crate) fn next(&self, model: Vec<f32>) -> Self {
        let mut next = Self { round: self.round + 1, ..self.clone() };
        next.arrays.insert(MODEL.into(), model);
        next
    }

    /// With a vector of this name.
    pub(crate) fn with_array(mut self, name: &str, values: Vec<f32>) -> Self {
        self.arrays.insert(name.into(), values);
        self
    }
}
