//! `lyceum predict`.

mod examples;
mod rows;
mod tally;

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use lyceum_conformal::{Known, Predictor as Sets, conformal::Copies};
use lyceum_core::{Error, Progress, Result, interrupt};
use lyceum_data::{
    Normalization,
    formats::{npy, picture},
    own::{Fit, Layout},
};
use lyceum_experiments::trained::{Opening, Trained};
use ndarray::{Array2, ArrayView1};
use serde_json::json;

use super::extension;

use self::{
    examples::{Example, Input, Reads, numbers, texts},
    rows::{Kind, Said, Writer},
    tally::Tally,
};

/// Which model
#[derive(clap::Args)]
pub(crate) struct Source {
    /// The model: a run, an arm of one (RUN/ARM), weights in the folder of an arm (RUN/ARM/best/model.safetensors), or an ONNX file
    model: PathBuf,

    /// The shape of an example, for ONNX files that leave it open: channels, height and width
    #[arg(long, value_name = "CxHxW")]
    input: Option<String>,

    /// Which output of an ONNX file that has several
    #[arg(long, value_name = "NAME")]
    output: Option<String>,

    /// A file with the name of a class in each line
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,

    /// What is subtracted from the values of each channel; that of the model if absent
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS")]
    mean: Vec<f32>,

    /// What the values of each channel are divided by then; that of the model if absent
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS")]
    std: Vec<f32>,

    /// Sets that `lyceum conformal calibrate` has calibrated on logits of this model; a run of `certify` has its own
    #[arg(long, value_name = "FILE")]
    sets: Option<PathBuf>,
}

impl Source {
    /// The model with what the command says of it.
    pub(crate) fn open(&self) -> Result<Trained> {
        let input = self.input.as_deref().map(super::shape).transpose()?;
        let mut trained = Trained::open(&self.model, &Opening { input, output: self.output.clone() })?;
        let count = trained.classes.len();
        if trained.target.is_some() && (self.classes.is_some() || self.sets.is_some()) {
            let found = "classes or sets with a model that predicts numbers";
            return Err(Error::invalid("--classes, --sets", found, "neither: a run of `regress` has its own intervals"));
        }
        if let Some(path) = &self.classes {
            trained.classes = class_names(path, count)?;
        }
        if !(self.mean.is_empty() && self.std.is_empty()) {
            let other = Normalization::new(self.mean.clone(), self.std.clone(), trained.channels())?;
            if other != trained.normalization {
                // They were calibrated with the model's own.
                trained.sets = None;
                trained.target.iter_mut().for_each(|target| target.intervals = None);
            }
            trained.normalization = other;
        }
        if let Some(path) = &self.sets {
            let (sets, names) = Sets::load_named(path)?;
            if sets.classes() != count {
                return Err(Error::invalid("--sets", format!("sets of {} labels", sets.classes()), format!("{count}, as the model has")));
            }
            if !names.classes.is_empty() && names.classes != trained.classes {
                let allowed = format!("those of the model: {}", trained.classes.join(", "));
                return Err(Error::invalid("--sets", format!("sets of the labels {}", names.classes.join(", ")), allowed));
            }
            // Logits are divided by the temperature that they were calibrated with.
            trained.temperature = sets.config().temperature;
            (trained.sets, trained.groups) = (Some(sets), names.groups);
        }
        Ok(trained)
    }
}

/// Predict labels, probabilities and calibrated sets, or numbers and intervals, of images, rows of numbers or texts
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  lyceum predict runs/quickstart/seed-1/SAM pictures/ --out labels.csv
  lyceum predict net.onnx cat.png dog.jpg --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
  lyceum predict net.onnx labelled/ --layout class --out predictions.csv --logits logits.csv
  lyceum predict net.onnx rows.npy --sets model.json
  head -3 rows.csv | lyceum predict net.onnx -

