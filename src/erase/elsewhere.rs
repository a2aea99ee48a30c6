//! A pass whose tasks are run on other machines: they lie in the state, and so does what comes of them.
//!
//! ```text
//!   hand out: begun ─> task files ─> the record says so; the lease is given up, and the open pass is the lock
//!   run:      task file ─> new shard staged, durable, checked ─> result file          (anywhere, any number of times)
//!   take in:  lease ─> planned again ─> results of tasks that are still to be done like that ─> committed
//!               ─> tasks outstanding: told, and the new ones written      ─> none: finished, all leftovers removed
//! ```
//!
//! # Invariants
//! * A result counts only if its task says the same as what is planned now: the same version of the shard, the same
//!   rows, the same configuration.
//! * While tasks may be running, nothing that was staged is removed, except files of results that are of no use.
//!   Whoever runs all tasks itself keeps what results name.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use serde::Serialize;

use super::batch::check_room;
use super::class::Job;
use super::published::{self, HandedIn};
use super::report::CompactReport;
use super::running::Compaction;
use super::task::{self, FORMAT, ShardTask, TaskResult};
use crate::dataset::Dataset;
use crate::error::{Error, PassFault, Result};
use crate::pass::{Pass, Stage};
use crate::receipts::Receipt;
use crate::state::State;
use crate::tracking::TrackingId;

/// Results that are committed at a time.
const RESULTS_AT_A_TIME: usize = 256;

/// A pass whose tasks were handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Published {
    /// The pass.
    pub pass: TrackingId,
    /// How many tasks it has: their numbers begin with 1.
    pub tasks: u32,
}

/// How a pass ended.
#[derive(Debug, Clone)]
pub enum PassEnd {
    /// It ended now.
    Now(Box<CompactReport>),
    /// It had ended before: these are its receipts.
    Before(Vec<Receipt>),
}

/// Runs a task by its number, and writes down what came of it. Needs no lease.
pub(crate) fn run_numbered(dataset: &Dataset, pass: TrackingId, number: u32) -> Result<TaskResult> {
    let state = &*dataset.state;
    check_open(state, pass)?;
    run(dataset, pass, number).map_err(|error| match check_open(state, pass) {
        // Whoever ended the pass removed the task, and what this run had staged.
        Err(
            ended @ Error::Pass {
                fault: PassFault::NotOpen { .. },
                ..
            },
        ) => ended,
        _ => error,
    })
}

fn run(dataset: &Dataset, pass: TrackingId, number: u32) -> Result<TaskResult> {
    let (state, table) = (&*dataset.state, &*dataset.table);
    let task = published::task(state, number)?.filter(|task| task.pass == pass);
    let Some(task) = task else {
        let last = published::numbers(state)?.pop();
        let tasks = last.unwrap_or(0);
        return Err(PassFault::NoSuchTask { number, tasks }.of(pass));
    };
    let result = task::run(table, &task)?;
    let stored =
        check_open(state, pass).and_then(|()| published::store_result(state, number, &result));
    if stored.is_err()
        && let Some(new) = &result.written
    {
        // The first error is the one to report.
        let _ignored = table.discard(std::slice::from_ref(&new.staged));
    }
    stored.map(|()| result)
}

fn check_open(state: &dyn State, pass: TrackingId) -> Result<()> {
    let open = Pass::load(state)?.filter(|open| open.stage == Stage::Started && open.elsewhere);
    let open = open.map(|open| open.id);
    if open == Some(pass) {
        Ok(())
    } else {
        Err(PassFault::NotOpen { open }.of(pass))
    }
}

impl Compaction {
    /// Writes all tasks into the state, to be run elsewhere. The lease is given up.
    pub(crate) fn hand_out(mut self) -> Result<Published> {
        let state = &*self.site.dataset.state;
        // A run that died while it handed the tasks out told nobody their numbers.
        published::remove(state)?;
        let numbered: Vec<(u32, &Job)> = (1..).zip(self.outstanding_jobs()).collect();
        numbered
            .par_iter()
            .try_for_each(|(number, job)| published::store_task(state, *number, &self.task(job)))?;
        let tasks = numbered.last().map_or(0, |(number, _)| *number);
        self.confirm()?;
        self.pass.elsewhere = true;
        self.pass.store(state)?;
        tracing::info!(pass = %self.pass.id, tasks, "tasks are to be run elsewhere");
        Ok(Published {
            pass: self.pass.id,
            tasks,
        })
    }

