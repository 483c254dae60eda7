//! The calibration schemes of `lyceum.conformal` beyond split conformal prediction.

use lyceum_conformal::{
    CrossConformal, Online, Predictive, VennAbers, enbpi, regression,
    risk::{self, Correction, PValue},
};
use lyceum_core::{Error, Result, Seed};
use numpy::{IntoPyArray, PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArray3, ndarray::Array2};
use pyo3::prelude::*;

use crate::{
    conformal::{Sets, arrays, numbers, parse, test},
    error::exception,
    threads::detached,
};

#[pyclass(name = "CrossConformal", module = "lyceum._native", frozen)]
pub(crate) struct PyCrossConformal(CrossConformal);

#[pymethods]
impl PyCrossConformal {
    #[staticmethod]
    fn calibrate(
        py: Python<'_>,
        config: &str,
        logits: PyReadonlyArray2<'_, f32>,
        labels: PyReadonlyArray1<'_, i64>,
        folds: PyReadonlyArray1<'_, i64>,
        seed: u64,
    ) -> PyResult<Self> {
        let (config, logits, labels, folds) = (parse(config)?, logits.as_array(), numbers("label", &labels)?, numbers("fold", &folds)?);
        detached(py, || CrossConformal::calibrate(config, logits, &labels, &folds, Seed::new(seed))).map(Self)
    }

    #[classattr]
    fn scheme() -> &'static str {
        "cross"
    }

    /// How sets are made, as JSON.
    #[getter]
    fn config(&self) -> PyResult<String> {
        serde_json::to_string(&self.0.config).map_err(|error| exception(Error::Failed(error.to_string())))
    }

    #[getter]
    fn classes(&self) -> usize {
        self.0.classes()
    }

    #[staticmethod]
    fn from_json(text: &str) -> PyResult<Self> {
        CrossConformal::from_json(text).map(Self).map_err(exception)
    }

    fn to_json(&self) -> PyResult<String> {
        self.0.to_json().map_err(exception)
    }

    fn predict<'py>(&self, py: Python<'py>, logits: PyReadonlyArray3<'py, f32>, seed: u64) -> PyResult<Sets<'py>> {
        let logits = logits.as_array();
        Ok(arrays(py, &detached(py, || self.0.predict(logits, test(seed)))?))
    }
}

#[pyclass(name = "Online", module = "lyceum._native")]
pub(crate) struct PyOnline(Online);

#[pymethods]
impl PyOnline {
    #[new]
    fn new(alpha: f64, gamma: f64, window: usize) -> PyResult<Self> {
        Online::new(alpha, gamma, window).map(Self).map_err(exception)
    }

    #[getter]
    fn threshold(&self) -> f64 {
        self.0.threshold()
    }

    #[getter]
    fn level(&self) -> f64 {
        self.0.level()
    }

    fn observe(&mut self, score: f64) -> PyResult<bool> {
        self.0.observe(score).map_err(exception)
    }

    /// The last scores.
    #[getter]
    fn scores<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        self.0.scores().collect::<Vec<f64>>().into_pyarray(py)
    }

    /// Goes on at this level after these scores.
    fn restore(&mut self, level: f64, scores: PyReadonlyArray1<'_, f64>) -> PyResult<()> {
        self.0.restore(level, &scores.as_array().to_vec()).map_err(exception)
    }
}

/// Lower and upper ends.
type Ends<'py> = (Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<f64>>);