Pictures are scaled to what the network reads, values from 0 to 1. A .npy file, or the array `x` of a .npz file, holds an example a row, or
images n x C x H x W; a .csv or .parquet file, or the standard input (-), numbers, an example a line. Columns called `label` and `group` are
no numbers of the example: what is predicted is compared with them. A model of `regress` gives `value`, `low` and `high`; its truth stands
in the column that it was trained with. A .jsonl file holds texts, an object with `text` a line.")]
pub(crate) struct Predict {
    #[command(flatten)]
    source: Source,

    /// Pictures, folders of pictures (with their sub-folders), .npy, .npz, .csv or .parquet files, .jsonl files of texts, or - for lines of
    /// numbers, or of texts
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,

    /// Where to write: .csv, .jsonl or .parquet; by default the standard output, as CSV (with --json as JSON Lines)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// What folders of pictures stand for, as in recipes: `class`, or `group-class` (a folder for each group, with one for each class in
    /// it); or `list`: they have a metadata.csv with file_name and label
    #[arg(long)]
    layout: Option<String>,

    /// The column of the labels in tables, .jsonl files and lists; `label` if absent, of a model that predicts numbers what they were
    /// called in training
    #[arg(long, value_name = "COLUMN")]
    label: Option<String>,

    /// The column of the groups; `group` if absent
    #[arg(long, value_name = "COLUMN")]
    group: Option<String>,

    /// How many labels of each example to tell, the likeliest first
    #[arg(long, default_value_t = 1)]
    top: usize,

    /// The seed of the sets' draws
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// How pictures of other sides are made to fit: stretch or crop
    #[arg(long, default_value = "stretch")]
    fit: String,

    /// Leave out what cannot be read, with a warning, instead of stopping there
    #[arg(long)]
    skip_bad: bool,

    /// Also write the logits, for `lyceum conformal`: .npy, an example a row, or .csv or .parquet, with the names of the examples and the
    /// labels and groups that are known
    #[arg(long, value_name = "FILE")]
    logits: Option<PathBuf>,
}

/// Examples that are predicted together.
const AT_ONCE: usize = 256;

/// What is under way.
struct Work<'a> {
    command: &'a Predict,
    trained: Trained,
    /// The groups of sets by group, with their numbers.
    groups: HashMap<String, usize>,
    progress: &'a Progress,
    fit: Fit,
    writer: Writer,
    logits: Logits,
    /// Which rows there were before: equal ones have draws of their own.
    copies: Copies,
    tally: Tally,
}

/// Logits that are kept.
#[derive(Default)]
struct Logits {
    values: Vec<f32>,
    examples: Vec<Example>,
}

