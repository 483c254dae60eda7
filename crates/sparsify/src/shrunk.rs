//! The smaller network.

use lyceum_core::{Result, Seed, interrupt, range};
use lyceum_train::{
    Net, ParamSpace, cpu,
    graph::{Cost, Graph, Unit},
};
use ndarray::ArrayView2;

use crate::{
    Meter, Parts, Rules,
    criterion::{Importance, places},
    plan::Whole,
};

/// A network that has lost units.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// A plain dense network, with the weights that are left.
    pub net: Net,
    /// What each group of units has kept.
    pub kept: Vec<Kept>,
    /// What the whole network costs.
    pub whole: Cost,
    /// Of each round, which units of the network before it are left.
    pub left: Vec<Vec<bool>>,
    /// Of each round, the network after it, and that before it with 0 in the weights that read a lost unit: both give the same.
    rounds: Vec<[Net; 2]>,
}

/// What a group of units has kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The first node that makes them.
    pub name: String,
    /// How many there are.
    pub units: usize,
    /// How many are left.
    pub left: usize,
}

/// Takes out units until the budget is met, in rounds, each by the importance of what was left before it.
///
/// # Errors
///
/// A network without units, a budget that cannot be met, and what `importance` says.
pub fn shrink(net: &Net, rules: &Rules, mut importance: impl FnMut(&Net) -> Result<Importance>) -> Result<Shrunk> {
    range::check(rules)?;
    let (units, meter) = (counts(net.graph()), Meter::new(rules.budget, net.graph())?);
    let mut left = Vec::new();
    let mut now = net.clone();
    for round in 1..=rules.rounds {
        interrupt::check()?;
        let share = meter.share().powf(round as f64 / rules.rounds as f64);
        let parts = Parts::of(now.graph(), false);
        let own = rules.choose(&parts, &importance(&now)?.concat(), &Whole { meter: &meter, units: &units, share })?;
        now = taken_out(&now, &own)?.map_or(now, |[net, _]| net);
        left.push(own);
    }
    Shrunk::of(net, left)
}

fn counts(graph: &Graph) -> Vec<usize> {
    graph.dependencies().iter().map(|group| group.units.len()).collect()
}

/// The network with the units that are left, and with 0 in the weights that read the others; nothing if all are.
fn taken_out(net: &Net, left: &[bool]) -> Result<Option<[Net; 2]>> {
    let parts = Parts::of(net.graph(), false);
    let out: Vec<&Unit> = parts.units().zip(left).filter(|(_, left)| !**left).map(|(unit, _)| unit).collect();
    if out.is_empty() { Ok(None) } else { without(net, &out).map(Some) }
}

/// The network without these units of its dependencies, and with 0 in the weights that read them.
///
/// # Errors
///
/// As [`Graph::without`](lyceum_train::graph::Graph::without).
pub fn without(net: &Net, units: &[&Unit]) -> Result<[Net; 2]> {
    let space = ParamSpace::of(net);
    let mut arrays = space.arrays(net);
    let (graph, slices) = net.graph().without(units)?;
    let small = Net::new(graph, Seed::new(0), &cpu())?;
    let small = ParamSpace::of(&small).load(small, &slices.arrays(&arrays))?;
    for slice in units.iter().flat_map(|unit| &unit.read) {
        if let Some(array) = arrays.iter_mut().find(|array| array.name == slice.parameter) {
            places(&array.shape.clone(), slice).for_each(|place| array.values[place] = 0.0);
        }
    }
    Ok([small, space.load(net.clone(), &arrays)?])
}

impl Shrunk {
    /// A network with the units that are left after each round.
    ///
    /// # Errors
    ///
    /// As [`without`].
    pub fn of(net: &Net, left: Vec<Vec<bool>>) -> Result<Self> {
        let mut shrunk = Self { net: net.clone(), kept: Vec::new(), whole: net.graph().cost(), rounds: Vec::new(), left };
        for left in &shrunk.left {
            if let Some([net, masked]) = taken_out(&shrunk.net, left)? {
                shrunk.rounds.push([net.clone(), masked]);
                shrunk.net = net;
            }
        }
        let names = net.graph().dependencies().into_iter().map(|group| group.name);
        let counts = counts(net.graph()).into_iter().zip(counts(shrunk.net.graph()));
        shrunk.kept = names.zip(counts).map(|(name, (units, left))| Kept { name, units, left }).collect();
        Ok(shrunk)
    }

    /// The certificate of removal: how far what a network gives for examples is, after a round, from what the one before it gives with 0 in the
    /// weights that read a lost unit, at most, of the largest number.
    ///
    /// # Errors
    ///
    /// Rows of another width.
    pub fn deviation(&self, examples: ArrayView2<'_, f32>) -> Result<f32> {
        let of_round = |[net, masked]: &[Net; 2]| apart(net, masked, examples);
        self.rounds.iter().map(of_round).try_fold(0.0_f32, |most, deviation| Ok(most.max(deviation?)))
    }
}

/// How far what a network gives is from what another gives, at most, of the largest number.
pub(crate) fn apart(net: &Net, other: &Net, examples: ArrayView2<'_, f32>) -> Result<f32> {
    let (found, expected) = (net.predictor()?.logits(examples)?, other.predictor()?.logits(examples)?);
    let largest = expected.iter().fold(f32::MIN_POSITIVE, |largest, z| largest.max(z.abs()));
    let apart = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
    // What is no number is no certificate.
    Ok(apart.fold(0.0_f32, |most, apart| if apart.is_nan() { f32::INFINITY } else { most.max(apart) }) / largest)
}
