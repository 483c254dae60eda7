//! What maskers do to rows of tokens.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::sync::Arc;

use lyceum_core::Seed;
use lyceum_masking::{
    MaskConfig, Masker, Method, Score, Vocabulary,
    masker::IGNORED,
    select::Chosen,
    tokens::{Kind, Tokens, same_case},
    tree::TokenTree,
    vocabulary::About,
    words::Splitting,
};
use tokenizers::Tokenizer;

const VOCABULARY: [&str; 18] =
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", "new", "york", "##ers", "times", "in", "the", "play", "##ing", "of", "a", "b", "c"];

fn tokenizer() -> Tokenizer {
    let vocab: serde_json::Map<String, serde_json::Value> =
        VOCABULARY.iter().enumerate().map(|(id, token)| ((*token).into(), id.into())).collect();
    let added: Vec<serde_json::Value> = VOCABULARY[..5]
        .iter()
        .enumerate()
        .map(|(id, token)| {
            serde_json::json!({ "id": id, "content": token, "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false })
        })
        .collect();
    let json = serde_json::json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab },
    });
    json.to_string().parse().unwrap()
}

fn vocabulary(ngrams: &[&str]) -> Vocabulary {
    let chosen: Vec<Chosen> =
        ngrams.iter().map(|ngram| Chosen { words: ngram.split(' ').collect(), count: 10, score: 1.0, cut: 1 }).collect();
    let about = About { score: Score::Pmi, min_count: 10, splitting: Splitting::default(), tokenizer: false, words: 100 };
    Vocabulary::new(&chosen, about).unwrap()
}

fn masker(config: MaskConfig) -> (Masker, Arc<Tokens>) {
    let tokenizer = tokenizer();
    let tokens = Arc::new(Tokens::of(&tokenizer, None).unwrap());
    let known = vocabulary(&["new york", "new york times", "yorkers in", "the times", "unheard of"]);
    let tree = TokenTree::new(&known, &tokenizer, &tokens).unwrap();
    (Masker::new(config, tokens.clone(), Some(Arc::new(tree))).unwrap(), tokens)
}

fn ids(text: &str) -> Vec<i64> {
    tokenizer().encode(text, false).unwrap().get_ids().iter().map(|id| i64::from(*id)).collect()
}

/// Which tokens are always chosen together: the units, from many draws.
fn units(method: Method, text: &str) -> Vec<usize> {
    let (masker, _) = masker(MaskConfig { method, share: 0.3, mask: 1.0, random: 0.0 });
    let row = ids(text);
    let mut together = vec![true; row.len() - 1];
    for first in 0..400 {
        let (mut ids, mut labels) = (row.clone(), vec![0; row.len()]);
        masker.mask_rows(&mut ids, &mut labels, row.len(), None, Seed::new(1), first);
        for at in 0..row.len() - 1 {
            together[at] &= (labels[at] == IGNORED) == (labels[at + 1] == IGNORED);
        }
    }
    let mut lengths = vec![1];
    for together in together {
        if together { *lengths.last_mut().unwrap() += 1 } else { lengths.push(1) }
    }
    lengths
}

#[test]
fn units_are_masked_as_a_whole() {
    // new york ##ers in the play ##ing , new york times the times
    let text = "new yorkers in the playing, new york times the times";
    assert_eq!(ids(text).len(), 13);
    assert_eq!(units(Method::Token, text), vec![1; 13]);
    assert_eq!(units(Method::WholeWord, text), [1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1]);
    // `new york` does not end inside `yorkers`; the longest wins; nothing overlaps.
    assert_eq!(units(Method::Collocations, text), [1, 3, 1, 2, 1, 3, 2]);
}

#[test]
fn the_share_is_exact_and_special_tokens_stay() {
    let text = format!("[CLS] {} [SEP] [PAD] [PAD]", "new yorkers in the new york times of playing a b c, the times ".repeat(6));
    let row = ids(&text);
    let plain = row.iter().filter(|id| **id >= 5).count();
    for method in [Method::Token, Method::WholeWord, Method::SPAN, Method::Collocations] {
        let (masker, tokens) = masker(MaskConfig { method, ..MaskConfig::default() });
        let (mut ids, mut labels) = (row.repeat(4_000), vec![0; row.len() * 4_000]);
        masker.mask_rows(&mut ids, &mut labels, row.len(), None, Seed::new(2), 0);
        let (mut chosen, mut masked, mut kept) = (0.0, 0.0, 0.0);
        for ((id, label), was) in ids.iter().zip(&labels).zip(row.iter().cycle()) {
            if *label == IGNORED {
                assert_eq!(id, was);
                continue;
            }
            assert!(label == was && *was >= 5);
            assert!(*id == i64::from(tokens.mask()) || tokens.kind(*id as u32) != Kind::Special);
            chosen += 1.0;
            masked += f64::from(u8::from(*id == i64::from(tokens.mask())));
            kept += f64::from(u8::from(id == was));
        }
        // 4,000 rows: standard errors are below 0.001, of the shares of what is chosen below 0.006.
        let share: f64 = chosen / (4_000 * plain) as f64;
        assert!((share - 0.15).abs() < 0.003, "{method:?} {share}");
        assert!((masked / chosen - 0.8_f64).abs() < 0.02, "{method:?} {}", masked / chosen);
        // One random token in 13 is the one that was there.
        assert!((kept / chosen - (0.1 + 0.1 / 13.0_f64)).abs() < 0.02, "{method:?} {}", kept / chosen);
    }
}

