//! Learning without forgetting.

use std::ops::Range;

use lyceum_core::{Array, Result};
use lyceum_train::{Net, Network, ParamSpace, Pass, State};

use crate::{
    Task,
    objective::{Rows, softened},
    strategy::{Context, Note, Strategy, saved},
};

/// The loss + λT²·H(softmax(z'/T), softmax(z/T)) over the outputs of earlier tasks, z' the logits of the network as it was
/// before this task, on this task's inputs (Li and Hoiem 2016).
#[derive(Debug)]
pub struct LwF {
    strength: f64,
    temperature: f64,
    old: Option<Net>,
    outputs: Vec<Range<usize>>,
}

impl LwF {
    /// λ and T.
    pub(crate) fn new(strength: f64, temperature: f64) -> Self {
        Self { strength, temperature, old: None, outputs: Vec::new() }
    }
}

impl Strategy for LwF {
    fn finish(&mut self, rows: Rows, _: &Task) -> Result<Rows> {
        let Some(old) = &self.old else { return Ok(rows) };
        let z = old.forward(rows.inputs.clone(), &mut Pass::evaluation());
        let (targets, mask) = softened(z, &self.outputs, self.temperature, self.strength * self.temperature * self.temperature);
        Ok(Rows { distilled: Some((targets, mask, self.temperature)), ..rows })
    }

    fn end(&mut self, tasks: &[Task], context: Context<'_>) -> Result<Note> {
        let space = context.space;
        self.old = Some(space.place_for_evaluation(context.model.clone(), &space.vector(context.model)));
        for task in tasks {
            if !self.outputs.contains(&task.outputs) {
                self.outputs.push(task.outputs.clone());
            }
        }
        Ok(Note { kept_numbers: space.dimension(), ..Note::default() })
    }

    fn state(&self) -> State {
        let Some(old) = &self.old else { return State::default() };
        let mut arrays = ParamSpace::of(old).arrays(old);
        let ends: Vec<f32> = self.outputs.iter().flat_map(|range| [range.start as f32, range.end as f32]).collect();
        arrays.push(Array::new("lwf/outputs", vec![ends.len()], ends));
        State { arrays, ..State::default() }
    }

    fn restore(&mut self, state: State, context: Context<'_>) -> Result<()> {
        let Some(ends) = saved(&state, "lwf/outputs") else { return Ok(()) };
        self.outputs = ends.values.chunks_exact(2).map(|ends| ends[0] as usize..ends[1] as usize).collect();
        let old = context.space.load(context.model.clone(), &state.arrays)?;
        self.old = Some(context.space.place_for_evaluation(old.clone(), &context.space.vector(&old)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Tensor, TensorData};

    #[test]
    fn only_old_outputs_are_kept() {
        let device = lyceum_train::cpu();
        let z = Tensor::<2>::from_data(TensorData::new(vec![2.0_f32, 0.0, 7.0], [1, 3]), &device);
        let (targets, _) = softened(z, std::slice::from_ref(&(0..2)), 2.0, 1.0);
        let found = lyceum_kernels::vector::to_vec(&targets.squeeze_dim(0));
        let p = 1.0 / (1.0 + (-1.0_f32).exp());
        assert!((found[0] - p).abs() < 1e-6 && (found[1] - (1.0 - p)).abs() < 1e-6 && found[2] == 0.0, "{found:?}");
    }
}
