//! Networks that become sparse while they are trained, by whatever method.

use lyceum_core::{Array, Error, Result, Seed, range};
use lyceum_data::split;
use lyceum_kernels::vector;
use lyceum_train::{
    Gating, Net, ParamSpace, Rate, State, Structure, Vector, cpu,
    graph::Cost,
    pipeline::Saved,
    structure::{Round, Stage},
};
use ndarray::ArrayView2;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Allocation, Budget, Criterion, Growth, Meter, Parts, Rules,
    criterion::places,
    gates::{Gated, Gates},
    plan,
    shrunk::apart,
    whole::{Part, Whole},
};

/// How a network becomes sparse while it is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SparsifyConfig {
    /// What the network may use in the end.
    pub budget: Budget,
    /// How it gets there.
    pub method: Method,
    /// The share of the epochs after which what is left is settled, within the budget: from then on a plain dense network is trained.
    #[serde(with = "range::Fraction")]
    pub settle: f64,
    /// The share of each group of units that stays at least; two units stay always.
    #[serde(with = "range::Fraction")]
    pub least: f64,
    /// The number of units of a group is a multiple of this, unless the group is complete: a register that is full is as fast as one that is not.
    /// If absent, 8 for groups of 32 units or more, else 1.
    #[serde(skip_serializing_if = "Option::is_none", with = "range::OptionalAtLeastOne")]
    pub round_to: Option<usize>,
    /// Whether branches beside shortcuts may be taken out as wholes.
    pub branches: bool,
}

