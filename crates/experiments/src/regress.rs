//! The experiment `regress`: train a network that predicts numbers by one or more estimators, then calibrate intervals.
//!
//! It combines `lyceum-optim` and `lyceum-conformal`, which do not know of each other.

use lyceum_conformal::{Intervals, metrics::Share, quantile, regression::Interval};
use lyceum_core::{
    Error, Experiment, Measure, Report, Result, Run, Summary, Violation, range,
    report::{Axis, Block, Chart, Series, Shape, Table, significant},
    run::Input,
};
use lyceum_data::{
    Cache, Examples,
    prepare::{DataConfig, Prepared},
};
use lyceum_optim::{
    comparison::{ArmConfig, check_arms, each_arm},
    experiment::{curve, with_network},
};
use lyceum_train::{DeviceName, Errors, ModelConfig, Net, Regression, RegressionLoss, TrainConfig, logits, onnx};
use ndarray::Array2;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    guarantee::{Guarantee, MOST_ROWS, share, too_many},
    trained::Target,
};

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
        check_arms(arm.iter().map(|arm| arm.name.as_str()))
    }

    fn inputs(&self, config: &Config) -> Result<Vec<Input>> {
        Ok([config.data.inputs(&Cache::locate())?, config.model.inputs()].concat())
    }

    fn run(&self, config: &Config, run: &Run) -> Result<Summary> {
        let work = Work::new(config, config.data.prepare_for(run, config.model.known()?)?)?;
        let (arms, diverged) = each_arm(&config.arm, |arm| &arm.name, run, |arm| work.arm(arm, run))?;
        let name = config.data.target.clone().unwrap_or_default();
        for arm in &arms {
            let target = Target::new(name.clone(), work.scale, Some(arm.intervals));
            onnx::save(&run.folder().join(&arm.name), &arm.net, &[], &work.data, vec![target.metadata()])?;
        }
        let truth = &work.truth.test;
        let mut summary = Summary { table: work.table(&arms)?, headline: headline(), curves: curves(), ..Summary::default() };
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
            put("coverage", coverage(&arm.ends, truth).share);
            put("mean_width", mean_width(&arm.ends));
            put("gradient_evaluations", arm.evaluations);
        }
        diverged.note(&mut summary)?;
        run.finish(&summary, &diverged.report(work.report(&arms, &summary)))?;
        Ok(summary)
    }
}

/// What all arms share.
struct Work<'a> {
    config: &'a Config,
    /// With targets of mean 0 and deviation 1.
    data: Prepared,
    /// The targets as they are.
    truth: Truth,
    /// Mean and deviation that targets are brought to 0 and 1 by, and the network's last step back.
    scale: [f32; 2],
}

/// Numbers that are predicted.
struct Truth {
    train: Vec<f64>,
    held_out: Vec<f64>,
    test: Vec<f64>,
}

impl<'a> Work<'a> {
    fn new(config: &'a Config, mut data: Prepared) -> Result<Self> {
        let [train, held_out, test] = [&data.train, &data.held_out, &data.test].map(|examples| examples.targets.clone());
        let truth = Truth { train, held_out, test };
        let (alpha, count) = (config.regression.alpha, truth.held_out.len());
        let fewest = quantile::fewest(alpha);
        if count < fewest {
            let allowed = format!("{fewest} or more, for intervals with alpha = {alpha} that end somewhere");
            return Err(Error::invalid("data.held_out", format!("{count} examples"), allowed));
        }
        let scale = match config.model.target_scale()? {
            Some(scale) => scale,
            None => scale_of(&truth.train)?,
        };
        for examples in [&mut data.train, &mut data.held_out, &mut data.test] {
            examples.targets.iter_mut().for_each(|y| *y = (*y - f64::from(scale[0])) / f64::from(scale[1]));
        }
        Ok(Self { config, data, truth, scale })
    }

