//! The experiment `federated`: methods of federated learning on the same clients. It joins `lyceum-federated` and
//! `lyceum-optim`.

use std::time::{Duration, Instant};

use lyceum_core::{
    Error, Experiment, Report, Result, Run, Seed, Summary, Violation, range,
    report::{Axis, Block, Chart, Picture, Series, Table},
};
use lyceum_data::{
    Cache, Examples, partition,
    prepare::{DataConfig, Prepared},
};
use lyceum_federated::{
    Client, Guard, LocalConfig, MethodConfig, NetworkTrainer, Participation, Simulation,
    simulation::{Saved, World},
};
use lyceum_optim::EstimatorConfig;
use lyceum_train::{DeviceName, Evaluation, ModelConfig, evaluate};
use serde::{Deserialize, Serialize};

/// Learns one model over many clients with each method.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Federated;

/// The recipe.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Rounds of communication.
    #[serde(deserialize_with = "range::at_least_one")]
    rounds: usize,
    /// Rounds between two evaluations.
    #[serde(default = "one", deserialize_with = "range::at_least_one")]
    evaluate_every: usize,
    /// Test accuracies: the report says after how many rounds and bytes each was reached.
    #[serde(default = "targets", deserialize_with = "range::fractions")]
    targets: Vec<f64>,
    /// Whether the mean of all clients' last models is evaluated too. A simulation alone can do it.
    #[serde(default = "yes")]
    evaluate_all: bool,
    /// Least time between two checkpoints, in seconds.
    #[serde(default = "checkpoint_seconds", deserialize_with = "range::non_negative")]
    checkpoint_seconds: f64,
    #[serde(default)]
    device: DeviceName,
    data: DataConfig,
    /// Mean and standard deviation that inputs are brought to 0 and 1 from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    normalization: Option<[f64; 2]>,
    model: ModelConfig,
    clients: ClientsConfig,
    #[serde(default)]
    participation: Participation,
    #[serde(default)]
    local: LocalConfig,
    /// How clients estimate gradients.
    #[serde(default = "plain")]
    estimator: EstimatorConfig,
    #[serde(default)]
    guard: Guard,
    /// What is compared.
    arm: Vec<Arm>,
}

/// How examples are spread over clients.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientsConfig {
    /// m.
    #[serde(deserialize_with = "range::at_least_one")]
    count: usize,
    /// Which classes they have.
    #[serde(default)]
    split: Split,
    /// σ of the logarithm of their sizes; 0: all have as many.
    #[serde(default, deserialize_with = "range::non_negative")]
    size_deviation: f64,
}

/// Which classes clients have.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Split {
    /// All alike.
    #[default]
    Even,
    /// Each its own mixture, from a Dirichlet law with this concentration.
    Dirichlet(#[serde(deserialize_with = "range::positive")] f64),
    /// So many pieces of the examples sorted by class.
    Shards(#[serde(deserialize_with = "range::at_least_one")] usize),
}

/// One method.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Arm {
    /// Its name; that of the method if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    method: MethodConfig,
    /// A learning rate of its own.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "range::optional_positive")]
    learning_rate: Option<f64>,
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

fn plain() -> EstimatorConfig {
    EstimatorConfig::Plain
}

impl Arm {
    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| self.method.name())
    }
}

