//! Networks as data: named networks and files, every operation, gradients, and mistakes.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use lyceum_core::{Error, Seed};
use lyceum_data::{Examples, Extent};
use lyceum_kernels::vector;
use lyceum_train::{
    CrossEntropy, ModelConfig, ModelOracle, Net, Network, Oracle, ParamSpace, Pass, cpu,
    graph::{Graph, Op, Port, Shape},
    objective::LabelledBatch,
    oracle::Rows,
};
use ndarray::Array2;
use proptest::prelude::*;

const EXTENT: Extent = Extent { channels: 3, height: 20, width: 18 };
const INPUT: Shape = Shape::Images([3, 20, 18]);

fn batch(extent: Extent) -> LabelledBatch {
    let inputs = Array2::from_shape_fn((5, extent.len()), |(i, j)| ((i * 31 + j * 7) as f32 * 0.37).sin());
    let examples = Examples::new(inputs, (0..5).map(|i| i % 4).collect());
    LabelledBatch::new(&examples, &(0..5).collect::<Vec<_>>(), 4, 0.0, &cpu())
}

fn parse(text: &str) -> Graph {
    Graph::parse("net.toml", text, INPUT, 4).unwrap_or_else(|error| panic!("{error}"))
}

/// Loss, gradient, statistics and the logits of an evaluation.
fn all_of(model: &Net) -> (Vec<f32>, Vec<u64>, Vec<Vec<f32>>, Vec<f32>) {
    let (space, objective, batch) = (ParamSpace::of(model), CrossEntropy::default(), batch(EXTENT));
    let mut oracle = ModelOracle::new(&objective, model, &space, &batch, Seed::new(7));
    let slopes = oracle.evaluate(&space.vector(model), &Rows::All, true).unwrap();
    let statistics = oracle.into_statistics().into_iter().map(|(_, value)| vector::to_vec(&value)).collect();
    let plain = space.place_for_evaluation(model.clone(), &space.vector(model));
    let logits = plain.forward(batch.inputs.clone(), &mut Pass::evaluation()).into_data().try_to_vec().unwrap();
    (vector::to_vec(&slopes.gradients[0]), slopes.losses.iter().map(|loss| loss.to_bits()).collect(), statistics, logits)
}

/// The networks that recipes name, written as files: the same bits of initial values, losses, gradients, statistics and logits.
#[test]
fn named_networks_and_files_are_the_same() {
    let mlp = r#"layers = [{ linear = 9 }, "relu", { dropout = 0.3 }, { linear = 6 }, "relu", { dropout = 0.3 }, { linear = "classes" }]"#;
    let cnn = r#"layers = [
        { conv = 4, bias = false }, "batch-norm", "relu", { max-pool = 2 },
        { conv = 6, bias = false }, "batch-norm", { max-pool = 2 }, "relu",
        { linear = 10 }, "batch-norm", "relu", { dropout = 0.2 }, { linear = "classes" }]"#;
    let plain = r#"layers = [
        { conv = 16 }, "relu", { max-pool = 2 }, { conv = 32 }, { max-pool = 2 }, "relu",
        { linear = 10 }, "relu", { linear = "classes" }]"#;
    let resnet = r#"
        layers = [{ conv = 4, bias = false }, "batch-norm", "relu", { block = "basic", channels = 4 }, { block = "down", channels = 8 },
                  "global-average-pool", { linear = "classes" }]
        [block.basic]
        layers = [{ conv = "channels", bias = false }, "batch-norm", "relu", { conv = "channels", bias = false }, "batch-norm",
                  { add = "input" }, "relu"]
        [block.down]
        layers = [{ conv = "channels", stride = 2, bias = false }, "batch-norm", "relu", { conv = "channels", bias = false },
                  { batch-norm = true, name = "main" },
                  { conv = "channels", kernel = 1, stride = 2, bias = false, from = "input" }, "batch-norm", { add = "main" }, "relu"]"#;
    for (config, text) in [
        (ModelConfig::Linear, r#"layers = [{ linear = "classes" }]"#),
        (ModelConfig::Mlp { hidden: vec![9, 6], dropout: 0.3 }, mlp),
        (ModelConfig::Cnn { channels: vec![4, 6], hidden: 10, batch_norm: true, dropout: 0.2 }, cnn),
        (ModelConfig::Cnn { channels: vec![16, 32], hidden: 10, batch_norm: false, dropout: 0.0 }, plain),
        (ModelConfig::Resnet { widths: vec![4, 8], blocks: 1 }, resnet),
    ] {
        let seed = Seed::new(3);
        let named = config.init(EXTENT, 4, seed, &cpu()).unwrap();
        let written = Net::new(parse(text), seed, &cpu()).unwrap();
        let (space, other) = (ParamSpace::of(&named), ParamSpace::of(&written));
        // The named CNN lists its convolutions before its norms: the same arrays in another order.
        let sorted = |space: &ParamSpace, vector: &[f32]| {
            let mut parts: Vec<Vec<u32>> = space
                .params()
                .iter()
                .filter_map(|info| info.range.clone())
                .map(|range| vector[range].iter().map(|x| x.to_bits()).collect())
                .collect();
            parts.sort();
            parts
        };
        let initial = |space: &ParamSpace, model: &Net| sorted(space, &vector::to_vec(&space.vector(model)));
        assert_eq!(initial(&space, &named), initial(&other, &written), "{config:?}");
        let (a, b) = (all_of(&named), all_of(&written));
        assert_eq!((&a.1, &a.2, &a.3), (&b.1, &b.2, &b.3), "{config:?}");
        assert_eq!(sorted(&space, &a.0), sorted(&other, &b.0), "{config:?}");
    }
}

