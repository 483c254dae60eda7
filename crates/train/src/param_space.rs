//! The space of a module's parameters: the one place that flattens and unflattens.

use std::ops::Range;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    tensor::{Device, Gradients, Tensor, TensorData},
};
use lyceum_core::{Array, Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Vector, pass::Statistic};

/// The ordered, named, shaped list of a module's float parameters.
///
/// Parameters that require gradients are *trainable* and make up the [`Vector`]; the others are *buffers*: running statistics, which
/// follow the batches, and frozen parameters, which stay as they are. All are listed in the order in which the module declares them.
#[derive(Debug, Clone)]
pub struct ParamSpace {
    params: Vec<ParamInfo>,
    dimension: usize,
}

/// One parameter or buffer.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamInfo {
    /// By which layers know it, in this process alone.
    pub id: ParamId,
    /// Its dotted path in the module, for example `conv1.weight`.
    pub name: String,
    /// What it is for.
    pub kind: Kind,
    /// The extent of each axis.
    pub shape: Vec<usize>,
    /// Where it stands in the vector; `None` for a buffer.
    pub range: Option<Range<usize>>,
}

/// What a parameter is for, told by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// What inputs are multiplied with: matrices, filters, embeddings.
    Weight,
    /// What is added to a layer's output: names that end in `bias`.
    Bias,
    /// The scale and shift of a normalisation: `gamma` and `beta`.
    Norm,
    /// A running average of the batches, which no gradient changes.
    #[serde(skip)]
    Statistic,
}

impl Kind {
    fn of(name: &str, is_trained: bool) -> Self {
        match name.rsplit('.').next().unwrap_or_default() {
            "gamma" | "beta" => Self::Norm,
            last if last.ends_with("bias") => Self::Bias,
            last if !is_trained && last.starts_with("running_") => Self::Statistic,
            _ => Self::Weight,
        }
    }
}

impl ParamSpace {
    /// The space of this module.
    pub fn of(module: &impl Module) -> Self {
        let mut lister = Lister { path: Vec::new(), params: Vec::new(), dimension: 0 };
        module.visit(&mut lister);
        Self { params: lister.params, dimension: lister.dimension }
    }

    /// Every parameter and buffer, in order.
    pub fn params(&self) -> &[ParamInfo] {
        &self.params
    }

    /// How many numbers are trained.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// The module's trainable parameters as a vector without autodiff.
    pub fn vector(&self, module: &impl Module) -> Vector {
        let mut gather = Gather { parts: Vec::new(), trained: Some(true) };
        module.visit(&mut gather);
        concatenate(gather.parts)
    }

    /// The module with this vector as its trainable parameters, ready to be differentiated.
    pub fn place<M: Module>(&self, module: M, vector: &Vector) -> M {
        module.map(&mut Place { vector: vector.clone().inner(), at: 0, autodiff: true })
    }

    /// The module with this vector as its trainable parameters, for evaluation: no gradients are recorded.
    pub fn place_for_evaluation<M: Module>(&self, module: M, vector: &Vector) -> M {
        module.map(&mut Place { vector: vector.clone().inner(), at: 0, autodiff: false })
    }

    /// The gradient as a vector; a parameter that the loss does not depend on has gradient 0.
    pub fn gradient(&self, module: &impl Module, mut gradients: Gradients) -> Vector {
        let mut gather = GatherGradients { gradients: &mut gradients, parts: Vec::new() };
        module.visit(&mut gather);
        concatenate(gather.parts)
    }

    /// The module with running averages moved towards the statistics of a batch: r ← r + `rate`·(value − r).
    pub fn update_averages<M: Module>(&self, module: M, statistics: &[Statistic], rate: f64) -> M {
        if statistics.is_empty() { module } else { module.map(&mut UpdateAverages { statistics, rate }) }
    }

    /// The running averages of the module, one after the other; empty without batch normalisation.
    pub fn statistics(&self, module: &impl Module) -> Vec<f32> {
        if self.averages().next().is_none() {
            return Vec::new();
        }
        let arrays = self.arrays(module);
        self.averages().flat_map(|(number, _)| arrays[number].values.clone()).collect()
    }

    /// The module with these running averages. A negative variance, which another program may have sent, counts as 0.
    ///
    /// # Errors
    ///
    /// Another number of them than the module has.
    pub fn place_statistics<M: Module>(&self, module: M, statistics: &[f32]) -> Result<M> {
        let expected: usize = self.averages().map(|(_, info)| info.shape.iter().product::<usize>()).sum();
        if statistics.len() != expected {
            return Err(Error::invalid("running statistics", format!("{} numbers", statistics.len()), expected.to_string()));
        }
        if expected == 0 {
            return Ok(module);
        }
        let mut arrays = self.arrays(&module);
        let mut rest = statistics;
        for (number, info) in self.averages() {
            let (own, others) = rest.split_at(arrays[number].values.len());
            let least = if info.name.ends_with("variance") { 0.0 } else { f32::NEG_INFINITY };
            arrays[number].values = own.iter().map(|value| value.max(least)).collect();
            rest = others;
        }
        self.load(module, &arrays)
    }

