//! One picture as an example.

use std::path::Path;

use image::{DynamicImage, imageops::FilterType};
use lyceum_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Extent;

/// How a picture of other sides becomes one of those that are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// Each side scaled on its own.
    #[default]
    Stretch,
    /// Scaled until it covers what is wanted, and cut at its middle.
    Crop,
}

/// Reads a PNG or JPEG file: `channels` (1 grey, 3 colour) × `height` × `width` values in \[0, 1\], channel by channel.
///
/// # Errors
///
/// A file that is no picture, and another number of channels.
pub fn read(path: &Path, extent: Extent, fit: Fit) -> Result<Vec<f32>> {
    let picture = image::ImageReader::open(path).map_err(Error::io("read", path))?;
    let picture = picture.with_guessed_format().map_err(Error::io("read", path))?;
    let picture = picture.decode().map_err(|error| Error::damaged(path, error.to_string()))?;
    values(picture, extent, fit).map_err(|what| Error::damaged(path, what))
}

/// The same of the bytes of a file.
///
/// # Errors
///
/// In words, as [`read`].
pub fn decode(bytes: &[u8], extent: Extent, fit: Fit) -> Result<Vec<f32>, String> {
    values(image::load_from_memory(bytes).map_err(|error| error.to_string())?, extent, fit)
}

fn values(picture: DynamicImage, Extent { channels, height, width }: Extent, fit: Fit) -> Result<Vec<f32>, String> {
    let (Ok(wide), Ok(high), 1..) = (u32::try_from(width), u32::try_from(height), width.min(height)) else {
        return Err(format!("is to be {height}x{width}; allowed: 1 or more of each"));
    };
    // Fewer numbers are scaled where what is wanted is grey.
    let picture = match channels {
        1 => DynamicImage::ImageLuma8(picture.into_luma8()),
        3 => DynamicImage::ImageRgb8(picture.into_rgb8()),
        other => return Err(format!("is a picture; allowed: numbers of {other} channels")),
    };
    let picture = match fit {
        _ if (picture.width(), picture.height()) == (wide, high) => picture,
        Fit::Stretch => picture.resize_exact(wide, high, FilterType::Triangle),
        Fit::Crop => picture.resize_to_fill(wide, high, FilterType::Triangle),
    };
    let bytes = picture.as_bytes();
    // Pixel by pixel becomes channel by channel.
    Ok((0..channels).flat_map(|c| bytes.iter().skip(c).step_by(channels)).map(|&value| f32::from(value) / 255.0).collect())
}
