//! Coverage of every scheme, score and randomisation, in three ways of calling, by simulation: JSON from
//! `scheme/score/randomization/calling` to how many test points were covered, one of each split.
//!
//! All splits share one seed, as a program does that predicts row after row without thinking of seeds.

#![allow(clippy::unwrap_used, reason = "a simulation may stop at the first surprise")]

use std::collections::BTreeMap;

use lyceum_conformal::{
    ClassConditional, Clustering, Conformal, ConformalConfig, CrossConformal, Known, Mondrian, Predictor, Randomization, ScoreConfig,
    Weighted,
    conformal::{p_values, scores},
};
use lyceum_core::Seed;
use ndarray::{Array2, ArrayView2, Axis, s, stack};
use rand::RngExt;
use rayon::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SPLITS: u64 = 20_000;
const CALIBRATION: usize = 61;
const CLASSES: usize = 5;
const ALPHA: f64 = 0.2;
const FOLDS: usize = 4;
/// Test points: two a call in batches.
const TEST: usize = 6;
/// The share of the second group, in calibration and where weights tell of another one.
const SHARES: [f64; 2] = [0.5, 0.8];

const SCORES: [(&str, ScoreConfig); 5] = [
    ("APS", ScoreConfig::Aps),
    ("RAPS", ScoreConfig::Raps { lambda: 0.05, k_reg: 2 }),
    ("LAC", ScoreConfig::Lac),
    ("SAPS", ScoreConfig::Saps { weight: 0.1 }),
    ("top-k", ScoreConfig::TopK),
];
const RANDOMIZATIONS: [(&str, Randomization); 3] =
    [("exact", Randomization::Exact), ("conservative", Randomization::Conservative), ("off", Randomization::Off)];

/// Of each way of calling, the test points of a call, and which of them counts.
const CALLINGS: [(&str, std::ops::Range<usize>, usize); 3] = [("whole", 0..TEST, 0), ("batches", 2..4, 2), ("rows", 4..5, 4)];

/// Logits, labels, and groups of which the second is harder. Of each fold's model its own logits.
struct Split {
    logits: Vec<Array2<f32>>,
    labels: Vec<usize>,
    groups: Vec<usize>,
}

impl Split {
    fn new(number: u64, shifted: bool) -> Self {
        let mut rng = Seed::new(number).stream("split");
        let n = CALIBRATION + TEST;
        let share = |row: usize| SHARES[usize::from(shifted && row >= CALIBRATION)];
        let groups: Vec<usize> = (0..n).map(|row| usize::from(rng.random::<f64>() < share(row))).collect();
        let labels: Vec<usize> = (0..n).map(|_| rng.random_range(0..CLASSES)).collect();
        let signal = |row: usize, k: usize| if labels[row] == k { [2.0, 1.0][groups[row]] / (1.0 + 0.3 * k as f32) } else { 0.0 };
        let first = Array2::from_shape_fn((n, CLASSES), |(row, k)| 2.0 * rng.random::<f32>() + signal(row, k));
        let logits = (0..FOLDS).map(|_| first.mapv(|z| z + 0.3 * rng.random::<f32>())).collect();
        Self { logits, labels, groups }
    }
}

/// A way to predict: from the rows' range to whether each row's label is in its set.
type Predict<'a> = Box<dyn Fn(std::ops::Range<usize>) -> Vec<bool> + 'a>;

