//! The experiment `infectiousness`: predictors for contact tracing learn in simulated epidemics and trace in others. It joins
//! `lyceum-epidemic` and `lyceum-train`.
//!
//! A predictor changes the messages that phones send, and so what it will be asked. So it learns in rounds (as DAgger does): first
//! from epidemics with the messages of a noisy oracle, then from such with its own.

mod network;
mod samples;

use std::sync::Arc;

use lyceum_core::{
    DivergedArms, Error, Experiment, Measure, Report, Result, Run, Seed, Summary, Violation, atomic, range,
    report::{Axis, Block, Chart, Series, Table},
    run::{Input, check_names},
};
use lyceum_epidemic::{
    evaluate::area_under_curve,
    random::Random,
    tracing::{
        DAYS, Edges, Policy, UNIFORM,
        learnt::{Inputs, Network, NetworkConfig, Predictor, edges},
        oracle::Oracle,
    },
};
use lyceum_optim::EstimatorConfig;
use lyceum_train::{
    Batch, ClipNorm, DeviceName, OptimizerConfig, Pipeline, Schedule,
    steps::{self, Look, Steps},
};
use network::{Infectiousness, Learner, Sample, Samples};
use rayon::prelude::*;
use samples::Simulations;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::order::Order;

/// The name of a predictor's files, without `.safetensors`.
const PREDICTOR: &str = "predictor";

/// Learns predictors.
#[derive(Debug, Clone, Copy)]
pub struct LearnInfectiousness;

/// The recipe.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    device: DeviceName,
    #[serde(default)]
    simulations: Simulations,
    /// How often predictors learn: the first time from an oracle's messages, then from their own.
    #[serde(default = "rounds", with = "range::AtLeastOne")]
    rounds: usize,
    #[serde(default)]
    training: StepsConfig,
    /// How gradients are estimated.
    #[serde(default)]
    estimator: EstimatorConfig,
    /// Shares of the days on which people who are well are at most a little careful, careful, and not at home.
    #[serde(default = "below", with = "range::Fractions")]
    below: Vec<f64>,
    /// What is compared.
    predictor: Vec<Arm>,
}

/// How long and how fast, in each round.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct StepsConfig {
    /// Optimiser steps.
    #[serde(with = "range::AtLeastOne")]
    steps: usize,
    /// Phones of a step.
    #[serde(with = "range::AtLeastOne")]
    batch_size: usize,
    /// The peak learning rate.
    #[serde(with = "range::Positive")]
    learning_rate: f64,
    /// Steps over which the rate rises to its peak.
    warmup: usize,
    /// How the learning rate changes.
    schedule: Schedule,
    /// The optimiser.
    optimizer: OptimizerConfig,
    /// The largest norm of a gradient.
    #[serde(with = "range::Positive")]
    clip_norm: f64,
    /// The weight of telling which contacts an infection came from.
    #[serde(with = "range::NonNegative")]
    contagion: f64,
    /// Steps between two looks at held-out simulations; a checkpoint is written at each.
    #[serde(with = "range::AtLeastOne")]
    evaluate_every: usize,
}

impl Default for StepsConfig {
    fn default() -> Self {
        Self {
            steps: 3_000,
            batch_size: 256,
            learning_rate: 2e-3,
            warmup: 200,
            schedule: Schedule::Cosine,
            optimizer: OptimizerConfig::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
            clip_norm: 1.0,
            contagion: 0.05,
            evaluate_every: 250,
        }
    }
}

/// A predictor.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arm {
    /// Its name, also its folder in the run.
    name: String,
    network: NetworkConfig,
}

fn rounds() -> usize {
    2
}

fn below() -> Vec<f64> {
    vec![0.5, 0.8, 0.95]
}

/// After how many steps, and the squared error on held-out simulations then.
type Curve = Vec<(usize, f64)>;

/// What the rounds of a predictor gave; the weights of the newest lie beside it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Rounds {
    outcomes: Vec<Outcome>,
    edges: Edges,
}

