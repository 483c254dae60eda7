//! Other extents, other places, parts.

use ndarray::{ArrayD, Axis, IxDyn, Slice, concatenate};

use super::{Call, axis, pointwise::broadcast_dims};
use crate::{
    Attribute, Tensor,
    tensor::{Fit, size},
};

/// The same of a tensor of any type.
macro_rules! any {
    ($tensor:expr, $x:ident => $do:expr) => {
        match $tensor {
            Tensor::Float($x) => Tensor::Float($do),
            Tensor::Int($x) => Tensor::Int($do),
            Tensor::Bool($x) => Tensor::Bool($do),
        }
    };
}

fn with_dims<T: Clone>(x: &ArrayD<T>, dims: &[usize]) -> Fit<ArrayD<T>> {
    let values: Vec<T> = x.iter().cloned().collect();
    ArrayD::from_shape_vec(IxDyn(dims), values).map_err(|_| format!("{} numbers of extents {:?} as {dims:?}", x.len(), x.shape()))
}

/// Extents of a file as they are used.
fn extents(dims: &[i64]) -> Fit<Vec<usize>> {
    let found: Vec<usize> =
        dims.iter().map(|dim| usize::try_from(*dim)).collect::<Result<_, _>>().map_err(|_| format!("extents {dims:?}"))?;
    size(&found)?;
    Ok(found)
}

