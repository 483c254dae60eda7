//! Checks of single values as a recipe is read, so that an error points at the value itself; the same rules stand in its schema.
//!
//! Used as `#[serde(with = "range::Positive")]`. Checks that involve two fields belong in
//! [`Experiment::check`](crate::Experiment::check). What a configuration that code made is used for checks it with [`check`], by
//! the same rules.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned, de::Error};

/// Checks a configuration that code made by the rules of its fields, as if it had been read from a recipe.
///
/// # Errors
///
/// [`Error::Violated`](crate::Error::Violated) with the field, what was found and what is allowed.
pub fn check<C: Serialize + DeserializeOwned>(config: &C) -> crate::Result<()> {
    let wrong = |error: &dyn std::fmt::Display| crate::Error::Violated(error.to_string().trim_end().replace('\n', " "));
    let value = toml::Value::try_from(config).map_err(|error| wrong(&error))?;
    C::deserialize(value).map(drop).map_err(|error| wrong(&error))
}

/// A rule for values of a type: what is allowed, in words, as a condition and as a schema.
macro_rules! rule {
    ($(#[$doc:meta])* $name:ident($type:ty): $allowed:literal, $fits:expr, $schema:tt) => {
        $(#[$doc])*
        pub enum $name {}

        impl $name {
            /// The value as it is.
            pub fn serialize<S: Serializer>(value: &$type, to: S) -> Result<S::Ok, S::Error> {
                value.serialize(to)
            }

            /// The value, if it keeps the rule.
            pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<$type, D::Error> {
                let value = <$type>::deserialize(from)?;
                let fits: fn(&$type) -> Option<String> = $fits;
                match fits(&value) {
                    None => Ok(value),
                    Some(found) => Err(D::Error::custom(format!(concat!("found {}; allowed: ", $allowed), found))),
                }
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

/// What was found, unless it is right.
fn unless(right: bool, found: &impl ToString) -> Option<String> {
    (!right).then(|| found.to_string())
}

rule!(
    /// A finite number above 0.
    Positive(f64): "a finite number > 0", |v| unless(*v > 0.0 && v.is_finite(), v),
    { "type": "number", "exclusiveMinimum": 0 }
);
rule!(
    /// A finite number above 0, if there is one.
    OptionalPositive(Option<f64>): "a finite number > 0", |v| v.and_then(|v| unless(v > 0.0 && v.is_finite(), &v)),
    { "type": "number", "exclusiveMinimum": 0 }
);
rule!(
    /// A finite number, 0 or above.
    NonNegative(f64): "a finite number >= 0", |v| unless(*v >= 0.0 && v.is_finite(), v),
    { "type": "number", "minimum": 0 }
);
rule!(
    /// A number in \[0, 1\].
    Fraction(f64): "a number from 0 to 1", |v| unless((0.0..=1.0).contains(v), v),
    { "type": "number", "minimum": 0, "maximum": 1 }
);
rule!(
    /// A list of numbers in \[0, 1\].
    Fractions(Vec<f64>): "numbers from 0 to 1", |v| v.iter().find(|v| !(0.0..=1.0).contains(*v)).map(ToString::to_string),
    { "type": "array", "items": { "type": "number", "minimum": 0, "maximum": 1 } }
);
rule!(
    /// A number in (0, 1\].
    PositiveFraction(f64): "a number > 0 and <= 1", |v| unless(*v > 0.0 && *v <= 1.0, v),
    { "type": "number", "exclusiveMinimum": 0, "maximum": 1 }
);
rule!(
    /// A number in \[0, 1).
    BelowOne(f64): "a number >= 0 and < 1", |v| unless((0.0..1.0).contains(v), v),
    { "type": "number", "minimum": 0, "exclusiveMaximum": 1 }
);
rule!(
    /// A number strictly between 0 and 1.
    OpenUnit(f64): "a number > 0 and < 1", |v| unless(*v > 0.0 && *v < 1.0, v),
    { "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1 }
);
rule!(
    /// A whole number of at least 1.
    AtLeastOne(usize): "a whole number >= 1", |v| unless(*v >= 1, v),
    { "type": "integer", "minimum": 1 }
);
rule!(
    /// A whole number of at least 1, if there is one.
    OptionalAtLeastOne(Option<usize>): "a whole number >= 1", |v| v.and_then(|v| unless(v >= 1, &v)),
    { "type": "integer", "minimum": 1 }
);
rule!(
    /// A list of whole numbers of at least 1.
    AllAtLeastOne(Vec<usize>): "whole numbers >= 1", |v| v.iter().find(|v| **v < 1).map(ToString::to_string),
    { "type": "array", "items": { "type": "integer", "minimum": 1 } }
);
rule!(
    /// The order of a norm: a number of at least 1, or infinity (`inf`).
    NormOrder(f64): "a number >= 1, or inf", |v| unless(*v >= 1.0, v),
    { "type": "number", "minimum": 1 }
);
