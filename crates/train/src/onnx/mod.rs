//! Networks of other tools: ONNX models as networks, and networks as ONNX models.

mod export;
mod import;
mod lower;
mod opaque;

use std::path::Path;

use lyceum_core::{Error, Result};
#[cfg(doc)]
use lyceum_data::own::text;
use lyceum_data::{Extent, prepare::Prepared};
use lyceum_onnx::Model;

pub use self::{
    export::export,
    import::{Imported, import},
};
use crate::graph::{Net, Shape};

/// What an arm of a run keeps its network in.
pub const FILE: &str = "model.onnx";
/// The key of a model's metadata that has the names of the classes, a JSON list.
pub const CLASSES: &str = "lyceum.classes";

/// The names of the classes that a model's metadata tells; none where it does not.
///
/// # Errors
///
/// An entry that is no list of names.
pub fn class_names(file: &Path, model: &Model) -> Result<Option<Vec<String>>> {
    let Some((_, text)) = model.metadata.iter().find(|(key, _)| key == CLASSES) else { return Ok(None) };
    let wrong = |_| Error::damaged(file, format!("`{CLASSES}` of its metadata is {text:.60}; allowed: a JSON list of names"));
    serde_json::from_str(text).map(Some).map_err(wrong)
}

/// Metadata with the names of the classes, where there are classes.
pub fn with_classes(classes: &[String], mut metadata: Vec<(String, String)>) -> Vec<(String, String)> {
    if !classes.is_empty() {
        metadata.insert(0, (CLASSES.to_owned(), serde_json::json!(classes).to_string()));
    }
    metadata
}

/// The key of a model's metadata that has the extents of the pictures which the network reads as rows of numbers.
pub const PICTURE: &str = "lyceum.picture";

/// The key of a model's metadata that has the names of the numbers that it reads, a JSON list.
pub const COLUMNS: &str = "lyceum.columns";
/// The key of a model's metadata that has what is subtracted from the numbers of each channel, a JSON list.
pub const MEAN: &str = "lyceum.mean";
/// The key of a model's metadata that has what they are divided by then.
pub const STD: &str = "lyceum.std";
/// The key of a model's metadata that says how rows are made of texts: `bytes` ([`text::symbols`]).
pub const TEXT: &str = "lyceum.text";

/// Writes a trained network into a folder, with the names of its classes, what its examples are and what else is known of it; nothing where
/// ONNX has no form for the network.
///
/// # Errors
///
/// What the system says.
pub fn save(folder: &Path, net: &Net, classes: &[String], data: &Prepared, mut metadata: Vec<(String, String)>) -> Result<()> {
    let Extent { channels, height, width } = data.extent;
    if !data.columns.is_empty() {
        metadata.push((COLUMNS.to_owned(), serde_json::json!(data.columns).to_string()));
    }
    if let Some([mean, deviation]) = &data.standardization {
        metadata.extend([(MEAN, mean), (STD, deviation)].map(|(key, values)| (key.to_owned(), serde_json::json!(values).to_string())));
    }
    if data.text {
        metadata.push((TEXT.to_owned(), "bytes".to_owned()));
    }
    if height > 1 && !matches!(net.graph().input(), Shape::Images(_)) {
        metadata.push((PICTURE.to_owned(), serde_json::json!([channels, height, width]).to_string()));
    }
    match export(net, with_classes(classes, metadata)) {
        Ok(model) => model.write(&folder.join(FILE)),
        Err(Error::Invalid { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
