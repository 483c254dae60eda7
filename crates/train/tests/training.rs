//! The training pipeline on real networks.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use burn::{
    module::Module as _,
    tensor::{Tensor, TensorData},
};
use burn_nn::{Linear, LinearConfig};
use burn_optim::{GradientsParams, SgdConfig, momentum::MomentumConfig};
use lyceum_core::{Result, Seed};
use lyceum_data::{Cache, Examples, Extent, catalog};
use lyceum_kernels::vector;
use lyceum_train::{
    Batch as _, CrossEntropy, GradientEstimator, ModelConfig, ModelOracle, Net, Network, Objective, OptimizerConfig, Oracle, ParamSpace,
    Pass, Pipeline, Plain, Rate, TrainConfig, Trainer, Vector, WeightDecay, cpu, estimator::Estimate, evaluate, objective::LabelledBatch,
    oracle::Rows, parallel::with_threads,
};
use ndarray::Array2;

const EXTENT: Extent = Extent { channels: 1, height: 8, width: 8 };

/// Rows of symbols instead of an image.
const SYMBOLS: Extent = Extent { channels: 1, height: 1, width: 7 };

fn digits(n: usize) -> Examples {
    let all = catalog::load("digits", &Cache::locate()).unwrap().train;
    all.subset(&(0..n).collect::<Vec<_>>())
}

fn models() -> Vec<(&'static str, ModelConfig, Extent)> {
    let colour = Extent { channels: 3, height: 16, width: 17 };
    vec![
        ("linear", ModelConfig::Linear, EXTENT),
        ("mlp", ModelConfig::Mlp { hidden: vec![20, 10], dropout: 0.0 }, EXTENT),
        ("cnn", ModelConfig::Cnn { channels: vec![4, 6], hidden: 10, batch_norm: true, dropout: 0.3 }, EXTENT),
        // The second convolutions of these two go through transformed tiles, of 3 × 3 and of 5 × 5.
        ("cnn without normalisation", ModelConfig::Cnn { channels: vec![16, 32], hidden: 10, batch_norm: false, dropout: 0.3 }, EXTENT),
        ("feddyn-cnn", ModelConfig::FeddynCnn, Extent { channels: 3, height: 20, width: 23 }),
        ("resnet", ModelConfig::Resnet { widths: vec![4, 8], blocks: 1 }, colour),
        ("lstm", ModelConfig::Lstm { symbols: None, embedding: 3, hidden: 4, layers: 2 }, SYMBOLS),
    ]
}

fn random_batch(extent: Extent, n: usize) -> LabelledBatch {
    let symbol = |i: usize, j: usize| ((i * 5 + j * j + 1) % 3) as f32;
    let wave = |i: usize, j: usize| ((i * 31 + j * 7) as f32 * 0.37).sin();
    let inputs = Array2::from_shape_fn((n, extent.len()), |(i, j)| if extent == SYMBOLS { symbol(i, j) } else { wave(i, j) });
    let examples = Examples::new(inputs, (0..n).map(|i| i % 3).collect());
    LabelledBatch::new(&examples, &(0..n).collect::<Vec<_>>(), 3, 0.1, &cpu())
}

#[test]
fn parameters_flatten_and_come_back() {
    for (name, config, extent) in models() {
        let model = config.init(extent, 3, Seed::new(1), &cpu()).unwrap();
        let space = ParamSpace::of(&model);
        let flat = space.vector(&model);
        assert_eq!(flat.dims()[0], space.dimension(), "{name}");
        let shifted = flat.clone() + 1.5;
        let placed = space.place(model.clone(), &shifted);
        assert_eq!(vector::to_vec(&space.vector(&placed)), vector::to_vec(&shifted), "{name}");
        let again = space.load(model.clone(), &space.arrays(&placed)).unwrap();
        assert_eq!(vector::to_vec(&space.vector(&again)), vector::to_vec(&shifted), "{name}");
        let names: std::collections::BTreeSet<_> = space.params().iter().map(|info| &info.name).collect();
        assert_eq!(names.len(), space.params().len(), "{name}: names are unique");
        let trained: usize = space.params().iter().filter_map(|info| info.range.clone()).map(|range| range.len()).sum();
        assert_eq!(trained, space.dimension());
        let mut arrays = space.arrays(&model);
        arrays.pop();
        assert!(space.load(model, &arrays).is_err());
    }
}

