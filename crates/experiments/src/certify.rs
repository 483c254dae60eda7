//! The experiment `certify`: train by one or more estimators, then certify each classifier with prediction sets.
//!
//! It combines `lyceum-optim` and `lyceum-conformal`, which do not know of each other.

use lyceum_conformal::{
    Conformal, ConformalConfig, PredictionSets, Predictor, Randomization, ScoreConfig,
    conformal::softmax_row,
    metrics, temperature,
    tune::{self, Criterion},
};
use lyceum_core::{
    Experiment, Measure, Report, Result, Run, Seed, Summary, Violation, range,
    report::{Axis, Block, Chart, Gallery, Picture, Series, Table},
    run::Input,
};
use lyceum_data::{
    Cache, Examples,
    prepare::{DataConfig, Prepared},
    split,
};
use lyceum_optim::{
    comparison::{ArmConfig, Comparison, SharpnessConfig, TrainedArm},
    experiment::{curves, measured_curves, percent, spectrum, summarise, with_network},
};
use lyceum_train::{DeviceName, Evaluation, ModelConfig, TrainConfig, logits, onnx};
use ndarray::{Array2, Axis as Dimension};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    guarantee::{Guarantee, MOST_ROWS, share, too_many},
    trained,
};

/// Pictures in the report.
const PICTURES: usize = 24;
/// Bins of the reliability diagram.
const BINS: usize = 10;

/// Trains, calibrates, certifies.
pub struct Certify;

/// The recipe of `certify`: that of `train`, and a table for the sets.
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
    sharpness: SharpnessConfig,
    /// What is compared.
    arm: Vec<ArmConfig>,
    #[serde(default)]
    conformal: Sets,
}

/// How prediction sets are made of held-out examples.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Sets {
    /// The share of points whose set may miss the truth.
    #[serde(with = "range::OpenUnit")]
    alpha: f64,
    /// The share of the held-out examples that fits the temperature and tunes RAPS.
    #[serde(with = "range::OpenUnit")]
    tuning: f64,
    /// What RAPS is tuned for.
    criterion: Criterion,
    /// What randomness does.
    randomization: Randomization,
    /// Whether a set may be empty.
    allow_empty: bool,
}

impl Default for Sets {
    fn default() -> Self {
        Self { alpha: 0.1, tuning: 0.3, criterion: Criterion::default(), randomization: Randomization::default(), allow_empty: true }
    }
}

/// A classifier with its sets.
struct Certified<'a> {
    arm: &'a TrainedArm,
    temperature: f64,
    test_logits: Array2<f32>,
    /// Score, model and sets on the test examples; RAPS is the last.
    sets: Vec<(&'static str, Conformal, PredictionSets)>,
}

impl Experiment for Certify {
    type Config = Config;

    fn name(&self) -> &'static str {
        "certify"
    }

    fn about(&self) -> &'static str {
        "trains a classifier as `train` does, then calibrates prediction sets (naive, top-k, LAC, APS, RAPS) and measures their coverage"
    }

    fn check(&self, config: &Config) -> Result<(), Violation> {
        if config.data.held_out == 0.0 {
            return Err(Violation::new("data.held_out", "found 0; allowed: more than 0, sets are calibrated on held-out examples"));
        }
        if config.training.patience.is_some() {
            let message = "found with held-out examples that calibrate sets, and may decide nothing else; allowed: absent";
            return Err(Violation::new("training.patience", message));
        }
        comparison(config).check()
    }

    fn inputs(&self, config: &Config) -> Result<Vec<Input>> {
        Ok([config.data.inputs(&Cache::locate())?, config.model.inputs()].concat())
    }

    fn run(&self, config: &Config, run: &Run) -> Result<Summary> {
        let (data, arms, diverged) = comparison(config).train(run)?;
        let certified: Vec<Certified<'_>> =
            arms.iter().map(|arm| certify(&config.conformal, arm, &data, run.seed())).collect::<Result<_>>()?;
        for one in &certified {
            // RAPS is what a user asks for.
            let sets = one.sets.last().map(|(_, conformal, _)| Predictor::Marginal(conformal.clone()));
            let metadata = trained::metadata(one.temperature, sets.as_ref(), &[])?;
            onnx::save(&run.folder().join(&one.arm.name), &one.arm.model, &data.classes, &data, metadata)?;
        }
        let headline = vec![
            Measure::share("test_accuracy", "test accuracy"),
            Measure::number("hessian_largest_eigenvalue", "largest Hessian eigenvalue"),
            Measure::share("raps/coverage", "RAPS coverage"),
            Measure::number("raps/mean_size", "RAPS mean size"),
        ];
        let table = outcome(&certified, &data.test.labels);
        let mut summary = Summary { table, headline, curves: measured_curves(), ..Summary::default() };
        for one in &certified {
            summarise(one.arm, &mut summary);
            let mut put = |name: String, value: f64| {
                summary.values.insert(format!("{}/{name}", one.arm.name), value);
            };
            put("temperature".into(), one.temperature);
            for (name, _, sets) in &one.sets {
                put(format!("{}/coverage", name.to_lowercase()), metrics::coverage(sets, &data.test.labels).share);
                put(format!("{}/mean_size", name.to_lowercase()), metrics::mean_size(sets));
            }
        }
        diverged.note(&mut summary)?;
        run.finish(&summary, &diverged.report(report(config, &data, &arms, &certified, &summary)?))?;
        Ok(summary)
    }
}

