//! What is simulated.

use std::{path::PathBuf, sync::Arc};

use lyceum_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    interventions::{Intervention, Period, periods},
    random::Random,
    region::Region,
    tracing::{Policy, binary::Binary, heuristic::Heuristic, learnt::Predictor, oracle::Oracle},
};

/// A simulation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The name of a region, or the path of its file.
    pub region: String,
    /// How many people.
    pub people: u32,
    /// How many days.
    pub days: u32,
    /// The root of all randomness.
    pub seed: u64,
    /// Share of people who are infected on day 0; at least one is, unless it is 0.
    pub initially_infected: f64,
    /// What is done about it.
    pub policy: PolicyName,
    /// Share of those with a smartphone who have the app.
    pub uptake: f64,
    /// How much people move about: the share of contacts that take place, on top of what the policy does. 1 is as before.
    pub mobility: f64,
    /// From this day on people know of the epidemic: there is the policy, and nothing is caught from surfaces.
    pub intervention_day: u32,
    /// Whether people are tested.
    pub testing: bool,
    /// Whether all contacts are counted, also of people that nobody can infect and no phone sees: the simulation takes longer.
    pub count_contacts: bool,
    /// Noise of the oracle, added and multiplied.
    pub oracle_noise: [f32; 2],
    /// The file of the predictor, where the policy is [`Learnt`](PolicyName::Learnt).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predictor: Option<PathBuf>,
    /// Changes of parameters, for example `transmission.contagion = 30`.
    #[serde(skip_serializing_if = "toml::Table::is_empty")]
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    pub parameters: toml::Table,
    /// What is done besides on some days: closures, masks, vaccination and the like.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interventions: Vec<Intervention>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            region: "montreal".into(),
            people: 10_000,
            days: 60,
            seed: 1,
            initially_infected: 0.002,
            policy: PolicyName::None,
            uptake: 0.8415,
            mobility: 1.0,
            intervention_day: 0,
            testing: true,
            count_contacts: true,
            oracle_noise: [0.0; 2],
            predictor: None,
            parameters: toml::Table::new(),
            interventions: Vec::new(),
        }
    }
}

/// What is done about the epidemic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyName {
    /// Nothing: people meet as before. Who is tested positive stays at home.
    Unmitigated,
    /// People are a little careful, nobody is traced.
    None,
    /// Everyone as under lockdown.
    Lockdown,
    /// Binary tracing of contacts.
    Bct1,
    /// Binary tracing of contacts and their contacts.
    Bct2,
    /// Rules on tests, symptoms and messages, first version.
    Heuristic1,
    /// Second version.
    Heuristic2,
    /// Third version.
    Heuristic3,
    /// Fourth version.
    Heuristic4,
    /// True infectiousness.
    Oracle,
    /// Infectiousness as a learnt predictor has it.
    Learnt,
}

impl PolicyName {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Unmitigated,
        Self::None,
        Self::Lockdown,
        Self::Bct1,
        Self::Bct2,
        Self::Heuristic1,
        Self::Heuristic2,
        Self::Heuristic3,
        Self::Heuristic4,
        Self::Oracle,
        Self::Learnt,
    ];

    /// As it is written in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unmitigated => "unmitigated",
            Self::None => "none",
            Self::Lockdown => "lockdown",
            Self::Bct1 => "bct1",
            Self::Bct2 => "bct2",
            Self::Heuristic1 => "heuristic1",
            Self::Heuristic2 => "heuristic2",
            Self::Heuristic3 => "heuristic3",
            Self::Heuristic4 => "heuristic4",
            Self::Oracle => "oracle",
            Self::Learnt => "learnt",
        }
    }

    /// What it does, in a line.
    pub fn about(self) -> &'static str {
        match self {
            Self::Unmitigated => "People meet as before",
            Self::None => "People are a little careful, nobody is traced",
            Self::Lockdown => "Everyone as under lockdown",
            Self::Bct1 => "Binary tracing of contacts",
            Self::Bct2 => "Binary tracing of contacts and their contacts",
            Self::Heuristic1 => "Rules on tests, symptoms and messages, version 1",
            Self::Heuristic2 => "Version 2",
            Self::Heuristic3 => "Version 3",
            Self::Heuristic4 => "Version 4",
            Self::Oracle => "True infectiousness",
            Self::Learnt => "Infectiousness as the file of a learnt predictor has it",
        }
    }

    /// By its name.
    pub fn parse(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|policy| policy.name()).collect();
            Error::invalid("policy", name, names.join(", "))
        })
    }

    /// Whether phones are traced.
    pub fn traces(self) -> bool {
        !matches!(self, Self::Unmitigated | Self::None | Self::Lockdown)
    }
}

/// The most people: contacts are kept by 32-bit numbers.
pub const MOST_PEOPLE: u32 = 100_000_000;

