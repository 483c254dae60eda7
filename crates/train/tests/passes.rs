//! Passes over networks: slices that live and die together, folded normalisation, linear maps; on random networks of all kinds of
//! nodes.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::collections::HashSet;

use burn::tensor::{Tensor, TensorData};
use lyceum_core::{Array, Seed};
use lyceum_data::Examples;
use lyceum_kernels::vector;
use lyceum_train::{
    CrossEntropy, ModelConfig, ModelOracle, Net, Network, Oracle, ParamSpace, Pass, cpu,
    graph::{Activation, Constant, Conv, Graph, Op, Pool, Port, Shape, Unit},
    objective::LabelledBatch,
    oracle::Rows,
};
use ndarray::Array2;
use proptest::prelude::*;

const CLASSES: usize = 3;

/// A random operation; what it reads decides whether it fits.
fn op(kind: u8, a: usize, b: usize) -> Op {
    let conv = Conv { stride: [1 + b % 2; 2], bias: a.is_multiple_of(2), ..Conv::new(2 + 2 * (a % 3), [1, 3, 5][b % 3]) };
    match kind {
        0..=3 => Op::Conv(conv),
        4 => Op::Conv(Conv { groups: 2, ..conv }),
        5 => Op::Conv(Conv { dilation: [2; 2], padding: [2, 1], kernel: [3, 2], ..conv }),
        // Depthwise, where as many channels are read.
        6 => Op::Conv(Conv { groups: 4, outputs: 4 * (1 + a % 2), ..conv }),
        7 => Op::TransposedConv { outputs: 3, kernel: 2 + a % 2, stride: 2, padding: 0 },
        8 | 9 => Op::Linear { outputs: 4 + 2 * (a % 2) },
        10 => Op::Lstm { width: 3 + a % 3 },
        11 => Op::Last,
        12 => Op::Embedding { symbols: 5, width: 4 },
        13 | 14 => Op::BatchNorm,
        15 => Op::LayerNorm,
        16 => Op::GroupNorm { groups: 2 },
        17 => Op::Activation(Activation::Relu),
        18 => Op::Activation([Activation::Sigmoid, Activation::HardSwish, Activation::Silu, Activation::LeakyRelu(0.1)][a % 4]),
        19 => Op::Softmax,
        20 => Op::MaxPool(Pool { size: [2, 1 + b % 2], stride: [1 + a % 2; 2], padding: [[0, a % 2], [0; 2]] }),
        21 => Op::AveragePool(Pool { size: [3; 2], stride: [1 + a % 2; 2], padding: [[1; 2], [1, b % 2]] }),
        22 => Op::GlobalAveragePool,
        23 => Op::GlobalMaxPool,
        24 => Op::AdaptiveAveragePool { size: 2 },
        25 => Op::Upsample { factor: 2, bilinear: a.is_multiple_of(2) },
        26 => Op::Slice { from: a % 2, until: 3 + b % 2 },
        27 => Op::Flatten,
        28 => Op::Reshape([Shape::Images([2 + 2 * (a % 2), 1, 1 + b % 2]), Shape::Sequence([2 + a % 2, 2 + 2 * (b % 2)])][a % 2]),
        29 => Op::Pad([[1, a % 2], [b % 2, 1]]),
        30 | 31 => Op::Add,
        32 => Op::Multiply,
        33 | 34 => Op::Concatenate,
        35 => Op::Mean,
        36 => Op::Attention { heads: 1 + a % 3 },
        37 => Op::MatrixProduct,
        38 => Op::Transpose,
        39 => Op::Gather(vec![2, a % 3, b % 3]),
        40 => Op::WeightedSum,
        41 => Op::Divide,
        // Numbers of the shape that is read, or one a channel, come later.
        42 => Op::Learned(Constant::new(Shape::Row(1), vec![0.3]).unwrap()),
        43 => Op::Constant(Constant::new(Shape::Row(1), vec![0.7]).unwrap()),
        _ => Op::Subtract,
    }
}

/// How many kinds of operations there are.
const KINDS: u8 = 45;

