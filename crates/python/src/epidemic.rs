//! `lyceum.epidemic`.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use lyceum_core::{Error, Result};
use lyceum_epidemic::{
    Config, Simulation,
    evaluate::{self, Outcome},
    table::{self, Column, Table},
    tracing::{
        CALIBRATED, DAYS, Phone, Policy, RISKS, THRESHOLDS,
        learnt::{Predict, Predictor},
    },
};
use numpy::{
    IntoPyArray, PyReadonlyArray2,
    ndarray::{Array1, Array2, Array3},
};
use pyo3::{
    prelude::*,
    types::{PyDict, PyList},
};

use crate::{
    error::exception,
    threads::{detached, stoppable},
};

/// A simulation, and what its policy in Python raised.
#[pyclass(name = "Simulation", module = "lyceum._native")]
pub(crate) struct PySimulation {
    simulation: Simulation,
    raised: Arc<Mutex<Option<PyErr>>>,
}

/// A function in Python that gives risks.
struct Function {
    call: Py<PyAny>,
    raised: Arc<Mutex<Option<PyErr>>>,
}

impl Predict for Function {
    fn predict(&self, phones: &[Phone], risks: &mut [[f32; DAYS]]) {
        if self.raised.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return;
        }
        let called = Python::attach(|py| {
            let given = self.call.call1(py, (arrays(py, phones)?,))?;
            let given = given.bind(py).call_method1("astype", ("float32",))?;
            let given: PyReadonlyArray2<'_, f32> = given.extract()?;
            let found = given.as_array();
            if found.dim() != (phones.len(), DAYS) {
                let allowed = format!("({}, {DAYS}): a risk for each phone, today and the 13 days before", phones.len());
                return Err(exception(Error::invalid("the policy's risks", format!("the shape {:?}", found.dim()), allowed)));
            }
            for (risks, found) in risks.iter_mut().zip(found.rows()) {
                risks.iter_mut().zip(found).for_each(|(risk, found)| *risk = *found);
            }
            Ok(())
        });
        if let Err(error) = called {
            self.raised.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }
}

/// What phones know, as arrays with a row a phone.
fn arrays<'py>(py: Python<'py>, phones: &[Phone]) -> PyResult<Bound<'py, PyDict>> {
    let n = phones.len();
    let dict = PyDict::new(py);
    let each = |of: &dyn Fn(&Phone) -> i64| Array1::from_iter(phones.iter().map(of)).into_pyarray(py);
    dict.set_item("day", phones.first().map_or(0, |phone| phone.day))?;
    dict.set_item("person", each(&|phone| i64::from(phone.person)))?;
    dict.set_item("symptoms", Array2::from_shape_fn((n, DAYS), |(row, day)| phones[row].symptoms[day]).into_pyarray(py))?;
    dict.set_item(
        "messages",
        Array3::from_shape_fn((n, DAYS, RISKS), |(row, day, level)| phones[row].mailbox[day][level]).into_pyarray(py),
    )?;
    dict.set_item("levels", Array2::from_shape_fn((n, DAYS), |(row, day)| phones[row].levels[day]).into_pyarray(py))?;
    dict.set_item("recommendation", each(&|phone| i64::from(phone.recommendation)))?;
    dict.set_item("test", each(&|phone| phone.test.map_or(0, |(positive, _)| if positive { 1 } else { -1 })))?;
    dict.set_item("test_days_ago", each(&|phone| phone.test.map_or(-1, |(_, days)| i64::from(days))))?;
    dict.set_item("age", each(&|phone| phone.profile.map_or(-1, |profile| i64::from(profile.age))))?;
    dict.set_item("sex", each(&|phone| phone.profile.map_or(-1, |profile| i64::from(profile.sex))))?;
    dict.set_item("conditions", each(&|phone| phone.profile.map_or(0, |profile| i64::from(profile.conditions))))?;
    Ok(dict)
}

fn configuration(json: &str) -> PyResult<Config> {
    let config: Config =
        serde_json::from_str(json).map_err(|error| exception(Error::invalid("option", error, "those of the documentation")))?;
    config.check().map_err(exception)?;
    Ok(config)
}

