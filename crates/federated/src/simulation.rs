//! All clients in one process.

use lyceum_core::{Array, Error, Result};
use lyceum_train::parallel::one_thread_each;
use serde::{Deserialize, Serialize};

use crate::{
    Client, Journals, LocalTrainer, Reply, Rules,
    journal::Spilled,
    participation::Active,
    round::{Ledger, Round, SavedLedger},
    server::MODEL,
};

/// Rounds of a method with simulated clients: each trains on a thread of its own, several at a time.
pub struct Simulation<'a> {
    /// What both sides go by.
    pub rules: Rules<'a>,
    /// What clients do.
    pub trainer: &'a dyn LocalTrainer,
    /// Who they are.
    pub clients: &'a [Client],
    /// Whether each client's last model is kept with its state, which [`World::all_mean`] needs.
    pub keep_models: bool,
}

/// Everything that a simulation goes on from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct World {
    /// The server's side.
    pub ledger: Ledger,
    /// What each client keeps.
    pub journals: Journals,
}

impl Simulation<'_> {
    /// Before the first round, with this model; journals are in memory unless they are [put elsewhere](Journals::spilling).
    pub fn start(&self, model: Vec<f32>) -> Result<World> {
        Ok(World { ledger: self.rules.start(model, self.clients.len())?, journals: Journals::default() })
    }

    /// One round with the clients that the rules draw. On an error the server is as it was; what clients made of the round may be in
    /// their journals and its bytes may be counted, and a round that is made again puts itself in their place.
    pub fn round(&self, world: &mut World) -> Result<Round> {
        self.round_with(world, &self.rules.active(&world.ledger))
    }

    /// One round with these clients.
    pub fn round_with(&self, world: &mut World, active: &[Active]) -> Result<Round> {
        let number = world.ledger.server.round;
        let message = self.rules.broadcast(&world.ledger.server);
        let work = |active: &Active| {
            let accepted = world.ledger.accepted[active.id];
            let journal = world.journals.read(active.id)?;
            let train = |problem: &_, seed| self.trainer.train(active.id, problem, number, active.part, seed);
            match self.rules.answer(self.clients[active.id], number, &message, accepted, journal, train) {
                Ok(mut answer) => {
                    if let (true, Some((_, state))) = (self.keep_models, &mut answer.journal.pending) {
                        state.arrays.insert(MODEL.into(), std::mem::take(&mut answer.model));
                    }
                    Ok(Ok(answer))
                }
                // A client that fails is left out; the others go on.
                Err(Error::Failed(reason) | Error::Diverged(reason)) => Ok(Err(reason)),
                Err(error) => Err(error),
            }
        };
        let found = one_thread_each(active, work)?;
        let (mut refused, mut replies, mut losses) = (Vec::new(), Vec::new(), Vec::new());
        for (active, outcome) in active.iter().zip(found) {
            world.ledger.traffic.down += message.bytes();
            match outcome {
                Err(reason) => refused.push((active.id, reason)),
                Ok(answer) => {
                    losses.push(answer.loss);
                    world.journals.write(active.id, number, answer.journal);
                    world.ledger.traffic.up += answer.message.bytes();
                    if active.arrives {
                        replies.push(Reply { client: self.clients[active.id], message: answer.message });
                    } else {
                        refused.push((active.id, "its reply was lost".into()));
                    }
                }
            }
        }
        world.journals.make_room()?;
        let mut round = self.rules.conclude(&mut world.ledger, replies)?;
        round.active = active.len();
        round.loss = losses.iter().sum::<f64>() / losses.len().max(1) as f64;
        round.refused.extend(refused);
        round.refused.sort();
        Ok(round)
    }
}

impl World {
    /// The uniform mean of all clients' last models that the server took; of those that it never took one, `initial`. Needs
    /// [`Simulation::keep_models`], and reads the state of every client.
    pub fn all_mean(&self, initial: &[f32]) -> Result<Vec<f32>> {
        let accepted = &self.ledger.accepted;
        let mut sum = vec![0.0_f64; initial.len()];
        for (client, accepted) in accepted.iter().enumerate() {
            let journal = self.journals.read(client)?;
            let model = journal.settled(*accepted)?.arrays.get(MODEL).map_or(initial, Vec::as_slice);
            sum.iter_mut().zip(model).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        Ok(sum.into_iter().map(|sum| (sum / accepted.len() as f64) as f32).collect())
    }

    /// As a checkpoint holds it: numbers, and arrays by name. Journals that are on disk stay there.
    pub fn save(&self) -> (Saved, Vec<Array>) {
        let (ledger, mut arrays) = self.ledger.save();
        let ([spilled, spilled_before], journals) = self.journals.save();
        arrays.extend(journals.into_iter().map(|array| Array { name: format!("{CLIENT}{}", array.name), ..array }));
        (Saved { ledger, spilled, spilled_before }, arrays)
    }

    /// From what [`save`](Self::save) gave; `journals` says where journals are kept.
    pub fn restore(saved: &Saved, arrays: &[Array], journals: Journals) -> Result<Self> {
        let own = |array: &Array| Some(Array { name: array.name.strip_prefix(CLIENT)?.to_owned(), ..array.clone() });
        let clients: Vec<Array> = arrays.iter().filter_map(own).collect();
        let foreign = || Error::Failed("the checkpoint holds an array that is of no client's state".into());
        let spilled = [saved.spilled.clone(), saved.spilled_before.clone()];
        let journals = journals.restore(spilled, &clients).ok_or_else(foreign)?;
        Ok(Self { ledger: Ledger::restore(&saved.ledger, arrays), journals })
    }
}

const CLIENT: &str = "client/";

/// The numbers of a saved [`World`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    ledger: SavedLedger,
    spilled: Spilled,
    #[serde(default)]
    spilled_before: Spilled,
}
