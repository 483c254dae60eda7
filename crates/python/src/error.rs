//! Errors as exceptions of the kind that Python users expect.

use lyceum_core::Error;
use pyo3::{
    PyErr, PyResult,
    exceptions::{PyFileNotFoundError, PyKeyboardInterrupt, PyOSError, PyRuntimeError, PyValueError},
};
use serde::de::DeserializeOwned;

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

/// Options that the Python side has gathered as JSON. A mistake is told by the name of the option, as far as it is known, and never by
/// its place in the text, which users have not written.
pub(crate) fn options<T: DeserializeOwned>(what: &str, json: &str) -> PyResult<T> {
    let mut reader = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let text = error.inner().to_string();
        let text = text.split(" at line ").next().unwrap_or_default().to_owned();
        let what = if path == "." { what.to_owned() } else { format!("{what}.{path}") };
        exception(Error::invalid(what, text, "what the documentation lists"))
    })
}
