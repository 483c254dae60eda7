//! Calibrate on held-out examples, then predict sets.

use lyceum_core::{Error, Result, Seed};
use ndarray::{Array2, ArrayView2};
use pulp::Simd;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::draws::Copies;
use crate::{
    PredictionSets, ScoreConfig,
    draws::Draws,
    quantile, row,
    row::Scratch,
    rows::{ROWS, RowWork, in_chunks, in_these_chunks, with_next},
    scheme::{Marginal, Scheme},
    score::{Place, Score, WithScore},
    softmax::{self, Keys},
};

/// How a label's score is randomised.
///
/// A draw u depends on the seed, on the row's probabilities, and on how many equal rows came before in the same call. So
/// a row has the same set alone, in a batch, and in any order. Two calls with one seed give equal rows equal draws: their
/// sets are equal, not independent. Each of them is covered with probability 1 − α all the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Randomization {
    /// One draw u a point in both phases: coverage is 1 − α, not more.
    #[default]
    Exact,
    /// Randomised at calibration; the set goes up to the first label that reaches τ, whatever u. Covers more than 1 − α
    /// (what the paper calls not randomised). Every scheme judges a label so ([`Score::bound`]).
    Conservative,
    /// u = 1 in both phases: deterministic and valid, with a larger τ.
    Off,
}

impl Randomization {
    /// The draw of a new point, from `draw` if it is random; `None` where labels are judged by their bounds.
    #[inline(always)]
    fn at_prediction(self, draw: impl FnOnce() -> f64) -> Option<f64> {
        match self {
            Self::Exact => Some(draw()),
            Self::Off => Some(1.0),
            Self::Conservative => None,
        }
    }
}

/// How sets are made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConformalConfig {
    /// The share of points whose set may miss the truth.
    pub alpha: f64,
    /// The score.
    pub score: ScoreConfig,
    /// What randomness does.
    pub randomization: Randomization,
    /// Whether a set may be empty; if not, the most likely label is always in (which covers a little more).
    pub allow_empty: bool,
    /// Logits are divided by it before the softmax.
    pub temperature: f64,
}

impl Default for ConformalConfig {
    fn default() -> Self {
        Self { alpha: 0.1, score: ScoreConfig::Aps, randomization: Randomization::default(), allow_empty: true, temperature: 1.0 }
    }
}

/// A calibrated threshold and all that is needed to use it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conformal {
    /// How sets are made.
    pub config: ConformalConfig,
    /// τ: labels with a score up to it are in the set. `None` is infinity: every label.
    pub threshold: Option<f64>,
    /// How many examples it was calibrated on.
    pub calibration_size: usize,
    /// How many labels there are.
    pub classes: usize,
}

impl ConformalConfig {
    /// What logits are multiplied by before the softmax.
    pub(crate) fn beta(&self) -> f32 {
        (1.0 / self.temperature) as f32
    }

    /// Errors where a value is out of its range.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: &str, found: f64, allowed: &str| Err(Error::invalid(what, found, allowed));
        quantile::check_alpha(self.alpha)?;
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return wrong("temperature", self.temperature, "a finite number > 0");
        }
        match self.score {
            ScoreConfig::Raps { lambda, .. } if !(lambda >= 0.0 && lambda.is_finite()) => wrong("lambda", lambda, "a finite number >= 0"),
            ScoreConfig::Saps { weight } if !(weight >= 0.0 && weight.is_finite()) => wrong("weight", weight, "a finite number >= 0"),
            _ => Ok(()),
        }
    }
}

impl Conformal {
    /// τ from logits (`n × K`) and labels that were not used for training. `seed` gives the draws u.
    pub fn calibrate(config: ConformalConfig, logits: ArrayView2<'_, f32>, labels: &[usize], seed: Seed) -> Result<Self> {
        config.check()?;
        Ok(Self::from_scores(config, scores(&config, logits, labels, seed)?, logits.ncols()))
    }

    /// From the [`scores`] of the calibration examples.
    pub fn from_scores(config: ConformalConfig, mut scores: Vec<f64>, classes: usize) -> Self {
        let threshold = match config.score {
            ScoreConfig::Naive => 1.0 - config.alpha,
            _ => quantile::threshold(&mut scores, config.alpha),
        };
        Self { config, threshold: threshold.is_finite().then_some(threshold), calibration_size: scores.len(), classes }
    }

    /// The threshold.
    pub fn scheme(&self) -> Marginal {
        Marginal(self.threshold.unwrap_or(f64::INFINITY))
    }

    /// The set of each row of logits (`m × K`). `seed` gives the draws u.
    pub fn predict(&self, logits: ArrayView2<'_, f32>, seed: Seed) -> Result<PredictionSets> {
        check_classes(logits, self.classes)?;
        sets(&self.config, &self.scheme(), logits, seed)
    }
}

