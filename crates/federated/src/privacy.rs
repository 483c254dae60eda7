//! Differential privacy towards the clients.

use lyceum_core::{Seed, range};
use rand_distr::{Distribution, StandardNormal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statrs::function::erf::erfc;

use crate::{Reply, server::MODEL};

/// Each client's move is cut to a norm and the sum of the moves gets Gaussian noise (McMahan, Ramage, Talwar and Zhang 2018):
///
/// ```text
/// Δ_k ← (θ_k − θ)·min(1, C/‖θ_k − θ‖₂),   Σ_P Δ_k + N(0, (zC)²I)
/// ```
///
/// What hides is one client with all its examples. The cut move is what the client itself remembers (for FedDyn, in g_k). The server
/// is trusted: it adds the noise. Which clients take part is taken to be public. The noise follows from a seed of its own
/// ([`Rules::noise`](crate::Rules::noise)): whoever has that and a model can take the noise away, so what is told of privacy holds towards
/// those alone who do not have it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Privacy {
    /// C.
    #[serde(with = "range::Positive")]
    pub clip: f64,
    /// z: the noise's deviation over C.
    #[serde(with = "range::Positive")]
    pub noise: f64,
    /// δ, for which [`epsilon`] is given.
    #[serde(default = "delta", with = "range::PositiveFraction")]
    pub delta: f64,
}

fn delta() -> f64 {
    1e-5
}

impl Privacy {
    /// Cuts the move from `start` to `parameters`.
    pub fn clip(&self, parameters: &mut [f32], start: &[f32]) {
        let squares: f64 = parameters.iter().zip(start).map(|(to, from)| (f64::from(*to) - f64::from(*from)).powi(2)).sum();
        let norm = squares.sqrt();
        if norm > self.clip {
            let keep = self.clip / norm;
            parameters
                .iter_mut()
                .zip(start)
                .for_each(|(to, from)| *to = (f64::from(*from) + keep * (f64::from(*to) - f64::from(*from))) as f32);
        }
    }

    /// ε at δ of a client that took part in so many rounds; see [`epsilon`].
    pub fn epsilon(&self, rounds: u64) -> f64 {
        epsilon(self.noise, rounds, self.delta)
    }

    /// Adds the noise of a round to the sum of the models: an equal part of it to each.
    pub fn add_noise(&self, replies: &mut [Reply], seed: Seed, round: u64) {
        let mut rng = seed.stream_at("federated/privacy", round);
        let scale = self.noise * self.clip / replies.len() as f64;
        let d = replies.first().and_then(|reply| reply.message.arrays.get(MODEL)).map_or(0, Vec::len);
        let noise: Vec<f64> = (0..d).map(|_| scale * Distribution::<f64>::sample(&StandardNormal, &mut rng)).collect();
        for model in replies.iter_mut().filter_map(|reply| reply.message.arrays.get_mut(MODEL)) {
            model.iter_mut().zip(&noise).for_each(|(x, noise)| *x = (f64::from(*x) + noise) as f32);
        }
    }
}

/// ε at δ of `rounds` releases with noise z each, without counting on who was drawn remaining secret: together they are one Gaussian
/// mechanism with sensitivity μ = √rounds/z, for which
///
/// ```text
/// δ(ε) = Φ(μ/2 − ε/μ) − e^ε Φ(−μ/2 − ε/μ)
/// ```
///
/// exactly (Balle and Wang 2018, theorem 8; Dong, Roth and Su 2022 on composition).
pub fn epsilon(noise: f64, rounds: u64, delta: f64) -> f64 {
    if rounds == 0 {
        return 0.0;
    }
    let mu = (rounds as f64).sqrt() / noise;
    // In logarithms: e^ε alone would be infinite from ε = 710 on.
    let exceeds = |epsilon: f64| {
        let (first, second) = (log_normal(mu / 2.0 - epsilon / mu), epsilon + log_normal(-mu / 2.0 - epsilon / mu));
        second < first && first + (-(second - first).exp()).ln_1p() > delta.ln()
    };
    let (mut low, mut high) = (0.0, 1.0);
    while exceeds(high) && high < f64::MAX / 2.0 {
        high *= 2.0;
    }
    while low < f64::midpoint(low, high) && f64::midpoint(low, high) < high {
        let middle = f64::midpoint(low, high);
        if exceeds(middle) { low = middle } else { high = middle }
    }
    high
}

