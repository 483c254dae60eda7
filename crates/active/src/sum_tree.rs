//! Weights that can be drawn from and taken away, each in O(log n).

/// A binary tree of sums. A sum is always that of its two children, so taking weights away leaves no rounding behind.
#[derive(Debug, Clone)]
pub(crate) struct SumTree {
    /// Node 1 is the root; the children of node i are 2i and 2i + 1; the leaves start at `leaves`.
    sums: Vec<f64>,
    leaves: usize,
}

impl SumTree {
    pub(crate) fn new(weights: &[f64]) -> Self {
        let leaves = weights.len().next_power_of_two();
        let mut sums = vec![0.0; 2 * leaves];
        sums[leaves..leaves + weights.len()].copy_from_slice(weights);
        for node in (1..leaves).rev() {
            sums[node] = sums[2 * node] + sums[2 * node + 1];
        }
        Self { sums, leaves }
    }

    pub(crate) fn total(&self) -> f64 {
        self.sums[1]
    }

    pub(crate) fn weight(&self, index: usize) -> f64 {
        self.sums[self.leaves + index]
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
        node - self.leaves
    }

    /// Sets a weight to 0.
    pub(crate) fn take(&mut self, index: usize) {
        let mut node = self.leaves + index;
        self.sums[node] = 0.0;
        while node > 1 {
            node /= 2;
            self.sums[node] = self.sums[2 * node] + self.sums[2 * node + 1];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_share_finds_the_weight_it_falls_into(weights in prop::collection::vec(prop_oneof![Just(0.0), 0.0..5.0_f64], 1..40), share in 0.0..1.0_f64) {
            prop_assume!(weights.iter().sum::<f64>() > 0.0);
            let mut tree = SumTree::new(&weights);
            let index = tree.at(share);
            prop_assert!(weights[index] > 0.0);
            let before: f64 = weights[..index].iter().sum();
            let total: f64 = weights.iter().sum();
            prop_assert!(before <= share * total + 1e-9 && share * total <= before + weights[index] + 1e-9);
            tree.take(index);
            let rest: Vec<f64> = weights.iter().enumerate().map(|(i, w)| if i == index { 0.0 } else { *w }).collect();
            prop_assert_eq!(tree.total(), SumTree::new(&rest).total());
        }
    }
}
