//! The people of a region: ages, households, schools and work, conditions, phones.

use std::ops::Range;

use lyceum_core::{Result, interrupt};

use crate::{
    disease::Setting,
    parameters::Parameters,
    random::{Draws, Purpose, Random},
    region::{AGE_GROUPS, ByAge, Hours, Outings, Region},
};

/// Conditions that people have before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Condition {
    Smoker = 1,
    Diabetes = 2,
    HeartDisease = 4,
    Cancer = 8,
    Copd = 16,
    Asthma = 32,
    Stroke = 64,
    ImmuneSuppressed = 128,
    LungDisease = 256,
    Pregnant = 512,
}

/// Female, male, other.
pub const SEXES: [&str; 3] = ["female", "male", "other"];

/// A person.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "what is true of people")]
pub struct Person {
    /// In years.
    pub age: u8,
    /// A place in [`SEXES`].
    pub sex: u8,
    /// A set of [`Condition`]s.
    pub conditions: u16,
    /// Has allergies.
    pub allergic: bool,
    /// Would be severely ill.
    pub severe: bool,
    /// Would need intensive care.
    pub extreme: bool,
    /// From 0 to 1.
    pub carefulness: f32,
    /// Has a smartphone, and how early this person would install an app, from 0 to 1: with an uptake of u those below u have it.
    pub phone: bool,
    /// See `phone`.
    pub reluctance: f32,
    /// Tells the app age and sex.
    pub profile: bool,
}

impl Person {
    /// Whether the person has a condition.
    pub fn has(&self, condition: Condition) -> bool {
        self.conditions & condition as u16 != 0
    }

    /// The age group of five years.
    pub fn group(&self) -> usize {
        group(self.age)
    }

    /// The age group of ten years.
    pub fn decade(&self) -> usize {
        usize::from(self.age / 10).min(9)
    }
}

/// The age group of five years.
pub fn group(age: u8) -> usize {
    usize::from(age / 5).min(AGE_GROUPS - 1)
}

/// A place where people work or learn, the staff and pupils of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Workplace {
    /// Work, school, hospital, store, venue or residence.
    pub kind: Setting,
    /// Its people, as places in `Population::staff`.
    pub staff: Range<u32>,
}

/// No workplace.
pub const NOWHERE: u32 = u32::MAX;

/// People and where they belong. People are numbered so that those of a household follow one another, and so do the households of a
/// community.
#[derive(Debug, Clone, Default)]
pub struct Population {
    /// The people.
    pub people: Vec<Person>,
    /// Of each person, the household.
    pub household: Vec<u32>,
    /// Where the people of each household begin; one more at the end.
    pub households: Vec<u32>,
    /// Which households are residences for seniors.
    pub residence: Vec<bool>,
    /// Of each person, the place of work or school, or [`NOWHERE`].
    pub workplace: Vec<u32>,
    /// Those places.
    pub workplaces: Vec<Workplace>,
    /// Their people.
    pub staff: Vec<u32>,
    /// Of each person, the place among the staff.
    pub desk: Vec<u32>,
    /// Where the people of each community begin; one more at the end.
    pub communities: Vec<u32>,
    /// Of each person, the community.
    pub community: Vec<u32>,
    /// People by community and age group.
    pub neighbours: Vec<u32>,
    /// Where the neighbours of each community and age group begin; one more at the end.
    pub neighbour_groups: Vec<u32>,
    /// Of each person, the place among the neighbours.
    pub address: Vec<u32>,
    /// The [`key`] of what they were drawn from.
    pub key: u32,
}

/// Of all that people depend on, a checksum (CRC-32C): equal keys mean the same people. A scenario that changes nothing of it has the
/// people of the one without.
pub fn key(region: &Region, parameters: &Parameters, count: u32, random: Random) -> u32 {
    let Region { ages, households, schools, work, outings, contacts, .. } = region;
    let Parameters { severity, illness, phones, behaviour, .. } = parameters;
    let all = serde_json::json!({
        "region": [ages, households, schools, work, outings.community, contacts.matrices.home],
        "parameters": [severity.severe, illness.allergic, phones.owners, phones.profile, behaviour.careful],
        "people": count,
        "seed": random.0,
    });
    crc32c::crc32c(all.to_string().as_bytes())
}

