//! The shapes of what nodes read and give, for one example.

use std::fmt::{Display, Formatter};

use lyceum_core::memory;

use super::{Conv, Op, Pool};

/// The shape of one example's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// So many numbers in a row.
    Row(usize),
    /// Channels, height, width.
    Images([usize; 3]),
    /// So many steps of so many numbers.
    Sequence([usize; 2]),
}

impl Shape {
    /// How many numbers; as many as can be counted if there are more.
    pub fn len(self) -> usize {
        match self {
            Self::Row(width) => width,
            Self::Images(extents) => extents.iter().fold(1, |product, extent| product.saturating_mul(*extent)),
            Self::Sequence([steps, width]) => steps.saturating_mul(width),
        }
    }

    /// The shape of these extents: of one a row, of two a sequence, of three images.
    pub fn of(extents: &[usize]) -> Option<Self> {
        match *extents {
            [width] => Some(Self::Row(width)),
            [steps, width] => Some(Self::Sequence([steps, width])),
            [channels, height, width] => Some(Self::Images([channels, height, width])),
            _ => None,
        }
    }

    /// The extents that [`of`](Self::of) takes.
    pub fn extents(&self) -> &[usize] {
        match self {
            Self::Row(width) => std::slice::from_ref(width),
            Self::Sequence(extents) => extents,
            Self::Images(extents) => extents,
        }
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The channels of images, the numbers of a row or of a step: what a normalisation has a scale for.
    pub fn channels(self) -> usize {
        match self {
            Self::Row(width) | Self::Sequence([_, width]) => width,
            Self::Images([channels, ..]) => channels,
        }
    }

    /// The same with another number of channels.
    pub(super) fn with_channels(self, channels: usize) -> Self {
        match self {
            Self::Row(_) => Self::Row(channels),
            Self::Images([_, height, width]) => Self::Images([channels, height, width]),
            Self::Sequence([steps, _]) => Self::Sequence([steps, channels]),
        }
    }

    /// Whether this is a number for each channel of images or sequences of another shape.
    pub(super) fn is_one_a_channel_of(self, other: Self) -> bool {
        let channels = other.channels();
        match other {
            Self::Row(_) => false,
            Self::Images(_) => self == Self::Images([channels, 1, 1]) || self == Self::Row(channels),
            Self::Sequence(_) => self == Self::Row(channels),
        }
    }
}

impl Display for Shape {
    fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Row(width) => write!(to, "{width}"),
            Self::Images([channels, height, width]) => write!(to, "{channels}x{height}x{width}"),
            Self::Sequence([steps, width]) => write!(to, "{steps}x{width}"),
        }
    }
}

/// What a mistake is, in words.
type Fit<T> = Result<T, String>;

