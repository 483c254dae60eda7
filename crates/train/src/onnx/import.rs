//! A model as a network.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use burn::tensor::Device;
use lyceum_core::{Array, Error, Result, Seed, memory};
use lyceum_onnx::{Model, Node, Tensor, evaluate, extents};

use super::opaque::Opaque;
use crate::{
    ParamSpace,
    graph::{Constant, Graph, Net, Op, Port, Shape},
};

/// A network from a model.
#[derive(Debug, Clone)]
pub struct Imported {
    /// Its description.
    pub graph: Graph,
    /// Its weights, by the names of the parameters.
    pub weights: Vec<Array>,
    /// What the file tells of the model, by key.
    pub metadata: Vec<(String, String)>,
}

impl Imported {
    /// The same without the softmax at its end, so that it gives logits; `None` where it has none.
    ///
    /// # Errors
    ///
    /// As [`Graph::add`].
    pub fn without_softmax(&self) -> Result<Option<Self>> {
        match self.graph.nodes().last().map(|node| (&node.op, node.inputs.as_slice())) {
            Some((Op::Softmax, [before])) if matches!(self.graph.output(), Shape::Row(_)) => {
                Ok(Some(Self { graph: self.graph.only(*before)?, ..self.clone() }))
            }
            _ => Ok(None),
        }
    }

    /// The same with another fully connected layer in place of the last one, for so many classes; its weights are not the model's.
    ///
    /// # Errors
    ///
    /// A network whose last operation is none.
    pub fn with_head(self, classes: usize) -> Result<Self> {
        let mut plain = self.without_scale()?;
        let Some((name, Op::Linear { .. }, &[before])) =
            plain.graph.nodes().last().map(|node| (node.name.clone(), &node.op, node.inputs.as_slice()))
        else {
            let found = plain.graph.nodes().last().map_or_else(|| "nothing".into(), |node| format!("`{}` ({})", node.name, node.op));
            return Err(Error::invalid("the network's last operation", found, "a fully connected layer, which a new head replaces"));
        };
        let mut graph = plain.graph.only(before)?;
        let last = graph.nodes().len().checked_sub(1).map_or(Port::Input, Port::Node);
        graph.add(&name, Op::Linear { outputs: classes }, &[last])?;
        let own = ["weight", "bias"].map(|slot| format!("Net.{name}.{slot}"));
        plain.weights.retain(|array| !own.contains(&array.name));
        plain.graph = graph;
        Ok(plain)
    }

    /// The network without what its output is multiplied by, and what is added to it, where these are the same for all examples: in units
    /// that its last layer gives ([`Net::rescaled`]).
    ///
    /// # Errors
    ///
    /// As [`Graph::add`].
    pub fn without_scale(mut self) -> Result<Self> {
        let is_fixed =
            |port: &Port| matches!(port, Port::Node(node) if matches!(self.graph.nodes()[*node].op, Op::Constant(_) | Op::Learned(_)));
        let mut output = self.graph.nodes().len().checked_sub(1).map_or(Port::Input, Port::Node);
        let mut dropped = Vec::new();
        while let Port::Node(number) = output
            && let Op::Add | Op::Multiply = self.graph.nodes()[number].op
            && let [x, y] = self.graph.nodes()[number].inputs.as_slice()
            && is_fixed(x) != is_fixed(y)
        {
            let (fixed, given) = if is_fixed(x) { (x, y) } else { (y, x) };
            dropped.push(format!("Net.{}.value", self.graph.name(*fixed)));
            output = *given;
        }
        if !dropped.is_empty() {
            self.graph = self.graph.only(output)?;
            self.weights.retain(|array| !dropped.contains(&array.name));
        }
        Ok(self)
    }

    /// An error if there are weights that no gradient reaches, as a node after them is only evaluated.
    ///
    /// # Errors
    ///
    /// The nodes, by name.
    pub fn check_trainable(&self) -> Result<()> {
        let nodes = self.graph.nodes();
        let mut has_weights = vec![false; nodes.len()];
        let mut stops = Vec::new();
        for (number, node) in nodes.iter().enumerate() {
            let before = node.inputs.iter().any(|port| if let Port::Node(input) = port { has_weights[*input] } else { false });
            if let (true, Some(opaque)) = (before, Opaque::of(&node.op)) {
                stops.push(format!("`{}` ({})", node.name, opaque.operator()));
            }
            has_weights[number] = before || self.graph.place_of(number).is_some();
        }
        if stops.is_empty() {
            Ok(())
        } else {
            Err(Error::invalid("the network", stops.join(", "), "operators that gradients go back through"))
        }
    }

