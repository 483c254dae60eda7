//! Vectors of symbols.

use burn::{
    module::Param,
    tensor::{Device, Tensor},
};
use lyceum_core::Stream;
use lyceum_kernels::gather_rows;

use super::normal;

/// The vectors (`symbols × width`), from N(0, 1).
pub(crate) fn embedding(symbols: usize, width: usize, rng: &mut Stream, device: &Device) -> Param<Tensor<2>> {
    normal([symbols, width], 1.0, rng, device)
}

/// The vectors of symbols whose numbers are given (`n × steps`), step after step, so that a step's rows lie together. A symbol
/// that there is not counts as the last.
pub(crate) fn embed(symbols: Tensor<2>, vectors: &Param<Tensor<2>>) -> Tensor<2> {
    let [n, steps] = symbols.dims();
    let vectors = vectors.val();
    let last = vectors.dims()[0] as u32 - 1;
    let given = if symbols.is_autodiff() { symbols.inner() } else { symbols };
    let values: Vec<f32> = given.try_into_vec_as().expect("the device gives back what it holds");
    let symbol = |value: f32| (value.max(0.0) as u32).min(last);
    let places = (0..steps).flat_map(|step| (0..n).map(move |row| (row, step)));
    let rows: Vec<u32> = places.map(|(row, step)| symbol(values[row * steps + step])).collect();
    gather_rows(vectors, &rows)
}
