//! Acquisition scores: how much the label of a point is worth, from a model's probabilities.
//!
//! Probabilities are `n × C`, or `K × n × C` where K samples of a posterior (an ensemble, dropout) give one each. All
//! logarithms are natural.

use lyceum_core::{Error, Result, math::ln_of_positive, vectorize};
use ndarray::{ArrayView1, ArrayView2, ArrayView3, Axis};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Points that are scored at once.
const POINTS: usize = 512;

/// H(p) = −Σ p ln p of each row.
pub fn entropy(probabilities: ArrayView2<'_, f32>) -> Result<Vec<f64>> {
    bald_terms(probabilities.insert_axis(Axis(0)), |_, conditional| conditional)
}

/// 1 − the largest probability.
pub fn least_confidence(probabilities: ArrayView2<'_, f32>) -> Result<Vec<f64>> {
    each_row(probabilities, |row| 1.0 - f64::from(row.iter().copied().fold(0.0, f32::max)))
}

/// 1 − (the largest − the second largest probability).
pub fn margin(probabilities: ArrayView2<'_, f32>) -> Result<Vec<f64>> {
    each_row(probabilities, |row| {
        let top = row.iter().fold([0.0_f32; 2], |[a, b], &p| if p > a { [p, a] } else { [a, b.max(p)] });
        1.0 - f64::from(top[0] - top[1])
    })
}

/// The mean of the posterior samples' probabilities, `n × C`.
pub fn mean(samples: ArrayView3<'_, f32>) -> Result<ndarray::Array2<f32>> {
    samples.mean_axis(Axis(0)).ok_or_else(|| Error::invalid("samples", 0, "at least one"))
}

/// BALD: the mutual information of label and parameters, H(mean p) − mean H(p); never below 0
/// (Houlsby et al. 2011).
pub fn bald(samples: ArrayView3<'_, f32>) -> Result<Vec<f64>> {
    bald_terms(samples, |marginal, conditional| (marginal - conditional).max(0.0))
}

/// A score of H(mean p) and mean H(p), in one sweep over the samples.
fn bald_terms(samples: ArrayView3<'_, f32>, score: impl Fn(f64, f64) -> f64 + Sync) -> Result<Vec<f64>> {
    let (k, n, c) = samples.dim();
    if k == 0 {
        return Err(Error::invalid("samples", 0, "at least one"));
    }
    check_classes(c)?;
    let samples = samples.as_standard_layout();
    let all = samples.as_slice().unwrap_or_default();
    let mut scores = vec![0.0; n];
    let good = scores.par_chunks_mut(POINTS).enumerate().map(|(chunk, scores)| {
        let (first, len) = (chunk * POINTS * c, scores.len() * c);
        let (mut mean, mut conditional) = (vec![0.0_f32; len], vec![0.0_f32; len]);
        let good = (0..k).all(|sample| add_terms(&all[sample * n * c + first..][..len], &mut mean, &mut conditional));
        let factor = 1.0 / k as f32;
        // One sample is its own mean.
        let marginal = if k == 1 {
            conditional.clone()
        } else {
            mean.iter_mut().for_each(|sum| *sum *= factor);
            let mut marginal = vec![0.0_f32; len];
            add_terms(&mean, &mut vec![0.0; len], &mut marginal);
            marginal
        };
        let rows = marginal.chunks_exact(c.max(1)).zip(conditional.chunks_exact(c.max(1)));
        for (to, (marginal, conditional)) in scores.iter_mut().zip(rows) {
            *to = score(marginal.iter().sum::<f32>().into(), f64::from(conditional.iter().sum::<f32>() * factor));
        }
        good
    });
    // All chunks are worked through: which one is wrong is looked up in order.
    if good.collect::<Vec<bool>>().contains(&false) {
        check(all.iter())?;
    }
    Ok(scores)
}

vectorize! {
    /// sums ← sums + p and terms ← terms − p ln p; whether all p are in \[0, 1\], but for rounding.
    fn add_terms(p: &[f32], sums: &mut [f32], terms: &mut [f32]) -> bool {
        let mut bad = [0_u32; 16];
        let (whole, rest) = p.as_chunks::<16>();
        let done = whole.len() * 16;
        let pairs = sums.as_chunks_mut::<16>().0.iter_mut().zip(terms.as_chunks_mut::<16>().0);
        for (p, (sums, terms)) in whole.iter().zip(pairs) {
            for lane in 0..16 {
                bad[lane] |= u32::from(!(p[lane] >= LEAST && p[lane] <= MOST));
                sums[lane] += p[lane];
                terms[lane] += plogp(p[lane]);
            }
        }
        for (p, (sum, term)) in rest.iter().zip(sums[done..].iter_mut().zip(&mut terms[done..])) {
            bad[0] |= u32::from(!(*p >= LEAST && *p <= MOST));
            *sum += p;
            *term += plogp(*p);
        }
        bad.iter().all(|bad| *bad == 0)
    }
}

