//! Learnt predictors: what a phone knows goes in, the infectiousness of fourteen days comes out.
//!
//! [`Network`] predicts with weights from a file, without a tensor framework; `lyceum run recipes/epidemic/predictors.toml` learns
//! them. [`Predictor`] makes a policy of any function, also of one that is not learnt.

mod file;
mod inputs;
mod network;

use super::{Assessment, DAYS, Edges, Needs, Phone, Policy, RISKS, level, recommendation};

pub use inputs::{Cluster, FLAT, HEALTH, Inputs, PROFILE, waves};
pub use network::{Network, NetworkConfig};

/// Risks of today and the days before, for each of many phones.
pub trait Predict: Send + Sync {
    /// `risks` has a row for each phone.
    fn predict(&self, phones: &[Phone], risks: &mut [[f32; DAYS]]);

    /// As [`Policy::wants_all`].
    fn wants_all(&self) -> bool {
        false
    }
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

    fn wants_all(&self) -> bool {
        self.predict.wants_all()
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

/// Edges of levels from predictions on people whose state is known.
///
/// The first three are where the shares `below` of those who are well lie below: with thresholds 0, 1 and 2 these are the shares who
/// are not told to be a little careful, careful, and to stay at home though they are well. Above that, levels hold equal shares of
/// those who are infectious.
pub fn edges(well: &[f32], infectious: &[f32], below: [f64; 3]) -> Edges {
    let mut well = well.to_vec();
    well.sort_by(f32::total_cmp);
    let quantile = |values: &[f32], q: f64| {
        let place = ((values.len() as f64 * q) as usize).min(values.len().saturating_sub(1));
        values.get(place).copied().unwrap_or(0.0)
    };
    let mut edges = [0.0; RISKS + 1];
    for (edge, below) in edges[1..=3].iter_mut().zip(below) {
        *edge = quantile(&well, below);
    }
    let mut above: Vec<f32> = infectious.iter().copied().filter(|risk| *risk > edges[3]).collect();
    above.sort_by(f32::total_cmp);
    for (place, edge) in edges[4..RISKS].iter_mut().enumerate() {
        *edge = quantile(&above, (place + 1) as f64 / (RISKS - 3) as f64);
    }
    edges[RISKS] = 1.0;
    // Growing, whatever the predictions were.
    for place in 1..=RISKS {
        edges[place] = edges[place].max(edges[place - 1] + 1e-6);
    }
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_keep_the_shares_that_were_asked_for() {
        let well: Vec<f32> = (0..1000).map(|i| i as f32 / 1e4).collect();
        let infectious: Vec<f32> = (0..1300).map(|i| 0.1 + i as f32 / 2e3).collect();
        let edges = edges(&well, &infectious, [0.9, 0.95, 0.99]);
        let above = |least: u8| well.iter().filter(|risk| level(**risk, &edges) >= least).count();
        assert!([(1, 100), (2, 50), (3, 10)].iter().all(|(least, count)| above(*least).abs_diff(*count) <= 1), "{edges:?}");
        for at in 4..16 {
            let count = infectious.iter().filter(|risk| level(**risk, &edges) == at).count();
            assert!(count.abs_diff(100) <= 1, "level {at}: {count}");
        }
        // Without any predictions there are edges still.
        assert!(super::edges(&[], &[], [0.9; 3]).windows(2).all(|pair| pair[0] < pair[1]));
    }
}
