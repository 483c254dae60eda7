//! Gradient Vaccine.

use lyceum_core::{Error, Result, Stream};

use super::projection::sum_of_altered;
use crate::combiner::{Rule, Step};

/// How near to ±1 a target cosine may come: beyond, the formula divides by nothing.
const MOST: f64 = 0.999_999;

/// For each i and each j ≠ i in random order, with φ = cos(gᵢ', gⱼ) and the target φ̂ᵢⱼ: where φ < φ̂,
///
/// ```text
/// gᵢ' ← gᵢ' + ‖gᵢ'‖ (φ̂√(1 − φ²) − φ√(1 − φ̂²)) / (‖gⱼ‖√(1 − φ̂²)) · gⱼ        so that cos(gᵢ', gⱼ) = φ̂
/// φ̂ ← (1 − β)φ̂ + βφ                                                        whether it was altered or not
/// ```
///
/// φ is the cosine before the alteration. Targets start at 0, where this is PCGrad. The update is Σ gᵢ'. (Wang, Tsvetkov,
/// Firat and Cao, *Gradient Vaccine*, ICLR 2021, equations 4 and 5.)
#[derive(Debug, Clone)]
pub struct GradientVaccine {
    rate: f64,
    tasks: usize,
    /// φ̂ of each group, row by row.
    targets: Vec<f32>,
}

impl GradientVaccine {
    /// `rate` is β; the authors take 0.01.
    pub fn new(rate: f64, tasks: usize, groups: usize) -> Self {
        Self { rate, tasks, targets: vec![0.0; groups * tasks * tasks] }
    }
}

impl Rule for GradientVaccine {
    fn coefficients(&mut self, step: Step<'_>, rng: &mut Stream) -> Result<Vec<f64>> {
        let (tasks, rate) = (self.tasks, self.rate);
        let targets = &mut self.targets[step.group * tasks * tasks..][..tasks * tasks];
        Ok(sum_of_altered(step.gram, rng, |altered, i, j| {
            let target = &mut targets[i * tasks + j];
            let (seen, wanted) = (altered.cosine(j), f64::from(*target).clamp(-MOST, MOST));
            let other = step.gram[[j, j]].sqrt();
            if seen < wanted && other > 0.0 {
                let (a, b) = ((1.0 - seen * seen).sqrt(), (1.0 - wanted * wanted).sqrt());
                altered.add(altered.norm() * (wanted * a - seen * b) / (other * b), j);
            }
            *target += (rate * (seen - f64::from(*target))) as f32;
        }))
    }

    fn state(&self) -> Vec<f32> {
        self.targets.clone()
    }

    fn restore(&mut self, state: &[f32]) -> Result<()> {
        if state.len() != self.targets.len() {
            return Err(Error::Failed(format!("{} target cosines; this combiner has {}", state.len(), self.targets.len())));
        }
        self.targets.copy_from_slice(state);
        Ok(())
    }
}
