//! Tasks that come one after another.

use std::ops::Range;

use lyceum_core::{Error, Result, Seed, Violation, range};
use lyceum_data::{Examples, augment::View, prepare::Prepared, split};
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
        /// Classes a task: a number, or one for each task.
        classes: Classes,
        /// Which outputs a task has.
        #[serde(default)]
        scenario: Scenario,
        /// Whether the order of the classes is drawn by the seed.
        #[serde(default)]
        shuffle: bool,
    },
    /// Each task has the examples of one group of the data, with all classes; one head for all.
    Groups,
}

/// How the classes are divided among tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Classes {
    /// The same number for each task.
    Even(usize),
    /// A number for each task.
    Each(Vec<usize>),
}

/// Which outputs a task has (van de Ven and Tolias 2019).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// Outputs of its own; at test time the task of each example is given.
    #[default]
    TaskIncremental,
    /// The same outputs as all other tasks: the first class of each task has the first output, and so on. The task is not given.
    DomainIncremental,
    /// One output for each class of all tasks. The task is not given, so that all classes compete.
    ClassIncremental,
}

/// One task.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its number, from 0.
    pub number: usize,
    /// Which of the network's outputs are its own; labels count within the network's outputs.
    pub outputs: Range<usize>,
    /// Where it is several tasks as one, each with outputs of its own: these.
    pub heads: Option<Vec<Range<usize>>>,
    /// Its training examples.
    pub train: Examples,
}

impl Task {
    /// The outputs of an example with this label.
    pub fn own(&self, label: usize) -> Range<usize> {
        let of_several = self.heads.iter().flatten().find(|own| own.contains(&label));
        of_several.unwrap_or(&self.outputs).clone()
    }
}

impl StreamConfig {
    /// Rules between fields; `key` is the table's name in the recipe.
    pub fn check(&self, key: &str, classes: usize) -> Result<(), Violation> {
        let wrong = |message: String| Err(Violation::new(format!("{key}.split.classes"), message));
        match self {
            Self::Split { classes: Classes::Even(some), .. } if *some == 0 || !classes.is_multiple_of(*some) => {
                wrong(format!("found {some}; allowed: a divisor of the {classes} classes"))
            }
            Self::Split { classes: Classes::Each(counts), .. } if counts.contains(&0) || counts.iter().sum::<usize>() != classes => {
                wrong(format!("found {counts:?}; allowed: numbers from 1 on with the sum {classes}, the classes"))
            }
            _ => Ok(()),
        }
    }

    /// How many tasks there are.
    pub fn tasks(&self, data: &Prepared) -> usize {
        match self {
            Self::Permuted { tasks } | Self::Rotated { tasks, .. } => *tasks,
            Self::Split { classes, .. } => classes.parts(data.classes.len()).len(),
            Self::Groups => data.groups.len(),
        }
    }

    /// How many outputs a network needs.
    pub fn outputs(&self, classes: usize) -> usize {
        match self {
            Self::Split { classes: some, scenario: Scenario::DomainIncremental, .. } => {
                some.parts(classes).iter().map(ExactSizeIterator::len).max().unwrap_or(0)
            }
            _ => classes,
        }
    }

    /// Whether tasks have outputs of their own.
    pub fn heads(&self) -> bool {
        matches!(self, Self::Split { scenario: Scenario::TaskIncremental, .. })
    }

    /// What the outputs are called: the classes, in the order of a stream that has its own; numbers where tasks share outputs.
    pub fn output_names(&self, data: &Prepared, seed: Seed) -> Vec<String> {
        match self {
            Self::Split { scenario: Scenario::DomainIncremental, .. } => {
                (0..self.outputs(data.classes.len())).map(|output| output.to_string()).collect()
            }
            Self::Split { shuffle: true, .. } => {
                let mut names = data.classes.clone();
                for (class, place) in places(data.classes.len(), true, seed).into_iter().enumerate() {
                    names[place].clone_from(&data.classes[class]);
                }
                names
            }
            _ => data.classes.clone(),
        }
    }

    /// Whether the task of an example is given at test time.
    pub fn tells_task(&self) -> bool {
        !matches!(self, Self::Split { scenario: Scenario::ClassIncremental | Scenario::DomainIncremental, .. } | Self::Groups)
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
        if number >= self.tasks(data) {
            return Err(Error::invalid("task", number, format!("less than {}", self.tasks(data))));
        }
        Ok(match self {
            Self::Split { classes: some, scenario: Scenario::TaskIncremental, .. } => some.parts(classes)[number].clone(),
            _ => 0..self.outputs(classes),
        })
    }

