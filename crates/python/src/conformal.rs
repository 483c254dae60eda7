//! `lyceum.conformal`.

use lyceum_conformal::{
    ClassConditional, Clustering, Conformal, ConformalConfig, Known, Mondrian, PredictionSets, Predictor, ScoreConfig, Weighted,
    conformal::{self, check_classes},
    logits, metrics, temperature,
    tune::{self, Criterion},
};
use lyceum_core::{Error, Result, Seed};
use numpy::{IntoPyArray, PyArray1, PyArray2, PyArrayDyn, PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArrayDyn};
use pyo3::prelude::*;

use crate::{
    error::{exception, options},
    threads::{detached, stoppable},
};

/// A calibrated model of any scheme but the cross-conformal one.
#[pyclass(name = "Predictor", module = "lyceum._native", frozen)]
pub(crate) struct PyPredictor(Predictor);

/// Where each set starts, and the labels of all sets.
pub(crate) type Sets<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i32>>);

#[pymethods]
impl PyPredictor {
    /// Calibrates by a scheme; `config` is JSON. `groups`, `weights` and `clusters` (how many, and the share of the examples that finds
    /// them) are for the schemes that want them.
    #[staticmethod]
    #[allow(clippy::too_many_arguments, reason = "as many as the schemes have")]
    fn calibrate(
        py: Python<'_>,
        scheme: &str,
        config: &str,
        logits: PyReadonlyArray2<'_, f32>,
        labels: PyReadonlyArray1<'_, i64>,
        seed: u64,
        groups: Option<PyReadonlyArray1<'_, i64>>,
        weights: Option<PyReadonlyArray1<'_, f64>>,
        clusters: Option<(usize, f64)>,
    ) -> PyResult<Self> {
        let (config, logits, labels, seed) = (parse(config)?, logits.as_array(), numbers("label", &labels)?, Seed::new(seed));
        let (groups, weights) = (
            groups.as_ref().map(|groups| numbers("group", groups)).transpose()?.unwrap_or_default(),
            weights_of(weights).unwrap_or_default(),
        );
        let calibrate = || match (scheme, clusters) {
            ("marginal", _) => Conformal::calibrate(config, logits, &labels, seed).map(Predictor::Marginal),
            ("class-conditional", None) => ClassConditional::calibrate(config, logits, &labels, seed).map(Predictor::ClassConditional),
            ("class-conditional", Some((clusters, share))) => {
                let clustering = Clustering { clusters, share };
                ClassConditional::calibrate_clustered(config, clustering, logits, &labels, seed).map(Predictor::ClassConditional)
            }
            ("groups", _) => Mondrian::calibrate(config, logits, &labels, &groups, seed).map(Predictor::Groups),
            ("weighted", _) => Weighted::calibrate(config, logits, &labels, &weights, seed).map(Predictor::Weighted),
            _ => Err(Error::invalid("scheme", scheme, "marginal, class-conditional, groups or weighted")),
        };
        detached(py, calibrate).map(Self)
    }

    /// One threshold for all from the scores of the calibration examples; `config` is JSON.
    #[staticmethod]
    fn from_scores(config: &str, scores: PyReadonlyArray1<'_, f64>, classes: usize) -> PyResult<Self> {
        Ok(Self(Predictor::Marginal(Conformal::from_scores(parse(config)?, scores.as_array().to_vec(), classes))))
    }

    #[staticmethod]
    fn from_json(text: &str) -> PyResult<Self> {
        Predictor::from_json(text).map(Self).map_err(exception)
    }

    fn to_json(&self) -> PyResult<String> {
        self.0.to_json().map_err(exception)
    }

