//! What the caller can do about an error.

use std::io;

use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};

use super::{Error, PassFault, PlaceFault, is_replaced};

/// What the caller can do about an [`Error`]:
///
/// * [`Conflict`](Self::Conflict): run again, now or in a moment.
/// * [`Unavailable`](Self::Unavailable): wait, then run again. There is nothing to mend on this side.
/// * [`Io`](Self::Io): mend the file system (space, permissions, hardware), then run again.
/// * [`Usage`](Self::Usage): correct the call or the configuration.
/// * [`Refused`](Self::Refused): change the request, or raise the guard that refused it.
/// * [`Damaged`](Self::Damaged): repair or restore the file that is named.
/// * [`Unsupported`](Self::Unsupported): use another version, or give the data another form.
/// * [`Internal`](Self::Internal): report it. Running again or changing the request won't help.
/// * [`Cancelled`](Self::Cancelled): nothing. Whoever cancelled knows; the same call takes up where this one was.
///
/// A kind that you don't know is best treated as [`Io`](Self::Io): stop, and show the message.
///
/// Receipts hold kinds by their names in snake case, which therefore stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file system failed.
    Io,
    /// A store or another service doesn't answer now.
    Unavailable,
    /// The call, an option or the configuration is wrong.
    Usage,
    /// The request can't be carried out as asked.
    Refused,
    /// Another process was in the way.
    Conflict,
    /// Data in storage is damaged.
    Damaged,
    /// The data uses something that this version can't handle.
    Unsupported,
    /// A self-check failed before anything was replaced, or an invariant broke: a bug in efface.
    Internal,
    /// The caller cancelled the operation.
    Cancelled,
}

impl Error {
    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. }
            | Self::Arrow {
                source: ArrowError::IoError(_, source),
                ..
            } => of_io(source),
            Self::Shard { source, .. } => source.kind(),
            Self::Held { source, .. } => source.kind(),
            Self::State { .. }
            | Self::KeyLost { .. }
            | Self::Place {
                fault: PlaceFault::NotAFile { .. } | PlaceFault::NotADirectory { .. },
                ..
            }
            | Self::Arrow { .. } => ErrorKind::Damaged,
            Self::Config { .. }
            | Self::Choice { .. }
            | Self::TrackingId(_)
            | Self::SourceName { .. }
            | Self::NoKey { .. }
            | Self::NoGroup { .. }
            | Self::PlanWithoutIds
            | Self::FormatLacks { .. }
            | Self::ForeignFile { .. }
            | Self::NoShards { .. }
            | Self::MissingColumn { .. }
            | Self::AmbiguousColumn { .. }
            | Self::ColumnType { .. }
            | Self::NoTimeUnit { .. }
            | Self::NoSuchRow { .. }
            | Self::NoSuchRowGroup { .. }
            | Self::NoTimeColumn { .. }
            | Self::OtherConfig { .. }
            | Self::Pass {
                fault: PassFault::NotOpen { .. } | PassFault::NoSuchTask { .. },
                ..
            }
            | Self::OtherRoles { .. }
            | Self::Outstanding { .. } => ErrorKind::Usage,
            Self::Request { fault } => fault.kind(),
            Self::TooManySubjects { .. }
            | Self::NoSubjects
            | Self::EmptySubject { .. }
            | Self::IdsFile { .. }
            | Self::UnknownSubjects { .. }
            | Self::IdentityCap { .. }
            | Self::OverMatch { .. }
            | Self::PlanChanged { .. }
            | Self::CannotBeNull { .. }
            | Self::NotWaiting { .. }
            | Self::NotCancellable { .. } => ErrorKind::Refused,
            Self::Locked { .. }
            | Self::ShardChanged { .. }
            | Self::StateChanged { .. }
            | Self::Pass {
                fault: PassFault::Open | PassFault::Outstanding { .. },
                ..
            }
            | Self::Underway { .. } => ErrorKind::Conflict,
            Self::NoRoom { .. } => ErrorKind::Io,
            Self::SchemaConflict { .. } | Self::ManagedTable { .. } | Self::Place { .. } => {
                ErrorKind::Unsupported
            }
            Self::CheckFailed { .. } | Self::Internal { .. } => ErrorKind::Internal,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }
}

/// The kind of an error of the system: one that comes from a network may be over soon.
pub(super) fn of_io(error: &io::Error) -> ErrorKind {
    if is_replaced(error) {
        return ErrorKind::Conflict;
    }
    match error.kind() {
        io::ErrorKind::TimedOut
        | io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::NotConnected
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown => ErrorKind::Unavailable,
        _ => ErrorKind::Io,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_names_that_stay() {
        let names = [
            (ErrorKind::Io, "io"),
            (ErrorKind::Unavailable, "unavailable"),
            (ErrorKind::Usage, "usage"),
            (ErrorKind::Refused, "refused"),
            (ErrorKind::Conflict, "conflict"),
            (ErrorKind::Damaged, "damaged"),
            (ErrorKind::Unsupported, "unsupported"),
            (ErrorKind::Internal, "internal"),
            (ErrorKind::Cancelled, "cancelled"),
        ];
        for (kind, name) in names {
            let json = serde_json::json!(name);
            assert_eq!(serde_json::to_value(kind).unwrap(), json);
            assert_eq!(serde_json::from_value::<ErrorKind>(json).unwrap(), kind);
        }
    }
}
