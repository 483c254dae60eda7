//! The guarantee, the worked cases and bad input, through the public interface.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use lyceum_conformal::{
    ClassConditional, Clustering, Conformal, ConformalConfig, Known, Mondrian, PredictionSets, Predictor, Randomization, ScoreConfig,
    Weighted,
    conformal::Copies,
    logits::from_f64,
    metrics,
    tune::{self, Criterion},
};
use lyceum_core::Seed;
use ndarray::{Array2, array, s};
use rand::RngExt;

const SCORES: [ScoreConfig; 5] = [
    ScoreConfig::Aps,
    ScoreConfig::Raps { lambda: 0.05, k_reg: 2 },
    ScoreConfig::Lac,
    ScoreConfig::Saps { weight: 0.1 },
    ScoreConfig::TopK,
];

/// Noisy logits whose label is drawn from a softmax of another temperature: a miscalibrated classifier.
fn problem(n: usize, classes: usize, seed: u64) -> (Array2<f32>, Vec<usize>) {
    let mut rng = Seed::new(seed).stream("problem");
    let logits = Array2::from_shape_fn((n, classes), |_| 2.0 * (rng.random::<f32>() + rng.random::<f32>() + rng.random::<f32>()));
    let label = |row: ndarray::ArrayView1<'_, f32>, u: f64| {
        let weights: Vec<f64> = row.iter().map(|&z| (1.5 * f64::from(z)).exp()).collect();
        let mut rest = u * weights.iter().sum::<f64>();
        let hit = |weight: &f64| {
            rest -= weight;
            rest < 0.0
        };
        weights.iter().position(hit).unwrap_or(classes - 1)
    };
    let labels = logits.rows().into_iter().map(|row| label(row, rng.random())).collect();
    (logits, labels)
}

#[test]
fn mean_coverage_over_a_thousand_splits_is_one_minus_alpha() {
    let splits = 1_000;
    let (calibration, test) = (100, 50);
    for (index, score) in SCORES.into_iter().enumerate() {
        for alpha in [0.01, 0.1, 0.3, 0.5] {
            let config = ConformalConfig { alpha, score, ..ConformalConfig::default() };
            let mut covered = 0;
            for split in 0..splits {
                let (logits, labels) = problem(calibration + test, 6, split * 31 + index as u64);
                let seed = Seed::new(split);
                let conformal = Conformal::calibrate(config, logits.slice(s![..calibration, ..]), &labels[..calibration], seed).unwrap();
                let sets = conformal.predict(logits.slice(s![calibration.., ..]), seed.child("test")).unwrap();
                covered += metrics::coverage(&sets, &labels[calibration..]).hits;
            }
            // Coverage given the calibration set is Beta(k, n + 1 − k); over the splits and their test points:
            let k = (calibration + 1) as f64 - (alpha * (calibration + 1) as f64 + 1e-9).floor();
            let mean = k / (calibration + 1) as f64;
            let between = mean * (1.0 - mean) / (calibration + 2) as f64;
            let deviation = ((between + mean * (1.0 - mean) / test as f64) / splits as f64).sqrt();
            let found = covered as f64 / (splits as usize * test) as f64;
            assert!((found - mean).abs() < 3.5 * deviation, "{score:?} at {alpha}: {found}, expected {mean} ± {deviation}");
        }
    }
}

/// π = (0.5, 0.3, 0.15, 0.05) as logits.
fn known_row(n: usize) -> Array2<f32> {
    Array2::from_shape_fn((n, 4), |(_, k)| [0.5_f32, 0.3, 0.15, 0.05][k].ln())
}

fn with_threshold(threshold: f64, score: ScoreConfig, randomization: Randomization, allow_empty: bool) -> PredictionSets {
    let config = ConformalConfig { score, randomization, allow_empty, ..ConformalConfig::default() };
    let conformal = Conformal { config, threshold: Some(threshold), calibration_size: 100, classes: 4 };
    conformal.predict(known_row(20_000).view(), Seed::new(3)).unwrap()
}

/// The share of sets of each size, to three standard errors of 20,000 draws.
fn shares(sets: &PredictionSets, expected: &[(usize, f64)]) {
    for &(size, share) in expected {
        let found = sets.sizes().filter(|&found| found == size).count() as f64 / sets.len() as f64;
        assert!((found - share).abs() < 0.0106, "size {size}: {found}, expected {share}");
    }
}