impl Op {
    /// The shape of what is given, for one example.
    pub(super) fn shape(&self, inputs: &[Shape]) -> Fit<Shape> {
        self.check()?;
        match self {
            Self::Constant(constant) | Self::Learned(constant) if inputs.is_empty() => return Ok(constant.shape()),
            Self::Constant(_) | Self::Learned(_) => return Err("reads nothing".into()),
            Self::Custom(_) if inputs.is_empty() => return Err("reads nothing; allowed: one value or more".into()),
            Self::Custom(operation) => return operation.shape(inputs),
            op if op.reads_several() => return self.of_several(inputs),
            _ => {}
        }
        let [input] = inputs else { return Err(format!("reads {} values; allowed: one", inputs.len())) };
        let input = *input;
        match self {
            Self::Linear { outputs } => Ok(match input {
                Shape::Sequence([steps, _]) => Shape::Sequence([steps, *outputs]),
                _ => Shape::Row(*outputs),
            }),
            Self::Embedding { width, .. } => match input {
                Shape::Row(steps) | Shape::Images([1, 1, steps]) => Ok(Shape::Sequence([steps, *width])),
                _ => Err(format!("an embedding reads a row of symbols; found {input}")),
            },
            Self::Lstm { width } => Ok(Shape::Sequence([sequence(input)?[0], *width])),
            Self::Last => Ok(Shape::Row(sequence(input)?[1])),
            Self::Attention { heads } => {
                let [steps, width] = sequence(input)?;
                if width.is_multiple_of(heads.saturating_mul(3)) {
                    Ok(Shape::Sequence([steps, width / 3]))
                } else {
                    Err(format!("queries, keys and values of {heads} heads in {width} numbers a step; allowed: a multiple of 3·{heads}"))
                }
            }
            Self::BatchNorm | Self::Activation(_) | Self::Dropout(_) | Self::LayerNorm | Self::Softmax => Ok(input),
            Self::GroupNorm { groups } if !input.channels().is_multiple_of(*groups) => {
                Err(format!("{groups} groups of {} channels (input {input}); allowed: a divisor", input.channels()))
            }
            Self::GroupNorm { .. } => Ok(input),
            Self::Flatten => Ok(Shape::Row(input.len())),
            Self::Reshape(output) if output.len() == input.len() => Ok(*output),
            Self::Reshape(output) => Err(format!("{input} has {} numbers, {output} has {}", input.len(), output.len())),
            Self::Transpose => match input {
                Shape::Images([channels, height, width]) => Ok(Shape::Images([channels, width, height])),
                Shape::Sequence([steps, width]) => Ok(Shape::Sequence([width, steps])),
                Shape::Row(_) => Err(format!("transposes images and sequences; found {input} numbers in a row")),
            },
            Self::Gather(channels) => match channels.iter().find(|channel| **channel >= input.channels()) {
                Some(channel) => Err(format!("channel {channel} of {input}; allowed: less than {}", input.channels())),
                None if channels.is_empty() => Err("no channels; allowed: one or more".into()),
                None => Ok(input.with_channels(channels.len())),
            },
            Self::Slice { from, until } => {
                if from >= until || *until > input.channels() {
                    return Err(format!("channels {from} to {until} of {input}; allowed: up to {}", input.channels()));
                }
                Ok(input.with_channels(until - from))
            }
            Self::Conv(conv) => conv.shape(images(input)?),
            Self::TransposedConv { outputs, kernel, stride, padding } => {
                let [_, height, width] = images(input)?;
                let side = |extent: usize| {
                    let spread = (extent - 1).checked_mul(*stride)?.checked_add(*kernel)?;
                    spread.checked_sub(padding.checked_mul(2)?).filter(|side| *side > 0)
                };
                match (side(height), side(width)) {
                    (Some(height), Some(width)) => {
                        // The way back looks at the result with its padding.
                        padded([*outputs, height, width], [[*padding; 2]; 2])?;
                        Ok(Shape::Images([*outputs, height, width]))
                    }
                    _ => Err(format!("padding {padding} leaves nothing of {input}")),
                }
            }
            Self::MaxPool(pool) | Self::AveragePool(pool) => pool.shape(images(input)?),
            Self::GlobalAveragePool if matches!(input, Shape::Sequence(_)) => Ok(Shape::Row(input.channels())),
            Self::GlobalAveragePool | Self::GlobalMaxPool => Ok(Shape::Row(images(input)?[0])),
            Self::AdaptiveAveragePool { size } => {
                let [channels, ..] = images(input)?;
                Ok(Shape::Images([channels, *size, *size]))
            }
            Self::Upsample { factor, .. } => {
                let [channels, height, width] = images(input)?;
                Ok(Shape::Images([channels, height.saturating_mul(*factor), width.saturating_mul(*factor)]))
            }
            Self::Pad(by) => padded(images(input)?, *by).map(Shape::Images),
            Self::Add | Self::Subtract | Self::Multiply | Self::Divide | Self::Mean | Self::Concatenate => unreachable!("handled above"),
            Self::MatrixProduct | Self::WeightedSum | Self::Constant(_) | Self::Learned(_) | Self::Custom(_) => {
                unreachable!("handled above")
            }
        }
    }

