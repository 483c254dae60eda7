//! A network compiled for inference: what each step runs, where its result lies, and what is done in the same sweep.
//!
//! Images lie pixel by pixel, so that convolutions are matrix products without a transposition before or after, and a sum with a
//! shortcut and a ReLU are done while a result is in cache. A value's memory is used again once nobody reads it.

use std::{collections::BTreeMap, sync::Mutex};

use burn::tensor::ops::ConvOptions;
use lyceum_core::Array;
use lyceum_kernels::{
    Activation as Fused, ConvScratch, PreparedConv,
    pixels::{After, PreparedLinear, Windows, average_pool, finish, max_pool, scale_and_shift},
};

use super::{Activation, Conv, Graph, Op, Pool, Port, Shape};
use crate::layers::{BatchNorm, GroupNorm};

/// A compiled network.
#[derive(Debug)]
pub(super) struct Inference {
    steps: Vec<Step>,
    /// How many numbers of an image each buffer has room for.
    buffers: Vec<usize>,
    input: Shape,
    /// Buffers that no thread uses now.
    idle: Mutex<Vec<Workspace>>,
}

/// Buffers of one thread.
#[derive(Debug, Default)]
struct Workspace {
    buffers: Vec<Vec<f32>>,
    conv: ConvScratch,
}

#[derive(Debug)]
struct Step {
    kernel: Kernel,
    /// The buffers that are read, and how many numbers of an image each holds.
    reads: Vec<(usize, usize)>,
    /// What is added to the result.
    residual: Option<(usize, usize)>,
    activation: Fused,
    /// Where the result lies, how large it is, and how many channels it has.
    buffer: usize,
    len: usize,
    channels: usize,
}

/// What a step does with images that lie pixel by pixel.
#[derive(Debug)]
enum Kernel {
    Conv(Box<PreparedConv>),
    Linear(PreparedLinear),
    ScaleAndShift {
        scale: Vec<f32>,
        shift: Vec<f32>,
    },
    GroupNorm {
        groups: usize,
        gamma: Vec<f32>,
        beta: Vec<f32>,
    },
    Activation(Activation),
    Softmax,
    MaxPool(Windows),
    AveragePool(Windows),
    GlobalMaxPool,
    GlobalAveragePool,
    /// A sum, difference, product, quotient or mean.
    Combine(Op),
    Concatenate(Vec<usize>),
    Slice {
        of: usize,
        from: usize,
    },
    Gather {
        of: usize,
        channels: Vec<usize>,
    },
    /// The same for every image.
    Constant(Vec<f32>),
    /// Channel by channel from pixel by pixel, and back.
    Planar {
        channels: usize,
    },
    Pixels {
        channels: usize,
    },
    Upsample {
        extent: [usize; 2],
        factor: usize,
    },
    Pad {
        extent: [usize; 2],
        by: [[usize; 2]; 2],
    },
}

/// What is done in one sweep: the node that begins, what is added to what it gives, and what is applied in the end.
struct Sweep {
    number: usize,
    residual: Option<Port>,
    activation: Fused,
}

/// So many images are worked on at once, so that weights are seldom read anew, as long as their buffers have no more numbers than this.
const IMAGES: usize = 8;
const NUMBERS: usize = 1 << 24;

