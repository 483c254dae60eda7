//! Operators for inference on images that lie pixel by pixel: in each pixel all channels. Nothing is kept for a way back.
//!
//! | operator | |
//! |---|---|
//! | [`PreparedConv`](crate::PreparedConv) | convolution, bias, residual, activation |
//! | [`PreparedLinear`] | fully connected layer, bias, residual, activation |
//! | [`finish`] | bias, residual, activation of what there is |
//! | [`max_pool`], [`average_pool`] | windows |

use lyceum_core::vectorize;

use crate::{
    Activation,
    activation::cut,
    matmul::{Into, Left, Multiply, Packed, Right, strided},
};

/// What follows an operator in the same sweep: y ← act(y + residual).
#[derive(Debug, Clone, Copy)]
pub struct After<'a> {
    /// As many numbers as the operator gives.
    pub residual: Option<&'a [f32]>,
    /// What is applied in the end.
    pub activation: Activation,
}

impl After<'_> {
    /// What follows for a part of the numbers.
    pub(crate) fn part(self, range: std::ops::Range<usize>) -> Self {
        Self { residual: self.residual.map(|residual| &residual[range]), ..self }
    }
}

/// y ← act(y + b + residual), with a number of b for each channel; no b where it is empty.
///
/// # Panics
///
/// Where the lengths do not fit.
pub fn finish(y: &mut [f32], bias: &[f32], after: After<'_>) {
    let (len, ceiling) = (y.len(), after.activation.ceiling());
    assert!(bias.is_empty() || len.is_multiple_of(bias.len()), "whole pixels");
    match after.residual {
        Some(residual) => {
            assert_eq!(residual.len(), len, "a residual for each number");
            if bias.is_empty() {
                add_and_cut(y, residual, ceiling);
            } else {
                let rows = y.chunks_exact_mut(bias.len()).zip(residual.chunks_exact(bias.len()));
                rows.for_each(|(y, residual)| add_both_and_cut(y, bias, residual, ceiling));
            }
        }
        None if bias.is_empty() => {
            if let Some(ceiling) = ceiling {
                cut_all(y, ceiling);
            }
        }
        None => add_rows_and_cut(y, bias, ceiling),
    }
}

vectorize! {
    fn cut_all(y: &mut [f32], ceiling: f32) {
        y.iter_mut().for_each(|y| *y = cut(*y, ceiling));
    }
}

vectorize! {
    fn add_rows_and_cut(y: &mut [f32], bias: &[f32], ceiling: Option<f32>) {
        for row in y.chunks_exact_mut(bias.len()) {
            match ceiling {
                Some(ceiling) => row.iter_mut().zip(bias).for_each(|(y, b)| *y = cut(*y + b, ceiling)),
                None => row.iter_mut().zip(bias).for_each(|(y, b)| *y += b),
            }
        }
    }
}

vectorize! {
    fn add_and_cut(y: &mut [f32], residual: &[f32], ceiling: Option<f32>) {
        match ceiling {
            Some(ceiling) => y.iter_mut().zip(residual).for_each(|(y, r)| *y = cut(*y + r, ceiling)),
            None => y.iter_mut().zip(residual).for_each(|(y, r)| *y += r),
        }
    }
}

vectorize! {
    fn add_both_and_cut(y: &mut [f32], bias: &[f32], residual: &[f32], ceiling: Option<f32>) {
        let terms = bias.iter().zip(residual);
        match ceiling {
            Some(ceiling) => y.iter_mut().zip(terms).for_each(|(y, (b, r))| *y = cut(*y + b + r, ceiling)),
            None => y.iter_mut().zip(terms).for_each(|(y, (b, r))| *y = *y + b + r),
        }
    }
}

/// A fully connected layer whose weights are ready.
#[derive(Debug, Clone)]
pub struct PreparedLinear {
    weights: Packed,
    bias: Vec<f32>,
    columns: Vec<usize>,
}

impl PreparedLinear {
    /// With weights `d × k`, one row after another.
    ///
    /// # Panics
    ///
    /// Where weights and bias do not fit.
    pub fn new(weights: Vec<f32>, bias: Vec<f32>) -> Self {
        assert!(!bias.is_empty() && weights.len().is_multiple_of(bias.len()), "whole rows");
        let columns = strided(weights.len() / bias.len(), 1);
        Self { weights: Packed::new(&weights, bias.len()), bias, columns }
    }

