//! A method of combination with its state.

use lyceum_core::{Error, Result, Seed, Stream};
use ndarray::{Array2, ArrayView2};

use crate::{Gradients, gram};

/// What a method sees of one step.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// The group, from 0.
    pub group: usize,
    /// Gᵢⱼ = ⟨gᵢ, gⱼ⟩ within the group.
    pub gram: ArrayView2<'a, f64>,
    /// The tasks' losses, where they are known.
    pub losses: Option<&'a [f64]>,
}

/// A rule that makes one gradient of several.
pub trait Rule: Send + Sync {
    /// The coefficients c of the update Σ cᵢgᵢ. `rng` is the randomness of this step and group.
    fn coefficients(&mut self, step: Step<'_>, rng: &mut Stream) -> Result<Vec<f64>>;

    /// Whether the rule needs losses.
    fn needs_losses(&self) -> bool {
        false
    }

    /// What it remembers from step to step; single precision, so that a file holds all of it.
    fn state(&self) -> Vec<f32> {
        Vec::new()
    }

    /// Goes on from a state; errors where it is not one of this rule's.
    fn restore(&mut self, state: &[f32]) -> Result<()> {
        if state.is_empty() { Ok(()) } else { Err(Error::Failed("this method keeps no state".into())) }
    }
}

/// A rule for a number of tasks and groups, step after step.
pub struct Combiner {
    rule: Box<dyn Rule>,
    tasks: usize,
    groups: usize,
    grams: Vec<Array2<f64>>,
    coefficients: Vec<Vec<f64>>,
}

impl std::fmt::Debug for Combiner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Combiner").field("tasks", &self.tasks).field("groups", &self.groups).finish_non_exhaustive()
    }
}

impl Combiner {
    pub(crate) fn new(rule: Box<dyn Rule>, tasks: usize, groups: usize) -> Self {
        Self { rule, tasks, groups, grams: Vec::new(), coefficients: Vec::new() }
    }

    /// One step: the combined gradient into `out`, one slice a segment. `losses` are the tasks' losses, which some methods
    /// need; `seed` is the step's randomness. On an error nothing has changed.
    pub fn combine(&mut self, gradients: &Gradients<'_>, losses: Option<&[f64]>, seed: Seed, out: &mut [&mut [f32]]) -> Result<()> {
        if (gradients.tasks(), gradients.groups()) != (self.tasks, self.groups) {
            let found = format!("{} tasks in {} groups", gradients.tasks(), gradients.groups());
            return Err(Error::invalid("gradients", found, format!("{} tasks in {} groups", self.tasks, self.groups)));
        }
        let grams = gram::gram(gradients)?;
        let coefficients = self.coefficients(&grams, losses, seed)?;
        gram::weighted_sum(gradients, &coefficients, out)?;
        (self.grams, self.coefficients) = (grams, coefficients);
        Ok(())
    }

    /// The coefficients of each group from Gram matrices alone.
    pub fn coefficients(&mut self, grams: &[Array2<f64>], losses: Option<&[f64]>, seed: Seed) -> Result<Vec<Vec<f64>>> {
        match losses {
            None if self.rule.needs_losses() => return Err(Error::invalid("losses", "none", "one for each task: this method needs them")),
            Some(losses) if losses.len() != self.tasks => {
                return Err(Error::invalid("losses", losses.len(), format!("one for each of {} tasks", self.tasks)));
            }
            Some(losses) if losses.iter().any(|loss| !loss.is_finite()) => {
                return Err(Error::invalid("losses", format!("{losses:?}"), "finite numbers"));
            }
            _ => {}
        }
        let before = self.rule.state();
        let of_group = |(group, gram): (usize, &Array2<f64>)| {
            let step = Step { group, gram: gram.view(), losses };
            self.rule.coefficients(step, &mut seed.stream_at("multitask", group as u64))
        };
        let found: Result<Vec<Vec<f64>>> = grams.iter().enumerate().map(of_group).collect();
        if found.is_err() {
            self.rule.restore(&before)?;
        }
        found
    }

    /// The Gram matrices of the last step, a group each.
    pub fn grams(&self) -> &[Array2<f64>] {
        &self.grams
    }

    /// The coefficients of the last step, a group each.
    pub fn last_coefficients(&self) -> &[Vec<f64>] {
        &self.coefficients
    }

    /// What the method remembers from step to step.
    pub fn state(&self) -> Vec<f32> {
        self.rule.state()
    }

    /// Goes on from what [`state`](Self::state) gave.
    pub fn restore(&mut self, state: &[f32]) -> Result<()> {
        self.rule.restore(state)
    }
}
