//! `lyceum.epidemic`.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError,
        atomic::{
            AtomicUsize,
            Ordering::{Acquire, Release},
        },
    },
};

use lyceum_core::Error;
use lyceum_epidemic::{
    Config, Deciding, Simulation,
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
    exceptions::PyRuntimeError,
    prelude::*,
    types::{PyBytes, PyDict, PyList},
};

use crate::{
    error::{exception, options},
    threads::{detached, stoppable},
};

/// A simulation. While it is in a step, and its policy is asked, the day can be told, and all else is an error.
#[pyclass(name = "Simulation", module = "lyceum._native", frozen)]
pub(crate) struct PySimulation {
    simulation: Mutex<Simulation>,
    /// What its policy in Python raised.
    raised: Arc<Mutex<Option<PyErr>>>,
    day: AtomicUsize,
    days: usize,
    /// On which day its policy failed.
    failed: OnceLock<usize>,
}

/// A function in Python that gives risks.
struct Function {
    call: Py<PyAny>,
    raised: Arc<Mutex<Option<PyErr>>>,
}

impl Predict for Function {
    /// A function of the user's may keep a state, and call this module again.
    fn wants_all(&self) -> bool {
        true
    }

    fn predict(&self, phones: &[Phone], risks: &mut [[f32; DAYS]]) {
        if locked(&self.raised).is_some() {
            return;
        }
        let called = Python::attach(|py| {
            let given = self.call.call1(py, (arrays(py, phones)?,))?;
            let given: PyReadonlyArray2<'_, f32> = given.bind(py).extract()?;
            let found = given.as_array();
            let wrong = |found: String, allowed: String| Err(exception(Error::invalid("the policy's risks", found, allowed)));
            if found.dim() != (phones.len(), DAYS) {
                let allowed = format!("({}, {DAYS}): a risk for each phone, today and the 13 days before", phones.len());
                return wrong(format!("the shape {:?}", found.dim()), allowed);
            }
            if let Some(((phone, day), risk)) = found.indexed_iter().find(|(_, risk)| !(risk.is_finite() && **risk >= 0.0)) {
                return wrong(format!("{risk} for phone {phone}, {day} days ago"), "finite numbers >= 0".into());
            }
            for (risks, found) in risks.iter_mut().zip(found.rows()) {
                risks.iter_mut().zip(found).for_each(|(risk, found)| *risk = *found);
            }
            Ok(())
        });
        if let Err(error) = called {
            locked(&self.raised).get_or_insert(error);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
    let config: Config = options("options", json)?;
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

impl PySimulation {
    fn new(simulation: Simulation, raised: Arc<Mutex<Option<PyErr>>>) -> Self {
        let (day, days) = (simulation.days().len(), simulation.config().days as usize);
        let day = AtomicUsize::new(day);
        Self { simulation: Mutex::new(simulation), raised, day, days, failed: OnceLock::new() }
    }

    /// The simulation, unless it is in a step, or its policy has failed in the middle of a day.
    fn simulation(&self) -> PyResult<MutexGuard<'_, Simulation>> {
        if let Some(day) = self.failed.get() {
            let text = format!("the policy failed on day {day}, whose end is not known: begin anew, or load what was saved before");
            return Err(PyRuntimeError::new_err(text));
        }
        match self.simulation.try_lock() {
            Ok(simulation) => Ok(simulation),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {
                Err(PyRuntimeError::new_err("the simulation is in a step: until it is over, `day` and `is_over` alone can be asked for"))
            }
        }
    }
}

#[pymethods]
impl PySimulation {
    /// `config` is JSON.
    #[new]
    fn begin(py: Python<'_>, config: &str, function: Option<Py<PyAny>>) -> PyResult<Self> {
        let config = configuration(config)?;
        let raised = Arc::default();
        let simulation = match policy(function, &raised) {
            Some(policy) => stoppable(py, || Simulation::with_policy(&config, Some(policy))),
            None => stoppable(py, || Simulation::new(&config)),
        };
        Ok(Self::new(simulation?, raised))
    }

    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf, changes: &str, function: Option<Py<PyAny>>) -> PyResult<Self> {
        let changes: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(changes).map_err(|error| exception(Error::Failed(error.to_string())))?;
        let raised = Arc::default();
        let policy = policy(function, &raised);
        let mut changed: PyResult<()> = Ok(());
        let change = |config: &mut Config| {
            let mut all = serde_json::to_value(&*config).unwrap_or_default();
            changes.iter().for_each(|(key, value)| all[key] = value.clone());
            match options::<Config>("options", &all.to_string()) {
                Ok(new) => *config = new,
                Err(error) => changed = Err(error),
            }
        };
        let policy = if policy.is_none() && !changes.contains_key("policy") { Deciding::AsBefore } else { Deciding::Now(policy) };
        let simulation = detached(py, || Simulation::load_with(&path, change, policy));
        changed?;
        Ok(Self::new(simulation?, raised))
    }

    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let simulation = self.simulation()?;
        let simulation = &*simulation;
        detached(py, || simulation.save(&path))
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let simulation = self.simulation()?;
        let simulation = &*simulation;
        Ok(PyBytes::new(py, &detached(py, || simulation.to_bytes())?))
    }

