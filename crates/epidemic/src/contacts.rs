//! Who meets whom on a day, and for how long.
//!
//! Every contact is begun by one of the two. How many a person begins is a negative binomial number (r = mean, p = ½), whose mean
//! depends on age, place and behaviour; with whom depends on the place, on ages and on the other's behaviour. All of it comes from
//! counters (person, day, number of the contact), so that a place in which nothing can happen is passed over, and the rest is the same
//! as if it had not been.

use crate::{
    behaviour::{Kind, LEVELS, Reductions},
    colleagues::{Colleagues, Likely, Ready},
    disease::Setting,
    parameters::Parameters,
    population::{Population, outings},
    random::{GOLDEN, below, mix, seed, uniform},
    region::{AGE_GROUPS, Matrix, Region},
};

/// What the contacts of a person depend on, close together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C, align(4))]
pub struct Cell {
    /// State of health; see [`Status`].
    pub status: u8,
    /// Level of behaviour, and [`STAYS`] and [`ABSENT`].
    pub mode: u8,
    /// Age group of five years.
    pub group: u8,
    /// 1 for who has the app.
    pub app: u8,
}

/// At home today, whatever the level.
pub const STAYS: u8 = 8;
/// In hospital or dead: meets nobody.
pub const ABSENT: u8 = 16;

/// States of health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Status {
    Susceptible,
    Exposed,
    Infectious,
    Recovered,
    Dead,
}

/// Two people in a place at the same time. [`Mixing::seconds`] says for how long they were near each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meeting {
    /// Who began it.
    pub from: u32,
    /// The other one.
    pub to: u32,
    /// Where.
    pub setting: Setting,
    /// They do not know each other.
    pub strangers: bool,
    seed: u64,
}

impl Meeting {
    /// When, as a part of the day: between eight in the morning and eight in the evening.
    #[inline]
    pub fn time(&self) -> f32 {
        1.0 / 3.0 + uniform((self.more() as u32) << 10) * 0.5
    }

    /// What decides whether something is passed on, from 0 to 1.
    #[inline]
    pub fn luck(&self) -> f32 {
        uniform((self.more() >> 32) as u32)
    }

    /// 64 bits that are needed only where the meeting matters: duration, time of the day and distance, and what is passed on.
    #[inline]
    fn more(&self) -> u64 {
        mix(self.seed ^ GOLDEN)
    }
}

/// Everything about contacts that stays the same.
#[derive(Debug, Clone)]
pub struct Mixing {
    /// How many contacts are begun, by kind, level and age group.
    counts: Vec<Counts>,
    unknown: Counts,
    /// How readily one is met, by kind and level, in 1/65,536.
    ready: [Ready; 4],
    /// How readily ages meet, by kind, own group and the other's.
    likely: [Likely; 4],
    /// Which group is met elsewhere, by own group and ten bits.
    groups: Vec<[u8; 1024]>,
    /// Mean seconds, by own group and the other's.
    seconds: [[f32; AGE_GROUPS]; AGE_GROUPS],
    /// Quantiles of a normal number with mean and deviation 1, cut off at 0.
    quantiles: Vec<f32>,
    settings: [(Setting, u32); 4],
    longest: [f32; 10],
    known: u32,
    least_seconds: f32,
    unknown_seconds: f32,
    noted_distance: f32,
    noise: f32,
}

/// Farther than this nothing is passed on, in cm.
const NEAR: f32 = 200.0;

