//! Ending an export when the terminal or the system asks for it, so that no temporary file with rows is left.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use efface::export::Canceller;
use efface::{Error, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

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
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            canceller.cancel();
        }
    });
    Ok(())
}
