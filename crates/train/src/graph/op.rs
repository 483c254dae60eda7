//! The operations.

use lyceum_core::math::erf;
use lyceum_kernels::Activation as Fused;

/// What a node does to what it reads. Sizes of one number hold for height and width.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// A convolution.
    Conv(Conv),
    /// A transposed convolution, the adjoint of one with the same kernel, stride and padding.
    #[allow(missing_docs, reason = "as in a convolution")]
    TransposedConv { outputs: usize, kernel: usize, stride: usize, padding: usize },
    /// xW + b of the numbers in a row, or of each step of a sequence; images are flattened.
    Linear {
        /// How many numbers it gives.
        outputs: usize,
    },
    /// A vector of `width` numbers for each symbol: images of one row, or rows, are read as numbers of symbols, one a step; an unknown
    /// one counts as the last.
    #[allow(missing_docs, reason = "told above")]
    Embedding { symbols: usize, width: usize },
    /// A layer of long short-term memory (Hochreiter and Schmidhuber 1997; Gers et al. 2000), which gives its state h after each step.
    /// With gates i, f, g, o in this order,
    ///
    /// ```text
    /// i, f, o = σ(Wx + Uh + b),  g = tanh(Wx + Uh + b),  c ← f∘c + i∘g,  h ← o∘tanh c
    /// ```
    Lstm {
        /// Numbers in the state.
        width: usize,
    },
    /// The last step of a sequence.
    Last,
    /// Batch normalisation of each channel.
    BatchNorm,
    /// Normalisation of each example, or step of a sequence, over all its numbers, with a scale and a shift for each channel.
    LayerNorm,
    /// Normalisation of each example over groups of channels.
    GroupNorm {
        /// How many groups the channels fall into.
        groups: usize,
    },
    /// A function of each number.
    Activation(Activation),
    /// exp(xᵢ)/Σⱼ exp(xⱼ) of the numbers in a row.
    Softmax,
    /// The largest number of each window.
    MaxPool(Pool),
    /// The mean of each window; padding counts as zeros.
    AveragePool(Pool),
    /// The mean of each channel, or of all steps.
    GlobalAveragePool,
    /// The largest number of each channel.
    GlobalMaxPool,
    /// Means of windows that divide the image into so many rows and columns.
    #[allow(missing_docs, reason = "told above")]
    AdaptiveAveragePool { size: usize },
    /// An image with each side so many times as long.
    Upsample {
        /// How many times.
        factor: usize,
        /// Between neighbours by distance, instead of the nearest one's value.
        bilinear: bool,
    },
    /// The sum.
    Add,
    /// The first less the second.
    Subtract,
    /// The product; of images also with a number for each channel.
    Multiply,
    /// The first over the second.
    Divide,
    /// The mean.
    Mean,
    /// All channels, one after the other.
    Concatenate,
    /// Some of the channels, or of the numbers in a row.
    Slice {
        /// The first.
        from: usize,
        /// The one after the last.
        until: usize,
    },
    /// Images and sequences as numbers in a row.
    Flatten,
    /// Numbers as images of these channels, height and width.
    Reshape([usize; 3]),
    /// So many zeros around images.
    Pad(usize),
    /// In training each number is 0 with this probability, and the others are scaled up.
    Dropout(f64),
}

/// A convolution; the channels c are those of o's group.
///
/// ```text
/// y[o,p,q] = b[o] + Σ_{c,i,j} w[o,c,i,j] · x[c, s·p + d·i − pad, s·q + d·j − pad]
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "told above")]
pub struct Conv {
    pub outputs: usize,
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
    pub dilation: usize,
    pub groups: usize,
    pub bias: bool,
}

impl Conv {
    /// With a bias, stride 1 and as much padding as keeps the sides where the kernel is odd.
    pub fn new(outputs: usize, kernel: usize) -> Self {
        Self { outputs, kernel, stride: 1, padding: Self::usual_padding(kernel, 1), dilation: 1, groups: 1, bias: true }
    }

    /// The padding that keeps the sides where the kernel is odd and the stride 1: dilation·(kernel − 1)/2.
    pub fn usual_padding(kernel: usize, dilation: usize) -> usize {
        dilation.saturating_mul(kernel.saturating_sub(1)) / 2
    }
}

/// Windows of a pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "told above")]
pub struct Pool {
    pub size: usize,
    pub stride: usize,
    pub padding: usize,
}

/// A function of each number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// max(0, x).
    Relu,
    /// min(max(0, x), 6).
    Relu6,
    /// x where it is positive, else this share of it.
    LeakyRelu(f64),
    /// min(max(0, x/6 + 1/2), 1).
    HardSigmoid,
    /// x · hard sigmoid of x.
    HardSwish,
    /// x · Φ(x), with the error function.
    Gelu,
    /// x · sigmoid of x.
    Silu,
    /// 1/(1 + exp(−x)).
    Sigmoid,
    /// tanh x.
    Tanh,
}

