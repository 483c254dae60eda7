//! Networks that become sparse while they are trained.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use lyceum_core::Seed;
use lyceum_data::{Cache, Examples, Extent, prepare::DataConfig};
use lyceum_kernels::vector;
use lyceum_sparsify::{Budget, Criterion, Growth, Method, Parts, Sparsifier, SparsifyConfig};
use lyceum_train::{
    CrossEntropy, ModelConfig, Net, Objective as _, ParamSpace, Pass, Plain, State, Structure as _, TrainConfig, Trainer, WeightDecay, cpu,
    evaluate,
    graph::{Activation, Conv, Graph, Op, Pool, Port, Shape},
    objective::LabelledBatch,
    pipeline::Saved,
    structure::Round,
};
use ndarray::Array2;

#[derive(serde::Deserialize)]
struct Recipe {
    model: ModelConfig,
}

fn net(model: &str, extent: Extent) -> Net {
    let text = if model.contains('=') { format!("model = {{ {model} }}") } else { format!("model = \"{model}\"") };
    toml::from_str::<Recipe>(&text).unwrap().model.init(extent, 5, Seed::new(3), &cpu()).unwrap()
}

const IMAGES: Extent = Extent { channels: 3, height: 16, width: 16 };

fn images(n: usize) -> Examples {
    let inputs = Array2::from_shape_fn((n, 3 * 16 * 16), |(i, j)| ((i * 31 + j * 7) as f32 * 0.37).sin());
    Examples::new(inputs, (0..n).map(|row| row % 5).collect())
}

/// conv 3×3 3→16 at 32×32, conv 3×3 16→32 at 16×16, pool, linear 32→10.
#[test]
fn costs_worked_by_hand() {
    let mut graph = Graph::new(Shape::Images([3, 32, 32]));
    let conv = |outputs| Op::Conv(Conv { bias: false, ..Conv::new(outputs, 3) });
    let mut last = graph.add("conv1", conv(16), &[Port::Input]).unwrap();
    for (name, op) in [
        ("norm1", Op::BatchNorm),
        ("relu1", Op::Activation(Activation::Relu)),
        ("pool", Op::MaxPool(Pool::new(2))),
        ("conv2", conv(32)),
        ("norm2", Op::BatchNorm),
        ("mean", Op::GlobalAveragePool),
        ("output", Op::Linear { outputs: 10 }),
    ] {
        last = graph.add(name, op, &[last]).unwrap();
    }
    let parts = Parts::of(&graph, true);
    assert_eq!((parts.len(), parts.groups.len()), (48, 2));
    let all = parts.reduced(&[true; 48]).unwrap().0;
    assert_eq!((all.cost().multiply_adds, all.cost().parameters), (1_622_336, 5_466));
    let half: Vec<bool> = (0..48).map(|unit| unit % 2 == 0).collect();
    let half = parts.reduced(&half).unwrap().0;
    assert_eq!((half.cost().multiply_adds, half.cost().parameters), (516_256, 1_586));
}

/// Without branches, a network gives what it gave with 0 where they end.
#[test]
fn branches_are_removed_exactly() {
    let mut found = 0;
    for model in ["resnet = { widths = [8, 16], blocks = 2 }", "mobilenet-v2"] {
        let net = net(model, IMAGES);
        let (space, parts) = (ParamSpace::of(&net), Parts::of(net.graph(), true));
        let units = parts.len() - parts.branches.len();
        for (number, branch) in parts.branches.iter().enumerate() {
            let mut arrays = space.arrays(&net);
            for name in &branch.ends {
                arrays.iter_mut().find(|array| array.name == *name).unwrap().values.fill(0.0);
            }
            let masked = space.load(net.clone(), &arrays).unwrap();
            let on: Vec<bool> = (0..parts.len()).map(|part| part != units + number).collect();
            let (graph, slices) = parts.reduced(&on).unwrap();
            assert!(graph.nodes().len() + 2 < net.graph().nodes().len(), "{}", branch.name);
            let small = Net::new(graph, Seed::new(9), &cpu()).unwrap();
            let small_space = ParamSpace::of(&small);
            let own = arrays.iter().filter(|array| small_space.params().iter().any(|info| info.name == array.name)).cloned();
            let small = small_space.load(small, &slices.arrays(&own.collect::<Vec<_>>())).unwrap();
            let x = images(6);
            let (a, b) = (lyceum_train::logits(&masked, &x).unwrap(), lyceum_train::logits(&small, &x).unwrap());
            let apart = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < 1e-5, "{model} {}: {apart}", branch.name);
            found += 1;
        }
    }
    // Four blocks, and those of MobileNetV2 with a shortcut.
    assert_eq!(found, 4 + 10);
}

