//! Who meets whom, and what is passed on.

use rayon::prelude::*;

use super::{HOUSEHOLDS, PEOPLE, Simulation, WORKPLACES, whole_part};
use crate::{
    colleagues::Colleagues,
    contacts::{ABSENT, Cell, Meeting, Mixing, STAYS, Status},
    disease::{Infection, Setting},
    parameters::{Parameters, Transmission},
    population::NOWHERE,
    random::{Purpose, below, uniform},
    record::Day,
    symptoms::Symptoms,
    tracing::Needs,
};

/// What comes of some of the contacts of a day.
#[derive(Default)]
pub(super) struct Met {
    pub(super) infected: Vec<Passed>,
    pub(super) pairs: Vec<(u32, u32)>,
    pub(super) contacts: u64,
    pub(super) noted: Vec<Noted>,
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
pub(super) struct Passed {
    pub(super) to: u32,
    pub(super) from: Option<u32>,
    pub(super) at: f32,
    pub(super) setting: Setting,
}

impl Simulation {
    pub(super) fn infect(&mut self, passed: Passed) {
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

    /// Infections from outside; who cannot be infected does not bring one.
    pub(super) fn import(&mut self, day: u32, row: &mut Day) {
        for number in 0..whole_part(self.now().imported, day) {
            let [who, when, ..] = self.random.at(Purpose::Import, number as u32, day, 0);
            let to = below(who, self.population.len() as u32);
            if self.state.statuses[to as usize] == Status::Susceptible as u8 {
                self.infect(Passed { to, from: None, at: day as f32 + uniform(when), setting: Setting::Outside });
                row.imported += 1;
            }
        }
    }

    /// All contacts that can matter.
    pub(super) fn meet(&mut self, day: u32, started: bool) -> Vec<Met> {
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
    pub(super) fn handle(&self, met: &mut Met, mixing: &Mixing, meeting: Meeting, day: u32, traced: bool) {
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
    pub(super) fn matters(&self, from: Cell, to: Cell, traced: bool) -> bool {
        traced && from.app & to.app == 1 || passes(from, to) || self.config.count_contacts
    }

    #[inline(never)]
    pub(super) fn near(&self, met: &mut Met, mixing: &Mixing, meeting: Meeting, day: u32, phones: bool, source: Option<(u32, u32)>) {
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
    pub(super) fn touch(
        &self,
        met: &mut Met,
        people: impl Iterator<Item = u32>,
        [left, lasting]: [f32; 2],
        active: bool,
        day: u32,
        place: u32,
    ) {
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
    pub(super) fn contaminate(&mut self, day: u32) {
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
    pub(super) fn commit(&mut self, met: &[Met]) -> u32 {
        let mut passed: Vec<Passed> = met.iter().flat_map(|met| met.infected.iter().copied()).collect();
        passed.sort_by(|a, b| a.to.cmp(&b.to).then(a.at.total_cmp(&b.at)).then(a.from.cmp(&b.from)));
        passed.dedup_by_key(|passed| passed.to);
        // In the order of time, so that an infection has a smaller number than those that come of it.
        passed.sort_by(|a, b| a.at.total_cmp(&b.at).then(a.to.cmp(&b.to)));
        passed.iter().for_each(|passed| self.infect(*passed));
        passed.len() as u32
    }
}

/// Whether one is infectious and the other susceptible.
#[inline(always)]
fn passes(from: Cell, to: Cell) -> bool {
    const SUSCEPTIBLE: u8 = Status::Susceptible as u8;
    const INFECTIOUS: u8 = Status::Infectious as u8;
    // Status 0 and status 2.
    from.status | to.status == INFECTIOUS && from.status & to.status == SUSCEPTIBLE
}

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
