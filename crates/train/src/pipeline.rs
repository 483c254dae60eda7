//! One training step, from a batch to new parameters.

use std::collections::HashMap;

use burn::module::Module;
use lyceum_core::{Array, Error, Result, Seed, range};
use lyceum_kernels::vector;

use crate::{
    Gating, GradientCombiner, GradientEstimator, GradientTransform, Group, ModelOracle, Objective, OptimizerConfig, ParamSpace, State, Sum,
    Vector, WeightDecay, cpu,
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
    optimizer: OptimizerConfig,
    groups: Groups,
    rules: Rules,
    decay: Option<(WeightDecay, L2)>,
}

/// Parameters that are trained otherwise than the rest.
#[derive(Default)]
struct Groups {
    groups: Vec<Group>,
    /// The number of the group of each parameter that is in one.
    of: HashMap<String, usize>,
}

impl Groups {
    /// For each parameter of the space the number of its group.
    fn assigned(&self, space: &ParamSpace) -> Vec<Option<usize>> {
        space.params().iter().map(|info| self.of.get(&info.name).copied()).collect()
    }

    fn rules(&self, optimizer: &OptimizerConfig, space: &ParamSpace) -> Result<Rules> {
        match self.groups.as_slice() {
            [] => Rules::one(optimizer, space),
            groups => Rules::of_groups(optimizer, groups, &self.assigned(space), space),
        }
    }

    /// Weight decay with the factors of each parameter.
    fn decay(&self, weight_decay: WeightDecay, space: &ParamSpace) -> (WeightDecay, L2) {
        let (WeightDecay::AtOrigin(coefficient) | WeightDecay::InLoss(coefficient) | WeightDecay::Decoupled(coefficient)) = weight_decay;
        // What is apart from the gradient shrinks at the group's own rate; what is part of it is multiplied with that later.
        let rate = |group: &Group| if let WeightDecay::Decoupled(_) = weight_decay { group.learning_rate_factor } else { 1.0 };
        let of = |group: &Group| (rate(group) * group.weight_decay_factor) as f32;
        let factor = |number: Option<usize>| number.map_or(1.0, |number| of(&self.groups[number]));
        let assigned = self.assigned(space);
        let trained = space.params().iter().zip(assigned).filter_map(|(info, group)| Some((info.range.clone()?, factor(group))));
        let trained: Vec<_> = trained.collect();
        let plain = trained.iter().all(|(_, factor)| *factor == 1.0);
        let factors = || trained.iter().flat_map(|(range, factor)| std::iter::repeat_n(*factor, range.len())).collect();
        (weight_decay, L2 { coefficient, factors: (!plain).then(|| vector::from_vec(factors(), &cpu())) })
    }
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
        let (parameters, groups) = (space.vector(&model), Groups::default());
        let (optimizer, rules) = (optimizer.clone(), groups.rules(optimizer, &space)?);
        let (combiner, transforms) = (Box::new(Sum), Vec::new());
        Ok(Self { model, space, parameters, estimator, combiner, transforms, optimizer, groups, rules, decay: None })
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

    /// With weight decay. An L2 term at the origin comes after the transforms.
    pub fn with_weight_decay(mut self, weight_decay: WeightDecay) -> Self {
        self.decay = Some(self.groups.decay(weight_decay, &self.space));
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
        if weight_decay.is_none() && groups.iter().any(|group| group.weight_decay_factor != 1.0) {
            return Err(Error::invalid("training.group.weight_decay_factor", "a factor", "none without training.weight_decay"));
        }
        let of = self.space.params().iter().zip(assigned).filter_map(|(info, group)| Some((info.name.clone(), group?)));
        self.groups = Groups { groups: groups.to_vec(), of: of.collect() };
        self.optimizer = optimizer.clone();
        self.take(self.model.clone())?;
        self.decay = weight_decay.map(|weight_decay| self.groups.decay(weight_decay, &self.space));
        Ok(self)
    }

    /// Another model, without what was learnt.
    fn take(&mut self, model: M) -> Result<()> {
        let assigned = self.groups.assigned(&ParamSpace::of(&model));
        self.model = groups::freeze(model, &self.groups.groups, &assigned);
        self.space = ParamSpace::of(&self.model);
        self.parameters = self.space.vector(&self.model);
        self.rules = self.groups.rules(&self.optimizer, &self.space)?;
        self.decay = self.decay.take().map(|(weight_decay, _)| self.groups.decay(weight_decay, &self.space));
        Ok(())
    }

    /// Goes on with another model whose parameters have names of this one's; `saved` is what was learnt, by its parameters.
    ///
    /// # Errors
    ///
    /// As [`restore`](Self::restore).
    pub fn exchange(&mut self, model: M, saved: Saved) -> Result<()> {
        self.take(model)?;
        self.restore(saved)
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
        self.step_gated(objective, batch, rate, seed, None)
    }

    /// The same with gates on the parameters, which learn from the step's gradient too.
    pub fn step_gated<O: Objective<Model = M>>(
        &mut self,
        objective: &O,
        batch: &O::Batch,
        rate: Rate,
        seed: Seed,
        gating: Option<&mut dyn Gating>,
    ) -> Result<StepOutcome> {
        let l2 = if let Some((WeightDecay::InLoss(_), l2)) = &self.decay { Some(l2) } else { None };
        let factors = gating.as_ref().and_then(|gating| gating.factors());
        let mut oracle = ModelOracle::new(objective, &self.model, &self.space, batch, seed).with_l2(l2).with_factors(factors);
        let slopes = self.estimator.estimate(&mut oracle, &self.parameters, rate)?;
        let evaluations = oracle.evaluations();
        let statistics = oracle.into_statistics();
        let mut gradient = self.combiner.combine(&slopes, &self.space)?;
        let losses = slopes.losses;
        // From here on nobody else holds the gradient, so that transforms can work in its memory.
        drop(slopes.gradients);
        if let Some(gating) = gating {
            // Of the loss alone: gates do not change the parameters that a penalty sees.
            let of_loss = l2.map_or_else(|| gradient.clone(), |l2| l2.removed(&gradient, &self.parameters));
            let added = gating.learn(&of_loss, &self.parameters, rate)?;
            drop(of_loss);
            if let Some(added) = added {
                gradient = vector::added(gradient, 1.0, &added);
            }
        }
        for transform in &mut self.transforms {
            gradient = transform.transform(gradient, &self.parameters, &self.space)?;
        }
        if let Some((WeightDecay::AtOrigin(_), l2)) = &self.decay {
            gradient = l2.add(&gradient, &self.parameters);
        }
        // Nobody else holds the old parameters then, and the step is made in their memory.
        let from = std::mem::replace(&mut self.parameters, gradient.clone());
        let from = match &self.decay {
            Some((WeightDecay::Decoupled(_), l2)) => l2.shrink(from, rate.now()),
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
