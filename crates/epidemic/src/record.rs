//! What a simulation gives: a row a day, a line for each infection, and what follows from these for each hour.

use serde::{Deserialize, Serialize};

use crate::disease::Infection;

/// A day.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Day {
    /// From 0.
    pub day: u32,
    /// People who can be infected, at the end of the day, as all counts of people.
    pub susceptible: u32,
    /// Infected but not infectious yet.
    pub exposed: u32,
    /// Infectious.
    pub infectious: u32,
    /// Recovered.
    pub recovered: u32,
    /// Dead.
    pub dead: u32,
    /// Infected today.
    pub new_infections: u32,
    /// With symptoms of COVID-19 today.
    pub symptomatic: u32,
    /// In hospital today.
    pub in_hospital: u32,
    /// In intensive care today.
    pub critical: u32,
    /// Tests made today.
    pub tests: u32,
    /// Positive results that came today.
    pub positive: u32,
    /// In quarantine today: by a test, the household or the app.
    pub quarantined: u32,
    /// Of these, who is not infected.
    pub falsely_quarantined: u32,
    /// People at each level of behaviour today: before the epidemic, recommendations 0 to 3.
    pub levels: [u32; 5],
    /// Contacts today that were near and long enough to pass something on, of both ends; none where not all were counted.
    pub contacts: Option<u64>,
    /// Pairs of phones that noted each other today.
    pub noted: u64,
    /// Of the new infections, those that came from outside.
    #[serde(default)]
    pub imported: u32,
    /// People who have had a dose of a vaccine.
    #[serde(default)]
    pub vaccinated: u32,
}

impl Day {
    /// Everyone, whatever the state.
    pub fn people(&self) -> u32 {
        self.susceptible + self.exposed + self.infectious + self.recovered + self.dead
    }
}

/// An hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hour {
    /// From 0: 24 a day.
    pub hour: u32,
    /// People who can be infected, at the end of the hour, as all counts of people.
    pub susceptible: u32,
    /// Infected but not infectious yet.
    pub exposed: u32,
    /// Infectious.
    pub infectious: u32,
    /// Recovered.
    pub recovered: u32,
    /// Dead.
    pub dead: u32,
    /// Infected in this hour; those who were infected at the beginning are not counted.
    pub new_infections: u32,
}

/// The hours of so many days, by the times at which infections began, became infectious and ended. (A [`Day`] counts as recovered or
/// dead who is so when it begins.)
pub fn hours(infections: &[Infection], people: u32, days: u32) -> Vec<Hour> {
    let count = days as usize * 24;
    // How many begin to be exposed, infectious, recovered, dead in each hour.
    let mut begin = vec![[0_u32; 4]; count];
    let mut note = |state: usize, at: f32| {
        // Before the simulation is at its beginning; never is later than its end.
        let hour = (f64::from(at) * 24.0).max(0.0);
        if hour < count as f64 {
            begin[hour as usize][state] += 1;
        }
    };
    for infection in infections {
        note(0, infection.at);
        note(1, infection.at + infection.onset);
        if infection.death.is_finite() {
            note(3, infection.at + infection.death);
        } else {
            note(2, infection.at + infection.recovery);
        }
    }
    let first = infections.iter().filter(|infection| infection.at <= 0.0).count() as u32;
    let mut sum = [0; 4];
    let rows = begin.into_iter().enumerate().map(|(hour, begin)| {
        sum.iter_mut().zip(begin).for_each(|(sum, begin)| *sum += begin);
        let [infected, onsets, recovered, dead] = sum;
        Hour {
            hour: hour as u32,
            susceptible: people - infected,
            exposed: infected - onsets,
            infectious: onsets - recovered - dead,
            recovered,
            dead,
            new_infections: begin[0] - if hour == 0 { first } else { 0 },
        }
    });
    rows.collect()
}
