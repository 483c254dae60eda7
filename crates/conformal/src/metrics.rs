//! How good prediction sets are.

use serde::{Deserialize, Serialize};
use statrs::function::{beta::inv_beta_reg, gamma::ln_gamma};

use crate::{PredictionSets, quantile};

/// Strata of set sizes, as in the paper: 0–1, 2–3, 4–6, 7–10, 11–100, 101 and more.
pub const STRATA: [(usize, usize); 6] = [(0, 1), (2, 3), (4, 6), (7, 10), (11, 100), (101, usize::MAX)];

/// A share with an exact interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Hits.
    pub hits: usize,
    /// Trials.
    pub trials: usize,
    /// Hits over trials; NaN without trials.
    pub share: f64,
    /// The lower end of the 95 % interval of Clopper and Pearson.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Share {
    /// This many hits of so many trials.
    pub fn new(hits: usize, trials: usize) -> Self {
        let (k, n) = (hits as f64, trials as f64);
        let low = if hits == 0 { 0.0 } else { inv_beta_reg(k, n - k + 1.0, 0.025) };
        let high = if hits == trials { 1.0 } else { inv_beta_reg(k + 1.0, n - k, 0.975) };
        Self { hits, trials, share: k / n, low, high }
    }
}

/// The share of sets that contain their label.
pub fn coverage(sets: &PredictionSets, labels: &[usize]) -> Share {
    Share::new(hits(sets, labels).filter(|hit| *hit).count(), labels.len())
}

fn hits(sets: &PredictionSets, labels: &[usize]) -> impl Iterator<Item = bool> {
    sets.iter().zip(labels).map(|(set, &label)| set.contains(&(label as u32)))
}

/// The interval in which coverage on `test` points lies with this probability, given the guarantee alone: the number of
/// hits is beta-binomial, with coverage ~ Beta(k, n + 1 − k) over draws of n calibration points, k = ⌈(1 − α)(n + 1)⌉.
pub fn coverage_band(calibration: usize, alpha: f64, test: usize, probability: f64) -> (f64, f64) {
    let k = quantile::rank(calibration, alpha);
    if k > calibration || test == 0 {
        return (1.0, 1.0);
    }
    let (a, b, m) = (k as f64, (calibration + 1 - k) as f64, test as f64);
    let ln_beta = |a: f64, b: f64| ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b);
    let mass = |hits: usize| {
        let x = hits as f64;
        let ln_choose = ln_gamma(m + 1.0) - ln_gamma(x + 1.0) - ln_gamma(m - x + 1.0);
        (ln_choose + ln_beta(x + a, m - x + b) - ln_beta(a, b)).exp()
    };
    let tail = 0.5 * (1.0 - probability);
    let end = |order: Vec<usize>| {
        let mut sum = 0.0;
        let past = |hits: &usize| {
            sum += mass(*hits);
            sum > tail
        };
        order.into_iter().find(past).unwrap_or(test) as f64 / m
    };
    (end((0..=test).collect()), end((0..=test).rev().collect()))
}

/// The mean size of the sets.
pub fn mean_size(sets: &PredictionSets) -> f64 {
    sets.labels().len() as f64 / sets.len() as f64
}

