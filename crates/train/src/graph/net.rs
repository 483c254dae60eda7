//! A description as a network that can be trained.

use std::sync::Arc;

use burn::{
    module::{Content, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor},
    tensor::{Device, Tensor},
};
use lyceum_core::{Result, Seed, memory};

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
    layers: Vec<(String, Layer)>,
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
    /// Parameters that do not fit into memory.
    pub fn new(graph: Graph, seed: Seed, device: &Device) -> Result<Self> {
        let rng = &mut seed.stream("model/init");
        let mut layers: Vec<(String, Layer)> = Vec::new();
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
            layers.push((node.name.clone(), layer));
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
        Self { layers: self.layers.into_iter().map(|(name, layer)| (name, change(layer))).collect(), ..self }
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
        for (name, layer) in &self.layers {
            visitor.enter_module(name, TYPE);
            each!(layer, inner => inner.visit(visitor));
            visitor.exit_module(name, TYPE);
        }
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        let mut layers = Vec::with_capacity(self.layers.len());
        for (name, layer) in self.layers {
            mapper.enter_module(&name, TYPE);
            let layer = with!(layer, inner => inner.map(mapper));
            mapper.exit_module(&name, TYPE);
            layers.push((name, layer));
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