/// A method of the paper or a baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Method {
    /// Gates that are learnt and sampled, from a seed on: structured continuous sparsification.
    Grow(#[serde(default)] Growth),
    /// Random units, ever more of them, as many of each group: the baseline of growth.
    Random {
        /// The share of the budget's measure at first.
        #[serde(default = "first_share", with = "range::PositiveFraction")]
        from: f64,
    },
    /// The same share of each group from the start on: a narrow network.
    Narrow,
    /// The whole network until it is settled; then the least important units go, by this criterion.
    Prune(#[serde(default)] Criterion),
    /// The same by the scales of batch normalisation, with a penalty λΣ|γ| on them until then (Liu et al., *Learning Efficient
    /// Convolutional Networks through Network Slimming*, 2017).
    Slimming {
        /// λ.
        #[serde(default = "slimming_penalty", with = "range::NonNegative")]
        penalty: f64,
    },
}

fn first_share() -> f64 {
    0.1
}

fn slimming_penalty() -> f64 {
    1e-4
}

impl Default for SparsifyConfig {
    fn default() -> Self {
        Self {
            budget: Budget::MultiplyAdds(0.5),
            method: Method::Grow(Growth::default()),
            settle: 0.4,
            least: 0.1,
            round_to: None,
            branches: false,
        }
    }
}

/// Decides what there is of a network, round by round.
pub struct Sparsifier {
    config: SparsifyConfig,
    seed: Seed,
    parts: Parts,
    meter: Meter,
    whole: Whole,
    part: Part,
    settled: bool,
    /// Of growth, from its first round on.
    gates: Option<Gates>,
    /// Of each number of the whole vector, the gate of the unit that it reads, and that of the branch that it ends.
    gate_of: [Vec<Option<u32>>; 2],
    /// The same of the part, as runs.
    gated: [Gated; 2],
    /// What the part's vector is multiplied with.
    factors: Option<Vector>,
    /// Of each unit, Σ (Σ g·w)² over the steps of the round; of slimming, where the scales are in the part's vector.
    importance: Vec<f64>,
    scales: Vec<usize>,
    stages: Vec<Stage>,
}

impl Sparsifier {
    /// For a network as it is trained.
    ///
    /// # Errors
    ///
    /// A value that the configuration does not allow, a network without units, weights behind gates that are frozen, and a criterion that
    /// the network has no numbers for.
    pub fn new(config: SparsifyConfig, net: &Net, seed: Seed) -> Result<Self> {
        range::check(&config)?;
        let parts = Parts::of(net.graph(), config.branches);
        if parts.groups.is_empty() {
            return Err(Error::invalid("sparsify", "a network without units that can be taken out", "one with hidden layers"));
        }
        let meter = Meter::new(config.budget, net.graph())?;
        let whole = Whole::of(net);
        let part = Part::new(&parts, vec![true; parts.len()], &whole.space)?;
        let gate_of = gate_of(&parts, &whole)?;
        let importance = vec![0.0; parts.len()];
        let mut sparsifier = Self {
            config,
            seed,
            meter,
            settled: false,
            gates: None,
            gate_of,
            gated: Default::default(),
            factors: None,
            importance,
            scales: Vec::new(),
            stages: Vec::new(),
            part,
            whole,
            parts,
        };
        if let Method::Slimming { .. } | Method::Prune(Criterion::BatchNorm) = sparsifier.config.method {
            Criterion::BatchNorm.importance(net, None, seed)?;
        }
        // A budget that cannot be met is refused before anything is trained.
        sparsifier.within(&vec![1.0; sparsifier.parts.len()], Allocation::Uniform, sparsifier.meter.share())?;
        sparsifier.place();
        Ok(sparsifier)
    }

    fn rules(&self, allocation: Allocation) -> Rules {
        Rules { budget: self.config.budget, allocation, least: self.config.least, round_to: self.config.round_to, rounds: 1 }
    }

    /// What stays within a share of the whole, by importance.
    fn within(&self, importance: &[f64], allocation: Allocation, share: f64) -> Result<Vec<bool>> {
        let units: Vec<usize> = self.parts.groups.iter().map(|group| group.units.len()).collect();
        self.rules(allocation).choose(&self.parts, importance, &plan::Whole { meter: &self.meter, units: &units, share })
    }

    /// At least as many units of each group as the rules want: of those that are not on, those with the highest scores.
    fn enough(&self, mut on: Vec<bool>, scores: &[f64]) -> Vec<bool> {
        let rules = self.rules(Allocation::Importance);
        for (span, group) in self.parts.spans().into_iter().zip(&self.parts.groups) {
            let count = group.units.len();
            let found = on[span.clone()].iter().filter(|on| **on).count();
            let wanted = count - rules.allowed(count, count - found, count);
            let mut order: Vec<usize> = span.filter(|unit| !on[*unit]).collect();
            order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
            order.into_iter().take(wanted.saturating_sub(found)).for_each(|unit| on[unit] = true);
        }
        on
    }

    /// The seed: a share of each group, and of the branches.
    fn seeded(&self, share: f64) -> Vec<bool> {
        let units = self.parts.groups.iter().flat_map(|group| {
            let count = (share * group.units.len() as f64).ceil() as usize;
            (0..group.units.len()).map(move |unit| unit < count)
        });
        // Spread over the depth.
        let branches = (0..self.parts.branches.len()).map(|branch| ((branch + 1) as f64 * share).floor() > (branch as f64 * share).floor());
        units.chain(branches).collect()
    }

    /// The units and branches that a round trains before the network is settled.
    fn drawn(&mut self, round: Round, until: usize) -> Result<Vec<bool>> {
        match &self.config.method {
            Method::Grow(growth) => {
                if let Some(gates) = &self.gates {
                    if !growth.sampled {
                        return Ok(self.part.on.clone());
                    }
                    let drawn = gates.draw(self.seed, round.number);
                    if growth.on_schedule {
                        let share = self.meter.share();
                        return self.within(&drawn, Allocation::Importance, self.allowed(round.number, until, share));
                    }
                    return Ok(self.enough(drawn.iter().map(|drawn| *drawn > 0.0).collect(), &gates.scores));
                }
                let seeded = self.seeded(growth.seed);
                let gates = Gates::new(growth.clone(), until, &seeded);
                let on = if growth.sampled { self.enough(seeded, &gates.scores) } else { vec![true; seeded.len()] };
                self.gates = Some(gates);
                Ok(on)
            }
            Method::Random { from } => {
                let target = self.meter.share();
                let share = from + (target - from) * round.number as f64 / until.max(1) as f64;
                self.within(&self.random(), Allocation::Uniform, share.min(target))
            }
            Method::Narrow => self.narrow(),
            Method::Prune(_) | Method::Slimming { .. } => Ok(vec![true; self.parts.len()]),
        }
    }

    /// The share that a round may use: from what the first one has used (`used`, where there was none before) to the budget.
    fn allowed(&self, round: usize, until: usize, used: f64) -> f64 {
        let share = self.meter.share();
        let first = self.stages.first().map_or(used, |stage| stage.used).min(share);
        first + (share - first) * round as f64 / until.max(1) as f64
    }

    fn random(&self) -> Vec<f64> {
        split::permutation(self.parts.len(), &mut self.seed.stream("sparsify/random")).into_iter().map(|place| place as f64).collect()
    }

    fn narrow(&self) -> Result<Vec<bool>> {
        self.within(&(0..self.parts.len()).rev().map(|place| place as f64).collect::<Vec<_>>(), Allocation::Uniform, self.meter.share())
    }

    /// What is left in the end.
    fn left(&self) -> Result<Vec<bool>> {
        let share = self.meter.share();
        match (&self.config.method, &self.gates) {
            (Method::Grow(_), Some(gates)) => self.within(&gates.scores, Allocation::Importance, share),
            (Method::Grow(growth), None) => {
                let seeded: Vec<f64> = self.seeded(growth.seed).into_iter().map(|on| f64::from(u8::from(on))).collect();
                self.within(&seeded, Allocation::Importance, share)
            }
            (Method::Random { .. }, _) => self.within(&self.random(), Allocation::Uniform, share),
            (Method::Narrow, _) => self.narrow(),
            (Method::Prune(Criterion::Taylor), _) => self.within(&self.importance, Allocation::Global, share),
            (Method::Prune(criterion), _) => self.within(&self.by(*criterion)?, Allocation::Global, share),
            (Method::Slimming { .. }, _) => self.within(&self.by(Criterion::BatchNorm)?, Allocation::Importance, share),
        }
    }

    /// Importance by the whole network's weights.
    fn by(&self, criterion: Criterion) -> Result<Vec<f64>> {
        let mut found = criterion.importance(&self.whole_net(&self.whole.arrays)?, None, self.seed)?.concat();
        // No criterion of units says how important a branch is.
        found.resize(self.parts.len(), f64::INFINITY);
        Ok(found)
    }

    /// The whole network with these weights and statistics.
    fn whole_net(&self, arrays: &[Array]) -> Result<Net> {
        let template = Net::new(self.parts.graph.clone(), Seed::new(0), &cpu())?;
        ParamSpace::of(&template).load(template, arrays)
    }

    /// The part's gates and scales, by its vector.
    fn place(&mut self) {
        self.gated = [0, 1].map(|which| Gated::new(self.part.places.iter().map(|place| self.gate_of[which][*place])));
        self.factors = self.gates.is_some().then(|| vector::from_vec(self.multiplied(vec![1.0; self.part.places.len()]), &cpu()));
        self.scales = Vec::new();
        if let Method::Slimming { .. } = self.config.method {
            let space = ParamSpace::of(&self.part.net);
            let is_scale = |name: &str| {
                let of_batch = |layer: &str| space.params().iter().any(|info| info.name == format!("{layer}running_mean"));
                name.strip_suffix("gamma").is_some_and(of_batch)
            };
            let scales = space.params().iter().filter(|info| is_scale(&info.name)).filter_map(|info| info.range.clone());
            self.scales = scales.flatten().collect();
        }
    }

    /// Numbers of the part's vector times their gates.
    fn multiplied(&self, mut numbers: Vec<f32>) -> Vec<f32> {
        if let Some(gates) = &self.gates {
            let values = gates.values();
            self.gated.iter().for_each(|gated| gated.multiply(&mut numbers, &values));
        }
        numbers
    }

    /// Multiplies the weights behind gates with these values.
    fn fold(&self, whole: &mut Whole, values: &[f32]) {
        let mut numbers = vec![1.0; whole.space.dimension()];
        self.gate_of.iter().for_each(|gate_of| Gated::new(gate_of.iter().copied()).multiply(&mut numbers, values));
        for (info, array) in whole.space.params().iter().zip(&mut whole.arrays) {
            if let Some(range) = &info.range {
                array.values.iter_mut().zip(&numbers[range.clone()]).for_each(|(value, factor)| *value *= factor);
            }
        }
    }

    fn hard(&self) -> Vec<bool> {
        match &self.gates {
            Some(gates) => self.enough(gates.scores.iter().map(|score| *score > 0.0).collect(), &gates.scores),
            _ => self.part.on.clone(),
        }
    }
}

/// Of each number of the whole vector, the gate of the unit that it reads, and that of the branch that it ends.
fn gate_of(parts: &Parts, whole: &Whole) -> Result<[Vec<Option<u32>>; 2]> {
    let [mut units, mut branches] = [0, 1].map(|_| vec![None; whole.space.dimension()]);
    let info = |name: &str| whole.space.params().iter().find(|info| info.name == name);
    let frozen = |what: &str| {
        Error::invalid("sparsify", format!("frozen parameters behind the gates of {what}"), "a network that is trained as a whole")
    };
    for (gate, unit) in parts.units().enumerate() {
        for slice in &unit.read {
            let info = info(&slice.parameter).ok_or_else(|| frozen(&slice.parameter))?;
            let start = info.range.as_ref().ok_or_else(|| frozen(&slice.parameter))?.start;
            places(&info.shape, slice).for_each(|place| units[start + place] = Some(gate as u32));
        }
    }
    let first = parts.len() - parts.branches.len();
    for (branch, own) in parts.branches.iter().enumerate() {
        for name in &own.ends {
            let range = info(name).and_then(|info| info.range.clone()).ok_or_else(|| frozen(name))?;
            branches[range].fill(Some((first + branch) as u32));
        }
    }
    Ok([units, branches])
}

impl Gating for Sparsifier {
    fn factors(&self) -> Option<&Vector> {
        self.factors.as_ref()
    }

    fn learn(&mut self, gradient: &Vector, parameters: &Vector, rate: Rate) -> Result<Option<Vector>> {
        if self.settled {
            return Ok(None);
        }
        if let Method::Slimming { penalty } = self.config.method {
            let (mut added, parameters) = (vec![0.0; self.part.places.len()], vector::to_vec(parameters));
            self.scales.iter().for_each(|place| added[*place] = penalty as f32 * parameters[*place].signum());
            return Ok(Some(vector::from_vec(added, &gradient.device())));
        }
        if self.gates.is_some() || self.config.method == Method::Prune(Criterion::Taylor) {
            let (gradient, parameters) = (vector::to_vec(gradient), vector::to_vec(parameters));
            let mut slopes = vec![0.0; self.parts.len()];
            self.gated.iter().for_each(|gated| gated.add_slopes(&gradient, &parameters, &mut slopes));
            match &mut self.gates {
                Some(gates) => {
                    gates.step(&slopes, rate.relative);
                    self.factors = Some(vector::from_vec(self.multiplied(vec![1.0; gradient.len()]), &cpu()));
                }
                None => self.importance.iter_mut().zip(slopes).for_each(|(sum, slope)| *sum += slope * slope),
            }
        }
        Ok(None)
    }
}

impl Structure for Sparsifier {
    fn next(&mut self, round: Round, now: Saved) -> Result<(Net, Saved)> {
        self.whole.absorb(&self.part, &now);
        // At least one round is of what is left.
        let until = ((self.config.settle * round.count as f64).round() as usize).min(round.count - 1);
        let mut used = self.stages.last().map_or(1.0, |stage| stage.used);
        if !self.settled {
            let on = if round.number >= until { self.left()? } else { self.drawn(round, until)? };
            if on != self.part.on {
                self.part = Part::new(&self.parts, on, &self.whole.space)?;
            }
            used = self.meter.used(self.part.net.graph())?;
            let allowed = self.allowed(round.number + 1, until, used);
            self.importance.fill(0.0);
            if round.number >= until {
                // Gates are hard: what is left counts whole.
                (self.settled, self.gates) = (true, None);
            }
            if let Some(gates) = &mut self.gates {
                gates.begin(&self.part.on, used, allowed, round.steps);
            }
            self.place();
        }
        let graph = self.part.net.graph();
        let spans = self.parts.spans();
        let units = spans.into_iter().map(|span| self.part.on[span].iter().filter(|on| **on).count()).collect();
        self.stages.push(Stage { cost: graph.cost(), used, units });
        Ok((self.part.net.clone(), self.whole.saved(&self.part, now)))
    }

    fn hardened(&self, model: &[Array]) -> Result<(Net, bool)> {
        let load = |part: &Part, arrays: &[Array]| ParamSpace::of(&part.net).load(part.net.clone(), arrays);
        let Some(gates) = &self.gates else { return Ok((load(&self.part, model)?, false)) };
        let mut whole = self.whole.clone();
        whole.absorb_model(&self.part, model);
        self.fold(&mut whole, &gates.values());
        let on = self.hard();
        if on == self.part.on {
            return Ok((load(&self.part, &whole.model(&self.part))?, false));
        }
        let part = Part::new(&self.parts, on, &whole.space)?;
        Ok((load(&part, &whole.model(&part))?, true))
    }

    fn kept(&self) -> Vec<f32> {
        self.hard().into_iter().map(|on| f32::from(u8::from(on))).collect()
    }

    fn skeleton(&self, kept: &[f32]) -> Result<Net> {
        Net::new(self.parts.reduced(&kept.iter().map(|kept| *kept > 0.0).collect::<Vec<_>>())?.0, Seed::new(0), &cpu())
    }

    fn stages(&self) -> &[Stage] {
        &self.stages
    }

    fn names(&self) -> Vec<(String, usize)> {
        self.parts.names().into_iter().zip(self.parts.spans()).map(|(name, span)| (name, span.len())).collect()
    }

    fn whole(&self) -> Cost {
        self.parts.graph.cost()
    }

    fn deviation(&self, net: &Net, examples: ArrayView2<'_, f32>) -> Result<f32> {
        let mut whole = self.whole.clone();
        whole.absorb_model(&self.part, &ParamSpace::of(net).arrays(net));
        let on: Vec<f32> = self.part.on.iter().map(|on| f32::from(u8::from(*on))).collect();
        self.fold(&mut whole, &on);
        apart(net, &self.whole_net(&whole.arrays)?, examples)
    }

    fn state(&self) -> State {
        let named = |prefix: &str, array: &Array| Array { name: format!("{prefix}/{}", array.name), ..array.clone() };
        let mut state = State::default();
        state.arrays.extend(self.whole.arrays.iter().map(|array| named("model", array)));
        let vectors =
            self.whole.vectors.iter().map(|(name, values)| Array::new(format!("vector/{name}"), vec![values.len()], values.clone()));
        state.arrays.extend(vectors);
        let on: Vec<f64> = self.part.on.iter().map(|on| f64::from(u8::from(*on))).collect();
        let stages = self.stages.iter().flat_map(|stage| stage.units.iter().map(|count| *count as f64));
        state = state.with_numbers("on", &on).with_numbers("importance", &self.importance);
        state = state.with_numbers("settled", &[f64::from(u8::from(self.settled))]).with_numbers("stages", &stages.collect::<Vec<_>>());
        let costs = self.stages.iter().flat_map(|stage| {
            let Stage { cost, used, .. } = stage;
            [cost.parameters as f64, cost.multiply_adds as f64, cost.activation_bytes as f64, *used]
        });
        state = state.with_numbers("costs", &costs.collect::<Vec<_>>());
        if let Some(gates) = &self.gates {
            state = state.with_numbers("scores", &gates.scores).with_numbers("counts", &gates.counts);
            state = state.with_numbers("gates", &gates.numbers());
        }
        state
    }

    fn restore(&mut self, state: &State) -> Result<Net> {
        let wrong = || Error::Failed("the saved structure belongs to another network".into());
        for array in &mut self.whole.arrays {
            let name = format!("model/{}", array.name);
            let saved = state.arrays.iter().find(|saved| saved.name == name && saved.shape == array.shape);
            array.values.clone_from(&saved.ok_or_else(wrong)?.values);
        }
        let vectors = state.arrays.iter().filter_map(|array| Some((array.name.strip_prefix("vector/")?.to_owned(), array.values.clone())));
        self.whole.vectors = vectors.collect();
        let on: Vec<bool> = state.numbers("on").into_iter().map(|on| on > 0.0).collect();
        if on.len() != self.parts.len() {
            return Err(wrong());
        }
        self.part = Part::new(&self.parts, on, &self.whole.space)?;
        self.importance = state.numbers("importance");
        self.settled = state.numbers("settled") == [1.0];
        let (scores, counts) = (state.numbers("scores"), state.numbers("counts"));
        if let (Method::Grow(growth), Ok(numbers)) = (&self.config.method, state.numbers("gates").try_into()) {
            self.gates = Some(Gates::restored(growth.clone(), numbers, scores, counts));
        }
        let (costs, counts) = (state.numbers("costs"), state.numbers("stages"));
        let groups = self.parts.groups.len() + self.parts.branches.len();
        let stage = |(cost, units): (&[f64; 4], &[f64])| {
            let [parameters, multiply_adds, activation_bytes, used] = *cost;
            let [parameters, multiply_adds, activation_bytes] = [parameters, multiply_adds, activation_bytes].map(|number| number as u64);
            let cost = Cost { parameters, multiply_adds, activation_bytes };
            Stage { cost, used, units: units.iter().map(|count| *count as usize).collect() }
        };
        self.stages = costs.as_chunks::<4>().0.iter().zip(counts.chunks(groups)).map(stage).collect();
        self.place();
        Ok(self.part.net.clone())
    }
}