/// Lower and upper ends as two arrays.
fn two_arrays(py: Python<'_>, intervals: Vec<(f64, f64)>) -> Ends<'_> {
    let (low, high): (Vec<f64>, Vec<f64>) = intervals.into_iter().unzip();
    (low.into_pyarray(py), high.into_pyarray(py))
}

/// Split intervals of new points.
#[pyfunction]
#[pyo3(signature = (predictions, difficulty, y, new, new_difficulty, alpha))]
pub(crate) fn split_interval<'py>(
    py: Python<'py>,
    predictions: PyReadonlyArray1<'py, f64>,
    difficulty: Option<PyReadonlyArray1<'py, f64>>,
    y: PyReadonlyArray1<'py, f64>,
    new: PyReadonlyArray1<'py, f64>,
    new_difficulty: Option<PyReadonlyArray1<'py, f64>>,
    alpha: f64,
) -> PyResult<Ends<'py>> {
    let vec = |values: &PyReadonlyArray1<'_, f64>| values.as_array().to_vec();
    let (difficulty, new_difficulty) = (difficulty.as_ref().map(vec), new_difficulty.as_ref().map(vec));
    let (predictions, y, new) = (vec(&predictions), vec(&y), vec(&new));
    let found = detached(py, || {
        let q = regression::split(&predictions, difficulty.as_deref(), &y, alpha)?;
        regression::split_intervals(q, &new, new_difficulty.as_deref())
    });
    Ok(two_arrays(py, found?))
}

/// Conformalised quantile regression of new points: `n × 2` quantiles of the calibration points and of new ones.
#[pyfunction]
pub(crate) fn quantile_interval<'py>(
    py: Python<'py>,
    ends: PyReadonlyArray2<'py, f64>,
    y: PyReadonlyArray1<'py, f64>,
    new: PyReadonlyArray2<'py, f64>,
    alpha: f64,
    symmetric: bool,
) -> PyResult<Ends<'py>> {
    let pairs = |ends: &PyReadonlyArray2<'_, f64>| ends.as_array().rows().into_iter().map(|row| (row[0], row[1])).collect::<Vec<_>>();
    let (ends, y, new) = (pairs(&ends), y.as_array().to_vec(), pairs(&new));
    let found = detached(py, || {
        let widths = if symmetric {
            [regression::quantile_regression(&ends, &y, alpha)?; 2]
        } else {
            regression::asymmetric_quantile_regression(&ends, &y, alpha)?
        };
        regression::widened_by(widths, &new)
    });
    Ok(two_arrays(py, found?))
}

#[pyfunction]
pub(crate) fn jackknife_plus<'py>(
    py: Python<'py>,
    residuals: PyReadonlyArray1<'py, f64>,
    predictions: PyReadonlyArray2<'py, f64>,
    alpha: f64,
    minmax: bool,
) -> PyResult<Ends<'py>> {
    let (residuals, predictions) = (residuals.as_array().to_vec(), predictions.as_array());
    let intervals = if minmax { regression::jackknife_minmax } else { regression::jackknife_plus };
    Ok(two_arrays(py, detached(py, || intervals(&residuals, predictions, alpha))?))
}

/// What EnbPI adds to predictions.
#[pyfunction]
pub(crate) fn enbpi_ends(errors: PyReadonlyArray1<'_, f64>, alpha: f64, symmetric: bool) -> PyResult<(f64, f64)> {
    enbpi::ends(&errors.as_array().to_vec(), alpha, symmetric).map_err(exception)
}

/// A conformal predictive system. New points are their predictions and difficulties, arrays of one length.
#[pyclass(name = "Predictive", module = "lyceum._native", frozen)]
pub(crate) struct PyPredictive(Predictive);

#[pymethods]
impl PyPredictive {
    #[new]
    #[pyo3(signature = (predictions, difficulty, y))]
    fn new(
        predictions: PyReadonlyArray1<'_, f64>,
        difficulty: Option<PyReadonlyArray1<'_, f64>>,
        y: PyReadonlyArray1<'_, f64>,
    ) -> PyResult<Self> {
        let difficulty = difficulty.map(|values| values.as_array().to_vec());
        let found = Predictive::calibrate(&predictions.as_array().to_vec(), difficulty.as_deref(), &y.as_array().to_vec());
        found.map(Self).map_err(exception)
    }

