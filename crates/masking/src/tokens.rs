//! What a tokeniser's tokens are: where words begin, which are special; and collocations as sequences of tokens.

use std::path::Path;

use hashbrown::HashMap;
use lyceum_core::{Error, Result};
use rayon::prelude::*;
use rustc_hash::FxBuildHasher;
use tokenizers::{ModelWrapper, Tokenizer};

use crate::{
    vocabulary::Vocabulary,
    words::{Punctuation, Splitting},
};

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

    /// The token that stands for what is masked.
    pub fn mask(&self) -> u32 {
        self.mask
    }

    /// All tokens that are not special.
    pub fn plain(&self) -> &[u32] {
        &self.plain
    }
}

/// Collocations as sequences of tokens.
#[derive(Debug, Clone)]
pub struct TokenTree {
    /// The node of each first token, 0 for none.
    roots: Vec<u32>,
    /// (node, token) to node.
    children: HashMap<u64, u32, FxBuildHasher>,
    /// Whether a collocation ends at a node.
    ends: Vec<bool>,
    /// Signs between words are passed over.
    skip: bool,
}

impl TokenTree {
    /// The collocations of a vocabulary; those with a word that the tokeniser does not know are left out.
    pub fn new(vocabulary: &Vocabulary, tokenizer: &Tokenizer, tokens: &Tokens) -> Result<Self> {
        let entries: Vec<Vec<&str>> = (0..vocabulary.len() as u32).map(|number| vocabulary.get(number).words).collect();
        let mut words: Vec<&str> = entries.iter().flatten().copied().collect();
        words.par_sort_unstable();
        words.dedup();
        let encode = |word: &&str| -> Result<Vec<u32>> {
            let text = if tokens.marked { format!(" {word}") } else { (*word).to_owned() };
            let encoded = tokenizer.encode_fast(text, false).map_err(|error| Error::Failed(format!("the tokeniser: {error}")))?;
            Ok(encoded.get_ids().to_vec())
        };
        let encoded: Vec<Vec<u32>> = words.par_iter().map(encode).collect::<Result<_>>()?;
        let mut tree = Self {
            roots: vec![0; tokens.kinds.len()],
            children: HashMap::default(),
            ends: vec![false],
            skip: vocabulary.about().splitting.punctuation == Punctuation::Skip,
        };
        'entries: for entry in &entries {
            let mut path = Vec::new();
            for word in entry {
                let ids = &encoded[words.binary_search(word).unwrap_or(0)];
                if ids.is_empty() || tokens.unknown.is_some_and(|unknown| ids.contains(&unknown)) {
                    continue 'entries;
                }
                path.extend(ids);
            }
            tree.insert(&path);
        }
        Ok(tree)
    }

    fn insert(&mut self, path: &[u32]) {
        let mut node = 0;
        for (depth, &token) in path.iter().enumerate() {
            let new = self.ends.len() as u32;
            let next = if depth == 0 {
                &mut self.roots[token as usize]
            } else {
                self.children.entry(u64::from(node) << 32 | u64::from(token)).or_insert(0)
            };
            if *next == 0 {
                *next = new;
                self.ends.push(false);
            }
            node = *next;
        }
        self.ends[node as usize] = true;
    }

    /// How many tokens the longest collocation has that begins with the first of these tokens and ends where a word ends; 0
    /// where there is none.
    #[inline]
    pub fn longest(&self, ids: &[i64], tokens: &Tokens) -> usize {
        let mut node = self.roots.get(ids[0] as usize).copied().unwrap_or(0);
        let mut longest = 0;
        let mut length = 1;
        while node != 0 {
            let next = ids.get(length).map(|id| *id as u32);
            if self.ends[node as usize] && next.is_none_or(|next| tokens.kind(next) != Kind::Continuation) {
                longest = length;
            }
            let Some(token) = next else { break };
            length += 1;
            if self.skip && tokens.kind(token) == Kind::Sign {
                continue;
            }
            node = self.children.get(&(u64::from(node) << 32 | u64::from(token))).copied().unwrap_or(0);
        }
        longest
    }
}

/// Whether words of a vocabulary are made as this tokeniser makes them, as far as case goes.
pub fn same_case(splitting: Splitting, tokenizer: &Tokenizer) -> bool {
    let lowercases = tokenizer.encode_fast("A", false).ok().zip(tokenizer.encode_fast("a", false).ok());
    lowercases.is_none_or(|(upper, lower)| (upper.get_ids() == lower.get_ids()) == splitting.lowercase)
}