/// Geometric lengths, cut at ten words: p (1 + 2q + 3q² + …) for lengths of up to ten.
#[test]
fn spans_have_the_lengths_of_spanbert() {
    let (masker, _) = masker(MaskConfig { method: Method::SPAN, share: 0.02, mask: 1.0, random: 0.0 });
    let row = ids(&"a b c in the of ".repeat(500));
    let (mut lengths, mut spans) = (0.0, 0.0);
    for first in 0..200 {
        let (mut ids, mut labels) = (row.clone(), vec![0; row.len()]);
        masker.mask_rows(&mut ids, &mut labels, row.len(), None, Seed::new(3), first);
        let mut run = 0;
        for label in labels {
            if label != IGNORED {
                run += 1;
            } else if run > 0 {
                lengths += f64::from(run);
                spans += 1.0;
                run = 0;
            }
        }
    }
    let q: f64 = 0.8;
    let expected = (1.0 - q.powi(10)) / 0.2;
    // Spans that touch count as one, the last of a row may be left out: within 5 %.
    assert!((lengths / spans / expected - 1.0).abs() < 0.05, "{} {expected}", lengths / spans);
}

#[test]
fn batches_and_threads_change_nothing() {
    let (masker, _) = masker(MaskConfig::default());
    let row = ids(&"new yorkers in the new york times of a b ".repeat(20));
    let (rows, length) = (300, row.len());
    let (mut whole, mut labels) = (row.repeat(rows), vec![0; length * rows]);
    masker.mask_rows(&mut whole, &mut labels, length, None, Seed::new(4), 0);
    let (mut parts, mut part_labels) = (row.repeat(rows), vec![0; length * rows]);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for (number, (ids, labels)) in parts.chunks_mut(length * 7).zip(part_labels.chunks_mut(length * 7)).enumerate() {
        pool.install(|| masker.mask_rows(ids, labels, length, None, Seed::new(4), number as u64 * 7));
    }
    assert!(whole == parts && labels == part_labels);
    assert_ne!(whole[..length], whole[length..2 * length]);
    // What is marked as special is left alone, in the middle of a collocation too.
    let special: Vec<bool> = (0..length * rows).map(|at| at % 3 == 1).collect();
    let (mut ids, mut labels) = (row.repeat(rows), vec![0; length * rows]);
    masker.mask_rows(&mut ids, &mut labels, length, Some(&special), Seed::new(4), 0);
    assert!(labels.iter().zip(&special).all(|(label, special)| !special || *label == IGNORED));
    assert!(labels.iter().any(|label| *label != IGNORED));
}

#[test]
fn odd_rows_and_settings() {
    let (masker, tokens) = masker(MaskConfig { share: 1.0, ..MaskConfig::default() });
    for row in [vec![], vec![0], vec![2, 3], vec![-7, 1 << 40, 6], vec![8, 8, 13]] {
        let (mut ids, mut labels) = (row.clone(), vec![0; row.len()]);
        masker.mask_rows(&mut ids, &mut labels, row.len(), None, Seed::new(5), 0);
        let plain = row.iter().filter(|id| (5..18).contains(*id)).count();
        assert_eq!(labels.iter().filter(|label| **label != IGNORED).count(), plain, "{row:?}");
    }
    let new = |config| Masker::new(config, tokens.clone(), None).unwrap_err().to_string();
    assert!(new(MaskConfig::default()).contains("vocabulary: found none"));
    for (config, expected) in [
        (MaskConfig { method: Method::Token, share: 1.5, ..MaskConfig::default() }, "share: found 1.5; allowed: 0 to 1"),
        (MaskConfig { method: Method::Token, share: f64::NAN, ..MaskConfig::default() }, "share: found NaN"),
        (MaskConfig { method: Method::Token, mask: 0.9, random: 0.2, ..MaskConfig::default() }, "mask + random"),
        (MaskConfig { method: Method::Span { p: 0.0, longest: 3 }, ..MaskConfig::default() }, "p of spans: found 0"),
        (MaskConfig { method: Method::Span { p: 0.2, longest: 0 }, ..MaskConfig::default() }, "longest span"),
    ] {
        assert!(new(config).contains(expected), "{}", new(config));
    }
    assert!(Tokens::of(&tokenizer(), Some("<none>")).unwrap_err().to_string().contains("no token <none>"));
    assert!(same_case(Splitting::default(), &tokenizer()));
    assert!(!same_case(Splitting { lowercase: false, ..Splitting::default() }, &tokenizer()));
}
