//! A user's own labelled examples: folders of pictures, arrays, tables.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
};

use lyceum_core::{Error, Result, memory, run::Input};
use ndarray::{Array2, ArrayD};

pub use crate::formats::picture::Fit;
use crate::{
    Dataset, Examples, Extent,
    formats::{npy, picture},
};

/// How own examples are read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// Height and width that pictures are scaled to; those of the first one if absent.
    pub size: Option<[usize; 2]>,
    /// Channels of pictures: 1 for grey, 3 for colour; those of the first one if absent.
    pub channels: Option<usize>,
    /// How pictures of other sides are made to fit.
    pub fit: Fit,
    /// The column of a table that has the labels; `label` if absent.
    pub label: Option<String>,
    /// Whether pictures that cannot be read are passed over.
    pub skip_bad: bool,
}

/// What a path holds.
enum Source {
    /// A folder with a sub-folder for each class.
    Classes,
    /// A folder with folders `train` and `test` of that kind.
    Parts,
    Npz,
    Csv,
    Parquet,
}

fn source(path: &Path) -> Result<Source> {
    if path.is_dir() {
        let parts = ["train", "test"].iter().all(|part| path.join(part).is_dir());
        return Ok(if parts { Source::Parts } else { Source::Classes });
    }
    if !path.exists() {
        return Err(Error::Missing { path: path.into(), hint: "`data.path` of the recipe names it.".into() });
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("npz") => Ok(Source::Npz),
        Some("csv") => Ok(Source::Csv),
        Some("parquet") => Ok(Source::Parquet),
        _ => Err(Error::invalid("data.path", path.display(), "a folder of pictures, or a .npz, .csv or .parquet file")),
    }
}

/// The files that are read.
///
/// # Errors
///
/// A path where there is nothing, and files of other kinds.
pub fn inputs(path: &Path) -> Result<Vec<Input>> {
    const HINT: &str = "`data.path` of the recipe names it.";
    let folders = match source(path)? {
        Source::Classes => vec![path.to_owned()],
        Source::Parts => vec![path.join("train"), path.join("test")],
        _ => return Ok(vec![Input::named(path, HINT)]),
    };
    let mut found = Vec::new();
    for folder in folders {
        for class in sorted(&folder)?.into_iter().filter(|path| path.is_dir()) {
            found.extend(picture::in_folder(&class)?.into_iter().map(|file| Input::named(file, HINT)));
        }
    }
    Ok(found)
}

/// Whether there may be test examples of their own.
///
/// # Errors
///
/// A path where there is nothing, and files of other kinds.
pub fn has_test(path: &Path) -> Result<bool> {
    Ok(matches!(source(path)?, Source::Parts | Source::Npz))
}

/// Reads all examples.
///
/// # Errors
///
/// Files that are not what they should be, and more than fits into memory.
pub fn load(path: &Path, reading: &Reading) -> Result<Dataset> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let (extent, classes, train, test) = match source(path)? {
        Source::Classes => {
            let classes = classes_of(path)?;
            let extent = reading.extent(path, &classes)?;
            (extent, classes.clone(), reading.pictures(path, &classes, extent)?, None)
        }
        Source::Parts => {
            let (train, test) = (path.join("train"), path.join("test"));
            let classes: Vec<String> =
                classes_of(&train)?.into_iter().chain(classes_of(&test)?).collect::<BTreeSet<_>>().into_iter().collect();
            let extent = reading.extent(&train, &classes)?;
            (extent, classes.clone(), reading.pictures(&train, &classes, extent)?, Some(reading.pictures(&test, &classes, extent)?))
        }
        Source::Npz => arrays(path)?,
        Source::Csv => table(path, reading.label())?,
        #[cfg(feature = "parquet")]
        Source::Parquet => columns(path, reading.label())?,
        #[cfg(not(feature = "parquet"))]
        Source::Parquet => return Err(Error::invalid("data.path", path.display(), "another file: this program is built without Parquet")),
    };
    if classes.len() < 2 {
        return Err(Error::damaged(path, format!("has {} classes; allowed: 2 or more", classes.len())));
    }
    let parts = std::iter::once(&train).chain(&test);
    if let Some((row, _)) = parts.flat_map(|part| part.inputs.indexed_iter()).find(|(_, value)| !value.is_finite()) {
        return Err(Error::damaged(path, format!("example {}, number {}: is not finite; allowed: finite numbers", row.0, row.1)));
    }
    Ok(Dataset { name, extent, classes, train, test })
}

