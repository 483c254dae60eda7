//! Where an estimator climbs to before it takes the gradient that counts.

use burn::tensor::Tensor;
use lyceum_core::Seed;
use lyceum_kernels::vector;
use lyceum_train::Vector;
use rand_distr::{Distribution, StandardNormal};

/// A step up from the parameters.
pub trait Perturbation: Send {
    /// w + ε̂ for the gradient g at w; w itself where g = 0. `seed` is the step's own randomness.
    fn climb(&self, parameters: &Vector, gradient: &Vector, seed: Seed) -> Vector;
}

/// The first-order maximum of the loss in a ball ‖ε‖_p ≤ ρ (Foret et al. 2021, equation 2):
///
/// ```text
/// ε̂ = ρ · sign(g) |g|^{q−1} / ‖g‖_q^{q−1},  1/p + 1/q = 1
/// p = 2: ρ g/‖g‖₂     p = ∞: ρ sign(g)     p = 1: all of ρ at the largest |gᵢ|, the first of equals
/// ```
///
/// The norm is over all parameters together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ball {
    /// The radius ρ.
    pub(crate) rho: f64,
    /// The order p of the norm, from 1 to infinity.
    pub(crate) p: f64,
}

impl Perturbation for Ball {
    fn climb(&self, parameters: &Vector, gradient: &Vector, _: Seed) -> Vector {
        let Self { rho, p } = *self;
        if p == 2.0 {
            return along(parameters, gradient, rho, vector::norm(gradient));
        }
        if p.is_infinite() {
            return vector::add_scaled(parameters, rho, &gradient.clone().sign());
        }
        let size = gradient.clone().abs();
        let largest = f64::from(size.clone().max().into_scalar::<f32>());
        if largest == 0.0 || !largest.is_finite() {
            return parameters.clone();
        }
        if p == 1.0 {
            let at = size.argmax(0);
            let hit = Tensor::arange(0..gradient.dims()[0] as i64, &gradient.device()).equal(at);
            let direction = gradient.clone().sign().mask_fill(hit.bool_not(), 0.0);
            return vector::add_scaled(parameters, rho, &direction);
        }
        // |g|/max|g| first, so that no power overflows.
        let q = p / (p - 1.0);
        let scaled = size / largest;
        let direction = gradient.clone().sign() * scaled.clone().powf_scalar(q - 1.0);
        let norm_q = vector::dot(&scaled.clone(), &scaled.powf_scalar(q - 1.0)).powf(1.0 / q);
        vector::add_scaled(parameters, rho / norm_q.powf(q - 1.0), &direction)
    }
}

/// Adaptive SAM (Kwon et al. 2021): the ball is stretched by T = |w| + η, ε̂ = ρ T²g/‖Tg‖₂.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adaptive {
    /// The radius ρ of ‖ε/T‖₂; about ten times that of SAM.
    pub(crate) rho: f64,
    /// η.
    pub(crate) eta: f64,
}

impl Perturbation for Adaptive {
    fn climb(&self, parameters: &Vector, gradient: &Vector, _: Seed) -> Vector {
        let stretch = parameters.clone().abs() + self.eta;
        let stretched = gradient.clone() * stretch.clone();
        let norm = vector::norm(&stretched);
        along(parameters, &(stretched * stretch), self.rho, norm)
    }
}

/// The baseline of the paper: a random direction of length ρ instead of the gradient's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Random {
    /// The length ρ.
    pub(crate) rho: f64,
}

impl Perturbation for Random {
    fn climb(&self, parameters: &Vector, _: &Vector, seed: Seed) -> Vector {
        let mut rng = seed.stream("perturbation");
        let values = (0..parameters.dims()[0]).map(|_| StandardNormal.sample(&mut rng)).collect();
        let direction = vector::from_vec(values, &parameters.device());
        let norm = vector::norm(&direction);
        along(parameters, &direction, self.rho, norm)
    }
}

