//! What an operator applies to its output in the same sweep.

use burn::tensor::{Tensor, activation as burn_activation};
use lyceum_core::vectorize;

/// What is applied to an operator's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// max(0, y).
    Relu,
    /// min(max(0, y), 6).
    Relu6,
}

impl Activation {
    /// Where ReLU and ReLU6 cut, [`NOWHERE`] above for the former; `None` for nothing.
    pub(crate) fn ceiling(self) -> Option<f32> {
        match self {
            Self::None => None,
            Self::Relu => Some(NOWHERE),
            Self::Relu6 => Some(6.0),
        }
    }

    /// Of a tensor, by burn's own operators.
    pub fn apply<const D: usize>(self, y: Tensor<D>) -> Tensor<D> {
        match self {
            Self::None => y,
            Self::Relu => burn_activation::relu(y),
            Self::Relu6 => burn_activation::relu6(y),
        }
    }
}

/// Nothing is above it, not even ∞.
pub(crate) const NOWHERE: f32 = f32::NAN;

/// min(max(0, y), ceiling) that lets NaN through.
#[inline(always)]
pub(crate) fn cut(y: f32, ceiling: f32) -> f32 {
    let y = relu(y);
    if y > ceiling { ceiling } else { y }
}

/// ∂y where the output y is above 0 and not at the ceiling, else 0; by a mask.
#[inline(always)]
#[allow(clippy::neg_cmp_op_on_partial_ord, reason = "a ceiling that is NaN is none")]
pub(crate) fn gate_below(gradient: f32, output: f32, ceiling: f32) -> f32 {
    let open = (output > 0.0) & !(output >= ceiling);
    f32::from_bits(gradient.to_bits() & u32::from(open).wrapping_neg())
}

/// max(0, y) that lets NaN through, so that a training that has diverged shows it.
#[inline(always)]
pub(crate) fn relu(y: f32) -> f32 {
    if y < 0.0 { 0.0 } else { y }
}

/// ∂y where the output y of ReLU is above 0, else 0. By a mask: which it is cannot be foreseen, so a branch would be
/// guessed wrong.
#[inline(always)]
pub(crate) fn gate(gradient: f32, output: f32) -> f32 {
    f32::from_bits(gradient.to_bits() & u32::from(output > 0.0).wrapping_neg())
}

/// The gradient to what went into ReLU, from the gradient to its output and the output, in `to`.
pub(crate) fn gate_all(to: &mut Vec<f32>, gradient: &[f32], output: &[f32]) {
    to.resize(gradient.len(), 0.0);
    gate_each(to, gradient, output);
}

vectorize! {
    fn gate_each(to: &mut [f32], gradient: &[f32], output: &[f32]) {
        to.iter_mut().zip(gradient.iter().zip(output)).for_each(|(to, (g, y))| *to = gate(*g, *y));
    }
}

vectorize! {
    /// y ← act(y + b), row by row.
    pub(crate) fn add_and_activate(y: &mut [f32], bias: &[f32], rectify: bool) {
        for row in y.chunks_exact_mut(bias.len().max(1)) {
            if rectify {
                row.iter_mut().zip(bias).for_each(|(y, b)| *y = relu(*y + b));
            } else {
                row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
            }
        }
    }
}
