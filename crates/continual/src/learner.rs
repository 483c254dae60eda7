//! Learns a stream of tasks with a strategy.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use lyceum_core::{Array, Error, Result, Run, Seed, interrupt, range};
use lyceum_data::{Examples, split};
use lyceum_kernels::vector;
use lyceum_train::{
    ClipNorm, GradientCombiner, GradientEstimator, GradientTransform, Net, Oracle, ParamSpace, Pipeline, Rate, Slopes, State, TrainConfig,
    Vector, oracle::Rows, pipeline::Saved,
};
use serde::{Deserialize, Serialize};

use crate::{
    Strategy, Task,
    objective::{RowsBuilder, StageBatch, accuracy},
    strategies::StrategyConfig,
    strategy::{Context, Note},
};

/// How a stream is learnt.
pub struct Learner {
    /// Steps, rates and optimiser of every task.
    pub training: TrainConfig,
    /// What is done against forgetting.
    pub strategy: StrategyConfig,
    /// How gradients are estimated: a new estimator for every stage.
    pub estimator: Box<dyn Fn() -> Result<Box<dyn GradientEstimator>>>,
    /// How gradients of tasks that are learnt together are combined: a new combiner for every stage, with its randomness.
    pub combiner: Box<dyn Fn(Seed) -> Result<Box<dyn GradientCombiner>>>,
    /// How many outputs the network has, and whether tasks have outputs of their own.
    pub outputs: (usize, bool),
    /// The randomness of batches and strategies: learners with the same seed see the same batches.
    pub seed: Seed,
}

/// How far a stream was learnt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Stages that are behind.
    pub stage: usize,
    /// Epochs of the next that are behind.
    epoch: usize,
    /// Steps of that epoch that are behind, and their losses.
    #[serde(default)]
    within: usize,
    #[serde(default)]
    sum: f64,
    step: u64,
    /// The accuracy on each task after each stage.
    pub matrix: Vec<Vec<f64>>,
    /// What each stage left behind.
    pub notes: Vec<Note>,
    /// Where learning diverged, and why; nothing was learnt after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diverged: Option<Diverged>,
    counters: [BTreeMap<String, u64>; 4],
}

impl Progress {
    /// Ends here. The checkpoint before is kept as it is, so that a resumed run ends in the same way.
    fn diverge(&mut self, run: &Run, reason: String) {
        let (stage, epoch, step) = (self.stage, self.epoch, self.step);
        run.progress().warn(&format!("diverged in stage {}, epoch {}, after {step} steps: {reason}", stage + 1, epoch + 1));
        self.diverged = Some(Diverged { stage, epoch, step, reason });
    }
}

/// Where learning diverged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diverged {
    /// The stage, from 0.
    pub stage: usize,
    /// The epoch, from 0.
    pub epoch: usize,
    /// Steps before it, over all stages.
    pub step: u64,
    /// What was found.
    pub reason: String,
}

/// What a strategy is told of a step.
#[derive(Clone, Copy)]
struct Step {
    seed: Seed,
    rate: f64,
    part: f64,
}

/// The strategy as parts of the pipeline.
#[derive(Clone)]
struct Shared {
    strategy: Arc<Mutex<(Box<dyn Strategy>, Step)>>,
    model: Net,
    space: ParamSpace,
    outputs: (usize, bool),
}

