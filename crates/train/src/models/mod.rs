//! Networks by configuration.

mod bert;
mod cnn;
mod feddyn_cnn;
mod linear;
mod lstm;
mod mlp;
mod resnet;

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use lyceum_core::{Error, Result, Seed, Violation, memory, range, run::Input};
use lyceum_data::Extent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use bert::{Bert, BertConfig};
pub use cnn::Cnn;
pub use feddyn_cnn::FedDynCnn;
pub use linear::LinearModel;
pub use lstm::Lstm;
pub use mlp::Mlp;
pub use resnet::ResNet;

use crate::{
    Pass,
    graph::{
        Graph, Net, Shape,
        file::{HINT, text_of},
    },
};

/// A classifier.
pub trait Network: Module {
    /// Logits `n × k` of inputs `n × d`, each row an example as [`lyceum_data::Examples`] lays it out.
    fn forward(&self, inputs: Tensor<2>, pass: &mut Pass) -> Tensor<2>;
}

/// Which network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ModelConfig {
    /// One fully connected layer: multinomial logistic regression.
    Linear,
    /// Fully connected layers with ReLU.
    Mlp {
        /// The widths of the hidden layers.
        #[serde(with = "range::AllAtLeastOne")]
        hidden: Vec<usize>,
        /// Dropout after each hidden layer.
        #[serde(default, with = "range::BelowOne")]
        dropout: f64,
    },
    /// A small convolutional network in the manner of LeNet: for each entry of `channels` a 3×3 convolution,
    /// batch normalisation, ReLU and 2×2 max-pooling; then a hidden layer with dropout.
    Cnn {
        /// Channels of each convolution.
        #[serde(default = "cnn_channels", with = "range::AllAtLeastOne")]
        channels: Vec<usize>,
        /// Width of the hidden layer.
        #[serde(default = "cnn_hidden", with = "range::AtLeastOne")]
        hidden: usize,
        /// Whether batch normalisation follows each convolution and the hidden layer.
        #[serde(default = "yes")]
        batch_norm: bool,
        /// Dropout before the last layer.
        #[serde(default, with = "range::BelowOne")]
        dropout: f64,
    },
    /// The network of the FedDyn experiments: 5×5 convolution (64), pool, 5×5 convolution (64), pool, 384, 192.
    FeddynCnn,
    /// A residual network for small images: stages of basic blocks, the first of a stage with stride 2 from the second on.
    Resnet {
        /// Channels of each stage.
        #[serde(default = "resnet_widths", with = "range::AllAtLeastOne")]
        widths: Vec<usize>,
        /// Blocks in each stage.
        #[serde(default = "resnet_blocks", with = "range::AtLeastOne")]
        blocks: usize,
    },
    /// A recurrent network for rows of symbols: the classes are the symbols, and an input is the symbols so far.
    Lstm {
        /// Numbers that stand for a symbol.
        #[serde(default = "lstm_embedding", with = "range::AtLeastOne")]
        embedding: usize,
        /// Width of each layer.
        #[serde(default = "lstm_hidden", with = "range::AtLeastOne")]
        hidden: usize,
        /// Layers.
        #[serde(default = "lstm_layers", with = "range::AtLeastOne")]
        layers: usize,
    },
    /// A network of one's own: a TOML file of the form that the chapter on networks describes.
    File(NetworkFile),
}

fn lstm_embedding() -> usize {
    8
}

fn lstm_hidden() -> usize {
    100
}

fn lstm_layers() -> usize {
    2
}

fn cnn_channels() -> Vec<usize> {
    vec![16, 32]
}

fn cnn_hidden() -> usize {
    64
}

fn yes() -> bool {
    true
}

fn resnet_widths() -> Vec<usize> {
    vec![32, 64, 128]
}

fn resnet_blocks() -> usize {
    2
}

impl ModelConfig {
    /// The files that it is read from.
    pub fn inputs(&self) -> Vec<Input> {
        match self {
            Self::File(file) => vec![Input::named(&file.path, HINT)],
            _ => Vec::new(),
        }
    }

    /// Whether the network can be built for examples of this extent, and this many classes if they are known (else 0); `key` is
    /// what an error points at.
    pub fn check(&self, key: &str, extent: Extent, classes: usize) -> Result<(), Violation> {
        let wrong = |message: String| Err(Violation::new(key, message));
        if let Err(error) = self.check_size(extent, classes) {
            return wrong(error.to_string());
        }
        let smallest = extent.height.min(extent.width);
        match self {
            Self::Linear => Ok(()),
            // Where the classes are not known yet, the file is not read yet.
            Self::File(file) if classes > 0 => {
                file.graph(extent, classes).map(drop).map_err(|error| Violation::new(key, error.to_string()))
            }
            Self::Mlp { hidden, .. } if hidden.contains(&0) => wrong("found a hidden layer of width 0; allowed: 1 or more".into()),
            Self::Cnn { channels, .. } | Self::Resnet { widths: channels, .. } if channels.is_empty() || channels.contains(&0) => {
                wrong(format!("found the widths {channels:?}; allowed: at least one, each 1 or more"))
            }
            Self::Cnn { channels, .. } if smallest >> channels.len() == 0 => {
                wrong(format!("{} poolings halve a side of {smallest} pixels to nothing; allowed: fewer channels", channels.len()))
            }
            Self::Lstm { .. } if extent.height > 1 || extent.channels > 1 => wrong(format!(
                "an LSTM reads rows of symbols; found images of {}x{}x{}; allowed: linear, mlp, cnn, resnet",
                extent.channels, extent.height, extent.width
            )),
            Self::FeddynCnn if smallest < 16 => {
                wrong(format!("this network needs images of 16x16 pixels or more; found {}x{}", extent.height, extent.width))
            }
            _ => Ok(()),
        }
    }

