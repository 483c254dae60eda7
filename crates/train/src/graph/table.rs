//! A network as a table: a row a node, and one for all.

use std::fmt::{Display, Formatter};

use lyceum_core::report::Table;

use super::{
    Activation, Conv, Graph, Op, Pool, Port,
    shape::{ends, sides},
};

impl Graph {
    /// Of each node what it does, what it reads (`↑`: the node above), the shape of what it gives, and its cost for one example.
    pub fn table(&self) -> Table {
        let mut table = Table::new(["node", "operation", "reads", "gives", "parameters", "multiply-adds", "bytes"]);
        for (number, node) in self.nodes().iter().enumerate() {
            let before = number.checked_sub(1).map_or(Port::Input, Port::Node);
            let name = |port: &Port| if *port == before { "↑" } else { self.name(*port) };
            let cost = self.cost_of(node);
            let reads = node.inputs.iter().map(name).collect::<Vec<_>>().join(", ");
            let numbers = [cost.parameters, cost.multiply_adds, cost.activation_bytes].map(thousands);
            table.push([node.name.clone(), node.op.to_string(), reads, node.shape.to_string()].into_iter().chain(numbers));
        }
        let cost = self.cost();
        let numbers = [cost.parameters, cost.multiply_adds, cost.activation_bytes].map(thousands);
        table.push(["all".to_owned(), String::new(), String::new(), self.output().to_string()].into_iter().chain(numbers));
        table
    }
}

/// 1234567 as 1,234,567; nothing for 0.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    if number == 0 { String::new() } else { groups.join(",") }
}

impl Display for Op {
    fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
        let name = self.name();
        match self {
            Self::Conv(Conv { kernel, stride, padding, dilation, groups, bias, .. }) => {
                write!(to, "{name} {}x{}", kernel[0], kernel[1])?;
                for (what, value, usual) in [
                    ("stride", *stride, [1; 2]),
                    ("padding", *padding, Conv::usual_padding(*kernel, *dilation)),
                    ("dilation", *dilation, [1; 2]),
                    ("groups", [*groups; 2], [1; 2]),
                ] {
                    if value != usual {
                        write!(to, ", {what} {}", sides(value))?;
                    }
                }
                if *bias { Ok(()) } else { write!(to, ", no bias") }
            }
            Self::TransposedConv { kernel, stride, .. } => write!(to, "{name} {kernel}x{kernel}, stride {stride}"),
            Self::MaxPool(Pool { size, stride, padding }) | Self::AveragePool(Pool { size, stride, padding }) => {
                write!(to, "{name} {}x{}", size[0], size[1])?;
                if stride != size {
                    write!(to, ", stride {}", sides(*stride))?;
                }
                if *padding == [[0; 2]; 2] { Ok(()) } else { write!(to, ", padding {}", ends(*padding)) }
            }
            Self::GroupNorm { groups } => write!(to, "{name}, {groups} groups"),
            Self::Activation(Activation::LeakyRelu(slope)) => write!(to, "{name} {slope}"),
            Self::Upsample { factor, bilinear } => write!(to, "{name} {factor}x, {}", if *bilinear { "bilinear" } else { "nearest" }),
            Self::Attention { heads } => write!(to, "{name}, {heads} heads"),
            Self::Gather(channels) => write!(to, "{name} {} channels", channels.len()),
            Self::Custom(operation) if let Some(number) = operation.number() => write!(to, "{name} {number}"),
            Self::Slice { from, until } => write!(to, "{name} {from} to {until}"),
            Self::Pad(by) => write!(to, "{name} {}", ends(*by)),
            Self::Dropout(rate) => write!(to, "{name} {rate}"),
            _ => write!(to, "{name}"),
        }
    }
}
