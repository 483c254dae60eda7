//! BatchBALD: batches with the largest mutual information of their labels and the parameters
//! (Kirsch, van Amersfoort and Gal 2019).

use std::{cmp::Ordering, collections::BinaryHeap};

use lyceum_core::{Error, Result, Seed, interrupt};
use ndarray::ArrayView3;
use rand::RngExt;
use rayon::prelude::*;

use crate::scores::{check, plogp};

/// Points that are looked at again at once.
const STALE: usize = 16;

/// The joint labellings of a batch, each with its probability under every posterior sample.
struct Joint {
    /// `labellings × K`.
    probabilities: Vec<f32>,
    /// One over the probability with which a labelling was sampled; 1 where all are there.
    weights: Vec<f32>,
}

/// `count` points chosen greedily for I(labels; parameters) = H(labels) − Σ mean H(label), and what each adds to it.
/// Of equals the first.
///
/// * `samples`: `K × n × C`, posterior samples of the probabilities.
/// * `labellings`: joint labellings are enumerated up to this many and sampled beyond it.
///
/// A point's gain can only fall as the batch grows, so points are looked at again only while their last gain could win.
pub fn batch_bald(samples: ArrayView3<'_, f32>, count: usize, labellings: usize, seed: Seed) -> Result<Vec<(usize, f64)>> {
    let (k, n, c) = samples.dim();
    if k == 0 || c == 0 {
        return Err(Error::invalid("samples", format!("{k} samples of {c} classes"), "at least one of each"));
    }
    if count > n {
        return Err(Error::invalid("count", count, format!("at most {n}, the points there are")));
    }
    if labellings < c {
        return Err(Error::invalid("labellings", labellings, format!("at least the number of classes, {c}")));
    }
    check(samples.iter())?;
    // The probabilities of one point: C × K.
    let point = |n: usize| -> Vec<f32> { (0..c).flat_map(|class| (0..k).map(move |s| samples[[s, n, class]])).collect() };
    let conditional: Vec<f64> =
        (0..n).into_par_iter().map(|n| point(n).into_iter().map(|p| f64::from(plogp(p))).sum::<f64>() / k as f64).collect();
    let mut joint = Joint { probabilities: vec![1.0; k], weights: vec![1.0] };
    let mut entropy = 0.0;
    let gain = |n: usize| interrupt::check().map(|()| joint.entropy_with(&point(n), k) - conditional[n]);
    let gains = (0..n).into_par_iter().map(gain).collect::<Result<Vec<f64>>>()?;
    let mut heap: BinaryHeap<Candidate> = gains.into_iter().enumerate().map(|(index, gain)| Candidate { gain, index, fresh: 0 }).collect();
    let mut chosen = Vec::with_capacity(count);
    while chosen.len() < count {
        interrupt::check()?;
        let Some(best) = heap.pop() else { break };
        if best.fresh == chosen.len() {
            entropy += best.gain + conditional[best.index];
            chosen.push((best.index, best.gain.max(0.0)));
            joint = joint.extended(&point(best.index), k, labellings, &mut seed.stream_at("batch-bald", chosen.len() as u64));
            continue;
        }
        // Brought up to date in blocks of fixed size, so that threads have work and their number changes nothing.
        let mut stale = vec![best];
        while stale.len() < STALE && heap.peek().is_some_and(|next| next.fresh < chosen.len()) {
            stale.extend(heap.pop());
        }
        let fresh = stale.into_par_iter().map(|Candidate { index, .. }| Candidate {
            gain: joint.entropy_with(&point(index), k) - entropy - conditional[index],
            index,
            fresh: chosen.len(),
        });
        heap.extend(fresh.collect::<Vec<_>>());
    }
    Ok(chosen)
}

struct Candidate {
    gain: f64,
    index: usize,
    /// How large the batch was when the gain was computed.
    fresh: usize,
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.gain.total_cmp(&other.gain).then(other.index.cmp(&self.index))
    }
}

impl Joint {
    /// The entropy of the batch's labels and one point's: Σ over labellings and classes of −p ln p with
    /// p = (1/K) Σ_k p_k(labelling) p_k(class).
    fn entropy_with(&self, point: &[f32], k: usize) -> f64 {
        let mut entropy = 0.0;
        for (labelling, &weight) in self.probabilities.chunks_exact(k).zip(&self.weights) {
            for class in point.chunks_exact(k) {
                let p = dot(labelling, class) / k as f32;
                entropy += f64::from(weight * plogp(p));
            }
        }
        entropy
    }

