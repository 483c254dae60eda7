//! What a tokeniser's tokens are: where words begin, which are special.

use std::{borrow::Cow, path::Path};

use lyceum_core::{Error, Result};
use tokenizers::{ModelWrapper, Tokenizer};
use unicode_normalization::char::is_combining_mark;

use crate::words::Splitting;

/// What a token is to a masker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The beginning of a word, or all of it.
    Start,
    /// It continues a word that is open, or begins one.
    Continuation,
    /// The same, and the word ends with it.
    End,
    /// A word by itself.
    Whole,
    /// It has no letter and no digit.
    Sign,
    /// It is never masked: `[CLS]`, `[PAD]` and the like.
    Special,
}

impl Kind {
    /// Whether a token of this kind belongs to the same word as the token before it.
    #[inline]
    pub fn goes_on(self, before: Self) -> bool {
        const OPEN: u8 = 1 << Kind::Start as u8 | 1 << Kind::Continuation as u8;
        const GOES_ON: u8 = 1 << Kind::Continuation as u8 | 1 << Kind::End as u8;
        (OPEN >> before as u8) & (GOES_ON >> self as u8) & 1 != 0
    }
}

/// How tokens show where words begin.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Marks {
    /// Each token is a word.
    Words,
    /// A token that continues a word begins with this (`##`).
    GoesOn(String),
    /// A token that ends a word ends with this (`</w>`).
    Ends(String),
    /// A token that begins a word begins with this (`▁`).
    Begins(char),
    /// The same, with bytes as letters: a space is `Ġ`.
    Bytes,
    /// Not at all.
    No,
}

impl Marks {
    fn of(tokenizer: &Tokenizer) -> Self {
        let given = |mark: Option<&String>| mark.filter(|mark| !mark.is_empty()).cloned();
        let (goes_on, ends) = match tokenizer.get_model() {
            ModelWrapper::WordLevel(_) => return Self::Words,
            ModelWrapper::WordPiece(model) => (given(Some(&model.continuing_subword_prefix)), None),
            ModelWrapper::BPE(model) => (given(model.get_continuing_subword_prefix().as_ref()), given(model.end_of_word_suffix.as_ref())),
            ModelWrapper::Unigram(_) => (None, None),
        };
        if let Some(mark) = goes_on {
            return Self::GoesOn(mark);
        }
        if let Some(mark) = ends {
            return Self::Ends(mark);
        }
        if is_byte_level(tokenizer) {
            return Self::Bytes;
        }
        let parts = parts(tokenizer);
        let space = parts.iter().find_map(|part| part_of_type(part, "Metaspace")?["replacement"].as_str()?.chars().next());
        match space {
            Some(space) => Self::Begins(space),
            // Where the mark is put in by a replacement, tokens alone tell.
            None if tokenizer.get_vocab(false).keys().any(|token| token.starts_with('▁') && token.chars().any(char::is_alphanumeric)) => {
                Self::Begins('▁')
            }
            None => Self::No,
        }
    }

    fn kind(&self, token: &str) -> Kind {
        let bytes = matches!(self, Self::Bytes).then(|| bytes_of(token));
        let (text, kind) = match self {
            Self::Words => (token.into(), Kind::Whole),
            Self::GoesOn(mark) => match token.strip_prefix(mark.as_str()) {
                Some(rest) => (rest.into(), Kind::Continuation),
                None => (token.into(), Kind::Start),
            },
            Self::Ends(mark) => match token.strip_suffix(mark.as_str()) {
                Some(rest) => (rest.into(), Kind::End),
                None => (token.into(), Kind::Continuation),
            },
            Self::Begins(mark) => match token.strip_prefix(*mark) {
                Some(rest) => (rest.into(), Kind::Start),
                None => (Cow::Borrowed(token), Kind::Continuation),
            },
            Self::Bytes => {
                let text = String::from_utf8_lossy(bytes.as_deref().unwrap_or_default());
                let kind = if text.starts_with(char::is_whitespace) { Kind::Start } else { Kind::Continuation };
                (text, kind)
            }
            Self::No => (token.into(), Kind::Whole),
        };
        let text = text.trim();
        let marked = matches!(self, Self::Begins(_) | Self::Bytes);
        if text.is_empty() && marked && kind == Kind::Start {
            // A mark by itself opens a word; an end of a line does not.
            return if token.chars().all(|c| matches!(c, 'Ġ' | '▁')) { Kind::Start } else { Kind::Sign };
        }
        // Part of a letter of several bytes.
        let part = text.contains(char::REPLACEMENT_CHARACTER);
        if !part && !text.chars().any(char::is_alphanumeric) {
            Kind::Sign
        } else if marked && !part && !text.starts_with(|c: char| c.is_alphanumeric() || is_combining_mark(c)) {
            // As `'s`: it does not go on with the word before.
            Kind::Start
        } else {
            kind
        }
    }
}

