//! Federated averaging.

use lyceum_core::Result;

use crate::{
    Method, Reply, Server,
    method::{mean, single},
    server::MODEL,
};

/// θ ← Σ n_kθ_k/Σ n_k over the active clients (McMahan, Moore, Ramage, Hampson and Agüera y Arcas 2017).
#[derive(Debug, Clone, Copy)]
pub struct FedAvg;

impl Method for FedAvg {
    fn aggregate(&self, server: &Server, replies: &[Reply]) -> Result<Server> {
        Ok(server.next(single(&mean(replies, MODEL, |reply| reply.client.examples as f64)?)))
    }
}
