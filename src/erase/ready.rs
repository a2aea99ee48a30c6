//! The outcomes of tasks, after their results were checked.

use crate::pass::Swap;
use crate::table::Replacement;

/// The outcome of a task, after its result was checked.
pub(super) enum Outcome {
    /// There was nothing to do.
    Nothing,
    /// The new shard is gone: it was removed as a leftover, say. The task is to be run again.
    Lost,
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
