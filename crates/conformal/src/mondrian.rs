//! Coverage within groups: of examples (Mondrian), of labels (class-conditional), of clusters of labels.

use lyceum_core::{Error, Result, Seed};
use ndarray::ArrayView2;
use rand::{RngExt, seq::index};
use serde::{Deserialize, Serialize};

use crate::{
    ConformalConfig, PredictionSets,
    conformal::{check_classes, scores, sets},
    quantile,
    scheme::{ByLabel, ByRow},
};

/// A threshold for each group of examples: coverage 1 − α within every group (Vovk, Lindsay, Nouretdinov and Gammerman
/// 2003). A group with too few examples has an infinite threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mondrian {
    /// How sets are made.
    pub config: ConformalConfig,
    /// τ of each group; `None` is infinity.
    pub thresholds: Vec<Option<f64>>,
    /// How many labels there are.
    pub classes: usize,
}

impl Mondrian {
    /// From held-out logits (`n × K`), their labels, and the group of each, from 0.
    pub fn calibrate(config: ConformalConfig, logits: ArrayView2<'_, f32>, labels: &[usize], groups: &[usize], seed: Seed) -> Result<Self> {
        Self::from_scores(config, &scores(&config, logits, labels, seed)?, groups, logits.ncols())
    }

    /// From the [`scores`] of the calibration examples and the group of each.
    pub fn from_scores(config: ConformalConfig, scores: &[f64], groups: &[usize], classes: usize) -> Result<Self> {
        same_length("groups", groups.len(), scores.len())?;
        let count = groups.iter().max().map_or(0, |max| max.saturating_add(1));
        if count > 1 << 24 {
            return Err(Error::invalid("groups", count - 1, format!("numbers from 0 to {}", 1 << 24)));
        }
        let thresholds = by_group(scores, groups, count, config.alpha).into_iter().map(finite).collect();
        Ok(Self { config, thresholds, classes })
    }

    /// The threshold of each row, from its group; every label for a group that was not seen.
    pub fn scheme(&self, groups: &[usize]) -> ByRow {
        let of_group = |group: &usize| self.thresholds.get(*group).copied().flatten().unwrap_or(f64::INFINITY);
        ByRow(groups.iter().map(of_group).collect())
    }

    /// The set of each row; a group that was not seen gets every label.
    pub fn predict(&self, logits: ArrayView2<'_, f32>, groups: &[usize], seed: Seed) -> Result<PredictionSets> {
        check_classes(logits, self.classes)?;
        same_length("groups", groups.len(), logits.nrows())?;
        sets(&self.config, &self.scheme(groups), logits, seed)
    }
}

/// A threshold for each label, or for each cluster of labels: coverage 1 − α among the examples of every class
/// (or cluster).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassConditional {
    /// How sets are made.
    pub config: ConformalConfig,
    /// τ of each label; `None` is infinity.
    pub thresholds: Vec<Option<f64>>,
    /// The cluster of each label, where there are clusters; labels that are too rare for one are in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<Vec<Option<usize>>>,
}

/// How labels are clustered (Ding, Angelopoulos, Bates, Jordan and Tibshirani 2023).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clustering {
    /// How many clusters.
    pub clusters: usize,
    /// The share of the examples from which labels are clustered; the others calibrate.
    pub share: f64,
}

/// The quantiles of a label's scores that say which labels are alike.
const EMBEDDING: [f64; 5] = [0.5, 0.6, 0.7, 0.8, 0.9];

impl ClassConditional {
    /// A threshold for each label, from held-out logits (`n × K`) and their labels.
    pub fn calibrate(config: ConformalConfig, logits: ArrayView2<'_, f32>, labels: &[usize], seed: Seed) -> Result<Self> {
        Ok(Self::from_scores(config, &scores(&config, logits, labels, seed)?, labels, logits.ncols()))
    }

    /// From the [`scores`] of the calibration examples and their labels, below `classes`.
    pub fn from_scores(config: ConformalConfig, scores: &[f64], labels: &[usize], classes: usize) -> Self {
        let thresholds = by_group(scores, labels, classes, config.alpha).into_iter().map(finite).collect();
        Self { config, thresholds, clusters: None }
    }

    /// A threshold for each cluster of labels with like scores. Labels that are too rare to tell (fewer than 1/α − 1
    /// examples, as many as a finite threshold needs) get the threshold of all examples.
    pub fn calibrate_clustered(
        config: ConformalConfig,
        clustering: Clustering,
        logits: ArrayView2<'_, f32>,
        labels: &[usize],
        seed: Seed,
    ) -> Result<Self> {
        let scores = scores(&config, logits, labels, seed)?;
        Self::clustered_from_scores(config, clustering, &scores, labels, logits.ncols(), seed)
    }

