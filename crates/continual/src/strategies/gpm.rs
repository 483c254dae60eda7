//! Gradient Projection Memory.

use std::{collections::HashMap, ops::Range, sync::Arc};

use burn::{
    module::ParamId,
    tensor::{Device, Tensor, TensorData},
};
use lyceum_core::{Array, Error, Result, Stream, range};
use lyceum_data::split;
use lyceum_kernels::{Activation, linear, vector};
use lyceum_train::{
    Network, Pass, State, Vector,
    graph::{Conv, Graph, Node, Op},
    pass::{GradientInputs, LayerInput, Window},
};
use ndarray::{Array2, Axis};
use rand::seq::index;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Task,
    basis::{Basis, RankRule},
    objective::{RowsBuilder, StageObjective},
    strategy::{Context, Note, Strategy, saved},
};

/// The constants of [`Gpm`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GpmConfig {
    /// ε of each layer, the share of the inputs' energy that its basis holds; the last one stands for all further layers.
    #[serde(with = "range::Fractions")]
    pub thresholds: Vec<f64>,
    /// By how much ε grows from task to task.
    #[serde(with = "range::NonNegative")]
    pub growth: f64,
    /// Examples of a task whose layer inputs are looked at.
    #[serde(with = "range::AtLeastOne")]
    pub samples: usize,
    /// Patches of a convolution that are looked at, drawn from all positions of these examples.
    #[serde(with = "range::AtLeastOne")]
    pub patches: usize,
    /// How many directions are kept.
    pub rank_rule: RankRule,
    /// Whether biases and the parameters of normalisation stay as they are after the first task.
    pub freeze: bool,
    /// Whether fully connected layers are projected by their inputs (much cheaper, and under SAM the ascent is projected too)
    /// or by their gradients.
    pub project_inputs: bool,
    /// a of scaled gradient projection: directions are taken out the more, the more important they are to earlier tasks
    /// ([`Basis::scale`]). Absent: all of every direction.
    #[serde(skip_serializing_if = "Option::is_none", with = "range::OptionalPositive")]
    pub scale: Option<f64>,
}

impl Default for GpmConfig {
    fn default() -> Self {
        Self {
            thresholds: vec![0.97],
            growth: 0.0,
            samples: 300,
            patches: 20_000,
            rank_rule: RankRule::Paper,
            freeze: true,
            project_inputs: true,
            scale: None,
        }
    }
}

/// After each task an orthonormal basis M of each layer's input space learns where this task's inputs lie; from then on the
/// gradient G of the layer's weight (d × k) is kept out of it,
///
/// ```text
/// G ← G − M(MᵀG)
/// ```
///
/// so that outputs of earlier tasks change no more than by the energy 1 − ε that was not kept (Saha, Garg and Roy, *Gradient
/// Projection Memory for Continual Learning*, ICLR 2021). For a convolution d = C·k·k and the inputs are its patches. Outputs
/// that belong to one task alone are not projected.
///
/// With X the inputs of a batch, G = Xᵀδ, so M(MᵀG) is taken out by projecting X: 4·n·d·r operations for n rows instead of
/// 4·d·k·r. The first layer's inputs never change: the data set is projected once a task, and a step costs nothing more.
#[derive(Debug)]
pub struct Gpm {
    config: GpmConfig,
    layers: Vec<Layer>,
    /// The weight of the first layer, where its inputs are those of the network.
    first: Option<ParamId>,
    /// What is built of the bases when a stage begins.
    projectors: Arc<Projectors>,
    /// Where the parameters lie that stay as they are.
    frozen: Vec<Range<usize>>,
    /// The inputs of each task of the stage, projected for the first layer.
    projected: Vec<Array2<f32>>,
}

/// A layer whose weight is projected.
#[derive(Debug, Clone)]
struct Layer {
    name: String,
    id: ParamId,
    range: Range<usize>,
    /// d and k.
    shape: [usize; 2],
    /// The weight is `d × k`, else `k × d` (a convolution).
    rows: bool,
    basis: Basis,
}

impl Gpm {
    /// Without any task; a value that the configuration does not allow is an error.
    pub fn new(config: GpmConfig) -> Result<Self> {
        range::check(&config)?;
        Ok(Self { config, layers: Vec::new(), first: None, projectors: Arc::default(), frozen: Vec::new(), projected: Vec::new() })
    }