/// m·∂L/∂m of a gate m = 1 is Σ g·w of the weights behind it, by differences of the loss.
#[test]
fn slopes_of_gates_are_those_of_the_weights_behind_them() {
    let symbols = Extent { channels: 1, height: 1, width: 9 };
    for (model, extent) in [
        ("resnet = { widths = [8, 16], blocks = 2 }", IMAGES),
        ("cnn = { channels = [8, 16], hidden = 32 }", IMAGES),
        ("lstm = { symbols = 20, embedding = 6, hidden = 12, layers = 2 }", symbols),
        ("bert = { symbols = 20, width = 12, heads = 3, feed_forward = 16, layers = 1 }", symbols),
    ] {
        let net = net(model, extent);
        let examples = if extent == IMAGES {
            images(8)
        } else {
            Examples::new(Array2::from_shape_fn((8, 9), |(i, j)| ((i * 7 + j * 3) % 20) as f32), (0..8).map(|row| row % 5).collect())
        };
        let (space, parts) = (ParamSpace::of(&net), Parts::of(net.graph(), true));
        let w = space.vector(&net);
        let batch = LabelledBatch::new(&examples, &(0..8).collect::<Vec<_>>(), 5, 0.0, &cpu());
        let loss = |w: &lyceum_train::Vector| {
            let model = space.place(net.clone(), w);
            let loss = CrossEntropy::default().loss(0, &model, &batch, &mut Pass::evaluation());
            (f64::from(loss.clone().into_scalar::<f32>()), vector::to_vec(&space.gradient(&model, loss.backward())))
        };
        let (numbers, (_, gradient)) = (vector::to_vec(&w), loss(&w));
        let start = |name: &str| space.params().iter().find(|info| info.name == name).unwrap();
        let mut behind: Vec<Vec<usize>> = Vec::new();
        for group in &parts.groups {
            // One unit of each group.
            let places = group.units[group.units.len() / 2].read.iter().flat_map(|slice| {
                let info = start(&slice.parameter);
                let (inner, extent) = (info.shape[slice.axis + 1..].iter().product::<usize>(), info.shape[slice.axis]);
                let range = info.range.clone().unwrap();
                let is_own = move |place: &usize| slice.indices.contains(&((place - range.start) / inner % extent));
                info.range.clone().unwrap().filter(is_own)
            });
            behind.push(places.collect());
        }
        behind.extend(parts.branches.iter().map(|branch| branch.ends.iter().flat_map(|name| start(name).range.clone().unwrap()).collect()));
        assert!(behind.len() >= 3, "{model}");
        for places in behind {
            assert!(!places.is_empty(), "{model}");
            let slope: f64 = places.iter().map(|place| f64::from(gradient[*place] * numbers[*place])).sum();
            let at = |m: f32| {
                let mut scaled = numbers.clone();
                places.iter().for_each(|place| scaled[*place] *= m);
                loss(&vector::from_vec(scaled, &cpu())).0
            };
            let step = 5e-3;
            let numeric = (at(1.0 + step) - at(1.0 - step)) / f64::from(2.0 * step);
            assert!((slope - numeric).abs() < 0.05 * numeric.abs() + 5e-4, "{model}: {slope} {numeric}");
        }
    }
}

fn digits() -> lyceum_data::prepare::Prepared {
    DataConfig::named("digits").prepare(&Cache::at("/nowhere"), Seed::new(1)).unwrap()
}

