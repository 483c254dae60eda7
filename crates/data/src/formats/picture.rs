//! One picture as an example.

use std::{
    fs,
    path::{Path, PathBuf},
};

use image::{DynamicImage, imageops::FilterType};
use lyceum_core::{Error, Result};
use rayon::prelude::*;
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
    Ok(bytes(path, extent, fit)?.into_iter().map(|value| f32::from(value) / 255.0).collect())
}

/// The same as bytes, from 0 to 255.
fn bytes(path: &Path, extent: Extent, fit: Fit) -> Result<Vec<u8>> {
    values(decoded(path)?, extent, fit).map_err(|what| Error::damaged(path, what))
}

/// The bytes of many files, read on all cores.
pub fn bytes_of_all(paths: &[&Path], extent: Extent, fit: Fit) -> Vec<Result<Vec<u8>>> {
    paths.par_iter().map(|path| bytes(path, extent, fit)).collect()
}

fn decoded(path: &Path) -> Result<DynamicImage> {
    let picture = image::ImageReader::open(path).map_err(Error::io("read", path))?;
    let picture = picture.with_guessed_format().map_err(Error::io("read", path))?;
    picture.decode().map_err(|error| Error::damaged(path, error.to_string()))
}

/// The same of many files, on all cores.
pub fn read_all(paths: &[impl AsRef<Path> + Sync], extent: Extent, fit: Fit) -> Vec<Result<Vec<f32>>> {
    paths.par_iter().map(|path| read(path.as_ref(), extent, fit)).collect()
}

/// Whether a file is called as pictures are that can be read.
pub fn is_one(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["png", "jpg", "jpeg"].iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

/// The pictures of a folder and of its sub-folders, in the order of their paths. Links to folders are not followed: they could lead back.
///
/// # Errors
///
/// A folder that cannot be read.
pub fn in_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).map_err(Error::io("read", &folder))?.flatten().map(|entry| entry.path()) {
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if is_one(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The sides of a PNG or JPEG file, and its channels: 1 where it is grey, else 3.
///
/// # Errors
///
/// A file that is no picture.
pub fn extent(path: &Path) -> Result<Extent> {
    let picture = decoded(path)?;
    let channels = if picture.color().has_color() { 3 } else { 1 };
    Ok(Extent { channels, height: picture.height() as usize, width: picture.width() as usize })
}

fn values(picture: DynamicImage, Extent { channels, height, width }: Extent, fit: Fit) -> Result<Vec<u8>, String> {
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
    Ok((0..channels).flat_map(|c| bytes.iter().skip(c).step_by(channels)).copied().collect())
}
