//! Long vectors: the whole of a model's parameters, or of its gradient, as one tensor.
//!
//! What is summed is summed in double precision over pieces of fixed length, and the pieces in their order, so a
//! result does not depend on the number of threads.

use std::ops::Range;

use burn::{
    backend::{Backend, Dispatch, Flex, backend_extension, tensor::FloatTensor},
    tensor::{Tensor, TensorData},
};
use lyceum_core::vectorize;
use rayon::prelude::*;

use crate::{
    check,
    flex::{Values, changed, is_flex, tensor},
};

/// The length of a piece: 64 KiB of floats, which stays in a core's second-level cache.
const PIECE: usize = 1 << 14;

/// ⟨a, b⟩ of two tensors of the same shape, without gradients.
pub fn dot(a: &Tensor<1>, b: &Tensor<1>) -> f64 {
    check::same("dot", "b", b.dims(), a.dims());
    if is_flex(&a.device()) {
        let pieces = <Dispatch as LongVector>::dot_pieces(a.clone().inner().into_dispatch(), b.clone().inner().into_dispatch());
        sum_of_pieces(Tensor::from_dispatch(pieces))
    } else {
        f64::from((a.clone().inner() * b.clone().inner()).sum().into_scalar::<f32>())
    }
}

/// ‖a‖₂.
pub fn norm(a: &Tensor<1>) -> f64 {
    dot(a, a).sqrt()
}

/// a + s·b in one sweep, without gradients.
pub fn add_scaled(a: &Tensor<1>, s: f64, b: &Tensor<1>) -> Tensor<1> {
    added(a.clone(), s, b)
}

/// a + s·b in one sweep, without gradients, in a's own memory if nobody else holds it.
pub fn added(a: Tensor<1>, s: f64, b: &Tensor<1>) -> Tensor<1> {
    check::same("added", "b", b.dims(), a.dims());
    let (a, b) = (a.inner(), b.clone().inner());
    if is_flex(&a.device()) {
        Tensor::from_dispatch(<Dispatch as LongVector>::added(a.into_dispatch(), s as f32, b.into_dispatch()))
    } else {
        a + b * s
    }
}

/// The vector with zeros in these places, without gradients, in its own memory if nobody else holds it.
pub fn cleared(a: Tensor<1>, places: &[Range<usize>]) -> Tensor<1> {
    let mut a = a.inner();
    let n = a.dims()[0];
    check::holds("cleared", places.iter().all(|range| range.start <= range.end && range.end <= n), || {
        format!("places {places:?} of a vector of {n} numbers")
    });
    if is_flex(&a.device()) {
        return Tensor::from_dispatch(<Dispatch as LongVector>::cleared(a.into_dispatch(), places.to_vec()));
    }
    for range in places {
        let zeros = a.clone().slice([range.clone()]).zeros_like();
        a = a.slice_assign([range.clone()], zeros);
    }
    a
}

/// What a loss is given besides: ⟨c, x⟩ and quadratic terms.
#[derive(Debug, Clone)]
pub struct Terms {
    /// c.
    pub linear: Option<Tensor<1>>,
    /// p of (p/2)‖x‖² within the norm that is clipped.
    pub inside: f64,
    /// The largest norm.
    pub clip: Option<f64>,
    /// q of (q/2)‖x‖² beside it.
    pub outside: f64,
}

/// The gradient of a loss with these terms, without gradients of its own, in one sweep, and in two more where the norm is clipped:
///
/// ```text
/// s·(g + c + px) + qx,  s = min(1, clip/‖g + c + px‖₂)
/// ```
pub fn with_terms(g: Tensor<1>, x: &Tensor<1>, terms: &Terms) -> Tensor<1> {
    check::same("with_terms", "x", x.dims(), g.dims());
    if let Some(linear) = &terms.linear {
        check::same("with_terms", "the linear term", linear.dims(), g.dims());
    }
    check::holds("with_terms", terms.clip.is_none_or(|clip| clip >= 0.0), || format!("clip is {:?}, expected a number >= 0", terms.clip));
    let (g, x) = (g.inner(), x.clone().inner());
    let c = terms.linear.clone().map(Tensor::inner);
    let (sum, norm) = if is_flex(&g.device()) {
        // Without a linear term x stands in its place and is not looked at.
        let (linear, c) = (c.is_some(), c.unwrap_or_else(|| x.clone()));
        let (g, c, x) = (g.into_dispatch(), c.into_dispatch(), x.clone().into_dispatch());
        let numbers = [f32::from(u8::from(linear)), terms.inside as f32, terms.outside as f32];
        let (sum, squares) = <Dispatch as LongVector>::terms_added(g, c, x, numbers);
        (Tensor::from_dispatch(sum), sum_of_pieces(Tensor::from_dispatch(squares)).sqrt())
    } else {
        let inside = c.map_or_else(|| g.clone(), |c| g.clone() + c) + x.clone() * terms.inside;
        let norm = norm(&inside);
        (inside + x.clone() * terms.outside, norm)
    };
    match terms.clip {
        // s·(sum − qx) + qx.
        Some(most) if norm > most => added(sum * (most / norm), (1.0 - most / norm) * terms.outside, &x),
        _ => sum,
    }
}

