//! The disease, testing, phones and behaviour. `data/covid.toml` says what each figure is and where it is from; a user's file
//! changes some of them.

use lyceum_core::{Error, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A number for each age of ten years: 0 to 9, …, 80 to 89, 90 and more.
pub type ByDecade = [f32; 10];

/// All parameters but those of the region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the data file describes each figure beside it")]
pub struct Parameters {
    pub course: Course,
    pub transmission: Transmission,
    pub severity: Severity,
    pub illness: Illness,
    pub testing: Testing,
    pub phones: Phones,
    pub behaviour: Behaviour,
}

/// A normal distribution within limits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the data file describes each figure beside it")]
pub struct Truncated {
    pub mean: f32,
    pub deviation: f32,
    pub least: f32,
    pub greatest: f32,
}

/// The course of an infection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the data file describes each figure beside it")]
pub struct Course {
    pub incubation_shape: f32,
    pub incubation_scale: f32,
    pub incubation_least: f32,
    pub onset_before: Truncated,
    pub onset_before_least: f32,
    pub peak_before: Truncated,
    pub plateau: Truncated,
    pub recovery: Truncated,
    pub recovery_age_years: f32,
    pub peak_height: [f32; 2],
    pub plateau_height: [f32; 2],
    pub asymptomatic: f32,
    pub asymptomatic_a_year: f32,
    pub infectiousness_asymptomatic: f32,
    pub infectiousness_mild: f32,
    pub infectiousness_immune: f32,
    pub infectiousness_cough: f32,
    pub infectiousness_norm: f32,
}

/// How it is passed on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the data file describes each figure beside it")]
pub struct Transmission {
    pub contagion: f32,
    pub least_seconds: f32,
    pub susceptibility: ByDecade,
    pub contacts_a_day: ByDecade,
    pub places: PlaceFactors,
    pub surfaces: f32,
    pub surface_days: [f32; 5],
    pub surface_share: [f64; 5],
}

/// How much more is passed on in some places.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the data file describes each figure beside it")]
pub struct PlaceFactors {
    pub home: f32,
    pub residence: f32,
    pub hospital: f32,
    pub work: f32,
    pub school: f32,
    pub store: f32,
    pub venue: f32,
    pub park: f32,
}

/// How ill people become.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the data file describes each figure beside it")]
pub struct Severity {
    pub set: RiskSet,
    pub verity: Risks,
    pub authors: Risks,
    pub to_hospital: f32,
    pub in_hospital: f32,
    pub to_critical: f32,
    pub in_critical: f32,
    pub to_death: f32,
    pub severe: [ByDecade; 3],
}

impl Severity {
    /// The set that holds, with its name.
    pub fn risks(&self) -> (&'static str, &Risks) {
        match self.set {
            RiskSet::Verity => ("verity", &self.verity),
            RiskSet::Authors => ("authors", &self.authors),
        }
    }
}

/// A set of [`Risks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RiskSet {
    /// Verity et al. 2020 and Salje et al. 2020.
    Verity,
    /// COVI-AgentSim's.
    Authors,
}

/// Risks by age.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the data file describes each figure beside it")]
pub struct Risks {
    pub given: Given,
    pub hospital: ByDecade,
    pub critical: ByDecade,
    pub death: ByDecade,
    pub critical_death: f32,
    pub otherwise: ByDecade,
}

/// Of whom the risks of hospital and death are shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Given {
    /// Of all who are infected.
    Infection,
    /// Of those in the state before: with symptoms, in hospital, in intensive care.
    State,
}

/// The probability of each step of a severe course, of those who took the one before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chances {
    /// To hospital, of those with symptoms.
    pub hospital: f32,
    /// To intensive care, of those in hospital.
    pub critical: f32,
    /// To die, of those in intensive care.
    pub critical_death: f32,
    /// To die, of those in hospital without intensive care.
    pub ward_death: f32,
    /// To die at the end, of all who are infected and did not die in hospital.
    pub otherwise: f32,
}