    /// The rows, `width` numbers each, as a tensor, and the input of each layer for them.
    fn record(rows: Vec<f32>, width: usize, context: Context<'_>) -> (Tensor<2>, Vec<(ParamId, LayerInput)>) {
        let point = context.space.vector(context.model);
        let count = rows.len() / width.max(1);
        let inputs = Tensor::<2>::from_data(TensorData::new(rows, [count, width]), &point.device());
        let mut pass = Pass::evaluation().recording();
        context.space.place_for_evaluation(context.model.clone(), &point).forward(inputs.clone(), &mut pass);
        (inputs, pass.into_inputs())
    }

    /// An error unless every weight of the network is one that gradients can be projected for: others would be trained as if there were
    /// no earlier tasks.
    pub fn check_network(graph: &Graph) -> Result<()> {
        let unfit = |node: &&Node| match &node.op {
            Op::Conv(Conv { dilation, groups, .. }) => (*dilation, *groups) != ([1; 2], 1),
            Op::TransposedConv { .. } | Op::Embedding { .. } | Op::Lstm { .. } | Op::Learned(_) | Op::Custom(_) => true,
            _ => false,
        };
        graph.nodes().iter().find(unfit).map_or(Ok(()), |node| {
            let found = format!("`{}` ({})", node.name, node.op);
            Err(Error::invalid("the network for GPM", found, "fully connected layers and convolutions without dilation and groups"))
        })
    }

    /// The layers that a network with these weights has.
    fn find_layers(&mut self, inputs: &[(ParamId, LayerInput)], network_inputs: &Tensor<2>, context: Context<'_>) -> Result<()> {
        let mut inputs: Vec<&(ParamId, LayerInput)> = inputs.iter().collect();
        if context.heads {
            // Its rows belong to one task each.
            inputs.pop();
        }
        for (id, input) in &inputs {
            let info = context.space.params().iter().find(|info| info.id == *id);
            let info = info.ok_or_else(|| Error::Failed("a layer's weight is not a parameter of the network".into()))?;
            let Some(range) = info.range.clone() else { continue };
            let (shape, rows) = match input {
                LayerInput::Rows(_) => ([info.shape[0], info.shape[1]], true),
                LayerInput::Images(..) => ([info.shape[1..].iter().product(), info.shape[0]], false),
            };
            let basis = Basis::new(shape[0]);
            self.layers.push(Layer { name: info.name.clone(), id: *id, range, shape, rows, basis });
        }
        if let Some((id, LayerInput::Rows(x))) = inputs.first() {
            // Dropout before it leaves the inputs of this pass as they are, but not those of training.
            let same = context.model.reads_input(*id) && x.dims() == network_inputs.dims() && x.to_data() == network_inputs.to_data();
            self.first = same.then_some(*id);
        }
        Ok(())
    }

    fn threshold(&self, layer: usize, task: usize) -> f64 {
        let own = self.config.thresholds.get(layer).or(self.config.thresholds.last()).copied().unwrap_or(1.0);
        (own + self.config.growth * task as f64).min(1.0)
    }
}

impl Strategy for Gpm {
    fn begin(&mut self, tasks: &[Task], context: Context<'_>) -> Result<()> {
        if self.layers.is_empty() {
            return Self::check_network(context.model.graph());
        }
        let device = context.space.vector(context.model).device();
        let mut projectors = HashMap::new();
        for layer in &self.layers {
            if let Some(projector) = Projector::new(&layer.basis, &device)? {
                projectors.insert(layer.id, (projector, layer.rows && self.config.project_inputs));
            }
        }
        self.projected.clear();
        if let Some((projector, true)) = self.first.and_then(|first| projectors.get(&first)) {
            for task in tasks {
                self.projected.push(projector.project(&task.train.inputs.array(), &device)?);
            }
        }
        self.projectors = Arc::new(Projectors(projectors));
        if self.config.freeze {
            let head = if context.heads { context.space.params().iter().rposition(|info| info.range.is_some()) } else { None };
            let small = context.space.params().iter().enumerate().filter(|(number, info)| info.shape.len() == 1 && Some(*number) != head);
            self.frozen = small.filter_map(|(_, info)| info.range.clone()).collect();
        }
        Ok(())
    }

    fn objective(&self, tasks: usize) -> StageObjective {
        let projects = self.projectors.0.values().any(|(_, by_input)| *by_input);
        let inputs: Arc<dyn GradientInputs> = self.projectors.clone();
        StageObjective { tasks, gradient_inputs: projects.then_some((inputs, self.first)) }
    }

    fn extend(&mut self, batch: &mut RowsBuilder, _: &Task, number: usize, positions: &[usize], _: &mut Stream) {
        if let Some(projected) = self.projected.get(number) {
            positions.iter().for_each(|&position| batch.with_gradient_input(projected.row(position)));
        }
    }

