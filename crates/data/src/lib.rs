//! Data sets by name, the file formats they come in, and the ways to split, spread and spoil them.
//!
//! ```
//! use lyceum_core::Seed;
//! use lyceum_data::{catalog, noise, split};
//!
//! let digits = catalog::load("digits", &lyceum_data::Cache::locate()).unwrap();
//! let parts = split::stratified(&digits.train.labels, &[0.6, 0.4], &mut Seed::new(1).stream("split"));
//! let mut train = digits.train.subset(&parts[0]);
//! let changed = noise::symmetric(&mut train.labels, digits.classes.len(), 0.2, &mut Seed::new(1).stream("noise"));
//! assert_eq!(train.len(), 1_078);
//! assert!(changed.len() > 150 && changed.len() < 250);
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`dataset`] | [`Dataset`], [`Examples`], [`Extent`] |
//! | [`inputs`] | [`Inputs`]: numbers, or pictures that stay bytes |
//! | [`normalization`] | [`Normalization`]: (x − mean)/std of channels and columns |
//! | [`catalog`] | the sets that have a name: digits, mnist, fashion-mnist, cifar10, cifar100 |
//! | [`cache`] | where files are looked for, checksums |
//! | [`formats`] | IDX, CIFAR, npy/npz, Parquet (feature `parquet`), pictures |
//! | [`own`] | a user's own examples: folders of pictures, arrays, tables, texts |
//! | [`split`] | random and stratified splits, permutations of pixels |
//! | [`partition`] | examples spread over clients: even, Dirichlet, shards, log-normal sizes |
//! | [`characters`] | text of many speakers, a client each |
//! | [`synthetic`] | logistic regression on clients that differ in known ways |
//! | [`augment`] | training pictures changed at random: crop, flip, rotate, colour, mixup |
//! | [`noise`] | wrong labels, symmetric or by pairs |

pub mod augment;
pub mod cache;
pub mod catalog;
pub mod characters;
pub mod dataset;
pub mod formats;
pub mod get;
pub mod inputs;
pub mod noise;
pub mod normalization;
pub mod own;
pub mod partition;
pub mod prepare;
pub mod split;
pub mod synthetic;

pub use cache::Cache;
pub use characters::Characters;
pub use dataset::{Dataset, Examples, Extent};
pub use inputs::Inputs;
pub use normalization::Normalization;
pub use synthetic::SyntheticLogistic;
