//! Schemes: which threshold a label's score is held against. Every score works in every scheme.

/// The thresholds of a calibrated predictor: label y of row i is in the set if its score is at most
/// `threshold(i, y)`.
pub trait Scheme: Sync {
    /// The threshold of a label of a row.
    fn threshold(&self, row: usize, label: u32) -> f64;

    /// Whether the labels of a row share one threshold, [`largest`](Self::largest).
    fn is_uniform(&self) -> bool {
        false
    }

    /// The largest threshold of a row's labels: the ranking is followed down to it.
    fn largest(&self, row: usize) -> f64;
}

/// One threshold for all: coverage 1 − α on average over examples (split conformal prediction).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Marginal(pub f64);

impl Scheme for Marginal {
    #[inline(always)]
    fn threshold(&self, _: usize, _: u32) -> f64 {
        self.0
    }

    #[inline(always)]
    fn is_uniform(&self) -> bool {
        true
    }

    #[inline(always)]
    fn largest(&self, _: usize) -> f64 {
        self.0
    }
}

/// A threshold for each label.
#[derive(Debug, Clone, PartialEq)]
pub struct ByLabel {
    thresholds: Vec<f64>,
    largest: f64,
}

impl ByLabel {
    /// The threshold of each label.
    pub fn new(thresholds: Vec<f64>) -> Self {
        let largest = thresholds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Self { thresholds, largest }
    }
}

impl Scheme for ByLabel {
    #[inline(always)]
    fn threshold(&self, _: usize, label: u32) -> f64 {
        self.thresholds[label as usize]
    }

    #[inline(always)]
    fn largest(&self, _: usize) -> f64 {
        self.largest
    }
}

/// A threshold for each row.
#[derive(Debug, Clone, PartialEq)]
pub struct ByRow(pub Vec<f64>);

impl Scheme for ByRow {
    #[inline(always)]
    fn threshold(&self, row: usize, _: u32) -> f64 {
        self.0[row]
    }

    #[inline(always)]
    fn is_uniform(&self) -> bool {
        true
    }

    #[inline(always)]
    fn largest(&self, row: usize) -> f64 {
        self.0[row]
    }
}
