//! The native module of the Python package `lyceum`: thin wrappers that take arrays without copying them and release
//! the interpreter's lock while they work. What users see is in `python/lyceum`.

#![allow(clippy::needless_pass_by_value, reason = "Python passes its objects by value")]

mod active;
mod command;
mod conformal;
mod epidemic;
mod error;
mod experiments;
mod federated;
mod masking;
mod models;
mod optim;
mod schemes;
mod threads;

use pyo3::pymodule;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a training step gives back the next one needs again: memory goes back to the system after ten seconds, not after ten
/// milliseconds, since the system clears each page that it lends.
fn keep_memory() {
    /// mimalloc's `mi_option_purge_delay`, in milliseconds.
    const PURGE_DELAY: std::ffi::c_int = 15;
    // SAFETY: sets a number; the option exists in versions 2 and 3, at this place in both.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, 10_000) };
}

#[pymodule]
mod _native {
    use pyo3::{
        Bound, PyResult,
        types::{PyModule, PyModuleMethods, PyTuple},
    };

    #[pymodule_export]
    use super::active::{
        PySampler, bald, batch_bald, distance, entropy, expected_loss, k_center_greedy, least_confidence, margin, variation_ratio,
    };
    #[pymodule_export]
    use super::command::main;

    #[pymodule_export]
    use super::conformal::{
        PyPredictor, calibration_scores, coverage_interval, fit_temperature, logits_from_f64, p_values, scores, sscv, tune_raps,
    };

    #[pymodule_export]
    use super::epidemic::{PySimulation, epidemic_parameters};

    #[pymodule_export]
    use super::experiments::{experiments, resume, run};

    #[pymodule_export]
    use super::federated::{PyLedger, PyNetwork, PyRules, PyTrainer, client_state, gaussian_epsilon, partition, simulate};

    #[pymodule_export]
    use super::masking::{PyMasker, PyVocabulary, pad};

    #[pymodule_export]
    use super::models::{PyModel, run_onnx};

    #[pymodule_export]
    use super::optim::PyCombiner;

    #[pymodule_export]
    use super::schemes::{
        PyCrossConformal, PyOnline, PyPredictive, PyVennAbers, control_risk, enbpi_ends, jackknife_plus, learn_then_test,
        quantile_interval, split_interval,
    };

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::keep_memory();
        super::threads::loaded();
        let py = module.py();
        module.add("EPIDEMIC_POLICIES", PyTuple::new(py, lyceum_epidemic::PolicyName::ALL.map(lyceum_epidemic::PolicyName::name))?)?;
        module.add("EPIDEMIC_SYMPTOMS", PyTuple::new(py, lyceum_epidemic::symptoms::NAMES)?)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
