//! The methods of `lyceum-multitask` as combiners of the step pipeline.

use std::ops::Range;

use lyceum_core::{Array, Result, Seed};
use lyceum_kernels::vector;
use lyceum_multitask::{Combiner, Gradients, Method, similarity::Similarity};
use lyceum_train::{GradientCombiner, ParamSpace, Slopes, State, Vector};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What gradients are compared and combined by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Granularity {
    /// All parameters together.
    #[default]
    Whole,
    /// The parameters of a layer together: those whose names differ in the last part alone.
    Layer,
    /// Every parameter by itself.
    Parameter,
}

impl Granularity {
    /// The ranges of the parameter vector that are combined apart.
    pub fn groups(self, space: &ParamSpace) -> Vec<Range<usize>> {
        let mut groups: Vec<(String, Range<usize>)> = Vec::new();
        for info in space.params() {
            let Some(range) = info.range.clone() else { continue };
            let key = match self {
                Self::Whole => String::new(),
                Self::Layer => info.name.rsplit_once('.').map_or("", |(layer, _)| layer).to_owned(),
                Self::Parameter => info.name.clone(),
            };
            match groups.last_mut() {
                Some((last, all)) if *last == key => all.end = range.end,
                _ => groups.push((key, range)),
            }
        }
        groups.into_iter().map(|(_, range)| range).collect()
    }
}

/// A [`Method`] in the step pipeline; keeps how alike the tasks' gradients were.
#[derive(Debug)]
pub struct Multitask {
    method: Method,
    granularity: Granularity,
    seed: Seed,
    steps: u64,
    /// Made at the first step, which tells how many tasks there are.
    started: Option<(Combiner, Vec<Range<usize>>, Similarity)>,
    waiting: Option<State>,
}

/// Names of what is saved.
const METHOD: &str = "multitask";
const COSINES: &str = "cosines";

impl Multitask {
    /// A method at its beginning; `seed` decides the order in which tasks are compared.
    pub fn new(method: Method, granularity: Granularity, seed: Seed) -> Result<Self> {
        method.check()?;
        Ok(Self { method, granularity, seed, steps: 0, started: None, waiting: None })
    }

    /// How alike the tasks' gradients were since this combiner was made; `None` before the first step.
    pub fn similarity(&self) -> Option<&Similarity> {
        self.started.as_ref().map(|(_, _, similarity)| similarity)
    }

    /// The same, beginning anew.
    pub fn take_similarity(&mut self) -> Option<Similarity> {
        let (_, groups, similarity) = self.started.as_mut()?;
        let new = Similarity::new(similarity.tasks(), groups.len());
        Some(std::mem::replace(similarity, new))
    }

    fn start(&mut self, tasks: usize, space: &ParamSpace) -> Result<()> {
        if self.started.is_none() {
            let groups = self.granularity.groups(space);
            let mut combiner = self.method.combiner(tasks, groups.len())?;
            let mut similarity = Similarity::new(tasks, groups.len());
            if let Some(state) = self.waiting.take() {
                if let Some(array) = state.arrays.iter().find(|array| array.name == METHOD) {
                    combiner.restore(&array.values)?;
                }
                similarity = similarity.with_sums(&state.numbers(COSINES), state.counter(COSINES))?;
            }
            self.started = Some((combiner, groups, similarity));
        }
        Ok(())
    }
}

impl GradientCombiner for Multitask {
    fn combine(&mut self, slopes: &Slopes, space: &ParamSpace) -> Result<Vector> {
        self.start(slopes.gradients.len(), space)?;
        let seed = self.seed.child(&format!("multitask/{}", self.steps));
        let values: Vec<Vec<f32>> = slopes.gradients.iter().map(vector::to_vec).collect();
        let slices: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
        let mut sum = vec![0.0; space.dimension()];
        let Some((combiner, groups, similarity)) = &mut self.started else { unreachable!("started above") };
        let gradients = Gradients::grouped(&slices, groups)?;
        let mut rest = sum.as_mut_slice();
        let mut out = Vec::with_capacity(groups.len());
        for range in groups.iter() {
            let (first, after) = rest.split_at_mut(range.len());
            out.push(first);
            rest = after;
        }
        combiner.combine(&gradients, Some(&slopes.losses), seed, &mut out)?;
        similarity.observe(combiner.grams())?;
        self.steps += 1;
        Ok(vector::from_vec(sum, &slopes.gradients[0].device()))
    }

    fn state(&self) -> State {
        match (&self.started, &self.waiting) {
            // Restored, and no step since.
            (None, Some(state)) => state.clone(),
            (None, None) => State::default().with_counter("steps", self.steps),
            (Some((combiner, _, similarity)), _) => {
                let values = combiner.state();
                let arrays = vec![Array::new(METHOD, vec![values.len()], values)];
                let state = State { arrays, ..State::default() }.with_counter("steps", self.steps);
                state.with_numbers(COSINES, &similarity.sums()).with_counter(COSINES, similarity.steps())
            }
        }
    }

    fn restore(&mut self, state: State) -> Result<()> {
        self.steps = state.counter("steps");
        (self.started, self.waiting) = (None, Some(state).filter(|state| !state.arrays.is_empty()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use lyceum_data::Extent;
    use lyceum_train::ModelConfig;

    fn slopes(step: usize, tasks: usize, n: usize, device: &Device) -> Slopes {
        let gradient =
            |task: usize| vector::from_vec((0..n).map(|i| ((i * 37 + task * 101 + step * 13) % 89) as f32 - 44.0).collect(), device);
        Slopes { losses: (0..tasks).map(|task| 1.0 + task as f64).collect(), gradients: (0..tasks).map(gradient).collect() }
    }

    #[test]
    fn groups_follow_names_and_a_restored_combiner_goes_on() {
        let device = lyceum_train::cpu();
        let extent = Extent { channels: 1, height: 4, width: 4 };
        let model = ModelConfig::Mlp { hidden: vec![8], dropout: 0.0 }.init(extent, 3, Seed::new(1), &device).unwrap();
        let space = ParamSpace::of(&model);
        let counts = [Granularity::Whole, Granularity::Layer, Granularity::Parameter].map(|granularity| granularity.groups(&space).len());
        assert_eq!(counts, [1, 2, 4]);
        let n = space.dimension();
        for method in Method::ALL {
            let new = || Multitask::new(method, Granularity::Layer, Seed::new(3)).unwrap();
            let (mut whole, mut again) = (new(), new());
            for step in 0..3 {
                whole.combine(&slopes(step, 3, n, &device), &space).unwrap();
            }
            again.restore(whole.state()).unwrap();
            let next = slopes(3, 3, n, &device);
            let found = [&mut whole, &mut again].map(|combiner| vector::to_vec(&combiner.combine(&next, &space).unwrap()));
            assert_eq!(found[0], found[1], "{method:?}");
            assert_eq!(whole.similarity(), again.similarity(), "{method:?}");
        }
        // The sum is what `Sum` gives.
        let next = slopes(0, 2, n, &device);
        let mut sum = Multitask::new(Method::Sum, Granularity::Parameter, Seed::new(0)).unwrap();
        assert_eq!(vector::to_vec(&sum.combine(&next, &space).unwrap()), vector::to_vec(&next.total()));
        assert_eq!(sum.similarity().unwrap().steps(), 1);
    }
}