#[test]
fn gradients_of_every_network_equal_finite_differences() {
    for (name, config, extent) in models() {
        let model = config.init(extent, 3, Seed::new(2), &cpu()).unwrap();
        let space = ParamSpace::of(&model);
        let batch = random_batch(extent, 6);
        let objective = CrossEntropy::default();
        let mut oracle = ModelOracle::new(&objective, &model, &space, &batch, Seed::new(9));
        let at = space.vector(&model);
        let gradient = vector::to_vec(&oracle.evaluate(&at, &Rows::All, true).unwrap().gradients[0]);
        // Along the gradient and along random directions: a wrong part of the gradient shows in one of them.
        for direction in 0..6 {
            let d: Vec<f32> = match direction {
                0 => gradient.clone(),
                _ => (0..gradient.len()).map(|i| ((i * direction) as f32 * 12.9898).sin()).collect(),
            };
            let d = vector::from_vec(d, &cpu());
            let d = d.clone() / vector::norm(&d);
            let h = 4e-4;
            let mut loss = |s: f64| oracle.evaluate(&vector::add_scaled(&at, s, &d), &Rows::All, false).unwrap().losses[0];
            let expected = (loss(h) - loss(-h)) / (2.0 * h);
            let found: f64 = gradient.iter().zip(vector::to_vec(&d)).map(|(g, d)| f64::from(g * d)).sum();
            // A kink of ReLU or of a maximum inside the step moves the difference a little.
            assert!((found - expected).abs() < 3e-3 + 0.02 * expected.abs(), "{name}, direction {direction}: {found} {expected}");
        }
    }
}

/// The recurrent network, number by number from its formulas.
#[test]
fn a_recurrent_network_follows_its_formulas() {
    let (embedding, hidden, symbols) = (3, 4, 3);
    let model = ModelConfig::Lstm { symbols: None, embedding, hidden, layers: 2 }.init(SYMBOLS, symbols, Seed::new(5), &cpu()).unwrap();
    let space = ParamSpace::of(&model);
    let arrays = space.arrays(&model);
    let values = |end: &str| arrays.iter().find(|array| array.name.ends_with(end)).unwrap().values.clone();
    let affine = |x: &[f32], name: &str| -> Vec<f32> {
        let (weight, bias) = (values(&format!("{name}.weight")), values(&format!("{name}.bias")));
        let k = bias.len();
        (0..k).map(|j| bias[j] + x.iter().enumerate().map(|(i, x)| x * weight[i * k + j]).sum::<f32>()).collect()
    };
    let sigmoid = |z: f32| 1.0 / (1.0 + (-z).exp());
    let batch = random_batch(SYMBOLS, 4);
    let inputs = batch.inputs.clone();
    let found: Vec<f32> = model.forward(inputs.clone(), &mut Pass::evaluation()).inner().try_into_vec_as().unwrap();
    let given: Vec<f32> = inputs.try_into_vec_as().unwrap();
    for row in 0..4 {
        let symbol = |step: usize| given[row * SYMBOLS.width + step] as usize;
        let table = values("embedding");
        let mut x: Vec<Vec<f32>> = (0..SYMBOLS.width).map(|t| table[symbol(t) * embedding..(symbol(t) + 1) * embedding].to_vec()).collect();
        for layer in 0..2 {
            let (mut h, mut c) = (vec![0.0; hidden], vec![0.0; hidden]);
            for (step, x) in x.iter_mut().enumerate() {
                let mut gates = affine(x, &format!("inputs.{layer}"));
                // Before the first step there is no state, and the recurrent layer's bias is 0 anyway.
                if step > 0 {
                    gates.iter_mut().zip(affine(&h, &format!("recurrent.{layer}"))).for_each(|(gate, more)| *gate += more);
                }
                for j in 0..hidden {
                    c[j] = sigmoid(gates[hidden + j]) * c[j] + sigmoid(gates[j]) * gates[2 * hidden + j].tanh();
                    h[j] = sigmoid(gates[3 * hidden + j]) * c[j].tanh();
                }
                x.clone_from(&h);
            }
        }
        let expected = affine(x.last().unwrap(), "output");
        for (k, expected) in expected.iter().enumerate() {
            assert!((found[row * symbols + k] - expected).abs() < 1e-5, "{row} {k}");
        }
    }
}

