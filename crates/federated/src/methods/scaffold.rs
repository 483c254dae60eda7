//! SCAFFOLD.

use lyceum_core::Result;

use crate::{
    Client, LocalProblem, LocalResult, Message, Method, Reply, Server,
    client::State,
    method::{Contents, mean, single},
    server::MODEL,
};

/// Client and server keep control variates c_k and c; with K local steps of rate η,
///
/// ```text
/// x ← x − η(∇L_k(x) − c_k + c),   c_k⁺ = c_k − c + (θ − θ_k)/(Kη)
/// c ← c + (1/m) Σ_P (c_k⁺ − c_k),   θ ← (1 − η_g)θ + η_g·mean_P θ_k
/// ```
///
/// (Karimireddy, Kale, Mohri, Reddi, Stich and Suresh 2020, option II.) Twice the bytes of FedAvg go up and down. η is the rate
/// that was used; the code of FedDyn's authors divides by the rate before its decay.
///
/// With `weight_by_examples`, as in their code, a client's step uses c/w_k, w_k its share of examples relative to the average
/// client's, and its change counts w_k times: c ← c + (1/m) Σ_P w_k(c_k⁺ − c_k). Then the limit is the optimum of the loss over
/// all examples instead of that of the mean of the clients' losses. With very unequal shares it diverges earlier.
#[derive(Debug, Clone, Copy)]
pub struct Scaffold {
    /// η_g.
    pub(crate) server_rate: f64,
    /// Whether clients count by their data, w_k.
    pub(crate) weight_by_examples: bool,
}

impl Scaffold {
    fn share(&self, client: Client) -> f64 {
        if self.weight_by_examples { client.share } else { 1.0 }
    }
}

const CONTROL: &str = "control";
const CHANGE: &str = "control_change";

impl Method for Scaffold {
    fn start(&self, model: Vec<f32>, clients: usize) -> Server {
        let zeros = vec![0.0; model.len()];
        Server::new(model, clients).with_array(CONTROL, zeros)
    }

    fn broadcast(&self, server: &Server) -> Message {
        let control = server.arrays.get(CONTROL).cloned().unwrap_or_default();
        Message::default().with_array(MODEL, server.model().to_vec()).with_array(CONTROL, control)
    }

    fn problem(&self, state: &State, message: &Message, client: Client) -> Result<LocalProblem> {
        let (start, share) = (message.array(MODEL)?.to_vec(), self.share(client) as f32);
        let own = state.array(CONTROL, start.len());
        let linear = message.array(CONTROL)?.iter().zip(own).map(|(all, own)| all / share - own).collect();
        Ok(LocalProblem { statistics: Vec::new(), start, linear, quadratic: 0.0, clip_pull: true })
    }

    fn reply(&self, state: &State, message: &Message, result: &LocalResult, client: Client) -> Result<(State, Message)> {
        let share = self.share(client) as f32;
        let (start, control) = (message.array(MODEL)?, message.array(CONTROL)?);
        let mut own = state.array(CONTROL, start.len());
        let way = result.steps as f64 * result.rate;
        let mut change = Vec::with_capacity(own.len());
        for (((own, control), start), end) in own.iter_mut().zip(control).zip(start).zip(&result.parameters) {
            let by = if way > 0.0 { (f64::from(*start) - f64::from(*end)) / way - f64::from(*control) } else { 0.0 };
            let next = (f64::from(*own) + by) as f32;
            change.push((next - *own) * share);
            *own = next;
        }
        let message = Message::default().with_array(MODEL, result.parameters.clone()).with_array(CHANGE, change);
        Ok((State::of(CONTROL, own), message))
    }

    fn contents(&self) -> Contents {
        Contents { arrays: &[CHANGE], numbers: &[] }
    }

    fn keeps_state(&self) -> bool {
        true
    }

    fn weights_by_examples(&self) -> bool {
        self.weight_by_examples
    }

    fn aggregate(&self, server: &Server, replies: &[Reply]) -> Result<Server> {
        let (models, changes) = (mean(replies, MODEL, |_| 1.0)?, mean(replies, CHANGE, |_| 1.0)?);
        let part = replies.len() as f64 / server.clients as f64;
        let control: Vec<f32> =
            server.array(CONTROL)?.iter().zip(&changes).map(|(control, change)| (f64::from(*control) + part * change) as f32).collect();
        let model: Vec<f64> = server
            .model()
            .iter()
            .zip(&models)
            .map(|(old, active)| f64::from(*old) + self.server_rate * (active - f64::from(*old)))
            .collect();
        Ok(server.next(single(&model)).with_array(CONTROL, control))
    }
}
