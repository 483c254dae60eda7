//! Products of matrices, sums over axes, softmax, normalisation.

use ndarray::{ArrayD, ArrayView2, ArrayViewD, Axis, Ix2, IxDyn, Zip};

use super::{Call, pointwise::broadcast_dims};
use crate::{
    Tensor,
    extents::axis,
    tensor::{Fit, size},
};

impl Call<'_> {
    pub(super) fn matmul(self) -> Fit<Tensor> {
        let (a, b) = (self.input(0)?.as_floats()?, self.input(1)?.as_floats()?);
        let (one_row, one_column) = (a.ndim() == 1, b.ndim() == 1);
        let a = if one_row { a.view().insert_axis(Axis(0)) } else { a.view() };
        let b = if one_column { b.view().insert_axis(Axis(1)) } else { b.view() };
        if a.ndim() < 2 || b.ndim() < 2 {
            return Err("matrices without axes".into());
        }
        let (rank_a, rank_b) = (a.ndim(), b.ndim());
        let batch = broadcast_dims(&[&a.shape()[..rank_a - 2], &b.shape()[..rank_b - 2]])?;
        let [rows, inner, columns] = [a.shape()[rank_a - 2], a.shape()[rank_a - 1], b.shape()[rank_b - 1]];
        if b.shape()[rank_b - 2] != inner {
            return Err(format!("{:?} times {:?}", a.shape(), b.shape()));
        }
        let spread = |x: &ArrayViewD<'_, f32>, dims: [usize; 2]| {
            let dims = [batch.as_slice(), &dims].concat();
            size(&dims)?;
            let values: Option<Vec<f32>> = x.broadcast(IxDyn(&dims)).map(|x| x.iter().copied().collect());
            values.ok_or_else(|| "extents that do not fit".to_owned())
        };
        let (left, right) = (spread(&a, [rows, inner])?, spread(&b, [inner, columns])?);
        let count: usize = batch.iter().product();
        size(&[batch.as_slice(), &[rows, columns]].concat())?;
        let mut found = Vec::with_capacity(count * rows * columns);
        for number in 0..count {
            let part = |values: &'_ [f32], each: usize| values[number * each..(number + 1) * each].to_vec();
            let [x, y] = [part(&left, rows * inner), part(&right, inner * columns)];
            let x = ArrayView2::from_shape((rows, inner), &x).map_err(|error| error.to_string())?;
            let y = ArrayView2::from_shape((inner, columns), &y).map_err(|error| error.to_string())?;
            found.extend(x.dot(&y).iter());
        }
        let mut dims = batch.clone();
        dims.extend((!one_row).then_some(rows));
        dims.extend((!one_column).then_some(columns));
        Tensor::floats(&dims, found)
    }

    pub(super) fn gemm(self) -> Fit<Tensor> {
        let matrix = |number: usize, flag: &str| -> Fit<ndarray::Array2<f32>> {
            let x = self.input(number)?.as_floats()?.view().into_dimensionality::<Ix2>().map_err(|_| "no matrix".to_owned())?;
            Ok(if self.node.int(flag, 0) != 0 { x.t().to_owned() } else { x.to_owned() })
        };
        let (a, b) = (matrix(0, "transA")?, matrix(1, "transB")?);
        if a.ncols() != b.nrows() {
            return Err(format!("{:?} times {:?}", a.dim(), b.dim()));
        }
        size(&[a.nrows(), b.ncols()])?;
        let mut found = a.dot(&b) * self.node.float("alpha", 1.0);
        if let Some(c) = self.optional(2) {
            let c = c.as_floats()?;
            let c = c.broadcast(found.dim()).ok_or_else(|| format!("{:?} added to {:?}", c.shape(), found.dim()))?;
            found.scaled_add(self.node.float("beta", 1.0), &c.into_dimensionality::<Ix2>().map_err(|error| error.to_string())?);
        }
        Ok(Tensor::Float(found.into_dyn()))
    }

    pub(super) fn reduce(self) -> Fit<Tensor> {
        let op = self.node.op.as_str();
        let x = self.input(0)?;
        if let (Tensor::Bool(either), "ReduceMax" | "ReduceMin") = (x, op) {
            let Tensor::Int(found) = self.of_whole(&either.mapv(i64::from), |call| call.reduce())? else {
                return Err("no whole numbers".into());
            };
            return Ok(Tensor::Bool(found.mapv(|x| x > 0)));
        }
        if let (Tensor::Int(whole), "ReduceMax" | "ReduceMin" | "ReduceSum") = (x, op) {
            return self.of_whole(whole, |call| call.reduce());
        }
        let x = x.as_floats()?;
        let rank = x.ndim();
        let global = op.starts_with("Global");
        let given = if global { Some((2..rank as i64).collect()) } else { self.ints(1, "axes")? };
        let axes: Vec<usize> = match given {
            Some(axes) if !axes.is_empty() => axes.iter().map(|number| axis(*number, rank)).collect::<Fit<_>>()?,
            _ if self.node.int("noop_with_empty_axes", 0) != 0 => return Ok(Tensor::Float(x.clone())),
            _ => (0..rank).collect(),
        };
        let keeps = global || self.node.int("keepdims", 1) != 0;
        let count: usize = axes.iter().map(|axis| x.shape()[*axis]).product();
        let mut sum = x.mapv(f64::from);
        let mut order = axes;
        order.sort_unstable();
        order.dedup();
        for place in order.into_iter().rev() {
            let folded = match op {
                "ReduceMax" | "GlobalMaxPool" => {
                    sum.fold_axis(Axis(place), f64::NEG_INFINITY, |a, b| if b > a || b.is_nan() { *b } else { *a })
                }
                "ReduceMin" => sum.fold_axis(Axis(place), f64::INFINITY, |a, b| if b < a || b.is_nan() { *b } else { *a }),
                _ => sum.sum_axis(Axis(place)),
            };
            sum = if keeps { folded.insert_axis(Axis(place)) } else { folded };
        }
        let mean = op == "ReduceMean" || op == "GlobalAveragePool";
        Ok(Tensor::Float(sum.mapv(|x| (if mean { x / count as f64 } else { x }) as f32)))
    }

    pub(super) fn softmax(self) -> Fit<Tensor> {
        let x = self.input(0)?.as_floats()?;
        let dims = x.shape().to_vec();
        // Until version 12 all axes from this one on are one.
        let together = self.opset < 13;
        let place = axis(self.node.int("axis", if together { 1 } else { -1 }), dims.len().max(1))?;
        let mut work = if together {
            let rows: usize = dims[..place].iter().product();
            let values: Vec<f32> = x.iter().copied().collect();
            ArrayD::from_shape_vec(IxDyn(&[rows, x.len() / rows.max(1)]), values).map_err(|error| error.to_string())?
        } else {
            x.clone()
        };
        let along = Axis(if together { 1 } else { place });
        for mut lane in work.lanes_mut(along) {
            let max = lane.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = lane.iter().map(|x| (x - max).exp()).sum();
            let log = self.node.op == "LogSoftmax";
            lane.mapv_inplace(|x| if log { x - max - sum.ln() } else { (x - max).exp() / sum });
        }
        let values: Vec<f32> = work.iter().copied().collect();
        Tensor::floats(&dims, values)
    }

    pub(super) fn batch_norm(self) -> Fit<Tensor> {
        if self.node.int("training_mode", 0) != 0 {
            return Err("normalisation by the batch; allowed: by running statistics".into());
        }
        let x = self.input(0)?.as_floats()?;
        if x.ndim() < 2 {
            return Err(format!("values of {} axes", x.ndim()));
        }
        let [gamma, beta, mean, variance] = [1, 2, 3, 4].map(|number| self.channels(number, x));
        let (gamma, beta, mean, variance) = (gamma?, beta?, mean?, variance?);
        let epsilon = self.node.float("epsilon", 1e-5);
        let mut found = x.clone();
        for (channel, mut part) in found.axis_iter_mut(Axis(1)).enumerate() {
            let scale = gamma[channel] / (variance[channel] + epsilon).sqrt();
            part.mapv_inplace(|x| (x - mean[channel]) * scale + beta[channel]);
        }
        Ok(Tensor::Float(found))
    }

    /// A number for each channel of `x`.
    fn channels(self, number: usize, x: &ArrayD<f32>) -> Fit<Vec<f32>> {
        let values: Vec<f32> = self.input(number)?.as_floats()?.iter().copied().collect();
        let channels = x.shape().get(1).copied().unwrap_or(0);
        if values.len() == channels { Ok(values) } else { Err(format!("{} numbers for {channels} channels", values.len())) }
    }

    pub(super) fn instance_norm(self) -> Fit<Tensor> {
        let x = self.input(0)?.as_floats()?;
        if x.ndim() < 3 {
            return Err(format!("images of {} axes", x.ndim()));
        }
        let (gamma, beta) = (self.channels(1, x)?, self.channels(2, x)?);
        let epsilon = f64::from(self.node.float("epsilon", 1e-5));
        let mut found = x.clone();
        for mut example in found.outer_iter_mut() {
            for (channel, mut part) in example.outer_iter_mut().enumerate() {
                let (mean, deviation) = mean_and_deviation(part.iter(), epsilon);
                part.mapv_inplace(|x| ((f64::from(x) - mean) / deviation) as f32 * gamma[channel] + beta[channel]);
            }
        }
        Ok(Tensor::Float(found))
    }

    /// The values, and of each row the mean and one over the deviation.
    pub(super) fn layer_norm(self) -> Fit<Vec<Tensor>> {
        let x = self.input(0)?.as_floats()?;
        let place = axis(self.node.int("axis", -1), x.ndim())?;
        let epsilon = f64::from(self.node.float("epsilon", 1e-5));
        let each: usize = x.shape()[place..].iter().product();
        let mut values: Vec<f32> = x.iter().copied().collect();
        let (mut means, mut scales) = (Vec::new(), Vec::new());
        for row in values.chunks_mut(each.max(1)) {
            let (mean, deviation) = mean_and_deviation(row.iter(), epsilon);
            means.push(mean as f32);
            scales.push((1.0 / deviation) as f32);
            row.iter_mut().for_each(|x| *x = ((f64::from(*x) - mean) / deviation) as f32);
        }
        let mut found = ArrayD::from_shape_vec(x.raw_dim(), values).map_err(|error| error.to_string())?;
        let spread = |number: usize| -> Fit<Option<ArrayD<f32>>> {
            let Some(tensor) = self.optional(number) else { return Ok(None) };
            let tensor = tensor.as_floats()?;
            tensor.broadcast(found.raw_dim()).map(|x| Some(x.to_owned())).ok_or_else(|| "a scale of other extents".to_owned())
        };
        let (scale, shift) = (spread(1)?, spread(2)?);
        if let Some(scale) = scale {
            found *= &scale;
        }
        if let Some(shift) = shift {
            found += &shift;
        }
        let dims: Vec<usize> = (0..x.ndim()).map(|axis| if axis < place { x.shape()[axis] } else { 1 }).collect();
        Ok(vec![Tensor::Float(found), Tensor::floats(&dims, means)?, Tensor::floats(&dims, scales)?])
    }

    pub(super) fn lrn(self) -> Fit<Tensor> {
        let x = self.input(0)?.as_floats()?;
        let size = usize::try_from(self.node.int("size", 1)).map_err(|_| "a size below 0".to_owned())?.max(1);
        let (alpha, beta, bias) = (self.node.float("alpha", 1e-4), self.node.float("beta", 0.75), self.node.float("bias", 1.0));
        let channels = *x.shape().get(1).ok_or("images without channels")?;
        let squares = x.mapv(|x| x * x);
        let mut found = x.clone();
        for channel in 0..channels {
            let window = channel.saturating_sub((size - 1) / 2)..(channel + size / 2 + 1).min(channels);
            let sum = squares.slice_axis(Axis(1), window.into()).sum_axis(Axis(1));
            let mut part = found.index_axis_mut(Axis(1), channel);
            Zip::from(&mut part).and(&sum).for_each(|x, sum| *x /= (bias + alpha / size as f32 * sum).powf(beta));
        }
        Ok(Tensor::Float(found))
    }
}

fn mean_and_deviation<'a>(values: impl Iterator<Item = &'a f32> + Clone, epsilon: f64) -> (f64, f64) {
    let n = values.clone().count().max(1) as f64;
    let mean = values.clone().map(|x| f64::from(*x)).sum::<f64>() / n;
    let variance = values.map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n;
    (mean, (variance + epsilon).sqrt())
}
