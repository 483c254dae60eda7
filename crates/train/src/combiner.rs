//! One gradient from several tasks'.

use lyceum_core::Result;

use crate::{ParamSpace, State, Vector, oracle::Slopes};

/// Makes one gradient of several. With a single task every combiner is the identity.
pub trait GradientCombiner: Send {
    /// The combined gradient.
    fn combine(&mut self, slopes: &Slopes, space: &ParamSpace) -> Result<Vector>;

    /// What it keeps from step to step.
    fn state(&self) -> State {
        State::default()
    }

    /// Goes on from a [`state`](Self::state).
    fn restore(&mut self, _state: State) -> Result<()> {
        Ok(())
    }
}

/// The sum of the tasks' gradients: the gradient of the sum of their losses.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum;

impl GradientCombiner for Sum {
    fn combine(&mut self, slopes: &Slopes, _: &ParamSpace) -> Result<Vector> {
        Ok(slopes.total())
    }
}
