//! Active learning and active testing without bias.
//!
//! Points that a model asks to be labelled are no sample of the pool: the mean of their losses is biased. If each was
//! taken with a known probability, weights take the bias away (Farquhar, Gal and Rainforth, *On Statistical Bias in
//! Active Learning: How and When to Fix It*, ICLR 2021).
//!
//! ```
//! use lyceum_active::{AcquisitionLog, Estimator, Proposal, Sampler};
//! use lyceum_core::Seed;
//!
//! // The risk of a model on 1,000 points, from 50 labels. Scores say where the loss is thought to be large.
//! let losses: Vec<f64> = (0..1000).map(|i| if i % 10 == 0 { 3.0 } else { 0.1 }).collect();
//! let scores: Vec<f64> = losses.iter().map(|loss| loss + 0.2).collect();
//! let mut sampler = Sampler::new(Proposal::Proportional, AcquisitionLog::new(1000).unwrap(), Seed::new(1)).unwrap();
//! let found: Vec<f64> = sampler.draw(&scores, 50).unwrap().iter().map(|draw| losses[draw.index]).collect();
//!
//! let lure = sampler.log().estimate(&found, Estimator::Lure).unwrap();
//! let naive = sampler.log().estimate(&found, Estimator::Naive).unwrap();
//! assert!((lure.value - 0.39).abs() < 0.1 && naive.value > 1.0, "{lure:?} {naive:?}");
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`log`] | [`AcquisitionLog`]: what was taken, with which probability |
//! | [`proposal`] | [`Proposal`]: probabilities from scores |
//! | [`sampler`] | [`Sampler`]: draws without replacement, resumable |
//! | [`estimator`] | PURE, LURE, estimates with errors |
//! | [`confidence`] | intervals for bounded losses that hold at every number of labels |
//! | [`scores`] | acquisition scores from probabilities or posterior samples |
//! | [`batch_bald`], [`core_set`] | batches that are chosen together |
//! | [`bias`] | the bias of active learning beside that of overfitting |

pub mod batch_bald;
pub mod bias;
pub mod confidence;
pub mod core_set;
pub mod estimator;
pub mod log;
pub mod proposal;
pub mod sampler;
pub mod scores;
mod sum_tree;

pub use estimator::{Estimate, Estimator};
pub use log::{AcquisitionLog, Draw};
pub use proposal::Proposal;
pub use sampler::Sampler;