impl Risks {
    /// Of a person of a decade, where a share `a` of those infected has no symptoms. With risks h and d given infection, c given
    /// hospital, and at most k of those in intensive care to die:
    ///
    /// ```text
    /// hospital h/(1 − a),   on a ward w = (d − h·c·k)/(h·(1 − c)) within 0 and 1,   in intensive care (d − h·(1 − c)·w)/(h·c)
    /// ```
    ///
    /// so that the share h goes to hospital and d dies of it.
    pub fn chances(&self, asymptomatic: f32, decade: usize) -> Chances {
        let [hospital, critical, death, otherwise] = [self.hospital, self.critical, self.death, self.otherwise].map(|of| of[decade]);
        match self.given {
            Given::State => Chances { hospital, critical, critical_death: death.min(self.critical_death), ward_death: 0.0, otherwise },
            Given::Infection => {
                let [h, c, d, k, ill] = [hospital, critical, death, self.critical_death, 1.0 - asymptomatic].map(f64::from);
                let of = |part: f64, all: f64| if all > 0.0 { (part / all).clamp(0.0, 1.0) } else { 0.0 };
                let ward_death = of(d - h * c * k, h * (1.0 - c));
                let critical_death = of(d - h * (1.0 - c) * ward_death, h * c);
                let [hospital, critical_death, ward_death] = [of(h, ill), critical_death, ward_death].map(|chance| chance as f32);
                Chances { hospital, critical, critical_death, ward_death, otherwise }
            }
        }
    }
}

/// Other illnesses, and who goes out with symptoms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the data file describes each figure beside it")]
pub struct Illness {
    pub cold: f32,
    pub cold_days: f32,
    pub flu: f32,
    pub flu_days: f32,
    pub allergic: f32,
    pub allergy: f32,
    pub out_severe: f32,
    pub out_moderate: f32,
    pub out_mild: f32,
}

/// Tests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the data file describes each figure beside it")]
pub struct Testing {
    pub capacity: f64,
    pub ask_suspicious: f32,
    pub ask_other: f32,
    pub score_severe: f32,
    pub score_recommended: f32,
    pub delay: f32,
    pub delay_hospital: f32,
    pub false_negative: Vec<[f32; 2]>,
    pub false_positive: f32,
    pub reported: f32,
    pub negative_days: f32,
    pub positive_days: f32,
    pub quarantine_days: f32,
    pub household_days: f32,
    pub drop_out: f32,
    pub household_drop_out: f32,
}

impl Testing {
    /// The share of tests that miss an infection so many days after it.
    pub fn false_negative(&self, days: f32) -> f32 {
        let step = self.false_negative.iter().find(|[until, _]| days <= *until).or(self.false_negative.last());
        step.map_or(0.0, |[_, share]| *share)
    }
}

/// Phones and the app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the data file describes each figure beside it")]
pub struct Phones {
    pub owners: ByDecade,
    pub distance: f32,
    pub seconds: f32,
    pub noise: f32,
    pub symptom_drop_out: f32,
    pub symptom_drop_in: f32,
    pub profile: f32,
    pub drop_out: f32,
}

/// What people do about the epidemic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the data file describes each figure beside it")]
pub struct Behaviour {
    pub lockdown: Lockdown,
    pub interpolation: f32,
    pub household: bool,
    pub careful: f32,
}

/// Shares of contacts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the data file describes each figure beside it")]
pub struct Lockdown {
    pub home: f32,
    pub work: f32,
    pub school: f32,
    pub other: f32,
}

const COVID: &str = include_str!("../data/covid.toml");

impl Parameters {
    /// Those of COVID-19 in spring 2020.
    pub fn covid() -> Result<Self> {
        Self::changed(&toml::Table::new())
    }

    /// The same with some changed, for example `transmission.contagion`.
    pub fn changed(changes: &toml::Table) -> Result<Self> {
        Self::changed_by([changes])
    }

