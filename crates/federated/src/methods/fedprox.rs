//! FedProx.

use lyceum_core::Result;

use super::FedAvg;
use crate::{Client, LocalProblem, Message, Method, Reply, Server, client::State, server::MODEL};

/// Clients minimise L_k(x) + (μ/2)‖x − θ‖²; the server averages as [`FedAvg`] does (Li, Sahu, Zaheer, Sanjabi, Talwalkar and Smith
/// 2020).
#[derive(Debug, Clone, Copy)]
pub struct FedProx {
    /// μ.
    pub(crate) mu: f64,
}

impl Method for FedProx {
    fn problem(&self, _: &State, message: &Message, _: Client) -> Result<LocalProblem> {
        Ok(LocalProblem {
            statistics: Vec::new(),
            start: message.array(MODEL)?.to_vec(),
            linear: Vec::new(),
            quadratic: self.mu,
            clip_pull: true,
        })
    }

    fn aggregate(&self, server: &Server, replies: &[Reply]) -> Result<Server> {
        FedAvg.aggregate(server, replies)
    }
}
