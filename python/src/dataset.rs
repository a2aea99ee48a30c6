//! A dataset as Python sees it: the calls of the command, with its names and the keys of its reports.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use efface::config::Config;
use efface::engine::{Configuration, Engine, EngineOptions};
use efface::erase::delete::DeleteOptions;
use efface::erase::{CompactOptions, PassEnd};
use efface::receipts::Receipt;
use efface::request::{Identity, Kind, Request, Suppress};
use efface::state::files::StateFiles;
use efface::table::directory::is_shard;
use efface::table::throttled::Rate;
use efface::tracking::TrackingId;
use efface::{Disk, Plan as Found, SubjectId, limits};
use jiff::Timestamp;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use serde_json::json;

use crate::config;
use crate::export::Export;
use crate::fault::{OrRaise, usage};
use crate::ids;
use crate::plan::Plan;
use crate::report;
use crate::request::Words;
use crate::work::{self, Progress, Threads};

/// An engine with what its calls need to wait for it.
pub(crate) struct Opened {
    path: PathBuf,
    engine: Engine,
    pub(crate) threads: Threads,
    progress: Arc<Progress>,
    callback: Option<Py<PyAny>>,
}

impl Opened {
    /// # Errors
    /// As [`work::run`].
    pub(crate) fn run<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&Arc<AtomicBool>) -> efface::Result<T> + Send,
    ) -> PyResult<T> {
        let callback = self.callback.as_ref();
        work::run(py, &self.threads, &self.progress, callback, work)
    }

    /// # Errors
    /// `UsageError` when an export there would count as a shard.
    pub(crate) fn refuse_shard(
        &self,
        py: Python<'_>,
        directory: &Path,
        name: &str,
    ) -> PyResult<()> {
        let (Ok(root), Ok(directory)) = (self.path.canonicalize(), directory.canonicalize()) else {
            return Ok(());
        };
        let inside = directory.join(name);
        let path = inside.strip_prefix(root).ok().and_then(Path::to_str);
        if path.is_some_and(is_shard) {
            return Err(usage(
                py,
                "path: a Parquet file inside the dataset would count as one of its shards",
            ));
        }
        Ok(())
    }
}

/// A dataset, open for requests. Made by `efface.open`.
#[pyclass(module = "efface", frozen)]
pub(crate) struct Dataset {
    opened: Arc<Opened>,
    uri: String,
    /// What it was opened with, for a copy in another process.
    given: Option<Py<PyDict>>,
}

/// Opens the dataset at `uri` with what is stored for it, and what the keywords say instead.
///
/// # Errors
/// Of Python: `UsageError` and the other classes of `efface.errors`.
#[pyfunction]
#[pyo3(signature = (uri, storage_options=None, **given))]
pub(crate) fn open(
    py: Python<'_>,
    uri: &Bound<'_, PyAny>,
    storage_options: Option<&Bound<'_, PyDict>>,
    given: Option<&Bound<'_, PyDict>>,
) -> PyResult<Dataset> {
    let path: PathBuf = uri
        .extract()
        .map_err(|_| usage(py, "uri: it is neither text nor a path"))?;
    let text = path.to_string_lossy().into_owned();
    let path = match text.split_once("://") {
        None => path,
        Some(("file", place)) => PathBuf::from(place),
        Some((scheme, _)) => {
            return Err(usage(
                py,
                &format!(
                    "uri: datasets at {scheme}:// can't be opened from Python yet: use the command"
                ),
            ));
        }
    };
    if storage_options.is_some_and(|options| !options.is_empty()) {
        return Err(usage(py, "storage_options: a directory has none"));
    }
    if !path.is_dir() {
        return Err(usage(py, &format!("uri: there is no directory {text}")));
    }
    let words = Words::new(py, given)?;
    let memory = match words.take("memory")? {
        Some(memory) => Some(
            memory
                .extract::<u64>()
                .map_err(|_| usage(py, "memory: it is no number of bytes"))?,
        ),
        None => None,
    };
    let threads = words
        .take_as::<usize>("threads", "number of threads")?
        .unwrap_or(0);
    let rate = words.take_as::<std::num::NonZeroU64>("rate", "number of bytes a second")?;
    let callback = words.take("progress")?;
    let progress = Arc::new(Progress::default());
    let stored = Config::load(&StateFiles::new(Disk::new(&path))).or_raise(py)?;
    let config = config::overridden(stored.unwrap_or_default(), Some(&words.rest()))?;
    let options = EngineOptions {
        configuration: Configuration::Overriding(config),
        memory: memory.unwrap_or(limits::MEMORY_BYTES),
        observer: progress.clone(),
        rate: rate.map(Rate::new),
        ..EngineOptions::default()
    };
    let engine = Engine::open_dir_with(&path, options).or_raise(py)?;
    Ok(Dataset {
        opened: Arc::new(Opened {
            path,
            engine,
            threads: Threads::new(threads),
            progress,
            callback: callback.map(Bound::unbind),
        }),
        uri: text,
        given: given.map(|given| given.clone().unbind()),
    })
}

