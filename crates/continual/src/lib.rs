//! Continual learning: tasks that come one after another, and what keeps a network from forgetting.
//!
//! Gradient Projection Memory (Saha, Garg and Roy, ICLR 2021) keeps, for each layer, an orthonormal basis of the inputs that
//! earlier tasks gave it, and takes it out of every later gradient: what the network says of earlier tasks hardly changes, and
//! no example is stored.
//!
//! ```
//! use lyceum_continual::{Basis, RankRule};
//! use ndarray::array;
//!
//! // Inputs of a task, one a row; nine tenths of their energy lie in one direction.
//! let mut basis = Basis::new(3);
//! let update = basis.learn(array![[3.0, 0.0, 0.0], [0.0, 1.0, 0.0]].view(), 0.9, RankRule::Paper).unwrap();
//! assert_eq!((update.rank, update.dimension), (1, 3));
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`stream`] | permuted, rotated and split tasks |
//! | [`basis`] | [`Basis`]: the directions of a layer's inputs |
//! | [`strategies`] | GPM, and the baselines: EWC, SI, LwF, OGD, A-GEM, ER, DER++, naive, multitask |
//! | [`strategy`] | [`Strategy`]: what one may do |
//! | [`objective`] | losses within a task's outputs |
//! | [`learner`] | [`Learner`]: learns a stream, resumable |
//! | [`metrics`] | ACC, BWT, FWT, forgetting |

pub mod basis;
pub mod learner;
pub mod metrics;
pub mod objective;
pub mod strategies;
pub mod strategy;
pub mod stream;
mod surface;

pub use basis::{Basis, RankRule};
pub use learner::Learner;
pub use strategies::StrategyConfig;
pub use strategy::Strategy;
pub use stream::{StreamConfig, Task};
