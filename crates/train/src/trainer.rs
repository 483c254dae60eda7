//! Epochs over labelled examples, with evaluation, checkpoints and early stopping.

use std::{collections::BTreeMap, time::Instant};

use burn::tensor::Device;
use lyceum_core::{Array, Error, Result, Run, Seed, interrupt, range, run::Cadence};
use lyceum_data::{Examples, Extent, augment::Augment, split};
use lyceum_kernels::vector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ClipNorm, CrossEntropy, Errors, Evaluation, Gating, GradientEstimator, Group, Net, OptimizerConfig, ParamSpace, Pipeline, Regression,
    Schedule, State, Structure, WeightDecay, calibrated,
    distillation::{Distillation, DistillationConfig},
    graph::Shape,
    logits,
    objective::LabelledBatch,
    pipeline::Saved,
    schedule::Rate,
    structure::Round,
};

/// How a network is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Passes over the training examples.
    #[serde(with = "range::AtLeastOne")]
    pub epochs: usize,
    /// Examples a step; the last batch of an epoch may be smaller.
    #[serde(with = "range::AtLeastOne")]
    pub batch_size: usize,
    /// The peak learning rate.
    #[serde(with = "range::Positive")]
    pub learning_rate: f64,
    /// Epochs over which the rate rises to its peak.
    #[serde(with = "range::NonNegative")]
    pub warmup_epochs: f64,
    /// Share of the label's weight that is spread evenly over all classes.
    #[serde(with = "range::BelowOne")]
    pub label_smoothing: f64,
    /// Largest norm of a gradient.
    #[serde(skip_serializing_if = "Option::is_none", with = "range::OptionalPositive")]
    pub clip_norm: Option<f64>,
    /// Stop after this many epochs without a better validation accuracy, or loss where numbers are predicted.
    #[serde(skip_serializing_if = "Option::is_none", with = "range::OptionalAtLeastOne")]
    pub patience: Option<usize>,
    /// Least time between two checkpoints, in seconds; more where writing one takes long. 0 saves after every epoch.
    #[serde(with = "range::NonNegative")]
    pub checkpoint_seconds: f64,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// Which optimiser.
    pub optimizer: OptimizerConfig,
    /// An L2 penalty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<WeightDecay>,
    /// How training pictures are changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub augment: Option<Augment>,
    /// What the loss of an example of each class is multiplied by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
    /// Parameters that are trained otherwise than the rest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<Group>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 30,
            batch_size: 64,
            learning_rate: 0.05,
            warmup_epochs: 0.0,
            label_smoothing: 0.0,
            clip_norm: None,
            patience: None,
            checkpoint_seconds: 10.0,
            schedule: Schedule::Cosine,
            optimizer: OptimizerConfig::default(),
            weight_decay: None,
            augment: None,
            class_weights: None,
            group: Vec::new(),
        }
    }
}

/// Weights of classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClassWeights {
    /// n/(k nⱼ) for a class with nⱼ of the n training examples, of k classes.
    Balanced,
    /// These.
    Given(Vec<f64>),
}

impl ClassWeights {
    fn of(&self, train: &Examples, classes: usize) -> Result<Vec<f32>> {
        match self {
            Self::Balanced => {
                let mut counts = vec![0_usize; classes];
                train.labels.iter().for_each(|&label| counts[label] += 1);
                Ok(counts.iter().map(|&count| (train.len() as f64 / (classes * count.max(1)) as f64) as f32).collect())
            }
            Self::Given(weights) if weights.len() == classes && weights.iter().all(|weight| *weight >= 0.0 && weight.is_finite()) => {
                Ok(weights.iter().map(|weight| *weight as f32).collect())
            }
            Self::Given(weights) => Err(Error::invalid(
                "training.class_weights",
                format!("{weights:?}"),
                format!("{classes} finite numbers from 0 on, one for each class"),
            )),
        }
    }
}