/// The 95 % interval of the mean size: 1.96 standard errors to both sides.
pub fn mean_size_interval(sets: &PredictionSets) -> (f64, f64) {
    let (mean, n) = (mean_size(sets), sets.len() as f64);
    let variance = sets.sizes().map(|size| (size as f64 - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    let half = 1.96 * (variance / n).sqrt();
    (mean - half, mean + half)
}

/// How many sets there are of each size, from 0 to the largest.
pub fn size_histogram(sets: &PredictionSets) -> Vec<usize> {
    let mut counts = vec![0; sets.sizes().max().map_or(0, |max| max + 1)];
    sets.sizes().for_each(|size| counts[size] += 1);
    counts
}

/// Coverage within each stratum of set sizes, for the strata that have sets.
pub fn coverage_by_size(sets: &PredictionSets, labels: &[usize], strata: &[(usize, usize)]) -> Vec<((usize, usize), Share)> {
    let stratum = |&(low, high): &(usize, usize)| {
        let inside = sets.sizes().zip(hits(sets, labels)).filter(|(size, _)| (low..=high).contains(size));
        let (hits, trials) = inside.fold((0, 0), |(hits, trials), (_, hit)| (hits + usize::from(hit), trials + 1));
        ((low, high), Share::new(hits, trials))
    };
    strata.iter().map(stratum).filter(|(_, share)| share.trials > 0).collect()
}

/// Size-stratified coverage violation: the largest |coverage − (1 − α)| over the strata that have sets.
pub fn sscv(sets: &PredictionSets, labels: &[usize], alpha: f64, strata: &[(usize, usize)]) -> f64 {
    let violation = |(_, share): ((usize, usize), Share)| (share.share - (1.0 - alpha)).abs();
    coverage_by_size(sets, labels, strata).into_iter().map(violation).fold(0.0, f64::max)
}

/// Coverage of each class.
pub fn coverage_by_class(sets: &PredictionSets, labels: &[usize], classes: usize) -> Vec<Share> {
    grouped(sets, labels, labels.iter().copied(), classes)
}

/// Coverage by difficulty: by the stratum of the true label's rank (1 for the most likely label).
pub fn coverage_by_difficulty(sets: &PredictionSets, labels: &[usize], ranks: &[usize], strata: &[(usize, usize)]) -> Vec<Share> {
    let stratum = |rank: &usize| strata.iter().position(|(low, high)| (low..=high).contains(&rank)).unwrap_or(strata.len());
    let mut shares = grouped(sets, labels, ranks.iter().map(stratum), strata.len() + 1);
    shares.pop();
    shares
}

fn grouped(sets: &PredictionSets, labels: &[usize], groups: impl Iterator<Item = usize>, count: usize) -> Vec<Share> {
    let mut counts = vec![(0, 0); count];
    for (group, hit) in groups.zip(hits(sets, labels)) {
        counts[group].0 += usize::from(hit);
        counts[group].1 += 1;
    }
    counts.into_iter().map(|(hits, trials)| Share::new(hits, trials)).collect()
}

/// Expected calibration error and its bins: for each of `bins` equal bins of the largest probability, how many points,
/// their mean confidence and their accuracy.
pub fn reliability(probabilities: impl Iterator<Item = (f64, bool)>, bins: usize) -> (f64, Vec<(usize, f64, f64)>) {
    let mut sums = vec![(0_usize, 0.0_f64, 0.0_f64); bins];
    for (confidence, right) in probabilities {
        let bin = ((confidence * bins as f64) as usize).min(bins - 1);
        sums[bin] = (sums[bin].0 + 1, sums[bin].1 + confidence, sums[bin].2 + f64::from(u8::from(right)));
    }
    let n: usize = sums.iter().map(|bin| bin.0).sum();
    let error = sums.iter().map(|bin| (bin.1 - bin.2).abs()).sum::<f64>() / n.max(1) as f64;
    let means = sums.into_iter().map(|(count, confidence, right)| (count, confidence / count as f64, right / count as f64));
    (error, means.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-6, "{a} {b}");
    }

    #[test]
    fn exact_intervals() {
        // R: binom.test(90, 100)$conf.int
        let share = Share::new(90, 100);
        close(share.low, 0.823_777_4);
        close(share.high, 0.950_995_3);
        assert_eq!((Share::new(0, 10).low, Share::new(10, 10).high), (0.0, 1.0));
        // 1 − 0.025^(1/10)
        close(Share::new(0, 10).high, 0.308_497_1);
    }

    #[test]
    fn the_band_of_the_guarantee() {
        // Beta(901, 100) has mean 0.90010 and standard deviation 0.00947; binomial noise over many points vanishes.
        let (low, high) = coverage_band(1000, 0.1, 100_000, 0.954_499_7);
        assert!((low - (0.9001 - 2.0 * 0.00947)).abs() < 2e-3 && (high - (0.9001 + 2.0 * 0.00947)).abs() < 2e-3, "{low} {high}");
        assert_eq!(coverage_band(8, 0.1, 10, 0.99), (1.0, 1.0));
    }

    #[test]
    fn sizes_strata_and_classes() {
        let sets = PredictionSets::from_sizes([0, 1, 2, 4], vec![3, 0, 1, 2, 0, 1, 3]).unwrap();
        let labels = [0, 3, 2, 3];
        assert_eq!((coverage(&sets, &labels).hits, mean_size(&sets)), (2, 1.75));
        // Sizes 0, 1, 2, 4: variance 35/12, standard error √(35/48).
        let (low, high) = mean_size_interval(&sets);
        close(high - low, 2.0 * 1.96 * (35.0_f64 / 48.0).sqrt());
        assert_eq!(size_histogram(&sets), [1, 1, 1, 0, 1]);
        let by_size = coverage_by_size(&sets, &labels, &STRATA);
        assert_eq!(by_size.iter().map(|(s, c)| (s.0, c.hits, c.trials)).collect::<Vec<_>>(), [(0, 1, 2), (2, 0, 1), (4, 1, 1)]);
        close(sscv(&sets, &labels, 0.1, &STRATA), 0.9);
        assert_eq!(
            coverage_by_class(&sets, &labels, 4).iter().map(|c| (c.hits, c.trials)).collect::<Vec<_>>(),
            [(0, 1), (0, 0), (0, 1), (2, 2)]
        );
        let by_rank = coverage_by_difficulty(&sets, &labels, &[4, 1, 2, 1], &[(1, 1), (2, 3)]);
        assert_eq!(by_rank.iter().map(|c| (c.hits, c.trials)).collect::<Vec<_>>(), [(2, 2), (0, 1)]);
    }

    #[test]
    fn reliability_of_two_bins() {
        let (error, bins) = reliability([(0.9, true), (0.7, false), (0.3, true)].into_iter(), 2);
        close(error, (0.7 + 0.6) / 3.0);
        assert_eq!((bins[0], bins[1].0), ((1, 0.3, 1.0), 2));
    }
}
