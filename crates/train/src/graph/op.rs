//! The operations.

use std::sync::Arc;

use lyceum_core::math::erf;
use lyceum_kernels::Activation as Fused;

use super::{Operation, Shape};

/// What a node does to what it reads. Sizes of one number hold for height and width, those of two are of height and of width.
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
    /// Self-attention of h heads (Vaswani et al. 2017). A step of the sequence that is read has the queries of all heads, their keys, and
    /// their values, 3·h·e numbers; a step of what is given has h·e. Of each head,
    ///
    /// ```text
    /// softmax(QKᵀ/√e) V
    /// ```
    #[allow(missing_docs, reason = "told above")]
    Attention { heads: usize },
    /// The product AB of two sequences: `steps × k` of the first, `k × width` of the second.
    MatrixProduct,
    /// Σᵢ wᵢxᵢ of the values x₁ … xₖ that are read, with the k numbers w that are read last.
    WeightedSum,
    /// The same for every example.
    Constant(Constant),
    /// The same for every example, and learned; these numbers are the initial ones.
    Learned(Constant),
    /// An operation of another crate.
    Custom(Arc<dyn Operation>),
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
    /// exp(xᵢ)/Σⱼ exp(xⱼ) of the numbers in a row, or a step; of images, of the channels of each pixel.
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
    /// The sum. Of images and sequences, what is read besides the first may also be a number for each channel, here and in the next four.
    Add,
    /// The first less the second.
    Subtract,
    /// The product.
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
    /// These channels, or numbers in a row, in this order; one may be there twice.
    Gather(Vec<usize>),
    /// Images and sequences as numbers in a row.
    Flatten,
    /// The numbers in another shape.
    Reshape(Shape),
    /// Height and width of images, or steps and width of a sequence, change places.
    Transpose,
    /// So many zeros around images: before and after, of height and of width.
    Pad([[usize; 2]; 2]),
    /// In training each number is 0 with this probability, and the others are scaled up.
    Dropout(f64),
}

/// Numbers of a shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Constant {
    shape: Shape,
    values: Arc<Vec<f32>>,
}

impl Constant {
    /// These numbers in this shape, channel by channel of images, step by step of a sequence; one number stands for all.
    ///
    /// # Errors
    ///
    /// Another number of them, and one that is not finite.
    pub fn new(shape: Shape, values: Vec<f32>) -> Result<Self, String> {
        if shape.is_empty() {
            return Err(format!("found the shape {shape}; allowed: 1 or more of each"));
        }
        if values.len() != shape.len() && values.len() != 1 {
            return Err(format!("{} numbers for the shape {shape}; allowed: {} of them, or one", values.len(), shape.len()));
        }
        match values.iter().find(|value| !value.is_finite()) {
            Some(value) => Err(format!("found {value}; allowed: finite numbers")),
            None => Ok(Self { shape, values: Arc::new(values) }),
        }
    }

    /// The shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// These channels of it, of images and sequences all pixels and steps.
    pub(super) fn with_channels(&self, kept: &[usize]) -> Self {
        let shape = self.shape.with_channels(kept.len());
        if self.values.len() == 1 {
            return Self { shape, values: self.values.clone() };
        }
        let values: Vec<f32> = match self.shape {
            Shape::Images([_, height, width]) => {
                kept.iter().flat_map(|channel| self.values[channel * height * width..][..height * width].iter().copied()).collect()
            }
            shape => self.values.chunks(shape.channels()).flat_map(|step| kept.iter().map(|channel| step[*channel])).collect(),
        };
        Self { shape, values: Arc::new(values) }
    }

    /// As many numbers as the shape has, or one that stands for all.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
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
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [usize; 2],
    pub dilation: [usize; 2],
    pub groups: usize,
    pub bias: bool,
}

impl Conv {
    /// With a bias, stride 1 and as much padding as keeps the sides where the kernel is odd.
    pub fn new(outputs: usize, kernel: usize) -> Self {
        let [kernel, one] = [[kernel; 2], [1; 2]];
        Self { outputs, kernel, stride: one, padding: Self::usual_padding(kernel, one), dilation: one, groups: 1, bias: true }
    }

