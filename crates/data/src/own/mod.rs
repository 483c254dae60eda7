//! A user's own labelled examples: folders of pictures, arrays, tables, texts.

mod arrays;
mod folder;
mod table;
pub mod text;

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use lyceum_core::{Error, Result, run::Input};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::folder::{Picture, pictures};
pub use crate::formats::picture::Fit;
use crate::{Dataset, Examples, Extent, Inputs};

/// How own examples are read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// Height and width that pictures are scaled to; those of the first one if absent.
    pub size: Option<[usize; 2]>,
    /// Channels of pictures: 1 for grey, 3 for colour; those of the first one if absent.
    pub channels: Option<usize>,
    /// How pictures of other sides are made to fit.
    pub fit: Fit,
    /// What the folders of pictures stand for; a list where there is one, else classes, if absent.
    pub layout: Option<Layout>,
    /// The column that has the labels; `label` if absent (of a .npz file, the array `y`).
    pub label: Option<String>,
    /// Whether labels are numbers that are predicted, and no classes.
    pub numbers: bool,
    /// The column that has the groups; none if absent.
    pub group: Option<String>,
    /// The groups whose examples are read; all if absent.
    pub groups: Option<Vec<String>>,
    /// The classes, in their order; those that are found, in the order of their names, if absent.
    pub classes: Option<Vec<String>>,
    /// Classes that a model knows by name: the classes of data whose labels are such names, or their numbers.
    pub known: Option<Vec<String>>,
    /// What a model calls the numbers of its examples: the order of columns that have names.
    pub order: Vec<String>,
    /// How many symbols of a text are read; [`text::WINDOW`] if absent.
    pub window: Option<usize>,
    /// Whether pictures that cannot be read are passed over.
    pub skip_bad: bool,
    /// Where a file goes for pictures that memory should not hold.
    pub spill: PathBuf,
}

/// What the folders of pictures stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Nothing: a `metadata.csv` tells the class, and the group, of each picture.
    List,
    /// A folder for each class.
    Class,
    /// A folder for each group (a client, a site, a patient), with a folder for each class in it.
    GroupClass,
}

/// A file that tells of the pictures beside it and below: `file_name`, and columns for labels and groups.
const LISTED: &str = "metadata.csv";

/// What a path holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A folder of pictures.
    Folder,
    /// A folder with folders `train` and `test` of that kind.
    Parts,
    /// Arrays.
    Npz,
    /// A table.
    Csv,
    /// A table.
    Parquet,
    /// A .jsonl file.
    Texts,
}

/// What this path holds, by its name.
///
/// # Errors
///
/// A path where there is nothing, and files of other kinds.
pub fn source(path: &Path) -> Result<Source> {
    if path.is_dir() {
        let parts = ["train", "test"].iter().all(|part| path.join(part).is_dir());
        return Ok(if parts { Source::Parts } else { Source::Folder });
    }
    if !path.exists() {
        return Err(Error::Missing { path: path.into(), hint: "`data.path` of the recipe names it.".into() });
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("npz") => Ok(Source::Npz),
        Some("csv") => Ok(Source::Csv),
        Some("parquet") => Ok(Source::Parquet),
        Some("jsonl") => Ok(Source::Texts),
        _ => Err(Error::invalid("data.path", path.display(), "a folder of pictures, or a .npz, .csv, .parquet or .jsonl file")),
    }
}

/// The files that are read.
///
/// # Errors
///
/// A path where there is nothing, and files of other kinds.
pub fn inputs(path: &Path, reading: &Reading) -> Result<Vec<Input>> {
    const HINT: &str = "`data.path` of the recipe names it.";
    let folders = match source(path)? {
        Source::Folder => vec![path.to_owned()],
        Source::Parts => vec![path.join("train"), path.join("test")],
        _ => return Ok(vec![Input::named(path, HINT)]),
    };
    let mut found = Vec::new();
    for folder in folders {
        found.extend(folder::list_of(&folder, reading)?);
        found.extend(pictures(&folder, reading)?.into_iter().map(|picture| picture.file));
    }
    Ok(found.into_iter().map(|file| Input::named(file, HINT)).collect())
}

impl Reading {
    /// The key that names what is predicted.
    fn label_key(&self) -> &'static str {
        if self.numbers { "data.target" } else { "data.label" }
    }
}

impl Source {
    /// Whether there may be test examples of their own.
    pub fn has_test(self) -> bool {
        matches!(self, Self::Parts | Self::Npz)
    }
}

