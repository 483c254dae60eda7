//! Temperature scaling (Guo et al. 2017): one number that makes probabilities honest.

use lyceum_core::{Error, Result};
use ndarray::ArrayView2;
use rayon::prelude::*;

/// T > 0 that minimises the mean of −log softmax(z/T)_label, to a relative error of 1e-8.
///
/// In β = 1/T the loss is convex: Newton's method on log β, kept inside a bracket. Labels that are always (or never)
/// the largest logit have no finite minimum; T then ends at a bound of the bracket, [10⁻³, 10³].
pub fn fit(logits: ArrayView2<'_, f32>, labels: &[usize]) -> Result<f64> {
    if logits.nrows() != labels.len() || labels.is_empty() {
        return Err(Error::invalid("labels", labels.len(), format!("as many as rows of logits ({}), and at least one", logits.nrows())));
    }
    if let Some(row) = labels.iter().position(|&label| label >= logits.ncols()) {
        return Err(Error::invalid(format!("label of row {row}"), labels[row], format!("less than {}", logits.ncols())));
    }
    let (mut low, mut high) = (1e-3_f64, 1e3_f64);
    let mut beta = 1.0_f64;
    for _ in 0..100 {
        let [slope, curvature] = derivatives(logits, labels, beta)?;
        if slope > 0.0 {
            high = beta
        } else {
            low = beta
        }
        let newton = beta - slope / curvature;
        let next = if curvature > 0.0 && newton > low && newton < high { newton } else { (low * high).sqrt() };
        let moved = (next / beta - 1.0).abs();
        beta = next;
        if moved < 1e-9 || high / low - 1.0 < 1e-9 {
            break;
        }
    }
    Ok(1.0 / beta)
}

/// First and second derivative of the mean loss to β: E_p[z] − z_label and Var_p[z], averaged over rows.
fn derivatives(logits: ArrayView2<'_, f32>, labels: &[usize], beta: f64) -> Result<[f64; 2]> {
    let row = |index: usize| {
        let row = logits.row(index);
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let (mut sum, mut first, mut second) = (0.0, 0.0, 0.0);
        for &z in row {
            let d = f64::from(z - max);
            let p = (beta * d).exp();
            if p > 0.0 {
                sum += p;
                first += p * d;
                second += p * d * d;
            }
        }
        let mean = first / sum;
        [mean - f64::from(row[labels[index]] - max), second / sum - mean * mean]
    };
    // Pieces of fixed length, summed in their order: the result does not depend on the number of threads.
    let n = labels.len();
    let piece = |start: usize| (start..(start + 256).min(n)).map(row).fold([0.0; 2], add);
    let pieces: Vec<[f64; 2]> = (0..n.div_ceil(256)).into_par_iter().map(|index| piece(index * 256)).collect();
    let [slope, curvature] = pieces.into_iter().fold([0.0; 2], add).map(|sum| sum / n as f64);
    if slope.is_finite() && curvature.is_finite() {
        Ok([slope, curvature])
    } else {
        Err(Error::invalid("logits", "a value that is not finite", "finite numbers, to fit a temperature"))
    }
}

fn add(a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
    [a[0] + b[0], a[1] + b[1]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use lyceum_core::Seed;
    use ndarray::Array2;
    use rand::RngExt;

    #[test]
    fn two_classes_in_closed_form() {
        // Three of four rows are right with a margin of 2: σ(2β) = 3/4, β = ½ ln 3.
        let logits = Array2::from_shape_fn((4, 2), |(_, k)| if k == 0 { 2.0 } else { 0.0 });
        let found = fit(logits.view(), &[0, 0, 0, 1]).unwrap();
        assert!((found - 2.0 / 3.0_f64.ln()).abs() < 1e-7, "{found}");
    }

    #[test]
    fn the_true_temperature_is_found_again() {
        let mut rng = Seed::new(5).stream("x");
        let logits = Array2::from_shape_fn((40_000, 5), |_| 3.0 * (rng.random::<f32>() + rng.random::<f32>()));
        let draw = |row: ndarray::ArrayView1<'_, f32>, u: f64| {
            let p: Vec<f64> = row.iter().map(|&z| (f64::from(z) / 2.5).exp()).collect();
            let mut rest = u * p.iter().sum::<f64>();
            p.iter()
                .position(|p| {
                    rest -= p;
                    rest < 0.0
                })
                .unwrap_or(4)
        };
        let labels: Vec<usize> = logits.rows().into_iter().map(|row| draw(row, rng.random())).collect();
        let found = fit(logits.view(), &labels).unwrap();
        assert!((found - 2.5).abs() < 0.1, "{found}");
    }

    #[test]
    fn no_minimum_and_bad_input() {
        let logits = Array2::from_shape_fn((2, 2), |(i, k)| if i == k { 3.0 } else { 0.0 });
        assert!(fit(logits.view(), &[0, 1]).unwrap() < 0.11);
        assert!(fit(logits.view(), &[1, 0]).unwrap() > 900.0);
        assert!(fit(logits.view(), &[0]).is_err());
        assert!(fit(logits.view(), &[0, 2]).is_err());
        assert!(fit(Array2::from_elem((1, 2), f32::NAN).view(), &[0]).is_err());
    }
}
