//! When correcting helps: the bias of active learning beside the bias of overfitting.

use lyceum_core::Result;
use serde::Serialize;

use crate::{AcquisitionLog, Estimator};

/// The gap between a trained model's true risk and the plain mean of its training losses, in two parts:
///
/// ```text
/// r − R̃ = (r − R_LURE) + (R_LURE − R̃)
/// ```
///
/// (Farquhar, Gal and Rainforth 2021, section 7, with these signs.) The first is what fitting adds, the second what the
/// choice of points does. Where the first is near 0 (small models), training with weights helps; where both are large
/// and of opposite signs (flexible networks), they partly cancel, and correcting one of them can hurt.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Biases {
    /// r − R_LURE.
    pub overfitting: f64,
    /// R_LURE − R̃; below 0 where the points that were taken are harder than the pool.
    pub active_learning: f64,
}

/// What the biases say of training with weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Advice {
    /// The bias of active learning is the larger one: weights should help.
    Weight,
    /// The biases have opposite signs and overfitting is the larger one: weights are likely to hurt.
    DoNotWeight,
    /// Both have one sign, or both are small beside the loss: it matters little.
    Either,
}

impl Biases {
    /// From the losses of the trained model at the draws and its risk on data that it has not seen.
    pub fn measure(log: &AcquisitionLog, losses: &[f64], risk: f64) -> Result<Self> {
        let lure = log.estimate(losses, Estimator::Lure)?.value;
        let naive = log.estimate(losses, Estimator::Naive)?.value;
        Ok(Self { overfitting: risk - lure, active_learning: lure - naive })
    }

    /// What they say of training with weights, for a model with this risk.
    pub fn advice(&self, risk: f64) -> Advice {
        let (fit, active) = (self.overfitting, self.active_learning);
        if fit.abs().max(active.abs()) < 0.05 * risk.abs() {
            Advice::Either
        } else if active.abs() > fit.abs() {
            Advice::Weight
        } else if fit * active < 0.0 {
            Advice::DoNotWeight
        } else {
            Advice::Either
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Draw;

    #[test]
    fn the_parts_add_up_and_lead_to_advice() {
        let mut log = AcquisitionLog::new(6).unwrap();
        [0.4_f64, 0.5, 0.25].iter().enumerate().for_each(|(index, q)| log.push(Draw { index, log_q: q.ln() }).unwrap());
        let biases = Biases::measure(&log, &[2.0, 1.0, 0.5], 0.8).unwrap();
        assert!((biases.overfitting + biases.active_learning - (0.8 - 3.5 / 3.0)).abs() < 1e-12);
        assert!((biases.active_learning + 0.383_333).abs() < 1e-6);
        assert_eq!(biases.advice(0.8), Advice::Weight);
        assert_eq!(Biases { overfitting: 0.9, active_learning: -0.4 }.advice(1.0), Advice::DoNotWeight);
        assert_eq!(Biases { overfitting: 0.01, active_learning: -0.02 }.advice(1.0), Advice::Either);
    }
}
