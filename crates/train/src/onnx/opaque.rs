//! Nodes of a model for which there is no operation of ours: evaluated as the format's specification says it.

use std::{any::Any, cmp::Ordering, collections::HashMap};

use burn::tensor::{Tensor as Burn, TensorData};
use lyceum_onnx::{Attribute, Node, Tensor, evaluate};
use ndarray::{ArrayD, IxDyn};

use super::import::{BATCH, Given, Held};
use crate::{
    Pass,
    graph::{Net, Op, Operation, Port, Shape},
};

/// A node with what is known of its values before any example is.
#[derive(Debug)]
pub(super) struct Opaque {
    node: Node,
    opset: i64,
    /// What it reads; ports are not looked at.
    reads: Vec<Option<Held>>,
    /// Which of the values that the node gives.
    output: usize,
    /// Of that, which axis counts examples, how many of it belong to one, and the extents of the others.
    batch_axis: usize,
    batch: usize,
    extents: Vec<usize>,
    id: f64,
}

/// Nodes and the numbers that they read.
type Written = (Vec<Node>, Vec<(String, Tensor)>);

impl Opaque {
    /// The operation that gives one of a node's values, and what that is like; the value is an example's numbers in a row.
    pub(super) fn new(id: usize, node: &Node, opset: i64, reads: &[Option<Held>], output: usize) -> Result<(Self, Given), String> {
        let (node, reads) = (node.clone(), reads.to_vec());
        let mut opaque = Self { node, opset, reads, output, batch_axis: 0, batch: 1, extents: Vec::new(), id: id as f64 };
        // What comes of two examples, and of three, tells which axis counts them.
        let dims_for = |examples: usize| match opaque.evaluate(examples, &[])? {
            Tensor::Float(found) => Ok(found.shape().to_vec()),
            Tensor::Int(_) | Tensor::Bool(_) => Err("gives whole numbers; allowed: floating numbers".to_owned()),
        };
        let (two, three) = (dims_for(2)?, dims_for(3)?);
        if two.len() != three.len() {
            return Err("the number of axes depends on the number of examples".into());
        }
        let counting: Vec<usize> = (0..two.len()).filter(|axis| two[*axis] != three[*axis]).collect();
        match counting.as_slice() {
            [axis] if two[*axis].is_multiple_of(2) && two[*axis] / 2 * 3 == three[*axis] => {
                (opaque.batch_axis, opaque.batch) = (*axis, two[*axis] / 2);
            }
            _ => return Err(format!("gives {two:?} of two examples and {three:?} of three; allowed: as many for each example")),
        }
        opaque.extents = two.iter().enumerate().filter(|(axis, _)| *axis != opaque.batch_axis).map(|(_, extent)| *extent).collect();
        opaque.check_apart()?;
        let order = opaque.order();
        let given = Given { port: Port::Input, batch: opaque.batch, extents: opaque.extents.clone(), order };
        Ok((opaque, given))
    }

    /// The operation of a network's node, if it is one of these.
    pub(super) fn of(op: &Op) -> Option<&Self> {
        let Op::Custom(operation) = op else { return None };
        let operation: &dyn Any = operation.as_ref();
        operation.downcast_ref()
    }

    /// What the model calls it.
    pub(super) fn operator(&self) -> &str {
        &self.node.op
    }

    /// The axes of the node's value with that of the examples first.
    fn examples_first(&self) -> Vec<usize> {
        let mut order = vec![self.batch_axis];
        order.extend((0..=self.extents.len()).filter(|axis| *axis != self.batch_axis));
        order
    }

    /// Errors unless two examples give together what each gives alone.
    fn check_apart(&self) -> Result<(), String> {
        let lens: Vec<usize> =
            self.reads.iter().filter_map(|read| if let Some(Held::Given(given)) = read { Some(given.len()) } else { None }).collect();
        let example = |number: usize, len: usize| (0..len).map(move |i| ((i * 7 + number * 5 + 3) % 11) as f32 / 11.0);
        let alone = |number: usize| self.rows_for(1, &lens.iter().map(|len| example(number, *len).collect()).collect::<Vec<Vec<f32>>>());
        let together: Vec<Vec<f32>> = lens.iter().map(|len| example(0, *len).chain(example(1, *len)).collect()).collect();
        let (first, second, both) = (alone(0)?, alone(1)?, self.rows_for(2, &together)?);
        let same =
            |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * (1.0 + a.abs()) || a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
        if both.len() == first.len() + second.len() && both.iter().zip(first.iter().chain(&second)).all(same) {
            Ok(())
        } else {
            Err("what it gives of an example depends on the others; allowed: each on its own".into())
        }
    }

