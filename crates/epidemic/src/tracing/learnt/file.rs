//! Predictors as files: safetensors with the weights, the rest as JSON in its header; before it a checksum of
//! both, which a file that another program wrote may lack.

use std::path::Path;

use lyceum_core::{Array, Error, Result, array};
use serde::{Deserialize, Serialize};

use super::{Network, NetworkConfig, Predictor};
use crate::tracing::{Edges, THRESHOLDS};

/// What stands beside the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    name: String,
    network: NetworkConfig,
    edges: Edges,
    thresholds: [u8; 3],
}

const FORMAT: &str = "lyceum infectiousness 1";

impl Predictor<Network> {
    /// Of these weights.
    pub fn new(name: &str, network: NetworkConfig, arrays: &[Array], edges: Edges) -> Result<Self> {
        Ok(Self { name: name.into(), predict: Network::new(network, arrays)?, edges, thresholds: THRESHOLDS })
    }

    /// The bytes of its file.
    pub fn bytes(&self, arrays: &[Array]) -> Result<Vec<u8>> {
        let header = Header {
            format: FORMAT.into(),
            name: self.name.clone(),
            network: self.predict.config(),
            edges: self.edges,
            thresholds: self.thresholds,
        };
        let note = serde_json::to_string(&header).map_err(|error| Error::Failed(error.to_string()))?;
        array::encode_sealed(arrays, &note)
    }

    /// From a file.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::missing_or_io(
            "read",
            path,
            "Give the file of a predictor, as `lyceum run recipes/epidemic/predictors.toml` writes it.",
        ))?;
        let damaged = |text: String| Error::damaged(path, text);
        let note = array::note(path, &bytes)?;
        // Ours are sealed; those that other programs write begin with the header.
        let (arrays, header) =
            if note.starts_with('{') { (array::decode(path, &bytes)?, note) } else { array::decode_sealed(path, &bytes)? };
        let header: Header = serde_json::from_str(&header).map_err(|error| damaged(error.to_string()))?;
        if header.format != FORMAT {
            return Err(damaged(format!("found format `{}`; allowed: {FORMAT}", header.format)));
        }
        if !header.edges.windows(2).all(|pair| pair[0] < pair[1]) {
            return Err(damaged(format!("found edges {:?}; allowed: growing numbers", header.edges)));
        }
        let network = Network::new(header.network, &arrays).map_err(|error| damaged(error.to_string()))?;
        Ok(Self { name: header.name, predict: network, edges: header.edges, thresholds: header.thresholds })
    }
}
