//! What the projection promises, on layers and networks.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use lyceum_continual::{
    Strategy, Task,
    objective::{RowsBuilder, StageBatch},
    strategies::{Gpm, GpmConfig},
    strategy::Context,
};
use lyceum_core::Seed;
use lyceum_data::{Examples, Extent};
use lyceum_kernels::vector;
use lyceum_train::{ModelConfig, ModelOracle, Net, Oracle, ParamSpace, cpu, logits, oracle::Rows};
use ndarray::Array2;
use rand::RngExt;

const EXTENT: Extent = Extent { channels: 1, height: 6, width: 6 };

/// A task whose inputs lie in a space of few dimensions.
fn task(number: usize, rank: usize, seed: u64) -> Task {
    let mut rng = Seed::new(seed).stream("task");
    let directions = Array2::from_shape_fn((rank, EXTENT.len()), |_| rng.random::<f32>() - 0.5);
    let inputs = Array2::from_shape_fn((120, rank), |_| rng.random::<f32>() - 0.3).dot(&directions);
    let labels = (0..120).map(|i| (i * 7 + number) % 4).collect();
    Task { number, outputs: 0..4, heads: None, train: Examples::new(inputs, labels) }
}

fn context<'a>(model: &'a Net, space: &'a ParamSpace, heads: bool) -> Context<'a> {
    Context { model, space, outputs: 4, heads, seed: Seed::new(5), rate: 0.0, part: 0.0 }
}

fn batch(gpm: &mut Gpm, task: &Task, positions: &[usize]) -> StageBatch {
    let mut rows = RowsBuilder::new(4, false);
    for &position in positions {
        rows.push(&task.train.inputs.row(position), task.train.labels[position], 1.0, &task.outputs);
    }
    gpm.extend(&mut rows, task, 0, positions, &mut Seed::new(0).stream("batch"));
    StageBatch { tasks: vec![rows.build(&cpu())] }
}

/// A network after the first task, with what GPM keeps of it.
fn learnt(config: &ModelConfig, gpm: GpmConfig, first: &Task) -> (Net, ParamSpace, Gpm) {
    let model = config.init(EXTENT, 4, Seed::new(3), &cpu()).unwrap();
    let space = ParamSpace::of(&model);
    let mut strategy = Gpm::new(gpm).unwrap();
    strategy.begin(std::slice::from_ref(first), context(&model, &space, false)).unwrap();
    strategy.end(std::slice::from_ref(first), context(&model, &space, false)).unwrap();
    (model, space, strategy)
}

/// The projected gradient of a batch of a task that has begun.
fn gradient(gpm: &mut Gpm, task: &Task, model: &Net, space: &ParamSpace, positions: &[usize]) -> Vec<f32> {
    let (batch, objective, point) = (batch(gpm, task, positions), gpm.objective(1), space.vector(model));
    let mut oracle = ModelOracle::new(&objective, model, space, &batch, Seed::new(0));
    let found = oracle.evaluate(&point, &Rows::All, true).unwrap().total();
    vector::to_vec(&gpm.transform(found, &point, context(model, space, false)).unwrap())
}

fn trained_on(second: &Task, mut model: Net, space: &ParamSpace, gpm: &mut Gpm, steps: usize, rate: f64) -> Net {
    gpm.begin(std::slice::from_ref(second), context(&model, space, false)).unwrap();
    for step in 0..steps {
        let positions: Vec<usize> = (0..20).map(|i| (step * 20 + i) % 120).collect();
        let g = vector::from_vec(gradient(gpm, second, &model, space, &positions), &cpu());
        let moved = vector::add_scaled(&space.vector(&model), -rate, &g);
        model = space.place(model, &moved);
    }
    model
}

fn all() -> GpmConfig {
    GpmConfig { thresholds: vec![1.0], samples: 120, ..GpmConfig::default() }
}

