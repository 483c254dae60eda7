//! A model: nodes in their order, weights, inputs and outputs.

use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use lyceum_core::{Error, Result};
use prost::Message as _;

use crate::{
    Tensor,
    proto::{AttributeProto, Entry, GraphProto, ModelProto, NodeProto, OperatorSetId, TensorProto, ValueInfoProto},
    tensor::kind,
};

/// A network as ONNX has it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Model {
    /// The version of the operators.
    pub opset: i64,
    /// What runs, each node after those whose values it reads.
    pub nodes: Vec<Node>,
    /// Weights and other numbers by name.
    pub weights: HashMap<String, Tensor>,
    /// What is given to the network.
    pub inputs: Vec<Value>,
    /// What it gives.
    pub outputs: Vec<Value>,
    /// What is told of the model, by key.
    pub metadata: Vec<(String, String)>,
}

/// An input or an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// What it is called.
    pub name: String,
    /// Whether its numbers are floating ones.
    pub is_float: bool,
    /// The extent of each axis, `None` where it is not known before; `None` in all where nothing is said.
    pub dims: Option<Vec<Option<usize>>>,
}

/// An operator with what it reads and gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it is called; nodes without a name are called after what they give.
    pub name: String,
    /// The operator.
    pub op: String,
    /// The set that the operator belongs to; empty for ONNX's own.
    pub domain: String,
    /// Values by name, empty where one is left out.
    pub inputs: Vec<String>,
    /// What it gives.
    pub outputs: Vec<String>,
    /// Its attributes by name.
    pub attributes: HashMap<String, Attribute>,
}

/// What is written at a node.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "they say it")]
pub enum Attribute {
    Float(f32),
    Int(i64),
    Text(String),
    Tensor(Tensor),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Texts(Vec<String>),
    /// A network in the network, or what else is not read.
    Other,
}

/// The operators that [`evaluate`](crate::evaluate) knows, of ONNX's own set.
pub const OPERATORS: &[&str] = &[
    "Abs",
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Ceil",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "ConvTranspose",
    "Div",
    "Dropout",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNormalization",
    "LRN",
    "LSTM",
    "LayerNormalization",
    "LeakyRelu",
    "Log",
    "LogSoftmax",
    "MatMul",
    "Max",
    "MaxPool",
    "Mean",
    "Min",
    "Mul",
    "Neg",
    "PRelu",
    "Pad",
    "Pow",
    "Reciprocal",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Resize",
    "Shape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Softplus",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Tanh",
    "Transpose",
    "Unsqueeze",
    "Where",
];

/// The versions of the operators that are read.
pub const OPSETS: std::ops::RangeInclusive<i64> = 7..=25;

impl Node {
    /// A whole number.
    pub fn int(&self, name: &str, usual: i64) -> i64 {
        if let Some(Attribute::Int(value)) = self.attributes.get(name) { *value } else { usual }
    }

    /// A number.
    pub fn float(&self, name: &str, usual: f32) -> f32 {
        if let Some(Attribute::Float(value)) = self.attributes.get(name) { *value } else { usual }
    }

    /// Whole numbers.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        if let Some(Attribute::Ints(values)) = self.attributes.get(name) { Some(values) } else { None }
    }

    /// A text.
    pub fn text(&self, name: &str, usual: &'static str) -> &str {
        if let Some(Attribute::Text(text)) = self.attributes.get(name) { text } else { usual }
    }
}

