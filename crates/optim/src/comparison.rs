//! Arms of training, compared on the same data from the same initial values.

use lyceum_core::{DivergedArms, Error, Result, Run, Seed, Violation, range, run::check_names};
use lyceum_data::prepare::{DataConfig, Prepared};
use lyceum_sparsify::{Sparsifier, SparsifyConfig};
use lyceum_train::{
    DeviceName, Evaluation, ModelConfig, Net, TrainConfig, Trainer, WeightDecay, evaluate, onnx, parallel::one_thread_each,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    EstimatorConfig, Sparsity,
    sharpness::{hessian_eigenvalues, sharpness},
    surface::LossSurface,
};

/// Data, a model, a way to train it, and the arms that differ in the gradient estimator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// Where tensors live.
    #[serde(default)]
    pub device: DeviceName,
    /// The data.
    pub data: DataConfig,
    /// The network.
    pub model: ModelConfig,
    /// How it is trained.
    #[serde(default)]
    pub training: TrainConfig,
    /// How sharpness is measured.
    #[serde(default)]
    pub sharpness: SharpnessConfig,
    /// What is compared.
    pub arm: Vec<ArmConfig>,
}

/// One way of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArmConfig {
    /// What it is called, also its folder in the run.
    pub name: String,
    /// How gradients are taken.
    pub estimator: EstimatorConfig,
    /// Epochs, where they differ from those of `training`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "range::OptionalAtLeastOne")]
    pub epochs: Option<usize>,
    /// The peak learning rate, where it differs.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "range::OptionalPositive")]
    pub learning_rate: Option<f64>,
    /// The L2 penalty, where it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<WeightDecay>,
    /// The network gains and loses units during training, and ends within a budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparsify: Option<SparsifyConfig>,
}

impl ArmConfig {
    /// A trainer of this arm, where `training` is how all are trained that do not say otherwise.
    pub fn trainer(&self, training: &TrainConfig, model: Net, outputs: usize, data: &Prepared, seed: Seed) -> Result<Trainer> {
        let trainer = Trainer::new(self.training(training), model, outputs, self.estimator.build()?, seed)?.with_pictures(data.extent);
        match &self.sparsify {
            Some(config) => trainer.with_structure(|net| Ok(Box::new(Sparsifier::new(config.clone(), net, seed)?))),
            None => Ok(trainer),
        }
    }

    fn training(&self, training: &TrainConfig) -> TrainConfig {
        TrainConfig {
            epochs: self.epochs.unwrap_or(training.epochs),
            learning_rate: self.learning_rate.unwrap_or(training.learning_rate),
            weight_decay: self.weight_decay.or(training.weight_decay),
            ..training.clone()
        }
    }
}

/// Errors where there are no arms, and where two have one name.
pub fn check_arms<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> Result<(), Violation> {
    if names.len() == 0 {
        return Err(Violation::new("arm", "found no arm; allowed: at least one [[arm]]"));
    }
    check_names("arm", names)
}

/// Works on every arm, each with a thread of its own. An arm that diverges is left out.
pub fn each_arm<A: Sync, T: Send>(
    arms: &[A],
    name: impl Fn(&A) -> &str,
    run: &Run,
    work: impl Fn(&A) -> Result<T> + Sync,
) -> Result<(Vec<T>, DivergedArms)> {
    let outcomes = one_thread_each(arms, |arm| match work(arm) {
        Err(Error::Diverged(reason)) => Ok(Err(Error::Diverged(reason))),
        outcome => outcome.map(Ok),
    })?;
    let (mut found, mut diverged) = (Vec::new(), DivergedArms::default());
    for (arm, outcome) in arms.iter().zip(outcomes) {
        found.extend(diverged.catch(run, name(arm), outcome)?);
    }
    Ok((found, diverged))
}

/// How sharpness is measured at the end of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SharpnessConfig {
    /// How many training examples the loss is averaged over.
    #[serde(with = "range::AtLeastOne")]
    pub examples: usize,
    /// Products with the Hessian in Lanczos' method.
    #[serde(with = "range::AtLeastOne")]
    pub iterations: usize,
    /// The radius of the ball in which the largest loss is sought.
    #[serde(with = "range::Positive")]
    pub rho: f64,
}

