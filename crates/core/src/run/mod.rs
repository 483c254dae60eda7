//! The folder of one experiment.
//!
//! ```text
//! RUN/
//!   recipe.toml        the recipe with every default written out
//!   run.json           experiment, seed, version
//!   metrics.jsonl      one JSON object a line, as they come; the same bytes for the same seed
//!   events.out.tfevents.*  the same for TensorBoard
//!   checkpoints/STEP/  state.json, *.safetensors, manifest.json with checksums
//!   best/              the checkpoint that did best on held-out data
//!   NAME/              the same again for a part of the run that is trained on its own
//!   seed-N/            the same again for each seed, where the recipe asks for several
//!   summary.json  report.json  report.html      written at the end
//! ```
//!
//! A run may be killed at any moment. [`Run::rewind`] takes it back to its newest whole checkpoint: metrics after it
//! are cut off, and the experiment goes on from the state that the checkpoint holds.

mod cadence;
mod checkpoint;
mod events;
mod inputs;
mod lock;
mod metrics;
mod name;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use serde::{Deserialize, Serialize};

pub use cadence::Cadence;
pub use checkpoint::Checkpoint;
pub use inputs::Input;
use lock::Lock;
use metrics::Metrics;
pub use name::check_names;

use crate::{
    AnyExperiment, Array, Error, Progress, Recipe, Report, Result, Seed, Summary, atomic, checksum::sha256, instructions::instructions,
    interrupt, report::Block,
};

/// How many checkpoints of a run are kept: the newest, and one to fall back on should it be damaged.
const CHECKPOINTS_KEPT: usize = 2;

/// A run folder, open for writing by this process alone.
pub struct Run {
    folder: PathBuf,
    /// The folder that `lyceum resume` takes: of the run itself, also in a part of it.
    root: PathBuf,
    /// The text of its recipe.
    recipe: Arc<str>,
    seed: Seed,
    progress: Progress,
    metrics: Mutex<Metrics>,
    /// Held, and released with the last of the run and its children.
    lock: Arc<Lock>,
    /// Whether this process has made the folder.
    made: bool,
}

/// What `run.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The experiment's name.
    pub experiment: String,
    /// The root seed.
    pub seed: u64,
    /// The version of Lyceum that made the run.
    pub version: String,
    /// The [instructions](crate::instructions) that the run began with; absent in runs of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// SHA-256 of `recipe.toml` as the run began; absent in runs of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// SHA-256 of each file that the run reads, by its path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, String>,
}

impl Run {
    /// Makes the folder of a new run. The folder must be absent or empty, or hold no more than what a process left that ended
    /// before it had written the recipe.
    pub fn create(folder: &Path, experiment: &dyn AnyExperiment, recipe: &Recipe, progress: Progress) -> Result<Self> {
        let resolved = experiment.resolve(recipe)?;
        let left = |entry: &fs::DirEntry| match entry.file_name().to_str() {
            Some("lock") => entry.metadata().is_ok_and(|lock| lock.is_file() && lock.len() == 0),
            name => name == Some(".recipe.toml.partial"),
        };
        if folder.read_dir().is_ok_and(|mut entries| entries.any(|entry| !entry.is_ok_and(|entry| left(&entry)))) {
            let allowed = "a folder that is absent or empty (or `lyceum resume` on this one)";
            return Err(Error::invalid("the run folder", folder.display(), allowed));
        }
        // Large files are read for this only once the folder is known to be free, and before anything is written.
        let inputs = inputs::sums(&experiment.inputs(recipe)?)?;
        let made = !folder.exists();
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let lock = Arc::new(Lock::take(folder)?);
        atomic::write(&folder.join("recipe.toml"), resolved.as_bytes())?;
        Ok(Self { made, ..Self::of_recipe(folder, recipe, inputs, progress, lock)? })
    }

    /// An error if the files are not those that the run began with. Where nobody noted which these were, they are noted now.
    pub fn check_inputs(&self, inputs: &[Input]) -> Result<()> {
        let now = inputs::sums(inputs)?;
        match Self::origin(&self.root)? {
            Some(origin) if origin.inputs.is_empty() => write_json(&self.root.join("run.json"), &Origin { inputs: now, ..origin }),
            Some(origin) => inputs::check(&origin.inputs, &now),
            None => Ok(()),
        }
    }

