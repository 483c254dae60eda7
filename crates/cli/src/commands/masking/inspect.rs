//! `lyceum masking inspect`.

use std::{collections::HashMap, path::PathBuf};

use clap::Args;
use lyceum_core::{Error, Progress, Result, report::Table};
use lyceum_masking::{
    Vocabulary,
    corpus::{Corpus, Mark},
    vocabulary::Collocation,
    words::{Piece, Words},
};
use serde_json::{Value, json};

use super::Reading;

/// Show the strongest and weakest n-grams of a vocabulary, why they are in it, and how much of a text they cover
#[derive(Args)]
#[command(after_help = "\
Examples:
  lyceum masking inspect collocations
  lyceum masking inspect collocations --text corpus.txt --top 50
  lyceum masking inspect collocations 'new york times' 'of the'

A bar shows the cut that decides: `new york|times` scored what it did because of how likely `new york` and `times` are.")]
pub(crate) struct Inspect {
    /// The vocabulary
    vocabulary: PathBuf,

    /// N-grams to look up
    ngrams: Vec<String>,

    /// How many of each length are shown
    #[arg(long, default_value_t = 10, conflicts_with = "ngrams")]
    top: usize,

    /// Texts in which they are looked for
    #[arg(long, num_args = 1..)]
    text: Vec<PathBuf>,

    /// The tokenizer.json that made the words, if one did
    #[arg(long)]
    tokenizer: Option<PathBuf>,

    #[command(flatten)]
    reading: Reading,
}

impl Inspect {
    pub(crate) fn execute(self, progress: &Progress) -> Result<()> {
        let vocabulary = Vocabulary::open(&self.vocabulary)?;
        let about = vocabulary.about();
        if about.tokenizer && self.tokenizer.is_none() && !(self.text.is_empty() && self.ngrams.is_empty()) {
            let allowed = "--tokenizer FILE, the one that it was built with";
            return Err(Error::invalid("tokenizer", "none, and the vocabulary's words were made by one", allowed));
        }
        let words = match &self.tokenizer {
            Some(path) => Words::Tokenizer(Box::new(lyceum_masking::tokens::load(path)?), about.splitting),
            None => Words::BuiltIn(about.splitting),
        };
        if progress.is_json() {
            return self.json(&vocabulary, &words);
        }
        if !self.ngrams.is_empty() {
            let mut table = Table::new(["n-gram", "score", "count", "rank"]);
            for ngram in &self.ngrams {
                table.push(match look_up(&vocabulary, &words, ngram)? {
                    Some(number) => {
                        let found = vocabulary.get(number);
                        let rank = rank(&vocabulary, number);
                        [
                            found.explained(),
                            format!("{:.3}", found.score),
                            found.count.to_string(),
                            format!("{rank} of {}-grams", found.words.len()),
                        ]
                    }
                    None => [ngram.clone(), "-".into(), "-".into(), "not in the vocabulary".into()],
                });
            }
            say!("{}", table.markdown());
        }
        if !self.text.is_empty() {
            say!("{}", self.coverage(&vocabulary, &words)?.text(&vocabulary, self.top));
        }
        if self.ngrams.is_empty() && self.text.is_empty() {
            say!(
                "{} collocations by {} from {} words, each there {} times or more\n",
                vocabulary.len(),
                about.score,
                about.words,
                about.min_count
            );
            for (order, numbers) in by_order(&vocabulary) {
                say!("{order} words: {}", numbers.len());
                let show = |numbers: &mut dyn Iterator<Item = u32>| {
                    let mut table = Table::new(["n-gram", "score", "count"]);
                    numbers.for_each(|number| {
                        let found = vocabulary.get(number);
                        table.push([found.explained(), format!("{:.3}", found.score), found.count.to_string()]);
                    });
                    table.markdown()
                };
                say!("{}", show(&mut numbers.clone().take(self.top)));
                if numbers.len() > 2 * self.top {
                    say!("and the weakest:\n{}", show(&mut numbers.rev().take(self.top)));
                }
            }
        }
        Ok(())
    }