/// The array of a saved network that says which units and branches it has.
const KEPT: &str = "kept";
/// Examples by which the running statistics are found of a network that was not trained as it is.
const CALIBRATION: usize = 1024;

/// Trains a [`Net`] on labelled examples.
pub struct Trainer {
    config: TrainConfig,
    seed: Seed,
    classes: usize,
    pipeline: Pipeline<Net>,
    model: Net,
    /// Of a network that predicts numbers.
    regression: Option<Regression>,
    distillation: Option<Distillation>,
    structure: Option<Box<dyn Structure>>,
    weights: Option<Vec<f32>>,
    pictures: Option<Extent>,
    progress: TrainingState,
    /// Time in steps and between rounds. No part of a checkpoint, which is the same on every machine.
    seconds: f64,
    best: Vec<Array>,
}

/// How far a training is; part of a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct TrainingState {
    epoch: usize,
    /// Steps of the epoch that are behind, and the losses of their examples.
    #[serde(default)]
    within: usize,
    #[serde(default)]
    sum: f64,
    step: u64,
    evaluations: f64,
    best_epoch: usize,
    /// Accuracy, or the loss with its sign turned.
    #[serde(rename = "best_accuracy")]
    best_score: f64,
    counters: [BTreeMap<String, u64>; 2],
}

/// How well a model does on validation examples.
struct Judged {
    /// What the best model has most of.
    score: f64,
    /// With its name in the metrics.
    measure: (&'static str, f64),
    loss: f64,
}

impl Trainer {
    /// A trainer before its first step. `seed` decides the order of examples and dropout. A value that the configuration does not
    /// allow is an error.
    pub fn new(config: TrainConfig, model: Net, classes: usize, estimator: Box<dyn GradientEstimator>, seed: Seed) -> Result<Self> {
        range::check(&config)?;
        if let Some(augment) = &config.augment {
            augment.check("training.augment")?;
        }
        if config.warmup_epochs > config.epochs as f64 {
            let allowed = format!("at most {}, the epochs", config.epochs);
            return Err(Error::invalid("training.warmup_epochs", config.warmup_epochs, allowed));
        }
        let mut pipeline = Pipeline::new(model.clone(), estimator, &config.optimizer)?;
        if let Some(max_norm) = config.clip_norm {
            pipeline = pipeline.with_transform(Box::new(ClipNorm { max_norm }));
        }
        if !config.group.is_empty() {
            pipeline = pipeline.with_groups(&config.group, &config.optimizer, config.weight_decay)?;
        } else if let Some(weight_decay) = config.weight_decay {
            pipeline = pipeline.with_weight_decay(weight_decay);
        }
        let pictures = match model.graph().input() {
            Shape::Images([channels, height, width]) => Some(Extent { channels, height, width }),
            _ => None,
        };
        let progress = TrainingState::default();
        Ok(Self {
            config,
            seed,
            classes,
            pipeline,
            model,
            regression: None,
            distillation: None,
            structure: None,
            weights: None,
            pictures,
            progress,
            seconds: 0.0,
            best: Vec::new(),
        })
    }

    /// With the loss of each training example times its weight, one for each; a batch's loss is the mean of these.
    pub fn with_weights(mut self, weights: Vec<f32>) -> Self {
        self.weights = Some(weights);
        self
    }

    /// With examples whose numbers are predicted, by this loss.
    pub fn with_regression(mut self, regression: Regression) -> Self {
        self.regression = Some(regression);
        self
    }

    /// With a network of the same classes that is learnt from.
    pub fn with_teacher(mut self, config: DistillationConfig, teacher: &Net) -> Self {
        self.distillation = Some(Distillation::new(config, teacher));
        self
    }

    /// With units and branches that change during training; `make` gets the network as it is trained, without gradients where it is frozen.
    ///
    /// # Errors
    ///
    /// `patience`, with which training may end before the network is within its budget, and what `make` says.
    pub fn with_structure(mut self, make: impl FnOnce(&Net) -> Result<Box<dyn Structure>>) -> Result<Self> {
        if let Some(patience) = self.config.patience {
            return Err(Error::invalid("training.patience", patience, "absent beside `sparsify`"));
        }
        self.structure = Some(make(&self.pipeline.model())?);
        Ok(self)
    }

