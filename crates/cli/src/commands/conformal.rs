//! `lyceum conformal`: prediction sets for a user's own logits.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use lyceum_conformal::{
    Conformal as Model, ConformalConfig, PredictionSets, Randomization, ScoreConfig,
    conformal::places,
    metrics, temperature,
    tune::{self, Criterion},
};
use lyceum_core::{Error, Progress, Result, Seed, report::Table};
use lyceum_data::{
    formats::{npy, parquet},
    split,
};
use ndarray::{Array2, ArrayView2, Axis};
use serde_json::json;

/// Prediction sets with a coverage guarantee, from the logits of any classifier
///
/// Logits are a matrix, one row an example and one column a class, in a .npy file (float32 is mapped, not read) or a
/// .parquet file (one column a class). Labels are whole numbers from 0, in a .npy file or in a column of a .parquet file.
#[derive(Subcommand)]
pub(crate) enum Conformal {
    Calibrate(Calibrate),
    Predict(Predict),
    Evaluate(Evaluate),
}

/// Compute the threshold on labelled examples that were not used for training
#[derive(Args)]
#[command(after_help = "\
Examples:
  lyceum conformal calibrate --logits cal.npy --labels y.npy --alpha 0.1 --out model.json
  lyceum conformal calibrate --logits cal.parquet --labels cal.parquet --score raps --tune adaptiveness --out model.json
  lyceum conformal calibrate --logits cal.npy --labels y.npy --score raps --lambda 0.01 --k-reg 5 --temperature 1 --out model.json")]
pub(crate) struct Calibrate {
    #[command(flatten)]
    labelled: Labelled,

    /// The share of examples whose set may miss the true label
    #[arg(long, default_value_t = 0.1, allow_negative_numbers = true)]
    alpha: f64,

    /// How strange a label is for a row of probabilities
    #[arg(long, value_enum, default_value_t = ScoreName::Raps)]
    score: ScoreName,

    /// RAPS: the penalty for each rank beyond --k-reg; tuned if absent
    #[arg(long, requires = "k_reg", allow_negative_numbers = true)]
    lambda: Option<f64>,

    /// RAPS: the rank up to which there is no penalty; tuned if absent
    #[arg(long, requires = "lambda")]
    k_reg: Option<usize>,

    /// RAPS: what --lambda is tuned for
    #[arg(long, value_enum, default_value_t = TuneFor::Size, conflicts_with = "lambda")]
    tune: TuneFor,

    /// SAPS: the step from rank to rank
    #[arg(long, default_value_t = 0.1, allow_negative_numbers = true)]
    weight: f64,

    /// The share of the examples that is kept apart for the temperature and for tuning
    #[arg(long, default_value_t = 0.3, allow_negative_numbers = true)]
    tuning_share: f64,

    /// The softmax's temperature; fitted if absent
    #[arg(long, allow_negative_numbers = true)]
    temperature: Option<f64>,

    /// What randomness does for a set
    #[arg(long, value_enum, default_value_t = RandomizationName::Exact)]
    randomization: RandomizationName,

    /// Keep the most likely label in every set (covers a little more)
    #[arg(long)]
    no_empty: bool,

    /// The seed of the split and of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Where the model is written (JSON)
    #[arg(long, short)]
    out: PathBuf,
}

/// Write the prediction set of each row of logits
#[derive(Args)]
#[command(after_help = "\
Examples:
  lyceum conformal predict --model model.json --logits test.npy --out sets.npz
  lyceum conformal predict --model model.json --logits test.parquet --out sets.parquet

A .npz file holds `indptr` and `indices`: the labels of row i are indices[indptr[i]:indptr[i+1]], most likely first.
A .parquet file holds one list of labels a row.")]
pub(crate) struct Predict {
    /// The model that `calibrate` wrote
    #[arg(long, short)]
    model: PathBuf,

    /// The logits: .npy or .parquet
    #[arg(long)]
    logits: PathBuf,

    /// The seed of the draws; another one than at calibration is derived from it
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Where the sets are written: .npz or .parquet
    #[arg(long, short)]
    out: PathBuf,
}

/// Measure coverage and sizes on labelled examples that were not used for calibration
#[derive(Args)]
#[command(after_help = "Example:\n  lyceum conformal evaluate --model model.json --logits test.npy --labels y_test.npy")]
pub(crate) struct Evaluate {
    /// The model that `calibrate` wrote
    #[arg(long, short)]
    model: PathBuf,

    #[command(flatten)]
    labelled: Labelled,

    /// The seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Logits with labels.
#[derive(Args)]
struct Labelled {
    /// The logits: .npy or .parquet
    #[arg(long)]
    logits: PathBuf,

    /// The labels: .npy or .parquet
    #[arg(long)]
    labels: PathBuf,

