//! The corpus as numbers: one for each word in order, 0 where no n-gram may cross.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufWriter, Write},
    time::Instant,
};

use lyceum_core::{Error, Progress, Result, atomic, interrupt, progress::Task};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{CHUNK, CountConfig, Order, Places, PlacesWriter, State, Work, to_bytes};
use crate::{
    corpus::{Block, Blocks, Corpus, Mark},
    dictionary::Dictionary,
    words::{Piece, Words},
};

/// How much has been encoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Encoded {
    /// Where in the corpus it goes on.
    mark: Mark,
    /// Different words so far, and the bytes of their file.
    words: usize,
    pub(super) bytes: u64,
    /// The checksums of the two files so far.
    pub(super) words_sum: u32,
    pub(super) numbers_sum: u32,
    /// Numbers so far.
    pub(super) places: u64,
    /// Whether the last of them is a boundary.
    bounded: bool,
}

/// Bytes of a corpus between two checkpoints.
const CHECKPOINT: u64 = 256 << 20;

/// A block by itself: its words, and their numbers (from 1).
struct Part {
    dictionary: Dictionary,
    numbers: Vec<u32>,
    ends: Mark,
    read: u64,
}

fn part(corpus: &Corpus, words: &Words, block: &Block) -> Result<Part> {
    let (mut dictionary, mut numbers) = (Dictionary::default(), Vec::new());
    corpus.pieces(block, words, |piece| match piece {
        Piece::Word(word, _) => numbers.push(dictionary.insert(word) + 1),
        Piece::Boundary => {
            if numbers.last() != Some(&0) {
                numbers.push(0);
            }
        }
    })?;
    Ok(Part { dictionary, numbers, ends: block.ends, read: block.read })
}

/// Where words and numbers go.
struct Sink {
    dictionary: Dictionary,
    words: BufWriter<File>,
    numbers: BufWriter<File>,
    encoded: Encoded,
}

impl Sink {
    fn open(work: &Work, encoded: Encoded) -> Result<Self> {
        let open = |name: &str, length: u64| {
            let path = work.path(name);
            let mut options = OpenOptions::new();
            let file = atomic::open_own(&path, options.read(true).append(true).create(true))?;
            // What was written after the last checkpoint is written again.
            file.set_len(length).map_err(Error::io("truncate", &path))?;
            Ok::<_, Error>(BufWriter::with_capacity(1 << 18, file))
        };
        let mut dictionary = Dictionary::default();
        let (words, numbers) = (open("words", encoded.bytes)?, open("numbers", encoded.places * 4)?);
        if encoded.words > 0 {
            let path = work.path("words");
            let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
            text.lines().for_each(|word| _ = dictionary.insert(word));
            if dictionary.len() != encoded.words {
                return Err(Error::damaged(&path, format!("{} words; allowed: {}", dictionary.len(), encoded.words)));
            }
        }
        Ok(Self { dictionary, words, numbers, encoded })
    }

    fn add(&mut self, work: &Work, part: Part) -> Result<()> {
        let before = self.dictionary.len();
        let known = self.dictionary.merge(&part.dictionary);
        for word in self.dictionary.words_from(before) {
            self.words
                .write_all(word.as_bytes())
                .and_then(|()| self.words.write_all(b"\n"))
                .map_err(Error::io("write", work.path("words")))?;
            self.encoded.bytes += word.len() as u64 + 1;
            self.encoded.words_sum = crc32c::crc32c_append(crc32c::crc32c_append(self.encoded.words_sum, word.as_bytes()), b"\n");
        }
        let mut numbers = part.numbers;
        numbers.iter_mut().filter(|number| **number > 0).for_each(|number| *number = known[*number as usize - 1] + 1);
        let skip = usize::from(self.encoded.bounded && numbers.first() == Some(&0));
        let numbers = &numbers[skip..];
        let bytes = to_bytes(numbers);
        self.numbers.write_all(&bytes).map_err(Error::io("write", work.path("numbers")))?;
        self.encoded.numbers_sum = crc32c::crc32c_append(self.encoded.numbers_sum, &bytes);
        self.encoded.places += numbers.len() as u64;
        self.encoded.bounded = numbers.last().map_or(self.encoded.bounded, |last| *last == 0);
        self.encoded.words = self.dictionary.len();
        self.encoded.mark = part.ends;
        Ok(())
    }

    fn flush(&mut self, work: &Work) -> Result<()> {
        for (file, name) in [(&mut self.words, "words"), (&mut self.numbers, "numbers")] {
            file.flush().map_err(Error::io("write", work.path(name)))?;
        }
        Ok(())
    }
}

