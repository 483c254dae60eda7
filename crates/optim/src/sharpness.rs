//! How sharp a minimum is.

use lyceum_core::{Result, Seed};
use lyceum_kernels::vector;
use lyceum_train::Vector;
use rand_distr::{Distribution, StandardNormal};

use crate::{
    perturbation::{Ball, Perturbation},
    surface::Surface,
};

/// The largest eigenvalues of the Hessian at a point, falling, by Lanczos with full re-orthogonalisation.
///
/// Products with the Hessian are central differences of gradients,
/// Hv ≈ (∇L(w + hv) − ∇L(w − hv))/2h with ‖v‖ = 1 and h = 10⁻³(1 + ‖w‖). `iterations` products are made; the largest
/// eigenvalue settles first (10 to 20 are enough for it), the last ones given are rough.
pub fn hessian_eigenvalues(surface: &dyn Surface, point: &Vector, iterations: usize, seed: Seed) -> Result<Vec<f64>> {
    let n = point.dims()[0];
    let h = 1e-3 * (1.0 + vector::norm(point));
    let mut rng = seed.stream("sharpness/lanczos");
    let start: Vec<f32> = (0..n).map(|_| StandardNormal.sample(&mut rng)).collect();
    let start = vector::from_vec(start, &point.device());
    let mut basis = vec![start.clone() / vector::norm(&start)];
    let (mut diagonal, mut off_diagonal) = (Vec::new(), Vec::new());
    for _ in 0..iterations.min(n) {
        let v = basis.last().expect("the basis starts with one vector");
        let up = surface.gradient(&vector::add_scaled(point, h, v))?;
        let down = surface.gradient(&vector::add_scaled(point, -h, v))?;
        let mut next = vector::add_scaled(&up, -1.0, &down) / (2.0 * h);
        diagonal.push(vector::dot(&next, v));
        // Twice is enough (Parlett): what rounding leaves of the basis after the first sweep the second removes.
        for _ in 0..2 {
            for v in &basis {
                next = vector::add_scaled(&next, -vector::dot(&next, v), v);
            }
        }
        let length = vector::norm(&next);
        let scale = diagonal.iter().fold(0.0_f64, |max, d| max.max(d.abs()));
        if length <= 1e-5 * scale.max(1e-30) {
            break;
        }
        off_diagonal.push(length);
        basis.push(next / length);
    }
    Ok(tridiagonal_eigenvalues(&diagonal, &off_diagonal))
}

/// Eigenvalues of a symmetric tridiagonal matrix, falling, by bisection on Sturm counts.
fn tridiagonal_eigenvalues(diagonal: &[f64], off_diagonal: &[f64]) -> Vec<f64> {
    let n = diagonal.len();
    let off = |i: usize| if i == 0 || i > n - 1 { 0.0 } else { off_diagonal[i - 1] };
    // Gershgorin's discs.
    let radius = |i: usize| off(i).abs() + off(i + 1).abs();
    let low = (0..n).map(|i| diagonal[i] - radius(i)).fold(f64::INFINITY, f64::min);
    let high = (0..n).map(|i| diagonal[i] + radius(i)).fold(f64::NEG_INFINITY, f64::max);
    // How many eigenvalues are below x: the negative pivots of the matrix minus x.
    let below = |x: f64| {
        let (mut count, mut pivot) = (0, 1.0_f64);
        for (i, d) in diagonal.iter().enumerate() {
            pivot = d - x - off(i).powi(2) / if pivot == 0.0 { f64::MIN_POSITIVE } else { pivot };
            count += usize::from(pivot < 0.0);
        }
        count
    };
    let eigenvalue = |rank: usize| {
        let (mut a, mut b) = (low, high);
        for _ in 0..200 {
            let middle = 0.5 * (a + b);
            if below(middle) > n - 1 - rank { b = middle } else { a = middle }
        }
        0.5 * (a + b)
    };
    (0..n).map(eigenvalue).collect()
}

/// How much higher the loss is at the worst point found in the ball ‖ε‖₂ ≤ ρ than at its centre: the best of
/// `steps` steps of projected gradient ascent, the first of which is the step of SAM.
pub fn sharpness(surface: &dyn Surface, point: &Vector, rho: f64, steps: usize) -> Result<f64> {
    let base = surface.loss(point)?;
    let mut worst = base;
    let mut at = point.clone();
    for step in 0..steps.max(1) {
        let gradient = surface.gradient(&at)?;
        let length = if step == 0 { rho } else { rho * 0.5 };
        at = Ball { rho: length, p: 2.0 }.climb(&at, &gradient, Seed::new(0));
        let away = vector::add_scaled(&at, -1.0, point);
        let distance = vector::norm(&away);
        if distance > rho {
            at = vector::add_scaled(point, rho / distance, &away);
        }
        worst = worst.max(surface.loss(&at)?);
    }
    Ok(worst - base)
}

