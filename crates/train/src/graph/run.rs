//! One pass through a network's steps.

use burn::tensor::{Device, Int, Tensor, TensorData, activation, module, ops::MaxPoolOptions};
use lyceum_kernels::{Activation as Fused, Resampling, attention, gelu, max_pool, resample};

use super::{
    Activation, Net, Op, Pool, Port, Shape,
    net::{Layer, Planned},
    plan::{Read, Step},
};
use crate::{
    Pass,
    layers::{embed, lstm},
};

/// What a node gives, for all examples.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Rows(Tensor<2>),
    Images(Tensor<4>),
    /// So many steps: the first step of all examples, then the second, …
    Sequence(Tensor<2>, usize),
}

impl Value {
    /// The numbers of each example in a row as values of this shape.
    pub(super) fn shaped(x: Tensor<2>, shape: Shape) -> Self {
        let n = x.dims()[0];
        match shape {
            Shape::Row(_) => Self::Rows(x),
            Shape::Images([channels, height, width]) => Self::Images(x.reshape([n, channels, height, width])),
            Shape::Sequence([steps, width]) => Self::Sequence(steps_first(x.reshape([n, steps, width])), steps),
        }
    }

    /// The numbers of each example in a row.
    pub(super) fn flat(self) -> Tensor<2> {
        match self {
            Self::Rows(x) => x,
            Self::Images(x) => x.flatten(1, 3),
            Self::Sequence(x, steps) => examples_first(x, steps).flatten(1, 2),
        }
    }

    /// What values of this pass are like.
    fn like(&self) -> Like {
        let (rows, device, autodiff) = match self {
            Self::Rows(x) => (x.dims()[0], x.device(), x.is_autodiff()),
            Self::Images(x) => (x.dims()[0], x.device(), x.is_autodiff()),
            Self::Sequence(x, steps) => (x.dims()[0] / steps, x.device(), x.is_autodiff()),
        };
        Like { examples: rows, device: device.inner(), autodiff }
    }

    /// What the rows become: those of each step of a sequence; images are flattened.
    fn map_rows(self, change: impl FnOnce(Tensor<2>) -> Tensor<2>) -> Self {
        match self {
            Self::Sequence(x, steps) => Self::Sequence(change(x), steps),
            x => Self::Rows(change(x.flat())),
        }
    }

    /// Rows, or those of all steps; images are flattened.
    fn rows(self) -> Tensor<2> {
        match self {
            Self::Sequence(x, _) => x,
            x => x.flat(),
        }
    }

    /// Images; rows are images of one pixel.
    fn images(self) -> Tensor<4> {
        match self {
            Self::Images(x) => x,
            Self::Rows(x) | Self::Sequence(x, _) => {
                let [n, width] = x.dims();
                x.reshape([n, width, 1, 1])
            }
        }
    }

    /// What images become, in the shape that there was.
    fn map_images(self, change: impl FnOnce(Tensor<4>) -> Tensor<4>) -> Self {
        match self {
            Self::Images(x) => Self::Images(change(x)),
            Self::Sequence(_, steps) => Self::Sequence(change(self.images()).flatten(1, 3), steps),
            Self::Rows(_) => Self::Rows(change(self.images()).flatten(1, 3)),
        }
    }
}

/// `n × steps × width` from step after step.
fn examples_first(x: Tensor<2>, steps: usize) -> Tensor<3> {
    let [rows, width] = x.dims();
    x.reshape([steps, rows / steps, width]).swap_dims(0, 1)
}

/// Step after step from `n × steps × width`.
fn steps_first(x: Tensor<3>) -> Tensor<2> {
    let [n, steps, width] = x.dims();
    x.swap_dims(0, 1).reshape([steps * n, width])
}

/// Numbers of each example, once a step.
fn at_each_step(x: Tensor<2>, steps: usize) -> Tensor<2> {
    let [n, width] = x.dims();
    x.reshape([1, n, width]).expand([steps, n, width]).reshape([steps * n, width])
}

/// The same of a value of any kind.
macro_rules! any {
    ($value:expr, $x:ident => $do:expr) => {
        match $value {
            Value::Rows($x) => Value::Rows($do),
            Value::Images($x) => Value::Images($do),
            Value::Sequence($x, steps) => Value::Sequence($do, steps),
        }
    };
}

