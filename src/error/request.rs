//! What is wrong with a request.

use jiff::Timestamp;

use super::kind::ErrorKind;
use crate::limits;
use crate::tracking::TrackingId;

/// What is wrong with a field of a [`Request`](crate::Request).
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestFault {
    /// An export was given where only a delete can be carried out.
    #[error("only a delete can be carried out so; an export has a call of its own")]
    NotADelete,
    /// An export was given where only deletes can wait.
    #[error("only deletes wait for a compaction; an export is carried out at once")]
    ExportCannotWait,
    /// The deadline was extended already.
    #[error("the deadline was extended before, and it can be extended once only")]
    ExtendedBefore,
    /// An extension would bring the deadline nearer, or leave it.
    #[error("the deadline is {due} already")]
    NoLater {
        /// The deadline.
        due: Timestamp,
    },
    /// A text that is kept as evidence is empty, long, or has line breaks.
    #[error(
        "it must be a line of at most {} bytes",
        limits::EVIDENCE_TEXT_BYTES_MAX
    )]
    NotALine {
        /// The field.
        field: &'static str,
    },
    /// The tracking id stands for another request already.
    #[error(
        "{tracking_id} is the id of a request that waits, of one that has ended, or of a pass: draw a new one"
    )]
    TrackingIdTaken {
        /// The id.
        tracking_id: TrackingId,
    },
    /// The guard is no fraction.
    #[error("{found} is not between 0 and 1")]
    NotAFraction {
        /// The guard.
        found: f64,
    },
    /// An id may expand to no id at all.
    #[error("it must be at least 1")]
    NoIdentity,
    /// Rows are to be kept from coming back, but they aren't to go.
    #[error("only a delete of data keeps rows from coming back")]
    NothingToSuppress,
    /// A look-back was given for a delete.
    #[error("a delete covers everything that is held, so it has no look-back")]
    LookBackOfDelete,
    /// A look-back was given for a GDPR export.
    #[error(
        "a GDPR export covers everything that is held (with regulation = ccpa there is a look-back)"
    )]
    LookBackUnderGdpr,
    /// The look-back is shorter than it may be.
    #[error(
        "{since} is later than {latest}, and a CCPA export covers at least the year before it was asked for"
    )]
    LookBackTooShort {
        /// The first instant that was to be covered.
        since: Timestamp,
        /// The latest that it may be.
        latest: Timestamp,
    },
    /// The request was asked before there was a year to look back to.
    #[error("there is no year before it")]
    NoYearBefore,
}

impl RequestFault {
    /// What the caller can do about it.
    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Self::ExtendedBefore => ErrorKind::Refused,
            _ => ErrorKind::Usage,
        }
    }

    /// The field of the request.
    pub fn field(&self) -> &'static str {
        match self {
            Self::NotADelete | Self::ExportCannotWait => "kind",
            Self::ExtendedBefore | Self::NoLater { .. } => "until",
            Self::NotALine { field } => field,
            Self::TrackingIdTaken { .. } => "tracking_id",
            Self::NotAFraction { .. } => "max_match",
            Self::NoIdentity => "identity_cap",
            Self::NothingToSuppress => "suppress",
            Self::LookBackOfDelete | Self::LookBackUnderGdpr | Self::LookBackTooShort { .. } => {
                "since"
            }
            Self::NoYearBefore => "requested_at",
        }
    }
}

impl From<RequestFault> for super::Error {
    fn from(fault: RequestFault) -> Self {
        Self::Request { fault }
    }
}

/// Why a column that a request must clear can't be cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CannotClear {
    /// Its values are names of directories.
    #[error("it is a directory of the shard's path: move its rows to another one")]
    Partition,
    /// It is a subject or a time column.
    #[error("it says whose or when a row is, which stays: take it out of the sources")]
    Role,
    /// It is JSON inside of a map.
    #[error("it is JSON inside of a map, of which only the map's keys can be taken out")]
    Tangled,
    /// Its type has no null; [`RequiredColumns::Default`](crate::request::RequiredColumns::Default) allows another value.
    #[error("its type can't hold null (required_columns = default writes the type's empty value)")]
    Required,
}
