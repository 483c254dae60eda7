//! Symptoms: of COVID-19 by phase and severity, of colds, flu and allergies, and what is told to the app.

use crate::{
    parameters::Phones,
    random::{Draws, Purpose, Random},
};

/// A set of symptoms: bit i is symptom i, with the numbers of COVI-AgentSim.
pub type Symptoms = u32;

/// Names by number.
pub const NAMES: [&str; 27] = [
    "moderate",
    "mild",
    "severe",
    "extremely severe",
    "fever",
    "chills",
    "gastro",
    "diarrhoea",
    "nausea",
    "fatigue",
    "unusual",
    "hard time waking up",
    "headache",
    "confused",
    "lost consciousness",
    "trouble breathing",
    "sneezing",
    "cough",
    "runny nose",
    "aches",
    "sore throat",
    "severe chest pain",
    "loss of taste",
    "mild trouble breathing",
    "light trouble breathing",
    "moderate trouble breathing",
    "heavy trouble breathing",
];

macro_rules! symptoms {
    ($($name:ident = $number:literal;)*) => { $(#[doc = concat!("Symptom ", $number, ".")] pub const $name: Symptoms = 1 << $number;)* };
}

symptoms! {
    MODERATE = 0; MILD = 1; SEVERE = 2; EXTREMELY_SEVERE = 3; FEVER = 4; CHILLS = 5; GASTRO = 6; DIARRHOEA = 7; NAUSEA = 8;
    FATIGUE = 9; UNUSUAL = 10; WAKING = 11; HEADACHE = 12; CONFUSED = 13; CONSCIOUSNESS = 14; BREATHING = 15; SNEEZING = 16;
    COUGH = 17; RUNNY_NOSE = 18; ACHES = 19; SORE_THROAT = 20; CHEST_PAIN = 21; TASTE = 22; MILD_BREATHING = 23;
    LIGHT_BREATHING = 24; MODERATE_BREATHING = 25; HEAVY_BREATHING = 26;
}

/// With these people ask for a test.
pub const SUSPICIOUS: Symptoms = SEVERE | EXTREMELY_SEVERE | COUGH | FEVER | BREATHING | CHILLS | TASTE;

/// What is known of a person before the infection.
#[derive(Debug, Clone, Copy)]
pub struct Constitution {
    /// In years.
    pub age: u8,
    /// Would be severely ill.
    pub severe: bool,
    /// Would need intensive care.
    pub extreme: bool,
    /// How many conditions there are before.
    pub conditions: u32,
    /// Smokes, or has a disease of the lungs.
    pub lungs: bool,
    /// From 0 to 1.
    pub carefulness: f32,
}

/// Symptoms in the five phases: incubation, onset, plateau, and the two halves of recovery. `dose` is the viral load at infection,
/// from 0 to 1.
pub fn covid(body: Constitution, dose: f32, draws: &mut Draws) -> [Symptoms; 5] {
    let mut phases = [0; 5];
    for phase in 1..5 {
        phases[phase] = covid_phase(body, dose, phase, phases[phase - 1], draws);
    }
    phases
}

fn covid_phase(body: Constitution, dose: f32, phase: usize, before: Symptoms, draws: &mut Draws) -> Symptoms {
    let weak = body.severe || body.extreme || body.conditions > 2;
    let severity = match phase {
        1 if weak || dose > 0.6 => MODERATE,
        2 if body.extreme => EXTREMELY_SEVERE,
        2 if weak || dose > 0.6 => SEVERE,
        2 if draws.chance(dose - 0.15) => MODERATE,
        3 if body.extreme => SEVERE,
        3 if body.severe => MODERATE,
        4 if body.extreme => MODERATE,
        _ => MILD,
    };
    let mut all = severity;
    let fever = match phase {
        1 if weak || dose > 0.6 => 0.4,
        1 => 0.2,
        2 if before & FEVER != 0 || dose > 0.6 => 1.0,
        2 => 0.8,
        _ => 0.0,
    };
    if draws.chance(fever) {
        all |= FEVER;
        if (phase == 2 || body.extreme) && draws.chance([0.0, 0.8, 0.5][phase]) {
            all |= CHILLS;
        }
    }
    let gastro = if before & GASTRO != 0 { 1.0 } else { (dose - 0.15) * [0.0, 1.0, 0.25, 0.1, 0.1][phase] };
    if draws.chance(gastro) {
        all |= GASTRO;
        any(&mut all, draws, &[(DIARRHOEA, 0.9), (NAUSEA, 0.7)]);
    }
    let age = f32::from(body.age);
    let tired = age / 200.0 + dose * 0.6 - body.carefulness / 2.0;
    let tired = match phase {
        1 => tired,
        2 => tired + dose - 0.15,
        3 => tired * 1.5 + dose - 0.15,
        _ => tired * 2.0 + dose - 0.15,
    };
    if draws.chance(tired) {
        all |= FATIGUE;
        if body.age > 75 && draws.chance(if phase == 1 { 0.2 } else { 0.5 }) {
            all |= UNUSUAL;
        }
        if weak && draws.chance(0.1) {
            all |= CONSCIOUSNESS;
        }
        any(&mut all, draws, &[(WAKING, 0.6), (HEADACHE, 0.5), (CONFUSED, 0.1)]);
    }
    let free = dose - body.carefulness * 0.25;
    let breathing = [0.0, 0.5 * dose - body.carefulness * 0.25, 2.0 * free, free, 0.5 * free][phase];
    let breathing = if body.lungs { breathing * 4.0 + age / 200.0 } else { breathing };
    if draws.chance(breathing) {
        all |= BREATHING;
        if body.extreme && draws.chance([0.0, 0.4, 0.5, 0.15, 0.15][phase]) {
            all |= CHEST_PAIN;
        }
        let [sneezing, cough, nose, throat] = if phase == 1 { [0.2, 0.6, 0.1, 0.5] } else { [0.3, 0.9, 0.2, 0.8] };
        any(&mut all, draws, &[(SNEEZING, sneezing), (COUGH, cough), (RUNNY_NOSE, nose), (SORE_THROAT, throat)]);
        all |= match severity {
            MILD => LIGHT_BREATHING,
            MODERATE => MODERATE_BREATHING,
            _ => HEAVY_BREATHING,
        };
    }
    let taste = match phase {
        1 | 2 if before & TASTE != 0 => 1.0,
        1 => 0.25,
        2 => 0.35,
        _ => 0.0,
    };
    any(&mut all, draws, &[(TASTE, taste)]);
    all
}

fn any(all: &mut Symptoms, draws: &mut Draws, of: &[(Symptoms, f32)]) {
    for &(symptom, p) in of {
        if draws.chance(p) {
            *all |= symptom;
        }
    }
}

/// Symptoms of a cold, first those of its days, then of its last day.
pub fn cold(body: Constitution, last: bool, draws: &mut Draws) -> Symptoms {
    let mut all = if !last && (body.severe || body.conditions > 0) { MODERATE } else { MILD };
    let of: &[(Symptoms, f32)] = if last {
        &[(FATIGUE, 0.8), (COUGH, 0.8), (RUNNY_NOSE, 0.8), (SORE_THROAT, 0.6)]
    } else {
        &[(FATIGUE, 0.8), (SNEEZING, 0.4), (COUGH, 0.8), (RUNNY_NOSE, 0.8)]
    };
    any(&mut all, draws, of);
    all
}

/// Symptoms of the flu on its first (0), other (1) and last day (2).
pub fn flu(body: Constitution, part: usize, draws: &mut Draws) -> Symptoms {
    let mut all = if part == 1 && (body.severe || body.conditions > 0) { MODERATE } else { MILD };
    let p = |of: [f32; 3]| of[part];
    any(
        &mut all,
        draws,
        &[
            (FATIGUE, p([0.4, 0.8, 0.8])),
            (FEVER, p([0.7, 0.7, 0.3])),
            (ACHES, p([0.3, 0.5, 0.8])),
            (WAKING, p([0.3, 0.5, 0.4])),
            (GASTRO, p([0.7, 0.7, 0.2])),
        ],
    );
    if all & GASTRO != 0 {
        any(&mut all, draws, &[(DIARRHOEA, 0.5), (NAUSEA, p([0.5, 0.5, 0.25]))]);
    }
    all
}

/// Symptoms of an allergy, on one day.
pub fn allergy(draws: &mut Draws) -> Symptoms {
    let mut all = 0;
    any(&mut all, draws, &[(SNEEZING, 1.0), (LIGHT_BREATHING, 0.02), (SORE_THROAT, 0.3), (FATIGUE, 0.2), (WAKING, 0.3), (HEADACHE, 0.6)]);
    all
}

/// Groups of symptoms that people report without having them.
const DROP_IN: [Symptoms; 30] = [
    MILD,
    MODERATE,
    SEVERE,
    EXTREMELY_SEVERE,
    FEVER,
    FEVER | MODERATE,
    FEVER | CHILLS,
    GASTRO,
    GASTRO | DIARRHOEA,
    GASTRO | DIARRHOEA | NAUSEA,
    GASTRO | NAUSEA,
    FATIGUE,
    FATIGUE | UNUSUAL,
    FATIGUE | CONSCIOUSNESS,
    FATIGUE | WAKING,
    FATIGUE | HEADACHE,
    FATIGUE | CONFUSED,
    BREATHING,
    BREATHING | CHEST_PAIN,
    BREATHING | SNEEZING,
    BREATHING | COUGH,
    BREATHING | RUNNY_NOSE,
    BREATHING | SORE_THROAT,
    TASTE,
    GASTRO | MODERATE,
    FATIGUE | GASTRO,
    MILD | MILD_BREATHING | BREATHING | LIGHT_BREATHING,
    MODERATE | BREATHING | MODERATE_BREATHING,
    SEVERE | BREATHING | HEAVY_BREATHING,
    EXTREMELY_SEVERE | BREATHING | HEAVY_BREATHING,
];

/// What a person tells the app of today's symptoms.
pub fn reported(symptoms: Symptoms, phones: &Phones, random: Random, person: u32, day: u32) -> Symptoms {
    let drops_in = crate::random::uniform(random.seed(Purpose::Report, person, day) as u32) < phones.symptom_drop_in;
    if symptoms == 0 && !drops_in {
        return 0;
    }
    let mut draws = random.draws(Purpose::Report, person, day);
    let mut told = 0;
    for symptom in 0..NAMES.len() {
        if symptoms >> symptom & 1 == 1 && !draws.chance(phones.symptom_drop_out) {
            told |= 1 << symptom;
        }
    }
    if drops_in {
        for _ in 0..=draws.weighted(&[0.2, 0.1, 0.1, 0.2, 0.3, 0.4]) {
            told |= DROP_IN[crate::random::below(draws.word(), DROP_IN.len() as u32) as usize];
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covid_has_symptoms_by_phase() {
        let body = Constitution { age: 60, severe: false, extreme: false, conditions: 0, lungs: false, carefulness: 0.45 };
        let random = Random(5);
        let n = 20_000;
        let all: Vec<[Symptoms; 5]> = (0..n).map(|person| covid(body, 0.5, &mut random.draws(Purpose::Symptoms, person, 0))).collect();
        let share = |phase: usize, symptom| all.iter().filter(|phases| phases[phase] & symptom != 0).count() as f32 / n as f32;
        assert_eq!(share(0, u32::MAX), 0.0);
        for (phase, symptom, expected) in [
            (1, FEVER, 0.2),
            // Fever before, or 0.8.
            (2, FEVER, 0.2 + 0.8 * 0.8),
            (1, GASTRO, 0.35),
            (2, MODERATE, 0.35),
            (1, FATIGUE, 0.3 + 0.3 - 0.225),
            (1, BREATHING, 0.25 - 0.1125),
            (2, BREATHING, 2.0 * (0.5 - 0.1125)),
            (1, TASTE, 0.25),
            (2, TASTE, 0.25 + 0.75 * 0.35),
            (4, FEVER, 0.0),
        ] {
            assert!(
                (share(phase, symptom) - expected).abs() < 0.012,
                "phase {phase}, {symptom:#x}: {} for {expected}",
                share(phase, symptom)
            );
        }
    }

    #[test]
    fn one_in_five_symptoms_is_not_told() {
        let phones = crate::Parameters::covid().unwrap().phones;
        let told: u32 = (0..20_000).map(|person| reported(FEVER | COUGH, &phones, Random(1), person, 3).count_ones()).sum();
        assert!((f64::from(told) / 40_000.0 - 0.8).abs() < 0.01, "{told}");
        let none = (0..200_000).filter(|person| reported(0, &phones, Random(1), *person, 3) != 0).count();
        assert!((60..140).contains(&none), "{none}");
    }
}
