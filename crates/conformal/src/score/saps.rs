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
        // The largest weight of a row is always the same whole number: its logit is the maximum.
        let largest = f64::from(1_u32 << 30) / place.total;
        if place.rank == 1 { u * largest } else { largest + (place.rank as f64 - 2.0 + u) * self.weight }
    }
}
