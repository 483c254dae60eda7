//! How one forward pass through a network is made.

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
}

/// A value of this batch that a running average follows: the average's id, and the value.
pub type Statistic = (ParamId, Tensor<1>);

impl Pass {
    /// A pass for evaluation: running statistics, no dropout.
    pub fn evaluation() -> Self {
        Self { training: None, layers: 0, statistics: Vec::new() }
    }

    /// A pass for training: batch statistics, dropout masks from `seed`.
    pub fn training(seed: Seed) -> Self {
        Self { training: Some(seed), layers: 0, statistics: Vec::new() }
    }

    /// Whether the pass is for training.
    pub fn is_training(&self) -> bool {
        self.training.is_some()
    }

    /// What the batch says of a running average.
    pub fn leave_statistic(&mut self, average: ParamId, value: Tensor<1>) {
        self.statistics.push((average, value));
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
