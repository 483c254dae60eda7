//! Models, the space of their parameters, the training step as a pipeline of parts, and the trainer that drives it.
//!
//! ```
//! use lyceum_core::Seed;
//! use lyceum_data::{Cache, catalog};
//! use lyceum_train::{ModelConfig, Plain, TrainConfig, Trainer, evaluate};
//!
//! let digits = catalog::load("digits", &Cache::locate()).unwrap();
//! let model = ModelConfig::Mlp { hidden: vec![32], dropout: 0.0 }.init(digits.extent, 10, Seed::new(1), &lyceum_train::cpu()).unwrap();
//! let config = TrainConfig { epochs: 10, ..TrainConfig::default() };
//! let mut trainer = Trainer::new(config, model, 10, Box::new(Plain), Seed::new(1))?;
//! trainer.run_epochs(&digits.train).unwrap();
//! let outcome = evaluate(trainer.model(), &digits.train).unwrap();
//! assert!(outcome.accuracy > 0.9, "{}", outcome.accuracy);
//! # Ok::<(), lyceum_core::Error>(())
//! ```
//!
//! One step, each part a trait with its implementations beside it:
//!
//! ```text
//! batch ─► Objective ─► GradientEstimator ─► GradientCombiner ─► [GradientTransform …] ─► Optimizer ─► parameters
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`param_space`] | [`ParamSpace`]: a module's parameters as one vector, and back |
//! | [`pass`] | [`Pass`]: how a forward pass is made: statistics, randomness |
//! | [`onnx`] | networks of other tools as networks, and networks as ONNX models |
//! | [`distillation`] | learning from another network |
//! | [`objective`] | [`Objective`], [`CrossEntropy`], [`Regression`] |
//! | [`oracle`] | [`Oracle`]: losses and gradients at any point, for estimators |
//! | [`estimator`] | [`GradientEstimator`], [`Plain`] |
//! | [`combiner`] | [`GradientCombiner`], [`Sum`] |
//! | [`transform`] | [`GradientTransform`], [`ClipNorm`] |
//! | [`optimizer`] | [`OptimizerConfig`]: SGD and Adam over the whole vector |
//! | [`schedule`] | [`Schedule`]: learning rates |
//! | [`pipeline`] | [`Pipeline`]: one step, all parts together |
//! | [`structure`] | [`Structure`]: which units and blocks of a network are there, round by round; [`Gating`] |
//! | [`steps`] | training by steps in a run, looked at every so many |
//! | [`trainer`] | [`Trainer`]: epochs, checkpoints, early stopping |
//! | [`evaluation`] | logits, samples by dropout, accuracy, log-loss |
//! | [`masked_tokens`] | [`MaskedTokens`], the objective of masked language models |
//! | [`graph`], [`models`] | networks as data, and those with a name; BERT |
//! | [`layers`] | what has parameters |
//! | [`device`] | devices by name |
//! | [`parallel`] | independent trainings, one thread each |

pub mod combiner;
pub mod device;
pub mod distillation;
pub mod estimator;
pub mod evaluation;
pub mod graph;
pub mod groups;
pub mod layers;
pub mod masked_tokens;
pub mod models;
pub mod objective;
pub mod onnx;
pub mod optimizer;
pub mod oracle;
pub mod parallel;
pub mod param_space;
pub mod pass;
pub mod pipeline;
pub mod schedule;
pub mod state;
pub mod steps;
pub mod structure;
pub mod token_tasks;
pub mod trainer;
pub mod transform;

pub use combiner::{GradientCombiner, Sum};
pub use device::{DeviceName, cpu};
pub use distillation::DistillationConfig;
pub use estimator::{Estimate, GradientEstimator, Plain};
pub use evaluation::{Errors, Evaluation, calibrated, dropout_samples, evaluate, logits};
pub use graph::Net;
pub use groups::Group;
pub use masked_tokens::{MaskedTokens, TokenBatch};
pub use models::{Bert, BertConfig, ModelConfig, Network, NetworkFile, OnnxFile};
pub use objective::{Batch, CrossEntropy, Objective, Regression, RegressionLoss};
pub use optimizer::OptimizerConfig;
pub use oracle::{ModelOracle, Oracle, Slopes, WeightDecay};
pub use param_space::{Kind, ParamSpace};
pub use pass::Pass;
pub use pipeline::Pipeline;
pub use schedule::{Rate, Schedule};
pub use state::State;
pub use structure::{Gating, Structure};
pub use token_tasks::{TokenTasks, TokenTasksBatch, evaluate_tokens};
pub use trainer::{TrainConfig, Trainer};
pub use transform::{ClipNorm, GradientTransform};

/// A point of parameter space, or a direction in it: every trainable parameter of a module, one after the other.
pub type Vector = burn::tensor::Tensor<1>;