/// Workers and pupils are drawn from so many people that live near one another, so that places are near homes.
const DISTRICT: usize = 32_768;

impl Population {
    /// Draws the people of a region.
    pub fn new(region: &Region, parameters: &Parameters, count: u32, random: Random) -> Result<Self> {
        let mut draws = random.draws(Purpose::Person, u32::MAX, 0);
        let households = homes(region, count as usize, &mut draws);
        let mut population = Self { households: vec![0], key: key(region, parameters, count, random), ..Self::default() };
        for Home { ages, residence } in households {
            interrupt::check()?;
            for age in ages {
                let number = population.people.len() as u32;
                population.household.push(population.residence.len() as u32);
                population.people.push(person(age, number, random, parameters));
            }
            population.households.push(population.people.len() as u32);
            population.residence.push(residence);
        }
        population.draw_workplaces(region, &mut draws);
        population.draw_communities(region.outings.community);
        Ok(population)
    }

    /// How many people there are.
    pub fn len(&self) -> usize {
        self.people.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.people.is_empty()
    }

    /// The people of a household.
    pub fn residents(&self, household: u32) -> Range<u32> {
        self.households[household as usize]..self.households[household as usize + 1]
    }

    /// The people of a community and age group, as places among the neighbours.
    pub fn group_of(&self, community: u32, group: usize) -> Range<u32> {
        let at = community as usize * AGE_GROUPS + group;
        self.neighbour_groups[at]..self.neighbour_groups[at + 1]
    }

    fn draw_workplaces(&mut self, region: &Region, draws: &mut Draws) {
        let n = self.len();
        self.workplace = vec![NOWHERE; n];
        self.desk = vec![0; n];
        let mut order: Vec<u32> = (0..n as u32).collect();
        let mut free: Vec<u32> = Vec::new();
        for start in (0..n).step_by(DISTRICT) {
            let district = &mut order[start..(start + DISTRICT).min(n)];
            shuffle(district, draws);
            let mut pupils: Vec<Vec<u32>> = vec![Vec::new(); region.schools.kinds.len()];
            let mut workers = Vec::new();
            for &number in district.iter() {
                let age = self.people[number as usize].age;
                let school = region.schools.kinds.iter().position(|kind| (kind.from..kind.to).contains(&age));
                match school {
                    Some(kind) if draws.chance(region.schools.kinds[kind].share as f32) => pupils[kind].push(number),
                    _ if (region.work.from..region.work.to).contains(&age) && !self.residence[self.household[number as usize] as usize] => {
                        workers.push(number);
                    }
                    _ => {}
                }
            }
            workers.append(&mut free);
            let people = district.len() as f64;
            // Schools and residences take their staff first, then health care, stores and the like, and firms the rest.
            for (kind, pupils) in region.schools.kinds.iter().zip(pupils) {
                let schools = (pupils.len() as f64 / kind.size).ceil().max(1.0) as usize;
                for school in split(&pupils, schools) {
                    let teachers = ((school.len() as f64 / kind.per_teacher).ceil() as usize).min(workers.len());
                    let staff: Vec<u32> = school.iter().copied().chain(workers.drain(workers.len() - teachers..)).collect();
                    self.add_workplace(Setting::School, &staff);
                }
            }
            let residents: usize = (self.household[start] as usize..self.residence.len())
                .take_while(|household| (self.households[*household] as usize) < start + district.len())
                .filter(|household| self.residence[*household])
                .map(|household| (self.households[household + 1] - self.households[household]) as usize)
                .sum();
            let carers = ((residents as f64 / region.households.residents_per_staff).ceil() as usize).min(workers.len());
            let carers: Vec<u32> = workers.drain(workers.len() - carers..).collect();
            self.add_workplace(Setting::Residence, &carers);
            let old_enough = |number: &u32, people: &[Person]| {
                (region.work.health_care_from..region.work.health_care_to).contains(&people[*number as usize].age)
            };
            let wanted = (people * region.work.hospital_staff_per_100000 / 1e5).round() as usize;
            let (mut health_care, mut rest) = (Vec::new(), Vec::new());
            for number in workers {
                if health_care.len() < wanted && old_enough(&number, &self.people) { health_care.push(number) } else { rest.push(number) }
            }
            let hospitals = (people * region.work.hospitals_per_100000 / 1e5).round().max(1.0) as usize;
            for hospital in split(&health_care, hospitals) {
                self.add_workplace(Setting::Hospital, &hospital);
            }
            for (kind, per_1000) in [(Setting::Store, region.work.stores_per_1000), (Setting::Venue, region.work.venues_per_1000)] {
                let places = (people * per_1000 / 1000.0).round().max(1.0) as usize;
                let staff = ((places as f64 * region.work.employees_with_customers) as usize).min(rest.len());
                let staff: Vec<u32> = rest.drain(rest.len() - staff..).collect();
                for place in split(&staff, places) {
                    self.add_workplace(kind, &place);
                }
            }
            while !rest.is_empty() {
                let [low, high] = [[1.0, 4.0], [5.0, 99.0], [100.0, 499.0], [500.0, 999.0]][draws.weighted(&region.work.firms)];
                let size = (low + f64::from(draws.uniform()) * (high - low + 1.0)) as usize;
                let firm: Vec<u32> = rest.drain(rest.len() - size.min(rest.len())..).collect();
                self.add_workplace(Setting::Work, &firm);
            }
        }
    }

