//! `lyceum active`: which points to label next, and what the labels say of all the others.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use lyceum_active::{
    AcquisitionLog, Estimator, Proposal, Sampler, batch_bald, core_set,
    scores::{self, Loss},
};
use lyceum_core::{Error, Progress, Result, Seed, report::Table};
use lyceum_data::formats::npy;
use ndarray::{Array1, Array2, Array3, Axis};
use serde_json::json;

use super::said;

/// Label by model's choice without bias: scores, draws, weights, estimates of risk
///
/// A record (JSON) holds which points of a pool were taken and with which probability. Everything else is computed from
/// it: weights for training, and unbiased estimates of the risk on the whole pool.
#[derive(Subcommand)]
pub(crate) enum Active {
    Start(Start),
    Score(ScoreCommand),
    Draw(Draw),
    Weights(Weights),
    Estimate(Estimate),
    Batch(Batch),
}

/// Begin the record of a pool
#[derive(Args)]
#[command(after_help = "Example:\n  lyceum active start --pool-size 10000 --out log.json")]
pub(crate) struct Start {
    /// How many points the pool has, labelled or not; test and validation data do not belong to it
    #[arg(long)]
    pool_size: usize,

    /// The file of the pool; another one is refused later
    #[arg(long)]
    pool: Option<PathBuf>,

    /// Where the record is written (JSON)
    #[arg(long, short)]
    out: PathBuf,
}

/// Compute acquisition scores from a model's probabilities
#[derive(Args)]
#[command(after_help = "\
Examples:
  lyceum active score --probabilities p.npy --score entropy --out scores.npy
  lyceum active score --probabilities samples.npy --score bald --out scores.npy
  lyceum active score --probabilities f.npy --surrogate pi.npy --score expected-loss --out scores.npy

Probabilities are n x C, or K x n x C for K samples of a posterior (bald and variation-ratio need them).")]
pub(crate) struct ScoreCommand {
    /// The probabilities (.npy, float32)
    #[arg(long)]
    probabilities: PathBuf,

    /// Which score
    #[arg(long, value_enum, default_value_t = ScoreName::Entropy)]
    score: ScoreName,

    /// expected-loss and expected-error: the surrogate's probabilities (.npy, n x C)
    #[arg(long)]
    surrogate: Option<PathBuf>,

    /// Where the scores are written (.npy)
    #[arg(long, short)]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScoreName {
    /// Entropy of the (mean) probabilities
    Entropy,
    /// 1 - the largest probability
    LeastConfidence,
    /// 1 - the gap between the two largest probabilities
    Margin,
    /// Mutual information of label and parameters
    Bald,
    /// Share of samples that disagree with the most frequent class
    VariationRatio,
    /// Cross-entropy that a test expects under the surrogate
    ExpectedLoss,
    /// Share of errors that a test expects under the surrogate
    ExpectedError,
}

/// Take points by chance, in proportion to their scores, and write them into the record
#[derive(Args)]
#[command(after_help = "\
Examples:
  lyceum active draw --log log.json --count 10                                        (uniformly, to begin with)
  lyceum active draw --log log.json --scores scores.npy --count 5
  lyceum active draw --log log.json --scores bald.npy --proposal softmax --inverse-temperature 10000 --count 1")]
pub(crate) struct Draw {
    /// The record; it is replaced by one with the new draws
    #[arg(long)]
    log: PathBuf,

    /// The scores (.npy), one for each point of the pool; without them every point alike
    #[arg(long)]
    scores: Option<PathBuf>,

    /// How scores become probabilities
    #[arg(long, value_enum, default_value_t = ProposalName::Proportional)]
    proposal: ProposalName,

    /// softmax: inverse temperature for scores that sum to 1; larger is greedier
    #[arg(long, default_value_t = 10_000.0, allow_negative_numbers = true)]
    inverse_temperature: f64,

    /// epsilon-greedy: the probability of a point by chance
    #[arg(long, default_value_t = 0.1, allow_negative_numbers = true)]
    epsilon: f64,

    /// Raise every probability to at least this over the number of points left
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    clip: f64,

    /// How many points
    #[arg(long, default_value_t = 1)]
    count: usize,

    /// The seed; drawing resumes after the last record
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// The file of the pool, if the record was begun with one
    #[arg(long)]
    pool: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum ProposalName {
    /// Every point alike
    Uniform,
    /// In proportion to the scores
    Proportional,
    /// In proportion to exp(T times the normalised scores)
    Softmax,
    /// The highest score, or by chance any
    EpsilonGreedy,
}

/// Write the weight of each draw's loss
#[derive(Args)]
#[command(after_help = "Example:\n  lyceum active weights --log log.json --estimator lure --out weights.npy")]
pub(crate) struct Weights {
    /// The record
    #[arg(long)]
    log: PathBuf,

