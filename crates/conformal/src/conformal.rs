//! Calibrate on held-out examples, then predict sets.

use lyceum_core::{Error, Result, Seed};
use ndarray::{Array2, ArrayView2, Axis};
use pulp::{Simd, WithSimd};
use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    PredictionSets, ScoreConfig, quantile, row,
    row::Scratch,
    scheme::{Marginal, Scheme},
    score::{Place, Score, WithScore},
    softmax,
};

/// Rows a task; also the rows that share one part of a random stream. A matrix that is worked on in parts gives what it
/// gives whole if each part begins at a multiple of this.
pub const ROWS: usize = 128;

/// What randomness does for a set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Randomization {
    /// One draw u a point in both phases: coverage is 1 − α, not more.
    #[default]
    Exact,
    /// Randomised at calibration; the set goes up to the first label that reaches τ, whatever u. Covers more than 1 − α
    /// (what the paper calls not randomised).
    Conservative,
    /// u = 1 in both phases: deterministic and valid, with a larger τ.
    Off,
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

    /// The set of each row of logits (`m × K`). `seed` gives the draws u; it must not be the calibration's.
    pub fn predict(&self, logits: ArrayView2<'_, f32>, seed: Seed) -> Result<PredictionSets> {
        check_classes(logits, self.classes)?;
        sets(&self.config, &self.scheme(), logits, seed)
    }
}

/// The set of each row under any scheme. `seed` gives the draws u; it must not be the calibration's.
pub fn sets(config: &ConformalConfig, scheme: &impl Scheme, logits: ArrayView2<'_, f32>, seed: Seed) -> Result<PredictionSets> {
    sets_from(0, config, scheme, logits, seed)
}

/// The [`sets`] of a part of a matrix that begins at this row, a multiple of [`ROWS`]. The scheme's rows are the part's.
pub fn sets_from(
    first: usize,
    config: &ConformalConfig,
    scheme: &impl Scheme,
    logits: ArrayView2<'_, f32>,
    seed: Seed,
) -> Result<PredictionSets> {
    config.check()?;
    check_first(first)?;
    config.score.with(Predict { first, config, scheme, logits, seed })
}

/// The score of each label in its row.
pub fn scores(config: &ConformalConfig, logits: ArrayView2<'_, f32>, labels: &[usize], seed: Seed) -> Result<Vec<f64>> {
    scores_from(0, config, logits, labels, seed)
}

/// The [`scores`] of a part of a matrix that begins at this row, a multiple of [`ROWS`].
pub fn scores_from(first: usize, config: &ConformalConfig, logits: ArrayView2<'_, f32>, labels: &[usize], seed: Seed) -> Result<Vec<f64>> {
    config.check()?;
    check_first(first)?;
    check_labels(logits, labels)?;
    config.score.with(Scores { first, config, logits, labels, seed })
}

fn check_first(first: usize) -> Result<()> {
    if first.is_multiple_of(ROWS) { Ok(()) } else { Err(Error::invalid("first row", first, format!("a multiple of {ROWS}"))) }
}

/// The score of every label of every row, `m × K`. `seed` gives the draws u of prediction.
pub fn all_scores(config: &ConformalConfig, logits: ArrayView2<'_, f32>, seed: Seed) -> Result<Array2<f64>> {
    all_scores_from(0, config, logits, seed)
}

/// [`all_scores`] of a part of a matrix that begins at this row, a multiple of [`ROWS`].
pub fn all_scores_from(first: usize, config: &ConformalConfig, logits: ArrayView2<'_, f32>, seed: Seed) -> Result<Array2<f64>> {
    config.check()?;
    check_first(first)?;
    config.score.with(AllScores { first, config, logits, seed })
}

struct AllScores<'a> {
    first: usize,
    config: &'a ConformalConfig,
    logits: ArrayView2<'a, f32>,
    seed: Seed,
}

impl WithScore for AllScores<'_> {
    type Output = Result<Array2<f64>>;

    fn call<S: Score>(self, score: &S) -> Result<Array2<f64>> {
        let beta = (1.0 / self.config.temperature) as f32;
        let work = FindAllScores { before: self.first / ROWS, beta, config: *self.config, seed: self.seed, score };
        let values = in_chunks(self.logits, &work)?.concat();
        Array2::from_shape_vec(self.logits.dim(), values).map_err(|error| Error::Failed(error.to_string()))
    }
}

