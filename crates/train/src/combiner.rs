//! One gradient from several tasks'.

use lyceum_core::Result;

use crate::{ParamSpace, Vector, oracle::Slopes};

/// Makes one gradient of several. With a single task every combiner is the identity.
pub trait GradientCombiner: Send {
    /// The combined gradient.
    fn combine(&mut self, slopes: &Slopes, space: &ParamSpace) -> Result<Vector>;
}

/// The sum of the tasks' gradients: the gradient of the sum of their losses.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum;

impl GradientCombiner for Sum {
    fn combine(&mut self, slopes: &Slopes, _: &ParamSpace) -> Result<Vector> {
        Ok(slopes.total())
    }
}
