//! How important a unit is.

use std::collections::HashMap;

use lyceum_core::{Array, Error, Result, Seed, interrupt};
use lyceum_data::{Examples, split};
use lyceum_kernels::vector;
use lyceum_train::{
    CrossEntropy, Kind, Net, Objective as _, ParamSpace, Pass,
    graph::{ParamSlice, Unit},
    objective::LabelledBatch,
};
use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What says how important a unit is; where nothing else is said, of the numbers that are taken out where it is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Criterion {
    /// A number from 0 to 1 that is drawn: the baseline.
    Random,
    /// Σ|w| of the weights, in units of the mean of the group (Li et al., *Pruning Filters for Efficient ConvNets*, 2017).
    L1,
    /// √Σw² of the weights, in units of the mean of the group.
    L2,
    /// Σ|γ| of the batch normalisation (Liu et al., *Network Slimming*, 2017). Units without one stay.
    BatchNorm,
    /// The mean over small batches of (Σ g·w)² of the weights that read the unit, g the gradient of the loss (Molchanov et al., *Importance
    /// Estimation for Neural Network Pruning*, 2019). Removal sets these weights to 0, so Σ g·w is how much the loss changes, to first order,
    /// whatever normalisation and activation come before them. It needs examples.
    #[default]
    Taylor,
}

/// The importance of each unit, in the order of [`dependencies`](lyceum_train::graph::Graph::dependencies).
pub type Importance = Vec<Vec<f64>>;

/// Examples of a batch whose gradient is taken: few, as the gradients of many cancel at a minimum.
const ROWS: usize = 16;
/// Examples whose gradients are taken, drawn from all.
const EXAMPLES: usize = 1024;

impl Criterion {
    /// The importance of each unit of a network; `examples` are labelled ones, where it needs them.
    ///
    /// # Errors
    ///
    /// No examples where they are needed, and batch normalisation that is nowhere.
    pub fn importance(self, net: &Net, examples: Option<&Examples>, seed: Seed) -> Result<Importance> {
        let space = ParamSpace::of(net);
        let arrays = space.arrays(net);
        let kinds: HashMap<&str, Kind> = space.params().iter().map(|info| (info.name.as_str(), info.kind)).collect();
        let of: HashMap<&str, &Array> = arrays.iter().map(|array| (array.name.as_str(), array)).collect();
        let kind = |name: &str| kinds.get(name).copied();
        let sum = |unit: &Unit, is_meant: &dyn Fn(&str) -> bool, each: &dyn Fn(f64) -> f64| -> f64 {
            let slices = unit.made.iter().filter(|slice| is_meant(&slice.parameter));
            slices.flat_map(|slice| numbers(slice, &of)).map(|value| each(f64::from(value))).sum()
        };
        let is_weight = |name: &str| kind(name) == Some(Kind::Weight);
        let is_scale = |name: &str| kind(name) == Some(Kind::Norm) && name.ends_with("gamma") && has_statistics(name, &of);
        let groups = net.graph().dependencies();
        let by_unit = |one: &mut dyn FnMut(&Unit) -> f64| -> Importance {
            groups.iter().map(|group| group.units.iter().map(&mut *one).collect()).collect()
        };
        Ok(match self {
            Self::Random => {
                let mut rng = seed.stream("sparsify/random");
                by_unit(&mut |_| rng.random())
            }
            Self::L1 => in_units_of_means(by_unit(&mut |unit| sum(unit, &is_weight, &f64::abs))),
            Self::L2 => in_units_of_means(by_unit(&mut |unit| sum(unit, &is_weight, &|w| w * w).sqrt())),
            Self::BatchNorm => {
                if !of.keys().any(|name| is_scale(name)) {
                    return Err(Error::invalid("criterion", "batch-norm, of a network without batch normalisation", "another"));
                }
                let has_one = |unit: &Unit| unit.made.iter().any(|slice| is_scale(&slice.parameter));
                by_unit(&mut |unit| if has_one(unit) { sum(unit, &is_scale, &f64::abs) } else { f64::INFINITY })
            }
            Self::Taylor => {
                let examples = examples.filter(|examples| !examples.is_empty());
                let examples = examples.ok_or_else(|| Error::invalid("criterion", "taylor, without examples", "labelled examples"))?;
                let mut found: Importance = groups.iter().map(|group| vec![0.0; group.units.len()]).collect();
                let order = split::permutation(examples.len(), &mut seed.stream("sparsify/taylor"));
                let order = &order[..order.len().min(EXAMPLES)];
                let batches = order.chunks(ROWS).len() as f64;
                for positions in order.chunks(ROWS) {
                    interrupt::check()?;
                    let products = slopes(net, &space, &arrays, examples, positions);
                    let of: HashMap<&str, &Array> = products.iter().map(|array| (array.name.as_str(), array)).collect();
                    for (group, found) in groups.iter().zip(&mut found) {
                        for (unit, found) in group.units.iter().zip(found) {
                            let change: f64 = unit.read.iter().flat_map(|slice| numbers(slice, &of)).map(f64::from).sum();
                            *found += change * change / batches;
                        }
                    }
                }
                found
            }
        })
    }
}

