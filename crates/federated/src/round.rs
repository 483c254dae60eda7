//! The two halves of a round, a client's and the server's, wherever they run.

use std::path::Path;

use lyceum_core::{Array, Error, Result, Seed, array, atomic, memory, range, vectorize};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    Client, Guard, Journal, LocalProblem, LocalResult, Message, Method, Participation, Privacy, Reply, Server,
    client::State,
    method::{self, single},
    participation::Active,
    server::{MODEL, STATISTICS},
};

/// What both sides go by.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The method.
    pub method: &'a dyn Method,
    /// Who takes part.
    pub participation: Participation,
    /// What replies are taken.
    pub guard: Guard,
    /// Clipping and noise, if the result is to be differentially private towards the clients.
    pub privacy: Option<Privacy>,
    /// The randomness of participation and local training; methods with the same seed see the same clients and batches.
    pub seed: Seed,
    /// The randomness of the noise of [`privacy`](Self::privacy), which only the server looks at: towards whoever has it there is no privacy.
    pub noise: Seed,
}

/// The server, and what it knows of its clients.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ledger {
    /// The server.
    pub server: Server,
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
    pub taken: Vec<usize>,
    /// Clients whose replies were not, and why.
    pub refused: Vec<(usize, String)>,
    /// The uniform mean of the models that were taken.
    pub active_mean: Vec<f32>,
    /// The mean distance of these models from their mean: how far clients drift apart.
    pub drift: f64,
    /// The mean loss of local training.
    pub loss: f64,
}

/// What a client makes of a round.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What it keeps; nothing may be sent before this is kept.
    pub journal: Journal,
    /// What goes up.
    pub message: Message,
    /// θ_k.
    pub model: Vec<f32>,
    /// The mean loss of its training.
    pub loss: f64,
}

impl<'a> Rules<'a> {
    /// All clients in every round, any finite reply, no noise (and if there is to be some, from the same seed).
    pub fn new(method: &'a dyn Method, seed: Seed) -> Self {
        Self { method, participation: Participation::default(), guard: Guard::default(), privacy: None, seed, noise: seed }
    }

    /// Before the first round, with this model and so many clients.
    ///
    /// # Errors
    ///
    /// Constants out of range, and more clients than memory can hold a line for.
    pub fn start(&self, model: Vec<f32>, clients: usize) -> Result<Ledger> {
        // Which round was taken last, and how many were: six numbers of four bytes.
        memory::check("clients", &[clients, 6])?;
        range::check(&self.participation)?;
        range::check(&self.guard)?;
        self.privacy.iter().try_for_each(range::check)?;
        let server = self.method.start(model, clients);
        Ok(Ledger { server, accepted: vec![None; clients], taken: vec![0; clients], traffic: Traffic::default() })
    }

    /// What goes down to every active client: what the method sends, and the running statistics where there are any.
    pub fn broadcast(&self, server: &Server) -> Message {
        let message = self.method.broadcast(server);
        if server.statistics().is_empty() { message } else { message.with_array(STATISTICS, server.statistics().to_vec()) }
    }

    /// Statistics are averaged as they are.
    fn check_privacy(&self, statistics: &[f32]) -> Result<()> {
        if self.privacy.is_some() && !statistics.is_empty() {
            return Err(Error::invalid("privacy", "a network with running statistics, which are sent as they are", "others"));
        }
        Ok(())
    }

    /// Who takes part in the next round.
    pub fn active(&self, ledger: &Ledger) -> Vec<Active> {
        self.participation.draw(ledger.accepted.len(), ledger.server.round, self.seed)
    }

