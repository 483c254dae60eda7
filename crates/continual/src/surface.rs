//! Gradients at any point, for strategies that need more than that of the batch.

use lyceum_core::Result;
use lyceum_train::{ModelOracle, Oracle, Vector, oracle::Rows};

use crate::{
    objective::{StageBatch, StageObjective},
    strategy::Context,
};

/// The gradient of the sum of the tasks' losses of a batch at a point.
pub(crate) fn gradient_at(context: Context<'_>, point: &Vector, batch: &StageBatch) -> Result<Vector> {
    let objective = StageObjective { tasks: batch.tasks.len(), gradient_inputs: None };
    let mut oracle = ModelOracle::new(&objective, context.model, context.space, batch, context.seed);
    Ok(oracle.evaluate(point, &Rows::All, false)?.total())
}

/// The sum of the tasks' losses of a batch at a point.
#[cfg(test)]
pub(crate) fn loss_at(context: Context<'_>, point: &Vector, batch: &StageBatch) -> Result<f64> {
    let objective = StageObjective { tasks: batch.tasks.len(), gradient_inputs: None };
    let mut oracle = ModelOracle::new(&objective, context.model, context.space, batch, context.seed);
    Ok(oracle.evaluate(point, &Rows::All, false)?.losses.iter().sum())
}