/// Accuracies after a round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Point {
    round: u64,
    /// Bytes up and down so far.
    bytes: u64,
    /// Of θ, from which the next round starts.
    server: f64,
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
        config.data.check("data")?;
        let wrong = |key: &str, message: String| Err(Violation::new(key, message));
        if config.arm.is_empty() {
            return wrong("arm", "found none; allowed: at least one".into());
        }
        for (number, arm) in config.arm.iter().enumerate() {
            if config.arm[..number].iter().any(|other| other.name() == arm.name()) {
                return wrong("arm.name", format!("found `{}` twice; allowed: different names", arm.name()));
            }
        }
        if let Split::Shards(_) = config.clients.split
            && config.clients.size_deviation > 0.0
        {
            return wrong("clients.size_deviation", "found together with shards, which are of equal size; allowed: 0".into());
        }
        if let Some([mean, deviation]) = config.normalization
            && !(mean.is_finite() && deviation > 0.0 && deviation.is_finite())
        {
            return wrong("normalization", format!("found [{mean}, {deviation}]; allowed: a finite mean and a deviation > 0"));
        }
        if let ModelConfig::Resnet { .. } | ModelConfig::Cnn { batch_norm: true, .. } = config.model {
            return wrong("model", "found batch normalisation, whose statistics no method shares; allowed: networks without it".into());
        }
        if let Ok(entry) = lyceum_data::catalog::find(&config.data.name) {
            config.model.check("model", entry.extent)?;
        }
        Ok(())
    }

    fn run(&self, config: &Config, run: &Run) -> Result<Summary> {
        let mut data = config.data.prepare(&Cache::locate(), run.seed())?;
        if let Some([mean, deviation]) = config.normalization {
            let normalise = |x: f32| ((f64::from(x) - mean) / deviation) as f32;
            data.train.inputs.mapv_inplace(normalise);
            data.test.inputs.mapv_inplace(normalise);
        }
        let parts = config.clients.parts(&data.train.labels, run.seed())?;
        let mut learnt = Vec::new();
        for arm in &config.arm {
            let part = run.child(arm.name())?;
            learnt.push((arm, config.learn(&part, &data, &parts, arm, run.seed())?));
        }
        let summary = config.summarise(&learnt);
        run.finish(&summary, &config.report(&data, &parts, &learnt, &summary)?)?;
        Ok(summary)
    }
}

impl ClientsConfig {
    /// Which examples each client has.
    fn parts(&self, labels: &[usize], seed: Seed) -> Result<Vec<Vec<usize>>> {
        let rng = &mut seed.stream("federated/partition");
        if labels.len() < self.count {
            return Err(Error::invalid("clients.count", self.count, format!("at most the {} training examples", labels.len())));
        }
        let sizes = |rng: &mut _| -> Result<Vec<usize>> {
            Ok(partition::log_normal(labels.len(), self.count, self.size_deviation, rng)?.iter().map(Vec::len).collect())
        };
        match self.split {
            Split::Even if self.size_deviation > 0.0 => partition::log_normal(labels.len(), self.count, self.size_deviation, rng),
            Split::Even => Ok(partition::even(labels.len(), self.count, rng)),
            Split::Dirichlet(alpha) if self.size_deviation > 0.0 => partition::dirichlet_of_sizes(labels, &sizes(rng)?, alpha, rng),
            Split::Dirichlet(alpha) => partition::dirichlet(labels, self.count, alpha, rng),
            Split::Shards(shards) => Ok(partition::shards(labels, self.count, shards, rng)),
        }
    }
}

impl Config {
    /// Learns with one arm, or goes on; `seed` decides beginning, participation and batches, alike for all arms.
    fn learn(&self, run: &Run, data: &Prepared, parts: &[Vec<usize>], arm: &Arm, seed: Seed) -> Result<Progress> {
        let model = self.model.init(data.extent, data.classes.len(), seed, &self.device.device());
        let mut local = self.local.clone();
        local.learning_rate = arm.learning_rate.unwrap_or(local.learning_rate);
        let estimator = self.estimator.clone();
        let trainer = NetworkTrainer::new(model, &data.train, parts, data.classes.len(), local, Box::new(move || estimator.build()))?;
        let clients = Client::all(&parts.iter().map(Vec::len).collect::<Vec<_>>());
        let method = arm.method.build();
        let simulation = Simulation {
            method: method.as_ref(),
            trainer: &trainer,
            clients: &clients,
            participation: self.participation,
            guard: self.guard,
            seed,
        };
        let initial = trainer.initial();
        let mut progress = Progress::default();
        let mut world = simulation.start(initial.clone(), self.evaluate_all);
        if let Some(checkpoint) = run.rewind()? {
            progress = checkpoint.state()?;
            world = World::restore(&progress.world, checkpoint.arrays("world")?)?;
        }
        let mut task = run.progress().task(arm.name(), world.server.round, self.rounds as u64);
        let mut saved = Instant::now();
        while (world.server.round as usize) < self.rounds {
            if run.stop_if_requested().is_err() {
                save(run, &world, &mut progress)?;
                run.stop_if_requested()?;
            }
            let round = simulation.round(&mut world)?;
            progress.refused += round.refused.len() as u64;
            let number = world.server.round;
            let reasons = round.refused.iter().map(|(id, reason)| format!("round {number}, client {id}: {reason}"));
            progress.reasons.extend(reasons.take(REASONS.saturating_sub(progress.reasons.len())));
            let mut message = format!("loss {:.4}", round.loss);
            let last = number as usize == self.rounds;
            if (number as usize).is_multiple_of(self.evaluate_every) || last {
                let accuracy = |parameters: &[f32]| -> Result<f64> {
                    // A model that has run away is right about nothing.
                    if parameters.iter().any(|x| !x.is_finite()) {
                        return Ok(0.0);
                    }
                    Ok(evaluate(&trainer.model(parameters), &data.test)?.accuracy)
                };
                let all = world.all_mean(&initial).map(|mean| accuracy(&mean)).transpose()?;
                let (server, active) = (accuracy(world.server.model())?, accuracy(&round.active_mean)?);
                let bytes = world.traffic.up + world.traffic.down;
                progress.points.push(Point { round: number, bytes, server, active, all, drift: round.drift });
                let mut metrics = vec![
                    ("local_loss", round.loss),
                    ("server_accuracy", server),
                    ("active_accuracy", active),
                    ("bytes", bytes as f64),
                    ("drift", round.drift),
                ];
                metrics.extend(all.map(|all| ("all_accuracy", all)));
                run.log(number, &metrics)?;
                message += &format!(", accuracy {server:.4}");
            }
            if last {
                progress.fairness = fairness(&trainer.model(world.server.model()), data, parts)?;
            }
            task.advance(&message);
            if last || saved.elapsed() >= Duration::from_secs_f64(self.checkpoint_seconds) {
                save(run, &world, &mut progress)?;
                saved = Instant::now();
            }
        }
        Ok(progress)
    }

