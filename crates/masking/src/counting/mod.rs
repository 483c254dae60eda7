//! Counting every n-gram of a corpus exactly, in bounded memory, with checkpoints.
//!
//! An n-gram is the pair of its first and its last (n − 1)-gram, so that every order is counted by the same kernel: from the
//! number of the frequent (n − 1)-gram that begins at each place of the corpus, pairs of neighbours are counted, frequent pairs
//! get numbers, and each place gets the number of its own. An n-gram cannot be more frequent than its parts: what is not
//! frequent is left out before the next order is looked at, and the counts of what stays are exact.

mod encode;
mod pairs;
#[cfg(feature = "datafusion")]
mod query;

use std::{
    fs::{self, File, OpenOptions},
    io::{BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use encode::Encoded;
use lyceum_core::{Error, Progress, Result, atomic, interrupt, run};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{corpus::Corpus, dictionary::Dictionary, words::Words};

/// What is counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CountConfig {
    /// The longest n-grams.
    pub orders: usize,
    /// How often an n-gram must be there.
    pub min_count: u64,
    /// Bytes of memory that may be used.
    pub memory: usize,
    /// What counts them.
    pub engine: Engine,
}

/// What counts pairs. The counts are exact and the same whichever it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// The kernel of this crate: pairs scattered by their hash and counted part by part.
    #[default]
    Kernel,
    /// Operators of DataFusion in this process (feature `datafusion`).
    Datafusion,
    /// Operators of DataFusion on a Ballista cluster, by the address of its scheduler: `df://host:50050` (feature `cluster`). The
    /// folder of the build must be one that all executors see under the same path.
    Cluster(String),
}

impl Engine {
    /// Whether this build has it.
    pub fn check(&self) -> Result<()> {
        let lacks = |feature: &str| {
            let allowed =
                format!("`kernel`, or a build with the feature `{feature}` (cargo install --path crates/cli --features {feature})");
            Err(Error::invalid("engine", feature, allowed))
        };
        match self {
            Self::Datafusion if !cfg!(feature = "datafusion") => lacks("datafusion"),
            Self::Cluster(_) if !cfg!(feature = "cluster") => lacks("cluster"),
            Self::Cluster(address) if !address.starts_with("df://") || address.len() == 5 => {
                Err(Error::invalid("cluster", address, "the address of a Ballista scheduler, for example df://localhost:50050"))
            }
            _ => Ok(()),
        }
    }
}

/// What a build must be given at least: the blocks of text that are in work take this much.
pub const LEAST_MEMORY: usize = 64 << 20;

/// The frequent n-grams of a corpus.
#[derive(Debug)]
pub struct Counts {
    /// All words of the corpus.
    pub dictionary: Dictionary,
    /// n-grams of order 1, 2, …
    pub orders: Vec<Order>,
}

/// The frequent n-grams of one length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Order {
    /// The number of the (n − 1)-gram that each begins with, ascending; of single words their place in the dictionary.
    pub first: Vec<u32>,
    /// The number of the (n − 1)-gram that each ends with.
    pub last: Vec<u32>,
    /// How often each is there.
    pub counts: Vec<u64>,
    /// How many n-grams of this length the corpus has, frequent or not.
    pub total: u64,
}

impl Order {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}

impl Counts {
    /// The words of an n-gram, as places in the dictionary.
    pub fn words(&self, order: usize, number: u32) -> Vec<u32> {
        let mut words = vec![0; order];
        let mut part = number as usize;
        for length in (1..=order).rev() {
            words[length - 1] = self.last_word(length, part);
            part = self.orders[length - 1].first[part] as usize;
        }
        words
    }

    fn last_word(&self, order: usize, number: usize) -> u32 {
        let single = (2..=order).rev().fold(number, |part, length| self.orders[length - 1].last[part] as usize);
        self.orders[0].first[single]
    }

    /// The n-grams that an n-gram is made of: `parts[n][i]` is the one of n + 1 words that begins at its word i.
    pub fn parts(&self, order: usize, number: u32) -> Vec<Vec<u32>> {
        let mut parts = vec![vec![number]];
        for length in (2..=order).rev() {
            let (whole, below) = (&parts[parts.len() - 1], &self.orders[length - 1]);
            let mut shorter: Vec<u32> = whole.iter().map(|&part| below.first[part as usize]).collect();
            shorter.extend(whole.last().map(|&part| below.last[part as usize]));
            parts.push(shorter);
        }
        parts.reverse();
        parts
    }
}

