//! What a simulation gives: a row a day, and a line for each infection.

use serde::{Deserialize, Serialize};

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
