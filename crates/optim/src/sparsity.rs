//! The cost of training a network that gains and loses units, and the network that results.

use lyceum_core::{
    Result,
    report::{Axis, Block, Chart, Series, Shape, Table},
};
use lyceum_data::prepare::Prepared;
use lyceum_train::{Net, Structure, graph::Cost, structure::Stage};

use crate::{comparison::TrainedArm, experiment::percent};

/// Test examples that removal is verified with.
const EXAMPLES: usize = 256;
/// Groups of units that a drawing shows one by one.
const MOST_GROUPS: usize = 8;

/// The rounds of a training and what is left.
#[derive(Debug, Clone)]
pub struct Sparsity {
    /// The rounds of training: one per epoch.
    pub stages: Vec<Stage>,
    /// The names of the groups and branches that a stage counts, and the size of each in the whole network.
    pub names: Vec<(String, usize)>,
    /// What the whole network costs.
    pub whole: Cost,
    /// How far what the trained network gives is from what the whole one gives with 0 behind what is not there.
    pub deviation: f32,
}

impl Sparsity {
    /// Of a training that has ended with this network.
    ///
    /// # Errors
    ///
    /// As [`Structure::deviation`].
    pub fn of(structure: &dyn Structure, net: &Net, data: &Prepared) -> Result<Self> {
        let test = &data.test;
        let examples = test.subset(&(0..test.len().min(EXAMPLES)).collect::<Vec<_>>());
        let deviation = structure.deviation(net, examples.inputs.array().view())?;
        Ok(Self { stages: structure.stages().to_vec(), names: structure.names(), whole: structure.whole(), deviation })
    }

    /// The mean over the rounds of the share of the whole network's multiply-adds: what training cost, as forward and backward cost alike.
    pub fn training_share(&self) -> f64 {
        let of = |stage: &Stage| stage.cost.multiply_adds as f64 / self.whole.multiply_adds.max(1) as f64;
        self.stages.iter().map(of).sum::<f64>() / self.stages.len().max(1) as f64
    }
}

/// Shares of inference and training that an arm used, of a network that is whole throughout.
fn shares(arm: &TrainedArm, whole: Cost) -> [f64; 2] {
    let inference = arm.model.graph().cost().multiply_adds as f64 / whole.multiply_adds.max(1) as f64;
    [inference, arm.sparsity.as_ref().map_or(inference, Sparsity::training_share)]
}

/// What arms cost and what they have become, where parts of a network came and went.
pub fn blocks(arms: &[TrainedArm]) -> Vec<Block> {
    let Some(whole) = arms.iter().find_map(|arm| Some(arm.sparsity.as_ref()?.whole)) else { return Vec::new() };
    let text = "Multiply-adds of inference are those of the network that is left, of training the mean over the epochs; both of the whole \
                network's. Deviation verifies removal: how far the logits of the network that is left are from those of the whole one with \
                0 in the weights that read what is not there, at most, of the largest. Seconds are those of training steps on this machine, since the run was started or resumed.";
    let mut table = Table::new(["", "test accuracy", "multiply-adds", "parameters", "of training", "seconds", "deviation"]);
    for arm in arms {
        let [inference, training] = shares(arm, whole);
        table.push([
            arm.name.clone(),
            percent(arm.test.accuracy),
            percent(inference),
            percent(arm.model.graph().cost().parameters as f64 / whole.parameters.max(1) as f64),
            percent(training),
            format!("{:.1}", arm.seconds),
            arm.sparsity.as_ref().map_or_else(|| "–".into(), |sparsity| format!("{:.1e}", sparsity.deviation)),
        ]);
    }
    let mut blocks = vec![Block::Text(text.into()), Block::Table(table)];
    blocks.extend(["inference", "training"].into_iter().enumerate().map(|(which, name)| {
        let axis = Axis::linear(format!("share of the whole network's multiply-adds of {name}"));
        let chart = Chart::new(format!("Accuracy against the cost of {name}"), axis, Axis::linear("test accuracy"));
        let point = |arm: &TrainedArm| Series::new(&arm.name, Shape::Scatter, [(shares(arm, whole)[which], arm.test.accuracy)]);
        Block::Chart(arms.iter().map(point).fold(chart, Chart::with))
    }));
    let sparse = || arms.iter().filter_map(|arm| Some((arm, arm.sparsity.as_ref()?)));
    let chart = Chart::new("What an epoch costs", Axis::linear("epoch"), Axis::linear("share of the whole network's multiply-adds"));
    let line = |(arm, sparsity): (&TrainedArm, &Sparsity)| {
        let of = |stage: &Stage| stage.cost.multiply_adds as f64 / whole.multiply_adds.max(1) as f64;
        Series::line(&arm.name, sparsity.stages.iter().enumerate().map(move |(epoch, stage)| ((epoch + 1) as f64, of(stage))))
    };
    blocks.push(Block::Chart(sparse().map(line).fold(chart, Chart::with)));
    blocks.extend(sparse().map(|(arm, sparsity)| Block::Chart(grown(&arm.name, sparsity))));
    blocks
}

/// The units of each group over the epochs.
fn grown(name: &str, sparsity: &Sparsity) -> Chart {
    let chart = Chart::new(format!("Units in training: {name}"), Axis::linear("epoch"), Axis::linear("share of the group"));
    // Of many, some from the first to the last.
    let step = sparsity.names.len().div_ceil(MOST_GROUPS).max(1);
    let line = |(group, (name, size)): (usize, &(String, usize))| {
        let share = move |stage: &Stage| stage.units[group] as f64 / *size as f64;
        Series::line(name, sparsity.stages.iter().enumerate().map(move |(epoch, stage)| ((epoch + 1) as f64, share(stage))))
    };
    sparsity.names.iter().enumerate().step_by(step).map(line).fold(chart, Chart::with)
}
