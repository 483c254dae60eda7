//! The guarantee of every scheme over a thousand splits, with every score.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use lyceum_conformal::{
    ClassConditional, Clustering, Conformal, ConformalConfig, CrossConformal, Mondrian, PredictionSets, Randomization, ScoreConfig,
    Weighted,
    conformal::{all_scores, p_values, scores, sets},
    quantile, risk,
    scheme::Marginal,
};
use lyceum_core::Seed;
use ndarray::{Array2, Array3, Axis, s};
use rand::RngExt;

const SCORES: [ScoreConfig; 5] = [
    ScoreConfig::Aps,
    ScoreConfig::Raps { lambda: 0.05, k_reg: 2 },
    ScoreConfig::Lac,
    ScoreConfig::Saps { weight: 0.1 },
    ScoreConfig::TopK,
];
const SPLITS: u64 = 1_000;
const CALIBRATION: usize = 120;
const TEST: usize = 40;
const CLASSES: usize = 4;

/// Labels, and logits of a classifier that is worse at high labels.
fn problem(n: usize, seed: u64) -> (Array2<f32>, Vec<usize>) {
    let mut rng = Seed::new(seed).stream("problem");
    let labels: Vec<usize> = (0..n).map(|_| rng.random_range(0..CLASSES)).collect();
    let logits =
        Array2::from_shape_fn((n, CLASSES), |(i, k)| 3.0 * rng.random::<f32>() + if labels[i] == k { 2.0 / (1.0 + k as f32) } else { 0.0 });
    (logits, labels)
}

/// Counts of points and of covered ones.
#[derive(Default, Clone, Copy)]
struct Count {
    points: f64,
    covered: f64,
}

impl Count {
    fn add(&mut self, set: &[u32], label: usize) {
        self.points += 1.0;
        self.covered += f64::from(u8::from(set.contains(&(label as u32))));
    }

    fn share(&self) -> f64 {
        self.covered / self.points
    }

    /// Within `width` standard errors of `expected`, if the splits were independent points of beta-binomial coverage
    /// with about `n` calibration points each.
    fn check(&self, what: &str, expected: f64, n: f64, width: f64) {
        let variance = expected * (1.0 - expected) * (1.0 / self.points + 1.0 / (n * SPLITS as f64));
        let error = (self.share() - expected).abs();
        assert!(error < width * variance.sqrt(), "{what}: {}, expected {expected} ± {}", self.share(), variance.sqrt());
    }
}

fn each_split(
    score: ScoreConfig,
    alpha: f64,
    mut work: impl FnMut(ConformalConfig, (&Array2<f32>, &[usize]), (&Array2<f32>, &[usize]), Seed),
) {
    let config = ConformalConfig { alpha, score, ..ConformalConfig::default() };
    for split in 0..SPLITS {
        let (logits, labels) = problem(CALIBRATION + TEST, split);
        let (calibration, test) = (logits.slice(s![..CALIBRATION, ..]).to_owned(), logits.slice(s![CALIBRATION.., ..]).to_owned());
        work(config, (&calibration, &labels[..CALIBRATION]), (&test, &labels[CALIBRATION..]), Seed::new(split));
    }
}

fn add_all(count: &mut Count, sets: &PredictionSets, labels: &[usize]) {
    sets.iter().zip(labels).for_each(|(set, &label)| count.add(set, label));
}

/// E[k/(n + 1)] over a group's random size: about 1 − α, and never below.
fn about(alpha: f64, n: f64) -> (f64, f64) {
    (1.0 - alpha, 1.0 - alpha + 1.0 / (n + 1.0))
}

#[test]
fn groups_and_classes_are_each_covered() {
    let alpha = 0.2;
    for score in SCORES {
        let (mut by_group, mut by_class) = ([Count::default(); 3], [Count::default(); CLASSES]);
        each_split(score, alpha, |config, (z, y), (test, labels), seed| {
            // A group that says something of the difficulty.
            let groups = |y: &[usize]| y.iter().enumerate().map(|(row, label)| (label / 2) + row % 2).collect::<Vec<usize>>();
            let model = Mondrian::calibrate(config, z.view(), y, &groups(y), seed).unwrap();
            let sets = model.predict(test.view(), &groups(labels), seed.child("test")).unwrap();
            sets.iter().zip(groups(labels)).zip(labels).for_each(|((set, group), &label)| by_group[group].add(set, label));
            let model = ClassConditional::calibrate(config, z.view(), y, seed).unwrap();
            let sets = model.predict(test.view(), seed.child("test")).unwrap();
            sets.iter().zip(labels).for_each(|(set, &label)| by_class[label].add(set, label));
        });
        for count in by_group.into_iter().chain(by_class) {
            let (low, high) = about(alpha, 25.0);
            assert!(count.share() > low - 0.006 && count.share() < high + 0.006, "{score:?}: {}", count.share());
        }
    }
}