    /// Which weights
    #[arg(long, value_enum, default_value_t = EstimatorName::Lure)]
    estimator: EstimatorName,

    /// Where the weights are written (.npy), in the order of the draws
    #[arg(long, short)]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum EstimatorName {
    /// Levelled unbiased (least variance)
    Lure,
    /// Plain unbiased
    Pure,
    /// 1 each: biased
    Naive,
}

/// Estimate the risk on the whole pool from the losses at the draws
#[derive(Args)]
#[command(after_help = "\
Examples:
  lyceum active estimate --log log.json --losses losses.npy
  lyceum active estimate --log log.json --losses errors.npy --bound 1        (an interval that holds at every stop)")]
pub(crate) struct Estimate {
    /// The record
    #[arg(long)]
    log: PathBuf,

    /// The losses (.npy), in the order of the draws
    #[arg(long)]
    losses: PathBuf,

    /// The largest loss there can be; adds an interval that holds whenever labelling is stopped
    #[arg(long, allow_negative_numbers = true)]
    bound: Option<f64>,

    /// The probability with which intervals cover the risk
    #[arg(long, default_value_t = 0.95, allow_negative_numbers = true)]
    level: f64,
}

/// Choose a batch together, without chance: BatchBALD or k-center; no unbiased estimates from it
#[derive(Args)]
#[command(after_help = "\
Examples:
  lyceum active batch --samples samples.npy --count 10             (BatchBALD)
  lyceum active batch --features features.npy --count 100          (k-center greedy)")]
pub(crate) struct Batch {
    /// Posterior samples of the probabilities (.npy, K x n x C): BatchBALD
    #[arg(long, required_unless_present = "features", conflicts_with = "features")]
    samples: Option<PathBuf>,

    /// Features (.npy, n x d): k-center greedy
    #[arg(long)]
    features: Option<PathBuf>,

    /// How many points
    #[arg(long)]
    count: usize,

    /// BatchBALD: joint labellings beyond this many are sampled
    #[arg(long, default_value_t = 10_000)]
    labellings: usize,

