//! Estimates of the pool's risk from losses at the points that were taken.
//!
//! With N points in the pool, M of them taken in the order m = 1..M, each with probability q_m among those left, and
//! L_m the loss at the m-th:
//!
//! ```text
//! a_m    = L_m/(N q_m) + (1/N) Σ_{t<m} L_t                          each has the pool's risk as its expectation
//! R_PURE = (1/M) Σ a_m      = (1/M) Σ w_m L_m,   w_m = 1/(N q_m) + (M − m)/N
//! R_LURE = (1/M) Σ c_m a_m  = (1/M) Σ v_m L_m,   v_m = 1 + (N − M)/(N − m) · (1/((N − m + 1) q_m) − 1)
//! c_m    = N(N − M)/((N − m)(N − m + 1))
//! ```
//!
//! (Farquhar, Gal and Rainforth, *On Statistical Bias in Active Learning*, ICLR 2021, equations 6 to 9.) Both are
//! unbiased for every proposal that leaves each point a chance; LURE has the smaller variance.

use lyceum_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::AcquisitionLog;

/// How losses at the points that were taken are weighted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Estimator {
    /// Weights 1: biased unless points were taken uniformly.
    Naive,
    /// w: plain unbiased.
    Pure,
    /// v: levelled unbiased.
    #[default]
    Lure,
}

/// An estimate of a risk.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// Its standard error as an estimate of the pool's risk; NaN where M = 1 and the pool has more points.
    ///
    /// The a_m − R̂ are martingale differences, so the variance of (1/M) Σ ω_m a_m is (1/M²) Σ ω_m² E(a_m − R̂)², with ω = c for
    /// LURE and 1 for PURE. With the estimate in place of R̂, that sum is too small by the factor
    /// κ = 1 − (2/M) Σ ω_m p_m + (1/M²) Σ ω_m², where p_m ∝ ω_m²(N − m)(N − m + 1), Σ p_m = 1, is the share of draw m in the
    /// variance if points are drawn uniformly. So the standard error is √(Σ ω_m²(a_m − R)²/κ)/M. Without correction
    /// (naive) it is that of a simple random sample, √((1 − M/N) Σ (L_m − R)²/(M(M − 1))).
    pub standard_error: f64,
    /// How many degrees of freedom the standard error has: 1/Σ p_m² − 1 (Satterthwaite 1946); M − 1 while M is small beside N.
    pub degrees_of_freedom: f64,
    /// (Σv)²/Σv²: how many points of equal weight would vary as much.
    pub effective_size: f64,
    /// The share of the largest weight in their sum; above a quarter, one point decides.
    pub largest_share: f64,
}

impl Estimate {
    /// The interval that covers the pool's risk with this probability, as far as the estimate is normally distributed:
    /// value ± t · standard error, t the quantile of Student's distribution.
    pub fn interval(&self, level: f64) -> Result<(f64, f64)> {
        if !(level > 0.0 && level < 1.0) {
            return Err(Error::invalid("level", level, "a number > 0 and < 1"));
        }
        let half = if self.standard_error > 0.0 {
            let student = StudentsT::new(0.0, 1.0, self.degrees_of_freedom).map_err(|error| Error::Failed(error.to_string()))?;
            student.inverse_cdf(0.5 + 0.5 * level) * self.standard_error
        } else {
            self.standard_error
        };
        Ok((self.value - half, self.value + half))
    }
}

impl AcquisitionLog {
    /// The weight of each draw, in their order. A weighted loss is (1/M) Σ weight · loss.
    ///
    /// The weights need not sum to M: dividing by their sum would bring bias back.
    pub fn weights(&self, estimator: Estimator) -> Vec<f64> {
        let (n, m_all) = (self.pool_size() as f64, self.draws().len() as f64);
        let weight = |(index, draw): (usize, &crate::Draw)| {
            let m = (index + 1) as f64;
            match estimator {
                Estimator::Naive => 1.0,
                Estimator::Pure => (-draw.log_q).exp() / n + (m_all - m) / n,
                // The formula is 0/0 at m = N; where everything is taken all weights are 1.
                Estimator::Lure if m_all == n => 1.0,
                Estimator::Lure => 1.0 + (n - m_all) / (n - m) * ((-draw.log_q).exp() / (n - m + 1.0) - 1.0),
            }
        };
        self.draws().iter().enumerate().map(weight).collect()
    }

