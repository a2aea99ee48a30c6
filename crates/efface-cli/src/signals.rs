//! Ending an export when the terminal or the system asks for it, so that no temporary file with rows is left.
//!
//! Other commands don't handle signals: what a delete leaves is taken up by the next run, whatever ended it.

use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;

use efface::export::Canceller;
use efface::{Error, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// The signal that cancelled the work; 0 while none has.
static CANCELLED_BY: AtomicI32 = AtomicI32::new(0);

/// Cancels at the first signal; the second one ends the process at once.
///
/// # Errors
/// When the system doesn't let signals be handled.
pub(crate) fn cancel(canceller: Canceller) -> Result<()> {
    const ALL: [i32; 3] = [SIGHUP, SIGINT, SIGTERM];
    let is_second = Arc::new(AtomicBool::new(false));
    let mut signals = Signals::new(ALL).map_err(Error::io("handle", "signals"))?;
    for signal in ALL {
        // In this order: the first signal only sets what the second one finds.
        flag::register_conditional_default(signal, Arc::clone(&is_second))
            .and_then(|_| flag::register(signal, Arc::clone(&is_second)))
            .map_err(Error::io("handle", "signals"))?;
    }
    let wait = move || {
        if let Some(signal) = signals.forever().next() {
            CANCELLED_BY.store(signal, Ordering::Relaxed);
            canceller.cancel();
        }
    };
    let started = thread::Builder::new().spawn(wait);
    started.map(drop).map_err(Error::io("start", "a thread"))
}

/// Ends the process, whose work a signal cancelled and which has cleaned up, by that signal: a shell then stops its loop
/// at Ctrl-C, and a supervisor sees what it asked for. Returns where the signal can't do that.
pub(crate) fn end() -> ExitCode {
    let signal = CANCELLED_BY.load(Ordering::Relaxed);
    // The first process of a container is not ended by a signal of its own.
    if signal != 0 && process::id() != 1 {
        // If it fails, the status says the same.
        drop(emulate_default_handler(signal));
    }
    ExitCode::from(status_of(signal))
}

/// The exit status that stands for a signal; 1 for none.
fn status_of(signal: i32) -> u8 {
    match u8::try_from(signal) {
        Ok(signal @ 1..128) => 128 + signal,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_status_of_a_signal_is_the_one_that_shells_use() {
        for (signal, status) in [(SIGHUP, 129), (SIGINT, 130), (SIGTERM, 143), (0, 1)] {
            assert_eq!(status_of(signal), status, "{signal}");
        }
    }
}
