//! `lyceum model`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use lyceum_core::{Error, Progress, Result, atomic};
use lyceum_data::Extent;
use lyceum_train::{
    ModelConfig,
    graph::{Graph, Shape},
};
use serde_json::json;

/// Look at networks: those that recipes know by name, and TOML files
#[derive(Subcommand)]
pub(crate) enum Model {
    Show(Show),
}

/// Show the nodes of a network, with shapes, parameters, multiply-adds and bytes for one example
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  lyceum model show resnet20
  lyceum model show '{ mlp = { hidden = [200, 100] } }' --input 1x28x28
  lyceum model show mobilenet-v2 --toml > net.toml
  lyceum model show net.toml --input 1x28x28 --classes 10 --svg net.svg

A recipe trains the network with
  [model]
  file = \"net.toml\"")]
pub(crate) struct Show {
    /// The network: a TOML file, a name, or what a recipe says after `model =`
    network: String,

    /// The shape of an example: channels, height and width
    #[arg(long, default_value = "3x32x32", value_name = "CxHxW")]
    input: String,

    /// How many classes there are
    #[arg(long, default_value_t = 10)]
    classes: usize,

    /// Print it as a TOML file, to begin one of your own with
    #[arg(long)]
    toml: bool,

    /// Also draw it, as an SVG file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl Model {
    pub(crate) fn execute(self, progress: &Progress) -> Result<()> {
        let Self::Show(Show { network, input, classes, toml, svg }) = self;
        let extents: Option<Vec<usize>> = input.split('x').map(|extent| extent.parse().ok().filter(|extent| *extent > 0)).collect();
        let extents = extents.and_then(|extents| <[usize; 3]>::try_from(extents).ok());
        let extents = extents.ok_or_else(|| Error::invalid("--input", &input, "channels, height and width, such as 3x32x32"))?;
        if classes == 0 {
            return Err(Error::invalid("--classes", classes, "1 or more"));
        }
        let [channels, height, width] = extents;
        let extent = Extent { channels, height, width };
        let named = named(&network)?;
        let graph = match &named {
            Some(model) => model.graph(extent, classes)?,
            None => Graph::read(Path::new(&network), Shape::Images(extents), classes)?,
        };
        if let Some(path) = &svg {
            atomic::write(path, graph.svg().as_bytes())?;
        }
        if toml {
            say!("{}", named.and_then(|model| model.text()).map_or_else(|| graph.toml(), |(_, text)| text.to_owned()).trim_end());
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

/// A network that recipes know by name, with its keys where there are any; `None` for a file.
fn named(text: &str) -> Result<Option<ModelConfig>> {
    #[derive(serde::Deserialize)]
    struct Recipe {
        model: ModelConfig,
    }
    let parse = |model: &str| toml::from_str::<Recipe>(&format!("model = {model}")).map(|recipe| recipe.model);
    if text.contains('=') {
        return parse(text).map(Some).map_err(|error| Error::Violated(format!("`{text}`: {}", error.message())));
    }
    let path = Path::new(text);
    if path.exists() || path.extension().is_some() {
        return Ok(None);
    }
    let quoted = format!("{text:?}");
    let model = parse(&quoted).or_else(|_| parse(&format!("{{ {quoted} = {{}} }}")));
    model.map(Some).map_err(|_| Error::invalid("the network", text, "a TOML file, or a name that `lyceum explain train model` lists"))
}