    fn summarise(&self, learnt: &[(&Arm, Progress)]) -> Summary {
        let columns = ["method", "server, %", "active mean, %", "all mean, %", "worst tenth, %"].map(str::to_owned);
        let reached = self.targets.iter().map(|target| format!("to {} %", 100.0 * target));
        let mut summary = Summary { table: Table::new(columns.into_iter().chain(reached)), ..Summary::default() };
        for (arm, progress) in learnt {
            let Some(last) = progress.points.last() else { continue };
            let percent = |value: f64| format!("{:.2}", 100.0 * value);
            let worst = worst_tenth(&progress.fairness);
            let mut row = vec![arm.name().to_owned(), percent(last.server), percent(last.active)];
            row.extend([last.all.map_or("–".into(), percent), percent(worst)]);
            for (key, value) in [("server_accuracy", last.server), ("active_accuracy", last.active), ("worst_tenth", worst)] {
                summary.values.insert(format!("{}/{key}", arm.name()), value);
            }
            summary.values.insert(format!("{}/refused", arm.name()), progress.refused as f64);
            summary.values.insert(format!("{}/bytes", arm.name()), last.bytes as f64);
            for target in &self.targets {
                let found = progress.points.iter().find(|point| point.server.max(point.active) >= *target);
                row.push(found.map_or("–".into(), |point| format!("{} ({})", point.round, megabytes(point.bytes))));
                if let Some(point) = found {
                    summary.values.insert(format!("{}/rounds_to_{target}", arm.name()), point.round as f64);
                    summary.values.insert(format!("{}/bytes_to_{target}", arm.name()), point.bytes as f64);
                }
            }
            summary.table.push(row);
        }
        summary
    }

