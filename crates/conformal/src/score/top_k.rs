//! Sets of (almost) one size.

use super::{Place, Score};

/// o(y) − 1 + u: every set has size k* or k* − 1, the share of each such that coverage is exact. The conformal quantile
/// of this score is the randomised fixed-k baseline of the paper.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TopK;

impl Score for TopK {
    #[inline(always)]
    fn at(&self, place: &Place, u: f64) -> f64 {
        place.rank as f64 - 1.0 + u
    }

    #[inline(always)]
    fn bound(&self, place: &Place) -> f64 {
        if place.rank == 1 { f64::NEG_INFINITY } else { place.rank as f64 - 1.0 }
    }
}
