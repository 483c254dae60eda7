//! The draws u: one per row, from the seed and from the row itself.
//!
//! A row gets the same draw wherever it occurs in the data, so that predictions do not depend on whether rows come one
//! by one, in batches or in another order. Equal rows within one call are told apart by how many came before.

use hashbrown::HashMap;
use lyceum_core::Seed;
use rand::RngExt;
use rustc_hash::FxBuildHasher;

/// Draws from \[0, 1): u = h(seed, fingerprint of the row, number of earlier equal rows).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draws([u64; 2]);

impl Draws {
    /// The draws of this name.
    pub(crate) fn new(seed: Seed, name: &str) -> Self {
        Self(seed.stream(name).random())
    }

    /// The draw of a row after this many equal ones: a step of SplitMix64 (Steele, Lea and Flood 2014) from a start that
    /// depends on the row.
    #[inline(always)]
    pub(crate) fn of(&self, fingerprint: u64, earlier: u32) -> f64 {
        let [first, second] = self.0;
        let start = mix(fingerprint ^ first);
        let bits = mix(start.wrapping_add(u64::from(earlier).wrapping_mul(0x9E37_79B9_7F4A_7C15)) ^ second);
        (bits >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }
}

/// A bijection of 64 bits in which every bit depends on all (MurmurHash3's finaliser).
#[inline(always)]
pub(crate) fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    x ^= x >> 33;
    x = x.wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    x ^ (x >> 33)
}

/// How often each row has occurred so far in one call. A call that is made in parts hands it from part to part; then
/// the parts give what the whole gives.
#[derive(Debug, Clone, Default)]
pub struct Copies(HashMap<u64, u32, FxBuildHasher>);

impl Copies {
    /// For each of the rows that come next, how many equal ones came before; `None` if all are new.
    pub(crate) fn count<'a>(&mut self, fingerprints: impl Iterator<Item = &'a u64>, rows: usize) -> Option<Vec<u32>> {
        self.0.reserve(rows);
        let mut any = 0;
        let mut earlier = |fingerprint: &u64| {
            let count = self.0.entry(*fingerprint).or_insert(0);
            let before = *count;
            *count = before.saturating_add(1);
            any |= before;
            before
        };
        let found: Vec<u32> = fingerprints.map(&mut earlier).collect();
        (any > 0).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kolmogorov's distance from the uniform distribution, in units of its 0.1 % point.
    fn distance(mut draws: Vec<f64>) -> f64 {
        draws.sort_by(f64::total_cmp);
        let n = draws.len() as f64;
        let gap = draws.iter().enumerate().map(|(i, u)| (u - (i as f64 + 0.5) / n).abs()).fold(0.0, f64::max) + 0.5 / n;
        gap * n.sqrt() / 1.95
    }

    #[test]
    fn draws_are_uniform_over_rows_copies_and_seeds() {
        let draws = |seed: u64| Draws::new(Seed::new(seed), "u");
        for n in [1_000_u32, 100_000] {
            assert!(distance((0..n).map(|i| draws(0).of(u64::from(i), 0)).collect()) < 1.0);
            assert!(distance((0..n).map(|i| draws(0).of(7, i)).collect()) < 1.0);
        }
        assert!(distance((0..1_000).map(|seed| draws(seed).of(7, 0)).collect()) < 1.0);
        let pairs = |f: &dyn Fn(u32) -> (f64, f64)| {
            (0..20_000)
                .map(|i| {
                    let (a, b) = f(i);
                    (a - 0.5) * (b - 0.5)
                })
                .sum::<f64>()
                * 12.0
                / 20_000.0
        };
        assert!(pairs(&|i| (draws(0).of(u64::from(i), 0), draws(0).of(u64::from(i), 1))).abs() < 0.025);
        assert!(pairs(&|i| (draws(0).of(u64::from(i), 0), draws(1).of(u64::from(i), 0))).abs() < 0.025);
    }

    #[test]
    fn copies_are_counted_across_parts() {
        let mut copies = Copies::default();
        assert_eq!(copies.count([1, 2].iter(), 2), None);
        assert_eq!(copies.count([3, 1, 3, 1].iter(), 4), Some(vec![0, 1, 1, 2]));
    }
}
