//! Networks without some of their units.

use std::collections::{BTreeMap, HashMap, HashSet};

use lyceum_core::{Array, Error, Result};

use super::{Conv, Graph, Op, Port, Unit, dependency::Channels};
use crate::{ParamSpace, param_space::ParamInfo};

/// Which numbers of parameters were kept: of each parameter that lost some, the kept indices along each axis.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slices(BTreeMap<String, Vec<Option<Vec<usize>>>>);

impl Graph {
    /// The network without these units of its [dependencies](Self::dependencies), and which numbers of its parameters are kept.
    ///
    /// # Errors
    ///
    /// Units of another network, and so many that nothing is left of a value.
    pub fn without(&self, units: &[&Unit]) -> Result<(Self, Slices)> {
        let channels = Channels::of(self);
        if !channels.are_units(units.iter().map(|unit| unit.atoms.as_slice())) {
            return Err(Error::invalid("the units to take out", "some of another network", "those of its own dependencies"));
        }
        let roots: HashSet<usize> = units.iter().flat_map(|unit| &unit.atoms).map(|atom| channels.root[*atom]).collect();
        let is_kept = |atom: &usize| !roots.contains(&channels.root[*atom]);
        let kept = |port: Port| -> Vec<usize> {
            let atoms = channels.atoms(port, self.shape(port));
            atoms.iter().enumerate().filter(|(_, atom)| is_kept(atom)).map(|(channel, _)| channel).collect()
        };
        let mut sliced = Self::new(self.input());
        for (number, node) in self.nodes().iter().enumerate() {
            let gives = kept(Port::Node(number));
            if gives.is_empty() {
                return Err(Error::invalid("the units to take out", format!("all of `{}`", node.name), "fewer"));
            }
            let outputs = gives.len();
            let reads = node.inputs.first().map_or(0, |port| kept(*port).len());
            let op = match node.op.clone() {
                Op::Conv(conv) => {
                    let is_depthwise = conv.groups > 1 && conv.groups == self.shape(node.inputs[0]).channels();
                    Op::Conv(Conv { outputs, groups: if is_depthwise { reads } else { conv.groups }, ..conv })
                }
                Op::TransposedConv { kernel, stride, padding, .. } => Op::TransposedConv { outputs, kernel, stride, padding },
                Op::Linear { .. } => Op::Linear { outputs },
                Op::Lstm { .. } => Op::Lstm { width: outputs },
                Op::Embedding { symbols, .. } => Op::Embedding { symbols, width: outputs },
                Op::GroupNorm { groups } => Op::GroupNorm { groups: groups * outputs / node.shape.channels() },
                Op::Reshape(shape) => Op::Reshape(shape.with_channels(outputs)),
                Op::Attention { heads } => Op::Attention { heads: heads * outputs / node.shape.channels() },
                Op::Constant(constant) => Op::Constant(constant.with_channels(&gives)),
                Op::Learned(constant) => Op::Learned(constant.with_channels(&gives)),
                Op::Gather(channels) => {
                    let left = kept(node.inputs[0]);
                    Op::Gather(gives.iter().map(|output| left.partition_point(|channel| *channel < channels[*output])).collect())
                }
                Op::Slice { from, .. } => {
                    let from = kept(node.inputs[0]).iter().filter(|channel| **channel < from).count();
                    Op::Slice { from, until: from + outputs }
                }
                op => op,
            };
            sliced.add(&node.name, op, &node.inputs)?;
        }
        sliced.family = self.family;
        sliced.layers.clone_from(&self.layers);
        let mut slices = Slices::default();
        for (parameter, axes) in self.layers.iter().flat_map(|place| channels.parameters(self, place)) {
            let of_axis = |atoms: Vec<usize>| {
                let kept: Vec<usize> = (0..atoms.len()).filter(|index| is_kept(&atoms[*index])).collect();
                (kept.len() < atoms.len()).then_some(kept)
            };
            let axes: Vec<Option<Vec<usize>>> = axes.into_iter().map(|axis| of_axis(axis.atoms)).collect();
            if axes.iter().any(Option::is_some) {
                slices.0.insert(parameter, axes);
            }
        }
        Ok((sliced, slices))
    }
}

impl Slices {
    /// The kept indices along the axes of a parameter; `None` for an axis, or a parameter, that lost nothing.
    pub fn kept(&self, parameter: &str) -> Option<&[Option<Vec<usize>>]> {
        self.0.get(parameter).map(Vec::as_slice)
    }

    /// Where the kept numbers of a parameter of this shape lie, in the order of the smaller one.
    pub fn positions(&self, parameter: &str, shape: &[usize]) -> Vec<usize> {
        let axes = self.0.get(parameter);
        shape.iter().enumerate().fold(vec![0], |positions, (axis, &extent)| {
            let all = || (0..extent).collect();
            let kept: Vec<usize> = axes.and_then(|axes| axes.get(axis)?.clone()).unwrap_or_else(all);
            positions.iter().flat_map(|position| kept.iter().map(move |index| position * extent + index)).collect()
        })
    }

    /// The kept numbers of arrays by parameter: parameters and statistics.
    pub fn arrays(&self, arrays: &[Array]) -> Vec<Array> {
        let one = |array: &Array| {
            let values = self.positions(&array.name, &array.shape).into_iter().map(|position| array.values[position]).collect();
            let axes = self.0.get(&array.name);
            let extent = |(axis, &extent): (usize, &usize)| axes.and_then(|axes| Some(axes.get(axis)?.as_ref()?.len())).unwrap_or(extent);
            Array::new(&array.name, array.shape.iter().enumerate().map(extent).collect(), values)
        };
        arrays.iter().map(one).collect()
    }

    /// The positions in the larger network's vector of the smaller one's numbers. What is not trained in the larger network has none.
    pub fn places(&self, large: &ParamSpace, small: &ParamSpace) -> Vec<usize> {
        let of: HashMap<&str, &ParamInfo> = large.params().iter().map(|info| (info.name.as_str(), info)).collect();
        let trained = small.params().iter().filter_map(|info| {
            let whole = of.get(info.name.as_str())?;
            Some((whole, whole.range.as_ref()?.start))
        });
        trained.flat_map(|(info, start)| self.positions(&info.name, &info.shape).into_iter().map(move |place| start + place)).collect()
    }
}
