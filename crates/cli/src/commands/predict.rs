//! `lyceum predict` and `lyceum export`.

use std::{
    fs,
    io::{BufRead, Read, Write as _},
    path::{Path, PathBuf},
};

use lyceum_conformal::{Predictor as Sets, conformal::Copies};
use lyceum_core::{Error, Progress, Result, interrupt};
use lyceum_data::{
    Extent,
    formats::{
        npy,
        picture::{self, Fit},
    },
};
use lyceum_experiments::trained::{Opening, Trained};
use lyceum_train::graph::Shape;
use ndarray::{Array2, ArrayD};
use serde_json::json;

/// Which model
#[derive(clap::Args)]
pub(crate) struct Source {
    /// The model: a run, an arm of one (RUN/ARM), or an ONNX file
    model: PathBuf,

    /// The shape of an example, for ONNX files that leave it open: channels, height and width
    #[arg(long, value_name = "CxHxW")]
    input: Option<String>,

    /// Which output of an ONNX file that has several
    #[arg(long, value_name = "NAME")]
    output: Option<String>,
}

impl Source {
    fn open(&self) -> Result<Trained> {
        let input = self.input.as_deref().map(super::shape).transpose()?;
        Trained::open(&self.model, &Opening { input, output: self.output.clone() })
    }
}

/// Predict labels, probabilities and calibrated sets of images, or of rows of numbers
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  lyceum predict runs/quickstart/seed-1/SAM pictures/ --out labels.csv
  lyceum predict net.onnx cat.png dog.jpg --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
  lyceum predict net.onnx rows.npy --sets model.json
  head -3 rows.csv | lyceum predict net.onnx -

Pictures are scaled to what the network reads, values from 0 to 1. A .npy file holds an example a row, or images n x C x H x W; a .csv
file, or the standard input (-), numbers, an example a line, with or without a header.")]
pub(crate) struct Predict {
    #[command(flatten)]
    source: Source,

    /// Pictures, folders of pictures (with their sub-folders), .npy or .csv files, or - for lines of numbers
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,

    /// Where to write: .csv or .jsonl; by default the standard output, as CSV (with --json as JSON Lines)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// How many labels of each example to tell, the likeliest first
    #[arg(long, default_value_t = 1)]
    top: usize,

    /// Sets that `lyceum conformal calibrate` has calibrated on logits of this model; a run of `certify` has its own
    #[arg(long, value_name = "FILE")]
    sets: Option<PathBuf>,

    /// The seed of the sets' draws
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// What is subtracted from the values of each channel
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS")]
    mean: Vec<f32>,

    /// What the values of each channel are divided by then
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS")]
    std: Vec<f32>,

    /// How pictures of other sides are made to fit: stretch or crop
    #[arg(long, default_value = "stretch")]
    fit: String,

    /// A file with the name of a class in each line
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,

    /// Leave out what cannot be read, with a warning, instead of stopping there
    #[arg(long)]
    skip_bad: bool,

    /// Also write the logits, an example a row
    #[arg(long, value_name = "FILE.npy")]
    logits: Option<PathBuf>,
}

/// Write a model as an ONNX file, with the names of its classes, its temperature and its sets
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  lyceum export runs/quickstart/seed-1/SAM --to net.onnx
  lyceum export net.onnx --input 3x224x224 --to fixed.onnx")]
pub(crate) struct Export {
    #[command(flatten)]
    source: Source,

    /// The file to write
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

impl Export {
    pub(crate) fn execute(self, progress: &Progress) -> Result<()> {
        let trained = self.source.open()?;
        trained.export(&self.to)?;
        let cost = trained.net().graph().cost();
        super::said(progress, &json!({ "event": "end", "path": self.to, "parameters": cost.parameters }), || {
            format!(
                "wrote {}: {} parameters, input {}, {} classes",
                self.to.display(),
                cost.parameters,
                trained.input(),
                trained.classes.len()
            )
        });
        Ok(())
    }
}

/// Examples that are predicted together.
const AT_ONCE: usize = 256;

/// Examples as they come, with what each is called.
#[derive(Default)]
struct Batch {
    names: Vec<String>,
    rows: Vec<f32>,
}

/// What is under way.
struct Work<'a> {
    command: &'a Predict,
    trained: Trained,
    progress: &'a Progress,
    fit: Fit,
    as_lines: bool,
    /// What is not yet written.
    text: Vec<u8>,
    logits: Vec<f32>,
    /// Which rows there were before: equal ones have draws of their own.
    copies: Copies,
    count: usize,
}