    fn transform(&mut self, gradient: Vector, _: &Vector, _: Context<'_>) -> Result<Vector> {
        let mut gradient = if self.frozen.is_empty() { gradient } else { vector::cleared(gradient, &self.frozen) };
        for layer in &self.layers {
            let Some((projector, false)) = self.projectors.0.get(&layer.id) else { continue };
            let [d, k] = layer.shape;
            let part = gradient.clone().narrow(0, layer.range.start, layer.range.len());
            let projected = if layer.rows {
                projector.rows(part.reshape([d, k]).transpose()).transpose()
            } else {
                projector.rows(part.reshape([k, d]))
            };
            gradient = gradient.slice_assign([layer.range.clone()], projected.reshape([layer.range.len()]));
        }
        Ok(gradient)
    }

    fn end(&mut self, tasks: &[Task], context: Context<'_>) -> Result<Note> {
        let mut rng = context.seed.stream("gpm/samples");
        let share = self.config.samples.div_ceil(tasks.len().max(1));
        let mut rows: Vec<f32> = Vec::new();
        for task in tasks {
            let order = split::permutation(task.train.len(), &mut rng);
            order.iter().take(share).for_each(|&position| task.train.inputs.append_row(position, &mut rows));
        }
        let width = tasks.first().map_or(0, |task| task.train.inputs.ncols());
        let (inputs, recorded) = Self::record(rows, width, context);
        if self.layers.is_empty() {
            self.find_layers(&recorded, &inputs, context)?;
        }
        let task = tasks.first().map_or(0, |task| task.number);
        let mut note = Note::default();
        for number in 0..self.layers.len() {
            let threshold = self.threshold(number, task);
            let layer = &mut self.layers[number];
            let Some((_, input)) = recorded.iter().find(|(id, _)| *id == layer.id) else { continue };
            let matrix = match input {
                LayerInput::Rows(x) => matrix(x)?,
                LayerInput::Images(x, window) => patches(x, *window, self.config.patches, &mut rng)?,
            };
            let update = layer.basis.learn(matrix.view(), threshold, self.config.rank_rule)?;
            if let Some(a) = self.config.scale {
                layer.basis.scale(matrix.view(), a, update.added);
            }
            note.layers.push((layer.name.clone(), update));
            note.kept_numbers += layer.basis.columns().len();
        }
        Ok(note)
    }

    fn state(&self) -> State {
        let arrays = self.layers.iter().flat_map(|layer| {
            let columns = layer.basis.columns();
            let importance: Vec<f32> = layer.basis.importance().iter().map(|x| *x as f32).collect();
            [
                Array::new(&layer.name, vec![columns.nrows(), columns.ncols()], columns.iter().map(|x| *x as f32).collect()),
                Array::new(format!("{}/importance", layer.name), vec![importance.len()], importance),
            ]
        });
        let first = self.layers.iter().position(|layer| Some(layer.id) == self.first).map_or(0, |place| place as u64 + 1);
        let tasks = self.layers.first().map_or(0, |layer| layer.basis.tasks() as u64);
        State { arrays: arrays.collect(), ..State::default() }.with_counter("first", first).with_counter("tasks", tasks)
    }

    fn restore(&mut self, state: State, context: Context<'_>) -> Result<()> {
        self.layers.clear();
        let tasks = state.counter("tasks") as usize;
        // In the order in which they were found, which thresholds go by.
        for array in &state.arrays {
            let Some(info) = context.space.params().iter().find(|info| info.name == array.name) else { continue };
            let Some(range) = info.range.clone() else { continue };
            let rows = info.shape.len() == 2;
            let shape = if rows { [info.shape[0], info.shape[1]] } else { [info.shape[1..].iter().product(), info.shape[0]] };
            let columns = Array2::from_shape_vec((array.shape[0], array.shape[1]), array.values.iter().map(|x| f64::from(*x)).collect());
            let columns = columns.map_err(|error| Error::Failed(format!("the saved basis of `{}`: {error}", info.name)))?;
            let mut basis = Basis::from_columns(columns, tasks);
            if let Some(importance) = saved(&state, &format!("{}/importance", info.name)) {
                basis = basis.with_importance(importance.values.iter().map(|x| f64::from(*x)).collect())?;
            }
            self.layers.push(Layer { name: info.name.clone(), id: info.id, range, shape, rows, basis });
        }
        self.first = (state.counter("first") as usize).checked_sub(1).and_then(|place| self.layers.get(place)).map(|layer| layer.id);
        Ok(())
    }
}

