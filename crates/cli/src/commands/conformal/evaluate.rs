//! `lyceum conformal evaluate`.

use std::path::PathBuf;

use clap::Args;
use lyceum_conformal::{PredictionSets, Predictor, conformal::places, metrics};
use lyceum_core::{Progress, Result, report::Table};
use serde_json::json;

use super::{
    files::{KnownFiles, Labelled},
    predict::sets,
};

/// Measure coverage and sizes on labelled examples that were not used for calibration
#[derive(Args)]
#[command(after_help = "Example:\n  lyceum conformal evaluate --model model.json --logits test.npy --labels y_test.npy")]
pub(crate) struct Evaluate {
    /// The model that `calibrate` wrote
    #[arg(long, short)]
    model: PathBuf,

    #[command(flatten)]
    labelled: Labelled,

    #[command(flatten)]
    known: KnownFiles,

    /// The seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl Evaluate {
    pub(super) fn execute(self, progress: &Progress) -> Result<()> {
        let (model, names) = Predictor::load_named(&self.model)?;
        let (logits, labels) = self.labelled.open()?;
        let mut ranks: Vec<usize> = Vec::with_capacity(labels.len());
        let sets = sets(&model, &names, &logits, &self.known, self.seed, |first, block| {
            ranks.extend(places(block, &labels[first..first + block.nrows()], 1.0)?.iter().map(|place| place.rank));
            Ok(())
        })?;
        let coverage = metrics::coverage(&sets, &labels);
        let alpha = model.config().alpha;
        // What the guarantee says of a measured coverage is known where there is one threshold.
        let band = match &model {
            Predictor::Marginal(model) => Some(metrics::coverage_band(model.calibration_size, alpha, labels.len(), 0.99)),
            _ => None,
        };
        let sscv = metrics::sscv(&sets, &labels, alpha, &metrics::STRATA);
        if progress.is_json() {
            let by_class = metrics::coverage_by_class(&sets, &labels, model.classes());
            let end = json!({
                "event": "end", "coverage": coverage, "guarantee_band_99": band, "mean_size": metrics::mean_size(&sets),
                "sscv": sscv, "size_histogram": metrics::size_histogram(&sets), "coverage_by_class": by_class,
            });
            say!("{end}");
            return Ok(());
        }
        say!("{}", summary(&sets, coverage, band, sscv).markdown());
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
        say!("{}", strata.markdown());
        Ok(())
    }
}

fn summary(sets: &PredictionSets, coverage: metrics::Share, band: Option<(f64, f64)>, sscv: f64) -> Table {
    let mut table = Table::new(["measure", "value"]);
    table.push(["rows".to_owned(), sets.len().to_string()]);
    table.push(["coverage".to_owned(), format!("{:.4} (95 % interval {:.4} to {:.4})", coverage.share, coverage.low, coverage.high)]);
    if let Some((low, high)) = band {
        table.push(["99 % of coverages under the guarantee".to_owned(), format!("{low:.4} to {high:.4}")]);
    }
    table.push(["mean size".to_owned(), format!("{:.4}", metrics::mean_size(sets))]);
    table.push(["size-stratified coverage violation".to_owned(), format!("{sscv:.4}")]);
    table
}