impl Shared {
    /// Calls `work` with the strategy and what it may know.
    fn with<R>(&self, work: impl FnOnce(&mut dyn Strategy, Context<'_>) -> R) -> R {
        let mut shared = self.strategy.lock().unwrap_or_else(PoisonError::into_inner);
        let (strategy, Step { seed, rate, part }) = &mut *shared;
        let (outputs, heads) = self.outputs;
        let context = Context { model: &self.model, space: &self.space, outputs, heads, seed: *seed, rate: *rate, part: *part };
        work(strategy.as_mut(), context)
    }
}

impl GradientTransform for Shared {
    fn transform(&mut self, gradient: Vector, parameters: &Vector, _: &ParamSpace) -> Result<Vector> {
        self.with(|strategy, context| strategy.transform(gradient, parameters, context))
    }
}

/// An estimator whose points are multiplied with the strategy's mask before the network is asked.
struct Masked {
    inner: Box<dyn GradientEstimator>,
    shared: Shared,
}

impl GradientEstimator for Masked {
    fn estimate(&mut self, oracle: &mut dyn Oracle, point: &Vector, rate: Rate) -> Result<Slopes> {
        match self.shared.with(|strategy, context| strategy.mask(None, point, context)) {
            Some(mask) => self.inner.estimate(&mut MaskedOracle { oracle, mask }, point, rate),
            None => self.inner.estimate(oracle, point, rate),
        }
    }

    fn state(&self) -> State {
        self.inner.state()
    }

    fn restore(&mut self, state: State) -> Result<()> {
        self.inner.restore(state)
    }
}

/// Losses at θ∘m, and their gradients to θ.
struct MaskedOracle<'a> {
    oracle: &'a mut dyn Oracle,
    mask: Vector,
}

impl Oracle for MaskedOracle<'_> {
    fn examples(&self) -> usize {
        self.oracle.examples()
    }

    fn seed(&self) -> Seed {
        self.oracle.seed()
    }

    fn evaluate(&mut self, point: &Vector, rows: &Rows, origin: bool) -> Result<Slopes> {
        let mut slopes = self.oracle.evaluate(&(point.clone() * self.mask.clone()), rows, origin)?;
        slopes.gradients = slopes.gradients.into_iter().map(|gradient| gradient * self.mask.clone()).collect();
        Ok(slopes)
    }

    fn example_losses(&mut self, point: &Vector) -> Result<Vec<f64>> {
        self.oracle.example_losses(&(point.clone() * self.mask.clone()))
    }
}

/// A stage while it is learnt.
struct Stage {
    pipeline: Pipeline<Net>,
    shared: Shared,
}

