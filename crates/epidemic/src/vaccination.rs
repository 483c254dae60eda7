//! Who has had a vaccine, and what it protects from.

use serde::{Deserialize, Serialize};

use crate::{
    interventions::Vaccination,
    population::Population,
    random::{Purpose, Random},
};

/// What a vaccine changes of an infection that happens all the same: shares from 0 to 1 of what is less.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Protection {
    /// Of symptoms.
    pub symptoms: f32,
    /// Of hospital cases among those with symptoms.
    pub hospital: f32,
    /// Of infectiousness.
    pub transmission: f32,
}

/// Everyone's doses.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Doses {
    /// Of each person; empty as long as nobody has one.
    of: Vec<Option<Dose>>,
    vaccines: Vec<Vaccination>,
    /// How many people have one.
    pub(crate) count: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Dose {
    day: u16,
    vaccine: u16,
}

/// Who comes when in a vaccination: those who are willing, in their order.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    people: Vec<u32>,
    next: usize,
}

impl Queue {
    /// `number` tells one vaccination from another.
    pub(crate) fn new(vaccination: &Vaccination, number: u32, population: &Population, random: Random) -> Self {
        let [youngest, oldest] = vaccination.ages;
        let mut people: Vec<(u8, u32, u32)> = population
            .people
            .iter()
            .enumerate()
            .filter(|(_, person)| (youngest..=oldest).contains(&person.age))
            .map(|(who, person)| {
                let rank = if vaccination.oldest_first { u8::MAX - person.age } else { 0 };
                (rank, random.at(Purpose::Vaccine, who as u32, number, 0)[0], who as u32)
            })
            .collect();
        // Who is willing is drawn by lot, whatever the order.
        people.sort_unstable_by_key(|(_, lot, who)| (*lot, *who));
        people.truncate((people.len() as f64 * vaccination.coverage).round() as usize);
        people.sort_unstable();
        Self { people: people.into_iter().map(|(_, _, who)| who).collect(), next: 0 }
    }
}

impl Doses {
    /// Gives so many doses to those who come next and are alive; who has had one gets no other.
    pub(crate) fn give(
        &mut self,
        vaccination: &Vaccination,
        queue: &mut Queue,
        count: u64,
        day: u32,
        alive: impl Fn(u32) -> bool,
        people: usize,
    ) {
        let vaccine = self.vaccines.iter().position(|known| known == vaccination).unwrap_or_else(|| {
            self.vaccines.push(vaccination.clone());
            self.vaccines.len() - 1
        }) as u16;
        self.of.resize(people, None);
        let mut left = count;
        while left > 0 && queue.next < queue.people.len() {
            let who = queue.people[queue.next];
            queue.next += 1;
            let dose = &mut self.of[who as usize];
            if dose.is_none() && alive(who) {
                *dose = Some(Dose { day: day as u16, vaccine });
                self.count += 1;
                left -= 1;
            }
        }
    }

    /// Whether they are of so many people.
    pub(crate) fn fit(&self, people: usize) -> bool {
        let known = |dose: &Dose| usize::from(dose.vaccine) < self.vaccines.len();
        (self.of.is_empty() || self.of.len() == people) && self.of.iter().flatten().all(known)
    }

    /// The vaccine that protects a person at a time.
    fn of(&self, person: u32, at: f32) -> Option<&Vaccination> {
        let dose = (*self.of.get(person as usize)?)?;
        let vaccine = &self.vaccines[usize::from(dose.vaccine)];
        (at >= f32::from(dose.day) + vaccine.delay as f32).then_some(vaccine)
    }

    /// What is left of a person's susceptibility.
    #[inline]
    pub(crate) fn susceptibility(&self, person: u32, at: f32) -> f32 {
        if self.of.is_empty() { 1.0 } else { self.of(person, at).map_or(1.0, |vaccine| 1.0 - vaccine.against_infection as f32) }
    }

    /// What an infection at this time is spared.
    pub(crate) fn protection(&self, person: u32, at: f32) -> Protection {
        self.of(person, at).map_or_else(Protection::default, |vaccine| Protection {
            symptoms: vaccine.against_symptoms as f32,
            hospital: vaccine.against_hospital as f32,
            transmission: vaccine.against_transmission as f32,
        })
    }
}
