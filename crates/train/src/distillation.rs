//! Learning from another network's probabilities.

use std::ops::Range;

use burn::tensor::{Tensor, activation::softmax};
use lyceum_core::range;
use lyceum_kernels::softmax_cross_entropy;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Batch, Net, Network, Objective, ParamSpace, Pass, objective::LabelledBatch};

/// How a network learns from a teacher (Hinton, Vinyals and Dean, *Distilling the Knowledge in a Neural Network*, 2015).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DistillationConfig {
    /// w of the loss (1 − w)·CE(labels) + w·T²·CE(teacher at T): what the teacher counts; 0 for labels alone.
    #[serde(with = "range::Fraction")]
    pub share: f64,
    /// T, which both networks' logits are divided by.
    #[serde(with = "range::Positive")]
    pub temperature: f64,
}

impl Default for DistillationConfig {
    fn default() -> Self {
        Self { share: 0.5, temperature: 2.0 }
    }
}

/// A teacher, and what it counts.
pub(crate) struct Distillation {
    pub(crate) config: DistillationConfig,
    /// In evaluation mode, without gradients.
    teacher: Net,
}

/// Labelled examples with the teacher's probabilities, `n × k`.
#[derive(Debug, Clone)]
pub(crate) struct TaughtBatch {
    labelled: LabelledBatch,
    probabilities: Tensor<2>,
}

impl Distillation {
    pub(crate) fn new(config: DistillationConfig, teacher: &Net) -> Self {
        let space = ParamSpace::of(teacher);
        Self { config, teacher: space.place_for_evaluation(teacher.clone(), &space.vector(teacher)) }
    }

    /// A batch with the teacher's probabilities for its inputs, which may be augmented.
    pub(crate) fn taught(&self, labelled: LabelledBatch) -> TaughtBatch {
        let logits = self.teacher.forward(labelled.inputs.clone(), &mut Pass::evaluation());
        TaughtBatch { probabilities: softmax(logits / self.config.temperature, 1), labelled }
    }
}

impl Batch for TaughtBatch {
    fn len(&self) -> usize {
        self.labelled.len()
    }

    fn rows(&self, rows: Range<usize>) -> Self {
        let probabilities = self.probabilities.clone().narrow(0, rows.start, rows.len());
        Self { labelled: self.labelled.rows(rows), probabilities }
    }

    fn select(&self, positions: &[usize]) -> Self {
        let both = LabelledBatch { inputs: self.labelled.inputs.clone(), targets: self.probabilities.clone() };
        Self { labelled: self.labelled.select(positions), probabilities: both.select(positions).targets }
    }
}

impl Objective for Distillation {
    type Model = Net;
    type Batch = TaughtBatch;

    fn losses(&self, _: usize, model: &Net, batch: &TaughtBatch, pass: &mut Pass) -> Tensor<1> {
        let DistillationConfig { share, temperature } = self.config;
        let logits = model.forward(batch.labelled.inputs.clone().autodiff(), pass);
        let taught = softmax_cross_entropy(logits.clone() / temperature, batch.probabilities.clone().autodiff());
        let labelled = softmax_cross_entropy(logits, batch.labelled.targets.clone().autodiff());
        labelled * (1.0 - share) + taught * (share * temperature * temperature)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use lyceum_core::Seed;
    use lyceum_data::{Examples, Extent};

    use super::*;
    use crate::{ModelConfig, cpu};

    #[test]
    fn a_loss_worked_by_hand_and_no_slope_at_the_teacher() {
        let extent = Extent { channels: 1, height: 1, width: 1 };
        let net = |weights: [f32; 2]| {
            let net = ModelConfig::Linear.init(extent, 2, Seed::new(0), &cpu()).unwrap();
            let space = ParamSpace::of(&net);
            let arrays = space.arrays(&net).into_iter().map(|mut array| {
                array.values = if array.name.ends_with("weight") { weights.to_vec() } else { vec![0.0; 2] };
                array
            });
            space.load(net, &arrays.collect::<Vec<_>>()).unwrap()
        };
        let examples = Examples::new(ndarray::array![[1.0]], vec![0]);
        let loss = |student: [f32; 2], teacher: [f32; 2], share: f64| {
            let distillation = Distillation::new(DistillationConfig { share, temperature: 2.0 }, &net(teacher));
            let student = net(student);
            let space = ParamSpace::of(&student);
            let model = space.place(student.clone(), &space.vector(&student));
            let batch = distillation.taught(LabelledBatch::new(&examples, &[0], 2, 0.0, &cpu()));
            let losses = distillation.losses(0, &model, &batch, &mut Pass::evaluation());
            let gradient = space.gradient(&model, losses.clone().backward());
            (losses.into_scalar::<f32>(), gradient.into_data().try_to_vec::<f32>().unwrap()[0])
        };
        // Logits (2, 0) of both: −log softmax = 0.126928; at T = 2 the entropy of (0.731059, 0.268941) is 0.582203, times T² 2.328812.
        let (found, _) = loss([2.0, 0.0], [2.0, 0.0], 0.25);
        assert!((found - (0.75 * 0.126_928 + 0.25 * 2.328_812)).abs() < 1e-5, "{found}");
        assert!(loss([2.0, 0.0], [2.0, 0.0], 1.0).1.abs() < 1e-6);
        // T²·(p − q)/T = 2·(0.5 − 0.731059).
        assert!((loss([0.0, 0.0], [2.0, 0.0], 1.0).1 + 0.462_117).abs() < 1e-5);
    }
}
