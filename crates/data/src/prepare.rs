//! A data set made ready for an experiment: split, limited, spoiled.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use lyceum_core::{Error, Result, Run, Seed, Violation, range, run::Input};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Cache, Examples, Extent, Normalization, catalog,
    formats::table,
    noise,
    own::{self, Fit, Layout, Reading, Source},
    split,
};

/// Which data, and what is done to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Which labelled data set; `lyceum data` lists them ([`catalog`]). Or `path`, for examples of one's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(extend("enum" = catalog::names()))]
    pub name: String,
    /// Examples of one's own: a folder with a folder of PNG or JPEG files for each class (or folders `train` and `test` of that kind, or a
    /// `metadata.csv` with `file_name` and `label`), a .npz file with `x` and `y` (or `x_train`, `y_train`, `x_test`, `y_test`), a .csv or .parquet table, or a .jsonl
    /// file with `text` and `label` ([`own`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Of own pictures: height and width that they are scaled to; those of the first one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<[usize; 2]>,
    /// Of own pictures: 1 channel for grey, 3 for colour; those of the first one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// Of own pictures: how those of other sides are made to fit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fit: Fit,
    /// Of own pictures: what their folders stand for; nothing where there is a `metadata.csv`, else classes, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// Of own tables, and of `metadata.csv`: the column that has the labels; `label` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Of own examples whose numbers are predicted, and no classes (`regress`): the column of these numbers, of a .npz file the array
    /// (`y` stands for `y_train` and `y_test` too).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Of own texts: how many symbols of each are read, the bytes of UTF-8; 128 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "range::OptionalAtLeastOne")]
    pub window: Option<usize>,
    /// Of own tables, and of `metadata.csv`: the column that has the groups (clients, sites, patients), or the array of a .npz file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Of own examples with groups: those whose examples are used; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// Of own examples: the classes, in their order; those that are found, in the order of their names, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
    /// Whether a group is split, so that it may have examples in every part, or stays whole.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole_groups: bool,
    /// Of own pictures: whether those that cannot be read are passed over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_bad: bool,
    /// Of own tables and arrays of rows: whether each column is made (x − mean)/deviation, both of the training examples.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub standardize: bool,
    /// Share of the training labels that are replaced.
    #[serde(default, with = "range::Fraction")]
    pub label_noise: f64,
    /// How they are replaced.
    #[serde(default)]
    pub noise: Noise,
    /// How many training examples are used; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "range::OptionalAtLeastOne")]
    pub limit: Option<usize>,
    /// Share of the published training examples that is held out for validation or calibration, with right labels.
    #[serde(default = "held_out", with = "range::BelowOne")]
    pub held_out: f64,
    /// Share that becomes the test set where the data set has none.
    #[serde(default = "test", with = "range::BelowOne")]
    pub test: f64,
}

/// How labels are spoiled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Noise {
    /// A label drawn evenly from all classes ([`noise::symmetric`]).
    #[default]
    Symmetric,
    /// The class after the right one ([`noise::pair_flip`]).
    PairFlip,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn held_out() -> f64 {
    0.2
}

fn test() -> f64 {
    0.25
}

/// Data ready for an experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The extent of one example.
    pub extent: Extent,
    /// The names of the classes; none where numbers are predicted.
    pub classes: Vec<String>,
    /// For training; some labels may be wrong on purpose.
    pub train: Examples,
    /// How many labels of the training examples are wrong.
    pub wrong_labels: usize,
    /// For validation or calibration.
    pub held_out: Examples,
    /// For testing.
    pub test: Examples,
    /// Whether examples are texts.
    pub text: bool,
    /// What the numbers of an example are called, where they have names.
    pub columns: Vec<String>,
    /// The names of the groups, where there are groups.
    pub groups: Vec<String>,
    /// What the examples were normalised by, where they were.
    pub normalization: Normalization,
    /// Where each of the examples went that were split.
    pub split: Split,
}

/// What the metadata of a trained model say of its examples.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// The names of its classes: those of own data are these then, unless the configuration names them.
    pub classes: Option<Vec<String>>,
    /// What its numbers are called: columns of own tables are put into this order.
    pub columns: Vec<String>,
    /// What its numbers are normalised by.
    pub normalization: Normalization,
}

