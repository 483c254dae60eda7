//! A vocabulary of collocations: a file that is mapped into memory, and finds them in texts.

use std::{fs::File, ops::Range, path::Path};

use lyceum_core::{Error, Result, atomic};
use memmap2::Mmap;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    scores::Score,
    select::Chosen,
    words::{Piece, Splitting, Words},
};

/// What a vocabulary was made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// What n-grams were ranked by.
    pub score: Score,
    /// How often each had to be there.
    pub min_count: u64,
    /// How its words were made.
    pub splitting: Splitting,
    /// Whether they were made by a tokeniser file instead of the built-in splitter.
    pub tokenizer: bool,
    /// How many words the corpus had.
    pub words: u64,
}

/// Collocations, as a tree of their words. Node 0 is its root; the children of node i are the nodes `first[i]..first[i + 1]`,
/// ordered by their word. Words are numbered in the order of the alphabet.
///
/// The file: `LYCEUMV1`, the checksum (CRC-32C) of all that follows, then as 32-bit numbers in little-endian order the lengths of
/// the parts and the parts themselves.
pub struct Vocabulary {
    bytes: Bytes,
    about: About,
    /// Where each part lies, in 32-bit numbers.
    parts: [Range<usize>; PARTS],
    text: Range<usize>,
}

enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl std::fmt::Debug for Vocabulary {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Vocabulary").field("about", &self.about).field("len", &self.len()).finish_non_exhaustive()
    }
}

const MAGIC: &[u8; 8] = b"LYCEUMV1";
const PARTS: usize = 8;
/// Where each word ends in the text.
const ENDS: usize = 0;
/// Of each node: its word, its parent, its first child, and its collocation plus one, or 0.
const WORD: usize = 1;
const PARENT: usize = 2;
const FIRST: usize = 3;
const ENTRY: usize = 4;
/// Of each collocation: its node, its cut; its count and its score in two halves.
const NODE: usize = 5;
const CUT: usize = 6;
const NUMBERS: usize = 7;

/// A collocation of a vocabulary.
#[derive(Debug, Clone, PartialEq)]
pub struct Collocation<'a> {
    /// Its words.
    pub words: Vec<&'a str>,
    /// How often it is in the corpus.
    pub count: u64,
    /// Its score.
    pub score: f64,
    /// The cut that decides: bit i is set where there is a cut after word i.
    pub cut: u32,
}

impl Collocation<'_> {
    /// Its words with the cut that decides: `new york|times`.
    pub fn explained(&self) -> String {
        let mut text = String::new();
        for (place, word) in self.words.iter().enumerate() {
            text.push_str(word);
            if place + 1 < self.words.len() {
                text.push(if self.cut >> place & 1 == 1 { '|' } else { ' ' });
            }
        }
        text
    }
}

/// A collocation in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Which one.
    pub number: u32,
    /// How many words it has.
    pub words: usize,
    /// The bytes of the text.
    pub start: usize,
    /// Where they end.
    pub end: usize,
}

