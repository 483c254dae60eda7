//! One step of every estimator on quadratics whose steps can be worked out by hand.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::{cell::Cell, ops::Range};

use burn::tensor::Tensor;
use lyceum_core::{Error, Result, Seed};
use lyceum_kernels::vector;
use lyceum_optim::EstimatorConfig;
use lyceum_train::{
    Batch, GradientCombiner as _, GradientEstimator, Objective, OptimizerConfig, Oracle, ParamSpace, Pass, Pipeline, Plain, Rate, Sum,
    Vector, WeightDecay,
    oracle::{Rows, Slopes},
};

/// ½ Σ hⱼ(wⱼ − cⱼ)², the mean over examples with their own centres c; an L2 term in the loss if asked for.
struct Quadratic {
    curvature: Vec<f32>,
    centres: Vec<Vec<f32>>,
    l2: f32,
    scale: f32,
    evaluations: f64,
    /// Evaluations that end with a loss that is not finite.
    broken: Vec<usize>,
    calls: usize,
}

impl Quadratic {
    fn new(curvature: &[f32]) -> Self {
        let centres = vec![vec![0.0; curvature.len()]];
        Self { curvature: curvature.to_vec(), centres, l2: 0.0, scale: 1.0, evaluations: 0.0, broken: Vec::new(), calls: 0 }
    }
}

impl Oracle for Quadratic {
    fn examples(&self) -> usize {
        self.centres.len()
    }

    fn seed(&self) -> Seed {
        Seed::new(1)
    }

    fn evaluate(&mut self, point: &Vector, rows: &Rows, _: bool) -> Result<Slopes> {
        let w = vector::to_vec(point);
        let rows: Vec<usize> = match rows {
            Rows::All => (0..self.centres.len()).collect(),
            Rows::Range(rows) => rows.clone().collect(),
            Rows::At(rows) => rows.clone(),
        };
        self.calls += 1;
        if self.broken.contains(&self.calls) {
            return Err(Error::Failed("the loss is NaN".into()));
        }
        self.evaluations += rows.len() as f64 / self.centres.len() as f64;
        let centre = |j: usize| rows.iter().map(|&row| self.centres[row][j]).sum::<f32>() / rows.len() as f32;
        let gradient = (0..w.len()).map(|j| self.scale * (self.curvature[j] * (w[j] - centre(j)) + self.l2 * w[j])).collect();
        Ok(Slopes { losses: vec![0.0], gradients: vec![vector::from_vec(gradient, &lyceum_train::cpu())] })
    }

    fn example_losses(&mut self, point: &Vector) -> Result<Vec<f64>> {
        let w = vector::to_vec(point);
        let loss = |centre: &Vec<f32>| (0..w.len()).map(|j| 0.5 * f64::from(self.curvature[j] * (w[j] - centre[j]).powi(2))).sum();
        Ok(self.centres.iter().map(loss).collect())
    }
}

fn at(values: &[f32]) -> Vector {
    vector::from_vec(values.to_vec(), &lyceum_train::cpu())
}

fn estimate(estimator: &mut dyn GradientEstimator, oracle: &mut Quadratic, w: &[f32]) -> Vec<f32> {
    let slopes = estimator.estimate(oracle, &at(w), Rate::constant(0.05)).unwrap();
    vector::to_vec(&slopes.gradients[0])
}

fn close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert!(found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= tolerance), "{found:?} {expected:?}");
}

fn sam(rho: f64, p: f64, m: Option<usize>) -> Box<dyn GradientEstimator> {
    EstimatorConfig::Sam { rho, p, m }.build().unwrap()
}