    fn json(&self, vocabulary: &Vocabulary, words: &Words) -> Result<()> {
        let entry =
            |found: Collocation<'_>| json!({ "words": found.words, "score": found.score, "count": found.count, "cut": found.explained() });
        for (order, numbers) in by_order(vocabulary) {
            let strongest: Vec<Value> = numbers.clone().take(self.top).map(|number| entry(vocabulary.get(number))).collect();
            let weakest: Vec<Value> = numbers.clone().rev().take(self.top).map(|number| entry(vocabulary.get(number))).collect();
            say!("{}", json!({ "event": "order", "n": order, "collocations": numbers.len(), "strongest": strongest, "weakest": weakest }));
        }
        for ngram in &self.ngrams {
            let found = look_up(vocabulary, words, ngram)?.map(|number| entry(vocabulary.get(number)));
            say!("{}", json!({ "event": "n-gram", "asked": ngram, "found": found }));
        }
        if !self.text.is_empty() {
            let Coverage { words, covered, times } = self.coverage(vocabulary, words)?;
            say!("{}", json!({ "event": "coverage", "words": words, "covered": covered, "different": times.len() }));
        }
        Ok(())
    }

    fn coverage(&self, vocabulary: &Vocabulary, words: &Words) -> Result<Coverage> {
        let corpus = Corpus::open(&self.text, self.reading.format.into(), &self.reading.field, 1 << 30)?;
        let mut coverage = Coverage::default();
        let mut blocks = corpus.blocks(Mark::default());
        while let Some(block) = blocks.next_block()? {
            let mut finder = vocabulary.finder();
            corpus.pieces(&block, words, |piece| {
                coverage.words += u64::from(matches!(piece, Piece::Word(..)));
                finder.push(piece);
            })?;
            for found in finder.finish() {
                coverage.covered += found.words as u64;
                *coverage.times.entry(found.number).or_default() += 1;
            }
        }
        Ok(coverage)
    }
}

/// How much of a text collocations cover.
#[derive(Default)]
struct Coverage {
    words: u64,
    covered: u64,
    times: HashMap<u32, u64>,
}

impl Coverage {
    fn text(&self, vocabulary: &Vocabulary, top: usize) -> String {
        let share = 100.0 * self.covered as f64 / self.words.max(1) as f64;
        let times: u64 = self.times.values().sum();
        let mut text = format!("{} words, {share:.1} % of them in {times} collocations ({} different)\n", self.words, self.times.len());
        let mut most: Vec<(u32, u64)> = self.times.iter().map(|(number, times)| (*number, *times)).collect();
        most.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut table = Table::new(["n-gram", "times", "score"]);
        for (number, times) in most.into_iter().take(top) {
            let found = vocabulary.get(number);
            table.push([found.explained(), times.to_string(), format!("{:.3}", found.score)]);
        }
        text.push_str(&table.markdown());
        text
    }
}

/// Collocations of each length; a vocabulary has them in the order of their length and rank.
fn by_order(vocabulary: &Vocabulary) -> Vec<(usize, std::ops::Range<u32>)> {
    let mut orders: Vec<(usize, std::ops::Range<u32>)> = Vec::new();
    let (mut start, all) = (0, vocabulary.len() as u32);
    while start < all {
        let order = vocabulary.get(start).words.len();
        let (mut low, mut high) = (start, all);
        while low < high {
            let middle = u32::midpoint(low, high);
            if vocabulary.get(middle).words.len() == order { low = middle + 1 } else { high = middle }
        }
        orders.push((order, start..low));
        start = low;
    }
    orders
}

fn rank(vocabulary: &Vocabulary, number: u32) -> u32 {
    by_order(vocabulary).into_iter().find(|(_, numbers)| numbers.contains(&number)).map_or(0, |(_, numbers)| number - numbers.start + 1)
}

/// The number of an n-gram as a user writes it.
fn look_up(vocabulary: &Vocabulary, words: &Words, ngram: &str) -> Result<Option<u32>> {
    let mut found: Vec<String> = Vec::new();
    words.of(ngram, false, |piece| {
        if let Piece::Word(word, _) = piece {
            found.push(word.to_owned());
        }
    })?;
    Ok(vocabulary.number(&found.iter().map(String::as_str).collect::<Vec<&str>>()))
}
