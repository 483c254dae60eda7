//! What makes one method of federated learning differ from another.

use std::fmt::Debug;

use lyceum_core::{Error, Result, range};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Client, LocalProblem, LocalResult, Message, Server,
    client::State,
    methods::{FedAvg, FedDc, FedDyn, FedNova, FedOpt, FedProx, Scaffold, ServerOptimizer},
    server::MODEL,
};

/// A client's answer, as the server gets it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// From whom.
    pub client: Client,
    /// What it sent.
    pub message: Message,
}

/// What a reply must hold for a method to take it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Contents {
    /// Vectors besides the model, as long as the model.
    pub arrays: &'static [&'static str],
    /// Numbers, with the least and the largest that are plausible.
    pub numbers: &'static [(&'static str, f64, f64)],
}

/// The rules of client and server. None of the functions changes anything: they give what comes next.
pub trait Method: Debug + Send + Sync {
    /// The server before its first round, with this model and this many clients.
    fn start(&self, model: Vec<f32>, clients: usize) -> Server {
        Server::new(model, clients)
    }

    /// What goes down to every active client.
    fn broadcast(&self, server: &Server) -> Message {
        Message::default().with_array(MODEL, server.model().to_vec())
    }

    /// What a client solves.
    fn problem(&self, _state: &State, message: &Message, _client: Client) -> Result<LocalProblem> {
        Ok(LocalProblem {
            statistics: Vec::new(),
            start: message.array(MODEL)?.to_vec(),
            linear: Vec::new(),
            quadratic: 0.0,
            clip_pull: true,
        })
    }

    /// What a client keeps and what goes up.
    fn reply(&self, state: &State, _message: &Message, result: &LocalResult, _client: Client) -> Result<(State, Message)> {
        Ok((state.clone(), Message::default().with_array(MODEL, result.parameters.clone())))
    }

    /// What [`reply`](Self::reply) sends besides the model.
    fn contents(&self) -> Contents {
        Contents::default()
    }

    /// Whether a client keeps something from round to round, which must not be lost.
    fn keeps_state(&self) -> bool {
        false
    }

    /// Whether a client must know its share of the examples, [`Client::share`].
    fn weights_by_examples(&self) -> bool {
        false
    }

    /// The server after a round with these replies, of which there is at least one, by rising number of client.
    fn aggregate(&self, server: &Server, replies: &[Reply]) -> Result<Server>;
}

/// Which method.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum MethodConfig {
    /// [`FedAvg`]: the mean of the clients' models, weighted by examples (McMahan et al. 2017).
    #[serde(rename = "fedavg")]
    FedAvg,
    /// [`FedProx`]: local training with a proximal term, (μ/2)‖x − θ‖² (Li et al. 2020).
    #[serde(rename = "fedprox")]
    FedProx {
        /// μ.
        #[serde(default = "prox_strength", with = "range::NonNegative")]
        mu: f64,
    },
    /// [`FedDyn`]: local training with a dynamic regulariser (Acar et al. 2021).
    #[serde(rename = "feddyn")]
    FedDyn {
        /// α.
        #[serde(default = "dyn_strength", with = "range::Positive")]
        alpha: f64,
        /// Whether a client with more data is pulled less: α_k = α/w_k.
        #[serde(default = "yes")]
        by_share: bool,
    },
    /// [`FedDc`]: clients learn how far they drift and correct it (Gao et al. 2022).
    #[serde(rename = "feddc")]
    FedDc {
        /// α.
        #[serde(default = "drift_strength", with = "range::Positive")]
        alpha: f64,
        /// Whether clients count by their data, w_k.
        #[serde(default = "yes")]
        by_share: bool,
    },
    /// [`Scaffold`]: control variates at clients and server (Karimireddy et al. 2020).
    Scaffold {
        /// η_g: the server's step.
        #[serde(default = "one", with = "range::Positive")]
        server_rate: f64,
        /// Whether clients' control variates count by their examples, as in the code of FedDyn's authors.
        #[serde(default)]
        weight_by_examples: bool,
    },
    /// [`FedNova`]: averages normalised by the number of local steps (Wang et al. 2020).
    #[serde(rename = "fednova")]
    FedNova,
    /// [`FedOpt`] with momentum at the server (Hsu et al. 2019).
    #[serde(rename = "fedavgm")]
    FedAvgM {
        /// The server's step.
        #[serde(default = "one", with = "range::Positive")]
        rate: f64,
        /// β.
        #[serde(default = "momentum", with = "range::BelowOne")]
        momentum: f64,
    },
    /// [`FedOpt`] with Adam at the server (Reddi et al. 2021).
    #[serde(rename = "fedadam")]
    FedAdam(AdaptiveConfig),
    /// [`FedOpt`] with Yogi at the server (Reddi et al. 2021).
    #[serde(rename = "fedyogi")]
    FedYogi(AdaptiveConfig),
    /// [`FedOpt`] with Adagrad at the server (Reddi et al. 2021).
    #[serde(rename = "fedadagrad")]
    FedAdagrad(AdaptiveConfig),
}