#[test]
fn sam_on_the_quadratic_of_the_page() {
    let mut oracle = Quadratic::new(&[1.0, 10.0]);
    let g = estimate(&mut *sam(0.1, 2.0, None), &mut oracle, &[1.0, 1.0]);
    // Keeping the second-order term would give (1.00906811, 10.99591946): ε̂ counts as a constant.
    close(&g, &[1.009_950_4, 10.995_037], 2e-6);
    close(&[1.0 - 0.05 * g[0], 1.0 - 0.05 * g[1]], &[0.949_502_5, 0.450_248_14], 1e-6);
    assert_eq!(oracle.evaluations, 2.0);
    let g = estimate(&mut *sam(0.1, f64::INFINITY, None), &mut oracle, &[1.0, 1.0]);
    close(&[1.0 - 0.05 * g[0], 1.0 - 0.05 * g[1]], &[0.945, 0.45], 1e-6);
    // h = 10, ρ = 0.05, lr = 0.05, w = 0.01: overshoots zero.
    let g = estimate(&mut *sam(0.05, 2.0, None), &mut Quadratic::new(&[10.0]), &[0.01]);
    close(&[0.01 - 0.05 * g[0]], &[-0.02], 1e-7);
}

#[test]
fn radius_zero_is_the_base_and_the_scale_of_the_loss_does_not_matter() {
    let w = [0.3, -1.7, 0.01];
    let plain = estimate(&mut Plain, &mut Quadratic::new(&[1.0, 10.0, 3.0]), &w);
    for p in [1.0, 1.5, 2.0, f64::INFINITY] {
        assert_eq!(estimate(&mut *sam(0.0, p, None), &mut Quadratic::new(&[1.0, 10.0, 3.0]), &w), plain);
    }
    let once = estimate(&mut *sam(0.1, 2.0, None), &mut Quadratic::new(&[1.0, 10.0, 3.0]), &w);
    let mut scaled = Quadratic { scale: 4.0, ..Quadratic::new(&[1.0, 10.0, 3.0]) };
    let four_times: Vec<f32> = once.iter().map(|g| 4.0 * g).collect();
    close(&estimate(&mut *sam(0.1, 2.0, None), &mut scaled, &w), &four_times, 1e-5);
    close(&estimate(&mut *sam(0.1, 2.0, None), &mut Quadratic::new(&[1.0, 10.0, 3.0]), &[0.0; 3]), &[0.0; 3], 0.0);
}

#[test]
fn weight_decay_in_the_loss_bends_the_perturbation() {
    let mut in_loss = Quadratic { l2: 0.1, ..Quadratic::new(&[1.0, 10.0]) };
    close(&estimate(&mut *sam(0.1, 2.0, None), &mut in_loss, &[1.0, 1.0]), &[1.111_909_8, 11.104_063], 3e-6);
    // A whole step: in the loss, and at the origin, where it is added to the gradient that SAM gives.
    for (decay, gradient) in
        [(WeightDecay::InLoss(0.1), [1.111_909_8, 11.104_063]), (WeightDecay::AtOrigin(0.1), [1.109_950_4, 11.095_037])]
    {
        let mut pipeline = pipeline(sam(0.1, 2.0, None)).with_weight_decay(decay);
        pipeline.step(&Bowl::default(), &One, Rate::constant(0.05), Seed::new(0)).unwrap();
        let expected = gradient.map(|g: f32| 1.0 - 0.05 * g);
        close(&vector::to_vec(pipeline.parameters()), &expected, 5e-7);
    }
}

/// ½(w₀² + 10w₁²); not a number in some of its evaluations.
#[derive(Default)]
struct Bowl {
    broken: Vec<usize>,
    calls: Cell<usize>,
}

struct One;

impl Batch for One {
    fn len(&self) -> usize {
        1
    }

    fn rows(&self, _: Range<usize>) -> Self {
        Self
    }

    fn select(&self, _: &[usize]) -> Self {
        Self
    }
}

impl Objective for Bowl {
    type Model = TwoNumbers;
    type Batch = One;

    fn losses(&self, _: usize, model: &TwoNumbers, _: &One, _: &mut Pass) -> Tensor<1> {
        self.calls.set(self.calls.get() + 1);
        let w = model.w.val();
        let curvature = Tensor::from_data([0.5, 5.0], &w.device());
        let loss = (w.clone() * w * curvature).sum();
        if self.broken.contains(&self.calls.get()) { loss * f32::NAN } else { loss }
    }
}