    /// The same with several changes, one after the other.
    pub(crate) fn changed_by<'a>(changes: impl IntoIterator<Item = &'a toml::Table>) -> Result<Self> {
        let parameters: Self = read("parameters", COVID, changes)?;
        parameters.check()?;
        Ok(parameters)
    }

    /// As they stand in the file, with their sources.
    pub fn text() -> &'static str {
        COVID
    }

    fn check(&self) -> Result<()> {
        for (name, risks) in [("verity", &self.severity.verity), ("authors", &self.severity.authors)] {
            self.check_risks(name, risks)?;
        }
        let fractions: Vec<(&str, Vec<f32>)> = vec![
            ("severity.severe", self.severity.severe.concat()),
            ("phones.owners", self.phones.owners.to_vec()),
            ("phones", vec![self.phones.symptom_drop_out, self.phones.symptom_drop_in, self.phones.profile, self.phones.drop_out]),
            (
                "testing",
                vec![
                    self.testing.ask_suspicious,
                    self.testing.ask_other,
                    self.testing.false_positive,
                    self.testing.reported,
                    self.testing.drop_out,
                    self.testing.household_drop_out,
                ],
            ),
            ("testing.false_negative", self.testing.false_negative.iter().map(|[_, share]| *share).collect()),
            (
                "illness",
                vec![
                    self.illness.cold,
                    self.illness.flu,
                    self.illness.allergic,
                    self.illness.allergy,
                    self.illness.out_severe,
                    self.illness.out_moderate,
                    self.illness.out_mild,
                ],
            ),
            (
                "behaviour",
                vec![
                    self.behaviour.lockdown.home,
                    self.behaviour.lockdown.work,
                    self.behaviour.lockdown.school,
                    self.behaviour.lockdown.other,
                    self.behaviour.interpolation,
                    self.behaviour.careful,
                ],
            ),
            ("transmission.surfaces", vec![self.transmission.surfaces]),
        ];
        for (what, values) in fractions {
            if let Some(value) = values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
                return Err(Error::invalid(what, value, "numbers from 0 to 1"));
            }
        }
        let course = &self.course;
        let positive = [
            ("course.incubation_shape", course.incubation_shape),
            ("course.incubation_scale", course.incubation_scale),
            ("course.recovery_age_years", course.recovery_age_years),
            ("course.infectiousness_norm", course.infectiousness_norm),
            ("severity.to_hospital", self.severity.to_hospital),
            ("severity.in_hospital", self.severity.in_hospital),
            ("severity.to_critical", self.severity.to_critical),
            ("severity.in_critical", self.severity.in_critical),
            ("severity.to_death", self.severity.to_death),
        ];
        let positive =
            positive.into_iter().chain(self.transmission.contacts_a_day.iter().map(|value| ("transmission.contacts_a_day", *value)));
        for (what, value) in positive {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::invalid(what, value, "a finite number > 0"));
            }
        }
        let from_zero =
            [("transmission.contagion", self.transmission.contagion), ("course.asymptomatic_a_year", course.asymptomatic_a_year)];
        for (what, value) in
            from_zero.into_iter().chain(self.transmission.susceptibility.iter().map(|value| ("transmission.susceptibility", *value)))
        {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::invalid(what, value, "a finite number of 0 and more"));
            }
        }
        if !(course.incubation_shape >= 1.0 && course.incubation_least < 2.0 * course.incubation_shape * course.incubation_scale) {
            return Err(Error::invalid(
                "course.incubation",
                format!("shape {}, at least {}", course.incubation_shape, course.incubation_least),
                "a shape of 1 and more, and a least value below twice the mean",
            ));
        }
        if !(0.0..=1.0).contains(&self.testing.capacity) {
            return Err(Error::invalid("testing.capacity", self.testing.capacity, "a share of the population, 0 to 1"));
        }
        for (what, limits) in [
            ("onset_before", course.onset_before),
            ("peak_before", course.peak_before),
            ("plateau", course.plateau),
            ("recovery", course.recovery),
        ] {
            if !(limits.deviation >= 0.0 && limits.least <= limits.mean && limits.mean <= limits.greatest) {
                return Err(Error::invalid(
                    format!("course.{what}"),
                    format!("{limits:?}"),
                    "a deviation of 0 and more, and a mean within the limits",
                ));
            }
        }
        for (what, [low, high]) in [("peak_height", course.peak_height), ("plateau_height", course.plateau_height)] {
            if !(0.0 <= low && low <= high && high.is_finite()) {
                return Err(Error::invalid(
                    format!("course.{what}"),
                    format!("[{low}, {high}]"),
                    "two numbers of 0 and more, the greater one second",
                ));
            }
        }
        Ok(())
    }
}

