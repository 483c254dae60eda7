//! A recipe run with several seeds, and what they found compared.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::RangeInclusive,
    path::Path,
};

use lyceum_core::{
    AnyExperiment, Error, Measure, Recipe, Report, Result, Run, Summary,
    report::{Axis, Block, Chart, Series, Shape, Table},
};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// The probability with which an interval holds the mean.
const LEVEL: f64 = 0.95;

/// Runs or resumes an experiment: in the run itself, or, where the recipe asks for several seeds, in one part of the run per seed.
pub(crate) fn run(experiment: &dyn AnyExperiment, recipe: &Recipe, run: &Run) -> Result<Summary> {
    let seeds: Vec<u64> = recipe.seeds().collect();
    if seeds.len() == 1 {
        return experiment.run_recipe(recipe, run);
    }
    let mut found = Vec::new();
    for &seed in &seeds {
        let part = run.with_seed(seed)?;
        let summary = if let Some(summary) = Run::summary(part.folder())? {
            summary
        } else {
            run.progress().note(&format!("seed {seed}"));
            // Those of the first were looked at as the run began or resumed.
            if !found.is_empty() {
                run.check_inputs(&experiment.inputs(recipe)?)?;
            }
            experiment.run_recipe(recipe, &part)?
        };
        found.push((seed, summary));
    }
    let compared = Compared::new(&found)?;
    let summary = compared.summary();
    run.finish(&summary, &compared.report(experiment, run.folder())?)?;
    Ok(summary)
}

/// The summaries of all seeds.
struct Compared<'a> {
    found: &'a [(u64, Summary)],
    /// In the order of the experiment's own table.
    arms: Vec<String>,
    headline: Vec<Measure>,
    curves: Vec<Measure>,
}

/// A mean with its interval by Student's t, if more than one number is known.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Mean {
    value: f64,
    interval: Option<(f64, f64)>,
}

impl Mean {
    /// x̄ ± t·s/√n, with the quantile t of n − 1 degrees of freedom, where it lies within `possible` values.
    fn of(numbers: &[f64], possible: RangeInclusive<f64>) -> Option<Self> {
        let n = numbers.len() as f64;
        if numbers.is_empty() {
            return None;
        }
        let value = numbers.iter().sum::<f64>() / n;
        let variance = numbers.iter().map(|x| (x - value).powi(2)).sum::<f64>() / (n - 1.0);
        let t = StudentsT::new(0.0, 1.0, n - 1.0).ok().map(|t| t.inverse_cdf(0.5 + LEVEL / 2.0));
        let interval =
            t.map(|t| t * (variance / n).sqrt()).map(|half| (possible.start().max(value - half), possible.end().min(value + half)));
        Some(Self { value, interval })
    }
}

