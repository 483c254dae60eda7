//! `lyceum masking build`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lyceum_core::{Error, Progress, Result};
use lyceum_masking::{BuildConfig, Score, counting::Engine, select::SelectConfig};
use serde_json::json;

use super::{Cutting, Reading, bytes};
use crate::commands::said;

/// Count the n-grams of a corpus and build the vocabulary of its collocations
///
/// Writes OUT, which `inspect`, `mask` and Python read, and OUT.tsv, a table of the same. Killed and started again with the same
/// arguments it goes on where it was.
#[derive(Args)]
#[command(after_help = "\
Examples:
  lyceum masking build corpus/*.txt --out collocations
  lyceum masking build wiki.jsonl.zst --memory 8G --size 800000 --out wiki
  lyceum masking build books.parquet --field body --score naive-pmi --out naive
  lyceum masking build notes.txt --min-count 3 --orders 3 --shares 2,1 --out small
  lyceum masking build crawl/*.jsonl.zst --cluster df://head:50050 --work /shared/work --out crawl")]
pub(crate) struct Build {
    /// The files, in this order
    #[arg(required = true)]
    corpus: Vec<PathBuf>,

    /// Where the vocabulary is written
    #[arg(long, short)]
    out: PathBuf,

    /// The longest n-grams, in words
    #[arg(long, default_value_t = 5)]
    orders: usize,

    /// How often an n-gram must be there
    #[arg(long, default_value_t = 10)]
    min_count: u64,

    /// How many n-grams the vocabulary has in all
    #[arg(long, default_value_t = 800_000)]
    size: usize,

    /// The share of each length from 2 on, for example 4,3,2,1; all the same by default. What a length does not fill goes to
    /// the others
    #[arg(long, value_delimiter = ',')]
    shares: Vec<f64>,

    /// What n-grams of the same length are ranked by
    #[arg(long, value_enum, default_value_t = ScoreName::Pmi)]
    score: ScoreName,

    /// The least score; 0 by default for pmi and naive-pmi
    #[arg(long, allow_negative_numbers = true)]
    least: Option<f64>,

    /// The memory that may be used: it decides how fast, never what is built
    #[arg(long, value_parser = bytes, default_value = "2G")]
    memory: usize,

    /// A folder for temporary files (about ten bytes per word of the corpus); OUT.work by default
    #[arg(long)]
    work: Option<PathBuf>,

    /// What counts; what is built is the same
    #[arg(long, value_enum, default_value_t = EngineName::Kernel)]
    engine: EngineName,

    /// Count on the Ballista cluster with this scheduler, for example df://localhost:50050; its executors must see the folder of
    /// --work under the same path
    #[arg(long, value_name = "ADDRESS", conflicts_with = "engine")]
    cluster: Option<String>,

    #[command(flatten)]
    cutting: Cutting,

    #[command(flatten)]
    reading: Reading,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScoreName {
    /// The least mutual information over all ways to cut the n-gram
    Pmi,
    /// Mutual information of its single words
    NaivePmi,
    /// Its number of occurrences
    Frequency,
}

#[derive(Clone, Copy, ValueEnum)]
enum EngineName {
    /// The kernel made for it, the fastest on one machine
    Kernel,
    /// Operators of DataFusion, as on a cluster (a build with the feature `datafusion`)
    Datafusion,
}

impl Build {
    pub(crate) fn execute(self, progress: &Progress) -> Result<()> {
        let score = match self.score {
            ScoreName::Pmi => Score::Pmi,
            ScoreName::NaivePmi => Score::NaivePmi,
            ScoreName::Frequency => Score::Frequency,
        };
        let config = BuildConfig {
            orders: self.orders,
            min_count: self.min_count,
            select: SelectConfig { score, size: self.size, shares: self.shares, least: self.least },
            splitting: self.cutting.splitting(),
            tokenizer: self.cutting.tokenizer,
            format: self.reading.format.into(),
            field: self.reading.field,
            memory: self.memory,
            engine: match (self.cluster, self.engine) {
                (Some(address), _) => Engine::Cluster(address),
                (None, EngineName::Kernel) => Engine::Kernel,
                (None, EngineName::Datafusion) => Engine::Datafusion,
            },
        };
        let beside = |end: &str| {
            let mut name = self.out.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        };
        // Better told now than after hours of counting.
        let folder = self.out.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            return Err(Error::Missing { path: folder.into(), hint: "Make the folder first, or give another --out.".into() });
        }
        if self.out.is_dir() {
            return Err(Error::damaged(&self.out, "is a folder; allowed: the name of a file for --out"));
        }
        let vocabulary = config.build(&self.corpus, &self.work.unwrap_or_else(|| beside(".work")), progress)?;
        vocabulary.save(&self.out)?;
        vocabulary.save_table(&beside(".tsv"))?;
        let text = format!("{} collocations of {} words in {}", vocabulary.len(), vocabulary.about().words, self.out.display());
        said(
            progress,
            &json!({ "event": "built", "out": self.out, "collocations": vocabulary.len(), "words": vocabulary.about().words }),
            || text,
        );
        Ok(())
    }
}
