//! The networks that recipes know by name, as descriptions. Names and order of their parameters are part of saved models.

use lyceum_core::{Error, Result};
use lyceum_data::Extent;

use crate::graph::{Activation, Constant, Conv, Graph, Init, LayerPlace, Op, Pool, Port, Shape};

const RELU: Op = Op::Activation(Activation::Relu);
const HALVE: Op = Op::MaxPool(Pool::new(2));

/// A network in the making, whose operations mostly follow one another.
struct Chain {
    graph: Graph,
    last: Port,
}

impl Chain {
    fn new(input: Shape) -> Self {
        Self { graph: Graph::new(input), last: Port::Input }
    }

    fn images(extent: Extent) -> Self {
        Self::new(Shape::Images([extent.channels, extent.height, extent.width]))
    }

    fn then(&mut self, name: &str, op: Op) -> Result<()> {
        self.last = self.graph.add(name, op, &[self.last])?;
        Ok(())
    }

    fn dropout(&mut self, name: &str, rate: f64) -> Result<()> {
        if rate > 0.0 { self.then(name, Op::Dropout(rate)) } else { Ok(()) }
    }

    /// A convolution without bias, and batch normalisation.
    fn normed(&mut self, [conv, norm]: [&str; 2], outputs: usize, kernel: usize, stride: usize) -> Result<()> {
        self.then(conv, Op::Conv(Conv { stride: [stride; 2], bias: false, ..Conv::new(outputs, kernel) }))?;
        self.then(norm, Op::BatchNorm)
    }
}

/// One fully connected layer.
pub(super) fn linear(extent: Extent, classes: usize) -> Result<Graph> {
    let mut net = Chain::new(Shape::Row(extent.len()));
    net.then("output", Op::Linear { outputs: classes })?;
    Ok(net.graph.with_layers("Linear", |_| {}))
}

/// Fully connected layers with ReLU, each followed by dropout.
pub(super) fn mlp(extent: Extent, hidden: &[usize], dropout: f64, classes: usize) -> Result<Graph> {
    let mut net = Chain::new(Shape::Row(extent.len()));
    for (number, &outputs) in hidden.iter().enumerate() {
        net.then(&format!("hidden.{number}"), Op::Linear { outputs })?;
        net.then(&format!("relu.{number}"), RELU)?;
        net.dropout(&format!("dropout.{number}"), dropout)?;
    }
    net.then("output", Op::Linear { outputs: classes })?;
    Ok(net.graph.with_layers("Mlp", |_| {}))
}

/// Convolution, batch normalisation, ReLU and pooling, some times; then a hidden layer.
pub(super) fn cnn(extent: Extent, channels: &[usize], hidden: usize, batch_norm: bool, dropout: f64, classes: usize) -> Result<Graph> {
    let mut net = Chain::images(extent);
    for (number, &outputs) in channels.iter().enumerate() {
        net.then(&format!("convolutions.{number}"), Op::Conv(Conv { bias: !batch_norm, ..Conv::new(outputs, 3) }))?;
        if batch_norm {
            net.then(&format!("norms.{number}"), Op::BatchNorm)?;
        }
        net.then(&format!("relu.{number}"), RELU)?;
        net.then(&format!("pool.{number}"), HALVE)?;
    }
    net.then("hidden", Op::Linear { outputs: hidden })?;
    if batch_norm {
        // Without it the features, which are all positive, let one large step switch every hidden unit off for good.
        net.then("hidden_norm", Op::BatchNorm)?;
    }
    net.then("hidden_relu", RELU)?;
    net.dropout("dropout", dropout)?;
    net.then("output", Op::Linear { outputs: classes })?;
    let order = |place: &LayerPlace| ["convolutions.", "norms."].iter().position(|list| place.name.starts_with(list)).unwrap_or(2);
    Ok(net.graph.with_layers("Cnn", |layers| layers.sort_by_key(order)))
}

/// The convolutional network of the FedDyn experiments (Acar et al., ICLR 2021): 5×5 convolution (64), pool, 5×5 convolution (64), pool,
/// fully connected 384 and 192.
pub(super) fn feddyn_cnn(extent: Extent, classes: usize) -> Result<Graph> {
    let mut net = Chain::images(extent);
    for number in 1..=2 {
        net.then(&format!("conv{number}"), Op::Conv(Conv { padding: [0; 2], ..Conv::new(64, 5) }))?;
        net.then(&format!("conv{number}_relu"), RELU)?;
        net.then(&format!("pool{number}"), HALVE)?;
    }
    for (name, outputs) in [("fc1", 384), ("fc2", 192)] {
        net.then(name, Op::Linear { outputs })?;
        net.then(&format!("{name}_relu"), RELU)?;
    }
    net.then("fc3", Op::Linear { outputs: classes })?;
    Ok(net.graph.with_layers("FedDynCnn", |_| {}))
}