/// What rounding may make of 0 and of 1.
const LEAST: f32 = -1e-6;
const MOST: f32 = 1.0 + 1e-4;

/// The share of posterior samples whose most likely class is not the one that most of them name.
pub fn variation_ratio(samples: ArrayView3<'_, f32>) -> Result<Vec<f64>> {
    each_point(samples, |point| {
        let mut votes = vec![0_u32; point.ncols()];
        point.rows().into_iter().for_each(|row| votes[argmax(row)] += 1);
        1.0 - f64::from(votes.iter().copied().max().unwrap_or(0)) / point.nrows() as f64
    })
}

/// What a test of `model` expects of its loss at each point, if labels are distributed as `surrogate` says (Kossen,
/// Farquhar, Gal and Rainforth 2021).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// −Σ_c π(c) ln f(c).
    #[default]
    CrossEntropy,
    /// 1 − π(argmax f), at least 5 % of the largest.
    ZeroOne,
}

/// The expected loss of `model` (`n × C`) under `surrogate` (`n × C`).
pub fn expected_loss(model: ArrayView2<'_, f32>, surrogate: ArrayView2<'_, f32>, loss: Loss) -> Result<Vec<f64>> {
    if model.dim() != surrogate.dim() {
        return Err(Error::invalid("surrogate", format!("{:?}", surrogate.dim()), format!("the shape of the model's: {:?}", model.dim())));
    }
    check_classes(model.ncols())?;
    check(model.iter())?;
    check(surrogate.iter())?;
    let rows: Vec<_> = model.rows().into_iter().zip(surrogate.rows()).collect();
    let scores = rows.par_iter().map(|(f, pi)| match loss {
        Loss::CrossEntropy => pi.iter().zip(f.iter()).map(|(&pi, &f)| -f64::from(pi) * f64::from(f).max(1e-12).ln()).sum(),
        Loss::ZeroOne => 1.0 - f64::from(pi[argmax(*f)]),
    });
    let mut scores: Vec<f64> = scores.collect();
    if loss == Loss::ZeroOne {
        let least = 0.05 * scores.iter().copied().fold(0.0, f64::max);
        scores.iter_mut().for_each(|score| *score = score.max(least));
    }
    Ok(scores)
}

/// The loss of each point, from a model's probabilities (`n × C`) and labels: −ln p of the label (p at least 1e-12), or
/// whether another class is more likely (of equals the first).
pub fn losses(probabilities: ArrayView2<'_, f32>, labels: &[usize], loss: Loss) -> Result<Vec<f64>> {
    check(probabilities.iter())?;
    if labels.len() != probabilities.nrows() {
        return Err(Error::invalid("labels", labels.len(), format!("one for each of {} points", probabilities.nrows())));
    }
    if let Some(label) = labels.iter().find(|&&label| label >= probabilities.ncols()) {
        return Err(Error::invalid("label", label, format!("0 to {}", probabilities.ncols().saturating_sub(1))));
    }
    let one = |(row, &label): (ArrayView1<'_, f32>, &usize)| match loss {
        Loss::CrossEntropy => -f64::from(row[label]).max(1e-12).ln(),
        Loss::ZeroOne => f64::from(u8::from(argmax(row) != label)),
    };
    Ok(probabilities.rows().into_iter().zip(labels).map(one).collect())
}

/// The expected squared error under a surrogate with means, standard deviations and noise: (μ_f − μ_s)² + σ_s² + σ².
pub fn expected_squared_error(model: &[f64], mean: &[f64], deviation: &[f64], noise: f64) -> Result<Vec<f64>> {
    if model.len() != mean.len() || mean.len() != deviation.len() {
        let found = format!("{} and {}", mean.len(), deviation.len());
        return Err(Error::invalid("means and deviations", found, format!("as many as predictions: {}", model.len())));
    }
    let squared = |((f, mean), deviation): ((&f64, &f64), &f64)| (f - mean).powi(2) + deviation * deviation + noise * noise;
    Ok(model.iter().zip(mean).zip(deviation).map(squared).collect())
}

/// √(Σ over taken points t of ‖x_n − x_t‖²) of each point; 1 where nothing is taken.
pub fn distance(features: ArrayView2<'_, f32>, taken: &[usize]) -> Result<Vec<f64>> {
    check_points(taken, features.nrows())?;
    let squared = |a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
    let score = |row: ArrayView1<'_, f32>| match taken {
        [] => 1.0,
        _ => taken.iter().map(|&t| squared(row, features.row(t))).sum::<f64>().sqrt(),
    };
    Ok(features.axis_iter(Axis(0)).into_par_iter().map(score).collect())
}