impl<'a> Compared<'a> {
    fn new(found: &'a [(u64, Summary)]) -> Result<Self> {
        // The arms of a seed that lost one come in another order: those that have diverged are last.
        let is_whole = |summary: &Summary| !summary.values.keys().any(|key| key.ends_with("/diverged"));
        let whole = found.iter().position(|(_, summary)| is_whole(summary)).unwrap_or(0);
        let (_, first) = found.get(whole).ok_or_else(|| Error::Failed("no seed was run".into()))?;
        let all_values = || found.iter().flat_map(|(_, summary)| summary.values.keys());
        // An experiment may have rows for something else than arms.
        let is_arm = |name: &str| all_values().any(|key| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('/')));
        let mut arms: Vec<String> = Vec::new();
        for name in found[whole..].iter().chain(&found[..whole]).flat_map(|(_, summary)| &summary.table.rows).filter_map(|row| row.first())
        {
            if !arms.contains(name) && is_arm(name) {
                arms.push(name.clone());
            }
        }
        let mut headline = first.headline.clone();
        if headline.is_empty() {
            let of_arms = |key: &String| arms.iter().find_map(|arm| Some(key.strip_prefix(arm.as_str())?.strip_prefix('/')?.to_owned()));
            let keys: BTreeSet<String> = all_values().filter_map(of_arms).collect();
            headline.extend(keys.iter().map(|key| Measure::number(key, key)));
        }
        Ok(Self { found, arms, headline, curves: first.curves.clone() })
    }

    /// What each seed found, by seed; a seed that has no such number is left out.
    fn numbers(&self, key: &str) -> BTreeMap<u64, f64> {
        self.found.iter().filter_map(|(seed, summary)| Some((*seed, *summary.values.get(key)?))).collect()
    }

    /// What each seed found of an arm, less what it found of the first arm.
    fn differences(&self, arm: &str, key: &str) -> Vec<f64> {
        let base = self.numbers(&format!("{}/{key}", self.arms[0]));
        self.numbers(&format!("{arm}/{key}")).iter().filter_map(|(seed, x)| Some(x - base.get(seed)?)).collect()
    }

    /// Of every value the mean and the ends of its interval, and the same of the differences between arms.
    fn summary(&self) -> Summary {
        let mut values = BTreeMap::new();
        let mut put = |key: &str, mean: Option<Mean>| {
            if let Some(mean) = mean {
                values.insert(key.to_owned(), mean.value);
                let ends = mean.interval.into_iter().flat_map(|(low, high)| [("low", low), ("high", high)]);
                values.extend(ends.map(|(end, x)| (format!("{key}/{end}"), x)));
            }
        };
        for key in self.keys() {
            let measure = self.headline.iter().find(|measure| key.rsplit_once('/').is_some_and(|(_, name)| name == measure.key));
            put(
                key,
                Mean::of(&self.numbers(key).into_values().collect::<Vec<_>>(), measure.map_or(ANY, |measure| possible(measure, false))),
            );
        }
        for arm in self.arms.iter().skip(1) {
            for measure in &self.headline {
                put(
                    &format!("{arm} - {}/{}", self.arms[0], measure.key),
                    Mean::of(&self.differences(arm, &measure.key), possible(measure, true)),
                );
            }
        }
        Summary { values, table: self.table(), headline: self.headline.clone(), curves: self.curves.clone() }
    }

    /// Every key that some seed has a value for.
    fn keys(&self) -> BTreeSet<&String> {
        self.found.iter().flat_map(|(_, summary)| summary.values.keys()).collect()
    }

    /// One row per arm, then one per difference from the first; without arms one per value.
    fn table(&self) -> Table {
        if self.arms.is_empty() {
            let mut table = Table::new(["", "mean"]);
            for key in self.keys() {
                let numbers: Vec<f64> = self.numbers(key).into_values().collect();
                table.push([key.clone(), shown(&numbers, &Measure::number(key, key), false)]);
            }
            return table;
        }
        let mut table = Table::new([String::new()].into_iter().chain(self.headline.iter().map(label)));
        for arm in &self.arms {
            let cell = |measure: &Measure| {
                let numbers: Vec<f64> = self.numbers(&format!("{arm}/{}", measure.key)).into_values().collect();
                shown(&numbers, measure, false)
            };
            table.push([arm.clone()].into_iter().chain(self.headline.iter().map(cell)));
        }
        for arm in self.arms.iter().skip(1) {
            let cell = |measure: &Measure| shown(&self.differences(arm, &measure.key), measure, true);
            table.push([format!("{arm} − {}", self.arms[0])].into_iter().chain(self.headline.iter().map(cell)));
        }
        table
    }

    fn report(&self, experiment: &dyn AnyExperiment, folder: &Path) -> Result<Report> {
        let seeds = self.found.iter().map(|(seed, _)| seed.to_string()).collect::<Vec<_>>().join(", ");
        let (first, _) = self.found[0];
        let one = Run::report(&folder.join(format!("seed-{first}")))?.map_or_else(|| experiment.name().to_owned(), |report| report.title);
        let lead = format!("Seeds {seeds}; each draws all random numbers independently.");
        let text = "Means over the seeds, with 95 % intervals by Student's t. Differences are between arms with the same seed. Where the \
                    interval of a difference does not contain 0, the arms differ by more than the seeds do.";
        let links = self.found.iter().map(|(seed, _)| (format!("seed {seed}"), format!("seed-{seed}/report.html"))).collect();
        let mut report = Report::new(format!("{one}: {} seeds", self.found.len()), lead)
            .section("Outcome", [Block::Table(self.table()), Block::Text(text.into())]);
        if !self.arms.is_empty() {
            report = report.section("Seed by seed", self.headline.iter().map(|measure| Block::Chart(self.dots(measure))));
        }
        let curves = self.curves.iter().map(|measure| self.curve(measure, folder).map(Block::Chart)).collect::<Result<Vec<_>>>()?;
        if !curves.is_empty() {
            report = report.section("Curves", curves);
        }
        Ok(report.section("Reports of the seeds", [Block::Links(links)]))
    }

    /// What each seed found of each arm, and the means.
    fn dots(&self, measure: &Measure) -> Chart {
        let (mut dots, mut means, mut intervals) = (Vec::new(), Vec::new(), Vec::new());
        for (place, arm) in self.arms.iter().enumerate() {
            let numbers = self.numbers(&format!("{arm}/{}", measure.key)).into_values();
            let numbers: Vec<f64> = numbers.collect();
            dots.extend(numbers.iter().map(|x| (place as f64, scale(measure) * x)));
            if let Some(Mean { value, interval: Some((low, high)) }) = Mean::of(&numbers, possible(measure, false)) {
                means.push((place as f64, scale(measure) * value));
                intervals.push((scale(measure) * low, scale(measure) * high));
            }
        }
        Chart::new(&measure.title, Axis::category("", &self.arms), Axis::linear(label(measure)))
            .with(Series::new("each seed", Shape::Scatter, dots))
            .with(Series::new("mean", Shape::Scatter, means).with_band(intervals))
    }

    /// The mean over the seeds at each step, between the least and the greatest.
    fn curve(&self, measure: &Measure, folder: &Path) -> Result<Chart> {
        let mut chart = Chart::new(
            format!("{}: mean, least and greatest of the seeds", measure.title),
            Axis::linear("step or epoch"),
            Axis::linear(if measure.share { "%" } else { "" }),
        );
        for arm in &self.arms {
            let mut at: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
            for (seed, _) in self.found {
                let path = folder.join(format!("seed-{seed}")).join(arm).join("metrics.jsonl");
                for line in fs::read_to_string(&path).unwrap_or_default().lines() {
                    let line: serde_json::Value = serde_json::from_str(line).map_err(|error| Error::damaged(&path, error.to_string()))?;
                    if let (Some(step), Some(x)) = (line["step"].as_u64(), line[&measure.key].as_f64()) {
                        at.entry(step).or_default().push(scale(measure) * x);
                    }
                }
            }
            let points = at.iter().map(|(step, numbers)| (*step as f64, numbers.iter().sum::<f64>() / numbers.len() as f64));
            let ends =
                at.values().map(|numbers| numbers.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(*x), b.max(*x))));
            chart = chart.with(Series::line(arm, points).with_band(ends));
        }
        Ok(chart)
    }
}

