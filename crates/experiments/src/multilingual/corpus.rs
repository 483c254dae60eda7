//! Paragraphs of many languages beside the same paragraphs in one, as tokens.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::PathBuf,
};

use lyceum_core::{Error, Result, Seed, Stream, Violation, range, run::Input};
use lyceum_data::{Cache, split};
use lyceum_train::TokenBatch;
use ndarray::Array2;
use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
    models::bpe::{BPE, BpeTrainerBuilder},
    pre_tokenizers::metaspace::Metaspace,
};

/// Where paragraphs come from and how they become sequences of tokens
/// `[language] source … [separator] paragraph … [separator]`, where tokens of the paragraph are masked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TextConfig {
    /// A folder with a file LANGUAGE.tsv each (a paragraph a line: key, tab, text), or the name of one in the data folder.
    folder: String,
    /// The language beside which the others stand.
    #[serde(default = "english")]
    pub(super) source: String,
    /// Paragraphs that are held out of training in every language.
    #[serde(default = "held_out", with = "range::AtLeastOne")]
    held_out: usize,
    /// Different tokens, learnt by byte-pair encoding from the training pairs of all languages.
    #[serde(default = "vocabulary", with = "range::AtLeastOne")]
    vocabulary: usize,
    /// Tokens of the longest sequence; longer pairs are left out.
    #[serde(default = "length", with = "range::AtLeastOne")]
    pub(super) length: usize,
    /// Share of the paragraph's tokens that are masked.
    #[serde(default = "masked", with = "range::OpenUnit")]
    masked: f64,
    /// The languages.
    pub(super) languages: BTreeMap<String, Language>,
}

/// One language.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Language {
    /// Training pairs, at most.
    #[serde(with = "range::AtLeastOne")]
    pairs: usize,
    /// Where it stands among languages, from the root on: `indo-european/germanic`.
    #[serde(default)]
    pub(super) family: String,
}

fn english() -> String {
    "en-us".into()
}

fn held_out() -> usize {
    200
}

fn vocabulary() -> usize {
    6_000
}

fn length() -> usize {
    48
}

fn masked() -> f64 {
    0.4
}

impl TextConfig {
    pub(super) fn check(&self, key: &str) -> Result<(), Violation> {
        let wrong = |field: &str, message: String| Err(Violation::new(format!("{key}.{field}"), message));
        if self.languages.len() < 2 {
            return wrong("languages", format!("found {}; allowed: at least 2", self.languages.len()));
        }
        if self.languages.contains_key(&self.source) {
            return wrong("languages", format!("found the source `{}`; allowed: other languages", self.source));
        }
        if self.length < 8 {
            return wrong("length", format!("found {}; allowed: 8 or more", self.length));
        }
        let reserved = RESERVED.len() + self.languages.len();
        if self.vocabulary < reserved + 256 {
            return wrong("vocabulary", format!("found {}; allowed: {} or more", self.vocabulary, reserved + 256));
        }
        Ok(())
    }

    /// How far apart two languages' families are: the steps from one to the other in the tree of families, the last of
    /// each included.
    pub(super) fn family_distances(&self) -> Array2<f64> {
        let paths: Vec<Vec<&str>> =
            self.languages.values().map(|language| language.family.split('/').filter(|part| !part.is_empty()).collect()).collect();
        let shared = |i: usize, j: usize| paths[i].iter().zip(&paths[j]).take_while(|(a, b)| a == b).count();
        Array2::from_shape_fn((paths.len(), paths.len()), |(i, j)| (paths[i].len() + paths[j].len() - 2 * shared(i, j)) as f64)
    }

    fn path(&self) -> PathBuf {
        let path = PathBuf::from(&self.folder);
        if path.is_dir() { path } else { Cache::locate().folder(&self.folder) }
    }

    /// The files of the source and of all languages.
    pub(super) fn inputs(&self) -> Vec<Input> {
        std::iter::once(&self.source).chain(self.languages.keys()).map(|language| Input::named(self.file(language), HINT)).collect()
    }

    fn file(&self, language: &str) -> PathBuf {
        self.path().join(format!("{language}.tsv"))
    }

