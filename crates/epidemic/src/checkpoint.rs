//! Simulations on the disk: stopped on any day, and gone on with as if they had not been.

use std::{path::Path, sync::Arc};

use lyceum_core::{Error, Result, atomic};
use serde::{Deserialize, Serialize};

use crate::{
    config::Config,
    simulation::{Simulation, State},
    tracing::Policy,
};

/// `LYCEUME2`, the checksum (CRC-32C) of what follows, then configuration and state (postcard).
const MAGIC: &[u8; 8] = b"LYCEUME2";

#[derive(Serialize)]
struct Saved<'a> {
    version: &'a str,
    /// As TOML: a configuration has tables of any shape in it.
    config: String,
    /// [`Config::files`], and the key of the people.
    files: u32,
    people: u32,
    /// The policy, where it is not one of the configuration's.
    policy: Option<&'a str>,
    state: &'a State,
}

#[derive(Deserialize)]
struct Read {
    version: String,
    config: String,
    files: u32,
    people: u32,
    policy: Option<String>,
    state: State,
}

/// What decides from now on.
pub enum Deciding {
    /// What decided before, which must have been a policy of the configuration.
    AsBefore,
    /// This policy, or that of the configuration.
    Now(Option<Arc<dyn Policy>>),
}

struct Loaded {
    config: Config,
    files: u32,
    people: u32,
    policy: Option<String>,
    state: State,
}

impl Loaded {
    /// Errors where the policy was one of its maker's own: nobody else knows it.
    fn check_policy(&self) -> Result<()> {
        match &self.policy {
            Some(policy) => Err(Error::invalid("policy", "none", format!("the policy that it was saved with, `{policy}`, or another one"))),
            None => Ok(()),
        }
    }
}

impl Simulation {
    /// Writes the simulation as it is now, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<()> {
        atomic::write(path, &self.to_bytes()?)
    }

    /// What [`save`](Self::save) writes.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let failed = |error: &dyn std::fmt::Display| Error::Failed(format!("a simulation cannot be saved: {error}"));
        let config = toml::to_string(self.config()).map_err(|error| failed(&error))?;
        let (files, people) = (self.config().files()?, self.population().key);
        let saved = Saved { version: env!("CARGO_PKG_VERSION"), config, files, people, policy: self.own_policy(), state: &self.state };
        let body = postcard::to_stdvec(&saved).map_err(|error| failed(&error))?;
        let mut bytes = Vec::with_capacity(body.len() + 12);
        bytes.extend(MAGIC);
        bytes.extend(crc32c::crc32c(&body).to_le_bytes());
        bytes.extend(body);
        Ok(bytes)
    }

    /// Reads a simulation that [`save`](Self::save) wrote. The files that it names must be as they were, and its policy one of the
    /// configuration's.
    pub fn load(path: &Path) -> Result<Self> {
        let loaded = read(path)?;
        loaded.check_policy()?;
        let config = loaded.config;
        if config.files()? != loaded.files {
            let told = "the region's file or the predictor is not as it was; what changes on purpose goes with `load_with` (--from)";
            return Err(Error::damaged(path, told));
        }
        Self::resumed(&config, config.tracing()?, loaded.state)
    }

    /// The same, to go on under another policy or with another configuration: the people must be the same.
    pub fn load_with(path: &Path, change: impl FnOnce(&mut Config), policy: Deciding) -> Result<Self> {
        Self::changed(read(path)?, path, change, policy)
    }

    /// The same of what [`to_bytes`](Self::to_bytes) gave.
    pub fn from_bytes(bytes: &[u8], policy: Option<Arc<dyn Policy>>) -> Result<Self> {
        let path = Path::new("the simulation");
        Self::changed(parse(path, bytes)?, path, |_| {}, policy.map_or(Deciding::AsBefore, |policy| Deciding::Now(Some(policy))))
    }

    fn changed(loaded: Loaded, path: &Path, change: impl FnOnce(&mut Config), policy: Deciding) -> Result<Self> {
        let before = loaded.config.clone();
        let mut config = before.clone();
        change(&mut config);
        if let Deciding::AsBefore = policy {
            loaded.check_policy()?;
        }
        let Loaded { people, state, .. } = loaded;
        if Self::people_key(&config)? != people {
            let of = |config: &Config| format!("{} people of {} with seed {}", config.people, config.region, config.seed);
            let allowed = format!("{}, as in {}, with the same parameters that people are drawn from", of(&before), path.display());
            return Err(Error::invalid("configuration", of(&config), allowed));
        }
        let Deciding::Now(Some(policy)) = policy else { return Self::resumed(&config, config.tracing()?, state) };
        let mut simulation = Self::resumed(&config, Some(policy), state)?;
        simulation.own_policy = true;
        Ok(simulation)
    }

    fn resumed(config: &Config, policy: Option<Arc<dyn Policy>>, state: State) -> Result<Self> {
        let population = Arc::new(Self::population_of(config)?);
        let mut simulation = Self::prepare(config, policy, population)?;
        simulation.continue_from(state)?;
        Ok(simulation)
    }
}

fn read(path: &Path) -> Result<Loaded> {
    parse(path, &std::fs::read(path).map_err(Error::missing_or_io("read", path, "Give a file that a simulation was saved to."))?)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Loaded> {
    let damaged = |what: &str| Error::damaged(path, what);
    let body = bytes.strip_prefix(MAGIC).ok_or_else(|| damaged("is not a saved simulation"))?;
    let (sum, body) = body.split_at_checked(4).ok_or_else(|| damaged("is cut off"))?;
    if crc32c::crc32c(body).to_le_bytes() != sum {
        return Err(damaged("its checksum is wrong: it was cut off or changed"));
    }
    let Read { version, config, files, people, policy, state } =
        postcard::from_bytes(body).map_err(|error| Error::damaged(path, error.to_string()))?;
    if version != env!("CARGO_PKG_VERSION") {
        let what = format!("is from version {version}; this is {}", env!("CARGO_PKG_VERSION"));
        return Err(Error::damaged(path, what));
    }
    Ok(Loaded { config: Config::parse(&path.to_string_lossy(), &config)?, files, people, policy, state })
}