/// What a predictor does as a policy in simulations that it did not learn from.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Outcome {
    /// Mean squared error of infectiousness, a day.
    error: f64,
    /// That of a predictor that always says the mean.
    variance: f64,
    /// Area under the curve of telling who is infectious today, where someone is.
    infectious: Option<f64>,
    /// The same among those who told of no symptom and no test within fourteen days.
    silent: Option<f64>,
    curve: Curve,
}

impl Experiment for LearnInfectiousness {
    type Config = Config;

    fn name(&self) -> &'static str {
        "infectiousness"
    }

    fn about(&self) -> &'static str {
        "predictors for contact tracing: a linear function, a deep set, a set transformer, learnt in simulated epidemics"
    }

    fn check(&self, config: &Config) -> Result<(), Violation> {
        let wrong = |key: String, message: String| Err(Violation::new(key, message));
        if let Err(error) = config.simulations.check() {
            return wrong("simulations".into(), error.to_string());
        }
        if config.below.len() != 3 || !config.below.is_sorted() {
            return wrong("below".into(), format!("found {:?}; allowed: three shares, none below the one before", config.below));
        }
        if config.predictor.is_empty() {
            return wrong("predictor".into(), "found none; allowed: at least one".into());
        }
        check_names("predictor", config.predictor.iter().map(|arm| arm.name.as_str()))?;
        for (number, arm) in config.predictor.iter().enumerate() {
            if let Err(error) = arm.network.check() {
                return wrong(format!("predictor.{number}.network"), error.to_string());
            }
        }
        Ok(())
    }

    fn inputs(&self, config: &Config) -> Result<Vec<Input>> {
        Ok(config.simulations.inputs())
    }

    fn run(&self, config: &Config, run: &Run) -> Result<Summary> {
        let (mut learnt, mut diverged) = (Vec::new(), DivergedArms::default());
        for arm in &config.predictor {
            let part = run.child(&arm.name)?;
            let outcome = diverged.catch(run, &arm.name, config.learn(&part, arm, run.seed()))?;
            learnt.extend(outcome.map(|outcomes| (arm, outcomes)));
        }
        let mut summary = summarise(&learnt);
        diverged.note(&mut summary)?;
        run.finish(&summary, &diverged.report(config.report(&learnt, &summary)))?;
        Ok(summary)
    }
}

impl Config {
    /// All rounds of a predictor, or those that are left. Writes `predictor.safetensors`, the newest one.
    fn learn(&self, run: &Run, arm: &Arm, seed: Seed) -> Result<Vec<Outcome>> {
        let mut done = Rounds::default();
        // One for all simulations of the next round.
        let mut before: Option<Arc<dyn Policy>> = None;
        if let Some(checkpoint) = run.rewind()? {
            done = checkpoint.state()?;
            before = Some(Arc::new(Predictor::new(&arm.name, arm.network, checkpoint.arrays(PREDICTOR)?, done.edges)?));
        }
        for round in done.outcomes.len() + 1..=self.rounds {
            let part = run.child(&format!("round-{round}"))?;
            let sample = |name: &str, count: usize| {
                self.simulations.samples(&part, (name, count), seed.child(&format!("round/{round}")), |config| {
                    let [add, multiply] = config.oracle_noise;
                    let oracle = || Arc::new(Oracle { add, multiply, edges: UNIFORM, random: Random(config.seed) });
                    before.clone().unwrap_or_else(|| oracle())
                })
            };
            let (train, held_out) = (sample("learnt from", self.simulations.train)?, sample("held out", self.simulations.held_out)?);
            if train.is_empty() {
                return Err(Error::invalid("simulations", "no phone that was kept", "more people, days or a greater share"));
            }
            let (model, curve) = self.train(&part, arm, &train, &held_out, seed)?;
            let arrays = model.arrays();
            let edges = self.edges(&held_out, &predict(&Network::new(arm.network, &arrays)?, &held_out));
            let predictor = Arc::new(Predictor::new(&arm.name, arm.network, &arrays, edges)?);
            let bytes = predictor.bytes(&arrays)?;
            let seed = seed.child("outcome");
            let met = self.simulations.samples(&part, ("traced", self.simulations.held_out), seed, |_| predictor.clone())?;
            let outcome = Outcome::of(&met, &predict(&predictor.predict, &met), curve);
            for folder in [part.folder(), run.folder()] {
                atomic::write(&folder.join(format!("{PREDICTOR}.safetensors")), &bytes)?;
            }
            done.outcomes.push(outcome);
            done.edges = edges;
            // Last: a round that has a checkpoint is done.
            run.save_checkpoint(round as u64, &done, &[(PREDICTOR, &arrays)])?;
            before = Some(predictor);
        }
        Ok(done.outcomes)
    }

