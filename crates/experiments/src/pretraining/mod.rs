//! The experiment `pretraining`: a masked language model from scratch with each way of masking. It joins `lyceum-masking` and the
//! encoder of `lyceum-train`.

mod corpus;

use corpus::{Corpus, TextConfig};
use lyceum_core::{
    DivergedArms, Experiment, Measure, Report, Result, Run, Seed, Summary, Violation, range,
    report::{Axis, Block, Chart, Series, Table},
    run::{Input, check_names},
};
use lyceum_masking::{Masker, Method, Score};
use lyceum_optim::EstimatorConfig;
use lyceum_train::{
    Bert, DeviceName, MaskedTokens, OptimizerConfig, Pipeline, Schedule, TokenBatch, evaluate_tokens,
    steps::{self, Look, Steps},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{encoder::EncoderConfig, order::Order};

/// Learns with each masking.
#[derive(Debug, Clone, Copy)]
pub struct Pretraining;

/// The recipe.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    device: DeviceName,
    data: TextConfig,
    #[serde(default)]
    model: EncoderConfig,
    #[serde(default)]
    training: StepsConfig,
    /// How gradients are estimated.
    #[serde(default)]
    estimator: EstimatorConfig,
    /// What is compared.
    arm: Vec<Arm>,
}

/// How long and how fast.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct StepsConfig {
    /// Optimiser steps.
    #[serde(with = "range::AtLeastOne")]
    steps: usize,
    /// Rows of a step.
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
    /// The share of tokens that are masked.
    #[serde(with = "range::OpenUnit")]
    masked: f64,
    /// Steps between two looks at held-out rows; a checkpoint is written at each.
    #[serde(with = "range::AtLeastOne")]
    evaluate_every: usize,
}

impl Default for StepsConfig {
    fn default() -> Self {
        Self {
            steps: 2_000,
            batch_size: 32,
            learning_rate: 2e-3,
            warmup: 100,
            schedule: Schedule::Cosine,
            optimizer: OptimizerConfig::Adam { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 },
            masked: 0.15,
            evaluate_every: 200,
        }
    }
}

/// One way to mask.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arm {
    /// Its name, also its folder in the run.
    name: String,
    /// What is masked together.
    method: Method,
    /// What collocations are ranked by.
    #[serde(default)]
    score: Score,
}

/// The questions that every arm is asked: held-out rows, masked by each of these.
const PROBES: [(&str, Method); 3] = [("words", Method::WholeWord), ("spans", Method::SPAN), ("collocations", Method::Collocations)];

/// After how many steps, and the loss and accuracy of each probe then.
type Curve = Vec<(usize, Vec<[f64; 2]>)>;

impl Experiment for Pretraining {
    type Config = Config;

    fn name(&self) -> &'static str {
        "pretraining"
    }

    fn about(&self) -> &'static str {
        "a masked language model from scratch: tokens, words, spans or collocations masked, on the same questions"
    }

    fn check(&self, config: &Config) -> Result<(), Violation> {
        config.data.check("data")?;
        let wrong = |key: &str, message: String| Err(Violation::new(key, message));
        config.model.check("model")?;
        if config.arm.is_empty() {
            return wrong("arm", "found none; allowed: at least one".into());
        }
        check_names("arm", config.arm.iter().map(|arm| arm.name.as_str()))?;
        for arm in &config.arm {
            if arm.name.eq_ignore_ascii_case(corpus::FOLDER) {
                return wrong("arm.name", format!("found {:?}; allowed: another name, the corpus is kept there", arm.name));
            }
            if let Method::Span { p, longest } = arm.method
                && !(p > 0.0 && p <= 1.0 && longest > 0)
            {
                return wrong(
                    "arm.method",
                    format!("found p = {p} and at most {longest} words; allowed: p above 0, at most 1, a word at least"),
                );
            }
        }
        Ok(())
    }

    fn inputs(&self, config: &Config) -> Result<Vec<Input>> {
        config.data.inputs()
    }

    fn run(&self, config: &Config, run: &Run) -> Result<Summary> {
        let corpus = Corpus::read(&config.data, run)?;
        let kinds: Vec<(Method, Score)> =
            PROBES.iter().map(|(_, method)| (*method, Score::Pmi)).chain(config.arm.iter().map(|arm| (arm.method, arm.score))).collect();
        let maskers = corpus.maskers(&kinds, config.training.masked, run)?;
        let (asking, learning) = maskers.split_at(PROBES.len());
        let probes: Vec<Vec<TokenBatch>> = asking.iter().map(|(masker, _)| corpus.probe(masker, run.seed().child("probe"))).collect();
        let (mut learnt, mut diverged) = (Vec::new(), DivergedArms::default());
        for (arm, (masker, size)) in config.arm.iter().zip(learning) {
            let part = run.child(&arm.name)?;
            let outcome = diverged.catch(run, &arm.name, config.learn(&part, &corpus, masker, &probes, &arm.name, run.seed()))?;
            learnt.extend(outcome.map(|curve| (arm, *size, curve)));
        }
        corpus.clean()?;
        let mut summary = summarise(&learnt);
        diverged.note(&mut summary)?;
        run.finish(&summary, &diverged.report(config.report(&corpus, &learnt, &summary)))?;
        Ok(summary)
    }
}

