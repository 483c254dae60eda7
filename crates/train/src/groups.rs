//! Parameters that are trained otherwise than the rest: slower, without weight decay, by another optimiser, or not at all.

use std::ops::Range;

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Device, Tensor},
};
use lyceum_core::{Array, Error, Result, range};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    OptimizerConfig, ParamSpace, State, Vector,
    optimizer::Optimizer,
    param_space::{Kind, ParamInfo, concatenate, like},
};

/// A group of parameters. A parameter belongs to the first group that has its kind or its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Parameters of these kinds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<Kind>,
    /// Parameters with these names; `*` stands for any text, as in "blocks.*.bias". The network's own name in front can be left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// What the learning rate is multiplied with.
    #[serde(default = "one", with = "range::NonNegative")]
    pub learning_rate_factor: f64,
    /// What the weight decay is multiplied with; 0 for none.
    #[serde(default = "one", with = "range::NonNegative")]
    pub weight_decay_factor: f64,
    /// Another optimiser than the rest has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<OptimizerConfig>,
    /// Keep them as they are. Running averages of batch normalisation still follow the batches.
    #[serde(default)]
    pub frozen: bool,
}

fn one() -> f64 {
    1.0
}

impl Default for Group {
    /// A group that nothing belongs to, trained as the rest.
    fn default() -> Self {
        Self {
            kinds: Vec::new(),
            names: Vec::new(),
            learning_rate_factor: one(),
            weight_decay_factor: one(),
            optimizer: None,
            frozen: false,
        }
    }
}

impl Group {
    fn has(&self, info: &ParamInfo) -> bool {
        self.kinds.contains(&info.kind) || self.names.iter().any(|pattern| names(pattern, info))
    }
}

/// Whether a pattern is one of a parameter's name, with or without the network's own name in front.
fn names(pattern: &str, info: &ParamInfo) -> bool {
    // Types have capitals, layers mostly not.
    let is_type = info.name.starts_with(|letter: char| letter.is_uppercase());
    let within = info.name.split_once('.').filter(|_| is_type).map_or("", |(_, within)| within);
    matches(pattern, &info.name) || matches(pattern, within)
}

/// Whether a name is what a pattern says, in which each `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
            ends.into_iter().any(|at| matches(rest, &name[at..]))
        }),
    }
}

