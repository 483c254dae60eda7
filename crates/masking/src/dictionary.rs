//! Words as numbers.

use std::hash::Hasher;

use hashbrown::HashTable;
use rustc_hash::FxHasher;

/// Different words, numbered in the order in which they came.
#[derive(Debug, Clone, Default)]
pub struct Dictionary {
    text: Vec<u8>,
    /// Where each word ends in `text`.
    ends: Vec<usize>,
    hashes: Vec<u32>,
    table: HashTable<u32>,
}

fn hash(word: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(word);
    hasher.finish()
}

/// The table's hash from the part of it that is kept: both the place in the table and its tag come from all its bits.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Dictionary {
    /// How many words there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// A word by its number.
    pub fn word(&self, number: u32) -> &str {
        std::str::from_utf8(self.bytes_of(number)).unwrap_or_default()
    }

    fn bytes_of(&self, number: u32) -> &[u8] {
        let number = number as usize;
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        &self.text[start..self.ends[number]]
    }

    /// The number of a word.
    pub fn get(&self, word: &str) -> Option<u32> {
        let key = (hash(word.as_bytes()) >> 32) as u32;
        self.table.find(spread(key), |&number| self.bytes_of(number) == word.as_bytes()).copied()
    }

    /// The number of a word, a new one if it is new.
    pub fn insert(&mut self, word: &str) -> u32 {
        self.insert_hashed(word.as_bytes(), (hash(word.as_bytes()) >> 32) as u32)
    }

    fn insert_hashed(&mut self, word: &[u8], key: u32) -> u32 {
        let Self { text, ends, hashes, table } = self;
        let same = |&number: &u32| {
            let number = number as usize;
            hashes[number] == key && &text[if number == 0 { 0 } else { ends[number - 1] }..ends[number]] == word
        };
        if let Some(&number) = table.find(spread(key), same) {
            return number;
        }
        let number = ends.len() as u32;
        text.extend_from_slice(word);
        ends.push(text.len());
        hashes.push(key);
        table.insert_unique(spread(key), number, |&number| spread(hashes[number as usize]));
        number
    }

    /// The numbers that another dictionary's words have here; new ones are added in their order.
    pub fn merge(&mut self, other: &Self) -> Vec<u32> {
        (0..other.len() as u32).map(|number| self.insert_hashed(other.bytes_of(number), other.hashes[number as usize])).collect()
    }

    /// How many bytes it takes, about.
    pub fn memory(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * 8 + self.hashes.capacity() * 4 + self.table.capacity() * 6
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
