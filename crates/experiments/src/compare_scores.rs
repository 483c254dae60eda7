//! Every score on the logits of one classifier, over many random splits into calibration and test examples.

use std::path::PathBuf;

use lyceum_conformal::{
    Conformal, ConformalConfig, ScoreConfig,
    conformal::places,
    logits, metrics, temperature,
    tune::{self, Criterion},
};
use lyceum_core::{
    Error, Experiment, Report, Result, Run, Seed, Summary, Violation,
    math::mean_and_deviation,
    range,
    report::{Axis, Block, Chart, Series, Table},
    run::Input,
};
use lyceum_data::{
    formats::npy::{self, MatrixView},
    split,
};
use ndarray::{Array2, ArrayView2, Axis as Dimension, CowArray};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How scores are compared.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Comparison {
    /// Random splits: half of the examples calibrate, half test.
    #[serde(with = "range::AtLeastOne")]
    splits: usize,
    /// The share of calibration examples that fits the temperature and tunes RAPS.
    #[serde(with = "range::OpenUnit")]
    tuning: f64,
    /// Shares of examples whose set may miss the truth.
    #[serde(with = "range::Fractions")]
    alphas: Vec<f64>,
}

impl Default for Comparison {
    fn default() -> Self {
        Self { splits: 20, tuning: 0.3, alphas: vec![0.1, 0.05] }
    }
}

/// Compares scores on a user's logits.
pub struct CompareScores;

/// The recipe of `compare-scores`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The logits, one example a row: .npy. Log-probabilities will do.
    logits: PathBuf,
    /// The labels, from 0: .npy.
    labels: PathBuf,
    #[serde(default)]
    comparison: Comparison,
}

impl Experiment for CompareScores {
    type Config = Config;

    fn name(&self) -> &'static str {
        "compare-scores"
    }

    fn about(&self) -> &'static str {
        "prediction sets of your own classifier by every score: coverage, sizes, over many splits of its logits"
    }

    fn check(&self, config: &Config) -> Result<(), Violation> {
        config.comparison.check("comparison")
    }

    fn inputs(&self, config: &Config) -> Result<Vec<Input>> {
        let file = |path: &PathBuf| Input::named(path, "Give the path of a .npy file.");
        Ok(vec![file(&config.logits), file(&config.labels)])
    }

    fn run(&self, config: &Config, run: &Run) -> Result<Summary> {
        let matrix = npy::Matrix::open(&config.logits)?;
        let labels = npy::labels(&config.labels)?;
        if labels.len() < 100 {
            return Err(Error::invalid("labels", labels.len(), "at least 100 examples: half calibrate, half test"));
        }
        let lead = format!("{} examples of {}.", labels.len(), config.logits.display());
        let logits = match matrix.view() {
            MatrixView::Float32(view) => CowArray::from(view),
            MatrixView::Float64(view) => logits::from_f64(view).into(),
        };
        config.comparison.run(run, &lead, logits.view(), &labels)
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

impl Comparison {
    /// Rules between fields; `key` is the table's name in the recipe.
    pub(super) fn check(&self, key: &str) -> Result<(), Violation> {
        if self.alphas.is_empty() || self.alphas.iter().any(|alpha| *alpha <= 0.0 || *alpha >= 1.0) {
            let found = format!("found {:?}; allowed: at least one, each > 0 and < 1", self.alphas);
            return Err(Violation::new(format!("{key}.alphas"), found));
        }
        Ok(())
    }

    /// Compares, and finishes the run. `lead` says what the examples are.
    pub(super) fn run(&self, run: &Run, lead: &str, logits: ArrayView2<'_, f32>, labels: &[usize]) -> Result<Summary> {
        let ranks: Vec<usize> = places(logits, labels, 1.0)?.iter().map(|place| place.rank).collect();
        let accuracy = ranks.iter().filter(|rank| **rank == 1).count() as f64 / ranks.len() as f64;
        let mut summary = Summary::default();
        summary.values.insert("accuracy".into(), accuracy);
        summary.table = Table::new(["α", "method", "coverage", "mean size", "SSCV"]);
        let mut sections = Vec::new();
        for &alpha in &self.alphas {
            let mut splits = Vec::new();
            let mut task = run.progress().task(&format!("alpha {alpha}"), 0, self.splits as u64);
            for number in 0..self.splits {
                run.stop_if_requested()?;
                splits.push(self.one_split(alpha, logits, labels, &ranks, run.seed().child(&format!("split/{number}")))?);
                task.advance("");
            }
            sections.push((alpha, summarise(alpha, &splits, &mut summary)));
        }
        let lead = format!(
            "{lead} {} classes, the classifier is right in {:.1} %. Half of the examples calibrate, half test; means over {} random \
             splits, ± their standard deviation.",
            logits.ncols(),
            100.0 * accuracy,
            self.splits
        );
        let mut report = Report::new("Prediction sets by every score", lead).section("Outcome", [Block::Table(summary.table.clone())]);
        for (alpha, blocks) in sections {
            report = report.section(format!("α = {alpha}"), blocks);
        }
        run.finish(&summary, &report)?;
        Ok(summary)
    }

    /// Every method, calibrated and tested on one split.
    fn one_split(&self, alpha: f64, z: ArrayView2<'_, f32>, labels: &[usize], ranks: &[usize], seed: Seed) -> Result<Vec<Measured>> {
        let tuning = 0.5 * self.tuning;
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
