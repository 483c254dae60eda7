//! Which steps a network is run in: operations that the kernels do in one sweep are one step.
//!
//! ```text
//! convolution ─► ReLU ─► maximum 2×2       linear ─► ReLU       norm ─► + residual ─► ReLU       ReLU ─► maximum       LSTM ─► last
//! sum ─► layer norm
//! ```
//!
//! Operations are joined only where nothing else reads what is between them. A step stands where the last of its operations
//! stood.

use lyceum_kernels::Activation as Fused;

use super::{Activation, Graph, Op, Port, Shape};

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    /// The node whose operation comes first.
    pub(super) node: usize,
    /// Joined to it.
    pub(super) pooled: bool,
    pub(super) last: bool,
    pub(super) residual: Option<Read>,
    pub(super) activation: Fused,
    /// What it reads.
    pub(super) reads: Vec<Read>,
    /// The node that gives what the step gives.
    pub(super) gives: usize,
}

/// A value that a step reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) port: Port,
    /// Whether nobody reads it later.
    pub(super) last: bool,
}

/// The steps of a network, in order.
pub(super) fn plan(graph: &Graph) -> Vec<Step> {
    let nodes = graph.nodes();
    let readers = graph.readers();
    // The only operation that reads what a node gives.
    let next = |number: usize| if let [only] = readers[number].as_slice() { Some((*only, &nodes[*only].op)) } else { None };
    let relu = |number: usize| next(number).filter(|(_, op)| **op == Op::Activation(Activation::Relu)).map(|(number, _)| number);
    // A maximum over windows that touch, as the kernel has it.
    let pool = |number: usize| match next(number) {
        Some((number, Op::MaxPool(pool))) => pool.touching().map(|size| (number, size)),
        _ => None,
    };
    let read = |port: Port| Read { port, last: false };
    let mut joined = vec![false; nodes.len()];
    let mut steps: Vec<Step> = Vec::new();
    for (number, node) in nodes.iter().enumerate() {
        if joined[number] {
            continue;
        }
        let reads = node.inputs.iter().copied().map(read).collect();
        let mut step = Step { node: number, pooled: false, last: false, residual: None, activation: Fused::None, reads, gives: number };
        // The sum of two values of its shape that a normalisation is an operand of.
        let is_pair = |inputs: &[Port]| inputs.len() == 2 && inputs.iter().all(|port| graph.shape(*port) == node.shape);
        let sum = next(number).filter(|(sum, op)| **op == Op::Add && is_pair(&nodes[*sum].inputs) && !joined[*sum]);
        let mut join = |step: &mut Step, to: usize| {
            joined[to] = true;
            step.gives = to;
        };
        match &node.op {
            Op::Conv(_) => {
                let relu_then_pool = relu(number).and_then(|relu| Some((relu, pool(relu).filter(|(_, size)| *size == 2)?.0)));
                let pool_then_relu = pool(number).filter(|(_, size)| *size == 2).and_then(|(pool, _)| Some((pool, relu(pool)?)));
                if let Some((between, last)) = relu_then_pool.or(pool_then_relu) {
                    (step.pooled, step.activation) = (true, Fused::Relu);
                    join(&mut step, between);
                    join(&mut step, last);
                } else if let Some(relu) = relu(number) {
                    step.activation = Fused::Relu;
                    join(&mut step, relu);
                }
            }
            Op::Linear { .. } => {
                if let Some(relu) = relu(number) {
                    step.activation = Fused::Relu;
                    join(&mut step, relu);
                }
            }
            Op::Lstm { .. } => {
                if let Some((last, Op::Last)) = next(number) {
                    step.last = true;
                    join(&mut step, last);
                }
            }
            Op::BatchNorm => {
                if let Some((sum, _)) = sum {
                    let other = nodes[sum].inputs.iter().find(|port| **port != Port::Node(number));
                    step.residual = other.copied().map(read);
                    join(&mut step, sum);
                }
                let last = step.gives;
                // Before a maximum, ReLU is cheaper after it.
                if let Some((cut, fused)) = next(last).and_then(|(cut, op)| Some((cut, op.fused()?)))
                    && (fused == Fused::Relu6 || pool(cut).is_none())
                {
                    step.activation = fused;
                    join(&mut step, cut);
                }
            }
            // Of rows and steps the kernel normalises a sum.
            Op::Add if is_pair(&node.inputs) && !matches!(node.shape, Shape::Images(_)) => {
                if let Some((norm, Op::LayerNorm)) = next(number) {
                    step.node = norm;
                    step.residual = step.reads.pop();
                    join(&mut step, norm);
                }
            }
            // ReLU after the maximum is the maximum after ReLU, on a part of the numbers.
            Op::Activation(Activation::Relu) => {
                if let Some((pool, _)) = pool(number) {
                    step.node = pool;
                    step.activation = Fused::Relu;
                    join(&mut step, pool);
                }
            }
            Op::MaxPool(pool) if pool.touching().is_some() => {
                if let Some(relu) = relu(number) {
                    step.activation = Fused::Relu;
                    join(&mut step, relu);
                }
            }
            _ => {}
        }
        steps.push(step);
    }
    steps.sort_by_key(|step| step.gives);
    mark_last(&mut steps);
    steps
}

/// A step a node.
#[cfg(test)]
pub(super) fn step_by_step(graph: &Graph) -> Vec<Step> {
    let step = |(number, node): (usize, &super::Node)| {
        let reads = node.inputs.iter().map(|port| Read { port: *port, last: false }).collect();
        Step { node: number, pooled: false, last: false, residual: None, activation: Fused::None, reads, gives: number }
    };
    let mut steps = graph.nodes().iter().enumerate().map(step).collect::<Vec<_>>();
    mark_last(&mut steps);
    steps
}

/// Marks of each value who reads it last. Of the same value read twice by a step, one reading is the last.
fn mark_last(steps: &mut [Step]) {
    let mut seen = std::collections::HashSet::new();
    for step in steps.iter_mut().rev() {
        for read in step.residual.iter_mut().chain(step.reads.iter_mut().rev()) {
            read.last = seen.insert(read.port);
        }
    }
}
