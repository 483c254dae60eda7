//! Worked cases of every method, and the same found another way: on the gradients themselves.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use lyceum_core::{Seed, Stream};
use lyceum_multitask::{Combiner, Gradients, Method, gram::gram};
use ndarray::{Array1, Array2, array};
use proptest::prelude::*;
use rand::{RngExt, seq::SliceRandom};

/// The combined gradient of whole gradients.
fn combined(method: Method, gradients: &[Vec<f32>], losses: Option<&[f64]>, seed: Seed) -> Vec<f64> {
    step(&mut method.combiner(gradients.len(), 1).unwrap(), gradients, losses, seed)
}

fn step(combiner: &mut Combiner, gradients: &[Vec<f32>], losses: Option<&[f64]>, seed: Seed) -> Vec<f64> {
    let slices: Vec<&[f32]> = gradients.iter().map(Vec::as_slice).collect();
    let mut out = vec![0.0_f32; gradients[0].len()];
    combiner.combine(&Gradients::whole(&slices).unwrap(), losses, seed, &mut [&mut out]).unwrap();
    out.into_iter().map(f64::from).collect()
}

fn close(found: &[f64], expected: &[f64], tolerance: f64) {
    let scale = 1.0 + expected.iter().map(|value| value.abs()).fold(0.0, f64::max);
    assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= tolerance * scale), "{found:?} {expected:?}");
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

const A: [f32; 2] = [1.0, 0.0];
const B: [f32; 2] = [-1.0, 1.0];

#[test]
fn pcgrad_and_vaccine_worked_by_hand() {
    // (1, 0) loses its conflict with (−1, 1) and becomes (½, ½); (−1, 1) loses its own and becomes (0, 1).
    let pair = vec![A.to_vec(), B.to_vec()];
    for method in [Method::PcGrad, Method::GradientVaccine { rate: 0.01 }] {
        close(&combined(method, &pair, None, Seed::new(0)), &[0.5, 1.5], 1e-6);
    }
    // A target of 0.5 for both pairs: (1, 0) becomes (0.211325, 0.788675).
    let mut combiner = Method::GradientVaccine { rate: 0.0 }.combiner(2, 1).unwrap();
    combiner.restore(&[0.0, 0.5, 0.0, 0.0]).unwrap();
    close(&step(&mut combiner, &pair, None, Seed::new(0)), &[0.211_325, 0.788_675 + 1.0], 1e-5);
    // Targets follow the cosine that was seen.
    let mut combiner = Method::GradientVaccine { rate: 0.01 }.combiner(2, 1).unwrap();
    step(&mut combiner, &pair, None, Seed::new(0));
    let target = -0.01 * std::f64::consts::FRAC_1_SQRT_2;
    close(&wide(&combiner.state()), &[0.0, target, target, 0.0], 1e-6);
    // What is above its target stays, and equal tasks add up.
    close(&combined(Method::PcGrad, &[vec![1.0, 0.0], vec![1.0, 1.0]], None, Seed::new(0)), &[2.0, 1.0], 1e-6);
    close(&combined(Method::GradientVaccine { rate: 0.01 }, &vec![vec![3.0, 4.0]; 4], None, Seed::new(0)), &[12.0, 16.0], 1e-6);
}

#[test]
fn the_cosine_after_vaccination_is_the_target() {
    for wanted in [-0.9_f64, -0.3, 0.0, 0.4, 0.8, 0.999_9] {
        let mut combiner = Method::GradientVaccine { rate: 0.0 }.combiner(2, 1).unwrap();
        // Only task 0 has a target above its cosine; task 1 asks for −1 and stays.
        combiner.restore(&[0.0, wanted as f32, -1.0, 0.0]).unwrap();
        let pair = vec![vec![1.0, 0.2, -0.4], vec![-2.0, 0.1, 0.3]];
        let sum = step(&mut combiner, &pair, None, Seed::new(0));
        let other = Array1::from(pair[1].iter().map(|v| f64::from(*v)).collect::<Vec<_>>());
        let altered = Array1::from(sum) - &other;
        let cosine = altered.dot(&other) / (altered.dot(&altered) * other.dot(&other)).sqrt();
        assert!((cosine - wanted).abs() < 2e-5, "{cosine} {wanted}");
    }
}

