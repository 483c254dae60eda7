//! Layers with initial values from named random streams, so that a model depends on its seed alone.

mod batch_norm;
mod conv2d;
mod embedding;
mod group_norm;
mod layer_norm;
mod linear;
mod lstm;
mod transposed_conv2d;

pub use batch_norm::BatchNorm;
pub use conv2d::Conv2d;
pub(crate) use embedding::{embed, embedding};
pub use group_norm::GroupNorm;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub(crate) use lstm::lstm;
pub use transposed_conv2d::TransposedConv2d;

use burn::{
    module::Param,
    tensor::{Device, Tensor, TensorData},
};
use lyceum_core::Stream;
use rand::RngExt;
use rand_distr::{Distribution, Normal};

/// A weight drawn from U(−√(6/fan_in), √(6/fan_in)), which keeps the variance through layers with ReLU (He et al. 2015).
fn he_uniform<const D: usize>(shape: [usize; D], fan_in: usize, rng: &mut Stream, device: &Device) -> Param<Tensor<D>> {
    let bound = (6.0 / fan_in as f64).sqrt();
    let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(|_| rng.random_range(-bound..=bound) as f32).collect();
    trained(values, shape, device)
}

/// A weight drawn from N(0, deviation²).
pub(crate) fn normal<const D: usize>(shape: [usize; D], deviation: f32, rng: &mut Stream, device: &Device) -> Param<Tensor<D>> {
    let distribution = Normal::new(0.0, deviation).expect("a finite deviation");
    trained(distribution.sample_iter(rng).take(shape.iter().product()).collect(), shape, device)
}

/// A trainable parameter with these values.
pub(crate) fn trained<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device).autodiff())
}