/// The same of two values of one kind, or of a value and a number for each channel.
macro_rules! both {
    ($a:expr, $b:expr, $x:ident, $y:ident => $do:expr) => {
        match ($a, $b) {
            (Value::Rows($x), Value::Rows($y)) => Value::Rows($do),
            (Value::Sequence($x, steps), Value::Sequence($y, _)) => Value::Sequence($do, steps),
            (Value::Sequence($x, steps), Value::Rows($y)) => {
                let $y = at_each_step($y, steps);
                Value::Sequence($do, steps)
            }
            (a, b) => {
                let ($x, $y) = (a.images(), b.images());
                Value::Images($do)
            }
        }
    };
}

/// The values that are still needed.
struct Values {
    input: Option<Value>,
    nodes: Vec<Option<Value>>,
}

impl Values {
    fn read(&mut self, Read { port, last }: Read) -> Value {
        let place = match port {
            Port::Input => &mut self.input,
            Port::Node(number) => &mut self.nodes[number],
        };
        let found = if last { place.take() } else { place.clone() };
        found.expect("a plan reads what an earlier step gives")
    }
}

/// What the last node gives.
pub(super) fn run(net: &Net, plan: &[Planned], input: Value, pass: &mut Pass) -> Value {
    let like = input.like();
    let mut values = Values { input: Some(input), nodes: vec![None; net.graph().nodes().len()] };
    for Planned { step, layers } in plan {
        let mut inputs: Vec<Value> = step.reads.iter().map(|read| values.read(*read)).collect();
        let op = &net.graph().nodes()[step.node].op;
        let output = match (inputs.len(), layers.as_slice()) {
            (_, layers) if let Op::Custom(operation) = op => {
                let body = layers.first().map(|layer| net.layer(*layer));
                let body = if let Some(Layer::Body(body)) = body { Some(body.as_ref()) } else { None };
                let node = &net.graph().nodes()[step.node];
                let given = operation.run(inputs.into_iter().map(Value::flat).collect(), body, pass);
                assert_eq!(given.dims(), [like.examples, node.shape.len()], "what `{}` gives is what it has said", node.name);
                Value::shaped(given, node.shape)
            }
            (0, layers) => of_none(op, layers.first().map(|layer| net.layer(*layer)), &like),
            (1, []) => of_one(op, inputs.remove(0), step.activation, pass),
            (1, [layer]) => {
                let residual = step.residual.map(|read| values.read(read));
                through_layer(net.layer(*layer), inputs.remove(0), residual, step, pass)
            }
            (1, [input, recurrent]) => through_lstm([net.layer(*input), net.layer(*recurrent)], inputs.remove(0), step.last, pass),
            _ => of_several(op, inputs),
        };
        values.nodes[step.gives] = Some(output);
    }
    match values.nodes.pop() {
        Some(last) => last.expect("the last node gives what the network gives"),
        None => values.input.expect("nothing has read the input"),
    }
}

fn through_layer(layer: &Layer, x: Value, residual: Option<Value>, step: &Step, pass: &mut Pass) -> Value {
    let activation = step.activation;
    match layer {
        Layer::Conv(conv) if step.pooled => Value::Images(conv.forward_max_pool_relu(x.images(), pass)),
        Layer::Conv(conv) => Value::Images(conv.forward(x.images(), activation, pass)),
        Layer::TransposedConv(conv) => Value::Images(conv.forward(x.images())),
        Layer::Linear(linear) => x.map_rows(|x| linear.forward(x, activation, pass)),
        Layer::BatchNorm(norm) => x.map_images(|x| norm.forward(x, residual.map(Value::images), activation, pass)),
        Layer::GroupNorm(norm) => match x {
            Value::Images(x) => Value::Images(norm.forward(x)),
            // Normalisation over the whole row.
            x if norm.groups() == 1 => x.map_rows(|x| norm.forward_rows(x, residual.map(Value::rows))),
            x => x.map_images(|x| norm.forward(x)),
        },
        Layer::Learned(_) | Layer::Body(_) => unreachable!("read by operations of their own"),
        Layer::Embedding(vectors) => {
            let symbols = x.flat();
            let steps = symbols.dims()[1];
            Value::Sequence(embed(symbols, vectors), steps)
        }
    }
}

fn through_lstm(layers: [&Layer; 2], x: Value, last: bool, pass: &mut Pass) -> Value {
    let ([Layer::Linear(input), Layer::Linear(recurrent)], Value::Sequence(x, steps)) = (layers, x) else {
        unreachable!("an LSTM reads a sequence")
    };
    let mut states = lstm(x, steps, input, recurrent, pass);
    match states.pop() {
        Some(state) if last => Value::Rows(state),
        state => Value::Sequence(Tensor::cat(states.into_iter().chain(state).collect(), 0), steps),
    }
}

