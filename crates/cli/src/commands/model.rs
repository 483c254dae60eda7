//! `lyceum model`.

use std::path::PathBuf;

use clap::Subcommand;
use lyceum_core::{Error, Progress, Result, atomic};
use lyceum_train::graph::{Graph, Shape};
use serde_json::json;

/// Look at networks that are written as TOML files
#[derive(Subcommand)]
pub(crate) enum Model {
    Show(Show),
}

/// Show the nodes of a network, with shapes, parameters, multiply-adds and bytes for one example
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  lyceum model show recipes/networks/resnet20.toml
  lyceum model show net.toml --input 1x28x28 --classes 10 --svg net.svg

A recipe trains the network with
  [model]
  file = \"net.toml\"")]
pub(crate) struct Show {
    /// The network, a TOML file
    file: PathBuf,

    /// The shape of an example: channels, height and width
    #[arg(long, default_value = "3x32x32", value_name = "CxHxW")]
    input: String,

    /// How many classes there are
    #[arg(long, default_value_t = 10)]
    classes: usize,

    /// Also draw it, as an SVG file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl Model {
    pub(crate) fn execute(self, progress: &Progress) -> Result<()> {
        let Self::Show(Show { file, input, classes, svg }) = self;
        let extents: Option<Vec<usize>> = input.split('x').map(|extent| extent.parse().ok().filter(|extent| *extent > 0)).collect();
        let extents = extents.and_then(|extents| <[usize; 3]>::try_from(extents).ok());
        let extents = extents.ok_or_else(|| Error::invalid("--input", &input, "channels, height and width, such as 3x32x32"))?;
        if classes == 0 {
            return Err(Error::invalid("--classes", classes, "1 or more"));
        }
        let graph = Graph::read(&file, Shape::Images(extents), classes)?;
        if let Some(path) = &svg {
            atomic::write(path, graph.svg().as_bytes())?;
        }
        if progress.is_json() {
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
