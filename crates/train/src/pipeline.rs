//! One training step, from a batch to new parameters.

use burn::module::Module;
use lyceum_core::{Array, Error, Result, Seed, range};
use lyceum_kernels::vector;

use crate::{
    GradientCombiner, GradientEstimator, GradientTransform, Group, ModelOracle, Objective, OptimizerConfig, ParamSpace, State, Sum, Vector,
    WeightDecay,
    groups::{self, Rules},
    schedule::Rate,
    transform::L2,
};

/// How fast running averages follow the batches.
const AVERAGE_RATE: f64 = 0.1;

/// A module with all that changes it. The parts run in the order
/// estimator, combiner, transforms, optimiser; any of them can be exchanged.
pub struct Pipeline<M> {
    model: M,
    space: ParamSpace,
    parameters: Vector,
    estimator: Box<dyn GradientEstimator>,
    combiner: Box<dyn GradientCombiner>,
    transforms: Vec<Box<dyn GradientTransform>>,
    rules: Rules,
    weight_decay: Decay,
}

/// Where weight decay acts that is no transform.
enum Decay {
    Nowhere,
    InLoss(L2),
    Decoupled(L2),
}

/// What a step reports.
#[derive(Debug, Clone, PartialEq)]
pub struct StepOutcome {
    /// The losses at the parameters before the step, one a task.
    pub losses: Vec<f64>,
    /// How many times the batch was evaluated.
    pub evaluations: f64,
}

impl<M: Module> Pipeline<M> {
    /// A pipeline with the sum of the tasks' gradients and no transforms. A constant of the optimiser out of its range is an error.
    pub fn new(model: M, estimator: Box<dyn GradientEstimator>, optimizer: &OptimizerConfig) -> Result<Self> {
        let space = ParamSpace::of(&model);
        let parameters = space.vector(&model);
        let (combiner, transforms, rules) = (Box::new(Sum), Vec::new(), Rules::one(optimizer, &space)?);
        Ok(Self { model, space, parameters, estimator, combiner, transforms, rules, weight_decay: Decay::Nowhere })
    }

    /// With another combiner.
    pub fn with_combiner(mut self, combiner: Box<dyn GradientCombiner>) -> Self {
        self.combiner = combiner;
        self
    }

    /// With one more transform, after those there are.
    pub fn with_transform(mut self, transform: Box<dyn GradientTransform>) -> Self {
        self.transforms.push(transform);
        self
    }

    /// With weight decay. An L2 term at the origin is the last of the transforms.
    pub fn with_weight_decay(mut self, weight_decay: WeightDecay) -> Self {
        self.decay(weight_decay, None);
        self
    }

    /// With groups of parameters that are trained otherwise than the rest, which has this optimiser and this weight decay. To be
    /// called before the first step.
    ///
    /// # Errors
    ///
    /// A group that no parameter of this network is in, or nothing left to train.
    pub fn with_groups(mut self, groups: &[Group], optimizer: &OptimizerConfig, weight_decay: Option<WeightDecay>) -> Result<Self> {
        groups.iter().try_for_each(range::check)?;
        let assigned = groups::assign(groups, &self.space)?;
        self.model = groups::freeze(self.model, groups, &assigned);
        self.space = ParamSpace::of(&self.model);
        self.parameters = self.space.vector(&self.model);
        self.rules = Rules::of_groups(optimizer, groups, &assigned, &self.space)?;
        if weight_decay.is_none() && groups.iter().any(|group| group.weight_decay_factor != 1.0) {
            return Err(Error::invalid("training.group.weight_decay_factor", "a factor", "none without training.weight_decay"));
        }
        if let Some(weight_decay) = weight_decay {
            // What is apart from the gradient shrinks at the group's own rate; what is part of it is multiplied with that later.
            let rate = |group: &Group| if let WeightDecay::Decoupled(_) = weight_decay { group.learning_rate_factor } else { 1.0 };
            let of = |group: &Group| (rate(group) * group.weight_decay_factor) as f32;
            let factor = |number: &Option<usize>| number.map_or(1.0, |number| of(&groups[number]));
            let trained = self.space.params().iter().zip(&assigned).filter_map(|(info, group)| Some((info.range.clone()?, factor(group))));
            let factors: Vec<f32> = trained.flat_map(|(range, factor)| std::iter::repeat_n(factor, range.len())).collect();
            let plain = factors.iter().all(|factor| *factor == 1.0);
            let factors = vector::from_vec(factors, &self.parameters.device());
            self.decay(weight_decay, (!plain).then_some(factors));
        }
        Ok(self)
    }

