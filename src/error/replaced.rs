//! Files that were replaced while they were read.

use std::{fmt, io};

/// Why a file can no longer be read: it was opened in a version that its store has no longer.
#[derive(Debug)]
struct Replaced;

impl fmt::Display for Replaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it was replaced or removed while it was read")
    }
}

impl std::error::Error for Replaced {}

/// The error of reading a file in a version that its store has no longer.
pub fn replaced() -> io::Error {
    io::Error::other(Replaced)
}

/// Whether an error is that of [`replaced`].
pub fn is_replaced(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(<dyn std::error::Error + Send + Sync>::is::<Replaced>)
}
