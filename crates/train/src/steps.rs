//! Training by steps in a run: a pipeline that is looked at every so many steps, saved then and when somebody asks to stop.

use std::collections::BTreeMap;

use burn::module::Module;
use lyceum_core::{Array, Checkpoint, Error, Result, Run, Seed};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Objective, Pipeline, Rate, Schedule, State, pipeline::Saved};

/// How many steps, and how fast.
#[derive(Debug, Clone, PartialEq)]
pub struct Steps {
    /// How many there are.
    pub count: usize,
    /// The peak learning rate.
    pub learning_rate: f64,
    /// Steps over which the rate rises to its peak.
    pub warmup: usize,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// Steps between two looks; the last step is followed by one too.
    pub look_every: usize,
}

/// What a look found.
pub struct Look {
    /// Metrics beside `train_loss`, the mean of the steps since the look before.
    pub metrics: Vec<(&'static str, f64)>,
    /// What progress says.
    pub message: String,
}

/// How far a training is; part of a checkpoint.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Progress<T> {
    step: usize,
    /// The step that was looked at last.
    looked: usize,
    /// The losses of the steps since then.
    sum: f64,
    /// Of the optimiser, the estimator and the combiner.
    counters: [BTreeMap<String, u64>; 3],
    /// What the looks found.
    kept: T,
}

/// All steps, or those that are left after the newest checkpoint in `run`. `next` gives the objective and the batch of a step,
/// `look` measures the model after some step and adds to what is kept. Gives the model, and what was kept.
///
/// Each look logs `train_loss` and its metrics, and is followed by a checkpoint. A request to stop takes effect between two
/// steps; a look that ends with `Error::Interrupted` is repeated when the run resumes.
pub fn train<O: Objective, T>(
    run: &Run,
    name: &str,
    mut pipeline: Pipeline<O::Model>,
    steps: &Steps,
    seed: Seed,
    mut next: impl FnMut(usize) -> (O, O::Batch),
    mut look: impl FnMut(&O::Model, usize, &mut T) -> Result<Look>,
) -> Result<(O::Model, T)>
where
    O::Model: Module,
    T: Default + Serialize + DeserializeOwned,
{
    if steps.warmup > steps.count {
        let (warmup, count) = (steps.warmup, steps.count);
        run.progress().warn(&format!("the learning rate never reaches its peak: {warmup} steps of warm-up, {count} steps in all"));
    }
    let mut progress = Progress::<T>::default();
    if let Some(checkpoint) = run.rewind()? {
        progress = checkpoint.state()?;
        restore(&mut pipeline, &checkpoint, &progress.counters)?;
    }
    let mut task = run.progress().task(name, progress.step as u64, steps.count as u64);
    loop {
        let step = progress.step;
        let is_due = step.is_multiple_of(steps.look_every) || step == steps.count;
        if is_due && progress.looked < step {
            let found = match look(&pipeline.model(), step, &mut progress.kept) {
                Err(stop @ Error::Interrupted { .. }) => {
                    save(run, &pipeline, &mut progress)?;
                    return Err(stop);
                }
                found => found?,
            };
            let mean = progress.sum / (step - progress.looked) as f64;
            run.log(step as u64, &[&[("train_loss", mean)], found.metrics.as_slice()].concat())?;
            task.set(step as u64, &found.message);
            (progress.looked, progress.sum) = (step, 0.0);
            save(run, &pipeline, &mut progress)?;
        }
        if step == steps.count {
            return Ok((pipeline.model(), progress.kept));
        }
        if let Err(stop) = run.stop_if_requested() {
            save(run, &pipeline, &mut progress)?;
            return Err(stop);
        }
        let (objective, batch) = next(step);
        let relative = steps.schedule.relative(step as u64, steps.count as u64, steps.warmup as u64);
        let rate = Rate { peak: steps.learning_rate, relative };
        let outcome = pipeline.step(&objective, &batch, rate, seed.child(&format!("step/{step}")));
        let losses = outcome.map_err(|error| error.when(format!("step {}", step + 1)))?.losses;
        progress.sum += losses.iter().sum::<f64>() / losses.len() as f64;
        progress.step += 1;
    }
}

fn save<M: Module, T: Serialize>(run: &Run, pipeline: &Pipeline<M>, progress: &mut Progress<T>) -> Result<()> {
    let Saved { model, optimizer, estimator, combiner } = pipeline.save();
    progress.counters = [optimizer.counters, estimator.counters, combiner.counters];
    let files: [(&str, &[Array]); 4] =
        [("model", &model), ("optimizer", &optimizer.arrays), ("estimator", &estimator.arrays), ("combiner", &combiner.arrays)];
    run.save_checkpoint(progress.step as u64, progress, &files)
}

fn restore<M: Module>(pipeline: &mut Pipeline<M>, checkpoint: &Checkpoint, counters: &[BTreeMap<String, u64>; 3]) -> Result<()> {
    let arrays = |file: &str| checkpoint.arrays(file).map(<[Array]>::to_vec);
    let state = |file: &str, place: usize| -> Result<State> { Ok(State { arrays: arrays(file)?, counters: counters[place].clone() }) };
    pipeline.restore(Saved {
        model: arrays("model")?,
        optimizer: state("optimizer", 0)?,
        estimator: state("estimator", 1)?,
        combiner: state("combiner", 2)?,
    })
}