/// What a random operation does with these values; what does not fit is left out.
fn add(graph: &mut Graph, name: &str, op: Op, [first, second]: [Port; 2], b: usize) -> lyceum_core::Result<Port> {
    match op {
        Op::Add | Op::Multiply | Op::Concatenate | Op::Mean | Op::Subtract | Op::MatrixProduct => graph.add(name, op, &[first, second]),
        Op::Divide => {
            // Away from 0, whatever is read.
            let share = graph.add(&format!("{name}.share"), Op::Activation(Activation::Sigmoid), &[second])?;
            let half = Op::Constant(Constant::new(graph.shape(second), vec![0.5]).unwrap());
            let half = graph.add(&format!("{name}.half"), half, &[])?;
            let positive = graph.add(&format!("{name}.positive"), Op::Add, &[share, half])?;
            graph.add(name, op, &[first, positive])
        }
        Op::WeightedSum => {
            let weights = Op::Learned(Constant::new(Shape::Row(2), vec![0.2, 0.5]).unwrap());
            let weights = graph.add(&format!("{name}.weights"), weights, &[])?;
            graph.add(name, op, &[first, second, weights])
        }
        // A projection to queries, keys and values, as everywhere.
        Op::Attention { heads } => {
            let packed = graph.add(&format!("{name}.packed"), Op::Linear { outputs: 6 * heads }, &[first])?;
            graph.add(name, op, &[packed])
        }
        Op::Learned(_) | Op::Constant(_) => {
            let shape = if b.is_multiple_of(2) { graph.shape(first) } else { Shape::Row(graph.shape(first).channels()) };
            let values = (0..shape.len()).map(|i| (i as f32 * 1.7).sin()).collect();
            let values = Constant::new(shape, values).unwrap();
            let op = if matches!(op, Op::Learned(_)) { Op::Learned(values) } else { Op::Constant(values) };
            let values = graph.add(&format!("{name}.values"), op, &[])?;
            let sum = [Op::Add, Op::Multiply, Op::Subtract][b % 3].clone();
            graph.add(name, sum, &[first, values])
        }
        op => graph.add(name, op, &[first]),
    }
}

/// A network in which values are shared and read twice, whose output depends on all.
fn random_graph(choices: &[(u8, usize, usize)], symbols: bool) -> Graph {
    let input = if symbols { Shape::Row(6) } else { Shape::Images([4, 6, 5]) };
    let mut graph = Graph::new(input);
    let mut ports = vec![Port::Input];
    if symbols {
        ports.push(graph.add("embedding", Op::Embedding { symbols: 5, width: 4 }, &[Port::Input]).unwrap());
    }
    for (number, (kind, a, b)) in choices.iter().enumerate() {
        let first = ports[ports.len() - 1 - a % ports.len().min(3)];
        let second = ports[ports.len() - 1 - b % ports.len()];
        ports.extend(add(&mut graph, &format!("n{number}"), op(kind % KINDS, *a, *b), [first, second], *b));
    }
    while let Some(node) = graph.unread() {
        let place = graph.nodes().iter().position(|other| other.name == node.name).unwrap();
        let last = Port::Node(graph.nodes().len() - 1);
        let row = |graph: &mut Graph, port| match graph.shape(port) {
            Shape::Row(_) => port,
            Shape::Images(_) => graph.add(&format!("mean{}", graph.nodes().len()), Op::GlobalAveragePool, &[port]).unwrap(),
            Shape::Sequence(_) => graph.add(&format!("flat{}", graph.nodes().len()), Op::Flatten, &[port]).unwrap(),
        };
        let (a, b) = (row(&mut graph, Port::Node(place)), row(&mut graph, last));
        graph.add(&format!("all{}", graph.nodes().len()), Op::Concatenate, &[a, b]).unwrap();
    }
    let last = graph.nodes().len().checked_sub(1).map_or(Port::Input, Port::Node);
    let flat = graph.add("flat", Op::Flatten, &[last]).unwrap();
    let hidden = graph.add("hidden", Op::Linear { outputs: 5 }, &[flat]).unwrap();
    graph.add("output", Op::Linear { outputs: CLASSES }, &[hidden]).unwrap();
    graph
}