    fn of_several(&self, inputs: &[Shape]) -> Fit<Shape> {
        let listed = || inputs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
        let [first, rest @ ..] = inputs else { return Err("reads nothing; allowed: two values or more".into()) };
        if rest.is_empty() {
            return Err(format!("reads one value, {first}; allowed: two or more"));
        }
        if let (Self::Subtract | Self::Divide | Self::MatrixProduct, [_, _, ..]) = (self, rest) {
            return Err(format!("reads {} values; allowed: two", inputs.len()));
        }
        if let (Self::MatrixProduct, [second]) = (self, rest) {
            let ([steps, k], [rows, width]) = (sequence(*first)?, sequence(*second)?);
            let message = || format!("{first} times {second}: the second has {rows} steps; allowed: as many as the first has numbers");
            return if k == rows { Ok(Shape::Sequence([steps, width])) } else { Err(message()) };
        }
        if let (Self::WeightedSum, [others @ .., weights]) = (self, rest) {
            return if !others.iter().all(|shape| shape == first) {
                Err(format!("{} are not of one shape, besides the weights, which come last", listed()))
            } else if *weights != Shape::Row(inputs.len() - 1) {
                Err(format!("the weights are {weights}; allowed: {} numbers in a row, one for each value", inputs.len() - 1))
            } else {
                Ok(*first)
            };
        }
        if *self == Self::Concatenate {
            return rest.iter().try_fold(*first, |sum, next| match (sum, *next) {
                (Shape::Row(a), Shape::Row(b)) => Ok(Shape::Row(a.saturating_add(b))),
                (Shape::Images([a, h, w]), Shape::Images([b, other_h, other_w])) if (h, w) == (other_h, other_w) => {
                    Ok(Shape::Images([a.saturating_add(b), h, w]))
                }
                (Shape::Sequence([steps, a]), Shape::Sequence([others, b])) if steps == others => {
                    Ok(Shape::Sequence([steps, a.saturating_add(b)]))
                }
                _ => Err(format!("{} cannot be concatenated: height and width, or steps, differ", listed())),
            });
        }
        let fits = |shape: &Shape| shape == first || shape.is_one_a_channel_of(*first);
        if rest.iter().all(fits) { Ok(*first) } else { Err(format!("{} are not of one shape", listed())) }
    }
}

impl Conv {
    fn shape(&self, [channels, height, width]: [usize; 3]) -> Fit<Shape> {
        let Self { outputs, kernel, stride, padding, dilation, groups, .. } = *self;
        if !channels.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
            return Err(format!("{groups} groups of {channels} input and {outputs} output channels; allowed: a divisor of both"));
        }
        let framed = padded([channels, height, width], padding.map(|padding| [padding; 2]))?;
        let extent = [0, 1].map(|axis| dilation[axis].saturating_mul(kernel[axis] - 1).saturating_add(1));
        let message = || {
            let [spans, padding] = [sides(extent), sides(padding)];
            format!("a kernel that spans {spans} pixels does not fit into {height}x{width} with padding {padding}")
        };
        windows(framed, extent, stride).map(|[height, width]| Shape::Images([outputs, height, width])).ok_or_else(message)
    }
}

impl Pool {
    fn shape(&self, [channels, height, width]: [usize; 3]) -> Fit<Shape> {
        let Self { size, stride, padding } = *self;
        let framed = padded([channels, height, width], padding)?;
        let message = || format!("windows of {} do not fit into {height}x{width} with padding {}", sides(size), ends(padding));
        windows(framed, size, stride).map(|[height, width]| Shape::Images([channels, height, width])).ok_or_else(message)
    }
}

/// Images with so many pixels around them, which must fit into memory.
fn padded([channels, height, width]: [usize; 3], by: [[usize; 2]; 2]) -> Fit<[usize; 3]> {
    let side = |side: usize, [before, after]: [usize; 2]| side.saturating_add(before).saturating_add(after);
    let extents = [channels, side(height, by[0]), side(width, by[1])];
    memory::check("the padding", &extents).map_err(|error| error.to_string())?;
    Ok(extents)
}

/// How many windows there are along each side of an image with its padding.
fn windows([_, height, width]: [usize; 3], extent: [usize; 2], stride: [usize; 2]) -> Option<[usize; 2]> {
    let along = |side: usize, axis: usize| side.checked_sub(extent[axis]).map(|rest| rest / stride[axis] + 1);
    Some([along(height, 0)?, along(width, 1)?])
}

/// Of height and width: one number where they are the same.
pub(super) fn sides([height, width]: [usize; 2]) -> String {
    if height == width { height.to_string() } else { format!("[{height}, {width}]") }
}

/// Before and after, of height and width; as few numbers as say it.
pub(super) fn ends(padding: [[usize; 2]; 2]) -> String {
    match padding {
        [[top, bottom], [left, right]] if top == bottom && left == right => sides([top, left]),
        [[top, bottom], [left, right]] => format!("[{top}, {left}, {bottom}, {right}]"),
    }
}

fn images(shape: Shape) -> Fit<[usize; 3]> {
    match shape {
        Shape::Images(extents) => Ok(extents),
        Shape::Row(_) => Err(format!("reads images; found {shape} numbers in a row")),
        Shape::Sequence([steps, width]) => Err(format!("reads images; found {steps} steps of {width} numbers")),
    }
}

fn sequence(shape: Shape) -> Fit<[usize; 2]> {
    match shape {
        Shape::Sequence(extents) => Ok(extents),
        Shape::Row(_) | Shape::Images(_) => Err(format!("reads a sequence, such as an embedding gives; found {shape}")),
    }
}