impl Mixing {
    /// The contacts of a region, with behaviour and the share of contacts that take place, by kind (1 is as before).
    pub fn new(region: &Region, parameters: &Parameters, reductions: &Reductions, shares: [f64; 4]) -> Self {
        let contacts = &region.contacts;
        let matrices = &contacts.matrices;
        let by_kind: [(&Matrix, f64, f64); 4] = [
            (&matrices.home, contacts.home, contacts.reached.home),
            (&matrices.work, contacts.work, contacts.reached.work),
            (&matrices.school, contacts.school, contacts.reached.school),
            (&matrices.other, contacts.other, contacts.reached.other),
        ];
        let column = |matrix: &Matrix, j: usize| matrix.iter().map(|row| row[j]).sum::<f64>();
        let mut counts = Vec::with_capacity(4 * LEVELS * AGE_GROUPS);
        for (kind, (matrix, mean, reached)) in by_kind.into_iter().enumerate() {
            // As many by age as the survey has, scaled to the region's mean over all people.
            let all: f64 = (0..AGE_GROUPS).map(|j| region.ages.share[j] * column(matrix, j)).sum();
            for level in 0..LEVELS {
                for j in 0..AGE_GROUPS {
                    let own = if all > 0.0 { mean * column(matrix, j) / all } else { 0.0 };
                    counts.push(Counts::new(own * f64::from(1.0 - reductions.0[level][kind]), shares[kind] * reached));
                }
            }
        }
        let mut likely = by_kind.map(|(matrix, ..)| -> Likely {
            std::array::from_fn(|place| {
                let (j, i) = (place / AGE_GROUPS, place % AGE_GROUPS);
                let greatest = (0..AGE_GROUPS).map(|i| matrix[i][j]).fold(1e-12, f64::max);
                // Never quite impossible: who shares a place does meet.
                ((matrix[i][j] / greatest).max(0.02) * 65_535.0) as u32
            })
        });
        // At home ages do not matter.
        likely[Kind::Home as usize] = [65_535; AGE_GROUPS * AGE_GROUPS];
        let groups = (0..AGE_GROUPS)
            .map(|j| {
                let all = column(&matrices.other, j).max(1e-12);
                let mut until = [0.0; AGE_GROUPS];
                let mut before = 0.0;
                for (i, until) in until.iter_mut().enumerate() {
                    before += matrices.other[i][j] / all;
                    *until = before * 1024.0;
                }
                std::array::from_fn(|place| until.iter().position(|until| (place as f64) < *until).unwrap_or(AGE_GROUPS - 1) as u8)
            })
            .collect();
        let hours = contacts.hours;
        let mut longest = [0.0; 10];
        for (setting, hours) in [
            (Setting::Home, hours.home),
            (Setting::Residence, hours.home),
            (Setting::Work, hours.work),
            (Setting::School, hours.school),
            (Setting::Hospital, hours.hospital),
            (Setting::Store, hours.store),
            (Setting::Venue, hours.venue),
            (Setting::Park, hours.park),
        ] {
            longest[setting as usize] = hours as f32 * 3600.0;
        }
        let mut before = 0.0;
        let settings = outings(&region.outings, &contacts.hours).map(|(setting, share)| {
            before += share;
            (setting, (before.min(1.0) * 255.0) as u32)
        });
        // Strangers stand between 1 m and 4 m away, for a gamma-distributed time of nearly no spread.
        let near = ((f64::from(NEAR) - 100.0) / 300.0)
            * if contacts.unknown_seconds >= f64::from(parameters.transmission.least_seconds) { 0.5 } else { 0.0 };
        Self {
            counts,
            unknown: Counts::new(contacts.unknown * near, shares[Kind::Other as usize]),
            ready: std::array::from_fn(|kind| {
                std::array::from_fn(|level| reductions.0.get(level).map_or(0, |reduction| ((1.0 - reduction[kind]) * 65_535.0) as u32))
            }),
            likely,
            groups,
            seconds: std::array::from_fn(|j| std::array::from_fn(|i| contacts.seconds[i][j] as f32)),
            quantiles: positive_normal(1024),
            settings,
            longest,
            known: (contacts.known * 65_536.0) as u32,
            least_seconds: parameters.transmission.least_seconds,
            unknown_seconds: contacts.unknown_seconds as f32,
            noted_distance: parameters.phones.distance,
            noise: parameters.phones.noise / 2.0,
        }
    }

    #[inline]
    fn count(&self, kind: Kind, cell: Cell, word: u32) -> u32 {
        let level = usize::from(cell.mode & 7);
        self.counts[(kind as usize * LEVELS + level) * AGE_GROUPS + usize::from(cell.group)].draw(word)
    }