fn trainer(config: SparsifyConfig, model: &str, data: &lyceum_data::prepare::Prepared) -> Trainer {
    let training = TrainConfig { epochs: 14, learning_rate: 0.1, weight_decay: Some(WeightDecay::InLoss(1e-4)), ..TrainConfig::default() };
    let model = toml::from_str::<Recipe>(&format!("model = {{ {model} }}")).unwrap().model;
    let net = model.init(data.extent, 10, Seed::new(3), &cpu()).unwrap();
    let trainer = Trainer::new(training, net, 10, Box::new(Plain), Seed::new(2)).unwrap();
    trainer.with_structure(|net| Ok(Box::new(Sparsifier::new(config, net, Seed::new(2))?))).unwrap()
}

#[test]
fn every_method_meets_its_budget_and_removal_is_exact() {
    let data = digits();
    let methods = [
        Method::Grow(Growth::default()),
        Method::Grow(Growth { sampled: false, separate: false, seed: 1.0, ..Growth::default() }),
        Method::Random { from: 0.1 },
        Method::Narrow,
        Method::Prune(Criterion::Taylor),
        Method::Prune(Criterion::L1),
        Method::Slimming { penalty: 1e-3 },
    ];
    for (number, method) in methods.into_iter().enumerate() {
        let budget = if number % 2 == 0 { Budget::MultiplyAdds(0.5) } else { Budget::Parameters(0.5) };
        let config =
            SparsifyConfig { budget, method: method.clone(), round_to: Some(1), branches: number < 4, ..SparsifyConfig::default() };
        let mut trainer = trainer(config, "resnet = { widths = [8, 16], blocks = 1 }", &data);
        trainer.run_epochs(&data.train).unwrap();
        let (net, structure) = (trainer.model(), trainer.structure().unwrap());
        let stages = structure.stages();
        assert_eq!(stages.len(), 14);
        let last = &stages[13];
        assert!(net.graph().cost() == last.cost && last.used <= 0.5 && last.used > 0.44, "{method:?}: {}", last.used);
        assert!(stages[6..].iter().all(|stage| stage == last), "{method:?}: settled");
        let deviation = structure.deviation(net, data.test.inputs.array().view()).unwrap();
        assert!(deviation < 1e-5, "{method:?}: {deviation}");
        let accuracy = evaluate(net, &data.test).unwrap().accuracy;
        assert!(accuracy > 0.9, "{method:?}: {accuracy}");
    }
}

/// Absent units keep their weights and momentum until they are trained again; those that are present form a network of their own.
#[test]
fn what_was_learnt_is_kept() {
    let net = net("cnn = { channels = [16, 16], hidden = 16 }", IMAGES);
    let space = ParamSpace::of(&net);
    let config = SparsifyConfig { round_to: Some(1), settle: 0.9, ..SparsifyConfig::default() };
    let mut sparsifier = Sparsifier::new(config, &net, Seed::new(5)).unwrap();
    let of = |space: &ParamSpace, net: &Net, momentum: Vec<f32>| Saved {
        model: space.arrays(net),
        optimizer: State::default().with_vector("velocity", &vector::from_vec(momentum, &cpu())).with_counter("step", 7),
        estimator: State::default(),
        combiner: State::default(),
    };
    let momentum: Vec<f32> = (0..space.dimension()).map(|i| i as f32).collect();
    let mut now = of(&space, &net, momentum);
    let whole = vector::to_vec(&space.vector(&net));
    let mut dimensions = Vec::new();
    for number in 0..6 {
        let (part, saved) = sparsifier.next(Round { number, count: 10, steps: 5 }, now).unwrap();
        let part_space = ParamSpace::of(&part);
        let part = part_space.load(part, &saved.model).unwrap();
        dimensions.push(part_space.dimension());
        let momentum = saved.optimizer.vector("velocity", &cpu()).unwrap();
        let (weights, momentum) = (vector::to_vec(&part_space.vector(&part)), vector::to_vec(&momentum));
        assert_eq!((weights.len(), saved.optimizer.counter("step")), (momentum.len(), 7));
        // Nothing was trained: each weight has the momentum of its own place.
        for (weight, place) in weights.iter().zip(&momentum) {
            assert_eq!(*weight, whole[*place as usize]);
        }
        now = saved;
        // Saved and restored it is the same.
        let state = sparsifier.state();
        let mut other =
            Sparsifier::new(SparsifyConfig { round_to: Some(1), settle: 0.9, ..SparsifyConfig::default() }, &net, Seed::new(5)).unwrap();
        assert_eq!(other.restore(&state).unwrap().graph(), part.graph());
        assert!(other.state() == state && other.stages() == sparsifier.stages());
    }
    dimensions.dedup();
    assert!(dimensions.len() > 3, "{dimensions:?}");
}