/// The set of each row under any scheme. `seed` gives the draws u, see [`Randomization`].
pub fn sets(config: &ConformalConfig, scheme: &dyn Scheme, logits: ArrayView2<'_, f32>, seed: Seed) -> Result<PredictionSets> {
    sets_of_part(&mut Copies::default(), config, scheme, logits, seed)
}

/// The [`sets`] of the next part of a matrix: the parts, with one `copies`, give what the whole gives. The scheme's rows
/// are the part's.
pub fn sets_of_part(
    copies: &mut Copies,
    config: &ConformalConfig,
    scheme: &dyn Scheme,
    logits: ArrayView2<'_, f32>,
    seed: Seed,
) -> Result<PredictionSets> {
    config.check()?;
    config.score.with(Predict { copies, config, scheme, logits, seed })
}

/// The score of each label in its row.
pub fn scores(config: &ConformalConfig, logits: ArrayView2<'_, f32>, labels: &[usize], seed: Seed) -> Result<Vec<f64>> {
    scores_of_part(&mut Copies::default(), config, logits, labels, seed)
}

/// The [`scores`] of the next part of a matrix: the parts, with one `copies`, give what the whole gives.
pub fn scores_of_part(
    copies: &mut Copies,
    config: &ConformalConfig,
    logits: ArrayView2<'_, f32>,
    labels: &[usize],
    seed: Seed,
) -> Result<Vec<f64>> {
    config.check()?;
    let (places, fingerprints) = placed(logits, labels, config.temperature)?;
    config.score.with(Scores { draws: draws_of(copies, &fingerprints, Draws::new(seed, CALIBRATE)), config, places })
}

/// The score of every label of every row, `m × K`, as [`sets`] compares it with thresholds. `seed` gives the draws u.
pub fn all_scores(config: &ConformalConfig, logits: ArrayView2<'_, f32>, seed: Seed) -> Result<Array2<f64>> {
    all_scores_of_part(&mut Copies::default(), config, logits, seed)
}

/// [`all_scores`] of the next part of a matrix: the parts, with one `copies`, give what the whole gives.
pub fn all_scores_of_part(copies: &mut Copies, config: &ConformalConfig, logits: ArrayView2<'_, f32>, seed: Seed) -> Result<Array2<f64>> {
    config.check()?;
    let draws = draws_of(copies, &fingerprints(config, logits)?, Draws::new(seed, PREDICT));
    all_scores_with(config, logits, &draws)
}

/// [`all_scores`] with these draws u, one per row.
pub(crate) fn all_scores_with(config: &ConformalConfig, logits: ArrayView2<'_, f32>, draws: &[f64]) -> Result<Array2<f64>> {
    config.score.with(AllScores { config, logits, draws })
}

/// The names of the draws: those of prediction are not those of calibration.
const CALIBRATE: &str = "conformal/calibrate";
pub(crate) const PREDICT: &str = "conformal/predict";

/// The draw of each row of these fingerprints.
pub(crate) fn draws_of(copies: &mut Copies, fingerprints: &[u64], draws: Draws) -> Vec<f64> {
    match copies.count(fingerprints.iter(), fingerprints.len()) {
        None => fingerprints.iter().map(|row| draws.of(*row, 0)).collect(),
        Some(earlier) => fingerprints.iter().zip(earlier).map(|(row, earlier)| draws.of(*row, earlier)).collect(),
    }
}

/// A number for each row that depends on its probabilities alone.
pub(crate) fn fingerprints(config: &ConformalConfig, logits: ArrayView2<'_, f32>) -> Result<Vec<u64>> {
    Ok(in_chunks(logits, &FindFingerprints { beta: config.beta(), keys: Keys::new(logits.ncols()) })?.concat())
}

struct FindFingerprints {
    beta: f32,
    keys: Keys,
}

impl RowWork for FindFingerprints {
    type Output = Vec<u64>;

    #[inline(always)]
    fn rows<A: Simd>(&self, _: A, first: usize, rows: &[&[f32]], _: &mut Scratch) -> Result<Vec<u64>, usize> {
        let mut found = Vec::with_capacity(rows.len());
        for (i, row) in with_next(rows).enumerate() {
            found.push(row::fingerprint(row, self.beta, &self.keys).ok_or(first + i)?);
        }
        Ok(found)
    }
}

struct AllScores<'a> {
    config: &'a ConformalConfig,
    logits: ArrayView2<'a, f32>,
    draws: &'a [f64],
}