    /// What it gives of so many examples, whose numbers lie in rows.
    fn rows_for(&self, examples: usize, rows: &[Vec<f32>]) -> Result<Vec<f32>, String> {
        let Tensor::Float(found) = self.evaluate(examples, rows)? else { return Err("gives whole numbers".into()) };
        let order = self.examples_first();
        if order.len() != found.ndim() {
            return Err("the number of axes depends on the number of examples".into());
        }
        Ok(found.permuted_axes(IxDyn(&order)).iter().copied().collect())
    }

    /// Where each axis of the node's value is in what this operation gives.
    fn order(&self) -> Vec<usize> {
        (0..=self.extents.len())
            .map(|axis| match axis.cmp(&self.batch_axis) {
                Ordering::Less => axis + 1,
                Ordering::Equal => 0,
                Ordering::Greater => axis,
            })
            .collect()
    }

    /// The node for a model, with what it reads and gives as values of examples in a row: Reshape, Transpose, the node, Transpose, Reshape.
    ///
    /// # Errors
    ///
    /// Numbers that depend on how many examples there are, where the format has no way to say so.
    pub(super) fn export(&self, name: &str, inputs: &[String]) -> Result<Written, String> {
        let (mut nodes, mut weights, mut inputs) = (Vec::new(), Vec::new(), inputs.iter());
        let push = |nodes: &mut Vec<Node>, op: &str, name: String, inputs: Vec<String>, attributes: HashMap<String, Attribute>| {
            nodes.push(Node { name: name.clone(), op: op.into(), domain: String::new(), inputs, outputs: vec![name.clone()], attributes });
            name
        };
        let order_of =
            |order: &[usize]| HashMap::from([("perm".to_owned(), Attribute::Ints(order.iter().map(|axis| *axis as i64).collect()))]);
        let extents_of = |extents: &[usize]| Tensor::ints([-1].into_iter().chain(extents.iter().map(|extent| *extent as i64)).collect());
        let (node, all) = self.modern()?;
        let mut reads = Vec::new();
        for (number, read) in all.iter().enumerate() {
            let called = format!("{name}.{number}");
            reads.push(match read {
                None => String::new(),
                Some(Held::Known(tensor)) => {
                    let counts = tensor.as_ints().is_ok_and(|values| values.iter().any(|value| *value != 0 && value % BATCH == 0));
                    let tensor = match tensor {
                        Tensor::Int(values) if counts && self.node.op == "Reshape" && !values.iter().any(|value| *value == -1) => {
                            Tensor::Int(values.mapv(|value| if value != 0 && value % BATCH == 0 { -1 } else { value }))
                        }
                        _ if counts => return Err("reads numbers that depend on how many examples there are".into()),
                        tensor => tensor.clone(),
                    };
                    weights.push((called.clone(), tensor));
                    called
                }
                Some(Held::Given(Given { extents, order, .. })) => {
                    weights.push((format!("{called}.extents"), extents_of(extents)));
                    let input = inputs.next().cloned().unwrap_or_default();
                    let apart =
                        push(&mut nodes, "Reshape", format!("{called}.apart"), vec![input, format!("{called}.extents")], HashMap::new());
                    push(&mut nodes, "Transpose", format!("{called}.ordered"), vec![apart], order_of(order))
                }
            });
        }
        let mut node = Node { name: format!("{name}.node"), inputs: reads, ..node };
        node.outputs = (0..self.node.outputs.len()).map(|output| format!("{name}.node{output}")).collect();
        let given = node.outputs[self.output].clone();
        nodes.push(node);
        let ordered = push(&mut nodes, "Transpose", format!("{name}.back"), vec![given], order_of(&self.examples_first()));
        weights.push((format!("{name}.width"), extents_of(&[self.batch * self.extents.iter().product::<usize>()])));
        push(&mut nodes, "Reshape", name.to_owned(), vec![ordered, format!("{name}.width")], HashMap::new());
        Ok((nodes, weights))
    }