/// Gradient Vaccine as its formula stands, on vectors.
fn vaccine_on_vectors(gradients: &[Array1<f64>], targets: &mut Array2<f64>, rate: f64, rng: &mut Stream) -> Array1<f64> {
    let mut sum = Array1::zeros(gradients[0].len());
    for i in 0..gradients.len() {
        let mut altered = gradients[i].clone();
        let mut others: Vec<usize> = (0..gradients.len()).filter(|&j| j != i).collect();
        others.shuffle(rng);
        for j in others {
            let (norm, other) = (altered.dot(&altered).sqrt(), gradients[j].dot(&gradients[j]).sqrt());
            let seen = altered.dot(&gradients[j]) / (norm * other);
            let wanted = targets[[i, j]];
            if seen < wanted {
                let (a, b) = ((1.0 - seen * seen).sqrt(), (1.0 - wanted * wanted).sqrt());
                altered.scaled_add(norm * (wanted * a - seen * b) / (other * b), &gradients[j]);
            }
            targets[[i, j]] += rate * (seen - wanted);
        }
        sum += &altered;
    }
    sum
}

/// MGDA, CAGrad, IMTL-G, Nash-MTL, Aligned-MTL by what defines their answers.
fn check_definition(method: Method, gradients: &[Vec<f32>]) {
    let tasks = gradients.len();
    let rows: Vec<Array1<f64>> = gradients.iter().map(|g| g.iter().map(|v| f64::from(*v)).collect()).collect();
    let update = Array1::from(combined(method, gradients, None, Seed::new(0)));
    let slopes: Vec<f64> = rows.iter().map(|row| row.dot(&update)).collect();
    let scale = rows.iter().map(|row| row.dot(row)).fold(0.0, f64::max);
    let mean = rows.iter().fold(Array1::zeros(update.len()), |sum: Array1<f64>, row| sum + row) / tasks as f64;
    match method {
        // No convex combination is shorter: ⟨gᵢ, d⟩ ≥ ‖d‖² for all i.
        Method::Mgda => slopes.iter().for_each(|slope| assert!(*slope >= update.dot(&update) - 1e-5 * scale, "{slopes:?}")),
        // The update is as far from the mean as is allowed, and better for the worst task than the mean is.
        Method::CaGrad { radius } => {
            let distance = (&update - &mean).mapv(|v| v * v).sum().sqrt();
            assert!((distance - radius * mean.dot(&mean).sqrt()).abs() < 1e-4 * scale.sqrt());
            let worst = |slopes: &mut dyn Iterator<Item = f64>| slopes.fold(f64::INFINITY, f64::min);
            let (found, of_mean) = (worst(&mut slopes.iter().copied()), worst(&mut rows.iter().map(|row| row.dot(&mean))));
            assert!(found >= of_mean - 1e-5 * scale);
            // And than many others at that distance.
            let mut rng = Seed::new(7).stream("cagrad");
            for _ in 0..200 {
                let direction: Array1<f64> = (0..mean.len()).map(|_| rng.random::<f64>() - 0.5).collect();
                let other = &mean + &(&direction * (distance / direction.dot(&direction).sqrt()));
                assert!(found >= worst(&mut rows.iter().map(|row| row.dot(&other))) - 1e-4 * scale);
            }
        }
        // Equal projections on all unit gradients.
        Method::ImtlG => {
            let projections: Vec<f64> = slopes.iter().zip(&rows).map(|(slope, row)| slope / row.dot(row).sqrt()).collect();
            close(&projections, &vec![projections[0]; tasks], 2e-3);
        }
        // αᵢ⟨gᵢ, d⟩ = 1.
        Method::NashMtl => {
            let slices: Vec<&[f32]> = gradients.iter().map(Vec::as_slice).collect();
            let grams = gram(&Gradients::whole(&slices).unwrap()).unwrap();
            let alpha = method.combiner(tasks, 1).unwrap().coefficients(&grams, None, Seed::new(0)).unwrap();
            let products: Vec<f64> = alpha[0].iter().zip(&slopes).map(|(alpha, slope)| alpha * slope).collect();
            close(&products, &vec![1.0; tasks], 1e-3);
        }
        // Aligned gradients are orthogonal and of one length: ⟨ĝᵢ, ĝⱼ⟩ = s²δᵢⱼ, so ‖d‖² = T s².
        _ => {
            let matrix = Array2::from_shape_fn((tasks, tasks), |(i, j)| rows[i].dot(&rows[j]));
            let least = smallest_eigenvalue(&matrix);
            assert!((update.dot(&update) - tasks as f64 * least).abs() < 1e-3 * scale, "{} {least}", update.dot(&update));
        }
    }
}

