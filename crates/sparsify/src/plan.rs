//! Which units are taken out.

use lyceum_core::{Error, Result, range};
use lyceum_train::graph::{Cost, DependencyGroup, Graph, Unit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Budget, criterion::Importance};

/// How units are chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// What may be used.
    pub budget: Budget,
    /// Where units are taken from.
    pub allocation: Allocation,
    /// The share of each group that stays at least; two units stay always.
    #[serde(with = "range::Fraction")]
    pub least: f64,
    /// The units that are left of a group are a multiple of this, unless all are: what the registers of a processor hold is not slower than a part
    /// of it.
    #[serde(with = "range::AtLeastOne")]
    pub round_to: usize,
    /// The number of rounds in which units are taken out; importance is measured again in each, as the units that are left matter
    /// more.
    #[serde(with = "range::AtLeastOne")]
    pub rounds: usize,
}

/// What there was before anything was taken out, and how far a round goes.
pub(crate) struct Whole<'a> {
    pub(crate) cost: Cost,
    /// How many units each group had.
    pub(crate) units: &'a [usize],
    /// The share of the budget's cost that is left.
    pub(crate) share: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Self { budget: Budget::MultiplyAdds(0.5), allocation: Allocation::default(), least: 0.1, round_to: 1, rounds: 5 }
    }
}

/// Where units are taken from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Allocation {
    /// Wherever the least is lost for what is saved: by importance over the share of the budget that a unit of its group uses.
    #[default]
    Global,
    /// The same share of each group.
    Uniform,
}

impl Rules {
    /// The units of these groups that are taken out in a round: the fewest with which its share is met.
    pub(crate) fn choose<'a>(
        &self,
        graph: &Graph,
        groups: &'a [DependencyGroup],
        importance: &Importance,
        whole: &Whole<'_>,
    ) -> Result<Vec<&'a Unit>> {
        if importance.iter().flatten().any(|value| value.is_nan()) {
            return Err(Error::invalid("the importance of units", "what is no number", "weights and gradients that are finite"));
        }
        // Of each group, its units from the least important on.
        let orders: Vec<Vec<usize>> = importance.iter().map(|own| rising(own)).collect();
        let removable: usize = groups.iter().map(|group| group.units.len()).sum();
        if removable == 0 {
            return Err(Error::invalid("the network", "no units that can be taken out", "at least one hidden layer"));
        }
        let now = graph.cost();
        let saving = |group: &DependencyGroup| match group.units.as_slice() {
            // Without its only unit nothing would be left.
            [] | [_] => Ok(0.0),
            units => Ok(1.0 - self.budget.used(graph.without(&[&units[0]])?.0.cost(), now)),
        };
        let savings: Vec<f64> = groups.iter().map(saving).collect::<Result<_>>()?;
        let sequence = self.sequence(importance, &savings);
        let chosen = |count: usize| -> Vec<&'a Unit> {
            let mut out = vec![0_usize; groups.len()];
            sequence[..count].iter().for_each(|group| out[*group] += 1);
            let taken = groups.iter().zip(&orders).zip(out).zip(whole.units);
            let of_group = |(((group, order), out), were): (((&'a DependencyGroup, &Vec<usize>), usize), &usize)| {
                order[..self.allowed(order.len(), out, *were)].iter().map(|unit| &group.units[*unit]).collect::<Vec<_>>()
            };
            taken.flat_map(of_group).collect()
        };
        let used = |count: usize| -> Result<f64> { Ok(self.budget.used(graph.without(&chosen(count))?.0.cost(), whole.cost)) };
        if used(0)? <= whole.share {
            return Ok(Vec::new());
        }
        // The cost falls with every unit.
        let (mut too_few, mut enough) = (0, sequence.len());
        let lowest = used(enough)?;
        if lowest > whole.share {
            let rules = format!("with least = {} and round_to = {}", self.least, self.round_to);
            let allowed = match (lowest * 1e3).ceil() / 1e3 {
                all if all >= 1.0 => format!("none: nothing can be taken out {rules}"),
                least => format!("{least} or more of this network, {rules}"),
            };
            return Err(Error::invalid("the budget", self.budget.share(), allowed));
        }
        while enough - too_few > 1 {
            let middle = usize::midpoint(too_few, enough);
            if used(middle)? <= whole.share { enough = middle } else { too_few = middle }
        }
        Ok(chosen(enough))
    }

    /// The groups in the order in which they lose a unit.
    fn sequence(&self, importance: &Importance, savings: &[f64]) -> Vec<usize> {
        let mut losses: Vec<(f64, usize)> = Vec::new();
        for (group, (own, saving)) in importance.iter().zip(savings).enumerate() {
            let mut own: Vec<f64> = own.iter().copied().filter(|value| value.is_finite()).collect();
            own.sort_by(f64::total_cmp);
            let count = own.len() as f64;
            losses.extend(own.into_iter().enumerate().map(|(place, value)| match self.allocation {
                Allocation::Global => (value / saving.max(f64::MIN_POSITIVE), group),
                Allocation::Uniform => ((place + 1) as f64 / count, group),
            }));
        }
        losses.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        losses.into_iter().map(|(_, group)| group).collect()
    }

    /// How many units a group loses that has this many, of the `were` that it had, where `out` are asked for.
    fn allowed(&self, units: usize, out: usize, were: usize) -> usize {
        // A unit that is all there is belongs to no group: two stay, so that groups are the same in every round.
        let least = ((self.least * were as f64).ceil() as usize).max(2);
        let kept = (units - out).max(least).next_multiple_of(self.round_to);
        units.saturating_sub(kept)
    }
}

/// The positions of numbers, the smallest first.
pub fn rising(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]).then(a.cmp(b)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_lose_units_in_turn() {
        let importance = vec![vec![2.0, 0.5, 0.5], vec![2.5, 0.0, 0.5, f64::INFINITY]];
        let rules = Rules::default();
        assert_eq!(rules.sequence(&importance, &[1.0, 1.0]), [1, 0, 0, 1, 0, 1]);
        assert_eq!(rules.sequence(&importance, &[0.1, 1.0]), [1, 1, 1, 0, 0, 0]);
        let uniform = Rules { allocation: Allocation::Uniform, ..rules.clone() };
        assert_eq!(uniform.sequence(&importance, &[0.1, 1.0]), [0, 1, 0, 1, 0, 1]);
        let rounded = Rules { round_to: 8, least: 0.25, ..rules };
        assert_eq!([0, 1, 8, 9, 20, 32].map(|out| rounded.allowed(32, out, 32)), [0, 0, 8, 8, 16, 24]);
        assert_eq!((rounded.allowed(5, 4, 5), rounded.allowed(16, 16, 48)), (0, 0));
    }
}