    /// xW + b of each row, and what follows, in `y`.
    ///
    /// # Panics
    ///
    /// Where the lengths do not fit.
    pub fn run(&self, x: &[f32], y: &mut [f32], after: After<'_>) {
        let (d, k) = (self.columns.len(), self.bias.len());
        let rows = strided(x.len() / d, d);
        assert!(x.len() == rows.len() * d && y.len() == rows.len() * k, "a row of results for each row of inputs");
        Multiply { a: Left { values: x, rows: &rows, columns: &self.columns }, b: Right::Packed(&self.weights), n: k, c: Into::Over(y) }
            .run();
        finish(y, &self.bias, after);
    }
}

/// Windows of a pooling over an image of these rows, columns and channels.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "described above")]
pub struct Windows {
    pub image: [usize; 3],
    pub size: [usize; 2],
    pub stride: [usize; 2],
    /// Before and after, of rows and of columns.
    pub padding: [[usize; 2]; 2],
}

impl Windows {
    fn output(&self) -> [usize; 2] {
        [0, 1].map(|axis| (self.image[axis] + self.padding[axis].iter().sum::<usize>() - self.size[axis]) / self.stride[axis] + 1)
    }

    /// For each window, of one image after another: its numbers in `y`, and the pixels of `x` in it.
    fn each(&self, x: &[f32], y: &mut [f32], mut work: impl FnMut(&mut [f32], &mut dyn Iterator<Item = &[f32]>)) {
        let [height, width, c] = self.image;
        let [_, columns] = self.output();
        let pixels = self.output().iter().product::<usize>();
        assert_eq!(x.len() / (height * width * c) * pixels * c, y.len(), "a window for each pixel of the output");
        for (x, y) in x.chunks_exact(height * width * c).zip(y.chunks_exact_mut(pixels * c)) {
            for (pixel, y) in y.chunks_exact_mut(c).enumerate() {
                let range = |at: usize, axis: usize| {
                    let (first, before) = (at * self.stride[axis], self.padding[axis][0]);
                    first.saturating_sub(before)..(first + self.size[axis]).saturating_sub(before).min(self.image[axis])
                };
                let (rows, columns) = (range(pixel / columns, 0), range(pixel % columns, 1));
                let mut inside = rows.flat_map(|row| columns.clone().map(move |column| &x[(row * width + column) * c..][..c]));
                work(y, &mut inside);
            }
        }
    }
}

/// The largest number of each window; padding counts as −∞.
///
/// # Panics
///
/// Where the lengths do not fit.
pub fn max_pool(windows: &Windows, x: &[f32], y: &mut [f32]) {
    windows.each(x, y, |y, pixels| {
        y.fill(f32::NEG_INFINITY);
        pixels.for_each(|x| raise(y, x));
    });
}

/// The mean of each window; padding counts as zeros.
///
/// # Panics
///
/// Where the lengths do not fit.
pub fn average_pool(windows: &Windows, x: &[f32], y: &mut [f32]) {
    let share = 1.0 / (windows.size[0] * windows.size[1]) as f32;
    windows.each(x, y, |y, pixels| {
        y.fill(0.0);
        pixels.for_each(|x| add_and_cut(y, x, None));
        y.iter_mut().for_each(|y| *y *= share);
    });
}

vectorize! {
    fn raise(y: &mut [f32], x: &[f32]) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = if (*x > *y) | x.is_nan() { *x } else { *y });
    }
}

/// y ← act(s·x + t) channel by channel: a normalisation with known statistics.
///
/// # Panics
///
/// Where the lengths do not fit.
pub fn scale_and_shift(x: &[f32], scale: &[f32], shift: &[f32], activation: Activation, y: &mut [f32]) {
    let c = scale.len();
    assert!(shift.len() == c && x.len() == y.len() && x.len().is_multiple_of(c), "a scale and a shift for each channel");
    scale_shift_and_cut(x, scale, shift, activation.ceiling(), y);
}

vectorize! {
    fn scale_shift_and_cut(x: &[f32], scale: &[f32], shift: &[f32], ceiling: Option<f32>, y: &mut [f32]) {
        let c = scale.len();
        for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
            let terms = x.iter().zip(scale.iter().zip(shift));
            match ceiling {
                Some(ceiling) => y.iter_mut().zip(terms).for_each(|(y, (x, (s, t)))| *y = cut(s.mul_add(*x, *t), ceiling)),
                None => y.iter_mut().zip(terms).for_each(|(y, (x, (s, t)))| *y = s.mul_add(*x, *t)),
            }
        }
    }
}
