//! The configuration of a dataset: what is stored for it, with what the keyword arguments say instead.

use efface::config::Config;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use serde_json::Value;

use crate::fault::usage;
use crate::report;

/// `stored`, with what `given` says instead.
///
/// # Errors
/// `UsageError` for a keyword that is none, or a value that it can't have.
pub(crate) fn overridden(stored: Config, given: Option<&Bound<'_, PyDict>>) -> PyResult<Config> {
    let Some(given) = given else {
        return Ok(stored);
    };
    let py = given.py();
    let mut merged = report::value(&stored)?;
    for (name, value) in given {
        let name: String = name.extract()?;
        // The names of columns and files: no value here is an id.
        let value = if value.is_instance_of::<PyString>() {
            let text: String = value.extract()?;
            if is_list(&name) {
                Value::from(vec![text])
            } else {
                Value::from(text)
            }
        } else if value.is_none() {
            Value::Null
        } else {
            Value::from(value.extract::<Vec<String>>().map_err(|_| {
                usage(
                    py,
                    &format!("{name}: it is neither text nor a list of texts"),
                )
            })?)
        };
        merged[&name] = value;
        // One at a time, so that the message can name it.
        if let Err(error) = serde_json::from_value::<Config>(merged.clone()) {
            return Err(usage(py, &format!("{name}: {error}")));
        }
    }
    serde_json::from_value(merged).map_err(|error| usage(py, &error.to_string()))
}

/// Whether a key takes several names; one may then stand alone.
fn is_list(name: &str) -> bool {
    let one = serde_json::json!({ name: ["x"] });
    serde_json::from_value::<Config>(one).is_ok()
}
