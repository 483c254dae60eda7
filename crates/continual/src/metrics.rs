//! Metrics of a stream from the accuracy matrix A, A\[t\]\[j\] the accuracy on task j after learning task t.

/// ACC = mean over j of A\[T−1\]\[j\].
pub fn average_accuracy(matrix: &[Vec<f64>]) -> f64 {
    matrix.last().map_or(f64::NAN, |last| last.iter().sum::<f64>() / last.len() as f64)
}

/// BWT = mean over j < T−1 of A\[T−1\]\[j\] − A\[j\]\[j\]: below 0 where tasks are forgotten (Lopez-Paz and Ranzato 2017). NaN for
/// one task.
pub fn backward_transfer(matrix: &[Vec<f64>]) -> f64 {
    let tasks = matrix.len();
    (0..tasks.saturating_sub(1)).map(|j| matrix[tasks - 1][j] - matrix[j][j]).sum::<f64>() / tasks.saturating_sub(1) as f64
}

/// FWT = mean over j ≥ 1 of A\[j−1\]\[j\] − chance: what earlier tasks teach of later ones. The matrix must be full.
pub fn forward_transfer(matrix: &[Vec<f64>], chance: f64) -> f64 {
    let tasks = matrix.len();
    (1..tasks).map(|j| matrix[j - 1][j] - chance).sum::<f64>() / tasks.saturating_sub(1) as f64
}

/// Forgetting: mean over j < T−1 of the best accuracy that task j ever had, less its last (Chaudhry et al. 2018).
pub fn forgetting(matrix: &[Vec<f64>]) -> f64 {
    let tasks = matrix.len();
    let best = |j: usize| matrix[j..tasks - 1].iter().map(|row| row[j]).fold(f64::NEG_INFINITY, f64::max);
    (0..tasks.saturating_sub(1)).map(|j| best(j) - matrix[tasks - 1][j]).sum::<f64>() / tasks.saturating_sub(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_worked_by_hand() {
        let matrix = vec![vec![98.0, 12.0, 9.0], vec![97.0, 96.0, 11.0], vec![95.0, 94.0, 99.0]];
        assert_eq!((average_accuracy(&matrix), backward_transfer(&matrix)), (96.0, -2.5));
        assert_eq!((forgetting(&matrix), forward_transfer(&matrix, 10.0)), (2.5, 1.5));
        assert!(backward_transfer(&matrix[..1]).is_nan());
    }
}