    fn arm(&self, arm: &ArmConfig, run: &Run) -> Result<Arm> {
        let Config { device, model, training, regression, .. } = self.config;
        let Prepared { extent, train, held_out, test, .. } = &self.data;
        let part = run.child(&arm.name)?;
        let outputs = regression.loss.outputs();
        let mut net = model.init(*extent, outputs, run.seed(), &device.device())?;
        if model.keeps_head() && model.target_scale()?.is_none() {
            // A network of another tool is in units of the target.
            net = net.in_units(self.scale[1], self.scale[0])?;
        }
        let objective = Regression { loss: regression.loss, alpha: regression.alpha };
        let mut trainer = arm.trainer(training, net, outputs, &self.data, run.seed())?.with_regression(objective);
        trainer.train(&part, train, Some(held_out), &arm.name)?;
        run.stop_if_requested()?;
        let net = self.rescaled(trainer.model().clone())?;
        let errors = |net: &Net, examples: &Examples, truth: &[f64]| -> Result<Errors> {
            Ok(Errors::of(&predictions(&logits(net, examples)?), truth))
        };
        let given = |examples: &Examples| -> Result<Array2<f64>> { Ok(logits(&net, examples)?.mapv(f64::from)) };
        let intervals = Intervals::calibrate(given(held_out)?.view(), &self.truth.held_out, regression.alpha)?;
        let outputs = logits(&net, test)?;
        let predictions = predictions(&outputs);
        let own = Errors::of(&predictions, &self.truth.test);
        let best = match trainer.best()? {
            Some((best, epoch)) => (errors(&self.rescaled(best)?, test, &self.truth.test)?, epoch),
            None => (own, training.epochs),
        };
        Ok(Arm {
            name: arm.name.clone(),
            train: errors(&net, train, &self.truth.train)?,
            test: own,
            best,
            ends: intervals.of(outputs.mapv(f64::from).view())?,
            intervals,
            predictions,
            evaluations: trainer.evaluations(),
            metrics: part.metrics()?,
            net,
        })
    }

    /// The network in units of the target.
    fn rescaled(&self, net: Net) -> Result<Net> {
        net.rescaled(self.scale[1], self.scale[0])
    }

    /// A row an arm, and what the mean of the training targets comes to.
    fn table(&self, arms: &[Arm]) -> Result<Table> {
        let truth = &self.truth.test;
        let columns = ["", "R²", "RMSE", "MAE", "RMSE at best epoch", "RMSE in training", "coverage (95 % interval)", "mean width"];
        let mut table = Table::new(columns);
        for arm in arms {
            table.push([
                arm.name.clone(),
                share_explained(arm.test.r2),
                significant(arm.test.rmse),
                significant(arm.test.mae),
                significant(arm.best.0.rmse),
                significant(arm.train.rmse),
                share(coverage(&arm.ends, truth)),
                significant(mean_width(&arm.ends)),
            ]);
        }
        if !arms.is_empty() {
            let Truth { train, held_out, .. } = &self.truth;
            let mean = train.iter().sum::<f64>() / train.len() as f64;
            let constant = |n: usize| Array2::from_elem((n, 1), mean);
            let intervals = Intervals::calibrate(constant(held_out.len()).view(), held_out, self.config.regression.alpha)?;
            let ends = intervals.of(constant(truth.len()).view())?;
            let [test, train] = [truth, train].map(|y| Errors::of(&vec![mean; y.len()], y));
            table.push([
                "the mean of the training examples".to_owned(),
                share_explained(test.r2),
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

    fn report(&self, arms: &[Arm], summary: &Summary) -> Report {
        let truth = &self.truth.test;
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
        let guarantee =
            Guarantee { what: "An interval contains the number", alpha: regression.alpha, data: config, model: &self.config.model };
        let intervals_text = guarantee.text([counts[1], counts[2]])
            + " The guarantee is for all examples together: the figures below show how it is spread over small and large predictions.";
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
        if !self.data.test.groups.is_empty() {
            let count = self.data.groups.len();
            let table = || Block::Table(by_group(arms, truth, &self.data));
            report = report.section("Groups", [if count > MOST_ROWS { too_many(count, "groups") } else { table() }]);
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

/// R², which equal numbers have none of.
fn share_explained(r2: f64) -> String {
    if r2.is_nan() { "–".into() } else { format!("{r2:.3}") }
}

fn predictions(given: &Array2<f32>) -> Vec<f64> {
    given.rows().into_iter().map(Regression::prediction).collect()
}

/// Mean and deviation of numbers; 1 where they are all the same.
fn scale_of(y: &[f64]) -> Result<[f32; 2]> {
    let mean = y.iter().sum::<f64>() / y.len() as f64;
    let deviation = (y.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / y.len() as f64).sqrt();
    let largest = y.iter().fold(0.0_f64, |largest, y| largest.max(y.abs()));
    if y.iter().all(|other| *other == y[0]) {
        return Ok([y[0] as f32, 1.0]);
    }
    // Single precision has seven digits.
    if deviation < 1e-4 * largest || !(1e-30..1e37).contains(&deviation) {
        let found = format!("numbers up to {largest}, with a deviation of {deviation}");
        return Err(Error::invalid(
            "data.target",
            found,
            "a deviation of 1e-4 of the largest or more: subtract a constant, or take another unit",
        ));
    }
    Ok([mean as f32, deviation as f32])
}

fn coverage(ends: &[Interval], truth: &[f64]) -> Share {
    Share::new(ends.iter().zip(truth).filter(|((low, high), y)| low <= y && *y <= high).count(), truth.len())
}

fn mean_width(ends: &[Interval]) -> f64 {
    ends.iter().map(|(low, high)| high - low).sum::<f64>() / ends.len().max(1) as f64
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
