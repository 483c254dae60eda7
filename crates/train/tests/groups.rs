//! Groups of parameters against the formulas, written out parameter by parameter.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use lyceum_core::Seed;
use lyceum_data::{Examples, Extent};
use lyceum_kernels::vector;
use lyceum_train::{
    CrossEntropy, Group, Kind, ModelConfig, ModelOracle, Net, OptimizerConfig, Oracle, ParamSpace, Pipeline, Plain, Rate, WeightDecay, cpu,
    objective::LabelledBatch, oracle::Rows,
};
use ndarray::Array2;

const EXTENT: Extent = Extent { channels: 1, height: 8, width: 8 };
const MOMENTUM: OptimizerConfig = OptimizerConfig::Sgd { momentum: 0.9, nesterov: false };
const ADAM: OptimizerConfig = OptimizerConfig::Adam { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 };
const RATE: f64 = 0.05;
const DECAY: f64 = 0.1;

fn model() -> Net {
    let config = ModelConfig::Cnn { channels: vec![3], hidden: 6, batch_norm: true, dropout: 0.0 };
    config.init(EXTENT, 3, Seed::new(1), &cpu()).unwrap()
}

fn batch(step: usize) -> LabelledBatch {
    let inputs = Array2::from_shape_fn((9, EXTENT.len()), |(i, j)| ((i * 31 + j * 7 + step * 3) as f32 * 0.37).sin());
    let examples = Examples::new(inputs, (0..9).map(|i| i % 3).collect());
    LabelledBatch::new(&examples, &(0..9).collect::<Vec<_>>(), 3, 0.0, &cpu())
}

/// No decay on biases and norms, the last layer by Adam at a rate of its own, the rest as usual.
fn groups() -> Vec<Group> {
    vec![
        Group { names: vec!["output.*".into()], learning_rate_factor: 0.2, optimizer: Some(ADAM), ..Group::default() },
        Group { kinds: vec![Kind::Bias, Kind::Norm], weight_decay_factor: 0.0, ..Group::default() },
    ]
}

fn pipeline(weight_decay: WeightDecay) -> Pipeline<Net> {
    let plain = Pipeline::new(model(), Box::new(Plain), &MOMENTUM).unwrap();
    plain.with_groups(&groups(), &MOMENTUM, Some(weight_decay)).unwrap()
}

#[test]
fn steps_are_those_of_the_formulas() {
    for weight_decay in [WeightDecay::AtOrigin(DECAY), WeightDecay::InLoss(DECAY), WeightDecay::Decoupled(DECAY)] {
        let mut pipeline = pipeline(weight_decay);
        let space = ParamSpace::of(&model());
        let mut w: Vec<f64> = vector::to_vec(pipeline.parameters()).into_iter().map(f64::from).collect();
        let (mut v, mut second) = (vec![0.0; w.len()], vec![0.0; w.len()]);
        for step in 1..=4 {
            let point = pipeline.parameters().clone();
            let (template, objective, batch) = (pipeline.model(), CrossEntropy::default(), batch(step));
            let mut oracle = ModelOracle::new(&objective, &template, &space, &batch, Seed::new(0));
            let gradient = vector::to_vec(&oracle.evaluate(&point, &Rows::All, false).unwrap().gradients[0]);
            for info in space.params() {
                let is_last = info.name.contains(".output.");
                let decay = if is_last || info.kind == Kind::Weight { DECAY } else { 0.0 };
                let rate = if is_last { 0.2 * RATE } else { RATE };
                for i in info.range.clone().into_iter().flatten() {
                    let decoupled = matches!(weight_decay, WeightDecay::Decoupled(_));
                    let g = f64::from(gradient[i]) + if decoupled { 0.0 } else { decay * w[i] };
                    if decoupled {
                        w[i] *= 1.0 - rate * decay;
                    }
                    if is_last {
                        v[i] = 0.9 * v[i] + 0.1 * g;
                        second[i] = 0.99 * second[i] + 0.01 * g * g;
                        let (first, second) = (v[i] / (1.0 - 0.9_f64.powi(step as i32)), second[i] / (1.0 - 0.99_f64.powi(step as i32)));
                        w[i] -= rate * first / (second.sqrt() + 1e-8);
                    } else {
                        v[i] = 0.9 * v[i] + g;
                        w[i] -= rate * v[i];
                    }
                }
            }
            pipeline.step(&objective, &batch, Rate::constant(RATE), Seed::new(0)).unwrap();
            let found = vector::to_vec(pipeline.parameters());
            for info in space.params() {
                for i in info.range.clone().into_iter().flatten() {
                    // The formulas start from the parameters as they are, so that only the rounding of one step counts.
                    assert!((f64::from(found[i]) - w[i]).abs() < 2e-6, "{weight_decay:?} {step} {}: {} {}", info.name, found[i], w[i]);
                    w[i] = f64::from(found[i]);
                }
            }
        }
    }
}

