//! The Python package `efface`: what a [`Dataset`](dataset::Dataset) of Python does, said in the words of the library.
//!
//! ```text
//!   efface/__init__.py ── efface._efface (here) ──> efface::Engine
//!     ids: ids.rs    errors: fault.rs    reports: report.rs    waiting, Ctrl-C, progress: work.rs    logs: logs.rs
//! ```
//!
//! # Invariants
//! * No call holds the interpreter while it works ([`work::run`]).
//! * No subject id is in a `repr`, a message, a traceback or a log: ids are named by their position.
//! * A process that was forked has threads of its own ([`work::Threads`]).

use pyo3::prelude::*;

mod config;
mod dataset;
mod export;
mod fault;
mod ids;
mod logs;
mod plan;
mod report;
mod request;
mod work;

use dataset::open;

#[pymodule]
fn _efface(module: &Bound<'_, PyModule>) -> PyResult<()> {
    logs::forward();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<dataset::Dataset>()?;
    module.add_class::<plan::Plan>()?;
    module.add_class::<export::Export>()?;
    module.add_function(wrap_pyfunction!(open, module)?)
}