/// Every scheme, score and randomization: coverage is not below 1 − α, nor is that of a class, at 99.9 % (binomial).
#[test]
fn every_randomization_covers_in_every_scheme() {
    let alpha = 0.2;
    for (score, randomization) in SCORES.into_iter().flat_map(|s| [Randomization::Conservative, Randomization::Off].map(|r| (s, r))) {
        let (mut all, mut by_class) = ([Count::default(); 4], [Count::default(); CLASSES]);
        each_split(score, alpha, |config, (z, y), (test, labels), seed| {
            let config = ConformalConfig { randomization, ..config };
            let (at, weights) = (seed.child("test"), vec![1.0; CALIBRATION]);
            let marginal = Conformal::calibrate(config, z.view(), y, seed).unwrap().predict(test.view(), at).unwrap();
            add_all(&mut all[0], &marginal, labels);
            let weighted = Weighted::calibrate(config, z.view(), y, &weights, seed).unwrap();
            add_all(&mut all[1], &weighted.predict(test.view(), &weights[..TEST], at).unwrap(), labels);
            let folds: Vec<usize> = (0..CALIBRATION).map(|row| row % 4).collect();
            let cross = CrossConformal::calibrate(config, z.view(), y, &folds, seed).unwrap();
            let models = test.view().insert_axis(Axis(0)).broadcast((4, TEST, CLASSES)).unwrap().to_owned();
            add_all(&mut all[2], &cross.predict(models.view(), at).unwrap(), labels);
            let p = p_values(&config, &scores(&config, z.view(), y, seed).unwrap(), test.view(), at).unwrap();
            for (row, &label) in labels.iter().enumerate() {
                let set: Vec<u32> = (0..CLASSES as u32).filter(|&k| p[[row, k as usize]] > alpha).collect();
                all[3].add(&set, label);
                // The labels with p > α are the set.
                let mut found = marginal.get(row).to_vec();
                found.sort_unstable();
                assert_eq!(set, found, "{score:?} {randomization:?}");
            }
            let model = ClassConditional::calibrate(config, z.view(), y, seed).unwrap();
            for (set, &label) in model.predict(test.view(), at).unwrap().iter().zip(labels) {
                by_class[label].add(set, label);
                assert!((0..set.len()).all(|i| !set[i + 1..].contains(&set[i])), "a label twice: {set:?}");
            }
        });
        for count in all.into_iter().chain(by_class) {
            let deviation = (alpha * (1.0 - alpha) * (1.0 / count.points + 1.0 / (30.0 * SPLITS as f64))).sqrt();
            assert!(count.share() > 1.0 - alpha - 3.1 * deviation, "{score:?} {randomization:?}: {}", count.share());
        }
    }
}

#[test]
fn clusters_cover_on_average() {
    for score in SCORES {
        let mut count = Count::default();
        each_split(score, 0.2, |config, (z, y), (test, labels), seed| {
            let clustering = Clustering { clusters: 2, share: 0.4 };
            let model = ClassConditional::calibrate_clustered(config, clustering, z.view(), y, seed).unwrap();
            assert!(model.clusters.as_ref().unwrap().iter().flatten().all(|cluster| *cluster < 2));
            add_all(&mut count, &model.predict(test.view(), seed.child("test")).unwrap(), labels);
        });
        assert!(count.share() > 0.794 && count.share() < 0.85, "{score:?}: {}", count.share());
    }
}

#[test]
fn weights_mend_a_shift_that_breaks_split_conformal() {
    let alpha = 0.2;
    for score in SCORES {
        let (mut weighted, mut plain) = (Count::default(), Count::default());
        each_split(score, alpha, |config, (z, y), (test, labels), seed| {
            // The new distribution: hard labels are more frequent. Weights by a feature that tells them apart.
            let weight = |label: usize| if label >= 2 { 3.0 } else { 0.5 };
            let mut rng = seed.stream("shift");
            let kept: Vec<usize> = (0..TEST).filter(|&row| rng.random::<f64>() < weight(labels[row]) / 3.0).collect();
            let (test, labels) = (test.select(Axis(0), &kept), kept.iter().map(|&row| labels[row]).collect::<Vec<usize>>());
            let weights = |labels: &[usize]| labels.iter().map(|&label| weight(label)).collect::<Vec<f64>>();
            let model = Weighted::calibrate(config, z.view(), y, &weights(y), seed).unwrap();
            add_all(&mut weighted, &model.predict(test.view(), &weights(&labels), seed.child("test")).unwrap(), &labels);
            let threshold = quantile::threshold(&mut scores(&config, z.view(), y, seed).unwrap(), alpha);
            add_all(&mut plain, &sets(&config, &Marginal(threshold), test.view(), seed.child("test")).unwrap(), &labels);
        });
        assert!(weighted.share() > 0.793 && weighted.share() < 0.84, "{score:?}: {}", weighted.share());
        assert!(plain.share() < weighted.share() - 0.02, "{score:?}: {} {}", plain.share(), weighted.share());
    }
}