struct FindAllScores<'a, S> {
    /// Chunks before this part of the matrix.
    before: usize,
    beta: f32,
    config: ConformalConfig,
    seed: Seed,
    score: &'a S,
}

impl<S: Score> RowWork for FindAllScores<'_, S> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn rows<A: Simd>(&self, first: usize, rows: &[&[f32]], scratch: &mut Scratch) -> Result<Vec<f64>, usize> {
        let mut draw = draws(self.seed, "conformal/predict", self.before + first / ROWS, self.config.randomization == Randomization::Exact);
        let mut scores = Vec::new();
        for (i, row) in with_next(rows).enumerate() {
            row::all_scores::<A>(row, draw(), self.beta, self.score, scratch, &mut scores).ok_or(first + i)?;
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
    check_labels(logits, labels)?;
    let chunks = in_chunks(logits, &FindPlaces { labels, beta: (1.0 / temperature) as f32 })?;
    Ok(chunks.concat())
}

struct FindPlaces<'a> {
    labels: &'a [usize],
    beta: f32,
}

impl RowWork for FindPlaces<'_> {
    type Output = Vec<Place>;

    #[inline(always)]
    fn rows<A: Simd>(&self, first: usize, rows: &[&[f32]], _: &mut Scratch) -> Result<Vec<Place>, usize> {
        let mut places = Vec::with_capacity(rows.len());
        for (i, row) in with_next(rows).enumerate() {
            places.push(row::place(row, self.labels[first + i], self.beta).ok_or(first + i)?);
        }
        Ok(places)
    }
}

struct Scores<'a> {
    first: usize,
    config: &'a ConformalConfig,
    logits: ArrayView2<'a, f32>,
    labels: &'a [usize],
    seed: Seed,
}

impl WithScore for Scores<'_> {
    type Output = Result<Vec<f64>>;

    fn call<S: Score>(self, score: &S) -> Result<Vec<f64>> {
        let places = places(self.logits, self.labels, self.config.temperature)?;
        let randomised = self.config.randomization != Randomization::Off;
        let chunk = |(index, places): (usize, &[Place])| {
            let mut draw = draws(self.seed, "conformal/calibrate", self.first / ROWS + index, randomised);
            places.iter().map(|place| score.at(place, draw())).collect::<Vec<f64>>()
        };
        Ok(places.par_chunks(ROWS).enumerate().map(chunk).collect::<Vec<_>>().concat())
    }
}

struct Predict<'a, T> {
    first: usize,
    config: &'a ConformalConfig,
    scheme: &'a T,
    logits: ArrayView2<'a, f32>,
    seed: Seed,
}

impl<T: Scheme> WithScore for Predict<'_, T> {
    type Output = Result<PredictionSets>;

    fn call<S: Score>(self, score: &S) -> Result<PredictionSets> {
        let (config, scheme) = (*self.config, self.scheme);
        let beta = (1.0 / config.temperature) as f32;
        let chunks = in_chunks(self.logits, &FindSets { before: self.first / ROWS, config, scheme, beta, seed: self.seed, score })?;
        let count = chunks.iter().map(|(_, labels)| labels.len()).sum();
        let (mut sizes, mut labels) = (Vec::with_capacity(self.logits.nrows()), Vec::with_capacity(count));
        for (chunk_sizes, chunk_labels) in chunks {
            sizes.extend(chunk_sizes);
            labels.extend(chunk_labels);
        }
        PredictionSets::from_sizes(sizes, labels)
    }
}

struct FindSets<'a, S, T> {
    /// Chunks before this part of the matrix.
    before: usize,
    config: ConformalConfig,
    scheme: &'a T,
    beta: f32,
    seed: Seed,
    score: &'a S,
}

