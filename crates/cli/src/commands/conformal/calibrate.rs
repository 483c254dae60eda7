//! `lyceum conformal calibrate`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lyceum_conformal::{
    ClassConditional, Clustering, Conformal, ConformalConfig, Mondrian, Names, Predictor, Weighted,
    conformal::{Copies, scores_of_part},
    temperature,
    tune::{self, Criterion},
};
use lyceum_core::{Error, Progress, Result, Seed};
use lyceum_data::split;
use serde_json::json;

use super::{
    files::{KnownFiles, Labelled, Logits, OpenKnown},
    scoring::{Scoring, describe},
};
use crate::commands::said;

/// More tuning examples than this tell nothing new, and they are held in memory.
const MOST_TUNING: usize = 50_000;

/// Compute thresholds on labelled examples that were not used for training
#[derive(Args)]
#[command(after_help = "\
Temperature, --lambda and --k-reg are fitted on a part of the examples unless they are given.

Examples:
  lyceum conformal calibrate --logits cal.npy --labels y.npy --alpha 0.1 --out model.json
  lyceum conformal calibrate --logits cal.csv --score raps --tune adaptiveness --out model.json
  lyceum conformal calibrate --logits cal.npy --labels y.npy --score raps --lambda 0.01 --k-reg 5 --temperature 1 --out model.json
  lyceum conformal calibrate --logits cal.npy --labels y.npy --scheme clustered --clusters 8 --out model.json
  lyceum conformal calibrate --logits cal.npy --labels y.npy --scheme groups --groups site.npy --out model.json
  lyceum conformal calibrate --logits cal.csv --scheme groups --groups cal.csv --out model.json")]
pub(crate) struct Calibrate {
    #[command(flatten)]
    labelled: Labelled,

    #[command(flatten)]
    known: KnownFiles,

    #[command(flatten)]
    scoring: Scoring,

    /// Among which examples coverage is promised
    #[arg(long, value_enum, default_value_t = SchemeName::Marginal)]
    scheme: SchemeName,

    /// Scheme `clustered`: how many clusters of labels
    #[arg(long, default_value_t = 4)]
    clusters: usize,

    /// Scheme `clustered`: the share of the examples from which labels are clustered
    #[arg(long, default_value_t = 0.3, allow_negative_numbers = true)]
    cluster_share: f64,

    /// RAPS: what --lambda is tuned for
    #[arg(long, value_enum, default_value_t = TuneFor::Size, conflicts_with = "lambda")]
    tune: TuneFor,

    /// The share of the examples (50,000 at most) that is kept apart for the temperature and for tuning
    #[arg(long, default_value_t = 0.3, allow_negative_numbers = true)]
    tuning_share: f64,

    /// The seed of the split and of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Where the model is written (JSON)
    #[arg(long, short)]
    out: PathBuf,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum SchemeName {
    /// Among all: one threshold
    Marginal,
    /// Among the examples of every label: a threshold a label
    ClassConditional,
    /// Among the examples of every cluster of labels with like scores: for many rare labels
    Clustered,
    /// Within each group of examples, given by --groups
    Groups,
    /// Under covariate shift, with the likelihood ratios given by --weights
    Weighted,
}

#[derive(Clone, Copy, ValueEnum)]
enum TuneFor {
    /// Small sets
    Size,
    /// Equal coverage of small and large sets
    Adaptiveness,
}

impl Calibrate {
    pub(super) fn execute(self, progress: &Progress) -> Result<()> {
        let mut config = self.scoring.config()?;
        let seed = Seed::new(self.seed);
        let known = self.known.open(None)?;
        for (option, given, wanted) in [
            ("--groups", known.groups.is_some(), self.scheme == SchemeName::Groups),
            ("--weights", known.weights.is_some(), self.scheme == SchemeName::Weighted),
        ] {
            match (given, wanted) {
                (false, true) => return Err(Error::invalid(option, "nothing", "a file: this scheme needs it")),
                (true, false) => return Err(Error::invalid(option, "a file", "nothing: this scheme does not use it")),
                _ => {}
            }
        }
        let (logits, labels) = self.labelled.open()?;
        let rows: Vec<usize> = if self.scoring.wants_tuning() || self.scoring.temperature.is_none() {
            let [tuning, rest] = self.split(labels.len(), seed)?;
            config = self.tuned(config, &logits, &labels, &tuning, seed)?;
            rest
        } else {
            (0..labels.len()).collect()
        };
        let labels: Vec<usize> = rows.iter().map(|&row| labels[row]).collect();
        let (mut copies, mut scores) = (Copies::default(), Vec::with_capacity(rows.len()));
        logits.picked_blocks(&rows, |first, block| {
            scores.extend(scores_of_part(&mut copies, &config, block, &labels[first..first + block.nrows()], seed)?);
            Ok(())
        })?;
        let count = scores.len();
        let model = self.model(config, scores, &labels, &rows, &known, logits.dim().1, seed)?;
        let names = Names { classes: logits.classes, groups: known.names };
        model.save_named(&names, &self.out)?;
        said(progress, &json!({ "event": "end", "model": model, "path": self.out }), || {
            format!(
                "{}, temperature {:.4}: {} from {count} examples of {} classes\nmodel: {}",
                describe(model.config().score),
                model.config().temperature,
                thresholds(&model),
                model.classes(),
                self.out.display()
            )
        });
        Ok(())
    }

