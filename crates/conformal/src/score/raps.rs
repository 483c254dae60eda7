//! Regularised adaptive prediction sets.

use super::{Place, Score};

/// E(x, y, u) = ρ(y) + u·π_y + λ·max(0, o(y) − k_reg), with ρ the mass above y and o its rank
/// (Angelopoulos et al. 2021, equation 3). λ = 0 is APS.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Raps {
    /// λ.
    pub lambda: f64,
    /// The rank up to which there is no penalty.
    pub k_reg: usize,
}

impl Raps {
    /// λ·max(0, rank − k_reg). By way of 32 bits, from which registers convert to floats: no row is as long as 2³¹.
    #[inline(always)]
    fn penalty(&self, rank: usize) -> f64 {
        self.lambda * f64::from(rank.saturating_sub(self.k_reg) as i32)
    }
}

impl Score for Raps {
    #[inline(always)]
    fn at(&self, place: &Place, u: f64) -> f64 {
        // Weights are whole numbers: the sum is exact at u = 1, and rises along the ranking for every u.
        (place.above + u * place.weight) / place.total + self.penalty(place.rank)
    }

    #[inline(always)]
    fn bound(&self, place: &Place) -> f64 {
        if place.rank == 1 {
            return f64::NEG_INFINITY;
        }
        place.above / place.total + self.penalty(place.rank - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// π = (0.5, 0.3, 0.15, 0.05), worked by hand.
    #[test]
    fn scores_of_a_known_row() {
        let pi = [50.0, 30.0, 15.0, 5.0];
        let scores = |lambda, k_reg, u| {
            (0..4)
                .map(|i| Place { rank: i + 1, above: pi[..i].iter().sum(), weight: pi[i], total: 100.0 })
                .map(|place| Raps { lambda, k_reg }.at(&place, u))
                .collect::<Vec<f64>>()
        };
        let close =
            |found: Vec<f64>, expected: [f64; 4]| assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        close(scores(0.0, 0, 1.0), [0.5, 0.8, 0.95, 1.0]);
        close(scores(0.1, 1, 1.0), [0.5, 0.9, 1.15, 1.3]);
        close(scores(0.01, 2, 1.0), [0.5, 0.8, 0.96, 1.02]);
        close(scores(0.0, 0, 0.5), [0.25, 0.65, 0.875, 0.975]);
        close(scores(0.1, 1, 0.5), [0.25, 0.75, 1.075, 1.275]);
        close(scores(0.1, 2, 0.5), [0.25, 0.65, 0.975, 1.175]);
    }
}
