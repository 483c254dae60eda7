//! Which tokens are masked, and by what.

use std::sync::Arc;

use lyceum_core::{Error, Result, Seed, Stream};
use rand::RngExt;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{tokens::Tokens, tree::TokenTree, units::Units};

/// What is masked together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Each token by itself (Devlin et al. 2019).
    Token,
    /// The tokens of a word.
    WholeWord,
    /// Spans of words whose length is geometric, from any word on (Joshi et al., *SpanBERT*, 2020).
    Span {
        /// The chance that a span ends after each word; the mean of a geometric length is 1/p.
        p: f64,
        /// The most words.
        longest: usize,
    },
    /// The collocations of a vocabulary, and the words outside of them: PMI-masking, or by naive PMI or frequency, as the
    /// vocabulary was made (Levine et al. 2021).
    #[default]
    Collocations,
}

impl Method {
    /// Spans as in SpanBERT: p = 0.2, at most ten words.
    pub const SPAN: Self = Self::Span { p: 0.2, longest: 10 };
}

/// How much is masked.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MaskConfig {
    /// What is masked together.
    pub method: Method,
    /// The share of tokens that are chosen, in expectation.
    pub share: f64,
    /// Of what is chosen, the share that becomes the mask.
    pub mask: f64,
    /// Of what is chosen, the share that becomes other tokens, each by chance; the rest stays as it is.
    pub random: f64,
}

impl Default for MaskConfig {
    fn default() -> Self {
        Self { method: Method::Collocations, share: 0.15, mask: 0.8, random: 0.1 }
    }
}

/// The label of a token that is not to be predicted.
pub const IGNORED: i64 = -100;

/// Masks rows of tokens.
///
/// Special tokens are never masked. Of the others, units (tokens, words, spans, or collocations and words) are drawn at random
/// without replacement until `share` of them is reached; the unit that would go beyond is taken with the chance that makes the
/// expected number exact. Each chosen unit is replaced as a whole: by masks, by random tokens, or by itself.
#[derive(Debug, Clone)]
pub struct Masker {
    config: MaskConfig,
    tokens: Arc<Tokens>,
    tree: Option<Arc<TokenTree>>,
}

/// Rows of at least so many tokens are shared among threads.
const PARALLEL: usize = 1 << 15;

