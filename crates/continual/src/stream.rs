//! Tasks that come one after another.

use std::ops::Range;

use lyceum_core::{Error, Result, Seed, Violation, range};
use lyceum_data::{Examples, prepare::Prepared, split};
use ndarray::Axis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a data set becomes a stream of tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum StreamConfig {
    /// Each task has a permutation of the pixels of its own; one head for all (Goodfellow et al. 2013).
    Permuted {
        /// How many tasks.
        #[serde(with = "range::AtLeastOne")]
        tasks: usize,
    },
    /// Each task turns the images by another angle, evenly from 0 to `degrees`; one head for all.
    Rotated {
        /// How many tasks.
        #[serde(with = "range::AtLeastOne")]
        tasks: usize,
        /// The largest angle.
        #[serde(with = "range::NonNegative")]
        degrees: f64,
    },
    /// Each task has some of the classes, in their order.
    Split {
        /// Classes a task.
        #[serde(with = "range::AtLeastOne")]
        classes: usize,
        /// Whether each task has outputs of its own and is told at test time which task it is (task-incremental); otherwise
        /// all tasks share `classes` outputs (domain-incremental).
        #[serde(default = "yes")]
        heads: bool,
    },
}

fn yes() -> bool {
    true
}

/// One task.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its number, from 0.
    pub number: usize,
    /// Which of the network's outputs are its own; labels count within the network's outputs.
    pub outputs: Range<usize>,
    /// Where it is several tasks as one, each with outputs of its own: how many each has.
    pub heads: Option<usize>,
    /// Its training examples.
    pub train: Examples,
}

impl Task {
    /// The outputs of an example with this label.
    pub fn own(&self, label: usize) -> Range<usize> {
        match self.heads {
            Some(width) => label / width * width..(label / width + 1) * width,
            None => self.outputs.clone(),
        }
    }
}

impl StreamConfig {
    /// Rules between fields; `key` is the table's name in the recipe.
    pub fn check(&self, key: &str, classes: usize) -> Result<(), Violation> {
        match self {
            Self::Split { classes: some, .. } if *some > classes || !classes.is_multiple_of(*some) => {
                Err(Violation::new(format!("{key}.split.classes"), format!("found {some}; allowed: a divisor of the {classes} classes")))
            }
            _ => Ok(()),
        }
    }

    /// How many tasks there are.
    pub fn tasks(&self, classes: usize) -> usize {
        match self {
            Self::Permuted { tasks } | Self::Rotated { tasks, .. } => *tasks,
            Self::Split { classes: some, .. } => classes / some,
        }
    }

    /// How many outputs a network needs.
    pub fn outputs(&self, classes: usize) -> usize {
        match self {
            Self::Split { classes: some, heads: false } => *some,
            _ => classes,
        }
    }

    /// Whether tasks have outputs of their own.
    pub fn heads(&self) -> bool {
        matches!(self, Self::Split { heads: true, .. })
    }

    /// One task of the stream.
    pub fn task(&self, data: &Prepared, number: usize, seed: Seed) -> Result<Task> {
        Ok(Task { number, outputs: self.own(data, number)?, heads: None, train: self.examples(&data.train, data, number, seed)? })
    }

    /// The test examples of a task, and its outputs.
    pub fn test(&self, data: &Prepared, number: usize, seed: Seed) -> Result<(Examples, Range<usize>)> {
        Ok((self.examples(&data.test, data, number, seed)?, self.own(data, number)?))
    }

    /// The outputs of a task.
    fn own(&self, data: &Prepared, number: usize) -> Result<Range<usize>> {
        let classes = data.classes.len();
        if number >= self.tasks(classes) {
            return Err(Error::invalid("task", number, format!("0 to {}", self.tasks(classes) - 1)));
        }
        Ok(match self {
            Self::Split { classes: some, heads: true } => number * some..(number + 1) * some,
            _ => 0..self.outputs(classes),
        })
    }

