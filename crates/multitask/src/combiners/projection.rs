//! What PCGrad and Gradient Vaccine share: a gradient that is altered by others, in coefficients.

use lyceum_core::Stream;
use ndarray::ArrayView2;
use rand::seq::SliceRandom;

/// An altered gradient g' = Σ aₖgₖ with what is needed of it: its products with all gradients and its norm. Adding s·gⱼ costs
/// T operations.
pub(super) struct Altered<'a> {
    gram: ArrayView2<'a, f64>,
    /// aₖ.
    pub coefficients: Vec<f64>,
    /// ⟨g', gₖ⟩.
    products: Vec<f64>,
    /// ‖g'‖².
    squared: f64,
}

impl<'a> Altered<'a> {
    /// gᵢ, not yet altered.
    pub(super) fn new(gram: ArrayView2<'a, f64>, i: usize) -> Self {
        let mut coefficients = vec![0.0; gram.nrows()];
        coefficients[i] = 1.0;
        Self { gram, coefficients, products: gram.row(i).to_vec(), squared: gram[[i, i]] }
    }

    /// ‖g'‖.
    pub(super) fn norm(&self) -> f64 {
        self.squared.max(0.0).sqrt()
    }

    /// ⟨g', gⱼ⟩.
    pub(super) fn product(&self, j: usize) -> f64 {
        self.products[j]
    }

    /// cos(g', gⱼ), and 0 where one of them is 0 (or nothing but rounding is left of g').
    pub(super) fn cosine(&self, j: usize) -> f64 {
        let scale = self.norm() * self.gram[[j, j]].sqrt();
        if scale > 0.0 { (self.products[j] / scale).clamp(-1.0, 1.0) } else { 0.0 }
    }

    /// g' ← g' + s·gⱼ.
    pub(super) fn add(&mut self, s: f64, j: usize) {
        self.coefficients[j] += s;
        self.squared += 2.0 * s * self.products[j] + s * s * self.gram[[j, j]];
        let row = self.gram.row(j);
        self.products.iter_mut().zip(row).for_each(|(product, g)| *product += s * g);
        // What is left of a gradient that was taken out whole is rounding.
        let terms: f64 = self.coefficients.iter().enumerate().map(|(k, a)| a.abs() * self.gram[[k, k]].sqrt()).sum();
        if self.squared < (1e-8 * terms).powi(2) {
            self.squared = 0.0;
        }
    }
}

/// The sum of all tasks' altered gradients, as coefficients: `alter` changes one gradient by one other, these in random
/// order for each.
pub(super) fn sum_of_altered(
    gram: ArrayView2<'_, f64>,
    rng: &mut Stream,
    mut alter: impl FnMut(&mut Altered<'_>, usize, usize),
) -> Vec<f64> {
    let tasks = gram.nrows();
    let mut sum = vec![0.0; tasks];
    for i in 0..tasks {
        let mut others: Vec<usize> = (0..tasks).filter(|&j| j != i).collect();
        others.shuffle(rng);
        let mut altered = Altered::new(gram, i);
        for j in others {
            alter(&mut altered, i, j);
        }
        sum.iter_mut().zip(&altered.coefficients).for_each(|(sum, a)| *sum += a);
    }
    sum
}
