//! The calibration schemes of `lyceum.conformal` beyond split conformal prediction.

use lyceum_conformal::{ClassConditional, Clustering, CrossConformal, Mondrian, Online, Weighted, regression, risk};
use lyceum_core::Seed;
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArray3};
use pyo3::prelude::*;

use crate::{
    conformal::{Sets, arrays, numbers, parse, test},
    error::exception,
    threads::detached,
};

#[pyclass(name = "ClassConditional", module = "lyceum._native", frozen)]
pub(crate) struct PyClassConditional(ClassConditional);

#[pymethods]
impl PyClassConditional {
    #[staticmethod]
    fn calibrate(
        py: Python<'_>,
        config: &str,
        clusters: Option<usize>,
        share: f64,
        logits: PyReadonlyArray2<'_, f32>,
        labels: PyReadonlyArray1<'_, i64>,
        seed: u64,
    ) -> PyResult<Self> {
        let (config, logits, labels, seed) = (parse(config)?, logits.as_array(), numbers(&labels)?, Seed::new(seed));
        let calibrate = || match clusters {
            Some(clusters) => ClassConditional::calibrate_clustered(config, Clustering { clusters, share }, logits, &labels, seed),
            None => ClassConditional::calibrate(config, logits, &labels, seed),
        };
        detached(py, calibrate).map(Self).map_err(exception)
    }

    fn predict<'py>(&self, py: Python<'py>, logits: PyReadonlyArray2<'py, f32>, seed: u64) -> PyResult<Sets<'py>> {
        let logits = logits.as_array();
        Ok(arrays(py, &detached(py, || self.0.predict(logits, test(seed))).map_err(exception)?))
    }

    /// τ of each label.
    #[getter]
    fn thresholds<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        infinite(&self.0.thresholds).into_pyarray(py)
    }

    /// The cluster of each label, −1 for none; `None` without clusters.
    #[getter]
    fn clusters<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyArray1<i64>>> {
        let clusters = self.0.clusters.as_ref()?;
        Some(clusters.iter().map(|cluster| cluster.map_or(-1, |cluster| cluster as i64)).collect::<Vec<i64>>().into_pyarray(py))
    }
}

#[pyclass(name = "Mondrian", module = "lyceum._native", frozen)]
pub(crate) struct PyMondrian(Mondrian);

#[pymethods]
impl PyMondrian {
    #[staticmethod]
    fn calibrate(
        py: Python<'_>,
        config: &str,
        logits: PyReadonlyArray2<'_, f32>,
        labels: PyReadonlyArray1<'_, i64>,
        groups: PyReadonlyArray1<'_, i64>,
        seed: u64,
    ) -> PyResult<Self> {
        let (config, logits, labels, groups) = (parse(config)?, logits.as_array(), numbers(&labels)?, numbers(&groups)?);
        detached(py, || Mondrian::calibrate(config, logits, &labels, &groups, Seed::new(seed))).map(Self).map_err(exception)
    }

    fn predict<'py>(
        &self,
        py: Python<'py>,
        logits: PyReadonlyArray2<'py, f32>,
        groups: PyReadonlyArray1<'py, i64>,
        seed: u64,
    ) -> PyResult<Sets<'py>> {
        let (logits, groups) = (logits.as_array(), numbers(&groups)?);
        Ok(arrays(py, &detached(py, || self.0.predict(logits, &groups, test(seed))).map_err(exception)?))
    }

    /// τ of each group.
    #[getter]
    fn thresholds<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        infinite(&self.0.thresholds).into_pyarray(py)
    }
}

#[pyclass(name = "Weighted", module = "lyceum._native", frozen)]
pub(crate) struct PyWeighted {
    model: Weighted,
}

