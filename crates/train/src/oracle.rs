//! Losses and gradients at any point of parameter space: what a gradient estimator sees of a model and its batch.

use std::ops::Range;

use lyceum_core::{Error, Result, Seed, range};
use lyceum_kernels::vector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Batch, Objective, ParamSpace, Pass, Vector, pass::Statistic, transform::L2};

/// Which examples of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rows {
    /// Every one.
    All,
    /// Those from one row up to another.
    Range(Range<usize>),
    /// Those at these positions.
    At(Vec<usize>),
}

/// Losses and gradients of one batch.
pub trait Oracle {
    /// How many examples the batch has.
    fn examples(&self) -> usize;

    /// The randomness of this step.
    fn seed(&self) -> Seed;

    /// Losses and gradients at `point`, the mean over `rows`. At the parameters themselves (`origin`) the model's
    /// running statistics are kept; those of any other evaluation are thrown away.
    fn evaluate(&mut self, point: &Vector, rows: &Rows, origin: bool) -> Result<Slopes>;

    /// The loss of each example at `point`, summed over the tasks, without gradients.
    fn example_losses(&mut self, point: &Vector) -> Result<Vec<f64>>;
}

/// One loss and one gradient a task.
#[derive(Debug, Clone)]
pub struct Slopes {
    /// The losses.
    pub losses: Vec<f64>,
    /// Their gradients.
    pub gradients: Vec<Vector>,
}

impl Slopes {
    /// The gradient of the sum of the losses.
    pub fn total(&self) -> Vector {
        let (first, rest) = self.gradients.split_first().expect("an objective has at least one task");
        rest.iter().fold(first.clone(), |sum, gradient| vector::add_scaled(&sum, 1.0, gradient))
    }

    /// Adds `weight` times other slopes.
    pub fn add(&mut self, weight: f64, other: &Self) {
        self.losses.iter_mut().zip(&other.losses).for_each(|(loss, other)| *loss += weight * other);
        for (gradient, other) in self.gradients.iter_mut().zip(&other.gradients) {
            *gradient = vector::add_scaled(gradient, weight, other);
        }
    }

    /// `weight` times these slopes.
    pub fn scaled(mut self, weight: f64) -> Self {
        self.losses.iter_mut().for_each(|loss| *loss *= weight);
        self.gradients = self.gradients.into_iter().map(|gradient| gradient * weight).collect();
        self
    }
}

