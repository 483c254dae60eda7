//! Hard attention to the task.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};
use lyceum_core::{Array, Error, Result, range};
use lyceum_kernels::vector;
use lyceum_train::{
    Network, Pass, State, Vector,
    graph::{Activation, Conv, Graph, Node, Op},
    pass::LayerInput,
};
use rand_distr::{Distribution, StandardNormal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Task,
    strategy::{Context, Note, Strategy, saved},
};

/// The constants of [`Hat`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HatConfig {
    /// How hard attention is when a task is used, and at the end of each epoch: s_max.
    #[serde(with = "range::Positive")]
    pub hardness: f64,
    /// c, how strongly units that no earlier task uses are spared.
    #[serde(with = "range::NonNegative")]
    pub strength: f64,
}

impl Default for HatConfig {
    fn default() -> Self {
        Self { hardness: 400.0, strength: 0.75 }
    }
}

/// Each task t learns an embedding e of every hidden unit; the unit's output is multiplied by a = σ(s·e), with s rising from
/// 1/s_max to s_max within each epoch. With ā the largest attention of earlier tasks,
///
/// ```text
/// loss + c Σ a(1 − ā)/Σ(1 − ā)                          few new units are used
/// ∂L/∂W_ij ← (1 − min(ā_i, ā_j)) ∂L/∂W_ij                what earlier tasks use stays as it is
/// ∂L/∂e ← (s_max/s)·(cosh(s·e) + 1)/(cosh(e) + 1) ∂L/∂e  embeddings learn at any s
/// ```
///
/// (Serrà, Surís, Miron and Karatzoglou, *Overcoming catastrophic forgetting with hard attention to the task*, ICML 2018; constants
/// as in the authors' code.) It must be told at test time which task it is. Networks of fully connected layers and convolutions
/// in a row, without batch normalisation.
///
/// Multiplying a unit's output is multiplying the weights that read it, so the network itself needs no gates: with W the
/// weights that read unit u, a_u·∂L/∂a_u = Σ W·∂L/∂W.
#[derive(Debug)]
pub struct Hat {
    config: HatConfig,
    layers: Vec<Layer>,
    /// The embeddings of each task, for all hidden units one after the other.
    embeddings: Vec<Vec<f32>>,
    /// ā of all hidden units.
    earlier: Vec<f32>,
}

/// A layer with weights, in the order of use.
#[derive(Debug, Clone)]
struct Layer {
    weight: Range<usize>,
    bias: Option<Range<usize>>,
    inputs: usize,
    outputs: usize,
    /// The weight is inputs × outputs, else outputs × inputs (a convolution).
    rows: bool,
    /// Where the units it gives begin among all hidden units; none for the last layer.
    units: Option<usize>,
    /// Where the units it reads begin, and how many of its inputs each stands for; none for the first layer.
    reads: Option<(usize, usize)>,
}

fn unfit<T>(what: &str) -> Result<T> {
    Err(Error::invalid("the network for HAT", what, "layers in a row, without batch normalisation"))
}

/// The bound of embeddings, and that of s·e in a hyperbolic cosine.
const BOUND: f32 = 6.0;
const LARGEST: f64 = 50.0;

impl Layer {
    /// Calls `work` for each number of the weight: its place, the unit that it reads and the unit that it feeds.
    fn each(&self, mut work: impl FnMut(usize, Option<usize>, Option<usize>)) {
        let (steps_in, steps_out) = if self.rows { (self.outputs, 1) } else { (1, self.inputs) };
        for input in 0..self.inputs {
            let from = self.reads.map(|(first, each)| first + input / each);
            for output in 0..self.outputs {
                work(self.weight.start + input * steps_in + output * steps_out, from, self.units.map(|first| first + output));
            }
        }
    }
}

impl Hat {
    /// Without any task.
    pub(crate) fn new(config: HatConfig) -> Self {
        Self { config, layers: Vec::new(), embeddings: Vec::new(), earlier: Vec::new() }
    }

