//! Proactive tracing by rules: tests, symptoms and messages raise the risk of some days, quiet weeks lower it.
//!
//! Bengio, Gupta, Maharaj, Rahaman, Weiss et al., *Predicting infectiousness for proactive contact tracing*, ICLR 2021, appendix;
//! constants and order of the rules from COVI-AgentSim, `interventions/tracing.py`.

use super::{Assessment, DAYS, Needs, Phone, Policy};
use crate::symptoms::{self, EXTREMELY_SEVERE, MODERATE, SEVERE, Symptoms};

/// Thresholds of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rules {
    /// Messages from these levels on are high, moderate and mild.
    messages: [u8; 3],
    /// What is recommended for them.
    message_recommendations: [u8; 3],
    /// The level that severe, moderate and other symptoms have.
    symptoms: [u8; 3],
    /// What is recommended for them.
    symptom_recommendations: [u8; 3],
}

/// The rules in one of four versions.
#[derive(Debug, Clone, Copy)]
pub struct Heuristic {
    version: u8,
    rules: Rules,
}

/// Days around a negative test on which it counts.
const PROTECTED: usize = 8;
/// More messages than this in a cluster overrule a negative test.
const OVERRULE: u16 = 10;
/// No risk.
const LEVEL_0: u8 = 0;

impl Heuristic {
    /// A version, 1 to 4.
    pub fn new(version: u8) -> Self {
        let rules = match version {
            1 => Rules {
                messages: [12, 10, 6],
                message_recommendations: [3, 2, 2],
                symptoms: [12, 10, 7],
                symptom_recommendations: [3, 3, 2],
            },
            2 => {
                Rules { messages: [10, 8, 4], message_recommendations: [2, 1, 1], symptoms: [10, 8, 6], symptom_recommendations: [2, 2, 1] }
            }
            _ => Rules {
                messages: [15, 13, 10],
                message_recommendations: [3, 2, 1],
                symptoms: [13, 10, 5],
                symptom_recommendations: [3, 2, 1],
            },
        };
        Self { version, rules }
    }

    fn assess_one(&self, phone: &Phone) -> Assessment {
        // A positive test that was told decides.
        if matches!(phone.test, Some((true, _))) {
            return Assessment { levels: [15; DAYS], recommendation: 3 };
        }
        let negative = match phone.test {
            Some((false, days)) if (days as usize) < DAYS => Some(days as usize),
            _ => None,
        };
        let messages = self.messages(phone);
        let (symptom_level, symptom_recommendation) = self.symptoms(phone);
        if self.recovered(phone) {
            let mut levels = phone.levels;
            levels[..DAYS / 2].fill(LEVEL_0);
            return Assessment { levels, recommendation: 0 };
        }
        let mut levels = phone.levels;
        let raise = |levels: &mut [u8; DAYS], days: usize, level: u8| {
            levels[..days.min(DAYS)].iter_mut().for_each(|day| *day = (*day).max(level));
        };
        raise(&mut levels, messages.days, messages.level);
        if let Some(level) = symptom_level {
            raise(&mut levels, DAYS / 2, level);
        }
        let mut recommendation = messages.recommendation.max(symptom_recommendation).max(phone.recommendation);
        if let Some(days) = negative.filter(|_| !messages.overrule) {
            // As many days as since the test and half the window are level 1, a window of them in place of what was there.
            let length = days + PROTECTED / 2;
            let offset = length.saturating_sub(PROTECTED);
            levels[offset.min(DAYS)..(offset + PROTECTED.min(length)).min(DAYS)].fill(1);
            if length <= PROTECTED {
                recommendation = 0;
            }
        }
        if recommendation > 0 && levels[0] == LEVEL_0 {
            recommendation = 0;
        }
        Assessment { levels, recommendation }
    }

    fn messages(&self, phone: &Phone) -> Messages {
        let (mut greatest, mut earliest, mut overrule) = ([0_u8; 3], [0_usize; 3], false);
        for (day, counts) in phone.mailbox.iter().enumerate() {
            for level in (self.rules.messages[2]..16).filter(|level| counts[usize::from(*level)] > 0) {
                let class = self.rules.messages.iter().position(|least| level >= *least).unwrap_or(2);
                greatest[class] = greatest[class].max(level);
                // Infectious a day after the contact, about.
                earliest[class] = earliest[class].max(day.saturating_sub(1));
                overrule |= counts[usize::from(level)] > OVERRULE;
            }
        }
        let class = (0..3).find(|class| greatest[*class] > 0 && earliest[*class] > 0);
        class.map_or(Messages { overrule, ..Messages::default() }, |class| Messages {
            level: phone.levels[0].max(greatest[class].saturating_sub(5)),
            days: if class == 2 { earliest[class].min(5) } else { earliest[class] },
            recommendation: self.rules.message_recommendations[class].max(phone.recommendation),
            overrule,
        })
    }

