//! What is done about the epidemic at some time: places closed, fewer contacts, masks, other tests, vaccination, people who bring it in.
//!
//! An intervention says from which day until which day it is in force, and what it changes. Several may be in force together.

use lyceum_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{behaviour::LEVELS, config::Config, disease::Setting, parameters::Parameters};

/// Something that is done from one day until another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Intervention {
    /// From this day on.
    pub from: u32,
    /// Until this day, which is the first without it; to the end if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u32>,
    /// Places where nobody meets anybody.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<Setting>,
    /// The share of contacts that take place, by kind, on top of what behaviour and mobility leave.
    #[serde(skip_serializing_if = "Contacts::is_usual")]
    pub contacts: Contacts,
    /// A factor of what a contact passes on, as masks and distance have it.
    pub contagion: f64,
    /// How careful everyone is at least once people know of the epidemic: a level of behaviour, 0 as before to 4, quarantine.
    pub level: u8,
    /// Infections a day that come from outside.
    pub imported: f64,
    /// Who gets a vaccine, and what it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vaccination: Option<Vaccination>,
    /// Changes of parameters, for example `testing.capacity = 0.01`. What people were drawn with stays: phones, constitution.
    #[serde(skip_serializing_if = "toml::Table::is_empty")]
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    pub parameters: toml::Table,
}

impl Default for Intervention {
    fn default() -> Self {
        Self {
            from: 0,
            until: None,
            closed: Vec::new(),
            contacts: Contacts::default(),
            contagion: 1.0,
            level: 0,
            imported: 0.0,
            vaccination: None,
            parameters: toml::Table::new(),
        }
    }
}

/// A share for each kind of contact.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Contacts {
    /// At home.
    pub home: f64,
    /// At work.
    pub work: f64,
    /// At school.
    pub school: f64,
    /// Elsewhere.
    pub other: f64,
}

impl Default for Contacts {
    fn default() -> Self {
        Self { home: 1.0, work: 1.0, school: 1.0, other: 1.0 }
    }
}

impl Contacts {
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// Names and shares, in the order of [`Kind`](crate::behaviour::Kind).
    fn by_kind(self) -> [(&'static str, f64); 4] {
        [("home", self.home), ("work", self.work), ("school", self.school), ("other", self.other)]
    }
}

/// A vaccine and who gets it. Efficacies are shares from 0 to 1, the same for all whom it protects (a *leaky* vaccine).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Vaccination {
    /// Doses a day, as a share of all people.
    pub a_day: f64,
    /// The youngest and the oldest who get it.
    pub ages: [u8; 2],
    /// The share of people of these ages who want it.
    pub coverage: f64,
    /// Whether the oldest come first; by lot otherwise.
    pub oldest_first: bool,
    /// Days from the dose until it protects.
    pub delay: u32,
    /// How much less susceptible to an infection those are whom it protects: of the rate at which contacts infect them.
    pub against_infection: f64,
    /// Of infections that would have had symptoms, those that have none.
    pub against_symptoms: f64,
    /// Of those with symptoms, those who would have gone to hospital and do not.
    pub against_hospital: f64,
    /// How much less infectious they are when infected.
    pub against_transmission: f64,
}

impl Default for Vaccination {
    fn default() -> Self {
        Self {
            a_day: 0.0,
            ages: [0, u8::MAX],
            coverage: 1.0,
            oldest_first: false,
            delay: 14,
            against_infection: 0.0,
            against_symptoms: 0.0,
            against_hospital: 0.0,
            against_transmission: 0.0,
        }
    }
}

/// What holds from a day on until the next period.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Period {
    pub(crate) from: u32,
    pub(crate) parameters: Parameters,
    /// Shares of contacts by kind, with mobility.
    pub(crate) shares: [f64; 4],
    /// A bit for each setting.
    closed: u16,
    pub(crate) level: u8,
    pub(crate) imported: f64,
}

impl Period {
    /// Whether a place is closed.
    #[inline]
    pub(crate) fn closes(&self, place: Setting) -> bool {
        self.closed >> place as u16 & 1 == 1
    }
}

/// The most interventions; more would be no plan but a mistake.
const MOST: usize = 1_000;
/// The greatest share of contacts, factor of contagion and number of infections a day from outside, of one and of all together.
const MOST_CONTACTS: f64 = 2.0;
const MOST_CONTAGION: f64 = 100.0;
const MOST_IMPORTED: f64 = 1e6;

/// Places that can be closed.
const PLACES: [Setting; 5] = [Setting::Work, Setting::School, Setting::Store, Setting::Venue, Setting::Park];

impl Intervention {
    pub(crate) fn in_force(&self, day: u32) -> bool {
        self.from <= day && self.until.is_none_or(|until| day < until)
    }