    /// The network with the model's weights; what the model has none for is drawn from `seed`.
    ///
    /// # Errors
    ///
    /// As [`Net::new`].
    pub fn net(&self, seed: Seed, device: &Device) -> Result<Net> {
        let net = Net::new(self.graph.clone(), seed, device)?;
        let space = ParamSpace::of(&net);
        let known: HashMap<&str, &Array> = self.weights.iter().map(|array| (array.name.as_str(), array)).collect();
        let arrays: Vec<Array> =
            space.arrays(&net).into_iter().map(|array| known.get(array.name.as_str()).map_or(array, |known| (*known).clone())).collect();
        space.load(net, &arrays)
    }
}

/// What stands for the number of examples where extents are computed: a prime that no network has as an extent.
pub(super) const BATCH: i64 = 1_000_003;

/// A value while a model is read.
#[derive(Debug, Clone)]
pub(super) enum Held {
    /// The same for all examples.
    Known(Tensor),
    /// Of each example.
    Given(Given),
}

/// What a node of the network gives, as the model has it. In memory the axes are the examples, then `extents`.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) port: Port,
    /// How many places of the first axis belong to an example: more than 1 where the model has counted further axes with the examples.
    pub(super) batch: usize,
    pub(super) extents: Vec<usize>,
    /// Of each axis that the model sees, which one it is in memory.
    pub(super) order: Vec<usize>,
}

impl Given {
    pub(super) fn new(port: Port, extents: &[usize]) -> Self {
        Self { port, batch: 1, extents: extents.to_vec(), order: (0..=extents.len()).collect() }
    }

    /// The same in memory, which the network has made something else of.
    pub(super) fn through(&self, port: Port) -> Self {
        Self { port, ..self.clone() }
    }

    /// Extents as the model sees them.
    pub(super) fn dims(&self) -> Vec<usize> {
        self.order.iter().map(|axis| axis.checked_sub(1).map_or(BATCH as usize * self.batch, |axis| self.extents[axis])).collect()
    }

    /// Whether the model's axes are those in memory.
    pub(super) fn is_plain(&self) -> bool {
        self.order.iter().enumerate().all(|(place, axis)| place == *axis)
    }

    /// How many numbers an example has.
    pub(super) fn len(&self) -> usize {
        self.batch * self.extents.iter().product::<usize>()
    }

    /// Whether it lies in memory as another does.
    pub(super) fn lies_as(&self, other: &Self) -> bool {
        (self.batch, &self.extents, &self.order) == (other.batch, &other.extents, &other.order)
    }
}

/// A network of a model.
///
/// `input` is the shape of an example, for models that leave it open, and `output` the name of the output, for those with several.
///
/// # Errors
///
/// Several inputs, an output that is not there, and nodes that mix examples or do not fit; the error names the node.
pub fn import(path: &Path, model: &Model, input: Option<Shape>, output: Option<&str>) -> Result<Imported> {
    Import::new(path, model, input, output)?.run()
}

pub(super) struct Import<'a> {
    path: &'a Path,
    pub(super) model: &'a Model,
    nodes: Vec<&'a Node>,
    output: &'a str,
    pub(super) graph: Graph,
    pub(super) weights: Vec<Array>,
    values: HashMap<&'a str, Held>,
    /// How many nodes read a value.
    readers: HashMap<&'a str, usize>,
    names: HashSet<String>,
    /// The model is of one example.
    of_one: bool,
}

