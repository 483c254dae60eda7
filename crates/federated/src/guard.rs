//! Replies that are left out: broken, hostile, too large.

use lyceum_core::{range, vectorize};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Method, Reply, Server,
    method::Contents,
    server::{MODEL, STATISTICS},
};

/// What a reply must be for the server to take it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// The largest ‖θ_k − θ‖₂ that is taken; absent: 1,000·(1 + ‖θ‖₂), which no honest client comes near.
    #[serde(skip_serializing_if = "Option::is_none", with = "range::OptionalPositive")]
    pub update_norm: Option<f64>,
}

/// A model may move this many times as far as it is from 0.
const PLAUSIBLE: f64 = 1e3;

/// A method's own vectors may be this many times as long as those that the server has.
const PLAUSIBLE_CHANGE: f64 = 1e4;

/// The largest number of examples of a client.
const EXAMPLES: usize = 1 << 40;

impl Guard {
    /// Why a method does not take a reply; `None` if it does.
    pub fn refuses(&self, method: &dyn Method, server: &Server, reply: &Reply) -> Option<String> {
        let Contents { arrays, numbers } = method.contents();
        let (d, message) = (server.model().len(), &reply.message);
        if !(1..=EXAMPLES).contains(&reply.client.examples) {
            return Some(format!("it says it has {} examples", reply.client.examples));
        }
        if let Some(name) = std::iter::once(&MODEL).chain(arrays).find(|name| !message.arrays.contains_key(**name)) {
            return Some(format!("no `{name}`"));
        }
        if !server.statistics().is_empty() && !message.arrays.contains_key(STATISTICS) {
            return Some(format!("no `{STATISTICS}`"));
        }
        for (name, values) in &message.arrays {
            let expected = if name == STATISTICS { server.statistics().len() } else { d };
            if values.len() != expected {
                return Some(format!("`{name}` has {} numbers, expected {expected}", values.len()));
            }
            if !all_finite(values)
                && let Some(place) = values.iter().position(|value| !value.is_finite())
            {
                return Some(format!("`{name}` has {} at place {place}", values[place]));
            }
        }
        for (name, least, most) in numbers {
            match message.numbers.get(*name) {
                None => return Some(format!("no `{name}`")),
                Some(value) if !(least..=most).contains(&value) => return Some(format!("`{name}` is {value}, {least} to {most} is taken")),
                Some(_) => {}
            }
        }
        if let Some((name, value)) = message.numbers.iter().find(|(_, value)| !value.is_finite()) {
            return Some(format!("`{name}` is {value}"));
        }
        let most = self.update_norm.unwrap_or_else(|| largest_move(server));
        let norm = distance(message.arrays.get(MODEL)?, server.model());
        if norm > most {
            return Some(format!("its update has norm {norm:.3}, at most {most:.3} is taken"));
        }
        if let Some(statistics) = message.arrays.get(STATISTICS) {
            let (norm, most) = (distance(statistics, server.statistics()), PLAUSIBLE * (1.0 + norm_of(server.statistics())));
            if norm > most {
                return Some(format!("its `{STATISTICS}` moved by {norm:.3}, at most {most:.3} is taken"));
            }
        }
        let own = server.arrays.iter().filter(|(name, _)| ![MODEL, STATISTICS].contains(&name.as_str()));
        let most = PLAUSIBLE_CHANGE * (1.0 + own.map(|(_, own)| norm_of(own)).sum::<f64>());
        let long = arrays.iter().filter_map(|name| Some((name, norm_of(message.arrays.get(*name)?)))).find(|(_, norm)| *norm > most);
        long.map(|(name, norm)| format!("`{name}` has norm {norm:.3}, at most {most:.3} is taken"))
    }

    /// Why a server after a round is not taken in place of the one before; `None` if it is.
    pub fn refuses_server(&self, before: &Server, after: &Server) -> Option<String> {
        if let Some((name, _)) = after.arrays.iter().find(|(_, values)| !all_finite(values)) {
            return Some(format!("with it `{name}` would not be finite"));
        }
        let most = self.update_norm.unwrap_or(0.0).max(largest_move(before));
        let norm = distance(after.model(), before.model());
        (norm > most).then(|| format!("with it the model would move by {norm:.3}, at most {most:.3} is plausible"))
    }
}

fn largest_move(server: &Server) -> f64 {
    PLAUSIBLE * (1.0 + norm_of(server.model()))
}

fn norm_of(values: &[f32]) -> f64 {
    squares(values).sqrt()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    squared_distance(a, b).sqrt()
}

vectorize! {
    /// Σ x², by sixteen running sums.
    fn squares(x: &[f32]) -> f64 {
        let (whole, rest) = x.as_chunks::<16>();
        let mut sums = [0.0_f64; 16];
        whole.iter().for_each(|x| sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += f64::from(*x) * f64::from(*x)));
        sums.iter().sum::<f64>() + rest.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>()
    }
}

vectorize! {
    /// Σ (a − b)², by sixteen running sums.
    fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
        let ((whole_a, rest_a), (whole_b, rest_b)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
        let square = |a: &f32, b: &f32| (f64::from(*a) - f64::from(*b)).powi(2);
        let mut sums = [0.0_f64; 16];
        for (a, b) in whole_a.iter().zip(whole_b) {
            sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += square(a, b));
        }
        sums.iter().sum::<f64>() + rest_a.iter().zip(rest_b).map(|(a, b)| square(a, b)).sum::<f64>()
    }
}

vectorize! {
    /// Without a way out in between, so that many are looked at in one instruction.
    fn all_finite(values: &[f32]) -> bool {
        values.iter().fold(true, |all, value| all & value.is_finite())
    }
}