    /// What it changes, in some words each.
    pub fn changes(&self) -> Vec<String> {
        let mut parts = Vec::new();
        if !self.closed.is_empty() {
            let names: Vec<&str> = self.closed.iter().map(|place| place.name()).collect();
            parts.push(format!("closed: {}", names.join(", ")));
        }
        for (name, share) in self.contacts.by_kind().into_iter().filter(|(_, share)| *share != 1.0) {
            parts.push(format!("contacts {name} × {share}"));
        }
        if self.contagion != 1.0 {
            parts.push(format!("contagion × {}", self.contagion));
        }
        if self.level > 0 {
            parts.push(format!("behaviour at level {} at least", self.level));
        }
        if self.imported > 0.0 {
            parts.push(format!("{} infections a day from outside", self.imported));
        }
        if let Some(vaccination) = &self.vaccination {
            let [from, to] = vaccination.ages;
            parts.push(format!("vaccination of {} % a day, ages {from} to {to}", 100.0 * vaccination.a_day));
        }
        leaves(&self.parameters, "", &mut |name, value| parts.push(format!("{name} = {value}")));
        parts
    }

    fn check(&self, place: usize) -> Result<()> {
        let name = |field: &str| format!("interventions[{place}].{field}");
        if let Some(until) = self.until.filter(|until| *until <= self.from) {
            return Err(Error::invalid(name("until"), until, format!("a day after {}", self.from)));
        }
        if let Some(closed) = self.closed.iter().find(|closed| !PLACES.contains(closed)) {
            let names: Vec<&str> = PLACES.iter().map(|place| place.name()).collect();
            return Err(Error::invalid(name("closed"), closed.name(), names.join(", ")));
        }
        let contacts = self.contacts.by_kind().map(|(field, share)| (format!("contacts.{field}"), share, MOST_CONTACTS));
        let others = [("contagion".into(), self.contagion, MOST_CONTAGION), ("imported".into(), self.imported, MOST_IMPORTED)];
        for (field, value, most) in contacts.into_iter().chain(others) {
            if !(0.0..=most).contains(&value) {
                return Err(Error::invalid(name(&field), value, format!("a number from 0 to {most}")));
            }
        }
        if usize::from(self.level) >= LEVELS {
            return Err(Error::invalid(name("level"), self.level, "0 to 4"));
        }
        let Some(vaccination) = &self.vaccination else { return Ok(()) };
        for (field, value) in [
            ("a_day", vaccination.a_day),
            ("coverage", vaccination.coverage),
            ("against_infection", vaccination.against_infection),
            ("against_symptoms", vaccination.against_symptoms),
            ("against_hospital", vaccination.against_hospital),
            ("against_transmission", vaccination.against_transmission),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::invalid(name(&format!("vaccination.{field}")), value, "a number from 0 to 1"));
            }
        }
        let [youngest, oldest] = vaccination.ages;
        if youngest > oldest {
            return Err(Error::invalid(name("vaccination.ages"), format!("[{youngest}, {oldest}]"), "the youngest, then the oldest"));
        }
        Ok(())
    }
}

/// Every value of a table, with its dotted name.
fn leaves(table: &toml::Table, path: &str, each: &mut impl FnMut(&str, &toml::Value)) {
    for (key, value) in table {
        let name = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match value {
            toml::Value::Table(inner) => leaves(inner, &name, each),
            value => each(&name, value),
        }
    }
}

/// The periods of a configuration, in their order: one begins on day 0 and wherever an intervention begins or ends.
pub(crate) fn periods(config: &Config) -> Result<Vec<Period>> {
    let interventions = &config.interventions;
    if interventions.len() > MOST {
        return Err(Error::invalid("interventions", interventions.len(), format!("{MOST} at most")));
    }
    interventions.iter().enumerate().try_for_each(|(place, intervention)| intervention.check(place))?;
    let mut days: Vec<u32> = std::iter::once(0)
        .chain(interventions.iter().flat_map(|intervention| std::iter::once(intervention.from).chain(intervention.until)))
        .collect();
    days.sort_unstable();
    days.dedup();
    let period = |from: u32| -> Result<Period> {
        let in_force = || interventions.iter().filter(|intervention| intervention.in_force(from));
        let changes = std::iter::once(&config.parameters).chain(in_force().map(|intervention| &intervention.parameters));
        let parameters = Parameters::changed_by(changes)?;
        let mut period = Period { from, parameters, shares: [config.mobility; 4], closed: 0, level: 0, imported: 0.0 };
        let mut contagion = 1.0;
        for intervention in in_force() {
            period.shares.iter_mut().zip(intervention.contacts.by_kind()).for_each(|(all, (_, share))| *all *= share);
            period.closed |= intervention.closed.iter().fold(0, |closed, place| closed | 1 << *place as u16);
            period.level = period.level.max(intervention.level);
            period.imported += intervention.imported;
            contagion *= intervention.contagion;
        }
        period.parameters.transmission.contagion *= contagion as f32;
        let together = period.shares.map(|share| ("shares of contacts", share, MOST_CONTACTS)).into_iter();
        let mut together = together.chain([("contagion", contagion, MOST_CONTAGION), ("imported", period.imported, MOST_IMPORTED)]);
        match together.find(|(_, value, most)| !(0.0..=*most).contains(value)) {
            Some((what, value, most)) => {
                Err(Error::invalid(format!("{what} on day {from}, of all interventions"), value, format!("{most} at most")))
            }
            None => Ok(period),
        }
    };
    days.into_iter().map(period).collect()
}