    fn report(&self, data: &Prepared, parts: &[Vec<usize>], learnt: &[(&Arm, Progress)], summary: &Summary) -> Result<Report> {
        let sizes = parts.iter().map(Vec::len);
        let lead = format!(
            "{} examples of {} on {} clients ({} to {} each); {} of them active in a round. Accuracies are on the {} test examples: of the \
             server's model, from which the next round starts, of the mean of the models just sent, and of the mean of every client's last \
             model. Rounds (and bytes, up and down) are those at which the better of the first two reached a target.",
            data.train.len(),
            self.data.name,
            parts.len(),
            sizes.clone().min().unwrap_or(0),
            sizes.max().unwrap_or(0),
            match self.participation.fraction {
                fraction if fraction >= 1.0 => "all".to_owned(),
                fraction => format!("{} %", 100.0 * fraction),
            },
            data.test.len()
        );
        let percent = Axis::linear("test accuracy, %");
        let mut by_round = Chart::new("Server model by rounds", Axis::linear("round"), percent.clone());
        let mut by_bytes = Chart::new("Server model by bytes", Axis::linear("MB up and down"), percent.clone());
        let mut active = Chart::new("Mean of the active clients", Axis::linear("round"), percent);
        let mut drift = Chart::new("How far clients drift apart", Axis::linear("round"), Axis::linear("mean distance from their mean"));
        for (arm, progress) in learnt {
            let points = progress.points.iter();
            by_round = by_round.with(Series::line(arm.name(), points.clone().map(|point| (point.round as f64, 100.0 * point.server))));
            by_bytes =
                by_bytes.with(Series::line(arm.name(), points.clone().map(|point| (point.bytes as f64 / 1e6, 100.0 * point.server))));
            active = active.with(Series::line(arm.name(), points.clone().map(|point| (point.round as f64, 100.0 * point.active))));
            drift = drift.with(Series::line(arm.name(), points.map(|point| (point.round as f64, point.drift))));
        }
        let mut report = Report::new("One model over many clients", lead)
            .section("Outcome", [Block::Table(summary.table.clone()), Block::Chart(by_round), Block::Chart(by_bytes), Block::Chart(active)])
            .section("Drift", [Block::Chart(drift)]);
        let refused: Vec<String> = learnt
            .iter()
            .filter(|(_, progress)| progress.refused > 0)
            .map(|(arm, progress)| format!("{}: {} replies were not taken.\n{}", arm.name(), progress.refused, progress.reasons.join("\n")))
            .collect();
        if !refused.is_empty() {
            report = report.section("Replies that were left out", [Block::Code(refused.join("\n\n"))]);
        }
        let caption = "Clients from left to right, classes from top to bottom: the share of a client's examples that is of a class.";
        let who = Block::Picture { picture: partition_picture(data, parts)?, caption: caption.into() };
        Ok(report.section("Who has what", [who]).section("Recipe", [Block::Code(toml::to_string(self).unwrap_or_default())]))
    }
}

fn save(run: &Run, world: &World, progress: &mut Progress) -> Result<()> {
    let (saved, arrays) = world.save();
    progress.world = saved;
    run.save_checkpoint(world.server.round, progress, &[("world", &arrays)])
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Each client's accuracy as its own mixture of classes would see it: Σ over classes of its share × the test accuracy of the class.
fn fairness(model: &lyceum_train::Model, data: &Prepared, parts: &[Vec<usize>]) -> Result<Vec<f64>> {
    let classes = data.classes.len();
    let mut by_class = vec![0.0; classes];
    for (class, accuracy) in by_class.iter_mut().enumerate() {
        let places: Vec<usize> = (0..data.test.len()).filter(|&place| data.test.labels[place] == class).collect();
        if !places.is_empty() {
            let Evaluation { accuracy: found, .. } = evaluate(model, &data.test.subset(&places))?;
            *accuracy = found;
        }
    }
    let of = |part: &Vec<usize>| shares(&data.train, part, classes).iter().zip(&by_class).map(|(share, accuracy)| share * accuracy).sum();
    Ok(parts.iter().map(of).collect())
}

/// The mean of the lowest tenth.
fn worst_tenth(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let worst = &sorted[..sorted.len().div_ceil(10)];
    worst.iter().sum::<f64>() / worst.len().max(1) as f64
}

/// The share of each class among some examples.
fn shares(examples: &Examples, part: &[usize], classes: usize) -> Vec<f64> {
    let mut shares = vec![0.0; classes];
    part.iter().for_each(|&place| shares[examples.labels[place]] += 1.0 / part.len().max(1) as f64);
    shares
}

/// A column a client, a row a class; the darker, the more.
fn partition_picture(data: &Prepared, parts: &[Vec<usize>]) -> Result<Picture> {
    const HEIGHT: usize = 14;
    let classes = data.classes.len();
    let width = (900 / parts.len()).clamp(1, 14);
    let columns: Vec<Vec<f64>> = parts.iter().map(|part| shares(&data.train, part, classes)).collect();
    let mut pixels = Vec::with_capacity(3 * parts.len() * width * classes * HEIGHT);
    for class in (0..classes).flat_map(|class| [class; HEIGHT]) {
        for column in &columns {
            let mix = |dark: f64| (255.0 + (dark - 255.0) * column[class].sqrt()) as u8;
            (0..width).for_each(|_| pixels.extend([mix(20.0), mix(60.0), mix(120.0)]));
        }
    }
    Picture::rgb(parts.len() * width, classes * HEIGHT, &pixels)
}