/// Encodes what of the corpus is not encoded yet. All words.
pub(super) fn encode(
    work: &Work,
    corpus: &Corpus,
    words: &Words,
    config: &CountConfig,
    state: &mut State,
    progress: &Progress,
) -> Result<Dictionary> {
    let mut sink = Sink::open(work, state.encoded)?;
    if state.encoding_done {
        return Ok(sink.dictionary);
    }
    let total = corpus.bytes();
    let mut task = progress.task("words", 0, total);
    let mut blocks = corpus.blocks(state.encoded.mark);
    let batch = 2 * rayon::current_num_threads();
    let next = |blocks: &mut Blocks<'_>| -> Result<Vec<Block>> { (0..batch).map_while(|_| blocks.next_block().transpose()).collect() };
    let mut waiting = next(&mut blocks)?;
    let (mut saved, mut first, start) = (0, None, Instant::now());
    let mut parts: Vec<Part> = Vec::new();
    while !waiting.is_empty() || !parts.is_empty() {
        // While some blocks are cut into words, those before are written and those after are read.
        let (cut, read) = rayon::join(
            || waiting.par_iter().map(|block| part(corpus, words, block)).collect::<Result<Vec<Part>>>(),
            || {
                parts.drain(..).try_for_each(|part| {
                    task.set(part.read, &rate(part.read, *first.get_or_insert(part.read), start));
                    sink.add(work, part)
                })?;
                next(&mut blocks)
            },
        );
        (parts, waiting) = (cut?, read?);
        let memory = sink.dictionary.memory();
        if memory > config.memory / 2 {
            return Err(too_small(config.memory, memory, parts.last().map_or(total, |part| part.read), total));
        }
        let read = parts.last().map_or(total, |part| part.read);
        let stop = interrupt::check();
        if stop.is_err() || read - saved > CHECKPOINT {
            saved = read;
            sink.flush(work)?;
            state.encoded = sink.encoded;
            work.save(state)?;
        }
        stop?;
    }
    sink.flush(work)?;
    if sink.dictionary.is_empty() {
        return Err(Error::invalid("the corpus", "no words", "at least one word"));
    }
    state.encoded = sink.encoded;
    state.encoding_done = true;
    work.save(state)?;
    task.set(total, &format!("{} words, {} different", sink.encoded.places, sink.dictionary.len()));
    Ok(sink.dictionary)
}

/// Words alone take more than their half of the memory. Later text has fewer new words than earlier text has, so that what all of
/// it needs at this rate is enough.
fn too_small(memory: usize, used: usize, read: u64, total: u64) -> Error {
    let enough = (2.0 * used as f64 * (total as f64 / read.max(1) as f64).max(1.0) / f64::from(1 << 20)).ceil();
    let found = format!("{}M, of which the words of the first {} of {} MB need {}M", memory >> 20, read >> 20, total >> 20, used >> 20);
    Error::invalid("memory", found, format!("{enough}M and more: half of it for words"))
}

fn rate(read: u64, first: u64, start: Instant) -> String {
    let per_second = (read - first.min(read)) as f64 / start.elapsed().as_secs_f64().max(1e-3) / 1e6;
    format!("{:.0} MB at {per_second:.0} MB/s", read as f64 / 1e6)
}

/// The frequent words, and for each place the number (from 1) of its word, or 0.
pub(super) fn first_order(
    work: &Work,
    words: usize,
    config: &CountConfig,
    state: &State,
    task: &mut Task,
) -> Result<(Order, u32, Vec<u64>)> {
    let mut counts = vec![0_u64; words + 1];
    // How many words are the first, second, … after a boundary; the last entry counts all further ones.
    let mut since = vec![0_u64; config.orders];
    let mut numbers = Places::open(work.path("numbers"), state.encoded.places)?;
    let mut run = 0;
    loop {
        let chunk = numbers.next_chunk(CHUNK)?;
        if chunk.is_empty() {
            break;
        }
        for number in chunk {
            counts[number as usize] += 1;
            if number == 0 {
                run = 0;
            } else {
                since[run] += 1;
                run = (run + 1).min(config.orders - 1);
            }
        }
    }
    let mut order = Order::default();
    let mut frequent = vec![0_u32; words + 1];
    for (word, &count) in counts.iter().enumerate().skip(1) {
        if count >= config.min_count {
            order.first.push(word as u32 - 1);
            order.last.push(0);
            order.counts.push(count);
            frequent[word] = order.first.len() as u32;
        }
    }
    let totals: Vec<u64> = (0..config.orders).map(|length| since[length..].iter().sum()).collect();
    order.total = totals[0];
    let mut numbers = Places::open(work.path("numbers"), state.encoded.places)?;
    let mut places = PlacesWriter::create(work.places(1))?;
    let mut done = 0;
    loop {
        let mut chunk = numbers.next_chunk(CHUNK)?;
        if chunk.is_empty() {
            break;
        }
        done += chunk.len() as u64;
        chunk.iter_mut().for_each(|number| *number = frequent[*number as usize]);
        places.write(&chunk)?;
        task.set(done, "");
    }
    Ok((order, places.finish()?, totals))
}