impl Predict {
    pub(crate) fn execute(self, progress: &Progress) -> Result<()> {
        let trained = self.trained()?;
        let fit = match self.fit.as_str() {
            "stretch" => Fit::Stretch,
            "crop" => Fit::Crop,
            other => return Err(Error::invalid("--fit", other, "stretch or crop")),
        };
        self.check(trained.input())?;
        let as_lines = match self.out.as_ref().map(|path| (path, path.extension().and_then(|extension| extension.to_str()))) {
            Some((_, Some("csv"))) => false,
            Some((_, Some("jsonl"))) => true,
            Some((path, _)) => return Err(Error::invalid("--out", path.display(), "a .csv or .jsonl file")),
            None => progress.is_json(),
        };
        let mut files = Vec::new();
        for input in &self.inputs {
            listed(input, &mut files)?;
        }
        let mut work = Work {
            command: &self,
            trained,
            progress,
            fit,
            as_lines,
            text: Vec::new(),
            logits: Vec::new(),
            copies: Copies::default(),
            count: 0,
        };
        if !as_lines {
            let more: String = (2..=self.top.min(work.trained.classes.len())).map(|n| format!(",label{n},probability{n}")).collect();
            let set = if work.trained.sets.is_some() { ",set" } else { "" };
            work.text.extend(format!("input,label,probability{more}{set}\n").bytes());
        }
        let mut task = progress.task("predicting", 0, files.len() as u64);
        let mut pictures: Vec<PathBuf> = Vec::new();
        for file in files {
            interrupt::check()?;
            if picture::is_one(&file) {
                pictures.push(file);
                if pictures.len() == AT_ONCE {
                    work.pictures(&std::mem::take(&mut pictures))?;
                }
            } else {
                work.pictures(&std::mem::take(&mut pictures))?;
                let width = work.trained.input().len();
                numbers(&file, width, &mut |batch| work.batch(batch))?;
            }
            task.advance("");
        }
        work.pictures(&pictures)?;
        drop(task);
        let Work { text, logits, count, trained, .. } = work;
        if let Some(path) = &self.out {
            lyceum_core::atomic::write(path, &text)?;
        }
        if let Some(path) = &self.logits {
            let classes = trained.classes.len();
            let logits =
                Array2::from_shape_vec((logits.len() / classes, classes), logits).map_err(|error| Error::Failed(error.to_string()))?;
            npy::write(path, &logits)?;
        }
        if let Some(path) = &self.out {
            let event = json!({ "event": "end", "path": path, "examples": count });
            super::said(progress, &event, || format!("wrote {}: {count} examples", path.display()));
        }
        Ok(())
    }

    /// The model with what the command says of it.
    fn trained(&self) -> Result<Trained> {
        let mut trained = self.source.open()?;
        let count = trained.classes.len();
        if let Some(path) = &self.classes {
            trained.classes = names(path, count)?;
        }
        if let Some(path) = &self.sets {
            let sets = Sets::load(path)?;
            if sets.classes() != count {
                return Err(Error::invalid("--sets", format!("sets of {} labels", sets.classes()), format!("{count}, as the model has")));
            }
            trained.sets = Some(sets);
        }
        Ok(trained)
    }

    fn check(&self, input: Shape) -> Result<()> {
        if self.top == 0 {
            return Err(Error::invalid("--top", 0, "1 or more"));
        }
        let channels = input.channels();
        for (what, values) in [("--mean", &self.mean), ("--std", &self.std)] {
            let valid = values.iter().all(|value| value.is_finite() && (what == "--mean" || *value != 0.0));
            if !(values.is_empty() || values.len() == 1 || values.len() == channels) || !valid {
                let allowed = format!("one finite number (of --std not 0), or one for each of {channels} channels");
                return Err(Error::invalid(what, format!("{values:?}"), allowed));
            }
        }
        Ok(())
    }