    /// Which examples tune and which calibrate, each in the order of the file.
    fn split(&self, n: usize, seed: Seed) -> Result<[Vec<usize>; 2]> {
        if !(self.tuning_share > 0.0 && self.tuning_share < 1.0) {
            return Err(Error::invalid("--tuning-share", self.tuning_share, "a number > 0 and < 1"));
        }
        let share = self.tuning_share.min(MOST_TUNING as f64 / n.max(1) as f64);
        let parts = split::random(n, &[share, 1.0 - share], &mut seed.stream("conformal/split"));
        let mut parts = <[Vec<usize>; 2]>::try_from(parts).unwrap_or_default();
        parts.iter_mut().for_each(|part| part.sort_unstable());
        Ok(parts)
    }

    fn tuned(&self, mut config: ConformalConfig, logits: &Logits, labels: &[usize], rows: &[usize], seed: Seed) -> Result<ConformalConfig> {
        let part = logits.pick(rows)?;
        let labels: Vec<usize> = rows.iter().map(|&row| labels[row]).collect();
        if self.scoring.temperature.is_none() {
            config.temperature = temperature::fit(part.view(), &labels)?;
        }
        if self.scoring.wants_tuning() {
            let criterion = match self.tune {
                TuneFor::Size => Criterion::Size,
                TuneFor::Adaptiveness => Criterion::Adaptiveness,
            };
            config = tune::raps(config, part.view(), &labels, criterion, seed)?;
        }
        Ok(config)
    }

    #[allow(clippy::too_many_arguments, reason = "all that some scheme wants")]
    fn model(
        &self,
        config: ConformalConfig,
        scores: Vec<f64>,
        labels: &[usize],
        rows: &[usize],
        known: &OpenKnown,
        classes: usize,
        seed: Seed,
    ) -> Result<Predictor> {
        Ok(match self.scheme {
            SchemeName::Marginal => Predictor::Marginal(Conformal::from_scores(config, scores, classes)),
            SchemeName::ClassConditional => Predictor::ClassConditional(ClassConditional::from_scores(config, &scores, labels, classes)),
            SchemeName::Clustered => {
                let clustering = Clustering { clusters: self.clusters, share: self.cluster_share };
                let model = ClassConditional::clustered_from_scores(config, clustering, &scores, labels, classes, seed)?;
                Predictor::ClassConditional(model)
            }
            SchemeName::Groups => {
                let groups = picked("groups", known.groups.as_deref(), rows)?;
                Predictor::Groups(Mondrian::from_scores(config, &scores, &groups, classes)?)
            }
            SchemeName::Weighted => {
                let weights = picked("weights", known.weights.as_deref(), rows)?;
                Predictor::Weighted(Weighted::from_scores(config, &scores, &weights, classes)?)
            }
        })
    }
}

/// The values of these rows.
fn picked<T: Copy>(what: &str, values: Option<&[T]>, rows: &[usize]) -> Result<Vec<T>> {
    let values = values.unwrap_or_default();
    let missing = || Error::invalid(what, values.len(), "one for each row of the logits");
    rows.iter().map(|&row| values.get(row).copied().ok_or_else(missing)).collect()
}

/// The thresholds, in a line.
fn thresholds(model: &Predictor) -> String {
    let one = |threshold: Option<f64>| threshold.map_or_else(|| "infinite (too few examples: every label)".into(), |t| format!("{t:.6}"));
    let many = |of: &str, thresholds: &[Option<f64>]| {
        let finite = thresholds.iter().flatten();
        let (low, high) = finite.clone().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), t| (low.min(*t), high.max(*t)));
        let infinite = thresholds.len() - finite.count();
        let range = if infinite < thresholds.len() { format!(" from {low:.6} to {high:.6}") } else { String::new() };
        format!("thresholds of {} {of}{range}, {infinite} infinite (too few examples: every label)", thresholds.len())
    };
    match model {
        Predictor::Marginal(model) => format!("threshold {}", one(model.threshold)),
        Predictor::ClassConditional(model) => many("labels", &model.thresholds),
        Predictor::Groups(model) => many("groups", &model.thresholds),
        Predictor::Weighted(model) => format!("threshold {} for a weight of 1", one(Some(model.threshold(1.0)).filter(|t| t.is_finite()))),
    }
}
