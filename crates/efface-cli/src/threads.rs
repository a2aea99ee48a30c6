//! How many threads work: as many as asked for, or as the system lets this user start.

use std::num::NonZeroUsize;
use std::sync::mpsc;
use std::thread;

use efface::{Error, Result};

/// Threads that are left to others: one that waits for signals, one that syncs.
const SPARE: usize = 2;

/// Starts the threads that all work runs on; fewer than `asked` where the system has no room for them.
///
/// # Errors
/// When none can be started.
pub(crate) fn start(asked: Option<NonZeroUsize>) -> Result<()> {
    let asked = asked.or_else(|| thread::available_parallelism().ok());
    let asked = asked.map_or(1, NonZeroUsize::get);
    let failed = |error| Error::io("start", "a thread")(error);
    let can = can_start(asked + SPARE).map_err(failed)?;
    let threads = asked.min(can.saturating_sub(SPARE)).max(1);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    let pool = pool.build_global();
    pool.map_err(|error| failed(std::io::Error::other(error)))
}

/// How many of `wanted` threads can run at a time, which is tried: a pool of threads can be started only once.
fn can_start(wanted: usize) -> std::io::Result<usize> {
    let mut started = Vec::new();
    let mut failure = None;
    for _ in 0..wanted {
        let (release, wait) = mpsc::channel::<()>();
        match thread::Builder::new().spawn(move || wait.recv().is_ok()) {
            Ok(handle) => started.push((release, handle)),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    let count = started.len();
    for (release, handle) in started {
        drop(release);
        // It only waited.
        let _ignored = handle.join();
    }
    match failure {
        Some(error) if count == 0 => Err(error),
        _ => Ok(count),
    }
}
