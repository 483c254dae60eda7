//! Folders of images: one sub-folder a class, PNG or JPEG files in each.

use std::{
    fs,
    path::{Path, PathBuf},
};

use lyceum_core::{Error, Result};
use ndarray::Array2;

use crate::{
    Dataset, Examples, Extent,
    formats::picture::{self, Fit},
};

/// Loads every image, scaled to `height × width`; grey (1 channel) or colour (3).
pub fn load(folder: &Path, channels: usize, height: usize, width: usize) -> Result<Dataset> {
    let classes: Vec<PathBuf> = sorted(folder)?.into_iter().filter(|path| path.is_dir()).collect();
    if classes.is_empty() {
        return Err(Error::damaged(folder, "has no sub-folders; one a class is expected"));
    }
    let extent = Extent { channels, height, width };
    let mut values = Vec::new();
    let mut labels = Vec::new();
    for (label, class) in classes.iter().enumerate() {
        for path in sorted(class)?.into_iter().filter(|path| path.is_file()) {
            values.extend(picture::read(&path, extent, Fit::Stretch)?);
            labels.push(label);
        }
    }
    let inputs = Array2::from_shape_vec((labels.len(), extent.len()), values).map_err(|e| Error::damaged(folder, e.to_string()))?;
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Dataset {
        name: name(folder),
        extent,
        classes: classes.iter().map(|class| name(class)).collect(),
        train: Examples { inputs, labels },
        test: None,
    })
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_folders_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        for (class, color) in [("cat", [255, 0, 0]), ("ant", [0, 0, 255])] {
            fs::create_dir(folder.path().join(class)).unwrap();
            image::RgbImage::from_pixel(5, 3, image::Rgb(color)).save(folder.path().join(class).join("a.png")).unwrap();
        }
        let set = load(folder.path(), 3, 2, 2).unwrap();
        assert_eq!(set.classes, ["ant", "cat"]);
        assert_eq!(set.train.labels, [0, 1]);
        assert_eq!(set.train.inputs.row(0).to_vec(), [0., 0., 0., 0., 0., 0., 0., 0., 1., 1., 1., 1.]);
        fs::write(folder.path().join("cat/b.png"), b"not a picture").unwrap();
        assert!(load(folder.path(), 3, 2, 2).unwrap_err().to_string().contains("b.png"));
    }
}
