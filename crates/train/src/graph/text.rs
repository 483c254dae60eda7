//! A network as the text of a TOML file, from which the same operations are read. Names of parameters begin with `Net` then.

use std::fmt::Write as _;

use super::{Activation, Conv, Graph, Op, Pool, Port};

impl Graph {
    /// The text: an entry a node, numbers as they are, without blocks.
    pub fn toml(&self) -> String {
        let mut text = String::from("layers = [\n");
        for (number, node) in self.nodes().iter().enumerate() {
            let before = number.checked_sub(1).map_or(Port::Input, Port::Node);
            let quoted = |port: &Port| format!("\"{}\"", self.name(*port));
            let (main, keys) = match (&node.op, node.inputs.as_slice()) {
                // What is written after such an operation is what it reads besides the first.
                (Op::Add | Op::Subtract | Op::Multiply | Op::Divide | Op::Mean | Op::Concatenate, [_, others @ ..]) => {
                    (format!("[{}]", others.iter().map(quoted).collect::<Vec<_>>().join(", ")), String::new())
                }
                (op, _) => written(op),
            };
            let first = node.inputs.first().filter(|port| **port != before);
            let from = first.map_or(String::new(), |port| format!(", from = {}", quoted(port)));
            let _ = writeln!(text, "    {{ {} = {main}{keys}, name = \"{}\"{from} }},", node.op.name(), node.name);
        }
        text + "]\n"
    }
}

/// What is written after an operation's name, and the further keys.
fn written(op: &Op) -> (String, String) {
    let keys = |keys: &[(&str, usize)]| keys.iter().fold(String::new(), |text, (key, value)| text + &format!(", {key} = {value}"));
    match *op {
        Op::Conv(Conv { outputs, kernel, stride, padding, dilation, groups, bias }) => {
            let sizes = [("kernel", kernel), ("stride", stride), ("padding", padding), ("dilation", dilation), ("groups", groups)];
            (outputs.to_string(), format!("{}, bias = {bias}", keys(&sizes)))
        }
        Op::TransposedConv { outputs, kernel, stride, padding } => {
            (outputs.to_string(), keys(&[("kernel", kernel), ("stride", stride), ("padding", padding)]))
        }
        Op::MaxPool(Pool { size, stride, padding }) | Op::AveragePool(Pool { size, stride, padding }) => {
            (size.to_string(), keys(&[("stride", stride), ("padding", padding)]))
        }
        Op::Embedding { symbols, width } => (width.to_string(), keys(&[("symbols", symbols)])),
        Op::Upsample { factor, bilinear } => (factor.to_string(), format!(", bilinear = {bilinear}")),
        Op::Linear { outputs: number }
        | Op::Lstm { width: number }
        | Op::GroupNorm { groups: number }
        | Op::AdaptiveAveragePool { size: number }
        | Op::Pad(number) => (number.to_string(), String::new()),
        Op::Slice { from, until } => (format!("[{from}, {until}]"), String::new()),
        Op::Reshape(extents) => (format!("{extents:?}"), String::new()),
        Op::Dropout(number) | Op::Activation(Activation::LeakyRelu(number)) => (format!("{number:?}"), String::new()),
        _ => ("true".into(), String::new()),
    }
}
