//! What a network says of examples.

use burn::tensor::{Tensor, TensorData};
use lyceum_core::{Error, Result};
use lyceum_data::Examples;
use ndarray::{Array2, s};

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
    let space = ParamSpace::of(model);
    let plain = space.place_for_evaluation(model.clone(), &space.vector(model));
    let device = space.vector(model).device();
    let (n, d) = examples.inputs.dim();
    let mut values = Vec::new();
    for start in (0..n).step_by(ROWS) {
        let rows = examples.inputs.slice(s![start..(start + ROWS).min(n), ..]);
        let inputs = TensorData::new(rows.iter().copied().collect::<Vec<f32>>(), [rows.nrows(), d]);
        let out = plain.forward(Tensor::from_data(inputs, &device), &mut Pass::evaluation());
        let out: Vec<f32> = out.try_into_vec_as().map_err(|error| Error::Failed(format!("the device gave no logits: {error}")))?;
        values.extend(out);
    }
    let classes = values.len().checked_div(n).unwrap_or(0);
    Array2::from_shape_vec((n, classes), values).map_err(|error| Error::Failed(error.to_string()))
}

/// Accuracy and log-loss on examples.
pub fn evaluate(model: &impl Network, examples: &Examples) -> Result<Evaluation> {
    Ok(Evaluation::of(&logits(model, examples)?, &examples.labels))
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
