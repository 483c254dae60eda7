//! What is removed, what is left, and that both are the same network.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use lyceum_core::Seed;
use lyceum_data::{Cache, Examples, Extent, prepare::DataConfig};
use lyceum_sparsify::{Allocation, Budget, Criterion, Meter, Rules, shrink};
use lyceum_train::{
    ModelConfig, Net, Plain, TrainConfig, Trainer, WeightDecay, cpu, evaluate,
    graph::{Graph, Shape},
};
use ndarray::Array2;

const CRITERIA: [Criterion; 4] = [Criterion::Random, Criterion::L1, Criterion::L2, Criterion::Taylor];

fn rows(n: usize, width: usize) -> Array2<f32> {
    Array2::from_shape_fn((n, width), |(i, j)| ((i * 31 + j * 7) as f32 * 0.37).sin())
}

/// Networks of every kind of layer that has units.
fn networks() -> Vec<(String, Net)> {
    let images =
        ["cnn = { channels = [8, 16], hidden = 32 }", "resnet = { widths = [8, 16], blocks = 2 }", "mobilenet-v2", "densenet40", "squeeze"];
    let symbols = ["lstm = { symbols = 20, embedding = 6, hidden = 12, layers = 2 }"];
    #[derive(serde::Deserialize)]
    struct Recipe {
        model: ModelConfig,
    }
    let read = |model: &str, extent: Extent| {
        let text = if model.contains('=') { format!("model = {{ {model} }}") } else { format!("model = \"{model}\"") };
        let config = toml::from_str::<Recipe>(&text).unwrap().model;
        (model.to_owned(), config.init(extent, 5, Seed::new(3), &cpu()).unwrap())
    };
    let mut found: Vec<(String, Net)> = images.iter().map(|model| read(model, Extent { channels: 3, height: 16, width: 16 })).collect();
    found.extend(symbols.iter().map(|model| read(model, Extent { channels: 1, height: 1, width: 9 })));
    let text = r#"layers = [
        { conv = 12, kernel = 3, padding = 1, groups = 3 }, { group-norm = 4 }, "relu", "flatten", { linear = 20 }, "gelu", { linear = 5 },
    ]"#;
    let graph = Graph::parse("grouped", text, Shape::Images([3, 6, 6]), 5).unwrap();
    found.push(("grouped".into(), Net::new(graph, Seed::new(4), &cpu()).unwrap()));
    found
}

fn examples(net: &Net) -> Examples {
    let width = net.graph().input().len();
    // Symbols for those that read symbols.
    let is_symbols = matches!(net.graph().input(), Shape::Row(_)) || net.graph().nodes().iter().any(|node| node.op.name() == "embedding");
    let inputs = if is_symbols { rows(40, width).mapv(|x| ((x + 1.0) * 9.0).floor()) } else { rows(40, width) };
    Examples::new(inputs, (0..40).map(|row| row % 5).collect())
}

#[test]
fn budgets_are_met_and_removal_is_exact() {
    for (name, net) in networks() {
        let examples = examples(&net);
        // Those of many layers take their time.
        let is_deep = net.graph().nodes().len() > 60;
        for (number, criterion) in CRITERIA.into_iter().enumerate().filter(|(_, criterion)| !is_deep || *criterion == Criterion::L1) {
            let importance = |net: &Net| criterion.importance(net, Some(&examples), Seed::new(1));
            for (budget, allocation) in [(Budget::MultiplyAdds(0.5), Allocation::Global), (Budget::Parameters(0.7), Allocation::Uniform)]
                .into_iter()
                .skip(number % 2)
            {
                let rules = Rules { budget, allocation, least: 0.05, rounds: if is_deep { 1 } else { 2 }, ..Rules::default() };
                let small = shrink(&net, &rules, importance).unwrap_or_else(|error| panic!("{name}, {criterion:?}: {error}"));
                let meter = Meter::new(budget, net.graph()).unwrap();
                let (used, share) = (meter.used(small.net.graph()).unwrap(), meter.share());
                assert!(used <= share && used > 0.5 * share, "{name}, {criterion:?}: {used}");
                let deviation = small.deviation(examples.inputs.array().view()).unwrap();
                assert!(deviation < 1e-5, "{name}, {criterion:?}: {deviation}");
                assert!(small.kept.iter().all(|group| group.left > 0 && group.left <= group.units), "{name}: {:?}", small.kept);
            }
        }
    }
}

#[test]
fn rounded_groups_and_budgets_that_cannot_be_met() {
    let extent = Extent { channels: 1, height: 1, width: 30 };
    let net = ModelConfig::Mlp { hidden: vec![64, 48], dropout: 0.0 }.init(extent, 10, Seed::new(0), &cpu()).unwrap();
    let importance = |net: &Net| Criterion::L1.importance(net, None, Seed::new(0));
    let small = shrink(&net, &Rules { round_to: Some(16), ..Rules::default() }, importance).unwrap();
    assert!(small.kept.iter().all(|group| group.left % 16 == 0), "{:?}", small.kept);
    let error = shrink(&net, &Rules { budget: Budget::Parameters(0.01), least: 0.5, ..Rules::default() }, importance).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("least = 0.5"), "{error}");
    assert!(Criterion::BatchNorm.importance(&net, None, Seed::new(0)).unwrap_err().to_string().contains("batch normalisation"));
    assert!(Criterion::Taylor.importance(&net, None, Seed::new(0)).is_err());
    let linear = ModelConfig::Linear.init(extent, 10, Seed::new(0), &cpu()).unwrap();
    assert!(shrink(&linear, &Rules::default(), importance).unwrap_err().to_string().contains("no units"));
}

/// Units that were added to a trained network and say nothing are found, and others are kept.
#[test]
fn what_matters_is_kept() {
    let data = DataConfig::named("digits").prepare(&Cache::at("/nowhere"), Seed::new(1)).unwrap();
    let net = ModelConfig::Mlp { hidden: vec![64], dropout: 0.0 }.init(data.extent, 10, Seed::new(0), &cpu()).unwrap();
    let config = TrainConfig { epochs: 15, weight_decay: Some(WeightDecay::InLoss(5e-4)), ..TrainConfig::default() };
    let mut trainer = Trainer::new(config, net, 10, Box::new(Plain), Seed::new(2)).unwrap();
    trainer.run_epochs(&data.train).unwrap();
    let net = trainer.model();
    let whole = evaluate(net, &data.test).unwrap().accuracy;
    let accuracy = |criterion: Criterion| {
        let importance = |net: &Net| criterion.importance(net, Some(&data.train), Seed::new(5));
        let small = shrink(net, &Rules { budget: Budget::Parameters(0.4), ..Rules::default() }, importance).unwrap();
        evaluate(&small.net, &data.test).unwrap().accuracy
    };
    let [random, l1, l2, taylor] = CRITERIA.map(accuracy);
    assert!(whole > 0.9 && taylor > random + 0.05 && taylor > 0.8, "{whole} {random} {l1} {l2} {taylor}");
}