/// The columns of the list of a folder of pictures; none where there is no list.
///
/// # Errors
///
/// A list that is no table.
pub fn columns_of_list(folder: &Path) -> Result<Vec<String>> {
    let list = folder.join(LISTED);
    if list.is_file() { crate::formats::table::names(&list) } else { Ok(Vec::new()) }
}

/// Reads all examples.
///
/// # Errors
///
/// Files that are not what they should be, and more than fits into memory.
pub fn load(path: &Path, reading: &Reading) -> Result<Dataset> {
    let named = match source(path)? {
        Source::Folder => folder::read(&[path], reading)?,
        Source::Parts => folder::read(&[&path.join("train"), &path.join("test")], reading)?,
        Source::Npz => arrays::read(path, reading)?,
        Source::Csv => table::read(path, reading)?,
        Source::Texts => text::read(path, reading)?,
        #[cfg(feature = "parquet")]
        Source::Parquet => table::columns(path, reading)?,
        #[cfg(not(feature = "parquet"))]
        Source::Parquet => return Err(Error::invalid("data.path", path.display(), "another file: this program is built without Parquet")),
    };
    let Named { extent, mut parts, mut columns } = named;
    if !columns.is_empty() {
        let order = crate::formats::table::places(path, &columns.iter().map(String::as_str).collect::<Vec<_>>(), &reading.order)?;
        if !order.is_empty() {
            columns.clone_from(&reading.order);
            for part in &mut parts {
                part.inputs = part.inputs.map_rows(|from, to| to.iter_mut().zip(&order).for_each(|(to, place)| *to = from[*place]));
            }
        }
    }
    if let Some(wanted) = &reading.groups {
        check_groups(path, wanted, parts.iter().flat_map(|part| part.groups.iter().map(String::as_str)))?;
        parts.iter_mut().for_each(|part| part.keep(wanted));
    }
    let order = |names: &mut dyn Iterator<Item = &String>| -> Vec<String> {
        let mut names: Vec<String> = names.collect::<BTreeSet<_>>().into_iter().cloned().collect();
        // Numbers have the order of numbers.
        if names.iter().all(|name| name.parse::<i64>().is_ok()) {
            names.sort_by_key(|name| name.parse::<i64>().unwrap_or_default());
        }
        names
    };
    let found = order(&mut parts.iter().flat_map(|part| &part.labels));
    let number_of = |name: &String| crate::formats::table::number(name);
    let classes = match (&reading.classes, &reading.known) {
        _ if reading.numbers => Vec::new(),
        (Some(classes), _) => classes.clone(),
        (None, Some(known)) if found.iter().all(|name| known.contains(name)) => known.clone(),
        // Labels that are numbers count a model's classes.
        (None, Some(known)) if found.iter().all(|name| number_of(name).is_some_and(|number| number < known.len())) => {
            let name = |number: &String| number_of(number).map(|number| known[number].clone()).unwrap_or_default();
            parts.iter_mut().for_each(|part| part.labels = part.labels.iter().map(name).collect());
            known.clone()
        }
        (None, Some(known)) => {
            let other = found.iter().find(|name| !known.contains(name)).cloned().unwrap_or_default();
            let allowed = format!("classes that the model knows ({}), or a new head (model.onnx.new_head)", known.join(", "));
            return Err(Error::damaged(path, format!("has the class `{other:.40}`; allowed: {allowed}")));
        }
        (None, None) => found,
    };
    if extent.is_empty() {
        return Err(Error::damaged(path, "has examples of no numbers; allowed: 1 or more"));
    }
    let groups = order(&mut parts.iter().flat_map(|part| &part.groups));
    if classes.len() < 2 && !reading.numbers {
        return Err(Error::damaged(path, format!("has {} classes; allowed: 2 or more", classes.len())));
    }
    let [class_numbers, group_numbers] = [&classes, &groups]
        .map(|names| -> HashMap<&str, usize> { names.iter().enumerate().map(|(number, name)| (name.as_str(), number)).collect() });
    if class_numbers.len() < classes.len() {
        return Err(Error::invalid("data.classes", classes.join(", "), "each name once"));
    }
    let mut found = Vec::new();
    for part in parts {
        let number = |(row, name): (usize, &String)| {
            class_numbers.get(name.as_str()).copied().ok_or_else(|| {
                let allowed = format!("one of data.classes: {}", classes.join(", "));
                Error::damaged(path, format!("{}: class `{name:.40}`; allowed: {allowed}", part.name(row)))
            })
        };
        if let Some((row, place)) = part.inputs.not_finite() {
            let name = part.name(row);
            return Err(Error::damaged(path, format!("{name}, number {place}: is not finite; allowed: finite numbers")));
        }
        let target = |(row, text): (usize, &String)| {
            text.parse().ok().filter(|target: &f64| (*target as f32).is_finite()).ok_or_else(|| {
                Error::damaged(path, format!("{}: found `{text:.40}` as the target; allowed: a finite number", part.name(row)))
            })
        };
        let answers = part.labels.iter().enumerate();
        let (labels, targets) = if reading.numbers {
            (Vec::new(), answers.map(target).collect::<Result<_>>()?)
        } else {
            (answers.map(number).collect::<Result<_>>()?, Vec::new())
        };
        let groups = part.groups.iter().filter_map(|name| group_numbers.get(name.as_str()).copied()).collect();
        found.push((Examples { inputs: part.inputs, labels, targets, groups }, part.names));
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut found = found.into_iter();
    let (train, names) = found.next().unwrap_or_else(|| (Examples::new(Inputs::bytes(Vec::new(), 0), Vec::new()), Vec::new()));
    Ok(Dataset { name, extent, classes, groups, columns, names, train, test: found.next().map(|(test, _)| test) })
}

/// Errors where a group that is asked for is not among those that are found.
fn check_groups<'a>(path: &Path, wanted: &[String], found: impl Iterator<Item = &'a str>) -> Result<()> {
    let found: BTreeSet<&str> = found.collect();
    let names = || found.iter().copied().collect::<Vec<_>>().join(", ");
    let none = wanted.iter().find(|group| !found.contains(group.as_str()));
    none.map_or(Ok(()), |none| {
        Err(Error::damaged(path, format!("has no example of the group `{none}` (data.groups); allowed: {}", names())))
    })
}

