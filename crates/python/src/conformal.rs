//! `lyceum.conformal`.

use lyceum_conformal::{
    Conformal, ConformalConfig, PredictionSets, Predictor, ScoreConfig,
    conformal::{self, check_classes},
    logits, metrics, temperature,
    tune::{self, Criterion},
};
use lyceum_core::{Error, Result, Seed};
use numpy::{IntoPyArray, PyArray1, PyArray2, PyArrayDyn, PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArrayDyn};
use pyo3::prelude::*;

use crate::{
    error::exception,
    threads::{detached, stoppable},
};

/// A calibrated model.
#[pyclass(name = "Conformal", module = "lyceum._native", frozen)]
pub(crate) struct PyConformal(Conformal);

/// Where each set starts, and the labels of all sets.
pub(crate) type Sets<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i32>>);

#[pymethods]
impl PyConformal {
    /// Calibrates: `config` is JSON.
    #[staticmethod]
    fn calibrate(
        py: Python<'_>,
        config: &str,
        logits: PyReadonlyArray2<'_, f32>,
        labels: PyReadonlyArray1<'_, i64>,
        seed: u64,
    ) -> PyResult<Self> {
        let (config, logits, labels) = (parse(config)?, logits.as_array(), numbers(&labels)?);
        detached(py, || Conformal::calibrate(config, logits, &labels, Seed::new(seed))).map(Self).map_err(exception)
    }

    #[staticmethod]
    fn from_json(text: &str) -> PyResult<Self> {
        let Predictor::Marginal(model) = Predictor::from_json(text).map_err(exception)? else {
            return Err(exception(Error::invalid("model", "another scheme", "one threshold for all (`marginal`)")));
        };
        Ok(Self(model))
    }

    fn to_json(&self) -> PyResult<String> {
        Predictor::Marginal(self.0.clone()).to_json().map_err(exception)
    }

    fn predict<'py>(&self, py: Python<'py>, logits: PyReadonlyArray2<'py, f32>, seed: u64) -> PyResult<Sets<'py>> {
        let logits = logits.as_array();
        Ok(arrays(py, &detached(py, || self.0.predict(logits, test(seed))).map_err(exception)?))
    }

    /// τ; infinity where there were too few examples.
    #[getter]
    fn threshold(&self) -> f64 {
        self.0.threshold.unwrap_or(f64::INFINITY)
    }

    #[getter]
    fn classes(&self) -> usize {
        self.0.classes
    }

    #[getter]
    fn calibration_size(&self) -> usize {
        self.0.calibration_size
    }
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
    let (config, logits, labels, new) = (parse(config)?, logits.as_array(), numbers(&labels)?, new.as_array());
    let found = detached(py, || {
        check_classes(new, logits.ncols())?;
        conformal::p_values(&config, &conformal::scores(&config, logits, &labels, Seed::new(seed))?, new, test(seed))
    });
    Ok(found.map_err(exception)?.into_pyarray(py))
}

/// Logits of float64 as float32, each row less its maximum.
#[pyfunction]
pub(crate) fn logits_from_f64<'py>(py: Python<'py>, values: PyReadonlyArrayDyn<'py, f64>) -> Bound<'py, PyArrayDyn<f32>> {
    let values = values.as_array();
    detached(py, || logits::from_f64(values)).into_pyarray(py)
}

/// The temperature that minimises the log-loss.
#[pyfunction]
pub(crate) fn fit_temperature(py: Python<'_>, logits: PyReadonlyArray2<'_, f32>, labels: PyReadonlyArray1<'_, i64>) -> PyResult<f64> {
    let (logits, labels) = (logits.as_array(), numbers(&labels)?);
    detached(py, || temperature::fit(logits, &labels)).map_err(exception)
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
    let (config, logits, labels) = (parse(config)?, logits.as_array(), numbers(&labels)?);
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
    starts: PyReadonlyArray1<'_, i64>,
    labels: PyReadonlyArray1<'_, i32>,
    truth: PyReadonlyArray1<'_, i64>,
) -> PyResult<(f64, f64, f64)> {
    let share = metrics::coverage(&sets(&starts, &labels).map_err(exception)?, &numbers(&truth)?);
    Ok((share.share, share.low, share.high))
}

/// The size-stratified coverage violation.
#[pyfunction]
pub(crate) fn sscv(
    starts: PyReadonlyArray1<'_, i64>,
    labels: PyReadonlyArray1<'_, i32>,
    truth: PyReadonlyArray1<'_, i64>,
    alpha: f64,
) -> PyResult<f64> {
    Ok(metrics::sscv(&sets(&starts, &labels).map_err(exception)?, &numbers(&truth)?, alpha, &metrics::STRATA))
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
    let config: ConformalConfig =
        serde_json::from_str(config).map_err(|error| exception(Error::invalid("options", error, "those of the documentation")))?;
    config.check().map_err(exception)?;
    Ok(config)
}

fn sets(starts: &PyReadonlyArray1<'_, i64>, labels: &PyReadonlyArray1<'_, i32>) -> Result<PredictionSets> {
    let starts = starts.as_array();
    let sizes: Vec<usize> = starts.iter().zip(starts.iter().skip(1)).map(|(a, b)| (b - a).max(0) as usize).collect();
    PredictionSets::from_sizes(sizes, labels.as_array().iter().map(|&label| label as u32).collect())
}

/// Labels as they are used here; a negative one is an error.
pub(crate) fn numbers(labels: &PyReadonlyArray1<'_, i64>) -> PyResult<Vec<usize>> {
    let labels = labels.as_array();
    match labels.iter().position(|label| *label < 0) {
        Some(row) => Err(exception(Error::invalid(format!("label of row {row}"), labels[row], "a whole number from 0"))),
        None => Ok(labels.iter().map(|&label| label as usize).collect()),
    }
}
