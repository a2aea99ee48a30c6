//! Why a pass whose tasks are run elsewhere can't go on.

use super::Error;
use super::message::{list, news};
use crate::tracking::TrackingId;

/// Why a call about a pass whose tasks are run elsewhere can't be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PassFault {
    /// It is open, and something else was to be begun.
    #[error(
        "is open and its tasks are run elsewhere: commit it first, or carry out all that waits here, which ends it"
    )]
    Open,

    /// It is not open.
    #[error(
        "is not open for tasks that are run elsewhere ({}): it has ended, or never was",
        open.map_or_else(|| "none is".to_owned(), |open| format!("the open one is {open}"))
    )]
    NotOpen {
        /// The pass that is open, if one is.
        open: Option<TrackingId>,
    },

    /// It doesn't have the task.
    #[error("has no task {number}: its tasks are numbered from 1 to {tasks}")]
    NoSuchTask {
        /// The number.
        number: u32,
        /// The last number that there is; 0 if there are no tasks.
        tasks: u32,
    },

    /// It can't be committed yet.
    #[error(
        "has {} without a result that can be committed: number {}{}; run them (a task can be run any number of times) and commit again",
        match numbers.len() { 1 => "1 task".to_owned(), tasks => format!("{tasks} tasks") },
        list(numbers), news(again)
    )]
    Outstanding {
        /// The numbers of these tasks.
        numbers: Vec<u32>,
        /// Those of them that are new: they stand for earlier ones whose shard changed meanwhile.
        again: Vec<u32>,
    },
}

impl PassFault {
    /// The error about this pass.
    pub(crate) fn of(self, pass: TrackingId) -> Error {
        Error::Pass { pass, fault: self }
    }
}