    /// The seed of that sample
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl Active {
    pub(crate) fn execute(self, progress: &Progress) -> Result<()> {
        match self {
            Self::Start(command) => command.execute(),
            Self::Score(command) => command.execute(progress),
            Self::Draw(command) => command.execute(progress),
            Self::Weights(command) => command.execute(progress),
            Self::Estimate(command) => command.execute(progress),
            Self::Batch(command) => command.execute(progress),
        }
    }
}

impl Start {
    fn execute(self) -> Result<()> {
        if self.out.exists() {
            return Err(Error::invalid("--out", self.out.display(), "a name that is not taken: a record is never overwritten"));
        }
        let log = AcquisitionLog::new(self.pool_size)?;
        let log = match &self.pool {
            Some(pool) => log.with_fingerprint(&read(pool)?),
            None => log,
        };
        log.save(&self.out)?;
        say!("record of a pool of {} points: {}", self.pool_size, self.out.display());
        Ok(())
    }
}

impl ScoreCommand {
    fn execute(self, progress: &Progress) -> Result<()> {
        let samples = samples(&self.probabilities)?;
        let mean = || scores::mean(samples.view());
        let expected = |loss| {
            let path = self.surrogate.as_ref().ok_or_else(|| Error::invalid("--surrogate", "nothing", "the surrogate's probabilities"))?;
            let surrogate: Array2<f32> = npy::read(path)?;
            scores::expected_loss(mean()?.view(), surrogate.view(), loss)
        };
        let scores = match self.score {
            ScoreName::Entropy => scores::entropy(mean()?.view()),
            ScoreName::LeastConfidence => scores::least_confidence(mean()?.view()),
            ScoreName::Margin => scores::margin(mean()?.view()),
            ScoreName::Bald => scores::bald(samples.view()),
            ScoreName::VariationRatio => scores::variation_ratio(samples.view()),
            ScoreName::ExpectedLoss => expected(Loss::CrossEntropy),
            ScoreName::ExpectedError => expected(Loss::ZeroOne),
        }?;
        let count = scores.len();
        npy::write(&self.out, &Array1::from(scores))?;
        said(progress, &json!({ "event": "end", "points": count, "path": self.out }), || format!("{count} scores: {}", self.out.display()));
        Ok(())
    }
}

impl Draw {
    fn execute(self, progress: &Progress) -> Result<()> {
        let log = AcquisitionLog::load(&self.log)?;
        if let Some(pool) = &self.pool {
            log.check_pool(&read(pool)?)?;
        }
        let proposal = match (&self.scores, self.proposal) {
            (None, _) | (_, ProposalName::Uniform) => Proposal::Uniform,
            (_, ProposalName::Proportional) => Proposal::Proportional,
            (_, ProposalName::Softmax) => Proposal::Softmax { inverse_temperature: self.inverse_temperature, normalize: true },
            (_, ProposalName::EpsilonGreedy) => Proposal::EpsilonGreedy { epsilon: self.epsilon },
        };
        let scores = match &self.scores {
            Some(path) => npy::numbers(path)?,
            None => vec![1.0; log.pool_size()],
        };
        let mut sampler = Sampler::new(proposal, log, Seed::new(self.seed))?.with_clip(self.clip);
        let draws = sampler.draw(&scores, self.count)?.to_vec();
        sampler.log().save(&self.log)?;
        if progress.is_json() {
            say!("{}", json!({ "event": "end", "draws": draws, "taken": sampler.log().draws().len() }));
        } else {
            draws.iter().for_each(|draw| say!("{}", draw.index));
        }
        Ok(())
    }
}

impl Weights {
    fn execute(self, progress: &Progress) -> Result<()> {
        let estimator = match self.estimator {
            EstimatorName::Lure => Estimator::Lure,
            EstimatorName::Pure => Estimator::Pure,
            EstimatorName::Naive => Estimator::Naive,
        };
        let weights = AcquisitionLog::load(&self.log)?.weights(estimator);
        let count = weights.len();
        npy::write(&self.out, &Array1::from(weights))?;
        said(progress, &json!({ "event": "end", "draws": count, "path": self.out }), || format!("{count} weights: {}", self.out.display()));
        Ok(())
    }
}

impl Estimate {
    fn execute(self, progress: &Progress) -> Result<()> {
        if !(self.level > 0.0 && self.level < 1.0) {
            return Err(Error::invalid("--level", self.level, "a number > 0 and < 1"));
        }
        let log = AcquisitionLog::load(&self.log)?;
        let losses = npy::numbers(&self.losses)?;
        let sequence = self.bound.map(|bound| log.confidence_sequence(&losses, bound, self.level)).transpose()?;
        let estimates = [("LURE", Estimator::Lure), ("PURE", Estimator::Pure), ("naive (biased)", Estimator::Naive)]
            .map(|(name, estimator)| log.estimate(&losses, estimator).map(|estimate| (name, estimate)));
        let mut table = Table::new(["estimator", "risk", "standard error", "interval", "effective labels"]);
        let mut values = Vec::new();
        for estimate in estimates {
            let (name, estimate) = estimate?;
            let (low, high) = estimate.interval(self.level)?;
            table.push([
                name.to_owned(),
                format!("{:.6}", estimate.value),
                format!("{:.6}", estimate.standard_error),
                format!("{low:.6} to {high:.6}"),
                format!("{:.1}", estimate.effective_size),
            ]);
            values.push(json!({ "estimator": name, "estimate": estimate, "interval": [low, high] }));
        }
        if progress.is_json() {
            say!("{}", json!({ "event": "end", "estimates": values, "confidence_sequence": sequence }));
            return Ok(());
        }
        say!("{} labels of a pool of {}\n\n{}", losses.len(), log.pool_size(), table.markdown());
        if let Some((low, high)) = sequence {
            say!("whenever labelling is stopped: {low:.6} to {high:.6}");
        }
        let lure = log.estimate(&losses, Estimator::Lure)?;
        if lure.largest_share > 0.25 {
            let share = 100.0 * lure.largest_share;
            progress.warn(&format!(
                "one label carries {share:.0} % of the weight; --clip when drawing keeps probabilities from being so small"
            ));
        }
        Ok(())
    }
}

impl Batch {
    fn execute(self, progress: &Progress) -> Result<()> {
        let chosen: Vec<usize> = match (&self.samples, &self.features) {
            (Some(path), _) => {
                let chosen = batch_bald::batch_bald(samples(path)?.view(), self.count, self.labellings, Seed::new(self.seed))?;
                chosen.into_iter().map(|(index, _)| index).collect()
            }
            (None, Some(path)) => core_set::k_center_greedy(npy::read::<f32, ndarray::Ix2>(path)?.view(), &[], self.count)?,
            (None, None) => Vec::new(),
        };
        if progress.is_json() {
            say!("{}", json!({ "event": "end", "points": chosen }));
        } else {
            chosen.iter().for_each(|index| say!("{index}"));
        }
        Ok(())
    }
}

/// Probabilities as samples of a posterior; `n × C` is one sample.
fn samples(path: &Path) -> Result<Array3<f32>> {
    match npy::read::<f32, ndarray::Ix3>(path) {
        Ok(samples) => Ok(samples),
        Err(_) => npy::read::<f32, ndarray::Ix2>(path).map(|one| one.insert_axis(Axis(0))),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(Error::io("read", path))
}
