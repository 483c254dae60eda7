//! `lyceum.optim`.

use lyceum_core::{Error, Seed};
use lyceum_multitask::{Combiner, Gradients, Method};
use numpy::ndarray::{Array2, Array3};
use numpy::{IntoPyArray, PyArray1, PyArray2, PyArray3, PyArrayMethods, PyReadonlyArray1, PyReadwriteArray1};
use pyo3::prelude::*;

use crate::{
    error::{exception, options},
    threads::detached,
};

/// A method with its state.
///
/// Gradients that are not finite, as a step with scaled losses has them now and then, are summed as they are, and nothing is learnt from
/// them: whoever scales losses looks for infinity in the sum and passes the step over.
#[pyclass(name = "Combiner", module = "lyceum._native")]
pub(crate) struct PyCombiner {
    combiner: Combiner,
    tasks: usize,
}

/// Whether a gradient is wrong, and nothing else.
fn is_of_gradient(error: &Error) -> bool {
    matches!(error, Error::Invalid { what, .. } if what.starts_with("gradient"))
}

#[pymethods]
impl PyCombiner {
    /// `method` is JSON.
    #[new]
    fn new(method: &str, tasks: usize, groups: usize) -> PyResult<Self> {
        let method: Method = options("method", method)?;
        Ok(Self { combiner: method.combiner(tasks, groups).map_err(exception)?, tasks })
    }

    /// `gradients` are the segments of each task, `groups` the group of each segment.
    fn combine<'py>(
        &mut self,
        py: Python<'py>,
        gradients: Vec<Vec<PyReadonlyArray1<'py, f32>>>,
        groups: Vec<usize>,
        losses: Option<PyReadonlyArray1<'py, f64>>,
        seed: u64,
    ) -> PyResult<Vec<Bound<'py, PyArray1<f32>>>> {
        let slices: Vec<Vec<&[f32]>> =
            gradients.iter().map(|task| task.iter().map(PyReadonlyArray1::as_slice).collect::<Result<_, _>>()).collect::<Result<_, _>>()?;
        let count = groups.len();
        if let Some(task) = slices.iter().position(|segments| segments.len() != count) {
            let allowed = format!("{count} arrays, as task 0 has");
            return Err(exception(Error::invalid(format!("gradient of task {task}"), slices[task].len(), allowed)));
        }
        let segments: Vec<Vec<&[f32]>> = (0..count).map(|segment| slices.iter().map(|task| task[segment]).collect()).collect();
        let losses: Option<Vec<f64>> = losses.map(|losses| losses.as_array().to_vec());
        // numpy asks the system for huge pages: a fresh vector of millions of numbers costs a quarter of the time.
        let sums: Vec<_> = segments.iter().map(|parts| PyArray1::zeros(py, parts.first().map_or(0, |part| part.len()), false)).collect();
        let mut writable: Vec<_> = sums.iter().map(PyArrayMethods::readwrite).collect();
        let mut out = writable.iter_mut().map(PyReadwriteArray1::as_slice_mut).collect::<Result<Vec<_>, _>>()?;
        detached(py, || {
            let gradients = Gradients::segments(segments.clone(), &groups)?;
            match self.combiner.combine(&gradients, losses.as_deref(), Seed::new(seed), &mut out) {
                Err(error) if segments.iter().flatten().any(|part| part.iter().any(|x| !x.is_finite())) && is_of_gradient(&error) => {
                    for (sum, parts) in out.iter_mut().zip(&segments) {
                        sum.fill(0.0);
                        parts.iter().for_each(|part| sum.iter_mut().zip(*part).for_each(|(sum, part)| *sum += part));
                    }
                    Ok(())
                }
                found => found,
            }
        })?;
        Ok(sums)
    }

    /// The coefficients of the last step, groups × tasks.
    #[getter]
    fn coefficients<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray2<f64>> {
        let found = self.combiner.last_coefficients();
        Array2::from_shape_fn((found.len(), self.tasks), |(group, task)| found[group][task]).into_pyarray(py)
    }

    /// The Gram matrices of the last step, groups × tasks × tasks.
    #[getter]
    fn grams<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray3<f64>> {
        let found = self.combiner.grams();
        Array3::from_shape_fn((found.len(), self.tasks, self.tasks), |(group, i, j)| found[group][[i, j]]).into_pyarray(py)
    }

    fn state<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f32>> {
        self.combiner.state().into_pyarray(py)
    }

    fn restore(&mut self, state: PyReadonlyArray1<'_, f32>) -> PyResult<()> {
        let state = state.as_array().to_vec();
        self.combiner.restore(&state).map_err(|error| exception(Error::invalid("state", error, "what this combiner's state() gave")))
    }
}
