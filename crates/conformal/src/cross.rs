//! Cross-conformal prediction: no data apart for calibration, K models each of which left out one fold
//! (Vovk 2015; for adaptive scores Romano, Sesia and Candès 2020).

use lyceum_core::{Error, Result, Seed};
use ndarray::{ArrayView2, ArrayView3, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    ConformalConfig, PredictionSets,
    conformal::{Copies, PREDICT, all_scores_with, check_classes, draws_of, fingerprints, scores},
    draws::{Draws, mix},
    mondrian::same_length,
    predictor::{opened, sealed},
    quantile,
};

/// The scheme's name beside its fields, as other schemes have it.
#[derive(Serialize, Deserialize)]
#[serde(tag = "scheme", rename_all = "kebab-case")]
enum Tagged {
    Cross(CrossConformal),
}

/// Calibration scores by fold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrossConformal {
    /// How sets are made.
    pub config: ConformalConfig,
    /// The scores of each fold, rising.
    folds: Vec<Vec<f64>>,
    classes: usize,
}

impl CrossConformal {
    /// How many labels there are.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The model as JSON, with the version of the rules that calibrated it.
    pub fn to_json(&self) -> Result<String> {
        Ok(sealed(&Tagged::Cross(self.clone()))?.to_string())
    }

    /// Reads what [`to_json`](Self::to_json) gave.
    pub fn from_json(text: &str) -> Result<Self> {
        let Tagged::Cross(model) = opened(text)?;
        model.config.check()?;
        Ok(model)
    }

    /// From the logits (`n × K`) of all training points, each by the model that left out its fold, their labels and
    /// folds from 0.
    pub fn calibrate(config: ConformalConfig, logits: ArrayView2<'_, f32>, labels: &[usize], folds: &[usize], seed: Seed) -> Result<Self> {
        same_length("folds", folds.len(), logits.nrows())?;
        if folds.is_empty() {
            return Err(Error::invalid("folds", "none", "one for each of 1 training point or more: without folds there are no models"));
        }
        let count = folds.iter().max().map_or(0, |max| max.saturating_add(1));
        if count > logits.nrows() {
            return Err(Error::invalid("folds", count, format!("at most as many as rows: {}", logits.nrows())));
        }
        let mut by_fold = vec![Vec::new(); count];
        scores(&config, logits, labels, seed)?.into_iter().zip(folds).for_each(|(score, &fold)| by_fold[fold].push(score));
        by_fold.iter_mut().for_each(|scores| scores.sort_unstable_by(f64::total_cmp));
        Ok(Self { config, folds: by_fold, classes: logits.ncols() })
    }

    /// The set of each point: the labels y with Σ over folds of #{scores of the fold below that of y by its model}
    /// at most ⌈(1 − α)(n + 1)⌉ − 1. Coverage is at least 1 − 2α − small, in practice about 1 − α.
    ///
    /// * `logits`: `folds × m × K`, of the new points by each model.
    pub fn predict(&self, logits: ArrayView3<'_, f32>, seed: Seed) -> Result<PredictionSets> {
        if logits.dim().0 != self.folds.len() {
            return Err(Error::invalid(
                "logits",
                format!("{} models", logits.dim().0),
                format!("one for each of {} folds", self.folds.len()),
            ));
        }
        let n: usize = self.folds.iter().map(Vec::len).sum();
        let most = quantile::rank(n, self.config.alpha);
        // One draw u per point, the same for all models: it depends on what all of them say of it.
        let mut points = vec![0_u64; logits.dim().1];
        for model in logits.axis_iter(Axis(0)) {
            check_classes(model, self.classes)?;
            points.iter_mut().zip(fingerprints(&self.config, model)?).for_each(|(point, row)| *point = mix(*point ^ row));
        }
        let draws = draws_of(&mut Copies::default(), &points, Draws::new(seed, PREDICT));
        let by_model = logits.axis_iter(Axis(0)).map(|model| all_scores_with(&self.config, model, &draws)).collect::<Result<Vec<_>>>()?;
        let row = |row: usize| -> Vec<u32> {
            let below = |label: usize| -> usize {
                let counts = self.folds.iter().zip(&by_model);
                counts.map(|(scores, model)| scores.partition_point(|score| *score < model[[row, label]])).sum()
            };
            let mut kept: Vec<usize> = (0..self.classes).filter(|&label| below(label) < most).collect();
            // Most likely first, by the first model.
            let rank = |a: usize, b: usize| by_model[0][[row, a]].total_cmp(&by_model[0][[row, b]]);
            kept.sort_by(|&a, &b| rank(a, b));
            if kept.is_empty() && !self.config.allow_empty {
                kept.extend((0..self.classes).min_by(|&a, &b| rank(a, b)));
            }
            kept.into_iter().map(|label| label as u32).collect()
        };
        let rows: Vec<Vec<u32>> = (0..logits.dim().1).into_par_iter().map(row).collect();
        PredictionSets::from_sizes(rows.iter().map(Vec::len), rows.concat())
    }
}
