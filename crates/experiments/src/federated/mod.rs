//! The experiment `federated`: methods of federated learning on the same clients. It joins `lyceum-federated` and
//! `lyceum-optim`.

mod clients;
mod outcome;

use lyceum_core::{
    Error, Experiment, Result, Run, Seed, Summary, Violation, range,
    run::{Cadence, Input, check_names},
};
use lyceum_data::{Cache, Characters, SyntheticLogistic, prepare::DataConfig};
use lyceum_federated::{
    Client, Guard, Journals, LocalConfig, MethodConfig, NetworkTrainer, Participation, Privacy, Rules, Simulation,
    simulation::{Saved, World},
};
use lyceum_optim::EstimatorConfig;
use lyceum_train::{DeviceName, Evaluation, ModelConfig, evaluate, onnx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use clients::{ClientsConfig, Federation, Split};

/// Learns one model over many clients with each method.
#[derive(Debug, Clone, Copy)]
pub struct Federated;

/// The recipe.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Rounds of communication.
    #[serde(with = "range::AtLeastOne")]
    rounds: usize,
    /// Rounds between two evaluations.
    #[serde(default = "one", with = "range::AtLeastOne")]
    evaluate_every: usize,
    /// Test accuracies: the report says after how many rounds and bytes each was reached.
    #[serde(default = "targets", with = "range::Fractions")]
    targets: Vec<f64>,
    /// Whether an arm ends with the round in which it has reached all targets.
    #[serde(default)]
    stop_at_targets: bool,
    /// Whether the mean of all clients' last models is evaluated too. A simulation alone can do it.
    #[serde(default = "yes")]
    evaluate_all: bool,
    /// Least time between two checkpoints, in seconds; more where writing one takes long. 0 saves after every round.
    #[serde(default = "checkpoint_seconds", with = "range::NonNegative")]
    checkpoint_seconds: f64,
    #[serde(default)]
    device: DeviceName,
    /// Beyond so many megabytes the states of clients are kept on disk; absent: all in memory.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "range::OptionalPositive")]
    state_memory_mb: Option<f64>,
    /// Examples that are spread over clients by `clients`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<DataConfig>,
    /// Or examples made up for clients that differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    synthetic: Option<SyntheticLogistic>,
    /// Or text of many speakers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    characters: Option<Characters>,
    /// Mean and standard deviation that inputs are brought to 0 and 1 from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    normalization: Option<[f64; 2]>,
    model: ModelConfig,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    clients: Option<ClientsConfig>,
    #[serde(default)]
    participation: Participation,
    #[serde(default)]
    local: LocalConfig,
    /// How clients estimate gradients.
    #[serde(default)]
    estimator: EstimatorConfig,
    #[serde(default)]
    guard: Guard,
    /// Clipping and noise, for differential privacy towards the clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    privacy: Option<Privacy>,
    /// What is compared.
    arm: Vec<Arm>,
}

/// One method.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arm {
    /// Its name; that of the method if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    method: MethodConfig,
    /// A learning rate of its own.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "range::OptionalPositive")]
    learning_rate: Option<f64>,
    /// Whether one client has all examples and is always active: what training without clients comes to.
    #[serde(default)]
    centralised: bool,
}

fn one() -> usize {
    1
}

fn targets() -> Vec<f64> {
    vec![0.9, 0.95, 0.97, 0.98]
}

fn yes() -> bool {
    true
}

fn checkpoint_seconds() -> f64 {
    20.0
}

impl Arm {
    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| self.method.name())
    }
}

/// Accuracies after a round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Point {
    round: u64,
    /// Bytes up and down so far.
    bytes: u64,
    /// Of θ, from which the next round starts.
    server: f64,
    /// The test log-loss of θ.
    loss: f64,
    /// Of the mean of the models that were just sent.
    active: f64,
    /// Of the mean of every client's last model.
    all: Option<f64>,
    /// The mean distance of the models that were sent from their mean.
    drift: f64,
}

/// What an arm has come to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Progress {
    world: Saved,
    points: Vec<Point>,
    /// Replies that were not taken, and the first of them with reasons.
    refused: u64,
    reasons: Vec<String>,
    /// The test accuracy of θ on the classes of each client, weighted as the client has them.
    fairness: Vec<f64>,
    /// ε that the clients have, with privacy.
    epsilon: Option<f64>,
}

/// How many reasons a report tells.
const REASONS: usize = 10;

impl Experiment for Federated {
    type Config = Config;

