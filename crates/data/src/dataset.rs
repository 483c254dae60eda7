//! Labelled examples in memory.

use ndarray::{Array2, Axis};

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
    pub inputs: Array2<f32>,
    /// `n` class numbers.
    pub labels: Vec<usize>,
}

/// A data set as it is published.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Its name in recipes.
    pub name: String,
    /// The extent of one example.
    pub extent: Extent,
    /// The names of the classes.
    pub classes: Vec<String>,
    /// The training examples, or all of them where there is no official test set.
    pub train: Examples,
    /// The official test set.
    pub test: Option<Examples>,
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
    /// How many there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The examples at these positions, in this order.
    pub fn subset(&self, positions: &[usize]) -> Self {
        Self { inputs: self.inputs.select(Axis(0), positions), labels: positions.iter().map(|&i| self.labels[i]).collect() }
    }
}