    /// Opens a run that was interrupted or has ended.
    pub fn open(folder: &Path, progress: Progress) -> Result<(Self, Recipe)> {
        let path = folder.join("recipe.toml");
        if !path.exists() {
            return Err(Error::Missing { path, hint: "A run folder has one; `lyceum run` makes such a folder.".into() });
        }
        let recipe = Recipe::read(&path, &[])?;
        let lock = Arc::new(Lock::take(folder)?);
        Ok((Self::of_recipe(folder, &recipe, BTreeMap::new(), progress, lock)?, recipe))
    }

    /// The run of a folder that has its recipe, and maybe nothing else yet.
    fn of_recipe(folder: &Path, recipe: &Recipe, inputs: BTreeMap<String, String>, progress: Progress, lock: Arc<Lock>) -> Result<Self> {
        let (path, written) = (folder.join("run.json"), folder.join("recipe.toml"));
        let text: Arc<str> = fs::read_to_string(&written).map_err(Error::io("read", &written))?.into();
        let sum = sha256(text.as_bytes());
        let own = instructions().name();
        match read_json::<Origin>(&path)? {
            None => {
                let origin = Origin {
                    experiment: recipe.experiment().into(),
                    seed: recipe.seed().root(),
                    version: env!("CARGO_PKG_VERSION").into(),
                    instructions: Some(own.into()),
                    recipe: Some(sum),
                    inputs,
                };
                write_json(&path, &origin)?;
            }
            Some(Origin { recipe: Some(before), .. }) if before != sum => {
                let found = "another text than when the run began";
                return Err(Error::invalid(written.display().to_string(), found, "that text; a new run for another recipe"));
            }
            // Only these two give the same bits: see the chapter on kernels.
            Some(Origin { instructions: Some(before), .. }) if before != own && [before.as_str(), own].contains(&"plain") => {
                progress.warn(&format!(
                    "this run began with {before} instructions and resumes with {own}: its last digits will differ from those of an \
                     undisturbed run"
                ));
            }
            Some(_) => {}
        }
        let metrics = Mutex::new(Metrics::open(folder)?);
        Ok(Self { folder: folder.into(), root: folder.into(), recipe: text, seed: recipe.seed(), progress, metrics, lock, made: false })
    }

    /// A part of this run with metrics, checkpoints and a seed of its own, for example one arm of a comparison.
    /// Parts can be worked on side by side.
    pub fn child(&self, name: &str) -> Result<Self> {
        if let Some(message) = name::refused(name) {
            return Err(Error::Violated(format!("the name of a part of a run: {message}")));
        }
        let folder = self.folder.join(name);
        atomic::own_folder(&folder)?;
        Ok(Self {
            metrics: Mutex::new(Metrics::open(&folder)?),
            folder,
            root: self.root.clone(),
            recipe: self.recipe.clone(),
            seed: self.seed.child(name),
            progress: self.progress.clone(),
            lock: self.lock.clone(),
            made: false,
        })
    }