    fn add_workplace(&mut self, kind: Setting, staff: &[u32]) {
        if staff.is_empty() {
            return;
        }
        let start = self.staff.len() as u32;
        for &number in staff {
            self.workplace[number as usize] = self.workplaces.len() as u32;
            self.desk[number as usize] = self.staff.len() as u32;
            self.staff.push(number);
        }
        self.workplaces.push(Workplace { kind, staff: start..self.staff.len() as u32 });
    }

    fn draw_communities(&mut self, size: u32) {
        self.communities = vec![0];
        let mut households = self.households.iter().copied().skip(1).peekable();
        while let Some(end) = households.next() {
            let begin = self.communities[self.communities.len() - 1];
            // The last one takes what is left, if that would be less than half a community.
            let left = self.len() as u32 - end;
            if households.peek().is_none() || (end - begin >= size && left > size / 2) {
                self.communities.push(end);
            }
        }
        self.community = vec![0; self.len()];
        self.address = vec![0; self.len()];
        self.neighbour_groups = vec![0];
        for community in 0..self.communities.len() - 1 {
            let people = self.communities[community]..self.communities[community + 1];
            people.clone().for_each(|number| self.community[number as usize] = community as u32);
            for group in 0..AGE_GROUPS {
                for number in people.clone().filter(|number| self.people[*number as usize].group() == group) {
                    self.address[number as usize] = self.neighbours.len() as u32;
                    self.neighbours.push(number);
                }
                self.neighbour_groups.push(self.neighbours.len() as u32);
            }
        }
    }
}

/// What share of the time elsewhere is spent in stores, venues, homes and parks.
pub fn outings(outings: &Outings, hours: &Hours) -> [(Setting, f64); 4] {
    let shopping = Outings::a_day(&outings.shopping) * hours.store;
    let meeting = Outings::a_day(&outings.meeting) * hours.venue;
    let exercise = Outings::a_day(&outings.exercise) * hours.park;
    let all = (shopping + meeting + exercise).max(1e-12);
    [
        (Setting::Store, shopping / all),
        (Setting::Venue, meeting * (1.0 - outings.meeting_at_home) / all),
        (Setting::Home, meeting * outings.meeting_at_home / all),
        (Setting::Park, exercise / all),
    ]
}

