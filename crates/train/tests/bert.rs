//! The masked language model: its gradient, what padding may do, and that it learns.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use lyceum_core::Seed;
use lyceum_kernels::vector;
use lyceum_train::{
    Batch, Bert, BertConfig, MaskedTokens, ModelOracle, Objective, OptimizerConfig, Oracle, ParamSpace, Pass, Pipeline, Plain, Rate,
    TokenBatch, cpu, oracle::Rows,
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
