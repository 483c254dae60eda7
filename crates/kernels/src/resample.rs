//! Images of another size: means of windows, nearest and bilinear interpolation.
//!
//! ```text
//! Y = R X Cᵀ of each plane X,  ∂X = Rᵀ ∂Y C
//! ```
//!
//! R and C have few numbers in each row: they are kept as lists.

use std::{mem::MaybeUninit, ops::Range, sync::Arc};

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex, autodiff::checkpoint::strategy::CheckpointStrategy, backend_extension, tensor::FloatTensor,
    },
    tensor::{Tensor, TensorData},
};
use lyceum_core::vectorize;
use rayon::prelude::*;

use crate::{
    autodiff::differentiable,
    check,
    flex::{Values, is_flex, tensor},
    fresh::written,
};

/// What each place along a side of the result is a sum of.
#[derive(Debug, Clone, PartialEq)]
pub struct Resampling {
    /// How long the side was.
    inputs: usize,
    /// Of each place the range of its terms.
    ends: Vec<usize>,
    /// Places that are read, with their weights.
    terms: Vec<(usize, f32)>,
}

impl Resampling {
    fn of(inputs: usize, places: impl Iterator<Item = Vec<(usize, f32)>>) -> Self {
        check::holds("resample", inputs > 0, || "a side of 0 pixels, expected 1 or more".into());
        let mut resampling = Self { inputs, ends: Vec::new(), terms: Vec::new() };
        for terms in places {
            resampling.terms.extend(terms);
            resampling.ends.push(resampling.terms.len());
        }
        check::holds("resample", !resampling.ends.is_empty(), || format!("nothing is left of {inputs} pixels"));
        resampling
    }

    fn mean(range: Range<usize>, size: usize) -> Vec<(usize, f32)> {
        range.map(|place| (place, 1.0 / size as f32)).collect()
    }

    /// The means of windows of this size, `stride` apart, with `before` zeros in front and `after` zeros behind.
    ///
    /// # Panics
    /// Where a window does not fit, a size or stride is 0, or a window is padding alone.
    pub fn windows(inputs: usize, size: usize, stride: usize, [before, after]: [usize; 2]) -> Self {
        let extent = inputs.saturating_add(before).saturating_add(after);
        let fits = size > 0 && stride > 0 && before.max(after) < size && extent >= size;
        check::holds("resample", fits, || {
            format!("windows of {size}, {stride} apart, in {inputs} pixels with padding {before} and {after}")
        });
        let window = |number: usize| {
            let start = number * stride;
            Self::mean(start.saturating_sub(before)..(start + size).saturating_sub(before).min(inputs), size)
        };
        Self::of(inputs, (0..=(extent - size) / stride).map(window))
    }

    /// The means of m = `outputs` windows that cover the n pixels, the i-th from ⌊i·n/m⌋ to ⌈(i + 1)·n/m⌉.
    pub fn adaptive(inputs: usize, outputs: usize) -> Self {
        let window = |number: usize| {
            let range = number * inputs / outputs..((number + 1) * inputs).div_ceil(outputs);
            Self::mean(range.clone(), range.len())
        };
        Self::of(inputs, (0..outputs).map(window))
    }

    /// Each pixel `factor` times.
    pub fn nearest(inputs: usize, factor: usize) -> Self {
        Self::of(inputs, (0..inputs * factor).map(|place| vec![(place / factor, 1.0)]))
    }

    /// `factor` times as many pixels, interpolated linearly between the centres of neighbours; outside the outermost centres the value is
    /// constant (PyTorch's `align_corners=False`).
    pub fn bilinear(inputs: usize, factor: usize) -> Self {
        let place = |place: usize| {
            let at = ((place as f64 + 0.5) / factor as f64 - 0.5).max(0.0);
            let (first, share) = (at as usize, at.fract());
            let second = (first + 1).min(inputs - 1);
            vec![(first, (1.0 - share) as f32), (second, share as f32)]
        };
        Self::of(inputs, (0..inputs * factor).map(place))
    }

    /// How long the side becomes.
    pub fn outputs(&self) -> usize {
        self.ends.len()
    }

    fn terms(&self, place: usize) -> &[(usize, f32)] {
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        &self.terms[start..self.ends[place]]
    }

