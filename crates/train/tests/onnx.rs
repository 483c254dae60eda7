//! Networks as ONNX models and back.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::{collections::HashMap, path::Path};

use lyceum_core::Seed;
use lyceum_data::Extent;
use lyceum_onnx::{Model, Tensor};
use lyceum_train::{
    ModelConfig, Net, ParamSpace, cpu,
    graph::{Graph, Shape},
    onnx,
};
use ndarray::Array2;

fn rows(n: usize, width: usize) -> Array2<f32> {
    Array2::from_shape_fn((n, width), |(i, j)| ((i * 31 + j * 7) as f32 * 0.37).sin())
}

/// The largest difference beside the largest number.
fn difference(a: &Array2<f32>, b: &Array2<f32>) -> f32 {
    assert_eq!(a.dim(), b.dim());
    let largest = a.iter().fold(1e-6_f32, |largest, x| largest.max(x.abs()));
    a.iter().zip(b).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs())) / largest
}

/// Written, read and run in three ways: by the operators' specification, as a network again, and as the network that was.
fn comes_back(net: &Net, evaluate: bool) -> Net {
    let model = onnx::export(net, vec![("a".into(), "b".into())]).unwrap();
    let model = Model::decode(model.encode(), None).unwrap();
    let input = net.graph().input();
    let imported = onnx::import(Path::new("net.onnx"), &model, Some(input), None).unwrap();
    assert_eq!(imported.metadata, [("a".to_owned(), "b".to_owned())]);
    let again = imported.net(Seed::new(1), &cpu()).unwrap();
    let x = rows(3, input.len());
    let expected = net.predictor().unwrap().logits(x.view()).unwrap();
    let found = again.predictor().unwrap().logits(x.view()).unwrap();
    assert!(difference(&expected, &found) < 1e-4, "{}: {}", net.graph().table().markdown(), difference(&expected, &found));
    if evaluate {
        let mut dims = vec![3];
        dims.extend(match input {
            Shape::Row(width) => vec![width],
            Shape::Images(extents) => extents.to_vec(),
            Shape::Sequence(extents) => extents.to_vec(),
        });
        let x = Tensor::floats(&dims, x.iter().copied().collect()).unwrap();
        let given = model.run(HashMap::from([("input".to_owned(), x)])).unwrap();
        let given = Array2::from_shape_vec(expected.dim(), given[0].as_floats().unwrap().iter().copied().collect()).unwrap();
        assert!(difference(&expected, &given) < 1e-4, "{}", difference(&expected, &given));
    }
    again
}

#[test]
fn networks_with_a_name_come_back() {
    let extent = Extent { channels: 3, height: 16, width: 16 };
    for model in [
        "\"linear\"",
        "{ mlp = { hidden = [20], dropout = 0.2 } }",
        "{ cnn = { channels = [4, 6], hidden = 9 } }",
        "{ resnet = { widths = [4, 8], blocks = 1 } }",
    ] {
        #[derive(serde::Deserialize)]
        struct Recipe {
            model: ModelConfig,
        }
        let config = toml::from_str::<Recipe>(&format!("model = {model}")).unwrap().model;
        let graph = config.graph(extent, 5).unwrap();
        let net = Net::new(graph, Seed::new(3), &cpu()).unwrap();
        let again = comes_back(&net, true);
        assert_eq!(again.graph().cost().multiply_adds, net.graph().cost().multiply_adds, "{model}");
    }
}

#[test]
fn rescaled_networks_give_the_same_in_other_units() {
    let extent = Extent { channels: 1, height: 1, width: 4 };
    let net = ModelConfig::Mlp { hidden: vec![5], dropout: 0.0 }.init(extent, 3, Seed::new(3), &cpu()).unwrap();
    let x = rows(6, 4);
    let plain = net.predictor().unwrap().logits(x.view()).unwrap();
    let names = |net: &Net| ParamSpace::of(net).params().iter().map(|info| info.name.clone()).collect::<Vec<_>>();
    let mut scaled = net.clone();
    for _ in 0..2 {
        // Twice: names are found that are free.
        scaled = scaled.rescaled(40.0, -7.0).unwrap();
        assert_eq!(names(&scaled), names(&net));
    }
    let found = comes_back(&scaled, true).predictor().unwrap().logits(x.view()).unwrap();
    assert!(difference(&plain.mapv(|z| (z * 40.0 - 7.0) * 40.0 - 7.0), &found) < 1e-5);
    assert!(net.rescaled(f32::NAN, 0.0).is_err());
}

