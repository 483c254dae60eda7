//! `lyceum model`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use lyceum_core::{Error, Progress, Result, Seed, atomic, report::Table};
use lyceum_data::Extent;
use lyceum_onnx::Model as OnnxModel;
use lyceum_train::{
    ModelConfig, Net, cpu,
    graph::{Graph, Shape},
    onnx,
};
use serde_json::json;

/// Look at networks: those that recipes know by name, and TOML files
#[derive(Subcommand)]
pub(crate) enum Model {
    Show(Show),
    Groups(Groups),
}

/// Which network, for which examples
#[derive(clap::Args)]
struct Source {
    /// The network: a TOML file, an ONNX file, a name, or what a recipe says after `model =`
    network: String,

    /// The shape of an example: channels, height and width; 3x32x32 if absent, and of an ONNX file its own
    #[arg(long, value_name = "CxHxW")]
    input: Option<String>,

    /// How many classes there are
    #[arg(long, default_value_t = 10)]
    classes: usize,
}

/// Show which channels and hidden units live and die together: they can be taken out of the network as a whole
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  lyceum model groups resnet20
  lyceum model groups net.toml --input 1x28x28")]
pub(crate) struct Groups {
    #[command(flatten)]
    source: Source,
}

/// Show the nodes of a network, with shapes, parameters, multiply-adds and bytes for one example
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  lyceum model show resnet20
  lyceum model show '{ mlp = { hidden = [200, 100] } }' --input 1x28x28
  lyceum model show mobilenet-v2 --toml > net.toml
  lyceum model show net.toml --input 1x28x28 --classes 10 --svg net.svg
  lyceum model show net.onnx --input 3x224x224

A recipe trains the network with
  [model]
  file = \"net.toml\"")]
pub(crate) struct Show {
    #[command(flatten)]
    source: Source,

    /// Print it as a TOML file, to begin one of your own with
    #[arg(long)]
    toml: bool,

    /// Also draw it, as an SVG file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Also write it as an ONNX file, with initial weights
    #[arg(long, value_name = "FILE")]
    onnx: Option<PathBuf>,
}

impl Source {
    /// The network, and what it is written as where it has a name.
    fn graph(&self) -> Result<(Graph, Option<&'static str>)> {
        if self.classes == 0 {
            return Err(Error::invalid("--classes", self.classes, "1 or more"));
        }
        let input = self.input.as_deref().map(super::shape).transpose()?;
        let path = Path::new(&self.network);
        if is_onnx(path) {
            return Ok((onnx::import(path, &OnnxModel::read(path)?, input, None)?.graph, None));
        }
        let extents = match (input, &self.input) {
            (None, _) => [3, 32, 32],
            (Some(Shape::Images(extents)), _) => extents,
            (Some(_), text) => {
                let found = text.as_deref().unwrap_or_default();
                return Err(Error::invalid("--input", found, "channels, height and width, such as 3x32x32"));
            }
        };
        let [channels, height, width] = extents;
        match named(&self.network)? {
            Some(model) => Ok((model.graph(Extent { channels, height, width }, self.classes)?, model.text().map(|(_, text)| text))),
            None => Ok((Graph::read(Path::new(&self.network), Shape::Images(extents), self.classes)?, None)),
        }
    }
}

impl Model {
    pub(crate) fn execute(self, progress: &Progress) -> Result<()> {
        match self {
            Self::Show(show) => show.execute(progress),
            Self::Groups(groups) => groups.execute(progress),
        }
    }
}

impl Groups {
    fn execute(self, progress: &Progress) -> Result<()> {
        let (graph, _) = self.source.graph()?;
        let mut table = Table::new(["group", "units", "parameters of a unit", "its slices"]);
        for group in graph.dependencies() {
            let unit = &group.units[0];
            let (small, _) = graph.without(&[unit])?;
            let parameters = graph.cost().parameters - small.cost().parameters;
            let slices: Vec<String> =
                unit.made.iter().chain(&unit.read).map(|slice| format!("{}[{}]", slice.parameter, slice.axis)).collect();
            if progress.is_json() {
                say!("{}", json!({ "group": group.name, "units": group.units.len(), "parameters": parameters, "slices": slices }));
            }
            let shown = if let [first, second, rest @ ..] = slices.as_slice() {
                let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
                format!("{first}, {second}{more}")
            } else {
                slices.join(", ")
            };
            table.push([group.name, group.units.len().to_string(), parameters.to_string(), shown]);
        }
        if !progress.is_json() {
            crate::output::text(&table.markdown());
        }
        Ok(())
    }
}

impl Show {
    fn execute(self, progress: &Progress) -> Result<()> {
        let Self { source, toml, svg, onnx } = self;
        if onnx.is_some() && is_onnx(Path::new(&source.network)) {
            return Err(Error::invalid(
                "--onnx",
                "an ONNX file to show",
                "another network: `lyceum export` writes a model with its own weights",
            ));
        }
        let (graph, text) = source.graph()?;
        if let Some(path) = &onnx {
            onnx::export(&Net::new(graph.clone(), Seed::new(0), &cpu())?, Vec::new())?.write(path)?;
        }
        if let Some(path) = &svg {
            atomic::write(path, graph.svg().as_bytes())?;
        }
        if toml {
            say!("{}", text.map_or_else(|| graph.toml(), str::to_owned).trim_end());
        } else if progress.is_json() {
            for node in graph.nodes() {
                let cost = graph.cost_of(node);
                let (parameters, multiply_adds, bytes) = (cost.parameters, cost.multiply_adds, cost.activation_bytes);
                let (operation, shape) = (node.op.to_string(), node.shape.to_string());
                let reads: Vec<&str> = node.inputs.iter().map(|port| graph.name(*port)).collect();
                say!(
                    "{}",
                    json!({ "node": node.name, "operation": operation, "reads": reads, "shape": shape, "parameters": parameters,
                            "multiply_adds": multiply_adds, "bytes": bytes })
                );
            }
            let cost = graph.cost();
            let (parameters, multiply_adds, bytes) = (cost.parameters, cost.multiply_adds, cost.activation_bytes);
            say!("{}", json!({ "event": "end", "parameters": parameters, "multiply_adds": multiply_adds, "bytes": bytes }));
        } else {
            crate::output::text(&graph.table().markdown());
        }
        Ok(())
    }
}

fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "onnx")
}

/// A network that recipes know by name, with its keys where there are any; `None` for a file.
fn named(text: &str) -> Result<Option<ModelConfig>> {
    #[derive(serde::Deserialize)]
    struct Recipe {
        model: ModelConfig,
    }
    let parse = |model: &str| toml::from_str::<Recipe>(&format!("model = {model}")).map(|recipe| recipe.model);
    let path = Path::new(text);
    if path.is_file() {
        return Ok(None);
    }
    let wrong = |error: toml::de::Error| Error::Violated(format!("`{text}`: {}", error.message()));
    if text.contains('{') {
        return parse(text).map(Some).map_err(wrong);
    }
    if path.extension().is_some() {
        return Ok(None);
    }
    let quoted = format!("{text:?}");
    parse(&quoted).or_else(|_| parse(&format!("{{ {quoted} = {{}} }}"))).map(Some).map_err(wrong)
}
