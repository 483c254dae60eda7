//! What a network says of examples.

use burn::tensor::{Tensor, TensorData};
use lyceum_core::{Error, Result, Seed, interrupt};
use lyceum_data::{Examples, split};
use ndarray::{Array2, Array3, ArrayViewMut1, Axis, concatenate};

use crate::{Network, ParamSpace, Pass};

/// Examples a forward pass: enough to keep the cores busy, little enough to stay in cache.
const ROWS: usize = 256;

/// How well a network does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// The share of examples whose largest logit is the label's.
    pub accuracy: f64,
    /// The mean of −log softmax(z)_label.
    pub log_loss: f64,
}

/// The logits of all examples, `n × k`, in evaluation mode.
pub fn logits(model: &impl Network, examples: &Examples) -> Result<Array2<f32>> {
    logits_by(model, examples, interrupt::check, |_| Pass::evaluation())
}

/// The same where no stop is heard: within a step, which is made as a whole.
pub fn logits_within_step(model: &impl Network, examples: &Examples) -> Result<Array2<f32>> {
    logits_by(model, examples, || Ok(()), |_| Pass::evaluation())
}

/// softmax of the logits of all examples, `n × k`, in evaluation mode.
pub fn probabilities(model: &impl Network, examples: &Examples) -> Result<Array2<f32>> {
    let mut found = logits(model, examples)?;
    found.rows_mut().into_iter().for_each(softmax);
    Ok(found)
}

/// The probabilities of all examples under networks drawn by dropout, `samples × n × k`: each pass has masks of its own
/// (Gal and Ghahramani, *Dropout as a Bayesian Approximation*, 2016).
pub fn dropout_samples(model: &impl Network, examples: &Examples, samples: usize, seed: Seed) -> Result<Array3<f32>> {
    let mut all = Vec::with_capacity(samples);
    for sample in 0..samples {
        let mut sample =
            logits_by(model, examples, interrupt::check, |start| Pass::training(seed.child(&format!("dropout/{sample}/{start}"))))?;
        sample.rows_mut().into_iter().for_each(softmax);
        all.push(sample.insert_axis(Axis(0)));
    }
    let views: Vec<_> = all.iter().map(|sample| sample.view()).collect();
    concatenate(Axis(0), &views).map_err(|error| Error::Failed(error.to_string()))
}

fn softmax(mut row: ArrayViewMut1<'_, f32>) {
    let max = row.fold(f32::NEG_INFINITY, |max, &z| max.max(z));
    row.mapv_inplace(|z| (z - max).exp());
    let sum = row.sum();
    row /= sum;
}

/// Logits, with a pass for the examples from each start on; `asked` says whether to stop before each.
fn logits_by(
    model: &impl Network,
    examples: &Examples,
    asked: impl Fn() -> Result<()>,
    pass: impl Fn(usize) -> Pass,
) -> Result<Array2<f32>> {
    let space = ParamSpace::of(model);
    let plain = space.place_for_evaluation(model.clone(), &space.vector(model));
    let device = space.vector(model).device();
    let (n, d) = examples.inputs.dim();
    let mut values = Vec::new();
    for start in (0..n).step_by(ROWS) {
        asked()?;
        let rows = start..(start + ROWS).min(n);
        let inputs = TensorData::new(examples.inputs.block(rows.clone()).into_owned(), [rows.len(), d]);
        let out = plain.forward(Tensor::from_data(inputs, &device), &mut pass(start));
        let out: Vec<f32> = out.try_into_vec_as().map_err(|error| Error::Failed(format!("the device gave no logits: {error}")))?;
        values.extend(out);
    }
    let classes = values.len().checked_div(n).unwrap_or(0);
    Array2::from_shape_vec((n, classes), values).map_err(|error| Error::Failed(error.to_string()))
}

/// The network with running statistics that are the means over batches of `count` examples, drawn from all.
pub fn calibrated<N: Network>(model: N, examples: &Examples, count: usize, seed: Seed) -> Result<N> {
    let space = ParamSpace::of(&model);
    if space.statistics(&model).is_empty() || examples.is_empty() {
        return Ok(model);
    }
    let vector = space.vector(&model);
    let order = split::permutation(examples.len(), &mut seed.stream("calibration"));
    let mut model = model;
    for (number, positions) in order[..order.len().min(count)].chunks(ROWS).enumerate() {
        interrupt::check()?;
        let plain = space.place_for_evaluation(model.clone(), &vector);
        let mut inputs = Vec::new();
        positions.iter().for_each(|&position| examples.inputs.append_row(position, &mut inputs));
        let inputs = TensorData::new(inputs, [positions.len(), examples.inputs.ncols()]);
        let mut pass = Pass::training(seed.child(&format!("calibration/{number}")));
        plain.forward(Tensor::from_data(inputs, &vector.device()), &mut pass);
        model = space.update_averages(model, &pass.into_statistics(), 1.0 / (number + 1) as f64);
    }
    Ok(model)
}

/// Accuracy and log-loss on examples.
pub fn evaluate(model: &impl Network, examples: &Examples) -> Result<Evaluation> {
    Ok(Evaluation::of(&logits(model, examples)?, &examples.labels))
}

/// How far predictions of numbers are from the truth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Errors {
    /// 1 − Σ(y − ŷ)²/Σ(y − ȳ)²; not a number where all y are the same.
    pub r2: f64,
    /// √(Σ(y − ŷ)²/n).
    pub rmse: f64,
    /// Σ|y − ŷ|/n.
    pub mae: f64,
}

impl Errors {
    /// Of predictions ŷ and the truth y.
    pub fn of(predictions: &[f64], truth: &[f64]) -> Self {
        let n = truth.len().max(1) as f64;
        let mean = truth.iter().sum::<f64>() / n;
        let sum = |of: &dyn Fn(f64, f64) -> f64| predictions.iter().zip(truth).map(|(p, y)| of(*p, *y)).sum::<f64>();
        let squared = sum(&|p, y| (y - p).powi(2));
        let around = sum(&|_, y| (y - mean).powi(2));
        // The mean of equal numbers may be another by rounding.
        let differ = truth.iter().any(|y| *y != truth[0]);
        let r2 = if differ { 1.0 - squared / around } else { f64::NAN };
        Self { r2, rmse: (squared / n).sqrt(), mae: sum(&|p, y| (y - p).abs()) / n }
    }
}

impl Evaluation {
    /// From logits and labels. Ties go to the lower class.
    pub fn of(logits: &Array2<f32>, labels: &[usize]) -> Self {
        let (mut right, mut loss) = (0_usize, 0.0_f64);
        for (row, &label) in logits.rows().into_iter().zip(labels) {
            let (mut best, mut max) = (0, f32::NEG_INFINITY);
            for (class, &z) in row.iter().enumerate() {
                if z > max {
                    (best, max) = (class, z);
                }
            }
            right += usize::from(best == label);
            let sum: f64 = row.iter().map(|&z| f64::from(z - max).exp()).sum();
            loss += sum.ln() + f64::from(max - row[label]);
        }
        let n = labels.len().max(1) as f64;
        Self { accuracy: right as f64 / n, log_loss: loss / n }
    }
}