impl Call<'_> {
    pub(super) fn constant(self) -> Fit<Tensor> {
        let told = |name: &str| self.node.attributes.get(name);
        let scalar = |value: f32| Tensor::floats(&[], vec![value]);
        match (told("value"), told("value_float"), told("value_int"), told("value_floats"), told("value_ints")) {
            (Some(Attribute::Tensor(tensor)), ..) => Ok(tensor.clone()),
            (_, Some(Attribute::Float(value)), ..) => scalar(*value),
            (_, _, Some(Attribute::Int(value)), ..) => Ok(Tensor::Int(ArrayD::from_elem(IxDyn(&[]), *value))),
            (_, _, _, Some(Attribute::Floats(values)), _) => Tensor::floats(&[values.len()], values.clone()),
            (.., Some(Attribute::Ints(values))) => Ok(Tensor::ints(values.clone())),
            _ => Err("a constant of another kind; allowed: numbers".into()),
        }
    }

    pub(super) fn shape(self) -> Fit<Tensor> {
        let dims = self.input(0)?.dims();
        let rank = dims.len() as i64;
        let place = |number: i64| (if number < 0 { number + rank } else { number }).clamp(0, rank) as usize;
        let (start, end) = (place(self.node.int("start", 0)), place(self.node.int("end", rank)));
        Ok(Tensor::ints(dims.get(start..end).unwrap_or_default().iter().map(|dim| *dim as i64).collect()))
    }

    pub(super) fn constant_of_shape(self) -> Fit<Tensor> {
        let dims = extents(&self.input(0)?.as_ints()?)?;
        match self.node.attributes.get("value") {
            Some(Attribute::Tensor(Tensor::Int(x))) => {
                Ok(Tensor::Int(ArrayD::from_elem(IxDyn(&dims), x.iter().next().copied().unwrap_or(0))))
            }
            Some(Attribute::Tensor(Tensor::Bool(x))) => Ok(Tensor::Bool(ArrayD::from_elem(IxDyn(&dims), x.iter().any(|x| *x)))),
            Some(Attribute::Tensor(Tensor::Float(x))) => {
                Ok(Tensor::Float(ArrayD::from_elem(IxDyn(&dims), x.iter().next().copied().unwrap_or(0.0))))
            }
            _ => Ok(Tensor::Float(ArrayD::zeros(IxDyn(&dims)))),
        }
    }

    /// The extents that Reshape, Flatten, Squeeze and Unsqueeze give.
    pub(super) fn new_dims(self) -> Fit<Vec<usize>> {
        let x = self.input(0)?;
        let (dims, rank) = (x.dims(), x.dims().len());
        match self.node.op.as_str() {
            "Flatten" => {
                let number = self.node.int("axis", 1);
                let place = if number < 0 { number + rank as i64 } else { number };
                let place = usize::try_from(place).ok().filter(|place| *place <= rank).ok_or_else(|| format!("axis {number} of {rank}"))?;
                Ok(vec![dims[..place].iter().product(), dims[place..].iter().product()])
            }
            "Squeeze" => {
                let axes = self.ints(1, "axes")?;
                let axes: Option<Vec<usize>> = axes.map(|axes| axes.iter().map(|number| axis(*number, rank)).collect()).transpose()?;
                if let Some(place) = axes.iter().flatten().find(|place| dims[**place] != 1) {
                    return Err(format!("axis {place} of {dims:?} is not 1"));
                }
                let gone = |place: usize| axes.as_ref().map_or(dims[place] == 1, |axes| axes.contains(&place));
                Ok((0..rank).filter(|place| !gone(*place)).map(|place| dims[place]).collect())
            }
            "Unsqueeze" => {
                let axes = self.ints(1, "axes")?.ok_or("axes are left out")?;
                let rank = rank + axes.len();
                let axes: Vec<usize> = axes.iter().map(|number| axis(*number, rank)).collect::<Fit<_>>()?;
                let mut rest = dims.iter();
                Ok((0..rank).map(|place| if axes.contains(&place) { 1 } else { rest.next().copied().unwrap_or(1) }).collect())
            }
            _ => {
                let wanted = self.ints(1, "shape")?.ok_or("the new extents are left out")?;
                let keeps_zero = self.node.int("allowzero", 0) != 0;
                let mut found = Vec::new();
                let mut open = None;
                for (place, want) in wanted.iter().enumerate() {
                    match *want {
                        0 if !keeps_zero => found.push(*dims.get(place).ok_or_else(|| format!("extents {wanted:?} of {dims:?}"))?),
                        -1 if open.is_none() => {
                            open = Some(place);
                            found.push(1);
                        }
                        want => found.push(usize::try_from(want).map_err(|_| format!("extents {wanted:?}"))?),
                    }
                }
                if let Some(place) = open {
                    let known: usize = found.iter().product();
                    if known == 0 || !x.len().is_multiple_of(known) {
                        return Err(format!("{dims:?} as {wanted:?}"));
                    }
                    found[place] = x.len() / known;
                }
                Ok(found)
            }
        }
    }

    pub(super) fn reshaped(self) -> Fit<Tensor> {
        let dims = self.new_dims()?;
        Ok(any!(self.input(0)?, x => with_dims(x, &dims)?))
    }

    pub(super) fn transpose(self) -> Fit<Tensor> {
        let x = self.input(0)?;
        let rank = x.dims().len();
        let order: Vec<usize> = match self.node.ints("perm") {
            Some(perm) => perm.iter().map(|number| axis(*number, rank)).collect::<Fit<_>>()?,
            None => (0..rank).rev().collect(),
        };
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if sorted != (0..rank).collect::<Vec<_>>() {
            return Err(format!("an order {order:?} of {rank} axes"));
        }
        Ok(any!(x, x => x.view().permuted_axes(IxDyn(&order)).as_standard_layout().into_owned()))
    }

    pub(super) fn concat(self) -> Fit<Tensor> {
        let first = self.input(0)?;
        let place = axis(self.node.int("axis", 1), first.dims().len())?;
        let all: Vec<&Tensor> = (0..self.inputs.len()).map(|number| self.input(number)).collect::<Fit<_>>()?;
        if let Some(other) = all.iter().find(|x| x.dims().len() != first.dims().len()) {
            return Err(format!("{:?} beside {:?}", other.dims(), first.dims()));
        }
        let mut dims = first.dims().to_vec();
        dims[place] = all.iter().map(|x| x.dims()[place]).sum();
        size(&dims)?;
        macro_rules! of {
            ($kind:path) => {{
                let views: Option<Vec<_>> = all.iter().map(|x| if let $kind(x) = x { Some(x.view()) } else { None }).collect();
                let views = views.ok_or("values of two types")?;
                $kind(concatenate(Axis(place), &views).map_err(|error| error.to_string())?)
            }};
        }
        Ok(match first {
            Tensor::Float(_) => of!(Tensor::Float),
            Tensor::Int(_) => of!(Tensor::Int),
            Tensor::Bool(_) => of!(Tensor::Bool),
        })
    }

    pub(super) fn split(self) -> Fit<Vec<Tensor>> {
        let x = self.input(0)?;
        let place = axis(self.node.int("axis", 0), x.dims().len())?;
        let extent = x.dims()[place];
        let parts = self.node.outputs.len().max(1);
        let sizes = if let Some(sizes) = self.ints(1, "split")? {
            sizes
                .iter()
                .map(|size| usize::try_from(*size).ok().filter(|size| *size <= extent))
                .collect::<Option<Vec<_>>>()
                .unwrap_or_default()
        } else {
            let each = extent.div_ceil(parts);
            (0..parts).map(|part| each.min(extent.saturating_sub(part * each))).collect()
        };
        if sizes.iter().sum::<usize>() != extent {
            return Err(format!("{extent} in parts of {sizes:?}"));
        }
        let mut from = 0;
        let part = |size: usize| {
            let until = from + size;
            let slice = Slice::from(from..until);
            from = until;
            any!(x, x => x.slice_axis(Axis(place), slice).to_owned())
        };
        Ok(sizes.into_iter().map(part).collect())
    }

    pub(super) fn slice(self) -> Fit<Tensor> {
        let mut x = self.input(0)?.clone();
        let rank = x.dims().len();
        let starts = self.ints(1, "starts")?.ok_or("starts are left out")?;
        let ends = self.ints(2, "ends")?.ok_or("ends are left out")?;
        let axes = self.ints(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = self.ints(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
        if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
            return Err("starts, ends, axes and steps of other lengths".into());
        }
        for (((start, end), number), step) in starts.into_iter().zip(ends).zip(axes).zip(steps) {
            let place = axis(number, rank)?;
            let extent = x.dims()[place] as i64;
            let from_end = |number: i64| if number < 0 { number.saturating_add(extent) } else { number };
            let places: Vec<usize> = match step {
                0 => return Err("a step of 0".into()),
                _ if extent == 0 => Vec::new(),
                i64::MIN => return Err("a step of -2**63".into()),
                step if step > 0 => {
                    let (start, end) = (from_end(start).clamp(0, extent), from_end(end).clamp(0, extent));
                    (start..end).step_by(usize::try_from(step).unwrap_or(usize::MAX)).map(|place| place as usize).collect()
                }
                step => {
                    let (start, end) = (from_end(start).clamp(0, extent - 1), from_end(end).clamp(-1, extent - 1));
                    let count = if start > end { (start - end + -step - 1) / -step } else { 0 };
                    (0..count).map(|number| (start + number * step) as usize).collect()
                }
            };
            x = any!(&x, x => x.select(Axis(place), &places));
        }
        Ok(x)
    }

    pub(super) fn gather(self) -> Fit<Tensor> {
        let (x, Tensor::Int(indices)) = (self.input(0)?, self.input(1)?) else { return Err("places are no whole numbers".into()) };
        let place = axis(self.node.int("axis", 0), x.dims().len())?;
        let places: Vec<usize> = indices.iter().map(|number| axis(*number, x.dims()[place])).collect::<Fit<_>>()?;
        let dims = [&x.dims()[..place], indices.shape(), &x.dims()[place + 1..]].concat();
        size(&dims)?;
        Ok(any!(x, x => with_dims(&x.select(Axis(place), &places), &dims)?))
    }

    pub(super) fn pad(self) -> Fit<Tensor> {
        let x = self.input(0)?;
        let rank = x.dims().len();
        let given = self.ints(1, "pads")?.ok_or("pads are left out")?;
        let axes = match self.optional(3) {
            Some(axes) => axes.as_ints()?.iter().map(|number| axis(*number, rank)).collect::<Fit<Vec<_>>>()?,
            None => (0..rank).collect(),
        };
        if given.len() != 2 * axes.len() {
            return Err(format!("{} pads for {} axes", given.len(), axes.len()));
        }
        let mode = self.node.text("mode", "constant");
        let value = match self.optional(2) {
            Some(Tensor::Float(value)) => value.iter().next().copied().unwrap_or(0.0),
            Some(Tensor::Int(value)) => value.iter().next().copied().unwrap_or(0) as f32,
            _ => self.node.float("value", 0.0),
        };
        if let Tensor::Int(whole) = x {
            let floats = Tensor::Float(whole.mapv(|x| x as f32));
            let mut inputs = self.inputs.to_vec();
            inputs[0] = Some(&floats);
            let found = Call { inputs: &inputs, ..self }.pad()?;
            return Ok(Tensor::Int(found.as_floats()?.mapv(|x| x as i64)));
        }
        let mut x = x.as_floats()?.clone();
        for (number, place) in axes.iter().enumerate() {
            let (before, after) = (given[number], given[number + axes.len()]);
            let extent = x.shape()[*place] as i64;
            let total = extents(&[extent.saturating_add(before).saturating_add(after)])?[0];
            let mut dims = x.shape().to_vec();
            dims[*place] = total;
            extents(&dims.iter().map(|dim| *dim as i64).collect::<Vec<_>>())?;
            let mut padded = ArrayD::from_elem(IxDyn(&dims), value);
            for to in 0..total {
                let from = to as i64 - before;
                let from = match mode {
                    _ if (0..extent).contains(&from) => from,
                    "constant" => continue,
                    _ if extent == 0 => return Err("nothing to pad with".into()),
                    "edge" => from.clamp(0, extent - 1),
                    "reflect" if extent > 1 => {
                        let period = 2 * (extent - 1);
                        let at = from.rem_euclid(period);
                        if at < extent { at } else { period - at }
                    }
                    other => return Err(format!("padding by `{other}`; allowed: constant, edge, reflect")),
                };
                padded.index_axis_mut(Axis(*place), to).assign(&x.index_axis(Axis(*place), from as usize));
            }
            x = padded;
        }
        Ok(Tensor::Float(x))
    }

    pub(super) fn expand(self) -> Fit<Tensor> {
        let x = self.input(0)?;
        let dims = broadcast_dims(&[x.dims(), &extents(&self.input(1)?.as_ints()?)?])?;
        let none = || format!("{:?} as {dims:?}", x.dims());
        Ok(any!(x, x => x.broadcast(IxDyn(&dims)).ok_or_else(none)?.to_owned()))
    }
}
