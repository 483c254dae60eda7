//! A description as a network that can be trained.

use std::{collections::HashSet, sync::Arc};

use burn::{
    module::{Content, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor, Param, ParamId},
    tensor::{Device, Tensor},
};
use lyceum_core::{Error, Result, Seed, Stream, memory};

use super::{
    Constant, Graph, Init, LayerPlace, Op, Port, Shape,
    plan::{Step, plan},
    run::{Value, run},
};
use crate::{
    Network, ParamSpace, Pass,
    layers::{BatchNorm, Conv2d, GroupNorm, Linear, TransposedConv2d, embedding, trained},
};

/// A network that runs a [`Graph`]. Its parameters are called `Net.NODE.weight` and so on, in the graph's order.
#[derive(Debug, Clone)]
pub struct Net {
    /// In the order of the graph's places.
    layers: Vec<Layer>,
    graph: Arc<Graph>,
    plan: Arc<Vec<Planned>>,
}

/// A step and the layers that have its parameters.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) step: Step,
    pub(super) layers: Vec<usize>,
}

/// What has parameters.
#[derive(Debug, Clone)]
pub(super) enum Layer {
    Conv(Conv2d),
    TransposedConv(TransposedConv2d),
    Linear(Linear),
    BatchNorm(BatchNorm),
    GroupNorm(GroupNorm),
    Embedding(Param<Tensor<2>>),
    Learned(Param<Tensor<2>>),
    /// Of an operation of another crate.
    Body(Box<Net>),
}

impl Net {
    /// The network with initial values drawn from `seed`: weights by He's rule, of an LSTM with variance 1/(3·width), embeddings
    /// from N(0, 1), in the order of the parameters, embeddings last; biases 0, scales 1.
    ///
    /// # Errors
    ///
    /// Parameters that do not fit into memory, none at all, two of one name, and a node whose value nobody reads.
    pub fn new(graph: Graph, seed: Seed, device: &Device) -> Result<Self> {
        if graph.layers.is_empty() {
            return Err(Error::invalid("the network", "no parameters", "at least one layer that learns"));
        }
        let net = Self::of(graph, seed, device)?;
        let mut names = HashSet::new();
        match ParamSpace::of(&net).params().iter().find(|info| !names.insert(info.name.clone())) {
            Some(info) => Err(Error::invalid("the network", format!("two parameters called `{}`", info.name), "other names of nodes")),
            None => Ok(net),
        }
    }

    /// The same of an operation's body, which may have no parameters.
    fn of(graph: Graph, seed: Seed, device: &Device) -> Result<Self> {
        if let Some(node) = graph.unread() {
            return Err(Error::invalid("the network", format!("`{}`, which nobody reads", node.name), "nodes that the output depends on"));
        }
        let rng = &mut seed.stream("model/init");
        let mut order: Vec<usize> = (0..graph.layers.len()).collect();
        order.sort_by_key(|place| matches!(graph.nodes()[graph.layers[*place].node].op, Op::Embedding { .. }));
        let mut layers: Vec<Option<Layer>> = vec![None; order.len()];
        for place in order {
            layers[place] = Some(Layer::new(&graph, &graph.layers[place], seed, rng, device)?);
        }
        let layers = layers.into_iter().flatten().collect();
        let plan = planned(&graph, plan(&graph));
        Ok(Self { layers, graph: Arc::new(graph), plan: Arc::new(plan) })
    }

    /// Its description.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The same network with `shift + scale · z` of what it gives; its parameters are called as before.
    ///
    /// # Errors
    ///
    /// Numbers that are not finite.
    pub fn rescaled(mut self, scale: f32, shift: f32) -> Result<Self> {
        let mut graph = Graph::clone(&self.graph);
        let free = |graph: &Graph, name: &str| {
            (0..=graph.nodes.len()).map(|n| format!("{name}-{n}")).find(|name| !graph.names.contains(name)).unwrap_or_default()
        };
        let mut given = graph.nodes.len().checked_sub(1).map_or(Port::Input, Port::Node);
        for ([name, after], number, op) in [(["scale", "scaled"], scale, Op::Multiply), (["shift", "shifted"], shift, Op::Add)] {
            let constant = Constant::new(graph.shape(given), vec![number]).map_err(Error::Violated)?;
            let constant = graph.add(&free(&graph, name), Op::Constant(constant), &[])?;
            given = graph.add(&free(&graph, after), op, &[given, constant])?;
        }
        self.plan = Arc::new(planned(&graph, plan(&graph)));
        self.graph = Arc::new(graph);
        Ok(self)
    }