impl<S: Score, T: Scheme> RowWork for FindSets<'_, S, T> {
    /// The sizes of the sets, and their labels one after the other.
    type Output = (Vec<usize>, Vec<u32>);

    #[inline(always)]
    fn rows<A: Simd>(&self, first: usize, rows: &[&[f32]], scratch: &mut Scratch) -> Result<Self::Output, usize> {
        let ConformalConfig { randomization, allow_empty, .. } = self.config;
        let mut draw = draws(self.seed, "conformal/predict", self.before + first / ROWS, randomization == Randomization::Exact);
        let (mut sizes, mut labels) = (Vec::with_capacity(rows.len()), Vec::with_capacity(4 * rows.len()));
        for (i, row) in with_next(rows).enumerate() {
            let size =
                row::prefix::<A>(row, draw(), self.beta, self.score, (self.scheme, first + i), scratch, &mut labels).ok_or(first + i)?;
            // One label more: the first that reaches the threshold, or the top label instead of nothing.
            let one_more = randomization == Randomization::Conservative || (size == 0 && !allow_empty);
            let next = if one_more { scratch.label_at(size) } else { None };
            labels.extend(next);
            sizes.push(size + usize::from(next.is_some()));
        }
        Ok((sizes, labels))
    }
}

/// The draws u of one chunk of rows.
fn draws(seed: Seed, name: &str, chunk: usize, randomised: bool) -> impl FnMut() -> f64 {
    let mut stream = seed.stream_at(name, chunk as u64);
    move || if randomised { stream.random() } else { 1.0 }
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

/// Each row with the one after it; nothing comes after the last.
fn with_next<'a>(rows: &'a [&'a [f32]]) -> impl Iterator<Item = (&'a [f32], &'a [f32])> {
    rows.iter().enumerate().map(|(i, row)| (*row, rows.get(i + 1).copied().unwrap_or_default()))
}

/// Work on some rows, whose code is inlined into a dispatch by instruction set.
trait RowWork: Sync {
    type Output: Send;

    /// The result for the rows from `first` on, or the number of a row with a NaN.
    fn rows<A: Simd>(&self, first: usize, rows: &[&[f32]], scratch: &mut Scratch) -> Result<Self::Output, usize>;
}

/// Applies `work` to chunks of rows on all cores, with the widest instructions of this machine.
fn in_chunks<W: RowWork>(logits: ArrayView2<'_, f32>, work: &W) -> Result<Vec<W::Output>> {
    if logits.ncols() == 0 {
        return Err(Error::invalid("logits", "0 columns", "one column a class"));
    }
    let arch = pulp::Arch::new();
    let chunk = |scratch: &mut Scratch, index: usize| {
        let first = index * ROWS;
        let part = logits.slice_axis(Axis(0), (first..(first + ROWS).min(logits.nrows())).into());
        // Rows that do not lie in one piece, for example of a transposed array, are copied.
        let part = part.as_standard_layout();
        let rows: Vec<&[f32]> = part.rows().into_iter().filter_map(|row| row.to_slice()).collect();
        arch.dispatch(Dispatched { work, first, rows: &rows, scratch })
    };
    let chunks = (0..logits.nrows().div_ceil(ROWS)).into_par_iter();
    chunks.map_init(Scratch::default, chunk).collect::<Result<Vec<_>, usize>>().map_err(|row| {
        let column = logits.row(row).iter().position(|z| z.is_nan()).unwrap_or(0);
        Error::invalid(format!("logits, row {row}, column {column}"), "NaN", "numbers")
    })
}

struct Dispatched<'a, W> {
    work: &'a W,
    first: usize,
    rows: &'a [&'a [f32]],
    scratch: &'a mut Scratch,
}

impl<W: RowWork> WithSimd for Dispatched<'_, W> {
    type Output = Result<W::Output, usize>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Self::Output {
        self.work.rows::<S>(self.first, self.rows, self.scratch)
    }
}

/// The probabilities of a row of logits, by the same softmax as the scores; `None` if a logit is NaN.
pub fn softmax_row(row: &[f32], temperature: f64) -> Option<Vec<f64>> {
    let beta = (1.0 / temperature) as f32;
    let max = softmax::maximum(row)?;
    let total = softmax::total(row, &[], max, beta) as f64;
    Some(row.iter().map(|&z| f64::from(softmax::weight(z, max, beta)) / total).collect())
}