impl<'a> Import<'a> {
    fn new(path: &'a Path, model: &'a Model, input: Option<Shape>, output: Option<&str>) -> Result<Self> {
        let wrong = |what: String| Error::damaged(path, what);
        let listed = || model.outputs.iter().map(|output| format!("`{}`", output.name)).collect::<Vec<_>>().join(", ");
        let output = match output {
            Some(name) => model.outputs.iter().find(|output| output.name == name),
            None => model.outputs.first().filter(|_| model.outputs.len() == 1),
        };
        let output = output.ok_or_else(|| wrong(format!("has the outputs {}; allowed: one of them, by name (`output`)", listed())))?;
        let nodes = model.needed(&output.name);
        let mut readers: HashMap<&str, usize> = HashMap::new();
        nodes.iter().flat_map(|node| &node.inputs).for_each(|name| *readers.entry(name).or_default() += 1);
        *readers.entry(&output.name).or_default() += 1;
        let inputs: Vec<_> = model.inputs.iter().filter(|input| readers.contains_key(input.name.as_str())).collect();
        let [given] = inputs.as_slice() else {
            let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
            return Err(wrong(format!("reads {} inputs ({}); allowed: one", names.len(), names.join(", "))));
        };
        let dims = given.dims.clone().unwrap_or_default();
        // What a convolution reads has its channels first, whatever their number.
        let direct = |node: &&&Node| {
            node.inputs.first() == Some(&given.name) && ["Conv", "MaxPool", "AveragePool", "BatchNormalization"].contains(&node.op.as_str())
        };
        let channels_first = nodes.iter().any(|node| direct(&node));
        let images_last = !channels_first && matches!(dims.as_slice(), [_, first, _, Some(1 | 3 | 4)] if !matches!(first, Some(1 | 3 | 4)));
        let told: Option<Vec<usize>> = dims.get(1..).and_then(|dims| dims.iter().copied().collect());
        let open = || wrong(format!("leaves the extents of its input `{}` open; allowed: an `input` that says them", given.name));
        let shape = match (told, input) {
            (Some(told), _) if images_last => Shape::of(&[told[2], told[0], told[1]]),
            (Some(told), _) => Shape::of(&told),
            (None, input) => input,
        };
        let shape = shape.ok_or_else(open)?;
        // A table's rows are images of one row.
        let is_row = |shape: Shape| matches!(shape, Shape::Row(_) | Shape::Images([1, 1, _]));
        if let Some(wanted) = input
            && wanted != shape
            && (wanted.len() != shape.len() || !(is_row(wanted) || is_row(shape)))
        {
            return Err(wrong(format!("reads examples of {shape}; allowed: {wanted}, as the data have")));
        }
        let extents = shape.extents().to_vec();
        memory::check("the input", &extents)?;
        let in_order = if images_last { vec![extents[1], extents[2], extents[0]] } else { extents.clone() };
        let differs = |(told, have): (&Option<usize>, &usize)| told.is_some_and(|told| told != *have);
        if dims.len() == extents.len() + 1 && dims[1..].iter().zip(&in_order).any(differs) {
            let told: Vec<String> = dims[1..].iter().map(|dim| dim.map_or_else(|| "?".into(), |dim| dim.to_string())).collect();
            return Err(wrong(format!("reads examples of {}; allowed: {shape}, as is asked for", told.join("x"))));
        }
        if !dims.is_empty() && dims.len() != extents.len() + 1 {
            return Err(wrong(format!("reads values of {} axes; allowed: {} for examples of {shape}", dims.len(), extents.len() + 1)));
        }
        let order = if images_last { vec![0, 2, 3, 1] } else { (0..=extents.len()).collect() };
        let held = Held::Given(Given { port: Port::Input, batch: 1, extents, order });
        Ok(Self {
            path,
            model,
            nodes,
            output: &output.name,
            graph: Graph::new(shape),
            weights: Vec::new(),
            values: [(given.name.as_str(), held)].into(),
            readers,
            names: HashSet::new(),
            of_one: dims.first() == Some(&Some(1)),
        })
    }

    fn run(mut self) -> Result<Imported> {
        for node in self.nodes.clone() {
            let reads: Vec<Option<Held>> = node.inputs.iter().map(|name| self.held(name)).collect();
            let path = self.path;
            let wrong = |what: String| Error::damaged(path, format!("the node `{}` ({}): {what}", node.name, node.op));
            let given = self.taken(node, &reads).map_err(wrong)?;
            for (name, held) in node.outputs.iter().zip(given).filter(|(name, _)| !name.is_empty()) {
                self.values.insert(name, held);
            }
        }
        let Some(Held::Given(last)) = self.values.get(self.output).cloned() else {
            return Err(Error::damaged(self.path, format!("the output `{}` is the same for all examples", self.output)));
        };
        let last = self.plain(&last).map_err(|what| Error::damaged(self.path, format!("the output `{}`: {what}", self.output)))?;
        let graph = self.graph.only(last.port)?;
        Ok(Imported { graph, weights: self.weights, metadata: self.model.metadata.clone() })
    }

