//! The experiment `digit-tuples`: prediction sets for many classes, from real digits.
//!
//! Images of digits are put side by side and a classifier learns the number that they make: a hundred classes of two
//! digits, a thousand of three. With few examples of each class it is weak and its small probabilities are noise, the
//! setting in which RAPS was proposed. It combines `lyceum-train` and `lyceum-conformal`.

use lyceum_conformal::{
    Conformal, ConformalConfig, ScoreConfig,
    conformal::places,
    metrics, temperature,
    tune::{self, Criterion},
};
use lyceum_core::{
    Experiment, Report, Result, Run, Seed, Summary, Violation,
    math::mean_and_deviation,
    range,
    report::{Axis, Block, Chart, Series, Table},
};
use lyceum_data::{Cache, Examples, Extent, prepare::DataConfig, split};
use lyceum_train::{DeviceName, ModelConfig, Plain, TrainConfig, Trainer, logits};
use ndarray::{Array2, Axis as Dimension, s};
use rand::RngExt;
use serde::{Deserialize, Serialize};

/// Trains a classifier of numbers and compares prediction sets.
pub(crate) struct DigitTuples;

/// The recipe.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    #[serde(default)]
    device: DeviceName,
    data: DataConfig,
    model: ModelConfig,
    #[serde(default)]
    training: TrainConfig,
    numbers: Numbers,
}

/// Numbers, and how often they are split.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Numbers {
    /// Digits of a number: the data set's classes to this power are the labels.
    #[serde(deserialize_with = "range::at_least_one")]
    digits: usize,
    /// How many numbers are put together of training digits.
    #[serde(deserialize_with = "range::at_least_one")]
    train: usize,
    /// How many are put together of test digits; half calibrate, half test.
    #[serde(deserialize_with = "range::at_least_one")]
    count: usize,
    /// Random splits into calibration and test numbers.
    #[serde(deserialize_with = "range::at_least_one")]
    splits: usize,
    /// The share of calibration numbers that fits the temperature and tunes RAPS.
    #[serde(deserialize_with = "range::open_unit")]
    tuning: f64,
    /// Shares of numbers whose set may miss the truth.
    #[serde(deserialize_with = "range::fractions")]
    alphas: Vec<f64>,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { digits: 3, train: 30_000, count: 20_000, splits: 20, tuning: 0.3, alphas: vec![0.1, 0.05] }
    }
}

const METHODS: [&str; 7] = ["naive", "top-k", "LAC", "APS", "SAPS", "RAPS", "RAPS-adaptive"];

/// What was measured of a method on one split.
#[derive(Clone, Copy)]
struct Measured {
    coverage: f64,
    size: f64,
    sscv: f64,
    /// Coverage by the rank of the true label, over the strata of the paper.
    by_rank: [f64; metrics::STRATA.len()],
}

impl Experiment for DigitTuples {
    type Config = Config;