/// How far a count has come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct State {
    /// What is counted, and in which files.
    of: serde_json::Value,
    encoded: Encoded,
    encoding_done: bool,
    /// How many n-grams of each order the corpus has.
    totals: Vec<u64>,
    /// How many of them are frequent, of the orders that are done.
    frequent: Vec<usize>,
    /// The checksums of the files of these orders.
    sums: Vec<u32>,
    /// The checksum of the places of the last of these orders.
    places: u32,
}

/// How the names of what is kept in a work folder begin; the last is where DataFusion spills to.
const OURS: [&str; 10] = ["lock", "state.json", "words", "numbers", "order-", "places-", "spilled-", "pairs-", "counted-", "datafusion-"];

/// A folder for what lies on the disk while n-grams are counted.
struct Work {
    folder: PathBuf,
    _lock: File,
}

impl Work {
    fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        // What is not needed is removed from it: so it must be a folder of ours.
        let mut names = fs::read_dir(folder).map_err(Error::io("read", folder))?.flatten().map(|entry| entry.file_name());
        if let Some(foreign) = names.find(|name| !OURS.iter().any(|ours| name.to_string_lossy().trim_start_matches('.').starts_with(ours)))
        {
            let found = format!("{}, which holds {}", folder.display(), foreign.display());
            return Err(Error::invalid("the work folder", found, "a folder that is absent or empty, or of an earlier attempt"));
        }
        let path = folder.join("lock");
        let lock = atomic::open_own(&path, OpenOptions::new().write(true).create(true))?;
        lock.try_lock().map_err(|_| Error::Locked { path: folder.into() })?;
        Ok(Self { folder: folder.into(), _lock: lock })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whether the files are those that the state tells of. They are not synced while they are written: what a crash of the
    /// machine left unwritten is found here, and counted anew.
    fn holds(&self, state: &State, config: &CountConfig) -> bool {
        let Encoded { bytes, places, words_sum, numbers_sum, .. } = state.encoded;
        let done = state.frequent.len();
        let same = |name: &str, length: u64, sum: u32| checksum(&self.path(name), length).is_ok_and(|found| found == sum);
        let order = |(number, (&length, &sum)): (usize, (&usize, &u32))| {
            let (path, length) = (self.order(number + 1), length as u64 * ENTRY as u64);
            fs::metadata(&path).is_ok_and(|file| file.len() == length) && checksum(&path, length).is_ok_and(|found| found == sum)
        };
        same("words", bytes, words_sum)
            && state.sums.len() == done
            && state.frequent.iter().zip(&state.sums).enumerate().all(order)
            && if done == 0 {
                same("numbers", places * 4, numbers_sum)
            } else {
                done == config.orders || same(&format!("places-{done}"), places * 4, state.places)
            }
    }

    fn save(&self, state: &State) -> Result<()> {
        run::write_json(&self.path("state.json"), state)
    }

    /// Takes the folder away, and first what tells of the rest: a process that ends in the middle leaves nothing to go on from.
    fn remove(&self) -> Result<()> {
        let _ = fs::remove_file(self.path("state.json"));
        fs::remove_dir_all(&self.folder).map_err(Error::io("remove", &self.folder))
    }

    fn order(&self, order: usize) -> PathBuf {
        self.path(&format!("order-{order}"))
    }

    fn places(&self, order: usize) -> PathBuf {
        self.path(&format!("places-{order}"))
    }
}

/// Counts the n-grams of a corpus. What is on the way lies in `folder`; where it holds the beginning of the same count (of files
/// that have not changed), that goes on. Without an error the folder is gone at the end.
pub fn count(
    corpus: &Corpus,
    words: &Words,
    config: &CountConfig,
    key: &serde_json::Value,
    folder: &Path,
    progress: &Progress,
) -> Result<Counts> {
    let work = Work::open(folder)?;
    let counted = count_in(&work, corpus, words, config, key, progress);
    // What was begun is kept for the next time, and when a cluster failed that can be there again. Whatever else was wrong would be
    // wrong again, and a full disk is given back its room.
    let again = matches!(counted, Err(Error::Interrupted { .. })) || counted.is_err() && matches!(config.engine, Engine::Cluster(_));
    if !again {
        let removed = work.remove();
        if counted.is_ok() {
            removed?;
        }
    }
    counted
}

