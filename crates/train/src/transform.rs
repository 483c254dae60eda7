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

/// Adds λw, the gradient of (λ/2)‖w‖²; with a factor fᵢ for each parameter λfᵢwᵢ, the gradient of (λ/2)·Σ fᵢwᵢ².
#[derive(Debug, Clone)]
pub struct L2 {
    /// λ.
    pub coefficient: f64,
    /// fᵢ; 1 everywhere if absent.
    pub factors: Option<Vector>,
}

impl L2 {
    /// fᵢwᵢ.
    fn scaled(&self, parameters: &Vector) -> Vector {
        self.factors.as_ref().map_or_else(|| parameters.clone(), |factors| parameters.clone() * factors.clone())
    }

    /// (λ/2)·Σ fᵢwᵢ².
    pub fn value(&self, parameters: &Vector) -> f64 {
        0.5 * self.coefficient * vector::dot(&self.scaled(parameters), parameters)
    }

    /// A gradient with that of this term.
    pub fn add(&self, gradient: &Vector, parameters: &Vector) -> Vector {
        vector::add_scaled(gradient, self.coefficient, &self.scaled(parameters))
    }

    /// A gradient without that of this term.
    pub fn removed(&self, gradient: &Vector, parameters: &Vector) -> Vector {
        vector::add_scaled(gradient, -self.coefficient, &self.scaled(parameters))
    }

    /// wᵢ·(1 − `rate`·λfᵢ).
    pub fn shrink(&self, parameters: Vector, rate: f64) -> Vector {
        match &self.factors {
            None => parameters * (1.0 - rate * self.coefficient),
            Some(factors) => parameters * (factors.clone() * (-rate * self.coefficient) + 1.0),
        }
    }
}