/// burn's own module optimiser on burn's own layer, and the pipeline: the same numbers.
#[test]
fn a_pipeline_steps_as_burns_own_optimiser_does() {
    #[derive(burn::module::Module, Debug)]
    struct Net {
        layer: Linear,
    }
    impl Network for Net {
        fn forward(&self, inputs: Tensor<2>, _: &mut Pass) -> Tensor<2> {
            self.layer.forward(inputs)
        }
    }
    let device = cpu().autodiff();
    let mut burns = Net { layer: LinearConfig::new(64, 3).init(&device) };
    let optimizer = OptimizerConfig::Sgd { momentum: 0.9, nesterov: false };
    let mut ours = Pipeline::new(burns.clone(), Box::new(Plain), &optimizer).unwrap().with_weight_decay(WeightDecay::AtOrigin(0.01));
    let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
    let decay = burn_optim::decay::WeightDecayConfig::new(0.01);
    let mut optimizer = SgdConfig::new().with_momentum(Some(momentum)).with_weight_decay(Some(decay)).init();
    let objective = CrossEntropy::default();
    for step in 0..10 {
        let batch = random_batch(EXTENT, 8 + step);
        let loss = objective.loss(0, &burns, &batch, &mut Pass::training(Seed::new(0)));
        let gradients = GradientsParams::from_grads(loss.backward(), &burns);
        burns = optimizer.step(0.1, burns, gradients);
        ours.step(&objective, &batch, Rate::constant(0.1), Seed::new(0)).unwrap();
    }
    let (a, b) = (vector::to_vec(&ours.space().vector(&burns)), vector::to_vec(ours.parameters()));
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-6), "{a:?} {b:?}");
}

/// Two passes, as SAM makes them, without moving: running statistics must be those of one pass.
struct Twice;

impl GradientEstimator for Twice {
    fn estimate(&mut self, oracle: &mut dyn Oracle, parameters: &Vector, _: Rate) -> Result<Estimate> {
        let first = oracle.evaluate(parameters, &Rows::All, true)?;
        let second = oracle.evaluate(parameters, &Rows::All, false)?;
        // The same dropout mask in both passes.
        assert_eq!(vector::to_vec(&first.gradients[0]), vector::to_vec(&second.gradients[0]));
        oracle.evaluate(&vector::add_scaled(parameters, 0.5, &first.gradients[0]), &Rows::All, false)?;
        Ok(second)
    }
}

#[test]
fn further_passes_leave_running_statistics_alone() {
    let config = ModelConfig::Cnn { channels: vec![4], hidden: 10, batch_norm: true, dropout: 0.4 };
    let model = config.init(EXTENT, 3, Seed::new(1), &cpu()).unwrap();
    let step = |estimator: Box<dyn GradientEstimator>| {
        let mut pipeline = Pipeline::new(model.clone(), estimator, &OptimizerConfig::default()).unwrap();
        for step in 0..3 {
            pipeline.step(&CrossEntropy::default(), &random_batch(EXTENT, 12), Rate::constant(0.1), Seed::new(step)).unwrap();
        }
        pipeline.save()
    };
    let (once, twice) = (step(Box::new(Plain)), step(Box::new(Twice)));
    assert_eq!(once, twice);
    let mean = once.model.iter().find(|array| array.name.ends_with("running_mean")).unwrap();
    assert!(mean.values.iter().any(|v| *v != 0.0), "running statistics follow the batches");
}