    /// The estimate of the pool's risk from the loss at each draw, in their order.
    pub fn estimate(&self, losses: &[f64], estimator: Estimator) -> Result<Estimate> {
        self.check_losses(losses)?;
        let weights = self.weights(estimator);
        let m = losses.len() as f64;
        let value = weights.iter().zip(losses).map(|(w, loss)| w * loss).sum::<f64>() / m;
        let (standard_error, degrees_of_freedom) = self.error_of(value, losses, estimator);
        let (sum, sum_of_squares) = weights.iter().fold((0.0, 0.0), |(sum, squares), w| (sum + w, squares + w * w));
        let largest = weights.iter().copied().fold(0.0, f64::max);
        Ok(Estimate { value, standard_error, degrees_of_freedom, effective_size: sum * sum / sum_of_squares, largest_share: largest / sum })
    }

    /// The standard error of an estimate, and its degrees of freedom.
    fn error_of(&self, value: f64, losses: &[f64], estimator: Estimator) -> (f64, f64) {
        let (n, m_all) = (self.pool_size() as f64, losses.len() as f64);
        if m_all == n && estimator != Estimator::Pure {
            return (0.0, m_all - 1.0);
        }
        if estimator == Estimator::Naive {
            let squares: f64 = losses.iter().map(|loss| (loss - value).powi(2)).sum();
            return (((1.0 - m_all / n) * squares / (m_all * (m_all - 1.0))).sqrt(), m_all - 1.0);
        }
        let omega = |m: f64| match estimator {
            Estimator::Lure => n * (n - m_all) / ((n - m) * (n - m + 1.0)),
            _ => 1.0,
        };
        let draws = (1..=losses.len()).map(|m| m as f64);
        let share = |m: f64| omega(m).powi(2) * (n - m) * (n - m + 1.0);
        let total: f64 = draws.clone().map(share).sum();
        let moment = |of: &dyn Fn(f64) -> f64| draws.clone().map(of).sum::<f64>();
        let kappa = 1.0 - 2.0 * moment(&|m| omega(m) * share(m)) / (total * m_all) + moment(&|m| omega(m).powi(2)) / (m_all * m_all);
        let freedom = total * total / moment(&|m| share(m).powi(2)) - 1.0;
        let squares: f64 = draws.zip(self.terms(losses)).map(|(m, a)| (omega(m) * (a - value)).powi(2)).sum();
        // One draw says nothing of its own spread: κ and the degrees of freedom are 0.
        if losses.len() == 1 { (f64::NAN, 0.0) } else { ((squares / kappa).sqrt() / m_all, freedom) }
    }

    /// a_m of each draw: each has the pool's risk as its expectation, given those before it.
    pub fn terms(&self, losses: &[f64]) -> Vec<f64> {
        let n = self.pool_size() as f64;
        let mut before = 0.0;
        let term = |(draw, loss): (&crate::Draw, &f64)| {
            let a = loss * (-draw.log_q).exp() / n + before / n;
            before += loss;
            a
        };
        self.draws().iter().zip(losses).map(term).collect()
    }