    fn predict<'py>(
        &self,
        py: Python<'py>,
        logits: PyReadonlyArray2<'py, f32>,
        seed: u64,
        groups: Option<PyReadonlyArray1<'py, i64>>,
        weights: Option<PyReadonlyArray1<'py, f64>>,
    ) -> PyResult<Sets<'py>> {
        let (logits, groups, weights) =
            (logits.as_array(), groups.as_ref().map(|groups| numbers("group", groups)).transpose()?, weights_of(weights));
        let known = Known { groups: groups.as_deref(), weights: weights.as_deref() };
        Ok(arrays(py, &detached(py, || self.0.predict(logits, known, test(seed)))?))
    }

    #[getter]
    fn scheme(&self) -> &'static str {
        match self.0 {
            Predictor::Marginal(_) => "marginal",
            Predictor::ClassConditional(_) => "class-conditional",
            Predictor::Groups(_) => "groups",
            Predictor::Weighted(_) => "weighted",
        }
    }

    /// How sets are made, as JSON.
    #[getter]
    fn config(&self) -> PyResult<String> {
        serde_json::to_string(self.0.config()).map_err(|error| exception(Error::Failed(error.to_string())))
    }

    /// τ, or those of labels or groups; infinity where there were too few examples. Of weights there are none.
    #[getter]
    fn thresholds<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        let found = match &self.0 {
            Predictor::Marginal(model) => vec![model.threshold],
            Predictor::ClassConditional(model) => model.thresholds.clone(),
            Predictor::Groups(model) => model.thresholds.clone(),
            Predictor::Weighted(_) => Vec::new(),
        };
        found.into_iter().map(|threshold| threshold.unwrap_or(f64::INFINITY)).collect::<Vec<f64>>().into_pyarray(py)
    }

    /// The cluster of each label, −1 for none; `None` without clusters.
    #[getter]
    fn clusters<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyArray1<i64>>> {
        let Predictor::ClassConditional(model) = &self.0 else { return None };
        let clusters = model.clusters.as_ref()?;
        Some(clusters.iter().map(|cluster| cluster.map_or(-1, |cluster| cluster as i64)).collect::<Vec<i64>>().into_pyarray(py))
    }

    #[getter]
    fn classes(&self) -> usize {
        self.0.classes()
    }
}

fn weights_of(weights: Option<PyReadonlyArray1<'_, f64>>) -> Option<Vec<f64>> {
    weights.map(|weights| weights.as_array().to_vec())
}

/// The p-value of every label of every row: `config` is JSON.
#[pyfunction]
pub(crate) fn p_values<'py>(
    py: Python<'py>,
    config: &str,
    logits: PyReadonlyArray2<'py, f32>,
    labels: PyReadonlyArray1<'py, i64>,
    new: PyReadonlyArray2<'py, f32>,
    seed: u64,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let (config, logits, labels, new) = (parse(config)?, logits.as_array(), numbers("label", &labels)?, new.as_array());
    let found = detached(py, || {
        check_classes(new, logits.ncols())?;
        conformal::p_values(&config, &conformal::scores(&config, logits, &labels, Seed::new(seed))?, new, test(seed))
    });
    Ok(found?.into_pyarray(py))
}

/// The score of each row's label: `config` is JSON.
#[pyfunction]
pub(crate) fn calibration_scores<'py>(
    py: Python<'py>,
    config: &str,
    logits: PyReadonlyArray2<'py, f32>,
    labels: PyReadonlyArray1<'py, i64>,
    seed: u64,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let (config, logits, labels) = (parse(config)?, logits.as_array(), numbers("label", &labels)?);
    Ok(detached(py, || conformal::scores(&config, logits, &labels, Seed::new(seed)))?.into_pyarray(py))
}

/// The score of every label of every row: `config` is JSON.
#[pyfunction]
pub(crate) fn scores<'py>(
    py: Python<'py>,
    config: &str,
    logits: PyReadonlyArray2<'py, f32>,
    seed: u64,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let (config, logits) = (parse(config)?, logits.as_array());
    Ok(detached(py, || conformal::all_scores(&config, logits, test(seed)))?.into_pyarray(py))
}

/// Logits of float64 as float32, each row less its maximum.
#[pyfunction]
pub(crate) fn logits_from_f64<'py>(py: Python<'py>, values: PyReadonlyArrayDyn<'py, f64>) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
    let values = values.as_array();
    Ok(detached(py, || Ok(logits::from_f64(values)))?.into_pyarray(py))
}

