//! Convolutions, pooling, resizing, along any number of axes.

use ndarray::{ArrayD, Dimension, IxDyn};

use super::Call;
use crate::{
    Node, Tensor,
    extents::axis,
    tensor::{Fit, size},
};

/// So many places before and after.
pub type Ends = [usize; 2];

/// The windows of a convolution or a pooling along each axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// How many places a window has.
    pub kernel: Vec<usize>,
    /// How far apart windows are.
    pub stride: Vec<usize>,
    /// How far apart the places of a window are.
    pub dilation: Vec<usize>,
    /// What is added at both ends; more after the last where windows that are not full count.
    pub padding: Vec<Ends>,
    /// How many windows there are.
    pub outputs: Vec<usize>,
    /// What was added to the padding so that the last window is full.
    pub excess: Vec<usize>,
}

/// The windows that a node says for inputs of these extents, the kernel's from the weight where the node does not say.
///
/// # Errors
///
/// In words: windows that do not fit.
pub fn frame(node: &Node, extents: &[usize], kernel: Option<&[usize]>) -> Fit<Frame> {
    let rank = extents.len();
    let list = |name: &str, usual: usize| -> Fit<Vec<usize>> {
        let Some(values) = node.ints(name) else { return Ok(vec![usual; rank]) };
        let values: Option<Vec<usize>> = values.iter().map(|value| usize::try_from(*value).ok().filter(|value| *value < 1 << 31)).collect();
        values.filter(|values| values.len() == rank).ok_or_else(|| format!("{name} of {:?} for {rank} axes", node.ints(name)))
    };
    let kernel = match (node.ints("kernel_shape"), kernel) {
        (Some(_), _) => list("kernel_shape", 1)?,
        (None, Some(kernel)) => kernel.to_vec(),
        (None, None) => return Err("no kernel_shape".into()),
    };
    let (stride, dilation) = (list("strides", 1)?, list("dilations", 1)?);
    if [&kernel, &stride, &dilation].iter().any(|values| values.contains(&0)) {
        return Err("kernel, stride or dilation of 0".into());
    }
    let span: Vec<usize> = kernel.iter().zip(&dilation).map(|(kernel, dilation)| dilation * (kernel - 1) + 1).collect();
    let mut padding: Vec<Ends> = match node.ints("pads") {
        Some(pads) if pads.len() == 2 * rank => {
            let ends =
                (0..rank).map(|axis| [pads[axis], pads[axis + rank]].map(|pad| usize::try_from(pad).ok().filter(|pad| *pad < 1 << 31)));
            ends.map(|[before, after]| Some([before?, after?])).collect::<Option<_>>().ok_or("pads below 0")?
        }
        Some(pads) => return Err(format!("{} pads for {rank} axes", pads.len())),
        None => vec![[0; 2]; rank],
    };
    let auto = node.text("auto_pad", "NOTSET");
    for axis in 0..rank {
        match auto {
            "SAME_UPPER" | "SAME_LOWER" => {
                let outputs = extents[axis].div_ceil(stride[axis]);
                let total = ((outputs.max(1) - 1) * stride[axis] + span[axis]).saturating_sub(extents[axis]);
                let (less, more) = (total / 2, total - total / 2);
                padding[axis] = if auto == "SAME_UPPER" { [less, more] } else { [more, less] };
            }
            "VALID" => padding[axis] = [0; 2],
            "NOTSET" => {}
            other => return Err(format!("auto_pad `{other}`")),
        }
    }
    let (mut outputs, mut excess) = (Vec::new(), Vec::new());
    for axis in 0..rank {
        let [before, after] = padding[axis];
        let total = extents[axis] + before + after;
        let rest = total.checked_sub(span[axis]).ok_or_else(|| format!("windows of {span:?} in {extents:?}"))?;
        let mut count = rest / stride[axis] + 1;
        let mut more = 0;
        // A window that begins in what is added after the end does not count.
        if node.int("ceil_mode", 0) != 0 && rest % stride[axis] != 0 && count * stride[axis] < extents[axis] + before {
            count += 1;
            more = (count - 1) * stride[axis] + span[axis] - total;
        }
        padding[axis][1] += more;
        outputs.push(count);
        excess.push(more);
    }
    Ok(Frame { kernel, stride, dilation, padding, outputs, excess })
}

/// All places of these extents, in their order.
fn places(extents: &[usize]) -> impl Iterator<Item = Vec<usize>> + '_ {
    ndarray::indices(IxDyn(extents)).into_iter().map(|index| index.slice().to_vec())
}