impl Inference {
    /// The compiled network, with these parameters; `None` where there is a node that is not compiled.
    pub(super) fn new(graph: &Graph, arrays: &[Array]) -> Option<Self> {
        if !matches!(graph.output(), Shape::Row(_)) {
            return None;
        }
        let nodes = graph.nodes();
        let readers = graph.readers();
        let only_reader = |number: usize| if let [only] = readers[number].as_slice() { Some(*only) } else { None };
        // By the node that gives the result.
        let mut sweeps: BTreeMap<usize, Sweep> = BTreeMap::new();
        let mut joined = vec![false; nodes.len()];
        for (number, node) in nodes.iter().enumerate() {
            if joined[number] {
                continue;
            }
            let (mut last, mut residual) = (number, None);
            if let (Op::Conv(_) | Op::Linear { .. }, Some(sum)) = (&node.op, only_reader(number))
                && let (Op::Add, [a, b]) = (&nodes[sum].op, nodes[sum].inputs.as_slice())
                && !joined[sum]
            {
                let other = if *a == Port::Node(number) { *b } else { *a };
                if graph.shape(other) == node.shape {
                    residual = Some(other);
                    (last, joined[sum]) = (sum, true);
                }
            }
            let mut activation = Fused::None;
            if let Some(reader) = only_reader(last)
                && let Some(fused) = nodes[reader].op.fused()
            {
                (last, joined[reader], activation) = (reader, true, fused);
            }
            sweeps.insert(last, Sweep { number, residual, activation });
        }
        // Which value nobody reads after which step.
        let mut last_use: BTreeMap<Port, usize> = BTreeMap::new();
        for (gives, Sweep { number, residual, .. }) in &sweeps {
            last_use.extend(nodes[*number].inputs.iter().chain(residual).map(|port| (*port, *gives)));
        }
        let mut places: BTreeMap<Port, usize> = [(Port::Input, 0)].into();
        let mut buffers = vec![graph.input().len()];
        let mut free: Vec<usize> = Vec::new();
        let mut steps = Vec::new();
        for (gives, Sweep { number, residual, activation }) in sweeps {
            let place = |port: Port| (places[&port], graph.shape(port).len());
            let reads: Vec<(usize, usize)> = nodes[number].inputs.iter().map(|port| place(*port)).collect();
            let residual_place = residual.map(place);
            let shape = nodes[gives].shape;
            // The smallest that is large enough, else the largest.
            free.sort_by_key(|buffer| (buffers[*buffer] < shape.len(), buffers[*buffer].abs_diff(shape.len())));
            let buffer = if free.is_empty() { buffers.len() } else { free.remove(0) };
            buffers.resize(buffers.len().max(buffer + 1), 0);
            buffers[buffer] = buffers[buffer].max(shape.len());
            let kernel = compile(graph, number, arrays)?;
            steps.push(Step { kernel, reads, residual: residual_place, activation, buffer, len: shape.len(), channels: shape.channels() });
            let mut done: Vec<Port> = nodes[number].inputs.iter().copied().chain(residual).collect();
            done.sort_unstable();
            done.dedup();
            free.extend(done.into_iter().filter(|port| last_use[port] == gives).map(|port| places[&port]));
            places.insert(Port::Node(gives), buffer);
        }
        Some(Self { steps, buffers, input: graph.input(), idle: Mutex::default() })
    }

    /// How many images are worked on at once.
    pub(super) fn images_at_once(&self) -> usize {
        (NUMBERS / self.buffers.iter().sum::<usize>().max(1)).clamp(1, IMAGES)
    }

    /// The logits of some examples; by all threads if `parallel`, else on this one.
    pub(super) fn run(&self, inputs: &[f32], logits: &mut [f32], parallel: bool) {
        let images = inputs.len() / self.input.len().max(1);
        let idle = || self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut workspace = idle().pop().unwrap_or_default();
        workspace.buffers.resize_with(self.buffers.len(), Vec::new);
        for (buffer, len) in workspace.buffers.iter_mut().zip(&self.buffers) {
            buffer.resize(buffer.len().max(images * len), 0.0);
        }
        match self.input {
            Shape::Images([channels, ..]) => pixels(inputs, channels, self.input.len(), &mut workspace.buffers[0][..inputs.len()]),
            _ => workspace.buffers[0][..inputs.len()].copy_from_slice(inputs),
        }
        for step in &self.steps {
            let mut output = std::mem::take(&mut workspace.buffers[step.buffer]);
            step.run(images, &workspace.buffers, &mut output[..images * step.len], parallel, &mut workspace.conv);
            workspace.buffers[step.buffer] = output;
        }
        if let Some(last) = self.steps.last() {
            logits.copy_from_slice(&workspace.buffers[last.buffer][..logits.len()]);
        }
        idle().push(workspace);
    }
}

