//! What is minimised: model and batch in, one loss a task out.

use std::ops::Range;

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor, TensorData, activation::relu},
};
use lyceum_data::Examples;
use lyceum_kernels::{mean, softmax_cross_entropy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use ndarray::{Array2, ArrayView1};

use crate::{Net, Network, Pass, cpu};

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

/// Inputs `n × d` with what is to be said of each: a distribution over the classes, `n × k`, or a number, `n × 1`.
#[derive(Debug, Clone)]
pub struct LabelledBatch {
    /// One example a row.
    pub inputs: Tensor<2>,
    /// One-hot, smoothed or mixed labels, times the example's weight; or numbers.
    pub targets: Tensor<2>,
}

impl LabelledBatch {
    /// The examples at these positions. Label smoothing `s` gives the label 1 − s + s/k and every other class s/k. Examples with numbers
    /// have these.
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
        let tensor = |values, width| Tensor::from_data(TensorData::new(values, [positions.len(), width]), device);
        if !examples.targets.is_empty() {
            let targets: Vec<f32> = positions.iter().map(|&position| examples.targets[position] as f32).collect();
            return Self { inputs: tensor(inputs, d), targets: tensor(targets, 1) };
        }
        let mut targets = vec![(smoothing / classes as f64) as f32; positions.len() * classes];
        for (row, &position) in positions.iter().enumerate() {
            targets[row * classes + examples.labels[position]] += (1.0 - smoothing) as f32;
        }
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

/// What a network that predicts numbers is trained by: y is the number, z what the network gives, r = z − y.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RegressionLoss {
    /// r²: z is the mean.
    #[default]
    Squared,
    /// |r|: z is the median.
    Absolute,
    /// r²/2 for |r| < 1 and |r| − 1/2 beyond, y in units of its standard deviation (Huber 1964): the mean of all but outliers.
    Huber,
    /// Three numbers: the quantiles α/2, 1/2 and 1 − α/2, each by max(−τr, (1 − τ)r) (Koenker and Bassett 1978).
    Quantile,
}

impl RegressionLoss {
    /// How many numbers the network gives.
    pub fn outputs(self) -> usize {
        if self == Self::Quantile { 3 } else { 1 }
    }
}

/// The loss of a network that predicts numbers.
#[derive(Debug, Clone, Copy)]
pub struct Regression {
    /// Which.
    pub loss: RegressionLoss,
    /// The share of numbers outside the outer quantiles.
    pub alpha: f64,
}

impl Objective for Regression {
    type Model = Net;
    type Batch = LabelledBatch;

    fn losses(&self, _: usize, model: &Net, batch: &LabelledBatch, pass: &mut Pass) -> Tensor<1> {
        self.of(model.forward(batch.inputs.clone().autodiff(), pass) - batch.targets.clone().autodiff())
    }
}

impl Regression {
    /// What is predicted, of what the network gives for an example: the middle number.
    pub fn prediction(outputs: ArrayView1<'_, f32>) -> f64 {
        let mut sorted = outputs.to_vec();
        sorted.sort_by(f32::total_cmp);
        f64::from(sorted[sorted.len() / 2])
    }

    /// The mean loss of what a network gives.
    pub fn mean_loss(&self, outputs: &Array2<f32>, targets: &[f64]) -> f64 {
        let residuals =
            outputs.rows().into_iter().zip(targets).flat_map(|(row, y)| row.iter().map(move |z| z - *y as f32).collect::<Vec<_>>());
        let residuals = TensorData::new(residuals.collect::<Vec<f32>>(), [outputs.nrows(), outputs.ncols()]);
        f64::from(self.of(Tensor::from_data(residuals, &cpu())).mean().into_scalar::<f32>())
    }

    /// The losses of residuals z − y, a row an example.
    fn of(&self, residuals: Tensor<2>) -> Tensor<1> {
        let losses = match self.loss {
            RegressionLoss::Squared => residuals.square(),
            RegressionLoss::Absolute => residuals.abs(),
            RegressionLoss::Huber => {
                let size = residuals.abs();
                let within = size.clone().clamp_max(1.0);
                within.clone() * (size - within * 0.5)
            }
            RegressionLoss::Quantile => {
                let levels = [self.alpha / 2.0, 0.5, 1.0 - self.alpha / 2.0].map(|level| level as f32);
                let levels = Tensor::<2>::from_data(TensorData::new(levels.to_vec(), [1, 3]), &residuals.device());
                relu(residuals.clone()) - residuals * levels
            }
        };
        losses.sum_dim(1).squeeze_dim(1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use lyceum_core::Seed;
    use lyceum_data::Extent;

    use super::*;
    use crate::{ModelConfig, ParamSpace};

    #[test]
    fn losses_and_gradients_worked_by_hand() {
        let extent = Extent { channels: 1, height: 1, width: 1 };
        // z = 2x with a weight of 2: residuals 0.5, −3.
        let examples = Examples { targets: vec![1.5, 5.0], ..Examples::new(ndarray::array![[1.0], [1.0]], Vec::new()) };
        let cases: [(RegressionLoss, [f32; 2], f32); 4] = [
            (RegressionLoss::Squared, [0.25, 9.0], -2.5),
            (RegressionLoss::Absolute, [0.5, 3.0], 0.0),
            (RegressionLoss::Huber, [0.125, 2.5], -0.25),
            // 0.5 above: (1 − τ)/2 for 0.1, 0.5, 0.9; 3 below: 3τ.
            (RegressionLoss::Quantile, [0.75, 4.5], 0.0),
        ];
        for (loss, expected, slope) in cases {
            let net = ModelConfig::Linear.init(extent, loss.outputs(), Seed::new(0), &cpu()).unwrap();
            let space = ParamSpace::of(&net);
            let values = space.arrays(&net).into_iter().map(|mut array| {
                array.values.fill(if array.name.ends_with("weight") { 2.0 } else { 0.0 });
                array
            });
            let net = space.load(net, &values.collect::<Vec<_>>()).unwrap();
            let model = space.place(net.clone(), &space.vector(&net));
            let batch = LabelledBatch::new(&examples, &[0, 1], 0, 0.0, &cpu());
            let losses = Regression { loss, alpha: 0.2 }.losses(0, &model, &batch, &mut Pass::evaluation());
            let found: Vec<f32> = losses.clone().inner().try_into_vec_as().unwrap();
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{loss:?}: {found:?}");
            let gradient = space.gradient(&model, losses.mean().backward());
            let found = gradient.into_data().try_to_vec::<f32>().unwrap()[0];
            if loss != RegressionLoss::Quantile {
                assert!((found - slope).abs() < 1e-6, "{loss:?}: {found}");
            }
        }
    }
}
