//! The masked language model: its gradient, what padding may do, and that it learns.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use burn::tensor::{Tensor, TensorData};
use lyceum_core::Seed;
use lyceum_kernels::vector;
use lyceum_train::{
    Batch, Bert, BertConfig, MaskedTokens, ModelConfig, ModelOracle, Network, Objective, OptimizerConfig, Oracle, ParamSpace, Pass,
    Pipeline, Plain, Rate, TokenBatch, cpu, oracle::Rows,
};
use rand::RngExt;

fn model(dropout: f64) -> Bert {
    let config =
        BertConfig { vocabulary: 23, positions: 12, width: 16, heads: 2, feed_forward: 24, layers: 2, dropout, ..BertConfig::default() };
    Bert::new(&config, &mut Seed::new(3).stream("model"), &cpu())
}

/// Sequences in which every second token repeats the one before it; two of the repeated tokens are masked (token 0).
fn batch(n: usize, seed: u64) -> TokenBatch {
    let (length, mut rng) = (12, Seed::new(seed).stream("tokens"));
    let mut batch = TokenBatch { length, tokens: Vec::new(), present: vec![true; n * length], targets: Vec::new() };
    for sequence in 0..n {
        for pair in 0..length / 2 {
            let token = rng.random_range(1..23);
            batch.tokens.extend([token, token]);
            if pair == 1 || pair == 4 {
                let place = sequence * length + 2 * pair + 1;
                batch.tokens[place] = 0;
                batch.targets.push((place as u32, token));
            }
        }
    }
    batch
}

#[test]
fn the_gradient_equals_finite_differences_along_random_directions() {
    let (model, batch) = (model(0.0), batch(3, 1));
    let space = ParamSpace::of(&model);
    let point = space.vector(&model);
    let mut oracle = ModelOracle::new(&MaskedTokens, &model, &space, &batch, Seed::new(0));
    let gradient = oracle.evaluate(&point, &Rows::All, true).unwrap().total();
    for seed in 0..4 {
        let mut rng = Seed::new(seed).stream("direction");
        let direction: Vec<f32> = (0..space.dimension()).map(|_| rng.random_range(-1.0..1.0)).collect();
        let direction = vector::from_vec(direction, &cpu());
        let h = 2e-3;
        let mut loss = |h: f64| oracle.evaluate(&vector::add_scaled(&point, h, &direction), &Rows::All, false).unwrap().losses[0];
        let expected = (loss(h) - loss(-h)) / (2.0 * h);
        let found = vector::dot(&gradient, &direction);
        assert!((found - expected).abs() < 2e-2 * (1.0 + expected.abs()), "{found} {expected}");
    }
}

/// The encoder as a description gives what the masked language model's encoder gives.
#[test]
fn the_description_gives_what_the_encoder_gives() {
    let bert = model(0.0);
    let config = ModelConfig::Bert { symbols: None, width: 16, heads: 2, feed_forward: 24, layers: 2, dropout: 0.0 };
    let net = config.init(lyceum_data::Extent { channels: 1, height: 1, width: 12 }, 23, Seed::new(9), &cpu()).unwrap();
    let (space, of_bert) = (ParamSpace::of(&net), ParamSpace::of(&bert));
    let known = of_bert.arrays(&bert);
    let of = |name: &str| {
        let name = name.strip_prefix("Bert.").unwrap().trim_end_matches(".value");
        known.iter().find(|array| array.name.strip_prefix("Bert.").unwrap_or(&array.name) == name)
    };
    let mut arrays = space.arrays(&net);
    let mut taken = 0;
    for array in &mut arrays {
        if let Some(found) = of(&array.name).filter(|found| !found.name.contains("head")) {
            array.values.clone_from(&found.values);
            taken += 1;
        }
    }
    // All but those of the two heads.
    assert_eq!([taken + 2, taken + 5], [arrays.len(), known.len()], "{:?}", arrays.iter().map(|array| &array.name).collect::<Vec<_>>());
    let net = space.load(net, &arrays).unwrap();
    let tokens: Vec<u32> = (0..36).map(|i| (i * 7 + i / 12) % 23).collect();
    let encoded = bert.encode(&tokens, &[true; 36], 3, &mut Pass::evaluation());
    let width = 16;
    let encoded: Vec<f32> = encoded.inner().try_into_vec_as().unwrap();
    let head = |slot: &str| &arrays.iter().find(|array| array.name == format!("Bert.head.{slot}")).unwrap().values;
    let rows = TensorData::new(tokens.iter().map(|token| *token as f32).collect::<Vec<f32>>(), [3, 12]);
    let logits: Vec<f32> =
        net.forward(Tensor::<2>::from_data(rows, &cpu().autodiff()), &mut Pass::evaluation()).inner().try_into_vec_as().unwrap();
    for (sequence, logits) in logits.chunks(23).enumerate() {
        let last = &encoded[(sequence * 12 + 11) * width..][..width];
        for (class, found) in logits.iter().enumerate() {
            let weights = (0..width).map(|i| head("weight")[i * 23 + class]);
            let expected: f32 = head("bias")[class] + last.iter().zip(weights).map(|(x, w)| x * w).sum::<f32>();
            assert!((found - expected).abs() < 1e-3 * (1.0 + expected.abs()), "{found} {expected}");
        }
    }
}

#[test]
fn the_losses_of_the_sequences_average_to_the_loss() {
    let (model, mut batch) = (model(0.0), batch(4, 2));
    batch.targets.remove(3);
    let value = |tensor: burn::tensor::Tensor<1>| vector::to_vec(&tensor);
    let loss = value(MaskedTokens.loss(0, &model, &batch, &mut Pass::evaluation()))[0];
    let losses = value(MaskedTokens.losses(0, &model, &batch, &mut Pass::evaluation()));
    assert_eq!(losses.len(), 4);
    assert!((losses.iter().sum::<f32>() / 4.0 - loss).abs() < 1e-5);
}

#[test]
fn padding_and_other_sequences_change_nothing() {
    let (model, mut padded) = (model(0.0), batch(3, 3));
    padded.targets.retain(|(place, _)| *place as usize % padded.length < 9);
    (0..3).for_each(|sequence| padded.present[sequence * 12 + 10..sequence * 12 + 12].fill(false));
    let losses = |batch: &TokenBatch| vector::to_vec(&MaskedTokens::target_losses(&model, batch, &mut Pass::evaluation()));
    let before = losses(&padded);
    (0..3).for_each(|sequence| padded.tokens[sequence * 12 + 10..sequence * 12 + 12].fill(7));
    assert_eq!(losses(&padded), before);
    let alone = losses(&padded.select(&[2]));
    let close = alone.iter().zip(&before[before.len() - alone.len()..]).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(close, "{alone:?} {before:?}");
}

#[test]
fn it_learns_to_look_at_the_token_before() {
    let optimizer = OptimizerConfig::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
    let mut pipeline = Pipeline::new(model(0.0), Box::new(Plain), &optimizer).unwrap();
    let mut loss = f64::INFINITY;
    for step in 0..400 {
        loss = pipeline.step(&MaskedTokens, &batch(32, 100 + step), Rate::constant(3e-3), Seed::new(step)).unwrap().losses[0];
    }
    // Guessing costs ln 22 = 3.09.
    assert!(loss < 0.3, "{loss}");
}