    fn name(&self) -> &'static str {
        "digit-tuples"
    }

    fn about(&self) -> &'static str {
        "prediction sets for many classes: numbers put together from real digits, every score over many splits"
    }

    fn check(&self, config: &Config) -> Result<(), Violation> {
        config.data.check("data")?;
        if let Ok(entry) = lyceum_data::catalog::find(&config.data.name) {
            config.model.check("model", side_by_side(entry.extent, config.numbers.digits))?;
        }
        let Numbers { digits, count, alphas, .. } = &config.numbers;
        if *digits > 4 {
            return Err(Violation::new("numbers.digits", format!("found {digits}; allowed: 1 to 4")));
        }
        if *count < 100 {
            return Err(Violation::new("numbers.count", format!("found {count}; allowed: 100 or more")));
        }
        if alphas.is_empty() || alphas.iter().any(|alpha| *alpha <= 0.0 || *alpha >= 1.0) {
            return Err(Violation::new("numbers.alphas", format!("found {alphas:?}; allowed: at least one, each > 0 and < 1")));
        }
        Ok(())
    }

    fn run(&self, config: &Config, run: &Run) -> Result<Summary> {
        let data = config.data.prepare(&Cache::locate(), run.seed())?;
        let digits = config.numbers.digits;
        let extent = side_by_side(data.extent, digits);
        let classes = data.classes.len().pow(digits as u32);
        let make = |from: &Examples, count, name| numbers(from, data.extent, data.classes.len(), digits, count, run.seed().child(name));
        let (train, held_out) = (make(&data.train, config.numbers.train, "train"), make(&data.held_out, 1_000, "held-out"));
        let part = run.child("classifier")?;
        let model = config.model.init(extent, classes, run.seed(), &config.device.device());
        let mut trainer = Trainer::new(config.training.clone(), model, classes, Box::new(Plain), run.seed());
        trainer.train(&part, &train, Some(&held_out), "classifier")?;
        run.stop_if_requested()?;
        let test = make(&data.test, config.numbers.count, "test");
        let numbers = logits(trainer.model(), &test)?;
        let labels = test.labels;
        let ranks: Vec<usize> = places(numbers.view(), &labels, 1.0)?.iter().map(|place| place.rank).collect();
        let accuracy = ranks.iter().filter(|rank| **rank == 1).count() as f64 / ranks.len() as f64;
        let mut summary = Summary::default();
        summary.values.insert("accuracy".into(), accuracy);
        summary.table = Table::new(["α", "method", "coverage", "mean size", "SSCV"]);
        let mut sections = Vec::new();
        for &alpha in &config.numbers.alphas {
            let mut splits = Vec::new();
            let mut task = run.progress().task(&format!("alpha {alpha}"), 0, config.numbers.splits as u64);
            for number in 0..config.numbers.splits {
                run.stop_if_requested()?;
                splits.push(one_split(config, alpha, &numbers, &labels, &ranks, run.seed().child(&format!("split/{number}")))?);
                task.advance("");
            }
            sections.push((alpha, summarise(alpha, &splits, &mut summary)));
        }
        let lead = format!(
            "{} numbers of {digits} digits put together from {} test digits of {}: {} classes, the classifier is right in {:.1} %. \
             Half of the numbers calibrate, half test; means over {} random splits, ± their standard deviation.",
            labels.len(),
            data.test.len(),
            config.data.name,
            numbers.ncols(),
            100.0 * accuracy,
            config.numbers.splits
        );
        let mut report = Report::new("Prediction sets for many classes", lead).section("Outcome", [Block::Table(summary.table.clone())]);
        for (alpha, blocks) in sections {
            report = report.section(format!("α = {alpha}"), blocks);
        }
        let recipe = toml::to_string(config).unwrap_or_default();
        run.finish(&summary, &report.section("Recipe", [Block::Code(recipe)]))?;
        Ok(summary)
    }
}

/// The extent of several images side by side.
fn side_by_side(extent: Extent, count: usize) -> Extent {
    Extent { width: extent.width * count, ..extent }
}

/// Numbers put together from digits drawn evenly, with replacement.
fn numbers(from: &Examples, extent: Extent, classes: usize, digits: usize, count: usize, seed: Seed) -> Examples {
    let mut rng = seed.stream("numbers");
    let mut inputs = Vec::with_capacity(count * digits * extent.len());
    let mut labels = Vec::with_capacity(count);
    for _ in 0..count {
        let drawn: Vec<usize> = (0..digits).map(|_| rng.random_range(0..from.len())).collect();
        for line in 0..extent.channels * extent.height {
            for &digit in &drawn {
                inputs.extend(from.inputs.row(digit).slice(s![line * extent.width..(line + 1) * extent.width]));
            }
        }
        labels.push(drawn.iter().fold(0, |number, &digit| number * classes + from.labels[digit]));
    }
    let inputs = Array2::from_shape_vec((count, digits * extent.len()), inputs).unwrap_or_default();
    Examples { inputs, labels }
}

