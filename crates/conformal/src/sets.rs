//! Prediction sets in compressed rows.

use lyceum_core::{Error, Result};

/// The sets of many points: the labels of point i are `labels[starts[i]..starts[i + 1]]`, most likely first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PredictionSets {
    starts: Vec<usize>,
    labels: Vec<u32>,
}

impl Default for PredictionSets {
    fn default() -> Self {
        Self { starts: vec![0], labels: Vec::new() }
    }
}

impl PredictionSets {
    /// From the sizes of the sets and all their labels.
    pub fn from_sizes(sizes: impl IntoIterator<Item = usize>, labels: Vec<u32>) -> Result<Self> {
        let mut starts = vec![0];
        let mut end = 0;
        for size in sizes {
            end += size;
            starts.push(end);
        }
        if end == labels.len() {
            Ok(Self { starts, labels })
        } else {
            Err(Error::Failed(format!("sets of {end} labels in all, and {} labels", labels.len())))
        }
    }

    /// With the sets of further points.
    pub fn append(&mut self, more: &Self) {
        let end = self.labels.len();
        self.starts.extend(more.starts[1..].iter().map(|start| end + start));
        self.labels.extend(&more.labels);
    }

    /// How many points there are.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether there are no points.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sets of these points, in this order.
    pub fn select(&self, points: &[usize]) -> Self {
        let mut starts = vec![0];
        let mut labels = Vec::new();
        for &point in points {
            labels.extend(self.get(point));
            starts.push(labels.len());
        }
        Self { starts, labels }
    }

    /// The labels of one point, most likely first.
    pub fn get(&self, point: usize) -> &[u32] {
        &self.labels[self.starts[point]..self.starts[point + 1]]
    }

    /// The sets in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        self.starts.windows(2).map(|bounds| &self.labels[bounds[0]..bounds[1]])
    }

    /// The sizes in order.
    pub fn sizes(&self) -> impl ExactSizeIterator<Item = usize> {
        self.starts.windows(2).map(|bounds| bounds[1] - bounds[0])
    }

    /// Where each set starts, and the end of the last: `len() + 1` numbers.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// All labels, set after set.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }
}