    /// The paragraphs of one language by key.
    fn paragraphs(&self, language: &str) -> Result<BTreeMap<String, String>> {
        let path = self.file(language);
        let bytes = fs::read(&path).map_err(Error::missing_or_io("read", &path, HINT))?;
        let text = String::from_utf8(bytes).map_err(|error| Error::damaged(&path, format!("is not UTF-8: {error}")))?;
        let mut found = BTreeMap::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
            let (key, text) = line.split_once('\t').ok_or_else(|| Error::damaged(&path, format!("line {}: no tab", number + 1)))?;
            found.insert(key.to_owned(), text.to_owned());
        }
        Ok(found)
    }
}

const HINT: &str = "A line is a key, a tab and a text. `lyceum data get libreoffice-help` makes such files of LibreOffice's help.";

/// Tokens that no text has.
const RESERVED: [&str; 3] = ["[padding]", "[separator]", "[mask]"];
const PADDING: u32 = 0;
const SEPARATOR: u32 = 1;
const MASK: u32 = 2;

/// A pair: all tokens, and where the paragraph begins and ends.
#[derive(Debug, Clone)]
struct Pair {
    tokens: Vec<u32>,
    paragraph: std::ops::Range<usize>,
}

/// The pairs of all languages.
pub(super) struct Corpus {
    languages: Vec<String>,
    train: Vec<Vec<Pair>>,
    tests: Vec<Vec<TokenBatch>>,
    length: usize,
    masked: f64,
    vocabulary: usize,
}

type Bpe = TokenizerImpl<BPE, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

impl Corpus {
    /// Reads the files, learns the tokens, draws what is held out.
    pub(super) fn read(config: &TextConfig, seed: Seed) -> Result<Self> {
        let source = config.paragraphs(&config.source)?;
        // Pages repeat one another; a text counts once, so that none is both learnt and held out.
        let mut seen = HashSet::new();
        let keys: Vec<&String> = source.iter().filter(|(_, text)| seen.insert(text.as_str())).map(|(key, _)| key).collect();
        let order = split::permutation(keys.len(), &mut seed.stream("multilingual/split"));
        // A paragraph that is held out is held out in every language: a tenth of all is kept aside.
        let (aside, rest) = order.split_at(keys.len() / 10);
        let mut texts = Vec::new();
        for (name, language) in &config.languages {
            let own = config.paragraphs(name)?;
            // What is not translated stands there in the source's language.
            let pairs = |places: &[usize], most: usize| -> Vec<(String, String)> {
                let both = places.iter().filter_map(|&place| Some((source[keys[place]].clone(), own.get(keys[place])?.clone())));
                both.filter(|(a, b)| a != b).take(most).collect()
            };
            texts.push((pairs(rest, 2 * language.pairs), pairs(aside, 2 * config.held_out)));
        }
        let tokenizer = learn_tokens(config, texts.iter().flat_map(|(train, _)| train.iter().flat_map(|(a, b)| [a, b])))?;
        let mut corpus = Self {
            languages: config.languages.keys().cloned().collect(),
            train: Vec::new(),
            tests: Vec::new(),
            length: config.length,
            masked: config.masked,
            vocabulary: tokenizer.get_vocab_size(true),
        };
        for (number, ((name, language), (train, test))) in config.languages.iter().zip(&texts).enumerate() {
            let train = corpus.pairs(&tokenizer, number, train, language.pairs)?;
            let test = corpus.pairs(&tokenizer, number, test, config.held_out)?;
            if train.is_empty() || test.is_empty() {
                let found = format!("{} pairs to train and {} to test of at most {} tokens", train.len(), test.len(), config.length);
                return Err(Error::invalid(format!("the paragraphs of `{name}`"), found, "at least one of each"));
            }
            let mut rng = seed.stream_at("multilingual/test", number as u64);
            let tests = test.chunks(32).map(|pairs| corpus.masked(pairs, &mut rng)).collect();
            corpus.train.push(train);
            corpus.tests.push(tests);
        }
        Ok(corpus)
    }