fn shuffle(of: &mut [u32], draws: &mut Draws) {
    for i in (1..of.len()).rev() {
        of.swap(i, crate::random::below(draws.word(), i as u32 + 1) as usize);
    }
}

/// In so many parts of about the same size.
fn split(all: &[u32], parts: usize) -> Vec<Vec<u32>> {
    (0..parts).map(|part| all[all.len() * part / parts..all.len() * (part + 1) / parts].to_vec()).collect()
}

struct Home {
    ages: Vec<u8>,
    residence: bool,
}

/// People of each age that have no home yet.
struct Pool {
    ages: Vec<usize>,
    left: usize,
}

impl Pool {
    fn new(region: &Region, count: usize) -> Self {
        // Ages of a group are alike, those of 75 and more fall off.
        let tail: Vec<f64> = (75..105).map(|age| (-(f64::from(age) - 75.0) / 9.0).exp()).collect();
        let weights: Vec<f64> = (0..105)
            .map(|age| {
                if age < 75 { region.ages.share[age / 5] / 5.0 } else { region.ages.share[15] * tail[age - 75] / tail.iter().sum::<f64>() }
            })
            .collect();
        let all: f64 = weights.iter().sum();
        let (mut before, mut given) = (0.0, 0);
        let ages: Vec<usize> = weights
            .iter()
            .map(|weight| {
                before += weight / all;
                let until = (before * count as f64).round() as usize;
                let here = until - given;
                given = until;
                here
            })
            .collect();
        Self { left: ages.iter().sum(), ages }
    }

    /// Takes a person, by the weight of the group and how many of it are left, between two ages.
    fn take(&mut self, weights: &ByAge, from: usize, to: usize, draws: &mut Draws) -> Option<u8> {
        let weight: Vec<f64> = self
            .ages
            .iter()
            .enumerate()
            .map(|(age, left)| if (from..to).contains(&age) { *left as f64 * weights[group(age as u8)] } else { 0.0 })
            .collect();
        if weight.iter().sum::<f64>() <= 0.0 {
            return None;
        }
        let age = draws.weighted(&weight);
        self.ages[age] -= 1;
        self.left -= 1;
        Some(age as u8)
    }

    fn put_back(&mut self, age: u8) {
        self.ages[usize::from(age)] += 1;
        self.left += 1;
    }
}

const ANY: ByAge = [1.0; AGE_GROUPS];
/// From this age on people have children or live by themselves.
const ADULT: usize = 20;
const CHILD: usize = 15;