#[test]
fn sizes_of_the_worked_cases() {
    // τ = 0.9, λ = 0: two labels always, the third if u ≤ 2/3.
    shares(&with_threshold(0.9, ScoreConfig::Aps, Randomization::Exact, true), &[(2, 1.0 / 3.0), (3, 2.0 / 3.0)]);
    // λ = 0.1, k_reg = 1: two always.
    shares(&with_threshold(0.9, ScoreConfig::raps(0.1, 1), Randomization::Exact, true), &[(2, 1.0)]);
    // τ = 0.4: empty with probability 0.2, or the top label instead.
    let low = with_threshold(0.4, ScoreConfig::Aps, Randomization::Exact, true);
    shares(&low, &[(0, 0.2), (1, 0.8)]);
    let never_empty = with_threshold(0.4, ScoreConfig::Aps, Randomization::Exact, false);
    assert!(never_empty.iter().all(|set| set == [0]));
    // Conservative: the first label that reaches τ, whatever u.
    let conservative = with_threshold(0.9, ScoreConfig::Aps, Randomization::Conservative, true);
    assert!(conservative.iter().all(|set| set == [0, 1, 2]));
    assert!(with_threshold(0.9, ScoreConfig::Aps, Randomization::Off, true).iter().all(|set| set == [0, 1]));
    // Fixed k: 1.7 is two labels, the second with probability 0.7.
    shares(&with_threshold(1.7, ScoreConfig::TopK, Randomization::Exact, true), &[(1, 0.3), (2, 0.7)]);
}

/// Where a label that was promised less is given anyway, classes lose coverage: sets are those of the bounds, each label once.
#[test]
fn conservative_sets_of_every_score_worked_by_hand() {
    let of = |threshold, score| with_threshold(threshold, score, Randomization::Conservative, true).get(7).to_vec();
    // Up to the first label that reaches τ: with u = 1 the scores of APS are 0.5, 0.8, 0.95, 1.
    assert_eq!(of(0.79, ScoreConfig::Aps), [0, 1]);
    assert_eq!(of(0.81, ScoreConfig::Aps), [0, 1, 2]);
    // RAPS(0.1, 1): 0.5, 0.9, 1.15, 1.3. SAPS(0.1): 0.5, 0.6, 0.7, 0.8. Top-k: 1, 2, 3, 4.
    assert_eq!(of(0.91, ScoreConfig::raps(0.1, 1)), [0, 1, 2]);
    assert_eq!(of(0.59, ScoreConfig::Saps { weight: 0.1 }), [0, 1]);
    assert_eq!(of(0.61, ScoreConfig::Saps { weight: 0.1 }), [0, 1, 2]);
    assert_eq!(of(2.5, ScoreConfig::TopK), [0, 1, 2]);
    // LAC draws nothing and needs no label more: 1 − π is 0.5, 0.7, 0.85, 0.95.
    assert_eq!(of(0.71, ScoreConfig::Lac), [0, 1]);
    assert!(of(0.4, ScoreConfig::Lac).is_empty());
    // A threshold for each label: 2 and 3 are beyond theirs, and no label comes twice.
    let config = ConformalConfig { score: ScoreConfig::Aps, randomization: Randomization::Conservative, ..ConformalConfig::default() };
    let model = ClassConditional { config, thresholds: vec![Some(0.3), Some(0.6), Some(0.7), Some(0.9)], clusters: None };
    assert_eq!(model.predict(known_row(1).view(), Seed::new(0)).unwrap().get(0), [0, 1]);
}

#[test]
fn saps_of_a_known_row() {
    let config =
        ConformalConfig { score: ScoreConfig::Saps { weight: 0.1 }, randomization: Randomization::Off, ..ConformalConfig::default() };
    let found = lyceum_conformal::conformal::scores(&config, known_row(4).view(), &[0, 1, 2, 3], Seed::new(0)).unwrap();
    assert!(found.iter().zip([0.5, 0.6, 0.7, 0.8]).all(|(found, expected)| (found - expected).abs() < 1e-7), "{found:?}");
}

