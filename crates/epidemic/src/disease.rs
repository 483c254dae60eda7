//! The course of an infection: when a person becomes infectious, ill, well.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    parameters::{Course as CourseParameters, Severity, Truncated},
    population::{Condition, Person},
    random::{Draws, Purpose, Random},
    symptoms::{self, COUGH, Constitution, EXTREMELY_SEVERE, MODERATE, SEVERE, Symptoms},
    vaccination::Protection,
};

/// An infection. Days from 0 are days of the simulation, with parts of a day; other days are from the infection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Infection {
    /// Who is infected.
    pub person: u32,
    /// By whom; none from outside or from a surface.
    pub by: Option<u32>,
    /// Where.
    pub place: Setting,
    /// When, in days from 0.
    pub at: f32,
    /// When infectiousness begins, in days from the infection, as all that follow.
    pub onset: f32,
    /// When it is greatest.
    pub peak: f32,
    /// When symptoms begin.
    pub incubation: f32,
    /// When the plateau begins.
    pub plateau_start: f32,
    /// When it ends.
    pub plateau_end: f32,
    /// When the person has recovered.
    pub recovery: f32,
    /// Viral load at the peak.
    pub peak_height: f32,
    /// Viral load on the plateau.
    pub plateau_height: f32,
    /// Has no symptoms.
    pub asymptomatic: bool,
    /// What the viral load is multiplied by for the infectiousness on a day without cough.
    pub factor: f32,
    /// What it is multiplied by besides on a day with cough.
    pub cough_factor: f32,
    /// Symptoms of the five phases, and when each phase ends, in days from the infection.
    pub symptoms: [Symptoms; 5],
    /// When each phase ends.
    pub phase_ends: [f32; 5],
    /// When the person goes to hospital and leaves it; never is infinity.
    pub hospital: [f32; 2],
    /// When intensive care begins and ends.
    pub critical: [f32; 2],
    /// When the person dies.
    pub death: f32,
}

/// Where an infection happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Setting {
    /// Before the simulation, or elsewhere than among its people.
    Outside,
    /// At home.
    Home,
    /// In a residence for seniors.
    Residence,
    /// At work.
    Work,
    /// At school.
    School,
    /// In hospital, at work.
    Hospital,
    /// In a shop.
    Store,
    /// In another place that people go to.
    Venue,
    /// In a park.
    Park,
    /// From a surface.
    Surface,
}

impl Setting {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Outside,
        Self::Home,
        Self::Residence,
        Self::Work,
        Self::School,
        Self::Hospital,
        Self::Store,
        Self::Venue,
        Self::Park,
        Self::Surface,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        ["outside", "home", "residence", "work", "school", "hospital", "store", "venue", "park", "surface"][self as usize]
    }
}

/// A person's probability to have no symptoms: `p = base − per_year·(age − 50)`.
pub fn asymptomatic(parameters: &CourseParameters, age: u8) -> f32 {
    (parameters.asymptomatic - parameters.asymptomatic_a_year * (f32::from(age) - 50.0)).clamp(0.0, 1.0)
}

impl Infection {
    /// Draws the course that the infection of a person takes, with what a vaccine spares.
    #[allow(clippy::too_many_arguments, reason = "who, by whom, where and when, and the rules")]
    pub fn new(
        person: &Person,
        number: u32,
        by: Option<u32>,
        place: Setting,
        at: f32,
        random: Random,
        course: &CourseParameters,
        severity: &Severity,
        protection: Protection,
    ) -> Self {
        let mut draws = random.draws(Purpose::Course, number, 0);
        let incubation = again(&mut draws, |draws| draws.gamma(course.incubation_shape) * course.incubation_scale, course.incubation_least);
        let scale = incubation / course.incubation_shape;
        // Half the incubation at most, where parameters leave nothing else.
        let before =
            again(&mut draws, |draws| scale * truncated(draws, course.onset_before), course.onset_before_least).min(incubation / 2.0);
        let onset = incubation - before;
        let peak = (incubation - truncated(&mut draws, course.peak_before)).max(onset + 0.5);
        // As long after the beginning of symptoms as the peak was before it; never before the peak itself.
        let plateau_start = (2.0 * incubation - peak).max(peak + 1e-3);
        let plateau_end = plateau_start + truncated(&mut draws, course.plateau);
        let recovery = plateau_end + truncated(&mut draws, course.recovery) + f32::from(person.age) / course.recovery_age_years;
        let between = |draws: &mut Draws, [low, high]: [f32; 2]| low + (high - low) * draws.uniform();
        let peak_height = between(&mut draws, course.peak_height);
        let plateau_height = peak_height * between(&mut draws, course.plateau_height);
        let asymptomatic = asymptomatic(course, person.age);
        let without_symptoms = draws.chance(asymptomatic + (1.0 - asymptomatic) * protection.symptoms);
        let dose = draws.uniform();
        let body = Constitution {
            age: person.age,
            severe: person.severe,
            extreme: person.extreme,
            conditions: person.conditions.count_ones(),
            lungs: person.has(Condition::Smoker) || person.has(Condition::LungDisease),
            carefulness: person.carefulness,
        };
        let symptoms = if without_symptoms { [0; 5] } else { symptoms::covid(body, dose, &mut random.draws(Purpose::Symptoms, number, 0)) };
        let plateau = (plateau_end - plateau_start).ceil();
        let (first, falling) = ((plateau_start - incubation).ceil() + (plateau / 3.0).floor(), (recovery - plateau_end).ceil());
        let durations = [incubation.ceil(), first, (plateau * 2.0 / 3.0).ceil(), (falling / 2.0).floor(), (falling / 2.0).ceil()];
        let mut end = 0.0;
        let phase_ends = durations.map(|days| {
            end += days;
            end
        });
        let ratio = if without_symptoms {
            course.infectiousness_asymptomatic
        } else if symptoms.iter().any(|symptoms| symptoms & (MODERATE | SEVERE | EXTREMELY_SEVERE) != 0) {
            1.0
        } else {
            course.infectiousness_mild
        };
        let weak = if person.has(Condition::ImmuneSuppressed) { 1.0 + course.infectiousness_immune } else { 1.0 };
        let mut infection = Self {
            person: number,
            by,
            place,
            at,
            onset,
            peak,
            incubation,
            plateau_start,
            plateau_end,
            recovery,
            peak_height,
            plateau_height,
            asymptomatic: without_symptoms,
            factor: ratio * weak / course.infectiousness_norm * (1.0 - protection.transmission),
            cough_factor: (weak + course.infectiousness_cough) / weak,
            symptoms,
            phase_ends,
            hospital: [f32::INFINITY; 2],
            critical: [f32::INFINITY; 2],
            death: f32::INFINITY,
        };
        infection.draw_hospital(person.decade(), asymptomatic, severity, 1.0 - protection.hospital, &mut draws);
        infection
    }