fn largest_change(model: &Net, then: &Net, task: &Task) -> f32 {
    let (a, b) = (logits(model, &task.train).unwrap(), logits(then, &task.train).unwrap());
    a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// A threshold of 1 keeps everything: what the network says of the first task does not change, however long it learns another.
#[test]
fn outputs_of_the_first_task_stay_as_they_are() {
    for config in [ModelConfig::Linear, ModelConfig::Mlp { hidden: vec![30, 20], dropout: 0.0 }] {
        for project_inputs in [true, false] {
            let (first, second) = (task(0, 5, 1), task(1, 8, 2));
            let (model, space, mut gpm) = learnt(&config, GpmConfig { project_inputs, ..all() }, &first);
            let then = trained_on(&second, model.clone(), &space, &mut gpm, 60, 0.1);
            assert!(largest_change(&model, &then, &second) > 0.1, "it learns");
            assert!(largest_change(&model, &then, &first) < 2e-4, "{config:?} {}", largest_change(&model, &then, &first));
            // Without the projection everything moves.
            let mut free = Gpm::new(all()).unwrap();
            let then = trained_on(&second, model.clone(), &space, &mut free, 60, 0.1);
            assert!(largest_change(&model, &then, &first) > 0.05);
        }
    }
}

/// ‖W‖₂ of an n × 4 matrix, by power iteration on WᵀW.
fn spectral_norm(matrix: &[f32]) -> f64 {
    let rows: Vec<Vec<f64>> = matrix.chunks(4).map(|row| row.iter().map(|v| f64::from(*v)).collect()).collect();
    let mut v = vec![1.0, 0.7, 0.4, 0.2];
    let mut norm = 0.0;
    for _ in 0..500 {
        let along: Vec<f64> = rows.iter().map(|row| row.iter().zip(&v).map(|(a, b)| a * b).sum()).collect();
        let back: Vec<f64> = (0..4).map(|j| rows.iter().zip(&along).map(|(row, a)| row[j] * a).sum()).collect();
        norm = back.iter().map(|x| x * x).sum::<f64>().sqrt();
        v = back.iter().map(|x| x / norm).collect();
    }
    norm.sqrt()
}

/// What one layer says of a task's inputs X moves by no more than ‖ΔW‖₂ √(1 − ε) ‖X‖. The inputs are 3, 2 and 1 times unit
/// vectors, and zeros: of their energy the first two hold 13/14, above ε = 0.9, and the first alone 9/14. So what is said of those two
/// stays, and what is said of the third moves.
#[test]
fn a_layer_moves_no_more_than_by_the_energy_that_was_not_kept() {
    let mut first = task(0, 20, 1);
    let mut inputs = ndarray::Array2::zeros(first.train.inputs.dim());
    for (place, size) in [3.0, 2.0, 1.0].into_iter().enumerate() {
        inputs[[place, place]] = size;
    }
    first.train.inputs = inputs.into();
    let second = task(1, 25, 2);
    let config = GpmConfig { thresholds: vec![0.9], samples: 120, ..GpmConfig::default() };
    let (model, space, mut gpm) = learnt(&ModelConfig::Linear, config, &first);
    let then = trained_on(&second, model.clone(), &space, &mut gpm, 40, 0.1);
    let (a, b) = (logits(&model, &first.train).unwrap(), logits(&then, &first.train).unwrap());
    let moved = &a - &b;
    let weight = &space.params()[0];
    assert!(weight.shape.len() == 2 && weight.range.is_some());
    let change = vector::to_vec(&(space.vector(&then) - space.vector(&model)))[weight.range.clone().unwrap()].to_vec();
    let norm = |x: ndarray::ArrayView1<f32>| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let (total, size) = (norm(moved.flatten().view()), norm(first.train.inputs.array().flatten().view()));
    let bound = spectral_norm(&change) * 0.1_f64.sqrt() * size;
    assert!(total > 0.0 && total <= bound, "{total} {bound}");
    let [of_first, of_second, of_third] = [0, 1, 2].map(|row| norm(moved.row(row)));
    assert!(of_first < 1e-4 && of_second < 1e-4 && of_third > 0.01, "{of_first} {of_second} {of_third}");
}

/// Projecting the inputs of a layer is projecting its gradient; the data set projected once is every batch projected.
#[test]
fn inputs_and_gradients_give_the_same_projection() {
    let (first, second) = (task(0, 6, 3), task(1, 9, 4));
    for threshold in [0.7, 0.95, 1.0] {
        let config = ModelConfig::Mlp { hidden: vec![24, 16], dropout: 0.0 };
        let mut found = Vec::new();
        for project_inputs in [true, false] {
            let gpm = GpmConfig { thresholds: vec![threshold], samples: 120, project_inputs, ..GpmConfig::default() };
            let (model, space, mut gpm) = learnt(&config, gpm, &first);
            gpm.begin(std::slice::from_ref(&second), context(&model, &space, false)).unwrap();
            found.push(gradient(&mut gpm, &second, &model, &space, &[3, 50, 7, 99, 1, 2]));
        }
        let scale = found[0].iter().map(|x| x.abs()).fold(0.0, f32::max);
        assert!(scale > 1e-4);
        assert!(found[0].iter().zip(&found[1]).all(|(a, b)| (a - b).abs() < 1e-5 * scale.max(1e-2)), "{threshold}");
    }
}

/// A convolution is projected by its patches.
#[test]
fn a_convolutional_network_keeps_its_first_task() {
    let (first, second) = (task(0, 3, 5), task(1, 4, 6));
    let config = ModelConfig::Cnn { channels: vec![4], hidden: 10, batch_norm: false, dropout: 0.0 };
    let (model, space, mut gpm) = learnt(&config, all(), &first);
    let then = trained_on(&second, model.clone(), &space, &mut gpm, 30, 0.1);
    assert!(largest_change(&model, &then, &first) < 2e-3, "{}", largest_change(&model, &then, &first));
    // Patches of 9 numbers are soon all used; the layers behind still learn.
    let note = gpm.end(std::slice::from_ref(&second), context(&then, &space, false)).unwrap();
    assert!(note.layers.iter().all(|(_, update)| update.rank <= update.dimension && update.after > 0.999));
}
