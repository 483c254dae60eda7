//! Arrays of a .npz file.

use std::path::Path;

use lyceum_core::{Error, Result};
use ndarray::{Array2, ArrayD, IxDyn};

use super::{Named, NamedPart, Reading};
use crate::{Extent, Inputs, formats::npy};

/// `x` and `y` (or the array of targets), or `x_train`, `y_train`, `x_test` and `y_test`; groups are whole numbers of the array that the reading names.
pub(super) fn read(path: &Path, reading: &Reading) -> Result<Named> {
    let file = File { path, reading };
    let y = reading.label.as_deref().unwrap_or("y");
    match file.part("x", y, "") {
        Ok((extent, train)) => Ok(Named { extent, parts: vec![train], columns: Vec::new() }),
        Err(first) => {
            // What is said of `x` counts where there is one.
            let (extent, train) = match (file.part("x_train", &format!("{y}_train"), "_train"), file.numbers("x")) {
                (Ok(found), _) => found,
                (Err(_), Ok(_)) => return Err(first),
                (Err(second), Err(_)) => return Err(second),
            };
            let (other, test) = file.part("x_test", &format!("{y}_test"), "_test")?;
            if other != extent {
                return Err(Error::damaged(path, "`x_train` and `x_test` have examples of other extents"));
            }
            Ok(Named { extent, parts: vec![train, test], columns: Vec::new() })
        }
    }
}

struct File<'a> {
    path: &'a Path,
    reading: &'a Reading,
}

/// Numbers as they are, or bytes, which are pictures.
enum Array {
    Numbers(ArrayD<f32>),
    Bytes(ArrayD<u8>),
}

impl Array {
    fn shape(&self) -> &[usize] {
        match self {
            Self::Numbers(array) => array.shape(),
            Self::Bytes(array) => array.shape(),
        }
    }
}

impl File<'_> {
    fn numbers(&self, name: &str) -> Result<Array> {
        if let Ok(bytes) = npy::read_npz::<u8, IxDyn>(self.path, name) {
            return Ok(Array::Bytes(bytes));
        }
        if let Ok(wide) = npy::read_npz::<f64, IxDyn>(self.path, name) {
            return Ok(Array::Numbers(wide.mapv(|value| value as f32)));
        }
        npy::read_npz::<f32, IxDyn>(self.path, name).map(Array::Numbers)
    }

    fn whole(&self, name: &str) -> Result<Vec<String>> {
        Ok(npy::labels_of_npz(self.path, name)?.iter().map(ToString::to_string).collect())
    }

    /// A number for each example.
    fn targets(&self, name: &str) -> Result<Vec<String>> {
        let array = npy::numbers_of_npz(self.path, name)?;
        if array.shape().iter().skip(1).any(|extent| *extent != 1) {
            let text = format!("`{name}` has the extents {:?}; allowed: a number for each example", array.shape());
            return Err(Error::damaged(self.path, text));
        }
        Ok(array.iter().map(ToString::to_string).collect())
    }

    fn part(&self, x: &str, y: &str, suffix: &str) -> Result<(Extent, NamedPart)> {
        let (values, labels) = (self.numbers(x)?, if self.reading.numbers { self.targets(y) } else { self.whole(y) }?);
        let group = self.reading.group.as_ref().map(|name| self.whole(&format!("{name}{suffix}"))).transpose()?;
        let dims = values.shape().to_vec();
        let (extent, channels_last) = match dims.as_slice() {
            [_, width] => (Extent { channels: 1, height: 1, width: *width }, false),
            [_, height, width] => (Extent { channels: 1, height: *height, width: *width }, false),
            [_, height, width, channels @ (1 | 3)] if ![1, 3].contains(height) => {
                (Extent { channels: *channels, height: *height, width: *width }, true)
            }
            [_, channels, height, width] => (Extent { channels: *channels, height: *height, width: *width }, false),
            _ => {
                let text = format!("`{x}` has the extents {dims:?}; allowed: n rows, or n images of one or several channels");
                return Err(Error::damaged(self.path, text));
            }
        };
        let groups = group.unwrap_or_default();
        for (what, count) in [(y, labels.len()), ("the array of groups", if self.reading.group.is_some() { groups.len() } else { dims[0] })]
        {
            if dims[0] != count {
                return Err(Error::damaged(
                    self.path,
                    format!("`{x}` has {} examples, `{what}` {count} values; allowed: as many", dims[0]),
                ));
            }
        }
        if let Some(label) =
            labels.iter().filter(|_| !self.reading.numbers).find(|label| !label.parse::<u32>().is_ok_and(|label| label < 100_000))
        {
            return Err(Error::damaged(self.path, format!("`{y}`: label {label}; allowed: 0 to 99,999")));
        }
        fn flat<T: Copy>(array: ArrayD<T>, channels_last: bool) -> Vec<T> {
            let array = if channels_last { array.permuted_axes(IxDyn(&[0, 3, 1, 2])) } else { array };
            array.iter().copied().collect()
        }
        let inputs = match values {
            Array::Bytes(bytes) => Inputs::bytes(flat(bytes, channels_last), extent.len()),
            Array::Numbers(numbers) => {
                let rows = Array2::from_shape_vec((dims[0], extent.len()), flat(numbers, channels_last));
                rows.map(Inputs::from).map_err(|error| Error::damaged(self.path, error.to_string()))?
            }
        };
        Ok((extent, NamedPart { inputs, labels, groups, names: Vec::new() }))
    }
}
