//! Weights that can be drawn from and taken away, each in O(log n).

use rayon::prelude::*;

/// Weights under one leaf.
const BLOCK: usize = 64;

/// A binary tree of sums over blocks of weights. A sum is always that of its parts, so taking weights away leaves no
/// rounding behind.
#[derive(Debug, Clone)]
pub(crate) struct SumTree {
    weights: Vec<f64>,
    /// Node 1 is the root; the children of node i are 2i and 2i + 1; the leaves, the blocks' sums, start at `leaves`.
    sums: Vec<f64>,
    leaves: usize,
}

impl SumTree {
    pub(crate) fn new(weights: Vec<f64>) -> Self {
        let leaves = weights.len().div_ceil(BLOCK).next_power_of_two();
        let mut sums = vec![0.0; 2 * leaves];
        sums[leaves..].par_iter_mut().zip(weights.par_chunks(BLOCK)).with_min_len(256).for_each(|(sum, block)| *sum = of_block(block));
        for node in (1..leaves).rev() {
            sums[node] = sums[2 * node] + sums[2 * node + 1];
        }
        Self { weights, sums, leaves }
    }

    pub(crate) fn total(&self) -> f64 {
        self.sums[1]
    }

    pub(crate) fn weight(&self, index: usize) -> f64 {
        self.weights[index]
    }

    /// The index at which the running sum of weights passes `share` of the total, `share` in [0, 1). Its weight is
    /// above 0 unless all are 0.
    pub(crate) fn at(&self, share: f64) -> usize {
        let (mut node, mut left) = (1, share * self.total());
        while node < self.leaves {
            let first = self.sums[2 * node];
            // Rounding must not lead into a branch without weight.
            if (left < first || self.sums[2 * node + 1] == 0.0) && first > 0.0 {
                node *= 2;
            } else {
                left -= first;
                node = 2 * node + 1;
            }
        }
        let first = (node - self.leaves) * BLOCK;
        let mut last = first;
        for index in first..(first + BLOCK).min(self.weights.len()) {
            if self.weights[index] > 0.0 {
                last = index;
                if left < self.weights[index] {
                    break;
                }
                left -= self.weights[index];
            }
        }
        last
    }

    /// Sets a weight to 0.
    pub(crate) fn take(&mut self, index: usize) {
        self.weights[index] = 0.0;
        let first = index / BLOCK * BLOCK;
        let mut node = self.leaves + index / BLOCK;
        self.sums[node] = of_block(&self.weights[first..(first + BLOCK).min(self.weights.len())]);
        while node > 1 {
            node /= 2;
            self.sums[node] = self.sums[2 * node] + self.sums[2 * node + 1];
        }
    }
}

fn of_block(block: &[f64]) -> f64 {
    let (whole, rest) = block.as_chunks::<8>();
    let mut sums = [0.0; 8];
    whole.iter().for_each(|chunk| sums.iter_mut().zip(chunk).for_each(|(sum, weight)| *sum += weight));
    sums.iter().sum::<f64>() + rest.iter().sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_share_finds_the_weight_it_falls_into(
            weights in prop::collection::vec(prop_oneof![Just(0.0), 0.0..5.0_f64], 1..300), share in 0.0..1.0_f64,
        ) {
            prop_assume!(weights.iter().sum::<f64>() > 0.0);
            let mut tree = SumTree::new(weights.clone());
            let index = tree.at(share);
            prop_assert!(weights[index] > 0.0);
            let before: f64 = weights[..index].iter().sum();
            let total: f64 = weights.iter().sum();
            prop_assert!(before <= share * total + 1e-9 && share * total <= before + weights[index] + 1e-9);
            tree.take(index);
            let rest: Vec<f64> = weights.iter().enumerate().map(|(i, w)| if i == index { 0.0 } else { *w }).collect();
            prop_assert_eq!(tree.total(), SumTree::new(rest).total());
        }
    }
}