/// Where each example went.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Split {
    /// What the examples are called; their numbers where they have no names.
    names: Vec<String>,
    /// Of each example.
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Train,
    HeldOut,
    Test,
    /// Beyond the limit.
    LeftOut,
}

impl Split {
    /// Writes a table: `example` (the name of a picture, the number of a row) and `part` (train, held-out, test, left-out).
    ///
    /// # Errors
    ///
    /// A disk that is full.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text = String::from("example,part\n");
        for (row, part) in self.parts.iter().enumerate() {
            let part = match part {
                Part::Train => "train",
                Part::HeldOut => "held-out",
                Part::Test => "test",
                Part::LeftOut => "left-out",
            };
            let name = self.names.get(row).map_or_else(|| row.to_string(), |name| table::field(name));
            writeln!(text, "{name},{part}").ok();
        }
        lyceum_core::atomic::write(path, text.as_bytes())
    }
}

impl Prepared {
    /// Examples for training and testing, none of them held out.
    pub fn new(extent: Extent, classes: Vec<String>, train: Examples, test: Examples) -> Self {
        let held_out = train.subset(&[]);
        Self {
            extent,
            classes,
            wrong_labels: 0,
            held_out,
            test,
            train,
            text: false,
            columns: Vec::new(),
            groups: Vec::new(),
            normalization: Normalization::default(),
            split: Split::default(),
        }
    }
}

