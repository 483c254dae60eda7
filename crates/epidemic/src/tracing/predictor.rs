//! Policies from outside: any function from what phones know to a risk for each day.

use super::{Assessment, DAYS, Edges, Needs, Phone, Policy, level, recommendation};

/// Risks of today and the days before, for each of many phones.
pub trait Predict: Send + Sync {
    /// `risks` has a row for each phone.
    fn predict(&self, phones: &[Phone], risks: &mut [[f32; DAYS]]);
}

impl<F: Fn(&[Phone], &mut [[f32; DAYS]]) + Send + Sync> Predict for F {
    fn predict(&self, phones: &[Phone], risks: &mut [[f32; DAYS]]) {
        self(phones, risks);
    }
}

/// A predictor as a policy: risks become levels, and today's level the recommendation. Who told of a positive test stays at home.
pub struct Predictor<P> {
    /// Its name.
    pub name: String,
    /// The function.
    pub predict: P,
    /// Edges of levels.
    pub edges: Edges,
    /// Levels above which recommendations 1 to 3 begin.
    pub thresholds: [u8; 3],
}

impl<P: Predict> Policy for Predictor<P> {
    fn name(&self) -> &str {
        &self.name
    }

    fn needs(&self) -> Needs {
        Needs::Messages
    }

    fn assess(&self, phones: &[Phone], out: &mut [Assessment]) {
        let mut risks = vec![[0.0; DAYS]; phones.len()];
        self.predict.predict(phones, &mut risks);
        for ((phone, risks), out) in phones.iter().zip(risks).zip(out) {
            let levels = if matches!(phone.test, Some((true, _))) { [15; DAYS] } else { risks.map(|risk| level(risk, &self.edges)) };
            *out = Assessment { levels, recommendation: recommendation(levels[0], self.thresholds) };
        }
    }
}