/// Examples whose labels are still names, or numbers as texts.
struct Named {
    extent: Extent,
    /// All, or those for training and those for testing.
    parts: Vec<NamedPart>,
    /// What the numbers of an example are called, where they have names.
    columns: Vec<String>,
}

struct NamedPart {
    inputs: Inputs,
    labels: Vec<String>,
    /// Of each example, where they are asked for.
    groups: Vec<String>,
    /// Of each example, where it has one.
    names: Vec<String>,
}

impl NamedPart {
    /// Keeps the examples of these groups.
    fn keep(&mut self, groups: &[String]) {
        let rows: Vec<usize> = (0..self.groups.len()).filter(|&row| groups.contains(&self.groups[row])).collect();
        if rows.len() < self.groups.len() {
            self.inputs = self.inputs.select(&rows);
            for texts in [&mut self.labels, &mut self.groups, &mut self.names] {
                *texts = rows.iter().filter_map(|&row| texts.get(row).cloned()).collect();
            }
        }
    }

    fn name(&self, row: usize) -> String {
        self.names.get(row).cloned().unwrap_or_else(|| format!("example {row}"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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
        assert_eq!(*set.train.inputs.row(0), [0., 0., 0., 0., 0., 0., 0., 0., 1., 1., 1., 1.]);
        let as_they_are = load(folder.path(), &Reading::default()).unwrap();
        assert_eq!(as_they_are.extent, Extent { channels: 3, height: 3, width: 5 });
        assert_eq!(inputs(folder.path(), &Reading::default()).unwrap().len(), 2);
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
        assert_eq!(set.train.inputs, Inputs::from(ndarray::array![[1.0, 2.5], [3.0, 4.0], [5.0, -6.0]]));
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

    #[test]
    fn numbers_that_are_predicted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.csv");
        let with = |text: &str| {
            fs::write(&file, text).unwrap();
            load(&file, &Reading { label: Some("price".into()), numbers: true, ..Reading::default() })
        };
        let set = with("a,price,b\n3,-1.5e2,4\n1,7,2\n").unwrap();
        assert_eq!((set.train.targets.as_slice(), set.train.labels.len(), set.classes.len()), (&[-150.0, 7.0][..], 0, 0));
        assert_eq!((set.train.len(), set.train.subset(&[1]).targets), (2, vec![7.0]));
        for text in ["a,price\n1,x", "a,price\n1,inf", "a,price\n1,", "a,price\n1,1e39"] {
            let error = with(text).unwrap_err();
            assert!(error.to_string().contains("example 0: found") && error.exit_code() == 2, "{error}");
        }
        assert!(with("a,cost\n1,2").unwrap_err().to_string().contains("`price` (data.target)"));
    }
}
