//! The outcomes of tasks, after their results were checked.

use crate::error::Error;
use crate::pass::Swap;
use crate::table::Replacement;

/// The outcome of a task, after its result was checked.
pub(super) enum Outcome {
    /// There was nothing to do.
    Nothing,
    /// The result is of no use, because the new shard is gone or fails its check, say. The task is to be run again.
    Useless(Error),
    /// A new shard can take the old one's place.
    Swap(Box<Ready>),
}

/// A new shard that was checked.
pub(super) struct Ready {
    pub(super) replacement: Replacement,
    /// The staged file, also if nothing takes the old one's place.
    pub(super) staged: String,
    pub(super) swap: Swap,
    pub(super) footer_hash: u64,
}
