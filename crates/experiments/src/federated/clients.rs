//! Where examples come from and which client has which.

use lyceum_core::{Error, Result, Run, Seed, Violation, range};
use lyceum_data::{
    Cache, Examples, Extent, catalog, partition,
    prepare::{DataConfig, Prepared},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Config;

/// How examples are spread over clients.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientsConfig {
    /// m; with the split `groups` as many as there are groups.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "range::OptionalAtLeastOne")]
    pub(super) count: Option<usize>,
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
    /// Each the examples of one group of the data.
    Groups,
}

impl ClientsConfig {
    fn check(&self, data: &DataConfig) -> Result<(), Violation> {
        let wrong = |key: &str, message: &str| Err(Violation::new(format!("clients.{key}"), message));
        match (self.split, self.count) {
            (Split::Groups, Some(_)) => {
                wrong("count", "found together with the split `groups`, whose groups are the clients; allowed: none")
            }
            (Split::Groups, None) if !data.has_groups() => {
                wrong("split", "found `groups`, and data without any; allowed: together with `data.group` or `data.layout`")
            }
            (Split::Groups, None) if self.size_deviation > 0.0 => {
                wrong("size_deviation", "found together with the split `groups`, which has sizes of its own; allowed: none")
            }
            (Split::Groups, None) | (_, Some(_)) => Ok(()),
            (_, None) => wrong("count", "absent; allowed: how many clients there are"),
        }
    }

    /// Which examples each client has.
    fn parts(&self, train: &Examples, groups: usize, seed: Seed) -> Result<Vec<Vec<usize>>> {
        let rng = &mut seed.stream("federated/partition");
        let (labels, count) = (&train.labels, self.count.unwrap_or(groups));
        if labels.len() < count {
            return Err(Error::invalid("clients.count", count, format!("at most the {} training examples", labels.len())));
        }
        let sizes = |rng: &mut _| -> Result<Vec<usize>> {
            Ok(partition::log_normal(labels.len(), count, self.size_deviation, rng)?.iter().map(Vec::len).collect())
        };
        match self.split {
            Split::Even if self.size_deviation > 0.0 => partition::log_normal(labels.len(), count, self.size_deviation, rng),
            Split::Even => Ok(partition::even(labels.len(), count, rng)),
            Split::Dirichlet(alpha) if self.size_deviation > 0.0 => partition::dirichlet_of_sizes(labels, &sizes(rng)?, alpha, rng),
            Split::Dirichlet(alpha) => partition::dirichlet(labels, count, alpha, rng),
            Split::Shards(shards) => Ok(partition::shards(labels, count, shards, rng)),
            Split::Groups => {
                let mut parts = vec![Vec::new(); groups];
                train.groups.iter().enumerate().for_each(|(row, &group)| parts[group].push(row));
                // Of a group, all may be held out.
                parts.retain(|part| !part.is_empty());
                Ok(parts)
            }
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
            (["data"], Some(clients)) => self.data.as_ref().map_or(Ok(()), |data| clients.check(data)),
            ([_], None) => Ok(()),
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
    pub(super) fn federation(&self, run: &Run) -> Result<Federation> {
        let seed = run.seed();
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
            let data = config.prepare_for(run, self.model.known()?)?;
            if self.normalization.is_some() && !data.normalization.is_empty() {
                let found = "found with a model that tells what its numbers are normalised by";
                return Err(Error::invalid("normalization", found, "absent"));
            }
            let clients = self.clients.as_ref().ok_or_else(|| Error::invalid("clients", "nothing", "a table"))?;
            let parts = clients.parts(&data.train, data.groups.len(), seed)?;
            (data, parts, config.title())
        };
        if let Some([mean, deviation]) = self.normalization {
            let normalise = |x: f32| ((f64::from(x) - mean) / deviation) as f32;
            data.train.inputs = data.train.inputs.map(normalise);
            data.test.inputs = data.test.inputs.map(normalise);
        }
        Ok(Federation { data, parts, origin })
    }
}
