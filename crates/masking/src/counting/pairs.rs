//! From the places of one order to those of the next: pairs of neighbours are counted, and the frequent ones numbered. The kernel
//! scatters pairs by their hash and counts part by part.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    os::unix::fs::FileExt,
    path::PathBuf,
};

use lyceum_core::{Error, Result, atomic, interrupt, progress::Task};
use rayon::prelude::*;

use super::{CHUNK, CountConfig, Engine, Order, Places, PlacesWriter, State, Work};

/// Pairs of a part, about: its table stays in a core's own cache.
const PART: u64 = 1 << 17;
/// The most parts.
const MOST_PARTS: u64 = 1 << 14;

/// Counts the n-grams of this order from the places of the order before; unless it is the last order, writes its places. Gives
/// their checksum too.
pub(super) fn next_order(work: &Work, order: usize, state: &State, config: &CountConfig, task: &mut Task) -> Result<(Order, u32)> {
    let places = state.encoded.places;
    let mut frequent = match &config.engine {
        Engine::Kernel => count(work, order, places, config, task)?,
        #[cfg(feature = "datafusion")]
        _ => super::query::count(work, order, places, config, task)?,
        #[cfg(not(feature = "datafusion"))]
        engine => return Err(engine.check().err().unwrap_or(Error::Failed("no engine".into()))),
    };
    // The numbers do not depend on how pairs were counted.
    frequent.par_sort_unstable();
    let mut sum = 0;
    if order < config.orders {
        let table = Numbers::new(&frequent);
        let mut out = PlacesWriter::create(work.places(order))?;
        each_chunk(work, order - 1, places, |chunk, done| {
            interrupt::check()?;
            task.set(places / 2 + done / 2, "numbering");
            let mut numbers = vec![0_u32; chunk.len() - 1];
            numbers.par_chunks_mut(CHUNK / 8).enumerate().for_each(|(piece, numbers)| {
                let pairs = &chunk[piece * (CHUNK / 8)..][..=numbers.len()];
                numbers.iter_mut().zip(pairs.windows(2)).for_each(|(number, pair)| *number = table.get(key(pair)));
            });
            out.write(&numbers)
        })?;
        sum = out.finish()?;
    }
    let mut numbered = Order::default();
    for (key, count) in frequent {
        numbered.first.push((key >> 32) as u32 - 1);
        numbered.last.push(key as u32 - 1);
        numbered.counts.push(count);
    }
    Ok((numbered, sum))
}

/// Refuses more frequent n-grams than fit into the memory: as they are found, sorted, in a table, and for the vocabulary.
pub(super) fn check_found(found: usize, order: usize, memory: usize) -> Result<()> {
    let needed = found * 80;
    if needed > memory || found >= u32::MAX as usize {
        let text = format!("{}M; {found} frequent {order}-grams", memory >> 20);
        return Err(Error::invalid("memory", text, format!("{}M and more, or a larger min_count", (needed >> 20) + 1)));
    }
    Ok(())
}

/// The frequent pairs and their counts, by the kernel.
fn count(work: &Work, order: usize, places: u64, config: &CountConfig, task: &mut Task) -> Result<Vec<(u64, u64)>> {
    // The table of a part takes up to 64 bytes a pair, and each thread has one.
    let bounded = places * 64 * 4 * rayon::current_num_threads() as u64 / config.memory as u64;
    let bits = (places / PART).max(bounded).clamp(1, MOST_PARTS).next_power_of_two().trailing_zeros();
    let mut scattered = Scatter { bits, pieces: Vec::new(), bytes: 0, spilled: Vec::new(), folder: work.path("") };
    each_chunk(work, order - 1, places, |chunk, done| {
        interrupt::check()?;
        task.set(done / 2, "counting");
        scattered.add(chunk, config.memory / 2)
    })?;
    let parts: Vec<Vec<(u64, u64)>> =
        (0..1_usize << bits).into_par_iter().map(|part| scattered.count(part, config.min_count)).collect::<Result<_>>()?;
    scattered.clear()?;
    check_found(parts.iter().map(Vec::len).sum(), order, config.memory)?;
    Ok(parts.into_iter().flatten().collect())
}