/// The constants of an adaptive server.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdaptiveConfig {
    /// η.
    #[serde(with = "range::Positive")]
    pub rate: f64,
    /// β₁.
    #[serde(with = "range::BelowOne")]
    pub beta1: f64,
    /// β₂.
    #[serde(with = "range::BelowOne")]
    pub beta2: f64,
    /// τ: how far the server adapts.
    #[serde(with = "range::Positive")]
    pub adaptivity: f64,
}

impl Default for AdaptiveConfig {
    fn default() -> Self {
        Self { rate: 0.01, beta1: 0.9, beta2: 0.99, adaptivity: 1e-3 }
    }
}

fn prox_strength() -> f64 {
    1e-4
}

fn dyn_strength() -> f64 {
    0.01
}

fn drift_strength() -> f64 {
    0.1
}

fn yes() -> bool {
    true
}

fn one() -> f64 {
    1.0
}

fn momentum() -> f64 {
    0.9
}

impl MethodConfig {
    /// The method; a constant out of its range is an error.
    pub fn build(self) -> Result<Box<dyn Method>> {
        range::check(&self)?;
        Ok(match self {
            Self::FedAvg => Box::new(FedAvg),
            Self::FedProx { mu } => Box::new(FedProx { mu }),
            Self::FedDyn { alpha, by_share } => Box::new(FedDyn { alpha, by_share }),
            Self::FedDc { alpha, by_share } => Box::new(FedDc { alpha, by_share }),
            Self::Scaffold { server_rate, weight_by_examples } => Box::new(Scaffold { server_rate, weight_by_examples }),
            Self::FedNova => Box::new(FedNova),
            Self::FedAvgM { rate, momentum } => Box::new(FedOpt { rate, optimizer: ServerOptimizer::Momentum(momentum) }),
            Self::FedAdam(config) => Box::new(FedOpt { rate: config.rate, optimizer: ServerOptimizer::Adam(config) }),
            Self::FedYogi(config) => Box::new(FedOpt { rate: config.rate, optimizer: ServerOptimizer::Yogi(config) }),
            Self::FedAdagrad(config) => Box::new(FedOpt { rate: config.rate, optimizer: ServerOptimizer::Adagrad(config) }),
        })
    }

    /// Whether all that a client sends is its move, weighed as those of the others: what [`Privacy`](crate::Privacy) covers.
    pub fn is_private(self) -> bool {
        !matches!(self, Self::FedDc { .. } | Self::Scaffold { .. } | Self::FedNova)
    }

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::FedAvg => "FedAvg",
            Self::FedProx { .. } => "FedProx",
            Self::FedDyn { .. } => "FedDyn",
            Self::FedDc { .. } => "FedDC",
            Self::Scaffold { .. } => "SCAFFOLD",
            Self::FedNova => "FedNova",
            Self::FedAvgM { .. } => "FedAvgM",
            Self::FedAdam(_) => "FedAdam",
            Self::FedYogi(_) => "FedYogi",
            Self::FedAdagrad(_) => "FedAdagrad",
        }
    }
}

/// Numbers of a mean that a thread adds up at once: they stay in the first-level cache while those of all replies come by.
const PIECE: usize = 1 << 11;

/// Σ weightₖ·(a vector of each reply)/Σ weightₖ, added up in double precision in the order of the replies.
pub(crate) fn mean(replies: &[Reply], name: &str, weight: impl Fn(&Reply) -> f64) -> Result<Vec<f64>> {
    let mut weighted: Vec<(f64, &[f32])> = Vec::with_capacity(replies.len());
    for reply in replies {
        let values = reply.message.array(name)?;
        let len = weighted.first().map_or(values.len(), |(_, first)| first.len());
        if values.len() != len {
            let (found, allowed) = (format!("{} numbers", values.len()), format!("{len}, as the others have"));
            return Err(Error::invalid(format!("`{name}` of client {}", reply.client.id), found, allowed));
        }
        weighted.push((weight(reply), values));
    }
    let total: f64 = weighted.iter().map(|(weight, _)| weight).sum();
    if total.is_nan() || total <= 0.0 {
        return Err(Error::invalid("the replies' weights", total, "a sum > 0"));
    }
    let mut mean = vec![0.0; weighted.first().map_or(0, |(_, first)| first.len())];
    mean.par_chunks_mut(PIECE).enumerate().for_each(|(index, mean)| {
        for (weight, values) in &weighted {
            mean.iter_mut().zip(&values[index * PIECE..]).for_each(|(sum, value)| *sum += weight * f64::from(*value));
        }
        mean.iter_mut().for_each(|sum| *sum /= total);
    });
    Ok(mean)
}

/// In single precision.
pub(crate) fn single(values: &[f64]) -> Vec<f32> {
    values.iter().map(|value| *value as f32).collect()
}