impl Model {
    /// Reads a model, with weights that lie in files beside it.
    ///
    /// # Errors
    ///
    /// A file that is no ONNX model, is cut off, or needs what is not read: all operators that are not known are told at once, with the
    /// names of their nodes.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::Missing { path: path.into(), hint: "An ONNX model was to be here.".into() });
            }
            Err(source) => return Err(Error::Io { path: path.into(), action: "read", source }),
        };
        Self::decode(bytes, path.parent()).map_err(|what| Error::damaged(path, what))
    }

    /// The files beside a model in which weights of it lie; none where it cannot be read, which [`read`](Self::read) tells.
    pub fn files_beside(path: &Path) -> Vec<PathBuf> {
        let proto = std::fs::read(path).ok().and_then(|bytes| ModelProto::decode(prost::bytes::Bytes::from(bytes)).ok());
        let tensors = proto.and_then(|proto| proto.graph).map(|graph| graph.initializer).unwrap_or_default();
        let outside = tensors.iter().filter(|tensor| tensor.data_location == OUTSIDE);
        let names: BTreeSet<&str> = outside.filter_map(|tensor| told(tensor, "location")).collect();
        names.into_iter().map(|name| path.with_file_name(name)).collect()
    }

    /// A model of these bytes; weights outside are looked for in `folder`.
    ///
    /// # Errors
    ///
    /// In words, as [`read`](Self::read).
    pub fn decode(bytes: Vec<u8>, folder: Option<&Path>) -> std::result::Result<Self, String> {
        let proto = ModelProto::decode(prost::bytes::Bytes::from(bytes)).map_err(|error| format!("is no whole ONNX model: {error}"))?;
        let graph = proto.graph.ok_or("is no ONNX model: there is no graph in it")?;
        let own = proto.opset_import.iter().find(|set| is_own(&set.domain));
        let opset = own.map_or(1, |set| set.version);
        if !OPSETS.contains(&opset) {
            return Err(format!("has operators of version {opset}; allowed: {} to {}", OPSETS.start(), OPSETS.end()));
        }
        if !graph.sparse_initializer.is_empty() {
            return Err("has sparse weights; allowed: dense ones".into());
        }
        let mut weights = HashMap::new();
        for tensor in &graph.initializer {
            let value = weight(tensor, folder).map_err(|what| format!("the weight `{}`: {what}", tensor.name))?;
            weights.insert(tensor.name.clone(), value);
        }
        let nodes = graph.node.into_iter().map(node).collect::<std::result::Result<Vec<_>, _>>()?;
        let unknown: Vec<String> = nodes
            .iter()
            .filter(|node| !is_own(&node.domain) || !OPERATORS.contains(&node.op.as_str()))
            .map(|node| match node.domain.as_str() {
                domain if is_own(domain) => format!("{} (node `{}`)", node.op, node.name),
                domain => format!("{domain}.{} (node `{}`)", node.op, node.name),
            })
            .collect();
        if !unknown.is_empty() {
            return Err(format!("has operators that are not known: {}", unknown.join(", ")));
        }
        // What is listed as an input and has a value is a weight.
        let inputs = graph.input.iter().filter(|input| !weights.contains_key(&input.name)).map(value).collect();
        let metadata = proto.metadata_props.into_iter().map(|entry| (entry.key, entry.value)).collect();
        let model = Self { opset, nodes, inputs, outputs: graph.output.iter().map(value).collect(), weights, metadata };
        model.check()?;
        Ok(model)
    }

    /// Errors unless each value is there before it is read.
    fn check(&self) -> std::result::Result<(), String> {
        let mut known: std::collections::HashSet<&str> = self.weights.keys().map(String::as_str).collect();
        known.extend(self.inputs.iter().map(|input| input.name.as_str()));
        for node in &self.nodes {
            if let Some(missing) = node.inputs.iter().find(|input| !input.is_empty() && !known.contains(input.as_str())) {
                return Err(format!("the node `{}` reads `{missing}`, which nothing before it gives", node.name));
            }
            for output in node.outputs.iter().filter(|output| !output.is_empty()) {
                if !known.insert(output) {
                    return Err(format!("the node `{}` gives `{output}`, which there is already", node.name));
                }
            }
        }
        match self.outputs.iter().find(|output| !known.contains(output.name.as_str())) {
            Some(output) => Err(format!("the output `{}` is given by no node", output.name)),
            None if self.outputs.is_empty() => Err("has no output".into()),
            None => Ok(()),
        }
    }

    /// The nodes that a value depends on, in their order.
    pub fn needed(&self, output: &str) -> Vec<&Node> {
        let mut wanted: std::collections::HashSet<&str> = [output].into();
        let mut found = Vec::new();
        for node in self.nodes.iter().rev() {
            if node.outputs.iter().any(|given| wanted.contains(given.as_str())) {
                wanted.extend(node.inputs.iter().filter(|input| !input.is_empty()).map(String::as_str));
                found.push(node);
            }
        }
        found.reverse();
        found
    }

    /// The bytes of a file.
    pub fn encode(&self) -> Vec<u8> {
        let mut names: Vec<&String> = self.weights.keys().collect();
        names.sort_unstable();
        let graph = GraphProto {
            name: "lyceum".into(),
            node: self.nodes.iter().map(node_proto).collect(),
            initializer: names.into_iter().map(|name| self.weights[name].to_proto(name)).collect(),
            input: self.inputs.iter().map(value_proto).collect(),
            output: self.outputs.iter().map(value_proto).collect(),
            sparse_initializer: Vec::new(),
        };
        let entry = |(key, value): &(String, String)| Entry { key: key.clone(), value: value.clone() };
        let proto = ModelProto {
            ir_version: 8,
            opset_import: vec![OperatorSetId { domain: String::new(), version: self.opset }],
            producer_name: "Lyceum".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(graph),
            metadata_props: self.metadata.iter().map(entry).collect(),
            ..ModelProto::default()
        };
        proto.encode_to_vec()
    }

    /// Writes a file, whole or not at all.
    ///
    /// # Errors
    ///
    /// What the system says, and a model beyond the two gibibytes that one file of the format holds.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes = self.encode();
        if bytes.len() >= 1 << 31 {
            return Err(Error::invalid(
                "the model",
                format!("{} bytes", bytes.len()),
                "less than 2 GiB, which is the most of an ONNX file",
            ));
        }
        lyceum_core::atomic::write(path, &bytes)
    }
}