    fn symptoms(&self, phone: &Phone) -> (Option<u8>, u8) {
        let told = phone.symptoms[0];
        if told == 0 {
            return (None, 0);
        }
        let class = if self.version == 4 {
            // By how much they say about COVID-19. The authors' middle class cannot come up: it is kept as they have it.
            usize::from(told & TELLING == 0) * 2
        } else if told & (SEVERE | EXTREMELY_SEVERE) != 0 {
            0
        } else if told & MODERATE != 0 {
            1
        } else {
            2
        };
        (Some(self.rules.symptoms[class]), self.rules.symptom_recommendations[class])
    }

    fn recovered(&self, phone: &Phone) -> bool {
        let quiet = |least: u8, days: usize| {
            phone.mailbox[..days].iter().all(|counts| counts[usize::from(least)..].iter().all(|count| *count == 0))
        };
        let between = |least: u8, until: u8, days: usize| {
            phone.mailbox[..days].iter().all(|counts| counts[usize::from(least)..usize::from(until)].iter().all(|count| *count == 0))
        };
        let [high, moderate, mild] = self.rules.messages;
        phone.symptoms[..DAYS / 2].iter().all(|symptoms| *symptoms == 0)
            && match self.version {
                1 | 2 => quiet(3, 7),
                3 => quiet(10, 7),
                _ => quiet(high, 7) && between(moderate, high, 4) && between(mild, moderate, 2),
            }
    }
}

/// Symptoms that version 4 takes for severe.
const TELLING: Symptoms = SEVERE
    | EXTREMELY_SEVERE
    | symptoms::CHILLS
    | symptoms::UNUSUAL
    | symptoms::HEADACHE
    | symptoms::CONFUSED
    | symptoms::CONSCIOUSNESS
    | symptoms::BREATHING
    | symptoms::SORE_THROAT
    | symptoms::CHEST_PAIN
    | symptoms::TASTE
    | symptoms::LIGHT_BREATHING
    | symptoms::MODERATE_BREATHING
    | symptoms::HEAVY_BREATHING;

#[derive(Debug, Clone, Copy, Default)]
struct Messages {
    level: u8,
    days: usize,
    recommendation: u8,
    overrule: bool,
}

impl Policy for Heuristic {
    fn name(&self) -> &str {
        ["heuristic1", "heuristic2", "heuristic3", "heuristic4"][usize::from(self.version.clamp(1, 4)) - 1]
    }

    fn needs(&self) -> Needs {
        Needs::Messages
    }

    fn assess(&self, phones: &[Phone], out: &mut [Assessment]) {
        phones.iter().zip(out).for_each(|(phone, out)| *out = self.assess_one(phone));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symptoms::{COUGH, MILD};

    fn quiet() -> Phone {
        Phone { day: 30, ..Phone::default() }
    }

    #[test]
    fn each_rule() {
        let first = Heuristic::new(1);
        assert_eq!(first.assess_one(&quiet()), Assessment::default());
        let positive = first.assess_one(&Phone { test: Some((true, 2)), ..quiet() });
        assert_eq!(positive, Assessment { levels: [15; DAYS], recommendation: 3 });
        // Symptoms: seven days of their level.
        let mut ill = quiet();
        ill.symptoms[0] = MILD | COUGH;
        let mild = first.assess_one(&ill);
        assert_eq!((mild.levels[..7].to_vec(), mild.levels[7], mild.recommendation), (vec![7; 7], 0, 2));
        // A high message five days ago: four days at its level less 5.
        let mut met = quiet();
        met.mailbox[5][15] = 1;
        let told = first.assess_one(&met);
        assert_eq!((told.levels[..4].to_vec(), told.levels[4], told.recommendation), (vec![10; 4], 0, 3));
        // A negative test makes a level of 1 of it, unless there are many messages.
        met.test = Some((false, 1));
        let negative = first.assess_one(&met);
        assert_eq!((negative.levels[0], negative.recommendation), (1, 0));
        met.mailbox[5][15] = 11;
        assert_eq!(first.assess_one(&met).recommendation, 3);
        // Quiet for a week: back to 0, and the older days stay.
        let mut well = Phone { levels: [9; DAYS], recommendation: 3, ..quiet() };
        let recovered = first.assess_one(&well);
        assert_eq!((recovered.levels[..7].to_vec(), recovered.levels[7], recovered.recommendation), (vec![0; 7], 9, 0));
        well.symptoms[6] = COUGH;
        assert_eq!(first.assess_one(&well).recommendation, 3);
    }

    #[test]
    fn versions_differ_as_they_should() {
        let mut met = quiet();
        met.mailbox[5][10] = 1;
        let of = |version| Heuristic::new(version).assess_one(&met).recommendation;
        assert_eq!([of(1), of(2), of(3), of(4)], [2, 2, 1, 0]);
    }
}
