//! Contact tracing: what a phone knows, and the policies that make recommendations of it.
//!
//! | policy | rule |
//! |---|---|
//! | [`binary`] | a positive test within 14 days among contacts (order 1), or among theirs (order 2) |
//! | [`heuristic`] | tests, symptoms and messages by thresholds, four versions |
//! | [`oracle`] | the true infectiousness, with noise if wanted |
//! | [`learnt`] | a network, or any function from what a phone knows to the infectiousness of 14 days |
//!
//! [`collect`] keeps what phones knew, and the truth, for networks to learn from.

pub mod binary;
pub mod collect;
pub mod heuristic;
pub mod learnt;
pub mod messages;
pub mod oracle;

use crate::symptoms::Symptoms;

/// Days that a phone remembers.
pub const DAYS: usize = 14;

/// Levels of risk; four bits.
pub const RISKS: usize = 16;

/// What a policy needs of phones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    /// Nothing: there is no app.
    Nothing,
    /// Which phones met, and who of them told of a positive test; up to so many steps.
    Contacts(u8),
    /// Messages of risk between phones that met.
    Messages,
}

/// How many contacts there were, by days ago and by the level of risk that they told. Level 0 is counted too.
pub type Mailbox = [[u16; RISKS]; DAYS];

/// What a phone knows. Days are counted backwards: 0 is today.
#[derive(Debug, Clone, Default)]
pub struct Phone {
    /// Whose phone it is: for a policy's own randomness, not for tracing.
    pub person: u32,
    /// Today.
    pub day: u32,
    /// Symptoms that were reported.
    pub symptoms: [Symptoms; DAYS],
    /// A result that was reported: positive or not, and how many days ago it came.
    pub test: Option<(bool, u32)>,
    /// Contacts by what they told.
    pub mailbox: Mailbox,
    /// The levels of risk that this phone told last.
    pub levels: [u8; DAYS],
    /// The recommendation that holds, 0 to 3.
    pub recommendation: u8,
    /// Someone within so many steps as the policy needs told of a positive test within these days.
    pub alerted: bool,
    /// Age, sex and conditions, from those who tell them.
    pub profile: Option<Profile>,
    /// True infectiousness of each day; nobody but an oracle may look.
    pub truth: [f32; DAYS],
    /// True infectiousness of tomorrow, which is what predictors of today learn to tell.
    pub tomorrow: f32,
    /// If the owner was infected by someone whom the phone met: how many days ago, and the level that this one's phone told of that day.
    pub exposure: Option<(u8, u8)>,
}

/// What a user tells the app once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// In years.
    pub age: u8,
    /// A place in [`SEXES`](crate::population::SEXES).
    pub sex: u8,
    /// A set of conditions.
    pub conditions: u16,
}

/// What a policy makes of a phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Assessment {
    /// Levels of risk for today and the days before, which contacts of those days are told.
    pub levels: [u8; DAYS],
    /// 0 to 3: what the user is recommended.
    pub recommendation: u8,
}

/// A tracing policy.
pub trait Policy: Send + Sync {
    /// Its name.
    fn name(&self) -> &str;

    /// What it needs.
    fn needs(&self) -> Needs;

    /// Assesses phones once a day, many at a time: `out` has an entry for each phone.
    fn assess(&self, phones: &[Phone], out: &mut [Assessment]);

    /// Whether it is asked once a day, with all phones, on the thread that simulates; otherwise with some of them at a time, by all
    /// threads, in any order.
    fn wants_all(&self) -> bool {
        false
    }

    /// Whether it looks at the truth: only then it is worked out.
    fn looks_at_truth(&self) -> bool {
        false
    }
}

/// Seventeen edges between which risk becomes a level.
pub type Edges = [f32; RISKS + 1];

/// Edges at 0.025 each.
pub const UNIFORM: Edges = [0.0, 0.025, 0.05, 0.075, 0.1, 0.125, 0.15, 0.175, 0.2, 0.225, 0.25, 0.275, 0.3, 0.325, 0.35, 0.375, 0.4];

/// Percentiles of the predictions of a trained model (COVI-AgentSim, `risk_mappings/calibrated.yaml`).
pub const CALIBRATED: Edges = [
    0.0, 0.010_190, 0.022_801, 0.033_925, 0.044_960, 0.056_415, 0.069_077, 0.083_319, 0.098_390, 0.115_345, 0.132_953, 0.153_869,
    0.174_802, 0.199_097, 0.225_826, 0.262_767, 1.0,
];

/// The level of a risk: `clamp(searchsorted_left(edges, risk) − 1, 0, 15)`.
pub fn level(risk: f32, edges: &Edges) -> u8 {
    (edges.partition_point(|edge| *edge < risk).saturating_sub(1)).min(RISKS - 1) as u8
}

/// The recommendation for a level: how many of three thresholds it is above.
pub fn recommendation(level: u8, thresholds: [u8; 3]) -> u8 {
    thresholds.iter().filter(|threshold| level > **threshold).count() as u8
}

/// Thresholds of recommendations from levels.
pub const THRESHOLDS: [u8; 3] = [0, 1, 2];

#[cfg(test)]
mod tests {
    use super::*;

    /// Cases 1 and 7 of the page.
    #[test]
    fn levels_and_recommendations() {
        for (risk, expected) in [(0.0, 0), (0.05, 1), (0.051, 2), (0.4, 15), (1.0, 15), (f32::NAN, 0)] {
            assert_eq!(level(risk, &UNIFORM), expected, "{risk}");
        }
        for (risk, expected) in [(0.01, 0), (0.0102, 1), (0.3, 15)] {
            assert_eq!(level(risk, &CALIBRATED), expected, "{risk}");
        }
        let found: Vec<u8> = (0..5).map(|level| recommendation(level, THRESHOLDS)).collect();
        assert_eq!(found, [0, 1, 2, 3, 3]);
        assert_eq!(recommendation(0, [0, 0, 1]), 0);
        assert_eq!(recommendation(15, [0, 0, 1]), 3);
    }
}