/// w + ρ d/norm, and w where the norm is 0.
fn along(parameters: &Vector, direction: &Vector, rho: f64, norm: f64) -> Vector {
    if norm > 0.0 && norm.is_finite() { vector::add_scaled(parameters, rho / norm, direction) } else { parameters.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector_of(values: &[f32]) -> Vector {
        vector::from_vec(values.to_vec(), &lyceum_train::cpu())
    }

    fn climb(perturbation: impl Perturbation, w: &[f32], g: &[f32]) -> Vec<f64> {
        let to = perturbation.climb(&vector_of(w), &vector_of(g), Seed::new(0));
        vector::to_vec(&to).iter().zip(w).map(|(to, from)| f64::from(to - from)).collect()
    }

    fn close(found: &[f64], expected: &[f64], tolerance: f64) {
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= tolerance), "{found:?} {expected:?}");
    }

    /// Worked by hand: g = (1, 10), ρ = 0.1.
    #[test]
    fn norms_of_every_order() {
        let zero = [0.0, 0.0];
        let ball = |p| climb(Ball { rho: 0.1, p }, &zero, &[1.0, 10.0]);
        close(&ball(2.0), &[0.009_950_37, 0.099_503_72], 1e-8);
        close(&ball(f64::INFINITY), &[0.1, 0.1], 1e-8);
        close(&ball(4.0), &[0.045_892_38, 0.098_872_14], 1e-8);
        close(&ball(1.0), &[0.0, 0.1], 1e-8);
        // Of equals the first; and huge or tiny gradients neither overflow nor vanish.
        close(&climb(Ball { rho: 0.1, p: 1.0 }, &[0.0; 3], &[0.0, -2.0, 2.0]), &[0.0, -0.1, 0.0], 1e-8);
        close(&climb(Ball { rho: 0.1, p: 4.0 }, &zero, &[1e20, 1e21]), &[0.045_892_38, 0.098_872_14], 1e-8);
        close(&climb(Ball { rho: 0.1, p: 2.0 }, &zero, &[1e-20, 1e-19]), &[0.009_950_37, 0.099_503_72], 1e-8);
    }

    #[test]
    fn the_inner_product_is_rho_times_the_dual_norm() {
        let g: Vec<f32> = (0..101).map(|i| (i as f32 * 1.7).sin()).collect();
        for p in [1.0, 1.5, 2.0, 3.0, 8.0, f64::INFINITY] {
            let q = if p == 1.0 {
                f64::INFINITY
            } else if p.is_infinite() {
                1.0
            } else {
                p / (p - 1.0)
            };
            let norm = |values: &[f64], order: f64| {
                let size = values.iter().map(|v| v.abs());
                if order.is_infinite() { size.fold(0.0, f64::max) } else { size.map(|v| v.powf(order)).sum::<f64>().powf(1.0 / order) }
            };
            let e = climb(Ball { rho: 0.3, p }, &vec![0.0; g.len()], &g);
            let g: Vec<f64> = g.iter().map(|&v| f64::from(v)).collect();
            let inner: f64 = e.iter().zip(&g).map(|(a, b)| a * b).sum();
            assert!((norm(&e, p) - 0.3).abs() < 1e-6, "p = {p}");
            assert!((inner - 0.3 * norm(&g, q)).abs() < 1e-5 * norm(&g, q), "p = {p}");
        }
    }

    #[test]
    fn a_zero_gradient_moves_nothing() {
        for p in [1.0, 1.5, 2.0, 4.0, f64::INFINITY] {
            assert_eq!(climb(Ball { rho: 0.1, p }, &[1.0, -2.0], &[0.0, 0.0]), [0.0, 0.0]);
        }
        assert_eq!(climb(Adaptive { rho: 0.5, eta: 0.01 }, &[1.0, -2.0], &[0.0, 0.0]), [0.0, 0.0]);
    }

    /// Worked by hand: w = (1, −2), L = ½(w₁² + 10w₂²), η = 0.01, ρ = 0.5.
    #[test]
    fn asam_stretches_the_ball() {
        let e = climb(Adaptive { rho: 0.5, eta: 0.01 }, &[1.0, -2.0], &[1.0, -20.0]);
        close(&e, &[0.012_683_81, -1.004_682_95], 2e-7);
        let stretched = (e[0] / 1.01).hypot(e[1] / 2.01);
        assert!((stretched - 0.5).abs() < 1e-6);
    }

    #[test]
    fn a_random_direction_has_length_rho_and_follows_the_seed() {
        let at = |seed| Random { rho: 0.2 }.climb(&vector_of(&[0.0; 50]), &vector_of(&[0.0; 50]), Seed::new(seed));
        assert!((vector::norm(&at(1)) - 0.2).abs() < 1e-6);
        assert_eq!(vector::to_vec(&at(1)), vector::to_vec(&at(1)));
        assert_ne!(vector::to_vec(&at(1)), vector::to_vec(&at(2)));
    }
}
