//! A network as a model.

use std::collections::HashMap;

use lyceum_core::{Array, Error, Result};
use lyceum_onnx::{Attribute, Model, Node, Tensor, Value};

use super::opaque::Opaque;
use crate::{
    ParamSpace,
    graph::{Activation, Net, Op, Port, Shape},
    layers::{BatchNorm, GroupNorm},
};

/// The version of the operators that are written: the first with layer normalisation.
const OPSET: i64 = 17;

/// The network as a model that other tools run: `input` (`batch × …`) to `logits`, or `probabilities` where it ends with a softmax.
///
/// # Errors
///
/// Operations that ONNX has no form for: adaptive pooling into parts of several sizes, operations of other crates; all of them are named.
pub fn export(net: &Net, metadata: Vec<(String, String)>) -> Result<Model> {
    let graph = net.graph();
    let has_form = |op: &Op, reads: Shape| match op {
        Op::AdaptiveAveragePool { size } => {
            matches!(reads, Shape::Images([_, height, width]) if height.is_multiple_of(*size) && width.is_multiple_of(*size))
        }
        Op::Custom(_) => Opaque::of(op).is_some(),
        _ => true,
    };
    let without: Vec<String> = graph
        .nodes()
        .iter()
        .filter(|node| !has_form(&node.op, graph.shape(*node.inputs.first().unwrap_or(&Port::Input))))
        .map(|node| format!("`{}` ({})", node.name, node.op))
        .collect();
    if !without.is_empty() {
        return Err(Error::invalid("the network", without.join(", "), "operations that ONNX has a form for"));
    }
    let space = ParamSpace::of(net);
    let arrays = space.arrays(net);
    let mut export = Export { graph, arrays: arrays.iter().map(|array| (array.name.as_str(), array)).collect(), model: Model::default() };
    export.model.opset = OPSET;
    export.model.metadata = metadata;
    let value = |name: &str, shape: Shape| {
        let mut dims = vec![None];
        dims.extend(shape.extents().iter().copied().map(Some));
        Value { name: name.into(), is_float: true, dims: Some(dims) }
    };
    export.model.inputs.push(value(INPUT, graph.input()));
    for number in 0..graph.nodes().len() {
        export.node(number)?;
    }
    let last = graph.nodes().len().checked_sub(1).map_or(Port::Input, Port::Node);
    let given = export.of(last);
    let mut output = if graph.nodes().last().is_some_and(|node| node.op == Op::Softmax) { "probabilities" } else { "logits" }.to_owned();
    if given != output {
        while graph.nodes().iter().any(|node| node.name == output) {
            output.push('_');
        }
        export.push("Identity", &output, &[given], vec![]);
    }
    export.model.outputs.push(value(&output, graph.output()));
    Ok(export.model)
}

const INPUT: &str = "input";

/// Which of our gates of long short-term memory comes at each place of ONNX's.
pub(super) const ORDER: [usize; 4] = [0, 3, 1, 2];

struct Export<'a> {
    graph: &'a crate::graph::Graph,
    arrays: HashMap<&'a str, &'a Array>,
    model: Model,
}