/// The shipped networks run and draw themselves.
#[test]
fn shipped_networks_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("networks");
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let graph = Graph::read(&path, Shape::Images([3, 32, 32]), 10).unwrap();
        assert!(graph.svg().ends_with("</svg>\n"));
        if graph.cost().multiply_adds > 1_000_000_000 {
            continue;
        }
        let parameters = graph.cost().parameters;
        let net = Net::new(graph, Seed::new(1), &cpu()).unwrap();
        assert_eq!(ParamSpace::of(&net).dimension() as u64, parameters);
        let image = Tensor::<2>::from_data(TensorData::new(vec![0.5_f32; 2 * 3072], [2, 3072]), &cpu().autodiff());
        let pixels = if path.ends_with("unet.toml") { 32 * 32 } else { 1 };
        assert_eq!(net.forward(image, &mut Pass::evaluation()).dims(), [2, 10 * pixels]);
    }
}

/// The files that the book shows.
#[test]
fn networks_of_the_book_are_networks() {
    let book = include_str!("../../../docs/src/networks.md");
    let shown: Vec<&str> = book.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let networks: Vec<&&str> = shown.iter().filter(|text| text.starts_with("layers")).collect();
    assert_eq!(networks.len(), 2);
    for text in networks {
        let graph = Graph::parse("book.toml", text, Shape::Images([3, 32, 32]), 4).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(graph.output(), Shape::Row(4));
        assert_eq!(Graph::parse("again.toml", &graph.toml(), graph.input(), 4).unwrap(), graph);
    }
}

/// A network that says something of each pixel is shown, and no classifier.
#[test]
fn classifiers_give_one_number_a_class() {
    let extent = Extent { channels: 3, height: 16, width: 16 };
    assert_eq!(ModelConfig::Unet.graph(extent, 4).unwrap().output(), Shape::Images([4, 16, 16]));
    for error in [
        ModelConfig::Unet.init(extent, 4, Seed::new(1), &cpu()).unwrap_err().to_string(),
        ModelConfig::Unet.check("model", extent, 4).unwrap_err().message,
    ] {
        assert!(error.contains("found 4x16x16; allowed: 4 numbers in a row"), "{error}");
    }
}