/// The second term of the bound of the paper (Theorem 2): with probability 1 − δ, where the expected loss does not fall
/// when Gaussian noise is added to w,
///
/// ```text
/// L_D(w) ≤ max_{‖ε‖₂≤ρ} L_S(w + ε) + √( (k log(1 + ‖w‖²/ρ² (1 + √(log n / k))²) + 4 log(n/δ) + 8 log(6n + 3k)) / (n − 1) )
/// ```
///
/// for k parameters and n examples. It is above 1, and so says nothing, for every network of usual size.
pub fn pac_bayes_complexity(norm: f64, rho: f64, parameters: usize, examples: usize, delta: f64) -> f64 {
    let (k, n) = (parameters as f64, examples as f64);
    let spread = (1.0 + (n.ln() / k).sqrt()).powi(2);
    let numerator = k * (1.0 + norm * norm / (rho * rho) * spread).ln() + 4.0 * (n / delta).ln() + 8.0 * (6.0 * n + 3.0 * k).ln();
    (numerator / (n - 1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ½ Σ hᵢwᵢ².
    struct Bowl(Vec<f32>);

    impl Surface for Bowl {
        fn loss(&self, point: &Vector) -> Result<f64> {
            Ok(vector::to_vec(point).iter().zip(&self.0).map(|(w, h)| 0.5 * f64::from(h * w * w)).sum())
        }

        fn gradient(&self, point: &Vector) -> Result<Vector> {
            Ok(vector::from_vec(vector::to_vec(point).iter().zip(&self.0).map(|(w, h)| w * h).collect(), &point.device()))
        }
    }

    fn at(values: &[f32]) -> Vector {
        vector::from_vec(values.to_vec(), &lyceum_train::cpu())
    }

    #[test]
    fn eigenvalues_of_a_known_hessian() {
        let curvatures: Vec<f32> = (0..200).map(|i| if i == 7 { 25.0 } else { i as f32 * 0.05 }).collect();
        let found = hessian_eigenvalues(&Bowl(curvatures), &at(&vec![0.3; 200]), 25, Seed::new(4)).unwrap();
        assert!((found[0] - 25.0).abs() < 1e-2, "{found:?}");
        assert!((found[1] - 9.95).abs() < 0.1, "{found:?}");
        // Fewer dimensions than iterations: every eigenvalue, the negative one too.
        let found = hessian_eigenvalues(&Bowl(vec![3.0, -1.0, 0.5]), &at(&[1.0, 1.0, 1.0]), 25, Seed::new(4)).unwrap();
        assert!(found.iter().zip([3.0, 0.5, -1.0]).all(|(a, b)| (a - b).abs() < 1e-3), "{found:?}");
    }

    #[test]
    fn a_tridiagonal_matrix_with_known_eigenvalues() {
        // 2 on the diagonal, −1 beside it: 2 − 2cos(kπ/(n+1)).
        let found = tridiagonal_eigenvalues(&[2.0; 6], &[-1.0; 5]);
        for (k, found) in found.iter().rev().enumerate() {
            let expected = 2.0 - 2.0 * (std::f64::consts::PI * (k + 1) as f64 / 7.0).cos();
            assert!((found - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn the_worst_point_of_a_ball() {
        // From the minimum the gradient vanishes; from (0.1, 0) the worst of one step is (0.3, 0), of many near (0.1, 0.2).
        let bowl = Bowl(vec![1.0, 10.0]);
        assert_eq!(sharpness(&bowl, &at(&[0.0, 0.0]), 0.2, 5).unwrap(), 0.0);
        let one = sharpness(&bowl, &at(&[0.1, 1e-4]), 0.2, 1).unwrap();
        let many = sharpness(&bowl, &at(&[0.1, 1e-4]), 0.2, 30).unwrap();
        assert!((one - 0.04).abs() < 1e-3, "{one}");
        assert!(many > 0.19 && many <= 0.2 + 1e-3, "{many}");
    }

    #[test]
    fn the_bound_of_the_paper_is_vacuous_for_networks() {
        let large = pac_bayes_complexity(10.0, 0.05, 1_000_000, 50_000, 0.05);
        assert!((large - 14.56).abs() < 0.01, "{large}");
        let small = pac_bayes_complexity(1.0, 0.05, 100, 50_000, 0.05);
        assert!((small - 0.1275).abs() < 1e-3, "{small}");
    }
}