impl Predict {
    pub(crate) fn execute(self, progress: &Progress) -> Result<()> {
        let trained = self.source.open()?;
        if let Some(Sets::Weighted(_)) = &trained.sets {
            return Err(Error::invalid("--sets", "sets by weight", "others: `lyceum conformal predict` takes weights"));
        }
        let fit = match self.fit.as_str() {
            "stretch" => Fit::Stretch,
            "crop" => Fit::Crop,
            other => return Err(Error::invalid("--fit", other, "stretch or crop")),
        };
        self.check(trained.target.is_some())?;
        let kind = match &trained.target {
            Some(target) => Kind::Number { intervals: target.intervals.is_some() },
            None => Kind::Classes { top: self.top.min(trained.classes.len()), sets: trained.sets.is_some() },
        };
        let writer = Writer::new(self.out.as_deref(), progress.is_json(), kind)?;
        let layout = match self.layout.as_deref() {
            None => None,
            Some("list") => Some(Layout::List),
            Some("class") => Some(Layout::Class),
            Some("group-class") => Some(Layout::GroupClass),
            Some(other) => return Err(Error::invalid("--layout", other, "class, group-class or list")),
        };
        if self.logits.as_ref().is_some_and(|path| extension(path) != "npy") {
            rows::check_names(&trained.classes)?;
        }
        let own = trained.target.as_ref().map(|target| target.name.clone()).filter(|name| !name.is_empty());
        let label = self.label.clone().or(own).unwrap_or_else(|| "label".to_owned());
        // A column is one of them.
        let group = self.group.clone().unwrap_or_else(|| if label == "group" { String::new() } else { "group".to_owned() });
        let known = [label.as_str(), group.as_str()];
        let (must, predicts_numbers) = ([self.label.is_some(), self.group.is_some()], trained.target.is_some());
        let mut inputs = Vec::new();
        for path in &self.inputs {
            examples::listed(path, layout, known, must, predicts_numbers, &mut inputs)?;
        }
        let groups = trained.groups.iter().cloned().enumerate().map(|(number, name)| (name, number)).collect();
        let (logits, copies, tally) = (Logits::default(), Copies::default(), Tally::default());
        let mut work = Work { command: &self, trained, groups, progress, fit, writer, logits, copies, tally };
        let mut task = progress.task("predicting", 0, inputs.len() as u64);
        let mut pictures: Vec<Example> = Vec::new();
        for input in inputs {
            interrupt::check()?;
            match input {
                Input::Picture(picture) => {
                    pictures.push(picture);
                    if pictures.len() == AT_ONCE {
                        work.pictures(std::mem::take(&mut pictures))?;
                    }
                }
                Input::Numbers(file) => {
                    work.pictures(std::mem::take(&mut pictures))?;
                    if extension(&file) == "jsonl" || (work.trained.reads_text() && file == Path::new("-")) {
                        texts(&file, known, &mut |examples, texts| work.texts(examples, &texts))?;
                    } else {
                        let reads = Reads {
                            known,
                            width: work.trained.input().len(),
                            columns: work.trained.columns.clone(),
                            numbers: predicts_numbers,
                        };
                        numbers(&file, &reads, &mut |examples, rows| work.batch(examples, rows))?;
                    }
                }
            }
            task.advance("");
        }
        work.pictures(pictures)?;
        drop(task);
        work.finish()
    }

    fn check(&self, numbers: bool) -> Result<()> {
        if numbers && (self.top > 1 || self.logits.is_some()) {
            let found = "given with a model that predicts numbers";
            return Err(Error::invalid("--top, --logits", found, "neither; --out has all that it says"));
        }
        if self.top == 0 {
            return Err(Error::invalid("--top", 0, "1 or more"));
        }
        if let Some(path) = &self.logits
            && !["npy", "csv", "parquet"].contains(&extension(path))
        {
            return Err(Error::invalid("--logits", path.display(), "a .npy, .csv or .parquet file"));
        }
        Ok(())
    }
}