    /// The meetings that a person begins at home.
    pub fn at_home(&self, population: &Population, cells: &[Cell], key: u64, from: u32, mut each: impl FnMut(Meeting)) {
        let cell = cells[from as usize];
        let household = population.household[from as usize];
        let residents = population.residents(household);
        let others = residents.len() as u32 - 1;
        if others == 0 || cell.mode & ABSENT != 0 {
            return;
        }
        let seed = seed(key, from);
        let setting = if population.residence[household as usize] { Setting::Residence } else { Setting::Home };
        for contact in 0..self.count(Kind::Home, cell, begun(seed, Kind::Home) as u32).min(others) {
            let seed = contact_words(seed, Kind::Home, contact);
            let met = self.meet(cells, Kind::Home, cell.group, seed, 0, |word| {
                let other = residents.start + below(word, others);
                other + u32::from(other >= from)
            });
            if let Some(to) = met {
                each(Meeting { from, to, setting, strangers: false, seed });
            }
        }
    }

    /// The meetings at a place of work or a school that `matters` says something of, of those who `begins` says begin any. `cells` are
    /// the staff's, in its order; `room` is used again and again.
    #[allow(clippy::too_many_arguments, reason = "where, who and when a contact is")]
    pub(crate) fn at_work(
        &self,
        kind: Setting,
        staff: &[u32],
        cells: &[Cell],
        key: u64,
        room: &mut Colleagues,
        begins: impl Fn(Cell) -> bool,
        matters: impl Fn(Cell, Cell) -> bool,
        mut each: impl FnMut(Meeting),
    ) {
        if staff.len() < 2 {
            return;
        }
        let others = staff.len() as u32 - 1;
        let reduction = work_kind(kind);
        room.begin(cells);
        for (desk, cell) in cells.iter().enumerate() {
            if cell.mode & (ABSENT | STAYS) == 0 && begins(*cell) {
                let seed = seed(key, staff[desk]);
                let count = self.count(reduction, *cell, begun(seed, Kind::Work) as u32).min(others);
                (0..count).for_each(|contact| room.push(desk as u32, contact_words(seed, Kind::Work, contact)));
            }
        }
        room.meet(self.known, &self.ready[reduction as usize], &self.likely[reduction as usize], |desk, at, seed| {
            if matters(cells[desk], cells[at]) {
                each(Meeting { from: staff[desk], to: staff[at], setting: kind, strangers: false, seed });
            }
        });
    }

    /// The meetings that a person begins elsewhere, with people of the community: friends, and strangers.
    pub fn elsewhere(&self, population: &Population, cells: &[Cell], key: u64, from: u32, mut each: impl FnMut(Meeting)) {
        let cell = cells[from as usize];
        if cell.mode & (ABSENT | STAYS) != 0 {
            return;
        }
        let seed = seed(key, from);
        let begun = begun(seed, Kind::Other);
        let (friends, strangers) = (self.count(Kind::Other, cell, begun as u32), self.unknown.draw((begun >> 32) as u32));
        if friends + strangers == 0 {
            return;
        }
        let community = population.community[from as usize];
        let groups = &population.neighbour_groups[community as usize * AGE_GROUPS..=(community as usize + 1) * AGE_GROUPS];
        for contact in 0..friends {
            let seed = contact_words(seed, Kind::Other, contact);
            let known = (seed >> 32) as u32 & 0xFFFF < self.known;
            let met = self.meet(cells, Kind::Other, NO_GROUP, seed, STAYS, |word| {
                let group = usize::from(self.groups[usize::from(cell.group)][(word & 1023) as usize]);
                let (start, there) = (groups[group], groups[group + 1] - groups[group]);
                if there == 0 {
                    return from;
                }
                // Friends of a group are those that follow a place of one's own in it.
                let own = below(from.wrapping_mul(0x9E37_79B1), there);
                let (first, span) = if known { (own, KNOWN.min(there)) } else { (0, there) };
                let place = first + below(word, span);
                let place = if place >= there { place - there } else { place };
                population.neighbours[(start + place) as usize]
            });
            if let Some(to) = met.filter(|to| *to != from) {
                each(Meeting { from, to, setting: self.setting(seed), strangers: false, seed });
            }
        }
        let people = population.communities[community as usize]..population.communities[community as usize + 1];
        for contact in 0..strangers {
            let seed = contact_words(seed, Kind::School, contact);
            let met = self.meet(cells, Kind::Other, NO_GROUP, seed, STAYS, |word| people.start + below(word, people.len() as u32));
            if let Some(to) = met.filter(|to| *to != from) {
                each(Meeting { from, to, setting: self.setting(seed), strangers: true, seed });
            }
        }
    }