    /// What decides which units and branches are trained.
    pub fn structure(&self) -> Option<&dyn Structure> {
        self.structure.as_deref()
    }

    /// With examples of this extent; augmentation takes them for pictures, though the network reads rows of numbers.
    pub fn with_pictures(mut self, extent: Extent) -> Self {
        self.pictures = Some(extent);
        self
    }

    /// The model as it is after the last epoch whose steps are behind.
    pub fn model(&self) -> &Net {
        &self.model
    }

    /// How many times the training examples were evaluated so far, in whole passes over a batch.
    pub fn evaluations(&self) -> f64 {
        self.progress.evaluations
    }

    /// How long the steps of this process took, in seconds.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// The model with the best validation accuracy, and its epoch.
    pub fn best(&self) -> Result<Option<(Net, usize)>> {
        if self.best.is_empty() {
            return Ok(None);
        }
        let kept = self.best.iter().find(|array| array.name == KEPT);
        let model = match (&self.structure, kept) {
            (Some(structure), Some(kept)) => structure.skeleton(&kept.values)?,
            _ => self.model.clone(),
        };
        let model = ParamSpace::of(&model).load(model, &self.best)?;
        Ok(Some((model, self.progress.best_epoch)))
    }

    /// All epochs, without a run folder.
    pub fn run_epochs(&mut self, train: &Examples) -> Result<()> {
        while self.progress.epoch < self.config.epochs {
            self.steps(train)?;
            self.end_epoch(train);
        }
        Ok(())
    }

    /// All epochs, or those that are left of an earlier attempt in the same run, with metrics and checkpoints in `run`.
    ///
    /// Each epoch logs `train_loss`, `learning_rate`, `gradient_evaluations` and, where there is a validation set,
    /// `validation_accuracy` (of numbers `validation_r2`) and `validation_loss`. The best model on validation data is kept in `best/`.
    pub fn train(&mut self, run: &Run, train: &Examples, validation: Option<&Examples>, name: &str) -> Result<()> {
        self.resume(run)?;
        let mut task = run.progress().task(name, self.progress.epoch as u64, self.config.epochs as u64);
        let mut cadence = Cadence::new(self.config.checkpoint_seconds);
        while self.progress.epoch < self.config.epochs && !self.out_of_patience() {
            // A stop is heard between two steps and while the model is evaluated; a run that goes on does so from there.
            let done = self.steps(train).and_then(|()| validation.map(|validation| self.judged(validation)).transpose());
            let judged = match done {
                Err(stop @ Error::Interrupted { .. }) => {
                    self.save(run)?;
                    return Err(stop);
                }
                done => done.map_err(|error| error.when(format!("epoch {}", self.progress.epoch + 1)))?,
            };
            let rate = self.rate(train.len(), self.progress.step - self.progress.within as u64);
            let loss = self.end_epoch(train);
            let mut metrics =
                vec![("train_loss", loss), ("learning_rate", rate.now()), ("gradient_evaluations", self.progress.evaluations)];
            let mut message = format!("loss {loss:.4}");
            if let Some(Judged { score, measure: (name, value), loss }) = judged {
                metrics.extend([(name, value), ("validation_loss", loss)]);
                message += &format!(", {} {value:.4}", name.replace('_', " "));
                if self.best.is_empty() || score > self.progress.best_score {
                    (self.progress.best_score, self.progress.best_epoch) = (score, self.progress.epoch);
                    self.best = ParamSpace::of(&self.model).arrays(&self.model);
                    let kept = self.structure.as_ref().map(|structure| structure.kept());
                    self.best.extend(kept.map(|kept| Array::new(KEPT, vec![kept.len()], kept)));
                }
            }
            run.log(self.progress.epoch as u64, &metrics)?;
            task.advance(&message);
            cadence.between(run, || self.save(run))?;
        }
        // The last step's loss was taken before it.
        if !vector::norm(self.pipeline.parameters()).is_finite() {
            return Err(Error::Diverged("a parameter is no longer finite after the last epoch".into()));
        }
        self.save(run)?;
        if !self.best.is_empty() {
            run.save_best(self.progress.best_epoch as u64, &self.progress.best_score, &[("model", &self.best)])?;
        }
        Ok(())
    }

