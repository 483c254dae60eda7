//! Synaptic intelligence.

use lyceum_core::Result;
use lyceum_train::{State, Vector};

use crate::{
    Task,
    strategy::{Context, Note, Strategy},
};

/// The loss + c Σ Ωᵢ(θᵢ − θ*ᵢ)²: Ω grows after each task by max(0, ωᵢ)/((θᵢ − θ*ᵢ)² + ξ), ω = −Σ gᵢΔθᵢ over the task's steps
/// with g the gradient of the loss alone (Zenke, Poole and Ganguli 2017).
#[derive(Debug)]
pub struct Si {
    strength: f64,
    damping: f64,
    /// Ω, θ* and ω.
    kept: Option<[Vector; 3]>,
    gradient: Option<Vector>,
}

impl Si {
    /// c and ξ.
    pub(crate) fn new(strength: f64, damping: f64) -> Self {
        Self { strength, damping, kept: None, gradient: None }
    }
}

impl Strategy for Si {
    fn begin(&mut self, _: &[Task], context: Context<'_>) -> Result<()> {
        if self.kept.is_none() {
            let point = context.space.vector(context.model);
            self.kept = Some([point.zeros_like(), point.clone(), point.zeros_like()]);
        }
        Ok(())
    }

    fn transform(&mut self, gradient: Vector, parameters: &Vector, _: Context<'_>) -> Result<Vector> {
        self.gradient = Some(gradient.clone());
        Ok(match &self.kept {
            Some([importance, anchor, _]) => gradient + importance.clone() * (parameters.clone() - anchor.clone()) * (2.0 * self.strength),
            None => gradient,
        })
    }

    fn follows(&self) -> bool {
        true
    }

    fn moved(&mut self, from: &Vector, to: &Vector) {
        if let (Some([.., path]), Some(gradient)) = (&mut self.kept, self.gradient.take()) {
            *path = path.clone() - gradient * (to.clone() - from.clone());
        }
    }

    fn end(&mut self, _: &[Task], context: Context<'_>) -> Result<Note> {
        let now = context.space.vector(context.model);
        if let Some([importance, anchor, path]) = self.kept.take() {
            let moved = now.clone() - anchor;
            let grown = path.clone().clamp_min(0.0) / (moved.clone() * moved + self.damping);
            self.kept = Some([importance + grown, now, path.zeros_like()]);
        }
        Ok(Note { kept_numbers: 3 * context.space.dimension(), ..Note::default() })
    }

    fn state(&self) -> State {
        match &self.kept {
            Some([a, b, c]) => State::default().with_vector("importance", a).with_vector("anchor", b).with_vector("path", c),
            None => State::default(),
        }
    }

    fn restore(&mut self, state: State, context: Context<'_>) -> Result<()> {
        let device = context.space.vector(context.model).device();
        let of = |name: &str| state.vector(name, &device);
        self.kept = of("importance").zip(of("anchor")).zip(of("path")).map(|((a, b), c)| [a, b, c]);
        Ok(())
    }
}