/// Pre-tokeniser, normaliser and decoder, as their JSON.
fn parts(tokenizer: &Tokenizer) -> Vec<serde_json::Value> {
    let parts = [
        serde_json::to_value(tokenizer.get_pre_tokenizer()),
        serde_json::to_value(tokenizer.get_normalizer()),
        serde_json::to_value(tokenizer.get_decoder()),
    ];
    parts.into_iter().flatten().collect()
}

/// Whether a tokeniser's letters stand for bytes, as GPT-2's.
pub(crate) fn is_byte_level(tokenizer: &Tokenizer) -> bool {
    parts(tokenizer).iter().any(|part| part_of_type(part, "ByteLevel").is_some())
}

/// The part of a tokeniser with this type, in sequences too.
fn part_of_type<'a>(part: &'a serde_json::Value, name: &str) -> Option<&'a serde_json::Value> {
    if part["type"] == name {
        return Some(part);
    }
    ["pretokenizers", "normalizers", "decoders"]
        .iter()
        .filter_map(|key| part[key].as_array())
        .flatten()
        .find_map(|part| part_of_type(part, name))
}

/// The bytes that the letters of a byte-level tokeniser stand for.
pub(crate) fn bytes_of(token: &str) -> Vec<u8> {
    // As in GPT-2: bytes that can be seen stand for themselves, the others follow from U+0100 on.
    let itself = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let hidden: Vec<u8> = (0..=255).filter(|byte| !itself(*byte)).collect();
    let mut bytes = Vec::with_capacity(token.len());
    for c in token.chars() {
        match u32::from(c) {
            code @ 0..=255 => bytes.push(code as u8),
            code => match hidden.get(code as usize - 256) {
                Some(byte) => bytes.push(*byte),
                None => bytes.extend(c.encode_utf8(&mut [0; 4]).bytes()),
            },
        }
    }
    bytes
}

/// The tokens of a tokeniser.
#[derive(Debug, Clone)]
pub struct Tokens {
    kinds: Vec<Kind>,
    mask: u32,
    /// What a masked token may be replaced with.
    plain: Vec<u32>,
    unknown: Option<u32>,
    marks: Marks,
}

/// Reads a `tokenizer.json`.
pub fn load(path: &Path) -> Result<Tokenizer> {
    if !path.exists() {
        return Err(Error::Missing { path: path.into(), hint: "Give a tokenizer.json as Hugging Face's tokenizers write it.".into() });
    }
    let tokenizer = Tokenizer::from_file(path).map_err(|error| Error::damaged(path, format!("is no tokeniser: {error}")))?;
    Ok(whole(&tokenizer).into_owned())
}

/// The tokeniser without padding and truncation, which belong to whoever used it last, and without chance (BPE-dropout,
/// samples of Unigram): all of a text and nothing else, each time the same.
pub fn whole(tokenizer: &Tokenizer) -> Cow<'_, Tokenizer> {
    let is_chance = match tokenizer.get_model() {
        ModelWrapper::BPE(model) => model.dropout.is_some(),
        ModelWrapper::Unigram(model) => model.alpha.is_some() || model.nbest_size.is_some(),
        ModelWrapper::WordPiece(_) | ModelWrapper::WordLevel(_) => false,
    };
    if !is_chance && tokenizer.get_padding().is_none() && tokenizer.get_truncation().is_none() {
        return Cow::Borrowed(tokenizer);
    }
    let mut whole = tokenizer.clone();
    if is_chance {
        let mut model = tokenizer.get_model().clone();
        match &mut model {
            ModelWrapper::BPE(model) => model.dropout = None,
            ModelWrapper::Unigram(model) => (model.alpha, model.nbest_size) = (None, None),
            ModelWrapper::WordPiece(_) | ModelWrapper::WordLevel(_) => {}
        }
        whole.with_model(model);
    }
    whole.with_padding(None);
    // Nothing to check where nothing is set.
    let _ = whole.with_truncation(None);
    Cow::Owned(whole)
}