    fn averages(&self) -> impl Iterator<Item = (usize, &ParamInfo)> {
        self.params.iter().enumerate().filter(|(_, info)| info.kind == Kind::Statistic)
    }

    /// Everything the module holds, as checkpoints store it.
    pub fn arrays(&self, module: &impl Module) -> Vec<Array> {
        let mut gather = Gather { parts: Vec::new(), trained: None };
        module.visit(&mut gather);
        let values = gather.parts.into_iter().map(|part| lyceum_kernels::vector::to_vec(&part));
        self.params.iter().zip(values).map(|(info, values)| Array::new(&info.name, info.shape.clone(), values)).collect()
    }

    /// The module with these values; every parameter and buffer must be there with its shape.
    pub fn load<M: Module>(&self, module: M, arrays: &[Array]) -> Result<M> {
        let mut values = Vec::new();
        for info in &self.params {
            let array = arrays.iter().find(|array| array.name == info.name);
            let array = array.ok_or_else(|| Error::Failed(format!("the saved model has no parameter `{}`", info.name)))?;
            if array.shape != info.shape {
                let text = format!("the saved `{}` has shape {:?}; this model needs {:?}", info.name, array.shape, info.shape);
                return Err(Error::Failed(text));
            }
            values.push(array.values.clone());
        }
        Ok(module.map(&mut Load { values: values.into_iter() }))
    }
}

pub(crate) fn concatenate(mut parts: Vec<Tensor<1>>) -> Vector {
    match parts.len() {
        0 => Tensor::zeros([0], &crate::cpu()),
        1 => parts.remove(0),
        _ => Tensor::cat(parts, 0),
    }
}

fn flat<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    let n = tensor.shape().num_elements();
    tensor.reshape([n])
}

struct Lister {
    path: Vec<String>,
    params: Vec<ParamInfo>,
    dimension: usize,
}

impl ModuleVisitor for Lister {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let shape: Vec<usize> = param.lazy_shape().iter().copied().collect();
        let size = shape.iter().product::<usize>();
        let range = param.is_require_grad().then(|| self.dimension..self.dimension + size);
        self.dimension += range.as_ref().map_or(0, ExactSizeIterator::len);
        let name = self.path.join(".");
        self.params.push(ParamInfo { id: param.id, kind: Kind::of(&name, range.is_some()), name, shape, range });
    }
}

struct Gather {
    parts: Vec<Tensor<1>>,
    /// Only what is trained, only what is not, or all.
    trained: Option<bool>,
}

impl ModuleVisitor for Gather {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.trained.is_none_or(|trained| trained == param.is_require_grad()) {
            self.parts.push(flat(param.val().inner()));
        }
    }
}

struct GatherGradients<'a> {
    gradients: &'a mut Gradients,
    parts: Vec<Tensor<1>>,
}

impl ModuleVisitor for GatherGradients<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            let value = param.val();
            let gradient = value.grad_remove(self.gradients);
            self.parts.push(flat(gradient.unwrap_or_else(|| value.inner().zeros_like())));
        }
    }
}

struct Place {
    vector: Vector,
    at: usize,
    autodiff: bool,
}

impl ModuleMapper for Place {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, value, mapper) = param.consume();
        let value = if value.is_require_grad() {
            let shape = value.shape();
            let size = shape.num_elements();
            let part = self.vector.clone().narrow(0, self.at, size).reshape(shape);
            self.at += size;
            if self.autodiff { part.autodiff().require_grad() } else { part }
        } else if self.autodiff {
            value
        } else {
            value.inner()
        };
        Param::from_mapped_value(id, value, mapper)
    }
}

struct UpdateAverages<'a> {
    statistics: &'a [Statistic],
    rate: f64,
}

impl ModuleMapper for UpdateAverages<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some((_, value)) = self.statistics.iter().find(|(id, _)| *id == param.id) else { return param };
        let (id, old, mapper) = param.consume();
        let old_values = old.clone().inner();
        let value = value.clone().reshape(old.shape());
        let new = like(old_values.clone() + (value - old_values) * self.rate, &old);
        Param::from_mapped_value(id, new, mapper)
    }
}

struct Load {
    values: std::vec::IntoIter<Vec<f32>>,
}

impl ModuleMapper for Load {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let trained = param.is_require_grad();
        let (id, value, mapper): (ParamId, Tensor<D>, _) = param.consume();
        let device: Device = value.device().inner();
        let new = self.values.next().map(|new| Tensor::from_data(TensorData::new(new, value.shape()), &device));
        let new = new.map(|new| like(new, &value)).unwrap_or(value);
        Param::from_mapped_value(id, if trained { new.require_grad() } else { new }, mapper)
    }
}

/// A value with the same autodiff association as an older one.
pub(crate) fn like<const D: usize>(new: Tensor<D>, old: &Tensor<D>) -> Tensor<D> {
    if old.is_autodiff() { new.inner().autodiff() } else { new.inner() }
}