/// A projection off a basis: X − (XM)ΛMᵀ, or where Λ = I (XN)Nᵀ with N what is left, whichever is cheaper; X(I − MΛMᵀ) with the
/// matrix made once where the space is so small that three operations cost more than one.
#[derive(Debug)]
enum Projector {
    /// No direction is left.
    Nothing,
    /// I − MΛMᵀ (d × d), and d zeros.
    Whole(Tensor<2>, Tensor<1>),
    /// M and ΛMᵀ.
    Off(Tensor<2>, Tensor<2>),
    /// N and Nᵀ.
    Onto(Tensor<2>, Tensor<2>),
}

/// The largest space whose projection is one matrix.
const SMALL: usize = 256;

impl Projector {
    /// `None` for an empty basis.
    fn new(basis: &Basis, device: &Device) -> Result<Option<Self>> {
        let (d, r) = (basis.dimension(), basis.rank());
        if r == 0 {
            return Ok(None);
        }
        let tensor = |matrix: &Array2<f64>| {
            let values: Vec<f32> = matrix.iter().map(|x| *x as f32).collect();
            Tensor::<2>::from_data(TensorData::new(values, [matrix.nrows(), matrix.ncols()]), device)
        };
        let whole = basis.importance().iter().all(|importance| *importance == 1.0);
        if whole && r == d {
            return Ok(Some(Self::Nothing));
        }
        if d > SMALL && whole && 2 * r > d {
            let rest = basis.complement()?;
            return Ok(Some(Self::Onto(tensor(&rest), tensor(&rest.t().as_standard_layout().to_owned()))));
        }
        let columns = basis.columns();
        let mut back = columns.t().as_standard_layout().to_owned();
        back.rows_mut().into_iter().zip(basis.importance()).for_each(|(mut row, importance)| row *= *importance);
        if d <= SMALL {
            return Ok(Some(Self::Whole(tensor(&(Array2::eye(d) - columns.dot(&back))), Tensor::zeros([d], device))));
        }
        Ok(Some(Self::Off(tensor(&columns.to_owned()), tensor(&back))))
    }

    /// The rows without what lies in the basis.
    fn rows(&self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Nothing => x.zeros_like(),
            // The kernel of a layer is made for a few rows.
            Self::Whole(matrix, zeros) => linear(x, None, matrix.clone(), zeros.clone(), Activation::None),
            Self::Off(factor, back) => x.clone() - x.matmul(factor.clone()).matmul(back.clone()),
            Self::Onto(factor, back) => x.matmul(factor.clone()).matmul(back.clone()),
        }
    }

    /// A whole data set, some rows at a time.
    fn project(&self, inputs: &Array2<f32>, device: &Device) -> Result<Array2<f32>> {
        let mut found = Array2::zeros(inputs.dim());
        for (from, mut to) in inputs.axis_chunks_iter(Axis(0), 4_096).zip(found.axis_chunks_iter_mut(Axis(0), 4_096)) {
            let x =
                Tensor::<2>::from_data(TensorData::new(from.iter().copied().collect::<Vec<f32>>(), [from.nrows(), from.ncols()]), device);
            to.assign(&array(&self.rows(x))?);
        }
        Ok(found)
    }
}

#[derive(Debug, Default)]
struct Projectors(HashMap<ParamId, (Projector, bool)>);

impl GradientInputs for Projectors {
    fn of(&self, weight: ParamId, x: Tensor<2>) -> Option<Tensor<2>> {
        self.0.get(&weight).filter(|(_, by_input)| *by_input).map(|(projector, _)| projector.rows(x))
    }
}

fn array(x: &Tensor<2>) -> Result<Array2<f32>> {
    let [n, d] = x.dims();
    let values: Vec<f32> = x.clone().try_into_vec_as().map_err(|error| Error::Failed(format!("the device gave no numbers: {error}")))?;
    Array2::from_shape_vec((n, d), values).map_err(|error| Error::Failed(error.to_string()))
}

fn matrix(x: &Tensor<2>) -> Result<Array2<f64>> {
    Ok(array(x)?.mapv(f64::from))
}