/// Households of the region's sizes and kinds, filled from its ages.
fn homes(region: &Region, count: usize, draws: &mut Draws) -> Vec<Home> {
    let mut pool = Pool::new(region, count);
    let mut homes = Vec::new();
    let rules = &region.households;
    // Residences for seniors.
    let mut seniors = Vec::new();
    for group in 0..AGE_GROUPS {
        let wanted = (rules.in_residence[group] * region.ages.share[group] * count as f64).round() as usize;
        let end = if group == AGE_GROUPS - 1 { 105 } else { 5 * group + 5 };
        seniors.extend((0..wanted).map_while(|_| pool.take(&ANY, 5 * group, end, draws)));
    }
    let order: Vec<u32> = {
        let mut order: Vec<u32> = (0..seniors.len() as u32).collect();
        shuffle(&mut order, draws);
        order
    };
    let residences = (seniors.len() as f64 / rules.residence_size).ceil() as usize;
    for residence in split(&order, residences) {
        homes.push(Home { ages: residence.iter().map(|senior| seniors[*senior as usize]).collect(), residence: true });
    }
    let mean = rules.sizes.iter().enumerate().map(|(size, share)| share * (size as f64 + 1.0)).sum::<f64>();
    let households = pool.left as f64 / mean;
    // Column j of the matrix: whom a person of group j lives with.
    let with = |age: u8| -> ByAge { std::array::from_fn(|i| region.contacts.matrices.home[i][group(age)]) };
    // Families with children come first, while there are children for them.
    for size in (2..=5_usize).rev() {
        let [couples, singles, others] = rules.families[size - 2];
        for (kind, share) in [(0, couples), (1, singles), (2, others)] {
            for _ in 0..(share * households).round() as usize {
                let generations = kind == 2 && size >= 3 && draws.chance(rules.multigenerational as f32);
                let ages = match kind {
                    0 => family(&mut pool, size, 2, rules.generation, &with, draws),
                    1 => family(&mut pool, size, 1, rules.generation, &with, draws),
                    _ if generations => three_generations(&mut pool, size, rules.generation, &with, draws),
                    _ => together(&mut pool, size, &with, draws),
                };
                homes.extend(ages.map(|ages| Home { ages, residence: false }));
            }
        }
    }
    let alone: ByAge = std::array::from_fn(|group| rules.alone[group] / region.ages.share[group].max(1e-9));
    for _ in 0..(rules.sizes[0] * households).round() as usize {
        homes.extend(pool.take(&alone, CHILD, 105, draws).map(|age| Home { ages: vec![age], residence: false }));
    }
    // Who is left: children go to families, adults live in pairs or alone.
    let families: Vec<usize> = (0..homes.len()).filter(|home| !homes[*home].residence && homes[*home].ages.len() > 1).collect();
    while let Some(age) = pool.take(&ANY, 0, CHILD, draws) {
        if families.is_empty() {
            pool.put_back(age);
            break;
        }
        let home = families[crate::random::below(draws.word(), families.len() as u32) as usize];
        homes[home].ages.push(age);
    }
    while let Some(age) = pool.take(&ANY, 0, 105, draws) {
        let mut ages = vec![age];
        if draws.chance(0.5) {
            ages.extend(pool.take(&with(age), ADULT, 105, draws));
        }
        homes.push(Home { ages, residence: false });
    }
    // Neighbours are of all kinds.
    let mut order: Vec<u32> = (0..homes.len() as u32).collect();
    shuffle(&mut order, draws);
    let mut homes: Vec<Option<Home>> = homes.into_iter().map(Some).collect();
    order.into_iter().filter_map(|home| homes[home as usize].take()).collect()
}

/// One or two parents (a couple without children at a size of two) and children a generation younger than the youngest parent.
fn family(pool: &mut Pool, size: usize, parents: usize, generation: u8, with: &dyn Fn(u8) -> ByAge, draws: &mut Draws) -> Option<Vec<u8>> {
    let generation = usize::from(generation);
    // Parents of children at home are at most as much older as the oldest child at home is young.
    let last = if size > parents { 70 } else { 105 };
    let first = pool.take(&ANY, ADULT.max(if size > parents { generation + 1 } else { ADULT }), last, draws)?;
    let mut ages = vec![first];
    if parents == 2 {
        let Some(second) = pool.take(&near(&with(first), first), ADULT, 105, draws) else {
            pool.put_back(first);
            return None;
        };
        ages.push(second);
    }
    let youngest = usize::from(*ages.iter().min().unwrap_or(&first));
    while ages.len() < size {
        match pool.take(&with(first), 0, youngest.saturating_sub(generation) + 1, draws) {
            Some(child) => ages.push(child),
            None => break,
        }
    }
    if size > parents && ages.len() == parents {
        ages.into_iter().for_each(|age| pool.put_back(age));
        return None;
    }
    Some(ages)
}

/// Couples are within ten years of each other.
fn near(weights: &ByAge, age: u8) -> ByAge {
    std::array::from_fn(|i| if group(age).abs_diff(i) <= 2 { weights[i] + 1e-9 } else { 0.0 })
}

