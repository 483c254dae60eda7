//! The choice of λ and k_reg, on examples that are used neither for training nor for calibration.

use lyceum_core::{Result, Seed};
use ndarray::ArrayView2;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Conformal, ConformalConfig, ScoreConfig, conformal::places, metrics, quantile};

/// What λ is chosen for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Criterion {
    /// The smallest mean size, over λ in {0.001, 0.01, 0.1, 0.2, 0.5}.
    #[default]
    Size,
    /// The smallest size-stratified coverage violation, over λ in {0, 1e-5, 1e-4, 8e-4, 9e-4, 1e-3, 1.5e-3, 2e-3}.
    Adaptiveness,
}

const FOR_SIZE: [f64; 5] = [0.001, 0.01, 0.1, 0.2, 0.5];
const FOR_ADAPTIVENESS: [f64; 8] = [0.0, 1e-5, 1e-4, 8e-4, 9e-4, 1e-3, 1.5e-3, 2e-3];

/// k_reg: the conformal quantile at 1 − α of the true label's rank.
pub fn k_reg(logits: ArrayView2<'_, f32>, labels: &[usize], alpha: f64) -> Result<usize> {
    let mut ranks: Vec<f64> = places(logits, labels, 1.0)?.iter().map(|place| place.rank as f64).collect();
    Ok(quantile::threshold(&mut ranks, alpha).min(logits.ncols() as f64) as usize)
}

/// RAPS with the k_reg and the λ that do best on these examples; the other settings are those of `config`.
///
/// Each candidate is calibrated and judged on the same examples, as in the authors' code: what is chosen here is
/// calibrated again on examples of its own, so the guarantee stands. Of equals the first is taken.
pub fn raps(
    config: ConformalConfig,
    logits: ArrayView2<'_, f32>,
    labels: &[usize],
    criterion: Criterion,
    seed: Seed,
) -> Result<ConformalConfig> {
    let k_reg = k_reg(logits, labels, config.alpha)?;
    let candidates: &[f64] = match criterion {
        Criterion::Size => &FOR_SIZE,
        Criterion::Adaptiveness => &FOR_ADAPTIVENESS,
    };
    let mut best = (f64::INFINITY, config);
    for &lambda in candidates {
        let config = ConformalConfig { score: ScoreConfig::Raps { lambda, k_reg }, ..config };
        let sets = Conformal::calibrate(config, logits, labels, seed)?.predict(logits, seed.child("tune"))?;
        let value = match criterion {
            Criterion::Size => metrics::mean_size(&sets),
            Criterion::Adaptiveness => metrics::sscv(&sets, labels, config.alpha, &metrics::STRATA),
        };
        if value < best.0 || best.0.is_infinite() {
            best = (value, config);
        }
    }
    Ok(best.1)
}
