//! How alike the gradients of tasks are, over training.

use lyceum_core::{Error, Result};
use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

/// The mean cosine of each pair of tasks' gradients, a group each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Similarity {
    tasks: usize,
    /// The sum of the cosines of each group, row by row.
    sums: Vec<Vec<f64>>,
    steps: u64,
}

impl Similarity {
    /// Nothing seen yet.
    pub fn new(tasks: usize, groups: usize) -> Self {
        Self { tasks, sums: vec![vec![0.0; tasks * tasks]; groups], steps: 0 }
    }

    /// Continues from the [`sums`](Self::sums) of `steps` steps. An error unless there is one sum for each pair in each group.
    pub fn with_sums(mut self, sums: &[f64], steps: u64) -> Result<Self> {
        let (pairs, groups) = (self.tasks * self.tasks, self.sums.len());
        if sums.len() != pairs * groups {
            return Err(Error::invalid("similarity", format!("{} sums", sums.len()), format!("{pairs} in each of {groups} groups")));
        }
        self.sums = sums.chunks(pairs.max(1)).map(<[f64]>::to_vec).collect();
        self.steps = steps;
        Ok(self)
    }

    /// The sums of the cosines so far: of each group, each pair.
    pub fn sums(&self) -> Vec<f64> {
        self.sums.concat()
    }

    /// Learns the Gram matrices of a step, a group each (see [`Combiner::grams`](crate::Combiner::grams)).
    pub fn observe(&mut self, grams: &[Array2<f64>]) -> Result<()> {
        if grams.len() != self.sums.len() || grams.iter().any(|gram| gram.dim() != (self.tasks, self.tasks)) {
            return Err(Error::invalid("grams", grams.len(), format!("{} of {} tasks", self.sums.len(), self.tasks)));
        }
        for (sums, gram) in self.sums.iter_mut().zip(grams) {
            sums.iter_mut().zip(&cosines(gram.view())).for_each(|(sum, cosine)| *sum += cosine);
        }
        self.steps += 1;
        Ok(())
    }

    /// What both have seen.
    pub fn merged(mut self, other: &Self) -> Result<Self> {
        if (self.tasks, self.sums.len()) != (other.tasks, other.sums.len()) {
            let allowed = format!("{} tasks in {} groups", self.tasks, self.sums.len());
            return Err(Error::invalid("similarity", format!("{} tasks in {} groups", other.tasks, other.sums.len()), allowed));
        }
        for (sums, others) in self.sums.iter_mut().zip(&other.sums) {
            sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
        }
        self.steps += other.steps;
        Ok(self)
    }

    /// How many tasks there are.
    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// How many steps were seen.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The mean cosines of a group, T × T.
    pub fn mean(&self, group: usize) -> Array2<f64> {
        let steps = self.steps.max(1) as f64;
        Array2::from_shape_fn((self.tasks, self.tasks), |(i, j)| self.sums[group][i * self.tasks + j] / steps)
    }

    /// The mean cosines over all groups.
    pub fn mean_of_groups(&self) -> Array2<f64> {
        let groups = self.sums.len().max(1) as f64;
        (0..self.sums.len()).fold(Array2::zeros((self.tasks, self.tasks)), |sum, group| sum + self.mean(group)) / groups
    }
}

/// cos(gᵢ, gⱼ) from a Gram matrix; 0 where a gradient is 0.
pub fn cosines(gram: ArrayView2<'_, f64>) -> Array2<f64> {
    Array2::from_shape_fn(gram.dim(), |(i, j)| {
        let scale = (gram[[i, i]] * gram[[j, j]]).sqrt();
        if scale > 0.0 { (gram[[i, j]] / scale).clamp(-1.0, 1.0) } else { 0.0 }
    })
}

/// A join of two clusters. Those below T are tasks; the k-th join makes cluster T + k.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Join {
    /// The clusters that were joined.
    pub clusters: (usize, usize),
    /// How far apart they were.
    pub distance: f64,
}