/// By power iteration on trace·I − G.
fn smallest_eigenvalue(matrix: &Array2<f64>) -> f64 {
    let shift = matrix.diag().sum();
    let mut v = Array1::from_shape_fn(matrix.nrows(), |i| 1.0 + i as f64 * 0.37);
    for _ in 0..20_000 {
        v = &v * shift - matrix.dot(&v);
        v /= v.dot(&v).sqrt();
    }
    v.dot(&matrix.dot(&v))
}

fn random_gradients() -> impl Strategy<Value = Vec<Vec<f32>>> {
    (2_usize..6, 8_usize..30).prop_flat_map(|(tasks, n)| prop::collection::vec(prop::collection::vec(-1.0_f32..1.0, n), tasks))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn gram_space_is_the_space_of_vectors(gradients in random_gradients(), seed in 0_u64..1_000) {
        let rows: Vec<Array1<f64>> = gradients.iter().map(|g| g.iter().map(|v| f64::from(*v)).collect()).collect();
        for method in [Method::PcGrad, Method::GradientVaccine { rate: 0.3 }] {
            let rate = if method == Method::PcGrad { 0.0 } else { 0.3 };
            let mut targets = Array2::zeros((gradients.len(), gradients.len()));
            let mut combiner = method.combiner(gradients.len(), 1).unwrap();
            // Three steps: targets move.
            for number in 0..3 {
                let seed = Seed::new(seed).child(&number.to_string());
                let found = step(&mut combiner, &gradients, None, seed);
                let expected = vaccine_on_vectors(&rows, &mut targets, rate, &mut seed.stream_at("multitask", 0));
                close(&found, &expected.to_vec(), 1e-5);
            }
        }
    }

    #[test]
    fn answers_are_what_their_definitions_say(gradients in random_gradients()) {
        for method in [Method::Mgda, Method::CaGrad { radius: 0.4 }, Method::ImtlG, Method::NashMtl, Method::ALL[8]] {
            check_definition(method, &gradients);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Lengths from 1e-8 to 1e8 in one set of gradients: the answers are still what their definitions say, beside the
    /// gradients they are about.
    #[test]
    fn gradients_of_very_unlike_lengths(
        gradients in random_gradients(), powers in prop::collection::vec(prop_oneof![Just(-8), Just(0), Just(8), -8..9], 5),
    ) {
        let tasks = gradients.len();
        let rows: Vec<Array1<f64>> = gradients.iter().map(|g| g.iter().map(|v| f64::from(*v)).collect()).collect();
        let unit = Array2::from_shape_fn((tasks, tasks), |(i, j)| rows[i].dot(&rows[j]));
        prop_assume!(unit.diag().iter().all(|squared| *squared > 0.1));
        // Of gradients that are no more than so many directions nothing is defined to these digits.
        let cosines = Array2::from_shape_fn((tasks, tasks), |(i, j)| unit[[i, j]] / (unit[[i, i]] * unit[[j, j]]).sqrt());
        prop_assume!(smallest_eigenvalue(&cosines) > 1e-4);
        let length = |i: usize| 10.0_f64.powi(powers[i]);
        let scaled = Array2::from_shape_fn((tasks, tasks), |(i, j)| length(i) * unit[[i, j]] * length(j));
        let of = |method: Method, gram: &Array2<f64>| {
            method.combiner(tasks, 1).unwrap().coefficients(std::slice::from_ref(gram), None, Seed::new(0)).unwrap().remove(0)
        };
        let norm = |i: usize| scaled[[i, i]].sqrt();
        let slopes = |c: &[f64]| (0..tasks).map(|i| (0..tasks).map(|j| scaled[[i, j]] * c[j]).sum::<f64>()).collect::<Vec<f64>>();
        // Equal projections on all unit gradients, beside the size of the terms.
        let c = of(Method::ImtlG, &scaled);
        let terms: f64 = (0..tasks).map(|i| c[i].abs() * norm(i)).sum();
        let projections: Vec<f64> = slopes(&c).iter().enumerate().map(|(i, slope)| slope / norm(i)).collect();
        prop_assert!(projections.iter().all(|p| (p - projections[0]).abs() <= 1e-9 * terms), "{projections:?} {terms}");
        prop_assert!(terms > 0.0);
        // No convex combination is shorter than MGDA's: ⟨gᵢ, d⟩ ≥ ‖d‖².
        let c = of(Method::Mgda, &scaled);
        let (products, shortest) = (slopes(&c), (0..tasks).map(|i| scaled[[i, i]]).fold(f64::INFINITY, f64::min));
        let squared: f64 = products.iter().zip(&c).map(|(p, c)| p * c).sum();
        // Products are sums of terms that may be far larger, and so is their rounding.
        let rounding = |i: usize, c: &[f64]| 1e-14 * (0..tasks).map(|j| (scaled[[i, j]] * c[j]).abs()).sum::<f64>();
        prop_assert!((0..tasks).all(|i| products[i] >= squared - 1e-6 * shortest - rounding(i, &c)), "{products:?} {squared} {c:?} {scaled:?}");
        // CAGrad: the worst task gains what the dual says is the most.
        let radius = 0.4;
        let c = of(Method::CaGrad { radius }, &scaled);
        let mean = vec![1.0 / tasks as f64; tasks];
        let quadratic = |v: &[f64]| slopes(v).iter().zip(v).map(|(p, v)| p * v).sum::<f64>();
        let more: Vec<f64> = c.iter().zip(&mean).map(|(c, m)| c - m).collect();
        let sum: f64 = more.iter().sum();
        let w: Vec<f64> = more.iter().map(|m| m / sum).collect();
        let dual = slopes(&mean).iter().zip(&w).map(|(b, w)| b * w).sum::<f64>() + radius * (quadratic(&mean) * quadratic(&w)).sqrt();
        let least = dual - 1e-4 * radius * (quadratic(&mean) * quadratic(&w)).sqrt() - (0..tasks).map(|i| w[i] * rounding(i, &mean)).sum::<f64>();
        let found = slopes(&c);
        prop_assert!((0..tasks).all(|i| found[i] >= least - rounding(i, &c)), "{found:?} {dual}");
        // Nash's answer does not depend on the lengths.
        let (long, short) = (of(Method::NashMtl, &scaled), of(Method::NashMtl, &unit));
        prop_assert!((0..tasks).all(|i| (long[i] * length(i) / short[i] - 1.0).abs() < 1e-6));
        // One factor for all gradients changes nothing but the length of the answer.
        for method in [Method::Mgda, Method::CaGrad { radius }, Method::ImtlG, Method::PcGrad, Method::GradientVaccine { rate: 0.1 }, Method::ALL[8]] {
            let (found, expected) = (of(method, &(&unit * length(0).powi(2))), of(method, &unit));
            let size = 1.0 + expected.iter().map(|c| c.abs()).fold(0.0, f64::max);
            prop_assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5 * size), "{method:?} {found:?} {expected:?}");
        }
    }
}

