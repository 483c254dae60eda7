//! The networks while they learn. What they compute is what `lyceum_epidemic::tracing::learnt::Network` computes without a tensor
//! framework, on sets that are padded to the same length.

use std::{ops::Range, sync::Arc};

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, TensorData},
};
use lyceum_core::{Array, Seed, Stream};
use lyceum_epidemic::tracing::{
    DAYS, RISKS,
    learnt::{FLAT, HEALTH, Inputs, NetworkConfig, PROFILE, waves},
};
use lyceum_kernels::{Activation, attention, gather_rows, row_sums};
use lyceum_train::{Batch, Objective, ParamSpace, Pass, layers::Linear};
use rand::RngExt;

/// A phone on a day, and what was true.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    pub(super) inputs: Inputs,
    /// Infectiousness by days ago; tomorrow's in the place of today's.
    pub(super) truth: [f32; DAYS],
    /// Whether the owner is infectious today.
    pub(super) infectious: bool,
    /// So many days there were already.
    pub(super) days: usize,
    /// The cluster that whoever infected the owner is in.
    pub(super) exposure: Option<usize>,
}

/// Some samples.
#[derive(Debug, Clone)]
pub(super) struct Samples(pub(super) Vec<Arc<Sample>>);

impl Batch for Samples {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn rows(&self, rows: Range<usize>) -> Self {
        Self(self.0[rows].to_vec())
    }

    fn select(&self, positions: &[usize]) -> Self {
        Self(positions.iter().map(|&position| self.0[position].clone()).collect())
    }
}

/// A predictor: one of the two is there.
#[derive(Module, Debug)]
pub(super) struct Learner {
    linear: Option<Linear>,
    set: Option<Set>,
}

#[derive(Module, Debug)]
struct Set {
    health: Vec<Linear>,
    profile: Vec<Linear>,
    level: Vec<Linear>,
    days: Param<Tensor<2>>,
    partner: Param<Tensor<2>>,
    slot: Param<Tensor<2>>,
    blocks: Vec<Block>,
    infectiousness: Vec<Linear>,
    contagion: Vec<Linear>,
    #[module(skip)]
    width: usize,
    /// None where blocks join each thing with the greatest of all.
    #[module(skip)]
    heads: Option<usize>,
}

#[derive(Module, Debug)]
struct Block {
    first: Option<Linear>,
    both: Option<Linear>,
    qkv: Option<Linear>,
    last: Linear,
}

/// Dropout behind the first layers of health and profile.
const DROPOUT: f64 = 0.1;

impl Learner {
    pub(super) fn new(config: NetworkConfig, seed: Seed, device: &Device) -> Self {
        let rng = &mut seed.stream("model/init");
        let (width, blocks, heads) = match config {
            NetworkConfig::Linear => {
                return Self { linear: Some(Linear::with_normal_weight(FLAT, DAYS, 1e-3, rng, device)), set: None };
            }
            NetworkConfig::DeepSet { width, blocks } => (width, blocks, None),
            NetworkConfig::SetTransformer { width, blocks, heads } => (width, blocks, Some(heads)),
        };
        let meta = NetworkConfig::meta(width);
        let pair = |[inputs, hidden, outputs]: [usize; 3], rng: &mut Stream| {
            vec![
                Linear::new(inputs, hidden, rng, device),
                Linear::with_normal_weight(hidden, outputs, 1.0 / (hidden as f32).sqrt(), rng, device),
            ]
        };
        let table = |rows: usize, width: usize, rng: &mut Stream| {
            let values: Vec<f32> = (0..rows * width).map(|_| rng.random_range(-1.0..1.0)).collect();
            Param::from_tensor(Tensor::<2>::from_data(TensorData::new(values, [rows, width]), device).autodiff())
        };
        let set = Set {
            health: pair([HEALTH, width, width / 2], rng),
            profile: pair([PROFILE, width, width / 4], rng),
            level: pair([1, width, width], rng),
            days: table(DAYS, width / 4, rng),
            partner: table(1, width / 4, rng),
            slot: table(1, width / 2 + width, rng),
            blocks: (0..blocks)
                .map(|number| {
                    let inputs = if number == 0 { NetworkConfig::entity(width) } else { meta + width };
                    if heads.is_some() {
                        // Narrower than He's rule: no normalisation follows, and scores should begin small.
                        let qkv = Linear::with_normal_weight(inputs, 3 * width, 1.0 / (inputs as f32).sqrt(), rng, device);
                        return Block { first: None, both: None, qkv: Some(qkv), last: Linear::new(width, width, rng, device) };
                    }
                    Block {
                        first: Some(Linear::new(inputs, width, rng, device)),
                        both: Some(Linear::new(inputs + width, inputs, rng, device)),
                        qkv: None,
                        last: Linear::new(inputs, width, rng, device),
                    }
                })
                .collect(),
            infectiousness: pair([meta + width, width, 1], rng),
            contagion: pair([width, width, 1], rng),
            width,
            heads,
        };
        Self { linear: None, set: Some(set) }
    }