#[test]
fn running_statistics_are_those_of_the_definition() {
    let config = ModelConfig::Cnn { channels: vec![2], hidden: 4, batch_norm: true, dropout: 0.0 };
    let model = config.init(EXTENT, 3, Seed::new(1), &cpu()).unwrap();
    let batch = random_batch(EXTENT, 5);
    let mut pass = Pass::training(Seed::new(0));
    model.forward(batch.inputs.clone(), &mut pass);
    // Input of the norm layer: the convolution, here computed by burn.
    let arrays = ParamSpace::of(&model).arrays(&model);
    let weight = &arrays.iter().find(|array| array.name.contains("convolutions")).unwrap().values;
    let weight = Tensor::<4>::from_data(TensorData::new(weight.clone(), [2, 1, 3, 3]), &cpu());
    let options = burn::tensor::ops::ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
    let out = burn::tensor::module::conv2d(batch.inputs.reshape([5, 1, 8, 8]), weight, None, options);
    for channel in 0..2 {
        let values: Vec<f64> = vector::to_vec(&out.clone().narrow(1, channel, 1).flatten::<1>(0, 3)).into_iter().map(f64::from).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64;
        let mut statistics = Pass::training(Seed::new(0));
        model.forward(random_batch(EXTENT, 5).inputs, &mut statistics);
        // The convolution's layer leaves its statistics first, the hidden layer's follow.
        let [(_, found_mean), (_, found_variance), ..] = <[_; 4]>::try_from(statistics.into_statistics()).ok().unwrap();
        assert!((f64::from(vector::to_vec(&found_mean)[channel]) - mean).abs() < 1e-5);
        assert!((f64::from(vector::to_vec(&found_variance)[channel]) - variance).abs() < 1e-5);
    }
}

fn train(config: &ModelConfig, threads: usize) -> Vec<u32> {
    with_threads(threads, || {
        let data = digits(200);
        let model = config.init(EXTENT, 10, Seed::new(3), &cpu()).unwrap();
        let config = TrainConfig { epochs: 2, batch_size: 50, label_smoothing: 0.1, clip_norm: Some(1.0), ..TrainConfig::default() };
        let mut trainer = Trainer::new(config, model, 10, Box::new(Plain), Seed::new(3)).unwrap();
        trainer.run_epochs(&data).unwrap();
        let space = ParamSpace::of(trainer.model());
        space.arrays(trainer.model()).into_iter().flat_map(|array| array.values).map(f32::to_bits).collect()
    })
    .unwrap()
}

#[test]
fn one_thread_and_two_give_the_same_bits() {
    for config in [
        ModelConfig::Mlp { hidden: vec![300, 200], dropout: 0.0 },
        ModelConfig::Cnn { channels: vec![16, 32], hidden: 64, batch_norm: true, dropout: 0.2 },
        ModelConfig::Resnet { widths: vec![8, 16], blocks: 1 },
    ] {
        let one = train(&config, 1);
        assert_eq!(one, train(&config, 2), "{config:?}");
        assert_eq!(one, train(&config, 3), "{config:?}");
    }
}

#[test]
fn every_optimiser_goes_on_from_its_saved_state() {
    let adam = OptimizerConfig::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
    for optimizer in [OptimizerConfig::default(), OptimizerConfig::Sgd { momentum: 0.0, nesterov: false }, adam] {
        let model = ModelConfig::Linear.init(EXTENT, 3, Seed::new(1), &cpu()).unwrap();
        let step = |pipeline: &mut Pipeline<Net>, n: usize| {
            pipeline.step(&CrossEntropy::default(), &random_batch(EXTENT, n), Rate::constant(0.1), Seed::new(0)).unwrap();
        };
        let mut whole = Pipeline::new(model.clone(), Box::new(Plain), &optimizer).unwrap();
        (5..9).for_each(|n| step(&mut whole, n));
        let mut first = Pipeline::new(model.clone(), Box::new(Plain), &optimizer).unwrap();
        (5..7).for_each(|n| step(&mut first, n));
        let mut second = Pipeline::new(model, Box::new(Plain), &optimizer).unwrap();
        second.restore(first.save()).unwrap();
        (7..9).for_each(|n| step(&mut second, n));
        assert_eq!(second.save(), whole.save(), "{optimizer:?}");
    }
}

