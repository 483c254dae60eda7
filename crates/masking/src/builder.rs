//! From a corpus to a vocabulary.

use std::path::{Path, PathBuf};

use lyceum_core::{Error, Progress, Result};
use serde::{Deserialize, Serialize};

use crate::{
    corpus::{Corpus, Format},
    counting::{self, CountConfig, Counts, Engine},
    select::SelectConfig,
    tokens,
    vocabulary::{About, Vocabulary},
    words::{Splitting, Words},
};

/// How a vocabulary is built. The defaults are the paper's: n-grams of 2 to 5 words that are there ten times or more, 800,000 in
/// all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BuildConfig {
    /// The longest n-grams.
    pub orders: usize,
    /// How often an n-gram must be there.
    pub min_count: u64,
    /// Which of them are taken.
    pub select: SelectConfig,
    /// How text is cut into words.
    pub splitting: Splitting,
    /// A `tokenizer.json` whose normaliser and pre-tokeniser make the words instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// How files are read.
    pub format: Format,
    /// The field of JSON objects, or the column of Parquet files, that holds the text.
    pub field: String,
    /// Bytes of memory that may be used. What is built does not depend on it.
    pub memory: usize,
    /// What counts n-grams. What is built does not depend on it either.
    pub engine: Engine,
}

impl Default for BuildConfig {
    fn default() -> Self {
        Self {
            orders: 5,
            min_count: 10,
            select: SelectConfig::default(),
            splitting: Splitting::default(),
            tokenizer: None,
            format: Format::Auto,
            field: "text".into(),
            memory: 2 << 30,
            engine: Engine::Kernel,
        }
    }
}

/// The longest n-grams that can be counted: 2^(n−1) − 1 ways to cut one are looked at.
pub const MOST_ORDERS: usize = 8;

impl BuildConfig {
    /// Rules for and between the fields.
    pub fn check(&self) -> Result<()> {
        if !(2..=MOST_ORDERS).contains(&self.orders) {
            return Err(Error::invalid("orders", self.orders, format!("2 to {MOST_ORDERS}")));
        }
        if self.min_count == 0 {
            return Err(Error::invalid("min_count", 0, "1 and more"));
        }
        if self.memory < counting::LEAST_MEMORY {
            return Err(Error::invalid("memory", format!("{} bytes", self.memory), "64M and more"));
        }
        self.engine.check()?;
        self.select.check(self.orders)
    }

    /// Where words come from.
    pub fn words(&self) -> Result<Words> {
        Ok(match &self.tokenizer {
            Some(path) => Words::Tokenizer(Box::new(tokens::load(path)?), self.splitting),
            None => Words::BuiltIn(self.splitting),
        })
    }

    /// Counts the n-grams of a corpus; see [`counting::count`].
    pub fn count(&self, corpus: &[PathBuf], folder: &Path, progress: &Progress) -> Result<Counts> {
        self.check()?;
        let files = Corpus::open(corpus, self.format, &self.field, self.memory)?;
        let tokenizer = match &self.tokenizer {
            Some(path) => Some(crc32c::crc32c(&std::fs::read(path).map_err(Error::io("read", path))?)),
            None => None,
        };
        let key = serde_json::json!({ "splitting": self.splitting, "tokenizer": tokenizer, "field": self.field });
        let config = CountConfig { orders: self.orders, min_count: self.min_count, memory: self.memory, engine: self.engine.clone() };
        counting::count(&files, &self.words()?, &config, &key, folder, progress)
    }

    /// Counts, chooses, and builds the vocabulary. What is on the way lies in `folder`.
    pub fn build(&self, corpus: &[PathBuf], folder: &Path, progress: &Progress) -> Result<Vocabulary> {
        let counts = self.count(corpus, folder, progress)?;
        let needed = self.needed(&counts);
        if needed > self.memory {
            let found = format!("{}M", self.memory >> 20);
            return Err(Error::invalid(
                "memory",
                found,
                format!("{}M and more for these n-grams, or a larger min_count", (needed >> 20) + 1),
            ));
        }
        self.vocabulary(&counts)
    }

    /// Bytes that choosing the vocabulary takes, with what was counted: of each n-gram its parts, count and score, of each that is
    /// chosen its words, its place in the tree and in the file.
    fn needed(&self, counts: &Counts) -> usize {
        let found: usize = counts.orders.iter().map(counting::Order::len).sum();
        (32 << 20) + counts.dictionary.memory() + found * 48 + found.min(self.select.size) * 300
    }

    /// The vocabulary of counted n-grams.
    pub fn vocabulary(&self, counts: &Counts) -> Result<Vocabulary> {
        let about = About {
            score: self.select.score,
            min_count: self.min_count,
            splitting: self.splitting,
            tokenizer: self.tokenizer.is_some(),
            words: counts.orders[0].total,
        };
        let chosen: Vec<_> = self.select.choose(counts).into_iter().flatten().collect();
        Vocabulary::new(&chosen, about)
    }
}
