//! The simulation: a day after the other.

use std::sync::Arc;

use lyceum_core::{Error, Result, interrupt};
use rayon::prelude::*;

use crate::{
    behaviour::{LEVELS, QUARANTINE, Reductions},
    colleagues::Colleagues,
    config::{Config, PolicyName},
    contacts::{ABSENT, Cell, Meeting, Mixing, STAYS, Status},
    disease::{Infection, Setting},
    interventions::Period,
    parameters::{Parameters, Transmission},
    phones::{NONE, Phones},
    population::{NOWHERE, Population, key},
    random::{Purpose, Random, below, mix, seed, uniform},
    record::Day,
    region::Region,
    symptoms::{self, Constitution, Symptoms},
    testing::{Candidate, Tests},
    tracing::{Needs, Policy},
    vaccination::{Doses, Queue},
};

/// Everything that changes from day to day.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct State {
    pub(crate) day: u32,
    /// How careful everyone is at least: a level of behaviour.
    level: u8,
    pub(crate) statuses: Vec<u8>,
    /// Of each person, the infection or [`NONE`].
    pub(crate) infection_of: Vec<u32>,
    pub(crate) infections: Vec<Infection>,
    /// Infections that are not over.
    active: Vec<u32>,
    illnesses: Vec<Illness>,
    pub(crate) tests: Tests,
    /// Until which day (without) a person or a household stays at home.
    quarantine: Vec<u32>,
    household_quarantine: Vec<u32>,
    /// When someone infectious was last at a household and at a workplace, and how long that lasts.
    surfaces: Vec<[f32; 2]>,
    pub(crate) phones: Phones,
    doses: Doses,
    pub(crate) days: Vec<Day>,
}

/// Another illness.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Illness {
    /// 0 none, 1 a cold, 2 the flu, 3 an allergy.
    kind: u8,
    elapsed: u8,
    length: u8,
}

/// A simulation. The same configuration gives the same days, whatever the number of threads.
pub struct Simulation {
    config: Config,
    region: Region,
    /// What holds when, and which of it holds now.
    periods: Vec<Period>,
    period: usize,
    population: Arc<Population>,
    mixing: Mixing,
    before: Mixing,
    policy: Option<Arc<dyn Policy>>,
    random: Random,
    cells: Vec<Cell>,
    symptoms: Vec<Symptoms>,
    /// Of each intervention with a vaccine that has begun.
    queues: Vec<Option<Queue>>,
    /// Contacts are not only counted.
    note: bool,
    pub(crate) state: State,
}

/// Chunks of work: small enough to share, large enough to be worth it.
const PEOPLE: usize = 4096;
const HOUSEHOLDS: usize = 1024;
const WORKPLACES: usize = 64;

/// What comes of some of the contacts of a day.
#[derive(Default)]
struct Met {
    infected: Vec<Passed>,
    pairs: Vec<(u32, u32)>,
    contacts: u64,
    noted: Vec<Noted>,
}

/// A contact that was near and long enough to pass something on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noted {
    /// Who began it.
    pub from: u32,
    /// The other one.
    pub to: u32,
    /// Where.
    pub setting: Setting,
    /// When, in days from 0.
    pub at: f32,
    /// How long.
    pub seconds: f32,
}

/// Something that is passed on.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Passed {
    to: u32,
    from: Option<u32>,
    at: f32,
    setting: Setting,
}

impl Simulation {
    /// Draws the population and the first infections.
    pub fn new(config: &Config) -> Result<Self> {
        Self::with_policy(config, config.tracing()?)
    }

    /// The same with a tracing policy of one's own.
    pub fn with_policy(config: &Config, policy: Option<Arc<dyn Policy>>) -> Result<Self> {
        let population = Arc::new(Self::population_of(config)?);
        Self::with_population(config, policy, population)
    }

    /// The people of a configuration. Those with the same [`people_key`](Self::people_key) can share them.
    pub fn population_of(config: &Config) -> Result<Population> {
        let region = config.load()?.0;
        Population::new(&region, &Parameters::changed(&config.parameters)?, config.people, Random(config.seed))
    }

    /// The [`key`] of a configuration's people, without drawing them.
    pub fn people_key(config: &Config) -> Result<u32> {
        Ok(key(&config.load()?.0, &Parameters::changed(&config.parameters)?, config.people, Random(config.seed)))
    }