/// Each piece's sum travels as two floats, high and low part.
fn sum_of_pieces(pieces: Tensor<1>) -> f64 {
    to_vec(&pieces).into_iter().map(f64::from).sum()
}

#[backend_extension(Flex)]
trait LongVector: Backend {
    fn dot_pieces(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;

    fn added(a: FloatTensor<Self>, s: f32, b: FloatTensor<Self>) -> FloatTensor<Self>;

    fn cleared(a: FloatTensor<Self>, places: Vec<Range<usize>>) -> FloatTensor<Self>;

    /// g + wc + px + qx and, in pieces, ‖g + wc + px‖², with `numbers` w, p, q.
    fn terms_added(
        g: FloatTensor<Self>,
        c: FloatTensor<Self>,
        x: FloatTensor<Self>,
        numbers: [f32; 3],
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

impl LongVector for Flex {
    fn dot_pieces(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        let (a, b) = (Values::of(&a), Values::of(&b));
        pieces(a.as_slice().par_chunks(PIECE).zip(b.as_slice().par_chunks(PIECE)).map(|(a, b)| dot_piece(a, b)))
    }

    fn added(a: FloatTensor<Self>, s: f32, b: FloatTensor<Self>) -> FloatTensor<Self> {
        let b = Values::of(&b);
        changed(a, |a| a.par_chunks_mut(PIECE).zip(b.as_slice().par_chunks(PIECE)).for_each(|(a, b)| add_piece(a, s, b)))
    }

    fn cleared(a: FloatTensor<Self>, places: Vec<Range<usize>>) -> FloatTensor<Self> {
        changed(a, |a| places.into_iter().for_each(|range| a[range].fill(0.0)))
    }

    fn terms_added(
        g: FloatTensor<Self>,
        c: FloatTensor<Self>,
        x: FloatTensor<Self>,
        numbers: [f32; 3],
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (c, x) = (Values::of(&c), Values::of(&x));
        let mut squares = None;
        let sum = changed(g, |g| {
            let parts = g.par_chunks_mut(PIECE).zip(c.as_slice().par_chunks(PIECE).zip(x.as_slice().par_chunks(PIECE)));
            squares = Some(pieces(parts.map(|(g, (c, x))| terms_piece(g, c, x, numbers))));
        });
        (sum, squares.expect("`changed` calls what it is given"))
    }
}

/// The sums of the pieces, each as two floats.
fn pieces(sums: impl IndexedParallelIterator<Item = f64>) -> burn_flex::FlexTensor {
    let halves = sums.map(|sum| {
        let high = sum as f32;
        [high, (sum - f64::from(high)) as f32]
    });
    let halves: Vec<[f32; 2]> = halves.collect();
    let n = 2 * halves.len();
    tensor(halves.into_flattened(), [n])
}

vectorize! {
    /// Eight running sums, so that the additions do not wait for one another.
    fn dot_piece(a: &[f32], b: &[f32]) -> f64 {
        let mut sums = [0.0_f64; 8];
        let (whole_a, rest_a) = a.as_chunks::<8>();
        let (whole_b, rest_b) = b.as_chunks::<8>();
        for (a, b) in whole_a.iter().zip(whole_b) {
            for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
                *sum += f64::from(*a) * f64::from(*b);
            }
        }
        let rest: f64 = rest_a.iter().zip(rest_b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        sums.iter().sum::<f64>() + rest
    }
}

vectorize! {
    fn add_piece(a: &mut [f32], s: f32, b: &[f32]) {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += s * b);
    }
}

vectorize! {
    /// g ← g + wc + px + qx with `numbers` w, p, q; gives Σ (g + wc + px)².
    fn terms_piece(g: &mut [f32], c: &[f32], x: &[f32], numbers: [f32; 3]) -> f64 {
        let [w, p, q] = numbers;
        let mut sums = [0.0_f64; 16];
        let (whole_g, rest_g) = g.as_chunks_mut::<16>();
        let (whole_c, rest_c) = c.as_chunks::<16>();
        let (whole_x, rest_x) = x.as_chunks::<16>();
        for ((g, c), x) in whole_g.iter_mut().zip(whole_c).zip(whole_x) {
            for (((sum, g), c), x) in sums.iter_mut().zip(g).zip(c).zip(x) {
                let inside = *g + w * c + p * x;
                *sum += f64::from(inside) * f64::from(inside);
                *g = inside + q * x;
            }
        }
        let rest = rest_g.iter_mut().zip(rest_c).zip(rest_x).map(|((g, c), x)| {
            let inside = *g + w * c + p * x;
            *g = inside + q * x;
            f64::from(inside) * f64::from(inside)
        });
        rest.sum::<f64>() + sums.iter().sum::<f64>()
    }
}

/// A vector's values.
pub fn to_vec(a: &Tensor<1>) -> Vec<f32> {
    a.clone().inner().try_into_vec_as().expect("the device gives back what it holds")
}

/// A vector of these values.
pub fn from_vec(values: Vec<f32>, device: &burn::tensor::Device) -> Tensor<1> {
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn vector(n: usize, f: impl Fn(usize) -> f32) -> Tensor<1> {
        from_vec((0..n).map(f).collect(), &Device::flex())
    }

    #[test]
    fn sums_are_exact_to_double_precision() {
        for n in [0, 1, 7, 8, 100, PIECE, 3 * PIECE + 5] {
            let (a, b) = (vector(n, |i| (i as f32 * 0.37).sin()), vector(n, |i| (i as f32 * 0.11).cos()));
            let expected: f64 = to_vec(&a).iter().zip(to_vec(&b)).map(|(a, b)| f64::from(*a) * f64::from(b)).sum();
            assert!((dot(&a, &b) - expected).abs() < 1e-9 * (1.0 + n as f64), "{n}");
            let moved = to_vec(&add_scaled(&a, -0.5, &b));
            assert!(moved.iter().zip(to_vec(&a).iter().zip(to_vec(&b))).all(|(m, (a, b))| *m == a - 0.5 * b));
        }
    }

    #[test]
    fn terms_are_those_of_the_formula() {
        let n = 2 * PIECE + 13;
        let (g, c, x) = (vector(n, |i| (i as f32).sin()), vector(n, |i| (i as f32 * 0.3).cos()), vector(n, |i| (i as f32 * 0.7).sin()));
        for (linear, inside, clip, outside) in
            [(true, 0.0, Some(10.0), 0.3), (true, 0.5, None, 0.0), (false, 0.25, Some(1e9), 1.0), (false, 0.5, Some(1.0), 0.25)]
        {
            let terms = Terms { linear: linear.then(|| c.clone()), inside, clip, outside };
            let found = to_vec(&with_terms(g.clone(), &x, &terms));
            let [gs, cs, xs] = [&g, &c, &x].map(|v| to_vec(v).into_iter().map(f64::from).collect::<Vec<f64>>());
            let sum: Vec<f64> = (0..n).map(|i| gs[i] + if linear { cs[i] } else { 0.0 } + inside * xs[i]).collect();
            let norm = sum.iter().map(|v| v * v).sum::<f64>().sqrt();
            let scale = clip.map_or(1.0, |most| (most / norm).min(1.0));
            assert!((0..n).all(|i| (f64::from(found[i]) - scale * sum[i] - outside * xs[i]).abs() < 1e-6));
        }
        // The vectors that went in are as they were.
        assert_eq!(to_vec(&g)[1], 1.0_f32.sin());
    }

    #[test]
    fn places_are_cleared_in_a_copy_where_others_hold_the_vector() {
        let a = vector(10, |i| i as f32 + 1.0);
        assert_eq!(to_vec(&cleared(a.clone(), &[1..3, 9..10, 4..4])), [1.0, 0.0, 0.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 0.0]);
        assert_eq!(to_vec(&a)[1], 2.0);
    }

    #[test]
    fn a_view_is_changed_without_touching_what_they_are_views_of() {
        let long = vector(100, |i| i as f32);
        assert_eq!(to_vec(&added(long.clone().narrow(0, 10, 20), 1.0, &vector(20, |_| 0.5)))[0], 10.5);
        assert_eq!(to_vec(&long)[10], 10.0);
    }

    #[test]
    fn one_thread_and_many_give_the_same_bits() {
        let (a, b) = (vector(200_003, |i| (i as f32).sin()), vector(200_003, |i| (i as f32).cos()));
        let with = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| dot(&a, &b).to_bits());
        assert_eq!(with(1), with(4));
    }
}
