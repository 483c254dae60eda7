//! The directions of a layer's input space that earlier tasks use.

use faer::{Mat, Side};
use lyceum_core::{Error, Result};
use ndarray::{Array2, ArrayView2, Axis, concatenate, s};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many directions are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RankRule {
    /// The smallest number that reaches the threshold, as the paper says.
    #[default]
    Paper,
    /// As the authors' code counts: for the first task one fewer.
    Authors,
}

/// An orthonormal basis M (d × r, in columns) that grows task by task.
#[derive(Debug, Clone, PartialEq)]
pub struct Basis {
    columns: Array2<f64>,
    /// How important each direction is to the tasks so far, from 0 to 1.
    importance: Vec<f64>,
    tasks: usize,
}

/// What an update did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// The share of the inputs' energy ‖R‖² that the basis held before.
    pub before: f64,
    /// The share it holds now.
    pub after: f64,
    /// How many directions were added.
    pub added: usize,
    /// How many there are: r.
    pub rank: usize,
    /// How many there can be: d.
    pub dimension: usize,
}

impl Basis {
    /// No directions of a space of this dimension.
    pub fn new(dimension: usize) -> Self {
        Self { columns: Array2::zeros((dimension, 0)), importance: Vec::new(), tasks: 0 }
    }

    /// From saved columns (d × r) after some tasks; all are fully important.
    pub fn from_columns(columns: Array2<f64>, tasks: usize) -> Self {
        Self { importance: vec![1.0; columns.ncols()], columns, tasks }
    }

    /// With saved importances, one a column.
    pub fn with_importance(mut self, importance: Vec<f64>) -> Result<Self> {
        if importance.len() != self.rank() {
            return Err(Error::invalid("importance", importance.len(), format!("{}, one a column", self.rank())));
        }
        self.importance = importance;
        Ok(self)
    }

    /// λ of each direction, from 0 to 1: 1 unless it was [scaled](Self::scale).
    pub fn importance(&self) -> &[f64] {
        &self.importance
    }

    /// Weighs the directions by what these inputs R (N × d, one a row), which were [learnt](Self::learn) last, have in them:
    ///
    /// ```text
    /// sᵢ = ‖R mᵢ‖,  λ'ᵢ = (a + 1)sᵢ/(a sᵢ + max s),  λᵢ ← min(1, λᵢ + λ'ᵢ)
    /// ```
    ///
    /// with λᵢ = 0 for the `added` directions before (Saha and Roy, *Continual Learning with Scaled Gradient Projection*, AAAI
    /// 2023, equations 3 to 6). The larger a is, the nearer all are to 1.
    pub fn scale(&mut self, inputs: ArrayView2<'_, f64>, a: f64, added: usize) {
        let parts = inputs.dot(&self.columns);
        let s: Vec<f64> = parts.columns().into_iter().map(|column| column.dot(&column).sqrt()).collect();
        let most = s.iter().copied().fold(0.0, f64::max);
        let old = self.rank() - added.min(self.rank());
        for (i, (s, importance)) in s.iter().zip(&mut self.importance).enumerate() {
            let now = if most > 0.0 { (a + 1.0) * s / (a * s + most) } else { 0.0 };
            let before = if i < old { *importance } else { 0.0 };
            // As a file holds it.
            *importance = f64::from((before + now).min(1.0) as f32);
        }
    }

