//! Collocation vocabularies by pointwise mutual information, and maskers for masked language models.
//!
//! A language model that is trained on masked tokens learns little where the rest of a collocation gives the masked part
//! away. PMI-masking (Levine et al., ICLR 2021) masks collocations as a whole: n-grams that none of the ways to cut them
//! explains. This crate counts n-grams of corpora of any size exactly, scores them, and masks with them.
//!
//! ```
//! use lyceum_core::Progress;
//! use lyceum_masking::{BuildConfig, Words};
//!
//! let folder = tempfile::tempdir().unwrap();
//! let corpus = folder.path().join("corpus.txt");
//! std::fs::write(&corpus, "new york is in new york state\n".repeat(9) + "a new state is in the making\n").unwrap();
//! let config = BuildConfig { min_count: 9, ..BuildConfig::default() };
//! let vocabulary = config.build(&[corpus], &folder.path().join("work"), &Progress::quiet()).unwrap();
//! let found = vocabulary.find("To New York, by train", &config.words().unwrap()).unwrap();
//! assert_eq!(vocabulary.get(found[0].number).words, ["new", "york"]);
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`builder`] | [`BuildConfig`]: from a corpus to a vocabulary |
//! | [`corpus`] | text, JSON lines, Parquet, plain or packed, block by block |
//! | [`words`] | what a word is |
//! | [`counting`] | exact counts in bounded memory: by the kernel, by DataFusion, on a Ballista cluster |
//! | `cluster` | the processes of such a cluster (feature `cluster`) |
//! | [`scores`] | PMI over all cuts, and what it is compared with |
//! | [`select`] | which n-grams become the vocabulary |
//! | [`vocabulary`] | [`Vocabulary`]: a file that finds collocations |
//! | [`tokens`] | what a tokeniser's tokens are |
//! | [`tree`] | collocations as sequences of tokens |
//! | [`masker`] | [`Masker`]: which tokens are masked, and by what |

pub mod builder;
#[cfg(feature = "cluster")]
pub mod cluster;
pub mod corpus;
pub mod counting;
pub mod dictionary;
pub mod masker;
pub mod scores;
pub mod select;
pub mod tokens;
pub mod tree;
mod units;
pub mod vocabulary;
pub mod words;

pub use builder::BuildConfig;
pub use masker::{MaskConfig, Masker, Method};
pub use scores::Score;
pub use vocabulary::Vocabulary;
pub use words::Words;
