//! Whether standard output or standard error was closed when the process began.
//!
//! Rust opens `/dev/null` in the place of a closed stream before `main`, so that a file doesn't come to lie there.
//! What is written to it then seems to arrive. So it is looked at still earlier.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

static STDOUT: AtomicBool = AtomicBool::new(false);
static STDERR: AtomicBool = AtomicBool::new(false);

/// Run by the loader, before Rust's own beginning.
#[cfg(target_os = "linux")]
#[used]
#[expect(unsafe_code, reason = "nothing else runs before streams are replaced")]
// SAFETY: what is in this section is called once, by its thread alone, with the arguments of `main`, which a function
// of the C convention may leave aside. It calls the system and sets two flags, and needs nothing of Rust's runtime.
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

#[cfg(target_os = "linux")]
extern "C" fn look() {
    let is_closed = |stream| rustix::io::fcntl_getfd(stream).is_err();
    STDOUT.store(is_closed(rustix::stdio::stdout()), Ordering::Relaxed);
    STDERR.store(is_closed(rustix::stdio::stderr()), Ordering::Relaxed);
}

/// # Errors
/// When standard output was closed: nothing that is printed would arrive.
pub(crate) fn check_stdout() -> io::Result<()> {
    check(&STDOUT)
}

/// # Errors
/// When standard error was closed.
pub(crate) fn check_stderr() -> io::Result<()> {
    check(&STDERR)
}

fn check(is_closed: &AtomicBool) -> io::Result<()> {
    if is_closed.load(Ordering::Relaxed) {
        return Err(io::Error::other("it is closed"));
    }
    Ok(())
}