impl Default for SharpnessConfig {
    fn default() -> Self {
        Self { examples: 1000, iterations: 15, rho: 0.05 }
    }
}

/// A trained arm and what was measured of it.
pub struct TrainedArm {
    /// Its name.
    pub name: String,
    /// The model after the last epoch.
    pub model: Net,
    /// On the training examples, with their labels as trained on.
    pub train: Evaluation,
    /// On the test examples.
    pub test: Evaluation,
    /// On the test examples at the epoch with the best accuracy on held-out examples, and that epoch.
    pub best: (Evaluation, usize),
    /// The largest eigenvalues of the Hessian of the training loss, falling.
    pub eigenvalues: Vec<f64>,
    /// The largest training loss found in a ball, less the loss at its centre.
    pub sharpness: f64,
    /// Gradient evaluations, in batches.
    pub evaluations: f64,
    /// The metrics of each epoch.
    pub metrics: Vec<serde_json::Value>,
    /// How long the steps of this process took, in seconds.
    pub seconds: f64,
    /// Of an arm with `sparsify`.
    pub sparsity: Option<Sparsity>,
}

impl Comparison {
    /// Rules between fields.
    pub fn check(&self) -> Result<(), Violation> {
        self.data.check("data")?;
        self.model.check_data(&self.data)?;
        if let Ok(entry) = lyceum_data::catalog::find(&self.data.name) {
            self.model.check("model", entry.extent, entry.classes)?;
        }
        check_arms(self.arm.iter().map(|arm| arm.name.as_str()))
    }

    /// Prepares the data and trains every arm, each with a thread and a part of the run of its own. All arms start
    /// from the same initial values and see the examples in the same order. An arm that diverges is left out.
    pub fn train(&self, run: &Run) -> Result<(Prepared, Vec<TrainedArm>, DivergedArms)> {
        let data = self.data.prepare_for(run, self.model.known()?)?;
        let (arms, diverged) = each_arm(&self.arm, |arm| &arm.name, run, |arm| self.train_arm(arm, &data, run))?;
        Ok((data, arms, diverged))
    }

    fn train_arm(&self, arm: &ArmConfig, data: &Prepared, run: &Run) -> Result<TrainedArm> {
        let part = run.child(&arm.name)?;
        let classes = data.classes.len();
        let model = self.model.init(data.extent, classes, run.seed(), &self.device.device())?;
        let mut trainer = arm.trainer(&self.training, model, classes, data, run.seed())?;
        let trained = trainer.train(&part, &data.train, Some(&data.held_out), &arm.name);
        if let Err(stop @ Error::Interrupted { .. }) = trained {
            // What there is after the last whole epoch can be used.
            onnx::save(part.folder(), trainer.model(), &data.classes, data, Vec::new())?;
            return Err(stop);
        }
        trained?;
        run.stop_if_requested()?;
        let model = trainer.model().clone();
        let mut measured = run.progress().task(&format!("{}: measuring", arm.name), 0, 3);
        let positions: Vec<usize> = (0..data.train.len().min(self.sharpness.examples)).collect();
        let surface = LossSurface::new(&model, &data.train.subset(&positions), classes);
        let at = surface.parameters();
        let test = evaluate(&model, &data.test)?;
        let best = match trainer.best()? {
            Some((best, epoch)) => (evaluate(&best, &data.test)?, epoch),
            None => (test, arm.training(&self.training).epochs),
        };
        let train = evaluate(&model, &data.train)?;
        measured.advance("accuracy");
        let eigenvalues = hessian_eigenvalues(&surface, &at, self.sharpness.iterations, run.seed())?;
        measured.advance("eigenvalues of the Hessian");
        let sharpness = sharpness(&surface, &at, self.sharpness.rho, 5)?;
        measured.advance("sharpness");
        Ok(TrainedArm {
            name: arm.name.clone(),
            train,
            test,
            best,
            eigenvalues,
            sharpness,
            evaluations: trainer.evaluations(),
            metrics: part.metrics()?,
            seconds: trainer.seconds(),
            sparsity: trainer.structure().map(|structure| Sparsity::of(structure, &model, data)).transpose()?,
            model,
        })
    }
}