fn of_one(op: &Op, x: Value, fused: Fused, pass: &mut Pass) -> Value {
    match op {
        Op::Activation(Activation::Gelu) => match x {
            Value::Images(x) => {
                let [n, channels, height, width] = x.dims();
                Value::Images(gelu(x.flatten(1, 3)).reshape([n, channels, height, width]))
            }
            x => x.map_rows(gelu),
        },
        Op::Activation(function) => any!(x, x => activate(*function, x)),
        Op::Softmax => any!(x, x => activation::softmax(x, 1)),
        Op::Last => match x {
            Value::Sequence(x, steps) => {
                let n = x.dims()[0] / steps;
                Value::Rows(x.narrow(0, (steps - 1) * n, n))
            }
            x => x,
        },
        Op::MaxPool(pool) if let Some(size) = pool.touching() => Value::Images(max_pool(x.images(), size, fused)),
        Op::MaxPool(Pool { size, stride, padding }) => {
            let options = MaxPoolOptions::new(*size).with_stride(*stride);
            let even = padding.iter().enumerate().all(|(axis, [before, after])| before == after && *before <= size[axis] / 2);
            Value::Images(if even {
                module::max_pool2d(x.images(), options.with_padding(padding.map(|[before, _]| before)))
            } else {
                module::max_pool2d(framed(x.images(), *padding, f32::NEG_INFINITY), options)
            })
        }
        Op::AveragePool(Pool { size, stride, padding }) => {
            let [rows, columns] = [0, 1].map(|axis| move |side| Resampling::windows(side, size[axis], stride[axis], padding[axis]));
            let x = x.images();
            let [_, _, height, width] = x.dims();
            Value::Images(resample(x, rows(height), columns(width)))
        }
        Op::GlobalAveragePool if let Value::Sequence(x, steps) = x => {
            let [rows, width] = x.dims();
            Value::Rows(x.reshape([steps, rows / steps, width]).mean_dim(0).reshape([rows / steps, width]))
        }
        Op::GlobalAveragePool => Value::Rows(module::adaptive_avg_pool2d(x.images(), [1, 1]).flatten(1, 3)),
        Op::GlobalMaxPool => {
            let x = x.images();
            let [n, channels, height, width] = x.dims();
            Value::Rows(x.reshape([n, channels, height * width]).max_dim(2).reshape([n, channels]))
        }
        Op::AdaptiveAveragePool { size } => Value::Images(resampled(x.images(), |side| Resampling::adaptive(side, *size))),
        Op::Upsample { factor, bilinear: true } => Value::Images(resampled(x.images(), |side| Resampling::bilinear(side, *factor))),
        Op::Upsample { factor, bilinear: false } => Value::Images(resampled(x.images(), |side| Resampling::nearest(side, *factor))),
        Op::Slice { from, until } => any!(x, x => x.narrow(1, *from, until - from)),
        Op::Flatten => Value::Rows(x.flat()),
        Op::Reshape(shape) => Value::shaped(x.flat(), *shape),
        Op::Transpose => match x {
            Value::Images(x) => Value::Images(x.swap_dims(2, 3)),
            Value::Sequence(x, steps) => {
                let width = x.dims()[1];
                Value::Sequence(steps_first(examples_first(x, steps).swap_dims(1, 2)), width)
            }
            x @ Value::Rows(_) => x,
        },
        Op::Gather(channels) => any!(x, x => {
            let places: Vec<i64> = channels.iter().map(|channel| *channel as i64).collect();
            let places = Tensor::<1, Int>::from_data(TensorData::new(places, [channels.len()]), &x.device());
            x.select(1, places)
        }),
        Op::Attention { heads } => {
            let Value::Sequence(x, steps) = x else { unreachable!("attention reads a sequence") };
            let rows = x.dims()[0];
            let n = rows / steps;
            let packed: Tensor<2> = examples_first(x, steps).flatten(0, 1);
            let mask = Tensor::<1>::ones([rows], &packed.device().inner());
            let mask = if packed.is_autodiff() { mask.autodiff() } else { mask };
            let given = attention(packed, mask, n, *heads);
            let width = given.dims()[1];
            Value::Sequence(steps_first(given.reshape([n, steps, width])), steps)
        }
        Op::Pad(by) => Value::Images(framed(x.images(), *by, 0.0)),
        Op::Dropout(rate) => any!(x, x => pass.dropout(x, *rate)),
        other => unreachable!("`{}` reads several values or has parameters", other.name()),
    }
}

