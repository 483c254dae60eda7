//! The experiment `active-training`: does it help to weight the losses of points that active learning chose?
//!
//! The setting of Farquhar, Gal and Rainforth 2021: a pool with few examples of some classes and wrong labels, points
//! taken one by one by what a Bayesian network (here by dropout) is unsure of, networks trained from scratch on them with
//! the weights of each estimator. It joins `lyceum-train` and `lyceum-active`.

use lyceum_active::{
    AcquisitionLog, Estimator, Proposal, Sampler,
    bias::Biases,
    scores::{self, Loss, losses},
};
use lyceum_core::{
    DivergedArms, Error, Experiment, Report, Result, Run, Seed, Summary, Violation,
    math::mean_and_deviation,
    range,
    report::{Axis, Block, Chart, Series, Table},
    run::Input,
};
use lyceum_data::{
    Cache, Examples, Extent, noise,
    prepare::{DataConfig, Prepared},
    split,
};
use lyceum_train::{
    DeviceName, ModelConfig, Net, Plain, TrainConfig, Trainer,
    evaluation::{dropout_samples, probabilities},
    graph::Graph,
    parallel::one_thread_each,
};
use ndarray::{Array2, Array3, Axis as Dimension};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::toy_regression::{check_labels, describe};

/// Acquires labels and trains on them with and without weights.
pub struct ActiveTraining;

/// The recipe.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    device: DeviceName,
    /// `label_noise` spoils the labels of the pool.
    data: DataConfig,
    model: ModelConfig,
    /// `epochs` is not used: every training has as many steps.
    #[serde(default)]
    training: TrainConfig,
    acquisition: Acquisition,
}

/// How points are acquired.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Acquisition {
    /// The share of each class's examples that is in the pool, and among the test examples.
    #[serde(with = "range::Fractions")]
    class_shares: Vec<f64>,
    /// What is asked for.
    score: Score,
    /// How scores become probabilities.
    proposal: Proposal,
    /// Every probability is at least this share of an even one.
    #[serde(with = "range::Fraction")]
    clip: f64,
    /// Networks drawn by dropout that say how unsure the model is, and predict together; 0: one pass without dropout.
    samples: usize,
    /// Labels at the beginning, drawn evenly.
    #[serde(with = "range::AtLeastOne")]
    start: usize,
    /// Labels acquired between two trainings.
    #[serde(with = "range::AtLeastOne")]
    batch: usize,
    /// After how many labels everything is measured; the last ends the acquisition.
    #[serde(with = "range::AllAtLeastOne")]
    labels: Vec<usize>,
    /// Steps of each training.
    #[serde(with = "range::AtLeastOne")]
    steps: usize,
    /// How often all is done, each time with another pool.
    #[serde(with = "range::AtLeastOne")]
    repetitions: usize,
}

impl Default for Acquisition {
    fn default() -> Self {
        Self {
            class_shares: vec![1.0, 0.5, 0.5, 0.2, 0.2, 0.2, 0.1, 0.1, 0.01, 0.01],
            score: Score::Bald,
            proposal: Proposal::Softmax { inverse_temperature: 10_000.0, normalize: true },
            clip: 0.0,
            samples: 100,
            start: 10,
            batch: 1,
            labels: vec![10, 20, 30, 40, 50, 60, 70],
            steps: 500,
            repetitions: 20,
        }
    }
}

/// What a model is asked about a point.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Score {
    /// The mutual information of its label and the network.
    #[default]
    Bald,
    /// The entropy of its label.
    Entropy,
    /// 1 less the largest probability.
    LeastConfidence,
    /// 1 less the difference of the two largest.
    Margin,
}

/// The trainings that are compared: weights on the acquired points, and an even draw.
const ARMS: [(&str, Estimator); 4] =
    [("unweighted", Estimator::Naive), ("PURE", Estimator::Pure), ("LURE", Estimator::Lure), ("random points", Estimator::Naive)];

/// What one repetition measured after some number of labels.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
struct Measured {
    /// On test examples with right labels, for each arm.
    accuracy: [f64; 4],
    log_loss: [f64; 4],
    /// Of the unweighted training, on labels as wrong as the pool's.
    biases: [f64; 2],
}

/// What came of a repetition.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Repetition {
    /// After each number of labels.
    Measured(Vec<Measured>),
    /// Why there is nothing to measure.
    Diverged(String),
}

impl Experiment for ActiveTraining {
    type Config = Config;