    /// The same network with `(z − shift)/scale` of what it gives, by other weights of its last layer: the inverse of
    /// [`rescaled`](Self::rescaled).
    ///
    /// # Errors
    ///
    /// A network that ends in something else than a fully connected layer.
    pub fn in_units(self, scale: f32, shift: f32) -> Result<Self> {
        let last = self.graph.nodes().last().filter(|node| matches!(node.op, Op::Linear { .. }));
        let place = last.and_then(|_| self.graph.place_of(self.graph.nodes().len() - 1)).ok_or_else(|| {
            let found = self.graph.nodes().last().map_or_else(|| "nothing".into(), |node| format!("`{}` ({})", node.name, node.op));
            Error::invalid("the network's last operation", found, "a fully connected layer, or a new head (model.onnx.new_head)")
        })?;
        let [weight, bias] = ["weight", "bias"].map(|slot| format!("{}.{place}.{slot}", self.graph.family));
        let space = ParamSpace::of(&self);
        let mut arrays = space.arrays(&self);
        for array in &mut arrays {
            let shift = if array.name == bias { shift } else { 0.0 };
            if array.name == weight || array.name == bias {
                array.values.iter_mut().for_each(|value| *value = (*value - shift) / scale);
            }
        }
        space.load(self, &arrays)
    }

    /// Whether the fully connected layer with this weight reads the network's input, or a part of it, in whatever shape.
    pub fn reads_input(&self, weight: ParamId) -> bool {
        let is_it = |layer: &Layer| matches!(layer, Layer::Linear(linear) if linear.weight_id() == weight);
        self.layers.iter().position(is_it).is_some_and(|place| self.graph.reads_input(self.graph.layers[place].node))
    }

    pub(super) fn layer(&self, number: usize) -> &Layer {
        &self.layers[number]
    }
}

/// The steps with the places of their layers.
fn planned(graph: &Graph, steps: Vec<Step>) -> Vec<Planned> {
    // The parts of a node stand in their order.
    let mut places: Vec<Vec<usize>> = vec![Vec::new(); graph.nodes().len()];
    graph.layers.iter().enumerate().for_each(|(place, layer)| places[layer.node].push(place));
    steps.into_iter().map(|step| Planned { layers: std::mem::take(&mut places[step.node]), step }).collect()
}

impl Layer {
    fn new(graph: &Graph, place: &LayerPlace, seed: Seed, rng: &mut Stream, device: &Device) -> Result<Self> {
        let node = &graph.nodes()[place.node];
        let input = graph.shape(*node.inputs.first().unwrap_or(&Port::Input));
        let channels = input.channels();
        let fits = |factors: &[usize]| memory::check(&format!("the weights of `{}`", node.name), factors);
        let mut linear = |inputs: usize, outputs: usize| {
            fits(&[inputs, outputs])?;
            Ok(Self::Linear(match place.init {
                Init::He => Linear::new(inputs, outputs, rng, device),
                Init::Normal(deviation) => Linear::with_normal_weight(inputs, outputs, deviation, rng, device),
            }))
        };
        match &node.op {
            Op::Linear { outputs } => linear(if let Shape::Sequence([_, width]) = input { width } else { input.len() }, *outputs),
            Op::Lstm { width } => linear(if place.part == 0 { channels } else { *width }, width.saturating_mul(4)),
            Op::Conv(conv) => {
                fits(&[channels / conv.groups, conv.outputs, conv.kernel[0], conv.kernel[1]])?;
                let layer = Conv2d::grouped([channels, conv.outputs], conv.kernel, conv.groups, rng, device);
                let layer = layer.with_stride(conv.stride).with_padding(conv.padding).with_dilation(conv.dilation);
                Ok(Self::Conv(if conv.bias { layer } else { layer.without_bias() }))
            }
            Op::TransposedConv { outputs, kernel, stride, padding } => {
                fits(&[channels, *outputs, *kernel, *kernel])?;
                Ok(Self::TransposedConv(TransposedConv2d::new([channels, *outputs], *kernel, *stride, *padding, rng, device)))
            }
            Op::Embedding { symbols, width } => {
                fits(&[*symbols, *width])?;
                Ok(Self::Embedding(embedding(*symbols, *width, rng, device)))
            }
            Op::Learned(constant) => {
                let shape = match constant.shape() {
                    Shape::Row(width) => [1, width],
                    Shape::Images([channels, height, width]) => [channels, height * width],
                    Shape::Sequence(extents) => extents,
                };
                let values = constant.values().iter().copied().cycle().take(constant.shape().len()).collect();
                Ok(Self::Learned(trained(values, shape, device)))
            }
            Op::Custom(operation) if let Some(body) = operation.body() => {
                let body = body.clone().with_layers("body", |_| {});
                Ok(Self::Body(Box::new(Net::of(body, seed.child(&place.name), device)?)))
            }
            Op::BatchNorm => Ok(Self::BatchNorm(BatchNorm::new(channels, device))),
            Op::LayerNorm => Ok(Self::GroupNorm(GroupNorm::new(channels, 1, device))),
            Op::GroupNorm { groups } => Ok(Self::GroupNorm(GroupNorm::new(channels, *groups, device))),
            other => unreachable!("`{}` has no parameters", other.name()),
        }
    }
}