/// What a node runs; `None` for one that is not compiled.
fn compile(graph: &Graph, number: usize, arrays: &[Array]) -> Option<Kernel> {
    let node = &graph.nodes()[number];
    let shapes: Vec<Shape> = node.inputs.iter().map(|port| graph.shape(*port)).collect();
    if shapes.iter().chain([&node.shape]).any(|shape| matches!(shape, Shape::Sequence(_))) {
        return None;
    }
    let place = graph.layers.iter().find(|place| place.node == number);
    let values = |slot: &str| {
        let name = format!("{}.{}.{slot}", graph.family, place?.name);
        arrays.iter().find(|array| array.name == name).map(|array| array.values.clone())
    };
    if let Op::Constant(constant) | Op::Learned(constant) = &node.op {
        let learned = place.and_then(|place| arrays.iter().find(|array| array.name == format!("{}.{}.value", graph.family, place.name)));
        let given = learned.map_or(constant.values(), |array| array.values.as_slice());
        let flat: Vec<f32> = given.iter().copied().cycle().take(node.shape.len()).collect();
        let mut laid_out = flat.clone();
        if let Shape::Images([channels, ..]) = node.shape {
            pixels(&flat, channels, flat.len(), &mut laid_out);
        }
        return Some(Kernel::Constant(laid_out));
    }
    let input = *shapes.first()?;
    let extents = if let Shape::Images(extents) = input { extents } else { [input.len(), 1, 1] };
    let [channels, height, width] = extents;
    let windows = |Pool { size, stride, padding }| Windows { image: [height, width, channels], size, stride, padding };
    Some(match &node.op {
        Op::Conv(Conv { outputs, kernel, stride, padding, dilation, groups, bias }) => {
            let options = ConvOptions::new(*stride, *padding, *dilation, *groups);
            let bias = if *bias { values("bias")? } else { vec![0.0; *outputs] };
            let shape = [*outputs, channels / groups, kernel[0], kernel[1]];
            Kernel::Conv(Box::new(PreparedConv::new(extents, &values("weight")?, shape, bias, &options)))
        }
        Op::Linear { outputs } => {
            let (weight, pixels) = (values("weight")?, height * width);
            // Its rows in the order in which the numbers lie.
            let rows = (0..input.len()).map(|row| row % channels * pixels + row / channels);
            let weights = rows.flat_map(|row| weight[row * outputs..][..*outputs].iter().copied()).collect();
            Kernel::Linear(PreparedLinear::new(weights, values("bias")?))
        }
        Op::BatchNorm => {
            let [gamma, beta, mean, variance] = [values("gamma")?, values("beta")?, values("running_mean")?, values("running_variance")?];
            let scale: Vec<f64> = gamma.iter().zip(&variance).map(|(gamma, v)| BatchNorm::scale(*gamma, *v)).collect();
            let shift = beta.iter().zip(mean.iter().zip(&scale)).map(|(beta, (m, s))| (f64::from(*beta) - f64::from(*m) * s) as f32);
            Kernel::ScaleAndShift { shift: shift.collect(), scale: scale.iter().map(|scale| *scale as f32).collect() }
        }
        Op::LayerNorm => Kernel::GroupNorm { groups: 1, gamma: values("gamma")?, beta: values("beta")? },
        Op::GroupNorm { groups } => Kernel::GroupNorm { groups: *groups, gamma: values("gamma")?, beta: values("beta")? },
        Op::Activation(function) => Kernel::Activation(*function),
        Op::Softmax => Kernel::Softmax,
        Op::MaxPool(pool) => Kernel::MaxPool(windows(*pool)),
        Op::AveragePool(pool) => Kernel::AveragePool(windows(*pool)),
        Op::GlobalAveragePool => Kernel::GlobalAveragePool,
        Op::GlobalMaxPool => Kernel::GlobalMaxPool,
        Op::Add | Op::Subtract | Op::Multiply | Op::Divide | Op::Mean => Kernel::Combine(node.op.clone()),
        Op::Concatenate => Kernel::Concatenate(shapes.iter().map(|shape| shape.channels()).collect()),
        Op::Slice { from, .. } => Kernel::Slice { of: input.channels(), from: *from },
        Op::Gather(list) => Kernel::Gather { of: input.channels(), channels: list.clone() },
        Op::Flatten | Op::Reshape(Shape::Row(_)) => Kernel::Planar { channels },
        Op::Reshape(Shape::Images([to, ..])) if matches!(input, Shape::Row(_)) => Kernel::Pixels { channels: *to },
        Op::Upsample { factor, bilinear: false } => Kernel::Upsample { extent: [height, width], factor: *factor },
        Op::Pad(by) => Kernel::Pad { extent: [height, width], by: *by },
        Op::Reshape(_) | Op::Upsample { .. } | Op::AdaptiveAveragePool { .. } | Op::TransposedConv { .. } => return None,
        Op::Embedding { .. } | Op::Lstm { .. } | Op::Last | Op::Dropout(_) | Op::Attention { .. } | Op::Transpose => return None,
        Op::MatrixProduct | Op::WeightedSum | Op::Constant(_) | Op::Learned(_) | Op::Custom(_) => return None,
    })
}