fn count_in(
    work: &Work,
    corpus: &Corpus,
    words: &Words,
    config: &CountConfig,
    key: &serde_json::Value,
    progress: &Progress,
) -> Result<Counts> {
    let of = serde_json::json!({ "version": env!("CARGO_PKG_VERSION"), "config": (config.orders, config.min_count), "key": key, "files": corpus.files() });
    let mut state =
        run::read_json::<State>(&work.path("state.json")).ok().flatten().filter(|state| state.of == of && work.holds(state, config));
    if state.is_none() {
        for entry in fs::read_dir(&work.folder).map_err(Error::io("read", &work.folder))?.flatten() {
            let path = entry.path();
            if entry.file_name() != "lock" {
                let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.map_err(Error::io("remove", path))?;
            }
        }
    }
    let state = state.get_or_insert_with(|| State { of, ..State::default() });
    let dictionary = encode::encode(work, corpus, words, config, state, progress)?;
    let mut orders = Vec::new();
    for order in 1..=config.orders {
        interrupt::check()?;
        let path = work.order(order);
        if let Some(&length) = state.frequent.get(order - 1) {
            orders.push(read_order(&path, state.totals[order - 1], length)?);
            continue;
        }
        let mut task = progress.task(&format!("{order}-grams"), 0, state.encoded.places);
        let (mut found, places) = if order == 1 {
            let (found, places, totals) = encode::first_order(work, dictionary.len(), config, state, &mut task)?;
            state.totals = totals;
            (found, places)
        } else {
            pairs::next_order(work, order, state, config, &mut task)?
        };
        state.places = places;
        found.total = state.totals[order - 1];
        task.set(state.encoded.places, &format!("{} of them {} times or more", found.len(), config.min_count));
        state.sums.push(write_order(&path, &found)?);
        state.frequent.push(found.len());
        work.save(state)?;
        // Places of the order before are no longer needed.
        let _ = fs::remove_file(work.places(order - 1));
        orders.push(found);
    }
    Ok(Counts { dictionary, orders })
}

/// Bytes of an n-gram in the file of its order.
const ENTRY: usize = 16;

/// Writes an order; its checksum.
fn write_order(path: &Path, order: &Order) -> Result<u32> {
    let mut bytes = Vec::with_capacity(order.len() * ENTRY);
    for ((first, last), count) in order.first.iter().zip(&order.last).zip(&order.counts) {
        bytes.extend(first.to_le_bytes());
        bytes.extend(last.to_le_bytes());
        bytes.extend(count.to_le_bytes());
    }
    atomic::write(path, &bytes)?;
    Ok(crc32c::crc32c(&bytes))
}

fn read_order(path: &Path, total: u64, length: usize) -> Result<Order> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    if bytes.len() != length * ENTRY {
        return Err(Error::damaged(path, format!("{} bytes; allowed: {}", bytes.len(), length * ENTRY)));
    }
    let mut order = Order { total, ..Order::default() };
    let word = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    for entry in bytes.chunks_exact(ENTRY) {
        order.first.push(word(entry));
        order.last.push(word(&entry[4..]));
        order.counts.push(u64::from(word(&entry[8..])) | u64::from(word(&entry[12..])) << 32);
    }
    Ok(order)
}

/// Places are read so many at a time.
const CHUNK: usize = 1 << 20;

/// Numbers of places, read and written in chunks.
struct Places {
    path: PathBuf,
    file: BufReader<File>,
    left: u64,
}

impl Places {
    fn open(path: PathBuf, count: u64) -> Result<Self> {
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        Ok(Self { file: BufReader::with_capacity(1 << 18, file), path, left: count })
    }

    /// The next so many, or what is left.
    fn next_chunk(&mut self, most: usize) -> Result<Vec<u32>> {
        let count = self.left.min(most as u64) as usize;
        self.left -= count as u64;
        let mut numbers = vec![0_u32; count];
        self.file.read_exact(bytes_mut(&mut numbers)).map_err(Error::io("read", &self.path))?;
        if cfg!(target_endian = "big") {
            numbers.iter_mut().for_each(|number| *number = u32::from_le(*number));
        }
        Ok(numbers)
    }
}