impl Network for Net {
    fn forward(&self, inputs: Tensor<2>, pass: &mut Pass) -> Tensor<2> {
        run(self, &self.plan, Value::shaped(inputs, self.graph.input()), pass).flat()
    }
}

/// The same for the parameters of any layer.
macro_rules! each {
    ($layer:expr, $inner:ident => $do:expr) => {
        match $layer {
            Layer::Conv($inner) => $do,
            Layer::TransposedConv($inner) => $do,
            Layer::Linear($inner) => $do,
            Layer::BatchNorm($inner) => $do,
            Layer::GroupNorm($inner) => $do,
            Layer::Embedding($inner) | Layer::Learned($inner) => $do,
            Layer::Body($inner) => $do,
        }
    };
}

/// The same layer with other parameters.
macro_rules! with {
    ($layer:expr, $inner:ident => $do:expr) => {
        match $layer {
            Layer::Conv($inner) => Layer::Conv($do),
            Layer::TransposedConv($inner) => Layer::TransposedConv($do),
            Layer::Linear($inner) => Layer::Linear($do),
            Layer::BatchNorm($inner) => Layer::BatchNorm($do),
            Layer::GroupNorm($inner) => Layer::GroupNorm($do),
            Layer::Embedding($inner) => Layer::Embedding($do),
            Layer::Learned($inner) => Layer::Learned($do),
            Layer::Body(body) => {
                let $inner = *body;
                Layer::Body(Box::new($do))
            }
        }
    };
}

impl Net {
    fn with_layers(self, change: impl Fn(Layer) -> Layer) -> Self {
        Self { layers: self.layers.into_iter().map(change).collect(), ..self }
    }
}

/// What the framework is told of this type.
const TYPE: &str = "Struct:Net";

// By hand, so that a parameter is called after its node and not after its place in a list.
impl Module for Net {
    fn collect_devices(&self, devices: Vec<Device>) -> Vec<Device> {
        self.layers.iter().fold(devices, |devices, layer| each!(layer, inner => inner.collect_devices(devices)))
    }

    fn fork(self, device: &Device) -> Self {
        self.with_layers(|layer| with!(layer, inner => inner.fork(device)))
    }

    fn to_device(self, device: &Device) -> Self {
        self.with_layers(|layer| with!(layer, inner => inner.to_device(device)))
    }

    fn train(self) -> Self {
        self.with_layers(|layer| with!(layer, inner => inner.train()))
    }

    fn valid(&self) -> Self {
        self.clone().with_layers(|layer| with!(layer, inner => inner.valid()))
    }

    fn materialize(self) -> Self {
        self.with_layers(|layer| with!(layer, inner => inner.materialize()))
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        visitor.enter_module(self.graph.family, TYPE);
        for (place, layer) in self.graph.layers.iter().zip(&self.layers) {
            visitor.enter_module(&place.name, TYPE);
            match layer {
                // It has a slot as layers have: another layer's parameter cannot have the same name.
                Layer::Learned(numbers) => {
                    visitor.enter_module("value", TYPE);
                    numbers.visit(visitor);
                    visitor.exit_module("value", TYPE);
                }
                layer => each!(layer, inner => inner.visit(visitor)),
            }
            visitor.exit_module(&place.name, TYPE);
        }
        visitor.exit_module(self.graph.family, TYPE);
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        mapper.enter_module(self.graph.family, TYPE);
        let map = |(place, layer): (&LayerPlace, Layer)| {
            mapper.enter_module(&place.name, TYPE);
            let layer = match layer {
                Layer::Learned(numbers) => {
                    mapper.enter_module("value", TYPE);
                    let numbers = Module::map(numbers, mapper);
                    mapper.exit_module("value", TYPE);
                    Layer::Learned(numbers)
                }
                layer => with!(layer, inner => Module::map(inner, mapper)),
            };
            mapper.exit_module(&place.name, TYPE);
            layer
        };
        let layers = self.graph.layers.iter().zip(self.layers).map(map).collect();
        mapper.exit_module(self.graph.family, TYPE);
        Self { layers, graph: self.graph, plan: self.plan }
    }
}