    /// An error unless the network is one that units can be masked in.
    pub fn check_network(graph: &Graph) -> Result<()> {
        if !graph.is_chain() {
            return unfit("one with shortcuts");
        }
        let head = graph.nodes().iter().rposition(|node| matches!(node.op, Op::Linear { .. } | Op::Conv(_)));
        // A unit that is masked gives 0, and so must what is made of it; units stay where they are.
        let keeps_units = |op: &Op| match op {
            Op::Activation(function) => !matches!(function, Activation::Sigmoid | Activation::HardSigmoid),
            Op::Conv(Conv { dilation, groups, .. }) => (*dilation, *groups) == ([1; 2], 1),
            Op::Linear { .. } | Op::MaxPool(_) | Op::AveragePool(_) | Op::GlobalAveragePool | Op::GlobalMaxPool => true,
            Op::AdaptiveAveragePool { .. } | Op::Upsample { .. } | Op::Pad(_) | Op::Flatten | Op::Dropout(_) => true,
            _ => false,
        };
        let fits = |(number, node): (usize, &Node)| if Some(number) > head { node.op == Op::Flatten } else { keeps_units(&node.op) };
        match graph.nodes().iter().enumerate().find(|place| !fits(*place)) {
            Some((_, node)) => unfit(&format!("`{}` ({})", node.name, node.op)),
            None => Ok(()),
        }
    }

    /// Looks at how the network uses its weights.
    fn find_layers(&mut self, width: usize, context: Context<'_>) -> Result<()> {
        Self::check_network(context.model.graph())?;
        let point = context.space.vector(context.model);
        let model = context.space.place_for_evaluation(context.model.clone(), &point);
        let mut pass = Pass::evaluation().recording();
        model.forward(Tensor::from_data(TensorData::new(vec![0.0_f32; width], [1, width]), &point.device()), &mut pass);
        let recorded = pass.into_inputs();
        let mut known = 0;
        let mut units = 0;
        for (number, (id, input)) in recorded.iter().enumerate() {
            let info = context.space.params().iter().find(|info| info.id == *id);
            let Some((info, weight)) = info.and_then(|info| Some((info, info.range.clone()?))) else { return unfit("a frozen weight") };
            let rows = matches!(input, LayerInput::Rows(_));
            let (inputs, outputs) = if rows { (info.shape[0], info.shape[1]) } else { (info.shape[1..].iter().product(), info.shape[0]) };
            let layer = info.name.rsplit_once('.').map_or("", |(layer, _)| layer);
            let bias = context.space.params().iter().find(|other| other.shape.len() == 1 && other.name == format!("{layer}.bias"));
            let bias = bias.and_then(|bias| bias.range.clone());
            known += weight.len() + bias.as_ref().map_or(0, ExactSizeIterator::len);
            let reads = match self.layers.last() {
                None => None,
                Some(before) if inputs.is_multiple_of(before.outputs) => Some((units - before.outputs, inputs / before.outputs)),
                Some(_) => return unfit("one whose layers do not follow one another"),
            };
            let last = number + 1 == recorded.len();
            self.layers.push(Layer { weight, bias, inputs, outputs, rows, units: (!last).then_some(units), reads });
            units += if last { 0 } else { outputs };
        }
        if known != context.space.dimension() {
            return unfit("one with other parameters than weights and biases");
        }
        // A restored strategy knows them already.
        self.earlier.resize(units, 0.0);
        Ok(())
    }

    /// σ(s·e).
    fn attention(&self, task: usize, s: f64) -> Vec<f32> {
        let of = |e: &f32| (1.0 / (1.0 + (-s * f64::from(*e)).exp())) as f32;
        self.embeddings.get(task).map_or_else(|| vec![1.0; self.earlier.len()], |embedding| embedding.iter().map(of).collect())
    }

    /// ∂(loss + c Σ a(1 − ā)/Σ(1 − ā))/∂e of each unit, from its attention a and a·∂loss/∂a.
    fn slopes(&self, a: &[f32], s: f64, sums: &[f64]) -> Vec<f64> {
        let free: f64 = self.earlier.iter().map(|earlier| 1.0 - f64::from(*earlier)).sum();
        let of = |((a, sum), earlier): ((&f32, &f64), &f32)| {
            let spared = self.config.strength * (1.0 - f64::from(*earlier)) / free.max(1e-12);
            s * (1.0 - f64::from(*a)) * (sum + f64::from(*a) * spared)
        };
        a.iter().zip(sums).zip(&self.earlier).map(of).collect()
    }