/// For each parameter of the space the number of its group; `None` for the rest and for statistics.
///
/// # Errors
///
/// A group that is no group of this network, or that leaves nothing to train.
pub(crate) fn assign(groups: &[Group], space: &ParamSpace) -> Result<Vec<Option<usize>>> {
    let group_of = |info: &ParamInfo| groups.iter().position(|group| group.has(info)).filter(|_| info.kind != Kind::Statistic);
    let assigned: Vec<Option<usize>> = space.params().iter().map(group_of).collect();
    let allowed = || {
        let params = space.params().iter().filter(|info| info.kind != Kind::Statistic);
        params.map(|info| info.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    for (number, group) in groups.iter().enumerate() {
        let place = format!("training.group.{number}");
        let trains = Group { kinds: Vec::new(), names: Vec::new(), frozen: false, ..group.clone() };
        if group.frozen && trains != Group::default() {
            return Err(Error::invalid(place, "frozen beside what is for training", "one of them"));
        }
        if let Some(pattern) = group.names.iter().find(|pattern| !space.params().iter().any(|info| names(pattern, info))) {
            return Err(Error::invalid(format!("{place}.names"), format!("{pattern:?}, which no parameter has"), allowed()));
        }
        if !assigned.contains(&Some(number)) {
            let found = format!("kinds {:?} and names {:?}, which no parameter has that is in no earlier group", group.kinds, group.names);
            return Err(Error::invalid(place, found, allowed()));
        }
    }
    let is_trained = |group: &Option<usize>| group.is_none_or(|number| !groups[number].frozen);
    if !space.params().iter().zip(&assigned).any(|(info, group)| info.range.is_some() && is_trained(group)) {
        return Err(Error::invalid("training.group", "every parameter frozen", "at least one that is trained"));
    }
    Ok(assigned)
}

/// The module with the parameters of frozen groups no longer trained.
pub(crate) fn freeze<M: Module>(module: M, groups: &[Group], assigned: &[Option<usize>]) -> M {
    let frozen: Vec<bool> = assigned.iter().map(|group| group.is_some_and(|number| groups[number].frozen)).collect();
    if frozen.contains(&true) { module.map(&mut Freeze { frozen: frozen.into_iter() }) } else { module }
}

struct Freeze {
    /// For each parameter and buffer, in order.
    frozen: std::vec::IntoIter<bool>,
}

impl ModuleMapper for Freeze {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.frozen.next() != Some(true) {
            return param;
        }
        let (id, value, mapper) = param.consume();
        Param::from_mapped_value(id, like(value.clone().inner(), &value), mapper)
    }
}

/// A group's own optimiser and where its parameters stand in the vector.
struct Rule {
    ranges: Vec<Range<usize>>,
    rate_factor: f64,
    optimizer: Optimizer,
}

/// The optimisers of a vector's parts.
pub(crate) struct Rules(Vec<Rule>);

impl Rules {
    /// One optimiser for all.
    pub(crate) fn one(optimizer: &OptimizerConfig, space: &ParamSpace) -> Result<Self> {
        let ranges = std::iter::once(0..space.dimension()).collect();
        Ok(Self(vec![Rule { ranges, rate_factor: 1.0, optimizer: optimizer.init()? }]))
    }

    /// One for each group that is trained, and one for the rest if there is any.
    pub(crate) fn of_groups(rest: &OptimizerConfig, groups: &[Group], assigned: &[Option<usize>], space: &ParamSpace) -> Result<Self> {
        let mut rules = Vec::new();
        for number in (0..groups.len()).map(Some).chain([None]) {
            let mut ranges: Vec<Range<usize>> = Vec::new();
            for range in
                space.params().iter().zip(assigned).filter(|(_, group)| **group == number).filter_map(|(info, _)| info.range.clone())
            {
                match ranges.last_mut() {
                    Some(last) if last.end == range.start => last.end = range.end,
                    _ => ranges.push(range),
                }
            }
            if !ranges.is_empty() {
                let group = number.map(|number| &groups[number]);
                let optimizer = group.and_then(|group| group.optimizer.as_ref()).unwrap_or(rest).init()?;
                rules.push(Rule { ranges, rate_factor: group.map_or(1.0, |group| group.learning_rate_factor), optimizer });
            }
        }
        Ok(Self(rules))
    }

    /// The parameters after one step.
    pub(crate) fn step(&mut self, rate: f64, parameters: Vector, gradient: Vector) -> Vector {
        if let [Rule { rate_factor, optimizer, .. }] = self.0.as_mut_slice() {
            return optimizer.step(rate * *rate_factor, parameters, gradient);
        }
        let mut parts: Vec<(usize, Vector)> = Vec::new();
        for Rule { ranges, rate_factor, optimizer } in &mut self.0 {
            let gather =
                |vector: &Vector| concatenate(ranges.iter().map(|range| vector.clone().narrow(0, range.start, range.len())).collect());
            let stepped = optimizer.step(rate * *rate_factor, gather(&parameters), gather(&gradient));
            let mut at = 0;
            for range in ranges.iter() {
                parts.push((range.start, stepped.clone().narrow(0, at, range.len())));
                at += range.len();
            }
        }
        parts.sort_by_key(|(start, _)| *start);
        concatenate(parts.into_iter().map(|(_, part)| part).collect())
    }

    /// What must be saved to go on later, by parameter: numbers that a parameter's optimiser does not have are 0.
    pub(crate) fn state(&self) -> State {
        if let [only] = self.0.as_slice() {
            return only.optimizer.state();
        }
        let dimension = self.0.iter().flat_map(|rule| &rule.ranges).map(|range| range.end).max().unwrap_or(0);
        let mut all = State::default();
        for Rule { ranges, optimizer, .. } in &self.0 {
            let State { arrays, counters } = optimizer.state();
            all.counters.extend(counters);
            for own in arrays {
                let place = all.arrays.iter().position(|array| array.name == own.name).unwrap_or_else(|| {
                    all.arrays.push(Array::new(&own.name, vec![dimension], vec![0.0; dimension]));
                    all.arrays.len() - 1
                });
                let mut rest = own.values.as_slice();
                for range in ranges {
                    let (values, others) = rest.split_at(range.len());
                    all.arrays[place].values[range.clone()].copy_from_slice(values);
                    rest = others;
                }
            }
        }
        all
    }

    /// Goes on from a saved state.
    pub(crate) fn restore(&mut self, state: &State, device: &Device) -> Result<()> {
        if let [only] = self.0.as_mut_slice() {
            return only.optimizer.restore(state, device);
        }
        for Rule { ranges, optimizer, .. } in &mut self.0 {
            let part = |array: &Array| {
                let values: Option<Vec<&[f32]>> = ranges.iter().map(|range| array.values.get(range.clone())).collect();
                let values = values.ok_or_else(|| Error::Failed("the saved optimiser has other parameters".into()))?.concat();
                Ok(Array::new(&array.name, vec![values.len()], values))
            };
            let arrays = state.arrays.iter().map(part).collect::<Result<_>>()?;
            optimizer.restore(&State { arrays, counters: state.counters.clone() }, device)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        for (pattern, name, right) in [
            ("conv1.weight", "conv1.weight", true),
            ("conv1", "conv1.weight", false),
            ("conv1.*", "conv1.weight", true),
            ("*.bias", "blocks.0.conv.bias", true),
            ("*.bias", "bias", false),
            ("blocks.*.conv*", "blocks.10.conv2.weight", true),
            ("*", "", true),
            ("**", "x", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, name), right, "{pattern} {name}");
        }
    }
}