/// One row after the other, in any order or with float64, the sets are those of all rows at once; copies have draws of their own.
#[test]
fn the_way_of_calling_does_not_matter() {
    let (logits, labels) = problem(700, 12, 5);
    for score in SCORES {
        let config = ConformalConfig { score, ..ConformalConfig::default() };
        let model = Conformal::calibrate(config, logits.view(), &labels, Seed::new(0)).unwrap();
        let whole = model.predict(logits.view(), Seed::new(1)).unwrap();
        for row in 0..700 {
            let one = model.predict(logits.slice(s![row..=row, ..]), Seed::new(1)).unwrap();
            assert_eq!(one.get(0), whole.get(row));
        }
        let backwards = model.predict(logits.slice(s![..;-1, ..]), Seed::new(1)).unwrap();
        assert!((0..700).all(|row| backwards.get(699 - row) == whole.get(row)));
        // An offset that float32 could not hold beside the logits.
        let wide = logits.mapv(|z| f64::from(z) + 1e8);
        let exact = logits.mapv(f64::from).mapv(|z| ((z + 1e8) - 1e8) as f32);
        assert_eq!(model.predict(from_f64(wide.view()).view(), Seed::new(1)).unwrap(), model.predict(exact.view(), Seed::new(1)).unwrap());
        assert_eq!(model.predict(from_f64(logits.mapv(f64::from).view()).view(), Seed::new(1)).unwrap(), whole);
        assert_eq!(Conformal::calibrate(config, from_f64(logits.mapv(f64::from).view()).view(), &labels, Seed::new(0)).unwrap(), model);
    }
    // Copies: within a call each has a draw of its own, so that sizes vary; the parts of a call go on counting.
    let copies = known_row(1_000);
    let config = ConformalConfig { score: ScoreConfig::Aps, ..ConformalConfig::default() };
    let model = Conformal { config, threshold: Some(0.9), calibration_size: 100, classes: 4 };
    let whole = model.predict(copies.view(), Seed::new(1)).unwrap();
    let larger = whole.sizes().filter(|size| *size == 3).count();
    assert!(larger.abs_diff(667) < 60, "{larger}");
    let (mut parts, mut seen) = (PredictionSets::default(), Copies::default());
    for start in [0, 300, 301, 800] {
        let end = [300, 301, 800, 1_000][[0, 300, 301, 800].iter().position(|s| *s == start).unwrap()];
        let part =
            Predictor::Marginal(model.clone()).predict_part(&mut seen, copies.slice(s![start..end, ..]), Known::default(), Seed::new(1));
        parts.append(&part.unwrap());
    }
    assert_eq!(parts, whole);
    // Across calls with one seed they share it.
    let alone = model.predict(copies.slice(s![7..8, ..]), Seed::new(1)).unwrap();
    assert_eq!(alone.get(0), whole.get(0));
}

#[test]
fn a_heavy_penalty_bounds_every_set_by_k_reg() {
    let (logits, labels) = problem(3_000, 30, 7);
    let (first, second) = logits.view().split_at(ndarray::Axis(0), 1_500);
    let k_reg = tune::k_reg(first, &labels[..1_500], 0.1).unwrap();
    let config = ConformalConfig { score: ScoreConfig::raps(2.0, k_reg), ..ConformalConfig::default() };
    let sets = Conformal::calibrate(config, first, &labels[..1_500], Seed::new(0)).unwrap().predict(second, Seed::new(1)).unwrap();
    assert!(sets.sizes().max().unwrap() <= k_reg);
}

#[test]
fn uniform_probabilities_give_sets_of_k_times_one_minus_alpha() {
    let logits = Array2::<f32>::zeros((8_000, 50));
    let mut rng = Seed::new(2).stream("labels");
    let labels: Vec<usize> = (0..8_000).map(|_| rng.random_range(0..50)).collect();
    let (first, second) = logits.view().split_at(ndarray::Axis(0), 4_000);
    let sets = Conformal::calibrate(ConformalConfig::default(), first, &labels[..4_000], Seed::new(0))
        .unwrap()
        .predict(second, Seed::new(1))
        .unwrap();
    assert!((metrics::mean_size(&sets) - 45.0).abs() < 1.0, "{}", metrics::mean_size(&sets));
    // Ties are ranked by number.
    assert!(sets.iter().all(|set| set.iter().enumerate().all(|(rank, &label)| rank == label as usize)));
}