/// A residual network for small images (He et al. 2016): a stem, `blocks` basic blocks a stage, of which the first of every stage but the
/// first has stride 2, global average pooling, one fully connected layer. A block is relu(x + norm(conv(relu(norm(conv(x)))))), with
/// a 1×1 convolution on x where the shapes differ.
pub(super) fn resnet(extent: Extent, widths: &[usize], blocks: usize, classes: usize) -> Result<Graph> {
    let mut net = Chain::images(extent);
    let mut before = widths.first().copied().unwrap_or(0);
    net.normed(["stem", "stem_norm"], before, 3, 1)?;
    net.then("stem_relu", RELU)?;
    for (stage, &width) in widths.iter().enumerate() {
        for block in 0..blocks {
            let name = |part: &str| format!("blocks.{}.{part}", stage * blocks + block);
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let input = net.last;
            net.normed([&name("conv1"), &name("norm1")], width, 3, stride)?;
            net.then(&name("relu1"), RELU)?;
            net.normed([&name("conv2"), &name("norm2")], width, 3, 1)?;
            let main = std::mem::replace(&mut net.last, input);
            if stride > 1 || before != width {
                net.normed([&name("shortcut.0"), &name("shortcut.1")], width, 1, stride)?;
            }
            net.last = net.graph.add(&name("add"), Op::Add, &[main, net.last])?;
            net.then(&name("relu2"), RELU)?;
            before = width;
        }
    }
    net.then("pool", Op::GlobalAveragePool)?;
    net.then("output", Op::Linear { outputs: classes })?;
    Ok(net.graph.with_layers("ResNet", |_| {}))
}

/// A recurrent network that says which symbol comes next: embeddings, layers of long short-term memory, and logits over the symbols from
/// the last state. With embeddings of 8 numbers and two layers of 100 it is the network for Shakespeare of the FedDyn
/// experiments.
pub(super) fn lstm(extent: Extent, symbols: usize, embedding: usize, width: usize, layers: usize, classes: usize) -> Result<Graph> {
    let mut net = Chain::new(Shape::Row(extent.width));
    net.then("embedding", Op::Embedding { symbols, width: embedding })?;
    for number in 0..layers {
        net.then(&format!("lstm.{number}"), Op::Lstm { width })?;
    }
    net.then("last", Op::Last)?;
    net.then("output", Op::Linear { outputs: classes })?;
    Ok(net.graph.with_layers("Lstm", |places| {
        for place in places.iter_mut() {
            if let Some((number, part)) = place.name.strip_prefix("lstm.").and_then(|name| name.split_once('.')) {
                place.name = format!("{}.{number}", if part == "input" { "inputs" } else { part });
            }
            if place.name == "output" {
                place.init = Init::Normal((1.0 / (3.0 * width as f64)).sqrt() as f32);
            }
        }
        let order =
            |place: &LayerPlace| ["embedding", "inputs.", "recurrent."].iter().position(|list| place.name.starts_with(list)).unwrap_or(3);
        places.sort_by_key(order);
    }))
}

/// The encoder of [`Bert`](super::Bert), with logits over the symbols from the last step; `[width, heads, feed_forward]`.
pub(super) fn bert(
    extent: Extent,
    symbols: usize,
    [width, heads, feed_forward]: [usize; 3],
    layers: usize,
    dropout: f64,
    classes: usize,
) -> Result<Graph> {
    let mut net = Chain::new(Shape::Row(extent.width));
    net.then("tokens", Op::Embedding { symbols, width })?;
    let shape = Shape::Sequence([extent.width, width]);
    let positions = Constant::new(shape, vec![0.0]).map_err(Error::Violated)?;
    let positions = net.graph.add("positions", Op::Learned(positions), &[])?;
    net.last = net.graph.add("sum", Op::Add, &[net.last, positions])?;
    net.then("norm", Op::LayerNorm)?;
    net.dropout("dropout", dropout)?;
    for layer in 0..layers {
        let name = |part: &str| format!("layers.{layer}.{part}");
        let mut shortcut = net.last;
        net.then(&name("qkv"), Op::Linear { outputs: width.saturating_mul(3) })?;
        net.then(&name("attention"), Op::Attention { heads })?;
        net.then(&name("output"), Op::Linear { outputs: width })?;
        net.dropout(&name("dropout"), dropout)?;
        net.last = net.graph.add(&name("sum"), Op::Add, &[net.last, shortcut])?;
        net.then(&name("norm"), Op::LayerNorm)?;
        shortcut = net.last;
        net.then(&name("inner"), Op::Linear { outputs: feed_forward })?;
        net.then(&name("gelu"), Op::Activation(Activation::Gelu))?;
        net.then(&name("outer"), Op::Linear { outputs: width })?;
        net.dropout(&name("outer_dropout"), dropout)?;
        net.last = net.graph.add(&name("outer_sum"), Op::Add, &[net.last, shortcut])?;
        net.then(&name("outer_norm"), Op::LayerNorm)?;
    }
    net.then("last", Op::Last)?;
    net.then("head", Op::Linear { outputs: classes })?;
    Ok(net.graph.with_layers("Bert", |_| {}))
}
