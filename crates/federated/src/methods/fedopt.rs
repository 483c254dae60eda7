//! Servers that take the mean of the clients' moves for a gradient.

use lyceum_core::Result;

use crate::{
    Method, Reply, Server,
    method::{AdaptiveConfig, mean, single},
    server::MODEL,
};

/// Δ = Σ n_kθ_k/Σ n_k − θ, m ← β₁m + (1 − β₁)Δ and (Reddi et al. 2021, algorithm 2)
///
/// ```text
/// Adagrad  v ← v + Δ²
/// Adam     v ← β₂v + (1 − β₂)Δ²
/// Yogi     v ← v − (1 − β₂)Δ² sign(v − Δ²)          θ ← θ + η m/(√v + τ)
/// ```
///
/// With momentum alone (Hsu, Qi and Brown 2019) m ← βm + Δ, θ ← θ + ηm. v begins at τ².
#[derive(Debug, Clone, Copy)]
pub struct FedOpt {
    /// η.
    pub(crate) rate: f64,
    /// Which.
    pub(crate) optimizer: ServerOptimizer,
}

/// What is made of the mean move.
#[derive(Debug, Clone, Copy)]
pub enum ServerOptimizer {
    /// With this β.
    Momentum(f64),
    /// FedAdagrad.
    Adagrad(AdaptiveConfig),
    /// FedAdam.
    Adam(AdaptiveConfig),
    /// FedYogi.
    Yogi(AdaptiveConfig),
}

const FIRST: &str = "first_moment";
const SECOND: &str = "second_moment";

impl Method for FedOpt {
    fn start(&self, model: Vec<f32>, clients: usize) -> Server {
        let zeros = vec![0.0; model.len()];
        let server = Server::new(model, clients).with_array(FIRST, zeros.clone());
        match self.optimizer {
            ServerOptimizer::Momentum(_) => server,
            ServerOptimizer::Adagrad(c) | ServerOptimizer::Adam(c) | ServerOptimizer::Yogi(c) => {
                server.with_array(SECOND, vec![c.adaptivity.powi(2) as f32; zeros.len()])
            }
        }
    }

    fn aggregate(&self, server: &Server, replies: &[Reply]) -> Result<Server> {
        let models = mean(replies, MODEL, |reply| reply.client.examples as f64)?;
        let moves: Vec<f64> = models.iter().zip(server.model()).map(|(active, old)| active - f64::from(*old)).collect();
        let mut first = server.array(FIRST)?.to_vec();
        let (keep, take) = match self.optimizer {
            ServerOptimizer::Momentum(beta) => (beta, 1.0),
            ServerOptimizer::Adagrad(c) | ServerOptimizer::Adam(c) | ServerOptimizer::Yogi(c) => (c.beta1, 1.0 - c.beta1),
        };
        first.iter_mut().zip(&moves).for_each(|(m, d)| *m = (keep * f64::from(*m) + take * d) as f32);
        let mut model: Vec<f64> = server.model().iter().map(|x| f64::from(*x)).collect();
        let next = |model: &[f64], first| server.next(single(model)).with_array(FIRST, first);
        let adaptive = match self.optimizer {
            ServerOptimizer::Momentum(_) => {
                model.iter_mut().zip(&first).for_each(|(x, m)| *x += self.rate * f64::from(*m));
                return Ok(next(&model, first));
            }
            ServerOptimizer::Adagrad(c) | ServerOptimizer::Adam(c) | ServerOptimizer::Yogi(c) => c,
        };
        let mut second = server.array(SECOND)?.to_vec();
        for (((v, d), m), x) in second.iter_mut().zip(&moves).zip(&first).zip(&mut model) {
            let (old, square) = (f64::from(*v), d * d);
            *v = match self.optimizer {
                ServerOptimizer::Adam(c) => c.beta2 * old + (1.0 - c.beta2) * square,
                // The sign of 0 is 0.
                ServerOptimizer::Yogi(c) if old != square => old - (1.0 - c.beta2) * square * (old - square).signum(),
                ServerOptimizer::Yogi(_) => old,
                _ => old + square,
            } as f32;
            *x += self.rate * f64::from(*m) / (f64::from(*v).sqrt() + adaptive.adaptivity);
        }
        Ok(next(&model, first).with_array(SECOND, second))
    }
}
