//! Operators of a model as operations of a network.

use lyceum_onnx::{
    Node, Tensor,
    eval::{Ends, Frame, frame},
    extents,
};
use ndarray::{ArrayD, IxDyn};

use super::import::{BATCH, Given, Held, Import};
use crate::{
    graph::{Activation, Constant, Conv, Op, Pool, Port, Shape},
    layers::{BatchNorm, GroupNorm},
};

/// A parameter: the last part of its name, its extents, its values.
type Weight = (&'static str, Vec<usize>, Vec<f32>);

/// What a node gives; `None` where there is no operation for it.
type Lowered = Result<Option<Given>, String>;

impl Import<'_> {
    /// What a node gives, by operations of the network; `None` where there are none for it.
    pub(super) fn lowered(&mut self, node: &Node, reads: &[Option<Held>]) -> Result<Option<Vec<Given>>, String> {
        let x = match reads.first() {
            Some(Some(Held::Given(x))) => x.clone(),
            Some(Some(Held::Known(first))) => {
                let one = match node.op.as_str() {
                    "Add" | "Sub" | "Mul" | "Div" => self.binary(node, reads)?,
                    "Concat" => self.concat(node, reads)?,
                    "Gather" => self.embedding(node, first, reads.get(1))?,
                    _ => None,
                };
                return Ok(one.map(|given| vec![given]));
            }
            _ => return Ok(None),
        };
        let known = |number: usize| if let Some(Some(Held::Known(tensor))) = reads.get(number) { Some(tensor) } else { None };
        let function = |function: Activation| Some(Op::Activation(function));
        let one = match node.op.as_str() {
            "Identity" => Some(x),
            "Cast" if lyceum_onnx::tensor::kind::is_float(i32::try_from(node.int("to", 1)).unwrap_or(0)) => Some(x),
            // Numbers of symbols, which an embedding takes as they are.
            "Cast" if self.are_symbols(node) => Some(x),
            "Clip" if self.are_symbols(node) && self.keeps_symbols(node) => Some(x),
            "Dropout" => {
                let rate = match known(1) {
                    Some(tensor) => tensor.as_floats()?.iter().next().copied().unwrap_or(0.5),
                    None => node.float("ratio", 0.5),
                };
                if rate > 0.0 && rate < 1.0 { Some(self.apply(node, Op::Dropout(f64::from(rate)), &x)?) } else { Some(x) }
            }
            "Relu" | "Sigmoid" | "Tanh" | "HardSwish" | "LeakyRelu" | "Gelu" | "HardSigmoid" => {
                let op = match node.op.as_str() {
                    "Relu" => function(Activation::Relu),
                    "Sigmoid" => function(Activation::Sigmoid),
                    "Tanh" => function(Activation::Tanh),
                    "HardSwish" => function(Activation::HardSwish),
                    "LeakyRelu" => function(Activation::LeakyRelu(f64::from(node.float("alpha", 0.01)))),
                    "Gelu" if node.text("approximate", "none") == "none" => function(Activation::Gelu),
                    "HardSigmoid" => return self.hard_sigmoid(node, &x).map(|given| Some(vec![given])),
                    _ => None,
                };
                match op {
                    Some(op) => Some(self.apply(node, op, &x)?),
                    None => None,
                }
            }
            "Clip" => self.clip(node, &x, known(1), known(2))?,
            "PRelu" => self.prelu(node, &x, known(1))?,
            "Pow" => match known(1).map(Tensor::as_floats) {
                Some(Ok(power)) if power.len() == 1 && power.ndim() <= x.order.len() && power.iter().all(|power| *power == 2.0) => {
                    Some(x.through(self.emit(&node.name, Op::Multiply, &[x.port, x.port])?))
                }
                _ => None,
            },
            "Add" | "Sub" | "Mul" | "Div" | "Sum" | "Mean" => self.binary(node, reads)?,
            "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => self.reshape(node, &x, reads)?,
            "Transpose" => {
                let order = extents::order(node, x.order.len())?;
                let order = order.into_iter().map(|axis| x.order[axis]).collect();
                Some(Given { order, ..x })
            }
            "Conv" => match known(1) {
                Some(weight) => self.conv(node, &x, weight, known(2))?,
                None => None,
            },
            "ConvTranspose" => match known(1) {
                Some(weight) => self.conv_transpose(node, &x, weight, known(2))?,
                None => None,
            },
            "Gemm" | "MatMul" => self.product(node, &x, reads)?,
            "BatchNormalization" => self.batch_norm(node, &x, [known(1), known(2), known(3), known(4)])?,
            "InstanceNormalization" => self.group_norm(node, &x, [known(1), known(2)])?,
            "LayerNormalization" => self.layer_norm(node, &x, [known(1), known(2)])?,
            "MaxPool" | "AveragePool" if node.outputs.len() == 1 => self.pool(node, &x)?,
            "GlobalAveragePool" => self.global(node, &x, Op::GlobalAveragePool, true)?,
            "GlobalMaxPool" => self.global(node, &x, Op::GlobalMaxPool, true)?,
            "ReduceMean" => self.reduce_mean(node, &x, known(1))?,
            "Softmax" => self.softmax(node, &x)?,
            "LSTM" => return self.lstm(node, &x, reads),
            "Concat" => self.concat(node, reads)?,
            "Split" => return self.split(node, &x, known(1)),
            "Slice" => self.slice(node, &x, [known(1), known(2), known(3), known(4)])?,
            "Gather" => self.gather(node, &x, known(1))?,
            "Pad" => self.pad(node, &x, [known(1), known(2), known(3)])?,
            "Resize" => self.resize(node, &x, [known(1), known(2), known(3)])?,
            _ => None,
        };
        Ok(one.map(|given| vec![given]))
    }

    /// An operation of each number.
    fn apply(&mut self, node: &Node, op: Op, x: &Given) -> Result<Given, String> {
        Ok(x.through(self.emit(&node.name, op, &[x.port])?))
    }

    /// x·scale + shift.
    fn affine(&mut self, name: &str, x: &Given, scale: f32, shift: f32) -> Result<Given, String> {
        let mut port = x.port;
        for (op, number, none) in [(Op::Multiply, scale, 1.0), (Op::Add, shift, 0.0)] {
            if number != none {
                let shape = self.graph.shape(port);
                let constant = self.emit("number", Op::Constant(Constant::new(shape, vec![number])?), &[])?;
                port = self.emit(name, op, &[port, constant])?;
            }
        }
        Ok(x.through(port))
    }

    /// min(max(αx + β, 0), 1).
    fn hard_sigmoid(&mut self, node: &Node, x: &Given) -> Result<Given, String> {
        let (alpha, beta) = (node.float("alpha", 0.2), node.float("beta", 0.5));
        if (alpha - 1.0 / 6.0).abs() < 1e-6 && beta == 0.5 {
            return self.apply(node, Op::Activation(Activation::HardSigmoid), x);
        }
        let x = self.affine(&node.name, x, 6.0 * alpha, 6.0 * beta)?;
        let x = self.apply(node, Op::Activation(Activation::Relu6), &x)?;
        self.affine(&node.name, &x, 1.0 / 6.0, 0.0)
    }

    fn clip(&mut self, node: &Node, x: &Given, low: Option<&Tensor>, high: Option<&Tensor>) -> Lowered {
        let bound = |tensor: Option<&Tensor>, name: &str, usual: f32| match tensor {
            Some(tensor) => tensor.as_floats().map(|x| x.iter().next().copied().unwrap_or(usual)),
            None => Ok(node.float(name, usual)),
        };
        let (low, high) = (bound(low, "min", f32::MIN)?, bound(high, "max", f32::MAX)?);
        let relu = |to: &mut Self, x: &Given| to.apply(node, Op::Activation(Activation::Relu), x);
        Ok(match (low, high) {
            (0.0, 6.0) => Some(self.apply(node, Op::Activation(Activation::Relu6), x)?),
            (0.0, f32::MAX..) => Some(relu(self, x)?),
            // l + relu6(6(x − l)/(h − l))·(h − l)/6.
            (low, high) if low.abs() <= 100.0 && high.abs() <= 100.0 && high > low => {
                let scale = 6.0 / (high - low);
                let x = self.affine(&node.name, x, scale, -low * scale)?;
                let x = self.apply(node, Op::Activation(Activation::Relu6), &x)?;
                Some(self.affine(&node.name, &x, 1.0 / scale, low)?)
            }
            (low, high) if low.abs() <= 100.0 && high >= 1e30 => {
                let x = self.affine(&node.name, x, 1.0, -low)?;
                let x = relu(self, &x)?;
                Some(self.affine(&node.name, &x, 1.0, low)?)
            }
            _ => None,
        })
    }

    /// relu(x) − s·relu(−x).
    fn prelu(&mut self, node: &Node, x: &Given, slope: Option<&Tensor>) -> Lowered {
        let Some(Ok(slope)) = slope.map(Tensor::as_floats) else { return Ok(None) };
        let Some(slope) = self.constant(x, slope)? else { return Ok(None) };
        let slope = self.emit_learned(&node.name, slope)?;
        let positive = self.emit(&node.name, Op::Activation(Activation::Relu), &[x.port])?;
        let negative = self.affine(&node.name, x, -1.0, 0.0)?;
        let negative = self.emit(&node.name, Op::Activation(Activation::Relu), &[negative.port])?;
        let negative = self.emit(&node.name, Op::Multiply, &[negative, slope])?;
        Ok(Some(x.through(self.emit(&node.name, Op::Subtract, &[positive, negative])?)))
    }

    /// Numbers that a value meets, in a shape that the network lets them meet: one for all, one for each channel, or one for each number.
    fn constant(&mut self, x: &Given, numbers: &ArrayD<f32>) -> Result<Option<Constant>, String> {
        let (dims, shape) = (x.dims(), self.graph.shape(x.port));
        if numbers.ndim() > dims.len() || numbers.iter().any(|number| !number.is_finite()) {
            return Ok(None);
        }
        if numbers.len() == 1 {
            return Constant::new(shape, numbers.iter().copied().collect()).map(Some);
        }
        let mut aligned = numbers.view().into_dyn();
        for _ in numbers.ndim()..dims.len() {
            aligned = aligned.insert_axis(ndarray::Axis(0));
        }
        // In memory's order: the axis of the examples first.
        let mut inverse = vec![0; x.order.len()];
        x.order.iter().enumerate().for_each(|(place, axis)| inverse[*axis] = place);
        let aligned = aligned.permuted_axes(IxDyn(&inverse));
        let fits =
            aligned.shape()[0] == 1 && aligned.shape()[1..].iter().zip(&x.extents).all(|(have, extent)| *have == 1 || have == extent);
        if !fits {
            return Ok(None);
        }
        let of_channels =
            |values: &ArrayD<f32>, axis: usize| values.shape().iter().enumerate().all(|(place, extent)| place == axis || *extent == 1);
        let aligned = aligned.as_standard_layout().into_owned();
        let channel_axis = match shape {
            Shape::Images([channels, ..]) if x.batch == 1 && x.extents.first() == Some(&channels) && x.extents.len() == 3 => Some(1),
            Shape::Sequence([_, width]) if x.extents.last() == Some(&width) => Some(x.extents.len()),
            _ => None,
        };
        if let Some(axis) = channel_axis
            && of_channels(&aligned, axis)
        {
            return Constant::new(Shape::Row(aligned.len()), aligned.iter().copied().collect()).map(Some);
        }
        let dims = [&[x.batch], x.extents.as_slice()].concat();
        match aligned.broadcast(IxDyn(&dims)) {
            Some(all) => Constant::new(shape, all.iter().copied().collect()).map(Some),
            None => Ok(None),
        }
    }

    fn binary(&mut self, node: &Node, reads: &[Option<Held>]) -> Lowered {
        let op = match node.op.as_str() {
            "Add" | "Sum" => Op::Add,
            "Sub" => Op::Subtract,
            "Mul" => Op::Multiply,
            "Div" => Op::Divide,
            _ => Op::Mean,
        };
        match reads {
            [Some(Held::Given(only))] => Ok(Some(only.clone())),
            [Some(Held::Given(x)), Some(Held::Known(numbers))] => match numbers.as_floats() {
                Ok(numbers) if op == Op::Add && self.is_bias(node, 0, x, numbers) => Ok(Some(x.clone())),
                _ => self.with_numbers(node, op, x, numbers, false),
            },
            [Some(Held::Known(numbers)), Some(Held::Given(x))] => match numbers.as_floats() {
                Ok(numbers) if op == Op::Add && self.is_bias(node, 1, x, numbers) => Ok(Some(x.clone())),
                _ => self.with_numbers(node, op.clone(), x, numbers, !matches!(op, Op::Add | Op::Multiply)),
            },
            all => {
                let given: Option<Vec<Given>> =
                    all.iter().map(|read| if let Some(Held::Given(given)) = read { Some(given.clone()) } else { None }).collect();
                let Some(given) = given else { return Ok(None) };
                self.of_given(node, op, given)
            }
        }
    }

    /// A value with numbers that are the same for all examples; the numbers come first where they are subtracted or divided from.
    fn with_numbers(&mut self, node: &Node, op: Op, x: &Given, numbers: &Tensor, numbers_first: bool) -> Lowered {
        let Ok(numbers) = numbers.as_floats() else { return Ok(None) };
        // More axes than the value has make more of it.
        if numbers.ndim() > x.order.len() || numbers.iter().any(|number| !number.is_finite()) {
            return Ok(None);
        }
        if numbers.len() == 1 && !numbers_first {
            let number = numbers.iter().next().copied().unwrap_or(0.0);
            match op {
                Op::Add => return self.affine(&node.name, x, 1.0, number).map(Some),
                Op::Multiply => return self.affine(&node.name, x, number, 0.0).map(Some),
                Op::Subtract => return self.affine(&node.name, x, 1.0, -number).map(Some),
                _ => {}
            }
        }
        if let Some(constant) = self.constant(x, numbers)? {
            let whole = constant.shape() == self.graph.shape(x.port);
            if numbers_first && !whole {
                return Ok(None);
            }
            let one = constant.values().len() == 1;
            let name = &node.name;
            let numbers = if one { self.emit("number", Op::Constant(constant), &[])? } else { self.emit_learned(name, constant)? };
            let inputs = if numbers_first { [numbers, x.port] } else { [x.port, numbers] };
            return Ok(Some(x.through(self.emit(name, op, &inputs)?)));
        }
        Ok(None)
    }

    /// Whether these numbers are added to what a fully connected layer gives, and to nothing else: then they become its bias.
    fn is_bias(&mut self, node: &Node, input: usize, x: &Given, numbers: &ArrayD<f32>) -> bool {
        let Port::Node(last) = x.port else { return false };
        let layer = &self.graph.nodes()[last];
        let Op::Linear { outputs } = layer.op else { return false };
        let along_last = numbers.ndim() <= x.order.len()
            && numbers.iter().all(|number| number.is_finite())
            && numbers.len() == outputs
            && numbers.shape().last() == Some(&outputs)
            && x.extents.last() == Some(&outputs);
        let bias = format!("Net.{}.bias", layer.name);
        if !along_last || !x.is_plain() || !self.reads_product_alone(node, input) {
            return false;
        }
        let Some(array) = self.weights.iter_mut().find(|array| array.name == bias) else { return false };
        array.values.iter_mut().zip(numbers).for_each(|(bias, number)| *bias += number);
        true
    }

    /// Values of each example with one another.
    fn of_given(&mut self, node: &Node, op: Op, given: Vec<Given>) -> Lowered {
        let Some(largest) = given.iter().max_by_key(|given| given.len()).cloned() else { return Ok(None) };
        let shape = self.graph.shape(largest.port);
        let mut inputs = Vec::new();
        for x in &given {
            let a_channel = matches!(shape, Shape::Images([channels, ..]) if x.batch == 1 && largest.is_plain() && largest.extents.len() == 3 && largest.extents[0] == channels && x.is_plain() && x.extents == [channels, 1, 1]);
            inputs.push(match () {
                () if x.lies_as(&largest) => self.shaped(x, shape)?,
                () if a_channel && x.extents != largest.extents => self.shaped(x, Shape::Row(x.len()))?,
                () => return Ok(None),
            });
        }
        // What has all numbers is read first.
        let first = given.iter().position(|x| x.lies_as(&largest)).unwrap_or(0);
        if first != 0 && !matches!(op, Op::Add | Op::Multiply | Op::Mean) {
            return Ok(None);
        }
        inputs.swap(0, first);
        Ok(Some(largest.through(self.emit(&node.name, op, &inputs)?)))
    }

    fn reshape(&mut self, node: &Node, x: &Given, reads: &[Option<Held>]) -> Lowered {
        let dims = x.dims();
        let mut given = match reads.get(1) {
            Some(Some(Held::Given(_))) => return Ok(None),
            Some(Some(Held::Known(given))) => Some(given.as_ints()?),
            _ => node.ints(if node.op == "Reshape" { "shape" } else { "axes" }).map(<[i64]>::to_vec),
        };
        // A model of one example says 1 where it means all.
        if let ("Reshape", true, Some([first @ 1, rest @ ..])) = (node.op.as_str(), self.is_of_one(), given.as_deref_mut())
            && !rest.contains(&BATCH)
        {
            *first = BATCH;
        }
        let wanted = extents::reshaped(node, &dims, given.as_deref())?;
        if !x.is_plain() && node.op != "Reshape" && node.op != "Flatten" {
            return Ok(squeezed(x, &dims, &wanted));
        }
        let [counted, rest @ ..] = wanted.as_slice() else { return Ok(None) };
        if !counted.is_multiple_of(BATCH as usize) {
            return Ok(None);
        }
        let x = self.plain(x)?;
        let rest = rest.to_vec();
        let order = (0..=rest.len()).collect();
        Ok(Some(Given { port: x.port, batch: counted / BATCH as usize, extents: rest, order }))
    }

    /// Images of a value of four axes, or of three: those are images of one row.
    fn images(&mut self, x: &Given) -> Result<Option<(Port, [usize; 3])>, String> {
        if x.batch != 1 || !(2..=3).contains(&x.extents.len()) {
            return Ok(None);
        }
        let x = self.plain(x)?;
        let extents = match x.extents.as_slice() {
            [channels, width] => [*channels, 1, *width],
            [channels, height, width] => [*channels, *height, *width],
            _ => return Ok(None),
        };
        Ok(Some((self.shaped(&x, Shape::Images(extents))?, extents)))
    }

    /// What images have become, with as many axes as the value had.
    fn of_images(&self, port: Port, x: &Given) -> Given {
        let Shape::Images([channels, height, width]) = self.graph.shape(port) else {
            return Given::new(port, &[self.graph.shape(port).len()]);
        };
        if x.extents.len() == 2 { Given::new(port, &[channels, width]) } else { Given::new(port, &[channels, height, width]) }
    }

    fn conv(&mut self, node: &Node, x: &Given, weight: &Tensor, bias: Option<&Tensor>) -> Lowered {
        let weight = weight.as_floats()?;
        let Some((mut port, [channels, height, width])) = self.images(x)? else { return Ok(None) };
        let (kernel, sides): (Vec<usize>, Vec<usize>) = match weight.shape() {
            [_, _, kernel] => (vec![1, *kernel], vec![*kernel]),
            [_, _, a, b] => (vec![*a, *b], vec![*a, *b]),
            _ => return Ok(None),
        };
        if weight.ndim() != x.extents.len() + 1 {
            return Err(format!("a kernel of {:?} for {}", weight.shape(), told(&x.dims())));
        }
        let extents: &[usize] = if sides.len() == 1 { &[width] } else { &[height, width] };
        let found = frame(node, extents, Some(&sides))?;
        if found.kernel != sides {
            return Err(format!("kernel_shape {:?} of a kernel of {:?}", found.kernel, weight.shape()));
        }
        let [stride, dilation, padding] = both(&found);
        let groups = usize::try_from(node.int("group", 1)).unwrap_or(0);
        let outputs = weight.shape()[0];
        if groups == 0 || weight.shape()[1] * groups != channels {
            return Err(format!("a kernel of {:?} in {groups} groups for {channels} channels", weight.shape()));
        }
        let [[top, bottom], [left, right]] = padding;
        let even = top == bottom && left == right;
        if !even {
            port = self.emit(&node.name, Op::Pad(padding.map(Ends::from)), &[port])?;
        }
        let padding = if even { [top, left] } else { [0; 2] };
        let conv = Conv {
            outputs,
            kernel: [kernel[0], kernel[1]],
            stride: stride.map(|[one, _]| one),
            padding,
            dilation: dilation.map(|[one, _]| one),
            groups,
            bias: bias.is_some(),
        };
        let shape = vec![outputs, channels / groups, kernel[0], kernel[1]];
        let mut weights = vec![("weight", shape, weight.iter().copied().collect())];
        if let Some(bias) = bias {
            let bias = bias.as_floats()?;
            if bias.len() != outputs {
                return Err(format!("a bias of {} numbers for {outputs} channels", bias.len()));
            }
            weights.push(("bias", vec![outputs], bias.iter().copied().collect()));
        }
        let port = self.emit_with(&node.name, Op::Conv(conv), port, weights)?;
        Ok(Some(self.of_images(port, x)))
    }

    fn conv_transpose(&mut self, node: &Node, x: &Given, weight: &Tensor, bias: Option<&Tensor>) -> Lowered {
        let weight = weight.as_floats()?;
        let [inputs, outputs, kernel, other] = *weight.shape() else { return Ok(None) };
        let one = |name: &str, usual: i64| match node.ints(name) {
            None => Some(usual),
            Some([first, rest @ ..]) if rest.iter().all(|value| value == first) => Some(*first),
            Some(_) => None,
        };
        let (Some(stride), Some(padding), Some(1), Some(0)) =
            (one("strides", 1), one("pads", 0), one("dilations", 1), one("output_padding", 0))
        else {
            return Ok(None);
        };
        let plain = kernel == other
            && node.int("group", 1) == 1
            && node.text("auto_pad", "NOTSET") == "NOTSET"
            && node.ints("output_shape").is_none();
        let (Ok(stride), Ok(padding), true) = (usize::try_from(stride), usize::try_from(padding), plain) else { return Ok(None) };
        let Some((port, [channels, ..])) = self.images(x)? else { return Ok(None) };
        if channels != inputs {
            return Err(format!("a kernel of {:?} for {channels} channels", weight.shape()));
        }
        let bias = match bias {
            Some(bias) => bias.as_floats()?.iter().copied().collect(),
            None => vec![0.0; outputs],
        };
        if bias.len() != outputs {
            return Err(format!("a bias of {} numbers for {outputs} channels", bias.len()));
        }
        let weights = vec![("weight", weight.shape().to_vec(), weight.iter().copied().collect()), ("bias", vec![outputs], bias)];
        let port = self.emit_with(&node.name, Op::TransposedConv { outputs, kernel, stride, padding }, port, weights)?;
        Ok(Some(self.of_images(port, x)))
    }

    /// Gemm and MatMul.
    fn product(&mut self, node: &Node, x: &Given, reads: &[Option<Held>]) -> Lowered {
        let second = match reads.get(1) {
            Some(Some(Held::Known(second))) => second.as_floats()?,
            Some(Some(Held::Given(second))) if node.op == "MatMul" => {
                let second = second.clone();
                let fits = |given: &Given| given.batch == 1 && given.extents.len() == 2;
                if !fits(x) || !fits(&second) || x.order[0] != 0 || second.order[0] != 0 {
                    return Ok(None);
                }
                let (a, b) = (self.plain(x)?, self.plain(&second)?);
                let [a, b] = [a, b].map(|given| (Shape::Sequence([given.extents[0], given.extents[1]]), given));
                let (rows, columns) = (a.1.extents[0], b.1.extents[1]);
                let inputs = [self.shaped(&a.1, a.0)?, self.shaped(&b.1, b.0)?];
                return Ok(Some(Given::new(self.emit(&node.name, Op::MatrixProduct, &inputs)?, &[rows, columns])));
            }
            _ => return Ok(None),
        };
        let (transposed, alpha, beta) = if node.op == "Gemm" {
            if node.int("transA", 0) != 0 {
                return Ok(None);
            }
            (node.int("transB", 0) != 0, node.float("alpha", 1.0), node.float("beta", 1.0))
        } else {
            (false, 1.0, 1.0)
        };
        let [rows, columns] = *second.shape() else { return Ok(None) };
        let (inputs, outputs) = if transposed { (columns, rows) } else { (rows, columns) };
        if x.order[0] != 0 {
            return Ok(None);
        }
        let x = self.plain(x)?;
        if x.extents.last() != Some(&inputs) {
            return Err(format!("{} times {:?}", told(&x.dims()), second.shape()));
        }
        let steps = x.len() / inputs;
        let shape = if x.extents.len() == 1 && x.batch == 1 { Shape::Row(inputs) } else { Shape::Sequence([steps, inputs]) };
        let port = self.shaped(&x, shape)?;
        let matrix = if transposed { second.t().to_owned() } else { second.clone() };
        let matrix: Vec<f32> = matrix.iter().map(|value| value * alpha).collect();
        let bias = match reads.get(2) {
            None | Some(None) => vec![0.0; outputs],
            Some(Some(Held::Known(bias))) => {
                let bias = bias.as_floats()?;
                let bias =
                    bias.broadcast(IxDyn(&[1, outputs])).ok_or_else(|| format!("a bias of {:?} for {outputs} outputs", bias.shape()))?;
                bias.iter().map(|value| value * beta).collect()
            }
            Some(Some(Held::Given(_))) => return Ok(None),
        };
        let weights = vec![("weight", vec![inputs, outputs], matrix), ("bias", vec![outputs], bias)];
        let port = self.emit_with(&node.name, Op::Linear { outputs }, port, weights)?;
        let mut extents = x.extents.clone();
        if let Some(last) = extents.last_mut() {
            *last = outputs;
        }
        Ok(Some(Given { port, extents, ..x }))
    }

    /// Rows of a matrix, by number.
    fn embedding(&mut self, node: &Node, vectors: &Tensor, places: Option<&Option<Held>>) -> Lowered {
        let (Ok(vectors), Some(Some(Held::Given(places)))) = (vectors.as_floats(), places) else { return Ok(None) };
        let ([symbols, width], 0, [steps], true) =
            (vectors.shape(), node.int("axis", 0), places.extents.as_slice(), places.is_plain() && places.batch == 1)
        else {
            return Ok(None);
        };
        let (symbols, width, steps) = (*symbols, *width, *steps);
        let port = self.shaped(places, Shape::Row(steps))?;
        let port = self.emit(&node.name, Op::Embedding { symbols, width }, &[port])?;
        let name = format!("Net.{}", self.graph.name(port));
        self.weights.push(lyceum_core::Array::new(name, vec![symbols, width], vectors.iter().copied().collect()));
        Ok(Some(Given::new(port, &[steps, width])))
    }

    /// One direction, from states of 0, with the usual functions; the states after all steps, and the last.
    fn lstm(&mut self, node: &Node, x: &Given, reads: &[Option<Held>]) -> Result<Option<Vec<Given>>, String> {
        let floats = |number: usize| match reads.get(number) {
            Some(Some(Held::Known(tensor))) => tensor.as_floats().ok(),
            _ => None,
        };
        let absent = |number: usize| matches!(reads.get(number), None | Some(None));
        let zero = |number: usize| absent(number) || floats(number).is_some_and(|state| state.iter().all(|value| *value == 0.0));
        let batch_first = node.int("layout", 0) == 1;
        let strange =
            ["activations", "activation_alpha", "activation_beta", "clip"].into_iter().find(|name| node.attributes.contains_key(*name));
        let lies = x.batch == 1 && x.extents.len() == 2 && x.order == if batch_first { [0, 1, 2] } else { [1, 0, 2] };
        let direction = node.text("direction", "forward");
        let refused = match strange {
            _ if direction != "forward" => Some(format!("the direction `{direction}`; allowed: forward")),
            Some(name) => Some(format!("`{name}`; allowed: none")),
            None if node.int("input_forget", 0) != 0 => Some("`input_forget`; allowed: 0".into()),
            None if !absent(4) => Some("lengths of sequences; allowed: none".into()),
            None if !zero(5) || !zero(6) => Some("states to begin with; allowed: none, or zeros".into()),
            None if !absent(7) => Some("peepholes; allowed: none".into()),
            None if node.outputs.get(2).is_some_and(|name| self.is_read(name)) => Some("its memory Y_c is read; allowed: Y and Y_h".into()),
            None if !lies => Some(format!("an input of {}; allowed: steps, examples and numbers", told(&x.dims()))),
            None => None,
        };
        if let Some(refused) = refused {
            return Err(refused);
        }
        let (Some(weight), Some(recurrent)) = (floats(1), floats(2)) else {
            return Err("weights that are computed; allowed: constants".into());
        };
        let weights_fit = weight.ndim() == 3 && recurrent.ndim() == 3;
        if !weights_fit {
            return Err(format!("weights of {:?} and {:?}", weight.shape(), recurrent.shape()));
        }
        let [steps, inputs] = [x.extents[0], x.extents[1]];
        let width = recurrent.shape().last().copied().unwrap_or(0);
        if weight.shape() != [1, 4 * width, inputs] || recurrent.shape() != [1, 4 * width, width] {
            return Err(format!("weights of {:?} and {:?} for {inputs} inputs", weight.shape(), recurrent.shape()));
        }
        let biases: Vec<f32> = match reads.get(3) {
            None | Some(None) => vec![0.0; 8 * width],
            _ => floats(3).map(|bias| bias.iter().copied().collect()).unwrap_or_default(),
        };
        if biases.len() != 8 * width {
            return Err(format!("biases of {} numbers; allowed: {}", biases.len(), 8 * width));
        }
        let mut weights = Vec::new();
        for (part, (values, slots)) in
            [(weight, ["input.weight", "input.bias"]), (recurrent, ["recurrent.weight", "recurrent.bias"])].into_iter().enumerate()
        {
            let inputs = values.shape()[2];
            let (mut own, mut bias) = (vec![0.0; inputs * 4 * width], vec![0.0; 4 * width]);
            for (place, gate) in super::export::ORDER.into_iter().enumerate() {
                for unit in 0..width {
                    let (from, to) = (place * width + unit, gate * width + unit);
                    bias[to] = biases[part * 4 * width + from];
                    (0..inputs).for_each(|input| own[input * 4 * width + to] = values[[0, from, input]]);
                }
            }
            weights.push((slots[0], vec![inputs, 4 * width], own));
            weights.push((slots[1], vec![4 * width], bias));
        }
        let port = self.shaped(x, Shape::Sequence([steps, inputs]))?;
        let port = self.emit_with(&node.name, Op::Lstm { width }, port, weights)?;
        let order = if batch_first { vec![0, 1, 2, 3] } else { vec![1, 2, 0, 3] };
        let mut found = vec![Given { port, batch: 1, extents: vec![steps, 1, width], order }];
        if node.outputs.get(1).is_some_and(|name| self.is_read(name)) {
            let port = self.emit(&format!("{}.last", node.name), Op::Last, &[port])?;
            let order = if batch_first { vec![0, 1, 2] } else { vec![1, 0, 2] };
            found.push(Given { port, batch: 1, extents: vec![1, width], order });
        }
        Ok(Some(found))
    }

    fn batch_norm(&mut self, node: &Node, x: &Given, numbers: [Option<&Tensor>; 4]) -> Lowered {
        let [Some(gamma), Some(beta), Some(mean), Some(variance)] = numbers else { return Ok(None) };
        if node.int("training_mode", 0) != 0 {
            return Err("normalisation by the batch; allowed: by running statistics".into());
        }
        let port = match self.images(x)? {
            Some((port, _)) => port,
            None if x.batch == 1 && x.extents.len() == 1 && x.is_plain() => self.shaped(x, Shape::Row(x.extents[0]))?,
            None => return Ok(None),
        };
        let channels = self.graph.shape(port).channels();
        let more = node.float("epsilon", 1e-5) - BatchNorm::EPSILON as f32;
        let mut weights = Vec::new();
        for (slot, tensor) in [("gamma", gamma), ("beta", beta), ("running_mean", mean), ("running_variance", variance)] {
            let values: Vec<f32> = tensor.as_floats()?.iter().copied().collect();
            if values.len() != channels {
                return Err(format!("{} numbers for {channels} channels", values.len()));
            }
            let values = if slot == "running_variance" { values.into_iter().map(|value| value + more).collect() } else { values };
            weights.push((slot, vec![channels], values));
        }
        let port = self.emit_with(&node.name, Op::BatchNorm, port, weights)?;
        Ok(Some(if x.extents.len() == 1 { x.through(port) } else { self.of_images(port, x) }))
    }

    fn group_norm(&mut self, node: &Node, x: &Given, numbers: [Option<&Tensor>; 2]) -> Lowered {
        let Some((port, [channels, ..])) = self.images(x)? else { return Ok(None) };
        let Some(weights) = scale_and_shift(node, numbers, channels)? else { return Ok(None) };
        let port = self.emit_with(&node.name, Op::GroupNorm { groups: channels }, port, weights)?;
        Ok(Some(self.of_images(port, x)))
    }

    fn layer_norm(&mut self, node: &Node, x: &Given, numbers: [Option<&Tensor>; 2]) -> Lowered {
        let rank = x.order.len() as i64;
        let (Some(width), true) = (x.extents.last().copied(), [-1, rank - 1].contains(&node.int("axis", -1)) && x.is_plain()) else {
            return Ok(None);
        };
        let Some(weights) = scale_and_shift(node, numbers, width)? else { return Ok(None) };
        let steps = x.len() / width;
        let port = self.shaped(x, if steps == 1 { Shape::Row(width) } else { Shape::Sequence([steps, width]) })?;
        Ok(Some(x.through(self.emit_with(&node.name, Op::LayerNorm, port, weights)?)))
    }

    fn pool(&mut self, node: &Node, x: &Given) -> Lowered {
        let Some((port, [_, height, width])) = self.images(x)? else { return Ok(None) };
        let rows = x.extents.len() == 2;
        let extents: &[usize] = if rows { &[width] } else { &[height, width] };
        let found = frame(node, extents, None)?;
        if found.dilation.iter().any(|dilation| *dilation != 1)
            || found.padding.iter().zip(&found.kernel).any(|(ends, kernel)| ends.iter().any(|end| end >= kernel))
        {
            return Ok(None);
        }
        let [stride, _, padding] = both(&found);
        let size = if rows { [1, found.kernel[0]] } else { [found.kernel[0], found.kernel[1]] };
        let pool = Pool { size, stride: stride.map(|[one, _]| one), padding };
        if node.op == "MaxPool" {
            let port = self.emit(&node.name, Op::MaxPool(pool), &[port])?;
            return Ok(Some(self.of_images(port, x)));
        }
        let mut port = self.emit(&node.name, Op::AveragePool(pool), &[port])?;
        // Where what is added does not count, means of fewer numbers.
        let counts_padding = node.int("count_include_pad", 0) != 0;
        let counts: Vec<Vec<f32>> = (0..extents.len())
            .map(|axis| {
                let (before, after) = (found.padding[axis][0], found.padding[axis][1] - found.excess[axis]);
                let inside = if counts_padding { 0..extents[axis] + before + after } else { before..before + extents[axis] };
                let count =
                    |window: usize| (0..found.kernel[axis]).filter(|place| inside.contains(&(window * found.stride[axis] + place))).count();
                (0..found.outputs[axis]).map(|window| found.kernel[axis] as f32 / count(window).max(1) as f32).collect()
            })
            .collect();
        if counts.iter().flatten().any(|share| *share != 1.0) {
            let shape = self.graph.shape(port);
            let (down, across) = if rows { (vec![1.0], counts[0].clone()) } else { (counts[0].clone(), counts[1].clone()) };
            let plane: Vec<f32> = down.iter().flat_map(|a| across.iter().map(move |b| a * b)).collect();
            let all = plane.iter().copied().cycle().take(shape.len()).collect();
            let shares = self.emit("shares", Op::Constant(Constant::new(shape, all)?), &[])?;
            port = self.emit(&node.name, Op::Multiply, &[port, shares])?;
        }
        Ok(Some(self.of_images(port, x)))
    }

    fn global(&mut self, node: &Node, x: &Given, op: Op, keeps: bool) -> Lowered {
        let Some((port, [channels, ..])) = self.images(x)? else { return Ok(None) };
        let port = self.emit(&node.name, op, &[port])?;
        Ok(Some(if keeps {
            Given::new(port, &[&[channels], vec![1; x.extents.len() - 1].as_slice()].concat())
        } else {
            Given::new(port, &[channels])
        }))
    }

    fn reduce_mean(&mut self, node: &Node, x: &Given, axes: Option<&Tensor>) -> Lowered {
        let axes = match axes {
            Some(axes) => axes.as_ints()?,
            None => node.ints("axes").map(<[i64]>::to_vec).unwrap_or_default(),
        };
        let mut places: Vec<usize> = axes.into_iter().map(|axis| Self::axis(x, axis)).collect::<Result<_, _>>()?;
        places.sort_unstable();
        let keeps = node.int("keepdims", 1) != 0;
        match (places.as_slice(), x.extents.len(), x.batch) {
            ([2, 3], 3, 1) if x.is_plain() => self.global(node, x, Op::GlobalAveragePool, keeps),
            // Of images whose channels come last.
            ([2, 3], 3, 1) if x.order == [0, 2, 3, 1] => {
                let channels = x.extents[0];
                let port = self.shaped(x, Shape::Images([channels, x.extents[1], x.extents[2]]))?;
                let port = self.emit(&node.name, Op::GlobalAveragePool, &[port])?;
                let extents: &[usize] = if keeps { &[1, 1, channels] } else { &[channels] };
                Ok(Some(Given::new(port, extents)))
            }
            ([1], 2, 1) if x.is_plain() => {
                let port = self.shaped(x, Shape::Sequence([x.extents[0], x.extents[1]]))?;
                let port = self.emit(&node.name, Op::GlobalAveragePool, &[port])?;
                let extents: &[usize] = if keeps { &[1, x.extents[1]] } else { &x.extents[1..] };
                Ok(Some(Given::new(port, extents)))
            }
            _ => Ok(None),
        }
    }

    fn softmax(&mut self, node: &Node, x: &Given) -> Lowered {
        let rank = x.order.len();
        let old = self.model.opset < 13;
        let place = extents::axis(node.int("axis", if old { 1 } else { -1 }), rank)?;
        if old && place + 1 != rank {
            // Until version 12 all axes from this one on are one.
            if place != 1 || x.batch != 1 {
                return Ok(None);
            }
            let x = self.plain(x)?;
            let port = self.shaped(&x, Shape::Row(x.len()))?;
            return Ok(Some(x.through(self.emit(&node.name, Op::Softmax, &[port])?)));
        }
        let axis = x.order[place];
        if axis == 1 && x.extents.len() == 3 && x.batch == 1 {
            let [channels, height, width] = [x.extents[0], x.extents[1], x.extents[2]];
            let one_pixel = height * width == 1;
            let port = self.shaped(x, if one_pixel { Shape::Row(channels) } else { Shape::Images([channels, height, width]) })?;
            return Ok(Some(x.through(self.emit(&node.name, Op::Softmax, &[port])?)));
        }
        if axis == 0 || axis != x.extents.len() {
            return Ok(None);
        }
        let width = x.extents[axis - 1];
        let steps = x.len() / width;
        let port = self.shaped(x, if steps == 1 { Shape::Row(width) } else { Shape::Sequence([steps, width]) })?;
        Ok(Some(x.through(self.emit(&node.name, Op::Softmax, &[port])?)))
    }

    /// The shape in which an axis of memory is what the network calls channels.
    fn with_channels_along(x: &Given, axis: usize) -> Option<Shape> {
        match (x.extents.as_slice(), axis, x.batch) {
            ([width], 1, 1) => Some(Shape::Row(*width)),
            ([channels, height, width], 1, 1) => Some(Shape::Images([*channels, *height, *width])),
            ([channels, width], 1, 1) => Some(Shape::Images([*channels, 1, *width])),
            (extents, axis, batch) if axis == extents.len() => {
                let width = extents[axis - 1];
                Some(Shape::Sequence([batch * extents[..axis - 1].iter().product::<usize>(), width]))
            }
            _ => None,
        }
    }

    /// Where an axis of the model is in memory.
    fn axis(x: &Given, number: i64) -> Result<usize, String> {
        extents::axis(number, x.order.len()).map(|place| x.order[place])
    }

    fn concat(&mut self, node: &Node, reads: &[Option<Held>]) -> Lowered {
        let Some(first) = reads.iter().find_map(|read| if let Some(Held::Given(given)) = read { Some(given.clone()) } else { None }) else {
            return Ok(None);
        };
        let mut given = Vec::new();
        for read in reads {
            match read {
                Some(Held::Given(x)) => given.push(x.clone()),
                // The same for each example, such as the token of a class.
                Some(Held::Known(Tensor::Float(x)))
                    if first.is_plain() && first.batch == 1 && x.ndim() == first.order.len() && x.shape()[0] == 1 =>
                {
                    let extents = x.shape()[1..].to_vec();
                    if x.iter().any(|value| !value.is_finite()) || x.is_empty() {
                        return Ok(None);
                    }
                    let values = Constant::new(Shape::Row(x.len()), x.iter().copied().collect())?;
                    given.push(Given::new(self.emit_learned(&node.name, values)?, &extents));
                }
                _ => return Ok(None),
            }
        }
        let axis = Self::axis(&first, node.int("axis", 1))?;
        if axis == 0 || given.iter().any(|x| x.order != first.order || x.batch != first.batch) {
            return Ok(None);
        }
        let mut inputs = Vec::new();
        for x in &given {
            let Some(shape) = Self::with_channels_along(x, axis) else { return Ok(None) };
            inputs.push(self.shaped(x, shape)?);
        }
        if inputs.len() == 1 {
            return Ok(Some(first));
        }
        let port = self.emit(&node.name, Op::Concatenate, &inputs)?;
        let mut extents = first.extents.clone();
        extents[axis - 1] = given.iter().map(|x| x.extents[axis - 1]).sum();
        Ok(Some(Given { port, extents, ..first }))
    }

    /// Some of the channels along an axis.
    fn part(&mut self, node: &Node, x: &Given, axis: usize, from: usize, until: usize) -> Lowered {
        let Some(shape) = Self::with_channels_along(x, axis).filter(|_| axis > 0) else { return Ok(None) };
        let port = self.shaped(x, shape)?;
        let port = self.emit(&node.name, Op::Slice { from, until }, &[port])?;
        let mut extents = x.extents.clone();
        extents[axis - 1] = until - from;
        Ok(Some(Given { port, extents, ..x.clone() }))
    }

    fn split(&mut self, node: &Node, x: &Given, sizes: Option<&Tensor>) -> Result<Option<Vec<Given>>, String> {
        let axis = Self::axis(x, node.int("axis", 0))?;
        if axis == 0 {
            return Ok(None);
        }
        let given = match sizes {
            Some(sizes) => Some(sizes.as_ints()?),
            None => node.ints("split").map(<[i64]>::to_vec),
        };
        let sizes = extents::parts(node, x.extents[axis - 1], given.as_deref())?;
        if sizes.contains(&0) {
            return Err("a part of nothing".into());
        }
        let (mut found, mut from) = (Vec::new(), 0);
        for size in sizes {
            match self.part(node, x, axis, from, from + size)? {
                Some(given) => found.push(given),
                None => return Ok(None),
            }
            from += size;
        }
        Ok(Some(found))
    }

    fn slice(&mut self, node: &Node, x: &Given, numbers: [Option<&Tensor>; 4]) -> Lowered {
        let list = |number: usize, name: &str| match numbers[number] {
            Some(tensor) => tensor.as_ints().map(Some),
            None => Ok(node.ints(name).map(<[i64]>::to_vec)),
        };
        let (Some(starts), Some(ends)) = (list(0, "starts")?, list(1, "ends")?) else { return Ok(None) };
        let axes = list(2, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = list(3, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
        if [ends.len(), axes.len(), steps.len()].iter().any(|len| *len != starts.len()) {
            return Err("starts, ends, axes and steps of other lengths".into());
        }
        let mut x = x.clone();
        for (((start, end), number), step) in starts.into_iter().zip(ends).zip(axes).zip(steps) {
            let axis = Self::axis(&x, number)?;
            let extent = if axis == 0 { BATCH * x.batch as i64 } else { x.extents[axis - 1] as i64 };
            let place = |number: i64| (if number < 0 { number.saturating_add(extent) } else { number }).clamp(0, extent);
            let (from, until) = (place(start), place(end));
            match (step, from, until) {
                (1, 0, until) if until == extent => {}
                (1, from, until) if axis > 0 && from < until => match self.part(node, &x, axis, from as usize, until as usize)? {
                    Some(part) => x = part,
                    None => return Ok(None),
                },
                _ => return Ok(None),
            }
        }
        Ok(Some(x))
    }

    fn gather(&mut self, node: &Node, x: &Given, places: Option<&Tensor>) -> Lowered {
        let (Some(Tensor::Int(places)), axis) = (places, Self::axis(x, node.int("axis", 0))?) else { return Ok(None) };
        if axis == 0 || places.ndim() > 1 {
            return Ok(None);
        }
        let extent = x.extents[axis - 1] as i64;
        let channels: Vec<usize> =
            places.iter().filter_map(|place| usize::try_from(if *place < 0 { place + extent } else { *place }).ok()).collect();
        if channels.len() != places.len() || channels.iter().any(|channel| *channel as i64 >= extent) {
            return Err(format!("a place that is not below {extent}"));
        }
        let Some(shape) = Self::with_channels_along(x, axis) else { return Ok(None) };
        let port = self.shaped(x, shape)?;
        let count = channels.len();
        let port = self.emit(&node.name, Op::Gather(channels), &[port])?;
        let mut found = Given { port, ..x.clone() };
        found.extents[axis - 1] = count;
        if places.ndim() == 0 {
            found.extents.remove(axis - 1);
            found.order.retain(|other| *other != axis);
            found.order.iter_mut().for_each(|other| *other -= usize::from(*other > axis));
        }
        Ok(Some(found))
    }

    fn pad(&mut self, node: &Node, x: &Given, numbers: [Option<&Tensor>; 3]) -> Lowered {
        let pads = match numbers[0] {
            Some(pads) => pads.as_ints()?,
            None => node.ints("pads").map(<[i64]>::to_vec).unwrap_or_default(),
        };
        let rank = x.order.len();
        let axes: Vec<i64> = match numbers[2] {
            Some(axes) => axes.as_ints()?,
            None => (0..rank as i64).collect(),
        };
        let value = match numbers[1] {
            Some(Tensor::Float(value)) => value.iter().next().copied().unwrap_or(0.0),
            _ => node.float("value", 0.0),
        };
        if pads.len() != 2 * axes.len() {
            return Err(format!("{} pads for {} axes", pads.len(), axes.len()));
        }
        // In memory's order.
        let mut ends = vec![[0_i64; 2]; rank];
        for (number, axis) in axes.iter().enumerate() {
            ends[Self::axis(x, *axis)?] = [pads[number], pads[number + axes.len()]];
        }
        let zeros = node.text("mode", "constant") == "constant" && value == 0.0;
        if !zeros || x.extents.len() != 3 || x.batch != 1 || ends[0] != [0; 2] || ends.iter().flatten().any(|end| *end < 0) {
            return Ok(if ends.iter().all(|ends| *ends == [0; 2]) { Some(x.clone()) } else { None });
        }
        let ends: Vec<[usize; 2]> = ends.iter().map(|ends| ends.map(|end| end as usize)).collect();
        let [channels, height, width] = [x.extents[0], x.extents[1], x.extents[2]];
        let mut port = self.shaped(x, Shape::Images([channels, height, width]))?;
        if ends[2..] != [[0; 2]; 2] {
            port = self.emit(&node.name, Op::Pad([ends[2], ends[3]]), &[port])?;
        }
        let Shape::Images([_, height, width]) = self.graph.shape(port) else { return Ok(None) };
        if ends[1] != [0; 2] {
            let mut parts = Vec::new();
            for (number, count) in [ends[1][0], channels, ends[1][1]].into_iter().enumerate() {
                if number == 1 {
                    parts.push(port);
                } else if count > 0 {
                    let zeros = Constant::new(Shape::Images([count, height, width]), vec![0.0])?;
                    parts.push(self.emit("zeros", Op::Constant(zeros), &[])?);
                }
            }
            port = self.emit(&node.name, Op::Concatenate, &parts)?;
        }
        let Shape::Images(extents) = self.graph.shape(port) else { return Ok(None) };
        Ok(Some(Given { port, extents: extents.to_vec(), ..x.clone() }))
    }

    fn resize(&mut self, node: &Node, x: &Given, numbers: [Option<&Tensor>; 3]) -> Lowered {
        let scales = if self.model.opset < 11 { numbers[0] } else { numbers[1] };
        let scales = scales.filter(|scales| !scales.is_empty());
        let sizes = numbers[2].filter(|sizes| !sizes.is_empty());
        let Some((port, [channels, height, width])) = self.images(x)? else { return Ok(None) };
        if x.extents.len() != 3 || !x.is_plain() || node.ints("axes").is_some() {
            return Ok(None);
        }
        let factor = match (sizes, scales) {
            (Some(sizes), _) => match sizes.as_ints()?.as_slice() {
                [_, c, h, w]
                    if *c == channels as i64
                        && h % height as i64 == 0
                        && w % width as i64 == 0
                        && h / height as i64 == w / width as i64 =>
                {
                    h / height as i64
                }
                _ => return Ok(None),
            },
            (None, Some(scales)) => match scales.as_floats()?.iter().copied().collect::<Vec<_>>().as_slice() {
                [1.0, 1.0, h, w] if h == w && h.fract() == 0.0 => *h as i64,
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        let Some(factor) = usize::try_from(factor).ok().filter(|factor| *factor > 0) else { return Ok(None) };
        let old = self.model.opset < 11;
        let where_ = if old { "asymmetric" } else { node.text("coordinate_transformation_mode", "half_pixel") };
        let nearest = if old { "floor" } else { node.text("nearest_mode", "round_prefer_floor") };
        let bilinear = match (node.text("mode", "nearest"), where_, nearest) {
            ("nearest", "asymmetric", "floor")
            | ("nearest", "half_pixel" | "pytorch_half_pixel", "round_prefer_floor" | "round_prefer_ceil") => false,
            ("linear", "half_pixel" | "pytorch_half_pixel", _) if height > 1 && width > 1 => true,
            _ => return Ok(None),
        };
        let port = self.emit(&node.name, Op::Upsample { factor, bilinear }, &[port])?;
        Ok(Some(self.of_images(port, x)))
    }
}

/// Extents for people: `n` stands for the number of examples.
fn told(dims: &[usize]) -> String {
    let one = |dim: &usize| match (dim % BATCH as usize, dim / BATCH as usize) {
        (0, 1) => "n".to_owned(),
        (0, times) if times > 1 => format!("{times}n"),
        _ => dim.to_string(),
    };
    format!("[{}]", dims.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// Stride, dilation and padding of height and width; a row is an image of one row.
fn both(frame: &Frame) -> [[[usize; 2]; 2]; 3] {
    let two = |values: &[usize]| if let [one] = values { [[1; 2], [*one; 2]] } else { [[values[0]; 2], [values[1]; 2]] };
    let ends = if let [one] = frame.padding.as_slice() { [[0; 2], *one] } else { [frame.padding[0], frame.padding[1]] };
    [two(&frame.stride), two(&frame.dilation), ends]
}

/// Axes of one place more or less, whatever the order in memory.
fn squeezed(x: &Given, dims: &[usize], wanted: &[usize]) -> Option<Given> {
    // The axes that are not of one place keep their order.
    let (mut extents, mut order, mut old) = (Vec::new(), Vec::new(), 0);
    let many = |dims: &[usize]| dims.iter().filter(|dim| **dim != 1).copied().collect::<Vec<_>>();
    if many(dims) != many(wanted) {
        return None;
    }
    let kept: Vec<usize> = (1..=x.extents.len()).filter(|axis| x.extents[axis - 1] != 1).collect();
    extents.extend(kept.iter().map(|axis| x.extents[axis - 1]));
    for dim in wanted {
        if *dim == 1 {
            extents.push(1);
            order.push(extents.len());
            continue;
        }
        while dims[old] == 1 {
            old += 1;
        }
        let axis = x.order[old];
        order.push(if axis == 0 { 0 } else { kept.iter().position(|kept| *kept == axis).map_or(0, |place| place + 1) });
        old += 1;
    }
    Some(Given { port: x.port, batch: x.batch, extents, order })
}

/// Scale and shift of a normalisation; `None` where it has another ε than ours.
fn scale_and_shift(node: &Node, numbers: [Option<&Tensor>; 2], channels: usize) -> Result<Option<Vec<Weight>>, String> {
    if (f64::from(node.float("epsilon", 1e-5)) - GroupNorm::EPSILON).abs() > 1e-9 {
        return Ok(None);
    }
    let mut weights = Vec::new();
    for (slot, tensor, usual) in [("gamma", numbers[0], 1.0), ("beta", numbers[1], 0.0)] {
        let values: Vec<f32> = match tensor {
            Some(tensor) => tensor.as_floats()?.iter().copied().collect(),
            None => vec![usual; channels],
        };
        if values.len() != channels {
            return Ok(None);
        }
        weights.push((slot, vec![channels], values));
    }
    Ok(Some(weights))
}
