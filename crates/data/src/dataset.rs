//! Labelled examples in memory.

use crate::Inputs;

/// The extent of one image: channels, rows, columns. Plain features are `1 × 1 × d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// 1 for grey, 3 for colour.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// Inputs with their labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Examples {
    /// `n × (channels · height · width)`, values in \[0, 1\] for images, each image channel by channel, row by row.
    pub inputs: Inputs,
    /// `n` class numbers; none where numbers are predicted.
    pub labels: Vec<usize>,
    /// `n` numbers that are predicted, where these are no classes.
    pub targets: Vec<f64>,
    /// `n` group numbers (clients, sites, patients), where there are groups.
    pub groups: Vec<usize>,
}

/// A data set as it is published.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Its name in recipes.
    pub name: String,
    /// The extent of one example.
    pub extent: Extent,
    /// The names of the classes; none where numbers are predicted.
    pub classes: Vec<String>,
    /// The names of the groups, where there are groups.
    pub groups: Vec<String>,
    /// What the numbers of an example are called, where they have names.
    pub columns: Vec<String>,
    /// What the training examples are called, where they have names.
    pub names: Vec<String>,
    /// The training examples, or all of them where there is no official test set.
    pub train: Examples,
    /// The official test set.
    pub test: Option<Examples>,
}

impl Dataset {
    /// Examples without groups and names.
    pub fn new(name: &str, extent: Extent, classes: Vec<String>, train: Examples, test: Option<Examples>) -> Self {
        Self { name: name.into(), extent, classes, groups: Vec::new(), columns: Vec::new(), names: Vec::new(), train, test }
    }
}

impl Extent {
    /// How many numbers one example has.
    pub fn len(self) -> usize {
        self.channels * self.height * self.width
    }

    /// Whether an example has no numbers at all.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

impl Examples {
    /// Inputs with their labels.
    pub fn new(inputs: impl Into<Inputs>, labels: Vec<usize>) -> Self {
        Self { inputs: inputs.into(), labels, targets: Vec::new(), groups: Vec::new() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.inputs.nrows()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The examples at these positions, in this order.
    pub fn subset(&self, positions: &[usize]) -> Self {
        let of = |values: &[usize]| positions.iter().filter_map(|&i| values.get(i).copied()).collect();
        let targets = positions.iter().filter_map(|&i| self.targets.get(i).copied()).collect();
        Self { inputs: self.inputs.select(positions), labels: of(&self.labels), targets, groups: of(&self.groups) }
    }
}
