//! The experiment `toy-regression`: a line is fitted to clustered points that active learning chose.
//!
//! The toy problem of Farquhar, Gal and Rainforth 2021: inputs in three clusters, y = max(0, x)·(|x|^1.5 + sin(20x)/4),
//! points taken by their distance from those that were taken before. It shows the bias of the plain mean, that PURE and
//! LURE have none, and that a small model is better trained with weights.

use lyceum_active::{AcquisitionLog, Estimator, Proposal, Sampler};
use lyceum_core::{
    Experiment, Report, Result, Run, Seed, Stream, Summary, Violation, interrupt,
    math::mean_and_deviation,
    range,
    report::{Axis, Block, Chart, Series, Table},
};
use lyceum_train::parallel::one_thread_each;
use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Estimates a line's risk and fits lines, many times.
pub struct ToyRegression;

/// The recipe.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Points in the pool.
    #[serde(with = "range::AtLeastOne")]
    pool: usize,
    /// How often a pool is drawn and points are taken from it.
    #[serde(with = "range::AtLeastOne")]
    repetitions: usize,
    /// After how many labels everything is measured.
    #[serde(with = "range::AllAtLeastOne")]
    labels: Vec<usize>,
    /// The proposals that are compared, over the sum of distances to the points that were taken.
    proposals: Vec<Proposal>,
    /// Points that measure the risk of fitted lines.
    #[serde(with = "range::AtLeastOne")]
    test: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pool: 101,
            repetitions: 3_000,
            labels: vec![5, 10, 20, 50],
            proposals: vec![Proposal::EpsilonGreedy { epsilon: 0.1 }, Proposal::Proportional],
            test: 2_000,
        }
    }
}

const ESTIMATORS: [(&str, Estimator); 3] = [("naive", Estimator::Naive), ("PURE", Estimator::Pure), ("LURE", Estimator::Lure)];

/// What one repetition measured after some number of labels: naive, PURE, LURE, and uniform draws.
#[derive(Clone, Copy)]
struct Measured {
    /// The estimate of the risk of the line fitted to the whole pool, less that risk.
    error: [f64; 4],
    /// The test risk of the line fitted to the labels with these weights.
    fit: [f64; 4],
}

impl Experiment for ToyRegression {
    type Config = Config;

    fn name(&self) -> &'static str {
        "toy-regression"
    }

    fn about(&self) -> &'static str {
        "a line through clustered points that active learning chose: bias of risk estimates, and training with weights (PURE, LURE)"
    }

    fn check(&self, config: &Config) -> Result<(), Violation> {
        check_labels("labels", &config.labels, config.pool)?;
        if config.proposals.is_empty() {
            return Err(Violation::new("proposals", "found none; allowed: at least one"));
        }
        config.proposals.iter().try_for_each(|proposal| proposal.check()).map_err(|error| Violation::new("proposals", error.to_string()))
    }

    fn run(&self, config: &Config, run: &Run) -> Result<Summary> {
        let test = points(config.test, &mut run.seed().stream("toy/test"));
        let numbers: Vec<usize> = (0..config.repetitions).collect();
        let mut summary = Summary {
            table: Table::new(["proposal", "labels", "estimator", "bias ± standard error", "mean squared error", "test risk of the fit"]),
            ..Summary::default()
        };
        let mut report = Vec::new();
        let mut task = run.progress().task("proposals", 0, config.proposals.len() as u64);
        for proposal in &config.proposals {
            run.stop_if_requested()?;
            let found = one_thread_each(&numbers, |number| {
                interrupt::check()?;
                let seed = run.seed().child(&format!("toy/{number}"));
                repetition(config, *proposal, &test, seed)
            })?;
            report.push((describe(proposal), summarise(config, proposal, &found, &mut summary)));
            task.advance("");
        }
        let lead = format!(
            "{} pools of {} points; the line fitted to a whole pool has its risk (mean squared error) estimated from the labels of \
             points taken by their distance to those taken before, and lines are fitted to these labels with the weights of each \
             estimator and judged on {} further points.",
            config.repetitions, config.pool, config.test
        );
        let mut page = Report::new("A line through clustered points", lead).section("Outcome", [Block::Table(summary.table.clone())]);
        for (title, blocks) in report {
            page = page.section(title, blocks);
        }
        run.finish(&summary, &page)?;
        Ok(summary)
    }
}

