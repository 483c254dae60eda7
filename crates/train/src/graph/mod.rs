//! Networks as data: operations by name, in the order in which they run, with what each reads.
//!
//! A [`Graph`] is made node by node with [`Graph::add`], which finds each shape and refuses what does not fit, or read from a TOML
//! file ([`Graph::read`]). It says what it costs ([`Graph::cost`], [`Graph::table`]), draws and writes itself ([`Graph::svg`], [`Graph::toml`]), and becomes a network that can be trained
//! ([`Net`]).
//!
//! ```
//! use lyceum_core::Seed;
//! use lyceum_train::{ParamSpace, cpu, graph::{Activation, Conv, Graph, Net, Op, Port, Shape}};
//!
//! let mut graph = Graph::new(Shape::Images([1, 8, 8]));
//! let conv = graph.add("conv", Op::Conv(Conv::new(16, 3)), &[Port::Input])?;
//! let relu = graph.add("relu", Op::Activation(Activation::Relu), &[conv])?;
//! graph.add("output", Op::Linear { outputs: 10 }, &[relu])?;
//! let net = Net::new(graph, Seed::new(1), &cpu())?;
//! assert_eq!(ParamSpace::of(&net).dimension(), 16 * 9 + 16 + 16 * 64 * 10 + 10);
//! # Ok::<(), lyceum_core::Error>(())
//! ```

mod branch;
mod cost;
mod dependency;
mod drawing;
pub(crate) mod file;
mod fold;
mod inference;
mod linear_map;
mod net;
mod op;
mod operation;
mod plan;
mod predictor;
mod run;
mod shape;
mod slice;
mod table;
mod text;

pub use branch::Branch;
pub use cost::Cost;
pub use dependency::{DependencyGroup, ParamSlice, Unit};
pub use linear_map::LinearMap;
pub use net::Net;
pub use op::{Activation, Constant, Conv, Op, Pool};
pub use operation::{Make, Operation, register};
pub use predictor::Predictor;
pub use shape::Shape;
pub use slice::Slices;

use std::collections::{HashMap, HashSet};

use lyceum_core::{Error, Result, memory};

/// What a node reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Port {
    /// The network's input.
    Input,
    /// What the node of this number gives.
    Node(usize),
}

/// One operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its name, different from all others: its parameters are called `NAME.weight` and so on.
    pub name: String,
    /// What it does.
    pub op: Op,
    /// What it reads: nodes that come before it.
    pub inputs: Vec<Port>,
    /// The shape of what it gives, for one example.
    pub shape: Shape,
}

/// A network's description. What the last node gives is what the network gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    input: Shape,
    nodes: Vec<Node>,
    names: HashSet<String>,
    /// What names of parameters begin with.
    family: &'static str,
    layers: Vec<LayerPlace>,
}

/// Where the parameters of a node belong. A node has several where they are listed apart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LayerPlace {
    /// What they are called.
    pub(crate) name: String,
    pub(crate) node: usize,
    /// Which of the node's.
    pub(crate) part: usize,
    pub(crate) init: Init,
}

/// How weights are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Init {
    /// U(−√(6/fan_in), √(6/fan_in)).
    He,
    /// N(0, deviation²).
    Normal(f32),
}

/// More nodes than any network has: a file asks for them by repeats of repeats.
const MOST_NODES: usize = 10_000;

impl Graph {
    /// A network without operations, for examples of this shape.
    pub fn new(input: Shape) -> Self {
        Self { input, nodes: Vec::new(), names: HashSet::new(), family: "Net", layers: Vec::new() }
    }

    /// With other names of parameters, in another order: those of a network that there was before it was a description.
    pub(crate) fn with_layers(mut self, family: &'static str, change: impl FnOnce(&mut Vec<LayerPlace>)) -> Self {
        self.family = family;
        change(&mut self.layers);
        self
    }

    /// Adds an operation after those that are there; gives what other nodes call it.
    ///
    /// # Errors
    ///
    /// A name that is taken, and shapes that the operation does not take; the error names the node and the shapes.
    pub fn add(&mut self, name: &str, op: Op, inputs: &[Port]) -> Result<Port> {
        let wrong = |what: String| Err(Error::Violated(format!("`{name}`: {what}")));
        if name == "input" || !file::is_name(name) || self.names.contains(name) {
            return wrong("a node's name must be no other's and not `input`; allowed: letters, digits, -, _ and .".into());
        }
        if self.nodes.len() == MOST_NODES {
            return wrong(format!("found more than {MOST_NODES} nodes; allowed: fewer"));
        }
        if let Some(Port::Node(number)) = inputs.iter().find(|port| matches!(port, Port::Node(number) if *number >= self.nodes.len())) {
            return wrong(format!("reads node {number}; allowed: one of the {} nodes before it", self.nodes.len()));
        }
        if self.input.is_empty() {
            return wrong(format!("examples of {}; allowed: 1 or more of each", self.input));
        }
        if matches!(op, Op::Embedding { .. }) && !inputs.iter().all(|port| self.is_input(*port)) {
            return wrong("an embedding reads symbols; allowed: the network's input, or a part of it".into());
        }
        let shapes: Vec<Shape> = inputs.iter().map(|port| self.shape(*port)).collect();
        match op.shape(&shapes) {
            Ok(shape) if shape.is_empty() => wrong(format!("gives {shape} numbers; allowed: 1 or more of each")),
            Ok(shape) => {
                memory::check(&format!("what `{name}` gives"), &[shape.len()])?;
                self.names.insert(name.into());
                let init = match op {
                    Op::Lstm { width } => Init::Normal((1.0 / (3.0 * width as f64)).sqrt() as f32),
                    Op::Embedding { .. } => Init::Normal(1.0),
                    _ => Init::He,
                };
                self.layers.extend(op.parts().iter().enumerate().map(|(part, own)| LayerPlace {
                    name: if own.is_empty() { name.to_owned() } else { format!("{name}.{own}") },
                    node: self.nodes.len(),
                    part,
                    init,
                }));
                self.nodes.push(Node { name: name.into(), op, inputs: inputs.to_vec(), shape });
                Ok(Port::Node(self.nodes.len() - 1))
            }
            Err(what) => wrong(what),
        }
    }