#[pymethods]
impl PyWeighted {
    #[staticmethod]
    fn calibrate(
        py: Python<'_>,
        config: &str,
        logits: PyReadonlyArray2<'_, f32>,
        labels: PyReadonlyArray1<'_, i64>,
        weights: PyReadonlyArray1<'_, f64>,
        seed: u64,
    ) -> PyResult<Self> {
        let (config, logits, labels, weights) = (parse(config)?, logits.as_array(), numbers(&labels)?, weights.as_array().to_vec());
        let model = detached(py, || Weighted::calibrate(config, logits, &labels, &weights, Seed::new(seed))).map_err(exception)?;
        Ok(Self { model })
    }

    fn predict<'py>(
        &self,
        py: Python<'py>,
        logits: PyReadonlyArray2<'py, f32>,
        weights: PyReadonlyArray1<'py, f64>,
        seed: u64,
    ) -> PyResult<Sets<'py>> {
        let (logits, weights) = (logits.as_array(), weights.as_array().to_vec());
        Ok(arrays(py, &detached(py, || self.model.predict(logits, &weights, test(seed))).map_err(exception)?))
    }
}

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
        let (config, logits, labels, folds) = (parse(config)?, logits.as_array(), numbers(&labels)?, numbers(&folds)?);
        detached(py, || CrossConformal::calibrate(config, logits, &labels, &folds, Seed::new(seed))).map(Self).map_err(exception)
    }

    fn predict<'py>(&self, py: Python<'py>, logits: PyReadonlyArray3<'py, f32>, seed: u64) -> PyResult<Sets<'py>> {
        let logits = logits.as_array();
        Ok(arrays(py, &detached(py, || self.0.predict(logits, test(seed))).map_err(exception)?))
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
    let found = regression::split(&vec(&predictions), difficulty.as_deref(), &vec(&y), alpha)
        .and_then(|q| regression::split_intervals(q, &vec(&new), new_difficulty.as_deref()));
    Ok(two_arrays(py, found.map_err(exception)?))
}

/// Conformalised quantile regression of new points: `n × 2` quantiles of the calibration points and of new ones.
#[pyfunction]
pub(crate) fn quantile_interval<'py>(
    py: Python<'py>,
    ends: PyReadonlyArray2<'py, f64>,
    y: PyReadonlyArray1<'py, f64>,
    new: PyReadonlyArray2<'py, f64>,
    alpha: f64,
) -> PyResult<Ends<'py>> {
    let pairs = |ends: &PyReadonlyArray2<'_, f64>| ends.as_array().rows().into_iter().map(|row| (row[0], row[1])).collect::<Vec<_>>();
    let found =
        regression::quantile_regression(&pairs(&ends), &y.as_array().to_vec(), alpha).and_then(|q| regression::widened(q, &pairs(&new)));
    Ok(two_arrays(py, found.map_err(exception)?))
}

#[pyfunction]
pub(crate) fn jackknife_plus<'py>(
    py: Python<'py>,
    residuals: PyReadonlyArray1<'py, f64>,
    predictions: PyReadonlyArray2<'py, f64>,
    alpha: f64,
) -> PyResult<Ends<'py>> {
    let found = regression::jackknife_plus(&residuals.as_array().to_vec(), predictions.as_array(), alpha).map_err(exception)?;
    Ok(two_arrays(py, found))
}

#[pyfunction]
pub(crate) fn control_risk(losses: PyReadonlyArray2<'_, f64>, alpha: f64, bound: f64) -> PyResult<Option<usize>> {
    risk::control(losses.as_array(), alpha, bound).map_err(exception)
}

#[pyfunction]
pub(crate) fn learn_then_test(losses: PyReadonlyArray2<'_, f64>, alpha: f64, delta: f64) -> PyResult<Vec<usize>> {
    risk::learn_then_test(losses.as_array(), alpha, delta).map_err(exception)
}

fn infinite(thresholds: &[Option<f64>]) -> Vec<f64> {
    thresholds.iter().map(|threshold| threshold.unwrap_or(f64::INFINITY)).collect()
}