/// Every method, calibrated and tested on one split.
fn one_split(config: &Config, alpha: f64, z: &Array2<f32>, labels: &[usize], ranks: &[usize], seed: Seed) -> Result<Vec<Measured>> {
    let tuning = 0.5 * config.numbers.tuning;
    let parts = split::random(labels.len(), &[tuning, 0.5 - tuning, 0.5], &mut seed.stream("split"));
    let pick =
        |rows: &[usize]| -> (Array2<f32>, Vec<usize>) { (z.select(Dimension(0), rows), rows.iter().map(|&row| labels[row]).collect()) };
    let (tune, calibration, test) = (pick(&parts[0]), pick(&parts[1]), pick(&parts[2]));
    let ranks: Vec<usize> = parts[2].iter().map(|&row| ranks[row]).collect();
    let temperature = temperature::fit(tune.0.view(), &tune.1)?;
    let base = ConformalConfig { alpha, temperature, ..ConformalConfig::default() };
    let raps = |criterion| tune::raps(base, tune.0.view(), &tune.1, criterion, seed).map(|config| config.score);
    let measure = |method: &&str| {
        let score = match *method {
            "naive" => ScoreConfig::Naive,
            "top-k" => ScoreConfig::TopK,
            "LAC" => ScoreConfig::Lac,
            "SAPS" => ScoreConfig::Saps { weight: 0.1 },
            "RAPS" => raps(Criterion::Size)?,
            "RAPS-adaptive" => raps(Criterion::Adaptiveness)?,
            _ => ScoreConfig::Aps,
        };
        let conformal = Conformal::calibrate(ConformalConfig { score, ..base }, calibration.0.view(), &calibration.1, seed)?;
        let sets = conformal.predict(test.0.view(), seed.child("test"))?;
        let by_rank = metrics::coverage_by_difficulty(&sets, &test.1, &ranks, &metrics::STRATA);
        Ok(Measured {
            coverage: metrics::coverage(&sets, &test.1).share,
            size: metrics::mean_size(&sets),
            sscv: metrics::sscv(&sets, &test.1, alpha, &metrics::STRATA),
            by_rank: std::array::from_fn(|stratum| {
                by_rank.get(stratum).filter(|share| share.trials > 0).map_or(f64::NAN, |share| share.share)
            }),
        })
    };
    METHODS.iter().map(measure).collect()
}

/// Rows of the table and values of the summary; gives the charts.
fn summarise(alpha: f64, splits: &[Vec<Measured>], summary: &mut Summary) -> Vec<Block> {
    let over =
        |method: usize, of: fn(&Measured) -> f64| mean_and_deviation(&splits.iter().map(|split| of(&split[method])).collect::<Vec<f64>>());
    let mut sizes = Vec::new();
    let mut ranks = Table::new(["method", "rank 1", "2–3", "4–6", "7–10", "11–100", "101+"]);
    for (index, method) in METHODS.iter().enumerate() {
        let (coverage, size, sscv) = (over(index, |m| m.coverage), over(index, |m| m.size), over(index, |m| m.sscv));
        let shown = |(mean, deviation): (f64, f64), digits: usize| format!("{mean:.digits$} ± {deviation:.digits$}");
        summary.table.push([alpha.to_string(), (*method).into(), shown(coverage, 4), shown(size, 2), shown(sscv, 3)]);
        for (name, value) in [("coverage", coverage.0), ("coverage_deviation", coverage.1), ("mean_size", size.0), ("sscv", sscv.0)] {
            summary.values.insert(format!("{alpha}/{method}/{name}"), value);
        }
        sizes.push(size.0);
        let by_rank = (0..metrics::STRATA.len()).map(|stratum| {
            let values: Vec<f64> = splits.iter().map(|split| split[index].by_rank[stratum]).filter(|share| share.is_finite()).collect();
            if values.is_empty() { "–".into() } else { format!("{:.3}", values.iter().sum::<f64>() / values.len() as f64) }
        });
        ranks.push(std::iter::once((*method).to_owned()).chain(by_rank));
    }
    let chart =
        Chart::new("Labels in a set", Axis::category("method", METHODS), Axis::log("mean size")).with(Series::bars("mean size", sizes));
    vec![Block::Chart(chart), Block::Text("Coverage by the rank of the true label:".into()), Block::Table(ranks)]
}
