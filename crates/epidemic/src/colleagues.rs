//! Meetings at a place of work, sixteen at a time.

#![allow(clippy::needless_bitwise_bool, clippy::needless_range_loop, reason = "loops that shall become wide instructions")]

use lyceum_core::vectorize;

use crate::{
    contacts::{ABSENT, Cell, KNOWN, STAYS, TRIES, next_candidate},
    random::below,
    region::AGE_GROUPS,
};

/// How readily one is met, by level of behaviour, in 1/65,536; a power of two, so that no level is beyond it.
pub(crate) type Ready = [u32; 8];
/// How readily ages meet, by own group and the other's.
pub(crate) type Likely = [u32; AGE_GROUPS * AGE_GROUPS];

/// Contacts that are worked on together.
const LANES: usize = 16;
const NOBODY: u32 = u32::MAX;

/// The contacts that are begun at a place on a day.
#[derive(Debug, Default)]
pub(crate) struct Colleagues {
    /// The cells of the staff as words: status, mode, group and app from the lowest byte on.
    cells: Vec<u32>,
    desks: Vec<u32>,
    seeds: Vec<u64>,
}

impl Colleagues {
    pub(crate) fn begin(&mut self, cells: &[Cell]) {
        self.cells.clear();
        self.cells.extend(cells.iter().map(|cell| u32::from_le_bytes([cell.status, cell.mode, cell.group, cell.app])));
        self.desks.clear();
        self.seeds.clear();
    }

    #[inline]
    pub(crate) fn push(&mut self, desk: u32, seed: u64) {
        self.desks.push(desk);
        self.seeds.push(seed);
    }

    /// Whom each contact is with: calls `each` with both desks and the seed, in the order in which they were begun.
    pub(crate) fn meet(&mut self, known: u32, ready: &Ready, likely: &Likely, mut each: impl FnMut(usize, usize, u64)) {
        let count = self.desks.len();
        let whole = count.next_multiple_of(LANES);
        self.desks.resize(whole, 0);
        self.seeds.resize(whole, 0);
        let (desks, seeds) = (self.desks.as_chunks::<LANES>().0, self.seeds.as_chunks::<LANES>().0);
        let mut left = count;
        for (desks, seeds) in desks.iter().zip(seeds) {
            let met = met(&self.cells, desks, seeds, known, ready, likely);
            for ((at, desk), seed) in met.iter().zip(desks).zip(seeds).take(left) {
                if *at != NOBODY {
                    each(*desk as usize, *at as usize, *seed);
                }
            }
            left = left.saturating_sub(LANES);
        }
    }
}