    fn setting(&self, seed: u64) -> Setting {
        let word = (seed >> 16) as u32 & 0xFF;
        self.settings.iter().find(|(_, until)| word <= *until).map_or(Setting::Park, |(setting, _)| *setting)
    }

    /// Whom one meets, as a place in `cells`: candidates until one is ready, by behaviour and ages; nobody when a few are not. Two are
    /// looked at together, so that the processor seldom guesses wrong.
    #[inline(always)]
    fn meet(&self, cells: &[Cell], kind: Kind, own: u8, seed: u64, away: u8, mut candidate: impl FnMut(u32) -> u32) -> Option<u32> {
        let (mut pick, mut luck) = (seed as u32, (seed >> 32) as u32);
        for _ in 0..TRIES / 2 {
            let mut met = None;
            for _ in 0..2 {
                let to = candidate(pick);
                let cell = cells[to as usize];
                let ready = self.ready[kind as usize][usize::from(cell.mode & 7)];
                let likely = match own {
                    NO_GROUP => 65_535,
                    _ => self.likely[kind as usize][usize::from(own) * AGE_GROUPS + usize::from(cell.group)],
                };
                #[allow(clippy::needless_bitwise_bool, reason = "no branch that is guessed wrong")]
                let accepts = (cell.mode & (ABSENT | away) == 0) & (luck >> 16 < (ready * likely) >> 16);
                met = if met.is_none() & accepts { Some(to) } else { met };
                (pick, luck) = next_candidate(pick, luck);
            }
            if met.is_some() {
                return met;
            }
        }
        None
    }

    /// For how many seconds two people were near each other, if it was long enough to count.
    #[inline]
    pub fn seconds(&self, meeting: &Meeting, cells: &[Cell]) -> Option<f32> {
        if meeting.strangers {
            return Some(self.unknown_seconds);
        }
        let (own, other) = (cells[meeting.from as usize].group, cells[meeting.to as usize].group);
        let mean = self.seconds[usize::from(own)][usize::from(other)];
        let seconds = (mean * self.quantiles[(meeting.more() as u32 >> 22) as usize]).min(self.longest[meeting.setting as usize]);
        (seconds >= self.least_seconds).then_some(seconds)
    }

    /// Whether two phones see each other as near: distance `d·(1 + (u − ½)·noise)`, with d from 0 to 2 m, or from 1 m for strangers.
    #[inline]
    pub fn noted(&self, meeting: &Meeting) -> bool {
        let word = meeting.more() as u32;
        let least = if meeting.strangers { NEAR / 2.0 } else { 0.0 };
        let distance = least + uniform(word << 18) * (NEAR - least);
        distance * (1.0 + (uniform(word << 25) - 0.5) * self.noise) < self.noted_distance
    }
}

/// The sequence of a person's day: its places are numbers of contacts, and of the contacts of each kind.
#[inline]
fn begun(seed: u64, kind: Kind) -> u64 {
    mix(seed.wrapping_add((kind as u64 + 1) << 32))
}

/// The first 64 bits of a contact.
#[inline]
fn contact_words(seed: u64, kind: Kind, contact: u32) -> u64 {
    mix(seed.wrapping_add(((kind as u64 + 5) << 32 | u64::from(contact)).wrapping_mul(GOLDEN)))
}

/// What picks the next candidate, and what decides on him.
#[inline(always)]
pub(crate) fn next_candidate(pick: u32, luck: u32) -> (u32, u32) {
    (pick.wrapping_mul(0x915F_77F5).wrapping_add(0x9E37_79B9), luck.wrapping_mul(0x93D7_65DD).wrapping_add(0x6A09_E667))
}

