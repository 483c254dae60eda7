//! A transformer encoder with a head that predicts masked tokens (Devlin et al. 2019).

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, TensorData},
};
use lyceum_core::{Stream, range};
use lyceum_kernels::{Activation, attention, gather_rows, gelu};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Pass,
    layers::{LayerNorm, Linear, normal, trained},
};

/// The extents of a [`Bert`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BertConfig {
    /// Different tokens.
    #[serde(with = "range::AtLeastOne")]
    pub vocabulary: usize,
    /// Tokens of the longest sequence.
    #[serde(with = "range::AtLeastOne")]
    pub positions: usize,
    /// Numbers that stand for a token; a multiple of `heads`.
    #[serde(with = "range::AtLeastOne")]
    pub width: usize,
    /// Attention heads.
    #[serde(with = "range::AtLeastOne")]
    pub heads: usize,
    /// Width of the hidden layer of each token's own network.
    #[serde(with = "range::AtLeastOne")]
    pub feed_forward: usize,
    /// Layers of attention and feed-forward.
    #[serde(with = "range::AtLeastOne")]
    pub layers: usize,
    /// Dropout after the embeddings and in front of each residual sum.
    #[serde(with = "range::BelowOne")]
    pub dropout: f64,
    /// The standard deviation of initial weights; a narrow network learns sooner with more, about 1/√width.
    #[serde(with = "range::Positive")]
    pub deviation: f64,
    /// Whether positions begin as sinusoids (Vaswani et al. 2017) instead of random numbers: what is so many places away is then
    /// found the same way everywhere, and a small network needs far fewer steps to find it.
    pub sinusoids: bool,
}

impl Default for BertConfig {
    fn default() -> Self {
        Self {
            vocabulary: 30_000,
            positions: 128,
            width: 128,
            heads: 4,
            feed_forward: 512,
            layers: 4,
            dropout: 0.1,
            deviation: 0.02,
            sinusoids: false,
        }
    }
}

/// Token and position embeddings, layers of self-attention and feed-forward with normalisation after each residual
/// sum, and a head whose last matrix is that of the token embeddings.
#[derive(Module, Debug)]
pub struct Bert {
    tokens: Param<Tensor<2>>,
    positions: Param<Tensor<2>>,
    norm: LayerNorm,
    layers: Vec<Layer>,
    head: Linear,
    head_norm: LayerNorm,
    head_bias: Param<Tensor<1>>,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    dropout: f64,
}

#[derive(Module, Debug)]
struct Layer {
    qkv: Linear,
    output: Linear,
    norm: LayerNorm,
    inner: Linear,
    outer: Linear,
    outer_norm: LayerNorm,
}

impl Bert {
    /// The network with initial values drawn from `rng`.
    ///
    /// # Panics
    /// Where `width` is not a multiple of `heads`.
    pub fn new(config: &BertConfig, rng: &mut Stream, device: &Device) -> Self {
        let BertConfig { vocabulary, positions, width, heads, feed_forward, layers, dropout, deviation, sinusoids } = *config;
        let deviation = deviation as f32;
        assert!(width.is_multiple_of(heads), "a width of {width} cannot be shared by {heads} heads");
        let mut linear = |inputs, outputs| Linear::with_normal_weight(inputs, outputs, deviation, rng, device);
        let layers = (0..layers)
            .map(|_| Layer {
                qkv: linear(width, 3 * width),
                output: linear(width, width),
                norm: LayerNorm::new(width, device),
                inner: linear(width, feed_forward),
                outer: linear(feed_forward, width),
                outer_norm: LayerNorm::new(width, device),
            })
            .collect();
        Self {
            layers,
            head: linear(width, width),
            tokens: normal([vocabulary, width], deviation, rng, device),
            positions: if sinusoids {
                trained(waves(positions, width, deviation), [positions, width], device)
            } else {
                normal([positions, width], deviation, rng, device)
            },
            norm: LayerNorm::new(width, device),
            head_norm: LayerNorm::new(width, device),
            head_bias: trained(vec![0.0; vocabulary], [vocabulary], device),
            heads,
            dropout,
        }
    }

    /// A vector for each token, `n·s × width`, of `n` sequences of `s` tokens, one after the other. `present` is true
    /// where a token is not padding.
    pub fn encode(&self, tokens: &[u32], present: &[bool], n: usize, pass: &mut Pass) -> Tensor<2> {
        let s = tokens.len() / n;
        let places: Vec<u32> = (0..n).flat_map(|_| 0..s as u32).collect();
        let x = self.norm.forward(gather_rows(self.tokens.val(), tokens), gather_rows(self.positions.val(), &places));
        let device = x.device().inner();
        let mask: Vec<f32> = present.iter().map(|&present| if present { 1.0 } else { 0.0 }).collect();
        let mask = Tensor::<1>::from_data(TensorData::new(mask, [n * s]), &device);
        let mask = if x.is_autodiff() { mask.autodiff() } else { mask };
        let x = pass.dropout(x, self.dropout);
        self.layers.iter().fold(x, |x, layer| layer.forward(x, mask.clone(), n, self.heads, self.dropout, pass))
    }

    /// Logits over the vocabulary for the tokens at `places` of what [`encode`](Self::encode) gave.
    pub fn predict(&self, encoded: Tensor<2>, places: &[u32], pass: &mut Pass) -> Tensor<2> {
        let x = gelu(self.head.forward(gather_rows(encoded, places), Activation::None, pass));
        let zeros = x.zeros_like();
        let x = self.head_norm.forward(x, zeros);
        lyceum_kernels::linear(x, None, self.tokens.val().transpose(), self.head_bias.val(), Activation::None)
    }
}

/// sin(p/10⁴^(2i/d)) and cos(p/10⁴^(2i/d)) of each position p, with this standard deviation.
fn waves(positions: usize, width: usize, deviation: f32) -> Vec<f32> {
    let wave = |position: usize, i: usize| {
        let angle = position as f64 / 10_000_f64.powf((i / 2 * 2) as f64 / width as f64);
        std::f32::consts::SQRT_2 * deviation * (if i.is_multiple_of(2) { angle.sin() } else { angle.cos() }) as f32
    };
    (0..positions).flat_map(|position| (0..width).map(move |i| wave(position, i))).collect()
}

impl Layer {
    fn forward(&self, x: Tensor<2>, mask: Tensor<1>, n: usize, heads: usize, dropout: f64, pass: &mut Pass) -> Tensor<2> {
        let attended = attention(self.qkv.forward(x.clone(), Activation::None, pass), mask, n, heads);
        let attended = self.output.forward(attended, Activation::None, pass);
        let x = self.norm.forward(pass.dropout(attended, dropout), x);
        let hidden = gelu(self.inner.forward(x.clone(), Activation::None, pass));
        let hidden = self.outer.forward(hidden, Activation::None, pass);
        self.outer_norm.forward(pass.dropout(hidden, dropout), x)
    }
}