    /// The weights by the names that files have.
    pub(super) fn arrays(&self) -> Vec<Array> {
        let mut arrays = ParamSpace::of(self).arrays(self);
        arrays.iter_mut().for_each(|array| array.name = array.name.strip_prefix("set.").unwrap_or(&array.name).to_owned());
        arrays
    }

    /// Infectiousness `n × 14`, and of sets which cluster it came from, logits `n × s` with 14 slots in front.
    fn forward(&self, samples: &Samples, device: &Device, pass: &mut Pass) -> (Tensor<2>, Option<Tensor<2>>) {
        match (&self.linear, &self.set) {
            (Some(linear), _) => {
                let flat: Vec<f32> = samples.0.iter().flat_map(|sample| sample.inputs.flat()).collect();
                (linear.forward(constant(flat, [samples.len(), FLAT], device), Activation::None, pass), None)
            }
            (None, Some(set)) => {
                let (found, clusters) = set.forward(samples, device, pass);
                (found, Some(clusters))
            }
            (None, None) => unreachable!("a learner is one of the two"),
        }
    }
}

/// A tensor beside those of the network.
fn constant(values: Vec<f32>, shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::<2>::from_data(TensorData::new(values, shape), device).autodiff()
}

fn through(layers: &[Linear], x: Tensor<2>, dropout: f64, pass: &mut Pass) -> Tensor<2> {
    let hidden = layers[0].forward(x, Activation::Relu, pass);
    let hidden = if dropout > 0.0 { pass.dropout(hidden, dropout) } else { hidden };
    layers[1].forward(hidden, Activation::None, pass)
}

/// Things of a set that is padded.
fn longest(samples: &Samples) -> usize {
    samples.0.iter().map(|sample| sample.inputs.len()).max().unwrap_or(DAYS)
}

impl Set {
    fn forward(&self, samples: &Samples, device: &Device, pass: &mut Pass) -> (Tensor<2>, Tensor<2>) {
        let (n, s, w) = (samples.len(), longest(samples), self.width);
        let begun = self.entities(samples, s, device, pass);
        let meta = begun.clone().narrow(1, 0, NetworkConfig::meta(w));
        let present: Vec<f32> =
            samples.0.iter().flat_map(|sample| (0..s).map(|place| f32::from(u8::from(place < sample.inputs.len())))).collect();
        let present = constant(present, [n * s, 1], device);
        let of: Vec<u32> = (0..n as u32).flat_map(|phone| std::iter::repeat_n(phone, s)).collect();
        let mut x = begun;
        let mut found = x.clone();
        for block in &self.blocks {
            found = block.forward(x, &present, &of, [n, s, w], self.heads, pass) * present.clone();
            x = Tensor::cat(vec![meta.clone(), found.clone()], 1);
        }
        let slots: Vec<u32> = (0..n).flat_map(|phone| (0..DAYS).map(move |day| (phone * s + day) as u32)).collect();
        let risks = through(&self.infectiousness, gather_rows(x, &slots), 0.0, pass);
        let clusters = through(&self.contagion, found, 0.0, pass);
        (risks.reshape([n, DAYS]), clusters.reshape([n, s]))
    }