impl Frame {
    /// Where in the input a place of a window is; `None` in the padding.
    fn at(&self, window: &[usize], place: &[usize], extents: &[usize]) -> Option<Vec<usize>> {
        let along = |axis: usize| {
            let at = (window[axis] * self.stride[axis] + place[axis] * self.dilation[axis]).checked_sub(self.padding[axis][0])?;
            (at < extents[axis]).then_some(at)
        };
        (0..extents.len()).map(along).collect()
    }
}

fn offset(place: &[usize], extents: &[usize]) -> usize {
    place.iter().zip(extents).fold(0, |offset, (place, extent)| offset * extent + place)
}

impl Call<'_> {
    pub(super) fn conv(self) -> Fit<Tensor> {
        let (x, w) = (self.input(0)?.as_floats()?, self.input(1)?.as_floats()?);
        let (dims, shape) = (x.shape().to_vec(), w.shape().to_vec());
        let groups = usize::try_from(self.node.int("group", 1)).unwrap_or(0);
        if dims.len() < 3 || shape.len() != dims.len() || groups == 0 || shape[1] * groups != dims[1] || shape[0] % groups != 0 {
            return Err(format!("a kernel of {shape:?} in {groups} groups for {dims:?}"));
        }
        let extents = &dims[2..];
        let frame = frame(self.node, extents, Some(&shape[2..]))?;
        if frame.kernel != shape[2..] {
            return Err(format!("kernel_shape {:?} of a kernel of {shape:?}", frame.kernel));
        }
        size(&[frame.outputs.as_slice(), &frame.kernel].concat())?;
        size(&[&dims[..1], &shape[..1], &frame.outputs].concat())?;
        let bias = self.optional(2).map(Tensor::as_floats).transpose()?;
        let (x, w): (Vec<f32>, Vec<f32>) = (x.iter().copied().collect(), w.iter().copied().collect());
        let [pixels, taps, outputs]: [usize; 3] = [extents, &frame.kernel, &frame.outputs].map(|extents| extents.iter().product());
        let (inputs, each) = (shape[1], shape[0] / groups);
        let mut y = Vec::with_capacity(dims[0] * shape[0] * outputs);
        // Where each tap of each window reads.
        let reads: Vec<Option<usize>> = places(&frame.outputs)
            .flat_map(|window| places(&frame.kernel).map(move |place| (window.clone(), place)).collect::<Vec<_>>())
            .map(|(window, place)| frame.at(&window, &place, extents).map(|place| offset(&place, extents)))
            .collect();
        for example in 0..dims[0] {
            for o in 0..shape[0] {
                let start = bias.and_then(|bias| bias.iter().nth(o).copied()).unwrap_or(0.0);
                for window in reads.chunks(taps) {
                    let mut sum = f64::from(start);
                    for c in 0..inputs {
                        let image = &x[(example * dims[1] + o / each * inputs + c) * pixels..][..pixels];
                        let kernel = &w[(o * inputs + c) * taps..][..taps];
                        sum +=
                            window.iter().zip(kernel).map(|(at, w)| at.map_or(0.0, |at| f64::from(image[at]) * f64::from(*w))).sum::<f64>();
                    }
                    y.push(sum as f32);
                }
            }
        }
        Tensor::floats(&[&dims[..1], &shape[..1], &frame.outputs].concat(), y)
    }

    pub(super) fn conv_transpose(self) -> Fit<Tensor> {
        let (x, w) = (self.input(0)?.as_floats()?, self.input(1)?.as_floats()?);
        let (dims, shape) = (x.shape().to_vec(), w.shape().to_vec());
        let groups = usize::try_from(self.node.int("group", 1)).unwrap_or(0);
        let rank = dims.len().saturating_sub(2);
        if rank == 0 || shape.len() != dims.len() || groups == 0 || shape[0] != dims[1] || shape[0] % groups != 0 {
            return Err(format!("a kernel of {shape:?} in {groups} groups for {dims:?}"));
        }
        let list = |name: &str, usual: i64| self.node.ints(name).map_or_else(|| vec![usual; rank], <[i64]>::to_vec);
        let (stride, dilation, more) = (list("strides", 1), list("dilations", 1), list("output_padding", 0));
        if [&stride, &dilation, &more].into_iter().flatten().any(|value| !(0..1 << 20).contains(value)) {
            return Err("strides, dilations or output_padding below 0 or beyond all images".into());
        }
        let kernel: Vec<i64> = shape[2..].iter().map(|kernel| *kernel as i64).collect();
        if [&stride, &dilation, &more].iter().any(|values| values.len() != rank) {
            return Err(format!("strides, dilations or output_padding for other than {rank} axes"));
        }
        let full = |axis: usize| (dims[axis + 2] as i64 - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1 + more[axis];
        let mut pads = self.node.ints("pads").map_or_else(|| vec![0; 2 * rank], <[i64]>::to_vec);
        let wanted = self.node.ints("output_shape").map(<[i64]>::to_vec);
        let auto = self.node.text("auto_pad", "NOTSET");
        if pads.len() != 2 * rank {
            return Err("pads for other axes".into());
        }
        for axis in 0..rank {
            let total: i64 = match (&wanted, auto) {
                (Some(wanted), _) => full(axis) - wanted.get(axis + wanted.len().saturating_sub(rank)).copied().unwrap_or(0),
                (None, "SAME_UPPER" | "SAME_LOWER") => full(axis) - dims[axis + 2] as i64 * stride[axis],
                _ => continue,
            };
            let total = total.max(0);
            let (less, other) = (total / 2, total - total / 2);
            (pads[axis], pads[axis + rank]) = if auto == "SAME_UPPER" { (less, other) } else { (other, less) };
        }
        let extent = |axis: usize| {
            let told = wanted.as_ref().and_then(|wanted| wanted.get(axis + wanted.len().saturating_sub(rank)).copied());
            told.unwrap_or(full(axis) - pads[axis] - pads[axis + rank])
        };
        let outputs: Vec<usize> =
            (0..rank).map(|axis| usize::try_from(extent(axis))).collect::<Result<_, _>>().map_err(|_| "nothing is left".to_owned())?;
        let (each_in, each_out) = (shape[0] / groups, shape[1]);
        let channels = each_out * groups;
        size(&[&[dims[0], channels], outputs.as_slice()].concat())?;
        let bias = self.optional(2).map(Tensor::as_floats).transpose()?;
        let mut y = ArrayD::<f32>::zeros(IxDyn(&[&[dims[0], channels], outputs.as_slice()].concat()));
        if let Some(bias) = bias {
            for (channel, mut part) in y.axis_iter_mut(ndarray::Axis(1)).enumerate() {
                part.fill(bias.iter().nth(channel).copied().unwrap_or(0.0));
            }
        }
        for example in 0..dims[0] {
            for c in 0..dims[1] {
                for place in places(&dims[2..]) {
                    let value = x[IxDyn(&[&[example, c], place.as_slice()].concat())];
                    for tap in places(&shape[2..]) {
                        let to = (0..rank).map(|axis| place[axis] as i64 * stride[axis] + tap[axis] as i64 * dilation[axis] - pads[axis]);
                        let to: Option<Vec<usize>> =
                            to.zip(&outputs).map(|(to, extent)| usize::try_from(to).ok().filter(|to| to < extent)).collect();
                        let Some(to) = to else { continue };
                        for o in 0..each_out {
                            let channel = c / each_in * each_out + o;
                            y[IxDyn(&[&[example, channel], to.as_slice()].concat())] +=
                                value * w[IxDyn(&[&[c, o], tap.as_slice()].concat())];
                        }
                    }
                }
            }
        }
        Ok(Tensor::Float(y))
    }

    pub(super) fn pool(self) -> Fit<Tensor> {
        if let Tensor::Int(whole) = self.input(0)? {
            return self.of_whole(whole, |call| call.pool());
        }
        let x = self.input(0)?.as_floats()?;
        let dims = x.shape().to_vec();
        if dims.len() < 3 {
            return Err(format!("images of extents {dims:?}"));
        }
        let extents = &dims[2..];
        let frame = frame(self.node, extents, None)?;
        size(&[frame.outputs.as_slice(), &frame.kernel].concat())?;
        size(&[&dims[..2], frame.outputs.as_slice()].concat())?;
        let largest = self.node.op == "MaxPool";
        let counts_padding = self.node.int("count_include_pad", 0) != 0;
        let pixels: usize = extents.iter().product();
        let values: Vec<f32> = x.iter().copied().collect();
        let mut y = Vec::new();
        for image in values.chunks(pixels.max(1)) {
            for window in places(&frame.outputs) {
                let (mut sum, mut max, mut count) = (0.0_f64, f32::NEG_INFINITY, 0);
                for place in places(&frame.kernel) {
                    match frame.at(&window, &place, extents) {
                        Some(at) => {
                            let value = image[offset(&at, extents)];
                            (sum, count) = (sum + f64::from(value), count + 1);
                            max = if value > max || value.is_nan() { value } else { max };
                        }
                        None if counts_padding && !frame.is_excess(&window, &place, extents) => count += 1,
                        None => {}
                    }
                }
                y.push(if largest { max } else { (sum / f64::from(count.max(1))) as f32 });
            }
        }
        Tensor::floats(&[&dims[..2], &frame.outputs].concat(), y)
    }

    pub(super) fn resize(self) -> Fit<Tensor> {
        let x = self.input(0)?.as_floats()?;
        let dims = x.shape().to_vec();
        let old = self.opset < 11;
        if self.node.int("antialias", 0) != 0 || self.node.text("keep_aspect_ratio_policy", "stretch") != "stretch" {
            return Err("antialias and keep_aspect_ratio_policy; allowed: neither".into());
        }
        let axes: Vec<usize> = match self.node.ints("axes") {
            Some(axes) => axes.iter().map(|number| axis(*number, dims.len())).collect::<Fit<_>>()?,
            None => (0..dims.len()).collect(),
        };
        let (sizes, scales) = (self.optional(3), if old { self.optional(1) } else { self.optional(2) });
        let sizes = sizes.filter(|sizes| !sizes.is_empty()).map(Tensor::as_ints).transpose()?;
        let given: Option<Vec<f32>> =
            scales.filter(|scales| !scales.is_empty()).map(|x| x.as_floats().map(|x| x.iter().copied().collect())).transpose()?;
        let (mut outputs, mut factors) = (dims.clone(), vec![1.0; dims.len()]);
        match (&sizes, &given) {
            (Some(sizes), _) if sizes.len() == axes.len() => {
                for (axis, size) in axes.iter().zip(sizes) {
                    outputs[*axis] = usize::try_from(*size).unwrap_or(0);
                    factors[*axis] = outputs[*axis] as f64 / dims[*axis] as f64;
                }
            }
            (None, Some(scales)) if scales.len() == axes.len() => {
                for (axis, scale) in axes.iter().zip(scales) {
                    outputs[*axis] = (dims[*axis] as f32 * scale).floor() as usize;
                    factors[*axis] = f64::from(*scale);
                }
            }
            _ => return Err("sizes or scales for other axes".into()),
        }
        if outputs.contains(&0) || dims.contains(&0) {
            return Err(format!("a size of {outputs:?} of {dims:?}"));
        }
        size(&outputs)?;
        let (mode, where_, nearest) = (
            self.node.text("mode", "nearest"),
            self.node.text("coordinate_transformation_mode", "half_pixel"),
            self.node.text("nearest_mode", "round_prefer_floor"),
        );
        let where_ = if old { "asymmetric" } else { where_ };
        let mut found = x.clone();
        for axis in 0..dims.len() {
            if outputs[axis] == dims[axis] {
                continue;
            }
            let (n, m, scale) = (dims[axis] as f64, outputs[axis] as f64, factors[axis]);
            let terms = |place: usize| -> Fit<Vec<(usize, f64)>> {
                let at = match where_ {
                    "asymmetric" => place as f64 / scale,
                    "half_pixel" => (place as f64 + 0.5) / scale - 0.5,
                    "pytorch_half_pixel" => {
                        if m > 1.0 {
                            (place as f64 + 0.5) / scale - 0.5
                        } else {
                            0.0
                        }
                    }
                    "align_corners" => {
                        if m > 1.0 {
                            place as f64 * (n - 1.0) / (m - 1.0)
                        } else {
                            0.0
                        }
                    }
                    other => return Err(format!("coordinates `{other}`")),
                };
                let clamp = |at: f64| at.clamp(0.0, n - 1.0) as usize;
                Ok(match (mode, nearest) {
                    ("nearest", _) if old => vec![(clamp(at.floor()), 1.0)],
                    ("nearest", "round_prefer_floor") => vec![(clamp((at - 0.5).ceil()), 1.0)],
                    ("nearest", "round_prefer_ceil") => vec![(clamp((at + 0.5).floor()), 1.0)],
                    ("nearest", "floor") => vec![(clamp(at.floor()), 1.0)],
                    ("nearest", "ceil") => vec![(clamp(at.ceil()), 1.0)],
                    ("linear", _) => {
                        let share = at - at.floor();
                        vec![(clamp(at.floor()), 1.0 - share), (clamp(at.floor() + 1.0), share)]
                    }
                    (mode, nearest) => return Err(format!("mode `{mode}`, `{nearest}`; allowed: nearest, linear")),
                })
            };
            let mut shape = found.shape().to_vec();
            shape[axis] = outputs[axis];
            let mut next = ArrayD::<f32>::zeros(IxDyn(&shape));
            for place in 0..outputs[axis] {
                let mut to = next.index_axis_mut(ndarray::Axis(axis), place);
                for (from, weight) in terms(place)? {
                    to.scaled_add(weight as f32, &found.index_axis(ndarray::Axis(axis), from));
                }
            }
            found = next;
        }
        Ok(Tensor::Float(found))
    }
}

impl Frame {
    /// Whether a place is in what was added so that the last window is full.
    fn is_excess(&self, window: &[usize], place: &[usize], extents: &[usize]) -> bool {
        (0..extents.len()).any(|axis| {
            let at = window[axis] * self.stride[axis] + place[axis] * self.dilation[axis];
            at >= extents[axis] + self.padding[axis][0] + self.padding[axis][1] - self.excess[axis]
        })
    }
}