    #[staticmethod]
    fn from_bytes(py: Python<'_>, bytes: &[u8], function: Option<Py<PyAny>>) -> PyResult<Self> {
        let raised = Arc::default();
        let policy = policy(function, &raised);
        Ok(Self::new(detached(py, || Simulation::from_bytes(bytes, policy))?, raised))
    }

    /// Simulates so many days, or what is left of them.
    fn step(&self, py: Python<'_>, days: u32) -> PyResult<()> {
        let mut simulation = self.simulation()?;
        let simulation = &mut *simulation;
        for _ in 0..days {
            if simulation.is_over() {
                break;
            }
            let stepped = detached(py, || {
                _ = simulation.step();
                Ok(())
            });
            let raised = locked(&self.raised).take();
            if let Some(error) = stepped.err().or(raised) {
                let _ = self.failed.set(self.day.load(Acquire));
                return Err(error);
            }
            self.day.store(simulation.days().len(), Release);
            py.check_signals()?;
        }
        Ok(())
    }

    fn set_level(&self, level: u8) -> PyResult<()> {
        self.simulation()?.set_level(level).map_err(exception)
    }

    fn is_over(&self) -> bool {
        self.day.load(Acquire) >= self.days
    }

    fn day(&self) -> usize {
        self.day.load(Acquire)
    }

    fn phones(&self) -> PyResult<usize> {
        Ok(self.simulation()?.phones())
    }

    /// The configuration, as JSON.
    fn config(&self) -> PyResult<String> {
        serde_json::to_string(self.simulation()?.config()).map_err(|error| exception(Error::Failed(error.to_string())))
    }

    /// The outcome, as JSON.
    fn outcome(&self) -> PyResult<String> {
        let outcome = Outcome::of(&*self.simulation()?);
        serde_json::to_string(&outcome).map_err(|error| exception(Error::Failed(error.to_string())))
    }

    fn days<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        columns(py, table::days(self.simulation()?.days()))
    }

    /// R by the renewal equation, a row a day.
    fn reproduction<'py>(&self, py: Python<'py>, window: usize, level: f64) -> PyResult<Bound<'py, PyDict>> {
        let simulation = self.simulation()?;
        let (infections, days) = (simulation.infections(), simulation.days().len());
        let found = detached(py, || evaluate::reproduction(infections, days, window, level))?;
        columns(py, table::reproduction(&found))
    }

    fn hours<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        columns(py, table::hours(&*self.simulation()?))
    }

    fn infections<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        columns(py, table::infections(&*self.simulation()?))
    }

    fn people<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        columns(py, table::people(self.simulation()?.population()))
    }
}

/// The parameters with their sources, as TOML.
#[pyfunction]
pub(crate) fn epidemic_parameters() -> &'static str {
    lyceum_epidemic::Parameters::text()
}
