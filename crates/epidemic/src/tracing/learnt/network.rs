//! The networks, for prediction alone: many phones at a time, one matrix product a layer.

use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use lyceum_core::{Array, Error, Result, math::exp_of_negative, vectorize};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FLAT, HEALTH, Inputs, PROFILE, Predict, waves};
use crate::tracing::{DAYS, Phone, RISKS};

/// Which network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum NetworkConfig {
    /// A linear function of all inputs in a row ([`Inputs::flat`]).
    Linear,
    /// Blocks that join each thing of the set with the greatest of all (DS-PCT: width 128, 5 blocks).
    DeepSet {
        /// Numbers that stand for a thing; a multiple of 8.
        width: usize,
        /// Blocks.
        blocks: usize,
    },
    /// Blocks of self-attention (ST-PCT: width 128, 5 blocks, 4 heads).
    SetTransformer {
        /// Numbers that stand for a thing; a multiple of 8 and of the heads.
        width: usize,
        /// Blocks.
        blocks: usize,
        /// Heads of attention.
        heads: usize,
    },
}

impl NetworkConfig {
    /// What is wrong with the extents, and what is allowed.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: &str, found: usize, allowed: &str| Err(Error::invalid(what, found, allowed));
        match *self {
            Self::Linear => Ok(()),
            Self::DeepSet { width, blocks } | Self::SetTransformer { width, blocks, .. } => {
                if !(8..=1024).contains(&width) || !width.is_multiple_of(8) {
                    return wrong("width", width, "a multiple of 8, up to 1024");
                }
                if !(1..=32).contains(&blocks) {
                    return wrong("blocks", blocks, "1 to 32");
                }
                match *self {
                    Self::SetTransformer { heads, .. } if heads == 0 || !width.is_multiple_of(heads) => {
                        wrong("heads", heads, "a number that divides the width")
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Numbers that stay with a thing through all blocks: its day, whose it is, how many.
    pub fn meta(width: usize) -> usize {
        3 * width / 4
    }

    /// Numbers that a thing begins with: these, health, message and profile.
    pub fn entity(width: usize) -> usize {
        5 * width / 2
    }
}

/// A matrix of rows.
#[derive(Debug, Clone)]
struct Rows {
    values: Vec<f32>,
    width: usize,
}

impl Rows {
    fn zeros(rows: usize, width: usize) -> Self {
        Self { values: vec![0.0; rows * width], width }
    }

    fn len(&self) -> usize {
        self.values.len() / self.width
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..(row + 1) * self.width]
    }

    fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.values[row * self.width..(row + 1) * self.width]
    }

    fn view(&self) -> MatRef<'_, f32> {
        MatRef::from_row_major_slice(&self.values, self.len(), self.width)
    }

    fn relu(mut self) -> Self {
        self.values.iter_mut().for_each(|x| *x = x.max(0.0));
        self
    }

    fn add(mut self, other: &Self) -> Self {
        self.values.iter_mut().zip(&other.values).for_each(|(x, y)| *x += y);
        self
    }

    /// The first `width` columns of `left` beside all of `right`.
    fn beside(left: &Self, width: usize, right: &Self) -> Self {
        let mut both = Self::zeros(right.len(), width + right.width);
        for row in 0..right.len() {
            let into = both.row_mut(row);
            into[..width].copy_from_slice(&left.row(row)[..width]);
            into[width..].copy_from_slice(right.row(row));
        }
        both
    }
}

/// xW + b.
#[derive(Debug, Clone)]
struct Layer {
    weight: Rows,
    bias: Vec<f32>,
}

impl Layer {
    fn apply(&self, x: &Rows) -> Rows {
        self.apply_part(x, 0, &self.bias)
    }

    /// With the rows of the weight from one on alone.
    fn apply_part(&self, x: &Rows, from: usize, bias: &[f32]) -> Rows {
        let mut y = Rows::zeros(x.len(), self.weight.width);
        y.values.chunks_exact_mut(self.weight.width).for_each(|row| row.copy_from_slice(bias));
        let weight = self.weight.view().subrows(from, x.width);
        let (n, k) = (y.len(), y.width);
        matmul(MatMut::from_row_major_slice_mut(&mut y.values, n, k), Accum::Add, x.view(), weight, 1.0, Par::Seq);
        y
    }
}

/// Reads layers out of arrays.
struct Reader<'a>(&'a [Array]);

