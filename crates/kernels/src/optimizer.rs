//! Steps of optimisers over a whole parameter vector, in one sweep.

use burn::{
    backend::{Backend, Dispatch, Flex, backend_extension, tensor::FloatTensor},
    tensor::Tensor,
};
use rayon::prelude::*;

use crate::{
    check,
    flex::{Values, is_flex, tensor},
};

/// The length of a piece of work: it stays in a core's second-level cache.
const PIECE: usize = 1 << 14;

/// One step of SGD with momentum: v ← μv + g, w ← w − lr·v (Nesterov: w ← w − lr·(g + μv)). Gives w and v.
pub fn sgd_step(w: Tensor<1>, g: Tensor<1>, v: Tensor<1>, lr: f64, momentum: f64, nesterov: bool) -> (Tensor<1>, Tensor<1>) {
    check_vectors("sgd_step", &w, [("g", &g), ("v", &v)]);
    if is_flex(&w.device()) {
        let step = <Dispatch as OptimizerStep>::sgd_step(
            w.into_dispatch(),
            g.into_dispatch(),
            v.into_dispatch(),
            lr as f32,
            momentum as f32,
            nesterov,
        );
        return (Tensor::from_dispatch(step.0), Tensor::from_dispatch(step.1));
    }
    let v = v * momentum + g.clone();
    let direction = if nesterov { v.clone() * momentum + g } else { v.clone() };
    (w - direction * lr, v)
}

/// Panics unless the vectors are as long as the parameters, and no graph holds these.
fn check_vectors<const N: usize>(operator: &str, w: &Tensor<1>, others: [(&str, &Tensor<1>); N]) {
    others.into_iter().for_each(|(name, other)| check::same(operator, name, other.dims(), w.dims()));
    check::holds(operator, !w.is_require_grad(), || "w has gradients, expected a vector without".into());
}

/// The constants of Adam.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamConstants {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// ε.
    pub epsilon: f64,
}

/// Step `t` (from 1) of Adam (Kingma and Ba 2015): m ← β₁m + (1−β₁)g, s ← β₂s + (1−β₂)g²,
/// w ← w − lr · m/(1−β₁ᵗ) / (√(s/(1−β₂ᵗ)) + ε). Gives w, m and s.
pub fn adam_step(
    w: Tensor<1>,
    g: Tensor<1>,
    m: Tensor<1>,
    s: Tensor<1>,
    lr: f64,
    t: u64,
    constants: AdamConstants,
) -> (Tensor<1>, Tensor<1>, Tensor<1>) {
    check_vectors("adam_step", &w, [("g", &g), ("m", &m), ("s", &s)]);
    check::holds("adam_step", t > 0, || "step 0, expected 1 for the first".into());
    let AdamConstants { beta1, beta2, epsilon } = constants;
    let power = i32::try_from(t).unwrap_or(i32::MAX);
    let (rate, root) = (lr / (1.0 - beta1.powi(power)), 1.0 / (1.0 - beta2.powi(power)).sqrt());
    if is_flex(&w.device()) {
        let numbers = [beta1, beta2, epsilon, rate, root].map(|number| number as f32);
        let (w, g, m, s) = (w.into_dispatch(), g.into_dispatch(), m.into_dispatch(), s.into_dispatch());
        let step = <Dispatch as OptimizerStep>::adam_step(w, g, m, s, numbers);
        return (Tensor::from_dispatch(step.0), Tensor::from_dispatch(step.1), Tensor::from_dispatch(step.2));
    }
    let m = m * beta1 + g.clone() * (1.0 - beta1);
    let s = s * beta2 + g.clone() * g * (1.0 - beta2);
    (w - m.clone() * rate / (s.clone().sqrt() * root + epsilon), m, s)
}

#[backend_extension(Flex)]
trait OptimizerStep: Backend {
    fn sgd_step(
        w: FloatTensor<Self>,
        g: FloatTensor<Self>,
        v: FloatTensor<Self>,
        lr: f32,
        momentum: f32,
        nesterov: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// `numbers`: β₁, β₂, ε, the rate with its correction, the correction of the root.
    fn adam_step(
        w: FloatTensor<Self>,
        g: FloatTensor<Self>,
        m: FloatTensor<Self>,
        s: FloatTensor<Self>,
        numbers: [f32; 5],
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl OptimizerStep for Flex {
    fn sgd_step(
        w: FloatTensor<Self>,
        g: FloatTensor<Self>,
        v: FloatTensor<Self>,
        lr: f32,
        momentum: f32,
        nesterov: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (w, g, v) = (Values::of(&w), Values::of(&g), Values::of(&v));
        let (mut w, mut v) = (w.as_slice().to_vec(), v.as_slice().to_vec());
        let pieces = w.par_chunks_mut(PIECE).zip(v.par_chunks_mut(PIECE)).zip(g.as_slice().par_chunks(PIECE));
        pieces.for_each(|((w, v), g)| {
            for ((w, v), g) in w.iter_mut().zip(v).zip(g) {
                *v = momentum * *v + g;
                *w -= lr * if nesterov { g + momentum * *v } else { *v };
            }
        });
        let n = w.len();
        (tensor(w, [n]), tensor(v, [n]))
    }

    fn adam_step(
        w: FloatTensor<Self>,
        g: FloatTensor<Self>,
        m: FloatTensor<Self>,
        s: FloatTensor<Self>,
        [beta1, beta2, epsilon, rate, root]: [f32; 5],
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (w, g, m, s) = (Values::of(&w), Values::of(&g), Values::of(&m), Values::of(&s));
        let (mut w, mut m, mut s) = (w.as_slice().to_vec(), m.as_slice().to_vec(), s.as_slice().to_vec());
        let moments = m.par_chunks_mut(PIECE).zip(s.par_chunks_mut(PIECE));
        w.par_chunks_mut(PIECE).zip(moments).zip(g.as_slice().par_chunks(PIECE)).for_each(|((w, (m, s)), g)| {
            for (((w, m), s), g) in w.iter_mut().zip(m).zip(s).zip(g) {
                *m = beta1 * *m + (1.0 - beta1) * g;
                *s = beta2 * *s + (1.0 - beta2) * g * g;
                *w -= rate * *m / (s.sqrt() * root + epsilon);
            }
        });
        let n = w.len();
        (tensor(w, [n]), tensor(m, [n]), tensor(s, [n]))
    }
}