impl Vocabulary {
    /// From n-grams, which are numbered in their order.
    pub fn new(chosen: &[Chosen<'_>], about: About) -> Result<Self> {
        let mut words: Vec<&str> = chosen.iter().flat_map(|chosen| chosen.words.iter().copied()).collect();
        words.par_sort_unstable();
        words.dedup();
        let number = |word: &str| words.binary_search(&word).map_or(u32::MAX, |number| number as u32);
        let mut paths: Vec<(Vec<u32>, u32)> = chosen
            .iter()
            .enumerate()
            .map(|(entry, chosen)| (chosen.words.iter().map(|word| number(word)).collect(), entry as u32))
            .collect();
        paths.par_sort_unstable();
        if let Some(pair) = paths.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Error::invalid("n-gram", format!("`{}` twice", chosen[pair[0].1 as usize].words.join(" ")), "each once"));
        }
        let mut parts: [Vec<u32>; PARTS] = Default::default();
        let mut text = String::new();
        for word in &words {
            text.push_str(word);
            parts[ENDS].push(text.len() as u32);
        }
        // Level by level: a node is a range of paths with the same beginning.
        let mut level: Vec<Range<usize>> = std::iter::once(0..paths.len()).collect();
        (parts[WORD], parts[PARENT], parts[ENTRY]) = (vec![0], vec![0], vec![0]);
        parts[NODE] = vec![0; chosen.len()];
        for depth in 0.. {
            let mut below = Vec::new();
            let first = parts[FIRST].len();
            for (place, range) in level.into_iter().enumerate() {
                parts[FIRST].push(parts[WORD].len() as u32);
                let mut at = range.start;
                while at < range.end {
                    let (path, entry) = &paths[at];
                    // A path that ends here stands in front of those that go on.
                    let Some(&word) = path.get(depth) else {
                        at += 1;
                        continue;
                    };
                    let end = at + paths[at..range.end].partition_point(|(path, _)| path[depth] <= word);
                    parts[WORD].push(word);
                    parts[PARENT].push((first + place) as u32);
                    let ends_here = path.len() == depth + 1;
                    parts[ENTRY].push(if ends_here { entry + 1 } else { 0 });
                    if ends_here {
                        parts[NODE][*entry as usize] = parts[WORD].len() as u32 - 1;
                    }
                    below.push(at..end);
                    at = end;
                }
            }
            if below.is_empty() {
                break;
            }
            level = below;
        }
        parts[FIRST].push(parts[WORD].len() as u32);
        for chosen in chosen {
            parts[CUT].push(chosen.cut);
            let halves = |number: u64| [number as u32, (number >> 32) as u32];
            parts[NUMBERS].extend(halves(chosen.count));
            parts[NUMBERS].extend(halves(chosen.score.to_bits()));
        }
        drop(paths);
        let about = serde_json::to_vec(&about).map_err(|error| Error::Failed(error.to_string()))?;
        let numbers: usize = parts.iter().map(Vec::len).sum();
        let mut bytes: Vec<u8> = Vec::with_capacity(12 + 4 * (PARTS + 2 + numbers) + text.len() + about.len());
        bytes.extend(MAGIC);
        // The checksum comes here.
        bytes.extend([0; 4]);
        let lengths = parts.iter().map(Vec::len).chain([text.len(), about.len()]);
        lengths.for_each(|length| bytes.extend((length as u32).to_le_bytes()));
        for part in parts {
            part.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        }
        bytes.extend(text.as_bytes());
        bytes.extend(about);
        let sum = crc32c::crc32c(&bytes[12..]);
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
        Self::from_bytes(bytes)
    }

    /// Maps a file that [`save`](Self::save) wrote.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::missing_or_io("open", path, "Make one with: lyceum masking build"))?;
        // SAFETY: the map is read-only and private to this process. Should another process change the file meanwhile, lookups go
        // wrong or the process ends on SIGBUS; vocabularies are replaced whole (renamed over), which leaves a map as it is.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))?;
        Self::read(Bytes::Mapped(map), path)
    }

    /// From the bytes of such a file.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        Self::read(Bytes::Owned(bytes), Path::new("the vocabulary"))
    }

    /// The bytes of its file.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.all()
    }

    fn read(bytes: Bytes, path: &Path) -> Result<Self> {
        let all = bytes.all();
        if !all.starts_with(MAGIC) {
            return Err(Error::damaged(path, "is not a vocabulary of lyceum; make one with: lyceum masking build"));
        }
        let cut = || Error::damaged(path, "is cut off");
        let body = all.get(12..).ok_or_else(cut)?;
        if crc32c::crc32c(body).to_le_bytes() != all[8..12] {
            return Err(Error::damaged(path, "its checksum is wrong: it was cut off or changed"));
        }
        let lengths: Vec<usize> = body.chunks_exact(4).take(PARTS + 2).map(|bytes| number(bytes) as usize).collect();
        let mut at = (12 + 4 * (PARTS + 2)) / 4;
        let parts = std::array::from_fn(|part| {
            let start = at;
            at += lengths.get(part).copied().unwrap_or(0);
            start..at
        });
        let (text, about) = (lengths.get(PARTS).copied().unwrap_or(0), lengths.get(PARTS + 1).copied().unwrap_or(0));
        let text = at * 4..at * 4 + text;
        let about = all.get(text.end..text.end + about).ok_or_else(cut)?;
        let about = serde_json::from_slice(about).map_err(|error| Error::damaged(path, format!("what it was made of: {error}")))?;
        let read = Self { bytes, about, parts, text };
        if read.is_sound() { Ok(read) } else { Err(Error::damaged(path, "its parts do not fit together")) }
    }

    /// Whether every number points to something, so that no lookup leaves the file.
    fn is_sound(&self) -> bool {
        let Ok(text) = std::str::from_utf8(&self.bytes.all()[self.text.clone()]) else { return false };
        let count = |part: usize| self.parts[part].len();
        let all =
            |part: usize, holds: &dyn Fn(usize, usize) -> bool| (0..count(part)).all(|place| holds(place, self.at(part, place) as usize));
        let (words, nodes, entries) = (count(ENDS), count(WORD), count(NODE));
        let ascending =
            |part: usize, least: usize| all(part, &|place, end| end >= if place == 0 { least } else { self.at(part, place - 1) as usize });
        nodes > 0
            && count(PARENT) == nodes
            && count(ENTRY) == nodes
            && count(FIRST) == nodes + 1
            && count(CUT) == entries
            && count(NUMBERS) == 4 * entries
            && ascending(ENDS, 0)
            && all(ENDS, &|_, end| text.is_char_boundary(end))
            && ascending(FIRST, 1)
            && all(FIRST, &|_, child| child <= nodes)
            && all(WORD, &|node, word| node == 0 || word < words)
            && all(PARENT, &|node, parent| node == 0 || parent < node)
            && all(ENTRY, &|_, entry| entry <= entries)
            && all(NODE, &|_, node| node < nodes)
    }

    /// Writes the file, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<()> {
        atomic::write(path, self.bytes.all())
    }

    /// Writes a table: n, rank among those of n words, words, score, count, and the cut that decides. Collocations must stand in
    /// the order of their lengths.
    pub fn save_table(&self, path: &Path) -> Result<()> {
        atomic::write_with(path, |file| {
            file.write_all(b"n\trank\tn-gram\tscore\tcount\tcut\n")?;
            let (mut order, mut rank) = (0, 0);
            for number in 0..self.len() as u32 {
                let found = self.get(number);
                rank = if found.words.len() == order { rank + 1 } else { 1 };
                order = found.words.len();
                writeln!(file, "{order}\t{rank}\t{}\t{}\t{}\t{}", found.words.join(" "), found.score, found.count, found.explained())?;
            }
            Ok(())
        })
    }

    /// What it was made of.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// How many collocations there are.
    pub fn len(&self) -> usize {
        self.parts[NODE].len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A collocation by its number.
    pub fn get(&self, number: u32) -> Collocation<'_> {
        let mut node = self.at(NODE, number as usize);
        let mut words = Vec::new();
        while node > 0 {
            words.push(self.word(self.at(WORD, node as usize)));
            node = self.at(PARENT, node as usize);
        }
        words.reverse();
        let wide = |place: usize| {
            let at = 4 * number as usize + place;
            u64::from(self.at(NUMBERS, at)) | u64::from(self.at(NUMBERS, at + 1)) << 32
        };
        Collocation { words, count: wide(0), score: f64::from_bits(wide(2)), cut: self.at(CUT, number as usize) }
    }

    /// The number of an n-gram.
    pub fn number(&self, words: &[&str]) -> Option<u32> {
        let node = words.iter().try_fold(0, |node, word| self.child(node, self.word_number(word)?))?;
        self.at(ENTRY, node as usize).checked_sub(1)
    }

    /// The collocations of a text: at each word the longest that begins there, from left to right, without overlap.
    pub fn find(&self, text: &str, words: &Words) -> Result<Vec<Found>> {
        let mut finder = self.finder();
        words.of(text, false, |piece| finder.push(piece))?;
        Ok(finder.finish())
    }

    /// Finds collocations in pieces as they come.
    pub fn finder(&self) -> Finder<'_> {
        Finder { vocabulary: self, run: Vec::new(), found: Vec::new() }
    }

    fn child(&self, node: u32, word: u32) -> Option<u32> {
        let (mut low, mut high) = (self.at(FIRST, node as usize), self.at(FIRST, node as usize + 1));
        while low < high {
            let middle = u32::midpoint(low, high);
            match self.at(WORD, middle as usize).cmp(&word) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn word_number(&self, word: &str) -> Option<u32> {
        let (mut low, mut high) = (0, self.parts[ENDS].len() as u32);
        while low < high {
            let middle = u32::midpoint(low, high);
            match self.word(middle).cmp(word) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn word(&self, number: u32) -> &str {
        let number = number as usize;
        let start = if number == 0 { 0 } else { self.at(ENDS, number - 1) as usize };
        let text = &self.bytes.all()[self.text.clone()];
        std::str::from_utf8(&text[start..self.at(ENDS, number) as usize]).unwrap_or_default()
    }

    #[inline]
    fn at(&self, part: usize, place: usize) -> u32 {
        let place = 4 * (self.parts[part].start + place);
        number(&self.bytes.all()[place..place + 4])
    }
}

/// Finds the collocations of a text; see [`Vocabulary::find`].
pub struct Finder<'a> {
    vocabulary: &'a Vocabulary,
    /// Words since the last boundary, with their bytes.
    run: Vec<(Option<u32>, (usize, usize))>,
    found: Vec<Found>,
}

impl Finder<'_> {
    /// The next piece.
    pub fn push(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Word(word, span) => self.run.push((self.vocabulary.word_number(word), span)),
            Piece::Boundary => self.search(),
        }
    }

    /// What was found.
    pub fn finish(mut self) -> Vec<Found> {
        self.search();
        self.found
    }

    fn search(&mut self) {
        let Self { vocabulary, run, found } = self;
        let mut at = 0;
        while at < run.len() {
            let (mut node, mut longest) = (0, None);
            for (length, (word, _)) in run[at..].iter().enumerate() {
                let Some(next) = word.and_then(|word| vocabulary.child(node, word)) else { break };
                node = next;
                if let Some(number) = vocabulary.at(ENTRY, node as usize).checked_sub(1) {
                    longest = Some((number, length + 1));
                }
            }
            match longest {
                Some((number, words)) => {
                    found.push(Found { number, words, start: run[at].1.0, end: run[at + words - 1].1.1 });
                    at += words;
                }
                None => at += 1,
            }
        }
        run.clear();
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

impl Bytes {
    fn all(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chosen<'a>(texts: &[&'a str]) -> Vec<Chosen<'a>> {
        let of = |(place, text): (usize, &&'a str)| Chosen {
            words: text.split(' ').collect(),
            count: place as u64 + (1 << 40),
            score: 1.5 / (place + 1) as f64,
            cut: 1,
        };
        texts.iter().enumerate().map(of).collect()
    }

    fn about() -> About {
        About { score: Score::Pmi, min_count: 1, splitting: Splitting::default(), tokenizer: false, words: 9 }
    }

    #[test]
    fn the_longest_is_found_from_left_to_right() {
        let vocabulary = Vocabulary::new(&chosen(&["new york", "new york city", "york city hall", "city hall", "a b"]), about()).unwrap();
        let words = Words::BuiltIn(Splitting::default());
        let text = "In New York City Hall, new YORK. City hall: a, b; new york city";
        let found = vocabulary.find(text, &words).unwrap();
        let shown: Vec<&str> = found.iter().map(|found| &text[found.start..found.end]).collect();
        assert_eq!(shown, ["New York City", "new YORK", "City hall", "new york city"]);
        assert_eq!(vocabulary.number(&["city", "hall"]), Some(3));
        assert_eq!((vocabulary.number(&["city"]), vocabulary.number(&["new", "hall"])), (None, None));
        let entry = vocabulary.get(1);
        assert_eq!((entry.words.as_slice(), entry.count, entry.score), (["new", "york", "city"].as_slice(), (1 << 40) + 1, 0.75));
        assert_eq!(entry.explained(), "new|york city");
    }

    #[test]
    fn a_file_is_read_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vocabulary");
        let vocabulary = Vocabulary::new(&chosen(&["a b", "a b c", "é x"]), about()).unwrap();
        vocabulary.save(&path).unwrap();
        let read = Vocabulary::open(&path).unwrap();
        assert_eq!((0..3).map(|n| read.get(n)).collect::<Vec<_>>(), (0..3).map(|n| vocabulary.get(n)).collect::<Vec<_>>());
        assert_eq!(read.about(), &about());
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(Vocabulary::open(&path).is_err(), "{cut}");
        }
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 4;
            std::fs::write(&path, changed).unwrap();
            assert!(Vocabulary::open(&path).is_err(), "{place}");
        }
        assert!(Vocabulary::open(&folder.path().join("none")).unwrap_err().to_string().contains("lyceum masking build"));
        assert!(Vocabulary::new(&chosen(&["a b", "a b"]), about()).unwrap_err().to_string().contains("`a b` twice"));
        assert!(Vocabulary::new(&[], about()).unwrap().find("a b", &Words::BuiltIn(Splitting::default())).unwrap().is_empty());
    }

    proptest! {
        /// Against looking at every place for every n-gram.
        #[test]
        fn what_is_found_is_what_a_plain_search_finds(
            ngrams in proptest::collection::hash_set(proptest::collection::vec("[abc]", 2..5), 0..20),
            text in proptest::collection::vec("[abc.]", 0..40),
        ) {
            let lines: Vec<String> = ngrams.iter().map(|words| words.join(" ")).collect();
            let vocabulary = Vocabulary::new(&chosen(&lines.iter().map(String::as_str).collect::<Vec<_>>()), about()).unwrap();
            let found: Vec<Vec<&str>> =
                vocabulary.find(&text.join(" "), &Words::BuiltIn(Splitting::default())).unwrap().iter().map(|f| vocabulary.get(f.number).words).collect();
            let (mut at, mut expected) = (0, Vec::new());
            while at < text.len() {
                let longest = (2..5).rev().find(|&n| at + n <= text.len() && ngrams.contains(&text[at..at + n]));
                expected.extend(longest.map(|n| text[at..at + n].iter().map(String::as_str).collect::<Vec<_>>()));
                at += longest.unwrap_or(1);
            }
            prop_assert_eq!(found, expected);
        }
    }
}
