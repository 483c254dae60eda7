//! The experiment `digit-tuples`: prediction sets for many classes, from real digits.
//!
//! Images of digits are put side by side and a classifier learns the number that they make: a hundred classes of two
//! digits, a thousand of three. With few examples of each class it is weak and its small probabilities are noise, the
//! setting in which RAPS was proposed. It combines `lyceum-train` and `lyceum-conformal`.

use lyceum_core::{Experiment, Result, Run, Seed, Summary, Violation, memory, range, run::Input};
use lyceum_data::{
    Cache, Examples, Extent,
    prepare::{DataConfig, Known},
};
use lyceum_train::{DeviceName, ModelConfig, Plain, TrainConfig, Trainer, logits};
use ndarray::Array2;
use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compare_scores::Comparison;

/// Trains a classifier of numbers and compares prediction sets.
pub struct DigitTuples;

/// The recipe.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    device: DeviceName,
    data: DataConfig,
    model: ModelConfig,
    #[serde(default)]
    training: TrainConfig,
    numbers: Numbers,
    #[serde(default)]
    comparison: Comparison,
}

/// How numbers are made.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Numbers {
    /// Digits of a number: the data set's classes to this power are the labels.
    #[serde(with = "range::AtLeastOne")]
    digits: usize,
    /// How many numbers are put together of training digits.
    #[serde(with = "range::AtLeastOne")]
    train: usize,
    /// How many are put together of test digits; half calibrate, half test.
    #[serde(with = "range::AtLeastOne")]
    count: usize,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { digits: 3, train: 30_000, count: 20_000 }
    }
}

impl Experiment for DigitTuples {
    type Config = Config;

    fn name(&self) -> &'static str {
        "digit-tuples"
    }

    fn about(&self) -> &'static str {
        "prediction sets for many classes: numbers put together from real digits, every score over many splits"
    }

    fn check(&self, config: &Config) -> Result<(), Violation> {
        config.data.check("data")?;
        if let (Ok(entry), 1..=4) = (lyceum_data::catalog::find(&config.data.name), config.numbers.digits) {
            let Numbers { digits, count, train } = config.numbers;
            config.model.check("model", side_by_side(entry.extent, digits), entry.classes.pow(digits as u32))?;
            for (key, count) in [("count", count), ("train", train)] {
                let fits = memory::check(&format!("numbers.{key}"), &[count, digits, entry.extent.len()]);
                fits.map_err(|error| Violation::new(format!("numbers.{key}"), error.to_string()))?;
            }
        }
        let Numbers { digits, count, .. } = &config.numbers;
        if *digits > 4 {
            return Err(Violation::new("numbers.digits", format!("found {digits}; allowed: 1 to 4")));
        }
        if *count < 100 {
            return Err(Violation::new("numbers.count", format!("found {count}; allowed: 100 or more")));
        }
        config.comparison.check("comparison")
    }

    fn inputs(&self, config: &Config) -> Result<Vec<Input>> {
        Ok([config.data.inputs(&Cache::locate())?, config.model.inputs()].concat())
    }

    fn run(&self, config: &Config, run: &Run) -> Result<Summary> {
        let data = config.data.prepare_for(run, Known::default())?;
        let digits = config.numbers.digits;
        let extent = side_by_side(data.extent, digits);
        let classes = data.classes.len().pow(digits as u32);
        let make = |from: &Examples, count, name| numbers(from, data.extent, data.classes.len(), digits, count, run.seed().child(name));
        let (train, held_out) = (make(&data.train, config.numbers.train, "train"), make(&data.held_out, 1_000, "held-out"));
        let part = run.child("classifier")?;
        let model = config.model.init(extent, classes, run.seed(), &config.device.device())?;
        let mut trainer = Trainer::new(config.training.clone(), model, classes, Box::new(Plain), run.seed())?.with_pictures(extent);
        trainer.train(&part, &train, Some(&held_out), "classifier")?;
        run.stop_if_requested()?;
        let test = make(&data.test, config.numbers.count, "test");
        let numbers = logits(trainer.model(), &test)?;
        let lead = format!(
            "{} numbers of {digits} digits put together from {} test digits of {}.",
            test.len(),
            data.test.len(),
            config.data.title()
        );
        config.comparison.run(run, &lead, numbers.view(), &test.labels)
    }
}

/// The extent of several images side by side.
fn side_by_side(extent: Extent, count: usize) -> Extent {
    Extent { width: extent.width * count, ..extent }
}

/// Numbers put together from digits drawn evenly, with replacement.
fn numbers(from: &Examples, extent: Extent, classes: usize, digits: usize, count: usize, seed: Seed) -> Examples {
    let mut rng = seed.stream("numbers");
    let mut inputs = Vec::with_capacity(count * digits * extent.len());
    let mut labels = Vec::with_capacity(count);
    for _ in 0..count {
        let drawn: Vec<usize> = (0..digits).map(|_| rng.random_range(0..from.len())).collect();
        for line in 0..extent.channels * extent.height {
            for &digit in &drawn {
                inputs.extend_from_slice(&from.inputs.row(digit)[line * extent.width..(line + 1) * extent.width]);
            }
        }
        labels.push(drawn.iter().fold(0, |number, &digit| number * classes + from.labels[digit]));
    }
    let inputs = Array2::from_shape_vec((count, digits * extent.len()), inputs).unwrap_or_default();
    Examples::new(inputs, labels)
}