impl Step {
    fn run(&self, images: usize, buffers: &[Vec<f32>], y: &mut [f32], parallel: bool, scratch: &mut ConvScratch) {
        let value = |(buffer, len): (usize, usize)| &buffers[buffer][..images * len];
        let after = After { residual: self.residual.map(value), activation: self.activation };
        let c = self.channels;
        let x = self.reads.first().map_or(&[][..], |read| value(*read));
        match &self.kernel {
            Kernel::Conv(conv) => return conv.run(x, y, after, parallel, scratch),
            Kernel::Linear(linear) => return linear.run(x, y, after),
            Kernel::ScaleAndShift { scale, shift } => return scale_and_shift(x, scale, shift, self.activation, y),
            Kernel::GroupNorm { groups, gamma, beta } => group_norm(x, self.len, *groups, gamma, beta, y),
            Kernel::Activation(function) => y.iter_mut().zip(x).for_each(|(y, x)| *y = function.of(*x)),
            Kernel::Softmax => x.chunks_exact(c).zip(y.chunks_exact_mut(c)).for_each(|(x, y)| softmax(x, y)),
            Kernel::MaxPool(windows) => max_pool(windows, x, y),
            Kernel::AveragePool(windows) => average_pool(windows, x, y),
            Kernel::GlobalMaxPool => {
                y.fill(f32::NEG_INFINITY);
                self.each_pixel(x, y, |y, x| {
                    if *x > *y || x.is_nan() {
                        *y = *x
                    }
                });
            }
            Kernel::GlobalAveragePool => {
                y.fill(0.0);
                self.each_pixel(x, y, |y, x| *y += x);
                let share = (c * images) as f32 / x.len() as f32;
                y.iter_mut().for_each(|y| *y *= share);
            }
            Kernel::Combine(op) => {
                y.copy_from_slice(x);
                for read in &self.reads[1..] {
                    let other = value(*read);
                    // A number for each channel of an image, or one for each number.
                    let each = if other.len() == y.len() { 1 } else { y.len() / other.len() };
                    for (y, other) in y.chunks_exact_mut(c * each).zip(other.chunks_exact(c)) {
                        y.chunks_exact_mut(c).for_each(|y| combine(op, y, other));
                    }
                }
                if *op == Op::Mean {
                    let count = self.reads.len() as f32;
                    y.iter_mut().for_each(|y| *y /= count);
                }
            }
            Kernel::Concatenate(channels) => {
                let mut at = 0;
                for (read, channels) in self.reads.iter().zip(channels) {
                    let to = y.chunks_exact_mut(c).zip(value(*read).chunks_exact(*channels));
                    to.for_each(|(y, x)| y[at..at + channels].copy_from_slice(x));
                    at += channels;
                }
            }
            Kernel::Slice { of, from } => {
                y.chunks_exact_mut(c).zip(x.chunks_exact(*of)).for_each(|(y, x)| y.copy_from_slice(&x[*from..from + c]));
            }
            Kernel::Gather { of, channels } => {
                for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(*of)) {
                    y.iter_mut().zip(channels).for_each(|(y, channel)| *y = x[*channel]);
                }
            }
            Kernel::Constant(values) => y.chunks_exact_mut(self.len).for_each(|y| y.copy_from_slice(values)),
            Kernel::Planar { channels } => {
                for (x, y) in x.chunks_exact(self.len).zip(y.chunks_exact_mut(self.len)) {
                    let pixels = self.len / channels;
                    y.iter_mut().enumerate().for_each(|(place, y)| *y = x[place % pixels * channels + place / pixels]);
                }
            }
            Kernel::Pixels { channels } => pixels(x, *channels, self.len, y),
            Kernel::Upsample { extent: [height, width], factor } => {
                for (image, y) in y.chunks_exact_mut(self.len).enumerate() {
                    for (pixel, y) in y.chunks_exact_mut(c).enumerate() {
                        let (row, column) = (pixel / (width * factor) / factor, pixel % (width * factor) / factor);
                        y.copy_from_slice(&x[((image * height + row) * width + column) * c..][..c]);
                    }
                }
            }
            Kernel::Pad { extent: [height, width], by } => {
                y.fill(0.0);
                let [[top, _], [left, right]] = *by;
                for (x, y) in x.chunks_exact(height * width * c).zip(y.chunks_exact_mut(self.len)) {
                    for (row, x) in x.chunks_exact(width * c).enumerate() {
                        y[((row + top) * (width + left + right) + left) * c..][..width * c].copy_from_slice(x);
                    }
                }
            }
        }
        finish(y, &[], after);
    }

    /// Each pixel of an image with the one that stands for all.
    fn each_pixel(&self, x: &[f32], y: &mut [f32], work: impl Fn(&mut f32, &f32)) {
        let c = self.channels;
        let each = x.len() / (y.len() / c);
        for (x, y) in x.chunks_exact(each).zip(y.chunks_exact_mut(c)) {
            x.chunks_exact(c).for_each(|x| y.iter_mut().zip(x).for_each(|(y, x)| work(y, x)));
        }
    }
}