/// A stride that is never taken costs nothing, and a name that is taken is passed over.
#[test]
fn odd_networks_are_networks() {
    for text in [
        "layers = [{ depthwise = 3, stride = 1000000000 }, { linear = \"classes\" }]",
        "layers = [{ conv = 8, stride = 1000000000 }, { linear = \"classes\" }]",
        "layers = [{ conv = 8, name = \"conv2\" }, { conv = 8 }, { conv = 8 }, { linear = \"classes\" }]",
        "layers = [{ conv = 8, kernel = 2 }, { adaptive-average-pool = 30 }, { linear = \"classes\" }]",
    ] {
        let net = Net::new(parse(text), Seed::new(1), &cpu()).unwrap();
        assert!(all_of(&net).0.iter().all(|x| x.is_finite()), "{text}");
    }
}

/// One of every operation.
#[test]
fn every_operation_runs_and_gives_what_was_inferred() {
    let text = r#"
        layers = [
            { conv = 8, kernel = 3, stride = 1, padding = 2, dilation = 2, groups = 1, bias = false, name = "a" },
            "batch-norm", "relu6", { leaky-relu = 0.1 }, "hard-sigmoid", "hard-swish", "gelu", "silu", "sigmoid", "tanh",
            { depthwise = 5, stride = 2 }, "layer-norm", { conv = 8, groups = 4 }, { group-norm = 2 },
            { transposed-conv = 8, kernel = 4, padding = 1 }, { name = "b", relu = true },
            { max-pool = [3, 2], stride = 1, padding = [1, 0, 1, 1] }, { average-pool = [3, 1], stride = 1, padding = [1, 0] },
            { conv = 8, kernel = [1, 3], name = "z" }, { max-pool = 3, stride = 1, padding = 1 },
            { add = "a" }, { subtract = "b" }, { multiply = "a" }, { mean = ["a", "b"] }, { concatenate = "a" },
            { slice = [4, 12] }, { pad = [1, 0, 0, 2] }, { adaptive-average-pool = 4 }, { upsample = 2 }, { upsample = 2, bilinear = true },
            { name = "c", dropout = 0.5 }, "global-max-pool", { reshape = [2, 2, 2] }, "flatten", "sigmoid",
            { multiply = "sigmoid2", from = "c", name = "d" },
            { layers = [{ linear = 8 }, "tanh"], repeat = 2 }, { linear = 8, name = "e" }, { divide = "layers1" }, { add = "e" },
            { softmax = true, name = "s" }, { from = "input", flatten = true }, { slice = [0, 9] }, { embedding = 6, symbols = 4, name = "f" }, { lstm = 5 }, "layer-norm",
            { linear = 6 }, { add = "f" }, { concatenate = "f" }, "batch-norm", { slice = [2, 9] }, "tanh", { dropout = 0.1 }, "softmax",
            { name = "g", lstm = 4 }, { last = true, name = "h" }, { global-average-pool = true, from = "g" }, { add = "h" }, { name = "i", flatten = true },
            { reshape = [6, 9], from = "f" }, { transpose = true, name = "j" },
            { linear = 18, from = "f" }, { attention = 2 }, { add = "j" }, { learned = 0, shape = [9, 6], name = "positions" },
            { add = "positions", from = "add5", name = "k" }, "transpose", { matrix-product = "k", from = "transpose1" },
            { gather = [5, 0, 0] }, { constant = [1, -2.5, 0.5] }, { multiply = "constant1", from = "gather1" }, { split = 3, name = "m" },
            { learned = [0.1, 0.2], name = "w" }, { softmax = true, name = "v" }, { weighted-sum = "m.3", from = "m.1", weights = "v", name = "o" },
            { concatenate = "o", from = "m.2" }, { reshape = [12] }, { constant = 2, shape = [12] },
            { divide = "constant2", from = "reshape3", name = "n" },
            { flatten = true, from = "f" }, { concatenate = ["i", "s", "n"] }, { linear = "classes" },
        ]"#;
    let graph = parse(text);
    assert_eq!(parse(&graph.toml()), graph);
    let names: Vec<&str> = graph.nodes().iter().map(|node| node.name.as_str()).collect();
    assert!(names.contains(&"layers1.2.tanh1") && names.contains(&"conv1"), "{names:?}");
    let net = Net::new(graph, Seed::new(1), &cpu()).unwrap();
    let (gradient, ..) = all_of(&net);
    assert!(gradient.iter().all(|x| x.is_finite()));
}