#[test]
fn two_tasks_worked_by_hand() {
    let pair = vec![vec![2.0, 0.0], vec![0.0, 1.0]];
    // min ‖w(2, 0) + (1 − w)(0, 1)‖: w = 1/5.
    close(&combined(Method::Mgda, &pair, None, Seed::new(0)), &[0.4, 0.8], 1e-6);
    // Equal projections on (1, 0) and (0, 1), weights 1/3 and 2/3.
    close(&combined(Method::ImtlG, &pair, None, Seed::new(0)), &[2.0 / 3.0, 2.0 / 3.0], 1e-6);
    // α₁·4α₁ = 1.
    close(&combined(Method::NashMtl, &pair, None, Seed::new(0)), &[1.0, 1.0], 1e-6);
    close(&combined(Method::ALL[8], &pair, None, Seed::new(0)), &[1.0, 1.0], 1e-6);
    // Opposite gradients: no direction serves both.
    let opposite = [vec![1.0, 0.0], vec![-1.0, 0.0]];
    close(&combined(Method::Mgda, &opposite, None, Seed::new(0)), &[0.0, 0.0], 1e-9);
    // None has equal projections on both but 0; nor on two pairs of very unlike lengths, whose mean is what is left.
    close(&combined(Method::ImtlG, &opposite, None, Seed::new(0)), &[0.0, 0.0], 1e-9);
    let pairs = [vec![1e4, 0.0], vec![3.0, 0.0], vec![-1e-3, 0.0], vec![-7.0, 0.0]];
    close(&combined(Method::ImtlG, &pairs, None, Seed::new(0)), &[(1e4 + 3.0 - 1e-3 - 7.0) / 4.0, 0.0], 1e-3);
    close(&combined(Method::Sum, &pair, None, Seed::new(0)), &[2.0, 1.0], 0.0);
    close(&combined(Method::Mean, &pair, None, Seed::new(0)), &[1.0, 0.5], 0.0);
}