impl Export<'_> {
    fn of(&self, port: Port) -> String {
        if port == Port::Input { INPUT.to_owned() } else { self.graph.name(port).to_owned() }
    }

    /// Adds an operator; gives what its value is called.
    fn push(&mut self, op: &str, name: &str, inputs: &[String], attributes: Vec<(&str, Attribute)>) -> String {
        self.model.nodes.push(Node {
            name: name.to_owned(),
            op: op.to_owned(),
            domain: String::new(),
            inputs: inputs.to_vec(),
            outputs: vec![name.to_owned()],
            attributes: attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        });
        name.to_owned()
    }

    fn weight(&mut self, name: &str, tensor: Tensor) -> String {
        self.model.weights.insert(name.to_owned(), tensor);
        name.to_owned()
    }

    fn floats(&mut self, name: &str, dims: &[usize], values: Vec<f32>) -> Result<String> {
        let tensor = Tensor::floats(dims, values).map_err(Error::Failed)?;
        Ok(self.weight(name, tensor))
    }

    /// A parameter of a node, as the model's weight of that name.
    fn parameter(&mut self, node: &str, slot: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let found = self.arrays.iter().find(|(name, _)| {
            let inner = name.split_once('.').map_or("", |(_, inner)| inner);
            inner == node || inner.strip_suffix(slot).and_then(|inner| inner.strip_suffix('.')) == Some(node)
        });
        found.map(|(_, array)| (array.shape.clone(), array.values.clone())).ok_or_else(|| Error::Failed(format!("`{node}` has no {slot}")))
    }

    /// `n` examples of this shape.
    fn reshaped(&mut self, name: &str, input: String, shape: &[usize]) -> String {
        let mut dims = vec![-1];
        dims.extend(shape.iter().map(|extent| *extent as i64));
        let dims = self.weight(&format!("{name}.extents"), Tensor::ints(dims));
        self.push("Reshape", name, &[input, dims], vec![])
    }

    fn node(&mut self, number: usize) -> Result<()> {
        let node = self.graph.nodes()[number].clone();
        let name = node.name.as_str();
        let shapes: Vec<Shape> = node.inputs.iter().map(|port| self.graph.shape(*port)).collect();
        let inputs: Vec<String> = node.inputs.iter().map(|port| self.of(*port)).collect();
        let first = || inputs[0].clone();
        let ints = |values: &[usize]| Attribute::Ints(values.iter().map(|value| *value as i64).collect());
        let place = self.graph.place_of(number).map_or_else(|| name.to_owned(), str::to_owned);
        let of_pool = |size: [usize; 2], stride: [usize; 2], padding: [[usize; 2]; 2]| {
            let pads = [padding[0][0], padding[1][0], padding[0][1], padding[1][1]];
            vec![("kernel_shape", ints(&size)), ("strides", ints(&stride)), ("pads", ints(&pads))]
        };
        match &node.op {
            Op::Conv(conv) => {
                let (dims, weight) = self.parameter(&place, "weight")?;
                let mut reads = vec![first(), self.floats(&format!("{name}.weight"), &dims, weight)?];
                if conv.bias {
                    let (dims, bias) = self.parameter(&place, "bias")?;
                    reads.push(self.floats(&format!("{name}.bias"), &dims, bias)?);
                }
                let [top, left] = conv.padding;
                let attributes = vec![
                    ("kernel_shape", ints(&conv.kernel)),
                    ("strides", ints(&conv.stride)),
                    ("pads", ints(&[top, left, top, left])),
                    ("dilations", ints(&conv.dilation)),
                    ("group", Attribute::Int(conv.groups as i64)),
                ];
                self.push("Conv", name, &reads, attributes);
            }
            Op::TransposedConv { kernel, stride, padding, .. } => {
                let ((dims, weight), (of_bias, bias)) = (self.parameter(&place, "weight")?, self.parameter(&place, "bias")?);
                let reads = [
                    first(),
                    self.floats(&format!("{name}.weight"), &dims, weight)?,
                    self.floats(&format!("{name}.bias"), &of_bias, bias)?,
                ];
                let attributes =
                    vec![("kernel_shape", ints(&[*kernel; 2])), ("strides", ints(&[*stride; 2])), ("pads", ints(&[*padding; 4]))];
                self.push("ConvTranspose", name, &reads, attributes);
            }
            Op::Linear { .. } => {
                let ((dims, weight), (of_bias, bias)) = (self.parameter(&place, "weight")?, self.parameter(&place, "bias")?);
                let weight = self.floats(&format!("{name}.weight"), &dims, weight)?;
                let bias = self.floats(&format!("{name}.bias"), &of_bias, bias)?;
                match shapes[0] {
                    Shape::Sequence(_) => {
                        let product = self.push("MatMul", &format!("{name}.product"), &[first(), weight], vec![]);
                        self.push("Add", name, &[product, bias], vec![]);
                    }
                    shape => {
                        let row = if matches!(shape, Shape::Row(_)) {
                            first()
                        } else {
                            self.push("Flatten", &format!("{name}.row"), &[first()], vec![])
                        };
                        self.push("Gemm", name, &[row, weight, bias], vec![]);
                    }
                }
            }
            Op::Embedding { symbols, .. } => {
                let row = self.push("Flatten", &format!("{name}.row"), &[first()], vec![]);
                let whole = self.push("Cast", &format!("{name}.symbols"), &[row], vec![("to", Attribute::Int(7))]);
                // An unknown symbol counts as the last.
                let (least, most) =
                    (self.weight(&format!("{name}.first"), scalar(0)), self.weight(&format!("{name}.last"), scalar(*symbols as i64 - 1)));
                let known = self.push("Clip", &format!("{name}.known"), &[whole, least, most], vec![]);
                let (dims, vectors) = self.parameter(&place, "weight")?;
                let vectors = self.floats(&format!("{name}.vectors"), &dims, vectors)?;
                self.push("Gather", name, &[vectors, known], vec![("axis", Attribute::Int(0))]);
            }
            Op::Last => {
                let place = self.weight(&format!("{name}.place"), scalar(-1));
                self.push("Gather", name, &[first(), place], vec![("axis", Attribute::Int(1))]);
            }
            Op::Attention { heads } => self.attention(name, first(), shapes[0], *heads)?,
            Op::MatrixProduct => drop(self.push("MatMul", name, &inputs, vec![])),
            Op::WeightedSum => self.weighted_sum(name, &inputs, node.shape),
            Op::Constant(constant) => {
                let all: Vec<f32> = constant.values().iter().copied().cycle().take(constant.shape().len()).collect();
                self.of_all(name, constant.shape(), all)?;
            }
            Op::Learned(constant) => {
                let (_, values) = self.parameter(&place, "value")?;
                self.of_all(name, constant.shape(), values)?;
            }
            Op::BatchNorm => {
                let mut reads = vec![match shapes[0] {
                    Shape::Sequence(_) => self.push("Transpose", &format!("{name}.channels"), &[first()], vec![("perm", ints(&[0, 2, 1]))]),
                    _ => first(),
                }];
                for slot in ["gamma", "beta", "running_mean", "running_variance"] {
                    let (dims, values) = self.parameter(&place, slot)?;
                    reads.push(self.floats(&format!("{name}.{slot}"), &dims, values)?);
                }
                let attributes = vec![("epsilon", Attribute::Float(BatchNorm::EPSILON as f32))];
                if matches!(shapes[0], Shape::Sequence(_)) {
                    let normed = self.push("BatchNormalization", &format!("{name}.normed"), &reads, attributes);
                    self.push("Transpose", name, &[normed], vec![("perm", ints(&[0, 2, 1]))]);
                } else {
                    self.push("BatchNormalization", name, &reads, attributes);
                }
            }
            Op::LayerNorm => self.normed(name, &place, first(), shapes[0], 1)?,
            Op::GroupNorm { groups } => self.normed(name, &place, first(), shapes[0], *groups)?,
            Op::Activation(activation) => self.activation(name, *activation, first())?,
            Op::Softmax => {
                let axis = if matches!(shapes[0], Shape::Images(_)) { 1 } else { -1 };
                self.push("Softmax", name, &inputs, vec![("axis", Attribute::Int(axis))]);
            }
            Op::MaxPool(pool) => drop(self.push("MaxPool", name, &inputs, of_pool(pool.size, pool.stride, pool.padding))),
            Op::AveragePool(pool) => {
                let mut attributes = of_pool(pool.size, pool.stride, pool.padding);
                attributes.push(("count_include_pad", Attribute::Int(1)));
                self.push("AveragePool", name, &inputs, attributes);
            }
            Op::GlobalAveragePool if matches!(shapes[0], Shape::Sequence(_)) => {
                let attributes = vec![("axes", ints(&[1])), ("keepdims", Attribute::Int(0))];
                self.push("ReduceMean", name, &inputs, attributes);
            }
            Op::GlobalAveragePool | Op::GlobalMaxPool => {
                let op = if node.op == Op::GlobalMaxPool { "GlobalMaxPool" } else { "GlobalAveragePool" };
                let pooled = self.push(op, &format!("{name}.pooled"), &inputs, vec![]);
                self.push("Flatten", name, &[pooled], vec![]);
            }
            Op::Upsample { factor, bilinear } => {
                let scales = self.floats(&format!("{name}.scales"), &[4], vec![1.0, 1.0, *factor as f32, *factor as f32])?;
                let text = |text: &str| Attribute::Text(text.into());
                let attributes = if *bilinear {
                    vec![("mode", text("linear")), ("coordinate_transformation_mode", text("half_pixel"))]
                } else {
                    vec![("mode", text("nearest")), ("coordinate_transformation_mode", text("asymmetric")), ("nearest_mode", text("floor"))]
                };
                self.push("Resize", name, &[first(), String::new(), scales], attributes);
            }
            Op::Add | Op::Subtract | Op::Multiply | Op::Divide | Op::Mean => self.combined(name, &node.op, inputs, &shapes)?,
            Op::Concatenate => {
                let axis = if matches!(shapes[0], Shape::Sequence(_)) { 2 } else { 1 };
                let spread = |export: &mut Self, (number, (port, input)): (usize, (&Port, String))| {
                    if export.is_same_for_all(*port) {
                        export.spread(&format!("{name}.{number}"), input, export.graph.shape(*port))
                    } else {
                        input
                    }
                };
                let inputs: Vec<String> = node.inputs.iter().zip(inputs).enumerate().map(|input| spread(self, input)).collect();
                self.push("Concat", name, &inputs, vec![("axis", Attribute::Int(axis))]);
            }
            Op::Slice { from, until } => {
                let axis = if matches!(shapes[0], Shape::Sequence(_)) { 2 } else { 1 };
                let mut reads = vec![first()];
                for (what, value) in [("from", *from as i64), ("until", *until as i64), ("axis", axis)] {
                    reads.push(self.weight(&format!("{name}.{what}"), Tensor::ints(vec![value])));
                }
                self.push("Slice", name, &reads, vec![]);
            }
            Op::Gather(channels) => {
                let axis = if matches!(shapes[0], Shape::Sequence(_)) { 2 } else { 1 };
                let places =
                    self.weight(&format!("{name}.channels"), Tensor::ints(channels.iter().map(|channel| *channel as i64).collect()));
                self.push("Gather", name, &[first(), places], vec![("axis", Attribute::Int(axis))]);
            }
            Op::Flatten => drop(self.push("Flatten", name, &inputs, vec![])),
            Op::Reshape(shape) => drop(self.reshaped(name, first(), shape.extents())),
            Op::Transpose => {
                let order: &[usize] = if matches!(shapes[0], Shape::Images(_)) { &[0, 1, 3, 2] } else { &[0, 2, 1] };
                self.push("Transpose", name, &inputs, vec![("perm", ints(order))]);
            }
            Op::Pad([[top, bottom], [left, right]]) => {
                let pads = [0, 0, *top, *left, 0, 0, *bottom, *right].map(|end| end as i64).to_vec();
                let pads = self.weight(&format!("{name}.pads"), Tensor::ints(pads));
                self.push("Pad", name, &[first(), pads], vec![]);
            }
            Op::Dropout(rate) => {
                let rate = self.floats(&format!("{name}.rate"), &[], vec![*rate as f32])?;
                self.push("Dropout", name, &[first(), rate], vec![]);
            }
            Op::Custom(_) => {
                let opaque = Opaque::of(&node.op).ok_or_else(|| Error::Failed(format!("`{name}` has no form")))?;
                let wrong = |what: String| Error::invalid(format!("`{name}`"), what, "operations that ONNX has a form for");
                let (nodes, weights) = opaque.export(name, &inputs).map_err(wrong)?;
                self.model.nodes.extend(nodes);
                self.model.weights.extend(weights);
            }
            Op::Lstm { width } => self.lstm(name, first(), number, *width)?,
            Op::AdaptiveAveragePool { size } => {
                let Shape::Images([_, height, width]) = shapes[0] else { return Err(Error::Failed(format!("`{name}` reads no images"))) };
                let parts = [height / size.max(&1), width / size.max(&1)];
                self.push("AveragePool", name, &[first()], of_pool(parts, parts, [[0; 2]; 2]));
            }
        }
        Ok(())
    }

    /// Steps come first in ONNX, then the examples; its gates are i, o, f, c, ours i, f, c, o.
    fn lstm(&mut self, name: &str, input: String, number: usize, width: usize) -> Result<()> {
        let mut weights = Vec::new();
        let mut biases = Vec::new();
        for place in self.graph.places_of(number).map(str::to_owned).collect::<Vec<_>>() {
            let (dims, weight) = self.parameter(&place, "weight")?;
            let (_, bias) = self.parameter(&place, "bias")?;
            let row = |column: usize| (0..dims[0]).map(move |input| (input, column));
            let columns = ORDER.iter().flat_map(|gate| gate * width..(gate + 1) * width);
            weights.push((
                dims[0],
                columns.clone().flat_map(row).map(|(input, column)| weight[input * 4 * width + column]).collect::<Vec<f32>>(),
            ));
            biases.extend(columns.map(|column| bias[column]));
        }
        let mut reads = vec![self.push("Transpose", &format!("{name}.steps"), &[input], vec![("perm", Attribute::Ints(vec![1, 0, 2]))])];
        for ((inputs, weight), slot) in weights.into_iter().zip(["input", "recurrent"]) {
            reads.push(self.floats(&format!("{name}.{slot}"), &[1, 4 * width, inputs], weight)?);
        }
        reads.push(self.floats(&format!("{name}.bias"), &[1, 8 * width], biases)?);
        let all = self.push("LSTM", &format!("{name}.all"), &reads, vec![("hidden_size", Attribute::Int(width as i64))]);
        let axis = self.weight(&format!("{name}.axis"), Tensor::ints(vec![1]));
        let states = self.push("Squeeze", &format!("{name}.states"), &[all, axis], vec![]);
        self.push("Transpose", name, &[states], vec![("perm", Attribute::Ints(vec![1, 0, 2]))]);
        Ok(())
    }

    /// Whether a value does not depend on the example: it stands in the model once.
    fn is_same_for_all(&self, port: Port) -> bool {
        match port {
            Port::Input => false,
            Port::Node(number) => self.graph.nodes()[number].inputs.iter().all(|input| self.is_same_for_all(*input)),
        }
    }

    /// What is the same for each example, once for each.
    fn spread(&mut self, name: &str, input: String, shape: Shape) -> String {
        let attributes = vec![("start", Attribute::Int(0)), ("end", Attribute::Int(1))];
        let examples = self.push("Shape", &format!("{name}.examples"), &[INPUT.to_owned()], attributes);
        let rest = self.weight(&format!("{name}.rest"), Tensor::ints(shape.extents().iter().map(|extent| *extent as i64).collect()));
        let dims = self.push("Concat", &format!("{name}.extents"), &[examples, rest], vec![("axis", Attribute::Int(0))]);
        self.push("Expand", &format!("{name}.spread"), &[input, dims], vec![])
    }

    /// Numbers that are the same for each example.
    fn of_all(&mut self, name: &str, shape: Shape, values: Vec<f32>) -> Result<()> {
        let dims = [&[1], shape.extents()].concat();
        let numbers = self.floats(&format!("{name}.values"), &dims, values)?;
        self.push("Identity", name, &[numbers], vec![]);
        Ok(())
    }

    fn combined(&mut self, name: &str, op: &Op, mut inputs: Vec<String>, shapes: &[Shape]) -> Result<()> {
        for (number, (input, shape)) in inputs.iter_mut().zip(shapes).enumerate() {
            // A number for each channel.
            if let (Shape::Images([channels, ..]), Shape::Row(_)) = (shapes[0], shape) {
                *input = self.reshaped(&format!("{name}.channels{number}"), input.clone(), &[channels, 1, 1]);
            }
            if let (Shape::Sequence([_, width]), Shape::Row(_)) = (shapes[0], shape) {
                *input = self.reshaped(&format!("{name}.channels{number}"), input.clone(), &[1, width]);
            }
        }
        let count = inputs.len();
        let op = match op {
            Op::Add | Op::Mean => "Add",
            Op::Subtract => "Sub",
            Op::Divide => "Div",
            _ => "Mul",
        };
        let is_mean =
            matches!(shapes.len(), 2..) && op == "Add" && self.graph.nodes().iter().any(|node| node.name == name && node.op == Op::Mean);
        let mut rest = inputs.into_iter();
        let mut sum = rest.next().unwrap_or_default();
        for (number, input) in rest.enumerate() {
            let last = number + 2 == count && !is_mean;
            let called = if last { name.to_owned() } else { format!("{name}.{}", number + 1) };
            sum = self.push(op, &called, &[sum, input], vec![]);
        }
        if is_mean {
            let n = self.floats(&format!("{name}.count"), &[], vec![count as f32])?;
            self.push("Div", name, &[sum, n], vec![]);
        }
        Ok(())
    }

    fn activation(&mut self, name: &str, activation: Activation, input: String) -> Result<()> {
        match activation {
            Activation::Relu => drop(self.push("Relu", name, &[input], vec![])),
            Activation::Relu6 => {
                let (least, most) =
                    (self.floats(&format!("{name}.least"), &[], vec![0.0])?, self.floats(&format!("{name}.most"), &[], vec![6.0])?);
                self.push("Clip", name, &[input, least, most], vec![]);
            }
            Activation::LeakyRelu(slope) => drop(self.push("LeakyRelu", name, &[input], vec![("alpha", Attribute::Float(slope as f32))])),
            Activation::HardSigmoid => {
                let attributes = vec![("alpha", Attribute::Float(1.0 / 6.0)), ("beta", Attribute::Float(0.5))];
                self.push("HardSigmoid", name, &[input], attributes);
            }
            Activation::HardSwish => drop(self.push("HardSwish", name, &[input], vec![])),
            // x·(1 + erf(x/√2))/2: the operator itself came with version 20.
            Activation::Gelu => {
                let root = self.floats(&format!("{name}.root"), &[], vec![std::f32::consts::FRAC_1_SQRT_2])?;
                let (one, half) =
                    (self.floats(&format!("{name}.one"), &[], vec![1.0])?, self.floats(&format!("{name}.half"), &[], vec![0.5])?);
                let scaled = self.push("Mul", &format!("{name}.scaled"), &[input.clone(), root], vec![]);
                let erf = self.push("Erf", &format!("{name}.erf"), &[scaled], vec![]);
                let more = self.push("Add", &format!("{name}.more"), &[erf, one], vec![]);
                let share = self.push("Mul", &format!("{name}.share"), &[more, half], vec![]);
                self.push("Mul", name, &[input, share], vec![]);
            }
            Activation::Silu => {
                let gate = self.push("Sigmoid", &format!("{name}.gate"), std::slice::from_ref(&input), vec![]);
                self.push("Mul", name, &[input, gate], vec![]);
            }
            Activation::Sigmoid => drop(self.push("Sigmoid", name, &[input], vec![])),
            Activation::Tanh => drop(self.push("Tanh", name, &[input], vec![])),
        }
        Ok(())
    }

    /// Normalisation over groups of channels; of one group in a row or a step, layer normalisation.
    fn normed(&mut self, name: &str, place: &str, input: String, shape: Shape, groups: usize) -> Result<()> {
        let ((dims, gamma), (_, beta)) = (self.parameter(place, "gamma")?, self.parameter(place, "beta")?);
        let epsilon = ("epsilon", Attribute::Float(GroupNorm::EPSILON as f32));
        let channels = shape.channels();
        if groups == 1 && !matches!(shape, Shape::Images(_)) {
            let (gamma, beta) = (self.floats(&format!("{name}.gamma"), &dims, gamma)?, self.floats(&format!("{name}.beta"), &dims, beta)?);
            self.push("LayerNormalization", name, &[input, gamma, beta], vec![epsilon]);
            return Ok(());
        }
        // Each group of a row, of a step, or of images, in a row of its own.
        let steps = if let Shape::Sequence([steps, _]) = shape { steps } else { 1 };
        let rows = self.reshaped(&format!("{name}.groups"), input, &[steps * groups, shape.len() / groups / steps]);
        let ones = self.floats(&format!("{name}.ones"), &[steps * groups], vec![1.0; steps * groups])?;
        let zeros = self.floats(&format!("{name}.zeros"), &[steps * groups], vec![0.0; steps * groups])?;
        let normed = self.push("InstanceNormalization", &format!("{name}.normed"), &[rows, ones, zeros], vec![epsilon]);
        let back = self.reshaped(&format!("{name}.back"), normed, shape.extents());
        let dims: Vec<usize> = if matches!(shape, Shape::Images(_)) { vec![channels, 1, 1] } else { vec![channels] };
        let (gamma, beta) = (self.floats(&format!("{name}.gamma"), &dims, gamma)?, self.floats(&format!("{name}.beta"), &dims, beta)?);
        let scaled = self.push("Mul", &format!("{name}.scaled"), &[back, gamma], vec![]);
        self.push("Add", name, &[scaled, beta], vec![]);
        Ok(())
    }

    /// softmax(QKᵀ/√e) V of each head.
    fn attention(&mut self, name: &str, input: String, shape: Shape, heads: usize) -> Result<()> {
        let Shape::Sequence([steps, width]) = shape else { return Err(Error::Failed(format!("`{name}` reads no sequence"))) };
        let each = width / 3 / heads;
        let ints = |values: &[i64]| Attribute::Ints(values.to_vec());
        let apart = self.reshaped(&format!("{name}.apart"), input, &[steps, 3, heads, each]);
        let mut parts = Vec::new();
        for (number, (what, order)) in [("queries", [0, 2, 1, 3]), ("keys", [0, 2, 3, 1]), ("values", [0, 2, 1, 3])].into_iter().enumerate()
        {
            let which = self.weight(&format!("{name}.{what}.place"), scalar(number as i64));
            let part = self.push("Gather", &format!("{name}.{what}.taken"), &[apart.clone(), which], vec![("axis", Attribute::Int(2))]);
            parts.push(self.push("Transpose", &format!("{name}.{what}"), &[part], vec![("perm", ints(&order))]));
        }
        let root = self.floats(&format!("{name}.root"), &[], vec![1.0 / (each as f32).sqrt()])?;
        let scores = self.push("MatMul", &format!("{name}.scores"), &[parts[0].clone(), parts[1].clone()], vec![]);
        let scaled = self.push("Mul", &format!("{name}.scaled"), &[scores, root], vec![]);
        let shares = self.push("Softmax", &format!("{name}.shares"), &[scaled], vec![("axis", Attribute::Int(-1))]);
        let mixed = self.push("MatMul", &format!("{name}.mixed"), &[shares, parts[2].clone()], vec![]);
        let back = self.push("Transpose", &format!("{name}.back"), &[mixed], vec![("perm", ints(&[0, 2, 1, 3]))]);
        self.reshaped(name, back, &[steps, width / 3]);
        Ok(())
    }

    /// Σ wᵢxᵢ.
    fn weighted_sum(&mut self, name: &str, inputs: &[String], shape: Shape) {
        let Some((weights, values)) = inputs.split_last() else { return };
        let mut sum: Option<String> = None;
        for (number, value) in values.iter().enumerate() {
            let (from, until) = (
                self.weight(&format!("{name}.from{number}"), Tensor::ints(vec![number as i64])),
                self.weight(&format!("{name}.until{number}"), Tensor::ints(vec![number as i64 + 1])),
            );
            let axis = self.weight(&format!("{name}.axis{number}"), Tensor::ints(vec![1]));
            let weight = self.push("Slice", &format!("{name}.weight{number}"), &[weights.clone(), from, until, axis], vec![]);
            let weight = self.reshaped(&format!("{name}.spread{number}"), weight, &vec![1; shape.extents().len()]);
            let last = number + 1 == values.len();
            let called = if last && sum.is_none() { name.to_owned() } else { format!("{name}.term{number}") };
            let term = self.push("Mul", &called, &[value.clone(), weight], vec![]);
            sum = Some(match sum {
                None => term,
                Some(sum) => self.push("Add", &if last { name.to_owned() } else { format!("{name}.sum{number}") }, &[sum, term], vec![]),
            });
        }
    }
}

fn scalar(value: i64) -> Tensor {
    Tensor::Int(ndarray::ArrayD::from_elem(ndarray::IxDyn(&[]), value))
}
