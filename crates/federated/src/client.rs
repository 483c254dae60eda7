//! A client: what it knows of itself, what it keeps, what it solves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Which client.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Client {
    /// Its number, from 0.
    pub id: usize,
    /// n_k: how many examples it has.
    pub examples: usize,
    /// w_k = m·n_k/Σn: its examples over those of the average client.
    pub share: f64,
}

impl Client {
    /// Clients with so many examples each.
    pub fn all(examples: &[usize]) -> Vec<Self> {
        let mean = examples.iter().sum::<usize>() as f64 / examples.len().max(1) as f64;
        examples
            .iter()
            .enumerate()
            .map(|(id, &examples)| Self { id, examples, share: examples as f64 / mean.max(f64::MIN_POSITIVE) })
            .collect()
    }
}

/// What a client keeps from round to round, by name; vectors of zeros are left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The vectors.
    pub arrays: BTreeMap<String, Vec<f32>>,
}

impl State {
    /// The vector of this name, or zeros.
    pub fn array(&self, name: &str, dimension: usize) -> Vec<f32> {
        self.arrays.get(name).cloned().unwrap_or_else(|| vec![0.0; dimension])
    }

    /// A state of one vector.
    pub fn of(name: &str, values: Vec<f32>) -> Self {
        Self { arrays: BTreeMap::from([(name.to_owned(), values)]) }
    }
}

/// What a client minimises, from [`start`](Self::start) on: L_k(x) + ⟨linear, x⟩ + (quadratic/2)‖x − start‖².
#[derive(Debug, Clone, PartialEq)]
pub struct LocalProblem {
    /// Where it begins: the server's model θ.
    pub start: Vec<f32>,
    /// The running statistics that it begins with; empty for none.
    pub statistics: Vec<f32>,
    /// The linear term; empty for none.
    pub linear: Vec<f32>,
    /// The coefficient of the quadratic term.
    pub quadratic: f64,
    /// Whether the whole pull `quadratic·(x − start)` counts in the norm that is clipped. Otherwise `−quadratic·start` does and
    /// `quadratic·x` is added afterwards, as weight decay is: the way of FedDyn's authors.
    pub clip_pull: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalResult {
    /// θ_k.
    pub parameters: Vec<f32>,
    /// The running statistics afterwards, as many as it began with.
    pub statistics: Vec<f32>,
    /// K: how many steps were made.
    pub steps: u64,
    /// η: the learning rate of these steps.
    pub rate: f64,
    /// The mean loss over the steps, without the terms.
    pub loss: f64,
}
