//! What of a row is masked as a whole.

#![allow(clippy::needless_bitwise_bool, reason = "sweeps without branches")]

use crate::{
    tokens::{Kind, Tokens},
    tree::TokenTree,
};

/// The units of a row: tokens, words, or collocations and words. The room is used again for the next row.
///
/// A row is swept a few times without branches, which real text would make guess wrong at every other token; only where a
/// collocation may begin is it looked for.
#[derive(Debug, Default)]
pub(crate) struct Units {
    /// Where each begins.
    pub(crate) starts: Vec<u32>,
    /// How many tokens all have together.
    pub(crate) tokens: usize,
    kinds: Vec<Kind>,
    /// Whether a token belongs to the unit of the token before it.
    joined: Vec<bool>,
    candidates: Vec<u32>,
}

impl Units {
    /// Finds those of a row. `special` says which tokens are in none, besides the tokeniser's own; `words` whether the tokens of a
    /// word are together; `tree` which collocations are, at each word the longest, from left to right, without overlap.
    pub(crate) fn find(&mut self, ids: &[i64], special: Option<&[bool]>, tokens: &Tokens, words: bool, tree: Option<&TokenTree>) {
        self.kinds.clear();
        self.kinds.extend(ids.iter().map(|id| tokens.kind(u32::try_from(*id).unwrap_or(u32::MAX))));
        for (kind, special) in self.kinds.iter_mut().zip(special.unwrap_or_default()) {
            *kind = if *special { Kind::Special } else { *kind };
        }
        self.joined.clear();
        self.joined.resize(ids.len().min(1), false);
        let goes_on = |pair: &[Kind]| words & pair[1].goes_on(pair[0]);
        self.joined.extend(self.kinds.windows(2).map(goes_on));
        if let Some(tree) = tree {
            self.join_collocations(ids, special, tokens, tree);
        }
        let Self { starts, kinds, joined, .. } = self;
        places(starts, ids.len(), |at| (kinds[at] != Kind::Special) & !joined[at]);
        self.tokens = self.kinds.iter().filter(|kind| **kind != Kind::Special).count();
    }

    fn join_collocations(&mut self, ids: &[i64], special: Option<&[bool]>, tokens: &Tokens, tree: &TokenTree) {
        let Self { kinds, joined, candidates, .. } = self;
        let may_begin = |at: usize| (kinds[at] != Kind::Special) & !joined[at] & tree.may_begin(ids[at], ids[at + 1]);
        places(candidates, ids.len().saturating_sub(1), may_begin);
        keep(candidates, |at| tree.seems_to_begin(ids[at], ids[at + 1]));
        let mut free = 0;
        for at in candidates.iter().map(|at| *at as usize) {
            if at < free {
                continue;
            }
            let mut length = tree.longest(&ids[at..], tokens);
            if let Some(special) = special {
                // What must not be masked is in no collocation.
                length = special[at..at + length].iter().position(|special| *special).unwrap_or(length);
            }
            if length > 0 {
                joined[at + 1..at + length].fill(true);
                free = at + length;
            }
        }
    }

    /// How many tokens the unit has that begins here.
    pub(crate) fn length(&self, start: usize) -> usize {
        1 + self.joined[start + 1..].iter().take_while(|joined| **joined).count()
    }
}

/// The places below `count` of which something is true, in order.
fn places(places: &mut Vec<u32>, count: usize, is: impl Fn(usize) -> bool) {
    places.clear();
    places.extend(0..count as u32);
    keep(places, is);
}

