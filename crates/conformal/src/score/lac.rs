//! Least ambiguous classifiers.

use super::{Place, Score};

/// 1 − π_y (Sadinle, Lei and Wasserman 2019; also called THR): the smallest sets on average, at the cost of empty sets
/// and low coverage where the classifier is unsure. Not randomised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lac;

impl Score for Lac {
    const RANDOMISED: bool = false;

    #[inline(always)]
    fn at(&self, place: &Place, _: f64) -> f64 {
        1.0 - place.weight / place.total
    }

    /// The score itself: nothing is drawn.
    #[inline(always)]
    fn bound(&self, place: &Place) -> f64 {
        self.at(place, 1.0)
    }
}