    /// The same with people that were drawn before; an error if they are not those of the configuration.
    pub fn with_population(config: &Config, policy: Option<Arc<dyn Policy>>, population: Arc<Population>) -> Result<Self> {
        let mut simulation = Self::prepare(config, policy, population)?;
        simulation.infect_first();
        Ok(simulation)
    }

    pub(crate) fn prepare(config: &Config, policy: Option<Arc<dyn Policy>>, population: Arc<Population>) -> Result<Self> {
        let (region, periods) = config.load()?;
        let mine = key(&region, &Parameters::changed(&config.parameters)?, config.people, Random(config.seed));
        if population.key != mine {
            let allowed = "the people of the configuration: its region, number, seed, and parameters that people are drawn from";
            return Err(Error::invalid("people", format!("others (key {:08x}, not {mine:08x})", population.key), allowed));
        }
        let [mixing, before] = mixing_of(&region, &periods[0], config, policy.is_some());
        let n = population.len();
        let uptake = if policy.as_ref().is_some_and(|policy| policy.needs() > Needs::Nothing) { config.uptake } else { 0.0 };
        let phones = Phones::new(&population, uptake);
        let cells = population
            .people
            .iter()
            .enumerate()
            .map(|(number, person)| Cell { group: person.group() as u8, app: u8::from(phones.of[number] != NONE), ..Cell::default() })
            .collect();
        let state = State {
            day: 0,
            level: 1,
            statuses: vec![Status::Susceptible as u8; n],
            infection_of: vec![NONE; n],
            infections: Vec::new(),
            active: Vec::new(),
            illnesses: vec![Illness::default(); n],
            tests: Tests::new(n),
            quarantine: vec![0; n],
            household_quarantine: vec![0; population.residence.len()],
            surfaces: if config.intervention_day > 0 {
                vec![[f32::NEG_INFINITY, 0.0]; population.residence.len() + population.workplaces.len()]
            } else {
                Vec::new()
            },
            phones,
            doses: Doses::default(),
            days: Vec::new(),
        };
        let random = Random(config.seed);
        Ok(Self {
            config: config.clone(),
            region,
            periods,
            period: 0,
            population,
            mixing,
            before,
            policy,
            random,
            cells,
            symptoms: vec![0; n],
            queues: vec![None; config.interventions.len()],
            note: false,
            state,
        })
    }

    /// Goes on from a state that was saved. Under a policy with other phones these begin without a past.
    pub(crate) fn continue_from(&mut self, mut state: State) -> Result<()> {
        let fits = state.statuses.len() == self.population.len()
            && state.infection_of.len() == self.population.len()
            && state.illnesses.len() == self.population.len()
            && state.quarantine.len() == self.population.len()
            && state.household_quarantine.len() == self.population.residence.len()
            && state.tests.records.len() == self.population.len()
            && state.doses.fit(self.population.len());
        if !fits {
            return Err(Error::Failed("the saved state is of other people".into()));
        }
        if state.phones.people != self.state.phones.people {
            state.phones = std::mem::take(&mut self.state.phones);
        }
        if state.surfaces.len() != self.state.surfaces.len() {
            state.surfaces = std::mem::take(&mut self.state.surfaces);
        }
        self.state = state;
        Ok(())
    }

    fn infect_first(&mut self) {
        let n = self.population.len() as u32;
        let share = self.config.initially_infected;
        let count = if share > 0.0 { ((f64::from(n) * share).round() as u32).clamp(1, n) } else { 0 };
        // People in the order of a random number.
        let mut order: Vec<(u32, u32)> = (0..n).map(|person| (self.random.at(Purpose::First, person, 0, 0)[0], person)).collect();
        order.sort_unstable();
        for &(_, person) in &order[..count as usize] {
            self.infect(Passed { to: person, from: None, at: 0.0, setting: Setting::Outside });
        }
    }