#[test]
fn cross_conformal_covers_and_p_values_are_uniform() {
    let alpha = 0.2;
    for score in SCORES {
        let (mut crossed, mut by_p) = (Count::default(), Count::default());
        each_split(score, alpha, |config, (z, y), (test, labels), seed| {
            let folds: Vec<usize> = (0..CALIBRATION).map(|row| row % 5).collect();
            // Models of the folds that differ a little.
            let models =
                Array3::from_shape_fn((5, TEST, CLASSES), |(model, row, k)| test[[row, k]] + 0.05 * ((model * 7 + k) as f32).sin());
            let calibration = Array2::from_shape_fn(z.dim(), |(row, k)| z[[row, k]] + 0.05 * ((folds[row] * 7 + k) as f32).sin());
            let model = CrossConformal::calibrate(config, calibration.view(), y, &folds, seed).unwrap();
            add_all(&mut crossed, &model.predict(models.view(), seed.child("test")).unwrap(), labels);
            let found = scores(&config, z.view(), y, seed).unwrap();
            let p = p_values(&config, &found, test.view(), seed.child("test")).unwrap();
            labels.iter().enumerate().for_each(|(row, &label)| {
                by_p.points += 1.0;
                by_p.covered += f64::from(u8::from(p[[row, label]] > alpha));
            });
        });
        // n = 120: k = 97 of 121.
        crossed.check(&format!("cross {score:?}"), 97.0 / 121.0, CALIBRATION as f64, 4.0);
        by_p.check(&format!("p {score:?}"), 97.0 / 121.0, CALIBRATION as f64, 4.0);
    }
}

#[test]
fn the_scores_of_all_labels_are_those_of_the_sets() {
    let (logits, _) = problem(300, 5);
    for score in SCORES {
        let config = ConformalConfig { score, ..ConformalConfig::default() };
        let all = all_scores(&config, logits.view(), Seed::new(1)).unwrap();
        for threshold in [0.3, 0.7, 1.0, 2.5] {
            let sets = sets(&config, &Marginal(threshold), logits.view(), Seed::new(1)).unwrap();
            for (row, set) in sets.iter().enumerate() {
                let mut expected: Vec<u32> = (0..CLASSES as u32).filter(|&k| all[[row, k as usize]] <= threshold).collect();
                let mut found = set.to_vec();
                found.sort_unstable();
                expected.sort_unstable();
                assert_eq!(found, expected, "{score:?} at {threshold}");
            }
        }
    }
}

#[test]
fn risk_is_controlled_over_splits() {
    // False negatives of sets {k: score ≥ 1 − λ} with three true labels a point.
    let (alpha, mut loss, mut points) = (0.15, 0.0, 0.0);
    let grid: Vec<f64> = (0..=100).map(|step| f64::from(step) / 100.0).collect();
    for split in 0..SPLITS {
        let mut rng = Seed::new(split).stream("risk");
        let mut draw = || -> Vec<f64> {
            let scores: [f64; 3] = std::array::from_fn(|_| rng.random::<f64>().powf(0.3));
            grid.iter().map(|lambda| scores.iter().filter(|score| **score < 1.0 - lambda).count() as f64 / 3.0).collect()
        };
        let calibration = Array2::from_shape_vec((50, grid.len()), (0..50).flat_map(|_| draw()).collect()).unwrap();
        let chosen = risk::control(calibration.view(), alpha, 1.0).unwrap().unwrap();
        loss += (0..20).map(|_| draw()[chosen]).sum::<f64>();
        points += 20.0;
    }
    let mean = loss / points;
    assert!(mean <= alpha + 0.004 && mean > alpha - 0.035, "{mean}");
}

#[test]
fn mistakes_are_told() {
    let (logits, labels) = problem(50, 0);
    let (config, seed) = (ConformalConfig::default(), Seed::new(0));
    fn told<T: std::fmt::Debug>(found: lyceum_core::Result<T>, text: &str) {
        let error = found.unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
    told(Mondrian::calibrate(config, logits.view(), &labels, &[0; 3], seed), "groups: found 3");
    told(Mondrian::calibrate(config, logits.view(), &labels, &[usize::MAX / 2; 50], seed), "groups");
    told(Weighted::calibrate(config, logits.view(), &labels, &[-1.0; 50], seed), "weight of row 0");
    told(Weighted::calibrate(config, logits.view(), &labels, &[1e308; 50], seed), "weights: found a sum beyond");
    let clustering = Clustering { clusters: 9, share: 0.5 };
    told(ClassConditional::calibrate_clustered(config, clustering, logits.view(), &labels, seed), "clusters: found 9");
    // Without folds there are no models to ask.
    let none = CrossConformal::calibrate(config, logits.slice(ndarray::s![..0, ..]), &[], &[], seed).unwrap_err();
    assert!(none.to_string().contains("folds: found none"), "{none}");
    let model = CrossConformal::calibrate(config, logits.view(), &labels, &[0; 50], seed).unwrap();
    told(model.predict(Array3::zeros((2, 3, CLASSES)).view(), seed), "2 models");
    let mondrian = Mondrian::calibrate(config, logits.view(), &labels, &[0; 50], seed).unwrap();
    assert!(
        mondrian.predict(logits.view(), &[7; 50], seed).unwrap().sizes().all(|size| size == CLASSES),
        "an unseen group gets every label"
    );
}