#[test]
fn the_threads_do_not_matter_and_neither_does_the_layout() {
    let (logits, labels) = problem(2_000, 40, 9);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let conformal = Conformal::calibrate(ConformalConfig::default(), logits.view(), &labels, Seed::new(0)).unwrap();
            let sets = conformal.predict(logits.view(), Seed::new(1)).unwrap();
            (conformal, sets)
        })
    };
    let (conformal, sets) = run(1);
    assert_eq!((&conformal, &sets), (&run(4).0, &run(4).1));
    let transposed = logits.t().as_standard_layout().into_owned();
    assert_eq!(conformal.predict(transposed.t(), Seed::new(1)).unwrap(), sets);
}

#[test]
fn tuning_for_size_beats_no_penalty_on_a_weak_classifier() {
    let mut rng = Seed::new(1).stream("weak");
    let labels: Vec<usize> = (0..4_000).map(|_| rng.random_range(0..200)).collect();
    // Right most of the time, with a long tail of small probabilities that means nothing.
    let logits = Array2::from_shape_fn((4_000, 200), |(i, k)| {
        2.0 * (rng.random::<f32>() + rng.random::<f32>()) + if k == labels[i] && i % 12 != 0 { 5.0 } else { 0.0 }
    });
    let part = |index: usize| (logits.slice(s![1_000 * index..1_000 * (index + 1), ..]), &labels[1_000 * index..1_000 * (index + 1)]);
    let tuned = tune::raps(ConformalConfig::default(), part(0).0, part(0).1, Criterion::Size, Seed::new(0)).unwrap();
    let size = |config| {
        let sets = Conformal::calibrate(config, part(1).0, part(1).1, Seed::new(1)).unwrap().predict(part(2).0, Seed::new(2)).unwrap();
        let (low, high) = metrics::coverage_band(1_000, 0.1, 1_000, 0.999);
        let coverage = metrics::coverage(&sets, part(2).1).share;
        assert!(coverage >= low && coverage <= high, "{coverage} outside {low}..{high}");
        metrics::mean_size(&sets)
    };
    let (raps, aps) = (size(tuned), size(ConformalConfig::default()));
    assert!(raps < 0.9 * aps, "{raps} {aps}");
    let adaptive = tune::raps(ConformalConfig::default(), part(0).0, part(0).1, Criterion::Adaptiveness, Seed::new(0)).unwrap();
    assert!(matches!(adaptive.score, ScoreConfig::Raps { lambda, .. } if lambda <= 2e-3));
}

#[test]
fn bad_input_is_told_and_odd_input_is_defined() {
    let calibrate =
        |logits: &Array2<f32>, labels: &[usize]| Conformal::calibrate(ConformalConfig::default(), logits.view(), labels, Seed::new(0));
    let message = |logits: &Array2<f32>, labels: &[usize]| calibrate(logits, labels).unwrap_err().to_string();
    assert!(message(&array![[0.0, 1.0], [f32::NAN, 0.0]], &[0, 1]).contains("row 1, column 0"));
    assert!(message(&array![[0.0, 1.0]], &[2]).contains("label of row 0"));
    assert!(message(&array![[0.0, 1.0]], &[0, 1]).contains("labels"));
    assert!(message(&Array2::zeros((2, 0)), &[]).contains("labels"));
    for alpha in [0.0, 1.0, -1.0, f64::NAN] {
        let config = ConformalConfig { alpha, ..ConformalConfig::default() };
        assert_eq!(Conformal::calibrate(config, array![[0.0]].view(), &[0], Seed::new(0)).unwrap_err().exit_code(), 2);
    }
    // No calibration data, or too little: every label.
    let none = calibrate(&Array2::zeros((0, 3)), &[]).unwrap();
    assert_eq!(none.threshold, None);
    assert_eq!(none.predict(array![[0.0, 5.0, 1.0]].view(), Seed::new(0)).unwrap().get(0), [1, 2, 0]);
    assert!(none.predict(array![[0.0, 5.0]].view(), Seed::new(0)).is_err());
    assert!(none.predict(array![[0.0, f32::NAN, 0.0]].view(), Seed::new(0)).is_err());
    assert!(none.predict(Array2::zeros((0, 3)).view(), Seed::new(0)).unwrap().is_empty());
    // One class: in the set with probability 1 − α, or always.
    let one = calibrate(&Array2::zeros((999, 1)), &[0; 999]).unwrap();
    let sets = one.predict(Array2::zeros((5_000, 1)).view(), Seed::new(9)).unwrap();
    assert!((metrics::coverage(&sets, &vec![0; 5_000]).share - 0.9).abs() < 0.05);
    // Infinities, and the largest numbers there are.
    let odd =
        array![[f32::INFINITY, f32::INFINITY, 0.0], [f32::NEG_INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY], [f32::MAX, f32::MIN, 0.0]];
    let odd = odd.select(ndarray::Axis(0), &[0, 1, 2].repeat(20));
    let sets = calibrate(&odd, &[0, 1, 0].repeat(20)).unwrap().predict(odd.view(), Seed::new(1)).unwrap();
    assert_eq!(sets.len(), 60);
}

