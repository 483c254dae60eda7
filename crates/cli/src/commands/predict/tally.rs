//! How right predictions are, where the truth is known.

use std::collections::BTreeMap;

use lyceum_conformal::metrics::Share;
use lyceum_core::{
    Error, Result,
    report::{Table, significant},
};
use lyceum_train::Errors;
use serde_json::json;

use super::{Example, rows::Said};

/// What tables have for a number that is not known.
const MISSING: [&str; 4] = ["NaN", "nan", "NA", "null"];

/// Counts of examples, by group.
#[derive(Default)]
pub(super) struct Tally {
    /// All of them, the truth known or not.
    pub(super) count: usize,
    groups: BTreeMap<String, Group>,
}

/// The examples of a group whose truth is known.
#[derive(Clone, Default)]
struct Group {
    examples: usize,
    /// With the right label.
    right: usize,
    /// With a set, or an interval, that holds the truth.
    covered: usize,
    /// Labels in all sets, or the sum of the intervals' widths.
    size: f64,
    /// Numbers that were predicted, and what they are.
    numbers: [Vec<f64>; 2],
}

impl Tally {
    pub(super) fn add(&mut self, example: &Example, said: &Said<'_>) -> Result<()> {
        self.count += 1;
        let is_told = |truth: &&String| !(truth.is_empty() || matches!(said, Said::Number { .. }) && MISSING.contains(&truth.as_str()));
        let Some(truth) = example.truth.as_ref().filter(is_told) else { return Ok(()) };
        let group = self.groups.entry(example.group.clone().unwrap_or_default()).or_default();
        group.examples += 1;
        match said {
            Said::Classes { labels, set } => {
                group.right += usize::from(labels[0].0 == truth);
                group.covered += usize::from(set.as_ref().is_some_and(|set| set.contains(&truth.as_str())));
                group.size += set.as_ref().map_or(0, Vec::len) as f64;
            }
            Said::Number { value, interval } => {
                let number =
                    truth.parse().ok().filter(|truth: &f64| truth.is_finite()).ok_or_else(|| {
                        Error::invalid(format!("the truth of {}", example.name), format!("`{truth:.40}`"), "a finite number")
                    })?;
                group.numbers[0].push(*value);
                group.numbers[1].push(number);
                if let Some((low, high)) = interval {
                    group.covered += usize::from((*low..=*high).contains(&number));
                    group.size += high - low;
                }
            }
        }
        Ok(())
    }

    fn sum(&self) -> Group {
        let mut sum = Group::default();
        for group in self.groups.values() {
            sum.examples += group.examples;
            sum.right += group.right;
            sum.covered += group.covered;
            sum.size += group.size;
            sum.numbers.iter_mut().zip(&group.numbers).for_each(|(all, own)| all.extend(own));
        }
        sum
    }

    /// The groups that have names.
    fn named(&self) -> impl Iterator<Item = (&str, &Group)> {
        self.groups.iter().filter(|(name, _)| !name.is_empty()).map(|(name, group)| (name.as_str(), group))
    }

    pub(super) fn all(&self) -> serde_json::Value {
        self.sum().told()
    }

    pub(super) fn by_group(&self) -> serde_json::Value {
        self.named().map(|(name, group)| (name.to_owned(), group.told())).collect::<serde_json::Map<_, _>>().into()
    }

    /// A row a group, and one for all; none where no truth is known. `sets`: whether there are sets, or intervals.
    pub(super) fn table(&self, sets: bool) -> Option<Table> {
        let sum = self.sum();
        if sum.examples == 0 {
            return None;
        }
        let columns: &[&str] = if sum.is_of_numbers() {
            &["", "examples", "R²", "RMSE", "MAE", "intervals with the number (95 % interval)", "mean width"]
        } else {
            &["", "examples", "right", "sets with the label (95 % interval)", "labels a set"]
        };
        let mut table = Table::new(columns[..if sets { columns.len() } else { columns.len() - 2 }].iter().copied());
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        for (name, group) in self.named().chain([("all", &sum)]) {
            let n = group.examples as f64;
            let mut row = vec![name.to_owned(), group.examples.to_string()];
            if group.is_of_numbers() {
                let Errors { r2, rmse, mae } = group.errors();
                row.push(format!("{r2:.4}"));
                row.extend([rmse, mae].map(significant));
            } else {
                row.push(percent(group.right as f64 / n));
            }
            if sets {
                let share = Share::new(group.covered, group.examples);
                row.push(format!("{} ({} to {})", percent(share.share), percent(share.low), percent(share.high)));
                row.push(if group.is_of_numbers() { significant(group.size / n) } else { format!("{:.2}", group.size / n) });
            }
            table.push(row);
        }
        Some(table)
    }
}

impl Group {
    fn is_of_numbers(&self) -> bool {
        !self.numbers[0].is_empty()
    }

    fn errors(&self) -> Errors {
        Errors::of(&self.numbers[0], &self.numbers[1])
    }

    fn told(&self) -> serde_json::Value {
        let Self { examples, right, covered, size, .. } = self;
        if self.is_of_numbers() {
            let Errors { r2, rmse, mae } = self.errors();
            return json!({ "examples": examples, "r2": r2, "rmse": rmse, "mae": mae, "covered": covered, "mean_width": size / *examples as f64 });
        }
        json!({ "examples": examples, "right": right, "covered": covered, "labels_in_sets": *size as u64 })
    }
}
