//! The phones with the app: what they noted, and what a policy makes of it once a day.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    disease::Infection,
    parameters::Parameters,
    population::Population,
    random::Random,
    symptoms::{self, Symptoms},
    tracing::{
        Assessment, DAYS, Needs, Phone, Policy, Profile,
        messages::{Levels, Ring},
    },
};

/// No phone, no day.
pub(crate) const NONE: u32 = u32::MAX;

/// All phones with the app.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Phones {
    /// Whose they are.
    pub(crate) people: Vec<u32>,
    /// Of each person, the phone or [`NONE`].
    pub(crate) of: Vec<u32>,
    /// What is recommended.
    pub(crate) recommendations: Vec<u8>,
    levels: Vec<Levels>,
    mailboxes: Vec<Ring>,
    symptoms: Vec<[Symptoms; DAYS]>,
    /// The day of a reported result times two, and one if positive.
    tests: Vec<u32>,
    /// Until this day (without) someone near told of a positive test.
    alerted: Vec<u32>,
    diary: Vec<Page>,
}

/// Who met whom on a day: the contacts of phone i are `contacts[starts[i]..starts[i + 1]]`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Page {
    starts: Vec<u32>,
    contacts: Vec<u32>,
}

impl Page {
    fn of(&self, phone: u32) -> &[u32] {
        match self.starts.get(phone as usize + 1) {
            Some(end) => &self.contacts[self.starts[phone as usize] as usize..*end as usize],
            None => &[],
        }
    }

    /// From pairs of phones, in their order.
    fn new(phones: usize, pairs: &[Vec<(u32, u32)>]) -> Self {
        let parts = rayon::current_num_threads().clamp(1, phones.max(1));
        let bounds: Vec<usize> = (0..=parts).map(|part| phones * part / parts).collect();
        // Each part of the phones looks at all pairs for its own: no two write to the same place, and the order is that of the pairs.
        let counts: Vec<Vec<u32>> = bounds
            .par_windows(2)
            .map(|bound| {
                let (low, high) = (bound[0], bound[1]);
                let mut counts = vec![0_u32; high - low];
                for &(a, b) in pairs.iter().flatten() {
                    for phone in [a as usize, b as usize] {
                        if let Some(count) = phone.checked_sub(low).and_then(|at| counts.get_mut(at)) {
                            *count += 1;
                        }
                    }
                }
                counts
            })
            .collect();
        let mut starts = Vec::with_capacity(phones + 1);
        let mut total = 0;
        starts.push(0);
        for count in counts.iter().flatten() {
            total += count;
            starts.push(total);
        }
        let mut contacts = vec![0_u32; total as usize];
        let mut rest = contacts.as_mut_slice();
        let mut slices = Vec::new();
        for bound in bounds.windows(2) {
            let (part, after) = rest.split_at_mut((starts[bound[1]] - starts[bound[0]]) as usize);
            slices.push((bound[0], bound[1], part));
            rest = after;
        }
        slices.into_par_iter().for_each(|(low, high, part)| {
            let first = starts[low];
            let mut next: Vec<u32> = starts[low..high].iter().map(|start| start - first).collect();
            for &(a, b) in pairs.iter().flatten() {
                for (phone, other) in [(a as usize, b), (b as usize, a)] {
                    if let Some(at) = phone.checked_sub(low).and_then(|at| next.get_mut(at)) {
                        part[*at as usize] = other;
                        *at += 1;
                    }
                }
            }
        });
        Self { starts, contacts }
    }
}

/// Phones that are assessed at a time.
const BATCH: usize = 512;

impl Phones {
    /// Of those who have the app at this uptake.
    pub(crate) fn new(population: &Population, uptake: f64) -> Self {
        let mut phones = Self { of: vec![NONE; population.len()], diary: vec![Page::default(); DAYS], ..Self::default() };
        for (number, person) in population.people.iter().enumerate() {
            if person.phone && f64::from(person.reluctance) < uptake {
                phones.of[number] = phones.people.len() as u32;
                phones.people.push(number as u32);
            }
        }
        let count = phones.people.len();
        phones.recommendations = vec![0; count];
        phones.levels = vec![Levels::default(); count];
        phones.mailboxes = vec![Ring::default(); count];
        phones.symptoms = vec![[0; DAYS]; count];
        phones.tests = vec![NONE; count];
        phones.alerted = vec![0; count];
        phones
    }

    /// A person tells the app of a test's result.
    pub(crate) fn report(&mut self, person: u32, day: u32, positive: bool) {
        if let Some(test) = self.tests.get_mut(self.of[person as usize] as usize) {
            *test = day << 1 | u32::from(positive);
        }
    }

    /// The result that a phone was told, and on which day.
    fn test(&self, phone: usize) -> Option<(bool, u32)> {
        let test = self.tests[phone];
        (test != NONE).then_some((test & 1 == 1, test >> 1))
    }