/// Every number.
const ANY: RangeInclusive<f64> = f64::NEG_INFINITY..=f64::INFINITY;

/// What a measure, or a difference of two, can be.
fn possible(measure: &Measure, difference: bool) -> RangeInclusive<f64> {
    match (measure.share, difference) {
        (false, _) => ANY,
        (true, true) => -1.0..=1.0,
        (true, false) => 0.0..=1.0,
    }
}

fn scale(measure: &Measure) -> f64 {
    if measure.share { 100.0 } else { 1.0 }
}

/// What a measure is called, with its unit.
fn label(measure: &Measure) -> String {
    if measure.share { format!("{}, %", measure.title) } else { measure.title.clone() }
}

/// A mean with its interval; a difference has its sign.
fn shown(numbers: &[f64], measure: &Measure, difference: bool) -> String {
    let Some(Mean { value, interval }) = Mean::of(numbers, possible(measure, difference)) else { return "–".into() };
    let digits = if measure.share || value.abs() >= 10.0 { 1 } else { 2 };
    let number = |x: f64| {
        let text = if difference { format!("{:+.digits$}", scale(measure) * x) } else { format!("{:.digits$}", scale(measure) * x) };
        text.replace('-', "−")
    };
    let interval = interval.map(|(low, high)| format!(" ({} to {})", number(low), number(high))).unwrap_or_default();
    format!("{}{interval}", number(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_worked_by_hand() {
        // 1, 2, 3: s = 1, t₂(0.975) = 4.302652730.
        let mean = Mean::of(&[1.0, 2.0, 3.0], ANY).unwrap();
        assert_eq!(mean.value, 2.0);
        let half = 4.302_652_73 / 3.0_f64.sqrt();
        let (low, high) = mean.interval.unwrap();
        assert!((low - 2.0 + half).abs() < 1e-8 && (high - 2.0 - half).abs() < 1e-8, "{low} {high}");
        assert_eq!(Mean::of(&[4.0], ANY), Some(Mean { value: 4.0, interval: None }));
        assert_eq!(Mean::of(&[], ANY), None);
        // A share is at most 1: an interval of two seeds would reach 1.3 otherwise.
        assert_eq!(Mean::of(&[0.85, 0.90], 0.0..=1.0).unwrap().interval.unwrap().1, 1.0);
    }

    #[test]
    fn differences_are_paired_and_a_missing_number_is_left_out() {
        let found = |seed: u64, a: f64, b: Option<f64>| {
            let mut summary = Summary { headline: vec![Measure::share("x", "x")], ..Summary::default() };
            summary.table = Table::new([""]);
            ["A", "B"].into_iter().for_each(|arm| summary.table.push([arm]));
            summary.values.insert("A/x".into(), a);
            summary.values.extend(b.map(|b| ("B/x".into(), b)));
            (seed, summary)
        };
        let all = [found(3, 0.1, Some(0.2)), found(4, 0.5, Some(0.6)), found(5, 0.9, None)];
        let summary = Compared::new(&all).unwrap().summary();
        assert!((summary.values["A/x"] - 0.5).abs() < 1e-12 && (summary.values["B/x"] - 0.4).abs() < 1e-12);
        for end in ["", "/low", "/high"] {
            assert!((summary.values[&format!("B - A/x{end}")] - 0.1).abs() < 1e-12);
        }
        assert_eq!(summary.table.rows[2], ["B − A", "+10.0 (+10.0 to +10.0)"]);
        // An experiment that does not say what matters most: everything that its arms have.
        let plain = all.map(|(seed, summary)| (seed, Summary { headline: Vec::new(), ..summary }));
        let table = Compared::new(&plain).unwrap().summary().table;
        assert_eq!((table.columns, &table.rows[2][1]), (vec![String::new(), "x".into()], &"+0.10 (+0.10 to +0.10)".to_owned()));
        // One whose rows are no arms: every value.
        let rows = plain.map(|(seed, summary)| (seed, Summary { table: Table::new([""]), ..summary }));
        let table = Compared::new(&rows).unwrap().summary().table;
        assert_eq!(table.rows[0], ["A/x", "0.50 (−0.49 to 1.49)"]);
    }
}
