//! Networks that gain and lose parts during training.

use lyceum_core::{Array, Result};
use ndarray::ArrayView2;

use crate::{Net, State, Vector, graph::Cost, pipeline::Saved, schedule::Rate};

/// Factors of parameters that are learnt beside them: gates on parts of a network.
pub trait Gating {
    /// mᵢ: the network is evaluated at mᵢwᵢ for the parameters w. `None` where all are 1.
    fn factors(&self) -> Option<&Vector>;

    /// Learns from a step: `gradient` is that of the loss with respect to the parameters w, before they change. Gives what is added to it,
    /// if anything.
    fn learn(&mut self, gradient: &Vector, parameters: &Vector, rate: Rate) -> Result<Option<Vector>>;
}

/// Decides which units and branches of a network are trained.
///
/// Training consists of rounds. Each round trains a subnetwork, as a network of its own; what was learnt of the other units and branches is
/// kept until they are trained again.
pub trait Structure: Gating + Send {
    /// The network of a round, and what was learnt, by its parameters: weights, statistics, moments. `now` is what was learnt so far, by the
    /// parameters of the network of the round before; in the first round, of the whole one.
    fn next(&mut self, round: Round, now: Saved) -> Result<(Net, Saved)>;

    /// The network that is left if training ends now, and whether it is not the one that is trained. `model` are the weights and statistics
    /// of the network in training.
    fn hardened(&self, model: &[Array]) -> Result<(Net, bool)>;

    /// 1 for each unit and branch of the network that [`hardened`](Self::hardened) gives, 0 for the others.
    fn kept(&self) -> Vec<f32>;

    /// The network with the units and branches that are 1 in `kept`; its weights are to be loaded.
    fn skeleton(&self, kept: &[f32]) -> Result<Net>;

    /// The rounds so far.
    fn stages(&self) -> &[Stage];

    /// The names of the groups and branches that a stage counts, and the size of each in the whole network.
    fn names(&self) -> Vec<(String, usize)>;

    /// What the whole network costs.
    fn whole(&self) -> Cost;

    /// The certificate of removal: how far what the trained network gives for examples is from what the whole one gives with 0 in the weights
    /// that read what is not there, at most, of the largest number.
    fn deviation(&self, net: &Net, examples: ArrayView2<'_, f32>) -> Result<f32>;

    /// What must be saved to go on later.
    fn state(&self) -> State;

    /// Goes on from a saved state: gives the network in training.
    fn restore(&mut self, state: &State) -> Result<Net>;
}

/// Which round of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// From 0 on.
    pub number: usize,
    /// How many there are.
    pub count: usize,
    /// Steps of a round.
    pub steps: usize,
}

/// What was trained in a round.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// What the network cost.
    pub cost: Cost,
    /// Its share of the whole network's cost, in the budget's measure.
    pub used: f64,
    /// The number of units of each group, then 0 or 1 for each branch.
    pub units: Vec<usize>,
}