    /// With one point more.
    fn extended(&self, point: &[f32], k: usize, most: usize, rng: &mut lyceum_core::Stream) -> Self {
        let c = point.len() / k;
        let mut all = Self { probabilities: Vec::new(), weights: Vec::new() };
        for (labelling, &weight) in self.probabilities.chunks_exact(k).zip(&self.weights) {
            for class in point.chunks_exact(k) {
                all.probabilities.extend(labelling.iter().zip(class).map(|(a, b)| a * b));
                all.weights.push(weight);
            }
        }
        if all.weights.len() <= most {
            return all;
        }
        // Labellings by their probability: each stands for 1/(S·q) of the sum.
        let mass = |row: &[f32]| f64::from(row.iter().sum::<f32>() / k as f32);
        let shares: Vec<f64> = all.probabilities.chunks_exact(k).zip(&all.weights).map(|(row, w)| mass(row) * f64::from(*w)).collect();
        let total: f64 = shares.iter().sum();
        let size = (most / c).max(1) * c;
        // Systematic sampling: one random number, equal steps, little variance.
        let (start, step) = (rng.random::<f64>(), total / size as f64);
        let mut sampled = Self { probabilities: Vec::with_capacity(size * k), weights: Vec::with_capacity(size) };
        let (mut sum, mut next) = (0.0, start * step);
        for ((row, &weight), share) in all.probabilities.chunks_exact(k).zip(&all.weights).zip(shares) {
            sum += share;
            let mut hits = 0_u32;
            while next < sum {
                hits += 1;
                next += step;
            }
            if hits > 0 {
                sampled.probabilities.extend_from_slice(row);
                sampled.weights.push((f64::from(hits) * step / (share / f64::from(weight))) as f32);
            }
        }
        sampled
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0_f32; 8];
    for (a, b) in a.iter().zip(b) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scores::bald;
    use ndarray::Array3;

    fn samples(k: usize, n: usize, c: usize) -> Array3<f32> {
        let mut samples = Array3::from_shape_fn((k, n, c), |(s, n, c)| (3.0 * ((s * 7 + n * 13 + c * 29 + s * n) as f32).sin()).exp());
        for mut row in samples.rows_mut() {
            let sum = row.sum();
            row.mapv_inplace(|p| p / sum);
        }
        samples
    }

    /// Mutual information of a batch by enumerating every labelling, in double precision.
    fn exact(samples: &Array3<f32>, batch: &[usize]) -> f64 {
        let (k, _, c) = samples.dim();
        let mut joint = 0.0;
        for labelling in 0..c.pow(batch.len() as u32) {
            let label = |position: usize| labelling / c.pow(position as u32) % c;
            let each = |s: usize| batch.iter().enumerate().map(|(i, &n)| f64::from(samples[[s, n, label(i)]])).product::<f64>();
            let p = (0..k).map(each).sum::<f64>() / k as f64;
            joint -= p * p.ln();
        }
        let entropy = |s: usize, n: usize| (0..c).map(|c| -f64::from(samples[[s, n, c]]) * f64::from(samples[[s, n, c]]).ln()).sum::<f64>();
        joint - batch.iter().map(|&n| (0..k).map(|s| entropy(s, n)).sum::<f64>() / k as f64).sum::<f64>()
    }

    #[test]
    fn every_step_takes_the_point_that_adds_most() {
        let samples = samples(6, 12, 3);
        let chosen = batch_bald(samples.view(), 4, 1000, Seed::new(0)).unwrap();
        let mut batch = Vec::new();
        for (index, gain) in chosen {
            let before = if batch.is_empty() { 0.0 } else { exact(&samples, &batch) };
            let gains: Vec<f64> = (0..12).map(|n| exact(&samples, &[&batch[..], &[n]].concat()) - before).collect();
            let best = (0..12).filter(|n| !batch.contains(n)).map(|n| gains[n]).fold(0.0, f64::max);
            assert!((gains[index] - best).abs() < 1e-5 && (gain - gains[index]).abs() < 1e-5, "{index} {gain} {gains:?}");
            batch.push(index);
        }
    }

    #[test]
    fn the_first_point_is_that_of_bald_and_sampling_changes_little() {
        let samples = samples(10, 30, 4);
        let scores = bald(samples.view()).unwrap();
        let best = scores.iter().copied().fold(0.0, f64::max);
        let whole = batch_bald(samples.view(), 5, 5000, Seed::new(0)).unwrap();
        assert!((scores[whole[0].0] - best).abs() < 1e-6);
        let sampled = batch_bald(samples.view(), 5, 300, Seed::new(0)).unwrap();
        let batch = |chosen: &[(usize, f64)]| chosen.iter().map(|(index, _)| *index).collect::<Vec<_>>();
        let (a, b) = (exact(&samples, &batch(&whole)), exact(&samples, &batch(&sampled)));
        assert!(b > 0.97 * a, "{b} {a}");
    }
}
