//! Networks of other tools: ONNX models as networks, and networks as ONNX models.

mod export;
mod import;
mod lower;
mod opaque;

use std::path::Path;

use lyceum_core::{Error, Result};

pub use self::{
    export::export,
    import::{Imported, import},
};
use crate::graph::Net;

/// What an arm of a run keeps its network in.
pub const FILE: &str = "model.onnx";
/// The key of a model's metadata that has the names of the classes, a JSON list.
pub const CLASSES: &str = "lyceum.classes";

/// Metadata with the names of the classes.
pub fn with_classes(classes: &[String], mut metadata: Vec<(String, String)>) -> Vec<(String, String)> {
    metadata.insert(0, (CLASSES.to_owned(), serde_json::json!(classes).to_string()));
    metadata
}

/// Writes a trained network into a folder, with the names of its classes and what else is known of it; nothing where ONNX has no form for
/// the network.
///
/// # Errors
///
/// What the system says.
pub fn save(folder: &Path, net: &Net, classes: &[String], metadata: Vec<(String, String)>) -> Result<()> {
    match export(net, with_classes(classes, metadata)) {
        Ok(model) => model.write(&folder.join(FILE)),
        Err(Error::Invalid { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
