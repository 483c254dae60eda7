//! What a word is: text becomes words and the places that no n-gram crosses.

use lyceum_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokenizers::{NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Tokenizer};
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

use crate::tokens;

/// How text is cut into words by the built-in splitter. The defaults are those of uncased BERT: lower case, no accents, words
/// of letters and digits, each Chinese or Japanese ideograph a word of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Splitting {
    /// Words are brought to lower case and lose their accents.
    pub lowercase: bool,
    /// What punctuation does.
    pub punctuation: Punctuation,
    /// Whether the end of a line ends n-grams too.
    pub lines: bool,
    /// Whether numbers are words; else no n-gram crosses one (built-in splitter).
    pub numbers: bool,
}

/// What punctuation does to n-grams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Punctuation {
    /// No n-gram crosses it.
    Boundary,
    /// Each sign is a word.
    Word,
    /// It is passed over.
    Skip,
}

impl Default for Splitting {
    fn default() -> Self {
        Self { lowercase: true, punctuation: Punctuation::Boundary, lines: true, numbers: true }
    }
}

/// Letters of the longest word; a longer one is a boundary (as in BERT, whose tokeniser makes it unknown).
pub const LONGEST: usize = 100;

/// What [`split`] meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A word, normalised, and the bytes of the text that it stands for.
    Word(&'a str, (usize, usize)),
    /// No n-gram crosses this place.
    Boundary,
}

const WORD: u8 = 0;
const SPACE: u8 = 1;
const LINE: u8 = 2;
const SIGN: u8 = 3;
const OTHER: u8 = 4;

const CLASSES: [u8; 256] = {
    let mut classes = [OTHER; 256];
    let mut byte = 0;
    while byte < 128 {
        let b = byte as u8;
        classes[byte] = if b.is_ascii_alphanumeric() {
            WORD
        } else if matches!(b, b'\n' | b'\r' | 0x0b | 0x0c) {
            LINE
        } else if b == b' ' || b == b'\t' || b.is_ascii_control() {
            SPACE
        } else {
            SIGN
        };
        byte += 1;
    }
    classes
};

/// Whether this is an ideograph, a word of its own (the ranges of BERT's tokeniser).
fn ideograph(c: char) -> bool {
    matches!(u32::from(c), 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x2CEAF | 0x2F800..=0x2FA1F)
}

fn class(c: char) -> u8 {
    if c.is_alphanumeric() || is_combining_mark(c) {
        WORD
    } else if matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}') {
        LINE
    } else if c.is_whitespace() || c.is_control() || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{feff}') {
        SPACE
    } else {
        SIGN
    }
}

/// Whether no word of the built-in splitter goes on after this letter.
pub(crate) fn ends_word(c: char) -> bool {
    class(c) != WORD || ideograph(c)
}