impl Tokens {
    /// The tokens of a tokeniser; the mask is its token `[MASK]` or `<mask>`, or the one given.
    pub fn of(tokenizer: &Tokenizer, mask: Option<&str>) -> Result<Self> {
        let vocabulary = tokenizer.get_vocab(true);
        let size = vocabulary.values().max().map_or(0, |last| *last as usize + 1);
        let found = match mask {
            Some(mask) => vocabulary.get(mask),
            None => ["[MASK]", "<mask>"].iter().find_map(|mask| vocabulary.get(*mask)),
        };
        let name = mask.unwrap_or("[MASK] or <mask>");
        let mask = *found.ok_or_else(|| Error::invalid("the tokeniser", format!("no token {name}"), "one whose mask token is named"))?;
        let marks = Marks::of(tokenizer);
        let mut kinds = vec![Kind::Special; size];
        for (token, &id) in &vocabulary {
            kinds[id as usize] = marks.kind(token);
        }
        for (id, token) in tokenizer.get_added_tokens_decoder() {
            if token.special && (id as usize) < size {
                kinds[id as usize] = Kind::Special;
            }
        }
        kinds[mask as usize] = Kind::Special;
        let plain: Vec<u32> = (0..size as u32).filter(|&id| kinds[id as usize] != Kind::Special).collect();
        if plain.is_empty() {
            return Err(Error::invalid("the tokeniser", "special tokens alone", "a token that can be masked"));
        }
        let unknown = ["[UNK]", "<unk>"].iter().find_map(|unknown| vocabulary.get(*unknown)).copied();
        Ok(Self { kinds, mask, plain, unknown, marks })
    }

    /// What a token is; one that the tokeniser does not have is special.
    #[inline]
    pub fn kind(&self, token: u32) -> Kind {
        self.kinds.get(token as usize).copied().unwrap_or(Kind::Special)
    }

    /// Whether it stands for words that the tokeniser does not know.
    pub fn is_unknown(&self, token: u32) -> bool {
        self.unknown == Some(token)
    }

    /// Whether tokens show where words begin: only then can more than single tokens be masked together.
    pub fn tell_words(&self) -> bool {
        self.marks != Marks::No
    }

    /// The tokens of a word in the middle of a text, and where it may stand otherwise (at the beginning, after a sign) those too.
    /// None where the tokeniser does not know it.
    pub(crate) fn of_word(&self, tokenizer: &Tokenizer, word: &str) -> Result<Vec<Vec<u32>>> {
        let failed = |error: tokenizers::Error| Error::Failed(format!("the tokeniser: {error}"));
        let known = |ids: &Vec<u32>| !ids.is_empty() && !ids.iter().any(|id| self.is_unknown(*id));
        if !matches!(self.marks, Marks::Begins(_) | Marks::Bytes) {
            let ids = tokenizer.encode_fast(word, false).map_err(failed)?.get_ids().to_vec();
            return Ok(std::iter::once(ids).filter(known).collect());
        }
        let mut all = Vec::new();
        for before in [" ", "", "(", "\"", "-"] {
            let encoded = tokenizer.encode(format!("{before}{word}"), false).map_err(failed)?;
            let (ids, offsets) = (encoded.get_ids(), encoded.get_offsets());
            // The space belongs to the word, a sign does not.
            let from = if before == " " { 0 } else { before.len() };
            let first = offsets.iter().position(|(start, _)| *start >= from).unwrap_or(ids.len());
            let apart = from == 0 || first > 0 && offsets[..first].iter().all(|(_, end)| *end <= from);
            let ids = ids[first..].to_vec();
            if apart && known(&ids) && !all.contains(&ids) {
                all.push(ids);
            }
        }
        Ok(all)
    }

    /// The token that stands for what is masked.
    pub fn mask(&self) -> u32 {
        self.mask
    }

    /// All tokens that are not special.
    pub fn plain(&self) -> &[u32] {
        &self.plain
    }
}

/// Whether words of a vocabulary are made as this tokeniser makes them, as far as case goes.
pub fn same_case(splitting: Splitting, tokenizer: &Tokenizer) -> bool {
    let lowercases = tokenizer.encode_fast("A", false).ok().zip(tokenizer.encode_fast("a", false).ok());
    lowercases.is_none_or(|(upper, lower)| (upper.get_ids() == lower.get_ids()) == splitting.lowercase)
}

#[cfg(test)]
mod tests {
    use tokenizers::models::bpe::BpeBuilder;

    use super::*;

    #[test]
    fn a_whole_tokeniser_leaves_nothing_to_chance() {
        let vocabulary = [("a".to_owned(), 0), ("b".to_owned(), 1), ("ab".to_owned(), 2)];
        let bpe = BpeBuilder::new().vocab_and_merges(vocabulary, vec![("a".into(), "b".into())]).dropout(1.0).build().unwrap();
        let tokenizer = Tokenizer::new(bpe);
        let ids = |tokenizer: &Tokenizer| tokenizer.encode("ab", false).unwrap().get_ids().to_vec();
        assert_eq!((ids(&tokenizer), ids(&whole(&tokenizer))), (vec![0, 1], vec![2]));
    }
}
