//! What was learnt of the whole network, while a part of it is trained.

use std::collections::BTreeMap;

use lyceum_core::{Array, Result, Seed};
use lyceum_train::{Net, ParamSpace, State, cpu, graph::Slices, pipeline::Saved};

use crate::Parts;

/// Weights, statistics and moments of the whole network. What a part does not have stays as it was.
#[derive(Debug, Clone)]
pub(crate) struct Whole {
    pub(crate) space: ParamSpace,
    /// Weights and statistics.
    pub(crate) arrays: Vec<Array>,
    /// Vectors by parameter, of the optimiser and the estimator.
    pub(crate) vectors: BTreeMap<String, Vec<f32>>,
}

/// A part of the whole network that is a network of its own.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// Which units and branches it has.
    pub(crate) on: Vec<bool>,
    /// With weights that are to be loaded.
    pub(crate) net: Net,
    /// The positions of its vector in the whole one's.
    pub(crate) places: Vec<usize>,
    slices: Slices,
}

impl Part {
    pub(crate) fn new(parts: &Parts, on: Vec<bool>, whole: &ParamSpace) -> Result<Self> {
        let (graph, slices) = parts.reduced(&on)?;
        let net = Net::new(graph, Seed::new(0), &cpu())?;
        let places = slices.places(whole, &ParamSpace::of(&net));
        Ok(Self { on, net, places, slices })
    }
}

impl Whole {
    pub(crate) fn of(net: &Net) -> Self {
        let space = ParamSpace::of(net);
        Self { arrays: space.arrays(net), space, vectors: BTreeMap::new() }
    }

    /// Takes what a part has learnt.
    pub(crate) fn absorb(&mut self, part: &Part, now: &Saved) {
        self.absorb_model(part, &now.model);
        for (name, state) in [("optimizer", &now.optimizer), ("estimator", &now.estimator)] {
            for array in state.arrays.iter().filter(|array| array.values.len() == part.places.len()) {
                let whole = self.vectors.entry(format!("{name}/{}", array.name)).or_insert_with(|| vec![0.0; self.space.dimension()]);
                part.places.iter().zip(&array.values).for_each(|(place, value)| whole[*place] = *value);
            }
        }
    }

    /// Takes a part's weights and statistics.
    pub(crate) fn absorb_model(&mut self, part: &Part, model: &[Array]) {
        for own in model {
            if let Some(whole) = self.arrays.iter_mut().find(|array| array.name == own.name) {
                let places = part.slices.positions(&whole.name, &whole.shape);
                places.into_iter().zip(&own.values).for_each(|(place, value)| whole.values[place] = *value);
            }
        }
    }

    /// The weights and statistics of a part.
    pub(crate) fn model(&self, part: &Part) -> Vec<Array> {
        let space = ParamSpace::of(&part.net);
        let own = space.params().iter().filter_map(|info| self.arrays.iter().find(|array| array.name == info.name)).cloned();
        part.slices.arrays(&own.collect::<Vec<_>>())
    }

    /// What was learnt of a part; `now` has what does not belong to parameters.
    pub(crate) fn saved(&self, part: &Part, now: Saved) -> Saved {
        let of = |name: &str, state: State| {
            let keep = |mut array: Array| {
                if let Some(whole) = self.vectors.get(&format!("{name}/{}", array.name)) {
                    array.values = part.places.iter().map(|place| whole[*place]).collect();
                    array.shape = vec![array.values.len()];
                }
                array
            };
            State { arrays: state.arrays.into_iter().map(keep).collect(), counters: state.counters }
        };
        Saved { model: self.model(part), optimizer: of("optimizer", now.optimizer), estimator: of("estimator", now.estimator), ..now }
    }
}