    /// F(y, τ) of each point.
    fn cdf<'py>(
        &self,
        py: Python<'py>,
        points: PyReadonlyArray2<'py, f64>,
        y: PyReadonlyArray1<'py, f64>,
        tau: PyReadonlyArray1<'py, f64>,
    ) -> Bound<'py, PyArray1<f64>> {
        let (points, y, tau) = (points.as_array(), y.as_array(), tau.as_array());
        let found = points.rows().into_iter().zip(y).zip(tau).map(|((point, y), tau)| self.0.cdf(point[0], point[1], *y, *tau));
        found.collect::<Vec<f64>>().into_pyarray(py)
    }

    /// The quantiles of each point: points × levels.
    fn quantiles<'py>(
        &self,
        py: Python<'py>,
        points: PyReadonlyArray2<'py, f64>,
        levels: PyReadonlyArray1<'py, f64>,
    ) -> Bound<'py, PyArray2<f64>> {
        let (points, levels) = (points.as_array(), levels.as_array());
        let quantile = |(point, level)| self.0.quantile(points[[point, 0]], points[[point, 1]], levels[level]);
        Array2::from_shape_fn((points.nrows(), levels.len()), quantile).into_pyarray(py)
    }

    fn intervals<'py>(&self, py: Python<'py>, points: PyReadonlyArray2<'py, f64>, alpha: f64) -> Ends<'py> {
        two_arrays(py, points.as_array().rows().into_iter().map(|point| self.0.interval(point[0], point[1], alpha)).collect())
    }

    fn crps<'py>(&self, py: Python<'py>, points: PyReadonlyArray2<'py, f64>, y: PyReadonlyArray1<'py, f64>) -> Bound<'py, PyArray1<f64>> {
        let (points, y) = (points.as_array(), y.as_array());
        points.rows().into_iter().zip(y).map(|(point, y)| self.0.crps(point[0], point[1], *y)).collect::<Vec<f64>>().into_pyarray(py)
    }
}

#[pyclass(name = "VennAbers", module = "lyceum._native", frozen)]
pub(crate) struct PyVennAbers(VennAbers);

#[pymethods]
impl PyVennAbers {
    #[new]
    fn new(scores: PyReadonlyArray1<'_, f64>, labels: PyReadonlyArray1<'_, bool>) -> PyResult<Self> {
        VennAbers::calibrate(&scores.as_array().to_vec(), &labels.as_array().to_vec()).map(Self).map_err(exception)
    }

    /// p₀ and p₁ of each score.
    fn probabilities<'py>(&self, py: Python<'py>, scores: PyReadonlyArray1<'py, f64>) -> PyResult<Ends<'py>> {
        let scores = scores.as_array().to_vec();
        let found = detached(py, || scores.iter().map(|score| self.0.probabilities(*score)).collect::<Result<Vec<_>>>());
        Ok(two_arrays(py, found?))
    }
}

#[pyfunction]
pub(crate) fn control_risk(py: Python<'_>, losses: PyReadonlyArray2<'_, f64>, alpha: f64, bound: f64) -> PyResult<Option<usize>> {
    let losses = losses.as_array();
    detached(py, || risk::control(losses, alpha, bound))
}

#[pyfunction]
pub(crate) fn learn_then_test(
    py: Python<'_>,
    losses: PyReadonlyArray2<'_, f64>,
    alpha: f64,
    delta: f64,
    p_value: &str,
    correction: &str,
) -> PyResult<Vec<usize>> {
    let p_value = match p_value {
        "hoeffding-bentkus" => PValue::HoeffdingBentkus,
        "binomial" => PValue::Binomial,
        other => return Err(exception(Error::invalid("p_value", format!("{other:?}"), "\"hoeffding-bentkus\" or \"binomial\""))),
    };
    let correction = match correction {
        "fixed-sequence" => Correction::FixedSequence,
        "bonferroni" => Correction::Bonferroni,
        "holm" => Correction::Holm,
        other => {
            let allowed = "\"fixed-sequence\", \"bonferroni\" or \"holm\"";
            return Err(exception(Error::invalid("correction", format!("{other:?}"), allowed)));
        }
    };
    let losses = losses.as_array();
    detached(py, || risk::learn_then_test(losses, alpha, delta, p_value, correction))
}
