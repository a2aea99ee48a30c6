//! The tasks of a pass that are run elsewhere, and what came of them, as files of the state.
//!
//! ```text
//! _efface/pass/tasks/000001.json                        a task
//! _efface/pass/results/000001-0123456789abcdef.json     what came of one run of it
//! ```
//!
//! # Invariants
//! * A number stands for one task as long as its pass is open: a task that is to be done again gets another number.
//! * A result is never replaced: each run of a task writes a file of its own.
//! * None of them holds a subject id.
//!
//! # Crash behaviour
//! Each is whole and durable or isn't there. They go with the record of the pass; what a run that comes too late
//! writes after that is removed by whoever works next.

use std::hash::{BuildHasher, RandomState};
use std::io;

use rayon::prelude::*;

use super::task::{ShardTask, TaskResult};
use crate::error::{Error, Result};
use crate::limits::TASK_BYTES_MAX;
use crate::pass::DIRECTORY;
use crate::state::{Expect, State, document};

/// How often a result is written whose draft somebody cleaned up.
const ATTEMPTS_MAX: u32 = 5;

/// What came of one run of a task, as it lies in the state.
pub(super) struct HandedIn {
    /// The file.
    pub(super) path: String,
    /// The task's number.
    pub(super) number: u32,
    /// What came of it.
    pub(super) result: TaskResult,
}

impl HandedIn {
    /// What the table calls the new shard, if there is one.
    pub(super) fn staged(&self) -> Option<&str> {
        let written = self.result.written.as_ref()?;
        Some(&written.staged)
    }
}

/// Removes all tasks and results: those of a pass that was not yet told to anybody.
pub(super) fn remove(state: &dyn State) -> Result<()> {
    let mut paths = Vec::new();
    for directory in [tasks_directory(), results_directory()] {
        paths.extend(state.list(&directory)?.into_iter().map(|file| file.path));
    }
    state.remove(&paths)
}

/// Writes a task down.
pub(super) fn store_task(state: &dyn State, number: u32, task: &ShardTask) -> Result<()> {
    document::store(state, &task_path(number), task, Expect::Absent)
}

/// A task by its number; `None` when there is none.
pub(super) fn task(state: &dyn State, number: u32) -> Result<Option<ShardTask>> {
    document::load(state, &task_path(number), TASK_BYTES_MAX)
}

/// The numbers of all tasks, in their order.
pub(super) fn numbers(state: &dyn State) -> Result<Vec<u32>> {
    let files = state.list(&tasks_directory())?.into_iter();
    let numbers = files.filter_map(|file| {
        let name = file.path.rsplit('/').next()?;
        let number = name.strip_suffix(".json")?.parse().ok()?;
        (task_path(number) == file.path).then_some(number)
    });
    let mut numbers: Vec<u32> = numbers.collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Writes down what came of one run of a task.
pub(super) fn store_result(state: &dyn State, number: u32, result: &TaskResult) -> Result<()> {
    let directory = results_directory();
    for _ in 1..ATTEMPTS_MAX {
        match document::store(
            state,
            &result_path(&directory, number),
            result,
            Expect::Absent,
        ) {
            // Whoever takes the lease removes drafts, also that of this process, which has no lease.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            stored => return stored,
        }
    }
    document::store(
        state,
        &result_path(&directory, number),
        result,
        Expect::Absent,
    )
}

/// All results that are there, in the order of their names. One that is damaged counts for nothing.
pub(super) fn results(state: &dyn State) -> Result<Vec<HandedIn>> {
    let files = state.list(&results_directory())?;
    let found: Result<Vec<Option<HandedIn>>> = files
        .into_par_iter()
        .map(|file| {
            let Some(number) = number_of_result(&file.path) else {
                return Ok(None);
            };
            match document::load(state, &file.path, TASK_BYTES_MAX) {
                Ok(result) => Ok(result.map(|result| HandedIn {
                    path: file.path,
                    number,
                    result,
                })),
                Err(error @ Error::State { .. }) => {
                    tracing::warn!(%error, "the result of a task can't be read: it is to be run again");
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        })
        .collect();
    Ok(found?.into_iter().flatten().collect())
}

fn tasks_directory() -> String {
    format!("{DIRECTORY}/tasks")
}

fn results_directory() -> String {
    format!("{DIRECTORY}/results")
}

fn task_path(number: u32) -> String {
    format!("{}/{number:06}.json", tasks_directory())
}

/// A path that no other run has.
fn result_path(directory: &str, number: u32) -> String {
    let unique = RandomState::new().hash_one(number);
    format!("{directory}/{number:06}-{unique:016x}.json")
}

fn number_of_result(path: &str) -> Option<u32> {
    let name = path.rsplit('/').next()?.strip_suffix(".json")?;
    let (number, _) = name.split_once('-')?;
    number.parse().ok()
}