impl WithScore for AllScores<'_> {
    type Output = Result<Array2<f64>>;

    fn call<S: Score>(self, score: &S) -> Result<Array2<f64>> {
        let (beta, keys) = (self.config.beta(), Keys::new(self.logits.ncols()));
        let values =
            in_chunks(self.logits, &FindAllScores { beta, keys, draws: self.draws, randomization: self.config.randomization, score });
        Array2::from_shape_vec(self.logits.dim(), values?.concat()).map_err(|error| Error::Failed(error.to_string()))
    }
}

struct FindAllScores<'a, S> {
    beta: f32,
    keys: Keys,
    draws: &'a [f64],
    randomization: Randomization,
    score: &'a S,
}

impl<S: Score> RowWork for FindAllScores<'_, S> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn rows<A: Simd>(&self, simd: A, first: usize, rows: &[&[f32]], scratch: &mut Scratch) -> Result<Vec<f64>, usize> {
        let mut scores = Vec::new();
        for (i, row) in with_next(rows).enumerate() {
            let u = self.randomization.at_prediction(|| self.draws[first + i]);
            row::all_scores(simd, row, u, (self.beta, &self.keys), self.score, scratch, &mut scores).ok_or(first + i)?;
        }
        Ok(scores)
    }
}

/// The p-value of every label of every row, `m × K`: (1 + #{calibration scores ≥ its score})/(n + 1). The labels with
/// p > α are the set at any α.
pub fn p_values(config: &ConformalConfig, calibration: &[f64], logits: ArrayView2<'_, f32>, seed: Seed) -> Result<Array2<f64>> {
    Ok(p_values_of(calibration, all_scores(config, logits, seed)?))
}

/// The p-values of these scores: (1 + #{calibration scores ≥ score})/(n + 1).
pub fn p_values_of(calibration: &[f64], scores: Array2<f64>) -> Array2<f64> {
    let mut sorted = calibration.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let n = sorted.len();
    let p = |score: f64| (1 + n - sorted.partition_point(|calibration| *calibration < score)) as f64 / (n + 1) as f64;
    scores.mapv_into(p)
}

/// Where each label stands in its row.
pub fn places(logits: ArrayView2<'_, f32>, labels: &[usize], temperature: f64) -> Result<Vec<Place>> {
    Ok(placed(logits, labels, temperature)?.0)
}

/// Where each label stands in its row, and the rows' fingerprints.
fn placed(logits: ArrayView2<'_, f32>, labels: &[usize], temperature: f64) -> Result<(Vec<Place>, Vec<u64>)> {
    check_labels(logits, labels)?;
    let work = FindPlaces { labels, beta: (1.0 / temperature) as f32, keys: Keys::new(logits.ncols()) };
    let (places, fingerprints): (Vec<_>, Vec<_>) = in_chunks(logits, &work)?.into_iter().unzip();
    Ok((places.concat(), fingerprints.concat()))
}

struct FindPlaces<'a> {
    labels: &'a [usize],
    beta: f32,
    keys: Keys,
}

impl RowWork for FindPlaces<'_> {
    type Output = (Vec<Place>, Vec<u64>);

    #[inline(always)]
    fn rows<A: Simd>(&self, _: A, first: usize, rows: &[&[f32]], _: &mut Scratch) -> Result<Self::Output, usize> {
        let mut found = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        for (i, row) in with_next(rows).enumerate() {
            let (place, fingerprint) = row::place(row, self.labels[first + i], self.beta, &self.keys).ok_or(first + i)?;
            found.0.push(place);
            found.1.push(fingerprint);
        }
        Ok(found)
    }
}

struct Scores<'a> {
    draws: Vec<f64>,
    config: &'a ConformalConfig,
    places: Vec<Place>,
}

impl WithScore for Scores<'_> {
    type Output = Result<Vec<f64>>;

    fn call<S: Score>(self, score: &S) -> Result<Vec<f64>> {
        let randomised = self.config.randomization != Randomization::Off;
        let score = |(place, u): (&Place, f64)| score.at(place, if randomised { u } else { 1.0 });
        Ok(self.places.iter().zip(self.draws).map(score).collect())
    }
}

struct Predict<'a> {
    copies: &'a mut Copies,
    config: &'a ConformalConfig,
    scheme: &'a dyn Scheme,
    logits: ArrayView2<'a, f32>,
    seed: Seed,
}

