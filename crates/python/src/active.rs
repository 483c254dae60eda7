//! `lyceum.active`.

use lyceum_active::{
    AcquisitionLog, Draw, Estimator, Proposal, Sampler, batch_bald as batches, core_set,
    scores::{self, Loss},
};
use lyceum_core::{Error, Result, Seed};
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArray3};
use pyo3::prelude::*;

use crate::{
    error::{exception, options},
    threads::{detached, stoppable},
};

/// A sampler with its record.
#[pyclass(name = "Sampler", module = "lyceum._native")]
pub(crate) struct PySampler(Sampler);

type Numbers<'py> = Bound<'py, PyArray1<f64>>;
type Points<'py> = Bound<'py, PyArray1<i64>>;

#[pymethods]
impl PySampler {
    /// `proposal` is JSON; the record is given by its draws.
    #[new]
    fn new(
        proposal: &str,
        pool_size: usize,
        indices: PyReadonlyArray1<'_, i64>,
        log_q: PyReadonlyArray1<'_, f64>,
        clip: f64,
        seed: u64,
    ) -> PyResult<Self> {
        let proposal: Proposal = options("proposal", proposal)?;
        let mut log = AcquisitionLog::new(pool_size).map_err(exception)?;
        for (&index, &log_q) in indices.as_array().iter().zip(log_q.as_array()) {
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            log.push(Draw { index, log_q }).map_err(exception)?;
        }
        Ok(Self(Sampler::new(proposal, log, Seed::new(seed)).map_err(exception)?.with_clip(clip)))
    }

    fn draw<'py>(&mut self, py: Python<'py>, scores: PyReadonlyArray1<'py, f64>, count: usize) -> PyResult<Points<'py>> {
        let scores = scores.as_slice()?;
        let drawn = detached(py, || self.0.draw(scores, count).map(<[Draw]>::to_vec))?;
        Ok(drawn.iter().map(|draw| draw.index as i64).collect::<Vec<i64>>().into_pyarray(py))
    }

    fn weights<'py>(&self, py: Python<'py>, estimator: &str) -> PyResult<Numbers<'py>> {
        Ok(self.0.log().weights(estimator_named(estimator).map_err(exception)?).into_pyarray(py))
    }

    /// Value, standard error, effective size, largest share, and the interval at `level`.
    fn estimate(&self, losses: PyReadonlyArray1<'_, f64>, estimator: &str, level: f64) -> PyResult<(f64, f64, f64, f64, f64, f64)> {
        let estimator = estimator_named(estimator).map_err(exception)?;
        let found = self.0.log().estimate(&slice(&losses), estimator).map_err(exception)?;
        let (low, high) = found.interval(level).map_err(exception)?;
        Ok((found.value, found.standard_error, found.effective_size, found.largest_share, low, high))
    }

    fn confidence_sequence(&self, losses: PyReadonlyArray1<'_, f64>, bound: f64, level: f64) -> PyResult<(f64, f64)> {
        self.0.log().confidence_sequence(&slice(&losses), bound, level).map_err(exception)
    }

    #[getter]
    fn indices<'py>(&self, py: Python<'py>) -> Points<'py> {
        self.0.log().draws().iter().map(|draw| draw.index as i64).collect::<Vec<i64>>().into_pyarray(py)
    }

    #[getter]
    fn log_q<'py>(&self, py: Python<'py>) -> Numbers<'py> {
        self.0.log().draws().iter().map(|draw| draw.log_q).collect::<Vec<f64>>().into_pyarray(py)
    }

    /// Writes the record as `lyceum active` reads it.
    fn save(&self, path: std::path::PathBuf) -> PyResult<()> {
        self.0.log().save(&path).map_err(exception)
    }

    /// The pool's size, the points and ln q of a record.
    #[staticmethod]
    fn read(py: Python<'_>, path: std::path::PathBuf) -> PyResult<(usize, Points<'_>, Numbers<'_>)> {
        let log = AcquisitionLog::load(&path).map_err(exception)?;
        let (indices, log_q): (Vec<i64>, Vec<f64>) = log.draws().iter().map(|draw| (draw.index as i64, draw.log_q)).unzip();
        Ok((log.pool_size(), indices.into_pyarray(py), log_q.into_pyarray(py)))
    }
}

