//! Federated learning with local drift decoupling and correction.

use lyceum_core::Result;

use crate::{
    Client, LocalProblem, LocalResult, Message, Method, Reply, Server,
    client::State,
    method::{Contents, mean, single},
    server::MODEL,
};

/// Client k keeps its drift h_k and an estimate s_k of its loss's gradient (both 0 at first), and solves
///
/// ```text
/// θ_k ≈ argmin L_k(x) + (α_k/2)‖x − (θ − h_k)‖² + ⟨s/w_k − s_k, x⟩,   α_k = α/w_k
/// h_k ← h_k + θ_k − θ,   s_k ← s_k − s/w_k + (θ − θ_k)/(Kη)
/// ```
///
/// with K local steps of rate η. The server keeps the mean s of w_ks_k and the mean h of h_k over all m clients, active or not:
///
/// ```text
/// s ← s + (1/m) Σ_P w_k·(what s_k became more),   h ← h + (1/m) Σ_P (θ_k − θ),   θ ← (1/|P|) Σ_P θ_k + h
/// ```
///
/// (Gao, Fu, Li, Chen, Xu and Xu, *FedDC: Federated Learning with Non-IID Data via Local Drift Decoupling and Correction*, CVPR 2022; the
/// shares w_k are those of the authors' code.) Twice the bytes of FedAvg go up and down. η is the rate that was used; the authors' code
/// divides by the rate before its decay, and by the steps of the average client.
///
/// Without `by_share` all w_k are 1.
#[derive(Debug, Clone, Copy)]
pub struct FedDc {
    /// α.
    pub(crate) alpha: f64,
    /// w_k is the client's share of examples, relative to the average client's.
    pub(crate) by_share: bool,
}

/// The name of h_k, and of h.
const DRIFT: &str = "drift";
/// The name of s_k, and of s.
const GRADIENT: &str = "gradient";
/// The name of what a client's part of s became more.
const CHANGE: &str = "gradient_change";

impl FedDc {
    fn share(&self, client: Client) -> f64 {
        if self.by_share { client.share } else { 1.0 }
    }
}

impl Method for FedDc {
    fn start(&self, model: Vec<f32>, clients: usize) -> Server {
        let zeros = vec![0.0; model.len()];
        Server::new(model, clients).with_array(DRIFT, zeros.clone()).with_array(GRADIENT, zeros)
    }

    fn broadcast(&self, server: &Server) -> Message {
        let gradient = server.arrays.get(GRADIENT).cloned().unwrap_or_default();
        Message::default().with_array(MODEL, server.model().to_vec()).with_array(GRADIENT, gradient)
    }

    fn problem(&self, state: &State, message: &Message, client: Client) -> Result<LocalProblem> {
        let (start, share) = (message.array(MODEL)?.to_vec(), self.share(client));
        let quadratic = self.alpha / share;
        let (drift, own) = (state.array(DRIFT, start.len()), state.array(GRADIENT, start.len()));
        let linear = message.array(GRADIENT)?.iter().zip(own).zip(drift);
        let linear = linear.map(|((all, own), drift)| (f64::from(*all) / share - f64::from(own) + quadratic * f64::from(drift)) as f32);
        Ok(LocalProblem { statistics: Vec::new(), start, linear: linear.collect(), quadratic, clip_pull: true })
    }

    fn reply(&self, state: &State, message: &Message, result: &LocalResult, client: Client) -> Result<(State, Message)> {
        let (start, all, share) = (message.array(MODEL)?, message.array(GRADIENT)?, self.share(client));
        let (mut drift, mut own) = (state.array(DRIFT, start.len()), state.array(GRADIENT, start.len()));
        let way = result.steps as f64 * result.rate;
        let mut change = Vec::with_capacity(own.len());
        let kept = drift.iter_mut().zip(&mut own);
        for (((drift, own), all), (end, start)) in kept.zip(all).zip(result.parameters.iter().zip(start)) {
            let step = f64::from(*end) - f64::from(*start);
            *drift = (f64::from(*drift) + step) as f32;
            let by = if way > 0.0 { -step / way - f64::from(*all) / share } else { 0.0 };
            let next = (f64::from(*own) + by) as f32;
            change.push(((f64::from(next) - f64::from(*own)) * share) as f32);
            *own = next;
        }
        let message = Message::default().with_array(MODEL, result.parameters.clone()).with_array(CHANGE, change);
        let state = State { arrays: [(DRIFT.to_owned(), drift), (GRADIENT.to_owned(), own)].into() };
        Ok((state, message))
    }

    fn contents(&self) -> Contents {
        Contents { arrays: &[CHANGE], numbers: &[] }
    }

    fn keeps_state(&self) -> bool {
        true
    }

    fn weights_by_examples(&self) -> bool {
        self.by_share
    }

    fn aggregate(&self, server: &Server, replies: &[Reply]) -> Result<Server> {
        let (models, changes) = (mean(replies, MODEL, |_| 1.0)?, mean(replies, CHANGE, |_| 1.0)?);
        let part = replies.len() as f64 / server.clients as f64;
        let (old, mut drift, mut gradient) = (server.model(), server.array(DRIFT)?.to_vec(), server.array(GRADIENT)?.to_vec());
        let mut model = Vec::with_capacity(old.len());
        let kept = drift.iter_mut().zip(&mut gradient);
        for (((drift, gradient), change), (active, old)) in kept.zip(&changes).zip(models.iter().zip(old)) {
            *drift = (f64::from(*drift) + part * (active - f64::from(*old))) as f32;
            *gradient = (f64::from(*gradient) + part * change) as f32;
            model.push(active + f64::from(*drift));
        }
        Ok(server.next(single(&model)).with_array(DRIFT, drift).with_array(GRADIENT, gradient))
    }
}
