//! All clients in one process.

use std::collections::BTreeMap;

use lyceum_core::{Array, Error, Result, Seed};
use lyceum_train::parallel::one_thread_each;
use serde::{Deserialize, Serialize};

use crate::{
    Client, Guard, Journals, LocalTrainer, Method, Participation, Privacy, Reply, Server, participation::Active, server::MODEL,
};

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
    /// Clipping and noise, if the result is to be differentially private towards the clients.
    pub privacy: Option<Privacy>,
    /// Whether each client's last model is kept with its state, which [`World::all_mean`] needs.
    pub keep_models: bool,
    /// The randomness of participation and local training; methods with the same seed see the same clients and batches.
    pub seed: Seed,
}

/// Everything that a simulation goes on from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct World {
    /// The server.
    pub server: Server,
    /// What each client keeps.
    pub journals: Journals,
    /// The round from which the server took each client's reply last.
    pub accepted: Vec<Option<u64>>,
    /// How many of its replies the server took.
    pub taken: Vec<u64>,
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

impl<'a> Simulation<'a> {
    /// All clients in every round, no limits, no noise.
    pub fn new(method: &'a dyn Method, trainer: &'a dyn LocalTrainer, clients: &'a [Client], seed: Seed) -> Self {
        let (participation, guard) = (Participation::default(), Guard::default());
        Self { method, trainer, clients, participation, guard, privacy: None, keep_models: false, seed }
    }

    /// Before the first round, with this model, in memory; see [`Journals::spilling`] for another place.
    pub fn start(&self, model: Vec<f32>) -> World {
        let m = self.clients.len();
        World { server: self.method.start(model, m), accepted: vec![None; m], taken: vec![0; m], ..World::default() }
    }

    /// One round. On an error nothing has changed.
    pub fn round(&self, world: &mut World) -> Result<Round> {
        let number = world.server.round;
        let active = self.participation.draw(self.clients.len(), number, self.seed);
        let message = self.method.broadcast(&world.server);
        let work = |active: &Active| {
            let client = self.clients[active.id];
            let accepted = world.accepted[active.id];
            let mut journal = world.journals.read(active.id)?;
            let problem = self.method.problem(journal.settled(accepted), &message, client)?;
            match self.trainer.train(active.id, &problem, number, active.part, local_seed(self.seed, active.id, number)) {
                Ok(mut result) => {
                    if let Some(privacy) = &self.privacy {
                        privacy.clip(&mut result.parameters, &problem.start);
                    }
                    let (mut state, reply) = self.method.reply(journal.settled(accepted), &message, &result, client)?;
                    if self.keep_models {
                        state.arrays.insert(MODEL.into(), result.parameters);
                    }
                    journal.record(accepted, number, state);
                    Ok((result.loss, Ok((journal, reply))))
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
            let (journal, reply) = match outcome {
                Ok(found) => found,
                Err(reason) => {
                    round.refused.push((active.id, reason));
                    continue;
                }
            };
            loss = (loss.0 + client_loss, loss.1 + 1);
            world.journals.write(active.id, number, journal);
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
        world.journals.make_room()?;
        round.taken = replies.len();
        round.loss = loss.0 / f64::from(loss.1.max(1));
        if replies.is_empty() {
            // The model stays; the round is over all the same.
            world.server.round += 1;
            round.active_mean = world.server.model().to_vec();
            return Ok(round);
        }
        if let Some(privacy) = &self.privacy {
            privacy.add_noise(&mut replies, self.seed, number);
        }
        let mean = crate::method::mean(&replies, MODEL, |_| 1.0)?;
        round.drift = drift(&replies, &mean)?;
        round.active_mean = crate::method::single(&mean);
        world.server = self.method.aggregate(&world.server, &replies)?;
        for reply in replies {
            world.accepted[reply.client.id] = Some(number);
            world.taken[reply.client.id] += 1;
        }
        Ok(round)
    }
}

/// The randomness of a client's training in a round, for everybody who wants the same as a simulation with this seed.
pub fn local_seed(seed: Seed, client: usize, round: u64) -> Seed {
    seed.child(&format!("federated/{client}/{round}"))
}

/// (1/|P|) Σ ‖θ_k − mean‖₂.
fn drift(replies: &[Reply], mean: &[f64]) -> Result<f64> {
    let mut sum = 0.0;
    for reply in replies {
        let model = reply.message.array(MODEL)?;
        sum += model.iter().zip(mean).map(|(x, mean)| (f64::from(*x) - mean).powi(2)).sum::<f64>().sqrt();
    }
    Ok(sum / replies.len() as f64)
}

impl World {
    /// The uniform mean of all clients' last models that the server took; of those that it never took one, `initial`. Needs
    /// [`Simulation::keep_models`], and reads the state of every client.
    pub fn all_mean(&self, initial: &[f32]) -> Result<Vec<f32>> {
        let mut sum = vec![0.0_f64; initial.len()];
        for (client, accepted) in self.accepted.iter().enumerate() {
            let journal = self.journals.read(client)?;
            let model = journal.settled(*accepted).arrays.get(MODEL).map_or(initial, Vec::as_slice);
            sum.iter_mut().zip(model).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        Ok(sum.into_iter().map(|sum| (sum / self.accepted.len() as f64) as f32).collect())
    }

    /// As a checkpoint holds it: numbers, and arrays by name. Journals that are on disk stay there.
    pub fn save(&self) -> (Saved, Vec<Array>) {
        let (spilled, journals) = self.journals.save();
        let named = |prefix: &str, array: Array| Array { name: format!("{prefix}/{}", array.name), ..array };
        let server = self.server.arrays.iter().map(|(name, values)| Array::new(name, vec![values.len()], values.clone()));
        let arrays = server.map(|array| named(SERVER, array)).chain(journals.into_iter().map(|array| named(CLIENT, array))).collect();
        let saved = Saved {
            round: self.server.round,
            spilled,
            accepted: self.accepted.clone(),
            taken: self.taken.clone(),
            traffic: self.traffic,
        };
        (saved, arrays)
    }

    /// From what [`save`](Self::save) gave; `journals` says where journals are kept.
    pub fn restore(saved: &Saved, arrays: &[Array], journals: Journals) -> Result<Self> {
        let mut server = Server { round: saved.round, clients: saved.accepted.len(), ..Server::default() };
        let mut rest = Vec::new();
        for array in arrays {
            match array.name.split_once('/') {
                Some((SERVER, name)) => drop(server.arrays.insert(name.into(), array.values.clone())),
                Some((CLIENT, name)) => rest.push(Array { name: name.into(), ..array.clone() }),
                _ => return Err(Error::Failed(format!("the checkpoint's array `{}` belongs to nobody", array.name))),
            }
        }
        let foreign = || Error::Failed("the checkpoint's arrays belong to no client of this run".into());
        let journals = journals.restore(&saved.spilled, &rest).ok_or_else(foreign)?;
        Ok(Self { server, journals, accepted: saved.accepted.clone(), taken: saved.taken.clone(), traffic: saved.traffic })
    }
}

const SERVER: &str = "server";
const CLIENT: &str = "client";

/// The numbers of a saved [`World`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    round: u64,
    spilled: BTreeMap<usize, u64>,
    accepted: Vec<Option<u64>>,
    taken: Vec<u64>,
    traffic: Traffic,
}