    pub(super) fn languages(&self) -> &[String] {
        &self.languages
    }

    /// How many tokens there are.
    pub(super) fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// How many training pairs a language has.
    pub(super) fn count(&self, language: usize) -> usize {
        self.train[language].len()
    }

    /// The held-out pairs of each language, masked once and for all.
    pub(super) fn tests(&self) -> &[Vec<TokenBatch>] {
        &self.tests
    }

    /// Which pair a language's draw takes: pass after pass over all of them, each in a new order.
    pub(super) fn place(&self, language: usize, draw: usize, seed: Seed) -> usize {
        let count = self.count(language);
        let seed = seed.child(&format!("multilingual/order/{language}"));
        // An order without a table: a bijection of 0..count, walked through until it falls inside.
        feistel(draw % count, count, seed.stream_at("pass", (draw / count) as u64).random())
    }

    /// These (language, pair) masked anew.
    pub(super) fn batch(&self, pairs: &[(usize, usize)], rng: &mut Stream) -> TokenBatch {
        let pairs: Vec<Pair> = pairs.iter().map(|&(language, pair)| self.train[language][pair].clone()).collect();
        self.masked(&pairs, rng)
    }

    fn masked(&self, pairs: &[Pair], rng: &mut Stream) -> TokenBatch {
        // As long as the longest of them.
        let length = pairs.iter().map(|pair| pair.tokens.len()).max().unwrap_or(0);
        let mut batch = TokenBatch { length, tokens: Vec::new(), present: Vec::new(), targets: Vec::new() };
        for (row, pair) in pairs.iter().enumerate() {
            // One at least.
            let always = rng.random_range(pair.paragraph.clone());
            for place in 0..length {
                let token = pair.tokens.get(place).copied();
                let inside = pair.paragraph.contains(&place);
                let hidden = inside && (rng.random::<f64>() < self.masked || place == always);
                if let (true, Some(token)) = (hidden, token) {
                    batch.targets.push(((row * length + place) as u32, token));
                }
                batch.tokens.push(if hidden { MASK } else { token.unwrap_or(PADDING) });
                batch.present.push(token.is_some());
            }
        }
        batch
    }

    /// The first `most` pairs that are short enough.
    fn pairs(&self, tokenizer: &Bpe, language: usize, texts: &[(String, String)], most: usize) -> Result<Vec<Pair>> {
        let encode = |text: &str| -> Result<Vec<u32>> {
            let found = tokenizer.encode(text, false).map_err(|error| Error::Failed(format!("the tokens of a text: {error}")))?;
            Ok(found.get_ids().to_vec())
        };
        let mut found = Vec::new();
        for (source, paragraph) in texts {
            if found.len() == most {
                break;
            }
            let (source, paragraph) = (encode(source)?, encode(paragraph)?);
            if paragraph.is_empty() || source.len() + paragraph.len() + 3 > self.length {
                continue;
            }
            let start = source.len() + 2;
            let mut tokens = vec![RESERVED.len() as u32 + language as u32];
            tokens.extend(source);
            tokens.push(SEPARATOR);
            let end = start + paragraph.len();
            tokens.extend(paragraph);
            tokens.push(SEPARATOR);
            found.push(Pair { tokens, paragraph: start..end });
        }
        Ok(found)
    }
}

/// Byte-pair encoding of these texts; the reserved tokens and one a language come first.
fn learn_tokens<'a>(config: &TextConfig, texts: impl Iterator<Item = &'a String> + Send) -> Result<Bpe> {
    let failed = |error: tokenizers::Error| Error::Failed(format!("the tokens could not be learnt: {error}"));
    let own = config.languages.keys().map(|name| format!("[{name}]"));
    let special = RESERVED.iter().map(|name| (*name).to_owned()).chain(own).map(|name| AddedToken::from(name, true)).collect();
    let mut trainer =
        BpeTrainerBuilder::new().vocab_size(config.vocabulary).min_frequency(2).show_progress(false).special_tokens(special).build();
    let mut tokenizer = Bpe::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::from(Metaspace::default())));
    tokenizer.train(&mut trainer, texts.map(String::as_str)).map_err(failed)?;
    Ok(tokenizer)
}