/// The temperature that minimises the log-loss.
#[pyfunction]
pub(crate) fn fit_temperature(py: Python<'_>, logits: PyReadonlyArray2<'_, f32>, labels: PyReadonlyArray1<'_, i64>) -> PyResult<f64> {
    let (logits, labels) = (logits.as_array(), numbers("label", &labels)?);
    detached(py, || temperature::fit(logits, &labels))
}

/// λ and k_reg that do best on these examples.
#[pyfunction]
pub(crate) fn tune_raps(
    py: Python<'_>,
    config: &str,
    logits: PyReadonlyArray2<'_, f32>,
    labels: PyReadonlyArray1<'_, i64>,
    adaptiveness: bool,
    seed: u64,
) -> PyResult<(f64, usize)> {
    let (config, logits, labels) = (parse(config)?, logits.as_array(), numbers("label", &labels)?);
    let criterion = if adaptiveness { Criterion::Adaptiveness } else { Criterion::Size };
    let tuned = stoppable(py, || tune::raps(config, logits, &labels, criterion, Seed::new(seed)))?;
    match tuned.score {
        ScoreConfig::Raps { lambda, k_reg } => Ok((lambda, k_reg)),
        _ => Ok((0.0, 0)),
    }
}

/// The share of covered labels and its exact 95 % interval.
#[pyfunction]
pub(crate) fn coverage_interval(
    py: Python<'_>,
    starts: PyReadonlyArray1<'_, i64>,
    labels: PyReadonlyArray1<'_, i32>,
    truth: PyReadonlyArray1<'_, i64>,
) -> PyResult<(f64, f64, f64)> {
    let (sets, truth) = (sets(&starts, &labels).map_err(exception)?, numbers("label", &truth)?);
    let share = detached(py, || Ok(metrics::coverage(&sets, &truth)))?;
    Ok((share.share, share.low, share.high))
}

/// The size-stratified coverage violation.
#[pyfunction]
pub(crate) fn sscv(
    py: Python<'_>,
    starts: PyReadonlyArray1<'_, i64>,
    labels: PyReadonlyArray1<'_, i32>,
    truth: PyReadonlyArray1<'_, i64>,
    alpha: f64,
) -> PyResult<f64> {
    let (sets, truth) = (sets(&starts, &labels).map_err(exception)?, numbers("label", &truth)?);
    detached(py, || Ok(metrics::sscv(&sets, &truth, alpha, &metrics::STRATA)))
}

/// The draws of prediction must not be those of calibration.
pub(crate) fn test(seed: u64) -> Seed {
    Seed::new(seed).child("conformal/test")
}

pub(crate) fn arrays<'py>(py: Python<'py>, sets: &PredictionSets) -> Sets<'py> {
    let starts: Vec<i64> = sets.starts().iter().map(|&start| start as i64).collect();
    let labels: Vec<i32> = sets.labels().iter().map(|&label| label as i32).collect();
    (starts.into_pyarray(py), labels.into_pyarray(py))
}

pub(crate) fn parse(config: &str) -> PyResult<ConformalConfig> {
    let config: ConformalConfig = options("options", config)?;
    config.check().map_err(exception)?;
    Ok(config)
}

fn sets(starts: &PyReadonlyArray1<'_, i64>, labels: &PyReadonlyArray1<'_, i32>) -> Result<PredictionSets> {
    let starts = starts.as_array();
    let sizes: Vec<usize> = starts.iter().zip(starts.iter().skip(1)).map(|(a, b)| (b - a).max(0) as usize).collect();
    PredictionSets::from_sizes(sizes, labels.as_array().iter().map(|&label| label as u32).collect())
}

/// Labels, or groups, as they are used here; a negative one is an error.
pub(crate) fn numbers(what: &str, labels: &PyReadonlyArray1<'_, i64>) -> PyResult<Vec<usize>> {
    let labels = labels.as_array();
    match labels.iter().position(|label| *label < 0) {
        Some(row) => Err(exception(Error::invalid(format!("{what} of row {row}"), labels[row], "a whole number from 0"))),
        None => Ok(labels.iter().map(|&label| label as usize).collect()),
    }
}