impl WithScore for Predict<'_> {
    type Output = Result<PredictionSets>;

    fn call<S: Score>(self, score: &S) -> Result<PredictionSets> {
        let (keys, draws) = (Keys::new(self.logits.ncols()), Draws::new(self.seed, PREDICT));
        let mut work = FindSets { config: self.config, scheme: self.scheme, keys, score, draws, earlier: None };
        let mut chunks = in_chunks(self.logits, &work)?;
        // Each row as if it were the first of its kind; most often it is. The chunks with copies are found again.
        if S::RANDOMISED && self.config.randomization == Randomization::Exact {
            work.earlier = self.copies.count(chunks.iter().flat_map(|chunk| &chunk.fingerprints), self.logits.nrows());
        }
        if let Some(earlier) = &work.earlier {
            let has_copies = |rows: &[u32]| rows.iter().any(|row| *row > 0);
            let again: Vec<usize> = earlier.chunks(ROWS).enumerate().filter(|(_, rows)| has_copies(rows)).map(|(index, _)| index).collect();
            let found = in_these_chunks(self.logits, &again, &work)?;
            again.into_iter().zip(found).for_each(|(chunk, found)| chunks[chunk] = found);
        }
        let mut labels = vec![0; chunks.iter().map(|chunk| chunk.labels.len()).sum()];
        let (mut left, mut places) = (labels.as_mut_slice(), Vec::with_capacity(chunks.len()));
        for chunk in &chunks {
            let (place, rest) = std::mem::take(&mut left).split_at_mut(chunk.labels.len());
            places.push(place);
            left = rest;
        }
        // On all cores: memory that is written for the first time is slow.
        places.into_par_iter().zip(&chunks).for_each(|(place, chunk)| place.copy_from_slice(&chunk.labels));
        PredictionSets::from_sizes(chunks.iter().flat_map(|chunk| chunk.sizes.iter().copied()), labels)
    }
}

struct FindSets<'a, S> {
    config: &'a ConformalConfig,
    scheme: &'a dyn Scheme,
    keys: Keys,
    score: &'a S,
    draws: Draws,
    /// How many equal rows came before each; `None` if every row is the first of its kind.
    earlier: Option<Vec<u32>>,
}

/// The sets of some rows: their sizes, and their labels one after the other.
struct FoundSets {
    sizes: Vec<usize>,
    labels: Vec<u32>,
    fingerprints: Vec<u64>,
}

impl<S: Score> RowWork for FindSets<'_, S> {
    type Output = FoundSets;

    #[inline(always)]
    fn rows<A: Simd>(&self, simd: A, first: usize, rows: &[&[f32]], scratch: &mut Scratch) -> Result<Self::Output, usize> {
        let (beta, count) = (self.config.beta(), rows.len());
        let mut found = FoundSets {
            sizes: Vec::with_capacity(count),
            labels: Vec::with_capacity(scratch.room()),
            fingerprints: Vec::with_capacity(count),
        };
        for (i, row) in with_next(rows).enumerate() {
            let earlier = self.earlier.as_ref().map_or(0, |earlier| earlier[first + i]);
            let draw = |fingerprint| self.config.randomization.at_prediction(|| self.draws.of(fingerprint, earlier));
            let scheme = (self.scheme, first + i);
            let (size, fingerprint) =
                row::prefix(simd, row, draw, (beta, &self.keys), self.score, scheme, scratch, &mut found.labels).ok_or(first + i)?;
            // The top label instead of nothing.
            let top = if size == 0 && !self.config.allow_empty { scratch.label_at(0) } else { None };
            found.labels.extend(top);
            found.sizes.push(size + usize::from(top.is_some()));
            found.fingerprints.push(fingerprint);
        }
        scratch.found(found.labels.len());
        Ok(found)
    }
}

/// Errors unless the logits have this many columns.
pub fn check_classes(logits: ArrayView2<'_, f32>, classes: usize) -> Result<()> {
    if logits.ncols() == classes {
        return Ok(());
    }
    Err(Error::invalid("logits", format!("{} columns", logits.ncols()), format!("{classes} classes, as at calibration")))
}

fn check_labels(logits: ArrayView2<'_, f32>, labels: &[usize]) -> Result<()> {
    if logits.nrows() != labels.len() {
        return Err(Error::invalid("labels", labels.len(), format!("as many as rows of logits: {}", logits.nrows())));
    }
    match labels.iter().position(|&label| label >= logits.ncols()) {
        Some(row) => Err(Error::invalid(
            format!("label of row {row}"),
            labels[row],
            format!("0 to {} (the columns of the logits)", logits.ncols().saturating_sub(1)),
        )),
        None => Ok(()),
    }
}

/// The probabilities of a row of logits, by the same softmax as the scores; `None` if a logit is NaN.
pub fn softmax_row(row: &[f32], temperature: f64) -> Option<Vec<f64>> {
    let beta = (1.0 / temperature) as f32;
    let max = softmax::maximum(row)?;
    let (total, _) = softmax::total(row, &[], max, beta, &Keys::new(row.len()));
    Some(row.iter().map(|&z| f64::from(softmax::weight(z, max, beta)) / total as f64).collect())
}
