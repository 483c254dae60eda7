//! What is done to a gradient before the optimiser sees it.

use lyceum_core::Result;
use lyceum_kernels::vector;

use crate::{ParamSpace, Vector};

/// (gradient, parameters) to gradient. Transforms are applied in the order written.
pub trait GradientTransform: Send {
    /// The changed gradient.
    fn transform(&mut self, gradient: Vector, parameters: &Vector, space: &ParamSpace) -> Result<Vector>;
}

/// Scales a gradient whose norm is above `max_norm` down to it: g · min(1, max_norm/‖g‖₂).
#[derive(Debug, Clone, Copy)]
pub struct ClipNorm {
    /// The largest norm that is let through.
    pub max_norm: f64,
}

impl GradientTransform for ClipNorm {
    fn transform(&mut self, gradient: Vector, _: &Vector, _: &ParamSpace) -> Result<Vector> {
        let norm = vector::norm(&gradient);
        Ok(if norm > self.max_norm { gradient * (self.max_norm / norm) } else { gradient })
    }
}

/// Adds λw, the gradient of (λ/2)‖w‖².
#[derive(Debug, Clone, Copy)]
pub struct L2 {
    /// λ.
    pub coefficient: f64,
}

impl GradientTransform for L2 {
    fn transform(&mut self, gradient: Vector, parameters: &Vector, _: &ParamSpace) -> Result<Vector> {
        Ok(vector::add_scaled(&gradient, self.coefficient, parameters))
    }
}
