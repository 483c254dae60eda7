//! Where the gradient is taken.

use lyceum_core::Result;

use crate::{
    Oracle, State, Vector,
    oracle::{Rows, Slopes},
    schedule::Rate,
};

/// The losses at the current parameters, and the gradients that the step shall use.
pub type Estimate = Slopes;

/// Takes gradients: once at the parameters, or elsewhere, or several times.
///
/// An estimator owns all evaluations of a step. It never changes the parameters: points it visits are new vectors, so
/// a step that fails half-way leaves the parameters as they were.
pub trait GradientEstimator: Send {
    /// One loss and one gradient a task.
    fn estimate(&mut self, oracle: &mut dyn Oracle, parameters: &Vector, rate: Rate) -> Result<Estimate>;

    /// What must be saved to go on later.
    fn state(&self) -> State {
        State::default()
    }

    /// Goes on from a saved state.
    fn restore(&mut self, _state: State) -> Result<()> {
        Ok(())
    }
}

/// The gradient at the parameters.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl GradientEstimator for Plain {
    fn estimate(&mut self, oracle: &mut dyn Oracle, parameters: &Vector, _: Rate) -> Result<Estimate> {
        oracle.evaluate(parameters, &Rows::All, true)
    }
}
