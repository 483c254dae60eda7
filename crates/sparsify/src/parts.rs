//! What a network can do without.

use lyceum_core::Result;
use lyceum_train::graph::{Branch, DependencyGroup, Graph, Slices, Unit};

/// The units and branches of a network that can be taken out. Each has a number: the units by group, then the branches.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The network.
    pub graph: Graph,
    /// Units that the same operations make.
    pub groups: Vec<DependencyGroup>,
    /// Branches beside shortcuts.
    pub branches: Vec<Branch>,
}

impl Parts {
    /// Of this network; branches only where they are asked for.
    pub fn of(graph: &Graph, with_branches: bool) -> Self {
        let branches = if with_branches { graph.branches() } else { Vec::new() };
        Self { groups: graph.dependencies(), branches, graph: graph.clone() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.units().count() + self.branches.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The units, in the order of their numbers.
    pub fn units(&self) -> impl Iterator<Item = &Unit> {
        self.groups.iter().flat_map(|group| &group.units)
    }

    /// The numbers of what belongs together: of the units of each group, then of each branch alone.
    pub fn spans(&self) -> Vec<std::ops::Range<usize>> {
        let sizes = self.groups.iter().map(|group| group.units.len()).chain(self.branches.iter().map(|_| 1));
        let mut start = 0;
        sizes
            .map(|size| {
                start += size;
                start - size..start
            })
            .collect()
    }

    /// What they are called: groups by the first node that makes their units, branches by their sums.
    pub fn names(&self) -> Vec<String> {
        let branches = self.branches.iter().map(|branch| format!("branch of {}", branch.name));
        self.groups.iter().map(|group| group.name.clone()).chain(branches).collect()
    }

    /// The network with what is `on`, and which numbers of its parameters are kept.
    ///
    /// # Errors
    ///
    /// As [`Graph::without`].
    pub fn reduced(&self, on: &[bool]) -> Result<(Graph, Slices)> {
        let out: Vec<&Unit> = self.units().zip(on).filter(|(_, on)| !**on).map(|(unit, _)| unit).collect();
        let (graph, slices) = self.graph.without(&out)?;
        let of_branches = &on[on.len() - self.branches.len()..];
        let out: Vec<&Branch> = self.branches.iter().zip(of_branches).filter(|(_, on)| !**on).map(|(branch, _)| branch).collect();
        Ok((if out.is_empty() { graph } else { graph.without_branches(&out)? }, slices))
    }
}