    /// (x − mean)/std of each channel.
    fn normalise(&self, rows: &mut [f32], input: Shape) {
        if self.mean.is_empty() && self.std.is_empty() {
            return;
        }
        let (channels, each) = match input {
            Shape::Images([channels, height, width]) => (channels, height * width),
            other => (other.channels(), 1),
        };
        let of = |values: &[f32], channel: usize, usual: f32| values.get(channel).or(values.first()).copied().unwrap_or(usual);
        for (place, values) in rows.chunks_mut(each).enumerate() {
            let channel = place % channels;
            let (mean, std) = (of(&self.mean, channel, 0.0), of(&self.std, channel, 1.0));
            values.iter_mut().for_each(|value| *value = (*value - mean) / std);
        }
    }
}

impl Work<'_> {
    /// Reads pictures on all cores, and predicts them.
    fn pictures(&mut self, paths: &[PathBuf]) -> Result<()> {
        let Some(first) = paths.first() else { return Ok(()) };
        let Shape::Images([channels, height, width]) = self.trained.input() else {
            let allowed = format!("rows of {} numbers: the network reads no images", self.trained.input().len());
            return Err(Error::invalid("INPUT", first.display(), allowed));
        };
        let extent = Extent { channels, height, width };
        let read = picture::read_all(paths, extent, self.fit);
        let mut batch = Batch::default();
        for (path, values) in paths.iter().zip(read) {
            match values {
                Ok(values) => {
                    batch.names.push(path.display().to_string());
                    batch.rows.extend(values);
                }
                Err(error) if self.command.skip_bad => self.progress.warn(&error.to_string()),
                Err(error) => return Err(error),
            }
        }
        self.batch(batch)
    }

    fn batch(&mut self, Batch { names, mut rows }: Batch) -> Result<()> {
        interrupt::check()?;
        if names.is_empty() {
            return Ok(());
        }
        self.command.normalise(&mut rows, self.trained.input());
        let rows =
            Array2::from_shape_vec((names.len(), self.trained.input().len()), rows).map_err(|error| Error::Failed(error.to_string()))?;
        let logits = self.trained.logits(rows.view())?;
        if self.command.logits.is_some() {
            self.logits.extend(&logits);
        }
        self.count += names.len();
        self.write(&names, &logits)?;
        if self.command.out.is_none() {
            crate::output::text(&String::from_utf8_lossy(&std::mem::take(&mut self.text)));
        }
        Ok(())
    }

    fn write(&mut self, names: &[String], logits: &Array2<f32>) -> Result<()> {
        let Self { trained, command, as_lines, text, copies, .. } = self;
        let finite = |row: ndarray::ArrayView1<'_, f32>| row.iter().all(|value| value.is_finite());
        if let Some(row) = logits.rows().into_iter().position(|row| !finite(row)) {
            return Err(Error::invalid(format!("the logits of {}", names[row]), "some that are not finite", "finite numbers"));
        }
        let probabilities = trained.probabilities(logits)?;
        let sets = trained.sets.is_some().then(|| trained.sets_of(copies, logits, command.seed)).transpose()?;
        for (row, (name, probabilities)) in names.iter().zip(probabilities.rows()).enumerate() {
            let mut order: Vec<usize> = (0..probabilities.len()).collect();
            order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]).then(a.cmp(b)));
            order.truncate(command.top);
            let set: Option<Vec<&str>> =
                sets.as_ref().map(|sets| sets.get(row).iter().map(|label| trained.classes[*label as usize].as_str()).collect());
            if *as_lines {
                let labels: Vec<_> =
                    order.iter().map(|label| json!({ "label": trained.classes[*label], "probability": probabilities[*label] })).collect();
                let mut line = json!({ "input": name, "label": trained.classes[order[0]], "probability": probabilities[order[0]] });
                if order.len() > 1 {
                    line["labels"] = labels.into();
                }
                if let Some(set) = set {
                    line["set"] = json!(set);
                }
                writeln!(text, "{line}").ok();
            } else {
                let labels: String =
                    order.iter().map(|label| format!(",{},{:.6}", quoted(&trained.classes[*label]), probabilities[*label])).collect();
                let set = set.map(|set| format!(",{}", quoted(&set.join(" ")))).unwrap_or_default();
                writeln!(text, "{}{labels}{set}", quoted(name)).ok();
            }
        }
        Ok(())
    }
}