    /// Commits the results that are of use. The others go, with what they name.
    pub(super) fn take_in(&mut self, handed_in: Vec<HandedIn>) -> Result<()> {
        if handed_in.is_empty() {
            return Ok(());
        }
        let current = self.current_tasks()?;
        let (mut useful, mut useless) = (Vec::new(), Vec::new());
        for handed_in in handed_in {
            let of = current.get(&handed_in.number);
            let TaskResult {
                format,
                pass,
                shard,
                ..
            } = &handed_in.result;
            if (*format, *pass) == (FORMAT, self.pass.id) && of == Some(&shard.path) {
                useful.push(handed_in);
            } else {
                useless.push(handed_in);
            }
        }
        let used: BTreeSet<&str> = useful.iter().filter_map(HandedIn::staged).collect();
        let unused = useless.iter().filter_map(HandedIn::staged);
        let unused: Vec<String> = unused
            .filter(|staged| !used.contains(staged))
            .map(str::to_owned)
            .collect();
        let dataset = self.site.dataset.clone();
        dataset.table.discard(&unused)?;
        let paths: Vec<String> = useless.into_iter().map(|useless| useless.path).collect();
        dataset.state.remove(&paths)?;
        while !useful.is_empty() {
            let rest = useful.split_off(useful.len().min(RESULTS_AT_A_TIME));
            let batch = std::mem::replace(&mut useful, rest);
            let (files, results): (Vec<(String, String)>, Vec<TaskResult>) = batch
                .into_iter()
                .map(|each| ((each.path, each.result.shard.path.clone()), each.result))
                .unzip();
            // What is to be done again is outstanding.
            self.commit(results)?;
            // A table that changes as a whole waits for the last result, maybe in another process.
            let ready = self.ready_paths();
            let done = files
                .into_iter()
                .filter(|(_, shard)| !ready.contains(shard));
            let done: Vec<String> = done.map(|(path, _)| path).collect();
            dataset.state.remove(&done)?;
        }
        Ok(())
    }

    /// Ends the pass, if all its tasks were committed or have failed.
    ///
    /// # Errors
    /// [`PassFault::Outstanding`], once those are written down that have no number yet.
    pub(crate) fn end_or_tell(mut self) -> Result<CompactReport> {
        let current = self.current_tasks()?;
        let number_of: BTreeMap<&str, u32> = current
            .iter()
            .rev()
            .map(|(number, path)| (path.as_str(), *number))
            .collect();
        let state = &*self.site.dataset.state;
        let mut last = published::numbers(state)?.pop().unwrap_or(0);
        let ready = self.ready_paths();
        let (mut numbers, mut again) = (Vec::new(), Vec::new());
        for job in self.outstanding_jobs() {
            let path = job.shard.path.as_str();
            if ready.contains(path) {
                continue;
            }
            if let Some(number) = number_of.get(path) {
                numbers.push(*number);
            } else {
                last = last.saturating_add(1);
                published::store_task(state, last, &self.task(job))?;
                numbers.push(last);
                again.push(last);
            }
        }
        if numbers.is_empty() {
            return self.finish();
        }
        numbers.sort_unstable();
        Err(PassFault::Outstanding { numbers, again }.of(self.pass.id))
    }

    /// Whether there is room to run here what is left to do.
    pub(super) fn check_room(&self) -> Result<()> {
        let jobs: Vec<&Job> = self.outstanding_jobs().collect();
        check_room(&*self.site.dataset.table, &jobs, Some(self.site.memory))
    }

    fn outstanding_jobs(&self) -> impl Iterator<Item = &Job> {
        let outstanding = self.outstanding.iter();
        outstanding.filter_map(|path| self.jobs.get(path))
    }

    /// The numbers of the tasks that say what is planned now, each with the path of its shard.
    fn current_tasks(&self) -> Result<BTreeMap<u32, String>> {
        let state = &*self.site.dataset.state;
        let current: Result<Vec<Option<(u32, String)>>> = published::numbers(state)?
            .into_par_iter()
            .map(|number| {
                let task = match published::task(state, number) {
                    Err(error @ Error::State { .. }) => {
                        tracing::warn!(%error, "a task can't be read: it gets another number");
                        None
                    }
                    task => task?,
                };
                let task = task.filter(|task| self.is_current(task));
                Ok(task.map(|task| (number, task.shard.path)))
            })
            .collect();
        Ok(current?.into_iter().flatten().collect())
    }

    fn is_current(&self, task: &ShardTask) -> bool {
        let job = self.jobs.get(&task.shard.path);
        job.is_some_and(|job| {
            let planned = ShardTask {
                // These change nothing of what the shard becomes.
                memory: task.memory,
                zstd_level: task.zstd_level,
                ..self.task(job)
            };
            planned == *task
        })
    }
}