    /// Whether a value is asked for.
    pub(super) fn is_read(&self, name: &str) -> bool {
        self.readers.contains_key(name)
    }

    fn held(&self, name: &str) -> Option<Held> {
        if name.is_empty() {
            return None;
        }
        self.values.get(name).cloned().or_else(|| self.model.weights.get(name).cloned().map(Held::Known))
    }

    /// What a node gives.
    fn taken(&mut self, node: &Node, reads: &[Option<Held>]) -> Result<Vec<Held>, String> {
        let known: Option<Vec<Option<&Tensor>>> = reads
            .iter()
            .map(|read| match read {
                None => Some(None),
                Some(Held::Known(tensor)) => Some(Some(tensor)),
                Some(Held::Given(_)) => None,
            })
            .collect();
        if let Some(known) = known {
            // What is the same for each example is held once.
            let once = |tensor: &Tensor| match tensor {
                Tensor::Int(x) => Tensor::Int(x.mapv(|x| if x != 0 && x % BATCH == 0 { 1 } else { x })),
                tensor => tensor.clone(),
            };
            let spread = ["Expand", "ConstantOfShape"].contains(&node.op.as_str());
            let held: Vec<Option<Tensor>> = known.iter().map(|tensor| tensor.filter(|_| spread).map(once)).collect();
            let known: Vec<Option<&Tensor>> = if spread { held.iter().map(Option::as_ref).collect() } else { known };
            return Ok(evaluate(node, &known, self.model.opset)?.into_iter().map(Held::Known).collect());
        }
        if let ("Shape", Some(Some(Held::Given(given)))) = (node.op.as_str(), reads.first()) {
            return Ok(vec![Held::Known(extents::shape(node, &given.dims()))]);
        }
        if let Some(given) = self.lowered(node, reads)? {
            return Ok(given.into_iter().map(Held::Given).collect());
        }
        let mut found = Vec::new();
        // Those at the end that are left out are not asked for.
        let wanted = node.outputs.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1);
        for output in 0..wanted {
            found.push(Held::Given(self.evaluated(node, reads, output)?));
        }
        Ok(found)
    }

    /// One of the values that a node gives, by the format's specification.
    fn evaluated(&mut self, node: &Node, reads: &[Option<Held>], output: usize) -> Result<Given, String> {
        let inputs: Vec<Port> =
            reads.iter().filter_map(|read| if let Some(Held::Given(given)) = read { Some(given.port) } else { None }).collect();
        // The same number for the same model, whatever else there is.
        let id = self.graph.nodes().len();
        let (operation, like) = Opaque::new(id, node, self.model.opset, reads, output)?;
        Ok(like.through(self.emit(&node.name, Op::Custom(Arc::new(operation)), &inputs)?))
    }

    /// A name of the network for a node of the model.
    fn named(&mut self, name: &str) -> String {
        let letters = |letter: char| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '.' };
        let name: String = name.chars().map(letters).collect();
        let name = name.trim_matches('.');
        let name = if name.is_empty() || name == "input" { format!("node{name}") } else { name.to_owned() };
        let mut unique = name.clone();
        let mut number = 2;
        while !self.names.insert(unique.clone()) {
            unique = format!("{name}-{number}");
            number += 1;
        }
        unique
    }

    /// Adds a node to the network.
    pub(super) fn emit(&mut self, name: &str, op: Op, inputs: &[Port]) -> Result<Port, String> {
        let name = self.named(name);
        self.graph.add(&name, op, inputs).map_err(|error| error.to_string())
    }

    /// Adds a node with these weights, by the last part of their names.
    pub(super) fn emit_with(
        &mut self,
        name: &str,
        op: Op,
        input: Port,
        weights: Vec<(&str, Vec<usize>, Vec<f32>)>,
    ) -> Result<Port, String> {
        let port = self.emit(name, op, &[input])?;
        let name = self.graph.name(port).to_owned();
        self.weights.extend(weights.into_iter().map(|(slot, shape, values)| Array::new(format!("Net.{name}.{slot}"), shape, values)));
        Ok(port)
    }

    /// Numbers that are the same for all examples, which training may change.
    pub(super) fn emit_learned(&mut self, name: &str, constant: Constant) -> Result<Port, String> {
        self.emit(&format!("{name}.values"), Op::Learned(constant), &[])
    }

    /// The value in another shape of the network; what the model sees is what lies in memory.
    pub(super) fn shaped(&mut self, given: &Given, shape: Shape) -> Result<Port, String> {
        if self.graph.shape(given.port) == shape {
            return Ok(given.port);
        }
        let op = if matches!(shape, Shape::Row(_)) { Op::Flatten } else { Op::Reshape(shape) };
        self.emit("shape", op, &[given.port])
    }

    /// The value so that the model's axes are those in memory.
    pub(super) fn plain(&mut self, given: &Given) -> Result<Given, String> {
        if given.is_plain() {
            return Ok(given.clone());
        }
        let rank = given.extents.len();
        let extents: Vec<usize> = given.order.iter().filter_map(|axis| axis.checked_sub(1)).map(|axis| given.extents[axis]).collect();
        if given.order[0] == 0 && given.batch == 1 {
            // The last axes come first.
            let first = given.order[1];
            let rotated = (0..rank).all(|place| given.order[place + 1] == (first - 1 + place) % rank + 1);
            if rotated {
                let [rows, columns] =
                    [&given.extents[..first - 1], &given.extents[first - 1..]].map(|extents| extents.iter().product::<usize>());
                let port = self.shaped(given, Shape::Sequence([rows, columns]))?;
                let port = self.emit("transpose", Op::Transpose, &[port])?;
                return Ok(Given::new(port, &extents));
            }
        }
        let node = Node {
            name: "transpose".into(),
            op: "Identity".into(),
            domain: String::new(),
            inputs: vec![String::new()],
            outputs: vec![String::new()],
            attributes: HashMap::new(),
        };
        if given.order[0] != 0 {
            return Err("examples are not along the first axis".into());
        }
        self.evaluated(&node, &[Some(Held::Given(given.clone()))], 0)
    }

    /// Whether a value that a node reads is what a product of matrices gives, and no other node reads it.
    pub(super) fn reads_product_alone(&self, node: &Node, input: usize) -> bool {
        let Some(name) = node.inputs.get(input) else { return false };
        let product = self.nodes.iter().any(|other| ["MatMul", "Gemm"].contains(&other.op.as_str()) && other.outputs.contains(name));
        product && self.readers.get(name.as_str()) == Some(&1)
    }

    /// Whether what a node gives are places of rows and nothing else.
    pub(super) fn are_symbols(&self, node: &Node) -> bool {
        let (mut names, mut seen): (Vec<&str>, HashSet<&str>) = (node.outputs.iter().map(String::as_str).collect(), HashSet::new());
        while let Some(name) = names.pop() {
            if name == self.output {
                return false;
            }
            if name.is_empty() || !seen.insert(name) {
                continue;
            }
            for reader in self.nodes.iter().filter(|reader| reader.inputs.iter().any(|input| input == name)) {
                let reads_at = |place: usize| reader.inputs.get(place).is_some_and(|input| input == name);
                match reader.op.as_str() {
                    "Gather" if reads_at(1) && !reads_at(0) => {}
                    "Clip" if self.keeps_symbols(reader) => names.extend(reader.outputs.iter().map(String::as_str)),
                    "Cast" | "Identity" => names.extend(reader.outputs.iter().map(String::as_str)),
                    _ => return false,
                }
            }
        }
        true
    }

    /// Whether a Clip leaves the places of all rows that are read with what it gives.
    pub(super) fn keeps_symbols(&self, clip: &Node) -> bool {
        let bound = |input: usize, usual: i64| match clip.inputs.get(input).and_then(|name| self.held(name)) {
            Some(Held::Known(Tensor::Int(x))) => x.iter().next().copied(),
            None => Some(usual),
            Some(_) => None,
        };
        let rows = self.nodes.iter().filter(|reader| reader.op == "Gather" && reader.inputs.get(1) == clip.outputs.first());
        let rows = rows.map(|reader| match self.held(&reader.inputs[0]) {
            Some(Held::Known(vectors)) => vectors.dims().first().map(|rows| *rows as i64),
            _ => None,
        });
        let (low, high) = (bound(1, i64::MIN), bound(2, i64::MAX));
        let all = |rows: Vec<Option<i64>>| {
            !rows.is_empty()
                && rows.iter().all(|rows| matches!((rows, low, high), (Some(rows), Some(low), Some(high)) if low <= 0 && high >= rows - 1))
        };
        all(rows.collect())
    }

    /// Whether the model is written for one example.
    pub(super) fn is_of_one(&self) -> bool {
        self.of_one
    }
}