/// Pixel by pixel from channel by channel, image by image of so many numbers.
fn pixels(x: &[f32], channels: usize, len: usize, y: &mut [f32]) {
    let pixels = len / channels;
    for (x, y) in x.chunks_exact(len).zip(y.chunks_exact_mut(len)) {
        y.chunks_exact_mut(channels).enumerate().for_each(|(pixel, y)| {
            y.iter_mut().enumerate().for_each(|(channel, y)| *y = x[channel * pixels + pixel]);
        });
    }
}

fn combine(op: &Op, y: &mut [f32], x: &[f32]) {
    let pairs = y.iter_mut().zip(x);
    match op {
        Op::Subtract => pairs.for_each(|(y, x)| *y -= x),
        Op::Multiply => pairs.for_each(|(y, x)| *y *= x),
        Op::Divide => pairs.for_each(|(y, x)| *y /= x),
        _ => pairs.for_each(|(y, x)| *y += x),
    }
}

fn softmax(x: &[f32], y: &mut [f32]) {
    let max = x.iter().fold(f32::NEG_INFINITY, |max, x| max.max(*x));
    y.iter_mut().zip(x).for_each(|(y, x)| *y = (x - max).exp());
    let sum: f32 = y.iter().sum();
    y.iter_mut().for_each(|y| *y /= sum);
}

fn group_norm(x: &[f32], len: usize, groups: usize, gamma: &[f32], beta: &[f32], y: &mut [f32]) {
    let (c, size) = (gamma.len(), gamma.len() / groups);
    for (x, y) in x.chunks_exact(len).zip(y.chunks_exact_mut(len)) {
        for group in 0..groups {
            let own = || x.chunks_exact(c).flat_map(|pixel| &pixel[group * size..(group + 1) * size]).map(|x| f64::from(*x));
            let count = (len / groups) as f64;
            let mean = own().sum::<f64>() / count;
            let variance = own().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
            let scale = 1.0 / (variance + GroupNorm::EPSILON).sqrt();
            for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
                for channel in group * size..(group + 1) * size {
                    y[channel] = ((f64::from(x[channel]) - mean) * scale) as f32 * gamma[channel] + beta[channel];
                }
            }
        }
    }
}
