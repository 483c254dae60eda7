//! What is minimised on a task: cross-entropy within the task's outputs, and what some strategies add.

use std::{ops::Range, sync::Arc};

use burn::{
    module::ParamId,
    tensor::{Device, Int, Tensor, TensorData, activation::softmax},
};
use lyceum_data::Examples;
use lyceum_kernels::{row_sums, softmax_cross_entropy};
use lyceum_train::{Batch, Net, Network, Objective, Pass, pass::GradientInputs};
use ndarray::ArrayView1;

/// A logit that is no output of a task is moved this far down.
const OUT: f32 = -1e9;

/// Examples of one task's loss.
#[derive(Debug, Clone)]
pub struct Rows {
    /// `n × d`.
    pub inputs: Tensor<2>,
    /// What stands for the inputs in the gradient of the first layer's weight, `n × d`.
    pub gradient_inputs: Option<Tensor<2>>,
    /// Distributions over the outputs, times each example's weight: `n × k`.
    pub targets: Tensor<2>,
    /// 0 for the outputs of an example's task, far below 0 for the others; `n × k`. `None`: all are.
    pub mask: Option<Tensor<2>>,
    /// Logits that should be kept, and the weights of their squared errors: both `n × k`.
    pub kept: Option<(Tensor<2>, Tensor<2>)>,
    /// Distributions at a temperature that should be kept (times their weight, `n × k`), the mask of their outputs, and the
    /// temperature.
    pub distilled: Option<(Tensor<2>, Tensor<2>, f64)>,
}

/// Builds [`Rows`] from examples.
#[derive(Debug, Default)]
pub struct RowsBuilder {
    inputs: Vec<f32>,
    gradient_inputs: Vec<f32>,
    targets: Vec<f32>,
    mask: Vec<f32>,
    kept: Vec<f32>,
    kept_weights: Vec<f32>,
    rows: usize,
    outputs: usize,
    masked: bool,
}

impl RowsBuilder {
    /// For a network with this many outputs; `masked` where tasks have outputs of their own.
    pub fn new(outputs: usize, masked: bool) -> Self {
        Self { outputs, masked, ..Self::default() }
    }

    /// Adds an example with its label's weight; `own` are the outputs of its task.
    pub fn push(&mut self, input: &[f32], label: usize, weight: f32, own: &Range<usize>) {
        self.inputs.extend_from_slice(input);
        let start = self.targets.len();
        self.targets.resize(start + self.outputs, 0.0);
        self.targets[start + label] = weight;
        if self.masked {
            self.mask.extend((0..self.outputs).map(|output| if own.contains(&output) { 0.0 } else { OUT }));
        }
        self.rows += 1;
    }

    /// Multiplies the weights of all examples so far.
    pub fn scale(&mut self, factor: f64) {
        self.targets.iter_mut().for_each(|target| *target *= factor as f32);
    }

    /// With what stands for the last example's input in the gradient of the first layer.
    pub fn with_gradient_input(&mut self, input: ArrayView1<'_, f32>) {
        append(&mut self.gradient_inputs, input);
    }

    /// With logits that the last example should keep, and the weight of each one's squared error.
    pub fn with_kept(&mut self, logits: &[f32], weight: f32) {
        let before = (self.rows - 1) * self.outputs;
        self.kept.resize(before, 0.0);
        self.kept_weights.resize(before, 0.0);
        self.kept.extend(logits);
        self.kept_weights.extend(std::iter::repeat_n(weight, logits.len()));
    }

    /// The rows.
    pub fn build(mut self, device: &Device) -> Rows {
        let n = self.rows;
        let tensor = |values: Vec<f32>| {
            let width = values.len() / n.max(1);
            Tensor::<2>::from_data(TensorData::new(values, [n, width]), device)
        };
        let kept = !self.kept.is_empty();
        if kept {
            self.kept.resize(n * self.outputs, 0.0);
            self.kept_weights.resize(n * self.outputs, 0.0);
        }
        Rows {
            inputs: tensor(self.inputs),
            gradient_inputs: (!self.gradient_inputs.is_empty()).then(|| tensor(self.gradient_inputs)),
            targets: tensor(self.targets),
            mask: self.masked.then(|| tensor(self.mask)),
            kept: kept.then(|| (tensor(self.kept), tensor(self.kept_weights))),
            distilled: None,
        }
    }
}

/// Adds a row, as one piece where it lies in one.
fn append(to: &mut Vec<f32>, row: ArrayView1<'_, f32>) {
    if to.is_empty() {
        // A usual batch without moving what was gathered.
        to.reserve(16 * row.len());
    }
    match row.as_slice() {
        Some(row) => to.extend_from_slice(row),
        None => to.extend(row),
    }
}

/// Examples of every task that is learnt together.
#[derive(Debug, Clone)]
pub struct StageBatch {
    /// One a task.
    pub tasks: Vec<Rows>,
}

