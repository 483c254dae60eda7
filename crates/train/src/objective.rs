//! What is minimised: model and batch in, one loss a task out.

use std::ops::Range;

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor, TensorData},
};
use lyceum_data::Examples;
use lyceum_kernels::{mean, softmax_cross_entropy};

use crate::{Network, Pass};

/// Some examples that are worked on together.
pub trait Batch {
    /// How many examples there are.
    fn len(&self) -> usize;

    /// The examples of these rows.
    fn rows(&self, rows: Range<usize>) -> Self;

    /// The examples at these positions.
    fn select(&self, positions: &[usize]) -> Self;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A loss, or several, of a model on a batch.
pub trait Objective {
    /// What is trained.
    type Model: Module;
    /// What it is trained on.
    type Batch: Batch;

    /// How many losses there are.
    fn tasks(&self) -> usize {
        1
    }

    /// The mean loss of one task over the batch, shape `1`.
    fn loss(&self, task: usize, model: &Self::Model, batch: &Self::Batch, pass: &mut Pass) -> Tensor<1> {
        mean(self.losses(task, model, batch, pass))
    }

    /// The loss of each example, shape `n`.
    fn losses(&self, task: usize, model: &Self::Model, batch: &Self::Batch, pass: &mut Pass) -> Tensor<1>;
}

/// Inputs `n × d` with a distribution over the classes for each, `n × k`.
#[derive(Debug, Clone)]
pub struct LabelledBatch {
    /// One example a row.
    pub inputs: Tensor<2>,
    /// One-hot, smoothed or mixed labels, times the example's weight.
    pub targets: Tensor<2>,
}

impl LabelledBatch {
    /// The examples at these positions. Label smoothing `s` gives the label 1 − s + s/k and every other class s/k.
    pub fn new(examples: &Examples, positions: &[usize], classes: usize, smoothing: f64, device: &Device) -> Self {
        let mut inputs = Vec::with_capacity(positions.len() * examples.inputs.ncols());
        positions.iter().for_each(|&position| examples.inputs.append_row(position, &mut inputs));
        Self::of_rows(inputs, examples, positions, classes, smoothing, device)
    }

    /// The same with each picture changed by `change`, which gets its position.
    pub fn changed(
        examples: &Examples,
        positions: &[usize],
        classes: usize,
        smoothing: f64,
        device: &Device,
        change: impl Fn(usize, &mut Vec<f32>),
    ) -> Self {
        let row = |&position: &usize| {
            let mut row = examples.inputs.row(position).into_owned();
            change(position, &mut row);
            row
        };
        let inputs = positions.iter().flat_map(row).collect();
        Self::of_rows(inputs, examples, positions, classes, smoothing, device)
    }

    fn of_rows(inputs: Vec<f32>, examples: &Examples, positions: &[usize], classes: usize, smoothing: f64, device: &Device) -> Self {
        let d = examples.inputs.ncols();
        let mut targets = vec![(smoothing / classes as f64) as f32; positions.len() * classes];
        for (row, &position) in positions.iter().enumerate() {
            targets[row * classes + examples.labels[position]] += (1.0 - smoothing) as f32;
        }
        let tensor = |values, width| Tensor::from_data(TensorData::new(values, [positions.len(), width]), device);
        Self { inputs: tensor(inputs, d), targets: tensor(targets, classes) }
    }

    /// With the loss of each example times its weight.
    pub fn weighted(mut self, weights: Vec<f32>) -> Self {
        let n = self.len();
        // A target distribution times w gives w times the cross-entropy.
        self.targets = self.targets * Tensor::from_data(TensorData::new(weights, [n, 1]), &self.inputs.device());
        self
    }

    /// λ of each example and 1 − λ of the one at its place of `order`, inputs and targets alike.
    pub fn mixed(self, share: f32, order: &[usize]) -> Self {
        let other = self.select(order);
        let mix = |one: Tensor<2>, other: Tensor<2>| one * share + other * (1.0 - share);
        Self { inputs: mix(self.inputs, other.inputs), targets: mix(self.targets, other.targets) }
    }
}

impl Batch for LabelledBatch {
    fn len(&self) -> usize {
        self.inputs.dims()[0]
    }

    fn rows(&self, rows: Range<usize>) -> Self {
        let part = |tensor: &Tensor<2>| tensor.clone().narrow(0, rows.start, rows.len());
        Self { inputs: part(&self.inputs), targets: part(&self.targets) }
    }

    fn select(&self, positions: &[usize]) -> Self {
        let positions: Vec<i64> = positions.iter().map(|&position| position as i64).collect();
        let n = positions.len();
        let positions = Tensor::<1, Int>::from_data(TensorData::new(positions, [n]), &self.inputs.device());
        let part = |tensor: &Tensor<2>| tensor.clone().select(0, positions.clone());
        Self { inputs: part(&self.inputs), targets: part(&self.targets) }
    }
}

/// The cross-entropy −Σⱼ tⱼ log softmax(z)ⱼ of a network's logits.
#[derive(Debug, Clone)]
pub struct CrossEntropy<N>(std::marker::PhantomData<fn() -> N>);

impl<N> Default for CrossEntropy<N> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<N: Network> Objective for CrossEntropy<N> {
    type Model = N;
    type Batch = LabelledBatch;

    fn losses(&self, _: usize, model: &N, batch: &LabelledBatch, pass: &mut Pass) -> Tensor<1> {
        let logits = model.forward(batch.inputs.clone().autodiff(), pass);
        softmax_cross_entropy(logits, batch.targets.clone().autodiff())
    }
}