impl DataConfig {
    /// A data set with all defaults.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            path: None,
            size: None,
            channels: None,
            fit: Fit::default(),
            layout: None,
            label: None,
            target: None,
            window: None,
            group: None,
            groups: None,
            classes: None,
            whole_groups: false,
            skip_bad: false,
            standardize: false,
            label_noise: 0.0,
            noise: Noise::default(),
            limit: None,
            held_out: held_out(),
            test: test(),
        }
    }

    /// What the data are called: their name, or that of the file or folder.
    pub fn title(&self) -> String {
        match &self.path {
            Some(path) => path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
            None => self.name.clone(),
        }
    }

    /// How own examples are read.
    fn reading(&self, cache: &Cache) -> Reading {
        let Self { size, channels, fit, layout, label, target, window, group, groups, classes, skip_bad, .. } = self.clone();
        let (numbers, label) = (target.is_some(), target.or(label));
        Reading {
            size,
            channels,
            fit,
            layout,
            label,
            numbers,
            window,
            group,
            groups,
            classes,
            known: None,
            order: Vec::new(),
            skip_bad,
            spill: cache.folder(""),
        }
    }

    /// Whether examples are texts: rows of [`own::text::SYMBOLS`] symbols.
    pub fn is_text(&self) -> bool {
        self.path.as_ref().is_some_and(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
    }

    /// Whether examples may have groups.
    pub fn has_groups(&self) -> bool {
        self.group.is_some() || self.layout == Some(Layout::GroupClass)
    }

    /// Rules between fields for an experiment of classes; `key` is the table's name in the recipe.
    pub fn check(&self, key: &str) -> Result<(), Violation> {
        match &self.target {
            Some(_) => Err(Violation::new(format!("{key}.target"), "found in an experiment of classes; allowed: in `regress`")),
            None => self.check_fields(key),
        }
    }

    /// The same for an experiment that predicts numbers.
    pub fn check_target(&self, key: &str) -> Result<(), Violation> {
        let given = [
            ("label", self.label.is_some()),
            ("classes", self.classes.is_some()),
            ("label_noise", self.label_noise > 0.0),
            ("noise", self.noise != Noise::default()),
        ];
        if self.target.is_none() {
            let message =
                "absent; allowed: the column, or the array, of the numbers that are predicted, with examples of one's own (`path`)";
            return Err(Violation::new(format!("{key}.target"), message));
        }
        match given.into_iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(Violation::new(format!("{key}.{name}"), "found beside `target`; allowed: in experiments of classes")),
            None => self.check_fields(key),
        }
    }

    fn check_fields(&self, key: &str) -> Result<(), Violation> {
        match (&self.path, self.name.as_str()) {
            (None, "") => {
                return Err(Violation::new(format!("{key}.name"), "found neither `name` nor `path`; allowed: one of them"));
            }
            (Some(_), name) if !name.is_empty() => {
                return Err(Violation::new(format!("{key}.path"), "found `name` too; allowed: one of them"));
            }
            _ => {}
        }
        let source = match &self.path {
            Some(path) => Some(own::source(path).map_err(|error| Violation::new(format!("{key}.path"), error.to_string()))?),
            None => None,
        };
        self.check_keys(key, source)?;
        for (name, found) in [("whole_groups", self.whole_groups), ("groups", self.groups.is_some())] {
            if found && !self.has_groups() {
                let message = "found, and no groups; allowed: together with `group` or `layout`";
                return Err(Violation::new(format!("{key}.{name}"), message));
            }
        }
        // A data set with test examples of its own gives none away.
        let has_test = match source {
            Some(source) => source.has_test(),
            None => match catalog::find(&self.name) {
                Ok(entry) => entry.has_test,
                Err(Error::Invalid { found, allowed, .. }) => {
                    return Err(Violation::new(format!("{key}.name"), format!("unknown data set {found}; allowed: {allowed}")));
                }
                Err(error) => return Err(Violation::new(format!("{key}.name"), error.to_string())),
            },
        };
        if !has_test && self.held_out + self.test >= 1.0 {
            let found = self.held_out + self.test;
            return Err(Violation::new(format!("{key}.held_out"), format!("held_out + test is {found}; allowed: less than 1")));
        }
        Ok(())
    }

    /// Errors on keys that say nothing of these data.
    fn check_keys(&self, key: &str, source: Option<Source>) -> Result<(), Violation> {
        let folder = matches!(source, Some(Source::Folder | Source::Parts));
        let listed = folder && !matches!(self.layout, Some(Layout::Class | Layout::GroupClass));
        let table = matches!(source, Some(Source::Csv | Source::Parquet | Source::Texts));
        let keys = [
            ("size", self.size.is_some(), folder, "a folder of pictures"),
            ("channels", self.channels.is_some(), folder, "a folder of pictures"),
            ("fit", self.fit != Fit::default(), folder, "a folder of pictures"),
            ("layout", self.layout.is_some(), folder, "a folder of pictures"),
            (
                "standardize",
                self.standardize,
                matches!(source, Some(Source::Csv | Source::Parquet | Source::Npz)),
                "a table or a .npz file of rows",
            ),
            ("skip_bad", self.skip_bad, folder, "a folder of pictures"),
            ("window", self.window.is_some(), source == Some(Source::Texts), "a .jsonl file"),
            ("label", self.label.is_some(), table || listed, "a table, a .jsonl file or a metadata.csv"),
            (
                "target",
                self.target.is_some(),
                table || listed || source == Some(Source::Npz),
                "a table, a .jsonl or .npz file or a metadata.csv",
            ),
            (
                "group",
                self.group.is_some(),
                table || listed || source == Some(Source::Npz),
                "a table, a .jsonl or .npz file or a metadata.csv",
            ),
            ("classes", self.classes.is_some(), source.is_some(), "examples of one's own"),
        ];
        match keys.into_iter().find(|(_, given, fits, _)| *given && !fits) {
            Some((name, .., of)) => {
                Err(Violation::new(format!("{key}.{name}"), format!("found with other data; allowed: with {of} (`path`)")))
            }
            None => Ok(()),
        }
    }

    /// The files that it is read from.
    pub fn inputs(&self, cache: &Cache) -> Result<Vec<Input>> {
        match &self.path {
            Some(path) => own::inputs(path, &self.reading(cache)),
            None => Ok(catalog::find(&self.name)?.inputs(cache)),
        }
    }

    /// As [`prepare`](Self::prepare), for a run: own examples leave `split.csv` in its folder, which says where each went. `known` is what the
    /// model tells that is trained on.
    pub fn prepare_for(&self, run: &Run, known: Known) -> Result<Prepared> {
        let prepared = self.prepare_known(&Cache::locate(), run.seed(), known)?;
        if self.path.is_some() {
            prepared.split.write(&run.folder().join("split.csv"))?;
        }
        Ok(prepared)
    }

    /// Loads, splits and spoils. The split and the noise are streams of `seed`, so they are the same for every arm.
    pub fn prepare(&self, cache: &Cache, seed: Seed) -> Result<Prepared> {
        self.prepare_known(cache, seed, Known::default())
    }

    fn prepare_known(&self, cache: &Cache, seed: Seed, known: Known) -> Result<Prepared> {
        range::check(self)?;
        self.check_fields("data")?;
        let dataset = match &self.path {
            Some(path) => {
                let Known { classes, columns, .. } = &known;
                let reading = Reading { known: classes.clone(), order: columns.clone(), ..self.reading(cache) };
                own::load(path, &reading)?
            }
            None => catalog::load(&self.name, cache)?,
        };
        let all = dataset.train;
        let test_share = if dataset.test.is_some() { 0.0 } else { self.test };
        let shares = [self.held_out, test_share, 1.0 - self.held_out - test_share];
        let rng = &mut seed.stream("data/split");
        let parts = if self.whole_groups {
            split::of_groups(&all.groups, &shares, rng)
        } else if self.target.is_some() {
            split::random(all.len(), &shares, rng)
        } else {
            split::stratified(&all.labels, &shares, rng)
        };
        let [held_out, test, mut train] = <[Vec<usize>; 3]>::try_from(parts).unwrap_or_default();
        if let Some(limit) = self.limit {
            if limit > train.len() {
                return Err(Error::invalid("data.limit", limit, format!("at most {} (what is left for training)", train.len())));
            }
            train.truncate(limit);
        }
        let mut split = Split { names: dataset.names, parts: vec![Part::LeftOut; all.len()] };
        for (part, rows) in [(Part::HeldOut, &held_out), (Part::Test, &test), (Part::Train, &train)] {
            rows.iter().for_each(|&row| split.parts[row] = part);
        }
        if self.whole_groups {
            let shared = dataset.test.iter().flat_map(|test| &test.groups).find(|group| all.groups.contains(group));
            if let Some(group) = shared {
                let name = dataset.groups.get(*group).cloned().unwrap_or_default();
                return Err(Error::invalid(
                    "data.whole_groups",
                    format!("`{name}` for training and for testing"),
                    "groups in one part each",
                ));
            }
            if self.held_out > 0.0 && held_out.is_empty() {
                let found = format!("{} groups", dataset.groups.len());
                return Err(Error::invalid("data.whole_groups", found, "enough groups that one can be held out, or held_out = 0"));
            }
        }
        let mut spoiled = all.subset(&train);
        let rng = &mut seed.stream("data/noise");
        let wrong = match self.noise {
            Noise::Symmetric => noise::symmetric(&mut spoiled.labels, dataset.classes.len(), self.label_noise, rng),
            Noise::PairFlip => noise::pair_flip(&mut spoiled.labels, dataset.classes.len(), self.label_noise, rng),
        };
        let mut test = dataset.test.unwrap_or_else(|| all.subset(&test));
        for (what, examples) in [("training", &spoiled), ("testing", &test)] {
            if examples.is_empty() {
                let found = format!("held_out = {}, test = {}", self.held_out, self.test);
                return Err(Error::invalid("data", found, format!("shares that leave at least one example for {what}")));
            }
        }
        let mut held_out = all.subset(&held_out);
        let Extent { channels, height, .. } = dataset.extent;
        // The columns of a table are channels.
        let channels = if height == 1 { dataset.extent.len() } else { channels };
        let mut normalization = known.normalization;
        if self.standardize {
            if height > 1 {
                return Err(Error::invalid("data.standardize", "images", "rows of numbers"));
            }
            if !normalization.is_empty() {
                return Err(Error::invalid(
                    "data.standardize",
                    "true, with a model that tells what its numbers are normalised by",
                    "false",
                ));
            }
            normalization = Normalization::of_columns(&spoiled.inputs)?;
        }
        if !normalization.is_empty() {
            // A model may tell of another number of channels.
            normalization.check(channels)?;
            [&mut spoiled, &mut held_out, &mut test].into_iter().for_each(|examples| normalization.apply_to(examples, channels));
        }
        Ok(Prepared {
            extent: dataset.extent,
            classes: dataset.classes,
            train: spoiled,
            wrong_labels: wrong.len(),
            held_out,
            test,
            normalization,
            text: self.is_text(),
            columns: dataset.columns,
            groups: dataset.groups,
            split,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_disjoint_and_only_training_labels_are_spoiled() {
        let config = DataConfig { label_noise: 0.5, limit: Some(700), ..DataConfig::named("digits") };
        let clean = DataConfig { label_noise: 0.0, ..config.clone() };
        let cache = Cache::at("/nowhere");
        let (spoiled, clean) = (config.prepare(&cache, Seed::new(3)).unwrap(), clean.prepare(&cache, Seed::new(3)).unwrap());
        assert_eq!((spoiled.train.len(), spoiled.held_out.len(), spoiled.test.len()), (700, 360, 449));
        assert_eq!(spoiled.train.inputs, clean.train.inputs);
        assert_eq!((&spoiled.test, &spoiled.held_out), (&clean.test, &clean.held_out));
        let differ = spoiled.train.labels.iter().zip(&clean.train.labels).filter(|(a, b)| a != b).count();
        assert_eq!(differ, spoiled.wrong_labels);
        assert!(differ > 270 && differ < 360, "{differ}");
        let rows =
            |e: &Examples| e.inputs.array().rows().into_iter().map(|r| r.iter().map(|v| v.to_bits()).collect()).collect::<Vec<Vec<u32>>>();
        let mut all = [rows(&clean.train), rows(&clean.held_out), rows(&clean.test)].concat();
        all.sort();
        all.dedup();
        // A few digits of the set are the same picture twice.
        assert!(all.len() > 1_490, "{}", all.len());
    }

    #[test]
    fn columns_are_standardised_by_the_training_examples() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        let rows: String = (0..40).map(|row| format!("{},{},7\n", row * row, f64::from(row) / 1e3 - 5.0)).collect();
        std::fs::write(&path, format!("target,a,constant\n{rows}")).unwrap();
        let config =
            DataConfig { path: Some(path), target: Some("target".into()), standardize: true, held_out: 0.25, ..DataConfig::named("") };
        let cache = Cache::at("/nowhere");
        let found = config.prepare(&cache, Seed::new(1)).unwrap();
        let plain = DataConfig { standardize: false, ..config.clone() }.prepare(&cache, Seed::new(1)).unwrap();
        let (mean, deviation) = (found.normalization.mean(), found.normalization.std());
        assert_eq!((found.train.len(), found.held_out.len(), found.test.len(), mean[1], deviation[1]), (20, 10, 10, 7.0, 1.0));
        let rows = found.train.inputs.array();
        let of = |power: i32| rows.column(0).iter().map(|x| f64::from(*x).powi(power)).sum::<f64>() / 20.0;
        assert!(of(1).abs() < 1e-4 && (of(2) - 1.0).abs() < 1e-4 && rows.column(1).iter().all(|x| *x == 0.0));
        for (ours, theirs) in [(&found.held_out, &plain.held_out), (&found.test, &plain.test)] {
            assert_eq!(ours.targets, theirs.targets);
            assert_eq!(ours.inputs.row(3)[0], (theirs.inputs.row(3)[0] - mean[0]) / deviation[0]);
        }
        assert!(config.check("data").unwrap_err().message.contains("`regress`") && config.check_target("data").is_ok());
        assert!(DataConfig { target: None, ..config }.check_target("data").is_err());
    }

    #[test]
    fn impossible_shares_and_limits_are_refused() {
        let config = DataConfig { held_out: 0.6, test: 0.4, ..DataConfig::named("digits") };
        assert!(config.check("data").is_err());
        assert!(DataConfig { held_out: 0.8, ..DataConfig::named("mnist") }.check("data").is_ok());
        assert!(DataConfig { held_out: 0.8, ..DataConfig::named("digits") }.check("data").is_err());
        assert!(DataConfig::named("digitz").check("data").unwrap_err().message.contains("digits"));
        let config = DataConfig { limit: Some(5_000), ..DataConfig::named("digits") };
        assert_eq!(config.prepare(&Cache::at("/nowhere"), Seed::new(0)).unwrap_err().exit_code(), 2);
    }
}