    /// The column of the labels in a .parquet file
    #[arg(long, default_value = "label")]
    label_column: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScoreName {
    /// Regularised adaptive prediction sets
    Raps,
    /// Adaptive prediction sets
    Aps,
    /// Least ambiguous classifiers (THR): smallest on average
    Lac,
    /// Sorted adaptive prediction sets
    Saps,
    /// Sets of one size
    TopK,
    /// Probabilities that add up to 1 - alpha; no guarantee
    Naive,
}

#[derive(Clone, Copy, ValueEnum)]
enum TuneFor {
    /// Small sets
    Size,
    /// Equal coverage of small and large sets
    Adaptiveness,
}

#[derive(Clone, Copy, ValueEnum)]
enum RandomizationName {
    /// One random draw a row: coverage is 1 - alpha and not more
    Exact,
    /// Up to the first label that reaches the threshold
    Conservative,
    /// Deterministic, with a larger threshold
    Off,
}

impl Conformal {
    pub(crate) fn execute(self, progress: &Progress) -> Result<()> {
        match self {
            Self::Calibrate(command) => command.execute(progress),
            Self::Predict(command) => command.execute(progress),
            Self::Evaluate(command) => command.execute(progress),
        }
    }
}

impl Calibrate {
    fn execute(self, progress: &Progress) -> Result<()> {
        let (logits, labels) = self.labelled.open()?;
        let seed = Seed::new(self.seed);
        let randomization = match self.randomization {
            RandomizationName::Exact => Randomization::Exact,
            RandomizationName::Conservative => Randomization::Conservative,
            RandomizationName::Off => Randomization::Off,
        };
        let score = match (self.score, self.lambda, self.k_reg) {
            (ScoreName::Raps, Some(lambda), Some(k_reg)) => ScoreConfig::Raps { lambda, k_reg },
            (ScoreName::Raps | ScoreName::Aps, ..) => ScoreConfig::Aps,
            (ScoreName::Lac, ..) => ScoreConfig::Lac,
            (ScoreName::Saps, ..) => ScoreConfig::Saps { weight: self.weight },
            (ScoreName::TopK, ..) => ScoreConfig::TopK,
            (ScoreName::Naive, ..) => ScoreConfig::Naive,
        };
        let mut config = ConformalConfig { alpha: self.alpha, score, randomization, allow_empty: !self.no_empty, temperature: 1.0 };
        config.temperature = self.temperature.unwrap_or(1.0);
        config.check()?;
        let tunes = matches!(self.score, ScoreName::Raps) && self.lambda.is_none();
        let model = if tunes || self.temperature.is_none() {
            if !(self.tuning_share > 0.0 && self.tuning_share < 1.0) {
                return Err(Error::invalid("--tuning-share", self.tuning_share, "a number > 0 and < 1"));
            }
            let parts = split::random(labels.len(), &[self.tuning_share, 1.0 - self.tuning_share], &mut seed.stream("conformal/split"));
            let pick = |rows: &[usize]| -> (Array2<f32>, Vec<usize>) {
                (logits.view().select(Axis(0), rows), rows.iter().map(|&row| labels[row]).collect())
            };
            let (tuning, calibration) = (pick(&parts[0]), pick(&parts[1]));
            if self.temperature.is_none() {
                config.temperature = temperature::fit(tuning.0.view(), &tuning.1)?;
            }
            if tunes {
                let criterion = match self.tune {
                    TuneFor::Size => Criterion::Size,
                    TuneFor::Adaptiveness => Criterion::Adaptiveness,
                };
                config = tune::raps(config, tuning.0.view(), &tuning.1, criterion, seed)?;
            }
            Model::calibrate(config, calibration.0.view(), &calibration.1, seed)?
        } else {
            Model::calibrate(config, logits.view(), &labels, seed)?
        };
        model.save(&self.out)?;
        if progress.is_json() {
            println!("{}", json!({ "event": "end", "model": model, "path": self.out }));
        } else {
            let threshold = model.threshold.map_or_else(|| "infinite (too few examples: every label)".into(), |t| format!("{t:.6}"));
            let score = match model.config.score {
                ScoreConfig::Raps { lambda, k_reg } => format!("RAPS, lambda {lambda}, k_reg {k_reg}"),
                other => format!("{other:?}"),
            };
            println!(
                "{score}, temperature {:.4}: threshold {threshold} from {} examples of {} classes\nmodel: {}",
                model.config.temperature,
                model.calibration_size,
                model.classes,
                self.out.display()
            );
        }
        Ok(())
    }
}

impl Predict {
    fn execute(self, progress: &Progress) -> Result<()> {
        let write: fn(&Path, &[usize], &[u32]) -> Result<()> = match extension(&self.out) {
            "npz" => npy::write_sets,
            "parquet" => parquet::write_sets,
            _ => return Err(Error::invalid("--out", self.out.display(), "a name that ends in .npz or .parquet")),
        };
        let model = Model::load(&self.model)?;
        let sets = model.predict(Logits::open(&self.logits, &[])?.view(), test_seed(self.seed))?;
        write(&self.out, sets.starts(), sets.labels())?;
        let size = metrics::mean_size(&sets);
        if progress.is_json() {
            println!("{}", json!({ "event": "end", "path": self.out, "rows": sets.len(), "mean_size": size }));
        } else {
            println!("{} sets, {size:.3} labels on average\nsets: {}", sets.len(), self.out.display());
        }
        Ok(())
    }
}

impl Evaluate {
    fn execute(self, progress: &Progress) -> Result<()> {
        let model = Model::load(&self.model)?;
        let (logits, labels) = self.labelled.open()?;
        let sets = model.predict(logits.view(), test_seed(self.seed))?;
        let ranks: Vec<usize> = places(logits.view(), &labels, 1.0)?.iter().map(|place| place.rank).collect();
        let coverage = metrics::coverage(&sets, &labels);
        let alpha = model.config.alpha;
        let (low, high) = metrics::coverage_band(model.calibration_size, alpha, labels.len(), 0.99);
        let sscv = metrics::sscv(&sets, &labels, alpha, &metrics::STRATA);
        if progress.is_json() {
            let by_class = metrics::coverage_by_class(&sets, &labels, model.classes);
            let end = json!({
                "event": "end", "coverage": coverage, "guarantee_band_99": [low, high], "mean_size": metrics::mean_size(&sets),
                "sscv": sscv, "size_histogram": metrics::size_histogram(&sets), "coverage_by_class": by_class,
            });
            println!("{end}");
            return Ok(());
        }
        println!("{}", summary(&sets, coverage, (low, high), sscv).markdown());
        let mut strata = Table::new(["size or rank", "sets of that size", "their coverage", "true labels of that rank", "their coverage"]);
        let by_size = metrics::coverage_by_size(&sets, &labels, &metrics::STRATA);
        let by_rank = metrics::coverage_by_difficulty(&sets, &labels, &ranks, &metrics::STRATA);
        let share = |share: Option<&metrics::Share>| match share {
            Some(share) if share.trials > 0 => [share.trials.to_string(), format!("{:.4}", share.share)],
            _ => ["0".into(), "–".into()],
        };
        for (stratum, by_rank) in metrics::STRATA.iter().zip(&by_rank) {
            let name = if stratum.1 == usize::MAX { format!("{}+", stratum.0) } else { format!("{}–{}", stratum.0, stratum.1) };
            let by_size = by_size.iter().find(|(found, _)| found == stratum).map(|(_, share)| share);
            let [sizes, size_coverage] = share(by_size);
            let [ranks, rank_coverage] = share(Some(by_rank));
            strata.push([name, sizes, size_coverage, ranks, rank_coverage]);
        }
        println!("{}", strata.markdown());
        Ok(())
    }
}

fn summary(sets: &PredictionSets, coverage: metrics::Share, band: (f64, f64), sscv: f64) -> Table {
    let mut table = Table::new(["measure", "value"]);
    table.push(["rows".to_owned(), sets.len().to_string()]);
    table.push(["coverage".to_owned(), format!("{:.4} (95 % interval {:.4} to {:.4})", coverage.share, coverage.low, coverage.high)]);
    table.push(["99 % of coverages under the guarantee".to_owned(), format!("{:.4} to {:.4}", band.0, band.1)]);
    table.push(["mean size".to_owned(), format!("{:.4}", metrics::mean_size(sets))]);
    table.push(["size-stratified coverage violation".to_owned(), format!("{sscv:.4}")]);
    table
}

/// The draws of prediction must not be those of calibration.
fn test_seed(seed: u64) -> Seed {
    Seed::new(seed).child("conformal/test")
}

/// Logits in memory or mapped.
struct Logits(npy::Matrix);

impl Logits {
    fn open(path: &Path, except: &[&str]) -> Result<Self> {
        match extension(path) {
            "npy" => npy::Matrix::open(path).map(Self),
            "parquet" => parquet::matrix(path, except).map(npy::Matrix::Owned).map(Self),
            _ => Err(Error::invalid("--logits", path.display(), "a name that ends in .npy or .parquet")),
        }
    }

    fn view(&self) -> ArrayView2<'_, f32> {
        self.0.view()
    }
}

impl Labelled {
    fn open(&self) -> Result<(Logits, Vec<usize>)> {
        let logits = Logits::open(&self.logits, &[&self.label_column])?;
        let labels = match extension(&self.labels) {
            "npy" => npy::labels(&self.labels)?,
            "parquet" => parquet::labels(&self.labels, &self.label_column)?,
            _ => return Err(Error::invalid("--labels", self.labels.display(), "a name that ends in .npy or .parquet")),
        };
        Ok((logits, labels))
    }
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}
