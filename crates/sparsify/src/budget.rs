//! What a smaller network may cost.

use std::str::FromStr;

use lyceum_core::{Error, range};
use lyceum_train::graph::Cost;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A share of what the whole network costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Budget {
    /// Of the multiplications with an addition, for one example. They grow with the square of the width.
    #[serde(alias = "flops")]
    MultiplyAdds(#[serde(with = "range::OpenUnit")] f64),
    /// Of the numbers that are learnt.
    Parameters(#[serde(with = "range::OpenUnit")] f64),
}

impl Budget {
    /// The share that may be used.
    pub fn share(self) -> f64 {
        match self {
            Self::MultiplyAdds(share) | Self::Parameters(share) => share,
        }
    }

    /// The share that a network uses, of the whole one's.
    pub fn used(self, cost: Cost, whole: Cost) -> f64 {
        let [cost, whole] = [cost, whole].map(|cost| match self {
            Self::MultiplyAdds(_) => cost.multiply_adds,
            Self::Parameters(_) => cost.parameters,
        });
        cost as f64 / whole.max(1) as f64
    }
}

impl FromStr for Budget {
    type Err = Error;

    /// `flops=0.5` (or `multiply-adds=0.5`: the share is the same) or `parameters=0.5`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::invalid("the budget", text, "flops=SHARE or parameters=SHARE, a share > 0 and < 1");
        let (what, share) = text.split_once('=').ok_or_else(wrong)?;
        let share = share.trim().parse().ok().filter(|share: &f64| *share > 0.0 && *share < 1.0).ok_or_else(wrong)?;
        match what.trim() {
            "flops" | "multiply-adds" => Ok(Self::MultiplyAdds(share)),
            "parameters" => Ok(Self::Parameters(share)),
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
        for wrong in ["", "0.5", "flops=", "flops=0", "flops=1", "flops=nan", "ms=3"] {
            assert!(wrong.parse::<Budget>().is_err(), "{wrong}");
        }
    }
}