/// The places of an order in chunks, each with the first place of the next one (0 at the end).
pub(super) fn each_chunk(work: &Work, order: usize, places: u64, mut work_on: impl FnMut(&[u32], u64) -> Result<()>) -> Result<()> {
    let mut reader = Places::open(work.places(order), places)?;
    let size = CHUNK * rayon::current_num_threads().min(8);
    let mut chunk = reader.next_chunk(size)?;
    let mut done = 0;
    while !chunk.is_empty() {
        let next = reader.next_chunk(size)?;
        done += chunk.len() as u64;
        chunk.push(next.first().copied().unwrap_or(0));
        work_on(&chunk, done)?;
        chunk = next;
    }
    Ok(())
}

/// A pair as one number; 0 unless both are there.
#[inline]
pub(super) fn key(pair: &[u32]) -> u64 {
    if pair[0] == 0 || pair[1] == 0 { 0 } else { u64::from(pair[0]) << 32 | u64::from(pair[1]) }
}

/// All bits depend on all bits: the highest choose the part, the lowest the place in a table.
#[inline]
fn mix(key: u64) -> u64 {
    let hash = (key ^ key >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (hash ^ hash >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9)
}

/// Keys by part, in memory and on the disk.
struct Scatter {
    bits: u32,
    pieces: Vec<Piece>,
    bytes: usize,
    spilled: Vec<Spilled>,
    folder: PathBuf,
}

/// Keys by part: those of part p are `keys[starts[p]..starts[p + 1]]`.
struct Piece {
    keys: Vec<u64>,
    starts: Vec<u32>,
}

/// A file of keys by part; `starts` as in a piece, and the checksum of each part.
struct Spilled {
    path: PathBuf,
    file: File,
    starts: Vec<u64>,
    sums: Vec<u32>,
}

impl Scatter {
    fn part(&self, key: u64) -> usize {
        // A shift by 64 bits is none.
        mix(key).checked_shr(64 - self.bits).unwrap_or(0) as usize
    }

    fn add(&mut self, chunk: &[u32], memory: usize) -> Result<()> {
        let pieces: Vec<Piece> = (0..chunk.len() - 1)
            .into_par_iter()
            .step_by(CHUNK / 4)
            .map(|start| self.piece(&chunk[start..(start + CHUNK / 4 + 1).min(chunk.len())]))
            .collect();
        self.bytes += pieces.iter().map(|piece| piece.keys.len() * 8 + piece.starts.len() * 4).sum::<usize>();
        self.pieces.extend(pieces);
        if self.bytes > memory { self.spill() } else { Ok(()) }
    }

    fn piece(&self, places: &[u32]) -> Piece {
        let mut starts = vec![0_u32; (1 << self.bits) + 1];
        let keys = || places.windows(2).map(key).filter(|key| *key != 0);
        keys().for_each(|key| starts[self.part(key) + 1] += 1);
        for part in 0..1 << self.bits {
            starts[part + 1] += starts[part];
        }
        let mut sorted = vec![0_u64; starts[1 << self.bits] as usize];
        let mut next = starts.clone();
        keys().for_each(|key| {
            let at = &mut next[self.part(key)];
            sorted[*at as usize] = key;
            *at += 1;
        });
        Piece { keys: sorted, starts }
    }

    /// Writes what is in memory to a file.
    fn spill(&mut self) -> Result<()> {
        let path = self.folder.join(format!("spilled-{}", self.spilled.len()));
        let options = &mut File::options();
        let file = atomic::open_own(&path, options.read(true).write(true).create(true).truncate(true))?;
        let mut writer = BufWriter::with_capacity(1 << 18, file);
        let (mut starts, mut sums) = (vec![0_u64], Vec::new());
        for part in 0..1 << self.bits {
            let (mut end, mut sum) = (starts[part], 0);
            for piece in &self.pieces {
                let keys = &piece.keys[piece.starts[part] as usize..piece.starts[part + 1] as usize];
                end += keys.len() as u64;
                let bytes: Vec<u8> = keys.iter().flat_map(|key| key.to_le_bytes()).collect();
                sum = crc32c::crc32c_append(sum, &bytes);
                writer.write_all(&bytes).map_err(Error::io("write", &path))?;
            }
            starts.push(end);
            sums.push(sum);
        }
        let file = writer.into_inner().map_err(|error| Error::io("write", &path)(error.into_error()))?;
        self.spilled.push(Spilled { path, file, starts, sums });
        self.pieces.clear();
        self.bytes = 0;
        Ok(())
    }

    /// The pairs of a part that are there so often.
    fn count(&self, part: usize, least: u64) -> Result<Vec<(u64, u64)>> {
        let mut table = Table::new();
        for piece in &self.pieces {
            piece.keys[piece.starts[part] as usize..piece.starts[part + 1] as usize].iter().for_each(|&key| table.add(key));
        }
        let mut buffer = vec![0_u8; 1 << 16];
        for Spilled { path, file, starts, sums } in &self.spilled {
            let (mut at, end, mut sum) = (starts[part] * 8, starts[part + 1] * 8, 0);
            while at < end {
                let some = ((end - at) as usize).min(buffer.len());
                file.read_exact_at(&mut buffer[..some], at).map_err(Error::io("read", path))?;
                sum = crc32c::crc32c_append(sum, &buffer[..some]);
                buffer[..some].chunks_exact(8).for_each(|bytes| {
                    table.add(u64::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]]));
                });
                at += some as u64;
            }
            if sum != sums[part] {
                return Err(Error::damaged(path, "was changed while n-grams were counted: its checksum is another"));
            }
        }
        // Into memory of its own: collected in place, what is kept would hold on to the whole table.
        Ok(table.slots.iter().copied().filter(|(key, count)| *key != 0 && *count >= least).collect())
    }

    fn clear(self) -> Result<()> {
        self.spilled.iter().try_for_each(|spilled| fs::remove_file(&spilled.path).map_err(Error::io("remove", &spilled.path)))
    }
}

