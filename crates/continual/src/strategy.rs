//! What a strategy of continual learning may do.

use lyceum_core::{Array, Result, Seed, Stream};
use lyceum_train::{Net, ParamSpace, State, Vector};
use serde::{Deserialize, Serialize};

use crate::{
    Task,
    basis::Update,
    objective::{Rows, RowsBuilder, StageObjective},
};

/// What is known when a task begins or ends, and at every step.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The model now.
    pub model: &'a Net,
    /// Its parameter space.
    pub space: &'a ParamSpace,
    /// How many outputs the network has.
    pub outputs: usize,
    /// Whether tasks have outputs of their own.
    pub heads: bool,
    /// The randomness of this task or step.
    pub seed: Seed,
    /// The learning rate of this step; 0 where no step is made.
    pub rate: f64,
    /// How much of the epoch is behind, from 0 at its first step to 1 at its last.
    pub part: f64,
}

/// What a task left behind, for the report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// How full each layer is, by the name of its weight.
    pub layers: Vec<(String, Update)>,
    /// How many numbers the strategy keeps.
    pub kept_numbers: usize,
}

/// A strategy: naive fine-tuning is all the defaults.
pub trait Strategy: Send {
    /// Before the tasks of a stage are learnt.
    fn begin(&mut self, _tasks: &[Task], _context: Context<'_>) -> Result<()> {
        Ok(())
    }

    /// The objective of a stage of this many tasks.
    fn objective(&self, tasks: usize) -> StageObjective {
        StageObjective { tasks, gradient_inputs: None }
    }

    /// Adds to a batch before it is built. `positions` are the examples of `task` in it; `number` counts the tasks of the stage.
    fn extend(&mut self, _batch: &mut RowsBuilder, _task: &Task, _number: usize, _positions: &[usize], _rng: &mut Stream) {}

    /// Changes a batch after it was built.
    fn finish(&mut self, rows: Rows, _task: &Task) -> Result<Rows> {
        Ok(rows)
    }

    /// What the network's parameters are multiplied with, number by number, before it is used: on the task that is being
    /// learnt (`None`), or on the task of this number. Gradients are those of the parameters themselves.
    fn mask(&self, _task: Option<usize>, _parameters: &Vector, _context: Context<'_>) -> Option<Vector> {
        None
    }

    /// Changes the gradient at `parameters`.
    fn transform(&mut self, gradient: Vector, _parameters: &Vector, _context: Context<'_>) -> Result<Vector> {
        Ok(gradient)
    }

    /// Whether it wants to know of every step.
    fn follows(&self) -> bool {
        false
    }

    /// After a step from one point to another.
    fn moved(&mut self, _from: &Vector, _to: &Vector) {}

    /// Whether it wants to know of every batch that was learnt.
    fn watches(&self) -> bool {
        false
    }

    /// After a batch was learnt.
    fn saw(&mut self, _task: &Task, _positions: &[usize], _context: Context<'_>, _rng: &mut Stream) -> Result<()> {
        Ok(())
    }

    /// After the tasks of a stage were learnt.
    fn end(&mut self, _tasks: &[Task], _context: Context<'_>) -> Result<Note> {
        Ok(Note::default())
    }

    /// What must be saved to go on later.
    fn state(&self) -> State {
        State::default()
    }

    /// Goes on from a saved state, in the same stage of the same stream.
    fn restore(&mut self, _state: State, _context: Context<'_>) -> Result<()> {
        Ok(())
    }
}

/// A saved array of this name.
pub(crate) fn saved<'a>(state: &'a State, name: &str) -> Option<&'a Array> {
    state.arrays.iter().find(|array| array.name == name)
}