/// Whether numbers of labels rise and a pool has that many.
pub(super) fn check_labels(key: &str, labels: &[usize], pool: usize) -> Result<(), Violation> {
    let rising = labels.windows(2).all(|pair| pair[0] < pair[1]);
    if labels.first().is_none_or(|first| *first < 2) || !rising || labels.last().is_some_and(|last| *last > pool) {
        return Err(Violation::new(key, format!("found {labels:?}; allowed: rising numbers from 2 to {pool}, the size of the pool")));
    }
    Ok(())
}

/// A proposal's name in tables.
pub(super) fn describe(proposal: &Proposal) -> String {
    match proposal {
        Proposal::Uniform => "uniform".into(),
        Proposal::Proportional => "proportional".into(),
        Proposal::Softmax { inverse_temperature, .. } => format!("softmax, T = {inverse_temperature}"),
        Proposal::EpsilonGreedy { epsilon } => format!("ε-greedy, ε = {epsilon}"),
    }
}

type Point = (f64, f64);

/// Points of the toy problem.
fn points(count: usize, rng: &mut Stream) -> Vec<Point> {
    // (from, width, density) of each cluster.
    const CLUSTERS: [(f64, f64, f64); 3] = [(-1.2, 0.4, 0.12), (0.0, 0.5, 0.95), (1.0, 0.5, 0.95)];
    let total: f64 = CLUSTERS.iter().map(|(_, width, density)| width * density).sum();
    let mut point = || {
        let mut u = rng.random::<f64>() * total;
        for (index, (from, width, density)) in CLUSTERS.into_iter().enumerate() {
            let mass = width * density;
            if u < mass || index == CLUSTERS.len() - 1 {
                return from + width * (u / mass).min(1.0);
            }
            u -= mass;
        }
        unreachable!("the last cluster takes what is left")
    };
    (0..count).map(|_| point()).map(|x| (x, target(x))).collect()
}

fn target(x: f64) -> f64 {
    x.max(0.0) * (x.abs().powf(1.5) + (20.0 * x).sin() / 4.0)
}

/// A line a + bx.
#[derive(Clone, Copy)]
struct Line {
    a: f64,
    b: f64,
}

impl Line {
    /// The line with the least weighted squared error; level where all x are the same.
    fn fit(points: &[Point], weights: &[f64]) -> Self {
        let total: f64 = weights.iter().sum();
        let mean = |of: fn(&Point) -> f64| points.iter().zip(weights).map(|(point, w)| w * of(point)).sum::<f64>() / total;
        let (x, y) = (mean(|point| point.0), mean(|point| point.1));
        let (mut xx, mut xy) = (0.0, 0.0);
        for (point, w) in points.iter().zip(weights) {
            xx += w * (point.0 - x).powi(2);
            xy += w * (point.0 - x) * (point.1 - y);
        }
        let b = if xx > 1e-12 { xy / xx } else { 0.0 };
        Self { a: y - b * x, b }
    }

    fn loss(self, (x, y): Point) -> f64 {
        (self.a + self.b * x - y).powi(2)
    }

    fn risk(self, points: &[Point]) -> f64 {
        points.iter().map(|&point| self.loss(point)).sum::<f64>() / points.len() as f64
    }
}

/// One pool, one acquisition and one uniform draw from it; a measurement for each number of labels.
fn repetition(config: &Config, proposal: Proposal, test: &[Point], seed: Seed) -> Result<Vec<Measured>> {
    let pool = points(config.pool, &mut seed.stream("pool"));
    let fixed = Line::fit(&pool, &vec![1.0; pool.len()]);
    let risk = fixed.risk(&pool);
    let start = |name: &str, proposal| Sampler::new(proposal, AcquisitionLog::new(pool.len())?, seed.child(name));
    let mut uniform = start("uniform", Proposal::Uniform)?;
    // The first point has no distance to others: chance takes it.
    let mut active = start("active", Proposal::Uniform)?;
    let mut scores = vec![0.0; pool.len()];
    let mut found = Vec::new();
    for &labels in &config.labels {
        while active.log().draws().len() < labels {
            let draw = if active.log().draws().is_empty() {
                let draw = active.draw(&scores, 1)?[0];
                active = Sampler::new(proposal, active.into_log(), seed.child("active"))?;
                draw
            } else {
                active.draw(&scores, 1)?[0]
            };
            let taken = pool[draw.index].0;
            scores.iter_mut().zip(&pool).for_each(|(score, point)| *score += (point.0 - taken).abs());
        }
        uniform.draw(&vec![1.0; pool.len()], labels - uniform.log().draws().len())?;
        let measure = |sampler: &Sampler, estimator| -> Result<(f64, f64)> {
            let taken: Vec<Point> = sampler.log().draws().iter().map(|draw| pool[draw.index]).collect();
            let losses: Vec<f64> = taken.iter().map(|&point| fixed.loss(point)).collect();
            let estimate = sampler.log().estimate(&losses, estimator)?.value;
            Ok((estimate - risk, Line::fit(&taken, &sampler.log().weights(estimator)).risk(test)))
        };
        let mut measured = Measured { error: [0.0; 4], fit: [0.0; 4] };
        for (index, (_, estimator)) in ESTIMATORS.into_iter().enumerate() {
            (measured.error[index], measured.fit[index]) = measure(&active, estimator)?;
        }
        (measured.error[3], measured.fit[3]) = measure(&uniform, Estimator::Naive)?;
        found.push(measured);
    }
    Ok(found)
}

