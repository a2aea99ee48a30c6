//! What can go wrong in the service itself. No message holds a subject id.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What went wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The configuration file makes no sense.
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to write.
        reason: String,
    },
    /// A file or an address can't be used.
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The database of people.
    Database(rusqlite::Error),
    /// A dataset.
    Library(efface::Error),
    /// The call can't be carried out as it was made.
    Usage(String),
}

/// The result of a call that can fail so.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// For `map_err`: what was done to which file.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let what = path.display().to_string();
        move |source| Self::Io {
            doing,
            what,
            source,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::Io {
                doing,
                what,
                source,
            } => write!(f, "can't {doing} {what}: {source}"),
            Self::Database(source) => write!(
                f,
                "the database of people failed: {source}; check the data directory's disk and its file serve.db"
            ),
            Self::Library(source) => source.fmt(f),
            Self::Usage(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Database(source) => Some(source),
            Self::Library(source) => Some(source),
            Self::Config { .. } | Self::Usage(_) => None,
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(source: rusqlite::Error) -> Self {
        Self::Database(source)
    }
}

impl From<efface::Error> for Error {
    fn from(source: efface::Error) -> Self {
        Self::Library(source)
    }
}