    fn name(&self) -> &'static str {
        "federated"
    }

    fn about(&self) -> &'static str {
        "one model over many clients by FedDyn and its baselines: rounds and bytes to an accuracy, drift, fairness"
    }

    fn check(&self, config: &Config) -> Result<(), Violation> {
        config.check_source()?;
        if let Some(data) = &config.data {
            data.check("data")?;
            config.model.check_data(data)?;
        }
        let wrong = |key: &str, message: String| Err(Violation::new(key, message));
        if config.arm.is_empty() {
            return wrong("arm", "found none; allowed: at least one".into());
        }
        check_names("arm", config.arm.iter().map(|arm| arm.name()))?;
        if let Some(ClientsConfig { split: Split::Shards(_), size_deviation, .. }) = config.clients
            && size_deviation > 0.0
        {
            return wrong("clients.size_deviation", "found together with shards, which are of equal size; allowed: 0".into());
        }
        if let Some([mean, deviation]) = config.normalization
            && !(mean.is_finite() && deviation > 0.0 && deviation.is_finite())
        {
            return wrong("normalization", format!("found [{mean}, {deviation}]; allowed: a finite mean and a deviation > 0"));
        }
        if config.normalization.is_some() && config.data.as_ref().is_some_and(|data| data.standardize) {
            return wrong("normalization", "found with data.standardize; allowed: one of them".into());
        }
        if config.normalization.is_some() && config.data.as_ref().is_some_and(DataConfig::is_text) {
            return wrong("normalization", "found with texts, whose numbers are symbols; allowed: none".into());
        }
        let texts = config.data.as_ref().is_some_and(DataConfig::is_text);
        if let (ModelConfig::Lstm { .. } | ModelConfig::Bert { .. }, None, false) = (&config.model, &config.characters, texts) {
            return wrong("model", "found a network for symbols without `characters` or texts; allowed: another".into());
        }
        if config.privacy.is_some()
            && let Some(arm) = config.arm.iter().find(|arm| !arm.method.is_private())
        {
            let message = format!("`{}` sends more than a move of bounded norm; allowed with `privacy`: methods that do not", arm.name());
            return wrong("privacy", message);
        }
        if let Some(extent) = config.extent() {
            let entry = config.data.as_ref().and_then(|data| lyceum_data::catalog::find(&data.name).ok());
            let graph = config.model.check("model", extent, entry.map_or(0, |entry| entry.classes))?;
            if config.privacy.is_some() && graph.is_some_and(|graph| graph.has_batch_norm()) {
                let message =
                    "found batch normalisation, whose statistics are sent as they are; allowed with `privacy`: networks without it";
                return wrong("model", message.into());
            }
        }
        Ok(())
    }

    fn inputs(&self, config: &Config) -> Result<Vec<Input>> {
        let cache = Cache::locate();
        let data = match (&config.characters, &config.data) {
            (Some(characters), _) => characters.inputs(&cache),
            (None, Some(data)) => data.inputs(&cache)?,
            (None, None) => Vec::new(),
        };
        Ok([data, config.model.inputs()].concat())
    }

    fn run(&self, config: &Config, run: &Run) -> Result<Summary> {
        let federation = config.federation(run)?;
        let mut learnt = Vec::new();
        for arm in &config.arm {
            let part = run.child(arm.name())?;
            learnt.push((arm, config.learn(&part, &federation, arm, run.seed())?));
        }
        let summary = config.summarise(&learnt);
        run.finish(&summary, &config.report(&federation, &learnt, &summary)?)?;
        Ok(summary)
    }
}

