//! Which slices of which parameters live and die together.
//!
//! Every value has channels: of images, of rows, of the steps of a sequence. What an operation ties, dies together: the channels that a sum
//! adds, the numbers of an image's channel after flattening, the four gates of an LSTM's unit, the channels of a group
//! normalisation's group, which share a mean. A unit is a set of channels that are tied; without it the rest of the network gives what it
//! gave while the weights that read the unit were 0.

use std::collections::BTreeMap;

use super::{Conv, Graph, LayerPlace, Op, Port, Shape};

/// Slices of parameters that live and die together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// What is taken out of parameters where the unit is made: filters, columns, biases, scales and shifts.
    pub made: Vec<ParamSlice>,
    /// What is taken out of the weights that read it. An LSTM's unit reads itself.
    pub read: Vec<ParamSlice>,
    /// The channels, of all values.
    pub(super) atoms: Vec<usize>,
}

/// Indices along an axis of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamSlice {
    /// Its name, as [`ParamSpace`](crate::ParamSpace) has it.
    pub parameter: String,
    /// The axis.
    pub axis: usize,
    /// The indices, rising.
    pub indices: Vec<usize>,
}

/// Units that the same operations make and read: the channels of a stage of a residual network, the hidden units of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DependencyGroup {
    /// The first node that makes them.
    pub name: String,
    /// The units, by the first channel of each.
    pub units: Vec<Unit>,
}

impl Graph {
    /// The groups of units that can be taken out, in the order of the nodes that make them. What the network reads and gives stays, and
    /// so does what a softmax or a layer normalisation sees whole.
    pub fn dependencies(&self) -> Vec<DependencyGroup> {
        let channels = Channels::of(self);
        let mut units: BTreeMap<usize, Unit> = BTreeMap::new();
        for place in &self.layers {
            for (parameter, axes) in channels.parameters(self, place) {
                for (axis, Axis { atoms, reads }) in axes.into_iter().enumerate() {
                    for (index, atom) in atoms.into_iter().enumerate() {
                        let unit = units.entry(channels.root[atom]).or_insert_with(|| Unit { made: vec![], read: vec![], atoms: vec![] });
                        let slices = if reads { &mut unit.read } else { &mut unit.made };
                        match slices.last_mut() {
                            Some(last) if last.parameter == parameter && last.axis == axis => last.indices.push(index),
                            _ => slices.push(ParamSlice { parameter: parameter.clone(), axis, indices: vec![index] }),
                        }
                    }
                }
            }
        }
        for (atom, root) in channels.root.iter().enumerate() {
            units.entry(*root).and_modify(|unit| unit.atoms.push(atom));
        }
        // Units whose channels belong to the same values are of one group.
        let mut groups: BTreeMap<Vec<usize>, DependencyGroup> = BTreeMap::new();
        for (root, unit) in units {
            if channels.fixed[root] || channels.is_whole(&unit.atoms) {
                continue;
            }
            let mut values: Vec<usize> = unit.atoms.iter().map(|atom| channels.value_of(*atom)).collect();
            values.dedup();
            // The first value is the input's, which stays.
            let name = self.nodes()[values[0] - 1].name.clone();
            groups.entry(values).or_insert_with(|| DependencyGroup { name, units: Vec::new() }).units.push(unit);
        }
        groups.into_values().collect()
    }
}

/// The channels of every value: those of the input, then those of each node, one after the other.
pub(super) struct Channels {
    /// Where those of each value begin; at the end, how many there are.
    starts: Vec<usize>,
    /// The first channel that each is tied to.
    pub(super) root: Vec<usize>,
    /// Of roots: whether it stays, as what the network reads or gives does.
    fixed: Vec<bool>,
}

/// What the indices along an axis of a parameter stand for; nothing where the axis stays as it is.
pub(super) struct Axis {
    pub(super) atoms: Vec<usize>,
    reads: bool,
}

impl Axis {
    fn made(atoms: Vec<usize>) -> Self {
        Self { atoms, reads: false }
    }

    fn read(atoms: Vec<usize>) -> Self {
        Self { atoms, reads: true }
    }

    fn stays() -> Self {
        Self::made(Vec::new())
    }
}

impl Channels {
    /// Ties what the operations tie.
    pub(super) fn of(graph: &Graph) -> Self {
        let shapes = std::iter::once(graph.input()).chain(graph.nodes().iter().map(|node| node.shape));
        let mut starts = vec![0];
        starts.extend(shapes.scan(0, |sum, shape| {
            *sum += shape.channels();
            Some(*sum)
        }));
        let count = starts[starts.len() - 1];
        let mut channels = Self { starts, root: (0..count).collect(), fixed: vec![false; count] };
        for number in 0..graph.nodes().len() {
            channels.tie_node(graph, number);
        }
        for atom in 0..count {
            channels.root[atom] = channels.find(atom);
        }
        let output = graph.nodes().len().checked_sub(1).map_or(Port::Input, Port::Node);
        // An embedding reads a step from each channel.
        let symbols = graph.nodes().iter().filter(|node| matches!(node.op, Op::Embedding { .. })).map(|node| node.inputs[0]);
        for port in symbols.chain([Port::Input, output]) {
            for channel in 0..graph.shape(port).channels() {
                let root = channels.root[channels.atom(port, channel)];
                channels.fixed[root] = true;
            }
        }
        channels
    }