    /// How well the model does on validation examples.
    fn judged(&self, validation: &Examples) -> Result<Judged> {
        let outputs = logits(&self.model, validation)?;
        let Some(regression) = &self.regression else {
            let Evaluation { accuracy, log_loss } = Evaluation::of(&outputs, &validation.labels);
            return Ok(Judged { score: accuracy, measure: ("validation_accuracy", accuracy), loss: log_loss });
        };
        let predictions: Vec<f64> = outputs.rows().into_iter().map(Regression::prediction).collect();
        let loss = regression.mean_loss(&outputs, &validation.targets);
        Ok(Judged { score: -loss, measure: ("validation_r2", Errors::of(&predictions, &validation.targets).r2), loss })
    }

    /// Whether nothing was better for too long.
    fn out_of_patience(&self) -> bool {
        self.config.patience.is_some_and(|patience| !self.best.is_empty() && self.progress.epoch - self.progress.best_epoch >= patience)
    }

    fn rate(&self, examples: usize, step: u64) -> Rate {
        let steps = examples.div_ceil(self.config.batch_size) as f64;
        let (total, warmup) = (steps * self.config.epochs as f64, steps * self.config.warmup_epochs);
        Rate { peak: self.config.learning_rate, relative: self.config.schedule.relative(step, total as u64, warmup as u64) }
    }

    /// The steps of an epoch, or those that are left of it.
    fn steps(&mut self, train: &Examples) -> Result<()> {
        let order = split::permutation(train.len(), &mut self.seed.stream_at("train/order", self.progress.epoch as u64));
        let device = self.pipeline.parameters().device();
        let class_weights = self.config.class_weights.as_ref().map(|weights| weights.of(train, self.classes)).transpose()?;
        for positions in order.chunks(self.config.batch_size).skip(self.progress.within) {
            interrupt::check()?;
            let start = Instant::now();
            if self.progress.within == 0 {
                self.restructure(order.len())?;
            }
            let mut batch = self.batch(train, positions, &device)?;
            if self.weights.is_some() || class_weights.is_some() {
                let own = |position: usize| self.weights.as_ref().map_or(1.0, |weights| weights[position]);
                let of_class = |position: usize| class_weights.as_ref().map_or(1.0, |weights| weights[train.labels[position]]);
                batch = batch.weighted(positions.iter().map(|&position| own(position) * of_class(position)).collect());
            }
            if let Some(augment) = &self.config.augment {
                let rng = &mut self.seed.stream_at("train/mixup", self.progress.step);
                if let Some(share) = augment.share(rng) {
                    batch = batch.mixed(share, &split::permutation(positions.len(), rng));
                }
            }
            let rate = self.rate(train.len(), self.progress.step);
            let seed = self.seed.child(&format!("train/step/{}", self.progress.step));
            let gating = self.structure.as_deref_mut().map(|structure| structure as &mut dyn Gating);
            let pipeline = &mut self.pipeline;
            let outcome = match (&self.regression, &self.distillation) {
                (Some(regression), _) => pipeline.step_gated(regression, &batch, rate, seed, gating)?,
                (None, Some(distillation)) => pipeline.step_gated(distillation, &distillation.taught(batch), rate, seed, gating)?,
                (None, None) => pipeline.step_gated(&CrossEntropy::default(), &batch, rate, seed, gating)?,
            };
            self.progress.sum += outcome.losses.iter().sum::<f64>() * positions.len() as f64;
            self.progress.within += 1;
            self.progress.step += 1;
            self.progress.evaluations += outcome.evaluations;
            self.seconds += start.elapsed().as_secs_f64();
        }
        self.model = self.model_now(train)?;
        Ok(())
    }