impl Config {
    /// Learns with one arm, or goes on; `seed` decides beginning, participation and batches, alike for all arms.
    fn learn(&self, run: &Run, federation: &Federation, arm: &Arm, seed: Seed) -> Result<Progress> {
        let Federation { data, parts, .. } = federation;
        let together = [parts.concat()];
        let own: &[Vec<usize>] = if arm.centralised { &together } else { parts };
        let model = self.model.init(data.extent, data.classes.len(), seed, &self.device.device())?;
        let mut local = self.local.clone();
        local.learning_rate = arm.learning_rate.unwrap_or(local.learning_rate);
        let estimator = self.estimator.clone();
        let trainer = NetworkTrainer::new(model, &data.train, own, data.classes.len(), local, Box::new(move || estimator.build()))?;
        let clients = Client::all(&own.iter().map(Vec::len).collect::<Vec<_>>());
        let method = arm.method.build()?;
        let participation = if arm.centralised { Participation::default() } else { self.participation };
        let rules = Rules { method: method.as_ref(), participation, guard: self.guard, privacy: self.privacy, seed, noise: seed };
        let simulation = Simulation { rules, trainer: &trainer, clients: &clients, keep_models: self.evaluate_all };
        let initial = trainer.initial();
        let journals = || match self.state_memory_mb {
            Some(megabytes) => Journals::spilling((megabytes * 1e6) as u64, run.folder().join("clients")),
            None => Journals::default(),
        };
        let mut progress = Progress::default();
        let mut world = World { journals: journals(), ..simulation.start(initial.clone())? };
        world.ledger = world.ledger.with_statistics(trainer.initial_statistics());
        if let Some(checkpoint) = run.rewind()? {
            progress = checkpoint.state()?;
            world = World::restore(&progress.world, checkpoint.arrays("world")?, journals())?;
        }
        let mut task = run.progress().task(arm.name(), world.ledger.server.round, self.rounds as u64);
        let mut cadence = Cadence::new(self.checkpoint_seconds);
        while (world.ledger.server.round as usize) < self.rounds && !self.is_there(&progress) {
            let round = match simulation.round(&mut world) {
                Err(stop @ Error::Interrupted { .. }) => {
                    save(run, &mut world, &mut progress)?;
                    return Err(stop);
                }
                round => round?,
            };
            progress.refused += round.refused.len() as u64;
            let number = world.ledger.server.round;
            let reasons = round.refused.iter().map(|(id, reason)| format!("round {number}, client {id}: {reason}"));
            progress.reasons.extend(reasons.take(REASONS.saturating_sub(progress.reasons.len())));
            let mut message = format!("loss {:.4}", round.loss);
            let mut last = number as usize == self.rounds;
            if (number as usize).is_multiple_of(self.evaluate_every) || last {
                let test = |parameters: &[f32]| -> Result<Evaluation> {
                    // A model that has run away is right about nothing.
                    if parameters.iter().any(|x| !x.is_finite()) {
                        return Ok(Evaluation { accuracy: 0.0, log_loss: f64::INFINITY });
                    }
                    evaluate(&trainer.model(parameters, world.ledger.server.statistics())?, &data.test)
                };
                let all = if self.evaluate_all { Some(test(&world.all_mean(&initial)?)?.accuracy) } else { None };
                let (server, active) = (test(world.ledger.server.model())?, test(&round.active_mean)?.accuracy);
                let bytes = if arm.centralised { 0 } else { world.ledger.traffic.up + world.ledger.traffic.down };
                let Evaluation { accuracy, log_loss } = server;
                // JSON has no infinity.
                let loss = log_loss.min(f64::MAX);
                progress.points.push(Point { round: number, bytes, server: accuracy, loss, active, all, drift: round.drift });
                let mut metrics = vec![
                    ("local_loss", round.loss),
                    ("server_accuracy", accuracy),
                    ("server_loss", log_loss),
                    ("active_accuracy", active),
                    ("bytes", bytes as f64),
                    ("drift", round.drift),
                ];
                metrics.extend(all.map(|all| ("all_accuracy", all)));
                run.log(number, &metrics)?;
                message += &format!(", accuracy {accuracy:.4}");
                last |= self.is_there(&progress);
            }
            if last {
                progress.fairness =
                    outcome::fairness(&trainer.model(world.ledger.server.model(), world.ledger.server.statistics())?, federation)?;
                let most = world.ledger.taken.iter().copied().max().unwrap_or(0);
                progress.epsilon = self.privacy.map(|privacy| privacy.epsilon(most));
            }
            task.advance(&message);
            if last || cadence.is_due() {
                cadence.save(|| save(run, &mut world, &mut progress))?;
            }
        }
        if world.ledger.server.model().iter().all(|parameter| parameter.is_finite()) {
            let model = trainer.model(world.ledger.server.model(), world.ledger.server.statistics())?;
            let normalization = self.normalization.map(|numbers| onnx::normalization(&numbers.into())).unwrap_or_default();
            onnx::save(run.folder(), &model, &data.classes, data, normalization)?;
        }
        Ok(progress)
    }

    /// Whether an arm may end before its last round.
    fn is_there(&self, progress: &Progress) -> bool {
        let reached = |target: &f64| progress.points.iter().any(|point| point.reaches(*target));
        self.stop_at_targets && self.targets.iter().all(reached)
    }
}

impl Point {
    /// Whether the server's model or the mean of those just sent is right about so many.
    fn reaches(&self, accuracy: f64) -> bool {
        self.server.max(self.active) >= accuracy
    }
}

fn save(run: &Run, world: &mut World, progress: &mut Progress) -> Result<()> {
    let (saved, arrays) = world.save();
    progress.world = saved;
    run.save_checkpoint(world.ledger.server.round, progress, &[("world", &arrays)])?;
    world.journals.checkpointed();
    Ok(())
}
