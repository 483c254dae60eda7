//! Smaller networks: units chosen by their importance and removed for real, until a budget is met.
//!
//! A unit is a set of slices of parameters that live and die together ([`Graph::dependencies`]): a filter with its column in the next layer,
//! a hidden unit with the four gates of an LSTM, a channel of a whole residual stage. What is left is a plain dense network.
//!
//! ```
//! use lyceum_core::Seed;
//! use lyceum_data::Extent;
//! use lyceum_sparsify::{Budget, Criterion, Rules, shrink};
//! use lyceum_train::{ModelConfig, cpu};
//!
//! let extent = Extent { channels: 1, height: 1, width: 16 };
//! let net = ModelConfig::Mlp { hidden: vec![64, 32], dropout: 0.0 }.init(extent, 10, Seed::new(0), &cpu())?;
//! let rules = Rules { budget: Budget::MultiplyAdds(0.5), ..Rules::default() };
//! let small = shrink(&net, &rules, |net| Criterion::L1.importance(net, None, Seed::new(0)))?;
//! assert!(small.net.graph().cost().multiply_adds <= net.graph().cost().multiply_adds / 2);
//! # Ok::<(), lyceum_core::Error>(())
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`budget`] | [`Budget`]: a share of multiply-adds or parameters |
//! | [`criterion`] | [`Criterion`]: what says how important a unit is |
//! | [`plan`] | [`Rules`], and which units they take out |
//! | [`shrunk`] | [`shrink`], the smaller network and its certificate |

#[cfg(doc)]
use lyceum_train::graph::Graph;

pub mod budget;
pub mod criterion;
pub mod gates;
pub mod parts;
pub mod plan;
pub mod shrunk;
pub mod sparsifier;
mod whole;

pub use budget::{Budget, Meter};
pub use criterion::Criterion;
pub use gates::Growth;
pub use parts::Parts;
pub use plan::{Allocation, Rules};
pub use shrunk::{Kept, Shrunk, shrink};
pub use sparsifier::{Method, Sparsifier, SparsifyConfig};