/// ONNX's own set of operators.
fn is_own(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

/// The value of `data_location` for numbers in another file.
const OUTSIDE: i32 = 1;

/// What a tensor says of the file that holds its numbers.
fn told<'a>(tensor: &'a TensorProto, key: &str) -> Option<&'a str> {
    tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
}

fn weight(tensor: &TensorProto, folder: Option<&Path>) -> std::result::Result<Tensor, String> {
    if tensor.data_location != OUTSIDE {
        return Tensor::from_proto(tensor, None);
    }
    let name = told(tensor, "location").ok_or("lies in a file that is not named")?;
    let safe = Path::new(name).components().all(|part| matches!(part, std::path::Component::Normal(_)));
    let folder = folder.filter(|_| safe).ok_or_else(|| format!("lies in `{name}`; allowed: a file beside the model"))?;
    let number =
        |key: &str| told(tensor, key).map_or(Ok(None), |text| text.parse::<u64>().map(Some).map_err(|_| format!("its {key} is `{text}`")));
    let (from, path) = (number("offset")?.unwrap_or(0), folder.join(name));
    let io = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let mut file = File::open(&path).map_err(io)?;
    let rest = file.metadata().map_err(io)?.len().saturating_sub(from);
    let length = number("length")?.unwrap_or(rest);
    if length > rest {
        return Err(format!("{} is cut off: {length} bytes from {from} on were to be there", path.display()));
    }
    file.seek(SeekFrom::Start(from)).map_err(io)?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes).map_err(io)?;
    Tensor::from_proto(tensor, Some(&bytes))
}

fn value(proto: &ValueInfoProto) -> Value {
    let tensor = proto.kind.as_ref().and_then(|kind| kind.tensor_type.as_ref());
    let shape = tensor.and_then(|tensor| tensor.shape.as_ref());
    let extent = |value: Option<i64>| value.and_then(|value| usize::try_from(value).ok()).filter(|value| *value > 0);
    let dims = shape.map(|shape| shape.dim.iter().map(|dim| extent(dim.dim_value)).collect());
    Value { name: proto.name.clone(), is_float: tensor.is_none_or(|tensor| kind::is_float(tensor.elem_type)), dims }
}

