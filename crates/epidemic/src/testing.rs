//! Tests: who asks, who gets one, what comes out, and who stays at home for it.

use serde::{Deserialize, Serialize};

use crate::{
    parameters::Testing,
    random::{Purpose, Random, uniform},
    symptoms::{EXTREMELY_SEVERE, SEVERE, SUSPICIOUS, Symptoms},
};

/// What tests there were of a person.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The day of the result that is waited for, plus one; 0 if none is.
    pub(crate) waits: u32,
    /// It will be positive.
    will_be: bool,
    /// It was positive once.
    pub(crate) positive: bool,
    /// With a negative result no other test is made before this day.
    rests: u32,
}

/// A result of today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TestResult {
    pub(crate) person: u32,
    pub(crate) positive: bool,
    /// The person tells the app.
    pub(crate) reported: bool,
}

/// All tests.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Tests {
    pub(crate) records: Vec<Record>,
    /// Who waits for a result.
    waiting: Vec<u32>,
}

/// Someone who asks for a test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) person: u32,
    score: f32,
    in_hospital: bool,
}

impl Tests {
    pub(crate) fn new(people: usize) -> Self {
        Self { records: vec![Record::default(); people], waiting: Vec::new() }
    }

    /// Whether a person asks for a test today, and how urgently.
    #[allow(clippy::too_many_arguments, reason = "everything that makes one ask")]
    pub(crate) fn candidate(
        &self,
        person: u32,
        day: u32,
        symptoms: Symptoms,
        in_hospital: bool,
        recommended: bool,
        testing: &Testing,
        random: Random,
    ) -> Option<Candidate> {
        let record = self.records[person as usize];
        if record.waits > 0 || record.positive || day < record.rests {
            return None;
        }
        let seed = random.seed(Purpose::Test, person, day);
        let (ask, order) = (seed as u32, (seed >> 32) as u32);
        let suspicious = symptoms & SUSPICIOUS != 0;
        let p = if suspicious { testing.ask_suspicious } else { testing.ask_other };
        (in_hospital || recommended || uniform(ask) < p).then(|| {
            let severe = symptoms & (SEVERE | EXTREMELY_SEVERE) != 0;
            let score = if severe { testing.score_severe } else { 0.0 } + if recommended { testing.score_recommended } else { 0.0 };
            // Those of a score are drawn by lot.
            Candidate { person, score: score + if in_hospital { 10.0 } else { 0.0 } + uniform(order) * 1e-3, in_hospital }
        })
    }

    /// Tests as many of the candidates as there are tests for; who is tested. `exposed` gives the days since an infection that is not
    /// over.
    pub(crate) fn take(
        &mut self,
        mut candidates: Vec<Candidate>,
        capacity: usize,
        day: u32,
        testing: &Testing,
        random: Random,
        exposed: impl Fn(u32) -> Option<f32>,
    ) -> Vec<u32> {
        candidates.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.person.cmp(&b.person)));
        candidates.truncate(capacity);
        for &Candidate { person, in_hospital, .. } in &candidates {
            let [luck, ..] = random.at(Purpose::Test, person, day, 1);
            let p = exposed(person).map_or(testing.false_positive, |days| 1.0 - testing.false_negative(days));
            let delay = if in_hospital { testing.delay_hospital } else { testing.delay };
            let record = &mut self.records[person as usize];
            record.will_be = uniform(luck) < p;
            record.waits = day + delay.ceil().max(0.0) as u32 + 1;
        }
        let tested: Vec<u32> = candidates.into_iter().map(|candidate| candidate.person).collect();
        self.waiting.extend(&tested);
        tested
    }

    /// Results that come today.
    pub(crate) fn results(&mut self, day: u32, testing: &Testing, random: Random) -> Vec<TestResult> {
        let Self { records, waiting } = self;
        let mut results = Vec::new();
        waiting.retain(|&person| {
            let record = &mut records[person as usize];
            if record.waits > day + 1 {
                return true;
            }
            let [luck, ..] = random.at(Purpose::Test, person, day, 2);
            record.waits = 0;
            record.positive |= record.will_be;
            record.rests = day + testing.negative_days.ceil().max(0.0) as u32;
            results.push(TestResult { person, positive: record.will_be, reported: uniform(luck) < testing.reported });
            false
        });
        results.sort_by_key(|result| result.person);
        results
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symptoms::FEVER;

    #[test]
    fn the_most_urgent_are_tested_and_told() {
        let testing = crate::Parameters::covid().unwrap().testing;
        let random = Random(2);
        let mut tests = Tests::new(1000);
        let asks = |tests: &Tests, day: u32| -> Vec<Candidate> {
            (0..1000)
                .filter_map(|person| {
                    tests.candidate(person, day, if person < 500 { FEVER | SEVERE } else { FEVER }, false, person >= 900, &testing, random)
                })
                .collect()
        };
        let candidates = asks(&tests, 4);
        // Three in four, and all to whom it is recommended.
        assert!((720..830).contains(&candidates.len()), "{}", candidates.len());
        let tested = tests.take(candidates, 300, 4, &testing, random, |_| Some(7.0));
        assert!(tested.len() == 300 && tested.iter().all(|person| *person < 500));
        assert!(asks(&tests, 5).iter().all(|candidate| !tested.contains(&candidate.person)));
        assert!(tests.results(5, &testing, random).is_empty());
        let results = tests.results(6, &testing, random);
        let positive = results.iter().filter(|result| result.positive).count();
        // A fifth is missed after seven days.
        assert!(results.len() == 300 && (215..265).contains(&positive), "{positive}");
    }
}