    /// `[day | whose | how many | health | message | profile]` of each thing.
    fn entities(&self, samples: &Samples, s: usize, device: &Device, pass: &mut Pass) -> Tensor<2> {
        let (n, w) = (samples.len(), self.width);
        let health: Vec<f32> = samples.0.iter().flat_map(|sample| sample.inputs.health.as_flattened()).copied().collect();
        let health = through(&self.health, constant(health, [n * DAYS, HEALTH], device), DROPOUT, pass);
        let profile: Vec<f32> = samples.0.iter().flat_map(|sample| sample.inputs.profile).collect();
        let profile = through(&self.profile, constant(profile, [n, PROFILE], device), DROPOUT, pass);
        let levels = constant((0..RISKS).map(|level| level as f32 / (RISKS - 1) as f32).collect(), [RISKS, 1], device);
        let levels = through(&self.level, levels, 0.0, pass);
        let slot = self.slot.val();
        let part = |from: usize, width: usize| slot.clone().narrow(1, from, width);
        // Padding is like a cluster of today without contacts.
        let (mut ago, mut level, mut is_slot) = (vec![0_u32; n * s], vec![0_u32; n * s], vec![0.0_f32; n * s]);
        let mut counts = vec![0.0_f32; n * s * w / 4];
        for (phone, sample) in samples.0.iter().enumerate() {
            for day in 0..DAYS {
                let at = phone * s + day;
                (ago[at], level[at], is_slot[at]) = (day as u32, RISKS as u32, 1.0);
            }
            for (number, cluster) in sample.inputs.clusters.iter().enumerate() {
                let at = phone * s + DAYS + number;
                (ago[at], level[at]) = (u32::from(cluster.ago), u32::from(cluster.level));
                waves(cluster.count, &mut counts[at * w / 4..(at + 1) * w / 4]);
            }
        }
        let owner: Vec<u32> = is_slot.iter().map(|slot| *slot as u32).collect();
        let phone: Vec<u32> = (0..n as u32).flat_map(|phone| std::iter::repeat_n(phone, s)).collect();
        let health_of: Vec<u32> = phone.iter().zip(&ago).map(|(phone, ago)| phone * DAYS as u32 + ago).collect();
        let parts = vec![
            gather_rows(self.days.val(), &ago),
            gather_rows(Tensor::cat(vec![self.partner.val(), part(0, w / 4)], 0), &owner),
            constant(counts, [n * s, w / 4], device) + constant(is_slot, [n * s, 1], device).matmul(part(w / 4, w / 4)),
            gather_rows(health, &health_of),
            gather_rows(Tensor::cat(vec![levels, part(w / 2, w)], 0), &level),
            gather_rows(profile, &phone),
        ];
        Tensor::cat(parts, 1)
    }
}

impl Block {
    #[allow(clippy::too_many_arguments, reason = "a set, how it is padded, and how it is looked at")]
    fn forward(
        &self,
        x: Tensor<2>,
        present: &Tensor<2>,
        of: &[u32],
        [n, s, w]: [usize; 3],
        heads: Option<usize>,
        pass: &mut Pass,
    ) -> Tensor<2> {
        if let (Some(qkv), Some(heads)) = (&self.qkv, heads) {
            let qkv = qkv.forward(x, Activation::None, pass);
            let q = qkv.clone().narrow(1, 0, w);
            // The kernel divides by √(w/heads), the authors by √w.
            let scaled = q.clone() / (heads as f64).sqrt();
            let packed = Tensor::cat(vec![scaled, qkv.narrow(1, w, 2 * w)], 1);
            let o = attention(packed, present.clone().squeeze_dim(1), n, heads) + q;
            return self.last.forward(o.clone(), Activation::Relu, pass) + o;
        }
        let (Some(first), Some(both)) = (&self.first, &self.both) else { unreachable!("a block is one of the two") };
        // After ReLU nothing is below the zeros of the padding.
        let each = first.forward(x.clone(), Activation::Relu, pass) * present.clone();
        let greatest = each.reshape([n, s, w]).max_dim(1).reshape([n, w]);
        let y = both.forward(Tensor::cat(vec![x.clone(), gather_rows(greatest, of)], 1), Activation::Relu, pass) + x;
        self.last.forward(y, Activation::Relu, pass)
    }
}

/// The mean squared error of infectiousness over the days that there were, and `contagion` times the mean cross-entropy of which
/// cluster the infection came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Infectiousness<'a> {
    pub(super) contagion: f64,
    /// The network's.
    pub(super) device: &'a Device,
}

