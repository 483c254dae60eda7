//! `lyceum shrink`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use lyceum_core::{Error, Progress, Recipe, Result};
use lyceum_data::catalog;
use lyceum_experiments::trained::file_of;
use lyceum_sparsify::Budget;
use serde_json::{Value, json};

/// Make a trained network smaller: take out what matters least, verify, train it further, and keep it as an ONNX file
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  lyceum shrink runs/quickstart/seed-1/SAM --budget flops=0.5
  lyceum shrink net.onnx --budget parameters=0.3 --data pictures/ --set data.size=[32,32] --epochs 20
  lyceum shrink net.onnx --budget flops=0.5 --data mnist --criterion taylor,l1,random --set shrink.round_to=16

It writes and runs a recipe of the experiment `shrink` (`lyceum explain shrink`): --set changes any key of it, and `lyceum resume` continues it
after an interruption. The smaller network is ARM/model.onnx in the run folder; `lyceum predict` takes it.")]
pub(crate) struct Shrink {
    /// The network: a run with one arm, the folder of an arm, or an ONNX file
    model: PathBuf,

    /// What it may cost: flops=SHARE or parameters=SHARE of what it costs now, or ms=MILLISECONDS for one example on this machine
    #[arg(long, value_name = "WHAT=NUMBER")]
    budget: String,

    /// Labelled examples: the name of a data set, or a folder, .npz, .csv, .parquet or .jsonl file of your own; if absent those of the run that
    /// the network comes from, split as they were there
    #[arg(long, value_name = "NAME|PATH")]
    data: Option<String>,

    /// What says how important a unit is: taylor, l1, l2, batch-norm or random; several are compared
    #[arg(long, value_delimiter = ',', value_name = "NAMES", default_value = "taylor")]
    criterion: Vec<String>,

    /// How long the smaller network is trained
    #[arg(long, default_value_t = 10)]
    epochs: usize,

    /// Override a key of the recipe; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,

    /// The run folder; by default runs/shrink, or runs/shrink-2 and so on where that is taken
    #[arg(long, short, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

impl Shrink {
    pub(crate) fn execute(self, progress: &Progress) -> Result<()> {
        let budget: Budget = self.budget.parse()?;
        let file = file_of(&self.model)?;
        if !file.exists() {
            return Err(Error::Missing { path: file, hint: "A run, an arm of one or an ONNX file was to be here.".into() });
        }
        let (seed, data) = match &self.data {
            Some(data) => (0, json!({ if catalog::find(data).is_ok() { "name" } else { "path" }: data })),
            None => of_run(&file)?,
        };
        let arms: Vec<Value> = self.criterion.iter().map(|name| json!({ "name": name, "criterion": name })).collect();
        let recipe = json!({
            "experiment": "shrink",
            "seed": seed,
            "data": data,
            "model": { "onnx": { "file": file } },
            "training": { "epochs": self.epochs, "learning_rate": 0.01 },
            "shrink": { "budget": budget },
            "arm": arms,
        });
        let text = toml::to_string(&recipe).map_err(|error| Error::Failed(error.to_string()))?;
        let recipe = Recipe::parse_with("shrink", &text, &self.overrides)?;
        let folder = self.out.unwrap_or_else(|| lyceum_experiments::free_folder(recipe.stem()));
        super::run::show(&lyceum_experiments::run(&recipe, &folder, progress)?, &folder, progress);
        Ok(())
    }
}

/// Seed and data of the run that a file lies in: what was held out and tested there is so here.
fn of_run(file: &Path) -> Result<(u64, Value)> {
    #[derive(serde::Deserialize)]
    struct OfRecipe {
        #[serde(default)]
        seed: u64,
        data: Option<toml::Table>,
    }
    let missing = |found: &str| Error::invalid("--data", format!("absent, and {found}"), "the name of a data set, or a path");
    let folder = file.ancestors().skip(1).find(|folder| folder.join("recipe.toml").is_file());
    let folder = folder.ok_or_else(|| missing("a network that lies in no run"))?;
    let recipe = folder.join("recipe.toml");
    let text = fs::read_to_string(&recipe).map_err(Error::io("read", &recipe))?;
    let OfRecipe { seed, data } = toml::from_str(&text).map_err(|error| Error::damaged(&recipe, error.to_string()))?;
    // A run of several seeds has a folder for each.
    let below = file.strip_prefix(folder).ok().and_then(|below| below.components().next()?.as_os_str().to_str()?.strip_prefix("seed-"));
    let seed = below.and_then(|number| number.parse().ok()).unwrap_or(seed);
    let mut data = data.ok_or_else(|| missing("a run without a table of data"))?;
    // The network tells what its numbers are normalised by.
    data.remove("standardize");
    if let Some(toml::Value::String(path)) = data.get_mut("path") {
        let places = std::iter::once(Path::new("")).chain(folder.ancestors()).map(|folder| folder.join(&*path));
        match places.into_iter().find(|place| place.exists()) {
            Some(place) => *path = place.display().to_string(),
            None => return Err(missing(&format!("`{path}`, which the run was trained on, is not here"))),
        }
    }
    Ok((seed, json!(data)))
}