impl Config {
    /// Learns with one masker, or goes on; `seed` decides beginning and order of rows, alike for all arms.
    fn learn(&self, run: &Run, corpus: &Corpus, masker: &Masker, probes: &[Vec<TokenBatch>], name: &str, seed: Seed) -> Result<Curve> {
        let model = self.model.init(corpus.vocabulary(), self.data.length, seed, &self.device);
        let pipeline = Pipeline::new(model, self.estimator.build()?, &self.training.optimizer)?;
        let StepsConfig { steps, learning_rate, warmup, schedule, evaluate_every, batch_size, .. } = self.training.clone();
        let steps = Steps { count: steps, learning_rate, warmup, schedule, look_every: evaluate_every };
        let mut order = Order::new("pretraining/order");
        let next = |step| (MaskedTokens, corpus.batch(masker, step, batch_size, seed, &mut order));
        let look = |model: &Bert, step, curve: &mut Curve| {
            let found = probes.iter().map(|batches| evaluate_tokens(model, batches)).collect::<Result<Vec<[f64; 2]>>>()?;
            let metrics = vec![("words_loss", found[0][0]), ("spans_loss", found[1][0]), ("collocations_loss", found[2][0])];
            let message = format!("loss {:.3} on words", found[0][0]);
            curve.push((step, found));
            Ok(Look { metrics, message })
        };
        Ok(steps::train(run, name, pipeline, &steps, seed, next, look)?.1)
    }

    fn report(&self, corpus: &Corpus, learnt: &[(&Arm, usize, Curve)], summary: &Summary) -> Report {
        let lead = format!(
            "The same encoder learns from {} rows of {} tokens, from the same beginning and in the same order; only what is masked differs. Every \
             one is asked the same on held-out rows: single words, spans of words, and collocations that are masked as a whole.",
            corpus.len(),
            self.data.length
        );
        let charts = PROBES.iter().enumerate().map(|(place, (name, _))| {
            let axes = (Axis::linear("step"), Axis::linear("loss, nats a token"));
            let chart = Chart::new(format!("Held-out {name}"), axes.0, axes.1);
            Block::Chart(learnt.iter().fold(chart, |chart, (arm, _, curve)| {
                let points = curve.iter().map(|(step, found)| (*step as f64, found[place][0]));
                chart.with(Series::line(&arm.name, points))
            }))
        });
        Report::new("What is masked", lead).section("Outcome", std::iter::once(Block::Table(summary.table.clone())).chain(charts))
    }
}

fn summarise(learnt: &[(&Arm, usize, Curve)]) -> Summary {
    let columns = ["masking", "collocations", "words: loss", "right, %", "spans: loss", "right, %", "collocations: loss", "right, %"];
    let headline = PROBES.iter().map(|(probe, _)| Measure::share(&format!("{probe}/accuracy"), &format!("{probe} right"))).collect();
    let curves = vec![Measure::number("train_loss", "training loss")];
    let mut summary = Summary { table: Table::new(columns), headline, curves, ..Summary::default() };
    for (arm, size, curve) in learnt {
        let Some((_, last)) = curve.last() else { continue };
        let numbers = last.iter().flat_map(|[loss, right]| [format!("{loss:.3}"), format!("{:.1}", 100.0 * right)]);
        let known = if *size > 0 { size.to_string() } else { "-".into() };
        summary.table.push([arm.name.clone(), known].into_iter().chain(numbers));
        for ((probe, _), [loss, right]) in PROBES.iter().zip(last) {
            summary.values.insert(format!("{}/{probe}/loss", arm.name), *loss);
            summary.values.insert(format!("{}/{probe}/accuracy", arm.name), *right);
        }
    }
    summary
}
