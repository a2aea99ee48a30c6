//! Subject ids as Python has them: any iterable, an Arrow array, or the path of a CSV file.
//!
//! A value that is no id is named by its position and its type, never by what it says.

use std::fs::File;
use std::path::PathBuf;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use efface::request::Subjects;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyInt, PyString};
use pyo3_arrow::input::AnyArray;

use crate::fault::{OrRaise, usage};

/// The subjects that `ids` names; `column` is the column of a CSV file of several.
///
/// # Errors
/// `UsageError` for what can't be an id, and the refusals of [`Subjects`].
pub(crate) fn subjects(ids: &Bound<'_, PyAny>, column: Option<&str>) -> PyResult<Subjects> {
    let py = ids.py();
    if ids.hasattr("__fspath__")? {
        let path: PathBuf = ids.extract()?;
        let file = File::open(&path)
            .map_err(|error| usage(py, &format!("cannot open the file of ids: {error}")))?;
        return match column {
            Some(column) => Subjects::from_csv_column(file, column),
            None => Subjects::from_csv(file),
        }
        .or_raise(py);
    }
    if column.is_some() {
        return Err(usage(
            py,
            "ids_column names a column of a CSV file, and ids is no path",
        ));
    }
    if ids.is_instance_of::<PyString>() {
        return Subjects::new([ids.extract::<String>()?]).or_raise(py);
    }
    if ids.hasattr("__arrow_c_array__")? || ids.hasattr("__arrow_c_stream__")? {
        return Subjects::new(of_arrow(ids)?).or_raise(py);
    }
    if ids.is_instance_of::<PyBytes>() {
        return Err(usage(
            py,
            "ids is bytes: pass a list of ids, or a pathlib.Path of a CSV file",
        ));
    }
    let items = ids.try_iter().map_err(|error| {
        if error.is_instance_of::<PyTypeError>(py) {
            let kind = type_name(ids);
            usage(py, &format!("ids is a {kind}: pass a list of ids, an Arrow array, or a pathlib.Path of a CSV file"))
        } else {
            error
        }
    })?;
    let mut texts = Vec::new();
    for (place, item) in items.enumerate() {
        texts.push(text(&item?, place + 1)?);
    }
    Subjects::new(texts).or_raise(py)
}

fn type_name(value: &Bound<'_, PyAny>) -> String {
    let name = value.get_type().name();
    name.map_or_else(|_| "value".to_owned(), |name| name.to_string())
}

/// The text of one id.
fn text(item: &Bound<'_, PyAny>, position: usize) -> PyResult<String> {
    let py = item.py();
    let wrong = || {
        let kind = type_name(item);
        usage(
            py,
            &format!("id {position} is a {kind}: an id is text, a whole number, or a UUID"),
        )
    };
    if let Ok(text) = item.cast::<PyString>() {
        return text
            .extract()
            .map_err(|_| usage(py, &format!("id {position} is no text of Unicode")));
    }
    if item.is_instance_of::<PyBool>() {
        return Err(wrong());
    }
    if item.is_instance_of::<PyInt>() || type_name(item) == "UUID" {
        return Ok(item.str()?.to_string());
    }
    if let Ok(bytes) = item.cast::<PyBytes>() {
        return String::from_utf8(bytes.as_bytes().to_vec())
            .map_err(|_| usage(py, &format!("id {position} is bytes that are no UTF-8")));
    }
    // NumPy's integers.
    if item.hasattr("__index__")? {
        return Ok(item.call_method0("__index__")?.str()?.to_string());
    }
    Err(wrong())
}

fn of_arrow(ids: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    let py = ids.py();
    let (chunks, field) = ids
        .extract::<AnyArray>()?
        .into_chunked_array()?
        .into_inner();
    let of = field.data_type();
    let refuse = || {
        usage(
            py,
            &format!(
                "ids is an Arrow array of {of}: an id is text, a whole number, or binary that is UTF-8"
            ),
        )
    };
    let values = match of {
        DataType::Dictionary(_, values) => values.as_ref(),
        other => other,
    };
    let is_text = matches!(
        values,
        DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
    );
    if !is_text && !values.is_integer() {
        return Err(refuse());
    }
    let mut texts = Vec::new();
    for chunk in chunks {
        let chunk = cast(&chunk, &DataType::LargeUtf8).map_err(|_| refuse())?;
        for id in chunk.as_string::<i64>() {
            let Some(id) = id else {
                return Err(usage(py, &format!("id {} is null", texts.len() + 1)));
            };
            texts.push(id.to_owned());
        }
    }
    Ok(texts)
}
