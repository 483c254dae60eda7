//! The plain sum, or mean.

use lyceum_core::{Result, Stream};

use crate::combiner::{Rule, Step};

/// Every task with the same coefficient.
#[derive(Debug, Clone, Copy)]
pub struct Sum {
    /// The coefficient: 1 for the sum, 1/T for the mean.
    pub coefficient: f64,
}

impl Rule for Sum {
    fn coefficients(&mut self, step: Step<'_>, _: &mut Stream) -> Result<Vec<f64>> {
        Ok(vec![self.coefficient; step.gram.nrows()])
    }
}