#[test]
fn a_group_with_everything_is_no_group() {
    let plain = || Pipeline::new(model(), Box::new(Plain), &MOMENTUM).unwrap();
    let whole = [Group { names: vec!["*".into()], ..Group::default() }];
    let decay = WeightDecay::InLoss(DECAY);
    let mut one = plain().with_weight_decay(decay);
    let mut other = plain().with_groups(&whole, &MOMENTUM, Some(decay)).unwrap();
    for step in 0..3 {
        for pipeline in [&mut one, &mut other] {
            pipeline.step(&CrossEntropy::default(), &batch(step), Rate::constant(RATE), Seed::new(0)).unwrap();
        }
    }
    assert_eq!(one.save(), other.save());
}

#[test]
fn a_restored_pipeline_goes_on_as_if_it_had_not_stopped() {
    let step = |pipeline: &mut Pipeline<Net>, step| {
        pipeline.step(&CrossEntropy::default(), &batch(step), Rate::constant(RATE), Seed::new(0)).unwrap();
    };
    let mut undisturbed = pipeline(WeightDecay::Decoupled(DECAY));
    (0..4).for_each(|number| step(&mut undisturbed, number));
    let mut stopped = pipeline(WeightDecay::Decoupled(DECAY));
    (0..2).for_each(|number| step(&mut stopped, number));
    let saved = stopped.save();
    let mut resumed = pipeline(WeightDecay::Decoupled(DECAY));
    resumed.restore(saved).unwrap();
    (2..4).for_each(|number| step(&mut resumed, number));
    assert_eq!(undisturbed.save(), resumed.save());
}

#[test]
fn what_is_frozen_stays_and_the_rest_learns() {
    let frozen = [Group { names: vec!["conv*".into(), "*norm*".into()], frozen: true, ..Group::default() }];
    let (before, space) = (model(), ParamSpace::of(&model()));
    let plain = Pipeline::new(before.clone(), Box::new(Plain), &MOMENTUM).unwrap();
    let mut pipeline = plain.with_groups(&frozen, &MOMENTUM, Some(WeightDecay::Decoupled(DECAY))).unwrap();
    assert!(pipeline.space().dimension() < space.dimension());
    pipeline.step(&CrossEntropy::default(), &batch(0), Rate::constant(RATE), Seed::new(0)).unwrap();
    let (before, after) = (space.arrays(&before), pipeline.save().model);
    let mut kept = 0;
    for (info, (a, b)) in pipeline.space().params().iter().zip(before.iter().zip(&after)) {
        assert_eq!((&a.name, &a.shape), (&b.name, &b.shape));
        let stays = info.range.is_none() && info.kind != Kind::Statistic;
        kept += usize::from(stays);
        assert_eq!(a.values == b.values, stays, "{}", info.name);
    }
    assert!(kept >= 3, "{kept}");
}

#[test]
fn groups_that_make_no_sense_are_refused() {
    let refused = |group: Group| {
        let plain = Pipeline::new(model(), Box::new(Plain), &MOMENTUM).unwrap();
        plain.with_groups(&[group], &MOMENTUM, None).err().unwrap().to_string()
    };
    assert!(refused(Group { names: vec!["conf1.weight".into()], ..Group::default() }).contains("output.weight"));
    assert!(refused(Group::default()).contains("no parameter"));
    assert!(refused(Group { names: vec!["*".into()], frozen: true, ..Group::default() }).contains("frozen"));
    assert!(refused(Group { names: vec!["*".into()], learning_rate_factor: f64::NAN, ..Group::default() }).contains("found NaN"));
    let half = Group { names: vec!["*bias".into(), "typo*".into()], ..Group::default() };
    assert!(refused(half).contains("\"typo*\", which no parameter has"));
    assert!(
        refused(Group { names: vec!["*bias".into()], frozen: true, learning_rate_factor: 0.5, ..Group::default() })
            .contains("frozen beside")
    );
    assert!(refused(Group { names: vec!["*bias".into()], weight_decay_factor: 0.5, ..Group::default() }).contains("weight_decay"));
    // A running average is nobody's parameter.
    assert!(refused(Group { names: vec!["*running*".into()], ..Group::default() }).contains("no parameter"));
}