impl Dataset {
    fn run<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&Engine, &Arc<AtomicBool>) -> efface::Result<T> + Send,
    ) -> PyResult<T> {
        self.opened
            .run(py, |cancel| work(&self.opened.engine, cancel))
    }
}

fn tracking_id(py: Python<'_>, text: &str) -> PyResult<TrackingId> {
    // What was passed could be a subject id: the message doesn't repeat it.
    text.parse()
        .map_err(|_| usage(py, "tracking_id: it is no tracking id"))
}

fn asked(kind: Kind, ids: &Bound<'_, PyAny>, words: &Words<'_>) -> PyResult<Request> {
    let column = words.take_as::<String>("ids_column", "text")?;
    words.request(kind, ids::subjects(ids, column.as_deref())?)
}

fn compacting(words: &Words<'_>) -> PyResult<CompactOptions> {
    let defaults = CompactOptions::at(Timestamp::now());
    Ok(CompactOptions {
        zstd_level: words.take_level()?,
        max_match: words
            .take_as("max_match", "number")?
            .unwrap_or(defaults.max_match),
        ..defaults
    })
}

fn suppressed(py: Python<'_>, ids: &Bound<'_, PyAny>, words: &Words<'_>) -> PyResult<Request> {
    let column = words.take_as::<String>("ids_column", "text")?;
    let identity: Option<Identity> = words.take_choice("identity")?;
    let subjects = ids::subjects(ids, column.as_deref())?;
    let request = Request::delete(subjects, Timestamp::now());
    let request = Request {
        identity: identity.unwrap_or(request.identity),
        ..request
    };
    request.check().or_raise(py)?;
    Ok(request)
}

/// The digest that `plan=` names: a `Plan`, or its digest.
fn expected(words: &Words<'_>) -> PyResult<Option<String>> {
    let Some(plan) = words.take("plan")? else {
        return Ok(None);
    };
    match plan.cast::<Plan>() {
        Ok(plan) => Ok(Some(plan.get().report().digest.clone())),
        Err(_) => Ok(Some(plan.extract()?)),
    }
}

#[pymethods]
impl Dataset {
    /// Writes the configuration that this dataset was opened with into `_efface/dataset.toml`.
    fn init(&self, py: Python<'_>) -> PyResult<()> {
        self.run(py, |engine, _| engine.store_configuration())
    }

