//! Checks of single values as a recipe is read, so that an error points at the value itself.
//!
//! Used as `#[serde(deserialize_with = "range::positive")]`. Checks that involve two fields belong in
//! [`Experiment::check`](crate::Experiment::check).

use serde::{Deserialize, Deserializer, de::Error};

fn number<'de, D: Deserializer<'de>>(deserializer: D, allowed: &str, fits: impl Fn(f64) -> bool) -> Result<f64, D::Error> {
    let value = f64::deserialize(deserializer)?;
    if fits(value) { Ok(value) } else { Err(D::Error::custom(format!("found {value}; allowed: {allowed}"))) }
}

/// A finite number above 0.
pub fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    number(deserializer, "a finite number > 0", |v| v > 0.0 && v.is_finite())
}

/// A finite number above 0, if there is one.
pub fn optional_positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    positive(deserializer).map(Some)
}

/// A finite number, 0 or above.
pub fn non_negative<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    number(deserializer, "a finite number >= 0", |v| v >= 0.0 && v.is_finite())
}

/// A number in \[0, 1\].
pub fn fraction<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    number(deserializer, "a number from 0 to 1", |v| (0.0..=1.0).contains(&v))
}

/// A list of numbers in \[0, 1\].
pub fn fractions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    let values = Vec::<f64>::deserialize(deserializer)?;
    match values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
        Some(value) => Err(D::Error::custom(format!("found {value}; allowed: numbers from 0 to 1"))),
        None => Ok(values),
    }
}

/// A number in (0, 1\].
pub fn positive_fraction<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    number(deserializer, "a number > 0 and <= 1", |v| v > 0.0 && v <= 1.0)
}

/// A number in \[0, 1).
pub fn below_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    number(deserializer, "a number >= 0 and < 1", |v| (0.0..1.0).contains(&v))
}

/// A number strictly between 0 and 1.
pub fn open_unit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    number(deserializer, "a number > 0 and < 1", |v| v > 0.0 && v < 1.0)
}

/// A whole number of at least 1.
pub fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        0 => Err(D::Error::custom("found 0; allowed: a whole number >= 1")),
        value => Ok(value),
    }
}

/// A whole number of at least 1, if there is one.
pub fn optional_at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    at_least_one(deserializer).map(Some)
}

/// The order of a norm: a number of at least 1, or infinity (`inf`).
pub fn norm_order<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    number(deserializer, "a number >= 1, or inf", |v| v >= 1.0)
}
