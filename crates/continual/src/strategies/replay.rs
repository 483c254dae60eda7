//! Experience replay, plain and dark.

use lyceum_core::{Result, Stream};
use lyceum_data::Examples;
use lyceum_train::{State, evaluation::logits_within_step};

use super::memory::{Item, Memory};
use crate::{
    Task,
    objective::RowsBuilder,
    strategy::{Context, Note, Strategy},
};

/// ER: every batch is joined by as many examples of a reservoir, all with equal weight (Chaudhry et al. 2019).
#[derive(Debug)]
pub struct Replay {
    memory: Memory,
}

impl Replay {
    /// With room for this many examples.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { memory: Memory::new(capacity) }
    }
}

impl Strategy for Replay {
    fn extend(&mut self, batch: &mut RowsBuilder, _: &Task, _: usize, positions: &[usize], rng: &mut Stream) {
        for item in self.memory.draw(positions.len(), rng) {
            batch.push(&item.input, item.label, 1.0, &item.outputs);
        }
    }

    fn watches(&self) -> bool {
        true
    }

    fn saw(&mut self, task: &Task, positions: &[usize], _: Context<'_>, rng: &mut Stream) -> Result<()> {
        for &position in positions {
            if let Some(place) = self.memory.place(rng) {
                self.memory.put(place, item(task, position, Vec::new()));
            }
        }
        Ok(())
    }

    fn end(&mut self, _: &[Task], _: Context<'_>) -> Result<Note> {
        Ok(Note { kept_numbers: self.memory.numbers(), ..Note::default() })
    }

    fn state(&self) -> State {
        self.memory.state()
    }

    fn restore(&mut self, state: State, _: Context<'_>) -> Result<()> {
        self.memory.restore(&state)
    }
}

/// DER++: L(batch) + α·mean (z − z')² + β·L(memory), z' the logits that an example of the reservoir had when it was seen; the
/// two terms draw from the reservoir apart (Buzzega, Boschini, Porrello, Abati and Calderara 2020).
#[derive(Debug)]
pub struct DarkReplay {
    memory: Memory,
    logits: f64,
    labels: f64,
}

impl DarkReplay {
    /// With room for this many examples, α and β.
    pub(crate) fn new(capacity: usize, logits: f64, labels: f64) -> Self {
        Self { memory: Memory::new(capacity), logits, labels }
    }
}

impl Strategy for DarkReplay {
    fn extend(&mut self, batch: &mut RowsBuilder, _: &Task, _: usize, positions: &[usize], rng: &mut Stream) {
        if self.memory.is_empty() {
            return;
        }
        let (own, first, second) = (positions.len(), self.memory.draw(positions.len(), rng), self.memory.draw(positions.len(), rng));
        // A loss is a mean over all rows; each of the three means is over its own.
        let all = (own + first.len() + second.len()) as f64;
        batch.scale(all / own as f64);
        for item in &first {
            batch.push(&item.input, item.label, 0.0, &item.outputs);
            batch.with_kept(&item.logits, (self.logits * all / (first.len() * item.logits.len()) as f64) as f32);
        }
        for item in &second {
            batch.push(&item.input, item.label, (self.labels * all / second.len() as f64) as f32, &item.outputs);
        }
    }

    fn watches(&self) -> bool {
        true
    }

    fn saw(&mut self, task: &Task, positions: &[usize], context: Context<'_>, rng: &mut Stream) -> Result<()> {
        let places: Vec<(usize, usize)> =
            positions.iter().filter_map(|&position| self.memory.place(rng).map(|place| (position, place))).collect();
        if places.is_empty() {
            return Ok(());
        }
        let rows: Vec<usize> = places.iter().map(|(position, _)| *position).collect();
        let found = logits_within_step(context.model, &task.train.subset(&rows))?;
        for ((position, place), z) in places.into_iter().zip(found.rows()) {
            self.memory.put(place, item(task, position, z.to_vec()));
        }
        Ok(())
    }

    fn end(&mut self, _: &[Task], _: Context<'_>) -> Result<Note> {
        Ok(Note { kept_numbers: self.memory.numbers(), ..Note::default() })
    }

    fn state(&self) -> State {
        self.memory.state()
    }

    fn restore(&mut self, state: State, _: Context<'_>) -> Result<()> {
        self.memory.restore(&state)
    }
}

/// An example of a task as it is kept.
pub(super) fn item(task: &Task, position: usize, logits: Vec<f32>) -> Item {
    let Examples { inputs, labels, .. } = &task.train;
    Item { input: inputs.row(position).to_vec(), label: labels[position], outputs: task.outputs.clone(), logits }
}