#[test]
fn every_operation_comes_back() {
    for (input, text) in [
        (
            Shape::Images([3, 12, 10]),
            r#"layers = [
                { conv = 8, kernel = [3, 2], stride = [1, 2], padding = [2, 1], dilation = [2, 1], name = "a" }, "batch-norm", "relu6",
                { leaky-relu = 0.1 }, "hard-sigmoid", "hard-swish", "gelu", "silu", "sigmoid", "tanh", { depthwise = 5 }, "layer-norm",
                { conv = 8, groups = 4 }, { group-norm = 2 }, { transposed-conv = 8, kernel = 3, stride = 1, padding = 1, name = "b" },
                { max-pool = [3, 2], stride = 1, padding = [1, 0, 1, 1] }, { average-pool = 3, stride = 1, padding = 1 },
                { add = "b" }, { subtract = "b" }, { multiply = "b" }, { mean = ["b", "b"] }, { concatenate = "b" }, { slice = [4, 12] },
                { pad = [1, 0, 0, 2] }, { upsample = 2 }, { upsample = 2, bilinear = true }, { gather = [1, 1, 0, 7] }, "transpose",
                { dropout = 0.5 }, "softmax", { name = "c", relu = true }, "global-average-pool", "sigmoid",
                { multiply = "sigmoid2", from = "c" }, { linear = 4 }]"#,
        ),
        (
            Shape::Row(7),
            r#"layers = [
                { embedding = 6, symbols = 5, name = "f" }, { linear = 18 }, { attention = 2 }, { add = "f" }, "layer-norm", "batch-norm",
                { learned = 0.1, shape = [7, 6], name = "places" }, { add = "places", from = "batch-norm1", name = "g" }, "transpose",
                { matrix-product = "g" }, { slice = [1, 5] }, "softmax", "last", { constant = [1, 2, 3, 4] },
                { divide = "constant1", from = "last1" }]"#,
        ),
    ] {
        let graph = Graph::parse("net.toml", text, input, 4).unwrap();
        comes_back(&Net::new(graph, Seed::new(5), &cpu()).unwrap(), true);
    }
}

#[test]
fn recurrent_networks_come_back() {
    let text = r#"layers = [{ embedding = 4, symbols = 3 }, { lstm = 5 }, { lstm = 4 }, "last", { linear = 2 }]"#;
    let graph = Graph::parse("net.toml", text, Shape::Row(6), 2).unwrap();
    let again = comes_back(&Net::new(graph, Seed::new(5), &cpu()).unwrap(), false);
    assert_eq!(again.graph().nodes().iter().filter(|node| matches!(node.op, lyceum_train::graph::Op::Lstm { .. })).count(), 2);
    let pooled = "layers = [{ conv = 4, kernel = 3, padding = 1 }, { adaptive-average-pool = 2 }, { linear = 2 }]";
    let graph = Graph::parse("net.toml", pooled, Shape::Images([1, 4, 6]), 2).unwrap();
    comes_back(&Net::new(graph, Seed::new(5), &cpu()).unwrap(), true);
}

#[test]
fn what_has_no_form_is_refused_by_name() {
    let text = r#"layers = [{ adaptive-average-pool = 2, name = "parts" }, { linear = 2 }]"#;
    let graph = Graph::parse("net.toml", text, Shape::Images([1, 5, 7]), 2).unwrap();
    let error = onnx::export(&Net::new(graph, Seed::new(1), &cpu()).unwrap(), Vec::new()).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("`parts` (adaptive-average-pool)"), "{error}");
}
