//! What a network sees of a phone.

use crate::{
    symptoms::NAMES,
    tracing::{DAYS, Phone, RISKS},
};

/// Numbers for the health of a day: each symptom, and the result of a test.
pub const HEALTH: usize = NAMES.len() + 1;

/// Numbers for a profile: whether there is one, age in centuries, three sexes, eight conditions.
pub const PROFILE: usize = 13;

/// Numbers for all of it as one vector: health by day, contacts by day and level, profile.
pub const FLAT: usize = DAYS * HEALTH + DAYS * (RISKS - 1) + PROFILE;

/// Contacts of one day who told one level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cluster {
    /// How many days ago; not today, whose messages are still changing.
    pub ago: u8,
    /// The level.
    pub level: u8,
    /// How many.
    pub count: u16,
}

/// A phone as a network sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    /// By days ago.
    pub health: [[f32; HEALTH]; DAYS],
    /// Zeros for who tells nothing.
    pub profile: [f32; PROFILE],
    /// By days ago, then by level.
    pub clusters: Vec<Cluster>,
}

impl Inputs {
    /// Of a phone.
    pub fn of(phone: &Phone) -> Self {
        let mut health = [[0.0; HEALTH]; DAYS];
        for (numbers, symptoms) in health.iter_mut().zip(phone.symptoms) {
            for (symptom, number) in numbers[..NAMES.len()].iter_mut().enumerate() {
                *number = f32::from(symptoms >> symptom & 1 == 1);
            }
        }
        if let Some((positive, ago)) = phone.test
            && let Some(numbers) = health.get_mut(ago as usize)
        {
            numbers[NAMES.len()] = if positive { 1.0 } else { -1.0 };
        }
        let mut profile = [0.0; PROFILE];
        if let Some(known) = phone.profile {
            (profile[0], profile[1]) = (1.0, f32::from(known.age) / 100.0);
            profile[2 + usize::from(known.sex).min(2)] = 1.0;
            for (condition, number) in profile[5..].iter_mut().enumerate() {
                *number = f32::from(known.conditions >> condition & 1 == 1);
            }
        }
        let clusters = phone.mailbox.iter().enumerate().skip(1).flat_map(|(ago, counts)| {
            counts.iter().enumerate().filter(|(_, count)| **count > 0).map(move |(level, count)| Cluster {
                ago: ago as u8,
                level: level as u8,
                count: *count,
            })
        });
        Self { health, profile, clusters: clusters.collect() }
    }

    /// As one vector; contacts as ln(1 + count).
    pub fn flat(&self) -> [f32; FLAT] {
        let mut flat = [0.0; FLAT];
        let (health, rest) = flat.split_at_mut(DAYS * HEALTH);
        let (contacts, profile) = rest.split_at_mut(DAYS * (RISKS - 1));
        health.copy_from_slice(self.health.as_flattened());
        for cluster in self.clusters.iter().filter(|cluster| cluster.level > 0) {
            contacts[usize::from(cluster.ago) * (RISKS - 1) + usize::from(cluster.level) - 1] = f32::from(cluster.count).ln_1p();
        }
        profile.copy_from_slice(&self.profile);
        flat
    }

    /// How many things the phone's set has: a slot a day, and the clusters.
    pub fn len(&self) -> usize {
        DAYS + self.clusters.len()
    }

    /// Never: there are always the days.
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// A count as sines and cosines of length 1: `sin(x/10⁴^(i/d)), cos(x/10⁴^(i/d))` for i below d/2, over √(d/2).
pub fn waves(count: u16, into: &mut [f32]) {
    let width = into.len();
    let (sines, cosines) = into.split_at_mut(width / 2);
    let scale = (width as f32 / 2.0).sqrt().recip();
    for (i, (sine, cosine)) in sines.iter_mut().zip(cosines).enumerate() {
        let angle = f64::from(count) / 1e4_f64.powf(i as f64 / width as f64);
        *sine = angle.sin() as f32 * scale;
        *cosine = angle.cos() as f32 * scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracing::Profile;

    #[test]
    fn a_phone_in_numbers() {
        let mut phone = Phone { test: Some((false, 3)), profile: Some(Profile { age: 40, sex: 1, conditions: 0b10 }), ..Phone::default() };
        phone.symptoms[2] = 1 << 4 | 1 << 26;
        phone.mailbox[0][9] = 5;
        phone.mailbox[1] = [0; RISKS];
        phone.mailbox[5][0] = 7;
        phone.mailbox[5][15] = 1;
        let inputs = Inputs::of(&phone);
        assert_eq!((inputs.health[2][4], inputs.health[2][26], inputs.health[2][5], inputs.health[3][27]), (1.0, 1.0, 0.0, -1.0));
        assert_eq!(inputs.profile, [1.0, 0.4, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        // Today's messages are left out.
        assert_eq!(inputs.clusters, [Cluster { ago: 5, level: 0, count: 7 }, Cluster { ago: 5, level: 15, count: 1 }]);
        let flat = inputs.flat();
        assert_eq!(flat[DAYS * HEALTH + 5 * 15 + 14], 2.0_f32.ln());
        assert_eq!(flat.iter().filter(|x| **x != 0.0).count(), 3 + 1 + 4);
        let mut wave = [0.0; 8];
        waves(3, &mut wave);
        assert!((wave.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-6);
    }
}