impl Learner {
    /// Learns stages of tasks, from `stage(number)`; `tests` are the examples of all tasks with their outputs. Resumes from the
    /// newest checkpoint in `run`. Learning that diverges ends with [`Progress::diverged`], and is no error.
    pub fn learn(
        &self,
        run: &Run,
        mut model: Net,
        stages: usize,
        stage: impl Fn(usize) -> Result<Vec<Task>>,
        tests: &[(Examples, std::ops::Range<usize>)],
    ) -> Result<(Net, Progress)> {
        range::check(&self.training)?;
        let mut progress = Progress::default();
        let space = ParamSpace::of(&model);
        let still = Step { seed: self.seed, rate: 0.0, part: 0.0 };
        let strategy = Arc::new(Mutex::new((self.strategy.build()?, still)));
        let mut waiting = None;
        if let Some(checkpoint) = run.rewind()? {
            progress = checkpoint.state()?;
            let arrays = |file: &str| checkpoint.arrays(file).map(<[Array]>::to_vec);
            let state = |file: &str, place: usize| -> Result<State> {
                Ok(State { arrays: arrays(file)?, counters: progress.counters[place].clone() })
            };
            model = space.load(model, &arrays("model")?)?;
            let saved = Saved {
                model: arrays("model")?,
                optimizer: state("optimizer", 0)?,
                estimator: state("estimator", 1)?,
                combiner: state("combiner", 2)?,
            };
            locked(&strategy, |strategy| strategy.restore(state("strategy", 3)?, self.context(&model, &space, self.seed)))?;
            waiting = Some(saved);
        }
        let mut task = run.progress().task("stages", progress.stage as u64, stages as u64);
        while progress.stage < stages && progress.diverged.is_none() {
            let tasks = stage(progress.stage)?;
            if let Some(task) = tasks.iter().find(|task| task.train.is_empty()) {
                return Err(Error::invalid(format!("task {}", task.number), "no training examples", "at least one"));
            }
            let seed = self.seed.child(&format!("stage/{}", progress.stage));
            locked(&strategy, |strategy| strategy.begin(&tasks, self.context(&model, &space, seed)))?;
            let shared = Shared { strategy: strategy.clone(), model: model.clone(), space: space.clone(), outputs: self.outputs };
            let estimator = Masked { inner: (self.estimator)()?, shared: shared.clone() };
            let mut pipeline = Pipeline::new(model.clone(), Box::new(estimator), &self.training.optimizer)?;
            if tasks.len() > 1 {
                pipeline = pipeline.with_combiner((self.combiner)(seed)?);
            }
            if let Some(max_norm) = self.training.clip_norm {
                pipeline = pipeline.with_transform(Box::new(ClipNorm { max_norm }));
            }
            pipeline = pipeline.with_transform(Box::new(shared.clone()));
            let mut now = Stage { pipeline, shared };
            if let Some(saved) = waiting.take().filter(|_| progress.epoch > 0 || progress.within > 0) {
                now.pipeline.restore(saved)?;
            }
            while progress.epoch < self.training.epochs {
                let loss = match self.epoch(&mut now, &tasks, &mut progress, seed) {
                    Err(Error::Diverged(reason)) => {
                        progress.diverge(run, reason);
                        return Ok((model, progress));
                    }
                    Err(stop @ Error::Interrupted { .. }) => {
                        self.save(run, &now.pipeline, &strategy, &progress)?;
                        return Err(stop);
                    }
                    loss => loss?,
                };
                run.log(progress.step, &[("stage", progress.stage as f64), ("train_loss", loss)])?;
                self.save(run, &now.pipeline, &strategy, &progress)?;
            }
            // The last step's loss was taken before it.
            if !vector::norm(now.pipeline.parameters()).is_finite() {
                progress.diverge(run, "a parameter is no longer finite".into());
                return Ok((model, progress));
            }
            model = now.pipeline.model();
            let note = match locked(&strategy, |strategy| strategy.end(&tasks, self.context(&model, &space, seed.child("end")))) {
                Err(Error::Diverged(reason)) => {
                    progress.diverge(run, reason);
                    return Ok((model, progress));
                }
                note => note?,
            };
            let row = tests.iter().enumerate().map(|(task, (test, own))| {
                let (context, point) = (self.context(&model, &space, seed), space.vector(&model));
                match locked(&strategy, |strategy| strategy.mask(Some(task), &point, context)) {
                    Some(mask) => accuracy(&space.place(model.clone(), &(point * mask)), test, own),
                    None => accuracy(&model, test, own),
                }
            });
            let row = row.collect::<Result<Vec<f64>>>()?;
            let upto = tasks.last().map_or(0, |last| last.number + 1).min(row.len());
            task.advance(&format!("mean accuracy {:.4}", row[..upto].iter().sum::<f64>() / upto.max(1) as f64));
            progress.matrix.push(row);
            progress.notes.push(note);
            (progress.stage, progress.epoch) = (progress.stage + 1, 0);
            self.save(run, &now.pipeline, &strategy, &progress)?;
        }
        Ok((model, progress))
    }

    fn context<'a>(&self, model: &'a Net, space: &'a ParamSpace, seed: Seed) -> Context<'a> {
        Context { model, space, outputs: self.outputs.0, heads: self.outputs.1, seed, rate: 0.0, part: 0.0 }
    }