#[test]
fn a_saved_model_gives_the_same_sets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.json");
    let (logits, labels) = problem(500, 8, 4);
    let config = ConformalConfig { score: ScoreConfig::raps(0.01, 3), temperature: 1.7, ..ConformalConfig::default() };
    let conformal = Conformal::calibrate(config, logits.view(), &labels, Seed::new(0)).unwrap();
    let groups: Vec<usize> = labels.iter().map(|label| label % 3).collect();
    let weights: Vec<f64> = labels.iter().map(|label| 1.0 + *label as f64).collect();
    let clustering = Clustering { clusters: 2, share: 0.4 };
    let seed = Seed::new(0);
    let none = Known::default();
    for (predictor, known) in [
        (Predictor::Marginal(conformal), none),
        (Predictor::ClassConditional(ClassConditional::calibrate(config, logits.view(), &labels, seed).unwrap()), none),
        (
            Predictor::ClassConditional(ClassConditional::calibrate_clustered(config, clustering, logits.view(), &labels, seed).unwrap()),
            none,
        ),
        (
            Predictor::Groups(Mondrian::calibrate(config, logits.view(), &labels, &groups, seed).unwrap()),
            Known { groups: Some(&groups), ..none },
        ),
        (
            Predictor::Weighted(Weighted::calibrate(config, logits.view(), &labels, &weights, seed).unwrap()),
            Known { weights: Some(&weights), ..none },
        ),
    ] {
        predictor.save(&path).unwrap();
        let again = Predictor::load(&path).unwrap();
        assert_eq!(again, predictor);
        let whole = again.predict(logits.view(), known, Seed::new(1)).unwrap();
        assert_eq!(whole, predictor.predict(logits.view(), known, Seed::new(1)).unwrap());
        // A matrix in parts is the matrix.
        let (mut parts, mut copies) = (PredictionSets::default(), Copies::default());
        for (from, to) in [(0, 250), (250, 391), (391, 500)] {
            let part = logits.slice(s![from..to, ..]);
            parts.append(&again.predict_part(&mut copies, part, known.rows(from..to), Seed::new(1)).unwrap());
        }
        assert_eq!(parts, whole);
        let wrong = if known.groups.is_some() { none } else { Known { groups: Some(&groups), ..none } };
        assert!(again.predict(logits.view(), wrong, Seed::new(1)).unwrap_err().to_string().contains("groups"));
    }
    std::fs::write(&path, "{\"scheme\": \"marginal\", \"threshold\": 1}").unwrap();
    assert_eq!(Predictor::load(&path).unwrap_err().exit_code(), 2);
    // Thresholds that other rules made are refused, with advice.
    let saved = Predictor::Marginal(Conformal::calibrate(config, logits.view(), &labels, seed).unwrap()).to_json().unwrap();
    for old in [saved.replace("\"rules\":2,", ""), saved.replace("\"rules\":2", "\"rules\":1")] {
        std::fs::write(&path, &old).unwrap();
        let error = Predictor::load(&path).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("calibrate again"), "{error}");
        assert!(Predictor::from_json(&old).is_err());
    }
    assert!(Predictor::from_json(&saved).is_ok());
    assert_eq!(Predictor::load(&folder.path().join("none.json")).unwrap_err().exit_code(), 2);
}