impl ModuleDisplayDefault for Net {
    fn content(&self, content: Content) -> Option<Content> {
        content.optional()
    }
}

impl ModuleDisplay for Net {}

#[cfg(test)]
mod tests {
    use lyceum_kernels::vector;
    use proptest::prelude::*;

    use super::*;
    use crate::graph::{Activation, Conv, Pool, plan::step_by_step};

    /// A network in which values are shared, read twice and pooled, whose output depends on all.
    fn random_graph(choices: &[(u8, usize, usize)]) -> Graph {
        let mut graph = Graph::new(Shape::Images([4, 8, 8]));
        let mut ports = vec![Port::Input];
        let conv = Op::Conv(Conv::new(4, 3));
        let pool = |size| Op::MaxPool(Pool::new(size));
        for (number, (kind, a, b)) in choices.iter().enumerate() {
            let first = ports[ports.len() - 1 - a % ports.len().min(3)];
            let second = ports[ports.len() - 1 - b % ports.len()];
            let (op, inputs) = match kind % 8 {
                0 => (conv.clone(), vec![first]),
                1 | 2 => (Op::BatchNorm, vec![first]),
                3 => (Op::Activation(Activation::Relu), vec![first]),
                4 => (Op::Activation(if a % 2 == 0 { Activation::Relu } else { Activation::Relu6 }), vec![first]),
                5 => (pool(2), vec![first]),
                6 => (pool(3), vec![first]),
                _ => (Op::Add, vec![first, second]),
            };
            // What does not fit is left out.
            ports.extend(graph.add(&format!("n{number}"), op, &inputs));
        }
        while let Some(node) = graph.unread() {
            let place = graph.nodes().iter().position(|other| other.name == node.name).unwrap();
            let last = Port::Node(graph.nodes().len() - 1);
            let mean = |graph: &mut Graph, port| match graph.shape(port) {
                Shape::Row(_) | Shape::Sequence(_) => port,
                Shape::Images(_) => graph.add(&format!("mean{}", graph.nodes().len()), Op::GlobalAveragePool, &[port]).unwrap(),
            };
            let (a, b) = (mean(&mut graph, Port::Node(place)), mean(&mut graph, last));
            graph.add(&format!("sum{}", graph.nodes().len()), Op::Add, &[a, b]).unwrap();
        }
        let last = Port::Node(graph.nodes().len() - 1);
        graph.add("output", Op::Linear { outputs: 3 }, &[last]).unwrap();
        graph
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        /// Joined operations give what one step a node gives.
        #[test]
        fn joined_steps_give_what_single_ones_give(choices in proptest::collection::vec((0_u8..8, 0_usize..3, 0_usize..9), 1..12)) {
            prop_assume!(choices[0].0 != 7);
            let device = crate::cpu();
            let joined = Net::new(random_graph(&choices), Seed::new(1), &device).unwrap();
            let steps = step_by_step(joined.graph());
            let plan = planned(joined.graph(), steps);
            let single = Net { plan: Arc::new(plan), ..joined.clone() };
            let values: Vec<f32> = (0..3 * 256).map(|i| (i as f32 * 0.7).sin()).collect();
            let input = Tensor::<2>::from_data(burn::tensor::TensorData::new(values, [3, 256]), &device).autodiff();
            let space = ParamSpace::of(&joined);
            let found = [joined, single].map(|net| {
                let net = space.place(net.clone(), &space.vector(&net));
                let mut pass = Pass::training(Seed::new(1));
                let logits = net.forward(input.clone(), &mut pass);
                let gradient = space.gradient(&net, (logits.clone() * logits.clone()).sum().backward());
                let statistics = pass.into_statistics().len();
                (vector::to_vec(&logits.inner().reshape([9])), vector::to_vec(&gradient), statistics)
            });
            let [(a, a_gradient, a_count), (b, b_gradient, b_count)] = found;
            prop_assert_eq!(a_count, b_count);
            for (a, b) in a.iter().zip(&b).chain(a_gradient.iter().zip(&b_gradient)) {
                prop_assert!((a - b).abs() <= 1e-4 * (1.0 + a.abs().max(b.abs())), "{} {}", a, b);
            }
        }
    }
}