/// Writes places; their checksum tells later whether they are all there.
struct PlacesWriter {
    path: PathBuf,
    file: BufWriter<File>,
    sum: u32,
}

impl PlacesWriter {
    fn create(path: PathBuf) -> Result<Self> {
        let file = atomic::open_own(&path, OpenOptions::new().write(true).create(true).truncate(true))?;
        Ok(Self { file: BufWriter::with_capacity(1 << 18, file), path, sum: 0 })
    }

    fn write(&mut self, numbers: &[u32]) -> Result<()> {
        let bytes = to_bytes(numbers);
        self.sum = crc32c::crc32c_append(self.sum, &bytes);
        self.file.write_all(&bytes).map_err(Error::io("write", &self.path))
    }

    fn finish(mut self) -> Result<u32> {
        self.file.flush().map_err(Error::io("write", &self.path))?;
        Ok(self.sum)
    }
}

/// The checksum of the first `length` bytes of a file; an error where it is shorter.
fn checksum(path: &Path, length: u64) -> Result<u32> {
    let mut file = File::open(path).map_err(Error::io("open", path))?.take(length);
    let (mut buffer, mut sum, mut left) = (vec![0; 1 << 18], 0, length);
    while left > 0 {
        let count = file.read(&mut buffer).map_err(Error::io("read", path))?;
        if count == 0 {
            return Err(Error::damaged(path, format!("is {left} bytes too short")));
        }
        sum = crc32c::crc32c_append(sum, &buffer[..count]);
        left -= count as u64;
    }
    Ok(sum)
}

/// The bytes of numbers in the order of this machine.
fn bytes_mut(numbers: &mut [u32]) -> &mut [u8] {
    // SAFETY: four bytes a number, and any bytes are numbers.
    unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), numbers.len() * 4) }
}

fn to_bytes(numbers: &[u32]) -> std::borrow::Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        // SAFETY: four bytes a number; bytes have no alignment.
        std::borrow::Cow::Borrowed(unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), numbers.len() * 4) })
    } else {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Format;

    /// After each order the folder holds what its state tells of, and what is not all there is not gone on from.
    #[test]
    fn a_count_goes_on_from_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text");
        fs::write(&text, "new york is in new york state\n".repeat(50)).unwrap();
        let corpus = Corpus::open(&[text], Format::Text, "text", LEAST_MEMORY).unwrap();
        let config = CountConfig { orders: 3, min_count: 2, memory: LEAST_MEMORY, engine: Engine::Kernel };
        let words = Words::BuiltIn(crate::words::Splitting::default());
        let work = Work::open(&folder.path().join("work")).unwrap();
        let key = serde_json::Value::Null;
        let counts = count_in(&work, &corpus, &words, &config, &key, &Progress::quiet()).unwrap();
        let state: State = run::read_json(&work.path("state.json")).unwrap().unwrap();
        assert!(work.holds(&state, &config));
        // Nothing is counted again: neither is the state written, nor are the numbers of words needed any more.
        let before = fs::metadata(work.path("state.json")).unwrap().modified().unwrap();
        fs::remove_file(work.path("numbers")).unwrap();
        let again = count_in(&work, &corpus, &words, &config, &key, &Progress::quiet()).unwrap();
        assert_eq!(again.orders, counts.orders);
        assert_eq!(fs::metadata(work.path("state.json")).unwrap().modified().unwrap(), before);
        fs::remove_file(work.order(2)).unwrap();
        assert!(!work.holds(&state, &config));
        assert_eq!(count_in(&work, &corpus, &words, &config, &key, &Progress::quiet()).unwrap().orders, counts.orders);
        // A changed bit of any file is noticed.
        let state: State = run::read_json(&work.path("state.json")).unwrap().unwrap();
        for order in 1..=3 {
            let whole = fs::read(work.order(order)).unwrap();
            for bit in 0..whole.len() * 8 {
                let mut changed = whole.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                fs::write(work.order(order), &changed).unwrap();
                assert!(!work.holds(&state, &config), "order {order}, bit {bit}");
            }
            fs::write(work.order(order), &whole).unwrap();
            assert!(work.holds(&state, &config));
        }
        fs::write(work.path("words"), "new\n").unwrap();
        assert!(!work.holds(&state, &config));
    }
}