/// Norms of layers of unlike size, made comparable.
fn in_units_of_means(mut importance: Importance) -> Importance {
    for own in &mut importance {
        let mean = own.iter().sum::<f64>() / own.len().max(1) as f64;
        own.iter_mut().for_each(|value| *value /= mean.max(f64::MIN_POSITIVE));
    }
    importance
}

/// Whether a normalisation keeps a mean of its own: that of batches does.
fn has_statistics(gamma: &str, of: &HashMap<&str, &Array>) -> bool {
    gamma.strip_suffix("gamma").is_some_and(|layer| of.contains_key(format!("{layer}running_mean").as_str()))
}

/// g·w of every parameter, number by number, for the mean loss of some examples.
fn slopes(net: &Net, space: &ParamSpace, arrays: &[Array], examples: &Examples, positions: &[usize]) -> Vec<Array> {
    let point = space.vector(net);
    let batch = LabelledBatch::new(examples, positions, net.graph().output().len(), 0.0, &point.device());
    let model = space.place(net.clone(), &point);
    // Normalisation by the running statistics, as the trained network has it.
    let loss = CrossEntropy::default().loss(0, &model, &batch, &mut Pass::evaluation());
    let gradient = vector::to_vec(&space.gradient(&model, loss.backward()));
    let trained = space.params().iter().filter_map(|info| Some((info.name.as_str(), info.range.clone()?)));
    let ranges: HashMap<&str, _> = trained.collect();
    let product = |array: &Array| {
        let range = ranges.get(array.name.as_str())?.clone();
        let values = array.values.iter().zip(&gradient[range]).map(|(w, g)| w * g).collect();
        Some(Array::new(&array.name, array.shape.clone(), values))
    };
    arrays.iter().filter_map(product).collect()
}

/// The numbers of a slice of a parameter.
fn numbers<'a>(slice: &'a ParamSlice, of: &HashMap<&str, &'a Array>) -> impl Iterator<Item = f32> + 'a {
    let array = of.get(slice.parameter.as_str()).copied();
    array.into_iter().flat_map(move |array| places(&array.shape, slice).map(|place| array.values[place]))
}

/// Where the numbers of a slice lie in its parameter.
pub(crate) fn places<'a>(shape: &[usize], slice: &'a ParamSlice) -> impl Iterator<Item = usize> + 'a {
    let [outer, inner] = [&shape[..slice.axis], &shape[slice.axis + 1..]].map(|extents| extents.iter().product::<usize>());
    let extent = shape[slice.axis];
    (0..outer).flat_map(move |o| slice.indices.iter().flat_map(move |i| (0..inner).map(move |k| (o * extent + i) * inner + k)))
}