fn schemes<'a>(plain: &'a Split, shifted: &'a Split, config: ConformalConfig) -> Vec<(&'static str, Predict<'a>)> {
    let seed = Seed::new(0);
    let calibration = |split: &'a Split| (split.logits[0].slice(s![..CALIBRATION, ..]), &split.labels[..CALIBRATION]);
    let (logits, labels) = calibration(plain);
    let test = |split: &'a Split, rows: &std::ops::Range<usize>| -> ArrayView2<'a, f32> {
        split.logits[0].slice(s![CALIBRATION + rows.start..CALIBRATION + rows.end, ..])
    };
    let of = move |split: &'a Split, rows: &std::ops::Range<usize>| &split.labels[CALIBRATION + rows.start..CALIBRATION + rows.end];
    let holds = move |split: &'a Split, rows: std::ops::Range<usize>, predictor: &Predictor, known: Known<'_>| -> Vec<bool> {
        let sets = predictor.predict(test(split, &rows), known, seed).unwrap();
        sets.iter().zip(of(split, &rows)).map(|(set, label)| set.contains(&(*label as u32))).collect()
    };
    let mut all: Vec<(&'static str, Predict<'a>)> = Vec::new();
    for (name, predictor) in [
        ("marginal", Predictor::Marginal(Conformal::calibrate(config, logits, labels, seed).unwrap())),
        ("class-conditional", Predictor::ClassConditional(ClassConditional::calibrate(config, logits, labels, seed).unwrap())),
        ("clustered", {
            let clustering = Clustering { clusters: 2, share: 0.4 };
            Predictor::ClassConditional(ClassConditional::calibrate_clustered(config, clustering, logits, labels, seed).unwrap())
        }),
    ] {
        all.push((name, Box::new(move |rows| holds(plain, rows, &predictor, Known::default()))));
    }
    let groups = Predictor::Groups(Mondrian::calibrate(config, logits, labels, &plain.groups[..CALIBRATION], seed).unwrap());
    all.push((
        "groups",
        Box::new(move |rows| {
            let known = Known { groups: Some(&plain.groups[CALIBRATION + rows.start..CALIBRATION + rows.end]), ..Known::default() };
            holds(plain, rows, &groups, known)
        }),
    ));
    let weights = |groups: &[usize]| -> Vec<f64> {
        let weight = |group: &usize| if *group == 1 { SHARES[1] / SHARES[0] } else { (1.0 - SHARES[1]) / (1.0 - SHARES[0]) };
        groups.iter().map(weight).collect()
    };
    let (from, to) = calibration(shifted);
    let weighted = Predictor::Weighted(Weighted::calibrate(config, from, to, &weights(&shifted.groups[..CALIBRATION]), seed).unwrap());
    all.push((
        "weighted",
        Box::new(move |rows| {
            let weights = weights(&shifted.groups[CALIBRATION + rows.start..CALIBRATION + rows.end]);
            holds(shifted, rows, &weighted, Known { weights: Some(&weights), ..Known::default() })
        }),
    ));
    let folds: Vec<usize> = (0..CALIBRATION).map(|row| row % FOLDS).collect();
    let out_of_fold = Array2::from_shape_fn((CALIBRATION, CLASSES), |(row, k)| plain.logits[folds[row]][[row, k]]);
    let cross = CrossConformal::calibrate(config, out_of_fold.view(), labels, &folds, seed).unwrap();
    all.push((
        "cross-conformal",
        Box::new(move |rows| {
            let parts: Vec<_> =
                plain.logits.iter().map(|logits| logits.slice(s![CALIBRATION + rows.start..CALIBRATION + rows.end, ..])).collect();
            let sets = cross.predict(stack(Axis(0), &parts).unwrap().view(), seed).unwrap();
            sets.iter().zip(of(plain, &rows)).map(|(set, label)| set.contains(&(*label as u32))).collect()
        }),
    ));
    let found = scores(&config, logits, labels, seed).unwrap();
    all.push((
        "p-values",
        Box::new(move |rows| {
            let p = p_values(&config, &found, test(plain, &rows), seed).unwrap();
            p.rows().into_iter().zip(of(plain, &rows)).map(|(p, label)| p[*label] > ALPHA).collect()
        }),
    ));
    all
}

fn main() {
    let add = |mut sum: BTreeMap<String, u64>, more: BTreeMap<String, u64>| {
        more.into_iter().for_each(|(name, hits)| *sum.entry(name).or_default() += hits);
        sum
    };
    let found = (0..SPLITS)
        .into_par_iter()
        .fold(BTreeMap::new, |sum, number| {
            let (plain, shifted) = (Split::new(number, false), Split::new(number, true));
            let mut hits = BTreeMap::new();
            for (score_name, score) in SCORES {
                for (randomization_name, randomization) in RANDOMIZATIONS {
                    let config = ConformalConfig { alpha: ALPHA, score, randomization, ..ConformalConfig::default() };
                    for (scheme, predict) in schemes(&plain, &shifted, config) {
                        for (calling, rows, counted) in CALLINGS {
                            let hit = predict(rows.clone())[counted - rows.start];
                            hits.insert(format!("{scheme}/{score_name}/{randomization_name}/{calling}"), u64::from(hit));
                        }
                    }
                }
            }
            add(sum, hits)
        })
        .reduce(BTreeMap::new, add);
    let mut all = serde_json::json!(found);
    (all["alpha"], all["splits"]) = (ALPHA.into(), SPLITS.into());
    println!("{all}");
}