/// The coefficient λ of an L2 penalty and where it acts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum WeightDecay {
    /// λw is added to the final gradient at w, as the formula of SAM has it; the perturbation does not see it.
    AtOrigin(#[serde(with = "range::NonNegative")] f64),
    /// (λ/2)‖w‖² is part of the loss wherever it is evaluated, as in the authors' code of SAM.
    InLoss(#[serde(with = "range::NonNegative")] f64),
    /// w shrinks by the factor 1 − lr·λ a step, apart from the gradient (AdamW's way, for any optimiser).
    Decoupled(#[serde(with = "range::NonNegative")] f64),
}

/// The oracle of an objective, a model and a batch.
pub struct ModelOracle<'a, O: Objective> {
    objective: &'a O,
    template: &'a O::Model,
    space: &'a ParamSpace,
    batch: &'a O::Batch,
    seed: Seed,
    l2: Option<&'a L2>,
    factors: Option<&'a Vector>,
    statistics: Vec<(f64, Vec<Statistic>)>,
    evaluations: f64,
}

impl<'a, O: Objective> ModelOracle<'a, O> {
    /// `template` lends its structure and buffers; `seed` is the randomness of this step, the same in every evaluation.
    pub fn new(objective: &'a O, template: &'a O::Model, space: &'a ParamSpace, batch: &'a O::Batch, seed: Seed) -> Self {
        Self { objective, template, space, batch, seed, l2: None, factors: None, statistics: Vec::new(), evaluations: 0.0 }
    }

    /// With a penalty in the loss.
    pub fn with_l2(mut self, l2: Option<&'a L2>) -> Self {
        self.l2 = l2;
        self
    }

    /// With factors mᵢ: the model's parameters are mᵢwᵢ at a point w, and gradients are of w.
    pub fn with_factors(mut self, factors: Option<&'a Vector>) -> Self {
        self.factors = factors;
        self
    }

    /// mᵢwᵢ of a point, or of a gradient.
    fn times_factors(&self, point: Vector) -> Vector {
        match self.factors {
            Some(factors) => point * factors.clone(),
            None => point,
        }
    }

    /// How many times the whole batch was evaluated so far.
    pub fn evaluations(&self) -> f64 {
        self.evaluations
    }

    /// The statistics left at the origin, averaged over the shards of the batch.
    pub fn into_statistics(self) -> Vec<Statistic> {
        let total: f64 = self.statistics.iter().map(|(share, _)| share).sum();
        let mut shards = self.statistics.into_iter().map(|(share, statistics)| (share / total, statistics));
        let Some((share, first)) = shards.next() else { return Vec::new() };
        if share == 1.0 {
            return first;
        }
        let first = first.into_iter().map(|(id, value)| (id, value * share)).collect();
        shards.fold(first, |sum: Vec<Statistic>, (share, shard)| {
            sum.into_iter().zip(shard).map(|((id, sum), (_, value))| (id, sum + value * share)).collect()
        })
    }
}

impl<O: Objective> Oracle for ModelOracle<'_, O> {
    fn examples(&self) -> usize {
        self.batch.len()
    }

    fn seed(&self) -> Seed {
        self.seed
    }

    fn evaluate(&mut self, point: &Vector, rows: &Rows, origin: bool) -> Result<Slopes> {
        let part;
        let (batch, first) = match rows {
            Rows::All => (self.batch, 0),
            Rows::Range(rows) if rows.len() == self.batch.len() => (self.batch, 0),
            Rows::Range(rows) => {
                part = self.batch.rows(rows.clone());
                (&part, rows.start)
            }
            Rows::At(positions) => {
                part = self.batch.select(positions);
                (&part, 0)
            }
        };
        let share = batch.len() as f64 / self.batch.len() as f64;
        let mut slopes = Slopes { losses: Vec::new(), gradients: Vec::new() };
        for task in 0..self.objective.tasks() {
            // A fresh graph a task: burn's backward pass consumes the graph it walks.
            let model = self.space.place(self.template.clone(), &self.times_factors(point.clone()));
            let mut pass = Pass::training(self.seed.child(&format!("{first}/{task}")));
            let loss = self.objective.loss(task, &model, batch, &mut pass);
            let gradients = loss.backward();
            let mut value = f64::from(loss.into_scalar::<f32>());
            let mut gradient = self.times_factors(self.space.gradient(&model, gradients));
            if let Some(l2) = self.l2 {
                value += l2.value(point);
                gradient = l2.add(&gradient, point);
            }
            if !value.is_finite() {
                return Err(Error::Diverged(format!("the loss is {value}: training has diverged (a lower learning rate may help)")));
            }
            slopes.losses.push(value);
            slopes.gradients.push(gradient);
            if origin && task == 0 {
                self.statistics.push((share, pass.into_statistics()));
            }
        }
        self.evaluations += share;
        Ok(slopes)
    }

    fn example_losses(&mut self, point: &Vector) -> Result<Vec<f64>> {
        let model = self.space.place_for_evaluation(self.template.clone(), &self.times_factors(point.clone()));
        let mut sums = vec![0.0; self.batch.len()];
        for task in 0..self.objective.tasks() {
            let mut pass = Pass::training(self.seed.child(&format!("0/{task}")));
            let losses = self.objective.losses(task, &model, self.batch, &mut pass).inner();
            sums.iter_mut().zip(vector::to_vec(&losses)).for_each(|(sum, loss)| *sum += f64::from(loss));
        }
        Ok(sums)
    }
}