    fn infect(&mut self, passed: Passed) {
        let Parameters { course, severity, .. } = &self.now().parameters;
        let person = &self.population.people[passed.to as usize];
        let protection = self.state.doses.protection(passed.to, passed.at);
        let Passed { to, from, at, setting } = passed;
        let infection = Infection::new(person, to, from, setting, at, self.random, course, severity, protection);
        let number = self.state.infections.len() as u32;
        self.state.infection_of[passed.to as usize] = number;
        self.state.statuses[passed.to as usize] = Status::Exposed as u8;
        self.state.active.push(number);
        self.state.infections.push(infection);
    }

    /// What is simulated.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The people.
    pub fn population(&self) -> &Population {
        &self.population
    }

    /// The days so far.
    pub fn days(&self) -> &[Day] {
        &self.state.days
    }

    /// All infections so far, in their order.
    pub fn infections(&self) -> &[Infection] {
        &self.state.infections
    }

    /// Changes how careful everyone is from the next day on, whatever else is recommended: a level of behaviour, 0 as before the epidemic
    /// to 4, quarantine. 1 at first.
    pub fn set_level(&mut self, level: u8) -> Result<()> {
        if usize::from(level) >= LEVELS {
            return Err(Error::invalid("level", level, "0 to 4"));
        }
        self.state.level = level;
        Ok(())
    }

    /// How many people have the app.
    pub fn phones(&self) -> usize {
        self.state.phones.people.len()
    }

    /// Whether all days are over.
    pub fn is_over(&self) -> bool {
        self.state.day >= self.config.days
    }

    /// All days that are left. An error, after a whole day, if somebody asked to stop.
    pub fn run(&mut self) -> Result<&[Day]> {
        while !self.is_over() {
            interrupt::check()?;
            self.step();
        }
        Ok(self.days())
    }

    /// The next day.
    pub fn step(&mut self) -> Day {
        self.step_noting(false).0
    }

    /// The next day and, where all contacts are counted, every contact of it.
    pub fn step_with_contacts(&mut self) -> (Day, Vec<Noted>) {
        self.step_noting(true)
    }

    fn step_noting(&mut self, note: bool) -> (Day, Vec<Noted>) {
        self.note = note;
        let day = self.state.day;
        let started = day >= self.config.intervention_day;
        let mut row = Day { day, ..Day::default() };
        self.arrange(day);
        self.import(day, &mut row);
        self.vaccinate(day, &mut row);
        self.progress(day, &mut row);
        self.behave(day, started, &mut row);
        let mut met = self.meet(day, started);
        row.noted = met.iter().map(|met| met.pairs.len() as u64).sum();
        row.contacts = self.config.count_contacts.then(|| 2 * met.iter().map(|met| met.contacts).sum::<u64>());
        row.new_infections = row.imported + self.commit(&met);
        if self.config.testing {
            self.test(day, started, &mut row);
        }
        self.trace(day, started, &mut met);
        for status in &self.state.statuses {
            match status {
                0 => row.susceptible += 1,
                1 => row.exposed += 1,
                2 => row.infectious += 1,
                3 => row.recovered += 1,
                _ => row.dead += 1,
            }
        }
        self.state.days.push(row);
        self.state.day += 1;
        (row, met.into_iter().flat_map(|met| met.noted).collect())
    }

    /// What holds today.
    #[inline]
    fn now(&self) -> &Period {
        &self.periods[self.period]
    }

    /// Changes what holds today, where it is not what held yesterday.
    fn arrange(&mut self, day: u32) {
        let now = self.periods.iter().rposition(|period| period.from <= day).unwrap_or(0);
        if now != self.period {
            self.period = now;
            [self.mixing, self.before] = mixing_of(&self.region, self.now(), &self.config, self.policy.is_some());
        }
    }

    /// Infections from outside; who cannot be infected does not bring one.
    fn import(&mut self, day: u32, row: &mut Day) {
        for number in 0..whole_part(self.now().imported, day) {
            let [who, when, ..] = self.random.at(Purpose::Import, number as u32, day, 0);
            let to = below(who, self.population.len() as u32);
            if self.state.statuses[to as usize] == Status::Susceptible as u8 {
                self.infect(Passed { to, from: None, at: day as f32 + uniform(when), setting: Setting::Outside });
                row.imported += 1;
            }
        }
    }