impl Reader<'_> {
    fn array(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let found = self.0.iter().find(|array| array.name == name);
        let found = found.ok_or_else(|| Error::Failed(format!("there is no array `{name}`")))?;
        if found.shape != shape {
            return Err(Error::Failed(format!("`{name}` has shape {:?}; allowed: {shape:?}", found.shape)));
        }
        if found.values.iter().any(|value| !value.is_finite()) {
            return Err(Error::Failed(format!("`{name}` holds numbers that are not finite")));
        }
        Ok(found.values.clone())
    }

    fn rows(&self, name: &str, rows: usize, width: usize) -> Result<Rows> {
        Ok(Rows { values: self.array(name, &[rows, width])?, width })
    }

    fn layer(&self, name: &str, inputs: usize, outputs: usize) -> Result<Layer> {
        Ok(Layer { weight: self.rows(&format!("{name}.weight"), inputs, outputs)?, bias: self.array(&format!("{name}.bias"), &[outputs])? })
    }

    /// Two layers with ReLU between them.
    fn pair(&self, name: &str, [inputs, hidden, outputs]: [usize; 3]) -> Result<[Layer; 2]> {
        Ok([self.layer(&format!("{name}.0"), inputs, hidden)?, self.layer(&format!("{name}.1"), hidden, outputs)?])
    }
}

fn through([first, second]: &[Layer; 2], x: &Rows) -> Rows {
    second.apply(&first.apply(x).relu())
}

/// A network with its weights.
#[derive(Debug, Clone)]
pub struct Network {
    config: NetworkConfig,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Linear(Layer),
    Set(Box<Set>),
}

#[derive(Debug, Clone)]
struct Set {
    width: usize,
    health: [Layer; 2],
    profile: [Layer; 2],
    /// What each level stands for: it depends on nothing else.
    levels: Rows,
    days: Rows,
    partner: Rows,
    slot: Rows,
    blocks: Vec<Block>,
    infectiousness: [Layer; 2],
}

#[derive(Debug, Clone)]
enum Block {
    Joined { first: Layer, both: Layer, last: Layer },
    Attention { qkv: Layer, last: Layer, heads: usize },
}

impl Network {
    /// With these weights, by their names.
    pub fn new(config: NetworkConfig, arrays: &[Array]) -> Result<Self> {
        config.check()?;
        let reader = Reader(arrays);
        let kind = match config {
            NetworkConfig::Linear => Kind::Linear(reader.layer("linear", FLAT, DAYS)?),
            NetworkConfig::DeepSet { width, blocks } | NetworkConfig::SetTransformer { width, blocks, .. } => {
                let meta = NetworkConfig::meta(width);
                let level = reader.pair("level", [1, width, width])?;
                let known = Rows { values: (0..RISKS).map(|level| level as f32 / (RISKS - 1) as f32).collect(), width: 1 };
                let blocks = (0..blocks).map(|number| {
                    let inputs = if number == 0 { NetworkConfig::entity(width) } else { meta + width };
                    let name = format!("blocks.{number}");
                    Ok(if let NetworkConfig::SetTransformer { heads, .. } = config {
                        let qkv = reader.layer(&format!("{name}.qkv"), inputs, 3 * width)?;
                        Block::Attention { qkv, last: reader.layer(&format!("{name}.last"), width, width)?, heads }
                    } else {
                        Block::Joined {
                            first: reader.layer(&format!("{name}.first"), inputs, width)?,
                            both: reader.layer(&format!("{name}.both"), inputs + width, inputs)?,
                            last: reader.layer(&format!("{name}.last"), inputs, width)?,
                        }
                    })
                });
                Kind::Set(Box::new(Set {
                    width,
                    health: reader.pair("health", [HEALTH, width, width / 2])?,
                    profile: reader.pair("profile", [PROFILE, width, width / 4])?,
                    levels: through(&level, &known),
                    days: reader.rows("days", DAYS, width / 4)?,
                    partner: reader.rows("partner", 1, width / 4)?,
                    slot: reader.rows("slot", 1, width / 2 + width)?,
                    blocks: blocks.collect::<Result<_>>()?,
                    infectiousness: reader.pair("infectiousness", [meta + width, width, 1])?,
                }))
            }
        };
        Ok(Self { config, kind })
    }

    /// Which network it is.
    pub fn config(&self) -> NetworkConfig {
        self.config
    }

