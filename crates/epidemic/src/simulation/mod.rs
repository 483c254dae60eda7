//! The simulation: a day after the other.

mod care;
mod daily_life;
mod transmission;

use std::sync::Arc;

use lyceum_core::{Error, Result, interrupt};

use transmission::Passed;
pub use transmission::{Exposure, Noted, passes_on};

use crate::{
    behaviour::{LEVELS, Reductions},
    config::{Config, PolicyName},
    contacts::{Cell, Mixing, Status},
    disease::{Infection, Setting},
    interventions::Period,
    parameters::Parameters,
    phones::{NONE, Phones},
    population::{Population, key},
    random::{Purpose, Random},
    record::Day,
    region::Region,
    symptoms::Symptoms,
    testing::Tests,
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
    /// Whether it is none of the configuration's.
    pub(crate) own_policy: bool,
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

impl Simulation {
    /// Draws the population and the first infections.
    pub fn new(config: &Config) -> Result<Self> {
        Self::with_population(config, config.tracing()?, Arc::new(Self::population_of(config)?))
    }

    /// The same with a tracing policy of one's own.
    pub fn with_policy(config: &Config, policy: Option<Arc<dyn Policy>>) -> Result<Self> {
        let own_policy = policy.is_some();
        Ok(Self { own_policy, ..Self::with_population(config, policy, Arc::new(Self::population_of(config)?))? })
    }

    /// The name of its policy, where that is none of the configuration's.
    pub fn own_policy(&self) -> Option<&str> {
        self.policy.as_ref().filter(|_| self.own_policy).map(|policy| policy.name())
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
            own_policy: false,
            random,
            cells,
            symptoms: vec![0; n],
            queues: vec![None; config.interventions.len()],
            note: false,
            state,
        })
    }

    /// Continues from a saved state. If the policy uses other phones, they start without a history.
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