/// Whose contacts are reduced as which kind.
pub fn work_kind(kind: Setting) -> Kind {
    match kind {
        Setting::School => Kind::School,
        Setting::Store | Setting::Venue => Kind::Other,
        Setting::Residence => Kind::Home,
        _ => Kind::Work,
    }
}

/// How many colleagues on each side, or friends of an age group, one meets again and again.
pub(crate) const KNOWN: u32 = 6;
/// How many candidates there are.
pub(crate) const TRIES: usize = 6;
/// Ages do not matter, or have been seen to.
const NO_GROUP: u8 = u8::MAX;

/// How many contacts: a negative binomial number with r = mean and p = ½ (variance twice the mean), of which each takes place with a
/// probability, which makes it one with r = mean and p = 1/(1 + probability); from 32 bits.
#[derive(Debug, Clone)]
struct Counts {
    /// Walker's alias method: below which fraction it is the place itself, and what it is otherwise.
    alias: [(u32, u32); MOST],
}

/// The most contacts of a kind on a day, and one.
const MOST: usize = 64;

impl Counts {
    fn new(mean: f64, share: f64) -> Self {
        let mut p = [0.0; MOST];
        p[0] = 1.0;
        if mean * share > 1e-9 {
            let success = 1.0 / (1.0 + share);
            p[0] = success.powf(mean);
            for n in 1..MOST {
                p[n] = p[n - 1] * (mean + n as f64 - 1.0) / n as f64 * (1.0 - success);
            }
        }
        let all: f64 = p.iter().sum();
        let mut weights = p.map(|p| p / all * MOST as f64);
        let mut alias = std::array::from_fn(|place| (u32::MAX, place as u32));
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..MOST).partition(|place| weights[*place] < 1.0);
        while let (Some(low), Some(&high)) = (small.pop(), large.last()) {
            alias[low] = ((weights[low] * f64::from(u32::MAX)) as u32, high as u32);
            weights[high] -= 1.0 - weights[low];
            if weights[high] < 1.0 {
                large.pop();
                small.push(high);
            }
        }
        Self { alias }
    }

    #[inline]
    fn draw(&self, word: u32) -> u32 {
        let place = word >> 26;
        let (until, other) = self.alias[place as usize];
        if word << 6 <= until { place } else { other }
    }
}

/// Quantiles of a normal number with mean and deviation 1 under the condition that it is positive.
fn positive_normal(count: usize) -> Vec<f32> {
    use statrs::distribution::{ContinuousCDF, Normal};
    let normal = Normal::standard();
    let below = normal.cdf(-1.0);
    (0..count).map(|place| (1.0 + normal.inverse_cdf(below + (1.0 - below) * (place as f64 + 0.5) / count as f64)) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Random};

    #[test]
    fn counts_are_negative_binomial() {
        for mean in [0.1, 0.9, 2.7, 10.0, 18.0] {
            for share in [1.0, 0.3] {
                let counts = Counts::new(mean, share);
                let n = 200_000;
                let drawn: Vec<f64> = (0..n).map(|i| f64::from(counts.draw(Random(1).at(Purpose::Contacts, i, 0, 0)[0]))).collect();
                let average = drawn.iter().sum::<f64>() / f64::from(n);
                let variance = drawn.iter().map(|x| (x - average).powi(2)).sum::<f64>() / f64::from(n);
                assert!((average - share * mean).abs() < 0.02 * mean.max(0.5), "{mean}: {average}");
                assert!((variance - share * mean * (1.0 + share)).abs() < 0.05 * mean.max(0.5), "{mean}: {variance}");
            }
        }
        assert_eq!(Counts::new(0.0, 1.0).draw(u32::MAX), 0);
    }

    #[test]
    fn durations_are_positive_normal() {
        let quantiles = positive_normal(1024);
        // E[X | X > 0] = 1 + φ(1)/Φ(1) for X ~ N(1, 1).
        let mean = quantiles.iter().sum::<f32>() / 1024.0;
        assert!((mean - 1.287_6).abs() < 0.01 && quantiles[0] > 0.0, "{mean}");
    }
}