    /// One epoch over the tasks of a stage, or what is left of it: as many steps as the largest needs; smaller ones begin again. The
    /// mean loss.
    fn epoch(&self, stage: &mut Stage, tasks: &[Task], progress: &mut Progress, seed: Seed) -> Result<f64> {
        let seed = seed.child(&format!("epoch/{}", progress.epoch));
        let orders: Vec<Vec<usize>> = tasks
            .iter()
            .enumerate()
            .map(|(number, task)| split::permutation(task.train.len(), &mut seed.stream_at("order", number as u64)))
            .collect();
        let size = self.training.batch_size;
        let longest = orders.iter().map(Vec::len).max().unwrap_or(0);
        let steps = longest.div_ceil(size);
        let device = stage.pipeline.parameters().device();
        let begun = progress.epoch as u64 * steps as u64;
        for step in progress.within..steps {
            interrupt::check()?;
            let count = size.min(longest - step * size);
            let rate = Rate {
                peak: self.training.learning_rate,
                relative: self.training.schedule.relative(begun + step as u64, self.training.epochs as u64 * steps as u64, 0),
            };
            let seed = seed.child(&format!("step/{step}"));
            // Two streams: what a strategy draws from its memory does not change what it keeps.
            let (mut drawn, mut kept) = (seed.stream("strategy/draw"), seed.stream("strategy/keep"));
            let positions: Vec<Vec<usize>> =
                orders.iter().map(|order| (0..count).map(|i| order[(step * size + i) % order.len()]).collect()).collect();
            let mut shared = stage.shared.strategy.lock().unwrap_or_else(PoisonError::into_inner);
            shared.1 = Step { seed, rate: rate.now(), part: step as f64 / (steps - 1).max(1) as f64 };
            let mut parts = Vec::with_capacity(tasks.len());
            for (number, (task, positions)) in tasks.iter().zip(&positions).enumerate() {
                let mut rows = RowsBuilder::new(self.outputs.0, self.outputs.1);
                for &position in positions {
                    let label = task.train.labels[position];
                    rows.push(&task.train.inputs.row(position), label, 1.0, &task.own(label));
                }
                shared.0.extend(&mut rows, task, number, positions, &mut drawn);
                parts.push(shared.0.finish(rows.build(&device), task)?);
            }
            let objective = shared.0.objective(tasks.len());
            // Held by somebody, the parameters could not be changed in their own memory.
            let before = shared.0.follows().then(|| stage.pipeline.parameters().clone());
            drop(shared);
            let outcome = stage.pipeline.step(&objective, &StageBatch { tasks: parts }, rate, seed)?;
            progress.sum += outcome.losses.iter().sum::<f64>();
            let mut shared = stage.shared.strategy.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(before) = before {
                shared.0.moved(&before, stage.pipeline.parameters());
            }
            if shared.0.watches() {
                let model = stage.pipeline.model();
                let context = self.context(&model, stage.pipeline.space(), seed);
                for (task, positions) in tasks.iter().zip(&positions) {
                    shared.0.saw(task, positions, context, &mut kept)?;
                }
            }
            progress.step += 1;
            progress.within += 1;
        }
        progress.epoch += 1;
        progress.within = 0;
        Ok(std::mem::take(&mut progress.sum) / steps.max(1) as f64)
    }

    fn save(&self, run: &Run, pipeline: &Pipeline<Net>, strategy: &Mutex<(Box<dyn Strategy>, Step)>, progress: &Progress) -> Result<()> {
        let Saved { model, optimizer, estimator, combiner } = pipeline.save();
        let strategy = locked(strategy, |strategy| strategy.state());
        let mut progress = progress.clone();
        progress.counters = [optimizer.counters, estimator.counters, combiner.counters, strategy.counters];
        let files: [(&str, &[Array]); 5] = [
            ("model", &model),
            ("optimizer", &optimizer.arrays),
            ("estimator", &estimator.arrays),
            ("combiner", &combiner.arrays),
            ("strategy", &strategy.arrays),
        ];
        run.save_checkpoint(progress.stage as u64 * (self.training.epochs as u64 + 1) + progress.epoch as u64, &progress, &files)
    }
}

fn locked<R>(strategy: &Mutex<(Box<dyn Strategy>, Step)>, work: impl FnOnce(&mut dyn Strategy) -> R) -> R {
    work(strategy.lock().unwrap_or_else(PoisonError::into_inner).0.as_mut())
}