    /// The nodes, in the order in which they run.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The shape of one example.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// The shape of what is given for one example.
    pub fn output(&self) -> Shape {
        self.nodes.last().map_or(self.input, |node| node.shape)
    }

    /// The shape of what a node reads.
    pub fn shape(&self, port: Port) -> Shape {
        match port {
            Port::Input => self.input,
            Port::Node(number) => self.nodes[number].shape,
        }
    }

    /// What a node reads is called.
    pub fn name(&self, port: Port) -> &str {
        match port {
            Port::Input => "input",
            Port::Node(number) => &self.nodes[number].name,
        }
    }

    /// What the parameters of a node are called after; `None` for a node without any.
    pub(crate) fn place_of(&self, node: usize) -> Option<&str> {
        self.layers.iter().find(|place| place.node == node).map(|place| place.name.as_str())
    }

    /// The names of all layers of a node.
    pub(crate) fn places_of(&self, node: usize) -> impl Iterator<Item = &str> {
        self.layers.iter().filter(move |place| place.node == node).map(|place| place.name.as_str())
    }

    /// A node whose value nobody reads, besides the last.
    pub fn unread(&self) -> Option<&Node> {
        let before_last = self.nodes.len().saturating_sub(1);
        self.nodes[..before_last].iter().zip(self.readers()).find(|(_, readers)| readers.is_empty()).map(|(node, _)| node)
    }

    /// What the network gives.
    fn last(&self) -> Port {
        self.nodes.len().checked_sub(1).map_or(Port::Input, Port::Node)
    }

    /// The part of it that gives this value.
    pub(crate) fn only(&self, port: Port) -> Result<Self> {
        self.part(port, &HashMap::new())
    }

    /// The part that gives this value, with other values instead of what some nodes give.
    fn part(&self, output: Port, instead: &HashMap<usize, Port>) -> Result<Self> {
        let resolve = |mut port: Port| {
            while let Port::Node(number) = port
                && let Some(other) = instead.get(&number)
            {
                port = *other;
            }
            port
        };
        let mut needed = vec![false; self.nodes.len()];
        let ask = |port: Port, needed: &mut Vec<bool>| {
            if let Port::Node(number) = resolve(port) {
                needed[number] = true;
            }
        };
        ask(output, &mut needed);
        for number in (0..self.nodes.len()).rev() {
            if needed[number] {
                self.nodes[number].inputs.iter().for_each(|port| ask(*port, &mut needed));
            }
        }
        let mut part = Self::new(self.input);
        let mut ports = vec![Port::Input; self.nodes.len()];
        for (number, node) in self.nodes.iter().enumerate().filter(|(number, _)| needed[*number]) {
            let at = |port: &Port| if let Port::Node(input) = resolve(*port) { ports[input] } else { Port::Input };
            let inputs: Vec<Port> = node.inputs.iter().map(at).collect();
            ports[number] = part.add(&node.name, node.op.clone(), &inputs)?;
        }
        part.family = self.family;
        let moved = |place: &LayerPlace| match ports[place.node] {
            Port::Node(node) => Some(LayerPlace { node, ..place.clone() }),
            Port::Input => None,
        };
        part.layers = self.layers.iter().filter_map(moved).collect();
        Ok(part)
    }

    /// For each node, the nodes that read it; one that reads it twice is listed twice.
    fn readers(&self) -> Vec<Vec<usize>> {
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        for (number, node) in self.nodes.iter().enumerate() {
            for port in &node.inputs {
                if let Port::Node(input) = port {
                    readers[*input].push(number);
                }
            }
        }
        readers
    }

    /// Whether this node reads the network's input, or a part of it, in whatever shape, and nothing else.
    fn reads_input(&self, number: usize) -> bool {
        matches!(self.nodes[number].inputs.as_slice(), [port] if self.is_input(*port))
    }

    /// Whether this is the network's input, or a part of it, in whatever shape.
    fn is_input(&self, mut port: Port) -> bool {
        while let Port::Node(number) = port {
            let node = &self.nodes[number];
            match (&node.op, node.inputs.as_slice()) {
                (Op::Flatten | Op::Reshape(_) | Op::Slice { .. }, [before]) => port = *before,
                _ => return false,
            }
        }
        true
    }

    /// Whether a node has running statistics.
    pub fn has_batch_norm(&self) -> bool {
        self.nodes.iter().any(|node| match &node.op {
            Op::Custom(operation) => operation.body().is_some_and(Self::has_batch_norm),
            op => *op == Op::BatchNorm,
        })
    }

    /// Whether it draws what is dropped.
    pub fn has_dropout(&self) -> bool {
        self.nodes.iter().any(|node| match &node.op {
            Op::Custom(operation) => operation.body().is_some_and(Self::has_dropout),
            op => matches!(op, Op::Dropout(rate) if *rate > 0.0),
        })
    }

    /// Whether each node reads the one before it and nothing else.
    pub fn is_chain(&self) -> bool {
        self.nodes.iter().enumerate().all(|(number, node)| {
            let before = number.checked_sub(1).map_or(Port::Input, Port::Node);
            node.inputs == [before]
        })
    }
}