    /// Infectiousness of each day of each phone.
    pub fn infectiousness(&self, inputs: &[Inputs]) -> Vec<[f32; DAYS]> {
        if inputs.is_empty() {
            return Vec::new();
        }
        let found = match &self.kind {
            Kind::Linear(layer) => {
                layer.apply(&Rows { values: inputs.iter().flat_map(|inputs| inputs.flat()).collect(), width: FLAT }).values
            }
            Kind::Set(set) => set.infectiousness(inputs),
        };
        found.as_chunks().0.to_vec()
    }
}

/// Phones that go through the layers together: their numbers stay in a core's second-level cache.
const TOGETHER: usize = 32;

impl Predict for Network {
    fn predict(&self, phones: &[Phone], risks: &mut [[f32; DAYS]]) {
        for (phones, risks) in phones.chunks(TOGETHER).zip(risks.chunks_mut(TOGETHER)) {
            let inputs: Vec<Inputs> = phones.iter().map(Inputs::of).collect();
            risks.copy_from_slice(&self.infectiousness(&inputs));
        }
    }
}

impl Set {
    fn infectiousness(&self, inputs: &[Inputs]) -> Vec<f32> {
        let starts: Vec<usize> = std::iter::once(0)
            .chain(inputs.iter().scan(0, |sum, inputs| {
                *sum += inputs.len();
                Some(*sum)
            }))
            .collect();
        let meta = NetworkConfig::meta(self.width);
        let begun = self.entities(inputs, &starts);
        let slots = slots(&begun, &starts);
        let mut x = begun.clone();
        for (number, block) in self.blocks.iter().enumerate() {
            // Of the last block nothing but the days is asked.
            let asked = if number + 1 == self.blocks.len() { DAYS } else { usize::MAX };
            let found = match block {
                Block::Joined { first, both, last } => joined(&x, &starts, asked, first, both, last),
                Block::Attention { qkv, last, heads } => attended(&x, &starts, asked, qkv, last, *heads),
            };
            x = Rows::beside(if asked == DAYS { &slots } else { &begun }, meta, &found);
        }
        through(&self.infectiousness, &x).values
    }

    /// `[day | whose | how many | health | message | profile]` of each day's slot, then of each cluster.
    fn entities(&self, inputs: &[Inputs], starts: &[usize]) -> Rows {
        let w = self.width;
        let health = Rows { values: inputs.iter().flat_map(|inputs| inputs.health.as_flattened()).copied().collect(), width: HEALTH };
        let health = through(&self.health, &health);
        let profile = Rows { values: inputs.iter().flat_map(|inputs| inputs.profile).collect(), width: PROFILE };
        let profile = through(&self.profile, &profile);
        let mut all = Rows::zeros(starts[inputs.len()], NetworkConfig::entity(w));
        for (phone, (inputs, start)) in inputs.iter().zip(starts).enumerate() {
            let mut fill = |at: usize, ago: usize| {
                let row = all.row_mut(start + at);
                row[..w / 4].copy_from_slice(self.days.row(ago));
                row[3 * w / 4..5 * w / 4].copy_from_slice(health.row(phone * DAYS + ago));
                row[9 * w / 4..].copy_from_slice(profile.row(phone));
            };
            (0..DAYS).for_each(|ago| fill(ago, ago));
            inputs.clusters.iter().enumerate().for_each(|(number, cluster)| fill(DAYS + number, usize::from(cluster.ago)));
            let slot = self.slot.row(0);
            for ago in 0..DAYS {
                let row = all.row_mut(start + ago);
                row[w / 4..3 * w / 4].copy_from_slice(&slot[..w / 2]);
                row[5 * w / 4..9 * w / 4].copy_from_slice(&slot[w / 2..]);
            }
            for (number, cluster) in inputs.clusters.iter().enumerate() {
                let row = all.row_mut(start + DAYS + number);
                row[w / 4..w / 2].copy_from_slice(self.partner.row(0));
                waves(cluster.count, &mut row[w / 2..3 * w / 4]);
                row[5 * w / 4..9 * w / 4].copy_from_slice(self.levels.row(usize::from(cluster.level)));
            }
        }
        all
    }
}

/// The days of each phone.
fn slots(x: &Rows, starts: &[usize]) -> Rows {
    let mut slots = Rows { values: Vec::with_capacity((starts.len() - 1) * DAYS * x.width), width: x.width };
    starts[..starts.len() - 1]
        .iter()
        .for_each(|start| slots.values.extend_from_slice(&x.values[start * x.width..(start + DAYS) * x.width]));
    slots
}