    /// The network of the next round, with what was learnt so far.
    fn restructure(&mut self, examples: usize) -> Result<()> {
        let Some(structure) = &mut self.structure else { return Ok(()) };
        let steps = examples.div_ceil(self.config.batch_size);
        let round = Round { number: self.progress.epoch, count: self.config.epochs, steps };
        let (net, saved) = structure.next(round, self.pipeline.save())?;
        self.pipeline.exchange(net, saved)
    }

    /// The network that there is if training ends now. One that was not trained as it is gets the statistics of some examples.
    fn model_now(&self, train: &Examples) -> Result<Net> {
        let Some(structure) = &self.structure else { return Ok(self.pipeline.model()) };
        let (net, is_other) = structure.hardened(&self.pipeline.save().model)?;
        if is_other { calibrated(net, train, CALIBRATION, self.seed) } else { Ok(net) }
    }

    /// A batch, its pictures changed where that is asked for: by the seed, the epoch and the example alone.
    fn batch(&self, train: &Examples, positions: &[usize], device: &Device) -> Result<LabelledBatch> {
        let smoothing = self.config.label_smoothing;
        let Some(augment) = &self.config.augment else {
            return Ok(LabelledBatch::new(train, positions, self.classes, smoothing, device));
        };
        let Some(extent) = self.pictures.filter(|extent| extent.height > 1) else {
            return Err(Error::invalid("training.augment", format!("examples of {} numbers", train.inputs.ncols()), "pictures"));
        };
        augment.check_extent("training.augment", extent)?;
        let first = self.progress.epoch * train.len();
        let change = |position: usize, picture: &mut Vec<f32>| {
            augment.change(picture, extent, &mut self.seed.stream_at("train/augment", (first + position) as u64));
        };
        Ok(LabelledBatch::changed(train, positions, self.classes, smoothing, device, change))
    }

    /// Ends an epoch whose steps are behind; the mean loss of its examples.
    fn end_epoch(&mut self, train: &Examples) -> f64 {
        self.progress.epoch += 1;
        self.progress.within = 0;
        std::mem::take(&mut self.progress.sum) / train.len().max(1) as f64
    }

    fn save(&mut self, run: &Run) -> Result<()> {
        let Saved { model, optimizer, estimator, .. } = self.pipeline.save();
        self.progress.counters = [optimizer.counters, estimator.counters];
        let structure = self.structure.as_ref().map(|structure| structure.state());
        let mut files: Vec<(&str, &[Array])> =
            vec![("model", &model), ("optimizer", &optimizer.arrays), ("estimator", &estimator.arrays), ("best", &self.best)];
        files.extend(structure.as_ref().map(|state| ("structure", state.arrays.as_slice())));
        run.save_checkpoint(self.progress.epoch as u64, &self.progress, &files)
    }

    fn resume(&mut self, run: &Run) -> Result<()> {
        let Some(checkpoint) = run.rewind()? else { return Ok(()) };
        self.progress = checkpoint.state()?;
        let arrays = |file: &str| checkpoint.arrays(file).map(<[Array]>::to_vec);
        let [optimizer, estimator] = self.progress.counters.clone();
        self.best = arrays("best")?;
        let saved = Saved {
            model: arrays("model")?,
            optimizer: State { arrays: arrays("optimizer")?, counters: optimizer },
            estimator: State { arrays: arrays("estimator")?, counters: estimator },
            // One task: nothing is combined.
            combiner: State::default(),
        };
        if let Some(structure) = &mut self.structure {
            let net = structure.restore(&State { arrays: arrays("structure")?, ..State::default() })?;
            self.pipeline.exchange(net, saved)?;
            self.model = structure.hardened(&self.pipeline.save().model)?.0;
        } else {
            self.pipeline.restore(saved)?;
            self.model = self.pipeline.model();
        }
        Ok(())
    }
}
