//! Normalised averaging.

use lyceum_core::Result;

use crate::{
    Client, LocalResult, Message, Method, Reply, Server,
    client::State,
    method::{Contents, mean, single},
    server::MODEL,
};

/// With τ_k local steps and p_k = n_k/Σ_P n: θ ← θ + (Σ p_kτ_k) Σ p_k(θ_k − θ)/τ_k, so that a client which makes more steps does
/// not count more (Wang, Liu, Liang, Joshi and Poor 2020; plain local SGD).
#[derive(Debug, Clone, Copy)]
pub struct FedNova;

const STEPS: &str = "steps";

impl Method for FedNova {
    fn reply(&self, state: &State, _: &Message, result: &LocalResult, _: Client) -> Result<(State, Message)> {
        let message = Message::default().with_array(MODEL, result.parameters.clone()).with_number(STEPS, result.steps as f64);
        Ok((state.clone(), message))
    }

    fn contents(&self) -> Contents {
        Contents { arrays: &[], numbers: &[(STEPS, 0.0, 1e5)] }
    }

    fn aggregate(&self, server: &Server, replies: &[Reply]) -> Result<Server> {
        let steps = replies.iter().map(|reply| Ok(reply.message.number(STEPS)?.max(1.0))).collect::<Result<Vec<f64>>>()?;
        let total: f64 = replies.iter().map(|reply| reply.client.examples as f64).sum();
        let share = |reply: &Reply| reply.client.examples as f64 / total;
        let effective: f64 = replies.iter().zip(&steps).map(|(reply, steps)| share(reply) * steps).sum();
        // Σ p_k(θ_k − θ)/τ_k = (Σ p_k/τ_k)·(the mean of θ_k with weights p_k/τ_k − θ).
        let weight = |reply: &Reply| share(reply) / reply.message.number(STEPS).unwrap_or(1.0).max(1.0);
        let scale = effective * replies.iter().map(weight).sum::<f64>();
        let models = mean(replies, MODEL, weight)?;
        let model: Vec<f64> =
            server.model().iter().zip(&models).map(|(old, at)| f64::from(*old) + scale * (at - f64::from(*old))).collect();
        Ok(server.next(single(&model)))
    }
}