    /// A client's half of a round: `accepted` is the last round from which the server took its reply; `train` solves the problem
    /// with the randomness that belongs to this client in this round.
    pub fn answer(
        &self,
        client: Client,
        round: u64,
        message: &Message,
        accepted: Option<u64>,
        mut journal: Journal,
        train: impl FnOnce(&LocalProblem, Seed) -> Result<LocalResult>,
    ) -> Result<Answer> {
        if client.examples == 0 {
            return Err(Error::Failed("it has no examples".into()));
        }
        let before = if self.method.keeps_state() { journal.settled(accepted)?.clone() } else { State::default() };
        let statistics = message.arrays.get(STATISTICS).cloned().unwrap_or_default();
        self.check_privacy(&statistics)?;
        let problem = LocalProblem { statistics, ..self.method.problem(&before, message, client)? };
        let mut result = train(&problem, self.seed.child(&format!("federated/{}/{round}", client.id)))?;
        if let Some(privacy) = &self.privacy {
            privacy.clip(&mut result.parameters, &problem.start);
        }
        let (state, mut reply) = self.method.reply(&before, message, &result, client)?;
        if !problem.statistics.is_empty() {
            reply = reply.with_array(STATISTICS, result.statistics);
        }
        journal.record(accepted, round, state);
        Ok(Answer { journal, message: reply, model: result.parameters, loss: result.loss })
    }

    /// The server's half: takes the replies that pass, by rising number of client, and moves on to the next round. Without any, or if
    /// what they add up to is not plausible, the model stays as it is. On an error nothing has changed.
    pub fn conclude(&self, ledger: &mut Ledger, replies: Vec<Reply>) -> Result<Round> {
        self.check_privacy(ledger.server.statistics())?;
        let mut round = Round::default();
        let mut taken: Vec<Reply> = Vec::new();
        let reasons: Vec<Option<String>> = replies.par_iter().map(|reply| self.guard.refuses(self.method, &ledger.server, reply)).collect();
        for (mut reply, reason) in replies.into_iter().zip(reasons) {
            let stranger = || format!("there are {} clients", ledger.accepted.len());
            if let Some(reason) = reason.or_else(|| (reply.client.id >= ledger.accepted.len()).then(stranger)) {
                round.refused.push((reply.client.id, reason));
                continue;
            }
            // Taken twice, a client would count twice in the mean and once in h.
            if taken.iter().any(|other| other.client.id == reply.client.id) {
                round.refused.push((reply.client.id, "a second reply in the same round".into()));
                continue;
            }
            if self.privacy.is_some() {
                // All count alike: a client's number of examples must not make its move weigh more.
                reply.client.examples = 1;
            }
            taken.push(reply);
        }
        taken.sort_by_key(|reply| reply.client.id);
        if taken.is_empty() {
            round.active_mean = ledger.server.model().to_vec();
            ledger.server.round += 1;
            return Ok(round);
        }
        let number = ledger.server.round;
        if let Some(privacy) = &self.privacy {
            privacy.add_noise(&mut taken, self.noise, number);
        }
        let mean = method::mean(&taken, MODEL, |_| 1.0)?;
        round.drift = drift(&taken, &mean)?;
        round.active_mean = single(&mean);
        let mut next = self.method.aggregate(&ledger.server, &taken)?;
        if !ledger.server.statistics().is_empty() {
            // Whatever the method does with moves, statistics are those of the examples that were seen.
            let statistics = method::mean(&taken, STATISTICS, |reply| reply.client.examples as f64)?;
            next = next.with_array(STATISTICS, single(&statistics));
        }
        if let Some(reason) = self.guard.refuses_server(&ledger.server, &next) {
            round.refused.extend(taken.iter().map(|reply| (reply.client.id, reason.clone())));
            round.active_mean = ledger.server.model().to_vec();
            round.drift = 0.0;
            ledger.server.round += 1;
            return Ok(round);
        }
        ledger.server = next;
        round.taken = taken.iter().map(|reply| reply.client.id).collect();
        for &client in &round.taken {
            ledger.accepted[client] = Some(number);
            ledger.taken[client] += 1;
        }
        Ok(round)
    }
}