#[test]
fn weights_by_losses() {
    let pair = vec![vec![2.0, 0.0], vec![0.0, 1.0]];
    let mut uncertainty = Method::Uncertainty { rate: 0.1 }.combiner(2, 1).unwrap();
    close(&step(&mut uncertainty, &pair, Some(&[1.0, 3.0]), Seed::new(0)), &[2.0, 1.0], 1e-6);
    // s₂ = 0 − 0.1·(1 − 3) = 0.2.
    close(&wide(&uncertainty.state()), &[0.0, 0.2], 1e-7);
    close(&step(&mut uncertainty, &pair, Some(&[1.0, 3.0]), Seed::new(0)), &[2.0, (-0.2_f64).exp()], 1e-6);
    let mut norm = Method::GradNorm { asymmetry: 0.0, rate: 0.05 }.combiner(2, 1).unwrap();
    for _ in 0..200 {
        step(&mut norm, &pair, Some(&[1.0, 1.0]), Seed::new(0));
    }
    // Equal norms: w ∝ (1/2, 1), sum 2.
    let found = step(&mut norm, &pair, Some(&[1.0, 1.0]), Seed::new(0));
    close(&found, &[4.0 / 3.0, 4.0 / 3.0], 0.08);
    assert!(Method::ALL[9].combiner(2, 1).unwrap().coefficients(&[array![[1.0, 0.0], [0.0, 1.0]]], None, Seed::new(0)).is_err());
}

#[test]
fn odd_gradients_stay_finite_and_saved_states_go_on() {
    let odd: [Vec<Vec<f32>>; 5] = [
        vec![vec![0.0; 3]; 3],
        vec![vec![1.0, 2.0, 3.0], vec![0.0; 3], vec![-1.0, -2.0, -3.0]],
        vec![vec![1e-20, 0.0, 0.0], vec![1e15, 0.0, 1.0], vec![0.0, 1.0, 0.0]],
        vec![vec![1.0, 1.0, 1.0]; 3],
        vec![vec![1.0, 0.0, 0.0], vec![-1.0, 1e-7, 0.0], vec![1.0, -1e-7, 0.0]],
    ];
    for method in Method::ALL {
        for gradients in &odd {
            let mut combiner = method.combiner(3, 1).unwrap();
            for number in 0..4 {
                let found = step(&mut combiner, gradients, Some(&[1.0, 2.0, 0.5]), Seed::new(number));
                assert!(found.iter().all(|value| value.is_finite()), "{method:?} {gradients:?} {found:?}");
            }
        }
        let mut whole = method.combiner(2, 1).unwrap();
        let pair = vec![A.to_vec(), B.to_vec()];
        step(&mut whole, &pair, Some(&[1.0, 2.0]), Seed::new(1));
        let mut again = method.combiner(2, 1).unwrap();
        again.restore(&whole.state()).unwrap();
        let losses: &[f64] = &[0.9, 1.0];
        assert_eq!(step(&mut whole, &pair, Some(losses), Seed::new(2)), step(&mut again, &pair, Some(losses), Seed::new(2)));
        assert_eq!(again.restore(&[1.0; 77]).unwrap_err().exit_code(), 1);
        let text = serde_json::to_string(&method).unwrap();
        assert_eq!(serde_json::from_str::<Method>(&text).unwrap(), method);
    }
    assert_eq!(Method::CaGrad { radius: 1.5 }.combiner(2, 1).unwrap_err().exit_code(), 2);
    assert_eq!(Method::Sum.combiner(0, 1).unwrap_err().exit_code(), 2);
}