    /// The padding that keeps the sides where the kernel is odd and the stride 1: dilation·(kernel − 1)/2.
    pub fn usual_padding(kernel: [usize; 2], dilation: [usize; 2]) -> [usize; 2] {
        [0, 1].map(|axis| dilation[axis].saturating_mul(kernel[axis].saturating_sub(1)) / 2)
    }

    /// The kernel's side, if it is a square whose stride, padding and dilation are those of one side too.
    pub fn side(&self) -> Option<usize> {
        let square = [self.kernel, self.stride, self.padding, self.dilation].iter().all(|[height, width]| height == width);
        square.then_some(self.kernel[0])
    }
}

/// Windows of a pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "told above")]
pub struct Pool {
    pub size: [usize; 2],
    pub stride: [usize; 2],
    /// Before and after, of height and of width.
    pub padding: [[usize; 2]; 2],
}

impl Pool {
    /// Square windows of this size that touch.
    pub const fn new(size: usize) -> Self {
        Self { size: [size; 2], stride: [size; 2], padding: [[0; 2]; 2] }
    }

    /// The side of square windows that touch, without padding.
    pub(super) fn touching(&self) -> Option<usize> {
        (*self == Self::new(self.size[0])).then_some(self.size[0])
    }
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
            Self::Attention { .. } => "attention",
            Self::MatrixProduct => "matrix-product",
            Self::WeightedSum => "weighted-sum",
            Self::Constant(_) => "constant",
            Self::Learned(_) => "learned",
            Self::Custom(operation) => operation.name(),
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
            Self::Gather(_) => "gather",
            Self::Flatten => "flatten",
            Self::Reshape(_) => "reshape",
            Self::Transpose => "transpose",
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
            Self::Conv(_) | Self::TransposedConv { .. } | Self::Linear { .. } | Self::Embedding { .. } | Self::Learned(_) => &[""],
            Self::BatchNorm | Self::LayerNorm | Self::GroupNorm { .. } => &[""],
            Self::Custom(operation) if operation.body().is_some() => &[""],
            Self::Lstm { .. } => &["input", "recurrent"],
            _ => &[],
        }
    }

    /// Whether it reads several values, of which the first is the one before.
    pub(super) fn reads_several(&self) -> bool {
        let of_one_shape = matches!(self, Self::Add | Self::Subtract | Self::Multiply | Self::Divide | Self::Mean);
        of_one_shape || matches!(self, Self::Concatenate | Self::MatrixProduct | Self::WeightedSum)
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
                ("kernel", kernel[0].min(kernel[1])),
                ("stride", stride[0].min(stride[1])),
                ("dilation", dilation[0].min(dilation[1])),
                ("groups", groups),
            ]),
            Self::TransposedConv { outputs, kernel, stride, .. } => {
                at_least_one(&[("the number of output channels", outputs), ("kernel", kernel), ("stride", stride)])
            }
            Self::Linear { outputs } => at_least_one(&[("the number of outputs", outputs)]),
            Self::Embedding { symbols, width } => at_least_one(&[("the number of symbols", symbols), ("the width", width)]),
            Self::Lstm { width } => at_least_one(&[("the width", width)]),
            Self::Attention { heads } => at_least_one(&[("the number of heads", heads)]),
            Self::GroupNorm { groups } => at_least_one(&[("the number of groups", groups)]),
            Self::MaxPool(Pool { size, stride, padding }) | Self::AveragePool(Pool { size, stride, padding }) => {
                at_least_one(&[("size", size[0].min(size[1])), ("stride", stride[0].min(stride[1]))])?;
                let most = [0, 1].map(|axis| (padding[axis][0].max(padding[axis][1]), size[axis]));
                match most.into_iter().find(|(padding, size)| padding >= size) {
                    Some((padding, size)) => Err(format!("padding is {padding}; allowed: less than the window's {size}")),
                    None => Ok(()),
                }
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
