//! Where examples come from and which client has which.

use lyceum_core::{Error, Result, Seed, Violation, range};
use lyceum_data::{Cache, Extent, catalog, partition, prepare::Prepared};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Config;

/// How examples are spread over clients.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientsConfig {
    /// m.
    #[serde(with = "range::AtLeastOne")]
    pub(super) count: usize,
    /// Which classes they have.
    #[serde(default)]
    pub(super) split: Split,
    /// σ of the logarithm of their sizes; 0: all have as many.
    #[serde(default, with = "range::NonNegative")]
    pub(super) size_deviation: f64,
}

/// Which classes clients have.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Split {
    /// All alike.
    #[default]
    Even,
    /// Each its own mixture, from a Dirichlet law with this concentration.
    Dirichlet(#[serde(with = "range::Positive")] f64),
    /// So many pieces of the examples sorted by class.
    Shards(#[serde(with = "range::AtLeastOne")] usize),
}

impl ClientsConfig {
    /// Which examples each client has.
    pub(super) fn parts(&self, labels: &[usize], seed: Seed) -> Result<Vec<Vec<usize>>> {
        let rng = &mut seed.stream("federated/partition");
        if labels.len() < self.count {
            return Err(Error::invalid("clients.count", self.count, format!("at most the {} training examples", labels.len())));
        }
        let sizes = |rng: &mut _| -> Result<Vec<usize>> {
            Ok(partition::log_normal(labels.len(), self.count, self.size_deviation, rng)?.iter().map(Vec::len).collect())
        };
        match self.split {
            Split::Even if self.size_deviation > 0.0 => partition::log_normal(labels.len(), self.count, self.size_deviation, rng),
            Split::Even => Ok(partition::even(labels.len(), self.count, rng)),
            Split::Dirichlet(alpha) if self.size_deviation > 0.0 => partition::dirichlet_of_sizes(labels, &sizes(rng)?, alpha, rng),
            Split::Dirichlet(alpha) => partition::dirichlet(labels, self.count, alpha, rng),
            Split::Shards(shards) => Ok(partition::shards(labels, self.count, shards, rng)),
        }
    }
}

/// Examples, and which of them each client has.
pub(super) struct Federation {
    pub(super) data: Prepared,
    pub(super) parts: Vec<Vec<usize>>,
    /// What it is made of, in a few words.
    pub(super) origin: String,
}

impl Config {
    /// One source of examples, and clients where the source has none of its own.
    pub(super) fn check_source(&self) -> Result<(), Violation> {
        let sources = [("data", self.data.is_some()), ("synthetic", self.synthetic.is_some()), ("characters", self.characters.is_some())];
        let given: Vec<&str> = sources.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        let wrong = |key: &str, message: String| Err(Violation::new(key, message));
        match (given.as_slice(), &self.clients) {
            (["data"], None) => wrong("clients", "absent; allowed: a table that spreads the examples of `data` over clients".into()),
            (["data"], Some(_)) | ([_], None) => Ok(()),
            ([other], Some(_)) => wrong("clients", format!("found together with `{other}`, which has clients of its own; allowed: none")),
            _ => wrong("data", format!("found {} of the tables data, synthetic, characters; allowed: one", given.len())),
        }
    }

    /// The extent of an example, where it is known before the examples are.
    pub(super) fn extent(&self) -> Option<Extent> {
        let row = |width| Extent { channels: 1, height: 1, width };
        let synthetic = self.synthetic.as_ref().map(|synthetic| row(synthetic.features));
        let characters = self.characters.as_ref().map(|characters| row(characters.window));
        let named = || Some(catalog::find(&self.data.as_ref()?.name).ok()?.extent);
        synthetic.or(characters).or_else(named)
    }

    /// Makes or loads the examples and spreads them.
    pub(super) fn federation(&self, seed: Seed) -> Result<Federation> {
        let cache = Cache::locate();
        let (mut data, parts, origin) = if let Some(synthetic) = &self.synthetic {
            let (data, parts) = synthetic.generate(&mut seed.stream("federated/synthetic"))?;
            (data, parts, "logistic regression made up".to_owned())
        } else if let Some(characters) = &self.characters {
            let (data, parts) = characters.prepare(&cache, &mut seed.stream("federated/characters"))?;
            let origin = characters.file.as_ref().map_or("Shakespeare's roles".into(), |file| file.display().to_string());
            (data, parts, origin)
        } else {
            let config = self.data.as_ref().ok_or_else(|| Error::invalid("data", "nothing", "a table"))?;
            let data = config.prepare(&cache, seed)?;
            let clients = self.clients.as_ref().ok_or_else(|| Error::invalid("clients", "nothing", "a table"))?;
            let parts = clients.parts(&data.train.labels, seed)?;
            (data, parts, config.name.clone())
        };
        if let Some([mean, deviation]) = self.normalization {
            let normalise = |x: f32| ((f64::from(x) - mean) / deviation) as f32;
            data.train.inputs.mapv_inplace(normalise);
            data.test.inputs.mapv_inplace(normalise);
        }
        Ok(Federation { data, parts, origin })
    }
}
