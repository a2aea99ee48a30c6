//! An export as Python sees it: an Arrow stream that is taken once, or a file.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatchReader;
use efface::Disk;
use efface::export::Disclosed;
use efface::export::sink::{self, Format};
use efface::state::State;
use efface::state::files::StateFiles;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use pyo3_arrow::{PyRecordBatchReader, PySchema};
use serde_json::json;

use crate::dataset::Opened;
use crate::fault::usage;
use crate::plan::Plan;
use crate::report;

/// What is held of the subjects. Made by `Dataset.export`.
///
/// It is an Arrow stream (`__arrow_c_stream__`): `pyarrow.table(..)`, `polars.from_arrow(..)`, `duckdb` and `pandas` take
/// it as it is. Or `write` it to a file. Either can be done once: the rows are read while they are taken.
#[pyclass(module = "efface", frozen)]
pub(crate) struct Export {
    dataset: Arc<Opened>,
    plan: Py<Plan>,
    schema: SchemaRef,
    rows: Mutex<Option<Disclosed>>,
}

impl Export {
    pub(crate) fn new(dataset: Arc<Opened>, plan: Py<Plan>, rows: Disclosed) -> Self {
        Self {
            dataset,
            plan,
            schema: rows.schema(),
            rows: Mutex::new(Some(rows)),
        }
    }

    fn take(&self, py: Python<'_>) -> PyResult<Disclosed> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.take()
            .ok_or_else(|| usage(py, "this export was taken already: call export again"))
    }
}

#[pymethods]
impl Export {
    /// What it touches.
    #[getter]
    fn plan(&self, py: Python<'_>) -> Py<Plan> {
        self.plan.clone_ref(py)
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let rows = InPool {
            rows: self.take(py)?,
            dataset: self.dataset.clone(),
        };
        let reader = Bound::new(py, PyRecordBatchReader::new(Box::new(rows)))?;
        let capsule = reader.call_method1("__arrow_c_stream__", (requested_schema,))?;
        Ok(capsule.cast_into()?)
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let schema = Bound::new(py, PySchema::new(self.schema.clone()))?;
        Ok(schema.call_method0("__arrow_c_schema__")?.cast_into()?)
    }

    #[allow(
        clippy::needless_pass_by_value,
        reason = "Python's arguments are taken by value"
    )]
    /// Writes it to the file `path` as Parquet, JSON Lines, CSV or an Arrow stream, which only its owner may read. The
    /// format is told by the ending unless it is given. Nothing is there until all of it is.
    #[pyo3(signature = (path, format=None))]
    fn write<'py>(
        &self,
        py: Python<'py>,
        path: PathBuf,
        format: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let ending = path.extension().and_then(|ending| ending.to_str());
        let Some(word) = format.or(ending) else {
            return Err(usage(
                py,
                "format: say parquet, jsonl, csv or arrow, or name a file with such an ending",
            ));
        };
        let format: Format = crate::fault::OrRaise::or_raise(word.parse(), py)?;
        let Some(name) = path
            .file_name()
            .and_then(|name| name.to_str())
            .map(str::to_owned)
        else {
            return Err(usage(py, "path: it names no file"));
        };
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => Path::new(".").to_owned(),
        };
        self.dataset.refuse_shard(py, &directory, &name)?;
        let rows = self.take(py)?;
        let (schema, to) = (self.schema.clone(), name);
        let written = self.dataset.run(py, move |cancel| {
            let rows = Cancellable {
                rows,
                cancel: cancel.clone(),
            };
            let files = StateFiles::new(Disk::new(&directory));
            let mut draft = files.create(&to)?;
            let written = sink::write_batches(&schema, rows, format, &mut draft)?;
            draft.publish()?;
            Ok(written)
        })?;
        let plan = self.plan.get();
        let report = json!({
            "rows": written.rows,
            "shards": plan.report().shards,
            "row_groups": plan.report().row_groups,
            "output": path.to_string_lossy(),
            "bytes": written.bytes,
            "digest": plan.report().digest,
            "left_out": plan.report().left_out,
            "subjects": report::value(&plan.report().subjects)?,
        });
        report::to_python(py, &report)
    }

    fn __repr__(&self) -> String {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = if rows.is_some() { "" } else { ", taken" };
        format!("Export of {} columns{taken}", self.schema.fields().len())
    }
}

/// Rows that are read in the threads of this process, also after a fork.
struct InPool {
    rows: Disclosed,
    dataset: Arc<Opened>,
}

impl Iterator for InPool {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rows = &mut self.rows;
        match self.dataset.threads.pool() {
            Ok(pool) => pool.install(|| rows.next()),
            Err(reason) => Some(Err(ArrowError::ComputeError(reason))),
        }
    }
}

impl RecordBatchReader for InPool {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }
}

/// Rows until somebody sets the flag.
struct Cancellable {
    rows: Disclosed,
    cancel: Arc<AtomicBool>,
}

impl Iterator for Cancellable {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.cancel.load(Ordering::Relaxed) {
            self.rows.canceller().cancel();
        }
        self.rows.next()
    }
}