    /// The doses of today.
    fn vaccinate(&mut self, day: u32, row: &mut Day) {
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

    /// Infections go on: who is infectious, in hospital, well or dead today.
    fn progress(&mut self, day: u32, row: &mut Day) {
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

    /// Other illnesses, and how careful everyone is today.
    fn behave(&mut self, day: u32, started: bool, row: &mut Day) {
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
    fn watch_children(&mut self) {
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

    /// All contacts that can matter.
    fn meet(&mut self, day: u32, started: bool) -> Vec<Met> {
        let traced = self.policy.as_ref().is_some_and(|policy| policy.needs() > Needs::Nothing) && started;
        let surfaces = if started { Vec::new() } else { std::mem::take(&mut self.state.surfaces) };
        let this = &*self;
        let mixing = if started { &this.mixing } else { &this.before };
        let (population, cells, key) = (&*this.population, &*this.cells, this.random.key(Purpose::Contacts, day));
        let everyone = this.config.count_contacts;
        let infectious = |person: u32| cells[person as usize].status == Status::Infectious as u8;
        // Whether the contacts that this person begins can matter: where someone is infectious, between phones, or because all count.
        let begins = |active: bool, cell: Cell| {
            everyone || active && cell.status != Status::Recovered as u8 && cell.status != Status::Exposed as u8 || traced && cell.app == 1
        };
        let handle = |met: &mut Met, meeting: Meeting| this.handle(met, mixing, meeting, day, traced);
        let homes = population.residence.len();
        let period = this.now();
        let at_home = (0..homes.div_ceil(HOUSEHOLDS)).into_par_iter().map(|chunk| {
            let mut met = Met::default();
            for household in chunk * HOUSEHOLDS..((chunk + 1) * HOUSEHOLDS).min(homes) {
                let residents = population.residents(household as u32);
                let active = residents.clone().any(infectious);
                if active || everyone || traced {
                    for person in residents.clone().filter(|person| begins(active, cells[*person as usize])) {
                        mixing.at_home(population, cells, key, person, |meeting| handle(&mut met, meeting));
                    }
                }
                if let Some(surface) = surfaces.get(household) {
                    this.touch(&mut met, residents, *surface, active, day, household as u32);
                }
            }
            met
        });
        let mut all: Vec<Met> = at_home.collect();
        let places = population.workplaces.len();
        let at_work = (0..places.div_ceil(WORKPLACES)).into_par_iter().map(|chunk| {
            let (mut met, mut here, mut room) = (Met::default(), Vec::new(), Colleagues::default());
            for workplace in chunk * WORKPLACES..((chunk + 1) * WORKPLACES).min(places) {
                let place = &population.workplaces[workplace];
                let staff = &population.staff[place.staff.start as usize..place.staff.end as usize];
                // Monday to Friday; hospitals, shops and the like are always open.
                if day % 7 >= 5 && matches!(place.kind, Setting::Work | Setting::School) || period.closes(place.kind) {
                    continue;
                }
                here.clear();
                here.extend(staff.iter().map(|person| cells[*person as usize]));
                let active = here.iter().any(|cell| cell.status == Status::Infectious as u8 && cell.mode & (ABSENT | STAYS) == 0);
                if active || everyone || traced {
                    let begins = |cell| begins(active, cell);
                    let each = |meeting| handle(&mut met, meeting);
                    mixing.at_work(place.kind, staff, &here, key, &mut room, begins, |from, to| this.matters(from, to, traced), each);
                }
                if let Some(surface) = surfaces.get(homes + workplace) {
                    this.touch(&mut met, staff.iter().copied(), *surface, active, day, (homes + workplace) as u32);
                }
            }
            met
        });
        all.par_extend(at_work);
        let communities: Vec<bool> = population.communities.par_windows(2).map(|bounds| (bounds[0]..bounds[1]).any(infectious)).collect();
        let n = population.len();
        let elsewhere = (0..n.div_ceil(PEOPLE)).into_par_iter().map(|chunk| {
            let mut met = Met::default();
            for person in (chunk * PEOPLE) as u32..((chunk + 1) * PEOPLE).min(n) as u32 {
                if begins(communities[population.community[person as usize] as usize], cells[person as usize]) {
                    mixing.elsewhere(population, cells, key, person, |meeting| handle(&mut met, meeting));
                }
            }
            met
        });
        all.par_extend(elsewhere);
        if !started {
            self.state.surfaces = surfaces;
            self.contaminate(day);
        }
        all
    }

    #[inline(always)]
    fn handle(&self, met: &mut Met, mixing: &Mixing, meeting: Meeting, day: u32, traced: bool) {
        let (from, to) = (self.cells[meeting.from as usize], self.cells[meeting.to as usize]);
        if self.matters(from, to, traced) {
            let (phones, passes) = (traced && from.app & to.app == 1, passes(from, to));
            let infectious = Status::Infectious as u8;
            let source = passes.then_some(if from.status == infectious { (meeting.from, meeting.to) } else { (meeting.to, meeting.from) });
            self.near(met, mixing, meeting, day, phones, source);
        }
    }

    /// Whether anything can come of a contact, or it is counted.
    #[inline(always)]
    fn matters(&self, from: Cell, to: Cell, traced: bool) -> bool {
        traced && from.app & to.app == 1 || passes(from, to) || self.config.count_contacts
    }

    #[inline(never)]
    fn near(&self, met: &mut Met, mixing: &Mixing, meeting: Meeting, day: u32, phones: bool, source: Option<(u32, u32)>) {
        let Some(seconds) = mixing.seconds(&meeting, &self.cells) else { return };
        if self.now().closes(meeting.setting) {
            return;
        }
        met.contacts += 1;
        if self.note {
            met.noted.push(Noted {
                from: meeting.from,
                to: meeting.to,
                setting: meeting.setting,
                at: day as f32 + meeting.time(),
                seconds,
            });
        }
        if phones && mixing.noted(&meeting) {
            met.pairs.push((self.state.phones.of[meeting.from as usize], self.state.phones.of[meeting.to as usize]));
        }
        if let Some((source, to)) = source {
            let infection = &self.state.infections[self.state.infection_of[source as usize] as usize];
            let at = day as f32 + meeting.time();
            let exposure = Exposure {
                days: at - infection.at,
                seconds,
                symptoms: self.symptoms[source as usize],
                setting: meeting.setting,
                decade: self.population.people[to as usize].decade(),
                left: self.state.doses.susceptibility(to, at),
            };
            if meeting.luck() < passes_on(&self.now().parameters.transmission, infection, &exposure) {
                met.infected.push(Passed { to, from: Some(source), at, setting: meeting.setting });
            }
        }
    }

    /// What people catch from surfaces of a place where someone infectious is or was.
    fn touch(&self, met: &mut Met, people: impl Iterator<Item = u32>, [left, lasting]: [f32; 2], active: bool, day: u32, place: u32) {
        let lag = day as f32 - left;
        let strength = if active {
            1.0
        } else if lasting > 0.0 {
            1.0 - lag / lasting
        } else {
            0.0
        };
        if strength <= 0.0 {
            return;
        }
        let transmission = &self.now().parameters.transmission;
        for person in people.filter(|person| self.cells[*person as usize].status == Status::Susceptible as u8) {
            let [luck, when, ..] = self.random.at(Purpose::Surface, person, day, place);
            let at = day as f32 + uniform(when);
            let susceptibility = transmission.susceptibility[self.population.people[person as usize].decade()];
            if uniform(luck) < strength * transmission.surfaces * susceptibility * self.state.doses.susceptibility(person, at) {
                met.infected.push(Passed { to: person, from: None, at, setting: Setting::Surface });
            }
        }
    }

    /// Who is infectious leaves something on the surfaces of the home and the workplace.
    fn contaminate(&mut self, day: u32) {
        let transmission = &self.periods[self.period].parameters.transmission;
        for &number in &self.state.active {
            let person = self.state.infections[number as usize].person;
            if self.cells[person as usize].status != Status::Infectious as u8 || self.cells[person as usize].mode & ABSENT != 0 {
                continue;
            }
            let mut draws = self.random.draws(Purpose::Surface, person, day);
            let homes = self.population.residence.len();
            let workplace = self.population.workplace[person as usize];
            let works = workplace != NOWHERE && self.cells[person as usize].mode & STAYS == 0;
            let places = [Some(self.population.household[person as usize] as usize), works.then(|| homes + workplace as usize)];
            for place in places.into_iter().flatten() {
                let lasting = transmission.surface_days[draws.weighted(&transmission.surface_share)];
                let surface = &mut self.state.surfaces[place];
                *surface = [day as f32 + 0.5, if surface[0] + surface[1] > day as f32 { surface[1].max(lasting) } else { lasting }];
            }
        }
    }

    /// Of all that was passed to a person today the first counts.
    fn commit(&mut self, met: &[Met]) -> u32 {
        let mut passed: Vec<Passed> = met.iter().flat_map(|met| met.infected.iter().copied()).collect();
        passed.sort_by(|a, b| a.to.cmp(&b.to).then(a.at.total_cmp(&b.at)).then(a.from.cmp(&b.from)));
        passed.dedup_by_key(|passed| passed.to);
        // In the order of time, so that an infection has a smaller number than those that come of it.
        passed.sort_by(|a, b| a.at.total_cmp(&b.at).then(a.to.cmp(&b.to)));
        passed.iter().for_each(|passed| self.infect(*passed));
        passed.len() as u32
    }

    fn test(&mut self, day: u32, started: bool, row: &mut Day) {
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

    fn trace(&mut self, day: u32, started: bool, met: &mut [Met]) {
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

/// How people meet in a period, and how they did before anyone knew of the epidemic.
fn mixing_of(region: &Region, period: &Period, config: &Config, traces: bool) -> [Mixing; 2] {
    let behaviour = &period.parameters.behaviour;
    let reductions = match config.policy {
        PolicyName::Unmitigated if !traces => Reductions::unmitigated(),
        PolicyName::Lockdown if !traces => Reductions::lockdown(behaviour),
        _ => Reductions::graded(behaviour),
    };
    [reductions, Reductions::unmitigated()].map(|reductions| Mixing::new(region, &period.parameters, &reductions, period.shares))
}

/// Of what there is so much of a day, as much as is whole after this many days and was not before: parts add up over the days.
fn whole_part(a_day: f64, days: u32) -> u64 {
    ((f64::from(days) + 1.0) * a_day).floor() as u64 - (f64::from(days) * a_day).floor() as u64
}

/// Whether one is infectious and the other susceptible.
#[inline(always)]
fn passes(from: Cell, to: Cell) -> bool {
    const SUSCEPTIBLE: u8 = Status::Susceptible as u8;
    const INFECTIOUS: u8 = Status::Infectious as u8;
    // Status 0 and status 2.
    from.status | to.status == INFECTIOUS && from.status & to.status == SUSCEPTIBLE
}

/// Up to this age a child does not stay at home alone.
const ALONE_FROM: u8 = 14;

/// A contact of someone infectious with someone who can be infected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exposure {
    /// When it begins, in days from the infection of the one.
    pub days: f32,
    /// How long it takes.
    pub seconds: f32,
    /// The symptoms of the one on that day.
    pub symptoms: Symptoms,
    /// Where.
    pub setting: Setting,
    /// The age of the other in tens of years.
    pub decade: usize,
    /// What a vaccine leaves of the other's susceptibility, from 0 to 1.
    pub left: f32,
}

/// The probability that a contact passes the infection on:
///
/// ```text
/// p = 1 − exp(−κ · S · C · A / I),   A = (seconds/86400) · (infectiousness at the start + at the end)/2
/// ```
///
/// with the contagion κ, the susceptibility S by age and vaccine, the factor C of the place, and the contacts I a day by age
/// (COVI-AgentSim, after OpenABM-Covid19).
pub fn passes_on(transmission: &Transmission, infection: &Infection, exposure: &Exposure) -> f32 {
    let Exposure { days, seconds, symptoms, setting, decade, left } = *exposure;
    let part = seconds / 86_400.0;
    let area = part * (infection.infectiousness(days, symptoms) + infection.infectiousness(days + part, symptoms)) / 2.0;
    let places = &transmission.places;
    let place = match setting {
        Setting::Home => places.home,
        Setting::Residence => places.residence,
        Setting::Hospital => places.hospital,
        Setting::Work | Setting::Outside | Setting::Surface => places.work,
        Setting::School => places.school,
        Setting::Store => places.store,
        Setting::Venue => places.venue,
        Setting::Park => places.park,
    };
    1.0 - (-transmission.contagion * transmission.susceptibility[decade] * place * area / transmission.contacts_a_day[decade] * left).exp()
}

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