/// Errors where a point is not among the `n` there are.
pub(crate) fn check_points(points: &[usize], n: usize) -> Result<()> {
    match points.iter().find(|&&index| index >= n) {
        Some(index) => Err(Error::invalid("taken point", index, format!("0 to {}", n.saturating_sub(1)))),
        None => Ok(()),
    }
}

pub(crate) fn argmax(row: ArrayView1<'_, f32>) -> usize {
    row.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (index, &p)| if p > best.1 { (index, p) } else { best }).0
}

/// −p ln p, 0 at 0.
#[inline(always)]
pub(crate) fn plogp(p: f32) -> f32 {
    let term = -p * ln_of_positive(p.max(f32::MIN_POSITIVE));
    if p > 0.0 { term } else { 0.0 }
}

fn each_row(probabilities: ArrayView2<'_, f32>, score: impl Fn(ArrayView1<'_, f32>) -> f64 + Sync + Send) -> Result<Vec<f64>> {
    check_classes(probabilities.ncols())?;
    check(probabilities.iter())?;
    Ok(probabilities.axis_iter(Axis(0)).into_par_iter().map(score).collect())
}

fn each_point(samples: ArrayView3<'_, f32>, score: impl Fn(ArrayView2<'_, f32>) -> f64 + Sync + Send) -> Result<Vec<f64>> {
    if samples.dim().0 == 0 {
        return Err(Error::invalid("samples", 0, "at least one"));
    }
    check_classes(samples.dim().2)?;
    check(samples.iter())?;
    Ok(samples.axis_iter(Axis(1)).into_par_iter().map(score).collect())
}

pub(crate) fn check_classes(classes: usize) -> Result<()> {
    if classes > 0 { Ok(()) } else { Err(Error::invalid("probabilities", "0 classes", "at least one")) }
}

pub(crate) fn check<'a>(probabilities: impl Iterator<Item = &'a f32>) -> Result<()> {
    // A logit given for a probability is the usual mistake.
    let wrong = probabilities.enumerate().find(|(_, p)| !(LEAST..=MOST).contains(*p));
    match wrong {
        Some((index, p)) => Err(Error::invalid(format!("probability {index} in row-major order"), p, "a number from 0 to 1")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array3, array};
    use std::f64::consts::LN_2;

    #[test]
    fn scores_worked_by_hand() {
        let p = array![[0.5_f32, 0.5, 0.0], [0.7, 0.2, 0.1]];
        let close = |found: Vec<f64>, expected: &[f64]| {
            assert!(found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
        };
        close(entropy(p.view()).unwrap(), &[LN_2, 0.801_819]);
        close(least_confidence(p.view()).unwrap(), &[0.5, 0.3]);
        close(margin(p.view()).unwrap(), &[1.0, 0.5]);
        close(expected_loss(p.view(), p.view(), Loss::CrossEntropy).unwrap(), &[LN_2, 0.801_819]);
        close(expected_loss(p.view(), array![[0.0_f32, 1.0, 0.0], [1.0, 0.0, 0.0]].view(), Loss::ZeroOne).unwrap(), &[1.0, 0.05]);
        close(expected_squared_error(&[1.0], &[0.5], &[0.2], 0.1).unwrap(), &[0.3]);
        let samples = Array3::from_shape_vec((2, 2, 2), vec![0.9, 0.1, 0.9, 0.1, 0.1, 0.9, 0.9, 0.1]).unwrap();
        close(bald(samples.view()).unwrap(), &[0.368_064, 0.0]);
        close(variation_ratio(samples.view()).unwrap(), &[0.5, 0.0]);
        let features = array![[0.0_f32, 0.0], [3.0, 4.0], [0.0, 1.0]];
        close(distance(features.view(), &[]).unwrap(), &[1.0; 3]);
        close(distance(features.view(), &[0, 2]).unwrap(), &[1.0, 43_f64.sqrt(), 1.0]);
    }

    #[test]
    fn what_is_not_a_probability_is_told() {
        let found = entropy(array![[0.5_f32, f32::NAN]].view()).unwrap_err().to_string();
        assert!(found.contains("probability 1") && found.contains("NaN"), "{found}");
        let shapes = [(0, 2, 2), (2, 2, 0)].map(Array3::zeros);
        assert!(shapes.iter().all(|samples| bald(samples.view()).is_err() && variation_ratio(samples.view()).is_err()));
        let none = array![[], []];
        for loss in [Loss::CrossEntropy, Loss::ZeroOne] {
            assert!(expected_loss(none.view(), none.view(), loss).is_err());
            assert!(expected_loss(array![[1.0]].view(), none.view(), loss).is_err());
        }
        assert!(entropy(none.view()).is_err() && margin(none.view()).is_err());
    }
}
