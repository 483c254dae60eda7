//! The experiment `active-testing`: a classifier's risk from few labels.
//!
//! A surrogate that was trained like the classifier says where the loss is likely to be large; points are labelled with
//! probabilities in proportion, and LURE estimates the risk of all (Kossen, Farquhar, Gal and Rainforth, *Active Testing*,
//! ICML 2021). It joins `lyceum-train` and `lyceum-active`.

use lyceum_active::{
    AcquisitionLog, Estimator, Proposal, Sampler,
    scores::{Loss, expected_loss, losses},
};
use lyceum_core::{
    Error, Experiment, Report, Result, Run, Summary, Violation,
    math::mean_and_deviation,
    range,
    report::{Axis, Block, Chart, Series, Table},
    run::Input,
};
use lyceum_data::{
    Cache, Examples,
    prepare::{DataConfig, Prepared},
    split,
};
use lyceum_train::{DeviceName, ModelConfig, Net, Plain, TrainConfig, Trainer, evaluation::probabilities, parallel::one_thread_each};
use ndarray::Array2;
use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::toy_regression::check_labels;

/// Trains a classifier and a surrogate, then tests the first by few labels, many times.
pub struct ActiveTesting;

/// The recipe.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    device: DeviceName,
    data: DataConfig,
    model: ModelConfig,
    #[serde(default)]
    training: TrainConfig,
    surrogate: Surrogate,
    #[serde(default)]
    testing: Testing,
}

/// Networks that guess where the classifier is wrong.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Surrogate {
    /// How many, each trained on a bootstrap sample of the training examples.
    #[serde(with = "range::AtLeastOne")]
    members: usize,
    model: ModelConfig,
    #[serde(default)]
    training: TrainConfig,
}

/// How labels are drawn.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Testing {
    /// What is estimated.
    loss: Loss,
    /// How many test examples the pool has; all if absent.
    #[serde(skip_serializing_if = "Option::is_none", with = "range::OptionalAtLeastOne")]
    pool: Option<usize>,
    /// After how many labels the estimates are compared.
    #[serde(with = "range::AllAtLeastOne")]
    labels: Vec<usize>,
    /// How often labels are drawn.
    #[serde(with = "range::AtLeastOne")]
    runs: usize,
    /// Every probability is at least this share of an even one.
    #[serde(with = "range::Fraction")]
    clip: f64,
}

impl Default for Testing {
    fn default() -> Self {
        Self { loss: Loss::CrossEntropy, pool: None, labels: vec![10, 20, 50, 100], runs: 500, clip: 0.1 }
    }
}

/// Who says where the loss is large.
const PROPOSALS: [&str; 3] = ["uniform", "the model itself", "surrogate"];
const ESTIMATORS: [(&str, Estimator); 3] = [("naive", Estimator::Naive), ("PURE", Estimator::Pure), ("LURE", Estimator::Lure)];

impl Experiment for ActiveTesting {
    type Config = Config;

    fn name(&self) -> &'static str {
        "active-testing"
    }

    fn about(&self) -> &'static str {
        "a classifier's risk from few labels: points drawn by a surrogate's expected loss, estimates by PURE and LURE"
    }

    fn check(&self, config: &Config) -> Result<(), Violation> {
        config.data.check("data")?;
        config.model.check_data(&config.data)?;
        if let Ok(entry) = lyceum_data::catalog::find(&config.data.name) {
            config.model.check("model", entry.extent, entry.classes)?;
            config.surrogate.model.check("surrogate.model", entry.extent, entry.classes)?;
        }
        check_labels("testing.labels", &config.testing.labels, config.testing.pool.unwrap_or(usize::MAX))
    }

    fn inputs(&self, config: &Config) -> Result<Vec<Input>> {
        Ok([config.data.inputs(&Cache::locate())?, config.model.inputs(), config.surrogate.model.inputs()].concat())
    }

    fn run(&self, config: &Config, run: &Run) -> Result<Summary> {
        let data = config.data.prepare_for(run, config.model.known()?)?;
        let pool = test_pool(&data.test, &config.testing, run)?;
        let model = trained(config, (&config.model, &config.training), &data, &data.train, &run.child("model")?)?;
        let f = probabilities(&model, &pool)?;
        let mut surrogate = Array2::<f32>::zeros(f.dim());
        for member in 0..config.surrogate.members {
            let part = run.child(&format!("surrogate-{member}"))?;
            let mut rng = part.seed().child(&format!("member/{member}")).stream("bootstrap");
            let rows: Vec<usize> = (0..data.train.len()).map(|_| rng.random_range(0..data.train.len())).collect();
            let Surrogate { model, training, .. } = &config.surrogate;
            let network = trained(config, (model, training), &data, &data.train.subset(&rows), &part)?;
            surrogate = surrogate + probabilities(&network, &pool)? / config.surrogate.members as f32;
        }
        run.stop_if_requested()?;
        let losses = losses(f.view(), &pool.labels, config.testing.loss)?;
        let risk = losses.iter().sum::<f64>() / losses.len() as f64;
        let even = vec![1.0; pool.len()];
        let own = expected_loss(f.view(), f.view(), config.testing.loss)?;
        let guessed = expected_loss(f.view(), surrogate.view(), config.testing.loss)?;
        let mut summary = Summary {
            table: Table::new([
                "drawn by",
                "labels",
                "estimator",
                "bias ± standard error",
                "root mean squared error",
                "labels saved",
                "95 % intervals that hold",
            ]),
            ..Summary::default()
        };
        summary.values.insert("risk".into(), risk);
        let mut chart = Chart::new("Error of the risk's estimate", Axis::log("labels"), Axis::log("root mean squared error"));
        for (proposal, scores) in PROPOSALS.into_iter().zip([&even, &own, &guessed]) {
            let runs: Vec<usize> = (0..config.testing.runs).collect();
            let found =
                one_thread_each(&runs, |number| draw(config, scores, &losses, risk, run.seed().child(&format!("{proposal}/{number}"))))?;
            for series in summarise(config, proposal, &found, &losses, &mut summary) {
                chart = chart.with(series);
            }
        }
        let lead = format!(
            "The risk of a classifier on {} test examples of {} ({:.4} when every label is known), estimated from few labels in {} runs. \
             \u{201c}Labels saved\u{201d}: how many labels drawn evenly give the same error, over the labels used.",
            pool.len(),
            config.data.title(),
            risk,
            config.testing.runs
        );
        let report = Report::new("A classifier's risk from few labels", lead)
            .section("Outcome", [Block::Chart(chart), Block::Table(summary.table.clone())]);
        run.finish(&summary, &report)?;
        Ok(summary)
    }
}