/// (1/|P|) Σ ‖θ_k − mean‖₂.
fn drift(replies: &[Reply], mean: &[f64]) -> Result<f64> {
    let distance = |reply: &Reply| Ok(squared_distance(reply.message.array(MODEL)?, mean).sqrt());
    let distances: Vec<f64> = replies.par_iter().map(distance).collect::<Result<_>>()?;
    Ok(distances.iter().sum::<f64>() / replies.len() as f64)
}

vectorize! {
    /// ‖x − mean‖², by sixteen running sums, so that the additions do not wait for one another.
    fn squared_distance(x: &[f32], mean: &[f64]) -> f64 {
        let ((whole_x, rest_x), (whole_mean, rest_mean)) = (x.as_chunks::<16>(), mean.as_chunks::<16>());
        let mut sums = [0.0_f64; 16];
        for (x, mean) in whole_x.iter().zip(whole_mean) {
            sums.iter_mut().zip(x.iter().zip(mean)).for_each(|(sum, (x, mean))| *sum += (f64::from(*x) - mean).powi(2));
        }
        let rest: f64 = rest_x.iter().zip(rest_mean).map(|(x, mean)| (f64::from(*x) - mean).powi(2)).sum();
        sums.iter().sum::<f64>() + rest
    }
}

const SERVER: &str = "server/";

impl Ledger {
    /// Of a model with these running statistics, if there are any: they go down with it, and what clients send back is averaged,
    /// weighted by examples.
    pub fn with_statistics(mut self, statistics: Vec<f32>) -> Self {
        if !statistics.is_empty() {
            self.server = self.server.with_array(STATISTICS, statistics);
        }
        self
    }

    /// As a checkpoint holds it: numbers, and arrays by names that begin with `server/`.
    pub fn save(&self) -> (SavedLedger, Vec<Array>) {
        let array = |(name, values): (&String, &Vec<f32>)| Array::new(format!("{SERVER}{name}"), vec![values.len()], values.clone());
        let saved =
            SavedLedger { round: self.server.round, accepted: self.accepted.clone(), taken: self.taken.clone(), traffic: self.traffic };
        (saved, self.server.arrays.iter().map(array).collect())
    }

    /// From what [`save`](Self::save) gave; arrays with other names are not looked at.
    pub fn restore(saved: &SavedLedger, arrays: &[Array]) -> Self {
        let own = |array: &Array| Some((array.name.strip_prefix(SERVER)?.to_owned(), array.values.clone()));
        let arrays = arrays.iter().filter_map(own).collect();
        let server = Server { round: saved.round, clients: saved.accepted.len(), arrays };
        Self { server, accepted: saved.accepted.clone(), taken: saved.taken.clone(), traffic: saved.traffic }
    }

    /// Writes it to a file with a note of the caller's, whole or not at all, and waits until it is on the disk.
    pub fn write(&self, path: &Path, note: &str) -> Result<()> {
        let (ledger, arrays) = self.save();
        let note = serde_json::to_string(&Noted { ledger, note: note.into() }).map_err(|error| Error::Failed(error.to_string()))?;
        atomic::write(path, &array::encode_sealed(&arrays, &note)?)
    }

    /// Reads what [`write`](Self::write) wrote, with the note; `None` if there is no such file.
    pub fn read(path: &Path) -> Result<Option<(Self, String)>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        let (arrays, noted) = array::decode_sealed(path, &bytes)?;
        let Noted { ledger, note } = serde_json::from_str(&noted).map_err(|error| Error::damaged(path, error.to_string()))?;
        Ok(Some((Self::restore(&ledger, &arrays), note)))
    }
}

#[derive(Serialize, Deserialize)]
struct Noted {
    ledger: SavedLedger,
    note: String,
}

/// The numbers of a saved [`Ledger`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SavedLedger {
    round: u64,
    accepted: Vec<Option<u64>>,
    taken: Vec<u64>,
    traffic: Traffic,
}