    fn name(&self) -> &'static str {
        "active-training"
    }

    fn about(&self) -> &'static str {
        "active learning on an unbalanced pool: training with and without the weights of PURE and LURE, and the two biases"
    }

    fn check(&self, config: &Config) -> Result<(), Violation> {
        config.data.check("data")?;
        config.model.check_data(&config.data)?;
        let Acquisition { class_shares, score, samples, start, labels, proposal, .. } = &config.acquisition;
        check_labels("acquisition.labels", labels, usize::MAX)?;
        if labels[0] < *start {
            return Err(Violation::new(
                "acquisition.labels",
                format!("found {} first; allowed: at least the {start} of `start`", labels[0]),
            ));
        }
        if *score == Score::Bald && *samples < 2 {
            return Err(Violation::new("acquisition.samples", format!("found {samples}; allowed: 2 or more, BALD compares networks")));
        }
        proposal.check().map_err(|error| Violation::new("acquisition.proposal", error.to_string()))?;
        if let Ok(entry) = lyceum_data::catalog::find(&config.data.name) {
            let graph = config.model.check("model", entry.extent, entry.classes)?;
            graph.map_or(Ok(()), |graph| acquires(&config.acquisition, &graph))?;
        }
        if class_shares.iter().all(|share| *share == 0.0) {
            return Err(Violation::new("acquisition.class_shares", "found only 0; allowed: at least one share above it"));
        }
        Ok(())
    }

    fn inputs(&self, config: &Config) -> Result<Vec<Input>> {
        Ok([config.data.inputs(&Cache::locate())?, config.model.inputs()].concat())
    }

    fn run(&self, config: &Config, run: &Run) -> Result<Summary> {
        let data = config.data.prepare_for(run, config.model.known()?)?;
        if config.acquisition.class_shares.len() != data.classes.len() {
            let found = config.acquisition.class_shares.len();
            return Err(Error::invalid("acquisition.class_shares", found, format!("one share for each of {} classes", data.classes.len())));
        }
        let checkpoint = run.rewind()?;
        let mut found: Vec<Repetition> = checkpoint.map(|checkpoint| checkpoint.state()).transpose()?.unwrap_or_default();
        let all = config.acquisition.repetitions;
        let mut task = run.progress().task("repetitions", found.len() as u64, all as u64);
        while found.len() < all {
            run.stop_if_requested()?;
            let some: Vec<usize> = (found.len()..(found.len() + available_threads()).min(all)).collect();
            let more =
                one_thread_each(&some, |number| match repetition(config, &data, run.seed().child(&format!("repetition/{number}"))) {
                    Err(Error::Diverged(reason)) => Ok(Repetition::Diverged(reason)),
                    outcome => outcome.map(Repetition::Measured),
                })?;
            more.iter().for_each(|_| task.advance(""));
            found.extend(more);
            run.save_checkpoint(found.len() as u64, &found, &[])?;
        }
        let (mut measured, mut diverged) = (Vec::new(), DivergedArms::default());
        for (number, repetition) in (1..).zip(found) {
            let outcome = match repetition {
                Repetition::Measured(measured) => Ok(measured),
                Repetition::Diverged(reason) => Err(Error::Diverged(reason)),
            };
            measured.extend(diverged.catch(run, &format!("repetition {number}"), outcome)?);
        }
        let mut summary =
            Summary { table: Table::new(["labels", "trained on", "test accuracy, %", "test log-loss"]), ..Summary::default() };
        let blocks = if measured.is_empty() { Vec::new() } else { summarise(config, &measured, &mut summary) };
        diverged.note(&mut summary)?;
        let lead = format!(
            "Labels acquired from an unbalanced pool of {} with {:.0} % of the labels drawn at random ({}), by {:?} with a {} proposal; means of {} \
             repetitions ± standard errors.",
            config.data.title(),
            100.0 * config.data.label_noise,
            toml::to_string(&config.model).unwrap_or_default().trim().replace('\n', ", "),
            config.acquisition.score,
            describe(&config.acquisition.proposal),
            measured.len()
        );
        let report = Report::new("Training with and without weights", lead)
            .section("Outcome", blocks.into_iter().chain([Block::Table(summary.table.clone())]));
        run.finish(&summary, &diverged.report(report))?;
        Ok(summary)
    }
}

fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// What a repetition works with.
struct Trial<'a> {
    config: &'a Config,
    extent: Extent,
    classes: usize,
    pool: Examples,
    test: Examples,
    /// The test examples with labels as wrong as the pool's: what the pool is a sample of.
    spoiled_test: Examples,
    seed: Seed,
}

