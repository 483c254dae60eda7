//! What the experiments with a small encoder share: its extents.

use lyceum_core::{Seed, Violation, range};
use lyceum_train::{Bert, BertConfig, DeviceName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The encoder; its vocabulary and longest sequence are those of the data.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EncoderConfig {
    /// Numbers of each token in a layer; a multiple of the heads.
    #[serde(with = "range::AtLeastOne")]
    width: usize,
    /// Attention heads.
    #[serde(with = "range::AtLeastOne")]
    heads: usize,
    /// The width of the layers between attentions.
    #[serde(with = "range::AtLeastOne")]
    feed_forward: usize,
    /// Layers of attention and feed-forward.
    #[serde(with = "range::AtLeastOne")]
    layers: usize,
    /// The share of values that dropout sets to zero.
    #[serde(with = "range::BelowOne")]
    dropout: f64,
    /// The standard deviation of initial weights.
    #[serde(with = "range::Positive")]
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
