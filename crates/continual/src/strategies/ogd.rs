//! Orthogonal gradient descent.

use burn::tensor::{Tensor, TensorData};
use lyceum_core::{Array, Result};
use lyceum_data::split;
use lyceum_kernels::vector;
use lyceum_train::{Network, Pass, State, Vector};

use crate::{
    Task,
    strategy::{Context, Note, Strategy, saved},
};

/// g ← g − Σ ⟨g, v⟩v over an orthonormal basis of gradients of earlier tasks' outputs: of some examples the gradient of the
/// logit of the right class (OGD-GTL; Farajtabar, Azizan, Mott and Li 2020). It keeps n·P numbers a task.
#[derive(Debug)]
pub struct Ogd {
    samples: usize,
    basis: Vec<Vector>,
}

impl Ogd {
    /// With this many gradients a task.
    pub(crate) fn new(samples: usize) -> Self {
        Self { samples, basis: Vec::new() }
    }

    fn without(&self, mut g: Vector) -> Vector {
        for v in &self.basis {
            g = vector::add_scaled(&g, -vector::dot(&g, v), v);
        }
        g
    }
}

impl Strategy for Ogd {
    fn transform(&mut self, gradient: Vector, _: &Vector, _: Context<'_>) -> Result<Vector> {
        Ok(self.without(gradient))
    }

    fn end(&mut self, tasks: &[Task], context: Context<'_>) -> Result<Note> {
        let space = context.space;
        let point = space.vector(context.model);
        for task in tasks {
            let order = split::permutation(task.train.len(), &mut context.seed.stream("ogd"));
            for &position in order.iter().take(self.samples) {
                let model = space.place(context.model.clone(), &point);
                let input: Vec<f32> = task.train.inputs.row(position).to_vec();
                let width = input.len();
                let input = Tensor::<2>::from_data(TensorData::new(input, [1, width]), &point.device()).autodiff();
                let logits = model.forward(input, &mut Pass::evaluation());
                let logit = logits.narrow(1, task.train.labels[position], 1).sum();
                let g = space.gradient(&model, logit.backward());
                let length = vector::norm(&g);
                // Twice: what rounding leaves of a projection is taken away too.
                let rest = self.without(self.without(g));
                let left = vector::norm(&rest);
                if left > 1e-4 * length {
                    self.basis.push(rest / left);
                }
            }
        }
        Ok(Note { kept_numbers: self.basis.len() * space.dimension(), ..Note::default() })
    }

    fn state(&self) -> State {
        let values: Vec<f32> = self.basis.iter().flat_map(vector::to_vec).collect();
        let width = values.len() / self.basis.len().max(1);
        State { arrays: vec![Array::new("basis", vec![self.basis.len(), width], values)], ..State::default() }
    }

    fn restore(&mut self, state: State, context: Context<'_>) -> Result<()> {
        let device = context.space.vector(context.model).device();
        if let Some(array) = saved(&state, "basis").filter(|array| array.shape[0] > 0) {
            self.basis = array.values.chunks_exact(array.shape[1]).map(|row| vector::from_vec(row.to_vec(), &device)).collect();
        }
        Ok(())
    }
}
