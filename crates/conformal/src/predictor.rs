//! A calibrated predictor of any scheme, as it is kept in a file.

use std::path::Path;

use lyceum_core::{Error, Result, Seed, checksum::sha256, run};
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    ClassConditional, Conformal, ConformalConfig, Mondrian, PredictionSets, Weighted,
    conformal::{Copies, check_classes, sets_of_part},
    mondrian::same_length,
};

/// Any of the calibrated models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "scheme", rename_all = "kebab-case")]
pub enum Predictor {
    /// One threshold for all.
    Marginal(Conformal),
    /// One for each label, or each cluster of labels.
    ClassConditional(ClassConditional),
    /// One for each group of examples.
    Groups(Mondrian),
    /// One for each weight.
    Weighted(Weighted),
}

/// What some schemes know of each row besides its logits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'a> {
    /// The group of each row, for [`Predictor::Groups`].
    pub groups: Option<&'a [usize]>,
    /// The weight of each row, for [`Predictor::Weighted`].
    pub weights: Option<&'a [f64]>,
}

impl Known<'_> {
    /// What is known of these rows.
    pub fn rows(&self, rows: std::ops::Range<usize>) -> Known<'_> {
        Known { groups: self.groups.map(|groups| &groups[rows.clone()]), weights: self.weights.map(|weights| &weights[rows]) }
    }
}

impl Predictor {
    /// How sets are made.
    pub fn config(&self) -> &ConformalConfig {
        match self {
            Self::Marginal(model) => &model.config,
            Self::ClassConditional(model) => &model.config,
            Self::Groups(model) => &model.config,
            Self::Weighted(model) => &model.config,
        }
    }

    /// How many labels there are.
    pub fn classes(&self) -> usize {
        match self {
            Self::Marginal(model) => model.classes,
            Self::ClassConditional(model) => model.thresholds.len(),
            Self::Groups(model) => model.classes,
            Self::Weighted(model) => model.classes(),
        }
    }

    /// Errors where something of `known` is missing, or is not wanted, or does not have this many rows.
    pub fn check(&self, known: Known<'_>, rows: usize) -> Result<()> {
        let wants = (matches!(self, Self::Groups(_)), matches!(self, Self::Weighted(_)));
        for (what, wanted, found) in
            [("groups", wants.0, known.groups.map(<[usize]>::len)), ("weights", wants.1, known.weights.map(<[f64]>::len))]
        {
            match found {
                Some(found) if wanted => same_length(what, found, rows)?,
                None if wanted => return Err(Error::invalid(what, "none", "one for each row: the predictor was calibrated with them")),
                Some(_) => return Err(Error::invalid(what, "some", "none: the predictor was calibrated without them")),
                None => {}
            }
        }
        Ok(())
    }

    /// The sets of each row; `known` is of the same rows. `seed` gives the draws u.
    pub fn predict(&self, logits: ArrayView2<'_, f32>, known: Known<'_>, seed: Seed) -> Result<PredictionSets> {
        self.predict_part(&mut Copies::default(), logits, known, seed)
    }

    /// The sets of the next part of a matrix: the parts, with one `copies`, give what the whole gives. `known` is of the
    /// part's rows.
    pub fn predict_part(&self, copies: &mut Copies, logits: ArrayView2<'_, f32>, known: Known<'_>, seed: Seed) -> Result<PredictionSets> {
        check_classes(logits, self.classes())?;
        self.check(known, logits.nrows())?;
        let config = self.config();
        match self {
            Self::Marginal(model) => sets_of_part(copies, config, &model.scheme(), logits, seed),
            Self::ClassConditional(model) => sets_of_part(copies, config, &model.scheme(), logits, seed),
            Self::Groups(model) => sets_of_part(copies, config, &model.scheme(known.groups.unwrap_or_default()), logits, seed),
            Self::Weighted(model) => sets_of_part(copies, config, &model.scheme(known.weights.unwrap_or_default())?, logits, seed),
        }
    }

