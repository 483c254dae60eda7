//! Logits in double precision.

use ndarray::{Array, ArrayView, Axis, Dimension};

/// Logits of float64 as float32, each row less its maximum: the softmax is the same, and what float32 rounds is the
/// distance from the maximum. Numbers that float32 holds exactly give the scores that they would give as float32.
///
/// ```
/// use lyceum_conformal::logits::from_f64;
/// use ndarray::array;
/// assert_eq!(from_f64(array![[1e8 + 0.5, 1e8]].view()), array![[0.0, -0.5]]);
/// ```
pub fn from_f64<D: Dimension>(logits: ArrayView<'_, f64, D>) -> Array<f32, D> {
    let mut out = Array::zeros(logits.raw_dim());
    let Some(last) = logits.ndim().checked_sub(1) else { return out };
    let lanes = out.lanes_mut(Axis(last)).into_iter().zip(logits.lanes(Axis(last)));
    for (mut to, from) in lanes {
        let max = from.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // The largest are 0, infinities too; NaN stays NaN.
        to.iter_mut().zip(from).for_each(|(to, &z)| *to = if z == max { 0.0 } else { (z - max) as f32 });
    }
    out
}
