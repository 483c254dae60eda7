//! Which units are taken out.

use std::ops::Range;

use lyceum_core::{Error, Result, range, report::significant};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Budget, Meter, Parts};

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
    /// of it. If absent, 8 of groups of 32 and more, else 1.
    #[serde(skip_serializing_if = "Option::is_none", with = "range::OptionalAtLeastOne")]
    pub round_to: Option<usize>,
    /// The number of rounds in which units are taken out; importance is measured again in each, as the units that are left matter
    /// more.
    #[serde(with = "range::AtLeastOne")]
    pub rounds: usize,
}

/// From this size on, groups keep a multiple of [`REGISTER`] units by default.
const LARGE: usize = 32;
const REGISTER: usize = 8;

/// The share of what is allowed that is used in any case, if units are small enough.
const NEAR: f64 = 0.98;

/// What there was before anything was taken out, and how far a round goes.
pub(crate) struct Whole<'a> {
    pub(crate) meter: &'a Meter,
    /// How many units each group had.
    pub(crate) units: &'a [usize],
    /// The share of the budget's measure that is left.
    pub(crate) share: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Self { budget: Budget::MultiplyAdds(0.5), allocation: Allocation::default(), least: 0.1, round_to: None, rounds: 5 }
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
    /// By importance alone, whatever a unit uses.
    Importance,
}

impl Rules {
    /// What stays in a round, by the importance of each part: the most with which its share is met.
    pub(crate) fn choose(&self, parts: &Parts, importance: &[f64], whole: &Whole<'_>) -> Result<Vec<bool>> {
        if importance.iter().any(|value| value.is_nan()) {
            return Err(Error::invalid("the importance of units", "what is no number", "weights and gradients that are finite"));
        }
        if parts.is_empty() {
            return Err(Error::invalid("the network", "no units that can be taken out", "at least one hidden layer"));
        }
        let spans = parts.spans();
        // Of each group, its units from the least important on.
        let orders: Vec<Vec<usize>> = spans.iter().map(|span| rising(&importance[span.clone()])).collect();
        let whole_now = whole.meter.counted(parts.graph.cost());
        let saving = |span: &Range<usize>| {
            // Without its only unit nothing would be left of a group.
            if span.len() == 1 && span.start < parts.len() - parts.branches.len() {
                return Ok(0.0);
            }
            let on: Vec<bool> = (0..parts.len()).map(|part| part != span.start).collect();
            Ok(1.0 - whole.meter.counted(parts.reduced(&on)?.0.cost()) / whole_now)
        };
        let savings: Vec<f64> = spans.iter().map(saving).collect::<Result<_>>()?;
        let sequence = self.sequence(&spans, importance, &savings);
        let outs = |count: usize| {
            let mut out = vec![0_usize; spans.len()];
            sequence[..count].iter().for_each(|group| out[*group] += 1);
            out
        };
        let left = |out: &[usize]| -> Vec<bool> {
            let mut on = vec![true; parts.len()];
            for (number, (span, order)) in spans.iter().zip(&orders).enumerate() {
                let lost = whole.units.get(number).map_or(out[number], |were| self.allowed(span.len(), out[number], *were));
                order[..lost].iter().for_each(|unit| on[span.start + unit] = false);
            }
            on
        };
        let used = |out: &[usize]| -> Result<f64> { whole.meter.used(&parts.reduced(&left(out))?.0) };
        if used(&outs(0))? <= whole.share {
            return Ok(left(&outs(0)));
        }
        // What is used falls with every unit.
        let (mut too_few, mut enough) = (0, sequence.len());
        let lowest = used(&outs(enough))?;
        if lowest > whole.share {
            // On the way to the budget the least that the rules allow will do.
            if whole.share < whole.meter.share() {
                return Ok(left(&outs(enough)));
            }
            let round_to = self.round_to.map_or_else(String::new, |round_to| format!(" and round_to = {round_to}"));
            let rules = format!("with least = {}{round_to}", self.least);
            let allowed = match (lowest * 1e3).ceil() / 1e3 {
                all if all >= 1.0 => format!("none: nothing can be taken out {rules}"),
                least => format!("{least} or more of this network, {rules}"),
            };
            return Err(Error::invalid("the budget", significant(whole.meter.share()), allowed));
        }
        while enough - too_few > 1 {
            let middle = usize::midpoint(too_few, enough);
            if used(&outs(middle))? <= whole.share { enough = middle } else { too_few = middle }
        }
        // Where one that uses much was the last to go, others that use less have room.
        let mut out = outs(enough);
        let mut tried = vec![false; spans.len()];
        let is_near = |out: &[usize]| used(out).map(|used| used > NEAR * whole.share);
        for group in sequence[..enough].iter().rev() {
            if is_near(&out)? {
                break;
            }
            while !std::mem::replace(&mut tried[*group], true) && out[*group] > 0 {
                let mut fewer = out.clone();
                fewer[*group] -= self.round_to.unwrap_or(1).min(out[*group]);
                if used(&fewer)? <= whole.share {
                    (out, tried[*group]) = (fewer, false);
                }
            }
        }
        Ok(left(&out))
    }

