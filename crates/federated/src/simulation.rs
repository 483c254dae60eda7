//! All clients in one process.

use lyceum_core::{Array, Error, Result, Seed};
use lyceum_train::parallel::one_thread_each;
use serde::{Deserialize, Serialize};

use crate::{Client, Guard, Journal, LocalTrainer, Method, Participation, Reply, Server, client::State, participation::Active};

/// Rounds of a method with simulated clients: each trains on a thread of its own, several at a time.
pub struct Simulation<'a> {
    /// The rules.
    pub method: &'a dyn Method,
    /// What clients do.
    pub trainer: &'a dyn LocalTrainer,
    /// Who they are.
    pub clients: &'a [Client],
    /// Who takes part.
    pub participation: Participation,
    /// What replies are taken.
    pub guard: Guard,
    /// The randomness of participation and local training; methods with the same seed see the same clients and batches.
    pub seed: Seed,
}

/// Everything that a simulation goes on from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct World {
    /// The server.
    pub server: Server,
    /// What each client keeps.
    pub journals: Vec<Journal>,
    /// The round from which the server took each client's reply last.
    pub accepted: Vec<Option<u64>>,
    /// Each client's last model that the server took; empty where nobody asked for them.
    pub last: Vec<Option<Vec<f32>>>,
    /// Bytes so far.
    pub traffic: Traffic,
}

/// Bytes sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// From the server to clients.
    pub down: u64,
    /// From clients to the server, whether taken or not.
    pub up: u64,
}

/// What a round was like.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Round {
    /// Clients that were active.
    pub active: usize,
    /// Clients whose replies were taken.
    pub taken: usize,
    /// Clients whose replies were not, and why.
    pub refused: Vec<(usize, String)>,
    /// The uniform mean of the models that were taken.
    pub active_mean: Vec<f32>,
    /// The mean distance of these models from their mean: how far clients drift apart.
    pub drift: f64,
    /// The mean loss of local training.
    pub loss: f64,
}

impl Simulation<'_> {
    /// Before the first round, with this model; `keep_last` keeps each client's last model.
    pub fn start(&self, model: Vec<f32>, keep_last: bool) -> World {
        let m = self.clients.len();
        World {
            server: self.method.start(model, m),
            journals: vec![Journal::default(); m],
            accepted: vec![None; m],
            last: if keep_last { vec![None; m] } else { Vec::new() },
            traffic: Traffic::default(),
        }
    }

    /// One round. On an error nothing has changed.
    pub fn round(&self, world: &mut World) -> Result<Round> {
        let number = world.server.round;
        let active = self.participation.draw(self.clients.len(), number, self.seed);
        let message = self.method.broadcast(&world.server);
        let work = |active: &Active| {
            let client = self.clients[active.id];
            let state = world.journals[active.id].settled(world.accepted[active.id]);
            let problem = self.method.problem(state, &message, client)?;
            let seed = self.seed.child(&format!("federated/{}/{number}", active.id));
            match self.trainer.train(active.id, &problem, number, active.part, seed) {
                Ok(result) => {
                    let (state, reply) = self.method.reply(state, &message, &result, client)?;
                    Ok((result.loss, Ok((state, reply))))
                }
                // A client that fails is left out; the others go on.
                Err(Error::Failed(reason)) => Ok((f64::NAN, Err(reason))),
                Err(error) => Err(error),
            }
        };
        let found = one_thread_each(&active, work)?;
        let mut round = Round { active: active.len(), ..Round::default() };
        let mut replies = Vec::new();
        let mut loss = (0.0, 0_u32);
        for (active, (client_loss, outcome)) in active.iter().zip(found) {
            world.traffic.down += message.bytes();
            let (state, reply) = match outcome {
                Ok(found) => found,
                Err(reason) => {
                    round.refused.push((active.id, reason));
                    continue;
                }
            };
            loss = (loss.0 + client_loss, loss.1 + 1);
            let journal = &mut world.journals[active.id];
            journal.settle(world.accepted[active.id]);
            journal.pending = Some((number, state));
            world.traffic.up += reply.bytes();
            let reply = Reply { client: self.clients[active.id], message: reply };
            if !active.arrives {
                round.refused.push((active.id, "its reply was lost".into()));
            } else if let Some(reason) = self.guard.refuses(&world.server, &reply) {
                round.refused.push((active.id, reason));
            } else {
                replies.push(reply);
            }
        }
        round.taken = replies.len();
        round.loss = loss.0 / f64::from(loss.1.max(1));
        if replies.is_empty() {
            // The model stays; the round is over all the same.
            world.server.round += 1;
            round.active_mean = world.server.model().to_vec();
            return Ok(round);
        }
        let mean = crate::method::mean(&replies, crate::server::MODEL, |_| 1.0)?;
        round.drift = drift(&replies, &mean)?;
        round.active_mean = crate::method::single(&mean);
        world.server = self.method.aggregate(&world.server, &replies)?;
        for reply in replies {
            world.accepted[reply.client.id] = Some(number);
            if let Some(last) = world.last.get_mut(reply.client.id) {
                *last = reply.message.arrays.get(crate::server::MODEL).cloned();
            }
        }
        Ok(round)
    }
}

