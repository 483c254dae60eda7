//! Networks by configuration.

mod bert;
mod zoo;

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use lyceum_core::{Error, Result, Seed, Violation, range, run::Input};
use lyceum_data::{
    Extent,
    own::text,
    prepare::{DataConfig, Known},
};
use lyceum_onnx::Model;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use bert::{Bert, BertConfig};

use crate::{
    Pass,
    graph::{
        Graph, Net, Shape,
        file::{HINT, text_of},
    },
    onnx::{self, Imported},
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
    /// A recurrent network for rows of symbols: the classes are the symbols, and an input is the symbols so far; or others, with `symbols`.
    Lstm {
        /// How many symbols there are (257 in texts of one's own); as many as classes if absent.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "range::OptionalAtLeastOne")]
        symbols: Option<usize>,
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
    /// The encoder of BERT (Devlin et al. 2019) for rows of symbols, the symbols so far as in `lstm`: vectors of symbols and of places,
    /// layers of self-attention and feed-forward, each with a normalisation after its shortcut, and logits from the last step.
    Bert {
        /// How many symbols there are (257 in texts of one's own); as many as classes if absent.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "range::OptionalAtLeastOne")]
        symbols: Option<usize>,
        /// Numbers that stand for a symbol; a multiple of `heads`.
        #[serde(default = "bert_width", with = "range::AtLeastOne")]
        width: usize,
        /// Attention heads.
        #[serde(default = "bert_heads", with = "range::AtLeastOne")]
        heads: usize,
        /// Width of the hidden layer of each step's own network.
        #[serde(default = "bert_feed_forward", with = "range::AtLeastOne")]
        feed_forward: usize,
        /// Layers.
        #[serde(default = "lstm_layers", with = "range::AtLeastOne")]
        layers: usize,
        /// Dropout after the vectors and in front of each shortcut's sum.
        #[serde(default, with = "range::BelowOne")]
        dropout: f64,
    },
    /// ResNet-20 for images of 32×32 pixels (He et al. 2016): 0.27 million parameters.
    Resnet20,
    /// ResNet-32 for images of 32×32 pixels: 0.47 million parameters.
    Resnet32,
    /// ResNet-56 for images of 32×32 pixels: 0.86 million parameters.
    Resnet56,
    /// ResNet-18 with a stem for images of 32×32 pixels: 11.2 million parameters.
    Resnet18,
    /// WRN-28-10 (Zagoruyko and Komodakis 2016): 36.5 million parameters.
    #[serde(rename = "wide-resnet-28-10")]
    WideResnet28x10,
    /// VGG-16 with batch normalisation and one fully connected layer (Simonyan and Zisserman 2015): 14.7 million parameters.
    Vgg16,
    /// MobileNetV2 for images of 32×32 pixels (Sandler et al. 2018): 2.2 million parameters.
    MobilenetV2,
    /// DenseNet-40 with growth 12 (Huang et al. 2017): 1.0 million parameters.
    Densenet40,
    /// U-Net with three halvings (Ronneberger et al. 2015), which gives one number for each class and pixel: to look at, as recipes train
    /// classifiers. 1.9 million parameters.
    Unet,
    /// A small network with group normalisation and squeeze-and-excitation (Hu et al. 2018), without running statistics: 31,000
    /// parameters.
    Squeeze,
    /// A network of one's own: a TOML file of the form that the chapter on networks describes.
    File(NetworkFile),
    /// A network of another tool, with its weights: an ONNX file.
    Onnx(OnnxFile),
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

fn bert_width() -> usize {
    64
}

fn bert_heads() -> usize {
    4
}

fn bert_feed_forward() -> usize {
    256
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
            Self::Onnx(onnx) => {
                let beside = Model::files_beside(&onnx.file);
                std::iter::once(onnx.file.clone()).chain(beside).map(|file| Input::named(file, "An ONNX model was to be here.")).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Errors where these data are texts, and the network knows fewer symbols than they have.
    pub fn check_data(&self, data: &DataConfig) -> Result<(), Violation> {
        let (name, symbols) = match self {
            Self::Lstm { symbols, .. } => ("lstm", symbols),
            Self::Bert { symbols, .. } => ("bert", symbols),
            _ => return Ok(()),
        };
        if data.is_text() && symbols.is_none_or(|symbols| symbols < text::SYMBOLS) {
            let found = symbols.map_or_else(|| "absent".into(), |symbols| format!("found {symbols}"));
            let message = format!("{found}; allowed with texts: {} (bytes, and what fills them up)", text::SYMBOLS);
            return Err(Violation::new(format!("model.{name}.symbols"), message));
        }
        Ok(())
    }

    /// Whether this is a model that was trained before.
    pub fn is_trained(&self) -> bool {
        matches!(self, Self::Onnx(_))
    }

    /// Whether it was, and keeps its last layer.
    pub fn keeps_head(&self) -> bool {
        matches!(self, Self::Onnx(onnx) if !onnx.new_head)
    }

    /// Whether it predicts a number, and no classes.
    ///
    /// # Errors
    ///
    /// A file that cannot be read.
    pub fn predicts_numbers(&self) -> Result<bool> {
        match self {
            Self::Onnx(onnx) => Ok(onnx.model()?.metadata.iter().any(|(key, _)| key == onnx::TARGET)),
            _ => Ok(false),
        }
    }

    /// Mean and deviation of the number that a model predicts which keeps its last layer, and tells them: [`init`](Self::init) gives
    /// the network in units of these.
    ///
    /// # Errors
    ///
    /// A file that cannot be read.
    pub fn target_scale(&self) -> Result<Option<[f32; 2]>> {
        match self {
            Self::Onnx(onnx) if !onnx.new_head => onnx.target_scale(),
            _ => Ok(None),
        }
    }

    /// What the metadata of a trained model say of its examples.
    ///
    /// # Errors
    ///
    /// A file that cannot be read.
    pub fn known(&self) -> Result<Known> {
        match self {
            Self::Onnx(onnx) => onnx::known(&onnx.file, onnx.model()?, !onnx.new_head),
            _ => Ok(Known::default()),
        }
    }

    /// The network for examples of this extent, and this many classes if they are known (else 0: a file is not read yet); an error points
    /// at `key`.
    pub fn check(&self, key: &str, extent: Extent, classes: usize) -> Result<Option<Graph>, Violation> {
        match self {
            Self::File(_) | Self::Onnx(_) if classes == 0 => Ok(None),
            _ => self.classifier(extent, classes.max(1)).map(Some).map_err(|error| Violation::new(key, error.to_string())),
        }
    }

    /// The description of the network for examples of this extent.
    ///
    /// # Errors
    ///
    /// Examples that it does not take, no inputs, no classes, values that do not fit into memory, and mistakes in a file.
    pub fn graph(&self, extent: Extent, classes: usize) -> Result<Graph> {
        let Extent { channels, height, width } = extent;
        let wrong = |message: String| Err(Error::Violated(message));
        if extent.is_empty() || classes == 0 {
            let found = format!("{channels} x {height} x {width} numbers, {classes} classes");
            return Err(Error::invalid("network", found, "1 or more of each"));
        }
        let smallest = height.min(width);
        match self {
            Self::Cnn { channels: widths, .. } | Self::Resnet { widths, .. } if widths.is_empty() || widths.contains(&0) => {
                wrong(format!("found the widths {widths:?}; allowed: at least one, each 1 or more"))
            }
            Self::Cnn { channels: widths, .. } if smallest.checked_shr(widths.len() as u32).unwrap_or(0) == 0 => {
                wrong(format!("{} poolings halve a side of {smallest} pixels to nothing; allowed: fewer channels", widths.len()))
            }
            Self::Lstm { .. } if height > 1 || channels > 1 => wrong(format!(
                "an LSTM reads rows of symbols; found images of {channels}x{height}x{width}; allowed: linear, mlp, cnn, resnet"
            )),
            Self::Bert { .. } if height > 1 || channels > 1 => wrong(format!(
                "this network reads rows of symbols; found images of {channels}x{height}x{width}; allowed: linear, mlp, cnn, resnet"
            )),
            Self::Bert { width, heads, .. } if !width.is_multiple_of(*heads) => {
                wrong(format!("found {heads} heads for a width of {width}; allowed: a divisor of it"))
            }
            Self::FeddynCnn if smallest < 16 => wrong(format!("this network needs images of 16x16 pixels or more; found {height}x{width}")),
            Self::Linear => zoo::linear(extent, classes),
            Self::Mlp { hidden, dropout } => zoo::mlp(extent, hidden, *dropout, classes),
            Self::Cnn { channels, hidden, batch_norm, dropout } => zoo::cnn(extent, channels, *hidden, *batch_norm, *dropout, classes),
            Self::FeddynCnn => zoo::feddyn_cnn(extent, classes),
            Self::Resnet { widths, blocks } => zoo::resnet(extent, widths, *blocks, classes),
            Self::Lstm { symbols, embedding, hidden, layers } => {
                zoo::lstm(extent, symbols.unwrap_or(classes), *embedding, *hidden, *layers, classes)
            }
            Self::Bert { symbols, width, heads, feed_forward, layers, dropout } => {
                zoo::bert(extent, symbols.unwrap_or(classes), [*width, *heads, *feed_forward], *layers, *dropout, classes)
            }
            Self::File(file) => file.graph(extent, classes),
            Self::Onnx(onnx) => onnx.imported(extent, classes).map(|imported| imported.graph),
            named => {
                let (name, text) = named.text().expect("every other network is a text");
                Graph::parse(name, text, Shape::Images([channels, height, width]), classes)
            }
        }
    }

    /// The name and the TOML text of a network that is written as one's own are.
    pub fn text(&self) -> Option<(&'static str, &'static str)> {
        Some(match self {
            Self::Resnet20 => ("resnet20", include_str!("../../networks/resnet20.toml")),
            Self::Resnet32 => ("resnet32", include_str!("../../networks/resnet32.toml")),
            Self::Resnet56 => ("resnet56", include_str!("../../networks/resnet56.toml")),
            Self::Resnet18 => ("resnet18", include_str!("../../networks/resnet18.toml")),
            Self::WideResnet28x10 => ("wide-resnet-28-10", include_str!("../../networks/wide-resnet-28-10.toml")),
            Self::Vgg16 => ("vgg16", include_str!("../../networks/vgg16.toml")),
            Self::MobilenetV2 => ("mobilenet-v2", include_str!("../../networks/mobilenet-v2.toml")),
            Self::Densenet40 => ("densenet40", include_str!("../../networks/densenet40.toml")),
            Self::Unet => ("unet", include_str!("../../networks/unet.toml")),
            Self::Squeeze => ("squeeze", include_str!("../../networks/squeeze.toml")),
            Self::Linear | Self::FeddynCnn | Self::File(_) | Self::Onnx(_) => return None,
            Self::Mlp { .. } | Self::Cnn { .. } | Self::Resnet { .. } | Self::Lstm { .. } | Self::Bert { .. } => return None,
        })
    }

    /// The same of a network that gives one number a class.
    fn classifier(&self, extent: Extent, classes: usize) -> Result<Graph> {
        let graph = self.graph(extent, classes)?;
        check_output(&graph, classes)?;
        Ok(graph)
    }

    /// The network with initial values drawn from `seed`. Errors where it does not fit inputs of this extent, as
    /// [`graph`](Self::graph) does, or gives something else than a number for each class.
    pub fn init(&self, extent: Extent, classes: usize, seed: Seed, device: &Device) -> Result<Net> {
        if let Self::Onnx(onnx) = self {
            let imported = onnx.imported(extent, classes)?;
            check_output(&imported.graph, classes)?;
            return imported.net(seed, device);
        }
        Net::new(self.classifier(extent, classes)?, seed, device)
    }
}

/// Errors unless a network gives one number a class.
fn check_output(graph: &Graph, classes: usize) -> Result<()> {
    let found = graph.output();
    let message = || format!("the network's output: found {found}; allowed: {classes} numbers in a row, one for each class or quantile");
    if found == Shape::Row(classes) { Ok(()) } else { Err(Error::Violated(message())) }
}

/// A network of another tool.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnnxFile {
    /// The ONNX file, with the weights that training begins with. A softmax at its end is left out.
    file: PathBuf,
    /// The name of the output, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    /// Whether a fully connected layer for the classes of the data, its weights drawn anew, takes the place of the last one.
    #[serde(default)]
    new_head: bool,
    #[serde(skip)]
    #[schemars(skip)]
    read: Arc<OnceLock<Model>>,
}

impl PartialEq for OnnxFile {
    fn eq(&self, other: &Self) -> bool {
        (&self.file, &self.output, self.new_head) == (&other.file, &other.output, other.new_head)
    }
}

impl OnnxFile {
    /// The file, read once.
    fn model(&self) -> Result<&Model> {
        if self.read.get().is_none() {
            let _ = self.read.set(Model::read(&self.file)?);
        }
        self.read.get().ok_or_else(|| Error::Failed("a model that was read is gone".into()))
    }

    /// Mean and deviation of what it predicts, of a model that tells them.
    fn target_scale(&self) -> Result<Option<[f32; 2]>> {
        #[derive(Deserialize)]
        struct Scaled {
            #[serde(default)]
            scale: Option<[f32; 2]>,
        }
        let metadata = &self.model()?.metadata;
        let Some((_, text)) = metadata.iter().find(|(key, _)| key == onnx::TARGET) else { return Ok(None) };
        let scaled: Scaled = serde_json::from_str(text)
            .map_err(|error| Error::damaged(&self.file, format!("`{}` of its metadata: {error}", onnx::TARGET)))?;
        Ok(scaled.scale.filter(|scale| *scale != [0.0, 1.0]))
    }

    /// The network for examples of this extent, read once: all arms have the same network though the file is changed meanwhile.
    fn imported(&self, Extent { channels, height, width }: Extent, classes: usize) -> Result<Imported> {
        let model = self.model()?;
        let imported = onnx::import(&self.file, model, Some(Shape::Images([channels, height, width])), self.output.as_deref())?;
        let imported = imported.without_softmax()?.unwrap_or(imported);
        let imported = match (self.new_head, self.target_scale()?) {
            (true, _) => imported.with_head(classes)?,
            (false, Some(_)) => imported.without_scale()?,
            (false, None) => imported,
        };
        imported.check_trainable()?;
        Ok(imported)
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