/// Patches of images (`n × c × h × w`), a row each (channel, row, column as in the weight): all of them, or `most` drawn from all.
fn patches(x: &Tensor<4>, window: Window, most: usize, rng: &mut Stream) -> Result<Array2<f64>> {
    let [n, c, h, w] = x.dims();
    let Window { kernel, stride, padding, .. } = window;
    let values: Vec<f32> = x.clone().try_into_vec_as().map_err(|error| Error::Failed(format!("the device gave no numbers: {error}")))?;
    let places = |side: usize, axis: usize| (side + 2 * padding[axis] - kernel[axis]) / stride[axis] + 1;
    let (down, across, pixels) = (places(h, 0), places(w, 1), kernel[0] * kernel[1]);
    let all = n * down * across;
    let mut chosen: Vec<usize> = if all <= most { (0..all).collect() } else { index::sample(rng, all, most).into_vec() };
    chosen.sort_unstable();
    let mut found = Array2::zeros((chosen.len(), c * pixels));
    for (patch, mut row) in chosen.into_iter().zip(found.rows_mut()) {
        let (image, y, x) = (patch / (down * across), patch / across % down, patch % across);
        for (index, cell) in row.iter_mut().enumerate() {
            let (channel, dy, dx) = (index / pixels, index % pixels / kernel[1], index % kernel[1]);
            let (row, column) = ((y * stride[0] + dy).wrapping_sub(padding[0]), (x * stride[1] + dx).wrapping_sub(padding[1]));
            if row < h && column < w {
                *cell = f64::from(values[((image * c + channel) * h + row) * w + column]);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lyceum_core::Seed;
    use ndarray::array;

    #[test]
    fn projections_worked_by_hand() {
        let device = lyceum_train::cpu();
        let root = 0.5_f64.sqrt();
        let basis = Basis::from_columns(array![[root], [root], [0.0]], 1);
        let projector = Projector::new(&basis, &device).unwrap().unwrap();
        let g = Tensor::<2>::from_data(TensorData::new(vec![1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3]), &device);
        let once = projector.rows(g);
        let twice = array(&projector.rows(once.clone())).unwrap();
        let expected = array![[-0.5, 0.5, 3.0], [-0.5, 0.5, 6.0]];
        for found in [array(&once).unwrap(), twice] {
            assert!(found.iter().zip(&expected).all(|(a, b): (&f32, &f32)| (a - b).abs() < 1e-6), "{found}");
        }
        // A full basis leaves nothing.
        let full = Basis::from_columns(Array2::eye(3), 1);
        assert!(array(&Projector::new(&full, &device).unwrap().unwrap().rows(once)).unwrap().iter().all(|x| *x == 0.0));
    }

    /// Small spaces go by one matrix, larger ones by the basis or by what is left of it: all leave out the first r coordinates.
    #[test]
    fn every_kind_of_projection_says_the_same() {
        let device = lyceum_train::cpu();
        for (d, r) in [(10, 3), (10, 8), (SMALL + 44, 5), (SMALL + 44, SMALL)] {
            let basis = Basis::from_columns(Array2::from_shape_fn((d, r), |(i, j)| f64::from(u8::from(i == j))), 1);
            let projector = Projector::new(&basis, &device).unwrap().unwrap();
            assert_eq!(matches!(projector, Projector::Whole(..)), d <= SMALL);
            assert_eq!(matches!(projector, Projector::Onto(..)), d > SMALL && 2 * r > d);
            let x = Tensor::<2>::from_data(TensorData::new((0..d).map(|i| i as f32 + 1.0).collect(), [1, d]), &device);
            let expected = (0..d).map(|i| if i < r { 0.0 } else { i as f32 + 1.0 });
            assert!(array(&projector.rows(x)).unwrap().iter().zip(expected).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-3), "{d} {r}");
        }
    }

    #[test]
    fn patches_of_a_small_image() {
        let image = Tensor::<4>::from_data(TensorData::new((0..9).map(|i| i as f32).collect(), [1, 1, 3, 3]), &lyceum_train::cpu());
        let window = Window { kernel: [2; 2], stride: [1; 2], padding: [0; 2], dilation: [1; 2], groups: 1 };
        let rng = &mut Seed::new(0).stream("patches");
        let expected = array![[0.0, 1.0, 3.0, 4.0], [1.0, 2.0, 4.0, 5.0], [3.0, 4.0, 6.0, 7.0], [4.0, 5.0, 7.0, 8.0]];
        assert_eq!(patches(&image, window, 100, rng).unwrap(), expected);
        let padded =
            patches(&image, Window { kernel: [3; 2], stride: [2; 2], padding: [1; 2], dilation: [1; 2], groups: 1 }, 100, rng).unwrap();
        assert_eq!(padded.dim(), (4, 9));
        assert_eq!(padded.row(0).to_vec(), [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 3.0, 4.0]);
        assert_eq!(patches(&image, window, 2, rng).unwrap().dim(), (2, 4));
    }
}