/// ln Φ(x), Φ the normal distribution function.
fn log_normal(x: f64) -> f64 {
    if x > -20.0 {
        return (0.5 * erfc(-x / std::f64::consts::SQRT_2)).ln();
    }
    // The asymptotic series; its first term left out is below 1e-10 of the whole.
    let squared = x * x;
    let series = 1.0 - (1.0 - (3.0 - (15.0 - 105.0 / squared) / squared) / squared) / squared;
    -0.5 * squared - (-x).ln() - 0.5 * (2.0 * std::f64::consts::PI).ln() + series.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Client, Message};

    #[test]
    fn moves_are_cut_to_the_norm_and_short_ones_are_not() {
        let privacy = Privacy { clip: 1.0, noise: 1.0, delta: 1e-5 };
        let mut far = vec![4.0, 5.0];
        privacy.clip(&mut far, &[1.0, 1.0]);
        assert!((far[0] - 1.6).abs() < 1e-6 && (far[1] - 1.8).abs() < 1e-6, "{far:?}");
        let mut near = vec![1.5, 1.0];
        privacy.clip(&mut near, &[1.0, 1.0]);
        assert_eq!(near, [1.5, 1.0]);
    }

    #[test]
    fn the_sum_of_the_models_gets_the_noise_once() {
        let privacy = Privacy { clip: 0.5, noise: 2.0, delta: 1e-5 };
        let d = 20_000;
        let client = |id| Client { id, examples: 1, share: 1.0 };
        let mut replies: Vec<Reply> =
            (0..4).map(|id| Reply { client: client(id), message: Message::default().with_array(MODEL, vec![0.0; d]) }).collect();
        privacy.add_noise(&mut replies, Seed::new(1), 3);
        let sums: Vec<f64> = (0..d).map(|i| replies.iter().map(|reply| f64::from(reply.message.arrays[MODEL][i])).sum()).collect();
        let deviation = (sums.iter().map(|x| x * x).sum::<f64>() / d as f64).sqrt();
        // zC = 1; the deviation of 20,000 draws varies by 0.5 %.
        assert!((deviation - 1.0).abs() < 0.02, "{deviation}");
    }

    #[test]
    fn epsilon_agrees_with_googles_accountant() {
        // dp-accounting 0.6, pld_privacy_accountant, GaussianDpEvent(noise) composed `rounds` times.
        for (noise, rounds, delta, expected) in ACCOUNTANT {
            let found = epsilon(noise, rounds, delta);
            assert!((found - expected).abs() < 2e-3 * expected, "{noise} {rounds} {delta}: {found}, {expected}");
        }
        // By the same formula in 60 digits (mpmath).
        for (noise, rounds, delta, expected) in [(0.8, 1_000, 1e-5, 948.887), (0.01, 1, 1e-5, 5_425.514), (1.0, 1, 1e-5, 4.377_18)] {
            let found = epsilon(noise, rounds, delta);
            assert!((found - expected).abs() < 1e-6 * expected + 1e-3, "{noise} {rounds} {delta}: {found}, {expected}");
        }
        assert!(epsilon(1e-6, 1_000, 1e-5) > 1e14);
        assert_eq!(epsilon(1.0, 0, 1e-5), 0.0);
    }

    const ACCOUNTANT: [(f64, u64, f64, f64); 4] =
        [(1.0, 1, 1e-5, 4.377_18), (4.0, 50, 1e-5, 8.595_87), (0.8, 10, 1e-6, 25.947_7), (10.0, 400, 1e-7, 11.907_9)];
}