fn estimator_named(name: &str) -> Result<Estimator> {
    match name {
        "lure" => Ok(Estimator::Lure),
        "pure" => Ok(Estimator::Pure),
        "naive" => Ok(Estimator::Naive),
        _ => Err(Error::invalid("estimator", format!("{name:?}"), "\"lure\", \"pure\" or \"naive\"")),
    }
}

fn slice(values: &PyReadonlyArray1<'_, f64>) -> Vec<f64> {
    values.as_array().to_vec()
}

macro_rules! of_probabilities {
    ($($name:ident)*) => { $(
        #[pyfunction]
        pub(crate) fn $name<'py>(py: Python<'py>, probabilities: PyReadonlyArray2<'py, f32>) -> PyResult<Numbers<'py>> {
            let array = probabilities.as_array();
            Ok(detached(py, || scores::$name(array))?.into_pyarray(py))
        }
    )* };
}

macro_rules! of_samples {
    ($($name:ident)*) => { $(
        #[pyfunction]
        pub(crate) fn $name<'py>(py: Python<'py>, samples: PyReadonlyArray3<'py, f32>) -> PyResult<Numbers<'py>> {
            let array = samples.as_array();
            Ok(detached(py, || scores::$name(array))?.into_pyarray(py))
        }
    )* };
}

of_probabilities!(entropy least_confidence margin);
of_samples!(bald variation_ratio);

#[pyfunction]
pub(crate) fn expected_loss<'py>(
    py: Python<'py>,
    model: PyReadonlyArray2<'py, f32>,
    surrogate: PyReadonlyArray2<'py, f32>,
    zero_one: bool,
) -> PyResult<Numbers<'py>> {
    let (model, surrogate) = (model.as_array(), surrogate.as_array());
    let loss = if zero_one { Loss::ZeroOne } else { Loss::CrossEntropy };
    Ok(detached(py, || scores::expected_loss(model, surrogate, loss))?.into_pyarray(py))
}

#[pyfunction]
pub(crate) fn distance<'py>(
    py: Python<'py>,
    features: PyReadonlyArray2<'py, f32>,
    taken: PyReadonlyArray1<'py, i64>,
) -> PyResult<Numbers<'py>> {
    let (features, taken) = (features.as_array(), points(&taken));
    Ok(detached(py, || scores::distance(features, &taken))?.into_pyarray(py))
}

#[pyfunction]
pub(crate) fn k_center_greedy<'py>(
    py: Python<'py>,
    features: PyReadonlyArray2<'py, f32>,
    taken: PyReadonlyArray1<'py, i64>,
    count: usize,
) -> PyResult<Points<'py>> {
    let (features, taken) = (features.as_array(), points(&taken));
    let chosen = stoppable(py, || core_set::k_center_greedy(features, &taken, count))?;
    Ok(chosen.into_iter().map(|index| index as i64).collect::<Vec<i64>>().into_pyarray(py))
}

#[pyfunction]
pub(crate) fn batch_bald<'py>(
    py: Python<'py>,
    samples: PyReadonlyArray3<'py, f32>,
    count: usize,
    labellings: usize,
    seed: u64,
) -> PyResult<(Points<'py>, Numbers<'py>)> {
    let samples = samples.as_array();
    let chosen = stoppable(py, || batches::batch_bald(samples, count, labellings, Seed::new(seed)))?;
    let (indices, gains): (Vec<i64>, Vec<f64>) = chosen.into_iter().map(|(index, gain)| (index as i64, gain)).unzip();
    Ok((indices.into_pyarray(py), gains.into_pyarray(py)))
}

/// Points by number; one that is negative is out of every range.
fn points(points: &PyReadonlyArray1<'_, i64>) -> Vec<usize> {
    points.as_array().iter().map(|&index| usize::try_from(index).unwrap_or(usize::MAX)).collect()
}