/// ```text
/// g = max relu(XA),  Y = relu([X, g]B) + X,  relu(YC)
/// ```
///
/// for the first `asked` things of each phone.
fn joined(x: &Rows, starts: &[usize], asked: usize, first: &Layer, both: &Layer, last: &Layer) -> Rows {
    let each = first.apply(x).relu();
    let mut greatest = Rows::zeros(starts.len() - 1, each.width);
    for (phone, bounds) in starts.windows(2).enumerate() {
        let greatest = greatest.row_mut(phone);
        for row in bounds[0]..bounds[1] {
            greatest.iter_mut().zip(each.row(row)).for_each(|(most, x)| *most = most.max(*x));
        }
    }
    // [X, g]B is XB₁ + gB₂, and gB₂ the same for all things of a phone.
    let shared = both.apply_part(&greatest, x.width, &both.bias);
    let days;
    let x = if asked == DAYS {
        days = slots(x, starts);
        &days
    } else {
        x
    };
    let mut y = both.apply_part(x, 0, &vec![0.0; both.bias.len()]);
    let mut rows = y.values.chunks_exact_mut(both.weight.width);
    for (phone, bounds) in starts.windows(2).enumerate() {
        for row in rows.by_ref().take(asked.min(bounds[1] - bounds[0])) {
            row.iter_mut().zip(shared.row(phone)).for_each(|(y, shared)| *y += shared);
        }
    }
    last.apply(&y.relu().add(x)).relu()
}

/// ```text
/// O = Q + softmax(QKᵀ/√w)V by heads,  O + relu(OL)
/// ```
///
/// for the first `asked` things of each phone, with the width of all heads together under the root, as the authors have it.
fn attended(x: &Rows, starts: &[usize], asked: usize, qkv: &Layer, last: &Layer, heads: usize) -> Rows {
    let qkv = qkv.apply(x);
    let width = qkv.width / 3;
    let e = width / heads;
    let scale = (width as f32).sqrt().recip();
    let rows: usize = starts.windows(2).map(|bounds| asked.min(bounds[1] - bounds[0])).sum();
    let mut o = Rows::zeros(rows, width);
    let (mut weights, mut at) = (Vec::new(), 0);
    for bounds in starts.windows(2) {
        let n = bounds[1] - bounds[0];
        let m = asked.min(n);
        let of = qkv.view().subrows(bounds[0], n);
        for head in 0..heads {
            let part = |which: usize| of.subcols(which * width + head * e, e);
            weights.resize(m * n, 0.0);
            let scores = MatMut::from_row_major_slice_mut(&mut weights, m, n);
            matmul(scores, Accum::Replace, part(0).subrows(0, m), part(1).transpose(), scale, Par::Seq);
            softmax(&mut weights, n);
            let into = MatMut::from_row_major_slice_mut(&mut o.values, rows, width).submatrix_mut(at, head * e, m, e);
            matmul(into, Accum::Replace, MatRef::from_row_major_slice(&weights, m, n), part(2), 1.0, Par::Seq);
        }
        for row in 0..m {
            o.row_mut(at + row).iter_mut().zip(&qkv.row(bounds[0] + row)[..width]).for_each(|(o, q)| *o += q);
        }
        at += m;
    }
    last.apply(&o).relu().add(&o)
}

vectorize! {
    /// Of each row of n numbers.
    fn softmax(rows: &mut [f32], n: usize) {
        for row in rows.chunks_exact_mut(n) {
            // Sixteen sums beside one another, in an order that does not depend on the processor.
            let mut lanes = [f32::NEG_INFINITY; 16];
            for part in row.chunks(16) {
                lanes.iter_mut().zip(part).for_each(|(most, x)| *most = if *x > *most { *x } else { *most });
            }
            let most = lanes.into_iter().fold(f32::NEG_INFINITY, f32::max);
            row.iter_mut().for_each(|x| *x = exp_of_negative(*x - most));
            let mut lanes = [0.0_f32; 16];
            for part in row.chunks(16) {
                lanes.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
            }
            let inverse = lanes.into_iter().sum::<f32>().recip();
            row.iter_mut().for_each(|x| *x *= inverse);
        }
    }
}
