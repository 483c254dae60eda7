//! Words as numbers.

use std::hash::Hasher;

use hashbrown::HashTable;
use rustc_hash::FxHasher;

/// Different words, numbered in the order in which they came.
#[derive(Debug, Clone, Default)]
pub struct Dictionary {
    text: Vec<u8>,
    entries: Vec<Entry>,
    table: HashTable<u32>,
}

/// A word: most are so short that their beginning is all of them, and the text need not be looked at.
#[derive(Debug, Clone, Copy)]
struct Entry {
    beginning: u64,
    start: usize,
    length: u32,
    hash: u32,
}

/// The first eight bytes, those that are not there as 0.
#[inline]
fn beginning(word: &[u8]) -> u64 {
    let four = |at: usize| u64::from(u32::from_le_bytes([word[at], word[at + 1], word[at + 2], word[at + 3]]));
    match word {
        [a, b, c, d, e, f, g, h, ..] => u64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]),
        // The two halves overlap in the middle, where they say the same.
        [_, _, _, _, ..] => four(0) | four(word.len() - 4) << (8 * (word.len() - 4)),
        _ => word.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte)),
    }
}

#[inline]
fn hash(word: &[u8], beginning: u64) -> u32 {
    let mut hash = beginning ^ (word.len() as u64) << 56;
    if word.len() > 8 {
        let mut hasher = FxHasher::default();
        hasher.write(&word[8..]);
        hash ^= hasher.finish();
    }
    let hash = (hash ^ hash >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (hash >> 32) as u32
}

/// The table's hash from the part of it that is kept: both the place in the table and its tag come from all its bits.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Dictionary {
    /// How many words there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A word by its number.
    pub fn word(&self, number: u32) -> &str {
        std::str::from_utf8(self.bytes_of(number)).unwrap_or_default()
    }

    fn bytes_of(&self, number: u32) -> &[u8] {
        let Entry { start, length, .. } = self.entries[number as usize];
        &self.text[start..start + length as usize]
    }

    /// The number of a word.
    pub fn get(&self, word: &str) -> Option<u32> {
        let hash = hash(word.as_bytes(), beginning(word.as_bytes()));
        self.table.find(spread(hash), |&number| self.bytes_of(number) == word.as_bytes()).copied()
    }

    /// The number of a word, a new one if it is new.
    #[inline]
    pub fn insert(&mut self, word: &str) -> u32 {
        let (word, beginning) = (word.as_bytes(), beginning(word.as_bytes()));
        self.insert_hashed(word, beginning, hash(word, beginning))
    }

    #[inline]
    fn insert_hashed(&mut self, word: &[u8], beginning: u64, hash: u32) -> u32 {
        let Self { text, entries, table } = self;
        let same = |&number: &u32| {
            let entry = &entries[number as usize];
            entry.beginning == beginning
                && entry.length as usize == word.len()
                && (word.len() <= 8 || text[entry.start + 8..entry.start + word.len()] == word[8..])
        };
        if let Some(&number) = table.find(spread(hash), same) {
            return number;
        }
        let number = entries.len() as u32;
        entries.push(Entry { beginning, start: text.len(), length: word.len() as u32, hash });
        text.extend_from_slice(word);
        table.insert_unique(spread(hash), number, |&number| spread(entries[number as usize].hash));
        number
    }

    /// The numbers that another dictionary's words have here; new ones are added in their order.
    pub fn merge(&mut self, other: &Self) -> Vec<u32> {
        let entries = other.entries.iter().enumerate();
        entries.map(|(number, entry)| self.insert_hashed(other.bytes_of(number as u32), entry.beginning, entry.hash)).collect()
    }

    /// How many bytes it takes, about.
    pub fn memory(&self) -> usize {
        self.text.capacity() + self.entries.capacity() * size_of::<Entry>() + self.table.capacity() * 6
    }

    /// The words' bytes one after the other, from this word on.
    pub(crate) fn words_from(&self, first: usize) -> impl Iterator<Item = &str> {
        (first as u32..self.len() as u32).map(|number| self.word(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_keep_their_numbers(words in proptest::collection::vec("\\PC{0,6}", 0..80), others in proptest::collection::vec("\\PC{0,3}", 0..80)) {
            let mut dictionary = Dictionary::default();
            let numbers: Vec<u32> = words.iter().map(|word| dictionary.insert(word)).collect();
            for (word, &number) in words.iter().zip(&numbers) {
                prop_assert_eq!(dictionary.word(number), word);
                prop_assert_eq!(dictionary.get(word), Some(number));
            }
            let mut second = Dictionary::default();
            others.iter().for_each(|word| _ = second.insert(word));
            let places = dictionary.merge(&second);
            for (number, place) in places.into_iter().enumerate() {
                prop_assert_eq!(dictionary.word(place), second.word(number as u32));
            }
            let different: std::collections::HashSet<&String> = words.iter().chain(&others).collect();
            prop_assert_eq!(dictionary.len(), different.len());
        }
    }
}