    /// Whether it is a hospital case, with a probability that is multiplied by `share`, how that goes on, and whether the person dies.
    /// Who dies on a ward does so at the end of the stay.
    fn draw_hospital(&mut self, decade: usize, asymptomatic: f32, severity: &Severity, share: f32, draws: &mut Draws) {
        let chances = severity.risks().1.chances(asymptomatic, decade);
        if !self.asymptomatic && draws.chance(chances.hospital * share) {
            let from = self.incubation + draws.exponential(severity.to_hospital);
            self.hospital = [from, from + draws.exponential(severity.in_hospital)];
            if draws.chance(chances.critical) {
                let critical = from + draws.exponential(severity.to_critical);
                self.critical = [critical, critical + draws.exponential(severity.in_critical)];
                self.hospital[1] = self.hospital[1].max(self.critical[1]);
                if draws.chance(chances.critical_death) {
                    self.death = critical + draws.exponential(severity.to_death);
                    self.critical[1] = self.death;
                    self.hospital[1] = self.death;
                }
            } else if draws.chance(chances.ward_death) {
                self.death = self.hospital[1];
            }
            self.recovery = self.recovery.max(self.hospital[1]);
        }
        if self.death.is_infinite() && draws.chance(chances.otherwise * share) {
            self.death = self.recovery;
        }
    }

    /// Viral load so many days after the infection: 0 before the onset and after recovery, linear to the peak, down to the plateau,
    /// flat, and linear to 0.
    #[inline]
    pub fn viral_load(&self, days: f32) -> f32 {
        if days <= self.onset || days >= self.recovery {
            0.0
        } else if days < self.peak {
            self.peak_height * (days - self.onset) / (self.peak - self.onset)
        } else if days < self.plateau_start {
            self.peak_height + (self.plateau_height - self.peak_height) * (days - self.peak) / (self.plateau_start - self.peak)
        } else if days < self.plateau_end {
            self.plateau_height
        } else {
            self.plateau_height * (self.recovery - days) / (self.recovery - self.plateau_end)
        }
    }

    /// Infectiousness on the way, with or without cough on that day.
    #[inline]
    pub fn infectiousness(&self, days: f32, symptoms: Symptoms) -> f32 {
        let cough = if symptoms & COUGH != 0 { self.cough_factor } else { 1.0 };
        self.viral_load(days) * self.factor * cough
    }

    /// Symptoms so many days after the infection.
    pub fn symptoms(&self, days: f32) -> Symptoms {
        let phase = self.phase_ends.iter().position(|end| days < *end);
        phase.map_or(0, |phase| self.symptoms[phase])
    }
}

fn truncated(draws: &mut Draws, limits: Truncated) -> f32 {
    for _ in 0..64 {
        let value = limits.mean + limits.deviation * draws.normal();
        if (limits.least..=limits.greatest).contains(&value) {
            return value;
        }
    }
    limits.mean
}