#[test]
fn what_cannot_be_is_refused() {
    let net = net("cnn = { channels = [16, 16], hidden = 16 }", IMAGES);
    let refused = |config: SparsifyConfig, net: &Net| Sparsifier::new(config, net, Seed::new(0)).err().unwrap().to_string();
    let config = SparsifyConfig::default();
    let tight = SparsifyConfig { budget: Budget::MultiplyAdds(0.01), least: 0.5, ..config.clone() };
    assert!(refused(tight, &net).contains("least = 0.5"));
    assert!(refused(SparsifyConfig { settle: 1.5, ..config.clone() }, &net).contains("1.5"));
    let linear = ModelConfig::Linear.init(IMAGES, 5, Seed::new(0), &cpu()).unwrap();
    assert!(refused(config.clone(), &linear).contains("without units"));
    let plain = ModelConfig::Mlp { hidden: vec![32], dropout: 0.0 }.init(IMAGES, 5, Seed::new(0), &cpu()).unwrap();
    assert!(refused(SparsifyConfig { method: Method::Slimming { penalty: 1e-4 }, ..config }, &plain).contains("batch normalisation"));
}

/// A layer that is frozen stays as it is; a training that may end before the network is within its budget is refused.
#[test]
fn frozen_layers_and_patience() {
    let data = digits();
    let net = || toml::from_str::<Recipe>("model = { resnet = { widths = [8, 16], blocks = 1 } }").unwrap().model;
    let net = || net().init(data.extent, 10, Seed::new(3), &cpu()).unwrap();
    let with = |training: TrainConfig| {
        let trainer = Trainer::new(training, net(), 10, Box::new(Plain), Seed::new(2)).unwrap();
        trainer.with_structure(|net| Ok(Box::new(Sparsifier::new(SparsifyConfig::default(), net, Seed::new(2))?)))
    };
    let group = lyceum_train::Group { names: vec!["stem.*".into()], frozen: true, ..Default::default() };
    let mut trainer = with(TrainConfig { epochs: 3, group: vec![group], ..TrainConfig::default() }).unwrap();
    trainer.run_epochs(&data.train).unwrap();
    let deviation = trainer.structure().unwrap().deviation(trainer.model(), data.test.inputs.array().view()).unwrap();
    assert!(deviation < 1e-5, "{deviation}");
    let stem = |net: &Net| ParamSpace::of(net).arrays(net).into_iter().find(|array| array.name.ends_with("stem.weight")).unwrap().values;
    let before = stem(&net());
    assert!(stem(trainer.model()).chunks(9).all(|filter| before.chunks(9).any(|other| other == filter)));
    let error = with(TrainConfig { patience: Some(2), ..TrainConfig::default() }).err().unwrap();
    assert!(error.to_string().contains("training.patience") && error.exit_code() == 2, "{error}");
}

/// A budget of milliseconds: less time than the whole network takes, measured again.
#[test]
fn time_is_measured() {
    let net = net("cnn = { channels = [64, 64], hidden = 64 }", Extent { channels: 3, height: 32, width: 32 });
    let meter = lyceum_sparsify::Meter::new("ms=1000".parse().unwrap(), net.graph()).unwrap();
    assert!(meter.share() > 1.0);
    let parts = Parts::of(net.graph(), false);
    let few: Vec<bool> = (0..parts.len()).map(|unit| unit % 8 == 0).collect();
    let used = meter.used(&parts.reduced(&few).unwrap().0).unwrap();
    assert!(used > 0.0 && used < 0.8, "{used}");
}