    /// Shards, rows, roles, and how fresh the index is.
    fn inspect<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let found = self.run(py, |engine, _| engine.inspect())?;
        report::dict(py, &found)
    }

    /// Builds or refreshes the index.
    fn index<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let found = self.run(py, |engine, _| engine.refresh())?;
        let report = json!({
            "rows": found.rows,
            "subjects": found.subjects,
            "postings": found.postings,
            "bytes": found.bytes,
            "added": found.added,
            "changed": found.changed,
            "removed": found.removed,
            "unchanged": found.unchanged,
            "rebuilt": found.rebuilt,
        });
        report::to_python(py, &report)
    }

    /// The dry run of a delete, or with `kind="export"` of an export. Touches nothing but the index.
    #[pyo3(signature = (ids, kind="delete", **options))]
    fn plan(
        &self,
        py: Python<'_>,
        ids: &Bound<'_, PyAny>,
        kind: &str,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Plan> {
        let kind: Kind = kind.parse().or_raise(py)?;
        let request = Words::read(py, options, |words| asked(kind, ids, words))?;
        let report = self.run(py, |engine, _| engine.report(&engine.plan(&request)?))?;
        Ok(Plan::new(report))
    }

    /// What is held of the ids, as an Arrow stream that can be taken once, or written to a file.
    #[pyo3(signature = (ids, **options))]
    fn export(
        &self,
        py: Python<'_>,
        ids: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Export> {
        let (digest, request) = Words::read(py, options, |words| {
            Ok((expected(words)?, asked(Kind::Export, ids, words)?))
        })?;
        let (found, rows) = self.run(py, |engine, _| {
            let plan = engine.plan(&request)?;
            refuse_other(&plan, digest)?;
            let rows = engine.export(&plan)?;
            Ok((engine.report(&plan)?, rows))
        })?;
        let plan = Py::new(py, Plan::new(found))?;
        Ok(Export::new(self.opened.clone(), plan, rows))
    }

    /// Removes every row of the ids from every shard, now.
    #[pyo3(signature = (ids, **options))]
    fn delete<'py>(
        &self,
        py: Python<'py>,
        ids: &Bound<'py, PyAny>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (digest, zstd_level, request) = Words::read(py, options, |words| {
            let (digest, level) = (expected(words)?, words.take_level()?);
            Ok((digest, level, asked(Kind::Delete, ids, words)?))
        })?;
        let done = self.run(py, |engine, cancel| {
            let options = DeleteOptions {
                now: Some(Timestamp::now()),
                zstd_level,
                cancel: Some(cancel.clone()),
                ..DeleteOptions::default()
            };
            engine.delete(&request, digest.as_deref(), &options)
        })?;
        report::dict(py, &done)
    }

    /// Hands a delete over to the next `compact`; returns its tracking id and deadline.
    #[pyo3(signature = (ids, **options))]
    fn submit<'py>(
        &self,
        py: Python<'py>,
        ids: &Bound<'py, PyAny>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (due, request) = Words::read(py, options, |words| {
            let due = words.take_instant("due")?;
            Ok((due, asked(Kind::Delete, ids, words)?))
        })?;
        let now = Timestamp::now();
        let done = self.run(py, |engine, _| {
            engine.submit(TrackingId::draw(now), &request, now, due)
        })?;
        let report = json!({
            "tracking_id": done.tracking_id,
            "state": "PENDING",
            "joined": done.joined,
            "due": done.due,
        });
        report::to_python(py, &report)
    }

    /// How a request stands; without a tracking id, how all that wait do.
    #[pyo3(signature = (tracking_id=None))]
    fn status<'py>(
        &self,
        py: Python<'py>,
        tracking_id: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let now = Timestamp::now();
        match tracking_id {
            Some(id) => {
                let id = self::tracking_id(py, id)?;
                report::dict(py, &self.run(py, |engine, _| engine.status(id, now))?)
            }
            None => report::dict(py, &self.run(py, |engine, _| engine.waiting(now))?),
        }
    }

    /// Cancels a request that was not begun; returns its status.
    fn cancel<'py>(&self, py: Python<'py>, tracking_id: &str) -> PyResult<Bound<'py, PyAny>> {
        let (id, now) = (self::tracking_id(py, tracking_id)?, Timestamp::now());
        let status = self.run(py, |engine, _| {
            engine.cancel(id, now)?;
            engine.status(id, now)
        })?;
        report::dict(py, &status)
    }

    /// Carries out everything that waits.
    #[pyo3(signature = (**options))]
    fn compact<'py>(
        &self,
        py: Python<'py>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let options = Words::read(py, options, compacting)?;
        let done = self.run(py, |engine, cancel| {
            let cancel = Some(cancel.clone());
            engine.compact(&CompactOptions { cancel, ..options })
        })?;
        report::dict(py, &done)
    }

    /// Plans what waits as tasks for other machines: `{"pass": .., "tasks": n}`. Run the tasks 1 to n with `run_task`,
    /// anywhere and as often as you like, then call `commit`.
    #[pyo3(signature = (**options))]
    fn publish_tasks<'py>(
        &self,
        py: Python<'py>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let options = Words::read(py, options, compacting)?;
        let published = self.run(py, |engine, _| engine.publish_tasks(&options))?;
        let report = match published {
            Some(published) => report::value(&published)?,
            None => json!({ "pass": null, "tasks": 0 }),
        };
        report::to_python(py, &report)
    }

    /// Runs one task of a pass. What came of it lies in the state; the answer is its figures.
    fn run_task<'py>(
        &self,
        py: Python<'py>,
        pass_id: &str,
        number: u32,
    ) -> PyResult<Bound<'py, PyAny>> {
        let id = tracking_id(py, pass_id)?;
        let done = self.run(py, |engine, _| engine.run_numbered_task(id, number))?;
        let figures = done.written.as_ref().map(|new| &new.report);
        let report = json!({
            "pass": id,
            "task": number,
            "path": done.shard.path,
            "rewritten": figures.is_some(),
            "rows_removed": figures.map_or(0, |figures| figures.rows_removed),
            "values_cleared": figures.map_or(0, |figures| figures.values_cleared),
            "bytes_copied": figures.map_or(0, |figures| figures.bytes_copied),
            "bytes_encoded": figures.map_or(0, |figures| figures.bytes_encoded),
        });
        report::to_python(py, &report)
    }

    /// Commits a pass whose tasks were run, and ends it. A pass that has ended gives its receipts again.
    fn commit<'py>(&self, py: Python<'py>, pass_id: &str) -> PyResult<Bound<'py, PyAny>> {
        let id = tracking_id(py, pass_id)?;
        let end = self.run(py, |engine, _| {
            engine.commit_pass(id, &CompactOptions::at(Timestamp::now()))
        })?;
        let report = match end {
            PassEnd::Now(done) => report::value(&done)?,
            PassEnd::Before(receipts) => {
                json!({ "tracking_id": id, "receipts": report::value(&receipts)? })
            }
        };
        report::to_python(py, &report)
    }

    /// Checks the chain of receipts, and lists them.
    fn receipts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (head, listed) = self.run(py, |engine, _| {
            let mut listed: Vec<Receipt> = Vec::new();
            let head = engine.receipts(|receipt| listed.push(receipt))?;
            Ok((head, listed))
        })?;
        let report = json!({
            "receipts": report::value(&listed)?,
            "count": head.receipts,
            "head": head.hash,
            "intact": true,
        });
        report::to_python(py, &report)
    }

    /// Looks for traces of the ids in every structure of every shard and in efface's own files.
    #[pyo3(signature = (ids, ids_column=None))]
    fn verify<'py>(
        &self,
        py: Python<'py>,
        ids: &Bound<'py, PyAny>,
        ids_column: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let subjects = ids::subjects(ids, ids_column)?;
        let ids: Vec<SubjectId> = subjects.iter().map(|(_, id)| id.clone()).collect();
        let found = self.run(py, |engine, _| engine.verify(&ids))?;
        report::dict(py, &found)
    }

    /// Keeps rows of the ids from coming back; with `before`, only rows of a time before it. Returns how many are new.
    #[pyo3(signature = (ids, **options))]
    fn suppress(
        &self,
        py: Python<'_>,
        ids: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<u64> {
        let (before, request) = Words::read(py, options, |words| {
            let before = words.take_instant("before")?;
            Ok((before, suppressed(py, ids, words)?))
        })?;
        let now = Timestamp::now();
        self.run(py, |engine, _| {
            engine.suppress(&request, Suppress { before }, now)
        })
    }

    /// Takes the ids off the suppression list. Returns how many were on it.
    #[pyo3(signature = (ids, **options))]
    fn unsuppress(
        &self,
        py: Python<'_>,
        ids: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<u64> {
        let request = Words::read(py, options, |words| suppressed(py, ids, words))?;
        self.run(py, |engine, _| engine.unsuppress(&request))
    }

    /// Where it is.
    #[getter]
    fn uri(&self) -> &str {
        &self.uri
    }

    fn __repr__(&self) -> String {
        format!("efface.open({:?})", self.uri)
    }

    /// A copy in another process opens the same dataset in the same way, without the callback.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let open = py.import("efface")?.getattr("_reopen")?;
        let given = match &self.given {
            Some(given) => given.bind(py).copy()?,
            None => PyDict::new(py),
        };
        if given.contains("progress")? {
            given.del_item("progress")?;
        }
        let arguments = (self.uri.as_str(), given);
        (open, arguments).into_pyobject(py)
    }
}

fn refuse_other(plan: &Found, expected: Option<String>) -> efface::Result<()> {
    match expected {
        Some(expected) if expected != plan.digest => Err(efface::Error::PlanChanged {
            expected,
            found: plan.digest.clone(),
        }),
        _ => Ok(()),
    }
}