    /// Clustered, from the [`scores`] of the calibration examples and their labels, below `classes`.
    pub fn clustered_from_scores(
        config: ConformalConfig,
        clustering: Clustering,
        scores: &[f64],
        labels: &[usize],
        classes: usize,
        seed: Seed,
    ) -> Result<Self> {
        let Clustering { clusters: count, share } = clustering;
        if count == 0 || count > classes {
            return Err(Error::invalid("clusters", count, format!("1 to {classes}, the number of classes")));
        }
        if !(share > 0.0 && share < 1.0) {
            return Err(Error::invalid("share", share, "a number > 0 and < 1"));
        }
        let n = scores.len();
        let mut rng = seed.stream("conformal/clusters");
        let mut clusters_from = vec![false; n];
        index::sample(&mut rng, n, (share * n as f64).round() as usize).into_iter().for_each(|row| clusters_from[row] = true);
        let mut by_label = vec![Vec::new(); classes];
        (0..n).filter(|&row| clusters_from[row]).for_each(|row| by_label[labels[row]].push(scores[row]));
        let enough = |found: &Vec<f64>| quantile::rank(found.len(), config.alpha) <= found.len();
        let known: Vec<usize> = (0..classes).filter(|&label| enough(&by_label[label])).collect();
        let points: Vec<[f64; EMBEDDING.len()]> = known.iter().map(|&label| embedding(&mut by_label[label])).collect();
        let weights: Vec<f64> = known.iter().map(|&label| (by_label[label].len() as f64).sqrt()).collect();
        let mut clusters = vec![None; classes];
        known.iter().zip(k_means(&points, &weights, count, &mut rng)).for_each(|(&label, cluster)| clusters[label] = Some(cluster));
        // What is left calibrates: the clusters were chosen without it.
        let (mut groups, mut rest) = (vec![Vec::new(); count], Vec::new());
        for row in (0..n).filter(|&row| !clusters_from[row]) {
            rest.push(scores[row]);
            if let Some(cluster) = clusters[labels[row]] {
                groups[cluster].push(scores[row]);
            }
        }
        let all = quantile::threshold(&mut rest, config.alpha);
        let of_cluster: Vec<f64> = groups.iter_mut().map(|scores| quantile::threshold(scores, config.alpha)).collect();
        let thresholds = clusters.iter().map(|cluster| finite(cluster.map_or(all, |cluster| of_cluster[cluster]))).collect();
        Ok(Self { config, thresholds, clusters: Some(clusters) })
    }

    /// The set of each row of logits.
    pub fn predict(&self, logits: ArrayView2<'_, f32>, seed: Seed) -> Result<PredictionSets> {
        check_classes(logits, self.thresholds.len())?;
        sets(&self.config, &self.scheme(), logits, seed)
    }

    /// The threshold of each label.
    pub fn scheme(&self) -> ByLabel {
        ByLabel::new(self.thresholds.iter().map(|threshold| threshold.unwrap_or(f64::INFINITY)).collect())
    }
}

fn by_group(scores: &[f64], groups: &[usize], count: usize, alpha: f64) -> Vec<f64> {
    let mut by_group = vec![Vec::new(); count];
    scores.iter().zip(groups).for_each(|(score, &group)| by_group[group].push(*score));
    by_group.iter_mut().map(|scores| quantile::threshold(scores, alpha)).collect()
}

fn finite(threshold: f64) -> Option<f64> {
    threshold.is_finite().then_some(threshold)
}

pub(crate) fn same_length(what: &str, found: usize, rows: usize) -> Result<()> {
    if found == rows { Ok(()) } else { Err(Error::invalid(what, found, format!("one for each of {rows} rows"))) }
}

fn embedding(scores: &mut [f64]) -> [f64; EMBEDDING.len()] {
    scores.sort_unstable_by(f64::total_cmp);
    EMBEDDING.map(|level| scores[(level * (scores.len() - 1) as f64).round() as usize])
}

/// Weighted k-means with the starting points of k-means++ (Arthur and Vassilvitskii 2007).
fn k_means<const D: usize>(points: &[[f64; D]], weights: &[f64], k: usize, rng: &mut lyceum_core::Stream) -> Vec<usize> {
    let squared = |a: &[f64; D], b: &[f64; D]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
    let mut centers: Vec<[f64; D]> = Vec::new();
    for _ in 0..k.min(points.len()) {
        let shares: Vec<f64> = points
            .iter()
            .zip(weights)
            .map(|(point, weight)| weight * centers.iter().map(|center| squared(point, center)).fold(f64::INFINITY, f64::min).min(1e300))
            .collect();
        let mut left = rng.random::<f64>() * shares.iter().sum::<f64>();
        let chosen = shares.iter().position(|share| {
            left -= share;
            left <= 0.0
        });
        centers.push(points[chosen.unwrap_or(points.len() - 1)]);
    }
    let nearest = |point: &[f64; D], centers: &[[f64; D]]| {
        (0..centers.len()).min_by(|&a, &b| squared(point, &centers[a]).total_cmp(&squared(point, &centers[b]))).unwrap_or(0)
    };
    let mut found = vec![0; points.len()];
    for _ in 0..100 {
        let next: Vec<usize> = points.iter().map(|point| nearest(point, &centers)).collect();
        for (cluster, center) in centers.iter_mut().enumerate() {
            let mine = || points.iter().zip(weights).zip(&next).filter(|(_, found)| **found == cluster).map(|(point, _)| point);
            let total: f64 = mine().map(|(_, weight)| weight).sum();
            if total > 0.0 {
                *center = std::array::from_fn(|d| mine().map(|(point, weight)| weight * point[d]).sum::<f64>() / total);
            }
        }
        if next == found {
            break;
        }
        found = next;
    }
    found
}