/// A field of CSV.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// The files of an input: itself, or the pictures of a folder in the order of their names.
fn listed(input: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if input == Path::new("-") {
        files.push(input.to_owned());
    } else if input.is_dir() {
        let before = files.len();
        files.extend(picture::in_folder(input)?);
        if files.len() == before {
            return Err(Error::invalid("INPUT", format!("{}, a folder without pictures", input.display()), "PNG or JPEG files in it"));
        }
    } else if input.is_file() {
        let known =
            picture::is_one(input) || ["npy", "csv"].iter().any(|known| input.extension().is_some_and(|extension| extension == *known));
        if !known {
            return Err(Error::invalid("INPUT", input.display(), "PNG, JPEG, .npy or .csv files, folders, or -"));
        }
        files.push(input.to_owned());
    } else {
        return Err(Error::Missing { path: input.to_owned(), hint: "A picture, a folder, a .npy or a .csv file was to be here.".into() });
    }
    Ok(())
}

/// Rows of numbers, some at a time.
fn numbers(path: &Path, width: usize, work: &mut dyn FnMut(Batch) -> Result<()>) -> Result<()> {
    let called = |row: usize| if path == Path::new("-") { row.to_string() } else { format!("{}:{row}", path.display()) };
    if path.extension().is_some_and(|extension| extension == "npy") {
        let all: ArrayD<f32> = match npy::read::<f32, _>(path) {
            Ok(all) => all,
            Err(error) => npy::read::<f64, ndarray::IxDyn>(path).map_err(|_| error)?.mapv(|value| value as f32),
        };
        let found = all.shape().to_vec();
        if all.ndim() < 2 || found[1..].iter().product::<usize>() != width {
            return Err(Error::damaged(path, format!("holds {found:?} numbers; allowed: n rows of {width}")));
        }
        let values: Vec<f32> = all.iter().copied().collect();
        for (batch, rows) in values.chunks(AT_ONCE * width).enumerate() {
            let names = (0..rows.len() / width).map(|row| called(batch * AT_ONCE + row)).collect();
            work(Batch { names, rows: rows.to_vec() })?;
        }
        return Ok(());
    }
    let reader: Box<dyn Read> =
        if path == Path::new("-") { Box::new(std::io::stdin()) } else { Box::new(fs::File::open(path).map_err(Error::io("read", path))?) };
    let mut batch = Batch::default();
    let mut row = 0;
    for (number, line) in std::io::BufReader::new(reader).lines().enumerate() {
        let line = line.map_err(Error::io("read", path))?;
        let line = line.trim_start_matches('\u{feff}');
        let fields: Vec<&str> = line.split([',', ';', '\t']).map(str::trim).collect();
        if line.trim().is_empty() {
            continue;
        }
        let values: Option<Vec<f32>> = fields.iter().map(|field| field.parse().ok()).collect();
        let values = match values {
            Some(values) => values,
            // A header.
            None if number == 0 => continue,
            None => return Err(Error::damaged(path, format!("line {}: found `{line:.60}`; allowed: numbers", number + 1))),
        };
        if values.len() != width {
            return Err(Error::damaged(path, format!("line {}: found {} numbers; allowed: {width}", number + 1, values.len())));
        }
        batch.names.push(called(row));
        batch.rows.extend(values);
        row += 1;
        if batch.names.len() == AT_ONCE {
            work(std::mem::take(&mut batch))?;
        }
    }
    if batch.names.is_empty() { Ok(()) } else { work(batch) }
}

/// The names of the classes, one on each line.
fn names(path: &Path, count: usize) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    let names: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if names.len() == count {
        Ok(names)
    } else {
        Err(Error::damaged(path, format!("has {} names; allowed: {count}, one for each class", names.len())))
    }
}