    /// Errors if a layer's weights do not fit into memory.
    fn check_size(&self, Extent { channels, height, width }: Extent, classes: usize) -> Result<()> {
        let pixels = [channels, height, width];
        let layers = |first: &[usize], widths: &[usize], times: usize| -> Result<()> {
            let mut before = first.to_vec();
            widths.iter().chain([&classes]).try_for_each(|width| {
                memory::check("its weights", &[before.as_slice(), &[*width, times]].concat())?;
                before = vec![*width];
                Ok(())
            })
        };
        match self {
            Self::File(_) => Ok(()),
            Self::Linear | Self::FeddynCnn => layers(&pixels, &[], 1),
            Self::Mlp { hidden, .. } => layers(&pixels, hidden, 1),
            Self::Cnn { channels: widths, hidden, .. } => {
                layers(&[channels], widths, 9)?;
                layers(&[widths.last().copied().unwrap_or(1), height, width], &[*hidden], 1)
            }
            Self::Resnet { widths, blocks } => layers(&[channels], widths, 18_usize.saturating_mul(*blocks)),
            Self::Lstm { embedding, hidden, layers: count } => layers(&[*embedding], &[*hidden, *hidden], 4_usize.saturating_mul(*count)),
        }
    }

    /// The network with initial values drawn from `seed`. Errors where it does not fit inputs of this extent, as
    /// [`check`](Self::check) does, or there are no inputs or classes.
    pub fn init(&self, extent: Extent, classes: usize, seed: Seed, device: &Device) -> Result<Model> {
        let Extent { channels, height, width } = extent;
        if extent.is_empty() || classes == 0 {
            let found = format!("{channels} x {height} x {width} numbers, {classes} classes");
            return Err(Error::invalid("network", found, "1 or more of each"));
        }
        if let Self::File(file) = self {
            return Net::new(file.graph(extent, classes)?, seed, device).map(Model::Net);
        }
        self.check("model", extent, classes)?;
        let rng = &mut seed.stream("model/init");
        Ok(match self {
            Self::File(_) => unreachable!("handled above"),
            Self::Linear => Model::Linear(LinearModel::new(extent.len(), classes, rng, device)),
            Self::Mlp { hidden, dropout } => Model::Mlp(Mlp::new(extent.len(), hidden, *dropout, classes, rng, device)),
            Self::Cnn { channels, hidden, batch_norm, dropout } => {
                Model::Cnn(Cnn::new(extent, channels, *hidden, classes, *batch_norm, *dropout, rng, device))
            }
            Self::FeddynCnn => Model::FedDynCnn(FedDynCnn::new(extent, classes, rng, device)),
            Self::Lstm { embedding, hidden, layers } => Model::Lstm(Lstm::new(classes, *embedding, *hidden, *layers, rng, device)),
            Self::Resnet { widths, blocks } => Model::ResNet(ResNet::new(extent, widths, *blocks, classes, rng, device)),
        })
    }
}

/// Any of the networks.
#[derive(Module, Debug)]
#[allow(missing_docs, reason = "each variant holds the network of its name")]
pub enum Model {
    Linear(LinearModel),
    Mlp(Mlp),
    Cnn(Cnn),
    FedDynCnn(FedDynCnn),
    ResNet(ResNet),
    Lstm(Lstm),
    Net(Net),
}

impl Network for Model {
    fn forward(&self, inputs: Tensor<2>, pass: &mut Pass) -> Tensor<2> {
        match self {
            Self::Linear(network) => network.forward(inputs, pass),
            Self::Mlp(network) => network.forward(inputs, pass),
            Self::Cnn(network) => network.forward(inputs, pass),
            Self::FedDynCnn(network) => network.forward(inputs, pass),
            Self::ResNet(network) => network.forward(inputs, pass),
            Self::Lstm(network) => network.forward(inputs, pass),
            Self::Net(network) => network.forward(inputs, pass),
        }
    }
}

/// The file of a network. It is read once, so that all arms have the same network though the file is changed meanwhile.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(from = "PathBuf", into = "PathBuf")]
#[schemars(with = "PathBuf")]
pub struct NetworkFile {
    path: PathBuf,
    text: Arc<OnceLock<String>>,
}

impl From<PathBuf> for NetworkFile {
    fn from(path: PathBuf) -> Self {
        Self { path, text: Arc::default() }
    }
}

impl From<NetworkFile> for PathBuf {
    fn from(file: NetworkFile) -> Self {
        file.path
    }
}

impl PartialEq for NetworkFile {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl NetworkFile {
    /// The network for examples of this extent.
    fn graph(&self, Extent { channels, height, width }: Extent, classes: usize) -> Result<Graph> {
        if self.text.get().is_none() {
            // Whoever was first is right.
            let _ = self.text.set(text_of(&self.path)?);
        }
        let text = self.text.get().map_or("", String::as_str);
        Graph::parse(&self.path.display().to_string(), text, Shape::Images([channels, height, width]), classes)
    }
}

/// Rows as images: `n × c × h × w`.
fn images(inputs: Tensor<2>, [channels, height, width]: [usize; 3]) -> Tensor<4> {
    let n = inputs.dims()[0];
    inputs.reshape([n, channels, height, width])
}

fn flat(x: Tensor<4>) -> Tensor<2> {
    x.flatten(1, 3)
}
