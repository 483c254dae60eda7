//! Branches beside a shortcut, which a network works without.

use std::collections::HashMap;

use lyceum_core::{Error, Result};

use super::{Graph, Op, Port};

/// A branch F of a sum x + F(x) (He et al. 2016) that ends in weights, and nothing else reads. Without it the network gives what it gave
/// while the weights that the branch ends in were 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// The sum's name.
    pub name: String,
    /// The parameters that the branch ends in: the scale and shift of a normalisation, or the weight and bias of a layer.
    pub ends: Vec<String>,
    /// The sum's number.
    sum: usize,
    /// What is left of the sum.
    shortcut: Port,
}

impl Graph {
    /// The branches that can be taken out, in the order of their sums. Of two operands that both end in weights, the one that more nodes
    /// lead to is the branch.
    pub fn branches(&self) -> Vec<Branch> {
        let readers = self.readers();
        let branch = |(sum, node): (usize, &super::Node)| {
            let ([a, b], Op::Add) = (node.inputs.as_slice(), &node.op) else { return None };
            let of_one_shape = a != b && [a, b].iter().all(|port| self.shape(**port) == node.shape);
            let candidate = |of: Port, shortcut: Port| {
                let ends = self.ends(of, &readers)?;
                let without = self.part(self.last(), &HashMap::from([(sum, shortcut)])).ok()?;
                // What only the branch leads to, beside the sum itself.
                let nodes = self.nodes().len() - without.nodes().len();
                (nodes > 1).then(|| (nodes, Branch { name: node.name.clone(), ends, sum, shortcut }))
            };
            let candidates = of_one_shape.then(|| [candidate(*a, *b), candidate(*b, *a)])?;
            candidates.into_iter().flatten().reduce(|one, other| if other.0 > one.0 { other } else { one }).map(|(_, branch)| branch)
        };
        self.nodes().iter().enumerate().filter_map(branch).collect()
    }

    /// The network without these branches, and what only they read.
    ///
    /// # Errors
    ///
    /// Branches of another network.
    pub fn without_branches(&self, branches: &[&Branch]) -> Result<Self> {
        let own = self.branches();
        if let Some(other) = branches.iter().find(|branch| !own.contains(branch)) {
            return Err(Error::invalid("the branches to take out", format!("`{}`, of another network", other.name), "its own"));
        }
        self.part(self.last(), &branches.iter().map(|branch| (branch.sum, branch.shortcut)).collect())
    }

    /// The parameters in which what leads to this value ends, if nothing else reads it.
    fn ends(&self, mut port: Port, readers: &[Vec<usize>]) -> Option<Vec<String>> {
        loop {
            let Port::Node(number) = port else { return None };
            let node = &self.nodes()[number];
            if readers[number].len() != 1 {
                return None;
            }
            let slots: &[&str] = match &node.op {
                Op::Dropout(_) => {
                    port = node.inputs[0];
                    continue;
                }
                Op::BatchNorm | Op::LayerNorm | Op::GroupNorm { .. } => &["gamma", "beta"],
                Op::Conv(conv) if !conv.bias => &["weight"],
                Op::Conv(_) | Op::TransposedConv { .. } | Op::Linear { .. } => &["weight", "bias"],
                _ => return None,
            };
            let place = self.place_of(number)?;
            return Some(slots.iter().map(|slot| format!("{}.{place}.{slot}", self.family)).collect());
        }
    }
}