    /// M.
    pub fn columns(&self) -> ArrayView2<'_, f64> {
        self.columns.view()
    }

    /// From how many tasks it was made.
    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// r, how many directions there are.
    pub fn rank(&self) -> usize {
        self.columns.ncols()
    }

    /// d.
    pub fn dimension(&self) -> usize {
        self.columns.nrows()
    }

    /// Learns the inputs R (N × d, one a row) of a task: directions are added, strongest first, until the basis holds the share
    /// `threshold` of their energy,
    ///
    /// ```text
    /// R̂ = R − RMMᵀ,  ‖RM‖² + Σ_{i ≤ r} ŝᵢ² ≥ ε‖R‖²        ŝ the singular values of R̂
    /// ```
    ///
    /// (Saha, Garg and Roy 2021, equations 5 and 8.) The singular vectors come from the smaller of R̂R̂ᵀ and R̂ᵀR̂ in double
    /// precision; what is added is made orthogonal to what was there twice over.
    pub fn learn(&mut self, inputs: ArrayView2<'_, f64>, threshold: f64, rule: RankRule) -> Result<Update> {
        let dimension = self.dimension();
        if inputs.ncols() != dimension {
            return Err(Error::invalid("inputs", format!("{} columns", inputs.ncols()), format!("{dimension}, the dimension")));
        }
        let total: f64 = inputs.iter().map(|x| x * x).sum();
        if !total.is_finite() {
            return Err(Error::Diverged(format!("the squared norm of the inputs of a layer is {total}")));
        }
        let first = self.tasks == 0;
        self.tasks += 1;
        // Twice: the second time takes away what rounding left of the first.
        let residual = self.without(self.without(inputs.to_owned()));
        let left: f64 = residual.iter().map(|x| x * x).sum();
        let before = if total > 0.0 { (1.0 - left / total).max(0.0) } else { 1.0 };
        let room = dimension - self.rank();
        let (values, vectors) = singular(residual.view(), room)?;
        let mut held = before;
        let mut added: usize = 0;
        for value in &values {
            // Columns are kept in single precision: what is held is known to about 1e-7.
            if held >= threshold - 1e-6 || *value <= 1e-18 * total {
                break;
            }
            held += value / total;
            added += 1;
        }
        if first && rule == RankRule::Authors {
            added = added.saturating_sub(1);
            held = before + values[..added].iter().sum::<f64>() / total;
        }
        let mut new = self.orthonormal(vectors.slice(s![.., ..added]).to_owned());
        // As a file holds it: what goes on from a file is what goes on without one.
        new.mapv_inplace(|x| f64::from(x as f32));
        self.columns = concatenate(Axis(1), &[self.columns.view(), new.view()]).map_err(|error| Error::Failed(error.to_string()))?;
        self.importance.resize(self.rank(), 1.0);
        Ok(Update { before, after: held, added, rank: self.rank(), dimension })
    }

    /// X(I − MMᵀ), for rows X.
    fn without(&self, x: Array2<f64>) -> Array2<f64> {
        if self.rank() == 0 { x } else { &x - &x.dot(&self.columns).dot(&self.columns.t()) }
    }

    /// The columns made orthogonal to M and to one another, of length 1.
    fn orthonormal(&self, mut new: Array2<f64>) -> Array2<f64> {
        for k in 0..new.ncols() {
            for _ in 0..2 {
                let mut column = new.column(k).to_owned();
                column -= &self.columns.dot(&self.columns.t().dot(&column));
                let earlier = new.slice(s![.., ..k]);
                column -= &earlier.dot(&earlier.t().dot(&column));
                let norm = column.dot(&column).sqrt();
                new.column_mut(k).assign(&(column / norm));
            }
        }
        new
    }

    /// An orthonormal basis N (d × (d − r)) of what is left: MMᵀ + NNᵀ = I.
    pub fn complement(&self) -> Result<Array2<f64>> {
        let projector = self.columns.dot(&self.columns.t());
        let (values, vectors) = eigen(projector.view())?;
        let null: Vec<usize> = (0..values.len()).filter(|&k| values[k] < 0.5).collect();
        Ok(vectors.select(Axis(1), &null))
    }
}

/// The squares of the singular values of R (N × d), falling, and its right singular vectors (d × count, in columns).
fn singular(r: ArrayView2<'_, f64>, most: usize) -> Result<(Vec<f64>, Array2<f64>)> {
    let (n, d) = r.dim();
    if n == 0 || most == 0 {
        return Ok((Vec::new(), Array2::zeros((d, 0))));
    }
    let wide = n < d;
    let gram = if wide { r.dot(&r.t()) } else { r.t().dot(&r) };
    let (values, vectors) = eigen(gram.view())?;
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    order.truncate(most);
    let squares: Vec<f64> = order.iter().map(|&k| values[k].max(0.0)).collect();
    let mut vectors = vectors.select(Axis(1), &order);
    if wide {
        // Left vectors u give Rᵀu/s.
        vectors = r.t().dot(&vectors);
        for (mut column, square) in vectors.columns_mut().into_iter().zip(&squares) {
            let norm = square.sqrt().max(f64::MIN_POSITIVE);
            column.mapv_inplace(|x| x / norm);
        }
    }
    Ok((squares, vectors))
}

