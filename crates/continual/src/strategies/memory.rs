//! Examples of the past.

use std::ops::Range;

use lyceum_core::{Array, Error, Result, Stream};
use lyceum_train::State;
use rand::{RngExt, seq::index};

use crate::strategy::saved;

/// A reservoir: the i-th example that is seen (from 0) is kept with probability min(1, capacity/(i + 1)), in place of a random
/// one, so at any time what is kept is an even sample of all that was seen (Vitter 1985).
#[derive(Debug, Clone, Default)]
pub struct Memory {
    capacity: usize,
    seen: u64,
    items: Vec<Item>,
}

/// One example.
#[derive(Debug, Clone)]
pub struct Item {
    /// The input.
    pub input: Vec<f32>,
    /// Its label.
    pub label: usize,
    /// The outputs of its task.
    pub outputs: Range<usize>,
    /// The logits that it had, where they are kept.
    pub logits: Vec<f32>,
}

impl Memory {
    /// Empty, for this many examples.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, ..Self::default() }
    }

    /// The place of the next example, if it is to be kept.
    pub fn place(&mut self, rng: &mut Stream) -> Option<usize> {
        // Several places may be asked for before the first is filled.
        let place = if self.seen < self.capacity as u64 { self.seen as usize } else { rng.random_range(0..=self.seen) as usize };
        self.seen += 1;
        (place < self.capacity).then_some(place)
    }

    /// Puts an example where [`place`](Self::place) said; in the order of the places that it gave.
    pub fn put(&mut self, place: usize, item: Item) {
        if place == self.items.len() {
            self.items.push(item);
        } else {
            self.items[place] = item;
        }
    }

    /// `count` different examples, or all there are.
    pub fn draw(&self, count: usize, rng: &mut Stream) -> Vec<&Item> {
        let count = count.min(self.items.len());
        index::sample(rng, self.items.len(), count).into_iter().map(|place| &self.items[place]).collect()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many numbers are kept.
    pub fn numbers(&self) -> usize {
        self.items.iter().map(|item| item.input.len() + item.logits.len() + 1).sum()
    }

    /// As a state is saved.
    pub fn state(&self) -> State {
        let matrix = |name: &str, of: &dyn Fn(&Item) -> Vec<f32>| {
            let rows: Vec<Vec<f32>> = self.items.iter().map(of).collect();
            let width = rows.first().map_or(0, Vec::len);
            Array::new(name, vec![rows.len(), width], rows.concat())
        };
        let arrays = vec![
            matrix("inputs", &|item| item.input.clone()),
            matrix("logits", &|item| item.logits.clone()),
            matrix("labels", &|item| vec![item.label as f32, item.outputs.start as f32, item.outputs.end as f32]),
        ];
        State { arrays, ..State::default() }.with_counter("seen", self.seen)
    }

    /// From a saved state.
    pub fn restore(&mut self, state: &State) -> Result<()> {
        let array = |name: &str| saved(state, name).ok_or_else(|| Error::Failed(format!("the saved memory has no `{name}`")));
        let (inputs, logits, labels) = (array("inputs")?, array("logits")?, array("labels")?);
        let row = |array: &Array, row: usize| array.values[row * array.shape[1]..(row + 1) * array.shape[1]].to_vec();
        self.seen = state.counter("seen");
        self.items = (0..inputs.shape[0])
            .map(|item| {
                let label = row(labels, item);
                let outputs = label[1] as usize..label[2] as usize;
                Item { input: row(inputs, item), label: label[0] as usize, outputs, logits: row(logits, item) }
            })
            .collect();
        if self.items.len() as u64 != self.seen.min(self.capacity as u64) {
            let found = format!("{} examples of {} that were seen", self.items.len(), self.seen);
            return Err(Error::Failed(format!("the saved memory holds {found}, with room for {}", self.capacity)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lyceum_core::Seed;

    #[test]
    fn every_example_is_as_likely_kept_and_a_saved_memory_comes_back() {
        let mut counts = [0_u32; 40];
        for seed in 0..4_000 {
            let mut memory = Memory::new(8);
            let mut rng = Seed::new(seed).stream("memory");
            for i in 0..40_usize {
                if let Some(place) = memory.place(&mut rng) {
                    memory.put(place, Item { input: vec![i as f32], label: i, outputs: 0..40, logits: Vec::new() });
                }
            }
            memory.draw(8, &mut rng).iter().for_each(|item| counts[item.label] += 1);
            if seed == 0 {
                let mut again = Memory::new(8);
                again.restore(&memory.state()).unwrap();
                assert_eq!(again.state(), memory.state());
            }
        }
        // 800 expected, standard deviation 25.
        assert!(counts.iter().all(|count| (680..920).contains(count)), "{counts:?}");
    }

    /// As DER++ does: all places of a batch first, then the examples.
    #[test]
    fn a_memory_that_is_filled_by_batches_keeps_all_that_it_has_room_for() {
        for (capacity, batch) in [(100, 10), (100, 7), (5, 32)] {
            let (mut memory, mut rng) = (Memory::new(capacity), Seed::new(0).stream("memory"));
            for start in (0..300).step_by(batch) {
                let places: Vec<(usize, usize)> =
                    (start..start + batch).filter_map(|i| memory.place(&mut rng).map(|place| (i, place))).collect();
                for (i, place) in places {
                    memory.put(place, Item { input: vec![i as f32], label: i, outputs: 0..400, logits: Vec::new() });
                }
                assert_eq!(memory.items.len(), capacity.min(start + batch));
            }
        }
        let mut state = Memory::new(3).state();
        state = state.with_counter("seen", 2);
        assert!(Memory::new(3).restore(&state).is_err());
    }
}