    fn decay(&mut self, weight_decay: WeightDecay, factors: Option<Vector>) {
        match weight_decay {
            WeightDecay::AtOrigin(coefficient) => self.transforms.push(Box::new(L2 { coefficient, factors })),
            WeightDecay::InLoss(coefficient) => self.weight_decay = Decay::InLoss(L2 { coefficient, factors }),
            WeightDecay::Decoupled(coefficient) => self.weight_decay = Decay::Decoupled(L2 { coefficient, factors }),
        }
    }

    /// The space of the model's parameters.
    pub fn space(&self) -> &ParamSpace {
        &self.space
    }

    /// The parameters now.
    pub fn parameters(&self) -> &Vector {
        &self.parameters
    }

    /// The model now.
    pub fn model(&self) -> M {
        self.space.place(self.model.clone(), &self.parameters)
    }

    /// One step at this learning rate; `seed` is the step's own randomness. On an error nothing has changed.
    pub fn step<O: Objective<Model = M>>(&mut self, objective: &O, batch: &O::Batch, rate: Rate, seed: Seed) -> Result<StepOutcome> {
        let l2 = if let Decay::InLoss(l2) = &self.weight_decay { Some(l2) } else { None };
        let mut oracle = ModelOracle::new(objective, &self.model, &self.space, batch, seed).with_l2(l2);
        let slopes = self.estimator.estimate(&mut oracle, &self.parameters, rate)?;
        let mut gradient = self.combiner.combine(&slopes, &self.space)?;
        let losses = slopes.losses;
        // From here on nobody else holds the gradient, so that transforms can work in its memory.
        drop(slopes.gradients);
        for transform in &mut self.transforms {
            gradient = transform.transform(gradient, &self.parameters, &self.space)?;
        }
        let evaluations = oracle.evaluations();
        let statistics = oracle.into_statistics();
        // Nobody else holds the old parameters then, and the step is made in their memory.
        let from = std::mem::replace(&mut self.parameters, gradient.clone());
        let from = match &self.weight_decay {
            Decay::Decoupled(l2) => l2.shrink(from, rate.now()),
            _ => from,
        };
        self.parameters = self.rules.step(rate.now(), from, gradient);
        self.model = self.space.update_averages(self.model.clone(), &statistics, AVERAGE_RATE);
        Ok(StepOutcome { losses, evaluations })
    }

    /// The model, the optimiser's state and the estimator's, each as a file of a checkpoint holds it, and their counters.
    pub fn save(&self) -> Saved {
        let (optimizer, estimator, combiner) = (self.rules.state(), self.estimator.state(), self.combiner.state());
        Saved { model: self.space.arrays(&self.model()), optimizer, estimator, combiner }
    }

    /// Goes on from what [`save`](Self::save) gave.
    pub fn restore(&mut self, saved: Saved) -> Result<()> {
        self.model = self.space.load(self.model.clone(), &saved.model)?;
        self.parameters = self.space.vector(&self.model);
        let device = self.parameters.device();
        self.rules.restore(&saved.optimizer, &device)?;
        self.estimator.restore(saved.estimator)?;
        self.combiner.restore(saved.combiner)
    }

    /// Moves the parameters to another point, for example one received from a server.
    pub fn set_parameters(&mut self, parameters: Vec<f32>) {
        self.parameters = vector::from_vec(parameters, &self.parameters.device());
    }
}

/// A pipeline's state.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// Parameters and buffers.
    pub model: Vec<Array>,
    /// The optimiser's state.
    pub optimizer: State,
    /// The estimator's state.
    pub estimator: State,
    /// The combiner's state.
    pub combiner: State,
}
