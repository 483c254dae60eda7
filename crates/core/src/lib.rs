//! The ground floor of Lyceum: what every method needs and none should write again.
//!
//! * [`Seed`] and [`Stream`]: one root seed, many named counter-based random streams.
//! * [`Recipe`]: an experiment as a TOML file, with errors that point at the line.
//! * [`Experiment`]: configuration in, a [`Run`] to write to, a [`Summary`] out.
//! * [`Run`]: the folder of one experiment: metrics, checkpoints, summary, report; safe to kill at any moment.
//! * [`Report`]: charts, tables and pictures in one HTML file that needs no network.
//!
//! There are no tensors here, so what builds on this crate alone builds in seconds.
//!
//! ```
//! use lyceum_core::{Recipe, Seed};
//! use rand::RngExt;
//!
//! let seed = Seed::new(7);
//! let mut shuffle = seed.stream("train/shuffle");
//! let same = seed.stream("train/shuffle").random::<u64>();
//! assert_eq!(shuffle.random::<u64>(), same);
//!
//! #[derive(Debug, serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Config { epochs: usize }
//! let recipe = Recipe::parse("demo.toml", "experiment = \"demo\"\nepoch = 3\n").unwrap();
//! let error = recipe.config::<Config>().unwrap_err();
//! assert!(error.to_string().contains("unknown key `epoch`"));
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`seed`] | [`Seed`], [`Stream`] |
//! | [`recipe`] | [`Recipe`], overrides, where an error stands |
//! | [`range`] | checks of values as a recipe is read |
//! | [`experiment`] | [`Experiment`], [`AnyExperiment`] |
//! | [`run`] | [`Run`], [`Checkpoint`], when one is due, metrics, TensorBoard events, the lock |
//! | [`report`] | [`Report`], [`Chart`](report::Chart), [`Table`](report::Table) |
//! | [`progress`] | bars, plain lines, JSON lines, or nothing |
//! | [`memory`] | what fits into memory |
//! | [`math`] | exp and erf for vectorised loops |
//! | [`interrupt`] | Ctrl-C as a question that long loops ask |
//! | [`mod@array`] | [`Array`], safetensors |
//! | [`atomic`] | files that are either whole or not there |
//! | [`checksum`] | SHA-256 as text |

pub mod array;
pub mod atomic;
pub mod checksum;
pub mod error;
pub mod experiment;
pub mod instructions;
pub mod interrupt;
pub mod math;
pub mod memory;
pub mod progress;
pub mod range;
pub mod recipe;
pub mod report;
pub mod run;
pub mod seed;
mod vectorize;

pub use array::Array;
pub use error::{Error, RecipeError, Result};
pub use experiment::{AnyExperiment, DivergedArms, Experiment, Measure, Summary};
pub use progress::Progress;
pub use recipe::{Recipe, Violation};
pub use report::Report;
pub use run::{Checkpoint, Run};
pub use seed::{Seed, Stream};