fn repetition(config: &Config, data: &Prepared, seed: Seed) -> Result<Vec<Measured>> {
    let shares = &config.acquisition.class_shares;
    let test = unbalanced(&data.test, shares, seed.child("test"));
    let mut spoiled_test = test.clone();
    let classes = data.classes.len();
    noise::symmetric(&mut spoiled_test.labels, classes, config.data.label_noise, &mut seed.stream("test/noise"));
    let pool = unbalanced(&data.train, shares, seed.child("pool"));
    let most = config.acquisition.labels.last().copied().unwrap_or(0);
    if most > pool.len() {
        return Err(Error::invalid("acquisition.labels", most, format!("at most {}, the points of the pool", pool.len())));
    }
    let trial = Trial { config, extent: data.extent, classes, pool, test, spoiled_test, seed };
    let start = |name: &str| Sampler::new(Proposal::Uniform, AcquisitionLog::new(trial.pool.len())?, seed.child(name));
    let even = vec![1.0; trial.pool.len()];
    let (mut active, mut random) = (start("active")?, start("random")?);
    active.draw(&even, config.acquisition.start)?;
    active = Sampler::new(config.acquisition.proposal, active.into_log(), seed.child("active"))?.with_clip(config.acquisition.clip);
    let mut model = trial.train(active.log(), Estimator::Naive)?;
    let mut found = Vec::new();
    for &labels in &config.acquisition.labels {
        while active.log().draws().len() < labels {
            let have = active.log().draws().len();
            let scores = trial.scores(&model, have)?;
            active.draw(&scores, config.acquisition.batch.min(labels - have))?;
            model = trial.train(active.log(), Estimator::Naive)?;
        }
        random.draw(&even, labels - random.log().draws().len())?;
        found.push(trial.measure(active.log(), &model, random.log())?);
    }
    Ok(found)
}

/// A share of each class.
fn unbalanced(examples: &Examples, shares: &[f64], seed: Seed) -> Examples {
    let order = split::permutation(examples.len(), &mut seed.stream("unbalanced"));
    let mut left: Vec<f64> = shares.to_vec();
    let counts = examples.labels.iter().fold(vec![0.0; shares.len()], |mut counts, &label| {
        counts[label] += 1.0;
        counts
    });
    left.iter_mut().zip(&counts).for_each(|(left, count)| *left = (*left * count).ceil());
    let kept: Vec<usize> = order
        .into_iter()
        .filter(|&row| {
            let left = &mut left[examples.labels[row]];
            *left -= 1.0;
            *left >= 0.0
        })
        .collect();
    examples.subset(&kept)
}

/// Whether networks can be drawn by dropout, where the acquisition needs them.
fn acquires(acquisition: &Acquisition, graph: &Graph) -> Result<(), Violation> {
    if acquisition.samples == 0 || (graph.has_dropout() && !graph.has_batch_norm()) {
        return Ok(());
    }
    let message = "networks are drawn by dropout; allowed: 0, or a model with dropout and without batch normalisation";
    Err(Violation::new("acquisition.samples", message))
}

impl Trial<'_> {
    /// A network trained from scratch on the points that were taken, with the weights of an estimator.
    fn train(&self, log: &AcquisitionLog, estimator: Estimator) -> Result<Net> {
        let taken: Vec<usize> = log.draws().iter().map(|draw| draw.index).collect();
        let labelled = self.pool.subset(&taken);
        let mut training = self.config.training.clone();
        training.epochs = self.config.acquisition.steps.div_ceil(taken.len().div_ceil(training.batch_size));
        let seed = self.seed.child(&format!("train/{}", taken.len()));
        let model = self.config.model.init(self.extent, self.classes, seed, &self.config.device.device())?;
        acquires(&self.config.acquisition, model.graph())?;
        let weights = log.weights(estimator).into_iter().map(|weight| weight as f32).collect();
        let mut trainer =
            Trainer::new(training, model, self.classes, Box::new(Plain), seed)?.with_weights(weights).with_pictures(self.extent);
        trainer.run_epochs(&labelled)?;
        Ok(trainer.model().clone())
    }

    /// Probabilities of all posterior samples, `K × n × C`.
    fn samples(&self, model: &Net, examples: &Examples, name: &str) -> Result<Array3<f32>> {
        match self.config.acquisition.samples {
            0 => Ok(probabilities(model, examples)?.insert_axis(Dimension(0))),
            samples => dropout_samples(model, examples, samples, self.seed.child(name)),
        }
    }

    fn scores(&self, model: &Net, have: usize) -> Result<Vec<f64>> {
        let samples = self.samples(model, &self.pool, &format!("acquire/{have}"))?;
        let mean = || scores::mean(samples.view());
        match self.config.acquisition.score {
            Score::Bald => scores::bald(samples.view()),
            Score::Entropy => scores::entropy(mean()?.view()),
            Score::LeastConfidence => scores::least_confidence(mean()?.view()),
            Score::Margin => scores::margin(mean()?.view()),
        }
    }

    /// The posterior predictive, `n × C`.
    fn predictive(&self, model: &Net, examples: &Examples) -> Result<Array2<f32>> {
        scores::mean(self.samples(model, examples, "predict")?.view())
    }

    fn measure(&self, log: &AcquisitionLog, unweighted: &Net, random: &AcquisitionLog) -> Result<Measured> {
        let mut measured = Measured { accuracy: [0.0; 4], log_loss: [0.0; 4], biases: [0.0; 2] };
        for (arm, (name, estimator)) in ARMS.into_iter().enumerate() {
            let model = match name {
                "unweighted" => unweighted.clone(),
                "random points" => self.train(random, estimator)?,
                _ => self.train(log, estimator)?,
            };
            let predicted = self.predictive(&model, &self.test)?;
            let test = |loss| losses(predicted.view(), &self.test.labels, loss);
            let right = test(Loss::ZeroOne)?.into_iter().filter(|loss| *loss == 0.0).count();
            measured.accuracy[arm] = right as f64 / self.test.len() as f64;
            measured.log_loss[arm] = mean_and_deviation(&test(Loss::CrossEntropy)?).0;
        }
        let taken: Vec<usize> = log.draws().iter().map(|draw| draw.index).collect();
        let labelled = self.pool.subset(&taken);
        let log_loss = |examples: &Examples| losses(self.predictive(unweighted, examples)?.view(), &examples.labels, Loss::CrossEntropy);
        let risk = mean_and_deviation(&log_loss(&self.spoiled_test)?).0;
        let Biases { overfitting, active_learning } = Biases::measure(log, &log_loss(&labelled)?, risk)?;
        measured.biases = [overfitting, active_learning];
        Ok(measured)
    }
}

