//! What tracing could do at best: the true infectiousness, with noise if wanted.

use super::{Assessment, CALIBRATED, DAYS, Edges, Needs, Phone, Policy, THRESHOLDS, level, recommendation};
use crate::random::{Purpose, Random};

/// Knows how infectious everyone is: `(infectiousness + U(0, add))·(1 + U(−multiply, multiply))`.
#[derive(Debug, Clone)]
pub struct Oracle {
    /// Noise that is added.
    pub add: f32,
    /// Noise that is multiplied with.
    pub multiply: f32,
    /// Edges of levels.
    pub edges: Edges,
    /// The noise's own randomness.
    pub random: Random,
}

impl Oracle {
    /// Without noise.
    pub fn exact() -> Self {
        Self { add: 0.0, multiply: 0.0, edges: CALIBRATED, random: Random(0) }
    }
}

impl Policy for Oracle {
    fn name(&self) -> &'static str {
        "oracle"
    }

    fn needs(&self) -> Needs {
        Needs::Messages
    }

    fn looks_at_truth(&self) -> bool {
        true
    }

    fn assess(&self, phones: &[Phone], out: &mut [Assessment]) {
        for (phone, out) in phones.iter().zip(out) {
            let mut draws = self.random.draws(Purpose::Policy, phone.person, phone.day);
            let levels: [u8; DAYS] = std::array::from_fn(|day| {
                // For today what counts is tomorrow.
                let truth = if day == 0 { phone.tomorrow } else { phone.truth[day] };
                let noisy = if self.add > 0.0 || self.multiply > 0.0 {
                    (truth + self.add * draws.uniform()) * (1.0 + self.multiply * (2.0 * draws.uniform() - 1.0))
                } else {
                    truth
                };
                level(noisy, &self.edges)
            });
            *out = Assessment { levels, recommendation: recommendation(levels[0], THRESHOLDS) };
        }
    }
}