/// Gradients of operations whose backward passes are not ours, by differences.
#[test]
fn gradients_are_slopes() {
    let text = r#"layers = [{ conv = 4, groups = 1 }, { group-norm = 2 }, "silu", { depthwise = 3, stride = 2 }, "tanh",
        { transposed-conv = 4 }, { average-pool = 2 }, { upsample = 2, bilinear = true }, "global-average-pool", { linear = "classes" }]"#;
    let model = Net::new(parse(text), Seed::new(2), &cpu()).unwrap();
    let (space, objective, batch) = (ParamSpace::of(&model), CrossEntropy::default(), batch(EXTENT));
    let mut oracle = ModelOracle::new(&objective, &model, &space, &batch, Seed::new(7));
    let point = space.vector(&model);
    let gradient = vector::to_vec(&oracle.evaluate(&point, &Rows::All, true).unwrap().gradients[0]);
    // Along random directions, so that rounding is small beside the slope.
    for round in 0..6 {
        let direction: Vec<f32> = (0..gradient.len()).map(|i| ((i * 13 + round * 29) as f32 * 0.7).sin()).collect();
        let along: f64 = direction.iter().zip(&gradient).map(|(d, g)| f64::from(*d) * f64::from(*g)).sum();
        let direction = vector::from_vec(direction, &point.device());
        let mut loss = |step: f64| oracle.evaluate(&vector::add_scaled(&point, step, &direction), &Rows::All, false).unwrap().losses[0];
        let slope = (loss(2e-3) - loss(-2e-3)) / 4e-3;
        assert!((slope - along).abs() < 2e-3 * (1.0 + along.abs()), "{slope} {along}");
    }
}