/// Rows of the table and values of the summary; gives the charts.
fn summarise(config: &Config, found: &[Vec<Measured>], summary: &mut Summary) -> Vec<Block> {
    let root = (found.len() as f64).sqrt();
    let over = |place: usize, of: &dyn Fn(&Measured) -> f64| {
        let (mean, deviation) = mean_and_deviation(&found.iter().map(|one| of(&one[place])).collect::<Vec<f64>>());
        (mean, deviation / root)
    };
    let labels = || config.acquisition.labels.iter().enumerate();
    let mut charts = Vec::new();
    for (title, axis, key, scale, of) in [
        ("Test accuracy", "%", "accuracy", 100.0, (|one, arm| one.accuracy[arm]) as fn(&Measured, usize) -> f64),
        ("Test log-loss", "nats", "log_loss", 1.0, |one, arm| one.log_loss[arm]),
    ] {
        let mut chart = Chart::new(title, Axis::linear("labels"), Axis::linear(axis));
        for (arm, (name, _)) in ARMS.into_iter().enumerate() {
            let points: Vec<(f64, (f64, f64))> = labels().map(|(place, &m)| (m as f64, over(place, &|one| scale * of(one, arm)))).collect();
            for (m, (mean, error)) in &points {
                summary.values.insert(format!("{m}/{name}/{key}"), *mean);
                summary.values.insert(format!("{m}/{name}/{key}_standard_error"), *error);
            }
            let band: Vec<(f64, f64)> = points.iter().map(|(_, (mean, error))| (mean - error, mean + error)).collect();
            chart = chart.with(Series::line(name, points.iter().map(|(m, (mean, _))| (*m, *mean))).with_band(band));
        }
        charts.push(Block::Chart(chart));
    }
    for (place, m) in labels() {
        for (arm, (name, _)) in ARMS.into_iter().enumerate() {
            let (accuracy, loss) = (over(place, &|one| 100.0 * one.accuracy[arm]), over(place, &|one| one.log_loss[arm]));
            let shown = |(mean, error): (f64, f64), digits: usize| format!("{mean:.digits$} ± {error:.digits$}");
            summary.table.push([m.to_string(), name.to_owned(), shown(accuracy, 1), shown(loss, 3)]);
        }
    }
    let mut chart = Chart::new("Biases of the unweighted training's loss", Axis::linear("labels"), Axis::linear("nats"));
    for (index, (name, key)) in [("overfitting", "overfitting_bias"), ("active learning", "active_learning_bias")].into_iter().enumerate() {
        let points: Vec<(f64, (f64, f64))> = labels().map(|(place, &m)| (m as f64, over(place, &|one| one.biases[index]))).collect();
        for (m, (mean, error)) in &points {
            summary.values.insert(format!("{m}/{key}"), *mean);
            summary.values.insert(format!("{m}/{key}_standard_error"), *error);
        }
        let band: Vec<(f64, f64)> = points.iter().map(|(_, (mean, error))| (mean - error, mean + error)).collect();
        chart = chart.with(Series::line(name, points.iter().map(|(m, (mean, _))| (*m, *mean))).with_band(band));
    }
    charts.push(Block::Chart(chart));
    charts
}