/// Initial values, with biases, shifts and running statistics that are not 0 and 1.
fn random_net(graph: Graph, seed: u64) -> Net {
    let net = Net::new(graph, Seed::new(seed), &cpu()).unwrap();
    let space = ParamSpace::of(&net);
    let mut arrays = space.arrays(&net);
    for array in arrays.iter_mut().filter(|array| array.shape.len() == 1) {
        let positive = array.name.ends_with("running_variance") || array.name.ends_with("gamma");
        array.values.iter_mut().enumerate().for_each(|(i, x)| {
            let wave = ((i + 1) as f32 * 0.9 + array.name.len() as f32).sin();
            *x = if positive { 1.0 + 0.4 * wave } else { 0.3 * wave };
        });
    }
    space.load(net, &arrays).unwrap()
}

fn inputs(graph: &Graph, rows: usize) -> Array2<f32> {
    let symbols = graph.input() == Shape::Row(6);
    let value = |i: usize, j: usize| if symbols { ((i * 5 + j * 3 + i * j) % 5) as f32 } else { ((i * 31 + j * 7) as f32 * 0.37).sin() };
    Array2::from_shape_fn((rows, graph.input().len()), |(i, j)| value(i, j))
}

/// Logits of an evaluation; loss and gradient of a training step.
fn all_of(net: &Net) -> (Vec<f32>, f64, Vec<f32>) {
    let inputs = inputs(net.graph(), 6);
    let examples = Examples::new(inputs, (0..6).map(|i| i % CLASSES).collect());
    let batch = LabelledBatch::new(&examples, &(0..6).collect::<Vec<_>>(), CLASSES, 0.0, &cpu());
    let (space, objective) = (ParamSpace::of(net), CrossEntropy::default());
    let mut oracle = ModelOracle::new(&objective, net, &space, &batch, Seed::new(7));
    let slopes = oracle.evaluate(&space.vector(net), &Rows::All, true).unwrap();
    let plain = space.place_for_evaluation(net.clone(), &space.vector(net));
    let logits = plain.forward(batch.inputs.clone(), &mut Pass::evaluation()).into_data().try_to_vec().unwrap();
    (logits, slopes.losses[0], vector::to_vec(&slopes.gradients[0]))
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |max, x| max.max(x.abs()))
}

/// The largest difference over the largest value.
fn differ(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest(a).max(largest(b)).max(1e-30)
}

/// A network whose weights that read these units are 0.
fn gated(net: &Net, units: &[&Unit]) -> Net {
    let space = ParamSpace::of(net);
    let mut arrays = space.arrays(net);
    for slice in units.iter().flat_map(|unit| &unit.read) {
        let array: &mut Array = arrays.iter_mut().find(|array| array.name == slice.parameter).unwrap();
        let inner: usize = array.shape[slice.axis + 1..].iter().product();
        let extent = array.shape[slice.axis];
        let gone: HashSet<usize> = slice.indices.iter().copied().collect();
        array.values.iter_mut().enumerate().filter(|(place, _)| gone.contains(&(place / inner % extent))).for_each(|(_, x)| *x = 0.0);
    }
    space.load(net.clone(), &arrays).unwrap()
}