    /// The part of this run that has another seed: `seed-SEED`, in which everything is as in a run of its own.
    pub fn with_seed(&self, seed: u64) -> Result<Self> {
        Ok(Self { seed: Seed::new(seed), ..self.child(&format!("seed-{seed}"))? })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The root of this run's randomness.
    pub fn seed(&self) -> Seed {
        self.seed
    }

    /// Where progress is shown.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Appends metrics of one step to `metrics.jsonl` and the TensorBoard events.
    /// A value that is not finite is written as `null`.
    pub fn log(&self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        self.metrics.lock().map_err(|_| poisoned())?.log(step, values)
    }

    /// Every metric so far, in order.
    pub fn metrics(&self) -> Result<Vec<serde_json::Value>> {
        self.metrics.lock().map_err(|_| poisoned())?.read()
    }

    /// Saves all that is needed to go on from `step`, and drops checkpoints that are no longer needed.
    pub fn save_checkpoint(&self, step: u64, state: &impl Serialize, files: &[(&str, &[Array])]) -> Result<()> {
        let marks = self.metrics.lock().map_err(|_| poisoned())?.sync()?;
        let folder = self.checkpoints();
        atomic::own_folder(&folder)?;
        checkpoint::write(&folder.join(format!("{step:010}")), step, marks, state, files)?;
        let saved = checkpoint::list(&folder);
        for (_, old) in saved.iter().rev().skip(CHECKPOINTS_KEPT) {
            fs::remove_dir_all(old).map_err(Error::io("remove", old))?;
        }
        Ok(())
    }

    /// Saves the model that did best so far.
    pub fn save_best(&self, step: u64, state: &impl Serialize, files: &[(&str, &[Array])]) -> Result<()> {
        checkpoint::write(&self.folder.join("best"), step, metrics::Marks::default(), state, files)
    }

    /// The model that did best, if one was saved.
    pub fn best(&self) -> Result<Option<Checkpoint>> {
        let folder = self.folder.join("best");
        if folder.exists() { checkpoint::read(&folder).map(|(checkpoint, _)| Some(checkpoint)) } else { Ok(None) }
    }

    /// Takes the run back to its newest whole checkpoint and gives it, or to its start where there is none.
    /// A damaged checkpoint is named and passed over.
    pub fn rewind(&self) -> Result<Option<Checkpoint>> {
        let mut found = None;
        for (_, folder) in checkpoint::list(&self.checkpoints()).into_iter().rev() {
            match checkpoint::read(&folder) {
                Ok(whole) => {
                    found = Some(whole);
                    break;
                }
                Err(error) => self.progress.warn(&format!("{error}; the checkpoint before it is used")),
            }
        }
        let marks = found.as_ref().map(|(_, marks)| *marks).unwrap_or_default();
        self.metrics.lock().map_err(|_| poisoned())?.rewind(marks)?;
        Ok(found.map(|(checkpoint, _)| checkpoint))
    }

    /// An error if somebody asked to stop. To be called between two steps, after what matters is saved.
    pub fn stop_if_requested(&self) -> Result<()> {
        if interrupt::requested() { Err(self.interrupted()) } else { Ok(()) }
    }

    /// The error of a run that was asked to stop: it says how the run goes on.
    pub fn interrupted(&self) -> Error {
        Error::Interrupted { again: format!("lyceum resume {}", self.root.display()) }
    }

    /// Removes the folder again where nothing was logged or saved yet: a mistake that shows only once the data are read must not keep
    /// the corrected recipe from its folder.
    ///
    /// Files that a run does not have are left, and the folder with them.
    pub fn discard_unless_begun(self) {
        if !has_begun(&self.folder) {
            discard(&self.folder, self.made);
        }
    }

    /// Writes the report and, last, the summary, whose presence says that the run has ended.
    pub fn finish(&self, summary: &Summary, report: &Report) -> Result<()> {
        self.metrics.lock().map_err(|_| poisoned())?.sync()?;
        let report = &report.clone().section("Recipe", [Block::Code(self.recipe.to_string())]);
        write_json(&self.folder.join("report.json"), report)?;
        atomic::write(&self.folder.join("report.html"), report.html().as_bytes())?;
        write_json(&self.folder.join("summary.json"), summary)
    }

    /// The summary, if the run has ended.
    pub fn summary(folder: &Path) -> Result<Option<Summary>> {
        read_json(&folder.join("summary.json"))
    }

    /// The report's content, if the run has ended.
    pub fn report(folder: &Path) -> Result<Option<Report>> {
        read_json(&folder.join("report.json"))
    }

    /// What the run is, read without opening it.
    pub fn origin(folder: &Path) -> Result<Option<Origin>> {
        read_json(&folder.join("run.json"))
    }

    fn checkpoints(&self) -> PathBuf {
        self.folder.join("checkpoints")
    }
}

/// Whether a run, or a part of it, has logged or saved anything.
fn has_begun(folder: &Path) -> bool {
    folder.read_dir().map_or(true, |entries| {
        entries.flatten().any(|entry| match entry.file_name().to_str() {
            Some("metrics.jsonl") => entry.metadata().map_or(true, |file| file.len() > 0),
            Some("checkpoints" | "best" | "summary.json") => true,
            _ => entry.file_type().is_ok_and(|kind| kind.is_dir()) && has_begun(&entry.path()),
        })
    })
}

/// Removes what a run writes before its first step, in its parts too; then, if `whole`, the folder, should it be empty.
fn discard(folder: &Path, whole: bool) {
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(|name| {
            ["recipe.toml", "run.json", "metrics.jsonl", "lock", "split.csv"].contains(&name) || name.starts_with("events.out.tfevents.")
        });
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            discard(&entry.path(), true);
        } else if is_ours {
            let _ = fs::remove_file(entry.path());
        }
    }
    if whole {
        let _ = fs::remove_dir(folder);
    }
}

