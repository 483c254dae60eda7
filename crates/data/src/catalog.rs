//! The data sets that have a name.

use std::{io::Read, path::Path};

use lyceum_core::{Error, Result, run::Input};
use ndarray::Array2;

use crate::{
    Cache, Dataset, Examples, Extent, Inputs,
    cache::Known,
    formats::{cifar, idx},
};

/// A data set that can be loaded by name.
#[derive(Debug)]
pub struct Entry {
    /// Its name in recipes.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// The extent of one example.
    pub extent: Extent,
    /// How many classes it has.
    pub classes: usize,
    /// Whether it has test examples of its own.
    pub has_test: bool,
    /// Where it comes from and its licence.
    pub origin: &'static str,
    /// The files it needs in its cache folder; none for a set that is part of the program.
    pub files: &'static [Known],
    load: fn(&Entry, &Cache) -> Result<Dataset>,
}

const DIGITS: &[u8] = include_bytes!("../assets/digits.csv.gz");

macro_rules! known {
    ($($name:literal $sha256:literal),* $(,)?) => { &[$(Known { name: $name, sha256: Some($sha256) }),*] };
}

macro_rules! unpinned {
    ($($name:literal),* $(,)?) => { &[$(Known { name: $name, sha256: None }),*] };
}

/// Every data set there is.
pub const CATALOG: &[Entry] = &[
    Entry {
        name: "digits",
        about: "1,797 handwritten digits of 8x8 pixels; part of the program",
        extent: Extent { channels: 1, height: 8, width: 8 },
        classes: 10,
        has_test: false,
        origin: "Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (CC BY 4.0), as in scikit-learn (BSD-3-Clause)",
        files: &[],
        load: digits,
    },
    Entry {
        name: "mnist",
        about: "70,000 handwritten digits of 28x28 pixels (60,000 + 10,000)",
        extent: Extent { channels: 1, height: 28, width: 28 },
        classes: 10,
        has_test: true,
        origin: "LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist/",
        files: known![
            "train-images-idx3-ubyte" "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte" "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte" "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte" "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ],
        load: idx_pairs,
    },
    Entry {
        name: "fashion-mnist",
        about: "70,000 pictures of clothes of 28x28 pixels (60,000 + 10,000)",
        extent: Extent { channels: 1, height: 28, width: 28 },
        classes: 10,
        has_test: true,
        origin: "Xiao, Rasul and Vollgraf, https://github.com/zalandoresearch/fashion-mnist (MIT)",
        files: known![
            "train-images-idx3-ubyte" "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte" "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte" "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte" "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ],
        load: idx_pairs,
    },
    Entry {
        name: "cifar10",
        about: "60,000 colour pictures of 32x32 pixels in 10 classes (50,000 + 10,000)",
        extent: cifar::EXTENT,
        classes: 10,
        has_test: true,
        origin: "Krizhevsky 2009, the binary version, https://www.cs.toronto.edu/~kriz/cifar.html",
        files: unpinned![
            "data_batch_1.bin",
            "data_batch_2.bin",
            "data_batch_3.bin",
            "data_batch_4.bin",
            "data_batch_5.bin",
            "test_batch.bin"
        ],
        load: cifar,
    },
    Entry {
        name: "cifar100",
        about: "60,000 colour pictures of 32x32 pixels in 100 classes (50,000 + 10,000)",
        extent: cifar::EXTENT,
        classes: 100,
        has_test: true,
        origin: "Krizhevsky 2009, the binary version, https://www.cs.toronto.edu/~kriz/cifar.html",
        files: unpinned!["train.bin", "test.bin"],
        load: cifar,
    },
];

/// Loads a data set by name.
pub fn load(name: &str, cache: &Cache) -> Result<Dataset> {
    let entry = find(name)?;
    (entry.load)(entry, cache)
}

/// The entry with this name.
pub fn find(name: &str) -> Result<&'static Entry> {
    CATALOG.iter().find(|entry| entry.name == name).ok_or_else(|| Error::invalid("data set", format!("`{name}`"), names().join(", ")))
}

/// The names of all entries.
pub(crate) fn names() -> Vec<&'static str> {
    CATALOG.iter().map(|entry| entry.name).collect()
}

impl Entry {
    /// The files that it is read from.
    pub fn inputs(&self, cache: &Cache) -> Vec<Input> {
        let input = |file: &Known| Input { path: cache.path(self.name, *file), hint: self.hint(cache) };
        self.files.iter().map(input).collect()
    }