/// Keeps those of which something is true, without a branch.
fn keep(places: &mut Vec<u32>, is: impl Fn(usize) -> bool) {
    let mut kept = 0;
    for index in 0..places.len() {
        let place = places[index];
        places[kept] = place;
        kept += usize::from(is(place as usize));
    }
    places.truncate(kept);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokenizers::Tokenizer;

    use super::*;
    use crate::{
        Score, Vocabulary,
        select::Chosen,
        vocabulary::About,
        words::{Punctuation, Splitting},
    };

    const TOKENS: [&str; 10] = ["[UNK]", "[CLS]", "[MASK]", ",", "a", "b", "c", "##x", "##y", "-"];

    fn tokenizer() -> Tokenizer {
        let vocab: serde_json::Map<String, serde_json::Value> =
            TOKENS.iter().enumerate().map(|(id, token)| ((*token).into(), id.into())).collect();
        let special = |id: usize| serde_json::json!({ "id": id, "content": TOKENS[id], "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false });
        let json = serde_json::json!({
            "version": "1.0", "added_tokens": [special(0), special(1), special(2)], "pre_tokenizer": { "type": "BertPreTokenizer" },
            "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab },
        });
        json.to_string().parse().unwrap()
    }

    /// The definition, token after token: the longest collocation that begins here and ends with a word, or a word, or a token.
    fn plain(ids: &[i64], special: &[bool], tokens: &Tokens, words: bool, ngrams: &[Vec<i64>], skip: bool) -> Vec<(usize, usize)> {
        let own = |at: usize| tokens.kind(ids[at] as u32);
        let kind = |at: usize| if special[at] { Kind::Special } else { own(at) };
        let matched = |at: usize, ngram: &[i64]| {
            let mut end = at;
            for (place, token) in ngram.iter().enumerate() {
                while skip && place > 0 && end < ids.len() && own(end) == Kind::Sign {
                    end += 1;
                }
                if ids.get(end) != Some(token) {
                    return 0;
                }
                end += 1;
            }
            if end < ids.len() && own(end) == Kind::Continuation { 0 } else { end - at }
        };
        let (mut at, mut units) = (0, Vec::new());
        while at < ids.len() {
            if kind(at) == Kind::Special {
                at += 1;
                continue;
            }
            let mut end = at + ngrams.iter().map(|ngram| matched(at, ngram)).max().unwrap_or(0);
            end = (at..end).find(|place| special[*place]).unwrap_or(end);
            if end == at {
                end += 1;
                while words && kind(at) != Kind::Sign && end < ids.len() && kind(end) == Kind::Continuation {
                    end += 1;
                }
            }
            units.push((at, end - at));
            at = end;
        }
        units
    }

    proptest! {
        #[test]
        fn units_are_those_of_the_definition(
            ngrams in prop::collection::vec(prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "ax", "by", "axy"]), 2..5), 0..8),
            rows in prop::collection::vec(prop::collection::vec((0..TOKENS.len() as i64 + 1, prop::bool::weighted(0.05)), 0..40), 1..4),
            words: bool, skip: bool, masked: bool,
        ) {
            let tokenizer = tokenizer();
            let tokens = Tokens::of(&tokenizer, None).unwrap();
            let punctuation = if skip { Punctuation::Skip } else { Punctuation::Boundary };
            let about = About {
                score: Score::Pmi, min_count: 1, splitting: Splitting { punctuation, ..Splitting::default() }, tokenizer: false, words: 9,
            };
            let mut known: Vec<_> = ngrams.iter().map(|words| Chosen { words: words.clone(), count: 1, score: 1.0, cut: 1 }).collect();
            known.sort_by(|a, b| (a.words.len(), &a.words).cmp(&(b.words.len(), &b.words)));
            known.dedup_by(|a, b| a.words == b.words);
            let tree = TokenTree::new(&Vocabulary::new(&known, about).unwrap(), &tokenizer, &tokens).unwrap();
            let encoded = |ngram: &Vec<&str>| -> Vec<i64> {
                tokenizer.encode_fast(ngram.join(" "), false).unwrap().get_ids().iter().map(|id| i64::from(*id)).collect()
            };
            let encoded: Vec<Vec<i64>> = ngrams.iter().map(encoded).collect();
            let mut units = Units::default();
            for row in rows {
                // One token is of no tokeniser, and one is below 0.
                let ids: Vec<i64> = row.iter().map(|(id, _)| if *id == 1 { -7 } else { *id }).collect();
                let special: Vec<bool> = row.iter().map(|(_, special)| *special && masked).collect();
                units.find(&ids, masked.then_some(&special), &tokens, words, words.then_some(&tree));
                let found: Vec<(usize, usize)> =
                    units.starts.iter().map(|start| (*start as usize, units.length(*start as usize))).collect();
                let expected = plain(&ids, &special, &tokens, words, if words { &encoded } else { &[] }, skip);
                prop_assert_eq!(units.tokens, expected.iter().map(|(_, length)| length).sum::<usize>());
                prop_assert_eq!(found, expected);
            }
        }
    }
}