    fn transposed(&self) -> Self {
        let mut places: Vec<Vec<(usize, f32)>> = vec![Vec::new(); self.inputs];
        for output in 0..self.outputs() {
            self.terms(output).iter().for_each(|(input, weight)| places[*input].push((output, *weight)));
        }
        Self::of(self.outputs(), places.into_iter())
    }

    /// As a matrix, `outputs × inputs`.
    fn matrix(&self) -> TensorData {
        let mut values = vec![0.0_f32; self.outputs() * self.inputs];
        for output in 0..self.outputs() {
            self.terms(output).iter().for_each(|(input, weight)| values[output * self.inputs + input] += weight);
        }
        TensorData::new(values, [1, 1, self.outputs(), self.inputs])
    }
}

/// Images whose rows and columns are what these say.
///
/// * `x`: `n × c × h × w`, with the sides that `rows` and `columns` read.
pub fn resample(x: Tensor<4>, rows: Resampling, columns: Resampling) -> Tensor<4> {
    let [n, c, h, w] = x.dims();
    check::same("resample", "an image", [h, w], [rows.inputs, columns.inputs]);
    check::product("resample", &[n, c, rows.outputs(), columns.outputs()]);
    if is_flex(&x.device()) {
        return Tensor::from_dispatch(<Dispatch as Resample>::resample(x.into_dispatch(), Arc::new([rows, columns]), [n, c]));
    }
    let matrix = |resampling: &Resampling| Tensor::<4>::from_data(resampling.matrix(), &x.device());
    matrix(&rows)
        .expand([n, c, rows.outputs(), h])
        .matmul(x.clone())
        .matmul(matrix(&columns).expand([n, c, columns.outputs(), w]).transpose())
}

vectorize! {
    /// y += weight · x
    fn add_scaled(y: &mut [f32], weight: f32, x: &[f32]) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y += weight * x);
    }
}

fn run(x: &[f32], [rows, columns]: &[Resampling; 2]) -> Vec<f32> {
    let (inputs, width) = (rows.inputs * columns.inputs, columns.outputs());
    let outputs = rows.outputs() * width;
    // SAFETY: every number of each row of each plane is written.
    let [y] = unsafe {
        written([x.len() / inputs * outputs], |[y]| {
            let planes = y.par_chunks_exact_mut(outputs).zip(x.par_chunks_exact(inputs)).with_min_len(16);
            planes.for_each_init(
                || vec![0.0; columns.inputs],
                |row, (y, x)| {
                    for (number, y) in y.chunks_exact_mut(width).enumerate() {
                        let source = |place: usize| &x[place * columns.inputs..][..columns.inputs];
                        let row = if let [(place, 1.0)] = rows.terms(number) {
                            source(*place)
                        } else {
                            row.fill(0.0);
                            rows.terms(number).iter().for_each(|(place, weight)| add_scaled(row, *weight, source(*place)));
                            &*row
                        };
                        across(row, columns, y);
                    }
                },
            );
        })
    };
    y
}

/// A row of the result.
fn across(row: &[f32], columns: &Resampling, y: &mut [MaybeUninit<f32>]) {
    for (number, y) in y.iter_mut().enumerate() {
        y.write(columns.terms(number).iter().map(|(place, weight)| weight * row[*place]).sum());
    }
}

#[backend_extension(Flex, Autodiff)]
trait Resample: Backend {
    /// `images`: n and c.
    fn resample(x: FloatTensor<Self>, sides: Arc<[Resampling; 2]>, images: [usize; 2]) -> FloatTensor<Self>;
}

impl Resample for Flex {
    fn resample(x: FloatTensor<Self>, sides: Arc<[Resampling; 2]>, [n, c]: [usize; 2]) -> FloatTensor<Self> {
        tensor(run(Values::of(&x).as_slice(), &sides), [n, c, sides[0].outputs(), sides[1].outputs()])
    }
}

impl<B: Resample, C: CheckpointStrategy> Resample for Autodiff<B, C> {
    fn resample(x: FloatTensor<Self>, sides: Arc<[Resampling; 2]>, images: [usize; 2]) -> FloatTensor<Self> {
        let back = Arc::new([sides[0].transposed(), sides[1].transposed()]);
        let output = B::resample(x.primitive().clone(), sides, images);
        differentiable::<B, C, 1>([&x], output, move |gradient, _| [Some(B::resample(gradient, back.clone(), images))])
    }
}