    fn hint(&self, cache: &Cache) -> String {
        let has_source = crate::get::SOURCES.iter().any(|source| source.name == self.name);
        let get = if has_source { format!("`lyceum data get {}` downloads it; or put", self.name) } else { "Put".into() };
        let (origin, folder) = (self.origin, cache.folder("").display().to_string());
        format!("{get} the file there, plain or as .gz, from {origin} (the folder is {folder}; LYCEUM_DATA changes it).")
    }
}

fn digits(entry: &Entry, _: &Cache) -> Result<Dataset> {
    let path = Path::new("digits.csv.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(DIGITS).read_to_string(&mut text).map_err(Error::io("unpack", path))?;
    let mut values = Vec::with_capacity(1797 * 64);
    let mut labels = Vec::with_capacity(1797);
    for line in text.lines() {
        let mut numbers = line.split(',').map(|cell| cell.trim().parse::<f32>().unwrap_or(f32::NAN));
        values.extend(numbers.by_ref().take(64).map(|value| value / 16.0));
        labels.push(numbers.next().unwrap_or(f32::NAN) as usize);
    }
    let inputs = Array2::from_shape_vec((labels.len(), 64), values).map_err(|error| Error::damaged(path, error.to_string()))?;
    Ok(Dataset::new(entry.name, entry.extent, digit_names(), Examples::new(inputs, labels), None))
}

fn idx_pairs(entry: &Entry, cache: &Cache) -> Result<Dataset> {
    let [train_x, train_y, test_x, test_y] = entry.files else { unreachable!("an IDX data set has four files") };
    let read = |file: &Known| cache.read(entry.name, *file, &entry.hint(cache));
    let path = |file: &Known| cache.folder(entry.name).join(file.name);
    let examples = |x: &Known, y: &Known| -> Result<(Extent, Examples)> {
        let (extent, inputs) = idx::images(&path(x), &read(x)?)?;
        let labels = idx::labels(&path(y), &read(y)?)?;
        Ok((extent, Examples::new(inputs, labels)))
    };
    let (extent, train) = examples(train_x, train_y)?;
    let (_, test) = examples(test_x, test_y)?;
    let classes = match entry.name {
        "fashion-mnist" => texts(&["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]),
        _ => digit_names(),
    };
    Ok(Dataset::new(entry.name, extent, classes, train, Some(test)))
}

fn cifar(entry: &Entry, cache: &Cache) -> Result<Dataset> {
    let (label_bytes, classes) = if entry.name == "cifar100" { (2, 100) } else { (1, 10) };
    let read = |file: &Known| {
        let bytes = cache.read(entry.name, *file, &entry.hint(cache))?;
        cifar::examples(&cache.folder(entry.name).join(file.name), &bytes, label_bytes, classes)
    };
    let mut parts: Vec<Examples> = entry.files.iter().map(read).collect::<Result<_>>()?;
    let test = parts.pop();
    let inputs = Inputs::concatenated(&parts.iter().map(|part| &part.inputs).collect::<Vec<_>>());
    let train = Examples::new(inputs, parts.iter().flat_map(|part| part.labels.clone()).collect());
    let classes = (0..classes).map(|class| class.to_string()).collect();
    Ok(Dataset::new(entry.name, cifar::EXTENT, classes, train, test))
}

fn digit_names() -> Vec<String> {
    (0..10).map(|digit| digit.to_string()).collect()
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digits_are_all_there() {
        let digits = load("digits", &Cache::at("/nowhere")).unwrap();
        assert_eq!((digits.train.len(), digits.train.inputs.dim()), (1797, (1797, 64)));
        // scikit-learn: load_digits().images.sum() == 561718, target[:5] == [0, 1, 2, 3, 4].
        assert_eq!(digits.train.inputs.array().sum() * 16.0, 561_718.0);
        assert_eq!(digits.train.labels[..5], [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_missing_file_is_told_with_the_remedy() {
        let error = load("mnist", &Cache::at("/nowhere")).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        assert!(text.contains("/nowhere/mnist/train-images-idx3-ubyte") && text.contains("lyceum data get mnist"), "{text}");
        assert!(load("minst", &Cache::at("/nowhere")).unwrap_err().to_string().contains("mnist"));
    }

    #[test]
    fn a_file_with_a_wrong_checksum_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("mnist")).unwrap();
        std::fs::write(folder.path().join("mnist/train-images-idx3-ubyte"), b"junk").unwrap();
        let text = load("mnist", &Cache::at(folder.path())).unwrap_err().to_string();
        assert!(text.contains("not the published file"), "{text}");
    }
}