/// How often keys came. Open addressing; key 0 is an empty slot.
struct Table {
    slots: Vec<(u64, u64)>,
    used: usize,
}

impl Table {
    fn new() -> Self {
        Self { slots: vec![(0, 0); 1 << 10], used: 0 }
    }

    #[inline]
    fn add(&mut self, key: u64) {
        let slot = Self::slot(&self.slots, key);
        let (there, count) = &mut self.slots[slot];
        *count += 1;
        if *there == 0 {
            *there = key;
            self.used += 1;
            if self.used * 2 > self.slots.len() {
                self.grow();
            }
        }
    }

    #[inline]
    fn slot(slots: &[(u64, u64)], key: u64) -> usize {
        let mask = slots.len() - 1;
        let mut slot = mix(key) as usize & mask;
        while slots[slot].0 != 0 && slots[slot].0 != key {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        let mut larger = vec![(0, 0); self.slots.len() * 2];
        for &(key, count) in self.slots.iter().filter(|(key, _)| *key != 0) {
            let slot = Self::slot(&larger, key);
            larger[slot] = (key, count);
        }
        self.slots = larger;
    }
}

/// The numbers (from 1) of sorted keys.
struct Numbers {
    slots: Vec<(u64, u32)>,
}

impl Numbers {
    fn new(sorted: &[(u64, u64)]) -> Self {
        let mut slots = vec![(0_u64, 0_u32); (sorted.len() * 2).next_power_of_two().max(2)];
        let mask = slots.len() - 1;
        for (number, &(key, _)) in sorted.iter().enumerate() {
            let mut slot = mix(key) as usize & mask;
            while slots[slot].0 != 0 {
                slot = (slot + 1) & mask;
            }
            slots[slot] = (key, number as u32 + 1);
        }
        Self { slots }
    }

    /// 0 for a key that is not there, and for key 0.
    #[inline]
    fn get(&self, key: u64) -> u32 {
        if key == 0 {
            return 0;
        }
        let mask = self.slots.len() - 1;
        let mut slot = mix(key) as usize & mask;
        loop {
            let (there, number) = self.slots[slot];
            if there == key {
                return number;
            }
            if there == 0 {
                return 0;
            }
            slot = (slot + 1) & mask;
        }
    }
}