/// From (1, 1), with momentum.
fn pipeline(estimator: Box<dyn GradientEstimator>) -> Pipeline<TwoNumbers> {
    let model = TwoNumbers { w: burn::module::Param::from_tensor(at(&[1.0, 1.0]).autodiff()) };
    let sgd: OptimizerConfig = serde_json::from_str(r#"{ "sgd": { "momentum": 0.9 } }"#).unwrap();
    Pipeline::new(model, estimator, &sgd).unwrap()
}

#[test]
fn a_perturbation_a_shard() {
    let centres = vec![vec![1.0, 0.0], vec![-1.0, 1.0]];
    let oracle = || Quadratic { centres: centres.clone(), ..Quadratic::new(&[1.0, 10.0]) };
    close(&estimate(&mut *sam(0.1, 2.0, None), &mut oracle(), &[0.5, 0.5]), &[0.6, 0.0], 1e-6);
    let mut sharded = oracle();
    close(&estimate(&mut *sam(0.1, 2.0, Some(1)), &mut sharded, &[0.5, 0.5]), &[0.509_392_2, 0.018_605_45], 1e-6);
    assert_eq!(sharded.evaluations, 2.0);
    // More than there are examples is the whole batch; an odd last shard has its weight.
    close(&estimate(&mut *sam(0.1, 2.0, Some(9)), &mut oracle(), &[0.5, 0.5]), &[0.6, 0.0], 1e-6);
    let three = || Quadratic { centres: vec![vec![0.0; 2], vec![3.0; 2], vec![6.0; 2]], ..Quadratic::new(&[1.0, 1.0]) };
    close(&estimate(&mut *sam(0.0, 2.0, Some(2)), &mut three(), &[1.0, 1.0]), &[-2.0, -2.0], 1e-6);
}

#[test]
fn the_relatives() {
    let oracle = || Quadratic::new(&[1.0, 10.0]);
    let mut gsam = EstimatorConfig::Gsam { rho: 0.1, rho_min: 0.1, alpha: 0.4 }.build().unwrap();
    close(&estimate(&mut *gsam, &mut oracle(), &[1.0, 1.0]), &[0.977_643_4, 10.998_005], 2e-6);
    // The radius follows the learning rate.
    let low = Rate { peak: 0.05, relative: 0.0 };
    let mut gsam = EstimatorConfig::Gsam { rho: 0.3, rho_min: 0.1, alpha: 0.4 }.build().unwrap();
    let slopes = gsam.estimate(&mut oracle(), &at(&[1.0, 1.0]), low).unwrap();
    close(&vector::to_vec(&slopes.gradients[0]), &[0.977_643_4, 10.998_005], 2e-6);

    let mut look = EstimatorConfig::Looksam { rho: 0.1, alpha: 0.7, every: 5 }.build().unwrap();
    let mut counted = oracle();
    close(&estimate(&mut *look, &mut counted, &[1.0, 1.0]), &[1.009_950_4, 10.995_037], 2e-6);
    let saved = look.state();
    close(&estimate(&mut *look, &mut counted, &[1.0, 1.0]), &[-6.0, 10.7], 1e-4);
    let mut resumed = EstimatorConfig::Looksam { rho: 0.1, alpha: 0.7, every: 5 }.build().unwrap();
    resumed.restore(saved).unwrap();
    close(&estimate(&mut *resumed, &mut oracle(), &[1.0, 1.0]), &[-6.0, 10.7], 1e-4);
    for _ in 2..10 {
        estimate(&mut *look, &mut counted, &[1.0, 1.0]);
    }
    assert_eq!(counted.evaluations, 12.0, "1.2 evaluations a step on average");

    let g = estimate(&mut *EstimatorConfig::Asam { rho: 0.5, eta: 0.01, m: None }.build().unwrap(), &mut oracle(), &[1.0, -2.0]);
    close(&g, &[1.012_683_8, -30.046_83], 1e-5);
}

#[test]
fn esam_with_all_weights_and_examples_is_sam() {
    let oracle = || Quadratic { centres: vec![vec![0.0; 2]; 4], ..Quadratic::new(&[1.0, 10.0]) };
    let all = estimate(&mut *EstimatorConfig::Esam { rho: 0.1, beta: 1.0, gamma: 1.0 }.build().unwrap(), &mut oracle(), &[1.0, 1.0]);
    close(&all, &[1.009_950_4, 10.995_037], 2e-6);
    // The second pass sees the examples whose loss rises most: here those far away on the other side.
    let spread = Quadratic { centres: vec![vec![0.9], vec![-5.0], vec![0.8], vec![-4.0]], ..Quadratic::new(&[1.0]) };
    let mut spread = spread;
    let g = estimate(&mut *EstimatorConfig::Esam { rho: 0.1, beta: 1.0, gamma: 0.5 }.build().unwrap(), &mut spread, &[1.0]);
    close(&g, &[5.6], 1e-5);
    assert_eq!(spread.evaluations, 1.5);
}

/// The third step's first pass is right, its second is not: parameters, momentum and LookSAM's memory stay as they were, and the step
/// that is made again is the one of a run without the failure.
#[test]
fn a_second_pass_that_fails_is_an_error_and_moves_nothing() {
    let estimators: [fn() -> Box<dyn GradientEstimator>; 2] =
        [|| sam(0.1, 2.0, None), || EstimatorConfig::Looksam { rho: 0.1, alpha: 0.7, every: 2 }.build().unwrap()];
    for (estimator, broken) in estimators.into_iter().zip([6, 5]) {
        let (mut pipeline, mut smooth) = (pipeline(estimator()), pipeline(estimator()));
        let objective = Bowl { broken: vec![broken], calls: Cell::new(0) };
        let step = |pipeline: &mut Pipeline<TwoNumbers>, objective: &Bowl| {
            pipeline.step(objective, &One, Rate::constant(0.05), Seed::new(0)).map(|outcome| outcome.losses)
        };
        for _ in 0..2 {
            assert_eq!(step(&mut pipeline, &objective).unwrap(), step(&mut smooth, &Bowl::default()).unwrap());
        }
        let before = pipeline.save();
        assert!(step(&mut pipeline, &objective).is_err());
        assert_eq!(objective.calls.get(), broken);
        assert_eq!(pipeline.save(), before);
        assert_eq!(step(&mut pipeline, &objective).unwrap(), step(&mut smooth, &Bowl::default()).unwrap());
        assert_eq!(pipeline.save(), smooth.save());
        assert_ne!(pipeline.save(), before);
    }
}

#[derive(burn::module::Module, Debug)]
struct TwoNumbers {
    w: burn::module::Param<Tensor<1>>,
}

#[test]
fn tasks_are_added_up() {
    let slopes = Slopes { losses: vec![1.0, 2.0], gradients: vec![at(&[1.0, 2.0]), at(&[0.5, -2.0])] };
    let space = ParamSpace::of(&TwoNumbers { w: burn::module::Param::from_tensor(at(&[0.0, 0.0]).autodiff()) });
    assert_eq!(vector::to_vec(&Sum.combine(&slopes, &space).unwrap()), [1.5, 0.0]);
}

/// What a recipe refuses, code is refused too.
#[test]
fn constants_out_of_their_range_are_errors() {
    for (estimator, allowed) in [
        (EstimatorConfig::sam(f64::NAN), ">= 0"),
        (EstimatorConfig::Sam { rho: 0.1, p: 0.5, m: None }, ">= 1"),
        (EstimatorConfig::Sam { rho: 0.1, p: 2.0, m: Some(0) }, ">= 1"),
        (EstimatorConfig::Looksam { rho: 0.1, alpha: 0.7, every: 0 }, ">= 1"),
        (EstimatorConfig::Esam { rho: 0.1, beta: 0.0, gamma: 0.5 }, "> 0"),
    ] {
        let error = estimator.build().err().unwrap();
        assert!(error.to_string().contains(allowed), "{estimator:?}: {error}");
        assert_eq!(error.exit_code(), 2);
    }
}
