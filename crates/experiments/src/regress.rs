//! The experiment `regress`: train a network that predicts numbers by one or more estimators, then calibrate intervals.
//!
//! It combines `lyceum-optim` and `lyceum-conformal`, which do not know of each other.

use lyceum_conformal::{Intervals, intervals, metrics, metrics::Share, regression::Interval};
use lyceum_core::{
    Experiment, Measure, Report, Result, Run, Summary, Violation, range,
    report::{Axis, Block, Chart, Series, Shape, Table},
    run::Input,
};
use lyceum_data::{
    Cache, Examples,
    prepare::{DataConfig, Prepared},
};
use lyceum_optim::{
    comparison::ArmConfig,
    experiment::{curve, percent, with_network},
};
use lyceum_train::{DeviceName, Errors, ModelConfig, Net, Regression, RegressionLoss, TrainConfig, logits, onnx};
use ndarray::Array2;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::trained::Target;

/// More groups than this make no table to read.
const MOST_ROWS: usize = 60;
/// Points of a cloud in the report.
const POINTS: usize = 1000;
/// Parts of the test examples, by what is predicted of them.
const FIFTHS: usize = 5;

/// Trains, calibrates, measures.
pub struct Regress;

/// The recipe of `regress`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    device: DeviceName,
    data: DataConfig,
    model: ModelConfig,
    #[serde(default)]
    training: TrainConfig,
    #[serde(default)]
    regression: Numbers,
    /// What is compared.
    arm: Vec<ArmConfig>,
}

/// What is predicted, and with which intervals.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Numbers {
    /// What the network is trained by. With `quantile` intervals are as wide as the network says for each example (CQR), with all others
    /// of one width.
    loss: RegressionLoss,
    /// The share of numbers that may lie outside their interval.
    #[serde(with = "range::OpenUnit")]
    alpha: f64,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { loss: RegressionLoss::default(), alpha: 0.1 }
    }
}

/// A trained arm with its intervals, in units of the target.
struct Arm {
    name: String,
    net: Net,
    intervals: Intervals,
    train: Errors,
    test: Errors,
    /// At the epoch with the lowest loss on held-out examples, and that epoch.
    best: (Errors, usize),
    predictions: Vec<f64>,
    ends: Vec<Interval>,
    evaluations: f64,
    metrics: Vec<serde_json::Value>,
}

impl Experiment for Regress {
    type Config = Config;

    fn name(&self) -> &'static str {
        "regress"
    }

    fn about(&self) -> &'static str {
        "trains a network that predicts numbers (squared, absolute, Huber or quantile loss), then calibrates intervals around them"
    }

    fn check(&self, config: &Config) -> Result<(), Violation> {
        let Config { data, model, training, arm, .. } = config;
        data.check_target("data")?;
        if data.held_out == 0.0 {
            return Err(Violation::new("data.held_out", "found 0; allowed: more than 0, intervals are calibrated on held-out examples"));
        }
        model.check_data(data)?;
        let given = [
            ("label_smoothing", training.label_smoothing > 0.0, "without classes"),
            ("class_weights", training.class_weights.is_some(), "without classes"),
            ("patience", training.patience.is_some(), "with held-out examples that calibrate intervals, and may decide nothing else"),
        ];
        if let Some((key, _, why)) = given.into_iter().find(|(_, given, _)| *given) {
            return Err(Violation::new(format!("training.{key}"), format!("found {why}; allowed: absent")));
        }
        ArmConfig::check(arm)
    }

    fn inputs(&self, config: &Config) -> Result<Vec<Input>> {
        Ok([config.data.inputs(&Cache::locate())?, config.model.inputs()].concat())
    }

    fn run(&self, config: &Config, run: &Run) -> Result<Summary> {
        let data = config.data.prepare_for(run, None)?;
        let work = Work::new(config, data);
        let (arms, diverged) = ArmConfig::each(&config.arm, run, |arm| work.arm(arm, run))?;
        let name = config.data.target.clone().unwrap_or_default();
        for arm in &arms {
            let target = Target::new(name.clone(), work.scale, Some(arm.intervals));
            onnx::save(&run.folder().join(&arm.name), &arm.net, &[], &work.data, vec![target.metadata()])?;
        }
        let truth = numbers(&work.data.test);
        let mut summary = Summary { table: work.table(&arms, &truth)?, headline: headline(), curves: curves(), ..Summary::default() };
        for arm in &arms {
            let mut put = |key: &str, value: f64| {
                summary.values.insert(format!("{}/{key}", arm.name), value);
            };
            put("test_r2", arm.test.r2);
            put("test_rmse", arm.test.rmse);
            put("test_mae", arm.test.mae);
            put("train_rmse", arm.train.rmse);
            put("best_test_rmse", arm.best.0.rmse);
            put("best_epoch", arm.best.1 as f64);
            put("coverage", coverage(&arm.ends, &truth).share);
            put("mean_width", mean_width(&arm.ends));
            put("gradient_evaluations", arm.evaluations);
        }
        diverged.note(&mut summary)?;
        run.finish(&summary, &diverged.report(work.report(&arms, &truth, &summary)))?;
        Ok(summary)
    }
}