    /// One round of learning, or what is left of it.
    fn train(&self, run: &Run, arm: &Arm, train: &[Arc<Sample>], held_out: &[Arc<Sample>], seed: Seed) -> Result<(Learner, Curve)> {
        let StepsConfig { steps, learning_rate, batch_size, warmup, schedule, evaluate_every, .. } = self.training.clone();
        let device = self.device.device();
        let model = Learner::new(arm.network, seed, &device);
        let clip = Box::new(ClipNorm { max_norm: self.training.clip_norm });
        let pipeline = Pipeline::new(model, self.estimator.build()?, &self.training.optimizer)?.with_transform(clip);
        let steps = Steps { count: steps, learning_rate, warmup, schedule, look_every: evaluate_every };
        let (all, mut order) = (Samples(train.to_vec()), Order::new("infectiousness/order"));
        let next = |step: usize| {
            let draws = step * batch_size..(step + 1) * batch_size;
            let positions: Vec<usize> = draws.map(|draw| order.place(draw, train.len(), seed)).collect();
            (Infectiousness { contagion: self.training.contagion, device: &device }, all.select(&positions))
        };
        let look = |model: &Learner, step, curve: &mut Curve| {
            let error = squared_error(held_out, &predict(&Network::new(arm.network, &model.arrays())?, held_out));
            curve.push((step, error));
            Ok(Look { metrics: vec![("held_out_error", error)], message: format!("squared error {error:.5}") })
        };
        steps::train(run, &arm.name, pipeline, &steps, seed, next, look)
    }

    /// Levels of risk from held-out simulations.
    fn edges(&self, samples: &[Arc<Sample>], risks: &[[f32; DAYS]]) -> Edges {
        let both = || samples.iter().zip(risks);
        let well: Vec<f32> = both().filter(|(sample, _)| !sample.infectious && sample.truth[0] == 0.0).map(|(_, risks)| risks[0]).collect();
        let infectious: Vec<f32> = both()
            .flat_map(|(sample, risks)| sample.truth.into_iter().zip(*risks))
            .filter(|(truth, _)| *truth > 0.0)
            .map(|(_, risk)| risk)
            .collect();
        edges(&well, &infectious, [self.below[0], self.below[1], self.below[2]])
    }

    fn report(&self, learnt: &[(&Arm, Vec<Outcome>)], summary: &Summary) -> Report {
        let lead = format!(
            "Each predictor learns in {} simulated epidemics a round, of people who differ in how many have the app, how careful they are and \
             what they tell, and then traces in {} others. In the first round messages are those of a noisy oracle, then those of the predictor \
             of the round before.",
            self.simulations.train, self.simulations.held_out
        );
        let error = Chart::new("Squared error on held-out simulations", Axis::linear("step"), Axis::log("mean squared error"));
        let error = learnt.iter().fold(error, |chart, (arm, outcomes)| {
            (1..).zip(outcomes).fold(chart, |chart, (round, outcome)| {
                let points = outcome.curve.iter().map(|(step, error)| (((round - 1) * self.training.steps + step) as f64, *error));
                chart.with(Series::line(format!("{}, round {round}", arm.name), points))
            })
        });
        let names = (1..=self.rounds).map(|round| format!("round {round}"));
        let told =
            Chart::new("Telling who is infectious while tracing", Axis::category("after", names), Axis::linear("area under the curve"));
        let told = learnt.iter().fold(told, |chart, (arm, outcomes)| {
            let points = outcomes.iter().enumerate().filter_map(|(round, outcome)| Some((round as f64, outcome.infectious?)));
            chart.with(Series::line(&arm.name, points))
        });
        Report::new("Predictors for contact tracing", lead)
            .section("Outcome", [Block::Table(summary.table.clone()), Block::Chart(told), Block::Chart(error)])
    }
}

