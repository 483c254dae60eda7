//! What an operator applies to its output in the same sweep.

/// What is applied to an operator's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// max(0, y).
    Relu,
}

/// max(0, y) that lets NaN through, so that a training that has diverged shows it.
#[inline(always)]
pub(crate) fn relu(y: f32) -> f32 {
    if y < 0.0 { 0.0 } else { y }
}