impl StageBatch {
    fn each(&self, of: impl Fn(&Tensor<2>) -> Tensor<2>) -> Self {
        let rows = |rows: &Rows| Rows {
            inputs: of(&rows.inputs),
            gradient_inputs: rows.gradient_inputs.as_ref().map(&of),
            targets: of(&rows.targets),
            mask: rows.mask.as_ref().map(&of),
            kept: rows.kept.as_ref().map(|(logits, weights)| (of(logits), of(weights))),
            distilled: rows.distilled.as_ref().map(|(targets, mask, t)| (of(targets), of(mask), *t)),
        };
        Self { tasks: self.tasks.iter().map(rows).collect() }
    }
}

impl Batch for StageBatch {
    fn len(&self) -> usize {
        self.tasks.first().map_or(0, |rows| rows.inputs.dims()[0])
    }

    fn rows(&self, rows: Range<usize>) -> Self {
        self.each(|tensor| tensor.clone().narrow(0, rows.start, rows.len()))
    }

    fn select(&self, positions: &[usize]) -> Self {
        let positions: Vec<i64> = positions.iter().map(|&position| position as i64).collect();
        let n = positions.len();
        let device = self.tasks.first().map_or_else(lyceum_train::cpu, |rows| rows.inputs.device());
        let positions = Tensor::<1, Int>::from_data(TensorData::new(positions, [n]), &device);
        self.each(|tensor| tensor.clone().select(0, positions.clone()))
    }
}

/// The losses of the tasks that are learnt together.
#[derive(Debug, Clone)]
pub struct StageObjective {
    /// How many tasks there are.
    pub tasks: usize,
    /// Inputs for the gradients of weights, and the weight of the first layer, whose inputs lie in the batch.
    pub gradient_inputs: Option<(Arc<dyn GradientInputs>, Option<ParamId>)>,
}

/// [`StageObjective::gradient_inputs`] with the batch's own for the first layer.
#[derive(Debug)]
struct WithFirst {
    others: Arc<dyn GradientInputs>,
    first: Option<(ParamId, Tensor<2>)>,
}

impl GradientInputs for WithFirst {
    fn of(&self, weight: ParamId, x: Tensor<2>) -> Option<Tensor<2>> {
        match &self.first {
            Some((first, inputs)) if *first == weight => Some(inputs.clone()),
            _ => self.others.of(weight, x),
        }
    }
}

impl Objective for StageObjective {
    type Model = Net;
    type Batch = StageBatch;

    fn tasks(&self) -> usize {
        self.tasks
    }

    fn losses(&self, task: usize, model: &Net, batch: &StageBatch, pass: &mut Pass) -> Tensor<1> {
        let rows = &batch.tasks[task];
        if let Some((others, first)) = &self.gradient_inputs {
            let first = first.zip(rows.gradient_inputs.clone());
            pass.replace_gradient_inputs(Arc::new(WithFirst { others: others.clone(), first }));
        }
        let logits = model.forward(rows.inputs.clone().autodiff(), pass);
        let masked = match &rows.mask {
            Some(mask) => logits.clone() + mask.clone().autodiff(),
            None => logits.clone(),
        };
        let mut losses = softmax_cross_entropy(masked, rows.targets.clone().autodiff());
        if let Some((kept, weights)) = &rows.kept {
            let error = logits.clone() - kept.clone().autodiff();
            losses = losses + row_sums(error.clone() * error * weights.clone().autodiff());
        }
        if let Some((targets, mask, temperature)) = &rows.distilled {
            let soft = logits / *temperature + mask.clone().autodiff();
            losses = losses + softmax_cross_entropy(soft, targets.clone().autodiff());
        }
        losses
    }
}

/// The distributions softmax(z/T) over some outputs of logits `n × k`, times a weight, and the mask of these outputs.
pub fn softened(logits: Tensor<2>, own: &[Range<usize>], temperature: f64, weight: f64) -> (Tensor<2>, Tensor<2>) {
    let [n, k] = logits.dims();
    let inside = |output: usize| own.iter().any(|range| range.contains(&output));
    let row: Vec<f32> = (0..k).map(|output| if inside(output) { 0.0 } else { OUT }).collect();
    let mask = Tensor::<2>::from_data(TensorData::new(row.repeat(n), [n, k]), &logits.device());
    (softmax(logits / temperature + mask.clone(), 1) * weight, mask)
}

/// Accuracy of a model on examples whose task has these outputs.
pub fn accuracy(model: &Net, examples: &Examples, own: &Range<usize>) -> lyceum_core::Result<f64> {
    let logits = lyceum_train::logits(model, examples)?;
    let right = logits.rows().into_iter().zip(&examples.labels).filter(|(row, label)| {
        let best = own.clone().max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a)));
        best == Some(**label)
    });
    Ok(right.count() as f64 / examples.len().max(1) as f64)
}