#[test]
fn the_digits_are_learnt() {
    let data = catalog::load("digits", &Cache::locate()).unwrap().train;
    let (train, test): (Vec<usize>, Vec<usize>) = (0..data.len()).partition(|i| i % 4 != 0);
    let model = ModelConfig::Mlp { hidden: vec![64], dropout: 0.0 }.init(EXTENT, 10, Seed::new(1), &cpu()).unwrap();
    let config = TrainConfig { epochs: 15, ..TrainConfig::default() };
    let mut trainer = Trainer::new(config, model, 10, Box::new(Plain), Seed::new(1)).unwrap();
    trainer.run_epochs(&data.subset(&train)).unwrap();
    let outcome = evaluate(trainer.model(), &data.subset(&test)).unwrap();
    assert!(outcome.accuracy > 0.95, "{outcome:?}");
}

#[test]
fn batches_are_cut_and_picked() {
    let batch = random_batch(EXTENT, 6);
    assert_eq!((batch.len(), batch.rows(1..3).len(), batch.select(&[5, 0]).len()), (6, 2, 2));
    let row = |batch: &LabelledBatch, i: usize| -> Vec<f32> { batch.rows(i..i + 1).inputs.try_into_vec_as().unwrap() };
    assert_eq!(row(&batch.select(&[5, 0]), 0), row(&batch, 5));
    let targets: Vec<f32> = batch.rows(0..1).targets.try_into_vec_as().unwrap();
    assert!((targets.iter().sum::<f32>() - 1.0).abs() < 1e-6 && (targets[0] - (0.9 + 0.1 / 3.0)).abs() < 1e-6);
}

#[test]
fn a_loss_that_is_not_finite_stops_and_changes_nothing() {
    let model = ModelConfig::Mlp { hidden: vec![8], dropout: 0.0 }.init(EXTENT, 3, Seed::new(1), &cpu()).unwrap();
    let mut pipeline = Pipeline::new(model, Box::new(Plain), &OptimizerConfig::default()).unwrap();
    let before = pipeline.save();
    let mut batch = random_batch(EXTENT, 4);
    batch.inputs = batch.inputs * f32::NAN;
    let error = pipeline.step(&CrossEntropy::default(), &batch, Rate::constant(0.1), Seed::new(0)).unwrap_err();
    assert!(error.to_string().contains("diverged"), "{error}");
    assert_eq!(pipeline.save(), before);
    assert!(pipeline.model().num_params() > 0);
}

/// What a recipe refuses, code is refused too; nothing panics later.
#[test]
fn values_out_of_their_range_are_errors() {
    let valid = TrainConfig::default;
    let trainer = |config: TrainConfig| {
        let model = ModelConfig::Linear.init(Extent { channels: 1, height: 1, width: 4 }, 2, Seed::new(1), &cpu()).unwrap();
        Trainer::new(config, model, 2, Box::new(Plain), Seed::new(1))
    };
    trainer(valid()).unwrap();
    for (config, field) in [
        (TrainConfig { batch_size: 0, ..valid() }, "batch_size"),
        (TrainConfig { epochs: 0, ..valid() }, "epochs"),
        (TrainConfig { learning_rate: f64::NAN, ..valid() }, "learning_rate"),
        (TrainConfig { label_smoothing: 1.0, ..valid() }, "label_smoothing"),
        (TrainConfig { clip_norm: Some(0.0), ..valid() }, "clip_norm"),
        (TrainConfig { patience: Some(0), ..valid() }, "patience"),
        (TrainConfig { optimizer: OptimizerConfig::Sgd { momentum: 1.0, nesterov: false }, ..valid() }, "momentum"),
    ] {
        let error = trainer(config).err().unwrap();
        assert!(error.to_string().contains(field), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}