fn three_generations(pool: &mut Pool, size: usize, generation: u8, with: &dyn Fn(u8) -> ByAge, draws: &mut Draws) -> Option<Vec<u8>> {
    let generation = usize::from(generation);
    let parent = pool.take(&ANY, ADULT.max(generation + 1), 55, draws)?;
    let mut ages = vec![parent];
    let Some(grandparent) = pool.take(&ANY, usize::from(parent) + generation, 105, draws) else {
        pool.put_back(parent);
        return None;
    };
    ages.push(grandparent);
    while ages.len() < size {
        match pool.take(&with(parent), 0, usize::from(parent).saturating_sub(generation) + 1, draws) {
            Some(child) => ages.push(child),
            None => break,
        }
    }
    Some(ages)
}

/// Adults who share a home.
fn together(pool: &mut Pool, size: usize, with: &dyn Fn(u8) -> ByAge, draws: &mut Draws) -> Option<Vec<u8>> {
    let mut ages = vec![pool.take(&ANY, CHILD, 105, draws)?];
    while ages.len() < size {
        match pool.take(&with(ages[0]), CHILD, 105, draws) {
            Some(age) => ages.push(age),
            None => break,
        }
    }
    Some(ages)
}

/// A person of this age.
fn person(age: u8, number: u32, random: Random, parameters: &Parameters) -> Person {
    let mut draws = random.draws(Purpose::Person, number, 0);
    let sex = draws.weighted(&[0.45, 0.45, 0.1]) as u8;
    let mut person = Person { age, sex, ..Person::default() };
    draw_conditions(&mut person, &mut draws);
    let decade = person.decade();
    person.severe = draws.chance(parameters.severity.severe[usize::from(sex)][decade]);
    person.extreme = person.severe && draws.chance(0.3);
    person.allergic = draws.chance(parameters.illness.allergic);
    // COVI-AgentSim: (max(round(N(55 or 25, 10)), 0) + 39.1/2)/100, the median age for all.
    let middle = if draws.chance(parameters.behaviour.careful) { 55.0 } else { 25.0 };
    person.carefulness = (((middle + 10.0 * draws.normal()).round().max(0.0) + 39.1 / 2.0) / 100.0 + 0.01).min(1.0);
    person.phone = draws.chance(parameters.phones.owners[decade]);
    person.reluctance = draws.uniform();
    person.profile = draws.chance(parameters.phones.profile);
    person
}

/// Up to an age, the probability for women, men and others.
type Steps = &'static [(u8, [f32; 3])];

const fn all(p: f32) -> [f32; 3] {
    [p; 3]
}

/// COVI-AgentSim, `epidemiology/human_properties.py`: in this order, since some depend on those before.
const CONDITIONS: [(Condition, Steps); 8] = [
    (Condition::Smoker, &[(12, all(0.0)), (18, all(0.03)), (65, all(0.185)), (255, all(0.09))]),
    (Condition::Diabetes, &[(18, all(0.005)), (35, all(0.009)), (50, all(0.039)), (75, all(0.13)), (255, all(0.179))]),
    (
        Condition::HeartDisease,
        &[(20, all(0.0005)), (35, all(0.0025)), (50, [0.0065, 0.0105, 0.0085]), (75, [0.065, 0.089, 0.075]), (255, [0.1555, 0.22, 0.1875])],
    ),
    (Condition::Cancer, &[(30, all(0.000_275_5)), (60, all(0.002_755)), (90, all(0.027_55)), (255, all(0.0475))]),
    (Condition::Copd, &[(35, all(0.0)), (50, all(0.014_25)), (65, all(0.035_15)), (255, all(0.071_25))]),
    (Condition::Asthma, &[(10, [0.07, 0.12, 0.09]), (25, [0.15, 0.19, 0.17]), (75, [0.11, 0.06, 0.08]), (255, [0.12, 0.08, 0.1])]),
    (Condition::Stroke, &[(20, all(0.0)), (40, all(0.01)), (60, all(0.03)), (80, all(0.04)), (255, all(0.07))]),
    (Condition::ImmuneSuppressed, &[(40, all(0.0049)), (65, all(0.035_28)), (85, all(0.0441)), (255, all(0.196))]),
];

