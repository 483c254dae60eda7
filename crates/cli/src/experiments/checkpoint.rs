//! Checkpoints of experiments that drive a pipeline themselves.

use std::collections::BTreeMap;

use burn::module::Module;
use lyceum_core::{Array, Checkpoint, Result, Run};
use lyceum_train::{Pipeline, State, pipeline::Saved};
use serde::Serialize;

/// Counters of the optimiser, the estimator and the combiner.
pub(super) type Counters = [BTreeMap<String, u64>; 3];

/// Writes a checkpoint; `progress` is what else it holds, with the counters that [`restore`] needs.
pub(super) fn save<M: Module, P: Serialize>(
    run: &Run,
    step: usize,
    pipeline: &Pipeline<M>,
    progress: impl FnOnce(Counters) -> P,
) -> Result<()> {
    let Saved { model, optimizer, estimator, combiner } = pipeline.save();
    let progress = progress([optimizer.counters, estimator.counters, combiner.counters]);
    let files: [(&str, &[Array]); 4] =
        [("model", &model), ("optimizer", &optimizer.arrays), ("estimator", &estimator.arrays), ("combiner", &combiner.arrays)];
    run.save_checkpoint(step as u64, &progress, &files)
}

/// Goes on from a checkpoint that [`save`] wrote.
pub(super) fn restore<M: Module>(pipeline: &mut Pipeline<M>, checkpoint: &Checkpoint, counters: &Counters) -> Result<()> {
    let arrays = |file: &str| checkpoint.arrays(file).map(<[Array]>::to_vec);
    let state = |file: &str, place: usize| -> Result<State> { Ok(State { arrays: arrays(file)?, counters: counters[place].clone() }) };
    pipeline.restore(Saved {
        model: arrays("model")?,
        optimizer: state("optimizer", 0)?,
        estimator: state("estimator", 1)?,
        combiner: state("combiner", 2)?,
    })
}
