//! The course of infections, vaccination, tests, and warnings from phone to phone.

use rayon::prelude::*;

use super::{PEOPLE, Simulation, State, transmission::Met, whole_part};
use crate::{
    behaviour::QUARANTINE,
    contacts::{ABSENT, Status},
    phones::NONE,
    record::Day,
    testing::Candidate,
    tracing::Needs,
    vaccination::Queue,
};

impl Simulation {
    /// The doses of today.
    pub(super) fn vaccinate(&mut self, day: u32, row: &mut Day) {
        let Self { config, population, random, queues, state, .. } = self;
        let State { doses, statuses, .. } = state;
        let n = population.len();
        for (number, intervention) in config.interventions.iter().enumerate().filter(|(_, intervention)| intervention.in_force(day)) {
            let Some(vaccination) = &intervention.vaccination else { continue };
            let queue = queues[number].get_or_insert_with(|| Queue::new(vaccination, number as u32, population, *random));
            let count = whole_part(n as f64 * vaccination.a_day, day - intervention.from);
            doses.give(vaccination, queue, count, day, |person| statuses[person as usize] != Status::Dead as u8, n);
        }
        row.vaccinated = doses.count;
    }

    /// Advances every infection to this day: who is infectious, in hospital, recovered or dead.
    pub(super) fn progress(&mut self, day: u32, row: &mut Day) {
        let now = day as f32;
        self.cells.par_iter_mut().for_each(|cell| cell.mode = 0);
        self.symptoms.par_iter_mut().for_each(|symptoms| *symptoms = 0);
        let State { infections, active, statuses, .. } = &mut self.state;
        active.retain(|&number| {
            let infection = &infections[number as usize];
            let (person, days) = (infection.person as usize, now - infection.at);
            if days >= infection.death {
                statuses[person] = Status::Dead as u8;
                return false;
            }
            if days >= infection.recovery {
                statuses[person] = Status::Recovered as u8;
                return false;
            }
            // Infectious at some time of this day.
            if days + 1.0 > infection.onset {
                statuses[person] = Status::Infectious as u8;
            }
            let symptoms = infection.symptoms(days.max(0.0));
            self.symptoms[person] = symptoms;
            row.symptomatic += u32::from(symptoms != 0);
            let within = |[from, until]: [f32; 2]| days >= from && days < until;
            if within(infection.hospital) {
                row.in_hospital += 1;
                row.critical += u32::from(within(infection.critical));
                self.cells[person].mode = ABSENT;
            }
            true
        });
        let Self { cells, state, .. } = self;
        cells.par_iter_mut().zip(&state.statuses).for_each(|(cell, status)| {
            cell.status = *status;
            if *status == Status::Dead as u8 {
                cell.mode = ABSENT;
            }
        });
    }

    pub(super) fn test(&mut self, day: u32, started: bool, row: &mut Day) {
        let testing = self.now().parameters.testing.clone();
        // Results first: they change who stays at home from tomorrow on.
        for result in self.state.tests.results(day, &testing, self.random) {
            row.positive += u32::from(result.positive);
            let (person, household) = (result.person as usize, self.population.household[result.person as usize] as usize);
            if result.positive {
                self.state.quarantine[person] = day + 1 + testing.quarantine_days as u32;
                let until = day + 1 + testing.household_days as u32;
                self.state.household_quarantine[household] = self.state.household_quarantine[household].max(until);
            } else {
                self.state.quarantine[person] = self.state.quarantine[person].min(day + 1);
            }
            if result.reported {
                self.state.phones.report(result.person, day, result.positive);
            }
        }
        let this = &*self;
        let state = &this.state;
        let candidates: Vec<Candidate> = (0..this.population.len().div_ceil(PEOPLE))
            .into_par_iter()
            .flat_map_iter(|chunk| {
                (chunk * PEOPLE..((chunk + 1) * PEOPLE).min(this.population.len())).filter_map(|person| {
                    let cell = this.cells[person];
                    if cell.status == Status::Dead as u8 {
                        return None;
                    }
                    let phone = state.phones.of[person];
                    let recommended =
                        started && phone != NONE && state.phones.recommendations[phone as usize] == 3 && cell.mode & 7 == QUARANTINE;
                    let hospital = cell.mode & ABSENT != 0;
                    state.tests.candidate(person as u32, day, this.symptoms[person], hospital, recommended, &testing, this.random)
                })
            })
            .collect();
        let State { tests, infections, infection_of, statuses, .. } = &mut self.state;
        let exposed = |person: u32| {
            let ill = [Status::Exposed as u8, Status::Infectious as u8].contains(&statuses[person as usize]);
            ill.then(|| day as f32 + 0.5 - infections[infection_of[person as usize] as usize].at)
        };
        let capacity = whole_part(self.population.len() as f64 * testing.capacity, day) as usize;
        let tested = tests.take(candidates, capacity, day, &testing, self.random, exposed);
        row.tests = tested.len() as u32;
        for person in tested {
            let waits = self.state.tests.records[person as usize].waits;
            self.state.quarantine[person as usize] = self.state.quarantine[person as usize].max(waits);
            let household = self.population.household[person as usize] as usize;
            self.state.household_quarantine[household] = self.state.household_quarantine[household].max(waits);
        }
    }

    pub(super) fn trace(&mut self, day: u32, started: bool, met: &mut [Met]) {
        let Some(policy) = self.policy.clone().filter(|policy| started && policy.needs() > Needs::Nothing) else { return };
        let pairs: Vec<Vec<(u32, u32)>> = met.iter_mut().map(|met| std::mem::take(&mut met.pairs)).collect();
        let phones = &mut self.state.phones;
        phones.note(day, &pairs, policy.needs());
        if let Needs::Contacts(steps) = policy.needs() {
            phones.alert(day, steps);
        }
        let state = &mut self.state;
        state.phones.assess(
            day,
            &*policy,
            &self.population,
            &self.symptoms,
            &state.infections,
            &state.infection_of,
            &self.periods[self.period].parameters,
            self.random,
        );
    }
}