/// Takes out every unit that `choose` picks, but not all of a group; the network without them gives what the gated one gives.
fn check_slices(net: &Net, choose: impl Fn(usize) -> bool, tolerance: f32) -> std::result::Result<usize, TestCaseError> {
    let groups = net.graph().dependencies();
    let mut number = 0;
    let mut chosen: Vec<&Unit> = Vec::new();
    for group in &groups {
        for unit in &group.units[1..] {
            number += 1;
            if choose(number) {
                chosen.push(unit);
            }
        }
    }
    let Ok((graph, slices)) = net.graph().without(&chosen) else { return Ok(0) };
    let (gated, space) = (gated(net, &chosen), ParamSpace::of(net));
    let small = Net::new(graph, Seed::new(99), &cpu()).unwrap();
    let small_space = ParamSpace::of(&small);
    let small = small_space.load(small, &slices.arrays(&space.arrays(&gated))).unwrap();
    let (large, sliced) = (all_of(&gated), all_of(&small));
    prop_assert!(differ(&large.0, &sliced.0) <= tolerance, "logits {:?} {:?}", large.0, sliced.0);
    prop_assert!((large.1 - sliced.1).abs() <= f64::from(tolerance) * (1.0 + large.1.abs()), "loss {} {}", large.1, sliced.1);
    let gradient = vector::from_vec(large.2, &cpu());
    let whole = vector::to_vec(&gradient);
    let kept: Vec<f32> = slices.places(&space, &small_space).into_iter().map(|place| whole[place]).collect();
    prop_assert!(differ(&kept, &sliced.2) <= tolerance, "gradient, by {}", differ(&kept, &sliced.2));
    // The parameters of the smaller network are those of its description.
    prop_assert_eq!(small_space.dimension() as u64, small.graph().cost().parameters);
    Ok(chosen.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// Sliced equals gated, outputs and gradients.
    #[test]
    fn a_network_without_units_gives_what_it_gives_with_them_unread(
        choices in proptest::collection::vec((0_u8..KINDS, 0_usize..12, 0_usize..12), 1..18),
        symbols in any::<bool>(),
        picks in any::<u64>(),
    ) {
        let net = random_net(random_graph(&choices, symbols), 1);
        check_slices(&net, |number| picks >> (number % 64) & 1 == 1, 1e-5)?;
    }

    /// Folded normalisation gives what it gave.
    #[test]
    fn folded_networks_give_what_they_gave(
        choices in proptest::collection::vec((0_u8..KINDS, 0_usize..12, 0_usize..12), 1..18),
        symbols in any::<bool>(),
    ) {
        let net = random_net(random_graph(&choices, symbols), 1);
        let (found, expected) = (all_of(&net.folded().unwrap()).0, all_of(&net).0);
        prop_assert!(differ(&found, &expected) <= 2e-4, "{:?} {:?}", found, expected);
    }

    /// The predictor gives what an evaluation gives, alone and together, to the same bits.
    #[test]
    fn predictors_give_what_evaluations_give(
        choices in proptest::collection::vec((0_u8..KINDS, 0_usize..12, 0_usize..12), 1..18),
        symbols in any::<bool>(),
    ) {
        let net = random_net(random_graph(&choices, symbols), 1);
        let predictor = net.predictor().unwrap();
        let inputs = inputs(net.graph(), 6);
        let found = predictor.logits(inputs.view()).unwrap();
        let expected = all_of(&net).0;
        // Normalisation after normalisation makes rounding larger.
        prop_assert!(differ(found.as_slice().unwrap(), &expected) <= 2e-4, "{:?} {:?}", found, expected);
        for (row, logits) in inputs.rows().into_iter().zip(found.rows()) {
            let alone = predictor.logits(row.insert_axis(ndarray::Axis(0))).unwrap();
            prop_assert!(alone.row(0) == logits, "{:?} {:?}", alone, logits);
        }
    }

    /// ⟨Ax, y⟩ = ⟨x, Aᵀy⟩, and ‖Ax‖ ≤ bound · ‖x‖ for what power iteration finds.
    #[test]
    fn maps_have_adjoints_and_bounds(
        choices in proptest::collection::vec((0_u8..KINDS, 0_usize..12, 0_usize..12), 1..6),
        symbols in any::<bool>(),
    ) {
        let net = random_net(random_graph(&choices, symbols), 1);
        for map in net.linear_maps().unwrap() {
            let [from, to] = map.shapes();
            let wave = |len: usize, rate: f32| {
                let values: Vec<f32> = (0..len).map(|i| ((i + 1) as f32 * rate).sin()).collect();
                Tensor::<2>::from_data(TensorData::new(values, [1, len]), &cpu())
            };
            let dot = |a: Tensor<2>, b: Tensor<2>| (a * b).sum().into_scalar::<f32>();
            let (mut x, y) = (wave(from.len(), 1.3), wave(to.len(), 0.8));
            let (a, b) = (dot(map.apply(x.clone()), y.clone()), dot(x.clone(), map.adjoint(y)));
            prop_assert!((a - b).abs() <= 1e-4 * (1.0 + a.abs()), "{} {} {}", map.name, a, b);
            let mut norm = 0.0;
            for _ in 0..30 {
                x = x.clone() / dot(x.clone(), x).sqrt();
                let image = map.apply(x.clone());
                norm = dot(image.clone(), image.clone()).sqrt();
                if norm == 0.0 {
                    break;
                }
                x = map.adjoint(image);
            }
            let bound = map.norm_bound();
            prop_assert!(f64::from(norm) <= bound * (1.0 + 1e-5), "{}: {} > {}", map.name, norm, bound);
            // Of a matrix it is near; of a convolution also larger images count.
            let tight = matches!(net.graph().nodes().iter().find(|node| node.name == map.name).unwrap().op, Op::Linear { .. } | Op::BatchNorm);
            prop_assert!(!tight || bound <= 1.2 * f64::from(norm) + 1e-6, "{}: {} against {}", map.name, bound, norm);
        }
    }
}

/// Units of known networks.
#[test]
fn units_are_those_of_the_definition() {
    let count = |config: &ModelConfig, extent| -> Vec<(String, usize)> {
        let groups = config.graph(extent, 10).unwrap().dependencies();
        groups.into_iter().map(|group| (group.name, group.units.len())).collect()
    };
    let images = lyceum_data::Extent { channels: 3, height: 32, width: 32 };
    let symbols = lyceum_data::Extent { channels: 1, height: 1, width: 9 };
    let cnn = ModelConfig::Cnn { channels: vec![4, 6], hidden: 10, batch_norm: true, dropout: 0.0 };
    assert_eq!(count(&cnn, images), [("convolutions.0", 4), ("convolutions.1", 6), ("hidden", 10)].map(|(a, b)| (a.to_owned(), b)));
    let lstm = ModelConfig::Lstm { symbols: None, embedding: 8, hidden: 100, layers: 2 };
    assert_eq!(count(&lstm, symbols), [("embedding", 8), ("lstm.0", 100), ("lstm.1", 100)].map(|(a, b)| (a.to_owned(), b)));
    // Heads, and hidden units; what a layer normalisation sees stays.
    let bert = ModelConfig::Bert { symbols: None, width: 12, heads: 3, feed_forward: 10, layers: 2, dropout: 0.0 };
    let expected = [("layers.0.qkv", 3), ("layers.0.inner", 10), ("layers.1.qkv", 3), ("layers.1.inner", 10)];
    assert_eq!(count(&bert, symbols), expected.map(|(a, b)| (a.to_owned(), b)));
    // A stage's channels are one group, as the sums tie them; each block has a group inside.
    let resnet = ModelConfig::Resnet { widths: vec![4, 8], blocks: 2 };
    let expected =
        [("stem", 4), ("blocks.0.conv1", 4), ("blocks.1.conv1", 4), ("blocks.2.conv1", 8), ("blocks.2.conv2", 8), ("blocks.3.conv1", 8)];
    assert_eq!(count(&resnet, images), expected.map(|(a, b)| (a.to_owned(), b)));
    // The first channel of the stem: filters, scales and shifts of all that is added, and what reads the sums.
    let graph = resnet.graph(images, 10).unwrap();
    let unit = &graph.dependencies()[0].units[0];
    let made: Vec<&str> = unit.made.iter().map(|slice| slice.parameter.as_str()).filter(|name| name.ends_with("weight")).collect();
    assert_eq!(made, ["ResNet.stem.weight", "ResNet.blocks.0.conv2.weight", "ResNet.blocks.1.conv2.weight"]);
    let read: Vec<&str> = unit.read.iter().map(|slice| slice.parameter.as_str()).collect();
    let readers = [
        "ResNet.blocks.0.conv1.weight",
        "ResNet.blocks.1.conv1.weight",
        "ResNet.blocks.2.conv1.weight",
        "ResNet.blocks.2.shortcut.0.weight",
    ];
    assert_eq!(read, readers);
}

/// The named networks with a third of their units, and folded.
#[test]
fn named_networks_are_sliced_and_folded() {
    let extent = lyceum_data::Extent { channels: 3, height: 16, width: 16 };
    for (config, least) in [
        (ModelConfig::FeddynCnn, 200),
        (ModelConfig::Resnet20, 140),
        (ModelConfig::Squeeze, 8),
        (ModelConfig::Cnn { channels: vec![16, 32], hidden: 24, batch_norm: true, dropout: 0.0 }, 20),
    ] {
        let net = random_net(config.graph(extent, CLASSES).unwrap(), 2);
        // Tiles of Winograd's method differ from the definition in the fifth digit.
        let taken = check_slices(&net, |number| number % 3 == 0, 1e-4).unwrap();
        assert!(taken >= least, "{config:?}: {taken}");
        let folded = net.folded().unwrap();
        assert!(differ(&all_of(&net).0, &all_of(&folded).0) <= 1e-4, "{config:?}");
        assert!(!folded.graph().has_batch_norm(), "{config:?}");
        let found = net.predictor().unwrap().logits(inputs(net.graph(), 6).view()).unwrap();
        assert!(differ(&all_of(&net).0, found.as_slice().unwrap()) <= 1e-4, "{config:?}");
    }
    let bert = ModelConfig::Bert { symbols: None, width: 12, heads: 3, feed_forward: 10, layers: 2, dropout: 0.0 };
    let net = random_net(bert.graph(lyceum_data::Extent { channels: 1, height: 1, width: 6 }, CLASSES).unwrap(), 2);
    assert_eq!(check_slices(&net, |number| number % 2 == 0, 1e-5).unwrap(), 11);
}

/// A bound that is exact where the norm is known.
#[test]
fn bounds_are_near_known_norms() {
    let mut graph = Graph::new(Shape::Row(40));
    graph.add("output", Op::Linear { outputs: 30 }, &[Port::Input]).unwrap();
    let net = Net::new(graph, Seed::new(3), &cpu()).unwrap();
    let space = ParamSpace::of(&net);
    let mut arrays = space.arrays(&net);
    // A diagonal with the entries 1, 2, …, 30.
    arrays[0].values = (0..40 * 30).map(|place| if place / 30 == place % 30 { (place % 30 + 1) as f32 } else { 0.0 }).collect();
    let net = space.load(net, &arrays).unwrap();
    let bound = net.linear_maps().unwrap()[0].norm_bound();
    assert!((30.0..30.01).contains(&bound), "{bound}");
    // A network that has diverged has no bound.
    for config in [ModelConfig::Squeeze, ModelConfig::Resnet { widths: vec![4], blocks: 1 }] {
        let net = config.init(lyceum_data::Extent { channels: 3, height: 8, width: 8 }, 2, Seed::new(1), &cpu()).unwrap();
        let space = ParamSpace::of(&net);
        let mut arrays = space.arrays(&net);
        arrays.iter_mut().for_each(|array| array.values[0] = f32::NAN);
        let net = space.load(net, &arrays).unwrap();
        assert!(net.linear_maps().unwrap().iter().all(|map| map.norm_bound() == f64::INFINITY));
    }
}

#[test]
fn units_of_another_network_are_refused() {
    let extent = lyceum_data::Extent { channels: 1, height: 1, width: 4 };
    let graph = ModelConfig::Mlp { hidden: vec![3], dropout: 0.0 }.graph(extent, 2).unwrap();
    let groups = graph.dependencies();
    let all: Vec<&Unit> = groups[0].units.iter().collect();
    assert!(graph.without(&all).unwrap_err().to_string().contains("all of `hidden.0`"));
    assert_eq!(graph.without(&[]).unwrap().0, graph);
    // Of the same network before it was cut.
    let (small, _) = graph.without(&[all[0]]).unwrap();
    assert!(small.without(&[all[2]]).unwrap_err().to_string().contains("another network"));
}
