//! `lyceum.Model`: trained networks, asked from Python.

use std::{collections::HashMap, path::PathBuf};

use lyceum_conformal::{Known, conformal::Copies};
use lyceum_core::{Error, Result};
use lyceum_data::formats::picture::{self, Fit};
use lyceum_experiments::trained::{Opening, Trained};
use lyceum_onnx::{Model, Tensor};
use lyceum_train::graph::Shape;
use numpy::{IntoPyArray, PyArray1, PyArray2, PyReadonlyArray2, PyReadonlyArrayDyn, ndarray::Array2};
use pyo3::prelude::*;

use crate::{
    conformal::{Sets, arrays},
    error::exception,
    threads::{detached, stoppable},
};

type Numbers<'py> = (Bound<'py, PyArray1<f64>>, Option<Bound<'py, PyArray2<f64>>>);

/// A network with what is needed to ask it.
#[pyclass(name = "Model", module = "lyceum._native", frozen)]
pub(crate) struct PyModel(Trained);

#[pymethods]
impl PyModel {
    #[new]
    #[pyo3(signature = (path, input, output))]
    fn new(py: Python<'_>, path: PathBuf, input: Option<Vec<usize>>, output: Option<String>) -> PyResult<Self> {
        if input.iter().flatten().any(|extent| *extent == 0) {
            return Err(exception(Error::invalid("input", format!("{input:?}"), "extents of 1 or more")));
        }
        let wrong = || exception(Error::invalid("input", format!("{input:?}"), "one to three extents of an example"));
        let input = input.as_deref().map(|extents| Shape::of(extents).ok_or_else(wrong)).transpose()?;
        detached(py, || Trained::open(&path, &Opening { input, output })).map(Self)
    }

    /// The extents of an example.
    #[getter]
    fn input(&self) -> Vec<usize> {
        self.0.extents()
    }

    #[getter]
    fn classes(&self) -> Vec<String> {
        self.0.classes.clone()
    }

    /// What the numbers of an example are called, where they have names.
    #[getter]
    fn columns(&self) -> Vec<String> {
        self.0.columns.clone()
    }

    #[getter]
    fn temperature(&self) -> f64 {
        self.0.temperature
    }

    /// What is predicted, of a model that predicts numbers.
    #[getter]
    fn target(&self) -> Option<String> {
        self.0.target.as_ref().map(|target| target.name.clone())
    }

    /// The share of numbers that may lie outside their intervals, of a model that has such.
    #[getter]
    fn alpha(&self) -> Option<f64> {
        self.0.target.as_ref()?.intervals.map(|intervals| intervals.alpha())
    }

    /// Numbers and, where there are intervals, their ends.
    fn numbers<'py>(&self, py: Python<'py>, given: PyReadonlyArray2<'py, f32>) -> PyResult<Numbers<'py>> {
        let given = given.as_array().to_owned();
        let (values, ends) = detached(py, || self.0.numbers(&given))?;
        let ends = ends.map(|ends| Array2::from_shape_fn((ends.len(), 2), |(row, end)| if end == 0 { ends[row].0 } else { ends[row].1 }));
        Ok((values.into_pyarray(py), ends.map(|ends| ends.into_pyarray(py))))
    }

    #[getter]
    fn has_sets(&self) -> bool {
        self.0.sets.is_some()
    }

    /// Parameters and multiply-adds of an example.
    #[getter]
    fn cost(&self) -> (u64, u64) {
        let cost = self.0.net().graph().cost();
        (cost.parameters, cost.multiply_adds)
    }

    fn logits<'py>(&self, py: Python<'py>, rows: PyReadonlyArray2<'py, f32>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let rows = rows.as_array();
        Ok(stoppable(py, || self.0.logits(rows))?.into_pyarray(py))
    }

    fn probabilities<'py>(&self, py: Python<'py>, logits: PyReadonlyArray2<'py, f32>) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let logits = logits.as_array().to_owned();
        Ok(detached(py, || self.0.probabilities(&logits))?.into_pyarray(py))
    }

    fn sets<'py>(&self, py: Python<'py>, logits: PyReadonlyArray2<'py, f32>, seed: u64) -> PyResult<Sets<'py>> {
        let logits = logits.as_array().to_owned();
        Ok(arrays(py, &detached(py, || self.0.sets_of(&mut Copies::default(), &logits, Known::default(), seed))?))
    }

    #[getter]
    fn reads_text(&self) -> bool {
        self.0.reads_text()
    }

    /// Texts as rows: numbers of symbols.
    fn texts<'py>(&self, py: Python<'py>, texts: Vec<String>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let rows = texts.iter().map(|text| self.0.row_of_text(text)).collect::<Result<Vec<_>>>().map_err(exception)?;
        let rows = Array2::from_shape_vec((texts.len(), self.0.input().len()), rows.concat());
        Ok(rows.map_err(|error| exception(Error::Failed(error.to_string())))?.into_pyarray(py))
    }

    /// Pictures as rows: values from 0 to 1.
    fn pictures<'py>(&self, py: Python<'py>, paths: Vec<PathBuf>, crop: bool) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let extent = self.0.picture("paths of pictures").map_err(exception)?;
        let fit = if crop { Fit::Crop } else { Fit::Stretch };
        let read = || {
            let rows: Vec<Vec<f32>> = picture::read_all(&paths, extent, fit).into_iter().collect::<Result<_>>()?;
            Array2::from_shape_vec((paths.len(), extent.len()), rows.concat()).map_err(|error| Error::Failed(error.to_string()))
        };
        Ok(stoppable(py, read)?.into_pyarray(py))
    }

    fn export(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        detached(py, || self.0.export(&path))
    }
}

/// What an ONNX model gives, node by node, for arrays of any number of axes: slow, by the format's specification.
#[pyfunction]
pub(crate) fn run_onnx<'py>(py: Python<'py>, model: Vec<u8>, inputs: HashMap<String, Bound<'py, PyAny>>) -> PyResult<Vec<Py<PyAny>>> {
    let mut tensors = HashMap::new();
    for (name, value) in inputs {
        let tensor = if let Ok(x) = value.extract::<PyReadonlyArrayDyn<'_, f32>>() {
            Tensor::Float(x.as_array().to_owned())
        } else if let Ok(x) = value.extract::<PyReadonlyArrayDyn<'_, bool>>() {
            Tensor::Bool(x.as_array().to_owned())
        } else {
            Tensor::Int(value.extract::<PyReadonlyArrayDyn<'_, i64>>()?.as_array().to_owned())
        };
        tensors.insert(name, tensor);
    }
    let found = detached(py, || Model::decode(model, None).map_err(Error::Violated)?.run(tensors))?;
    let array = |tensor: Tensor| match tensor {
        Tensor::Float(x) => x.into_pyarray(py).into_any().unbind(),
        Tensor::Int(x) => x.into_pyarray(py).into_any().unbind(),
        Tensor::Bool(x) => x.into_pyarray(py).into_any().unbind(),
    };
    Ok(found.into_iter().map(array).collect())
}
