//! Errors as exceptions of the kind that Python users expect.

use lyceum_core::Error;
use pyo3::{
    PyErr,
    exceptions::{PyFileNotFoundError, PyKeyboardInterrupt, PyOSError, PyRuntimeError, PyValueError},
};

/// A mistake in a value is a `ValueError`, a missing file a `FileNotFoundError`, what the system refused an `OSError`.
pub(crate) fn exception(error: Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::Invalid { .. } | Error::Violated(_) | Error::Damaged { .. } | Error::Recipe(_) => PyValueError::new_err(text),
        Error::Missing { .. } => PyFileNotFoundError::new_err(text),
        Error::Interrupted { .. } => PyKeyboardInterrupt::new_err(text),
        Error::Io { .. } => PyOSError::new_err(text),
        _ => PyRuntimeError::new_err(text),
    }
}