    /// Notes who met whom today.
    pub(crate) fn note(&mut self, day: u32, pairs: &[Vec<(u32, u32)>], needs: Needs) {
        let page = Page::new(self.people.len(), pairs);
        if needs == Needs::Messages {
            // A contact is told the level of that day; what is 0 need not be told.
            self.mailboxes.par_iter_mut().for_each(|ring| ring.begin(day));
            for phone in 0..self.people.len() {
                // Today is like yesterday until it is assessed.
                let level = day.checked_sub(1).map_or(0, |before| self.levels[phone].at(before));
                self.levels[phone].set(day, level);
                if level > 0 {
                    page.of(phone as u32).iter().for_each(|contact| self.mailboxes[*contact as usize].update(day, 0, level));
                }
            }
        }
        self.diary[day as usize % DAYS] = page;
    }

    /// Who told of a positive test today alerts the contacts of the last days, and they theirs, over so many steps. Who told before
    /// alerts those met today.
    pub(crate) fn alert(&mut self, day: u32, steps: u8) {
        let told: Vec<(u32, u32)> = (0..self.people.len())
            .filter_map(|phone| match self.test(phone) {
                Some((true, then)) if day - then < DAYS as u32 => Some((phone as u32, then)),
                _ => None,
            })
            .collect();
        for (phone, then) in told {
            let mut reached: Vec<(u32, u32)> = vec![(phone, day + 1)];
            for step in 0..steps {
                let back = if step == 0 && then < day { 1 } else { DAYS as u32 };
                let mut next = Vec::new();
                for (phone, _) in reached {
                    for ago in 0..back.min(day + 1) {
                        // Until the contact is 14 days ago.
                        let until = day - ago + DAYS as u32;
                        for &contact in self.diary[(day - ago) as usize % DAYS].of(phone) {
                            self.alerted[contact as usize] = self.alerted[contact as usize].max(until);
                            next.push((contact, until));
                        }
                    }
                }
                next.sort_unstable();
                next.dedup_by_key(|(phone, _)| *phone);
                reached = next;
            }
        }
    }

    /// Every phone is told today's symptoms and assessed; who was met is told of levels that changed.
    #[allow(clippy::too_many_arguments, reason = "a phone looks at everything about its owner")]
    pub(crate) fn assess(
        &mut self,
        day: u32,
        policy: &dyn Policy,
        population: &Population,
        symptoms: &[Symptoms],
        infections: &[Infection],
        infection_of: &[u32],
        parameters: &Parameters,
        random: Random,
    ) {
        let row = day as usize % DAYS;
        let Self { people, symptoms: history, .. } = &mut *self;
        history.par_iter_mut().zip(&*people).for_each(|(history, person)| {
            history[row] = symptoms::reported(symptoms[*person as usize], &parameters.phones, random, *person, day);
        });
        let (messages, truth) = (policy.needs() == Needs::Messages, policy.looks_at_truth());
        let this = &*self;
        let look = |known: &mut Phone, phone: usize| {
            let infection = infection_of[this.people[phone] as usize];
            let infection = infections.get(infection as usize).filter(|_| truth);
            this.look(known, phone, day, messages, population, infection);
        };
        let assessed: Vec<Assessment> = if policy.wants_all() {
            let mut phones = vec![Phone::default(); this.people.len()];
            phones.par_iter_mut().enumerate().for_each(|(phone, known)| look(known, phone));
            let mut out = vec![Assessment::default(); phones.len()];
            policy.assess(&phones, &mut out);
            out
        } else {
            let batch = |phones: &mut Vec<Phone>, batch: usize| {
                let numbers = batch * BATCH..((batch + 1) * BATCH).min(this.people.len());
                phones.resize_with(numbers.len(), Phone::default);
                phones.iter_mut().zip(numbers).for_each(|(known, phone)| look(known, phone));
                let mut out = vec![Assessment::default(); phones.len()];
                policy.assess(phones, &mut out);
                out
            };
            let batches: Vec<_> = (0..this.people.len().div_ceil(BATCH)).into_par_iter().map_init(Vec::new, batch).collect();
            batches.concat()
        };
        for (phone, assessment) in assessed.into_iter().enumerate() {
            self.recommendations[phone] = assessment.recommendation.min(3);
            if messages {
                self.tell(phone, day, assessment.levels);
            }
        }
    }

    /// Tells those who were met of levels that changed.
    fn tell(&mut self, phone: usize, day: u32, levels: [u8; DAYS]) {
        for (ago, level) in levels.into_iter().enumerate().take(day as usize + 1) {
            let (then, level) = (day - ago as u32, level.min(15));
            let was = self.levels[phone].at(then);
            if was != level {
                self.levels[phone].set(then, level);
                for &contact in self.diary[then as usize % DAYS].of(phone as u32) {
                    self.mailboxes[contact as usize].update(then, was, level);
                }
            }
        }
    }