/// Average-linkage clustering (UPGMA) of tasks with these distances: T − 1 joins, nearest first. Of equals the first pair.
pub fn dendrogram(distances: ArrayView2<'_, f64>) -> Vec<Join> {
    let tasks = distances.nrows();
    let mut clusters: Vec<(usize, Vec<usize>)> = (0..tasks).map(|task| (task, vec![task])).collect();
    let mut joins = Vec::new();
    while clusters.len() > 1 {
        let apart = |a: &[usize], b: &[usize]| {
            let sum: f64 = a.iter().flat_map(|&i| b.iter().map(move |&j| distances[[i, j]])).sum();
            sum / (a.len() * b.len()) as f64
        };
        let pairs = (0..clusters.len()).flat_map(|a| (a + 1..clusters.len()).map(move |b| (a, b)));
        let found = pairs.map(|(a, b)| (apart(&clusters[a].1, &clusters[b].1), a, b)).min_by(|x, y| x.0.total_cmp(&y.0));
        let Some((distance, a, b)) = found else { break };
        let (second, members) = clusters.remove(b);
        let first = std::mem::replace(&mut clusters[a].0, tasks + joins.len());
        clusters[a].1.extend(members);
        joins.push(Join { clusters: (first, second), distance });
    }
    joins
}

/// The tasks in the order of a dendrogram's leaves, so that like ones stand side by side.
pub fn leaves(joins: &[Join]) -> Vec<usize> {
    let tasks = joins.len() + 1;
    let mut stack = vec![tasks + joins.len().saturating_sub(1)];
    if joins.is_empty() {
        stack = vec![0];
    }
    let mut order = Vec::new();
    while let Some(cluster) = stack.pop() {
        match cluster.checked_sub(tasks) {
            None => order.push(cluster),
            Some(join) => stack.extend([joins[join].clusters.1, joins[join].clusters.0]),
        }
    }
    order
}

/// Spearman's rank correlation of two matrices over all pairs i < j, for example of gradient cosines with the distance of
/// languages. NaN where one of them is constant.
pub fn correlation(a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>) -> f64 {
    let upper = |matrix: ArrayView2<'_, f64>| -> Vec<f64> {
        let n = matrix.nrows();
        (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j))).map(|at| matrix[at]).collect()
    };
    let (x, y) = (ranks(&upper(a)), ranks(&upper(b)));
    let mean = f64::midpoint(x.len() as f64, 1.0);
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>();
    product(&x, &y) / (product(&x, &x) * product(&y, &y)).sqrt()
}

/// Ranks from 1, equal values sharing their mean rank.
fn ranks(values: &[f64]) -> Vec<f64> {
    values
        .iter()
        .map(|value| {
            let below = values.iter().filter(|other| *other < value).count() as f64;
            let equal = values.iter().filter(|other| *other == value).count() as f64;
            below + f64::midpoint(equal, 1.0)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn clusters_of_a_known_tree() {
        let distances = array![[0.0, 1.0, 6.0, 7.0], [1.0, 0.0, 6.0, 7.0], [6.0, 6.0, 0.0, 2.0], [7.0, 7.0, 2.0, 0.0]];
        let joins = dendrogram(distances.view());
        let expected = [((0, 1), 1.0), ((2, 3), 2.0), ((4, 5), 6.5)];
        assert_eq!(joins.iter().map(|join| (join.clusters, join.distance)).collect::<Vec<_>>(), expected);
        assert_eq!(leaves(&joins), [0, 1, 2, 3]);
        assert_eq!(leaves(&dendrogram(array![[0.0]].view())), [0]);
    }

    #[test]
    fn cosines_add_up_to_a_mean_and_correlate() {
        let gram = array![[4.0, 2.0], [2.0, 1.0]];
        let mut similarity = Similarity::new(2, 1);
        similarity.observe(&[gram]).unwrap();
        similarity.observe(&[array![[1.0, 0.0], [0.0, 1.0]]]).unwrap();
        assert_eq!(similarity.mean(0), array![[1.0, 0.5], [0.5, 1.0]]);
        let a = array![[0.0, 1.0, 2.0], [1.0, 0.0, 3.0], [2.0, 3.0, 0.0]];
        assert!((correlation(a.view(), a.view()) - 1.0).abs() < 1e-12);
        assert!((correlation(a.view(), (-&a).view()) + 1.0).abs() < 1e-12);
    }
}
