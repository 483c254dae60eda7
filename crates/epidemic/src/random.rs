//! Counter-based randomness: a number depends on what it is for, never on what was drawn before.

/// Philox4x32-10 (Salmon, Moraes, Dror and Shaw, *Parallel random numbers: as easy as 1, 2, 3*, 2011): four random words from a key
/// and a counter.
#[inline]
pub fn philox(key: u64, mut counter: [u32; 4]) -> [u32; 4] {
    let (mut k0, mut k1) = (key as u32, (key >> 32) as u32);
    for _ in 0..10 {
        let (a, b) = (0xD251_1F53_u64 * u64::from(counter[0]), 0xCD9E_8D57_u64 * u64::from(counter[2]));
        counter = [(b >> 32) as u32 ^ counter[1] ^ k0, b as u32, (a >> 32) as u32 ^ counter[3] ^ k1, a as u32];
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    counter
}

/// What numbers are drawn for. Each has counters of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Of a person, once: phone, app, carefulness.
    Person,
    /// The contacts that a person begins on a day.
    Contacts,
    /// What else happens to a person on a day: illnesses, adherence.
    Day,
    /// Symptoms that are reported.
    Report,
    /// Tests.
    Test,
    /// The course of an infection.
    Course,
    /// Its symptoms.
    Symptoms,
    /// Who is infected first.
    First,
    /// Surfaces.
    Surface,
    /// Rolling identifiers of a phone.
    Identifier,
    /// Noise of a policy.
    Policy,
    /// What is kept to learn from.
    Sample,
    /// Infections from outside.
    Import,
    /// Who is vaccinated, and when.
    Vaccine,
}

/// All randomness of a simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Random(pub u64);

impl Random {
    /// Four words for a person (or place), a day and the number of the event among its kind.
    #[inline]
    pub fn at(self, purpose: Purpose, who: u32, day: u32, event: u32) -> [u32; 4] {
        philox(self.0, [who, day, event, purpose as u32])
    }

    /// What [`seed`] needs of a day.
    #[inline]
    pub fn key(self, purpose: Purpose, day: u32) -> u64 {
        mix(self.0 ^ (u64::from(day) << 8 | purpose as u64).wrapping_mul(GOLDEN))
    }

    /// 64 bits for a person and a day, at a third of the cost of [`at`](Self::at): for what is asked millions of times a day.
    #[inline]
    pub fn seed(self, purpose: Purpose, who: u32, day: u32) -> u64 {
        seed(self.key(purpose, day), who)
    }

    /// A sequence of numbers for a person and a day.
    pub fn draws(self, purpose: Purpose, who: u32, day: u32) -> Draws {
        Draws { random: self, purpose, who, day, event: 0, words: [0; 4], left: 0 }
    }
}

/// 64 bits for a person from the key of a day.
#[inline]
pub fn seed(key: u64, who: u32) -> u64 {
    mix(key.wrapping_add(u64::from(who).wrapping_mul(GOLDEN)))
}

/// 2^64 divided by the golden ratio.
pub const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The finaliser of SplitMix64 (Steele, Lea and Flood, *Fast splittable pseudorandom number generators*, 2014): places of a sequence
/// that counts in any steps become random numbers.
#[inline]
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

/// A sequence of numbers, for what needs more than a few.
#[derive(Debug, Clone)]
pub struct Draws {
    random: Random,
    purpose: Purpose,
    who: u32,
    day: u32,
    event: u32,
    words: [u32; 4],
    left: usize,
}

impl Draws {
    /// The next number in [0, 1).
    pub fn uniform(&mut self) -> f32 {
        uniform(self.word())
    }

    /// Whether something of this probability happens.
    pub fn chance(&mut self, p: f32) -> bool {
        self.uniform() < p
    }

    /// The next 32 bits.
    pub fn word(&mut self) -> u32 {
        if self.left == 0 {
            self.words = self.random.at(self.purpose, self.who, self.day, self.event);
            self.event += 1;
            self.left = 4;
        }
        self.left -= 1;
        self.words[3 - self.left]
    }

    /// A standard normal number (Box and Muller).
    pub fn normal(&mut self) -> f32 {
        let (u, v) = (f64::from(self.uniform()) + f64::from(f32::EPSILON) / 2.0, f64::from(self.uniform()));
        ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
    }

    /// A gamma number of this shape (1 and more) and scale 1 (Marsaglia and Tsang).
    pub fn gamma(&mut self, shape: f32) -> f32 {
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            let u = self.uniform().max(f32::MIN_POSITIVE);
            if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    /// An exponential number of this mean.
    pub fn exponential(&mut self, mean: f32) -> f32 {
        -mean * (1.0 - self.uniform()).ln()
    }

    /// A place in a list of weights.
    pub fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = f64::from(self.uniform()) * weights.iter().sum::<f64>();
        for (place, weight) in weights.iter().enumerate() {
            if left < *weight {
                return place;
            }
            left -= weight;
        }
        weights.iter().rposition(|weight| *weight > 0.0).unwrap_or(0)
    }
}

/// A number in [0, 1) from 32 bits.
#[inline]
pub fn uniform(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / (1 << 24) as f32)
}

/// A whole number below `count` from 32 bits.
#[inline]
pub fn below(word: u32, count: u32) -> u32 {
    ((u64::from(word) * u64::from(count)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers of Random123.
    #[test]
    fn philox_gives_the_published_numbers() {
        assert_eq!(philox(0, [0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox(u64::MAX, [u32::MAX; 4]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(philox(0x299f_31d0_a409_3822, pi), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn moments() {
        let mut draws = Random(3).draws(Purpose::Course, 1, 1);
        let n = 40_000;
        let gamma: Vec<f32> = (0..n).map(|_| draws.gamma(5.807)).collect();
        let mean = gamma.iter().sum::<f32>() / n as f32;
        let variance = gamma.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / n as f32;
        assert!((mean - 5.807).abs() < 0.05 && (variance - 5.807).abs() < 0.2, "{mean} {variance}");
        let normal = (0..n).map(|_| draws.normal()).sum::<f32>() / n as f32;
        assert!(normal.abs() < 0.02, "{normal}");
        let exponential = (0..n).map(|_| draws.exponential(3.0)).sum::<f32>() / n as f32;
        assert!((exponential - 3.0).abs() < 0.06, "{exponential}");
        let third = (0..n).filter(|_| draws.weighted(&[1.0, 0.0, 2.0]) == 2).count() as f32 / n as f32;
        assert!((third - 2.0 / 3.0).abs() < 0.01, "{third}");
    }
}
