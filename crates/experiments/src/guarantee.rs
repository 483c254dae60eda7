//! What a report says of a conformal guarantee.

use lyceum_conformal::metrics::{self, Share};
use lyceum_core::report::Block;
use lyceum_data::prepare::DataConfig;
use lyceum_optim::experiment::percent;
use lyceum_train::ModelConfig;

/// More classes or groups than this make no table to read.
pub(crate) const MOST_ROWS: usize = 60;

/// Said in the place of a table.
pub(crate) fn too_many(count: usize, what: &str) -> Block {
    Block::Text(format!("{count} {what} are too many for a table."))
}

/// A share in percent with its interval.
pub(crate) fn share(share: Share) -> String {
    format!("{} ({} to {})", percent(share.share), percent(share.low), percent(share.high))
}

/// Coverage at least 1 − α, and what it rests on.
pub(crate) struct Guarantee<'a> {
    /// What has this probability, as the beginning of a sentence.
    pub(crate) what: &'a str,
    pub(crate) alpha: f64,
    pub(crate) data: &'a DataConfig,
    pub(crate) model: &'a ModelConfig,
}

impl Guarantee<'_> {
    /// The guarantee in words, given the numbers of calibration and of test examples.
    pub(crate) fn text(&self, [calibration, test]: [usize; 2]) -> String {
        let Self { what, alpha, data, model } = self;
        let share = percent(1.0 - alpha);
        let mut text = if data.whole_groups {
            format!(
                "{what} with probability at least {share} where new examples are of the groups that were held out for calibration. Here \
                 others are tested, and coverage may be lower: examples of one group are more alike than those of two."
            )
        } else {
            let (low, high) = metrics::coverage_band(calibration, *alpha, test, 0.95);
            format!(
                "{what} with probability at least {share}. With {calibration} examples for calibration and {test} for testing, 95 of 100 \
                 such experiments would measure a coverage between {} and {}.",
                percent(low),
                percent(high)
            )
        };
        if model.is_trained() {
            text += " This network was trained before: if that was on some of the examples that are held out or tested here, neither the \
                     guarantee nor the figures hold for new ones.";
        }
        text
    }
}
