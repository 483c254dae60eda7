//! The order in which examples are drawn: pass after pass over all, each in a new order.

use lyceum_core::Seed;
use lyceum_data::split;

/// The pass that is under way.
pub(super) struct Order {
    /// The stream that orders come from.
    stream: &'static str,
    pass: Option<usize>,
    places: Vec<usize>,
}

impl Order {
    /// Before the first draw.
    pub(super) fn new(stream: &'static str) -> Self {
        Self { stream, pass: None, places: Vec::new() }
    }

    /// Which of `count` examples draw number `draw` is.
    pub(super) fn place(&mut self, draw: usize, count: usize, seed: Seed) -> usize {
        let pass = draw / count;
        if self.pass != Some(pass) {
            self.pass = Some(pass);
            self.places = split::permutation(count, &mut seed.stream_at(self.stream, pass as u64));
        }
        self.places[draw % count]
    }
}