fn poisoned() -> Error {
    Error::Failed("a thread that wrote metrics has crashed".into())
}

/// Writes a value as readable JSON, whole or not at all.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|e| Error::Failed(format!("{}: {e}", path.display())))?;
    bytes.push(b'\n');
    atomic::write(path, &bytes)
}

/// Reads a JSON file, if it is there.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| Error::damaged(path, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Experiment;

    struct Demo;

    #[derive(Serialize, Deserialize, schemars::JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Config {
        steps: u64,
    }

    /// Counts up and logs what it drew; a checkpoint every third step.
    impl Experiment for Demo {
        type Config = Config;
        fn name(&self) -> &'static str {
            "demo"
        }
        fn about(&self) -> &'static str {
            "counts"
        }
        fn run(&self, config: &Config, run: &Run) -> Result<Summary> {
            use rand::RngExt;
            let start = run.rewind()?.map_or(Ok(0), |checkpoint| checkpoint.state::<u64>())?;
            for step in start..config.steps {
                run.stop_if_requested()?;
                run.log(step, &[("drawn", run.seed().stream_at("draw", step).random())])?;
                if step % 3 == 2 {
                    let weights = [Array::new("w", vec![2], vec![step as f32, 0.5])];
                    run.save_checkpoint(step + 1, &(step + 1), &[("model", &weights)])?;
                }
            }
            Ok(Summary::default())
        }
    }

    fn start(folder: &Path, steps: u64) -> Run {
        let recipe = Recipe::parse("demo.toml", &format!("experiment = \"demo\"\nseed = 1\nsteps = {steps}\n")).unwrap();
        let run = Run::create(folder, &Demo, &recipe, Progress::quiet()).unwrap();
        Demo.run_recipe(&recipe, &run).unwrap();
        run
    }

    #[test]
    fn a_folder_that_a_process_only_began_to_make_is_made() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("lock"), "").unwrap();
        fs::write(folder.path().join(".recipe.toml.partial"), "experi").unwrap();
        drop(start(folder.path(), 2));
        assert!(!folder.path().join(".recipe.toml.partial").exists());
        fs::remove_file(folder.path().join("run.json")).unwrap();
        finish(folder.path(), 2);
        assert_eq!(Run::origin(folder.path()).unwrap().unwrap().experiment, "demo");
    }

    fn finish(folder: &Path, steps: u64) -> Vec<u8> {
        let (run, _) = Run::open(folder, Progress::quiet()).unwrap();
        Demo.run(&Config { steps }, &run).unwrap();
        fs::read(folder.join("metrics.jsonl")).unwrap()
    }

    #[test]
    fn a_run_cut_short_ends_with_the_same_metrics() {
        let whole = tempfile::tempdir().unwrap();
        drop(start(whole.path(), 20));
        let expected = fs::read(whole.path().join("metrics.jsonl")).unwrap();
        assert_eq!(String::from_utf8_lossy(&expected).lines().count(), 20);
        for cut in [0, 1, 4, 10, 19] {
            let folder = tempfile::tempdir().unwrap();
            drop(start(folder.path(), cut));
            // A kill can also leave half a line behind.
            use std::io::Write;
            let mut file = fs::OpenOptions::new().append(true).open(folder.path().join("metrics.jsonl")).unwrap();
            file.write_all(b"{\"step\":").unwrap();
            assert_eq!(finish(folder.path(), 20), expected, "cut after {cut}");
        }
    }

    #[test]
    fn a_damaged_checkpoint_is_refused_and_the_one_before_used() {
        for damage in ["truncate", "flip", "missing", "manifest"] {
            let folder = tempfile::tempdir().unwrap();
            drop(start(folder.path(), 8));
            let newest = folder.path().join("checkpoints/0000000006");
            let file = newest.join("model.safetensors");
            match damage {
                "truncate" => fs::write(&file, &fs::read(&file).unwrap()[..10]).unwrap(),
                "flip" => {
                    let mut bytes = fs::read(&file).unwrap();
                    *bytes.last_mut().unwrap() ^= 1;
                    fs::write(&file, bytes).unwrap();
                }
                "missing" => fs::remove_file(&file).unwrap(),
                _ => fs::write(newest.join("manifest.json"), b"{}").unwrap(),
            }
            let (run, _) = Run::open(folder.path(), Progress::quiet()).unwrap();
            let checkpoint = run.rewind().unwrap().unwrap();
            assert_eq!(checkpoint.step(), 3, "{damage}");
            assert_eq!(checkpoint.arrays("model").unwrap()[0].values, [2.0, 0.5]);
            drop(run);
            let error = checkpoint::read(&newest).unwrap_err();
            assert!(error.to_string().contains("0000000006"), "{error}");
        }
    }

    #[test]
    fn metrics_before_the_mark_that_were_changed_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        drop(start(folder.path(), 8));
        let path = folder.path().join("metrics.jsonl");
        let whole = fs::read(&path).unwrap();
        let mut changed = whole.clone();
        changed[12] ^= 1;
        fs::write(&path, &changed).unwrap();
        let (run, _) = Run::open(folder.path(), Progress::quiet()).unwrap();
        let error = run.rewind().unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("metrics.jsonl"), "{error}");
        drop(run);
        fs::write(&path, &whole).unwrap();
        assert_eq!(finish(folder.path(), 8), whole);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_written_is_never_written_through_a_link() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let precious = folder.path().join("precious");
        let recipe = Recipe::parse("demo.toml", "experiment = \"demo\"\nsteps = 4\n").unwrap();
        for name in ["lock", "metrics.jsonl", ".recipe.toml.partial", "checkpoints", "part", "events.out.tfevents.9.lyceum"] {
            fs::write(&precious, "x").unwrap();
            let run = folder.path().join("run");
            drop(fs::remove_dir_all(&run));
            drop(start(&run, 1));
            drop(fs::remove_file(run.join(name)));
            symlink(&precious, run.join(name)).unwrap();
            let found = Run::open(&run, Progress::quiet()).and_then(|(run, _)| {
                run.child("part")?;
                run.log(1, &[("a", 1.0)])?;
                atomic::write(&run.folder().join("recipe.toml"), b"y")?;
                run.save_checkpoint(1, &1, &[])
            });
            assert!(found.is_err_and(|error| error.exit_code() == 2), "{name}");
            assert_eq!(fs::read(&precious).unwrap(), b"x", "{name}");
        }
        let links = folder.path().join("links");
        fs::create_dir(&links).unwrap();
        symlink(&precious, links.join("lock")).unwrap();
        assert!(Run::create(&links, &Demo, &recipe, Progress::quiet()).is_err());
        assert_eq!(fs::read(&precious).unwrap(), b"x");
    }

    #[test]
    fn a_second_process_cannot_write_the_same_run() {
        let folder = tempfile::tempdir().unwrap();
        let run = start(folder.path(), 1);
        let child = run.child("part").unwrap();
        drop(run);
        assert!(matches!(Run::open(folder.path(), Progress::quiet()), Err(Error::Locked { .. })));
        drop(child);
        Run::open(folder.path(), Progress::quiet()).unwrap();
    }

    #[test]
    fn a_run_never_overwrites_a_folder_with_something_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let recipe = Recipe::parse("demo.toml", "experiment = \"demo\"\nsteps = 1\n").unwrap();
        for name in ["precious", "run.json", "lock"] {
            fs::write(folder.path().join(name), "x").unwrap();
            let error = Run::create(folder.path(), &Demo, &recipe, Progress::quiet()).err().unwrap();
            assert_eq!(error.exit_code(), 2);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
            assert_eq!(fs::read(folder.path().join(name)).unwrap(), b"x");
            fs::remove_file(folder.path().join(name)).unwrap();
        }
    }
}