    /// The groups in the order in which they lose a unit.
    fn sequence(&self, spans: &[Range<usize>], importance: &[f64], savings: &[f64]) -> Vec<usize> {
        let mut losses: Vec<(f64, usize)> = Vec::new();
        for (group, (span, saving)) in spans.iter().zip(savings).enumerate() {
            let mut own: Vec<f64> = importance[span.clone()].iter().copied().filter(|value| value.is_finite()).collect();
            own.sort_by(f64::total_cmp);
            let count = own.len() as f64;
            losses.extend(own.into_iter().enumerate().map(|(place, value)| match self.allocation {
                Allocation::Global => (value / saving.max(f64::MIN_POSITIVE), group),
                Allocation::Uniform => ((place + 1) as f64 / count, group),
                Allocation::Importance => (value, group),
            }));
        }
        losses.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        losses.into_iter().map(|(_, group)| group).collect()
    }

    /// How many units a group loses that has this many, of the `were` that it had, where `out` are asked for.
    pub(crate) fn allowed(&self, units: usize, out: usize, were: usize) -> usize {
        // A unit that is all there is belongs to no group: two stay, so that groups are the same in every round.
        let least = ((self.least * were as f64).ceil() as usize).max(2);
        let round_to = self.round_to.unwrap_or(if were < LARGE { 1 } else { REGISTER });
        let kept = (units - out).max(least).next_multiple_of(round_to);
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
        let (spans, importance) = ([0..3, 3..7], [2.0, 0.5, 0.5, 2.5, 0.0, 0.5, f64::INFINITY]);
        let rules = Rules::default();
        assert_eq!(rules.sequence(&spans, &importance, &[1.0, 1.0]), [1, 0, 0, 1, 0, 1]);
        assert_eq!(rules.sequence(&spans, &importance, &[0.1, 1.0]), [1, 1, 1, 0, 0, 0]);
        let uniform = Rules { allocation: Allocation::Uniform, ..rules.clone() };
        assert_eq!(uniform.sequence(&spans, &importance, &[0.1, 1.0]), [0, 1, 0, 1, 0, 1]);
        let alone = Rules { allocation: Allocation::Importance, ..rules.clone() };
        assert_eq!(alone.sequence(&spans, &importance, &[0.1, 1.0]), [1, 0, 0, 1, 0, 1]);
        let rounded = Rules { least: 0.25, ..rules };
        assert_eq!([0, 1, 8, 9, 20, 32].map(|out| rounded.allowed(32, out, 32)), [0, 0, 8, 8, 16, 24]);
        assert_eq!((rounded.allowed(5, 4, 5), rounded.allowed(16, 16, 48), rounded.allowed(16, 5, 16)), (3, 0, 5));
        let given = Rules { round_to: Some(8), ..rounded };
        assert_eq!((given.allowed(5, 4, 5), given.allowed(16, 5, 16)), (0, 0));
    }
}