    /// The node as version 17 has it: some numbers are inputs since version 13, and were attributes before, others the other way round.
    fn modern(&self) -> Result<(Node, Vec<Option<Held>>), String> {
        let (mut node, mut reads) = (self.node.clone(), self.reads.clone());
        let attribute = match node.op.as_str() {
            "Squeeze" | "Unsqueeze" | "ReduceSum" => "axes",
            "Split" => "split",
            _ => "",
        };
        if let Some(Attribute::Ints(values)) = node.attributes.remove(attribute) {
            reads.push(Some(Held::Known(Tensor::ints(values))));
        }
        let newer = match node.op.as_str() {
            "ReduceMean" | "ReduceMax" | "ReduceMin" if reads.len() > 1 => {
                if let Some(Some(Held::Known(axes))) = reads.pop() {
                    node.attributes.insert("axes".into(), Attribute::Ints(axes.as_ints()?));
                }
                node.attributes.remove("noop_with_empty_axes").is_some_and(|flag| flag != Attribute::Int(0))
            }
            "Softmax" | "LogSoftmax" => self.opset < 13,
            "Pad" => reads.len() > 3 || self.opset < 11,
            "Clip" => self.opset < 11,
            "Slice" => self.opset < 10,
            "Resize" => !(11..=17).contains(&self.opset),
            "Split" => self.opset > 17,
            "Gelu" => true,
            "AveragePool" => node.attributes.contains_key("dilations"),
            _ => false,
        };
        if newer { Err(format!("{} of version {}", node.op, self.opset)) } else { Ok((node, reads)) }
    }

    /// The value for so many examples; without rows, of halves.
    fn evaluate(&self, examples: usize, rows: &[Vec<f32>]) -> Result<Tensor, String> {
        let mut rows = rows.iter();
        let mut values: Vec<Option<Tensor>> = Vec::new();
        for read in &self.reads {
            values.push(match read {
                None => None,
                Some(Held::Known(Tensor::Int(x))) => {
                    Some(Tensor::Int(x.mapv(|x| if x != 0 && x % BATCH == 0 { x / BATCH * examples as i64 } else { x })))
                }
                Some(Held::Known(tensor)) => Some(tensor.clone()),
                Some(Held::Given(Given { batch, extents, order, .. })) => {
                    let dims = [&[examples * batch], extents.as_slice()].concat();
                    lyceum_onnx::tensor::size(&dims)?;
                    let flat = rows.next().cloned().unwrap_or_else(|| vec![0.5; dims.iter().product()]);
                    let array = ArrayD::from_shape_vec(IxDyn(&dims), flat).map_err(|error| error.to_string())?;
                    Some(Tensor::Float(array.permuted_axes(IxDyn(order)).as_standard_layout().into_owned()))
                }
            });
        }
        let values: Vec<Option<&Tensor>> = values.iter().map(Option::as_ref).collect();
        let found = evaluate(&self.node, &values, self.opset)?;
        found.into_iter().nth(self.output).ok_or_else(|| format!("gives no value {}", self.output))
    }
}

impl Operation for Opaque {
    fn name(&self) -> &'static str {
        "onnx"
    }

    fn number(&self) -> Option<f64> {
        Some(self.id)
    }

    fn shape(&self, _: &[Shape]) -> Result<Shape, String> {
        Ok(Shape::Row(self.batch * self.extents.iter().product::<usize>()))
    }

    fn run(&self, inputs: Vec<Burn<2>>, _: Option<&Net>, _: &mut Pass) -> Burn<2> {
        let like = inputs[0].clone();
        let examples = like.dims()[0];
        let rows: Vec<Vec<f32>> = inputs
            .into_iter()
            .map(|input| {
                let input = if input.is_autodiff() { input.inner() } else { input };
                input.into_data().try_into_vec().expect("numbers of 32 bits")
            })
            .collect();
        let flat = self.rows_for(examples, &rows).unwrap_or_else(|error| panic!("`{}` ({}): {error}", self.node.name, self.node.op));
        let width = flat.len() / examples.max(1);
        let given = Burn::from_data(TensorData::new(flat, [examples, width]), &like.device().inner());
        if like.is_autodiff() { given.autodiff() } else { given }
    }
}
