//! Other illnesses, and how careful everyone is.

use rayon::prelude::*;

use super::{Illness, PEOPLE, Simulation, State};
use crate::{
    behaviour::QUARANTINE,
    contacts::{ABSENT, STAYS, Status},
    interventions::Period,
    parameters::Parameters,
    phones::NONE,
    population::Population,
    random::{Purpose, Random, mix, seed, uniform},
    record::Day,
    symptoms::{self, Constitution, Symptoms},
};

impl Simulation {
    /// Other illnesses, and how careful everyone is today.
    pub(super) fn behave(&mut self, day: u32, started: bool, row: &mut Day) {
        let Self { periods, period, population, random, cells, symptoms, state, .. } = self;
        let Period { parameters, level, .. } = &periods[*period];
        let State { illnesses, quarantine, household_quarantine, phones, tests, level: least, .. } = state;
        let least = (*least).max(*level);
        let (population, random, phones, tests) = (&**population, *random, &*phones, &*tests);
        let recommended = |person: u32| -> u8 {
            let phone = phones.of[person as usize];
            let ignores = tests.records[person as usize].positive;
            if phone == NONE || ignores { 0 } else { phones.recommendations[phone as usize] }
        };
        let any_app = !phones.people.is_empty();
        let key = random.key(Purpose::Day, day);
        let shares = parameters.behaviour.household && any_app;
        let people = cells.par_chunks_mut(PEOPLE).zip(symptoms.par_chunks_mut(PEOPLE)).zip(illnesses.par_chunks_mut(PEOPLE)).enumerate();
        let counted: Vec<([u32; 5], u32, u32)> = people
            .map(|(chunk, ((cells, symptoms), illnesses))| {
                let (mut levels, mut quarantined, mut falsely) = ([0; 5], 0, 0);
                for (place, cell) in cells.iter_mut().enumerate() {
                    let person = (chunk * PEOPLE + place) as u32;
                    let seed = seed(key, person);
                    let words = [seed as u32, (seed >> 32) as u32, mix(seed) as u32];
                    let illness = &mut illnesses[place];
                    if illness.kind != 0 || starts_illness(words[0], population, person, parameters, illness) {
                        symptoms[place] |= other_symptoms(illness, population, person, day, random);
                    }
                    if cell.mode & ABSENT != 0 {
                        continue;
                    }
                    if symptoms[place] != 0 && uniform(words[1]) >= goes_out(symptoms[place], parameters) {
                        cell.mode |= STAYS;
                    }
                    if !started {
                        levels[0] += 1;
                        continue;
                    }
                    let household = population.household[person as usize];
                    let level = if day < quarantine[person as usize] {
                        if uniform(words[2]) < parameters.testing.drop_out { 0 } else { QUARANTINE }
                    } else if day < household_quarantine[household as usize] {
                        if uniform(words[2]) < parameters.testing.household_drop_out { 0 } else { QUARANTINE }
                    } else if any_app {
                        let own = recommended(person);
                        let together =
                            if shares { population.residents(household).map(recommended).max().unwrap_or(0).max(own) } else { own };
                        let follows = phones.of[person as usize] != NONE || together > 0;
                        if follows && uniform(words[2]) < parameters.phones.drop_out { 0 } else { (together + 1).max(least) }
                    } else {
                        least
                    };
                    cell.mode |= level;
                    levels[usize::from(level)] += 1;
                    if level == QUARANTINE {
                        quarantined += 1;
                        falsely += u32::from(cell.status == Status::Susceptible as u8 || cell.status == Status::Recovered as u8);
                    }
                }
                (levels, quarantined, falsely)
            })
            .collect();
        for (levels, quarantined, falsely) in counted {
            row.levels.iter_mut().zip(levels).for_each(|(all, level)| *all += level);
            row.quarantined += quarantined;
            row.falsely_quarantined += falsely;
        }
        self.watch_children();
    }

    /// A child in quarantine keeps an adult at home.
    pub(super) fn watch_children(&mut self) {
        let Self { population, cells, .. } = self;
        let population = &**population;
        for person in 0..cells.len() {
            if cells[person].mode & 7 == QUARANTINE && population.people[person].age <= ALONE_FROM && cells[person].mode & ABSENT == 0 {
                let residents = population.residents(population.household[person]);
                let adult =
                    |number: &u32| population.people[*number as usize].age > ALONE_FROM && cells[*number as usize].mode & ABSENT == 0;
                let at_home = |number: u32| cells[number as usize].mode & 7 == QUARANTINE || cells[number as usize].mode & STAYS != 0;
                let mut adults = residents.filter(adult);
                let first = adults.next();
                if let Some(first) = first.filter(|first| !at_home(*first) && !adults.any(at_home)) {
                    cells[first as usize].mode |= STAYS;
                }
            }
        }
    }
}

/// Up to this age a child does not stay at home alone.
const ALONE_FROM: u8 = 14;

fn starts_illness(word: u32, population: &Population, person: u32, parameters: &Parameters, illness: &mut Illness) -> bool {
    let of = &parameters.illness;
    let mut left = uniform(word);
    // Nearly always, and then nobody need be looked at.
    if left > of.cold + of.flu + of.allergy + 1e-6 {
        return false;
    }
    let allergy = if population.people[person as usize].allergic { of.allergy } else { 0.0 };
    for (kind, p, days) in [(1, of.cold, of.cold_days), (2, of.flu, of.flu_days), (3, allergy, 1.0)] {
        if left < p {
            *illness = Illness { kind, elapsed: 0, length: days.clamp(1.0, 200.0) as u8 };
            return true;
        }
        left -= p;
    }
    false
}

fn other_symptoms(illness: &mut Illness, population: &Population, person: u32, day: u32, random: Random) -> Symptoms {
    let body = &population.people[person as usize];
    let body = Constitution {
        age: body.age,
        severe: body.severe,
        extreme: body.extreme,
        conditions: body.conditions.count_ones(),
        lungs: false,
        carefulness: body.carefulness,
    };
    // The same symptoms all along: those of the first day of the illness.
    let mut draws = random.draws(Purpose::Symptoms, person, day - u32::from(illness.elapsed) + 1);
    let last = illness.elapsed + 1 == illness.length;
    let symptoms = match illness.kind {
        1 => symptoms::cold(body, last, &mut draws),
        2 => symptoms::flu(
            body,
            if illness.elapsed == 0 {
                0
            } else if last {
                2
            } else {
                1
            },
            &mut draws,
        ),
        _ => symptoms::allergy(&mut draws),
    };
    illness.elapsed += 1;
    if illness.elapsed >= illness.length {
        *illness = Illness::default();
    }
    symptoms
}

fn goes_out(all: Symptoms, parameters: &Parameters) -> f32 {
    let of = &parameters.illness;
    if all & (symptoms::SEVERE | symptoms::EXTREMELY_SEVERE | symptoms::BREATHING) != 0 {
        of.out_severe
    } else if all & (symptoms::MODERATE | symptoms::FEVER) != 0 {
        of.out_moderate
    } else if all & (symptoms::COUGH | symptoms::FATIGUE | symptoms::GASTRO | symptoms::ACHES | symptoms::MILD) != 0 {
        of.out_mild
    } else {
        1.0
    }
}
