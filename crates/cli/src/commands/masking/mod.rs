//! `lyceum masking`: collocation vocabularies of a user's own corpus, and masking with them.

mod build;
#[cfg(feature = "cluster")]
mod cluster;
mod inspect;
mod mask;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use lyceum_core::{Progress, Result};
use lyceum_masking::{
    corpus::Format,
    words::{Punctuation, Splitting},
};

/// Collocations of a corpus by pointwise mutual information, and masks for masked language models
///
/// A corpus is any number of files: text, JSON lines (.jsonl) or Parquet, also packed (.gz, .zst), in UTF-8. They are read once,
/// piece by piece; nothing need fit into memory but the words and n-grams that are frequent.
#[derive(Subcommand)]
pub(crate) enum Masking {
    Build(build::Build),
    Inspect(inspect::Inspect),
    Mask(mask::Mask),
    #[cfg(feature = "cluster")]
    Scheduler(cluster::Scheduler),
    #[cfg(feature = "cluster")]
    Executor(cluster::Executor),
}

impl Masking {
    /// Whether it needs time to stop, to keep or to remove what it has written.
    pub(crate) fn saves(&self) -> bool {
        !matches!(self, Self::Inspect(_) | Self::Mask(_))
    }

    pub(crate) fn execute(self, progress: &Progress) -> Result<()> {
        match self {
            Self::Build(command) => command.execute(progress),
            Self::Inspect(command) => command.execute(progress),
            Self::Mask(command) => command.execute(progress),
            #[cfg(feature = "cluster")]
            Self::Scheduler(command) => command.execute(),
            #[cfg(feature = "cluster")]
            Self::Executor(command) => command.execute(),
        }
    }
}

/// How files are read and cut into words.
#[derive(Args)]
struct Reading {
    /// How files are read
    #[arg(long, value_enum, default_value_t = FormatName::Auto)]
    format: FormatName,

    /// JSON lines and Parquet: the field or column that holds the text
    #[arg(long, default_value = "text")]
    field: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatName {
    /// By the name: .jsonl, .ndjson, .parquet, else text
    Auto,
    /// Text in UTF-8
    Text,
    /// A JSON object a line
    Jsonl,
    /// Parquet
    Parquet,
}

impl From<FormatName> for Format {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Auto => Self::Auto,
            FormatName::Text => Self::Text,
            FormatName::Jsonl => Self::Jsonl,
            FormatName::Parquet => Self::Parquet,
        }
    }
}

/// What a word is.
#[derive(Args)]
struct Cutting {
    /// Words by the normaliser and pre-tokeniser of this tokenizer.json; the built-in splitter is that of uncased BERT
    #[arg(long)]
    tokenizer: Option<PathBuf>,

    /// Keep upper case and accents (built-in splitter)
    #[arg(long)]
    cased: bool,

    /// What punctuation does to n-grams
    #[arg(long, value_enum, default_value_t = PunctuationName::Boundary)]
    punctuation: PunctuationName,

    /// No n-gram has a number in it (built-in splitter)
    #[arg(long)]
    no_numbers: bool,

    /// N-grams may span lines; they never span documents (files, JSON objects, rows)
    #[arg(long)]
    across_lines: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum PunctuationName {
    /// No n-gram crosses it
    Boundary,
    /// Each sign is a word
    Word,
    /// It is passed over
    Skip,
}

impl Cutting {
    fn splitting(&self) -> Splitting {
        let punctuation = match self.punctuation {
            PunctuationName::Boundary => Punctuation::Boundary,
            PunctuationName::Word => Punctuation::Word,
            PunctuationName::Skip => Punctuation::Skip,
        };
        Splitting { lowercase: !self.cased, punctuation, lines: !self.across_lines, numbers: !self.no_numbers }
    }
}

/// Bytes as people write them: `2G`, `512M`, `1048576`.
fn bytes(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().trim_end_matches("IB").trim_end_matches('B') {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err("allowed: a number with K, M, G or T (powers of 1024), for example 2G".into()),
    };
    let number: usize = digits.parse().map_err(|_| "allowed: a whole number with K, M, G or T, for example 2G".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "is more than this machine can address".to_owned())
}
