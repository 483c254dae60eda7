//! Averaged gradient episodic memory.

use lyceum_core::{Result, Stream};
use lyceum_kernels::vector;
use lyceum_train::{State, Vector};

use super::{memory::Memory, replay::item};
use crate::{
    Task,
    objective::{RowsBuilder, StageBatch},
    strategy::{Context, Note, Strategy},
    surface::gradient_at,
};

/// With r the gradient on examples of earlier tasks: where ⟨g, r⟩ < 0, g ← g − ⟨g, r⟩/⟨r, r⟩ r
/// (Chaudhry, Ranzato, Rohrbach and Elhoseiny 2019).
#[derive(Debug)]
pub struct AGem {
    memory: Memory,
    reference: usize,
    /// Whether there is an earlier task.
    active: bool,
}

impl AGem {
    /// With room for this many examples, of which `reference` give r.
    pub(crate) fn new(capacity: usize, reference: usize) -> Self {
        Self { memory: Memory::new(capacity), reference, active: false }
    }
}

impl Strategy for AGem {
    fn begin(&mut self, _: &[Task], _: Context<'_>) -> Result<()> {
        self.active = !self.memory.is_empty();
        Ok(())
    }

    fn transform(&mut self, gradient: Vector, parameters: &Vector, context: Context<'_>) -> Result<Vector> {
        if !self.active {
            return Ok(gradient);
        }
        let mut rows = RowsBuilder::new(context.outputs, context.heads);
        for item in self.memory.draw(self.reference, &mut context.seed.stream("a-gem")) {
            rows.push(&item.input, item.label, 1.0, &item.outputs);
        }
        let batch = StageBatch { tasks: vec![rows.build(&gradient.device())] };
        let r = gradient_at(context, parameters, &batch)?;
        Ok(without_conflict(gradient, &r))
    }

    fn end(&mut self, tasks: &[Task], context: Context<'_>) -> Result<Note> {
        // Examples of a task are kept when it has been learnt: r is of earlier tasks alone.
        let mut rng: Stream = context.seed.stream("a-gem/memory");
        for task in tasks {
            for position in lyceum_data::split::permutation(task.train.len(), &mut rng) {
                if let Some(place) = self.memory.place(&mut rng) {
                    self.memory.put(place, item(task, position, Vec::new()));
                }
            }
        }
        Ok(Note { kept_numbers: self.memory.numbers(), ..Note::default() })
    }

    fn state(&self) -> State {
        self.memory.state()
    }

    fn restore(&mut self, state: State, _: Context<'_>) -> Result<()> {
        self.memory.restore(&state)
    }
}

fn without_conflict(gradient: Vector, reference: &Vector) -> Vector {
    let product = vector::dot(&gradient, reference);
    let squared = vector::dot(reference, reference);
    if product < 0.0 && squared > 0.0 { vector::add_scaled(&gradient, -product / squared, reference) } else { gradient }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_worked_by_hand() {
        let device = lyceum_train::cpu();
        let v = |values: [f32; 2]| vector::from_vec(values.to_vec(), &device);
        assert_eq!(vector::to_vec(&without_conflict(v([1.0, -2.0]), &v([1.0, 1.0]))), [1.5, -1.5]);
        assert_eq!(vector::to_vec(&without_conflict(v([1.0, 2.0]), &v([1.0, 1.0]))), [1.0, 2.0]);
    }
}