    fn atom(&self, port: Port, channel: usize) -> usize {
        let value = match port {
            Port::Input => 0,
            Port::Node(number) => number + 1,
        };
        self.starts[value] + channel
    }

    /// The channels of a value.
    pub(super) fn atoms(&self, port: Port, shape: Shape) -> Vec<usize> {
        (0..shape.channels()).map(|channel| self.atom(port, channel)).collect()
    }

    /// The number of the value whose channel this is.
    fn value_of(&self, atom: usize) -> usize {
        self.starts.partition_point(|start| *start <= atom) - 1
    }

    /// Whether these are all channels of some value.
    fn is_whole(&self, atoms: &[usize]) -> bool {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        atoms.iter().for_each(|atom| *counts.entry(self.value_of(*atom)).or_default() += 1);
        counts.iter().any(|(value, count)| *count == self.starts[value + 1] - self.starts[*value])
    }

    /// Whether each of these sets is all channels of one unit that can be taken out.
    pub(super) fn are_units<'a>(&self, mut sets: impl Iterator<Item = &'a [usize]>) -> bool {
        let mut sizes = vec![0_usize; self.root.len()];
        self.root.iter().for_each(|root| sizes[*root] += 1);
        sets.all(|atoms| {
            let Some(&root) = atoms.first().and_then(|first| self.root.get(*first)) else { return false };
            let tied = atoms.len() == sizes[root] && atoms.iter().all(|atom| self.root.get(*atom) == Some(&root));
            tied && !self.fixed[root] && !self.is_whole(atoms)
        })
    }

    fn find(&mut self, atom: usize) -> usize {
        let mut root = atom;
        while self.root[root] != root {
            self.root[root] = self.root[self.root[root]];
            root = self.root[root];
        }
        root
    }

    /// The smaller of the two is the root.
    fn tie(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.root[a.max(b)] = a.min(b);
    }

    fn tie_all(&mut self, port: Port, channels: impl IntoIterator<Item = usize>) {
        let mut channels = channels.into_iter();
        if let Some(first) = channels.next() {
            channels.for_each(|channel| self.tie(self.atom(port, first), self.atom(port, channel)));
        }
    }

    /// Channel by channel.
    fn tie_each(&mut self, a: Port, b: Port, count: usize) {
        (0..count).for_each(|channel| self.tie(self.atom(a, channel), self.atom(b, channel)));
    }

    fn tie_node(&mut self, graph: &Graph, number: usize) {
        let node = &graph.nodes()[number];
        let output = Port::Node(number);
        let count = node.shape.channels();
        match &node.op {
            // Channels of their own.
            Op::Linear { .. } | Op::Embedding { .. } | Op::Lstm { .. } | Op::TransposedConv { .. } => {}
            Op::Constant(_) | Op::Learned(_) => {}
            Op::Conv(conv) if conv.groups == 1 => {}
            Op::Conv(Conv { groups, outputs, .. }) => {
                let input = graph.shape(node.inputs[0]).channels();
                let (reads, gives) = (input / groups, outputs / groups);
                if reads == 1 {
                    // A channel and all that is made of it.
                    (0..*outputs).for_each(|o| self.tie(self.atom(node.inputs[0], o / gives), self.atom(output, o)));
                } else {
                    // All groups stay, and stay equally large.
                    (0..reads).for_each(|j| self.tie_all(node.inputs[0], (0..*groups).map(|group| group * reads + j)));
                    (0..gives).for_each(|j| self.tie_all(output, (0..*groups).map(|group| group * gives + j)));
                }
            }
            Op::Concatenate => {
                let mut at = 0;
                for port in &node.inputs {
                    for channel in 0..graph.shape(*port).channels() {
                        self.tie(self.atom(*port, channel), self.atom(output, at + channel));
                    }
                    at += graph.shape(*port).channels();
                }
            }
            Op::Slice { from, .. } => (0..count).for_each(|c| self.tie(self.atom(node.inputs[0], from + c), self.atom(output, c))),
            Op::Gather(list) => {
                list.iter().enumerate().for_each(|(c, from)| self.tie(self.atom(node.inputs[0], *from), self.atom(output, c)))
            }
            // A head: its queries, keys, values, and what it gives.
            Op::Attention { heads } => {
                let e = count / heads;
                for head in 0..*heads {
                    let given = self.atom(output, head * e);
                    self.tie_all(output, head * e..(head + 1) * e);
                    for part in 0..3 {
                        (0..e).for_each(|i| self.tie(given, self.atom(node.inputs[0], part * count + head * e + i)));
                    }
                }
            }
            // Over the numbers of a step of the first, and the steps of the second, is summed.
            Op::MatrixProduct => {
                self.tie_all(node.inputs[0], 0..graph.shape(node.inputs[0]).channels());
                self.tie_each(node.inputs[1], output, count);
            }
            Op::WeightedSum => {
                let (weights, values) = node.inputs.split_last().expect("a weighted sum reads its weights");
                values.iter().for_each(|port| self.tie_each(*port, output, count));
                self.tie_all(*weights, 0..values.len());
            }
            // Steps become channels.
            Op::Transpose if let Shape::Sequence([_, width]) = graph.shape(node.inputs[0]) => {
                self.tie_all(node.inputs[0], 0..width);
                self.tie_all(output, 0..count);
            }
            Op::Custom(_) => {
                node.inputs.iter().for_each(|port| self.tie_all(*port, 0..graph.shape(*port).channels()));
                self.tie_all(output, 0..count);
            }
            // Whole channels of images, whole columns of a sequence.
            Op::Flatten | Op::Reshape(_) => {
                let (channel_of_input, channel_of_output) = (flat_channels(graph.shape(node.inputs[0])), flat_channels(node.shape));
                for (a, b) in channel_of_input.zip(channel_of_output) {
                    self.tie(self.atom(node.inputs[0], a), self.atom(output, b));
                }
            }
            op => {
                node.inputs.iter().for_each(|port| self.tie_each(*port, output, count));
                match op {
                    Op::GroupNorm { groups } => {
                        let size = count / groups;
                        (0..*groups).for_each(|group| self.tie_all(output, group * size..(group + 1) * size));
                    }
                    Op::LayerNorm | Op::Softmax => self.tie_all(output, 0..count),
                    _ => {}
                }
            }
        }
    }

    /// The parameters of a layer, and what the indices along their axes stand for.
    pub(super) fn parameters(&self, graph: &Graph, place: &LayerPlace) -> Vec<(String, Vec<Axis>)> {
        let node = &graph.nodes()[place.node];
        let gives = self.atoms(Port::Node(place.node), node.shape);
        let Some(&input) = node.inputs.first() else {
            let steps_or_channels =
                if let Shape::Images(_) = node.shape { [Axis::made(gives), Axis::stays()] } else { [Axis::stays(), Axis::made(gives)] };
            return vec![(format!("{}.{}.value", graph.family, place.name), steps_or_channels.into())];
        };
        let reads = self.atoms(input, graph.shape(input));
        // In the weight of a fully connected layer, numbers of an image's channel stand for the channel.
        let flat = || match graph.shape(input) {
            Shape::Sequence(_) => reads.clone(),
            shape => flat_channels(shape).map(|channel| reads[channel]).collect(),
        };
        let name = |slot: &str| format!("{}.{}.{slot}", graph.family, place.name);
        let bias = |atoms: Vec<usize>| (name("bias"), vec![Axis::made(atoms)]);
        match &node.op {
            Op::Linear { .. } => vec![(name("weight"), vec![Axis::read(flat()), Axis::made(gives.clone())]), bias(gives)],
            Op::Lstm { .. } => {
                let gates: Vec<usize> = (0..4).flat_map(|_| gives.clone()).collect();
                let from = if place.part == 0 { reads } else { gives };
                vec![(name("weight"), vec![Axis::read(from), Axis::made(gates.clone())]), bias(gates)]
            }
            Op::Embedding { .. } => vec![(format!("{}.{}", graph.family, place.name), vec![Axis::stays(), Axis::made(gives)])],
            Op::Conv(conv) => {
                let size = reads.len() / conv.groups;
                // The only channel that a depthwise filter reads is its own.
                let from = if conv.groups > 1 && size == 1 { Axis::stays() } else { Axis::read(reads[..size].to_vec()) };
                let weight = (name("weight"), vec![Axis::made(gives.clone()), from, Axis::stays(), Axis::stays()]);
                if conv.bias { vec![weight, bias(gives)] } else { vec![weight] }
            }
            Op::TransposedConv { .. } => {
                vec![(name("weight"), vec![Axis::read(reads), Axis::made(gives.clone()), Axis::stays(), Axis::stays()]), bias(gives)]
            }
            Op::Custom(_) => Vec::new(),
            op => {
                let slots: &[&str] =
                    if *op == Op::BatchNorm { &["gamma", "beta", "running_mean", "running_variance"] } else { &["gamma", "beta"] };
                slots.iter().map(|slot| (name(slot), vec![Axis::made(gives.clone())])).collect()
            }
        }
    }
}

/// The channel of each number, in the order in which flattening lays them out.
fn flat_channels(shape: Shape) -> Box<dyn Iterator<Item = usize>> {
    match shape {
        Shape::Row(width) => Box::new(0..width),
        Shape::Images([channels, height, width]) => Box::new((0..channels).flat_map(move |c| std::iter::repeat_n(c, height * width))),
        Shape::Sequence([steps, width]) => Box::new((0..steps).flat_map(move |_| 0..width)),
    }
}
