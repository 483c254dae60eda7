//! How one forward pass through a network is made.

use std::sync::Arc;

use burn::{
    module::ParamId,
    tensor::{Tensor, TensorData},
};
use lyceum_core::Seed;
use rand::RngExt;

/// What a forward pass may use and what it leaves behind.
///
/// Layers keep no state of their own while a pass goes on: batch normalisation leaves its batch statistics here and
/// dropout draws its masks from here. So whoever makes the pass decides what becomes of the statistics, and two
/// passes made with the same [`Seed`] see the same masks.
#[derive(Debug)]
pub struct Pass {
    training: Option<Seed>,
    layers: u64,
    statistics: Vec<Statistic>,
    inputs: Option<Vec<(ParamId, LayerInput)>>,
    replacement: Option<Arc<dyn GradientInputs>>,
}

/// What a layer was given.
#[derive(Debug, Clone)]
pub enum LayerInput {
    /// A fully connected layer: one input a row.
    Rows(Tensor<2>),
    /// A convolution.
    Images(Tensor<4>, Window),
}

/// What of an image a convolution sees at a time: pixels in `kernel` rows and columns, `stride` apart, with `padding` zeros around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "told above")]
pub struct Window {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [usize; 2],
    /// The distance between the pixels; 1 where they touch.
    pub dilation: [usize; 2],
    /// How many groups the channels fall into.
    pub groups: usize,
}

/// Other inputs for the gradients of weights: with G = xᵀδ, a change of x in this product alone changes the gradient of the
/// weight and nothing else.
pub trait GradientInputs: std::fmt::Debug + Send + Sync {
    /// What stands for the input `x` (without autodiff) of the fully connected layer with this weight; `None`: itself.
    fn of(&self, weight: ParamId, x: Tensor<2>) -> Option<Tensor<2>>;
}

/// A value of this batch that a running average follows: the average's id, and the value.
pub type Statistic = (ParamId, Tensor<1>);

impl Pass {
    /// A pass for evaluation: running statistics, no dropout.
    pub fn evaluation() -> Self {
        Self { training: None, layers: 0, statistics: Vec::new(), inputs: None, replacement: None }
    }

    /// A pass for training: batch statistics, dropout masks from `seed`.
    pub fn training(seed: Seed) -> Self {
        Self { training: Some(seed), ..Self::evaluation() }
    }

    /// Whether the pass is for training.
    pub fn is_training(&self) -> bool {
        self.training.is_some()
    }

    /// What the batch says of a running average.
    pub fn leave_statistic(&mut self, average: ParamId, value: Tensor<1>) {
        self.statistics.push((average, value));
    }

    /// A pass that also keeps what each layer was given.
    pub fn recording(mut self) -> Self {
        self.inputs = Some(Vec::new());
        self
    }

    /// What the layers were given, in their order, with their weights; empty unless the pass is [recording](Self::recording).
    pub fn into_inputs(self) -> Vec<(ParamId, LayerInput)> {
        self.inputs.unwrap_or_default()
    }

    /// From here on, gradients of weights come from these inputs.
    pub fn replace_gradient_inputs(&mut self, inputs: Arc<dyn GradientInputs>) {
        self.replacement = Some(inputs);
    }

    /// A fully connected layer says what it was given; gives what stands for it in the gradient of its weight.
    pub(crate) fn meet_rows(&mut self, weight: ParamId, x: &Tensor<2>) -> Option<Tensor<2>> {
        let value = || if x.is_autodiff() { x.clone().inner() } else { x.clone() };
        if let Some(inputs) = &mut self.inputs {
            inputs.push((weight, LayerInput::Rows(value())));
        }
        let found = self.replacement.as_ref()?.of(weight, value())?;
        Some(if x.is_autodiff() { found.autodiff() } else { found })
    }

    /// A convolution says what it was given.
    pub(crate) fn meet_images(&mut self, weight: ParamId, x: &Tensor<4>, window: Window) {
        if let Some(inputs) = &mut self.inputs {
            inputs.push((weight, LayerInput::Images(if x.is_autodiff() { x.clone().inner() } else { x.clone() }, window)));
        }
    }

    /// What the layers left behind.
    pub fn into_statistics(self) -> Vec<Statistic> {
        self.statistics
    }

    /// Sets each value to 0 with probability `rate` and scales the others by 1/(1−rate); the identity in evaluation.
    pub fn dropout<const D: usize>(&mut self, x: Tensor<D>, rate: f64) -> Tensor<D> {
        let Some(seed) = self.training.filter(|_| rate > 0.0) else { return x };
        self.layers += 1;
        let mut rng = seed.stream_at("dropout", self.layers);
        let shape = x.shape();
        let scale = (1.0 / (1.0 - rate)) as f32;
        let mask: Vec<f32> = (0..shape.num_elements()).map(|_| if rng.random::<f64>() < rate { 0.0 } else { scale }).collect();
        let device = x.device().inner();
        let mask = Tensor::<D>::from_data(TensorData::new(mask, shape), &device);
        if x.is_autodiff() { x * mask.autodiff() } else { x * mask }
    }
}