/// (1/|P|) Σ ‖θ_k − mean‖₂.
fn drift(replies: &[Reply], mean: &[f64]) -> Result<f64> {
    let mut sum = 0.0;
    for reply in replies {
        let model = reply.message.array(crate::server::MODEL)?;
        sum += model.iter().zip(mean).map(|(x, mean)| (f64::from(*x) - mean).powi(2)).sum::<f64>().sqrt();
    }
    Ok(sum / replies.len() as f64)
}

impl World {
    /// The uniform mean of all clients' last models, those that never took part having `initial`; `None` if they were not kept.
    pub fn all_mean(&self, initial: &[f32]) -> Option<Vec<f32>> {
        let mut sum = vec![0.0_f64; initial.len()];
        if self.last.is_empty() {
            return None;
        }
        for last in &self.last {
            let model = last.as_deref().unwrap_or(initial);
            sum.iter_mut().zip(model).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        Some(sum.into_iter().map(|sum| (sum / self.last.len() as f64) as f32).collect())
    }

    /// As a checkpoint holds it: numbers, and arrays by name.
    pub fn save(&self) -> (Saved, Vec<Array>) {
        let mut arrays = Vec::new();
        let mut put = |name: String, values: &[f32]| arrays.push(Array::new(name, vec![values.len()], values.to_vec()));
        for (name, values) in &self.server.arrays {
            put(format!("server/{name}"), values);
        }
        let mut pending = Vec::new();
        for (id, journal) in self.journals.iter().enumerate() {
            for (name, values) in &journal.committed.arrays {
                put(format!("client/{id}/committed/{name}"), values);
            }
            pending.push(journal.pending.as_ref().map(|(round, _)| *round));
            for (name, values) in journal.pending.iter().flat_map(|(_, state)| &state.arrays) {
                put(format!("client/{id}/pending/{name}"), values);
            }
        }
        for (id, last) in self.last.iter().enumerate() {
            if let Some(last) = last {
                put(format!("client/{id}/last"), last);
            }
        }
        let saved = Saved {
            round: self.server.round,
            clients: self.server.clients,
            pending,
            accepted: self.accepted.clone(),
            keep_last: !self.last.is_empty(),
            traffic: self.traffic,
        };
        (saved, arrays)
    }

    /// From what [`save`](Self::save) gave.
    pub fn restore(saved: &Saved, arrays: &[Array]) -> Result<Self> {
        let m = saved.clients;
        let mut world = Self {
            server: Server { round: saved.round, clients: m, ..Server::default() },
            journals: saved
                .pending
                .iter()
                .map(|round| Journal { committed: State::default(), pending: round.map(|round| (round, State::default())) })
                .collect(),
            accepted: saved.accepted.clone(),
            last: if saved.keep_last { vec![None; m] } else { Vec::new() },
            traffic: saved.traffic,
        };
        let foreign = |name: &str| Error::Failed(format!("the checkpoint's array `{name}` belongs to no client of this run"));
        for array in arrays {
            let parts: Vec<&str> = array.name.split('/').collect();
            let client = || parts.get(1).and_then(|id| id.parse::<usize>().ok()).filter(|id| *id < m).ok_or_else(|| foreign(&array.name));
            match parts.as_slice() {
                ["server", name] => {
                    world.server.arrays.insert((*name).to_owned(), array.values.clone());
                }
                ["client", _, "committed", name] => {
                    world.journals[client()?].committed.arrays.insert((*name).to_owned(), array.values.clone());
                }
                ["client", _, "pending", name] => {
                    if let Some((_, state)) = &mut world.journals[client()?].pending {
                        state.arrays.insert((*name).to_owned(), array.values.clone());
                    }
                }
                ["client", _, "last"] => world.last[client()?] = Some(array.values.clone()),
                _ => return Err(foreign(&array.name)),
            }
        }
        Ok(world)
    }
}

/// The numbers of a saved [`World`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    round: u64,
    clients: usize,
    pending: Vec<Option<u64>>,
    accepted: Vec<Option<u64>>,
    keep_last: bool,
    traffic: Traffic,
}
