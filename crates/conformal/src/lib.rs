//! Prediction sets that contain the truth with a probability you choose, for any classifier.
//!
//! From logits on held-out labelled examples a threshold τ is computed; the set of a new example is every label whose
//! score is at most τ. On exchangeable data the set contains the true label with probability at least 1 − α, whatever
//! the classifier (Angelopoulos, Bates, Malik and Jordan, *Uncertainty Sets for Image Classifiers using Conformal
//! Prediction*, ICLR 2021).
//!
//! ```
//! use lyceum_conformal::{Conformal, ConformalConfig, ScoreConfig, metrics};
//! use lyceum_core::Seed;
//! use ndarray::Array2;
//!
//! // A classifier that is right two times in three.
//! let logits = Array2::from_shape_fn((600, 5), |(i, k)| if k == (i * 7) % 5 { 2.0 } else { (i * k % 3) as f32 * 0.3 });
//! let labels: Vec<usize> = (0..600).map(|i| if i % 3 == 0 { (i / 3) % 5 } else { (i * 7) % 5 }).collect();
//! let (calibration, test) = logits.view().split_at(ndarray::Axis(0), 300);
//!
//! let config = ConformalConfig { alpha: 0.1, score: ScoreConfig::raps(0.01, 1), ..ConformalConfig::default() };
//! let conformal = Conformal::calibrate(config, calibration, &labels[..300], Seed::new(0)).unwrap();
//! let sets = conformal.predict(test, Seed::new(1)).unwrap();
//! assert!(metrics::coverage(&sets, &labels[300..]).share > 0.85);
//! ```
//!
//! Rows are worked on in parallel and never sorted as a whole: calibration needs only what stands above the true
//! label, prediction only the head of the ranking. Probabilities are held as whole numbers of 2⁻²⁹, so sums do not
//! depend on the order of the terms and a label has the same score, to the bit, in both phases.
//!
//! | module | holds |
//! |---|---|
//! | [`conformal`] | [`Conformal`]: calibrate, predict |
//! | [`predictor`] | [`Predictor`]: any calibrated model, saved and loaded |
//! | [`score`] | [`Score`](score::Score): RAPS, APS, LAC, SAPS, top-k |
//! | [`scheme`] | [`Scheme`]: which threshold a label's score is held against |
//! | [`mondrian`] | coverage within groups, classes, clusters of classes |
//! | [`weighted`] | covariate shift |
//! | [`online`] | streams that drift (ACI) |
//! | [`cross`] | cross-conformal prediction |
//! | [`risk`] | conformal risk control, learn then test |
//! | [`regression`] | split, quantile regression, jackknife+ |
//! | [`intervals`] | [`Intervals`]: intervals of a model of numbers, saved and loaded |
//! | [`predictive`] | [`Predictive`]: a distribution of each number |
//! | [`enbpi`] | intervals of a series |
//! | [`venn_abers`] | [`VennAbers`]: calibrated probabilities |
//! | [`sets`] | [`PredictionSets`], in compressed rows |
//! | [`temperature`] | temperature scaling |
//! | [`tune`] | the choice of λ and k_reg, for size or for adaptiveness |
//! | [`quantile`] | the conformal quantile |
//! | [`logits`] | logits in double precision |
//! | [`metrics`] | coverage with exact intervals, sizes, coverage by size, class and difficulty |

pub mod conformal;
pub mod cross;
mod draws;
pub mod enbpi;
mod gather;
pub mod intervals;
pub mod logits;
pub mod metrics;
pub mod mondrian;
pub mod online;
pub mod predictive;
pub mod predictor;
pub mod quantile;
mod ranking;
pub mod regression;
pub mod risk;
mod row;
mod rows;
pub mod scheme;
pub mod score;
pub mod sets;
mod softmax;
pub mod temperature;
pub mod tune;
pub mod venn_abers;
pub mod weighted;

pub use conformal::{Conformal, ConformalConfig, Randomization};
pub use cross::CrossConformal;
pub use intervals::Intervals;
pub use mondrian::{ClassConditional, Clustering, Mondrian};
pub use online::{Adaptive, Online};
pub use predictive::Predictive;
pub use predictor::{Known, Names, Predictor};
pub use scheme::Scheme;
pub use score::ScoreConfig;
pub use sets::PredictionSets;
pub use venn_abers::VennAbers;
pub use weighted::Weighted;
