//! CPU operators with hand-written backward passes, as a backend extension of burn.
//!
//! Each operator is one file: a forward and a backward function on plain slices, the extension trait that gives them
//! to burn's CPU backend (flex) and its autodiff, and a function on [`burn::Tensor`] that falls back to burn's own
//! operators on any other device. Gradients are checked against finite differences.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use lyceum_kernels::softmax_cross_entropy;
//!
//! let device = Device::flex();
//! let logits = Tensor::<2>::from_floats([[2.0, 0.0], [0.0, 0.0]], &device);
//! let targets = Tensor::<2>::from_floats([[1.0, 0.0], [0.5, 0.5]], &device);
//! let losses: Vec<f32> = softmax_cross_entropy(logits, targets).try_into_vec_as().unwrap();
//! assert!((losses[0] - 0.126_928).abs() < 1e-6 && (losses[1] - 0.693_147).abs() < 1e-6);
//! ```
//!
//! | operator | with it in the same sweep |
//! |---|---|
//! | [`conv2d`] | bias, ReLU |
//! | [`conv2d_max_pool_relu`] | bias, maximum over windows, ReLU |
//! | [`linear`] | bias, ReLU |
//! | [`batch_norm`] | residual, ReLU or ReLU6 |
//! | [`max_pool`] | ReLU |
//! | [`conv_transpose2d`] | bias |
//! | [`layer_norm`] | residual |
//! | [`group_norm`], [`resample`] (means of windows, interpolation) | |
//! | [`attention`] | mask, softmax |
//! | [`gelu`], [`mean`], [`row_sums`] | |
//! | [`gather_rows`] | |
//! | [`softmax_cross_entropy`], [`label_cross_entropy`] | |
//! | [`sgd_step`], [`adam_step`] | momentum, moments |
//! | [`vector`] | dot products, norms and sums of whole parameter vectors |
//!
//! Results do not depend on the number of threads: work is cut into pieces of fixed size, and what is summed over
//! pieces is summed in their order.

#![allow(
    clippy::too_many_arguments,
    clippy::needless_range_loop,
    clippy::needless_bitwise_bool,
    clippy::type_complexity,
    reason = "operators take tensors and constants one by one, and loops that shall become wide instructions are written by index"
)]

mod activation;
mod attention;
mod autodiff;
mod batch_norm;
mod check;
mod conv2d;
mod dispatch;
mod flex;
mod fresh;
mod gather_rows;
mod gelu;
mod group_norm;
mod label_cross_entropy;
mod layer_norm;
mod layout;
mod linear;
mod matmul;
mod max_pool;
mod optimizer;
pub mod pixels;
mod resample;
mod row_sums;
mod softmax_cross_entropy;

pub mod vector;

pub use activation::Activation;
pub use attention::attention;
pub use batch_norm::{BatchNormOutput, batch_norm};
pub use conv2d::{ConvScratch, PreparedConv, conv_transpose2d, conv2d, conv2d_max_pool_relu};
pub use gather_rows::gather_rows;
pub use gelu::gelu;
pub use group_norm::group_norm;
pub use label_cross_entropy::label_cross_entropy;
pub use layer_norm::layer_norm;
pub use linear::linear;
pub use max_pool::max_pool;
pub use optimizer::{AdamConstants, adam_step, sgd_step};
pub use resample::{Resampling, resample};
pub use row_sums::{mean, row_sums};
pub use softmax_cross_entropy::softmax_cross_entropy;