    /// What a phone knows, in the place of what another one knew. Where no messages are sent it need not look back, and what it would
    /// have seen stays as it is by default.
    fn look(&self, known: &mut Phone, phone: usize, day: u32, messages: bool, population: &Population, infection: Option<&Infection>) {
        let person = &population.people[self.people[phone] as usize];
        let then = |ago: usize| (day as usize).checked_sub(ago).map(|then| then % DAYS);
        known.person = self.people[phone];
        known.day = day;
        known.test = self.test(phone).map(|(positive, then)| (positive, day - then)).filter(|(_, ago)| *ago < DAYS as u32);
        known.recommendation = self.recommendations[phone];
        known.alerted = day < self.alerted[phone];
        known.profile = person.profile.then_some(Profile { age: person.age, sex: person.sex, conditions: person.conditions });
        (known.truth, known.tomorrow, known.exposure) = ([0.0; DAYS], 0.0, None);
        if messages {
            known.symptoms = std::array::from_fn(|ago| then(ago).map_or(0, |then| self.symptoms[phone][then]));
            let contacts = std::array::from_fn(|ago| {
                then(ago).map_or(0, |then| self.diary[then].of(phone as u32).len().min(usize::from(u16::MAX)) as u16)
            });
            known.mailbox = self.mailboxes[phone].mailbox(day, contacts);
            known.levels = self.levels[phone].back_from(day);
        }
        if let Some(infection) = infection {
            let infectiousness = |at: f32| infection.infectiousness(at - infection.at, infection.symptoms(at - infection.at));
            known.truth = std::array::from_fn(|ago| infectiousness(day as f32 + 0.5 - ago as f32));
            known.tomorrow = infectiousness(day as f32 + 1.5);
            known.exposure = self.exposure(phone, day, infection);
        }
    }

    /// How many days ago the owner was infected, and what the phone of who did it told of that day.
    fn exposure(&self, phone: usize, day: u32, infection: &Infection) -> Option<(u8, u8)> {
        let by = *self.of.get(infection.by? as usize)?;
        let then = infection.at.max(0.0) as u32;
        let ago = day.checked_sub(then).filter(|ago| *ago < DAYS as u32)?;
        let met = by != NONE && self.diary[then as usize % DAYS].of(phone as u32).contains(&by);
        met.then(|| (ago as u8, self.levels[by as usize].at(then)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracing::RISKS;
    use rand::RngExt;

    fn phones(count: usize) -> Phones {
        Phones {
            people: (0..count as u32).collect(),
            of: (0..count as u32).collect(),
            recommendations: vec![0; count],
            levels: vec![Levels::default(); count],
            mailboxes: vec![Ring::default(); count],
            symptoms: vec![[0; DAYS]; count],
            tests: vec![NONE; count],
            alerted: vec![0; count],
            diary: vec![Page::default(); DAYS],
        }
    }

    /// What arrives by messages is what one would see by looking at the levels of all who were met.
    #[test]
    fn messages_tell_what_the_levels_are() {
        let count = 40;
        let mut rng = lyceum_core::Seed::new(3).stream("messages");
        let mut phones = phones(count);
        for day in 0..35_u32 {
            let pairs: Vec<(u32, u32)> =
                (0..60).map(|_| (rng.random_range(0..count as u32), rng.random_range(0..count as u32))).filter(|(a, b)| a != b).collect();
            phones.note(day, &[pairs[..pairs.len() / 2].to_vec(), pairs[pairs.len() / 2..].to_vec()], Needs::Messages);
            for phone in 0..count {
                if rng.random_range(0..3) == 0 {
                    let levels = std::array::from_fn(|_| if rng.random_range(0..2) == 0 { 0 } else { rng.random_range(0..16) });
                    phones.tell(phone, day, levels);
                }
            }
            for phone in 0..count {
                let mut expected = [[0_u16; RISKS]; DAYS];
                let mut contacts = [0; DAYS];
                for ago in 0..DAYS.min(day as usize + 1) {
                    let then = day - ago as u32;
                    for &other in phones.diary[then as usize % DAYS].of(phone as u32) {
                        expected[ago][usize::from(phones.levels[other as usize].at(then))] += 1;
                        contacts[ago] += 1;
                    }
                }
                assert_eq!(phones.mailboxes[phone].mailbox(day, contacts), expected, "phone {phone} on day {day}");
            }
        }
    }

    /// A met B on day 3, B met C on day 5; A tells of a positive test on day 8.
    #[test]
    fn alerts_reach_as_far_as_they_should() {
        for (steps, reached) in [(1, [false, true, false, false]), (2, [true, true, true, false])] {
            let mut phones = phones(4);
            for day in 0..=8_u32 {
                let pairs = match day {
                    3 => vec![(0, 1)],
                    5 => vec![(1, 2)],
                    _ => Vec::new(),
                };
                phones.note(day, &[pairs], Needs::Contacts(steps));
            }
            phones.report(0, 8, true);
            phones.alert(8, steps);
            for (phone, reached) in reached.into_iter().enumerate() {
                assert_eq!(8 < phones.alerted[phone], reached, "{steps} steps, phone {phone}");
            }
            // Whoever is met after that is warned too.
            phones.note(9, &[vec![(0, 3)]], Needs::Contacts(steps));
            phones.alert(9, steps);
            assert_eq!(phones.alerted[3], 23);
            // Fourteen days after the contact it is over.
            assert_eq!(phones.alerted[1], 17);
        }
    }
}
