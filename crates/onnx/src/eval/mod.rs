//! What one node makes of tensors, as the format's specification says it.

mod pointwise;
mod shapes;
mod sums;
mod windows;

use std::collections::HashMap;

use lyceum_core::{Error, Result};
use ndarray::{ArrayD, IxDyn};

use crate::{Model, Node, Tensor, tensor::Fit};

pub use windows::{Ends, Frame, frame};

/// What a node gives for these values; `None` is an input that is left out.
///
/// # Errors
///
/// In words: values that do not fit, and forms of an operator that are not known.
pub fn evaluate(node: &Node, inputs: &[Option<&Tensor>], opset: i64) -> Fit<Vec<Tensor>> {
    Call { node, inputs, opset }.run()
}

impl Model {
    /// What the model gives for these inputs, node by node: slow, and of any number of axes and examples.
    ///
    /// # Errors
    ///
    /// An input that is left out, and whatever [`evaluate`] refuses, with the node's name.
    pub fn run(&self, inputs: HashMap<String, Tensor>) -> Result<Vec<Tensor>> {
        let missing = |name: &str| Error::invalid(name, "none", "a tensor: the model reads it");
        let mut values = inputs;
        if let Some(input) = self.inputs.iter().find(|input| !values.contains_key(&input.name)) {
            return Err(missing(&input.name));
        }
        for node in &self.nodes {
            let read = |name: &String| values.get(name).or_else(|| self.weights.get(name)).filter(|_| !name.is_empty());
            let reads: Vec<Option<&Tensor>> = node.inputs.iter().map(read).collect();
            let wrong = |what: String| Error::Violated(format!("the node `{}` ({}): {what}", node.name, node.op));
            let given = evaluate(node, &reads, self.opset).map_err(wrong)?;
            values.extend(node.outputs.iter().cloned().zip(given).filter(|(name, _)| !name.is_empty()));
        }
        let output = |name: &str| values.get(name).or_else(|| self.weights.get(name)).cloned().ok_or_else(|| missing(name));
        self.outputs.iter().map(|output_of| output(&output_of.name)).collect()
    }
}

/// A node with what it reads.
#[derive(Clone, Copy)]
struct Call<'a> {
    node: &'a Node,
    inputs: &'a [Option<&'a Tensor>],
    opset: i64,
}

impl<'a> Call<'a> {
    fn run(self) -> Fit<Vec<Tensor>> {
        let one = |found: Fit<Tensor>| found.map(|tensor| vec![tensor]);
        match self.node.op.as_str() {
            "Identity" => one(self.input(0).cloned()),
            "Dropout" => {
                let x = self.input(0)?;
                Ok(vec![x.clone(), Tensor::Bool(ArrayD::from_elem(IxDyn(x.dims()), true))])
            }
            "Cast" => one(self.cast()),
            "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Sum" | "Mean" | "Max" | "Min" | "Equal" | "PRelu" | "Where" => one(self.broadcast()),
            "Clip" => one(self.clip()),
            "Constant" => one(self.constant()),
            "Shape" => one(self.shape()),
            "ConstantOfShape" => one(self.constant_of_shape()),
            "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => one(self.reshaped()),
            "Transpose" => one(self.transpose()),
            "Concat" => one(self.concat()),
            "Split" => self.split(),
            "Slice" => one(self.slice()),
            "Gather" => one(self.gather()),
            "Pad" => one(self.pad()),
            "Expand" => one(self.expand()),
            "MatMul" => one(self.matmul()),
            "Gemm" => one(self.gemm()),
            "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "GlobalAveragePool" | "GlobalMaxPool" => one(self.reduce()),
            "Softmax" | "LogSoftmax" => one(self.softmax()),
            "BatchNormalization" => one(self.batch_norm()),
            "InstanceNormalization" => one(self.instance_norm()),
            "LayerNormalization" => self.layer_norm(),
            "LRN" => one(self.lrn()),
            "Conv" => one(self.conv()),
            "ConvTranspose" => one(self.conv_transpose()),
            "MaxPool" | "AveragePool" => one(self.pool()),
            "Resize" => one(self.resize()),
            _ => one(self.unary()),
        }
    }

    /// A value that is there.
    fn input(self, number: usize) -> Fit<&'a Tensor> {
        self.optional(number).ok_or_else(|| format!("its input {number} is left out"))
    }

    fn optional(self, number: usize) -> Option<&'a Tensor> {
        self.inputs.get(number).copied().flatten()
    }

    /// The same of whole numbers, as of floating ones: exact up to 2²⁴.
    fn of_whole(self, whole: &ArrayD<i64>, run: impl Fn(Call<'_>) -> Fit<Tensor>) -> Fit<Tensor> {
        if whole.iter().any(|x| x.unsigned_abs() > 1 << 24) {
            return Err("whole numbers beyond 2^24".into());
        }
        let floats = Tensor::Float(whole.mapv(|x| x as f32));
        let mut inputs = self.inputs.to_vec();
        inputs[0] = Some(&floats);
        Ok(Tensor::Int(run(Call { inputs: &inputs, ..self })?.as_floats()?.mapv(|x| x as i64)))
    }

    /// Whole numbers from an input or, in older versions, from an attribute.
    fn ints(self, input: usize, attribute: &str) -> Fit<Option<Vec<i64>>> {
        match self.optional(input) {
            Some(tensor) => tensor.as_ints().map(Some),
            None => Ok(self.node.ints(attribute).map(<[i64]>::to_vec)),
        }
    }
}