/// Cuts a text into words, in order. `inside` says that the text begins inside a word that was too long: what is left of it
/// is passed over.
pub fn split(text: &str, splitting: Splitting, inside: bool, mut each: impl FnMut(Piece<'_>)) {
    let bytes = text.as_bytes();
    let mut word = String::with_capacity(4 * LONGEST);
    let mut at = 0;
    if inside {
        at = text.find(ends_word).unwrap_or(text.len());
        each(Piece::Boundary);
    }
    while at < bytes.len() {
        let start = at;
        match CLASSES[usize::from(bytes[at])] {
            WORD => {
                while at < bytes.len() && CLASSES[usize::from(bytes[at])] == WORD {
                    at += 1;
                }
                if at == bytes.len() || bytes[at] < 128 {
                    ascii_word(&text[start..at], splitting, &mut word, (start, at), &mut each);
                } else {
                    at = wide_word(text, start, splitting, &mut word, &mut each);
                }
            }
            SPACE => at += 1,
            LINE => {
                at += 1;
                if splitting.lines {
                    each(Piece::Boundary);
                }
            }
            SIGN => {
                at += 1;
                sign(&text[start..at], splitting, (start, at), &mut each);
            }
            _ => {
                let c = text[at..].chars().next().unwrap_or(' ');
                match class(c) {
                    WORD => at = wide_word(text, start, splitting, &mut word, &mut each),
                    SPACE => at += c.len_utf8(),
                    LINE => {
                        at += c.len_utf8();
                        if splitting.lines {
                            each(Piece::Boundary);
                        }
                    }
                    _ => {
                        at += c.len_utf8();
                        sign(&text[start..at], splitting, (start, at), &mut each);
                    }
                }
            }
        }
    }
}

fn sign(text: &str, splitting: Splitting, span: (usize, usize), each: &mut impl FnMut(Piece<'_>)) {
    match splitting.punctuation {
        Punctuation::Boundary => each(Piece::Boundary),
        Punctuation::Word => each(Piece::Word(text, span)),
        Punctuation::Skip => {}
    }
}

#[inline]
fn ascii_word(text: &str, splitting: Splitting, word: &mut String, span: (usize, usize), each: &mut impl FnMut(Piece<'_>)) {
    if text.len() > LONGEST || (!splitting.numbers && text.bytes().all(|byte| byte.is_ascii_digit())) {
        each(Piece::Boundary);
    } else if splitting.lowercase && text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        word.clear();
        word.push_str(text);
        word.make_ascii_lowercase();
        each(Piece::Word(word, span));
    } else {
        each(Piece::Word(text, span));
    }
}

/// A word with letters beyond ASCII; where the next piece begins.
fn wide_word(text: &str, start: usize, splitting: Splitting, word: &mut String, each: &mut impl FnMut(Piece<'_>)) -> usize {
    let first = text[start..].chars().next().unwrap_or(' ');
    if ideograph(first) {
        let end = start + first.len_utf8();
        each(Piece::Word(&text[start..end], (start, end)));
        return end;
    }
    let length = text[start..].find(ends_word).unwrap_or(text.len() - start);
    let (whole, end) = (&text[start..start + length], start + length);
    if whole.chars().count() > LONGEST {
        each(Piece::Boundary);
        return end;
    }
    word.clear();
    if splitting.lowercase {
        word.extend(whole.nfd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase).nfd().filter(|c| !is_combining_mark(*c)));
    } else {
        word.push_str(whole);
    }
    // A word of accents alone has nothing left.
    if !word.is_empty() {
        each(Piece::Word(word, (start, end)));
    }
    end
}

/// Where words come from.
#[derive(Debug, Clone)]
pub enum Words {
    /// The built-in splitter.
    BuiltIn(Splitting),
    /// The normaliser and pre-tokeniser of a tokeniser file; signs are what has no letter and no digit in it.
    Tokenizer(Box<Tokenizer>, Splitting),
}

impl Words {
    /// Calls `each` with the pieces of a text, in order.
    pub fn of(&self, text: &str, inside: bool, mut each: impl FnMut(Piece<'_>)) -> Result<()> {
        let (tokenizer, splitting) = match self {
            Self::BuiltIn(splitting) => {
                split(text, *splitting, inside, each);
                return Ok(());
            }
            Self::Tokenizer(tokenizer, splitting) => (tokenizer, *splitting),
        };
        let byte_level = tokens::is_byte_level(tokenizer);
        let mut before = 0;
        for line in text.split_inclusive(['\n', '\r']) {
            let failed = |error: tokenizers::Error| Error::Failed(format!("the tokeniser: {error}"));
            let mut normalized = NormalizedString::from(line);
            if let Some(normalizer) = tokenizer.get_normalizer() {
                normalizer.normalize(&mut normalized).map_err(failed)?;
            }
            let mut cut = PreTokenizedString::from(normalized);
            if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
                pre_tokenizer.pre_tokenize(&mut cut).map_err(failed)?;
            }
            for (number, (word, (start, end), _)) in cut.get_splits(OffsetReferential::Original, OffsetType::Byte).into_iter().enumerate() {
                // Letters that stand for bytes are read as what they stand for.
                let decoded = byte_level.then(|| String::from_utf8_lossy(&tokens::bytes_of(word)).into_owned());
                let word = decoded.as_deref().unwrap_or(word).trim_matches(|c: char| c == '▁' || c.is_whitespace());
                let span = (before + start, before + end);
                if word.is_empty() || (inside && before == 0 && number == 0) {
                    continue;
                }
                if !word.chars().any(char::is_alphanumeric) {
                    sign(word, splitting, span, &mut each);
                } else if word.chars().count() > LONGEST {
                    each(Piece::Boundary);
                } else {
                    each(Piece::Word(word, span));
                }
            }
            before += line.len();
            if splitting.lines && line.ends_with(['\n', '\r']) {
                each(Piece::Boundary);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pieces(text: &str, splitting: Splitting) -> Vec<String> {
        let mut found = Vec::new();
        split(text, splitting, false, |piece| {
            found.push(match piece {
                Piece::Word(word, _) => word.to_owned(),
                Piece::Boundary => "|".into(),
            });
        });
        found
    }

    #[test]
    fn words_are_those_of_uncased_bert() {
        let usual = Splitting::default();
        assert_eq!(
            pieces("Don't  stop,\nCafé ÉTÉ naïve_x2", usual),
            ["don", "|", "t", "stop", "|", "|", "cafe", "ete", "naive", "|", "x2"]
        );
        assert_eq!(pieces("东京 tower", usual), ["东", "京", "tower"]);
        let cased = Splitting { lowercase: false, punctuation: Punctuation::Word, lines: false, ..usual };
        assert_eq!(pieces("Don't\nÉté", cased), ["Don", "'", "t", "Été"]);
        assert_eq!(pieces("a-b", Splitting { punctuation: Punctuation::Skip, ..usual }), ["a", "b"]);
        assert_eq!(pieces("in 1999 or b2", Splitting { numbers: false, ..usual }), ["in", "|", "or", "b2"]);
        let long = "x".repeat(101);
        assert_eq!(pieces(&format!("a {long} b {}", "é".repeat(100)), usual), ["a", "|", "b", &"e".repeat(100)]);
    }

    proptest! {
        /// Words lie in the text in order, hold letters or digits alone, and a text that is cut at a space has the same words.
        #[test]
        fn any_text_is_split(text in "\\PC*", cut in 0_usize..50) {
            let mut last = 0;
            split(&text, Splitting::default(), false, |piece| if let Piece::Word(word, (start, end)) = piece {
                assert!(start >= last && end > start && !word.is_empty() && text.is_char_boundary(start) && text.is_char_boundary(end));
                last = end;
            });
            let spaces: Vec<usize> = text.match_indices(' ').map(|(at, _)| at).collect();
            if let Some(&at) = spaces.get(cut % spaces.len().max(1)) {
                let mut halves = pieces(&text[..at], Splitting::default());
                halves.extend(pieces(&text[at..], Splitting::default()));
                prop_assert_eq!(halves, pieces(&text, Splitting::default()));
            }
        }
    }
}