impl Objective for Infectiousness<'_> {
    type Model = Learner;
    type Batch = Samples;

    fn losses(&self, _: usize, model: &Learner, batch: &Samples, pass: &mut Pass) -> Tensor<1> {
        let n = batch.len();
        let (found, clusters) = model.forward(batch, self.device, pass);
        let truth: Vec<f32> = batch.0.iter().flat_map(|sample| sample.truth).collect();
        let weights: Vec<f32> = batch
            .0
            .iter()
            .flat_map(|sample| (0..DAYS).map(|day| if day < sample.days { 1.0 / sample.days.min(DAYS) as f32 } else { 0.0 }))
            .collect();
        let error = found - constant(truth, [n, DAYS], self.device);
        let loss = row_sums(error.clone() * error * constant(weights, [n, DAYS], self.device));
        let Some(z) = clusters.filter(|_| self.contagion > 0.0) else { return loss };
        let s = longest(batch);
        let (mut from, mut weights) = (vec![0.0; n * s], vec![0.0; n * s]);
        for (phone, sample) in batch.0.iter().enumerate() {
            let clusters = sample.inputs.clusters.len();
            weights[phone * s + DAYS..][..clusters].fill(1.0 / clusters.max(1) as f32);
            if let Some(exposure) = sample.exposure {
                from[phone * s + DAYS + exposure] = 1.0;
            }
        }
        // −y log σ(z) − (1 − y) log(1 − σ(z)) = max(z, 0) − yz + log(1 + e^{−|z|})
        let from = constant(from, [n, s], self.device);
        let cross = z.clone().clamp_min(0.0) - from * z.clone() + (z.abs().neg().exp() + 1.0).log();
        loss + row_sums(cross * constant(weights, [n, s], self.device)) * self.contagion
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lyceum_epidemic::tracing::learnt::{Cluster, Network};
    use lyceum_train::{OptimizerConfig, Pipeline, Plain, Rate};

    fn samples(count: usize) -> Samples {
        let mut rng = Seed::new(2).stream("samples");
        let samples = (0..count).map(|number| {
            let mut inputs = Inputs { health: [[0.0; HEALTH]; DAYS], profile: [0.0; PROFILE], clusters: Vec::new() };
            inputs.health.as_flattened_mut().iter_mut().for_each(|x| *x = f32::from(u8::from(rng.random::<f32>() < 0.1)));
            for ago in 1..DAYS as u8 {
                for level in 0..RISKS as u8 {
                    if rng.random::<f32>() < 0.1 {
                        inputs.clusters.push(Cluster { ago, level, count: rng.random_range(1..30) });
                    }
                }
            }
            // What counts is a symptom and the highest level.
            let most = inputs.clusters.iter().map(|cluster| cluster.level).max().unwrap_or(0);
            let truth = std::array::from_fn(|day| 0.3 * inputs.health[day][4] + 0.02 * f32::from(most));
            let exposure = (!inputs.clusters.is_empty()).then_some(0);
            Arc::new(Sample { inputs, truth, infectious: false, days: 1 + number % 20, exposure })
        });
        Samples(samples.collect())
    }

    const NETWORKS: [NetworkConfig; 3] = [
        NetworkConfig::Linear,
        NetworkConfig::DeepSet { width: 16, blocks: 3 },
        NetworkConfig::SetTransformer { width: 16, blocks: 2, heads: 4 },
    ];

    #[test]
    fn what_learns_computes_what_predicts() {
        let samples = samples(9);
        for config in NETWORKS {
            let model = Learner::new(config, Seed::new(4), &lyceum_train::cpu());
            let network = Network::new(config, &model.arrays()).unwrap();
            let inputs: Vec<Inputs> = samples.0.iter().map(|sample| sample.inputs.clone()).collect();
            let expected = network.infectiousness(&inputs);
            let (found, _) = model.forward(&samples, &lyceum_train::cpu(), &mut Pass::evaluation());
            let found: Vec<f32> = found.inner().try_into_vec_as().unwrap();
            let close = found.iter().zip(expected.as_flattened()).all(|(a, b)| (a - b).abs() < 2e-5 * (1.0 + b.abs()));
            assert!(close, "{config:?}: {found:?} {expected:?}");
        }
    }

    #[test]
    fn all_of_them_learn() {
        let samples = samples(64);
        for config in NETWORKS {
            let model = Learner::new(config, Seed::new(4), &lyceum_train::cpu());
            let adam = OptimizerConfig::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
            let mut pipeline = Pipeline::new(model, Box::new(Plain), &adam).unwrap();
            let mut losses = Vec::new();
            for step in 0..60 {
                let objective = Infectiousness { contagion: 0.01, device: &lyceum_train::cpu() };
                losses.push(pipeline.step(&objective, &samples, Rate::constant(3e-3), Seed::new(step)).unwrap().losses[0]);
            }
            assert!(losses[59] < 0.3 * losses[0], "{config:?}: {losses:?}");
        }
    }
}
