//! What a smaller network may cost.

use std::{str::FromStr, time::Instant};

use lyceum_core::{Error, Result, Seed, range};
use lyceum_train::{
    Net, cpu,
    graph::{Cost, Graph},
};
use ndarray::Array2;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much a network may use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Budget {
    /// A share of the whole network's multiplications with an addition, for one example. They grow with the square of the width.
    #[serde(alias = "flops")]
    MultiplyAdds(#[serde(with = "range::OpenUnit")] f64),
    /// A share of the whole network's numbers that are learnt.
    Parameters(#[serde(with = "range::OpenUnit")] f64),
    /// Milliseconds of inference, measured on this machine: another machine, or another day, gives another network.
    Milliseconds(Time),
}

/// Time that inference may take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// In milliseconds.
    #[serde(with = "range::Positive")]
    pub most: f64,
    /// The number of examples in a batch.
    #[serde(default = "one", with = "range::AtLeastOne")]
    pub examples: usize,
}

fn one() -> usize {
    1
}

/// What measures networks for a budget.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    budget: Budget,
    cost: Cost,
    /// Of the whole network, where that is the budget.
    milliseconds: f64,
}

/// Passes of which the median counts, at least.
const PASSES: usize = 9;
/// Milliseconds that a measurement takes, at least.
const LEAST: f64 = 20.0;

impl Meter {
    /// For parts of this network.
    ///
    /// # Errors
    ///
    /// A network that inference cannot run, where time is measured.
    pub fn new(budget: Budget, whole: &Graph) -> Result<Self> {
        let milliseconds = if let Budget::Milliseconds(time) = budget { milliseconds(whole, time.examples)? } else { 0.0 };
        Ok(Self { budget, cost: whole.cost(), milliseconds })
    }

    /// The share of the whole network's that may be used.
    pub fn share(&self) -> f64 {
        match self.budget {
            Budget::MultiplyAdds(share) | Budget::Parameters(share) => share,
            Budget::Milliseconds(Time { most, .. }) => most / self.milliseconds,
        }
    }

    /// The share that a part uses.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn used(&self, part: &Graph) -> Result<f64> {
        Ok(match self.budget {
            Budget::Milliseconds(Time { examples, .. }) => milliseconds(part, examples)? / self.milliseconds,
            _ => self.counted(part.cost()),
        })
    }

    /// The share of what can be counted: multiply-adds where time is the budget.
    pub fn counted(&self, cost: Cost) -> f64 {
        let of = |cost: Cost| if let Budget::Parameters(_) = self.budget { cost.parameters } else { cost.multiply_adds };
        of(cost) as f64 / of(self.cost).max(1) as f64
    }
}

/// The median time of a pass of inference.
fn milliseconds(graph: &Graph, examples: usize) -> Result<f64> {
    let inputs = Array2::<f32>::zeros((examples, graph.input().len()));
    let predictor = Net::new(graph.clone(), Seed::new(0), &cpu())?.predictor()?;
    let pass = || {
        let start = Instant::now();
        predictor.logits(inputs.view()).map(|_| start.elapsed().as_secs_f64() * 1e3)
    };
    pass()?;
    let mut times = vec![pass()?];
    while times.len() < PASSES || times.iter().sum::<f64>() < LEAST {
        times.push(pass()?);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

impl FromStr for Budget {
    type Err = Error;

    /// `flops=0.5` (or `multiply-adds=0.5`: the share is the same), `parameters=0.5` or `ms=2.5`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let allowed = "flops=SHARE or parameters=SHARE, a share > 0 and < 1, or ms=MILLISECONDS for one example";
        let wrong = || Error::invalid("the budget", text, allowed);
        let (what, number) = text.split_once('=').ok_or_else(wrong)?;
        let number: f64 = number.trim().parse().ok().filter(|number: &f64| *number > 0.0 && number.is_finite()).ok_or_else(wrong)?;
        match what.trim() {
            "flops" | "multiply-adds" if number < 1.0 => Ok(Self::MultiplyAdds(number)),
            "parameters" if number < 1.0 => Ok(Self::Parameters(number)),
            "ms" | "milliseconds" => Ok(Self::Milliseconds(Time { most: number, examples: 1 })),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read() {
        assert_eq!("flops=0.5".parse::<Budget>().unwrap(), Budget::MultiplyAdds(0.5));
        assert_eq!("parameters = 0.25".parse::<Budget>().unwrap(), Budget::Parameters(0.25));
        assert_eq!("ms=3".parse::<Budget>().unwrap(), Budget::Milliseconds(Time { most: 3.0, examples: 1 }));
        for wrong in ["", "0.5", "flops=", "flops=0", "flops=1", "flops=nan", "ms=-3", "ms=inf", "mb=3"] {
            assert!(wrong.parse::<Budget>().is_err(), "{wrong}");
        }
    }
}