/// A permutation of `0..count` by four rounds of a Feistel network over the next power of four.
fn feistel(index: usize, count: usize, key: u64) -> usize {
    let half = (usize::BITS - (count.max(2) - 1).leading_zeros()).div_ceil(2);
    let mask = (1_usize << half) - 1;
    let mut x = index;
    loop {
        let (mut left, mut right) = (x >> half, x & mask);
        for round in 0..4_u64 {
            let mut mixed = (right as u64 ^ key).wrapping_add(round).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
            (left, right) = (right, left ^ ((mixed >> 32) as usize & mask));
        }
        x = left << half | right;
        if x < count {
            return x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_meets_every_pair_once() {
        for count in [1, 2, 3, 10, 64, 1_000] {
            for key in [0, 7, u64::MAX] {
                let mut found: Vec<usize> = (0..count).map(|index| feistel(index, count, key)).collect();
                found.sort_unstable();
                assert_eq!(found, (0..count).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn pairs_are_masked_in_the_paragraph_alone_and_held_out_in_every_language() {
        let folder = tempfile::tempdir().unwrap();
        let words = ["open", "file", "save", "print", "window", "close", "menu", "edit"];
        let text = |language: &str, line: usize| {
            (0..4).map(|k| format!("{}{language}", words[(line * 3 + k * (line % 5 + 1)) % 8])).collect::<Vec<_>>().join(" ")
        };
        for language in ["en-us", "aa", "bb"] {
            let lines: String = (0..200).map(|line| format!("k{line}\t{} {line}\n", text(language, line))).collect();
            fs::write(folder.path().join(format!("{language}.tsv")), lines).unwrap();
        }
        let language = |family: &str| Language { pairs: 100, family: family.into() };
        let config = TextConfig {
            folder: folder.path().to_string_lossy().into_owned(),
            source: "en-us".into(),
            held_out: 10,
            vocabulary: 400,
            length: 40,
            masked: 0.3,
            languages: BTreeMap::from([("aa".into(), language("x/y")), ("bb".into(), language("x/z"))]),
        };
        config.check("data").unwrap();
        assert_eq!(config.family_distances()[[0, 1]], 2.0);
        let corpus = Corpus::read(&config, Seed::new(1)).unwrap();
        assert!(corpus.count(0) == 100 && corpus.count(1) == 100);
        let batch = corpus.batch(&[(0, 3), (1, 5)], &mut Seed::new(2).stream("x"));
        assert!(!batch.targets.is_empty());
        for (place, token) in &batch.targets {
            let (row, place) = (*place as usize / batch.length, *place as usize % batch.length);
            let pair = &corpus.train[row][[3, 5][row]];
            assert!(pair.paragraph.contains(&place) && pair.tokens[place] == *token);
            assert_eq!(batch.tokens[row * batch.length + place], MASK);
        }
        assert_eq!(batch.tokens[0], 3);
        assert_eq!(batch.tokens[batch.length], 4);
        // What is held out of one language is not learnt in another: sources are the same.
        let source = |pair: &Pair| pair.tokens[1..pair.paragraph.start].to_vec();
        let learnt: std::collections::HashSet<Vec<u32>> = corpus.train.iter().flatten().map(source).collect();
        for batch in corpus.tests.iter().flatten() {
            for row in batch.tokens.chunks(batch.length) {
                let end = row.iter().position(|token| *token == SEPARATOR).unwrap();
                assert!(!learnt.contains(&row[1..=end]));
            }
        }
    }

    #[test]
    fn a_line_without_a_tab_is_told() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("en-us.tsv"), "a\tb\nno tab\n").unwrap();
        let text = format!("folder = {:?}\n[languages]\nde = {{ pairs = 5 }}\nfr = {{ pairs = 5 }}\n", folder.path().to_string_lossy());
        let config: TextConfig = toml::from_str(&text).unwrap();
        let error = Corpus::read(&config, Seed::new(1)).err().unwrap().to_string();
        assert!(error.contains("line 2: no tab"), "{error}");
    }
}