/// What all arms share.
struct Work<'a> {
    config: &'a Config,
    data: Prepared,
    /// The same with targets of mean 0 and deviation 1, for training.
    standardized: [Examples; 2],
    /// Mean and deviation of the training targets, which the network's last step brings it to; 0 and 1 if it is there already.
    scale: [f32; 2],
    /// What residuals are divided by in training.
    unit: f32,
}

impl<'a> Work<'a> {
    fn new(config: &'a Config, data: Prepared) -> Self {
        let y = numbers(&data.train);
        let mean = y.iter().sum::<f64>() / y.len() as f64;
        let deviation = (y.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / y.len() as f64).sqrt();
        let deviation = if deviation > 0.0 { deviation as f32 } else { 1.0 };
        // A network that predicts already does so in units of the target.
        let (scale, unit) = if config.model.keeps_head() { ([0.0, 1.0], deviation) } else { ([mean as f32, deviation], 1.0) };
        let standardized = [&data.train, &data.held_out]
            .map(|examples| Examples { targets: examples.targets.iter().map(|y| (y - scale[0]) / scale[1]).collect(), ..examples.clone() });
        Self { config, data, standardized, scale, unit }
    }

    fn arm(&self, arm: &ArmConfig, run: &Run) -> Result<Arm> {
        let Config { device, model, training, regression, .. } = self.config;
        let Prepared { extent, train, held_out, test, .. } = &self.data;
        let part = run.child(&arm.name)?;
        let outputs = regression.loss.outputs();
        let net = model.init(*extent, outputs, run.seed(), &device.device())?;
        let objective = Regression { loss: regression.loss, alpha: regression.alpha, unit: self.unit };
        let mut trainer = arm.trainer(training, net, outputs, &self.data, run.seed())?.with_regression(objective);
        let [standard_train, standard_held_out] = &self.standardized;
        trainer.train(&part, standard_train, Some(standard_held_out), &arm.name)?;
        run.stop_if_requested()?;
        let net = self.rescaled(trainer.model().clone())?;
        let errors =
            |net: &Net, examples: &Examples| -> Result<Errors> { Ok(Errors::of(&predictions(&given(net, examples)?), &numbers(examples))) };
        let intervals = Intervals::calibrate(given(&net, held_out)?.view(), &numbers(held_out), regression.alpha)?;
        let given = given(&net, test)?;
        let predictions = predictions(&given);
        let own = Errors::of(&predictions, &numbers(test));
        let best = match trainer.best()? {
            Some((best, epoch)) => (errors(&self.rescaled(best)?, test)?, epoch),
            None => (own, training.epochs),
        };
        Ok(Arm {
            name: arm.name.clone(),
            train: errors(&net, train)?,
            test: own,
            best,
            ends: intervals.of(given.view())?,
            intervals,
            predictions,
            evaluations: trainer.evaluations(),
            metrics: part.metrics()?,
            net,
        })
    }

    /// The network in units of the target.
    fn rescaled(&self, net: Net) -> Result<Net> {
        let [mean, deviation] = self.scale;
        if self.scale == [0.0, 1.0] { Ok(net) } else { net.rescaled(deviation, mean) }
    }

