//! What a tokeniser's tokens are: where words begin, which are special.

use std::path::Path;

use lyceum_core::{Error, Result};
use tokenizers::{ModelWrapper, Tokenizer};

use crate::words::Splitting;

/// What a token is to a masker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A word, or the beginning of one.
    Start,
    /// It goes on with a word, unless it follows a sign or a special token.
    Continuation,
    /// It has no letter and no digit.
    Sign,
    /// It is never masked: `[CLS]`, `[PAD]` and the like.
    Special,
}

/// The tokens of a tokeniser.
#[derive(Debug, Clone)]
pub struct Tokens {
    kinds: Vec<Kind>,
    mask: u32,
    /// What a masked token may be replaced with.
    plain: Vec<u32>,
    unknown: Option<u32>,
    /// Words begin with a mark of their own (`Ġ`, `▁`), so that a word by itself is encoded with a space in front.
    marked: bool,
}

/// Reads a `tokenizer.json`.
pub fn load(path: &Path) -> Result<Tokenizer> {
    if !path.exists() {
        return Err(Error::Missing { path: path.into(), hint: "Give a tokenizer.json as Hugging Face's tokenizers write it.".into() });
    }
    Tokenizer::from_file(path).map_err(|error| Error::damaged(path, format!("is no tokeniser: {error}")))
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
        let prefix = match tokenizer.get_model() {
            ModelWrapper::WordPiece(model) => Some(model.continuing_subword_prefix.clone()),
            ModelWrapper::BPE(model) => model.get_continuing_subword_prefix().clone(),
            _ => None,
        };
        let marked = prefix.is_none();
        let mut kinds = vec![Kind::Special; size];
        for (token, &id) in &vocabulary {
            let bare = prefix.as_deref().and_then(|prefix| token.strip_prefix(prefix));
            kinds[id as usize] = if !token.chars().any(|c| c.is_alphanumeric() && c != 'Ġ') {
                Kind::Sign
            } else if bare.is_some() || (marked && !token.starts_with(['Ġ', '▁'])) {
                Kind::Continuation
            } else {
                Kind::Start
            };
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
        Ok(Self { kinds, mask, plain, unknown, marked })
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

    /// A word as the tokeniser meets it in the middle of a text.
    pub fn as_word(&self, word: &str) -> String {
        if self.marked { format!(" {word}") } else { word.to_owned() }
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