impl Outcome {
    fn of(samples: &[Arc<Sample>], risks: &[[f32; DAYS]], curve: Curve) -> Self {
        let mean = samples.iter().map(|sample| f64::from(sample.truth[0])).sum::<f64>() / samples.len().max(1) as f64;
        let flat = vec![[mean as f32; DAYS]; samples.len()];
        let area = |of: &dyn Fn(&Sample) -> bool| {
            let some = || samples.iter().zip(risks).filter(|(sample, _)| of(sample));
            let risks =
                |infectious: bool| some().filter(move |(sample, _)| sample.infectious == infectious).map(|(_, risks)| risks[0]).collect();
            Some(area_under_curve(risks(true), risks(false))).filter(|area| !area.is_nan())
        };
        let silent = |sample: &Sample| sample.inputs.health.as_flattened().iter().all(|number| *number == 0.0);
        Self {
            error: squared_error(samples, risks),
            variance: squared_error(samples, &flat),
            infectious: area(&|_| true),
            silent: area(&silent),
            curve,
        }
    }
}

/// Risks of each sample.
fn predict(network: &Network, samples: &[Arc<Sample>]) -> Vec<[f32; DAYS]> {
    let together: Vec<Vec<[f32; DAYS]>> = samples
        .par_chunks(32)
        .map(|samples| network.infectiousness(&samples.iter().map(|sample| sample.inputs.clone()).collect::<Vec<Inputs>>()))
        .collect();
    together.into_iter().flatten().collect()
}

/// The mean over the days that there were, then over samples.
fn squared_error(samples: &[Arc<Sample>], risks: &[[f32; DAYS]]) -> f64 {
    let each = samples.iter().zip(risks).map(|(sample, risks)| {
        let days = sample.days.min(DAYS);
        let errors = sample.truth.iter().zip(risks).take(days).map(|(truth, risk)| f64::from(truth - risk).powi(2));
        errors.sum::<f64>() / days as f64
    });
    each.sum::<f64>() / samples.len().max(1) as f64
}

fn summarise(learnt: &[(&Arm, Vec<Outcome>)]) -> Summary {
    let columns = ["predictor", "round", "squared error", "variance", "AUC, infectious today", "AUC, no symptom or test told"];
    let rounds = learnt.iter().map(|(_, outcomes)| outcomes.len()).max().unwrap_or(0);
    let headline = vec![
        Measure::number(&format!("{rounds}/error"), "squared error"),
        Measure::number(&format!("{rounds}/auc"), "AUC, infectious today"),
        Measure::number(&format!("{rounds}/silent_auc"), "AUC, no symptom or test told"),
    ];
    let mut summary = Summary { table: Table::new(columns), headline, ..Summary::default() };
    let area = |area: Option<f64>| area.map_or_else(|| "-".into(), |area| format!("{area:.3}"));
    for (arm, outcomes) in learnt {
        for (round, outcome) in (1..).zip(outcomes) {
            summary.table.push([
                arm.name.clone(),
                round.to_string(),
                format!("{:.5}", outcome.error),
                format!("{:.5}", outcome.variance),
                area(outcome.infectious),
                area(outcome.silent),
            ]);
            let values = [
                ("error", Some(outcome.error)),
                ("variance", Some(outcome.variance)),
                ("auc", outcome.infectious),
                ("silent_auc", outcome.silent),
            ];
            for (name, value) in values {
                if let Some(value) = value {
                    summary.values.insert(format!("{}/{round}/{name}", arm.name), value);
                }
            }
        }
    }
    summary
}