impl Config {
    /// From TOML; the name is for errors.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text).map_err(|error| Error::damaged(name, error.to_string()))?;
        config.check()?;
        Ok(config)
    }

    /// With some values changed; `name` is for errors. What is no key of a configuration is one of the parameters, and what is in a list
    /// goes by its number, as in `interventions.0.contagion`.
    pub fn changed(&self, name: &str, changes: toml::Table) -> Result<Self> {
        let table = |config: &Self| toml::Table::try_from(config).map_err(|error| Error::Failed(error.to_string()));
        // With everything that is left out where it is empty.
        let known = table(&Self {
            predictor: Some(PathBuf::new()),
            parameters: toml::toml! { any = 1 },
            interventions: vec![Intervention::default()],
            ..Self::default()
        })?;
        // `testing` is whether people are tested, and `testing.capacity` how many.
        let own = |key: &str, value: &toml::Value| known.get(key).is_some_and(|own| !value.is_table() || own.is_table() || own.is_array());
        let (own, parameters): (toml::Table, toml::Table) = changes.into_iter().partition(|(key, value)| own(key, value));
        let mut all = toml::Value::Table(table(self)?);
        merge(&mut all, own.into());
        if !parameters.is_empty() {
            merge(&mut all, toml::Table::from_iter([("parameters".to_owned(), parameters.into())]).into());
        }
        Self::parse(name, &toml::to_string(&all).map_err(|error| Error::Failed(error.to_string()))?)
    }

    /// The tracing policy, if there is one.
    pub fn tracing(&self) -> Result<Option<Arc<dyn Policy>>> {
        let [add, multiply] = self.oracle_noise;
        Ok(match self.policy {
            PolicyName::Unmitigated | PolicyName::None | PolicyName::Lockdown => None,
            PolicyName::Bct1 => Some(Arc::new(Binary { order: 1 })),
            PolicyName::Bct2 => Some(Arc::new(Binary { order: 2 })),
            PolicyName::Heuristic1 => Some(Arc::new(Heuristic::new(1))),
            PolicyName::Heuristic2 => Some(Arc::new(Heuristic::new(2))),
            PolicyName::Heuristic3 => Some(Arc::new(Heuristic::new(3))),
            PolicyName::Heuristic4 => Some(Arc::new(Heuristic::new(4))),
            PolicyName::Oracle => Some(Arc::new(Oracle { add, multiply, random: Random(self.seed), ..Oracle::exact() })),
            PolicyName::Learnt => match &self.predictor {
                Some(path) => Some(Arc::new(Predictor::read(path)?)),
                None => return Err(no_predictor()),
            },
        })
    }

    /// A checksum (CRC-32C) of the files that the configuration names: region and predictor. With the configuration it says what is
    /// simulated.
    pub fn files(&self) -> Result<u32> {
        let region = serde_json::to_vec(&self.load()?.0).map_err(|error| Error::Failed(error.to_string()))?;
        let predictor = match &self.predictor {
            Some(path) => std::fs::read(path).map_err(Error::io("read", path))?,
            None => Vec::new(),
        };
        Ok(crc32c::crc32c_append(crc32c::crc32c(&region), &predictor))
    }

    /// Rules for and between the fields.
    pub fn check(&self) -> Result<()> {
        self.load().map(|_| ())
    }

    /// The region and what holds when, when all of the configuration is right.
    pub(crate) fn load(&self) -> Result<(Region, Vec<Period>)> {
        if !(1..=MOST_PEOPLE).contains(&self.people) {
            return Err(Error::invalid("people", self.people, format!("1 to {MOST_PEOPLE}")));
        }
        if !(1..=10_000).contains(&self.days) {
            return Err(Error::invalid("days", self.days, "1 to 10000"));
        }
        for (what, value) in [("initially_infected", self.initially_infected), ("uptake", self.uptake), ("mobility", self.mobility)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::invalid(what, value, "a number from 0 to 1"));
            }
        }
        if self.oracle_noise.iter().any(|noise| !(0.0..=10.0).contains(noise)) {
            return Err(Error::invalid("oracle_noise", format!("{:?}", self.oracle_noise), "numbers from 0 to 10"));
        }
        if self.policy == PolicyName::Learnt && self.predictor.is_none() {
            return Err(no_predictor());
        }
        Ok((Region::load(&self.region)?, periods(self)?))
    }
}

fn merge(into: &mut toml::Value, changes: toml::Value) {
    use toml::Value::{Array, Table};
    match (into, changes) {
        (Table(into), Table(changes)) => {
            for (key, value) in changes {
                match into.get_mut(&key) {
                    Some(old) => merge(old, value),
                    None => _ = into.insert(key, value),
                }
            }
        }
        (Array(list), Table(changes)) if changes.keys().all(|place| place.parse().is_ok_and(|place: usize| place < list.len())) => {
            for (place, value) in changes {
                merge(&mut list[place.parse::<usize>().unwrap_or_default()], value);
            }
        }
        (into, value) => *into = value,
    }
}

fn no_predictor() -> Error {
    Error::invalid("predictor", "nothing", "the file of a learnt predictor, for the policy `learnt`")
}
