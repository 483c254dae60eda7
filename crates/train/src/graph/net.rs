//! A description as a network that can be trained.

use std::sync::Arc;

use burn::{
    module::{Content, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor},
    tensor::{Device, Tensor},
};
use lyceum_core::{Error, Result, Seed, memory};

use super::{
    Graph, Op, Shape,
    plan::{Step, plan},
    run::{Value, run},
};
use crate::{
    Network, Pass,
    layers::{BatchNorm, Conv2d, GroupNorm, Linear, TransposedConv2d},
};

/// A network that runs a [`Graph`]. Its parameters are called after their nodes, in the graph's order.
#[derive(Debug, Clone)]
pub struct Net {
    /// Of the nodes that have parameters.
    layers: Vec<(usize, Layer)>,
    graph: Arc<Graph>,
    plan: Arc<Vec<Planned>>,
}

/// A step and the layer that has its parameters.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) step: Step,
    pub(super) layer: Option<usize>,
}

/// What has parameters.
#[derive(Debug, Clone)]
pub(super) enum Layer {
    Conv(Conv2d),
    TransposedConv(TransposedConv2d),
    Linear(Linear),
    BatchNorm(BatchNorm),
    GroupNorm(GroupNorm),
}

impl Net {
    /// The network with initial values drawn from `seed`: weights by He's rule in the order of the nodes, biases 0, scales 1.
    ///
    /// # Errors
    ///
    /// Parameters that do not fit into memory, none at all, and a node whose value nobody reads.
    pub fn new(graph: Graph, seed: Seed, device: &Device) -> Result<Self> {
        if let Some(node) = graph.unread() {
            return Err(Error::invalid("the network", format!("`{}`, which nobody reads", node.name), "nodes that the output depends on"));
        }
        let rng = &mut seed.stream("model/init");
        let mut layers: Vec<(usize, Layer)> = Vec::new();
        let mut layer_of = vec![None; graph.nodes().len()];
        for (number, node) in graph.nodes().iter().enumerate() {
            let input = graph.shape(*node.inputs.first().unwrap_or(&super::Port::Input));
            let channels = input.channels();
            let fits = |factors: &[usize]| memory::check(&format!("the weights of `{}`", node.name), factors);
            let layer = match &node.op {
                Op::Conv(conv) => {
                    fits(&[channels / conv.groups, conv.outputs, conv.kernel, conv.kernel])?;
                    let layer = Conv2d::grouped([channels, conv.outputs], conv.kernel, conv.groups, rng, device);
                    let layer = layer.with_stride(conv.stride).with_padding(conv.padding).with_dilation(conv.dilation);
                    Layer::Conv(if conv.bias { layer } else { layer.without_bias() })
                }
                Op::TransposedConv { outputs, kernel, stride, padding } => {
                    fits(&[channels, *outputs, *kernel, *kernel])?;
                    Layer::TransposedConv(TransposedConv2d::new([channels, *outputs], *kernel, *stride, *padding, rng, device))
                }
                Op::Linear { outputs } => {
                    fits(&[input.len(), *outputs])?;
                    Layer::Linear(Linear::new(input.len(), *outputs, rng, device))
                }
                Op::BatchNorm => Layer::BatchNorm(BatchNorm::new(channels, device)),
                Op::LayerNorm => Layer::GroupNorm(GroupNorm::new(channels, 1, device)),
                Op::GroupNorm { groups } => Layer::GroupNorm(GroupNorm::new(channels, *groups, device)),
                _ => continue,
            };
            layer_of[number] = Some(layers.len());
            layers.push((number, layer));
        }
        if layers.is_empty() {
            return Err(Error::invalid("the network", "no parameters", "at least one layer that learns"));
        }
        let plan = plan(&graph).into_iter().map(|step| Planned { layer: layer_of[step.node], step }).collect();
        Ok(Self { layers, graph: Arc::new(graph), plan: Arc::new(plan) })
    }

    /// Its description.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    pub(super) fn layer(&self, number: usize) -> &Layer {
        &self.layers[number].1
    }
}

impl Network for Net {
    fn forward(&self, inputs: Tensor<2>, pass: &mut Pass) -> Tensor<2> {
        let n = inputs.dims()[0];
        let input = match self.graph.input() {
            Shape::Row(_) => Value::Rows(inputs),
            Shape::Images([channels, height, width]) => Value::Images(inputs.reshape([n, channels, height, width])),
        };
        run(self, &self.plan, input, pass).rows()
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
        }
    };
}

impl Net {
    fn with_layers(self, change: impl Fn(Layer) -> Layer) -> Self {
        Self { layers: self.layers.into_iter().map(|(number, layer)| (number, change(layer))).collect(), ..self }
    }
}

/// What the framework is told of this type.
const TYPE: &str = "Struct:Net";

// By hand, so that a parameter is called after its node and not after its place in a list.
impl Module for Net {
    fn collect_devices(&self, devices: Vec<Device>) -> Vec<Device> {
        self.layers.iter().fold(devices, |devices, (_, layer)| each!(layer, inner => inner.collect_devices(devices)))
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
        for (number, layer) in &self.layers {
            let name = &self.graph.nodes()[*number].name;
            visitor.enter_module(name, TYPE);
            each!(layer, inner => inner.visit(visitor));
            visitor.exit_module(name, TYPE);
        }
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        let mut layers = Vec::with_capacity(self.layers.len());
        for (number, layer) in self.layers {
            let name = &self.graph.nodes()[number].name;
            mapper.enter_module(name, TYPE);
            let layer = with!(layer, inner => inner.map(mapper));
            mapper.exit_module(name, TYPE);
            layers.push((number, layer));
        }
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
    use crate::{
        ParamSpace,
        graph::{Activation, Conv, Pool, Port, plan::step_by_step},
    };

    /// A network in which values are shared, read twice and pooled, whose output depends on all.
    fn random_graph(choices: &[(u8, usize, usize)]) -> Graph {
        let mut graph = Graph::new(Shape::Images([4, 8, 8]));
        let mut ports = vec![Port::Input];
        let conv = Op::Conv(Conv::new(4, 3));
        let pool = |size| Op::MaxPool(Pool { size, stride: size, padding: 0 });
        for (number, (kind, a, b)) in choices.iter().enumerate() {
            let first = ports[ports.len() - 1 - a % ports.len().min(3)];
            let second = ports[ports.len() - 1 - b % ports.len()];
            let (op, inputs) = match kind % 8 {
                0 => (conv.clone(), vec![first]),
                1 | 2 => (Op::BatchNorm, vec![first]),
                3 | 4 => (Op::Activation(Activation::Relu), vec![first]),
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
                Shape::Row(_) => port,
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
            let layer_of = |node: usize| joined.layers.iter().position(|(number, _)| *number == node);
            let plan = steps.into_iter().map(|step| Planned { layer: layer_of(step.node), step }).collect();
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
