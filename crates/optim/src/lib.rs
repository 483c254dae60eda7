//! Sharpness-aware minimisation and its relatives, measures of sharpness, and gradients of several tasks.
//!
//! Training towards parameters whose whole neighbourhood has low loss (Foret et al., ICLR 2021):
//!
//! ```text
//! min_w max_{‖ε‖_p ≤ ρ} L(w + ε)        one step: g = ∇L(w), ε̂ = ρ·sign(g)|g|^{q−1}/‖g‖_q^{q−1}, w ← Opt(w, ∇L(w + ε̂))
//! ```
//!
//! ```
//! use lyceum_core::Seed;
//! use lyceum_data::{Cache, catalog};
//! use lyceum_optim::EstimatorConfig;
//! use lyceum_train::{ModelConfig, TrainConfig, Trainer, evaluate};
//!
//! let digits = catalog::load("digits", &Cache::locate()).unwrap();
//! let model = ModelConfig::Mlp { hidden: vec![32], dropout: 0.0 }.init(digits.extent, 10, Seed::new(1), &lyceum_train::cpu()).unwrap();
//! let sam = EstimatorConfig::sam(0.05).build()?;
//! let config = TrainConfig { epochs: 10, ..TrainConfig::default() };
//! let mut trainer = Trainer::new(config, model, 10, sam, Seed::new(1))?;
//! trainer.run_epochs(&digits.train).unwrap();
//! assert!(evaluate(trainer.model(), &digits.train).unwrap().accuracy > 0.9);
//! # Ok::<(), lyceum_core::Error>(())
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | [`EstimatorConfig`]: which estimator, as a recipe says it |
//! | [`perturbation`] | [`Perturbation`](perturbation::Perturbation): p-norm ball, adaptive (ASAM), random |
//! | [`sam`] | [`SharpnessAware`]: SAM with m-sharpness and any perturbation |
//! | [`gsam`], [`looksam`], [`esam`] | the relatives |
//! | [`multitask`] | [`Multitask`]: Gradient Vaccine, PCGrad and the others in the step pipeline |
//! | [`surface`] | [`LossSurface`](surface::LossSurface): loss and gradient over fixed examples |
//! | [`sharpness`] | top Hessian eigenvalues, largest loss in a ball, the PAC-Bayes bound of the paper |
//! | [`sparsity`] | [`Sparsity`]: the cost of training a network that gains and loses units |
//! | [`comparison`] | arms of training on the same data from the same start |
//! | [`experiment`] | the experiment `train` |

pub mod comparison;
pub mod config;
pub mod esam;
pub mod experiment;
pub mod gsam;
pub mod looksam;
pub mod multitask;
pub mod perturbation;
pub mod sam;
pub mod sharpness;
pub mod sparsity;
pub mod surface;

pub use config::EstimatorConfig;
pub use esam::Esam;
pub use gsam::Gsam;
pub use looksam::LookSam;
pub use multitask::Multitask;
pub use sam::SharpnessAware;
pub use sparsity::Sparsity;