fn comparison(config: &Config) -> Comparison {
    let Config { device, data, model, training, sharpness, arm, conformal: _ } = config.clone();
    Comparison { device, data, model, training, sharpness, arm }
}

fn certify<'a>(config: &Sets, arm: &'a TrainedArm, data: &Prepared, seed: Seed) -> Result<Certified<'a>> {
    let shares = [config.tuning, 1.0 - config.tuning];
    let parts = split::random(data.held_out.len(), &shares, &mut seed.stream("conformal/split"));
    let all = logits(&arm.model, &data.held_out)?;
    let pick = |rows: &[usize]| -> (Array2<f32>, Vec<usize>) {
        (all.select(Dimension(0), rows), rows.iter().map(|&row| data.held_out.labels[row]).collect())
    };
    let (tuning, calibration) = (pick(&parts[0]), pick(&parts[1]));
    let temperature = temperature::fit(tuning.0.view(), &tuning.1)?;
    let base = ConformalConfig {
        alpha: config.alpha,
        score: ScoreConfig::Aps,
        randomization: config.randomization,
        allow_empty: config.allow_empty,
        temperature,
    };
    let raps = tune::raps(base, tuning.0.view(), &tuning.1, config.criterion, seed)?.score;
    let test_logits = logits(&arm.model, &data.test)?;
    let scores =
        [("Naive", ScoreConfig::Naive), ("Top-k", ScoreConfig::TopK), ("LAC", ScoreConfig::Lac), ("APS", ScoreConfig::Aps), ("RAPS", raps)];
    let sets = scores.into_iter().map(|(name, score)| {
        let conformal = Conformal::calibrate(ConformalConfig { score, ..base }, calibration.0.view(), &calibration.1, seed)?;
        let sets = conformal.predict(test_logits.view(), seed.child("conformal/test"))?;
        Ok((name, conformal, sets))
    });
    Ok(Certified { arm, temperature, sets: sets.collect::<Result<_>>()?, test_logits })
}