/// Rows of the table and values of the summary; gives the charts.
fn summarise(config: &Config, proposal: &Proposal, found: &[Vec<Measured>], summary: &mut Summary) -> Vec<Block> {
    let root = (found.len() as f64).sqrt();
    let names = ESTIMATORS.map(|(name, _)| name).into_iter().chain(["uniform sampling"]);
    let mut bias = Chart::new("Bias of the estimate", Axis::linear("labels"), Axis::linear("estimate less the pool's risk"));
    let mut squared = Chart::new("Error of the estimate", Axis::linear("labels"), Axis::log("mean squared error"));
    let mut fit = Chart::new("Risk of the fitted line", Axis::linear("labels"), Axis::linear("mean squared error on test points"));
    for (index, name) in names.enumerate() {
        let (mut biases, mut bands, mut errors, mut fits) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (place, &labels) in config.labels.iter().enumerate() {
            let over = |of: &dyn Fn(&Measured) -> f64| mean_and_deviation(&found.iter().map(|one| of(&one[place])).collect::<Vec<f64>>());
            let (mean, deviation) = over(&|one| one.error[index]);
            let error = over(&|one| one.error[index].powi(2)).0;
            let risk = over(&|one| one.fit[index]).0;
            let standard_error = deviation / root;
            let x = labels as f64;
            biases.push((x, mean));
            bands.push((mean - 1.96 * standard_error, mean + 1.96 * standard_error));
            errors.push((x, error));
            fits.push((x, risk));
            summary.table.push([
                describe(proposal),
                labels.to_string(),
                name.to_owned(),
                format!("{mean:+.4} ± {standard_error:.4}"),
                format!("{error:.3e}"),
                format!("{risk:.3}"),
            ]);
            let key = format!("{}/{labels}/{name}", describe(proposal));
            for (what, value) in
                [("bias", mean), ("bias_standard_error", standard_error), ("mean_squared_error", error), ("fit_risk", risk)]
            {
                summary.values.insert(format!("{key}/{what}"), value);
            }
        }
        bias = bias.with(Series::line(name, biases).with_band(bands));
        squared = squared.with(Series::line(name, errors));
        fit = fit.with(Series::line(name, fits));
    }
    [bias, squared, fit].map(Block::Chart).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_has_its_known_values() {
        for (x, y) in [(-1.0, 0.0), (0.25, -0.028_683), (0.5, 0.108_774), (1.0, 1.228_236), (1.5, 2.385_164)] {
            assert!((target(x) - y).abs() < 1e-6, "{x}: {} {y}", target(x));
        }
    }

    #[test]
    fn clusters_have_their_masses() {
        let points = points(20_000, &mut Seed::new(1).stream("test"));
        let share = |from: f64, to: f64| points.iter().filter(|(x, _)| (from..=to).contains(x)).count() as f64 / 20_000.0;
        assert!((share(-1.2, -0.8) - 0.048).abs() < 0.006 && (share(0.0, 0.5) - 0.476).abs() < 0.012);
        assert_eq!(share(-1.2, -0.8) + share(0.0, 0.5) + share(1.0, 1.5), 1.0);
    }

    #[test]
    fn a_weighted_line_is_that_of_repeated_points() {
        let once = [(0.0, 1.0), (1.0, 2.0), (2.0, 5.0)];
        let repeated = [(0.0, 1.0), (1.0, 2.0), (1.0, 2.0), (2.0, 5.0)];
        let (a, b) = (Line::fit(&once, &[1.0, 2.0, 1.0]), Line::fit(&repeated, &[1.0; 4]));
        assert!((a.a - b.a).abs() < 1e-12 && (a.b - b.b).abs() < 1e-12);
    }
}