    fn hardness_at(&self, part: f64) -> f64 {
        let least = 1.0 / self.config.hardness;
        least + (self.config.hardness - least) * part
    }
}

impl Strategy for Hat {
    fn begin(&mut self, tasks: &[Task], context: Context<'_>) -> Result<()> {
        let [task] = tasks else {
            return Err(Error::invalid("tasks learnt together with HAT", tasks.len(), "1"));
        };
        if self.layers.is_empty() {
            self.find_layers(task.train.inputs.ncols(), context)?;
        }
        if self.embeddings.len() == task.number {
            let mut rng = context.seed.stream("hat/embedding");
            let new = self.earlier.iter().map(|_| StandardNormal.sample(&mut rng)).collect();
            self.embeddings.push(new);
        }
        Ok(())
    }

    fn mask(&self, task: Option<usize>, parameters: &Vector, context: Context<'_>) -> Option<Vector> {
        let a = match task {
            Some(task) => self.attention(task, self.config.hardness),
            None => self.attention(self.embeddings.len().checked_sub(1)?, self.hardness_at(context.part)),
        };
        let mut mask = vec![1.0_f32; context.space.dimension()];
        for layer in &self.layers {
            layer.each(|place, from, _| mask[place] = from.map_or(1.0, |unit| a[unit]));
        }
        Some(vector::from_vec(mask, &parameters.device()))
    }

    fn transform(&mut self, gradient: Vector, parameters: &Vector, context: Context<'_>) -> Result<Vector> {
        let Some(task) = self.embeddings.len().checked_sub(1) else { return Ok(gradient) };
        let s = self.hardness_at(context.part);
        let a = self.attention(task, s);
        let device = gradient.device();
        let (mut g, w) = (vector::to_vec(&gradient), vector::to_vec(parameters));
        // Σ W·∂L/∂W of the weights that read a unit: a·∂L/∂a.
        let mut sums = vec![0.0_f64; a.len()];
        for (number, layer) in self.layers.iter().enumerate() {
            let head = number + 1 == self.layers.len();
            layer.each(|place, from, to| {
                if let Some(unit) = from {
                    sums[unit] += f64::from(w[place] * g[place]);
                }
                let used = |unit: Option<usize>| unit.map_or(1.0, |unit| self.earlier[unit]);
                // Outputs of their own are never shared.
                if !(head && context.heads) {
                    g[place] *= 1.0 - used(from).min(used(to));
                }
            });
            for (unit, place) in layer.bias.clone().into_iter().flatten().enumerate() {
                g[place] *= match layer.units {
                    Some(first) => 1.0 - self.earlier[first + unit],
                    // All of a shared head's outputs are used from the first task on.
                    None if !context.heads && task > 0 => 0.0,
                    None => 1.0,
                };
            }
        }
        let slopes = self.slopes(&a, s, &sums);
        let hardness = self.config.hardness;
        for (e, slope) in self.embeddings[task].iter_mut().zip(slopes) {
            let x = f64::from(*e);
            let faster = hardness / s * ((s * x).clamp(-LARGEST, LARGEST).cosh() + 1.0) / (x.cosh() + 1.0);
            *e = ((x - context.rate * slope * faster) as f32).clamp(-BOUND, BOUND);
        }
        Ok(vector::from_vec(g, &device))
    }

    fn end(&mut self, _: &[Task], _: Context<'_>) -> Result<Note> {
        let a = self.attention(self.embeddings.len() - 1, self.config.hardness);
        self.earlier.iter_mut().zip(a).for_each(|(earlier, a)| *earlier = earlier.max(a));
        Ok(Note { kept_numbers: self.earlier.len() * (self.embeddings.len() + 1), ..Note::default() })
    }