    /// Examples as a task has them.
    fn examples(&self, from: &Examples, data: &Prepared, number: usize, seed: Seed) -> Result<Examples> {
        let outputs = self.own(data, number)?;
        Ok(match self {
            Self::Permuted { .. } => {
                let order = split::permutation(data.extent.len(), &mut seed.stream_at("stream/permutation", number as u64));
                Examples { inputs: from.inputs.select(Axis(1), &order).as_standard_layout().into_owned(), labels: from.labels.clone() }
            }
            Self::Rotated { tasks, degrees } => {
                let angle = degrees * number as f64 / (*tasks - 1).max(1) as f64;
                rotated(from, data, angle.to_radians())
            }
            Self::Split { classes: some, .. } => {
                let mine = number * some..(number + 1) * some;
                let rows: Vec<usize> = (0..from.len()).filter(|&row| mine.contains(&from.labels[row])).collect();
                let mut part = from.subset(&rows);
                part.labels.iter_mut().for_each(|label| *label = *label - mine.start + outputs.start);
                part
            }
        })
    }
}

/// Images turned about their middle; each pixel is interpolated between the four around where it comes from.
fn rotated(from: &Examples, data: &Prepared, angle: f64) -> Examples {
    let (height, width) = (data.extent.height, data.extent.width);
    let (sin, cos) = angle.sin_cos();
    let (cy, cx) = ((height - 1) as f64 / 2.0, (width - 1) as f64 / 2.0);
    let mut inputs = from.inputs.clone();
    for (mut to, row) in inputs.rows_mut().into_iter().zip(from.inputs.rows()) {
        for channel in 0..data.extent.channels {
            let pixel = |y: i64, x: i64| {
                let inside = (0..height as i64).contains(&y) && (0..width as i64).contains(&x);
                if inside { f64::from(row[channel * height * width + y as usize * width + x as usize]) } else { 0.0 }
            };
            for y in 0..height {
                for x in 0..width {
                    let (dy, dx) = (y as f64 - cy, x as f64 - cx);
                    let (sy, sx) = (cy + cos * dy - sin * dx, cx + sin * dy + cos * dx);
                    let (fy, fx) = (sy - sy.floor(), sx - sx.floor());
                    let (iy, ix) = (sy.floor() as i64, sx.floor() as i64);
                    let top = pixel(iy, ix) * (1.0 - fx) + pixel(iy, ix + 1) * fx;
                    let bottom = pixel(iy + 1, ix) * (1.0 - fx) + pixel(iy + 1, ix + 1) * fx;
                    to[channel * height * width + y * width + x] = (top * (1.0 - fy) + bottom * fy) as f32;
                }
            }
        }
    }
    Examples { inputs, labels: from.labels.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lyceum_data::{Cache, prepare::DataConfig};

    #[test]
    fn streams_keep_what_they_should() {
        let data = DataConfig::named("digits").prepare(&Cache::at("/nowhere"), Seed::new(1)).unwrap();
        let permuted = StreamConfig::Permuted { tasks: 3 };
        let (a, b) = (permuted.task(&data, 0, Seed::new(1)).unwrap(), permuted.task(&data, 1, Seed::new(1)).unwrap());
        assert_ne!(a.train.inputs, b.train.inputs);
        let sum = |examples: &Examples| examples.inputs.row(5).iter().map(|v| f64::from(*v)).sum::<f64>();
        assert!((sum(&a.train) - sum(&b.train)).abs() < 1e-4);
        assert_eq!(a.train.labels, data.train.labels);
        let split = StreamConfig::Split { classes: 2, heads: true };
        let tasks: Vec<Task> = (0..5).map(|number| split.task(&data, number, Seed::new(1)).unwrap()).collect();
        assert_eq!(tasks.iter().map(|task| task.train.len()).sum::<usize>(), data.train.len());
        assert!(tasks[3].train.labels.iter().all(|label| (6..8).contains(label)) && tasks[3].outputs == (6..8));
        let shared = StreamConfig::Split { classes: 2, heads: false }.task(&data, 3, Seed::new(1)).unwrap();
        assert!(shared.train.labels.iter().all(|label| *label < 2));
        assert!(StreamConfig::Split { classes: 3, heads: true }.check("stream", 10).is_err());
        let rotated = StreamConfig::Rotated { tasks: 3, degrees: 180.0 };
        assert_eq!(rotated.task(&data, 0, Seed::new(1)).unwrap().train.inputs, data.train.inputs);
        let half = rotated.task(&data, 2, Seed::new(1)).unwrap().train;
        let turned: Vec<f32> = half.inputs.row(0).iter().rev().copied().collect();
        assert!(turned.iter().zip(data.train.inputs.row(0)).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}