impl Work<'_> {
    /// Reads pictures on all cores, and predicts them.
    fn pictures(&mut self, pictures: Vec<Example>) -> Result<()> {
        let Some(first) = pictures.first() else { return Ok(()) };
        let extent = self.trained.picture(&first.name)?;
        let paths: Vec<&Path> = pictures.iter().map(|picture| Path::new(&picture.name)).collect();
        let read = picture::read_all(&paths, extent, self.fit);
        let (mut examples, mut rows) = (Vec::new(), Vec::new());
        for (example, values) in pictures.into_iter().zip(read) {
            match values {
                Ok(values) => {
                    examples.push(example);
                    rows.extend(values);
                }
                Err(error) if self.command.skip_bad => self.progress.warn(&error.to_string()),
                Err(error) => return Err(error),
            }
        }
        self.batch(examples, rows)
    }

    fn texts(&mut self, examples: Vec<Example>, texts: &[String]) -> Result<()> {
        let rows = texts.iter().map(|text| self.trained.row_of_text(text)).collect::<Result<Vec<_>>>()?;
        self.batch(examples, rows.concat())
    }

    fn batch(&mut self, examples: Vec<Example>, rows: Vec<f32>) -> Result<()> {
        interrupt::check()?;
        if examples.is_empty() {
            return Ok(());
        }
        let rows =
            Array2::from_shape_vec((examples.len(), self.trained.input().len()), rows).map_err(|error| Error::Failed(error.to_string()))?;
        let logits = self.trained.logits(rows.view())?;
        let finite = |row: ArrayView1<'_, f32>| row.iter().all(|value| value.is_finite());
        if let Some(row) = logits.rows().into_iter().position(|row| !finite(row)) {
            let what = if self.trained.target.is_some() { "the prediction" } else { "the logits" };
            return Err(Error::invalid(format!("{what} of {}", examples[row].name), "some that are not finite", "finite numbers"));
        }
        if self.trained.target.is_some() {
            let (values, ends) = self.trained.numbers(&logits)?;
            for (row, (example, value)) in examples.iter().zip(values).enumerate() {
                let said = Said::Number { value, interval: ends.as_ref().map(|ends| ends[row]) };
                self.tally.add(example, &said)?;
                self.writer.push(example, said);
            }
            self.writer.flush();
            return Ok(());
        }
        let probabilities = self.trained.probabilities(&logits)?;
        let groups = self.groups_of(&examples)?;
        let Self { trained, copies, command, .. } = self;
        let known = Known { groups: groups.as_deref(), weights: None };
        let sets = trained.sets.is_some().then(|| trained.sets_of(copies, &logits, known, command.seed)).transpose()?;
        for (row, (example, probabilities)) in examples.iter().zip(probabilities.rows()).enumerate() {
            let mut order: Vec<usize> = (0..probabilities.len()).collect();
            order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]).then(a.cmp(b)));
            order.truncate(command.top);
            let set: Option<Vec<&str>> =
                sets.as_ref().map(|sets| sets.get(row).iter().map(|label| trained.classes[*label as usize].as_str()).collect());
            let labels: Vec<(&str, f64)> = order.iter().map(|label| (trained.classes[*label].as_str(), probabilities[*label])).collect();
            let said = Said::Classes { labels, set };
            self.tally.add(example, &said)?;
            self.writer.push(example, said);
        }
        if command.logits.is_some() {
            self.logits.values.extend(&logits);
            self.logits.examples.extend(examples);
        }
        self.writer.flush();
        Ok(())
    }

    /// The numbers of the groups, where sets are by group.
    fn groups_of(&self, examples: &[Example]) -> Result<Option<Vec<usize>>> {
        let Some(Sets::Groups(_)) = &self.trained.sets else { return Ok(None) };
        let number = |example: &Example| {
            let Some(group) = &example.group else {
                return Err(Error::invalid(
                    "--sets",
                    "sets by group",
                    format!("others, or groups of the examples: {} has none", example.name),
                ));
            };
            let by_name = self.groups.get(group).copied();
            let number = by_name.or_else(|| if self.groups.is_empty() { group.parse().ok() } else { None });
            number.ok_or_else(|| Error::invalid(format!("the group of {}", example.name), group, "a group that sets were calibrated for"))
        };
        examples.iter().map(number).collect::<Result<Vec<usize>>>().map(Some)
    }

    fn finish(self) -> Result<()> {
        let Self { command, trained, writer, logits, tally, progress, .. } = self;
        if let Some(path) = &command.out {
            writer.finish(path)?;
        }
        if let Some(path) = &command.logits {
            logits.write(path, &trained.classes)?;
        }
        let Some(path) = &command.out else { return Ok(()) };
        let event = json!({ "event": "end", "path": path, "examples": tally.count, "all": tally.all(), "groups": tally.by_group() });
        super::said(progress, &event, || {
            let table = tally
                .table(trained.sets.is_some() || trained.target.is_some_and(|target| target.intervals.is_some()))
                .map(|table| format!("\n{}", table.markdown()))
                .unwrap_or_default();
            format!("wrote {}: {} examples{table}", path.display(), tally.count)
        });
        Ok(())
    }
}

impl Logits {
    fn write(self, path: &Path, classes: &[String]) -> Result<()> {
        let values =
            Array2::from_shape_vec((self.examples.len(), classes.len()), self.values).map_err(|error| Error::Failed(error.to_string()))?;
        if extension(path) == "npy" { npy::write(path, &values) } else { rows::write_logits(path, &self.examples, &values, classes) }
    }
}

/// The names of the classes, one on each line.
fn class_names(path: &Path, count: usize) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    let names: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if names.len() == count {
        Ok(names)
    } else {
        Err(Error::damaged(path, format!("has {} names; allowed: {count}, one for each class", names.len())))
    }
}