fn value_proto(value: &Value) -> ValueInfoProto {
    use crate::proto::{Dimension, TensorShapeProto, TensorTypeProto, TypeProto};
    let dim = |extent: &Option<usize>| match extent {
        Some(extent) => Dimension { dim_value: Some(*extent as i64), dim_param: None },
        None => Dimension { dim_value: None, dim_param: Some("batch".into()) },
    };
    let shape = value.dims.as_ref().map(|dims| TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let elem_type = if value.is_float { kind::FLOAT } else { kind::INT64 };
    ValueInfoProto { name: value.name.clone(), kind: Some(TypeProto { tensor_type: Some(TensorTypeProto { elem_type, shape }) }) }
}

fn node(proto: NodeProto) -> std::result::Result<Node, String> {
    let named = if proto.name.is_empty() { proto.output.iter().find(|name| !name.is_empty()) } else { Some(&proto.name) };
    let name = named.cloned().unwrap_or_default();
    let mut attributes = HashMap::new();
    for attribute in &proto.attribute {
        let value = self::attribute(attribute).map_err(|what| format!("the node `{name}`, attribute `{}`: {what}", attribute.name))?;
        attributes.insert(attribute.name.clone(), value);
    }
    Ok(Node { name, op: proto.op_type, domain: proto.domain, inputs: proto.input, outputs: proto.output, attributes })
}

fn attribute(proto: &AttributeProto) -> std::result::Result<Attribute, String> {
    let text = |bytes: &prost::bytes::Bytes| String::from_utf8_lossy(bytes).into_owned();
    // Old files do not say which kind it is.
    Ok(match (proto.kind, proto) {
        (1, AttributeProto { f, .. }) => Attribute::Float(f.unwrap_or(0.0)),
        (2, AttributeProto { i, .. }) => Attribute::Int(i.unwrap_or(0)),
        (3, AttributeProto { s, .. }) => Attribute::Text(s.as_ref().map(text).unwrap_or_default()),
        (4 | 0, AttributeProto { t: Some(tensor), .. }) => Attribute::Tensor(Tensor::from_proto(tensor, None)?),
        (6, AttributeProto { floats, .. }) => Attribute::Floats(floats.clone()),
        (7, AttributeProto { ints, .. }) => Attribute::Ints(ints.clone()),
        (8, AttributeProto { strings, .. }) => Attribute::Texts(strings.iter().map(text).collect()),
        (0, AttributeProto { f: Some(value), .. }) => Attribute::Float(*value),
        (0, AttributeProto { i: Some(value), .. }) => Attribute::Int(*value),
        (0, AttributeProto { s: Some(value), .. }) => Attribute::Text(text(value)),
        (0, AttributeProto { floats, .. }) if !floats.is_empty() => Attribute::Floats(floats.clone()),
        (0, AttributeProto { ints, .. }) if !ints.is_empty() => Attribute::Ints(ints.clone()),
        _ => Attribute::Other,
    })
}

fn node_proto(node: &Node) -> NodeProto {
    let mut names: Vec<&String> = node.attributes.keys().collect();
    names.sort_unstable();
    let attribute = |name: &String| {
        let empty = AttributeProto { name: name.clone(), ..AttributeProto::default() };
        match &node.attributes[name] {
            Attribute::Float(value) => AttributeProto { f: Some(*value), kind: 1, ..empty },
            Attribute::Int(value) => AttributeProto { i: Some(*value), kind: 2, ..empty },
            Attribute::Text(text) => AttributeProto { s: Some(text.clone().into()), kind: 3, ..empty },
            Attribute::Tensor(tensor) => AttributeProto { t: Some(tensor.to_proto("")), kind: 4, ..empty },
            Attribute::Floats(values) => AttributeProto { floats: values.clone(), kind: 6, ..empty },
            Attribute::Ints(values) => AttributeProto { ints: values.clone(), kind: 7, ..empty },
            Attribute::Texts(texts) => AttributeProto { strings: texts.iter().map(|text| text.clone().into()).collect(), kind: 8, ..empty },
            Attribute::Other => empty,
        }
    };
    NodeProto {
        input: node.inputs.clone(),
        output: node.outputs.clone(),
        name: node.name.clone(),
        op_type: node.op.clone(),
        domain: node.domain.clone(),
        attribute: names.into_iter().map(attribute).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relu(op: &str, input: &str) -> Node {
        let [name, outputs] = [String::from("a"), String::from("y")];
        Node { name, op: op.into(), domain: String::new(), inputs: vec![input.into()], outputs: vec![outputs], attributes: HashMap::new() }
    }

    #[test]
    fn what_is_written_is_read_and_damage_is_told() {
        let value = |name: &str| Value { name: name.into(), is_float: true, dims: Some(vec![None, Some(3)]) };
        let weights = [("w".to_owned(), Tensor::ints(vec![1, 2]))].into();
        let model = Model {
            opset: 17,
            nodes: vec![relu("Relu", "x")],
            weights,
            inputs: vec![value("x")],
            outputs: vec![value("y")],
            metadata: vec![("a".into(), "b".into())],
        };
        let bytes = model.encode();
        assert_eq!(Model::decode(bytes.clone(), None).unwrap(), model);
        for cut in 1..bytes.len() {
            let _ = Model::decode(bytes[..cut].to_vec(), None);
        }
        let told = |model: Model| Model::decode(model.encode(), None).unwrap_err();
        assert!(told(Model { nodes: vec![relu("If", "x"), relu("Loop", "x")], ..model.clone() }).contains("If (node `a`), Loop"));
        assert!(told(Model { nodes: vec![relu("Relu", "z")], ..model.clone() }).contains("reads `z`"));
        assert!(told(Model { opset: 99, ..model.clone() }).contains("version 99"));
        assert!(told(Model { outputs: vec![value("q")], ..model.clone() }).contains("`q` is given by no node"));
        assert!(Model::read(Path::new("nowhere.onnx")).unwrap_err().exit_code() == 2);
        let folder = tempfile::tempdir().unwrap();
        model.write(&folder.path().join("m.onnx")).unwrap();
        assert_eq!(Model::read(&folder.path().join("m.onnx")).unwrap(), model);
    }

    #[test]
    fn weights_outside_lie_beside_the_model() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("data"), [0_u8, 0, 0, 0, 0, 0, 128, 63]).unwrap();
        let entry = |key: &str, value: &str| Entry { key: key.into(), value: value.into() };
        let tensor = |location: &str, length: &str| TensorProto {
            dims: vec![1],
            data_type: kind::FLOAT,
            data_location: 1,
            external_data: vec![entry("location", location), entry("offset", "4"), entry("length", length)],
            ..TensorProto::default()
        };
        assert_eq!(weight(&tensor("data", "4"), Some(folder.path())).unwrap(), Tensor::floats(&[1], vec![1.0]).unwrap());
        for (location, length, told) in
            [("../data", "4", "beside the model"), ("data", "9", "cut off"), ("none", "4", "cannot read"), ("data", "x", "`x`")]
        {
            assert!(weight(&tensor(location, length), Some(folder.path())).unwrap_err().contains(told));
        }
    }
}
