//! Small pictures inside a report.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A picture as a PNG or SVG in a data URI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// `data:image/png;base64,…` or `data:image/svg+xml;base64,…`
    pub uri: String,
}

/// Pictures with captions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gallery {
    /// Each picture and what stands under it.
    pub pictures: Vec<(Picture, String)>,
}

impl Picture {
    /// A grey picture: one byte a pixel, row by row, 0 is black.
    pub fn grey(width: usize, height: usize, pixels: &[u8]) -> Result<Self> {
        Self::encode(width, height, pixels, png::ColorType::Grayscale)
    }

    /// A colour picture: red, green, blue, row by row.
    pub fn rgb(width: usize, height: usize, pixels: &[u8]) -> Result<Self> {
        Self::encode(width, height, pixels, png::ColorType::Rgb)
    }

    /// A drawing.
    pub fn svg(text: &str) -> Self {
        Self { uri: format!("data:image/svg+xml;base64,{}", STANDARD.encode(text)) }
    }

    fn encode(width: usize, height: usize, pixels: &[u8], color: png::ColorType) -> Result<Self> {
        let failed = |error: png::EncodingError| Error::Failed(format!("cannot encode a picture of {width}x{height}: {error}"));
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
        encoder.set_color(color);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().map_err(failed)?;
        writer.write_image_data(pixels).map_err(failed)?;
        writer.finish().map_err(failed)?;
        Ok(Self { uri: format!("data:image/png;base64,{}", STANDARD.encode(&bytes)) })
    }
}