fn policy(function: Option<Py<PyAny>>, raised: &Arc<Mutex<Option<PyErr>>>) -> Option<Arc<dyn Policy>> {
    let function = function?;
    let predict = Function { call: function, raised: raised.clone() };
    Some(Arc::new(Predictor { name: "python".into(), predict, edges: CALIBRATED, thresholds: THRESHOLDS }))
}

fn columns(py: Python<'_>, table: Table) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    for (name, column) in table.columns {
        match column {
            Column::Whole(values) => {
                dict.set_item(name, Array1::from_iter(values.into_iter().map(|value| value as i64)).into_pyarray(py))?
            }
            Column::Number(values) => {
                dict.set_item(name, Array1::from_iter(values.into_iter().map(|value| value.unwrap_or(f64::NAN))).into_pyarray(py))?;
            }
            Column::Word(values) => dict.set_item(name, PyList::new(py, values)?)?,
        }
    }
    Ok(dict)
}

#[pymethods]
impl PySimulation {
    /// `config` is JSON.
    #[new]
    fn new(py: Python<'_>, config: &str, function: Option<Py<PyAny>>) -> PyResult<Self> {
        let config = configuration(config)?;
        let raised = Arc::default();
        let simulation = match policy(function, &raised) {
            Some(policy) => stoppable(py, || Simulation::with_policy(&config, Some(policy))),
            None => stoppable(py, || Simulation::new(&config)),
        };
        Ok(Self { simulation: simulation?, raised })
    }

    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf, changes: &str, function: Option<Py<PyAny>>) -> PyResult<Self> {
        let changes: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(changes).map_err(|error| exception(Error::Failed(error.to_string())))?;
        let raised = Arc::default();
        let policy = policy(function, &raised);
        let mut changed: Result<()> = Ok(());
        let change = |config: &mut Config| {
            let new = serde_json::to_value(&*config).and_then(|mut all| {
                changes.iter().for_each(|(key, value)| all[key] = value.clone());
                serde_json::from_value::<Config>(all)
            });
            match new {
                Ok(new) => *config = new,
                Err(error) => changed = Err(Error::invalid("option", error, "those of the documentation")),
            }
        };
        let simulation = detached(py, || Simulation::load_with(&path, change, policy));
        changed.map_err(exception)?;
        Ok(Self { simulation: simulation.map_err(exception)?, raised })
    }

    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        detached(py, || self.simulation.save(&path)).map_err(exception)
    }

    /// Simulates so many days, or what is left of them.
    fn step(&mut self, py: Python<'_>, days: u32) -> PyResult<()> {
        for _ in 0..days {
            if self.simulation.is_over() {
                break;
            }
            detached(py, || _ = self.simulation.step());
            if let Some(error) = self.raised.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Err(error);
            }
            py.check_signals()?;
        }
        Ok(())
    }

    fn set_level(&mut self, level: u8) -> PyResult<()> {
        self.simulation.set_level(level).map_err(exception)
    }

    fn is_over(&self) -> bool {
        self.simulation.is_over()
    }

    fn day(&self) -> usize {
        self.simulation.days().len()
    }

    fn phones(&self) -> usize {
        self.simulation.phones()
    }

    /// The configuration, as JSON.
    fn config(&self) -> PyResult<String> {
        serde_json::to_string(self.simulation.config()).map_err(|error| exception(Error::Failed(error.to_string())))
    }

    /// The outcome, as JSON.
    fn outcome(&self) -> PyResult<String> {
        serde_json::to_string(&Outcome::of(&self.simulation)).map_err(|error| exception(Error::Failed(error.to_string())))
    }

    fn days<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        columns(py, table::days(self.simulation.days()))
    }

    /// R by the renewal equation, a row a day.
    fn reproduction<'py>(&self, py: Python<'py>, window: usize, level: f64) -> PyResult<Bound<'py, PyDict>> {
        let (infections, days) = (self.simulation.infections(), self.simulation.days().len());
        let found = detached(py, || evaluate::reproduction(infections, days, window, level)).map_err(exception)?;
        columns(py, table::reproduction(&found))
    }

    fn hours<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        columns(py, table::hours(&self.simulation))
    }

    fn infections<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        columns(py, table::infections(&self.simulation))
    }

    fn people<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        columns(py, table::people(self.simulation.population()))
    }
}

/// The parameters with their sources, as TOML.
#[pyfunction]
pub(crate) fn epidemic_parameters() -> &'static str {
    lyceum_epidemic::Parameters::text()
}