    fn state(&self) -> State {
        let values: Vec<f32> = self.embeddings.iter().flatten().copied().collect();
        let arrays = vec![
            Array::new("hat/embeddings", vec![self.embeddings.len(), self.earlier.len()], values),
            Array::new("hat/earlier", vec![self.earlier.len()], self.earlier.clone()),
        ];
        State { arrays, ..State::default() }
    }

    fn restore(&mut self, state: State, _: Context<'_>) -> Result<()> {
        let (Some(embeddings), Some(earlier)) = (saved(&state, "hat/embeddings"), saved(&state, "hat/earlier")) else { return Ok(()) };
        self.embeddings = embeddings.values.chunks_exact(embeddings.shape[1].max(1)).map(<[f32]>::to_vec).collect();
        self.earlier.clone_from(&earlier.values);
        // The layers are found when the stage begins; units stay as they are.
        self.layers.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        objective::{RowsBuilder, StageBatch},
        surface::{gradient_at, loss_at},
    };
    use lyceum_core::Seed;
    use lyceum_data::{Examples, Extent};
    use lyceum_train::{ModelConfig, Net, ParamSpace, cpu};
    use ndarray::Array2;
    use rand::RngExt;

    const EXTENT: Extent = Extent { channels: 1, height: 6, width: 6 };

    fn task(number: usize) -> Task {
        let mut rng = Seed::new(number as u64).stream("task");
        let inputs = Array2::from_shape_fn((40, 36), |_| rng.random::<f32>() - 0.3);
        Task { number, outputs: 0..3, heads: None, train: Examples::new(inputs, (0..40).map(|i| i % 3).collect()) }
    }

    fn batch(task: &Task) -> StageBatch {
        let mut rows = RowsBuilder::new(3, false);
        for (row, &label) in task.train.labels.iter().enumerate() {
            rows.push(&task.train.inputs.row(row), label, 1.0, &task.outputs);
        }
        StageBatch { tasks: vec![rows.build(&cpu())] }
    }

    fn networks() -> [ModelConfig; 2] {
        let cnn = ModelConfig::Cnn { channels: vec![4], hidden: 6, batch_norm: false, dropout: 0.0 };
        [ModelConfig::Mlp { hidden: vec![7, 5], dropout: 0.0 }, cnn]
    }

    /// The gradient of an embedding, which comes from the weights' gradients alone, against central differences of the loss.
    #[test]
    fn slopes_of_embeddings_are_finite_differences() {
        for config in networks() {
            let (first, model) = (task(0), config.init(EXTENT, 3, Seed::new(3), &cpu()).unwrap());
            let space = ParamSpace::of(&model);
            let point = space.vector(&model);
            let context = Context { model: &model, space: &space, outputs: 3, heads: false, seed: Seed::new(1), rate: 0.0, part: 0.004 };
            let mut hat = Hat::new(HatConfig::default());
            hat.begin(std::slice::from_ref(&first), context).unwrap();
            hat.earlier.iter_mut().enumerate().for_each(|(unit, earlier)| *earlier = (unit % 3) as f32 / 2.0);
            let (batch, s) = (batch(&first), hat.hardness_at(context.part));
            let loss = |hat: &Hat| {
                let mask = hat.mask(None, &point, context).unwrap();
                let a = hat.attention(0, s);
                let free: f32 = hat.earlier.iter().map(|earlier| 1.0 - earlier).sum();
                let used: f32 = a.iter().zip(&hat.earlier).map(|(a, earlier)| a * (1.0 - earlier)).sum();
                loss_at(context, &(point.clone() * mask), &batch).unwrap() + 0.75 * f64::from(used / free)
            };
            let mask = hat.mask(None, &point, context).unwrap();
            let g = vector::to_vec(&(gradient_at(context, &(point.clone() * mask.clone()), &batch).unwrap() * mask));
            let (w, mut sums) = (vector::to_vec(&point), vec![0.0; hat.earlier.len()]);
            for layer in &hat.layers {
                layer.each(|place, from, _| from.into_iter().for_each(|unit| sums[unit] += f64::from(w[place] * g[place])));
            }
            let found = hat.slopes(&hat.attention(0, s), s, &sums);
            for (unit, found) in found.into_iter().enumerate() {
                let mut moved = |by: f32| {
                    hat.embeddings[0][unit] += by;
                    let value = loss(&hat);
                    hat.embeddings[0][unit] -= by;
                    value
                };
                let expected = (moved(0.005) - moved(-0.005)) / 0.01;
                // Single precision, and a ReLU that turns within the difference.
                assert!((found - expected).abs() < 2e-4 + 2e-3 * expected.abs(), "{unit}: {found} {expected}");
            }
        }
    }