    /// A row an arm, and what the mean of the training targets comes to.
    fn table(&self, arms: &[Arm], truth: &[f64]) -> Result<Table> {
        let columns = ["", "R²", "RMSE", "MAE", "RMSE at best epoch", "RMSE in training", "coverage (95 % interval)", "mean width"];
        let mut table = Table::new(columns);
        for arm in arms {
            table.push([
                arm.name.clone(),
                format!("{:.3}", arm.test.r2),
                significant(arm.test.rmse),
                significant(arm.test.mae),
                significant(arm.best.0.rmse),
                significant(arm.train.rmse),
                share(coverage(&arm.ends, truth)),
                significant(mean_width(&arm.ends)),
            ]);
        }
        if !arms.is_empty() {
            let y = numbers(&self.data.train);
            let mean = y.iter().sum::<f64>() / y.len() as f64;
            let constant = |n: usize| Array2::from_elem((n, 1), mean);
            let held_out = numbers(&self.data.held_out);
            let intervals = Intervals::calibrate(constant(held_out.len()).view(), &held_out, self.config.regression.alpha)?;
            let ends = intervals.of(constant(truth.len()).view())?;
            let [test, train] = [truth, &y].map(|y| Errors::of(&vec![mean; y.len()], y));
            table.push([
                "the mean of the training examples".to_owned(),
                format!("{:.3}", test.r2),
                significant(test.rmse),
                significant(test.mae),
                "–".to_owned(),
                significant(train.rmse),
                share(coverage(&ends, truth)),
                significant(mean_width(&ends)),
            ]);
        }
        Ok(table)
    }

    fn report(&self, arms: &[Arm], truth: &[f64], summary: &Summary) -> Report {
        let Config { data: config, regression, .. } = self.config;
        let target = config.target.clone().unwrap_or_default();
        let counts = [&self.data.train, &self.data.held_out, &self.data.test].map(Examples::len);
        let lead = format!(
            "{} training examples of {}, {} held out for calibration, {} for testing. What is predicted is called {target}. Every number below is \
             measured on the test examples unless it says otherwise; errors and widths are in units of {target}.",
            counts[0],
            config.title(),
            counts[1],
            counts[2]
        );
        let (low, high) = metrics::coverage_band(counts[1], regression.alpha, counts[2], 0.95);
        let intervals_text = format!(
            "An interval contains the number with probability at least {}. With {} examples for calibration and {} for testing, 95 of 100 \
             such experiments would measure a coverage between {} and {}. The guarantee is for all examples together: the figures below \
             show how it is spread over small and large predictions.",
            percent(1.0 - regression.alpha),
            counts[1],
            counts[2],
            percent(low),
            percent(high)
        );
        let curve = |title: &str, label: &str, metric: &str| {
            Block::Chart(curve(title, label, metric, arms.iter().map(|arm| (arm.name.as_str(), &*arm.metrics))))
        };
        let curves = [
            curve("R² on held-out examples", "R²", "validation_r2"),
            curve("Training loss", "loss, the target in units of its deviation", "train_loss"),
        ];
        let mut report = Report::new(format!("Numbers predicted on {}", config.title()), lead)
            .section("Outcome", [Block::Table(summary.table.clone())])
            .section("Learning curves", curves)
            .section("Predictions", predicted(arms, truth, &target))
            .section("Intervals", std::iter::once(Block::Text(intervals_text)).chain(by_prediction(arms, truth, regression.alpha)));
        if !self.data.test.groups.is_empty() && self.data.groups.len() <= MOST_ROWS {
            report = report.section("Groups", [Block::Table(by_group(arms, truth, &self.data))]);
        }
        with_network(report, arms.first().map(|arm| &arm.net))
    }
}

fn headline() -> Vec<Measure> {
    vec![
        Measure::number("test_r2", "R²"),
        Measure::number("test_rmse", "RMSE"),
        Measure::share("coverage", "coverage"),
        Measure::number("mean_width", "mean width"),
    ]
}

/// What is drawn over the epochs.
fn curves() -> Vec<Measure> {
    vec![
        Measure::number("validation_r2", "R² on held-out examples"),
        Measure::number("train_loss", "training loss, the target in units of its deviation"),
    ]
}

/// What a network gives for examples, in double precision.
fn given(net: &Net, examples: &Examples) -> Result<Array2<f64>> {
    Ok(logits(net, examples)?.mapv(f64::from))
}

fn predictions(given: &Array2<f64>) -> Vec<f64> {
    given.rows().into_iter().map(|row| intervals::prediction(&row.to_vec())).collect()
}

fn numbers(examples: &Examples) -> Vec<f64> {
    examples.targets.iter().map(|y| f64::from(*y)).collect()
}

fn coverage(ends: &[Interval], truth: &[f64]) -> Share {
    Share::new(ends.iter().zip(truth).filter(|((low, high), y)| low <= y && *y <= high).count(), truth.len())
}

