//! Randomness by name.
//!
//! A run has one root [`Seed`]. Whoever needs random numbers asks for a [`Stream`] by name, and for the part of it
//! that belongs to an index (an epoch, a client, a batch). What is drawn depends on the seed, the name and the index
//! alone: not on the order in which streams are made, on the number of threads, or on where a run was resumed.

use std::convert::Infallible;

use rand::{SeedableRng, TryRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// The root of all randomness of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(u64);

/// A sequence of random numbers (ChaCha with 8 rounds, counter-based). Implements [`rand::Rng`].
#[derive(Debug, Clone)]
pub struct Stream(ChaCha8Rng);

impl Seed {
    /// The seed as written in a recipe.
    pub fn new(root: u64) -> Self {
        Self(root)
    }

    /// The number it was made from.
    pub fn root(self) -> u64 {
        self.0
    }

    /// The stream with this name. Its key is SHA-256(`seed` ‖ `name`).
    pub fn stream(self, name: &str) -> Stream {
        self.stream_at(name, 0)
    }

    /// The part of the stream `name` that belongs to `index`; different indices never overlap.
    pub fn stream_at(self, name: &str, index: u64) -> Stream {
        let mut rng = ChaCha8Rng::from_seed(self.key(name));
        rng.set_stream(index);
        Stream(rng)
    }

    /// A seed of its own for a part of the run, for example one arm of a comparison.
    pub fn child(self, name: &str) -> Self {
        let key = self.key(name);
        Self(u64::from_le_bytes(key[..8].try_into().expect("eight bytes")))
    }

    fn key(self, name: &str) -> [u8; 32] {
        Sha256::new().chain_update(self.0.to_le_bytes()).chain_update(name.as_bytes()).finalize().into()
    }
}

impl Stream {
    /// The part of the stream's name that belongs to another index, from its beginning: what [`Seed::stream_at`] gives, without
    /// making the key again.
    pub fn at(&self, index: u64) -> Self {
        let mut rng = self.0.clone();
        rng.set_stream(index);
        rng.set_word_pos(0);
        Self(rng)
    }
}

impl TryRng for Stream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.0.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0.try_next_u64()
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.try_fill_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    fn draw(mut stream: Stream) -> [u64; 4] {
        std::array::from_fn(|_| stream.random())
    }

    #[test]
    fn a_stream_depends_on_seed_name_and_index_alone() {
        let seed = Seed::new(3);
        assert_eq!(draw(seed.stream("a")), draw(Seed::new(3).stream("a")));
        assert_ne!(draw(seed.stream("a")), draw(seed.stream("b")));
        assert_ne!(draw(seed.stream("a")), draw(Seed::new(4).stream("a")));
        assert_ne!(draw(seed.stream_at("a", 1)), draw(seed.stream_at("a", 2)));
        assert_ne!(seed.child("x"), seed.child("y"));
        let mut drawn_from = seed.stream_at("a", 1);
        let _: u64 = drawn_from.random();
        assert_eq!(draw(drawn_from.at(2)), draw(seed.stream_at("a", 2)));
        assert_eq!(draw(drawn_from.at(1)), draw(seed.stream_at("a", 1)));
    }

    /// Pins the stream itself: a change of generator or key derivation would silently change every published result.
    #[test]
    fn the_first_numbers_of_a_stream_are_pinned() {
        assert_eq!(draw(Seed::new(0).stream("pinned"))[0], 5_868_321_001_954_605_317);
    }
}