/// Extent, names of classes, training and test examples.
type Loaded = (Extent, Vec<String>, Examples, Option<Examples>);

fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

fn classes_of(folder: &Path) -> Result<Vec<String>> {
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let classes: Vec<String> = sorted(folder)?.iter().filter(|path| path.is_dir()).map(name).collect();
    if classes.is_empty() { Err(Error::damaged(folder, "has no sub-folders; allowed: one for each class")) } else { Ok(classes) }
}

impl Reading {
    fn label(&self) -> &str {
        self.label.as_deref().unwrap_or("label")
    }

    /// The extent that pictures are brought to.
    fn extent(&self, folder: &Path, classes: &[String]) -> Result<Extent> {
        if self.channels.is_some_and(|channels| channels != 1 && channels != 3) {
            return Err(Error::invalid("data.channels", self.channels.unwrap_or(0), "1 (grey) or 3 (colour)"));
        }
        if let (Some([height, width]), Some(channels)) = (self.size, self.channels) {
            return Ok(Extent { channels, height, width });
        }
        for class in classes {
            let folder = folder.join(class);
            for file in if folder.is_dir() { picture::in_folder(&folder)? } else { Vec::new() } {
                match picture::extent(&file) {
                    Ok(found) => {
                        let [height, width] = self.size.unwrap_or([found.height, found.width]);
                        return Ok(Extent { channels: self.channels.unwrap_or(found.channels), height, width });
                    }
                    Err(_) if self.skip_bad => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Err(Error::damaged(folder, "has no pictures; allowed: PNG or JPEG files in the folders of the classes"))
    }

    fn pictures(&self, folder: &Path, classes: &[String], extent: Extent) -> Result<Examples> {
        let mut files = Vec::new();
        for (label, class) in classes.iter().enumerate() {
            let folder = folder.join(class);
            if folder.is_dir() {
                files.extend(picture::in_folder(&folder)?.into_iter().map(|file| (file, label)));
            }
        }
        memory::check("data.size", &[files.len(), extent.channels, extent.height, extent.width])?;
        let read = picture::read_all(&files.iter().map(|(file, _)| file.as_path()).collect::<Vec<_>>(), extent, self.fit);
        let (mut values, mut labels) = (Vec::with_capacity(files.len() * extent.len()), Vec::new());
        for ((_, label), picture) in files.iter().zip(read) {
            match picture {
                Ok(picture) => {
                    values.extend(picture);
                    labels.push(*label);
                }
                Err(_) if self.skip_bad => {}
                Err(error) => return Err(error),
            }
        }
        examples(folder, values, labels, extent.len())
    }
}

fn examples(path: &Path, values: Vec<f32>, labels: Vec<usize>, width: usize) -> Result<Examples> {
    let inputs = Array2::from_shape_vec((labels.len(), width), values).map_err(|error| Error::damaged(path, error.to_string()))?;
    Ok(Examples { inputs, labels })
}

/// `x` and `y`, or `x_train`, `y_train`, `x_test` and `y_test`, of a .npz file.
fn arrays(path: &Path) -> Result<Loaded> {
    let numbers = |name: &str| -> Result<ArrayD<f32>> {
        // Bytes are pictures.
        if let Ok(bytes) = npy::read_npz::<u8, ndarray::IxDyn>(path, name) {
            return Ok(bytes.mapv(|value| f32::from(value) / 255.0));
        }
        if let Ok(wide) = npy::read_npz::<f64, ndarray::IxDyn>(path, name) {
            return Ok(wide.mapv(|value| value as f32));
        }
        npy::read_npz::<f32, ndarray::IxDyn>(path, name)
    };
    let whole = |name: &str| -> Result<Vec<usize>> {
        macro_rules! attempt {
            ($($type:ty),*) => { $(
                if let Ok(array) = npy::read_npz::<$type, ndarray::IxDyn>(path, name) {
                    let label = |(row, value): (usize, &$type)| usize::try_from(*value).map_err(|_| Error::damaged(path, format!("`{name}`, row {row}: label {value}; allowed: 0 and above")));
                    return array.iter().enumerate().map(label).collect();
                }
            )* };
        }
        attempt!(i64, u8, i32, u32, u64, i16, u16, i8);
        Err(Error::damaged(path, format!("`{name}` is no array of whole numbers")))
    };
    let part = |x: &str, y: &str| -> Result<(Extent, Examples)> {
        let (values, labels) = (numbers(x)?, whole(y)?);
        let dims = values.shape().to_vec();
        let (extent, channels_last) = match dims.as_slice() {
            [_, width] => (Extent { channels: 1, height: 1, width: *width }, false),
            [_, height, width] => (Extent { channels: 1, height: *height, width: *width }, false),
            [_, height, width, channels @ (1 | 3)] if ![1, 3].contains(height) => {
                (Extent { channels: *channels, height: *height, width: *width }, true)
            }
            [_, channels, height, width] => (Extent { channels: *channels, height: *height, width: *width }, false),
            _ => {
                return Err(Error::damaged(
                    path,
                    format!("`{x}` has the extents {dims:?}; allowed: n rows, or n images of one or several channels"),
                ));
            }
        };
        if dims[0] != labels.len() {
            return Err(Error::damaged(path, format!("`{x}` has {} examples, `{y}` {} labels; allowed: as many", dims[0], labels.len())));
        }
        let values = if channels_last { values.permuted_axes(ndarray::IxDyn(&[0, 3, 1, 2])) } else { values };
        Ok((extent, examples(path, values.iter().copied().collect(), labels, extent.len())?))
    };
    let (extent, train, test) = match part("x", "y") {
        Ok((extent, train)) => (extent, train, None),
        Err(first) => {
            // What is said of `x` counts where there is one.
            let (extent, train) = match (part("x_train", "y_train"), numbers("x")) {
                (Ok(found), _) => found,
                (Err(_), Ok(_)) => return Err(first),
                (Err(second), Err(_)) => return Err(second),
            };
            let (other, test) = part("x_test", "y_test")?;
            if other != extent {
                return Err(Error::damaged(path, "`x_train` and `x_test` have examples of other extents"));
            }
            (extent, train, Some(test))
        }
    };
    let most = train.labels.iter().chain(test.iter().flat_map(|test| &test.labels)).max().copied().unwrap_or(0);
    if most >= 100_000 {
        return Err(Error::damaged(path, format!("label {most}; allowed: less than 100,000")));
    }
    let count = most + 1;
    Ok((extent, (0..count).map(|class| class.to_string()).collect(), train, test))
}

/// Numbers of the names, in their order: that of the numbers where all are such.
fn coded(names: &[String]) -> (Vec<String>, Vec<usize>) {
    let distinct: BTreeSet<&String> = names.iter().collect();
    let mut classes: Vec<String> = distinct.into_iter().cloned().collect();
    if classes.iter().all(|name| name.parse::<i64>().is_ok()) {
        classes.sort_by_key(|name| name.parse::<i64>().unwrap_or_default());
    }
    let places: HashMap<&str, usize> = classes.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
    let labels = names.iter().map(|name| places.get(name.as_str()).copied().unwrap_or_default()).collect();
    (classes, labels)
}

/// A table with a header: numbers, and a column of labels.
fn table(path: &Path, label: &str) -> Result<Loaded> {
    let failed = |error: csv::Error| Error::damaged(path, error.to_string());
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_path(path).map_err(failed)?;
    let names: Vec<String> = reader.headers().map_err(failed)?.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
    let place = names.iter().position(|name| name == label);
    let place = place
        .ok_or_else(|| Error::damaged(path, format!("has the columns {}; allowed: one called `{label}` (data.label)", names.join(", "))))?;
    let (mut values, mut found) = (Vec::new(), Vec::new());
    for record in reader.records() {
        let record = record.map_err(failed)?;
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != names.len() {
            return Err(Error::damaged(path, format!("line {line}: found {} fields; allowed: {}", record.len(), names.len())));
        }
        for (column, field) in record.iter().enumerate() {
            if column == place {
                found.push(field.to_owned());
                continue;
            }
            let wrong =
                |_| Error::damaged(path, format!("line {line}, column `{}`: found `{field:.40}`; allowed: a number", names[column]));
            values.push(field.parse::<f32>().map_err(wrong)?);
        }
    }
    let (classes, labels) = coded(&found);
    let extent = Extent { channels: 1, height: 1, width: names.len() - 1 };
    Ok((extent, classes, examples(path, values, labels, names.len() - 1)?, None))
}

/// The same of a Parquet file, whose labels are whole numbers.
#[cfg(feature = "parquet")]
fn columns(path: &Path, label: &str) -> Result<Loaded> {
    let labels = crate::formats::parquet::labels(path, label)?;
    let values = crate::formats::parquet::Rows::open(path, &[label])?.read()?.mapv(|value| value as f32);
    let width = values.ncols();
    let names: Vec<String> = labels.iter().map(ToString::to_string).collect();
    let (classes, labels) = coded(&names);
    Ok((Extent { channels: 1, height: 1, width }, classes, Examples { inputs: values, labels }, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (class, color) in [("cat", [255, 0, 0]), ("ant", [0, 0, 255])] {
            fs::create_dir(folder.path().join(class)).unwrap();
            image::RgbImage::from_pixel(5, 3, image::Rgb(color)).save(folder.path().join(class).join("a.png")).unwrap();
        }
        folder
    }

    #[test]
    fn folders_of_pictures() {
        let folder = folder();
        let set = load(folder.path(), &Reading { size: Some([2, 2]), ..Reading::default() }).unwrap();
        assert_eq!((set.classes, set.extent), (vec!["ant".to_owned(), "cat".to_owned()], Extent { channels: 3, height: 2, width: 2 }));
        assert_eq!(set.train.labels, [0, 1]);
        assert_eq!(set.train.inputs.row(0).to_vec(), [0., 0., 0., 0., 0., 0., 0., 0., 1., 1., 1., 1.]);
        let as_they_are = load(folder.path(), &Reading::default()).unwrap();
        assert_eq!(as_they_are.extent, Extent { channels: 3, height: 3, width: 5 });
        assert_eq!(inputs(folder.path()).unwrap().len(), 2);
        fs::write(folder.path().join("cat/b.png"), b"not a picture").unwrap();
        assert!(load(folder.path(), &Reading::default()).unwrap_err().to_string().contains("b.png"));
        assert_eq!(load(folder.path(), &Reading { skip_bad: true, ..Reading::default() }).unwrap().train.len(), 2);
        let grey = load(folder.path(), &Reading { skip_bad: true, channels: Some(1), ..Reading::default() }).unwrap();
        assert_eq!(grey.extent.channels, 1);
        assert!(load(folder.path(), &Reading { channels: Some(2), ..Reading::default() }).is_err());
    }

    #[test]
    fn tables_and_their_mistakes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.csv");
        let with = |text: &str| {
            fs::write(&file, text).unwrap();
            load(&file, &Reading { label: Some("kind".into()), ..Reading::default() })
        };
        let set = with("\u{feff}a,kind,b\n1,10,2.5\n3,9,4\n\n5,10,-6\n").unwrap();
        assert_eq!((set.classes, set.train.labels), (vec!["9".to_owned(), "10".to_owned()], vec![1, 0, 1]));
        assert_eq!(set.train.inputs, ndarray::array![[1.0, 2.5], [3.0, 4.0], [5.0, -6.0]]);
        for (text, told) in [
            ("", "allowed: one called `kind`"),
            ("a,b\n1,2", "allowed: one called `kind`"),
            ("a,kind\n1,x,2", "line 2: found 3 fields"),
            ("a,kind\nx,1", "line 2, column `a`: found `x`"),
            ("a,kind\n1,x", "has 1 classes"),
            ("a,kind\n1,x\nNaN,y", "is not finite"),
        ] {
            let error = with(text).unwrap_err();
            assert!(error.to_string().contains(told) && error.exit_code() == 2, "{error}");
        }
        assert!(load(&folder.path().join("none"), &Reading::default()).is_err());
    }
}
