//! Federated learning by dynamic regularisation.

use lyceum_core::Result;

use crate::{
    Client, LocalProblem, LocalResult, Message, Method, Reply, Server,
    client::State,
    method::{mean, single},
    server::MODEL,
};

/// Client k keeps g_k, an estimate of its loss's gradient at its last model (0 at first), and solves
///
/// ```text
/// θ_k ≈ argmin L_k(x) − ⟨g_k, x⟩ + (α/2)‖x − θ‖²,   then   g_k ← g_k − α(θ_k − θ)
/// ```
///
/// The server keeps h = (1/m) Σ g_k over all m clients, active or not, and with P the active ones
///
/// ```text
/// h ← h − (α/m) Σ_P (θ_k − θ),   θ ← (1/|P|) Σ_P θ_k − h/α
/// ```
///
/// (Acar et al., *Federated Learning Based on Dynamic Regularization*, ICLR 2021, algorithm 1.) A model at which all clients stand
/// still is one at which the global loss does. As many bytes go up and down as with FedAvg.
///
/// With `by_share`, as in the authors' code, α_k = α/w_k: then h = (1/m) Σ w_kg_k, and the limit is the optimum of the loss over all
/// examples; otherwise that of the mean of the clients' losses.
#[derive(Debug, Clone, Copy)]
pub struct FedDyn {
    /// α.
    pub(crate) alpha: f64,
    /// α_k = α/w_k.
    pub(crate) by_share: bool,
}

/// The name of g_k, and of h.
const GRADIENT: &str = "gradient";

impl FedDyn {
    fn strength(&self, client: Client) -> f64 {
        if self.by_share { self.alpha / client.share } else { self.alpha }
    }
}

impl Method for FedDyn {
    fn start(&self, model: Vec<f32>, clients: usize) -> Server {
        let zeros = vec![0.0; model.len()];
        Server::new(model, clients).with_array(GRADIENT, zeros)
    }

    fn problem(&self, state: &State, message: &Message, client: Client) -> Result<LocalProblem> {
        let start = message.array(MODEL)?.to_vec();
        let linear = state.array(GRADIENT, start.len()).into_iter().map(|g| -g).collect();
        Ok(LocalProblem { statistics: Vec::new(), start, linear, quadratic: self.strength(client), clip_pull: false })
    }

    fn reply(&self, state: &State, message: &Message, result: &LocalResult, client: Client) -> Result<(State, Message)> {
        let (start, alpha) = (message.array(MODEL)?, self.strength(client));
        let mut g = state.array(GRADIENT, start.len());
        for ((g, end), start) in g.iter_mut().zip(&result.parameters).zip(start) {
            *g = (f64::from(*g) - alpha * (f64::from(*end) - f64::from(*start))) as f32;
        }
        Ok((State::of(GRADIENT, g), Message::default().with_array(MODEL, result.parameters.clone())))
    }

    fn keeps_state(&self) -> bool {
        true
    }

    fn weights_by_examples(&self) -> bool {
        self.by_share
    }

    fn aggregate(&self, server: &Server, replies: &[Reply]) -> Result<Server> {
        let models = mean(replies, MODEL, |_| 1.0)?;
        let part = replies.len() as f64 / server.clients as f64;
        let (old, mut h) = (server.model(), server.array(GRADIENT)?.to_vec());
        let mut model = Vec::with_capacity(old.len());
        for ((h, old), active) in h.iter_mut().zip(old).zip(&models) {
            // h is what is kept; the correction uses it as it is kept.
            *h = (f64::from(*h) - self.alpha * part * (active - f64::from(*old))) as f32;
            model.push(active - f64::from(*h) / self.alpha);
        }
        Ok(server.next(single(&model)).with_array(GRADIENT, h))
    }
}
