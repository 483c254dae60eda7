//! Replies that are left out: broken, hostile, too large.

use lyceum_core::{range, vectorize};
use serde::{Deserialize, Serialize};

use crate::{Reply, Server, server::MODEL};

/// What a reply must be for the server to take it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// The largest ‖θ_k − θ‖₂ that is taken; absent: any finite one.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "range::optional_positive")]
    pub update_norm: Option<f64>,
}

impl Guard {
    /// Why a reply is not taken; `None` if it is.
    pub fn refuses(&self, server: &Server, reply: &Reply) -> Option<String> {
        let d = server.model().len();
        for (name, values) in &reply.message.arrays {
            if values.len() != d {
                return Some(format!("`{name}` has {} numbers, expected {d}", values.len()));
            }
            if !all_finite(values)
                && let Some(place) = values.iter().position(|value| !value.is_finite())
            {
                return Some(format!("`{name}` has {} at place {place}", values[place]));
            }
        }
        if let Some((name, value)) = reply.message.numbers.iter().find(|(_, value)| !value.is_finite()) {
            return Some(format!("`{name}` is {value}"));
        }
        let Some(model) = reply.message.arrays.get(MODEL) else { return Some("no model".into()) };
        let most = self.update_norm?;
        let squares: f64 = model.iter().zip(server.model()).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
        let norm = squares.sqrt();
        (norm > most).then(|| format!("its update has norm {norm:.3}, at most {most} is taken"))
    }
}

vectorize! {
    /// Without a way out in between, so that many are looked at in one instruction.
    fn all_finite(values: &[f32]) -> bool {
        values.iter().fold(true, |all, value| all & value.is_finite())
    }
}