fn eigen(matrix: ArrayView2<'_, f64>) -> Result<(Vec<f64>, Array2<f64>)> {
    let n = matrix.nrows();
    let found = Mat::from_fn(n, n, |i, j| matrix[[i, j]])
        .self_adjoint_eigen(Side::Lower)
        .map_err(|error| Error::Failed(format!("eigenvalues: {error:?}")))?;
    Ok(((0..n).map(|k| found.S()[k]).collect(), Array2::from_shape_fn((n, n), |(i, j)| found.U()[(i, j)])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lyceum_core::Seed;
    use ndarray::array;
    use proptest::prelude::*;
    use rand::RngExt;

    fn rank(threshold: f64, rule: RankRule) -> usize {
        // Singular values 3, 2, 1.
        let inputs = Array2::from_diag(&array![3.0, 2.0, 1.0]);
        Basis::new(3).learn(inputs.view(), threshold, rule).unwrap().rank
    }

    #[test]
    fn ranks_worked_by_hand() {
        let ranks = [0.9, 0.95, 0.5, 9.0 / 14.0].map(|threshold| (rank(threshold, RankRule::Paper), rank(threshold, RankRule::Authors)));
        assert_eq!(ranks, [(2, 1), (3, 2), (1, 0), (1, 0)]);
    }

    #[test]
    fn a_second_task_worked_by_hand() {
        let inputs = array![[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]];
        let start = || Basis::from_columns(array![[1.0], [0.0], [0.0]], 1);
        for (threshold, added, after) in [(0.3, 0, 0.4), (0.9, 1, 0.923_607), (0.95, 2, 1.0)] {
            let mut basis = start();
            let update = basis.learn(inputs.view(), threshold, RankRule::Paper).unwrap();
            assert_eq!((update.added, update.rank), (added, 1 + added));
            assert!((update.before - 0.4).abs() < 1e-12 && (update.after - after).abs() < 1e-6, "{update:?}");
            if added == 1 {
                let column = basis.columns().column(1).mapv(f64::abs);
                assert!(column.iter().zip([0.0, 0.525_731, 0.850_651]).all(|(a, b)| (a - b).abs() < 1e-6));
            }
        }
    }

    #[test]
    fn importances_worked_by_hand() {
        // Energies 3 and 1 of the first task, 1 and 2 of the second; a = 1.
        let mut basis = Basis::new(2);
        let first = array![[3.0, 0.0], [0.0, 1.0]];
        let added = basis.learn(first.view(), 1.0, RankRule::Paper).unwrap().added;
        basis.scale(first.view(), 1.0, added);
        let close = |found: &[f64], expected: [f64; 2]| found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(close(basis.importance(), [2.0 * 3.0 / 6.0, 2.0 / 4.0]), "{:?}", basis.importance());
        let second = array![[1.0, 0.0], [0.0, 0.5]];
        let added = basis.learn(second.view(), 1.0, RankRule::Paper).unwrap().added;
        assert_eq!(added, 0);
        basis.scale(second.view(), 1.0, added);
        assert!(close(basis.importance(), [1.0, 1.0]));
    }

    proptest! {
        #[test]
        fn bases_stay_orthonormal_and_hold_what_they_say(seed in 0_u64..1_000, n in 1_usize..60, d in 1_usize..40) {
            let mut rng = Seed::new(seed).stream("basis");
            let mut basis = Basis::new(d);
            for task in 0..4 {
                let inputs = Array2::from_shape_fn((n, d), |(_, j)| (rng.random::<f64>() - 0.4) / (1.0 + (j + task) as f64));
                let update = basis.learn(inputs.view(), 0.95, RankRule::Paper).unwrap();
                let identity = basis.columns().t().dot(&basis.columns());
                prop_assert!(identity.indexed_iter().all(|((i, j), v)| (v - f64::from(u8::from(i == j))).abs() < 1e-6));
                let inside: f64 = inputs.dot(&basis.columns()).iter().map(|x| x * x).sum();
                let total: f64 = inputs.iter().map(|x| x * x).sum();
                prop_assert!((inside / total - update.after).abs() < 1e-6 && update.after >= 0.95 - 2e-6);
                // The same inputs again add nothing.
                prop_assert_eq!(basis.clone().learn(inputs.view(), 0.95, RankRule::Paper).unwrap().added, 0);
                let complement = basis.complement().unwrap();
                prop_assert_eq!(complement.ncols(), d - basis.rank());
                let both = basis.columns().dot(&basis.columns().t()) + complement.dot(&complement.t());
                prop_assert!(both.indexed_iter().all(|((i, j), v)| (v - f64::from(u8::from(i == j))).abs() < 1e-6));
            }
        }
    }
}