    pub(crate) fn check_losses(&self, losses: &[f64]) -> Result<()> {
        if losses.len() != self.draws().len() || losses.is_empty() {
            return Err(Error::invalid("losses", losses.len(), format!("one for each of {} draws, at least one", self.draws().len())));
        }
        match losses.iter().position(|loss| !loss.is_finite()) {
            Some(m) => Err(Error::invalid(format!("loss of draw {}", m + 1), losses[m], "a finite number")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Draw;
    use proptest::prelude::*;

    fn log(pool: usize, q: &[f64]) -> AcquisitionLog {
        let mut log = AcquisitionLog::new(pool).unwrap();
        q.iter().enumerate().for_each(|(index, q)| log.push(Draw { index, log_q: q.ln() }).unwrap());
        log
    }

    fn close(found: &[f64], expected: &[f64]) {
        assert!(found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} {expected:?}");
    }

    #[test]
    fn weights_and_risks_worked_by_hand() {
        close(&log(4, &[0.5, 0.4, 0.8]).weights(Estimator::Lure), &[0.833_333, 0.916_667, 0.625]);
        let log6 = log(6, &[0.4, 0.5, 0.25]);
        close(&log6.weights(Estimator::Pure), &[0.75, 0.5, 0.666_667]);
        close(&log6.weights(Estimator::Lure), &[0.65, 0.55, 1.0]);
        let losses = [2.0, 1.0, 0.5];
        let risks = [Estimator::Pure, Estimator::Lure, Estimator::Naive].map(|e| log6.estimate(&losses, e).unwrap().value);
        close(&risks, &[0.777_778, 0.783_333, 1.166_667]);
        close(&log6.terms(&losses), &[0.833_333, 0.666_667, 0.833_333]);
        let uniform = log(10, &[0.1, 1.0 / 9.0, 0.125, 1.0 / 7.0]);
        close(&uniform.weights(Estimator::Pure), &[1.3, 1.1, 0.9, 0.7]);
        close(&uniform.weights(Estimator::Lure), &[1.0; 4]);
        close(&log(5, &[0.3]).weights(Estimator::Lure), &[1.0 / 1.5]);
        close(&log(2, &[0.3, 1.0]).weights(Estimator::Lure), &[1.0, 1.0]);
    }

    /// Mean and variance of each estimator over all orders in which `m` points can be taken with q ∝ scores.
    fn enumerate(losses: &[f64], scores: &[f64], m: usize) -> [(f64, f64); 3] {
        let mut moments = [(0.0, 0.0); 3];
        let mut paths = vec![(1.0, Vec::<Draw>::new())];
        for _ in 0..m {
            let step = |(probability, path): (f64, Vec<Draw>)| {
                let left: Vec<usize> = (0..losses.len()).filter(|i| path.iter().all(|draw| draw.index != *i)).collect();
                let sum: f64 = left.iter().map(|&i| scores[i]).sum();
                let next = move |index: usize| {
                    let q = scores[index] / sum;
                    (probability * q, path.iter().copied().chain([Draw { index, log_q: q.ln() }]).collect())
                };
                left.into_iter().map(next).collect::<Vec<(f64, Vec<Draw>)>>()
            };
            paths = paths.into_iter().flat_map(step).collect();
        }
        for (probability, path) in paths {
            let mut log = AcquisitionLog::new(losses.len()).unwrap();
            path.iter().for_each(|draw| log.push(*draw).unwrap());
            let losses: Vec<f64> = path.iter().map(|draw| losses[draw.index]).collect();
            for (moment, estimator) in moments.iter_mut().zip([Estimator::Naive, Estimator::Pure, Estimator::Lure]) {
                let value = log.estimate(&losses, estimator).unwrap().value;
                moment.0 += probability * value;
                moment.1 += probability * value * value;
            }
        }
        moments.map(|(mean, square)| (mean, square - mean * mean))
    }

    #[test]
    fn moments_over_all_orders() {
        let check = |found: [(f64, f64); 3], expected: [(f64, f64); 3]| {
            let flat = |moments: [(f64, f64); 3]| moments.iter().flat_map(|(a, b)| [*a, *b]).collect::<Vec<f64>>();
            close(&flat(found), &flat(expected));
        };
        let (losses, scores) = ([1.0, 2.0, 3.0, 6.0], [0.1, 0.2, 0.3, 0.4]);
        check(enumerate(&losses, &scores, 1), [(3.8, 3.56), (3.0, 0.375), (3.0, 0.375)]);
        check(enumerate(&losses, &scores, 2), [(3.618_651, 0.936_716), (3.0, 0.128_125), (3.0, 0.102_778)]);
        check(enumerate(&losses, &scores, 3), [(3.370_106, 0.212_581), (3.0, 0.060_103), (3.0, 0.024_052)]);
        check(enumerate(&losses, &scores, 4), [(3.0, 0.0), (3.0, 0.033_808), (3.0, 0.0)]);
        let uniform = [1.0; 4];
        check(enumerate(&losses, &uniform, 2), [(3.0, 1.166_667), (3.0, 1.3125), (3.0, 1.166_667)]);
        check(enumerate(&losses, &uniform, 4), [(3.0, 0.0), (3.0, 0.364_583), (3.0, 0.0)]);
        // q ∝ L: no variance.
        (1..4).for_each(|m| close(&[enumerate(&losses, &losses, m)[2].1, enumerate(&losses, &losses, m)[1].1], &[0.0, 0.0]));
        let found = enumerate(&[1.0, 2.0, 3.0, 10.0], &[1.0, 2.0, 3.0, 4.0], 3);
        check(found, [(4.599_735, found[0].1), (4.0, 0.540_923), (4.0, 0.216_468)]);
    }

    /// From a hundredth of the pool to all of it intervals of 95 % hold the risk in about as many pools, and are about as wide as the
    /// estimate is spread: for points drawn by a noisy guess of their losses.
    #[test]
    fn intervals_are_as_wide_as_estimates_are_spread() {
        use crate::{Proposal, Sampler};
        use lyceum_core::Seed;
        use rand::RngExt;
        let (pool, runs) = (300, 400);
        let mut rng = Seed::new(1).stream("pool");
        let losses: Vec<f64> = (0..pool).map(|_| rng.random::<f64>().powi(2)).collect();
        let scores: Vec<f64> = losses.iter().map(|loss| 0.05 + loss * (0.3 + 1.4 * rng.random::<f64>())).collect();
        let risk = losses.iter().sum::<f64>() / pool as f64;
        let labels = [3, 10, 30, 100, 150, 250, 297, 300];
        let mut found = vec![[(0.0, 0.0, 0.0); 2]; labels.len()];
        for run in 0..runs {
            let mut sampler = Sampler::new(Proposal::Proportional, AcquisitionLog::new(pool).unwrap(), Seed::new(run)).unwrap();
            for (labels, found) in labels.iter().zip(&mut found) {
                sampler.draw(&scores, labels - sampler.log().draws().len()).unwrap();
                let at: Vec<f64> = sampler.log().draws().iter().map(|draw| losses[draw.index]).collect();
                for (estimator, (held, width, squares)) in [Estimator::Pure, Estimator::Lure].into_iter().zip(found) {
                    let estimate = sampler.log().estimate(&at, estimator).unwrap();
                    let (low, high) = estimate.interval(0.95).unwrap();
                    *held += f64::from(u8::from(low - 1e-9 <= risk && risk <= high + 1e-9)) / runs as f64;
                    *width += (high - low) / 2.0 / 1.96 / runs as f64;
                    *squares += (estimate.value - risk).powi(2) / runs as f64;
                }
            }
        }
        for (labels, found) in labels.into_iter().zip(found) {
            for (held, width, squares) in found {
                // With few labels the terms are skewed, and no interval of this kind holds as often as it says.
                assert!(held > if labels < 30 { 0.85 } else { 0.9 }, "{labels} labels: {held}");
                if labels > 3 && squares > 1e-18 {
                    let ratio = width / squares.sqrt();
                    // Where few draws decide, at first and at last, Student's t makes it wider.
                    assert!((0.8..1.6).contains(&ratio), "{labels} labels: {ratio} times as wide as it should be");
                }
            }
        }
        // Where everything is taken LURE knows the risk.
        let q: Vec<f64> = (0..pool).map(|m| 1.0 / (pool - m) as f64).collect();
        let all = log(pool, &q).estimate(&losses, Estimator::Lure).unwrap();
        assert!((all.value - risk).abs() < 1e-12 && all.standard_error < 1e-12);
    }

    proptest! {
        #[test]
        fn both_are_unbiased_for_any_proposal(
            losses in prop::collection::vec(-5.0..5.0_f64, 5), scores in prop::collection::vec(0.05..1.0_f64, 5), m in 1_usize..5,
        ) {
            let risk = losses.iter().sum::<f64>() / 5.0;
            let [_, pure, lure] = enumerate(&losses, &scores, m);
            prop_assert!((pure.0 - risk).abs() < 1e-12 && (lure.0 - risk).abs() < 1e-12);
            let ones = enumerate(&[1.0; 5], &scores, m);
            prop_assert!((ones[2].0 - 1.0).abs() < 1e-12, "the weights average to 1 in expectation");
        }

        #[test]
        fn no_weight_is_negative(pool in 4_usize..30, q in prop::collection::vec(0.01..1.0_f64, 1..4)) {
            let log = log(pool, &q);
            let least = |m: usize| (q.len() - m - 1) as f64 / (pool - m - 1) as f64;
            prop_assert!(log.weights(Estimator::Lure).iter().enumerate().all(|(m, v)| *v >= least(m) - 1e-12));
            prop_assert!(log.weights(Estimator::Pure).iter().all(|w| *w > 0.0));
        }
    }
}
