//! Other extents, other places, parts.

use ndarray::{ArrayD, Axis, IxDyn, Slice, concatenate};

use super::{Call, pointwise::broadcast_dims};
use crate::{
    Attribute, Tensor, extents,
    extents::axis,
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
fn checked(dims: &[i64]) -> Fit<Vec<usize>> {
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
        Ok(extents::shape(self.node, self.input(0)?.dims()))
    }

    pub(super) fn constant_of_shape(self) -> Fit<Tensor> {
        let dims = checked(&self.input(0)?.as_ints()?)?;
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

    pub(super) fn reshaped(self) -> Fit<Tensor> {
        let x = self.input(0)?;
        let given = self.ints(1, if self.node.op == "Reshape" { "shape" } else { "axes" })?;
        let dims = extents::reshaped(self.node, x.dims(), given.as_deref())?;
        Ok(any!(x, x => with_dims(x, &dims)?))
    }

    pub(super) fn transpose(self) -> Fit<Tensor> {
        let x = self.input(0)?;
        let order = extents::order(self.node, x.dims().len())?;
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
        let sizes = extents::parts(self.node, extent, self.ints(1, "split")?.as_deref())?;
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
            return self.of_whole(whole, |call| call.pad());
        }
        let mut x = x.as_floats()?.clone();
        for (number, place) in axes.iter().enumerate() {
            let (before, after) = (given[number], given[number + axes.len()]);
            let extent = x.shape()[*place] as i64;
            let total = checked(&[extent.saturating_add(before).saturating_add(after)])?[0];
            let mut dims = x.shape().to_vec();
            dims[*place] = total;
            size(&dims)?;
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
        let dims = broadcast_dims(&[x.dims(), &checked(&self.input(1)?.as_ints()?)?])?;
        let none = || format!("{:?} as {dims:?}", x.dims());
        Ok(any!(x, x => x.broadcast(IxDyn(&dims)).ok_or_else(none)?.to_owned()))
    }
}