impl Masker {
    /// A masker; collocations need their tree.
    pub fn new(config: MaskConfig, tokens: Arc<Tokens>, tree: Option<Arc<TokenTree>>) -> Result<Self> {
        let share = |what: &str, value: f64| {
            if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(Error::invalid(what, value, "0 to 1")) }
        };
        share("share", config.share)?;
        share("mask", config.mask)?;
        share("random", config.random)?;
        share("mask + random", config.mask + config.random)?;
        if let Method::Span { p, longest } = config.method {
            if !(p > 0.0 && p <= 1.0) {
                return Err(Error::invalid("p of spans", p, "above 0, at most 1"));
            }
            if longest == 0 {
                return Err(Error::invalid("longest span", 0, "1 and more"));
            }
        }
        if config.method != Method::Token && !tokens.tell_words() {
            let allowed = "##, </w>, Ġ or ▁ in its tokens, a model of words, or the method token";
            return Err(Error::invalid("the tokeniser", "tokens that do not tell where words begin", allowed));
        }
        if config.method == Method::Collocations && tree.is_none() {
            return Err(Error::invalid("vocabulary", "none", "the vocabulary of the collocations that are masked"));
        }
        Ok(Self { config, tokens, tree })
    }

    /// Masks rows of `length` tokens in place and fills `labels` with what was there, or −100 where nothing is to be predicted.
    /// `special` says which tokens are not to be masked, besides the tokeniser's own. Row i draws from a stream of its own,
    /// `first + i`, so that neither batches nor threads change what is masked.
    pub fn mask_rows(&self, ids: &mut [i64], labels: &mut [i64], length: usize, special: Option<&[bool]>, seed: Seed, first: u64) {
        let length = length.max(1);
        let streams = seed.stream("masking/rows");
        let row = |units: &mut Units, row: usize, ids: &mut [i64], labels: &mut [i64]| {
            let special = special.map(|special| &special[row * length..row * length + ids.len()]);
            self.mask_row(units, ids, labels, special, &mut streams.at(first + row as u64));
        };
        if ids.len() < PARALLEL {
            let mut units = Units::default();
            ids.chunks_mut(length)
                .zip(labels.chunks_mut(length))
                .enumerate()
                .for_each(|(i, (ids, labels))| row(&mut units, i, ids, labels));
        } else {
            let rows = ids.par_chunks_mut(length).zip(labels.par_chunks_mut(length)).enumerate();
            rows.for_each_init(Units::default, |units, (i, (ids, labels))| row(units, i, ids, labels));
        }
    }

    fn mask_row(&self, units: &mut Units, ids: &mut [i64], labels: &mut [i64], special: Option<&[bool]>, rng: &mut Stream) {
        labels.fill(IGNORED);
        let tree = self.tree.as_deref().filter(|_| self.config.method == Method::Collocations);
        units.find(ids, special, &self.tokens, self.config.method != Method::Token, tree);
        let budget = self.config.share * units.tokens as f64;
        match self.config.method {
            Method::Span { p, longest } => self.draw_spans(ids, labels, units, (p, longest), budget, rng),
            _ => self.draw(ids, labels, units, budget, rng),
        }
    }

    /// Draws units until the budget is reached.
    fn draw(&self, ids: &mut [i64], labels: &mut [i64], units: &mut Units, budget: f64, rng: &mut Stream) {
        let mut masked = 0.0;
        let count = units.starts.len();
        for drawn in 0..count {
            if masked >= budget {
                break;
            }
            units.starts.swap(drawn, rng.random_range(drawn..count));
            let start = units.starts[drawn] as usize;
            let length = units.length(start);
            let more = length as f64;
            if masked + more > budget && rng.random::<f64>() * more >= budget - masked {
                break;
            }
            masked += more;
            self.replace(ids, labels, start, length, rng);
        }
    }

    /// Draws spans from words until the budget is reached; a span ends where masked or special tokens begin.
    fn draw_spans(&self, ids: &mut [i64], labels: &mut [i64], words: &Units, (p, longest): (f64, usize), budget: f64, rng: &mut Stream) {
        let (mut masked, mut free) = (0.0, words.starts.len());
        while masked < budget && free > 0 {
            let from = rng.random_range(0..words.starts.len());
            let mut wanted = 1;
            while wanted < longest && rng.random::<f64>() >= p {
                wanted += 1;
            }
            let start = words.starts[from] as usize;
            if labels[start] != IGNORED {
                continue;
            }
            let mut end = start;
            let mut taken = 0;
            for word in words.starts[from..].iter().take(wanted).map(|word| *word as usize) {
                if word != end || labels[word] != IGNORED {
                    break;
                }
                end = word + words.length(word);
                taken += 1;
            }
            let more = (end - start) as f64;
            if masked + more > budget && rng.random::<f64>() * more >= budget - masked {
                break;
            }
            masked += more;
            free -= taken;
            self.replace(ids, labels, start, end - start, rng);
        }
    }

    fn replace(&self, ids: &mut [i64], labels: &mut [i64], start: usize, length: usize, rng: &mut Stream) {
        let (ids, labels) = (&mut ids[start..start + length], &mut labels[start..start + length]);
        labels.copy_from_slice(ids);
        let u: f64 = rng.random();
        if u < self.config.mask {
            ids.fill(i64::from(self.tokens.mask()));
        } else if u < self.config.mask + self.config.random {
            let plain = self.tokens.plain();
            ids.iter_mut().for_each(|id| *id = i64::from(plain[rng.random_range(0..plain.len())]));
        }
    }
}