/// Draws until it is at least so much; never without an end.
fn again(draws: &mut Draws, mut draw: impl FnMut(&mut Draws) -> f32, least: f32) -> f32 {
    (0..256).map(|_| draw(draws)).find(|value| *value >= least).unwrap_or(least)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Parameters;

    fn person(age: u8) -> Person {
        Person { age, carefulness: 0.45, ..Person::default() }
    }

    fn draw(number: u32, age: u8, parameters: &Parameters) -> Infection {
        let Parameters { course, severity, .. } = parameters;
        Infection::new(&person(age), number, None, Setting::Home, 0.0, Random(9), course, severity, Protection::default())
    }

    /// Case 2 of the page.
    #[test]
    fn viral_load_along_the_way() {
        let parameters = Parameters::covid().unwrap();
        let infection = Infection {
            onset: 3.2,
            incubation: 5.5,
            peak: 4.8,
            plateau_start: 6.2,
            plateau_end: 10.7,
            recovery: 18.9,
            peak_height: 0.8,
            plateau_height: 0.48,
            ..draw(0, 40, &parameters)
        };
        for (days, expected) in [(3.2, 0.0), (4.0, 0.4), (5.5, 0.64), (8.0, 0.48), (14.8, 0.24), (18.9, 0.0)] {
            assert!((infection.viral_load(days) - expected).abs() < 1e-5, "{days}: {}", infection.viral_load(days));
        }
    }

    /// Case 5 of the page, and the mean of the incubation: 5.505 days, and 5.56 when what is below 2 is drawn again.
    #[test]
    fn shares_and_moments() {
        let mut parameters = Parameters::covid().unwrap();
        for (age, share) in [(20, 0.33), (50, 0.18), (70, 0.08), (86, 0.0), (99, 0.0)] {
            assert!((asymptomatic(&parameters.course, age) - share).abs() < 1e-6);
        }
        let mean =
            |parameters: &Parameters| (0..20_000).map(|number| f64::from(draw(number, 50, parameters).incubation)).sum::<f64>() / 20_000.0;
        let cut = mean(&parameters);
        parameters.course.incubation_least = 0.0;
        let whole = mean(&parameters);
        assert!((whole - 5.505).abs() < 0.05, "{whole}");
        assert!(cut > whole && cut < whole + 0.15, "{cut} {whole}");
    }

    #[test]
    fn days_come_in_order() {
        let parameters = Parameters::covid().unwrap();
        for number in 0..5_000 {
            let infection = draw(number, (number % 100) as u8, &parameters);
            let Infection { onset, peak, incubation, plateau_start, plateau_end, recovery, .. } = infection;
            assert!(
                0.0 < onset
                    && onset < incubation
                    && onset < peak
                    && peak < plateau_start
                    && plateau_start < plateau_end
                    && plateau_end < recovery,
                "{infection:?}"
            );
            assert!(infection.hospital[0] >= incubation && infection.hospital[1] >= infection.hospital[0]);
            assert!(infection.critical[0] >= infection.hospital[0]);
            assert!(infection.death.is_infinite() || infection.death <= recovery && infection.death > incubation);
        }
    }

    /// Of many who are infected, as many go to hospital, to intensive care and die as the sources say; the authors' set has fatalities of
    /// its own.
    #[test]
    fn severe_courses_are_as_frequent_as_their_sources_say() {
        use statrs::distribution::{Binomial, DiscreteCDF};
        let parameters = Parameters::covid().unwrap();
        let authors = Parameters::changed(&toml::toml! { severity.set = "authors" }).unwrap();
        let risks = &parameters.severity.verity;
        let n: u64 = 40_000;
        for age in [25_u8, 45, 65, 85] {
            let decade = usize::from(age / 10);
            let count = |parameters: &Parameters| {
                let mut counts = [0_u64; 3];
                for number in 0..n as u32 {
                    let infection = draw(number, age, parameters);
                    let had = [infection.hospital[0], infection.critical[0], infection.death].map(f32::is_finite);
                    counts.iter_mut().zip(had).for_each(|(count, had)| *count += u64::from(had));
                }
                counts
            };
            let [hospital, critical, deaths] = count(&parameters);
            for (count, of, share) in
                [(hospital, n, risks.hospital[decade]), (critical, hospital, risks.critical[decade]), (deaths, n, risks.death[decade])]
            {
                let binomial = Binomial::new(f64::from(share), of).unwrap();
                let (low, high) = (binomial.inverse_cdf(5e-6), binomial.inverse_cdf(1.0 - 5e-6));
                assert!((low..=high).contains(&count), "age {age}: {count} of {of}, not {share}");
            }
            let of_state = authors.severity.authors.chances(asymptomatic(&authors.course, age), decade);
            let ill = 1.0 - asymptomatic(&authors.course, age);
            let in_hospital = ill * of_state.hospital * of_state.critical * of_state.critical_death;
            let binomial = Binomial::new(f64::from(in_hospital + (1.0 - in_hospital) * of_state.otherwise), n).unwrap();
            let [_, _, deaths] = count(&authors);
            let (low, high) = (binomial.inverse_cdf(5e-6), binomial.inverse_cdf(1.0 - 5e-6));
            assert!((low..=high).contains(&deaths), "age {age}: {deaths} of {n}");
        }
    }
}
