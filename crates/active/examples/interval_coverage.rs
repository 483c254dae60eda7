//! Coverage and width of the intervals of PURE and LURE from few labels to all, by simulation: JSON from
//! `scores/M/estimator/coverage|width`. The width is that of the interval over twice 1.96 standard deviations of the estimate: 1 where the
//! interval is as wide as it should be.

#![allow(clippy::unwrap_used, reason = "a simulation may stop at the first surprise")]

use std::collections::BTreeMap;

use lyceum_active::{AcquisitionLog, Estimator, Proposal, Sampler};
use lyceum_core::Seed;
use rand::RngExt;
use rayon::prelude::*;

const POOL: usize = 1_000;
const RUNS: u64 = 4_000;
const LABELS: [usize; 11] = [10, 20, 50, 100, 200, 333, 500, 700, 900, 990, 1_000];

fn main() {
    let mut rng = Seed::new(1).stream("pool");
    // Losses as those of a classifier: most are small, some large.
    let losses: Vec<f64> = (0..POOL).map(|_| -rng.random::<f64>().ln() * if rng.random::<f64>() < 0.1 { 3.0 } else { 0.2 }).collect();
    let risk = losses.iter().sum::<f64>() / POOL as f64;
    let noisy: Vec<f64> = losses.iter().map(|loss| loss * (0.3 + 1.4 * rng.random::<f64>()) + 0.05).collect();
    let mut found = BTreeMap::new();
    for (name, scores) in [("expected loss", &noisy), ("uniform", &vec![1.0; POOL])] {
        let runs: Vec<Vec<[f64; 3]>> = (0..RUNS)
            .into_par_iter()
            .map(|run| {
                let mut sampler = Sampler::new(Proposal::Proportional, AcquisitionLog::new(POOL).unwrap(), Seed::new(run)).unwrap();
                let mut rows = Vec::new();
                for labels in LABELS {
                    sampler.draw(scores, labels - sampler.log().draws().len()).unwrap();
                    let at: Vec<f64> = sampler.log().draws().iter().map(|draw| losses[draw.index]).collect();
                    for estimator in [Estimator::Pure, Estimator::Lure] {
                        let estimate = sampler.log().estimate(&at, estimator).unwrap();
                        let (low, high) = estimate.interval(0.95).unwrap();
                        let slack = 1e-9 * risk;
                        let holds = low - slack <= risk && risk <= high + slack;
                        rows.push([estimate.value, f64::from(u8::from(holds)), high - low]);
                    }
                }
                rows
            })
            .collect();
        let cells = LABELS.iter().flat_map(|labels| ["PURE", "LURE"].map(|estimator| format!("{name}/{labels}/{estimator}")));
        for (place, cell) in cells.enumerate() {
            let mean = |of: &dyn Fn(&[f64; 3]) -> f64| runs.iter().map(|rows| of(&rows[place])).sum::<f64>() / RUNS as f64;
            let deviation = mean(&|[value, ..]| (value - risk).powi(2)).sqrt();
            found.insert(format!("{cell}/coverage"), mean(&|[_, holds, _]| *holds));
            if deviation > 1e-9 * risk {
                found.insert(format!("{cell}/width"), mean(&|[.., width]| *width) / (2.0 * 1.96 * deviation));
            }
        }
    }
    found.extend([("pool".to_owned(), POOL as f64), ("runs".to_owned(), RUNS as f64)]);
    println!("{}", serde_json::json!(found));
}