    /// What an earlier task uses stays as it is: with attention at 0 or 1 the network says the same of it, however long another
    /// is learnt.
    #[test]
    fn an_earlier_task_is_not_forgotten() {
        for (config, heads) in networks().into_iter().flat_map(|config| [(config.clone(), true), (config, false)]) {
            let (first, second) = (task(0), task(1));
            let mut model = config.init(EXTENT, 3, Seed::new(3), &cpu()).unwrap();
            let space = ParamSpace::of(&model);
            let mut hat = Hat::new(HatConfig::default());
            fn at<'a>(model: &'a Net, space: &'a ParamSpace, rate: f64, part: f64) -> Context<'a> {
                Context { model, space, outputs: 3, heads: true, seed: Seed::new(1), rate, part }
            }
            let says = |hat: &Hat, model: &Net| {
                let point = space.vector(model);
                let mask = hat.mask(Some(0), &point, at(model, &space, 0.0, 1.0)).unwrap();
                lyceum_train::logits(&space.place(model.clone(), &(point * mask)), &first.train).unwrap()
            };
            hat.begin(std::slice::from_ref(&first), at(&model, &space, 0.0, 1.0)).unwrap();
            // Far from the middle, every other unit.
            hat.embeddings[0].iter_mut().enumerate().for_each(|(unit, e)| *e = if unit % 2 == 0 { 2.0 } else { -2.0 });
            hat.end(std::slice::from_ref(&first), at(&model, &space, 0.0, 1.0)).unwrap();
            let head = hat.layers.last().unwrap().clone();
            let before = says(&hat, &model);
            hat.begin(std::slice::from_ref(&second), at(&model, &space, 0.0, 1.0)).unwrap();
            let batch = batch(&second);
            let start = space.vector(&model);
            for step in 0..20 {
                let context = Context { heads, ..at(&model, &space, 0.1, f64::from(step) / 19.0) };
                let point = space.vector(&model);
                let mask = hat.mask(None, &point, context).unwrap();
                let g = gradient_at(context, &(point.clone() * mask.clone()), &batch).unwrap() * mask;
                let mut g = vector::to_vec(&hat.transform(g, &point, context).unwrap());
                if heads {
                    // Outputs belong to one task each: here they are not learnt.
                    g[head.weight.clone()].fill(0.0);
                    g[head.bias.clone().unwrap()].fill(0.0);
                }
                model = space.place(model.clone(), &vector::add_scaled(&point, -0.1, &vector::from_vec(g, &cpu())));
            }
            let moved = vector::norm(&(space.vector(&model) - start));
            assert!(moved > 1e-3, "{config:?} does not learn");
            let after = says(&hat, &model);
            assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-5), "{config:?} {heads}");
        }
    }

    #[test]
    fn networks_that_do_not_fit_are_told() {
        let first = task(0);
        for config in [
            ModelConfig::Resnet { widths: vec![4], blocks: 1 },
            ModelConfig::Cnn { channels: vec![4], hidden: 6, batch_norm: true, dropout: 0.0 },
        ] {
            let model = config.init(EXTENT, 3, Seed::new(3), &cpu()).unwrap();
            let space = ParamSpace::of(&model);
            let context = Context { model: &model, space: &space, outputs: 3, heads: false, seed: Seed::new(1), rate: 0.0, part: 0.0 };
            let error = Hat::new(HatConfig::default()).begin(std::slice::from_ref(&first), context).unwrap_err().to_string();
            assert!(error.contains("without batch normalisation"), "{error}");
        }
    }
}