    /// Writes the predictor as JSON.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.save_named(&Names::default(), path)
    }

    /// The same with what its labels and groups are called.
    pub fn save_named(&self, names: &Names, path: &Path) -> Result<()> {
        run::write_json(path, &self.saved(names)?)
    }

    /// Reads a predictor that [`save`](Self::save) wrote.
    pub fn load(path: &Path) -> Result<Self> {
        Self::load_named(path).map(|(predictor, _)| predictor)
    }

    /// The same with what its labels and groups are called.
    pub fn load_named(path: &Path) -> Result<(Self, Names)> {
        let hint = "`lyceum conformal calibrate` makes such a file.";
        let value: Value = run::read_json(path)?.ok_or_else(|| Error::Missing { path: path.into(), hint: hint.into() })?;
        Self::from_value(value).map_err(|error| Error::damaged(path, error))
    }

    /// The predictor as JSON, with the version of the rules that calibrated it.
    pub fn to_json(&self) -> Result<String> {
        self.to_json_named(&Names::default())
    }

    /// The same with what its labels and groups are called.
    pub fn to_json_named(&self, names: &Names) -> Result<String> {
        Ok(self.saved(names)?.to_string())
    }

    /// Reads what [`to_json`](Self::to_json) gave.
    pub fn from_json(text: &str) -> Result<Self> {
        Self::from_json_named(text).map(|(predictor, _)| predictor)
    }

    /// The same with what its labels and groups are called.
    pub fn from_json_named(text: &str) -> Result<(Self, Names)> {
        let value = serde_json::from_str(text).map_err(|error| error.to_string());
        value.and_then(Self::from_value).map_err(|error| Error::invalid("model", error, "a model that this version wrote"))
    }

    fn from_value(value: Value) -> Result<(Self, Names), String> {
        let mut value: Value = unsealed(value)?;
        let names = value.as_object_mut().and_then(|fields| fields.remove(NAMES));
        let names: Names = names.map(serde_json::from_value).transpose().map_err(|error| error.to_string())?.unwrap_or_default();
        let model: Self = serde_json::from_value(value).map_err(|error| error.to_string())?;
        model.config().check().map_err(|error| error.to_string())?;
        if !(names.classes.is_empty() || names.classes.len() == model.classes()) {
            return Err(format!("it names {} labels and has {}", names.classes.len(), model.classes()));
        }
        Ok((model, names))
    }

    fn saved(&self, names: &Names) -> Result<Value> {
        let failed = |error: serde_json::Error| Error::Failed(error.to_string());
        let mut value = serde_json::to_value(self).map_err(failed)?;
        if let Some(fields) = value.as_object_mut().filter(|_| *names != Names::default()) {
            fields.insert(NAMES.into(), serde_json::to_value(names).map_err(failed)?);
        }
        sealed(&value)
    }
}

/// The field of a file that has the [`Names`].
const NAMES: &str = "names";

/// What the numbers of labels and groups are called; nothing where they are only numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Names {
    /// Of each label.
    pub classes: Vec<String>,
    /// Of each group.
    pub groups: Vec<String>,
}

/// What [`sealed`] gave, from its text.
pub(crate) fn opened<T: DeserializeOwned>(text: &str) -> Result<T> {
    let value = serde_json::from_str(text).map_err(|error| error.to_string());
    value.and_then(unsealed).map_err(|error| Error::invalid("model", error, "a model that this version wrote"))
}

fn unsealed<T: DeserializeOwned>(mut value: Value) -> Result<T, String> {
    let mut take = |key: &str| value.as_object_mut().and_then(|fields| fields.remove(key));
    match take("rules") {
        Some(rules) if rules == RULES => {}
        found => {
            let found = found.map_or("none".into(), |rules| rules.to_string());
            return Err(format!(
                "it was calibrated by rules of version {found}, this program predicts by version {RULES}; scores and draws differ, \
                 so that its sets would not cover as promised: calibrate again"
            ));
        }
    }
    match take("checksum") {
        Some(found) if found == checksum(&value) => {}
        Some(_) => return Err("its checksum does not agree with what it holds: calibrate again".into()),
        None => return Err("it has no checksum, as files of older versions: calibrate again".into()),
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// A model as JSON, with the version of the rules that calibrated it and a checksum.
pub(crate) fn sealed(model: &impl Serialize) -> Result<Value> {
    let mut value = serde_json::to_value(model).map_err(|error| Error::Failed(error.to_string()))?;
    let checksum = checksum(&value);
    if let Some(fields) = value.as_object_mut() {
        fields.extend([("rules".into(), RULES.into()), ("checksum".into(), checksum.into())]);
    }
    Ok(value)
}

/// SHA-256 of the predictor as JSON, its fields in the order of their names.
fn checksum(predictor: &Value) -> String {
    sha256(predictor.to_string().as_bytes())
}

/// The version of what scores and draws are: raised when a change makes older thresholds wrong. Files without one are of
/// the first: SAPS with twice the largest probability, draws by position in the call.
const RULES: u32 = 2;