fn draw_conditions(person: &mut Person, draws: &mut Draws) {
    for (condition, steps) in CONDITIONS {
        let more = match condition {
            Condition::HeartDisease if person.has(Condition::Smoker) || person.has(Condition::Diabetes) => 4.0,
            Condition::Cancer | Condition::Copd if person.has(Condition::Smoker) => 1.3 / 0.95,
            Condition::Stroke => person.conditions.count_ones() as f32,
            Condition::ImmuneSuppressed if person.has(Condition::Cancer) => 1.2 / 0.98,
            _ => 1.0,
        };
        let p = steps.iter().find(|(until, _)| person.age < *until).map_or(0.0, |(_, p)| p[usize::from(person.sex)]);
        if draws.chance(more * p) {
            person.conditions |= condition as u16;
        }
    }
    if person.has(Condition::Asthma) || person.has(Condition::Copd) {
        person.conditions |= Condition::LungDisease as u16;
    }
    if person.sex == 0 && (19..50).contains(&person.age) {
        let z = (f32::from(person.age) - 27.0) / 5.0;
        if draws.chance((-z * z / 2.0).exp() / (5.0 * std::f32::consts::TAU.sqrt())) {
            person.conditions |= Condition::Pregnant as u16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_s_people() {
        let region = Region::load("montreal").unwrap();
        let parameters = Parameters::covid().unwrap();
        let n = 20_000;
        let population = Population::new(&region, &parameters, n, Random(1)).unwrap();
        assert_eq!(population.len(), n as usize);
        // Ages are the region's to a person.
        let mut ages = [0_usize; AGE_GROUPS];
        population.people.iter().for_each(|person| ages[person.group()] += 1);
        for (found, share) in ages.iter().zip(region.ages.share) {
            assert!((*found as f64 / f64::from(n) - share).abs() < 0.002, "{ages:?}");
        }
        // Sizes of households.
        let mut sizes = [0_usize; 5];
        let homes: Vec<u32> = (0..population.residence.len() as u32).filter(|home| !population.residence[*home as usize]).collect();
        homes.iter().for_each(|home| sizes[population.residents(*home).len().min(5) - 1] += 1);
        for (found, share) in sizes.iter().zip(region.households.sizes) {
            assert!((*found as f64 / homes.len() as f64 - share).abs() < 0.04, "{sizes:?}");
        }
        // No child is alone.
        for home in &homes {
            let residents = population.residents(*home);
            assert!(residents.clone().any(|number| population.people[number as usize].age >= 15), "{residents:?}");
        }
        // Everyone is where the lists say.
        for number in 0..n {
            assert!(population.residents(population.household[number as usize]).contains(&number));
            assert_eq!(population.neighbours[population.address[number as usize] as usize], number);
            let workplace = population.workplace[number as usize];
            if workplace != NOWHERE {
                assert_eq!(population.staff[population.desk[number as usize] as usize], number);
                assert!(population.workplaces[workplace as usize].staff.contains(&population.desk[number as usize]));
            }
        }
        // Smartphones and the adoption of case 6: an uptake of 0.8415 is 60 % of all.
        let phones = population.people.iter().filter(|person| person.phone).count() as f64 / f64::from(n);
        assert!((phones - 0.714).abs() < 0.012, "{phones}");
    }

    #[test]
    fn few_people_are_a_population_too() {
        let parameters = Parameters::covid().unwrap();
        for (name, _) in crate::region::REGIONS {
            let region = Region::load(name).unwrap();
            for n in [1, 2, 3, 10, 57] {
                assert_eq!(Population::new(&region, &parameters, n, Random(2)).unwrap().len(), n as usize);
            }
        }
    }
}
