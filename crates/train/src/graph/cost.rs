//! What a network costs: numbers that are learnt, multiplications, memory.

use super::{Graph, Node, Op, Shape};

/// The cost of a node, or of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Numbers that are learnt.
    pub parameters: u64,
    /// Multiplications with an addition, for one example; normalisations, activations and pooling count none.
    pub multiply_adds: u64,
    /// Bytes of what is given, for one example, in numbers of 32 bits.
    pub activation_bytes: u64,
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, next| Self {
            parameters: sum.parameters.saturating_add(next.parameters),
            multiply_adds: sum.multiply_adds.saturating_add(next.multiply_adds),
            activation_bytes: sum.activation_bytes.saturating_add(next.activation_bytes),
        })
    }
}

/// How many rows of how many numbers a fully connected layer reads.
fn steps_of(shape: Shape) -> [u64; 2] {
    match shape {
        Shape::Sequence([steps, width]) => [steps as u64, width as u64],
        _ => [1, shape.len() as u64],
    }
}

impl Graph {
    /// The cost of one of its nodes.
    pub fn cost_of(&self, node: &Node) -> Cost {
        let input = node.inputs.first().map_or(self.input(), |port| self.shape(*port));
        let channels = input.channels() as u64;
        let given = node.shape.len() as u64;
        let product = |factors: &[u64]| factors.iter().fold(1_u64, |product, factor| product.saturating_mul(*factor));
        let (parameters, multiply_adds) = match &node.op {
            Op::Conv(conv) => {
                let seen = product(&[channels / conv.groups as u64, conv.kernel[0] as u64, conv.kernel[1] as u64]);
                let bias = if conv.bias { conv.outputs as u64 } else { 0 };
                (product(&[seen, conv.outputs as u64]).saturating_add(bias), product(&[seen, given]))
            }
            Op::TransposedConv { outputs, kernel, .. } => {
                let weights = product(&[*outputs as u64, *kernel as u64, *kernel as u64]);
                (product(&[weights, channels]).saturating_add(*outputs as u64), product(&[weights, input.len() as u64]))
            }
            Op::Linear { outputs } => {
                let [steps, width] = steps_of(input);
                let weights = product(&[width, *outputs as u64]);
                (weights.saturating_add(*outputs as u64), product(&[steps, weights]))
            }
            Op::Embedding { symbols, width } => (product(&[*symbols as u64, *width as u64]), 0),
            Op::Lstm { width } => {
                let gates = product(&[4, *width as u64]);
                let weights = product(&[gates, channels.saturating_add(*width as u64)]);
                (weights.saturating_add(gates.saturating_mul(2)), product(&[steps_of(input)[0], weights]))
            }
            // Scores, and sums of values by them.
            Op::Attention { .. } => {
                let [steps, width] = steps_of(node.shape);
                (0, product(&[2, steps, steps, width]))
            }
            Op::MatrixProduct => (0, product(&[given, channels])),
            Op::WeightedSum => (0, product(&[given, node.inputs.len() as u64 - 1])),
            Op::Learned(_) => (given, 0),
            Op::Custom(operation) => {
                let shapes: Vec<Shape> = node.inputs.iter().map(|port| self.shape(*port)).collect();
                (operation.body().map_or(0, |body| body.cost().parameters), operation.multiply_adds(&shapes))
            }
            Op::BatchNorm | Op::LayerNorm | Op::GroupNorm { .. } => (channels.saturating_mul(2), 0),
            _ => (0, 0),
        };
        Cost { parameters, multiply_adds, activation_bytes: product(&[given, 4]) }
    }

    /// The cost of all nodes.
    pub fn cost(&self) -> Cost {
        self.nodes().iter().map(|node| self.cost_of(node)).sum()
    }
}