/// The test examples that are estimated about.
fn test_pool(test: &Examples, testing: &Testing, run: &Run) -> Result<Examples> {
    let size = testing.pool.unwrap_or(test.len());
    if size > test.len() || testing.labels.last().is_some_and(|last| *last > size) {
        let most = testing.labels.last().copied().unwrap_or(0);
        return Err(Error::invalid("testing.pool", size, format!("{most} (the most labels) to {} (the test examples)", test.len())));
    }
    let order = split::permutation(test.len(), &mut run.seed().stream("testing/pool"));
    Ok(test.subset(&order[..size]))
}

/// A network trained on some examples, in a run folder of its own.
fn trained(
    config: &Config,
    (model, training): (&ModelConfig, &TrainConfig),
    data: &Prepared,
    examples: &Examples,
    run: &Run,
) -> Result<Net> {
    let classes = data.classes.len();
    let model = model.init(data.extent, classes, run.seed(), &config.device.device())?;
    let mut trainer = Trainer::new(training.clone(), model, classes, Box::new(Plain), run.seed())?.with_pictures(data.extent);
    trainer.train(run, examples, None, "training")?;
    Ok(trainer.model().clone())
}

/// What one run gave after some number of labels.
#[derive(Clone, Copy)]
struct Drawn {
    /// Estimate less risk: naive, PURE, LURE.
    error: [f64; 3],
    /// Whether the 95 % interval of each holds the risk.
    held: [bool; 3],
}

fn draw(config: &Config, scores: &[f64], losses: &[f64], risk: f64, seed: lyceum_core::Seed) -> Result<Vec<Drawn>> {
    let labels = &config.testing.labels;
    let log = AcquisitionLog::new(losses.len())?;
    let mut sampler = Sampler::new(Proposal::Proportional, log, seed)?.with_clip(config.testing.clip);
    let mut found = Vec::new();
    for &count in labels {
        sampler.draw(scores, count - sampler.log().draws().len())?;
        let taken: Vec<f64> = sampler.log().draws().iter().map(|draw| losses[draw.index]).collect();
        let mut drawn = Drawn { error: [0.0; 3], held: [false; 3] };
        for (index, (_, estimator)) in ESTIMATORS.into_iter().enumerate() {
            let estimate = sampler.log().estimate(&taken, estimator)?;
            let (low, high) = estimate.interval(0.95)?;
            drawn.error[index] = estimate.value - risk;
            drawn.held[index] = low <= risk && risk <= high;
        }
        found.push(drawn);
    }
    Ok(found)
}

/// Rows of the table and values of the summary; gives lines of the chart.
fn summarise(config: &Config, proposal: &str, found: &[Vec<Drawn>], losses: &[f64], summary: &mut Summary) -> Vec<Series> {
    let n = losses.len() as f64;
    let variance = mean_and_deviation(losses).1.powi(2);
    let mut lines = Vec::new();
    for (index, (name, _)) in ESTIMATORS.into_iter().enumerate() {
        // Drawn evenly, LURE is the plain mean.
        if proposal == PROPOSALS[0] && name == "LURE" {
            continue;
        }
        let mut line = Vec::new();
        for (place, &labels) in config.testing.labels.iter().enumerate() {
            let errors: Vec<f64> = found.iter().map(|run| run[place].error[index]).collect();
            let (bias, deviation) = mean_and_deviation(&errors);
            let standard_error = deviation / (errors.len() as f64).sqrt();
            let squared = errors.iter().map(|error| error * error).sum::<f64>() / errors.len() as f64;
            // The mean of M even draws without replacement has the variance S²/M · (1 − M/N).
            let saved = variance / (squared + variance / n) / labels as f64;
            let held = found.iter().filter(|run| run[place].held[index]).count() as f64 / found.len() as f64;
            line.push((labels as f64, squared.sqrt()));
            summary.table.push([
                proposal.to_owned(),
                labels.to_string(),
                name.to_owned(),
                format!("{bias:+.4} ± {standard_error:.4}"),
                format!("{:.4}", squared.sqrt()),
                format!("{saved:.2}x"),
                format!("{:.1} %", 100.0 * held),
            ]);
            let key = format!("{proposal}/{labels}/{name}");
            for (what, value) in [
                ("bias", bias),
                ("bias_standard_error", standard_error),
                ("mean_squared_error", squared),
                ("labels_saved", saved),
                ("held", held),
            ] {
                summary.values.insert(format!("{key}/{what}"), value);
            }
        }
        lines.push(Series::line(format!("{proposal}, {name}"), line));
    }
    lines
}