/// Images with so many pixels of this value around them.
fn framed(x: Tensor<4>, by: [[usize; 2]; 2], value: f32) -> Tensor<4> {
    let [height, width] = by.map(|[before, after]| (before, after));
    x.pad([(0, 0), (0, 0), height, width], value)
}

/// Images whose two sides are made of those that there were.
fn resampled(x: Tensor<4>, side: impl Fn(usize) -> Resampling) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    resample(x, side(height), side(width))
}

/// Each example times its number, of `n × 1`.
fn times(x: Value, weights: Tensor<2>) -> Value {
    match x {
        Value::Rows(x) => Value::Rows(x * weights),
        Value::Images(x) => Value::Images(x * weights.reshape([-1, 1, 1, 1])),
        Value::Sequence(x, steps) => Value::Sequence(x * at_each_step(weights, steps), steps),
    }
}

/// What values of a pass are like.
struct Like {
    examples: usize,
    device: Device,
    autodiff: bool,
}

/// What is the same for each example.
fn of_none(op: &Op, layer: Option<&Layer>, like: &Like) -> Value {
    let (Op::Constant(constant) | Op::Learned(constant)) = op else { unreachable!("`{}` reads a value", op.name()) };
    let len = constant.shape().len();
    let numbers = if let Some(Layer::Learned(numbers)) = layer {
        numbers.val()
    } else {
        let values = TensorData::new(constant.values().to_vec(), [1, constant.values().len()]);
        let numbers = Tensor::<2>::from_data(values, &like.device);
        if like.autodiff { numbers.autodiff() } else { numbers }
    };
    let numbers = if numbers.dims() == [1, 1] { numbers } else { numbers.reshape([1, len]) };
    Value::shaped(numbers.expand([like.examples, len]), constant.shape())
}

fn activate<const D: usize>(function: Activation, x: Tensor<D>) -> Tensor<D> {
    match function {
        Activation::Relu => activation::relu(x),
        Activation::Relu6 => activation::relu6(x),
        Activation::LeakyRelu(slope) => activation::leaky_relu(x, slope),
        Activation::HardSigmoid => activation::hard_sigmoid(x, 1.0 / 6.0, 0.5),
        Activation::HardSwish => activation::hard_swish(x),
        Activation::Gelu => activation::gelu(x),
        Activation::Silu => activation::silu(x),
        Activation::Sigmoid => activation::sigmoid(x),
        Activation::Tanh => activation::tanh(x),
    }
}

fn of_several(op: &Op, inputs: Vec<Value>) -> Value {
    let count = inputs.len() as f64;
    if *op == Op::Concatenate {
        let kind = inputs.first().cloned();
        let rows = |values: Vec<Value>| {
            let rows =
                values.into_iter().filter_map(|value| if let Value::Rows(x) | Value::Sequence(x, _) = value { Some(x) } else { None });
            Tensor::cat(rows.collect(), 1)
        };
        return match kind {
            Some(Value::Rows(_)) => Value::Rows(rows(inputs)),
            Some(Value::Sequence(_, steps)) => Value::Sequence(rows(inputs), steps),
            _ => Value::Images(Tensor::cat(inputs.into_iter().map(Value::images).collect(), 1)),
        };
    }
    let mut inputs = inputs.into_iter();
    let first = inputs.next().expect("several values");
    if *op == Op::MatrixProduct
        && let (Value::Sequence(a, steps), Some(Value::Sequence(b, rows))) = (&first, inputs.as_slice().first())
    {
        let product = examples_first(a.clone(), *steps).matmul(examples_first(b.clone(), *rows));
        return Value::Sequence(steps_first(product), *steps);
    }
    if *op == Op::WeightedSum {
        let Some(Value::Rows(weights)) = inputs.next_back() else { unreachable!("the weights are numbers in a row") };
        let weighted = std::iter::once(first).chain(inputs).enumerate().map(|(number, x)| times(x, weights.clone().narrow(1, number, 1)));
        return weighted.reduce(|a, b| both!(a, b, x, y => x + y)).expect("several values");
    }
    let result = inputs.fold(first, |a, b| match op {
        Op::Add | Op::Mean => both!(a, b, x, y => x + y),
        Op::Subtract => both!(a, b, x, y => x - y),
        Op::Divide => both!(a, b, x, y => x / y),
        _ => both!(a, b, x, y => x * y),
    });
    if *op == Op::Mean { any!(result, x => x / count) } else { result }
}
