//! What an operator applies to its output in the same sweep.

/// What is applied to an operator's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// max(0, y).
    Relu,
}
