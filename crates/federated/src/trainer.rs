//! Local training: what a client does with its problem.

use lyceum_core::{Result, Seed, interrupt, range};
use lyceum_data::{Examples, split};
use lyceum_kernels::vector;
use lyceum_train::{
    CrossEntropy, GradientEstimator, GradientTransform, Net, OptimizerConfig, ParamSpace, Pipeline, Rate, Vector, objective::LabelledBatch,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{LocalProblem, LocalResult};

/// Solves a client's problem, more or less.
pub trait LocalTrainer: Sync {
    /// `part`, from 0 to 1, is how much of the work gets done; `seed` belongs to this client in this round.
    fn train(&self, client: usize, problem: &LocalProblem, round: u64, part: f64, seed: Seed) -> Result<LocalResult>;
}

/// How a client trains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LocalConfig {
    /// E: passes over its examples.
    #[serde(with = "range::AtLeastOne")]
    pub epochs: usize,
    /// Examples a step.
    #[serde(with = "range::AtLeastOne")]
    pub batch_size: usize,
    /// η in the first round, of plain SGD.
    #[serde(with = "range::Positive")]
    pub learning_rate: f64,
    /// What η is multiplied with after each round.
    #[serde(with = "range::PositiveFraction")]
    pub decay: f64,
    /// The largest norm of the gradient with the method's terms ([`LocalProblem::clip_pull`]).
    #[serde(skip_serializing_if = "Option::is_none", with = "range::OptionalPositive")]
    pub clip_norm: Option<f64>,
    /// λ of (λ/2)‖x‖² in every client's loss; its gradient is not clipped.
    #[serde(with = "range::NonNegative")]
    pub weight_decay: f64,
    /// Whether a client takes its examples in a new order in each epoch.
    pub shuffle: bool,
}

impl Default for LocalConfig {
    fn default() -> Self {
        Self { epochs: 5, batch_size: 50, learning_rate: 0.1, decay: 1.0, clip_norm: Some(10.0), weight_decay: 1e-4, shuffle: true }
    }
}

/// Networks trained on each client's own examples by SGD.
pub struct NetworkTrainer<'a> {
    model: Net,
    space: ParamSpace,
    examples: &'a Examples,
    clients: &'a [Vec<usize>],
    classes: usize,
    config: LocalConfig,
    estimator: Box<dyn Fn() -> Result<Box<dyn GradientEstimator>> + Sync + 'a>,
}

impl<'a> NetworkTrainer<'a> {
    /// `clients` says which examples each client has; `model` lends its structure.
    pub fn new(
        model: Net,
        examples: &'a Examples,
        clients: &'a [Vec<usize>],
        classes: usize,
        config: LocalConfig,
        estimator: Box<dyn Fn() -> Result<Box<dyn GradientEstimator>> + Sync + 'a>,
    ) -> Result<Self> {
        range::check(&config)?;
        let space = ParamSpace::of(&model);
        Ok(Self { model, space, examples, clients, classes, config, estimator })
    }

    /// The parameters of the model it was made with.
    pub fn initial(&self) -> Vec<f32> {
        vector::to_vec(&self.space.vector(&self.model))
    }

    /// The running statistics of the model it was made with; empty for one without batch normalisation.
    pub fn initial_statistics(&self) -> Vec<f32> {
        self.space.statistics(&self.model)
    }

    /// A model with these parameters and running statistics.
    ///
    /// # Errors
    ///
    /// Another number of statistics than the model has.
    pub fn model(&self, parameters: &[f32], statistics: &[f32]) -> Result<Net> {
        let device = self.space.vector(&self.model).device();
        let model = self.space.place_statistics(self.model.clone(), statistics)?;
        Ok(self.space.place(model, &vector::from_vec(parameters.to_vec(), &device)))
    }
}

impl LocalTrainer for NetworkTrainer<'_> {
    fn train(&self, client: usize, problem: &LocalProblem, round: u64, part: f64, seed: Seed) -> Result<LocalResult> {
        let LocalConfig { epochs, batch_size, learning_rate, decay, clip_norm, weight_decay, shuffle } = self.config;
        let own = &self.clients[client];
        let rate = learning_rate * decay.powf(round as f64);
        let device = self.space.vector(&self.model).device();
        let sgd = OptimizerConfig::Sgd { momentum: 0.0, nesterov: false };
        let mut pipeline = Pipeline::new(self.model(&problem.start, &problem.statistics)?, (self.estimator)()?, &sgd)?;
        let penalty = Penalty::new(problem, clip_norm, weight_decay, pipeline.parameters());
        pipeline = pipeline.with_transform(Box::new(penalty));
        let all = epochs * own.len().div_ceil(batch_size);
        let most = ((part * all as f64).ceil() as usize).clamp(1.min(all), all);
        let (mut steps, mut sum) = (0_usize, 0.0);
        for epoch in 0..epochs {
            let order = if shuffle {
                split::permutation(own.len(), &mut seed.stream_at("federated/order", epoch as u64))
            } else {
                (0..own.len()).collect()
            };
            for places in order.chunks(batch_size).take(most - steps) {
                interrupt::check()?;
                let positions: Vec<usize> = places.iter().map(|&place| own[place]).collect();
                let batch = LabelledBatch::new(self.examples, &positions, self.classes, 0.0, &device);
                let step = seed.child(&format!("step/{steps}"));
                sum += pipeline.step(&CrossEntropy::default(), &batch, Rate::constant(rate), step)?.losses[0];
                steps += 1;
            }
        }
        let parameters = vector::to_vec(pipeline.parameters());
        let statistics = if problem.statistics.is_empty() { Vec::new() } else { self.space.statistics(&pipeline.model()) };
        Ok(LocalResult { parameters, statistics, steps: steps as u64, rate, loss: sum / steps.max(1) as f64 })
    }
}

/// The method's terms, the clip and weight decay as one transform.
struct Penalty(vector::Terms);

impl Penalty {
    fn new(problem: &LocalProblem, clip: Option<f64>, weight_decay: f64, like: &Vector) -> Self {
        let q = problem.quadratic;
        let linear = (q > 0.0 || !problem.linear.is_empty()).then(|| {
            let pulled = problem.start.iter().map(|start| -q * f64::from(*start));
            let values = match problem.linear.len() {
                0 => pulled.map(|pulled| pulled as f32).collect(),
                _ => pulled.zip(&problem.linear).map(|(pulled, linear)| (pulled + f64::from(*linear)) as f32).collect(),
            };
            vector::from_vec(values, &like.device())
        });
        let (inside, outside) = if problem.clip_pull { (q, weight_decay) } else { (0.0, q + weight_decay) };
        Self(vector::Terms { linear, inside, clip, outside })
    }
}

impl GradientTransform for Penalty {
    fn transform(&mut self, gradient: Vector, parameters: &Vector, _: &ParamSpace) -> Result<Vector> {
        Ok(vector::with_terms(gradient, parameters, &self.0))
    }
}
