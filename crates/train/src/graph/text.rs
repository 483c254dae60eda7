//! A network as the text of a TOML file, from which the same operations are read. Names of parameters begin with `Net` then.

use std::fmt::Write as _;

use super::{
    Activation, Conv, Graph, Op, Pool, Port,
    shape::{ends, sides},
};

impl Graph {
    /// The text: an entry a node, numbers as they are, without blocks.
    pub fn toml(&self) -> String {
        let mut text = String::from("layers = [\n");
        for (number, node) in self.nodes().iter().enumerate() {
            let before = number.checked_sub(1).map_or(Port::Input, Port::Node);
            let quoted = |port: &Port| format!("\"{}\"", self.name(*port));
            let (main, keys) = match (&node.op, node.inputs.as_slice()) {
                // What is written after such an operation is what it reads besides the first.
                (op, [_, others @ ..]) if op.reads_several() => {
                    let list = |ports: &[Port]| format!("[{}]", ports.iter().map(quoted).collect::<Vec<_>>().join(", "));
                    match others.split_last() {
                        Some((weights, values)) if *op == Op::WeightedSum => (list(values), format!(", weights = {}", quoted(weights))),
                        _ => (list(others), String::new()),
                    }
                }
                (op, _) => written(op),
            };
            let from = match node.inputs.as_slice() {
                [] => String::new(),
                [first, ..] if *first == before && (node.inputs.len() == 1 || node.op.reads_several()) => String::new(),
                [first] => format!(", from = {}", quoted(first)),
                [first, ..] if node.op.reads_several() => format!(", from = {}", quoted(first)),
                all => format!(", from = [{}]", all.iter().map(quoted).collect::<Vec<_>>().join(", ")),
            };
            let _ = writeln!(text, "    {{ {} = {main}{keys}, name = \"{}\"{from} }},", node.op.name(), node.name);
        }
        text + "]\n"
    }
}

/// What is written after an operation's name, and the further keys.
fn written(op: &Op) -> (String, String) {
    let keys = |keys: &[(&str, usize)]| keys.iter().fold(String::new(), |text, (key, value)| text + &format!(", {key} = {value}"));
    match *op {
        Op::Constant(ref constant) | Op::Learned(ref constant) => {
            let values = match constant.values() {
                [value] => format!("{value:?}"),
                values => format!("{values:?}"),
            };
            (values, format!(", shape = {:?}", constant.shape().extents()))
        }
        Op::Gather(ref channels) => (format!("{channels:?}"), String::new()),
        Op::Custom(ref operation) => (operation.number().map_or_else(|| "true".into(), |number| format!("{number:?}")), String::new()),
        Op::Conv(Conv { outputs, kernel, stride, padding, dilation, groups, bias }) => {
            let [kernel, stride, padding, dilation] = [kernel, stride, padding, dilation].map(sides);
            let sizes = format!(", kernel = {kernel}, stride = {stride}, padding = {padding}, dilation = {dilation}");
            (outputs.to_string(), format!("{sizes}, groups = {groups}, bias = {bias}"))
        }
        Op::TransposedConv { outputs, kernel, stride, padding } => {
            (outputs.to_string(), keys(&[("kernel", kernel), ("stride", stride), ("padding", padding)]))
        }
        Op::MaxPool(Pool { size, stride, padding }) | Op::AveragePool(Pool { size, stride, padding }) => {
            (sides(size), format!(", stride = {}, padding = {}", sides(stride), ends(padding)))
        }
        Op::Pad(by) => (ends(by), String::new()),
        Op::Embedding { symbols, width } => (width.to_string(), keys(&[("symbols", symbols)])),
        Op::Upsample { factor, bilinear } => (factor.to_string(), format!(", bilinear = {bilinear}")),
        Op::Linear { outputs: number }
        | Op::Lstm { width: number }
        | Op::GroupNorm { groups: number }
        | Op::AdaptiveAveragePool { size: number }
        | Op::Attention { heads: number } => (number.to_string(), String::new()),
        Op::Slice { from, until } => (format!("[{from}, {until}]"), String::new()),
        Op::Reshape(shape) => (format!("{:?}", shape.extents()), String::new()),
        Op::Dropout(number) | Op::Activation(Activation::LeakyRelu(number)) => (format!("{number:?}"), String::new()),
        _ => ("true".into(), String::new()),
    }
}
