//! Networks of other tools: ONNX models as networks, and networks as ONNX models.

mod export;
mod import;
mod lower;
mod opaque;

use std::path::Path;

use lyceum_core::{Error, Result};
#[cfg(doc)]
use lyceum_data::own::text;
use lyceum_data::{
    Extent, Normalization,
    prepare::{Known, Prepared},
};
use lyceum_onnx::Model;
use serde::de::DeserializeOwned;

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
/// The key of the metadata of a model that predicts numbers: a JSON object with the `name` of the number and its `scale`, mean and
/// deviation, by which the network's last step brings it to its units.
pub const TARGET: &str = "lyceum.target";
/// The key of a model's metadata that says how rows are made of texts: `bytes` ([`text::symbols`]).
pub const TEXT: &str = "lyceum.text";

/// The metadata of what examples are normalised by.
pub fn normalization(normalization: &Normalization) -> Vec<(String, String)> {
    let entries = [(MEAN, normalization.mean()), (STD, normalization.std())];
    let told = entries.into_iter().filter(|(_, values)| !values.is_empty());
    told.map(|(key, values)| (key.to_owned(), serde_json::json!(values).to_string())).collect()
}

/// What a model's metadata tell of its examples; of classes, where it keeps its last layer.
///
/// # Errors
///
/// Entries that are not what they should be.
pub fn known(file: &Path, model: &Model, classes: bool) -> Result<Known> {
    fn told<T: DeserializeOwned + Default>(file: &Path, model: &Model, key: &str) -> Result<T> {
        let Some((_, text)) = model.metadata.iter().find(|(name, _)| name == key) else { return Ok(T::default()) };
        serde_json::from_str(text).map_err(|_| Error::damaged(file, format!("`{key}` of its metadata is {text:.60}; allowed: a JSON list")))
    }
    let (mean, std): (Vec<f32>, Vec<f32>) = (told(file, model, MEAN)?, told(file, model, STD)?);
    let channels = mean.len().max(std.len());
    let normalization = Normalization::new(mean, std, channels).map_err(|error| Error::damaged(file, error.to_string()))?;
    let classes = if classes { class_names(file, model)? } else { None };
    Ok(Known { classes, columns: told(file, model, COLUMNS)?, normalization })
}

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
    metadata.extend(normalization(&data.normalization));
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
