//! Errors of the library as exceptions of Python: the class says what to do, the attributes are the evidence.

use efface::limits::SUBJECTS_MAX;
use efface::{Error, ErrorKind};
use pyo3::prelude::*;
use serde_json::{Map, Value, json};

/// The class of `efface.errors` for a kind.
fn class(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Unavailable => "UnavailableError",
        ErrorKind::Usage => "UsageError",
        ErrorKind::Refused => "RefusedError",
        ErrorKind::Conflict => "ConflictError",
        ErrorKind::Damaged => "DamagedError",
        ErrorKind::Unsupported => "UnsupportedError",
        ErrorKind::Internal => "InternalError",
        ErrorKind::Cancelled => "CancelledError",
        // A kind that is not known is best treated as one.
        _ => "StorageError",
    }
}

/// The evidence of the errors that a program acts on.
fn evidence(error: &Error) -> Map<String, Value> {
    let found = match error {
        Error::Io { path, .. }
        | Error::Shard { path, .. }
        | Error::State { path, .. }
        | Error::Config { path, .. }
        | Error::OtherConfig { path }
        | Error::ForeignFile { path }
        | Error::NoShards { path, .. }
        | Error::Place { path, .. }
        | Error::ShardChanged { path, .. }
        | Error::MissingColumn { path, .. }
        | Error::CheckFailed { path, .. } => json!({ "path": path }),
        Error::UnknownSubjects { positions, .. } => json!({ "positions": positions }),
        Error::EmptySubject { position, .. } => json!({ "positions": [position] }),
        Error::TooManySubjects { found } => json!({ "found": found, "limit": SUBJECTS_MAX }),
        Error::PlanChanged { expected, found } => json!({ "expected": expected, "found": found }),
        Error::Held {
            tracking_id, state, ..
        } => json!({ "tracking_id": tracking_id, "state": state }),
        _ => Value::Null,
    };
    match found {
        Value::Object(found) => found,
        _ => Map::new(),
    }
}

/// The exception for an error of the library.
pub(crate) fn raised(py: Python<'_>, error: &Error) -> PyErr {
    made(
        py,
        class(error.kind()),
        &error.to_string(),
        &evidence(error),
    )
}

/// An exception for a call that makes no sense, found before the library was asked.
pub(crate) fn usage(py: Python<'_>, message: &str) -> PyErr {
    made(py, "UsageError", message, &Map::new())
}

fn made(py: Python<'_>, class: &str, message: &str, evidence: &Map<String, Value>) -> PyErr {
    let make = || -> PyResult<PyErr> {
        let class = py.import("efface.errors")?.getattr(class)?;
        let error = class.call1((message,))?;
        for (name, value) in evidence {
            error.setattr(name.as_str(), crate::report::to_python(py, value)?)?;
        }
        Ok(PyErr::from_value(error))
    };
    make().unwrap_or_else(|error| error)
}

/// Answers of the library as those of Python.
pub(crate) trait OrRaise<T> {
    /// # Errors
    /// The exception for the library's error.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for efface::Result<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| raised(py, &error))
    }
}