#[test]
fn mistakes_are_told_with_their_line() {
    for (text, line, told) in [
        ("layers = [{ conf = 3 }]", 1, "Did you mean `conv`"),
        ("layers = [\n  \"rellu\",\n]", 2, "Did you mean `relu`"),
        ("layers = [{ conv = 3, kernal = 3 }]", 1, "Did you mean `kernel`"),
        ("layers = [{ conv = 3 },\n{ linear = 3 }]", 1, "the network gives 3; allowed: 4 numbers, one for each class"),
        ("layers = [{ linear = 8 },\n{ conv = 3 }]", 2, "`conv1`: reads images; found 8 numbers in a row"),
        ("layers = [{ conv = 8, kernel = 99, padding = 0 }]", 1, "does not fit into 20x18"),
        ("layers = [{ conv = 8, name = \"a\" },\n{ conv = 4 },\n{ add = \"a\" }]", 3, "`add1`: 4x20x18 and 8x20x18 are not of one shape"),
        ("layers = [{ conv = 8 },\n{ add = \"b\" }]", 2, "no earlier entry here is called `b`"),
        ("layers = [{ block = \"x\" }]", 1, "there is no [block.x]"),
        ("layers = [{ block = \"x\", width = 3 }]\n[block.x]\nlayers = [\"relu\"]", 1, "the block has no use for `width`"),
        ("layers = [{ block = \"x\" }]\n[block.x]\nlayers = [{ conv = \"width\" }]", 3, "`width` is no number here"),
        ("layers = [{ block = \"x\" }]\n[block.x]\nlayers = [{ block = \"x\" }]", 3, "a part of itself"),
        ("layers = [{ conv = \"in/2\" }]", 1, "\"in/2\" is no whole number"),
        ("layers = [{ conv = 0 }]", 1, "the number of output channels is 0"),
        ("layers = [{ conv = 8, groups = 2 }]", 1, "2 groups of 3 input and 8 output channels"),
        ("layers = [{ dropout = 1.5 }]", 1, "the rate is 1.5"),
        ("layers = [{ layers = [\"relu\"], repeat = 1000000 }]", 1, "more than 10000 nodes"),
        ("layers = []", 1, "the network gives 3x20x18"),
        ("layer = []", 1, "unknown key `layer`"),
        ("layers = [", 1, ""),
        ("layers = [{ linear = 4, name = \"a\" }, { linear = 4, name = \"a\" }]", 1, "the name of an earlier entry"),
        ("layers = [{ linear = 5 }, { linear = 4, from = \"input\" }]", 1, "nobody reads what `linear1` gives"),
        ("layers = [{ linear = 9223372036854775807 }]", 1, "GiB"),
        ("layers = [{ pad = 1000000 }]", 1, "GiB"),
        ("layers = [{ pad = 9223372036854775807 }]", 1, "GiB"),
        ("layers = [{ conv = 4, kernel = 1, padding = 100000, stride = 100000 }]", 1, "GiB"),
        ("layers = [{ conv = 8, dilation = 4611686018427387904 }]", 1, "GiB"),
        ("layers = [{ upsample = 1000000 }]", 1, "GiB"),
        ("layers = [{ adaptive-average-pool = 1000000 }]", 1, "GiB"),
        ("layers = [{ transposed-conv = 4, stride = 4294967296 }]", 1, "GiB"),
        ("layers = [{ transposed-conv = 4, padding = 9223372036854775807 }]", 1, "leaves nothing"),
        ("layers = [{ layers = [\"relu\", { concatenate = \"input\" }], repeat = 60 }]", 1, "GiB"),
        ("layers = [{ linear = 5 }, { embedding = 4 }, \"last\", { linear = 4 }]", 1, "an embedding reads symbols"),
        ("layers = [{ attention = 2 }]", 1, "reads a sequence"),
        ("layers = [{ reshape = [60, 18] }, { attention = 4 }]", 1, "a multiple of 3·4"),
        ("layers = [{ reshape = [60, 18] }, { attention = 9223372036854775807 }]", 1, "a multiple of 3"),
        ("layers = [{ reshape = [60, 18], name = \"a\" }, { matrix-product = \"a\" }]", 1, "as many as the first has numbers"),
        (
            "layers = [{ learned = 0, shape = [3] }, { conv = 4, from = \"input\" }, { weighted-sum = [], weights = \"learned1\" }]",
            1,
            "the weights are 3; allowed: 1",
        ),
        ("layers = [{ conv = 4 }, { weighted-sum = \"input\" }]", 1, "weights = "),
        ("layers = [{ learned = 0, shape = [0, 4] }, \"last\"]", 1, "found the shape 0x4"),
        ("layers = [{ constant = [] }]", 1, "found the shape 0"),
        ("layers = [{ transposed-conv = 3, kernel = 2, stride = 100000, padding = 849996 }]", 1, "GiB"),
        ("layers = [{ reshape = [0, 18] }]", 1, "has 1080 numbers"),
        (
            "layers = [{ learned = 0, shape = [3] }, { weighted-sum = \"input\", from = \"input\", weights = \"learned1\" }]",
            1,
            "the weights are 3; allowed: 2",
        ),
        ("layers = [{ constant = [1, 2], shape = [3] }]", 1, "2 numbers for the shape 3"),
        ("layers = [{ constant = inf }]", 1, "found inf"),
        ("layers = [{ constant = 1, shape = [4294967296, 4294967296] }]", 1, "GiB"),
        ("layers = [{ constant = 1, from = \"input\" }]", 1, "reads nothing"),
        ("layers = [{ gather = [3] }]", 1, "channel 3 of 3x20x18"),
        ("layers = [{ gather = [] }]", 1, "no channels"),
        ("layers = [{ split = 2 }]", 1, "3 channels in 2 parts"),
        ("layers = [{ split = 0 }]", 1, "3 channels in 0 parts"),
        ("layers = [{ reshape = [2, 3] }]", 1, "has 1080 numbers"),
        ("layers = [\"flatten\", \"transpose\"]", 1, "transposes images and sequences"),
        ("layers = [{ conv = \"\" }]", 1, "no whole number"),
        ("layers = [{ conv = \"4*\" }]", 1, "no whole number"),
        ("layers = [{ block = \"x\" }]\n[block.x]\nrepeat = 3\nlayers = [\"relu\"]", 3, "`repeat` cannot be an argument"),
    ] {
        match Graph::parse("net.toml", text, INPUT, 4) {
            Err(Error::Recipe(error)) => assert!(error.line == line && error.to_string().contains(told), "{text}: {error}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    // Two parameters of one name.
    let text = r#"layers = [{ learned = 0.1, shape = [1080, 4], name = "fc.weight" }, "flatten", { linear = 4 }, { linear = 4, name = "fc.weight.value", from = "input" }, { add = "linear1" }]"#;
    let twice = Graph::parse("net.toml", text, INPUT, 4).unwrap();
    assert!(Net::new(twice, Seed::new(0), &cpu()).is_ok());
    let text = r#"layers = [{ embedding = 4, symbols = 3, name = "a.weight" }, "flatten", { linear = 4, name = "a" }]"#;
    let twice = Graph::parse("net.toml", text, Shape::Row(5), 4).unwrap();
    assert!(Net::new(twice, Seed::new(0), &cpu()).unwrap_err().to_string().contains("two parameters called `Net.a.weight`"));
    // A mixture of one value.
    let text = r#"layers = [{ learned = 1 }, { linear = 4, from = "input" }, { weighted-sum = [], weights = "learned1" }]"#;
    let one = Graph::parse("net.toml", text, INPUT, 4).unwrap();
    assert_eq!(Graph::parse("net.toml", &one.toml(), INPUT, 4).unwrap(), one);
    // Nothing that is learnt.
    let plain = Graph::parse("net.toml", "layers = [\"global-average-pool\"]", INPUT, 3).unwrap();
    assert_eq!(Net::new(plain, Seed::new(0), &cpu()).unwrap_err().exit_code(), 2);
    let one = Graph::new(Shape::Row(0)).add("a", Op::Flatten, &[Port::Input]).unwrap_err();
    assert!(one.to_string().contains("examples of 0"), "{one}");
}

proptest! {
    /// Whatever is written, there is an answer and no panic.
    #[test]
    fn nothing_that_is_written_panics(
        entries in proptest::collection::vec(proptest::sample::select(vec![
            "\"relu\"", "\"flatten\"", "\"batch-norm\"", "{ conv = 4 }", "{ conv = \"in*2\", stride = 3, padding = 0 }", "{ max-pool = 2 }",
            "{ add = \"input\" }", "{ concatenate = \"input\" }", "{ linear = 7 }", "{ upsample = 3 }", "{ slice = [0, 2] }",
            "{ depthwise = 3, stride = 2 }", "{ split = 2 }", "\"transpose\"", "{ reshape = [9, 14] }", "{ attention = 2 }", "{ gather = [1, 0] }",
            "{ learned = 1, shape = [2] }", "{ matrix-product = \"input\" }", "\"global-average-pool\"", "{ average-pool = 3, stride = 2, padding = 1 }", "\"softmax\"",
        ]), 0..9),
    ) {
        let text = format!("layers = [{}, {{ linear = \"classes\" }}]", entries.join(", ")).replace("[, ", "[");
        if let Ok(graph) = Graph::parse("net.toml", &text, Shape::Images([2, 9, 7]), 3) && graph.cost().multiply_adds < 10_000_000 {
            let again = Graph::parse("net.toml", &graph.toml(), Shape::Images([2, 9, 7]), 3).unwrap();
            prop_assert_eq!(&again, &graph);
            let net = Net::new(graph, Seed::new(1), &cpu()).unwrap();
            let input = Tensor::<2>::from_data(TensorData::new(vec![0.1_f32; 2 * 126], [2, 126]), &cpu().autodiff());
            prop_assert_eq!(net.forward(input, &mut Pass::training(Seed::new(1))).dims(), [2, 3]);
        }
    }
}