impl Op {
    /// What it is called in files and tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Conv(_) => "conv",
            Self::TransposedConv { .. } => "transposed-conv",
            Self::Linear { .. } => "linear",
            Self::Embedding { .. } => "embedding",
            Self::Lstm { .. } => "lstm",
            Self::Last => "last",
            Self::BatchNorm => "batch-norm",
            Self::LayerNorm => "layer-norm",
            Self::GroupNorm { .. } => "group-norm",
            Self::Activation(activation) => activation.name(),
            Self::Softmax => "softmax",
            Self::MaxPool(_) => "max-pool",
            Self::AveragePool(_) => "average-pool",
            Self::GlobalAveragePool => "global-average-pool",
            Self::GlobalMaxPool => "global-max-pool",
            Self::AdaptiveAveragePool { .. } => "adaptive-average-pool",
            Self::Upsample { .. } => "upsample",
            Self::Add => "add",
            Self::Subtract => "subtract",
            Self::Multiply => "multiply",
            Self::Divide => "divide",
            Self::Mean => "mean",
            Self::Concatenate => "concatenate",
            Self::Slice { .. } => "slice",
            Self::Flatten => "flatten",
            Self::Reshape(_) => "reshape",
            Self::Pad(_) => "pad",
            Self::Dropout(_) => "dropout",
        }
    }

    /// What the kernels apply in the sweep of another operation.
    pub(super) fn fused(&self) -> Option<Fused> {
        match self {
            Self::Activation(Activation::Relu) => Some(Fused::Relu),
            Self::Activation(Activation::Relu6) => Some(Fused::Relu6),
            _ => None,
        }
    }

    /// The layers that hold its parameters: what each is called besides the node's name.
    pub(super) fn parts(&self) -> &'static [&'static str] {
        match self {
            Self::Conv(_) | Self::TransposedConv { .. } | Self::Linear { .. } | Self::Embedding { .. } => &[""],
            Self::BatchNorm | Self::LayerNorm | Self::GroupNorm { .. } => &[""],
            Self::Lstm { .. } => &["input", "recurrent"],
            _ => &[],
        }
    }

    /// What is wrong with its own numbers, whatever it reads.
    pub(super) fn check(&self) -> Result<(), String> {
        let at_least_one = |pairs: &[(&str, usize)]| match pairs.iter().find(|(_, value)| *value == 0) {
            Some((what, _)) => Err(format!("{what} is 0; allowed: 1 or more")),
            None => Ok(()),
        };
        match *self {
            Self::Conv(Conv { outputs, kernel, stride, dilation, groups, .. }) => at_least_one(&[
                ("the number of output channels", outputs),
                ("kernel", kernel),
                ("stride", stride),
                ("dilation", dilation),
                ("groups", groups),
            ]),
            Self::TransposedConv { outputs, kernel, stride, .. } => {
                at_least_one(&[("the number of output channels", outputs), ("kernel", kernel), ("stride", stride)])
            }
            Self::Linear { outputs } => at_least_one(&[("the number of outputs", outputs)]),
            Self::Embedding { symbols, width } => at_least_one(&[("the number of symbols", symbols), ("the width", width)]),
            Self::Lstm { width } => at_least_one(&[("the width", width)]),
            Self::GroupNorm { groups } => at_least_one(&[("the number of groups", groups)]),
            Self::MaxPool(Pool { size, stride, padding }) | Self::AveragePool(Pool { size, stride, padding }) => {
                at_least_one(&[("size", size), ("stride", stride)])?;
                if padding > size / 2 { Err(format!("padding is {padding}; allowed: at most half of the window's {size}")) } else { Ok(()) }
            }
            Self::AdaptiveAveragePool { size } => at_least_one(&[("size", size)]),
            Self::Upsample { factor, .. } => at_least_one(&[("the factor", factor)]),
            Self::Dropout(rate) if !(0.0..1.0).contains(&rate) => Err(format!("the rate is {rate}; allowed: a number >= 0 and < 1")),
            Self::Activation(Activation::LeakyRelu(slope)) if !slope.is_finite() => {
                Err(format!("the slope is {slope}; allowed: a finite number"))
            }
            _ => Ok(()),
        }
    }
}

impl Activation {
    /// Of one number.
    pub(super) fn of(self, x: f32) -> f32 {
        let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
        match self {
            Self::Relu => {
                if x < 0.0 {
                    0.0
                } else {
                    x
                }
            }
            Self::Relu6 => x.clamp(0.0, 6.0),
            Self::LeakyRelu(slope) => {
                if x < 0.0 {
                    x * slope as f32
                } else {
                    x
                }
            }
            Self::HardSigmoid => (x / 6.0 + 0.5).clamp(0.0, 1.0),
            Self::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            Self::Gelu => 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)),
            Self::Silu => x * sigmoid(x),
            Self::Sigmoid => sigmoid(x),
            Self::Tanh => x.tanh(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
            Self::LeakyRelu(_) => "leaky-relu",
            Self::HardSigmoid => "hard-sigmoid",
            Self::HardSwish => "hard-swish",
            Self::Gelu => "gelu",
            Self::Silu => "silu",
            Self::Sigmoid => "sigmoid",
            Self::Tanh => "tanh",
        }
    }
}
