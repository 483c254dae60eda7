//! What the experiments with a small encoder share: its extents, and its checkpoints.

use std::collections::BTreeMap;

use lyceum_core::{Array, Checkpoint, Result, Run, Seed, Violation, range};
use lyceum_train::{Bert, BertConfig, DeviceName, Pipeline, State, pipeline::Saved};
use serde::{Deserialize, Serialize};

/// The encoder; its vocabulary and longest sequence are those of the data.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EncoderConfig {
    #[serde(deserialize_with = "range::at_least_one")]
    width: usize,
    #[serde(deserialize_with = "range::at_least_one")]
    heads: usize,
    #[serde(deserialize_with = "range::at_least_one")]
    feed_forward: usize,
    #[serde(deserialize_with = "range::at_least_one")]
    layers: usize,
    #[serde(deserialize_with = "range::below_one")]
    dropout: f64,
    /// The standard deviation of initial weights.
    #[serde(deserialize_with = "range::positive")]
    deviation: f64,
}

impl Default for EncoderConfig {
    fn default() -> Self {
        Self { width: 128, heads: 4, feed_forward: 256, layers: 2, dropout: 0.0, deviation: 0.08 }
    }
}

impl EncoderConfig {
    /// Rules between fields; `key` is the table's name in the recipe.
    pub(super) fn check(&self, key: &str) -> Result<(), Violation> {
        if self.width.is_multiple_of(self.heads) {
            return Ok(());
        }
        let text = format!("found {}; allowed: a multiple of the {} heads", self.width, self.heads);
        Err(Violation::new(format!("{key}.width"), text))
    }

    /// The network with its initial values.
    pub(super) fn init(&self, vocabulary: usize, positions: usize, seed: Seed, device: &DeviceName) -> Bert {
        let Self { width, heads, feed_forward, layers, dropout, deviation } = *self;
        let extents = BertConfig { vocabulary, positions, width, heads, feed_forward, layers, dropout, deviation, sinusoids: true };
        Bert::new(&extents, &mut seed.stream("model/init"), &device.device())
    }
}

/// Counters of the optimiser, the estimator and the combiner.
pub(super) type Counters = [BTreeMap<String, u64>; 3];

/// Writes a checkpoint; `progress` is what else it holds, with the counters that [`restore`] needs.
pub(super) fn save<P: Serialize>(run: &Run, step: usize, pipeline: &Pipeline<Bert>, progress: impl FnOnce(Counters) -> P) -> Result<()> {
    let Saved { model, optimizer, estimator, combiner } = pipeline.save();
    let progress = progress([optimizer.counters, estimator.counters, combiner.counters]);
    let files: [(&str, &[Array]); 4] =
        [("model", &model), ("optimizer", &optimizer.arrays), ("estimator", &estimator.arrays), ("combiner", &combiner.arrays)];
    run.save_checkpoint(step as u64, &progress, &files)
}

/// Goes on from a checkpoint that [`save`] wrote.
pub(super) fn restore(pipeline: &mut Pipeline<Bert>, checkpoint: &Checkpoint, counters: &Counters) -> Result<()> {
    let arrays = |file: &str| checkpoint.arrays(file).map(<[Array]>::to_vec);
    let state = |file: &str, place: usize| -> Result<State> { Ok(State { arrays: arrays(file)?, counters: counters[place].clone() }) };
    pipeline.restore(Saved {
        model: arrays("model")?,
        optimizer: state("optimizer", 0)?,
        estimator: state("estimator", 1)?,
        combiner: state("combiner", 2)?,
    })
}