/// What is printed at the end: a row an arm.
fn outcome(certified: &[Certified<'_>], labels: &[usize]) -> Table {
    let mut table =
        Table::new(["", "test accuracy", "largest Hessian eigenvalue", "RAPS coverage (95 % interval)", "RAPS mean size (95 % interval)"]);
    for one in certified {
        let Some((_, _, sets)) = one.sets.last() else { continue };
        table.push([
            one.arm.name.clone(),
            percent(one.arm.test.accuracy),
            one.arm.eigenvalues.first().map_or_else(|| "–".into(), |value| format!("{value:.1}")),
            share(metrics::coverage(sets, labels)),
            size(sets),
        ]);
    }
    table
}

/// The mean size with its interval.
fn size(sets: &PredictionSets) -> String {
    let (low, high) = metrics::mean_size_interval(sets);
    format!("{:.2} ({low:.2} to {high:.2})", metrics::mean_size(sets))
}

fn report(config: &Config, data: &Prepared, arms: &[TrainedArm], certified: &[Certified<'_>], summary: &Summary) -> Result<Report> {
    let lead = format!(
        "{} training examples of {}, {} of them with a wrong label; {} held out for temperature, tuning and calibration; {} for testing. \
         Every number below is measured on the test examples unless it says otherwise.",
        data.train.len(),
        config.data.title(),
        data.wrong_labels,
        data.held_out.len(),
        data.test.len()
    );
    let labels = &data.test.labels;
    let calibrated = certified.first().and_then(|one| one.sets.last()).map_or(0, |(_, conformal, _)| conformal.calibration_size);
    let Config { data: own, model, conformal, .. } = config;
    let guarantee = Guarantee { what: "A prediction set contains the true label", alpha: conformal.alpha, data: own, model };
    let sets_text = guarantee.text([calibrated, labels.len()]) + " The naive sets have no such guarantee.";
    let mut training = Table::new([
        "",
        "test accuracy",
        "at best epoch",
        "train accuracy (noisy labels)",
        "test log-loss",
        "sharpness",
        "gradient evaluations",
    ]);
    for arm in arms {
        training.push([
            arm.name.clone(),
            percent(arm.test.accuracy),
            percent(arm.best.0.accuracy),
            percent(arm.train.accuracy),
            format!("{:.3}", arm.test.log_loss),
            format!("{:.4}", arm.sharpness),
            format!("{:.0}", arm.evaluations),
        ]);
    }
    let mut report = Report::new(format!("Certified classifiers on {}", config.data.title()), lead)
        .section("Outcome", [Block::Table(summary.table.clone()), Block::Table(training)])
        .section("Learning curves", curves(arms).map(Block::Chart))
        .section("Sharpness", spectrum(arms))
        .section(
            "Prediction sets",
            [Block::Text(sets_text), Block::Table(set_table(certified, labels)), Block::Chart(size_histogram(certified))],
        )
        .section("Classes and groups", within(certified, data))
        .section("Reliability", reliability(certified, labels));
    report = with_network(report, arms.first().map(|arm| &arm.model));
    if let Some(last) = certified.last() {
        report = report.section("Images and their sets", gallery(last, &data.test, data)?);
    }
    Ok(report)
}

fn set_table(certified: &[Certified<'_>], labels: &[usize]) -> Table {
    let mut table = Table::new(["", "score", "coverage (95 % interval)", "mean size (95 % interval)", "largest", "empty", "threshold"]);
    for one in certified {
        for (name, conformal, sets) in &one.sets {
            let name = match conformal.config.score {
                ScoreConfig::Raps { lambda, k_reg } => format!("{name} (λ = {lambda}, k_reg = {k_reg})"),
                _ => (*name).to_owned(),
            };
            table.push([
                one.arm.name.clone(),
                name,
                share(metrics::coverage(sets, labels)),
                size(sets),
                sets.sizes().max().unwrap_or(0).to_string(),
                sets.sizes().filter(|&size| size == 0).count().to_string(),
                conformal.threshold.map_or_else(|| "∞".into(), |threshold| format!("{threshold:.4}")),
            ]);
        }
    }
    table
}

/// Accuracy and RAPS sets within each class and each group: the guarantee is for all test examples together.
fn within(certified: &[Certified<'_>], data: &Prepared) -> Vec<Block> {
    let mut blocks = Vec::new();
    for (what, names, numbers) in [("class", &data.classes, &data.test.labels), ("group", &data.groups, &data.test.groups)] {
        if numbers.is_empty() || names.len() > MOST_ROWS {
            blocks.extend((!numbers.is_empty()).then(|| too_many(names.len(), if what == "class" { "classes" } else { "groups" })));
            continue;
        }
        let mut table = Table::new(["", what, "test examples", "accuracy", "RAPS coverage (95 % interval)", "mean size"]);
        for one in certified {
            let Some((_, _, sets)) = one.sets.last() else { continue };
            for (number, name) in names.iter().enumerate() {
                let rows: Vec<usize> = (0..numbers.len()).filter(|&row| numbers[row] == number).collect();
                let labels: Vec<usize> = rows.iter().map(|&row| data.test.labels[row]).collect();
                if rows.is_empty() {
                    continue;
                }
                let own = sets.select(&rows);
                let accuracy = Evaluation::of(&one.test_logits.select(Dimension(0), &rows), &labels).accuracy;
                table.push([
                    one.arm.name.clone(),
                    name.clone(),
                    rows.len().to_string(),
                    percent(accuracy),
                    share(metrics::coverage(&own, &labels)),
                    format!("{:.2}", metrics::mean_size(&own)),
                ]);
            }
        }
        blocks.push(Block::Table(table));
    }
    blocks
}

fn size_histogram(certified: &[Certified<'_>]) -> Chart {
    let histograms: Vec<_> =
        certified.iter().filter_map(|one| Some((&one.arm.name, metrics::size_histogram(&one.sets.last()?.2)))).collect();
    let sizes = histograms.iter().map(|(_, counts)| counts.len()).max().unwrap_or(0);
    let axis = Axis::category("labels in the set", (0..sizes).map(|size| size.to_string()));
    let chart = Chart::new("Sizes of the RAPS sets", axis, Axis::linear("test examples"));
    histograms.into_iter().fold(chart, |chart, (name, counts)| chart.with(Series::bars(name, counts.into_iter().map(|count| count as f64))))
}

/// Confidence against accuracy, before and after temperature scaling.
fn reliability(certified: &[Certified<'_>], labels: &[usize]) -> Vec<Block> {
    let mut chart = Chart::new("Confidence and accuracy", Axis::linear("mean confidence"), Axis::linear("accuracy"));
    let mut table = Table::new(["", "temperature", "calibration error before", "and after"]);
    for one in certified {
        let measure = |temperature: f64| {
            let points = one.test_logits.rows().into_iter().zip(labels).filter_map(|(row, &label)| {
                let probabilities = softmax_row(row.as_slice()?, temperature)?;
                let (best, confidence) = probabilities.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
                Some((confidence, best == label))
            });
            metrics::reliability(points, BINS)
        };
        let (before, raw) = measure(1.0);
        let (after, scaled) = measure(one.temperature);
        for (name, bins) in [("T = 1".to_owned(), raw), (format!("T = {:.2}", one.temperature), scaled)] {
            let points = bins.into_iter().filter(|bin| bin.0 > 0).map(|(_, confidence, accuracy)| (confidence, accuracy));
            chart = chart.with(Series::line(format!("{}, {name}", one.arm.name), points));
        }
        table.push([one.arm.name.clone(), format!("{:.3}", one.temperature), format!("{before:.4}"), format!("{after:.4}")]);
    }
    let chart = chart.with(Series::new("honest", lyceum_core::report::Shape::Reference, [(0.0, 0.0), (1.0, 1.0)]));
    vec![Block::Table(table), Block::Chart(chart)]
}

/// The examples with the largest sets and some others, as pictures.
fn gallery(one: &Certified<'_>, test: &Examples, data: &Prepared) -> Result<Vec<Block>> {
    let Some((_, _, sets)) = one.sets.last() else { return Ok(Vec::new()) };
    let mut order: Vec<usize> = (0..sets.len()).collect();
    order.sort_by_key(|&point| std::cmp::Reverse(sets.get(point).len()));
    let hardest = order.iter().take(PICTURES / 2).copied();
    let others = (0..sets.len()).step_by((sets.len() / (PICTURES / 2)).max(1)).take(PICTURES / 2);
    let mut pictures = Vec::new();
    for point in hardest.chain(others) {
        let names: Vec<&str> = sets.get(point).iter().map(|&label| data.classes[label as usize].as_str()).collect();
        let hit = if sets.get(point).contains(&(test.labels[point] as u32)) { "" } else { " (missed)" };
        let caption = format!("{{{}}}\nlabel {}{hit}", names.join(", "), data.classes[test.labels[point]]);
        pictures.push((picture(test, point, data)?, caption));
    }
    let text = format!("RAPS sets of {}: first the images with the largest sets, then others in the order of the test set.", one.arm.name);
    Ok(vec![Block::Text(text), Block::Gallery(Gallery { pictures })])
}

fn picture(examples: &Examples, point: usize, data: &Prepared) -> Result<Picture> {
    let (height, width) = (data.extent.height, data.extent.width);
    let row = examples.inputs.row(point);
    let byte = |channel: usize, pixel: usize| (row[channel * height * width + pixel].clamp(0.0, 1.0) * 255.0) as u8;
    if data.extent.channels == 3 {
        let pixels: Vec<u8> = (0..height * width).flat_map(|pixel| [0, 1, 2].map(|channel| byte(channel, pixel))).collect();
        Picture::rgb(width, height, &pixels)
    } else {
        Picture::grey(width, height, &(0..height * width).map(|pixel| byte(0, pixel)).collect::<Vec<u8>>())
    }
}
