//! How a call waits: the engine works on a thread of its own, and this one looks after the interpreter.
//!
//! ```text
//!   the caller's thread                      a thread of its own, in the pool of this process
//!   every 50 ms: Ctrl-C? ── sets the flag ──> stops between two shards
//!                progress callback <───────── stage, done, total
//! ```

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use efface::observe::Observer;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::fault::{OrRaise, usage};

/// How often signals and progress are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The threads that a dataset works with.
///
/// A forked process has a copy of the pool but none of its threads, so it makes a pool of its own.
pub(crate) struct Threads {
    wanted: usize,
    pool: Mutex<Option<(u32, Arc<ThreadPool>)>>,
}

impl Threads {
    /// As many as `wanted`; 0 stands for one for each core.
    pub(crate) fn new(wanted: usize) -> Self {
        Self {
            wanted,
            pool: Mutex::new(None),
        }
    }

    /// # Errors
    /// When the system starts no threads.
    pub(crate) fn pool(&self) -> Result<Arc<ThreadPool>, String> {
        let mut made = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let process = std::process::id();
        if let Some((of, pool)) = made.as_ref()
            && *of == process
        {
            return Ok(pool.clone());
        }
        let pool = ThreadPoolBuilder::new()
            .num_threads(self.wanted)
            .thread_name(|number| format!("efface-{number}"))
            .build()
            .map_err(|error| format!("threads can't be started: {error}"))?;
        let pool = Arc::new(pool);
        // To drop the pool of another process would wait for threads that aren't there.
        if let Some(others) = made.replace((process, pool.clone())) {
            std::mem::forget(others);
        }
        Ok(pool)
    }
}

/// How far the work is, for the callback.
#[derive(Default)]
pub(crate) struct Progress {
    stage: Mutex<&'static str>,
    total: AtomicU64,
    done: AtomicU64,
}

impl Observer for Progress {
    fn begin(&self, stage: &'static str, total: u64) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    fn advance(&self, amount: u64) {
        self.done.fetch_add(amount, Ordering::Relaxed);
    }
}

impl Progress {
    fn now(&self) -> (&'static str, u64, u64) {
        let stage = *self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let done = self.done.load(Ordering::Relaxed);
        (stage, done, self.total.load(Ordering::Relaxed))
    }
}

/// Runs `work` without holding the interpreter. Ctrl-C, and an exception of the callback, set the flag that `work` gets
/// and are raised once it has stopped.
///
/// # Errors
/// The exception for the library's error, and what stopped the work.
pub(crate) fn run<T: Send>(
    py: Python<'_>,
    threads: &Threads,
    progress: &Progress,
    callback: Option<&Py<PyAny>>,
    work: impl FnOnce(&Arc<AtomicBool>) -> efface::Result<T> + Send,
) -> PyResult<T> {
    let pool = threads.pool().map_err(|reason| usage(py, &reason))?;
    let cancel = Arc::new(AtomicBool::new(false));
    let mut stopped: Option<PyErr> = None;
    let mut shown = ("", 0, 0);
    let mut look = |is_last: bool| {
        Python::attach(|py| {
            let found = py.check_signals().and_then(|()| {
                let now = progress.now();
                match callback {
                    // The end of a stage that was never seen is no news.
                    Some(callback)
                        if now != shown && !(is_last && shown.0.is_empty() && now.2 == 0) =>
                    {
                        shown = now;
                        callback.call1(py, now).map(drop)
                    }
                    _ => Ok(()),
                }
            });
            if let Err(error) = found {
                cancel.store(true, Ordering::Relaxed);
                stopped.get_or_insert(error);
            }
        });
    };
    let done = py.detach(|| {
        std::thread::scope(|scope| {
            let (tell, told) = channel();
            let cancel = &cancel;
            let worker = std::thread::Builder::new()
                .name("efface".to_owned())
                .spawn_scoped(scope, move || {
                    let done = pool.install(|| work(cancel));
                    // Nobody listens any more only if this thread is gone, too.
                    tell.send(()).ok();
                    done
                })
                .map_err(|error| error.to_string())?;
            while let Err(RecvTimeoutError::Timeout) = told.recv_timeout(LOOK_EVERY) {
                look(false);
            }
            let done = worker.join().map_err(|_| "it panicked".to_owned());
            look(true);
            done
        })
    });
    let done = done.map_err(|reason: String| {
        PyRuntimeError::new_err(format!("the work could not be run: {reason}"))
    })?;
    match stopped {
        Some(error) => Err(error),
        None => done.or_raise(py),
    }
}
