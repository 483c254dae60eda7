//! Sorted adaptive prediction sets.

use super::{Place, Score};

/// u·π_max at rank 1, else π_max + (o(y) − 2 + u)·w (Huang et al. 2024): keeps only the largest probability and the
/// ranks, so the noise of small probabilities does not widen the sets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Saps {
    /// w, the step from rank to rank.
    pub weight: f64,
}

impl Score for Saps {
    #[inline(always)]
    fn at(&self, place: &Place, u: f64) -> f64 {
        let largest = place.largest();
        if place.rank == 1 { u * largest } else { largest + (place.rank as f64 - 2.0 + u) * self.weight }
    }

    #[inline(always)]
    fn bound(&self, place: &Place) -> f64 {
        if place.rank == 1 { f64::NEG_INFINITY } else { place.largest() + (place.rank as f64 - 2.0) * self.weight }
    }
}
