//! What can go wrong in the command: what the library tells, and what is wrong with the words of the command line.

use std::fmt;

use efface::{Error, ErrorKind};

use crate::hint;

/// The result of what the command does.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why a command fails.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something in the library failed, or something that the library has an error for.
    Library(Error),
    /// An option or an argument makes no sense.
    Usage {
        /// How it is written on the command line.
        word: &'static str,
        /// What is wrong with it and what is expected.
        reason: String,
    },
    /// The service can't be started or has failed.
    #[cfg(feature = "serve")]
    Service(efface_server::Error),
    /// An event can't be judged, and what can't be judged stops.
    Unjudged(String),
    /// The demo claims something that doesn't hold.
    Claim(String),
}

impl Failure {
    /// A [`Failure::Usage`].
    pub(crate) fn usage(word: &'static str, reason: impl Into<String>) -> Self {
        Self::Usage {
            word,
            reason: reason.into(),
        }
    }

    /// What the caller of the command can do about it.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Library(error) => error.kind(),
            Self::Usage { .. } => ErrorKind::Usage,
            #[cfg(feature = "serve")]
            Self::Service(error) => match error {
                efface_server::Error::Library(error) => error.kind(),
                efface_server::Error::Config { .. } | efface_server::Error::Usage(_) => {
                    ErrorKind::Usage
                }
                _ => ErrorKind::Io,
            },
            Self::Unjudged(_) => ErrorKind::Refused,
            Self::Claim(_) => ErrorKind::Internal,
        }
    }

    /// How that is done by a flag or another command, if it is.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Library(error) => hint::hint(error),
            #[cfg(feature = "serve")]
            Self::Service(_) => None,
            Self::Unjudged(_) => {
                Some("--on-error drop leaves such events out, --on-error pass lets them through")
            }
            Self::Usage { .. } | Self::Claim(_) => None,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

#[cfg(feature = "serve")]
impl From<efface_server::Error> for Failure {
    fn from(error: efface_server::Error) -> Self {
        Self::Service(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Library(error) => f.write_str(&hint::message(error)),
            Self::Usage { word, reason } => write!(f, "{word}: {reason}"),
            #[cfg(feature = "serve")]
            Self::Service(error) => error.fmt(f),
            Self::Unjudged(why) => f.write_str(why),
            Self::Claim(claim) => write!(f, "{claim}: this is a bug in efface, please report it"),
        }
    }
}