impl Parameters {
    /// What cannot be: risks beyond 1, more in hospital than with symptoms, more deaths of a hospital case than hospital cases.
    fn check_risks(&self, name: &str, risks: &Risks) -> Result<()> {
        let key = |field: &str| format!("severity.{name}.{field}");
        for (field, values) in [
            ("hospital", &risks.hospital[..]),
            ("critical", &risks.critical),
            ("death", &risks.death),
            ("critical_death", &[risks.critical_death]),
            ("otherwise", &risks.otherwise),
        ] {
            if let Some(value) = values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
                return Err(Error::invalid(key(field), value, "numbers from 0 to 1"));
            }
        }
        if risks.given == Given::State {
            return Ok(());
        }
        for decade in 0..risks.hospital.len() {
            // The youngest of a decade have symptoms least often.
            let (age, ill) = (10 * decade as u8, 1.0 - crate::disease::asymptomatic(&self.course, 10 * decade as u8));
            if risks.hospital[decade] > ill {
                let allowed = format!("at most {ill} at age {age}, the share of those infected who have symptoms");
                return Err(Error::invalid(key("hospital"), risks.hospital[decade], allowed));
            }
            if risks.death[decade] > risks.hospital[decade] {
                let allowed = format!("at most {} at age {age}, the share who go to hospital", risks.hospital[decade]);
                return Err(Error::invalid(key("death"), risks.death[decade], allowed));
            }
        }
        Ok(())
    }
}

/// Reads TOML, with some of its values changed.
pub(crate) fn read<'a, T: DeserializeOwned>(name: &str, text: &str, changes: impl IntoIterator<Item = &'a toml::Table>) -> Result<T> {
    let damaged = |error: &dyn std::fmt::Display| Error::damaged(name, error.to_string());
    let mut changes = changes.into_iter().peekable();
    if changes.peek().is_none() {
        return toml::from_str(text).map_err(|error| damaged(&error));
    }
    let mut table: toml::Table = toml::from_str(text).map_err(|error| damaged(&error))?;
    changes.try_for_each(|changes| merge(&mut table, changes, ""))?;
    T::deserialize(table).map_err(|error| damaged(&error))
}