fn mean_width(ends: &[Interval]) -> f64 {
    ends.iter().map(|(low, high)| high - low).sum::<f64>() / ends.len().max(1) as f64
}

fn share(share: Share) -> String {
    format!("{} ({} to {})", percent(share.share), percent(share.low), percent(share.high))
}

/// Four digits that count.
fn significant(value: f64) -> String {
    if !value.is_finite() {
        return "∞".into();
    }
    let digits = if value == 0.0 { 3 } else { (3 - value.abs().log10().floor() as i32).clamp(0, 12) };
    format!("{value:.*}", digits as usize)
}

/// Predicted against true, a chart an arm.
fn predicted<'a>(arms: &'a [Arm], truth: &'a [f64], target: &'a str) -> impl Iterator<Item = Block> + 'a {
    let (low, high) = truth.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), y| (low.min(*y), high.max(*y)));
    arms.iter().map(move |arm| {
        // A part of many, spread evenly.
        let step = truth.len().div_ceil(POINTS);
        let points = truth.iter().zip(&arm.predictions).step_by(step).map(|(y, p)| (*y, *p));
        let chart = Chart::new(arm.name.clone(), Axis::linear(format!("{target}, true")), Axis::linear(format!("{target}, predicted")));
        let chart = chart.with(Series::new("test examples", Shape::Scatter, points));
        Block::Chart(chart.with(Series::new("true = predicted", Shape::Reference, [(low, low), (high, high)])))
    })
}

/// Coverage, width and error within fifths of the test examples, from small predictions to large.
fn by_prediction(arms: &[Arm], truth: &[f64], alpha: f64) -> [Block; 2] {
    let mut table = Table::new(["", "predictions", "test examples", "RMSE", "coverage (95 % interval)", "mean width"]);
    let axis = Axis::category("fifths, from small to large predictions", (1..=FIFTHS).map(|n| n.to_string()));
    let mut chart = Chart::new("Coverage by prediction", axis, Axis::linear("coverage"));
    for arm in arms {
        let mut order: Vec<usize> = (0..truth.len()).collect();
        order.sort_by(|a, b| arm.predictions[*a].total_cmp(&arm.predictions[*b]).then(a.cmp(b)));
        let mut shares = Vec::new();
        for rows in order.chunks(order.len().div_ceil(FIFTHS).max(1)) {
            let (errors, covered, width) = arm.within(rows, truth);
            let ends = [rows[0], rows[rows.len() - 1]].map(|row| significant(arm.predictions[row]));
            shares.push(covered.share);
            table.push([
                arm.name.clone(),
                format!("{} to {}", ends[0], ends[1]),
                rows.len().to_string(),
                significant(errors.rmse),
                share(covered),
                significant(width),
            ]);
        }
        chart = chart.with(Series::bars(&arm.name, shares));
    }
    let asked = [0, FIFTHS - 1].map(|place| (place as f64, 1.0 - alpha));
    let chart = chart.with(Series::new("asked for", Shape::Reference, asked));
    [Block::Table(table), Block::Chart(chart)]
}

fn by_group(arms: &[Arm], truth: &[f64], data: &Prepared) -> Table {
    let mut table = Table::new(["", "group", "test examples", "RMSE", "MAE", "coverage (95 % interval)", "mean width"]);
    for arm in arms {
        for (number, name) in data.groups.iter().enumerate() {
            let rows: Vec<usize> = (0..truth.len()).filter(|&row| data.test.groups[row] == number).collect();
            if rows.is_empty() {
                continue;
            }
            let (errors, covered, width) = arm.within(&rows, truth);
            table.push([
                arm.name.clone(),
                name.clone(),
                rows.len().to_string(),
                significant(errors.rmse),
                significant(errors.mae),
                share(covered),
                significant(width),
            ]);
        }
    }
    table
}

impl Arm {
    /// Errors, coverage and mean width of some test examples.
    fn within(&self, rows: &[usize], truth: &[f64]) -> (Errors, Share, f64) {
        let of = |values: &[f64]| rows.iter().map(|&row| values[row]).collect::<Vec<_>>();
        let ends: Vec<Interval> = rows.iter().map(|&row| self.ends[row]).collect();
        let truth = of(truth);
        (Errors::of(&of(&self.predictions), &truth), coverage(&ends, &truth), mean_width(&ends))
    }
}
