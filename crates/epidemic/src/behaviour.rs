//! How much people meet at each level of caution.

use crate::parameters::Behaviour;

/// What kind of contacts a reduction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// At home.
    Home,
    /// At work.
    Work,
    /// At school.
    School,
    /// Elsewhere.
    Other,
}

/// Levels: 0 as before the epidemic, 1 to 4 for the recommendations 0 to 3, of which the last is quarantine.
pub const LEVELS: usize = 5;

/// Quarantine.
pub const QUARANTINE: u8 = 4;

/// Shares of contacts that fall away, by level and kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reductions(pub [[f32; 4]; LEVELS]);

impl Reductions {
    /// Level 3 is a part of what lockdown was, levels 2 and 1 are half of the next; level 4 is everything.
    pub fn graded(behaviour: &Behaviour) -> Self {
        let strict = Self::strict(behaviour);
        Self([[0.0; 4], strict.map(|f| f / 4.0), strict.map(|f| f / 2.0), strict, [1.0; 4]])
    }

    /// Everyone as under lockdown, but for quarantine.
    pub fn lockdown(behaviour: &Behaviour) -> Self {
        let strict = Self::strict(behaviour);
        Self([[0.0; 4], strict, strict, strict, [1.0; 4]])
    }

    /// Everyone as before, but for quarantine.
    pub fn unmitigated() -> Self {
        Self([[0.0; 4], [0.0; 4], [0.0; 4], [0.0; 4], [1.0; 4]])
    }

    fn strict(behaviour: &Behaviour) -> [f32; 4] {
        let cut = behaviour.lockdown;
        [cut.home, cut.work, cut.school, cut.other].map(|f| f * behaviour.interpolation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the paper's page, section 2.4.
    #[test]
    fn levels() {
        let behaviour = crate::Parameters::covid().unwrap().behaviour;
        let expected = [
            [0.0, 0.0, 0.0, 0.0],
            [0.0675, 0.18, 0.225, 0.1125],
            [0.135, 0.36, 0.45, 0.225],
            [0.27, 0.72, 0.90, 0.45],
            [1.0, 1.0, 1.0, 1.0],
        ];
        for (found, expected) in Reductions::graded(&behaviour).0.iter().flatten().zip(expected.iter().flatten()) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }
}
