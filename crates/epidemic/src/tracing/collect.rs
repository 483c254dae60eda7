//! What phones knew and what was true, for predictors to learn from.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Assessment, Needs, Phone, Policy};
use crate::random::{Purpose, Random};

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// The share of people who follow recommendations; the others are recommended nothing, so that infections are passed on among phones
    /// too whose owners a good policy would keep at home.
    pub follow: f32,
    /// The share of phones and days that is kept.
    pub share: f32,
    /// Of those whose owner was not infectious at any time, the share that is kept of this share.
    pub well: f32,
}

/// Another policy, and a sample of the phones that it assessed.
pub struct Collector {
    policy: Arc<dyn Policy>,
    sampling: Sampling,
    random: Random,
    found: Mutex<Vec<Phone>>,
}

impl Collector {
    /// Of a policy that assesses.
    pub fn new(policy: Arc<dyn Policy>, sampling: Sampling, random: Random) -> Self {
        Self { policy, sampling, random, found: Mutex::new(Vec::new()) }
    }

    /// What was kept so far, by day and then by person.
    pub fn take(&self) -> Vec<Phone> {
        let mut found = std::mem::take(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner));
        found.sort_unstable_by_key(|phone| (phone.day, phone.person));
        found
    }
}

impl Policy for Collector {
    fn name(&self) -> &str {
        self.policy.name()
    }

    fn needs(&self) -> Needs {
        Needs::Messages
    }

    fn looks_at_truth(&self) -> bool {
        true
    }

    fn assess(&self, phones: &[Phone], out: &mut [Assessment]) {
        self.policy.assess(phones, out);
        let Sampling { follow, share, well } = self.sampling;
        for (phone, out) in phones.iter().zip(out) {
            // The same people on all days: their draws begin with this one.
            if !self.random.draws(Purpose::Sample, phone.person, u32::MAX).chance(follow) {
                out.recommendation = 0;
            }
        }
        let kept = phones.iter().filter(|phone| {
            let is_well = phone.tomorrow == 0.0 && phone.truth.iter().all(|truth| *truth == 0.0);
            let share = if is_well { share * well } else { share };
            self.random.draws(Purpose::Sample, phone.person, phone.day).chance(share)
        });
        let kept: Vec<Phone> = kept.cloned().collect();
        self.found.lock().unwrap_or_else(PoisonError::into_inner).extend(kept);
    }
}