    /// Examples as a task has them.
    fn examples(&self, from: &Examples, data: &Prepared, number: usize, seed: Seed) -> Result<Examples> {
        self.own(data, number)?;
        Ok(match self {
            Self::Permuted { .. } => {
                let order = split::permutation(data.extent.len(), &mut seed.stream_at("stream/permutation", number as u64));
                let permuted = |row: &[f32], to: &mut [f32]| to.iter_mut().zip(&order).for_each(|(to, &place)| *to = row[place]);
                Examples { inputs: from.inputs.map_rows(permuted), ..from.clone() }
            }
            Self::Rotated { tasks, degrees } => {
                let angle = degrees * number as f64 / (*tasks - 1).max(1) as f64;
                rotated(from, data, angle.to_radians())
            }
            Self::Split { classes: some, scenario, shuffle } => {
                let classes = data.classes.len();
                let mine = some.parts(classes)[number].clone();
                let places = places(classes, *shuffle, seed);
                let rows: Vec<usize> = (0..from.len()).filter(|&row| mine.contains(&places[from.labels[row]])).collect();
                let mut part = from.subset(&rows);
                let first = if *scenario == Scenario::DomainIncremental { mine.start } else { 0 };
                part.labels.iter_mut().for_each(|label| *label = places[*label] - first);
                part
            }
            Self::Groups => {
                let rows: Vec<usize> = (0..from.len()).filter(|&row| from.groups.get(row) == Some(&number)).collect();
                from.subset(&rows)
            }
        })
    }
}

/// The place of each class in their order.
fn places(classes: usize, shuffle: bool, seed: Seed) -> Vec<usize> {
    if shuffle { split::permutation(classes, &mut seed.stream("stream/classes")) } else { (0..classes).collect() }
}

impl Classes {
    /// The classes of each task, as places in their order.
    fn parts(&self, classes: usize) -> Vec<Range<usize>> {
        let counts = match self {
            Self::Even(some) => vec![*some; classes.checked_div(*some).unwrap_or(0)],
            Self::Each(counts) => counts.clone(),
        };
        let mut end = 0;
        let part = |count: usize| {
            end += count;
            end - count..end
        };
        counts.into_iter().map(part).collect()
    }
}

/// Images turned about their middle; each pixel is interpolated between the four around where it comes from.
fn rotated(from: &Examples, data: &Prepared, angle: f64) -> Examples {
    let view = View { angle, scale: [1.0; 2], shift: [0.0; 2] };
    let inputs = from.inputs.map_rows(|row, to| to.copy_from_slice(&view.of(row, data.extent)));
    Examples { inputs, ..from.clone() }
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
        let split = StreamConfig::Split { classes: Classes::Even(2), scenario: Scenario::TaskIncremental, shuffle: false };
        let tasks: Vec<Task> = (0..5).map(|number| split.task(&data, number, Seed::new(1)).unwrap()).collect();
        assert_eq!(tasks.iter().map(|task| task.train.len()).sum::<usize>(), data.train.len());
        assert!(tasks[3].train.labels.iter().all(|label| (6..8).contains(label)) && tasks[3].outputs == (6..8));
        let shared = StreamConfig::Split { classes: Classes::Even(2), scenario: Scenario::DomainIncremental, shuffle: false }
            .task(&data, 3, Seed::new(1))
            .unwrap();
        assert!(shared.train.labels.iter().all(|label| *label < 2));
        let uneven = |counts: &[usize], scenario| StreamConfig::Split { classes: Classes::Each(counts.into()), scenario, shuffle: true };
        for counts in [[3, 3, 3], [10, 0, 0], [5, 5, 1]] {
            assert!(uneven(&counts, Scenario::ClassIncremental).check("stream", 10).is_err());
        }
        assert!(
            StreamConfig::Split { classes: Classes::Even(3), scenario: Scenario::TaskIncremental, shuffle: false }
                .check("stream", 10)
                .is_err()
        );
        let incremental = uneven(&[5, 2, 3], Scenario::ClassIncremental);
        assert!(incremental.check("stream", 10).is_ok() && !incremental.tells_task());
        let tasks: Vec<Task> = (0..3).map(|number| incremental.task(&data, number, Seed::new(1)).unwrap()).collect();
        assert_eq!(tasks.iter().map(|task| task.train.len()).sum::<usize>(), data.train.len());
        assert!(tasks.iter().all(|task| task.outputs == (0..10)));
        assert!(tasks[1].train.labels.iter().all(|label| (5..7).contains(label)));
        // Another order of the classes: other pictures.
        let other = incremental.task(&data, 1, Seed::new(2)).unwrap();
        assert_ne!(other.train.inputs, tasks[1].train.inputs);
        let own = uneven(&[5, 2, 3], Scenario::TaskIncremental).task(&data, 2, Seed::new(1)).unwrap();
        assert_eq!((own.outputs, own.train.inputs), (7..10, tasks[2].train.inputs.clone()));
        assert_eq!(uneven(&[5, 2, 3], Scenario::DomainIncremental).outputs(10), 5);
        let rotated = StreamConfig::Rotated { tasks: 3, degrees: 180.0 };
        assert_eq!(rotated.task(&data, 0, Seed::new(1)).unwrap().train.inputs, data.train.inputs);
        let half = rotated.task(&data, 2, Seed::new(1)).unwrap().train;
        let turned: Vec<f32> = half.inputs.row(0).iter().rev().copied().collect();
        assert!(turned.iter().zip(data.train.inputs.row(0).iter()).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}