vectorize! {
    /// The desk that each contact is with: that of the first candidate who is ready, by behaviour and ages. All candidates are looked
    /// at, so that nothing depends on what was found.
    fn met(cells: &[u32], desks: &[u32; LANES], seeds: &[u64; LANES], known: u32, ready: &Ready, likely: &Likely) -> [u32; LANES] {
        assert!(!cells.is_empty(), "contacts are begun by someone");
        let size = cells.len() as u32;
        let others = size - 1;
        let (mut pick, mut luck) = (seeds.map(|seed| seed as u32), seeds.map(|seed| (seed >> 32) as u32));
        // Known colleagues sit nearby, on both sides.
        let near = luck.map(|luck| if luck & 0xFFFF < known { (2 * KNOWN).min(others) } else { others });
        let (mut first, mut own, mut found) = ([0; LANES], [0; LANES], [NOBODY; LANES]);
        for lane in 0..LANES {
            let desk = desks[lane];
            first[lane] = if near[lane] < others { desk + size - near[lane] / 2 } else { desk + 1 };
            own[lane] = (cells[desk.min(others) as usize] >> 16 & 0xF) * AGE_GROUPS as u32;
        }
        for _ in 0..TRIES {
            let mut at = [0; LANES];
            for lane in 0..LANES {
                let to = first[lane] + below(pick[lane], near[lane]);
                // Past oneself, where the nearest are on both sides.
                let to = to + u32::from((near[lane] < others) & (to >= desks[lane] + size));
                // At most twice around; below `size` the difference is huge.
                let to = to.min(to.wrapping_sub(size));
                at[lane] = to.min(to.wrapping_sub(size)).min(others);
            }
            let mut there = [0; LANES];
            for lane in 0..LANES {
                // SAFETY: no desk is beyond `others`, the last one there is.
                there[lane] = unsafe { *cells.get_unchecked(at[lane] as usize) };
            }
            let mut chance = [0; LANES];
            for lane in 0..LANES {
                let place = (own[lane] + (there[lane] >> 16 & 0xF)) & 0xFF;
                chance[lane] = (ready[(there[lane] >> 8 & 7) as usize] * likely[place as usize]) >> 16;
            }
            for lane in 0..LANES {
                let away = u32::from(ABSENT | STAYS) << 8;
                let accepts = (there[lane] & away == 0) & (luck[lane] >> 16 < chance[lane]);
                found[lane] = if accepts & (found[lane] == NOBODY) { at[lane] } else { found[lane] };
                (pick[lane], luck[lane]) = next_candidate(pick[lane], luck[lane]);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::mix;

    /// One contact as the definition has it.
    fn alone(cells: &[Cell], desk: u32, seed: u64, known: u32, ready: &Ready, likely: &Likely) -> Option<usize> {
        let others = cells.len() as u32 - 1;
        let (mut pick, mut luck) = (seed as u32, (seed >> 32) as u32);
        let near = if luck & 0xFFFF < known { (2 * KNOWN).min(others) } else { others };
        for _ in 0..TRIES {
            // All others in a circle, from the one after oneself or, of the nearest, from the one farthest to the left on.
            let place = below(pick, near);
            let step = match near < others {
                true if place < KNOWN => place + cells.len() as u32 - KNOWN,
                true => place - KNOWN + 1,
                false => place + 1,
            };
            let at = (desk + step) as usize % cells.len();
            let ages = usize::from(cells[desk as usize].group) * AGE_GROUPS + usize::from(cells[at].group);
            let chance = (ready[usize::from(cells[at].mode & 7)] * likely[ages]) >> 16;
            if cells[at].mode & (ABSENT | STAYS) == 0 && luck >> 16 < chance {
                return Some(at);
            }
            (pick, luck) = next_candidate(pick, luck);
        }
        None
    }

    #[test]
    fn sixteen_at_a_time_meet_whom_each_would_meet_alone() {
        let word = |number: u64| mix(number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let ready = std::array::from_fn(|level| if level < 5 { 65_535 - 13_000 * level as u32 } else { 0 });
        let likely = std::array::from_fn(|place| (word(place as u64) & 0xFFFF) as u32);
        for size in [2_u64, 3, 12, 13, 14, 40, 300] {
            let cell = |desk: u64| {
                let word = word(size << 32 | desk);
                let away = [0, 0, 0, 0, 0, STAYS, ABSENT, STAYS | ABSENT][(word >> 20 & 7) as usize];
                Cell { status: (word & 3) as u8, mode: ((word >> 8) as u8 % 5) | away, group: (word >> 16 & 15) as u8, app: 1 }
            };
            let cells: Vec<Cell> = (0..size).map(cell).collect();
            let mut room = Colleagues::default();
            room.begin(&cells);
            let begun: Vec<(u32, u64)> = (0..=3 * size).map(|number| ((number % size) as u32, word(number + 1))).collect();
            begun.iter().for_each(|(desk, seed)| room.push(*desk, *seed));
            let mut found = Vec::new();
            room.meet(30_000, &ready, &likely, |desk, at, seed| found.push((desk, at, seed)));
            let one = |(desk, seed): &(u32, u64)| Some((*desk as usize, alone(&cells, *desk, *seed, 30_000, &ready, &likely)?, *seed));
            assert_eq!(found, begun.iter().filter_map(one).collect::<Vec<_>>(), "{size}");
            assert!(size < 13 || found.len() > size as usize);
        }
    }
}
