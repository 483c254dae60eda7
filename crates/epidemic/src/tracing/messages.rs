//! What goes from phone to phone, and that it tells nothing more than it must.
//!
//! Two phones that are near each other for long enough exchange rolling identifiers, which change every day. When the risk of a past
//! day changes, a phone leaves an update under the identifier of that day: the level that was and the level that is. The receiver
//! keeps no more than how many contacts of a day are at which level. No message has a place, a name or a symptom in it, and no
//! identifier is on two days.
//!
//! A simulation knows who met whom and brings updates by that; identifiers are what stands in for it between real phones.

use serde::{Deserialize, Serialize};

use super::{DAYS, Mailbox, RISKS};
use crate::random::{Purpose, Random};

/// The identifier that a phone with this secret has on a day. Who does not know the secret cannot tell whether two of them are of the
/// same phone.
pub fn identifier(secret: u64, day: u32) -> u64 {
    let [a, b, ..] = Random(secret).at(Purpose::Identifier, 0, day, 0);
    u64::from(a) | u64::from(b) << 32
}

/// Contacts by day and level, as a ring over days. Level 0 is what is left of the contacts of a day, and not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ring(pub [[u8; RISKS]; DAYS]);

impl Default for Ring {
    fn default() -> Self {
        Self([[0; RISKS]; DAYS])
    }
}

impl Ring {
    /// Forgets the oldest day, for a new one.
    #[inline]
    pub fn begin(&mut self, day: u32) {
        self.0[day as usize % DAYS] = [0; RISKS];
    }

    /// A contact of this day is at another level.
    #[inline]
    pub fn update(&mut self, day: u32, was: u8, is: u8) {
        let row = &mut self.0[day as usize % DAYS];
        if was > 0 {
            row[usize::from(was)] = row[usize::from(was)].saturating_sub(1);
        }
        if is > 0 {
            row[usize::from(is)] = row[usize::from(is)].saturating_add(1);
        }
    }

    /// By days ago; `contacts` is how many there were, by days ago.
    pub fn mailbox(&self, today: u32, contacts: [u16; DAYS]) -> Mailbox {
        std::array::from_fn(|ago| {
            let row = match (today as usize).checked_sub(ago) {
                Some(day) => &self.0[day % DAYS],
                None => &[0; RISKS],
            };
            let mut counts: [u16; RISKS] = std::array::from_fn(|level| u16::from(row[level]));
            counts[0] = contacts[ago].saturating_sub(counts[1..].iter().sum());
            counts
        })
    }
}

/// Fourteen levels of four bits, as a ring over days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Levels(pub u64);

impl Levels {
    /// The level of a day.
    #[inline]
    pub fn at(self, day: u32) -> u8 {
        (self.0 >> (4 * (day as usize % DAYS)) & 15) as u8
    }

    /// Changes the level of a day.
    #[inline]
    pub fn set(&mut self, day: u32, level: u8) {
        let shift = 4 * (day as usize % DAYS);
        self.0 = self.0 & !(15 << shift) | u64::from(level) << shift;
    }

    /// By days ago.
    pub fn back_from(self, today: u32) -> [u8; DAYS] {
        std::array::from_fn(|ago| (today as usize).checked_sub(ago).map_or(0, |day| self.at(day as u32)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    /// Case 9 of the page.
    #[test]
    fn an_update_moves_one_contact() {
        let mut ring = Ring::default();
        let (today, day) = (20, 17);
        for level in [2, 2, 2, 5] {
            ring.update(day, 0, level);
        }
        ring.update(day, 2, 9);
        let mailbox = ring.mailbox(today, [4; DAYS]);
        assert_eq!((mailbox[3][2], mailbox[3][5], mailbox[3][9], mailbox[3][0]), (2, 1, 1, 0));
        assert_eq!(mailbox[3].iter().sum::<u16>(), 4);
    }

    proptest! {
        /// No identifier is on two days or of two phones, and what all phones send holds nothing that two days share.
        #[test]
        fn messages_cannot_be_linked(secrets in proptest::collection::hash_set(any::<u64>(), 2..20), days in 2_u32..60) {
            let mut seen = HashSet::new();
            for secret in &secrets {
                for day in 0..days {
                    prop_assert!(seen.insert(identifier(*secret, day)));
                }
            }
            // Bits of one day say nothing about those of the next: half of them change.
            let all: u32 = secrets.iter().flat_map(|secret| (1..days).map(move |day| (identifier(*secret, day) ^ identifier(*secret, day - 1)).count_ones())).sum();
            let pairs = secrets.len() as f64 * f64::from(days - 1);
            prop_assert!((f64::from(all) / pairs - 32.0).abs() < 5.0 * 4.0 / pairs.sqrt() + 1e-9);
        }

        #[test]
        fn levels_are_kept(levels in proptest::collection::vec(0_u8..16, 1..40)) {
            let mut ring = Levels::default();
            for (day, level) in levels.iter().enumerate() {
                ring.set(day as u32, *level);
            }
            let today = levels.len() as u32 - 1;
            for (ago, level) in levels.iter().rev().take(DAYS).enumerate() {
                prop_assert_eq!(ring.back_from(today)[ago], *level);
            }
        }
    }
}