fn merge(into: &mut toml::Table, changes: &toml::Table, path: &str) -> Result<()> {
    for (key, value) in changes {
        let here = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let allowed: Vec<String> = into.keys().cloned().collect();
        match (into.get_mut(key), value) {
            (Some(toml::Value::Table(into)), toml::Value::Table(changes)) => merge(into, changes, &here)?,
            (Some(toml::Value::Float(into)), toml::Value::Integer(number)) => *into = *number as f64,
            (Some(into), _) if into.same_type(value) => *into = value.clone(),
            (Some(into), _) => return Err(Error::invalid(here, value, format!("a value like {into}"))),
            (None, _) => return Err(Error::invalid(format!("parameter `{here}`"), value, allowed.join(", "))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_changed_and_checked() {
        let covid = Parameters::covid().unwrap();
        assert_eq!(covid.transmission.contagion, 25.0);
        let change = |text: &str| Parameters::changed(&toml::from_str(text).unwrap());
        assert_eq!(change("transmission.contagion = 30").unwrap().transmission.contagion, 30.0);
        for (text, told) in [
            ("transmission.contagoin = 30", "transmission.contagoin"),
            ("transmission.contagion = \"high\"", "transmission.contagion"),
            ("transmission.contagion = nan", "transmission.contagion"),
            ("course.incubation_shape = -1.0", "course.incubation_shape"),
            ("phones.drop_out = 1.5", "numbers from 0 to 1"),
            ("severity.verity.hospital = [0.1]", "10"),
            ("severity.set = \"ferguson\"", "ferguson"),
            ("severity.verity.critical_death = 1.5", "severity.verity.critical_death"),
            ("severity.verity.death = [0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0]", "at most 0.000408 at age 0"),
            ("severity.verity.hospital = [0.9, 1, 1, 1, 1, 1, 1, 1, 1, 1]", "at most 0.57 at age 0"),
        ] {
            let message = change(text).unwrap_err().to_string();
            assert!(message.contains(told), "{text}: {message}");
        }
    }

    /// Shares of those infected who go to hospital, to intensive care and die, by age, are those of the sources: Verity et al. 2020
    /// (tables 1 and 3) and Salje et al. 2020 (table S1).
    #[test]
    fn risks_are_those_of_their_sources() {
        const HOSPITAL: [f64; 9] = [0.0408, 0.0408, 1.04, 3.43, 4.25, 8.16, 11.8, 16.6, 18.4];
        const CRITICAL: [f64; 9] = [13.5, 13.5, 9.8, 14.1, 19.8, 25.9, 29.7, 23.5, 4.6];
        const FATALITY: [f64; 9] = [0.00161, 0.00695, 0.0309, 0.0844, 0.161, 0.595, 1.93, 4.28, 7.80];
        let parameters = Parameters::covid().unwrap();
        let (name, risks) = parameters.severity.risks();
        assert_eq!(name, "verity");
        for decade in 0..9 {
            for age in 10 * decade as u8..10 * decade as u8 + 10 {
                let asymptomatic = crate::disease::asymptomatic(&parameters.course, age);
                let Chances { hospital, critical, critical_death, ward_death, otherwise } = risks.chances(asymptomatic, decade);
                let [ill, hospital, critical] = [1.0 - asymptomatic, hospital, critical].map(f64::from);
                let to_hospital = ill * hospital;
                let died = to_hospital * (critical * f64::from(critical_death) + (1.0 - critical) * f64::from(ward_death));
                for (found, percent) in [(to_hospital, HOSPITAL[decade]), (critical, CRITICAL[decade]), (died, FATALITY[decade])] {
                    assert!((100.0 * found - percent).abs() < 1e-4 * percent, "age {age}: {found} and {percent} %");
                }
                assert!(critical_death <= 0.5 && otherwise == 0.0);
            }
        }
    }

    /// Where all who go to hospital die there are no survivors on a ward, nor in intensive care whatever its own share.
    #[test]
    fn all_of_a_risk_can_be_reached() {
        let mut risks = Parameters::covid().unwrap().severity.verity;
        (risks.hospital[4], risks.critical[4], risks.death[4], risks.critical_death) = (0.2, 0.25, 0.2, 0.5);
        let chances = risks.chances(0.0, 4);
        assert_eq!((chances.critical_death, chances.ward_death), (1.0, 1.0));
        (risks.hospital[4], risks.death[4]) = (0.0, 0.0);
        let chances = risks.chances(0.0, 4);
        assert_eq!((chances.hospital, chances.critical_death, chances.ward_death), (0.0, 0.0, 0.0));
    }

    /// Case 8 of the page: the steps of false negatives.
    #[test]
    fn false_negatives_by_days() {
        let testing = Parameters::covid().unwrap().testing;
        for (days, share) in [(0.5, 1.0), (3.5, 0.67), (4.5, 0.38), (7.0, 0.20), (8.5, 0.21), (30.0, 0.66)] {
            assert_eq!(testing.false_negative(days), share);
        }
    }
}
