//! Swapping new shards in, and running the tasks of a pass here.
//!
//! ```text
//!   shard n:      write ──> sync, hash ──> read back, check ──> still as it was? ──> progress ──> rename over
//!   shard n + 1:            write ──────────────────────────────────────────────> sync, hash ──> ..
//! ```
//! While the disk takes in one shard the next one is written; sync and hash have a thread of their own.
//!
//! # Crash behaviour
//! At most two temporary files are there at a time; the next run removes them.

use std::thread::{self, ScopedJoinHandle};

use rayon::prelude::*;

use super::Compaction;
use super::class::Job;
use super::staging::unreadable;
use super::task::{self, Action, NewShard, Settled, ShardTask, TaskResult, doubted, fresh_groups};
use crate::config::EmptyShards;
use crate::error::{Error, Result};
use crate::parquet_bytes::footer::Footer;
use crate::pass::{Progress, Swap};
use crate::plan::search;
use crate::shard::Shard;
use crate::shard::select::select;

/// How often a shard that other processes keep replacing is tried.
const ATTEMPTS_MAX: u32 = 5;

/// What came of a commit.
pub(super) enum Committed {
    /// The shard is done.
    Done,
    /// It has other content now, of which this is to be done.
    Again(Box<ShardTask>),
}

impl Compaction<'_> {
    /// Runs all tasks here, one after the other, each on the thread pool of the caller, and commits them.
    ///
    /// # Errors
    /// [`Cancelled`](Error::Cancelled); failures of the storage; [`ShardChanged`](Error::ShardChanged) when another
    /// process keeps replacing a shard. The pass can be carried on later.
    pub fn run_all(&mut self) -> Result<()> {
        let dataset = self.site.dataset;
        let tasks = self.tasks();
        dataset.observer.begin("rewriting", tasks.len() as u64);
        let done = thread::scope(|scope| {
            let mut in_flight: Option<(&str, ScopedJoinHandle<'_, Result<Settled>>)> = None;
            for task in &tasks {
                let next = if self.options.is_cancelled() {
                    Err(Error::Cancelled)
                } else {
                    task::write(dataset, task)
                };
                if let Some((path, settled)) = in_flight.take()
                    && let Err(error) = self.conclude(path, join(settled))
                {
                    // The next one's error is told only when this one is done.
                    if let Ok(Some(written)) = next {
                        written.discard(dataset);
                    }
                    return Err(error);
                }
                let written = match next {
                    Ok(Some(written)) => written,
                    Ok(None) => {
                        dataset.observer.advance(1);
                        continue;
                    }
                    Err(error) => {
                        self.conclude(&task.path, Err(error))?;
                        continue;
                    }
                };
                let handle = thread::Builder::new()
                    .spawn_scoped(scope, move || task::settle(dataset, written))
                    .map_err(Error::io("start a thread to sync", &task.path))?;
                in_flight = Some((&task.path, handle));
            }
            match in_flight {
                Some((path, settled)) => self.conclude(path, join(settled)),
                None => Ok(()),
            }
        });
        dataset.observer.end();
        done
    }

    /// Commits what was written of one shard, trying again where another process replaced it.
    fn conclude(&mut self, path: &str, settled: Result<Settled>) -> Result<()> {
        let dataset = self.site.dataset;
        let mut next = match settled.and_then(|settled| settled.checked(dataset)) {
            Ok(new) => self.commit(TaskResult {
                path: path.to_owned(),
                written: Some(new),
            })?,
            Err(error) => self.recover(path, error)?,
        };
        while let Some(task) = next {
            next = match task::run(dataset, &task) {
                Ok(result) => self.commit(result)?,
                Err(error) => self.recover(path, error)?,
            };
        }
        dataset.observer.advance(1);
        Ok(())
    }

    /// What is to be done after `error`: the same shard again, from its new content, or nothing.
    fn recover(&mut self, path: &str, error: Error) -> Result<Option<ShardTask>> {
        match error {
            Error::ShardChanged { .. } => match self.again(path) {
                Ok(Committed::Again(task)) => Ok(Some(*task)),
                Ok(Committed::Done) => Ok(None),
                Err(error) => self.fail(path, error).map(|()| None),
            },
            error => self.fail(path, error).map(|()| None),
        }
    }

    pub(super) fn commit_shard(&mut self, result: TaskResult) -> Result<Committed> {
        let Some(new) = result.written else {
            return Ok(Committed::Done);
        };
        let swapped = self.swap(&result.path, &new);
        if !matches!(swapped, Ok(true)) {
            // Removed by the next run, if not now.
            let _ignored = self.site.dataset.storage.remove(&new.temporary);
        }
        if swapped? {
            return Ok(Committed::Done);
        }
        self.again(&result.path)
    }

    /// Swaps a new shard in, unless another process changed the old one: then it says no.
    fn swap(&mut self, path: &str, new: &NewShard) -> Result<bool> {
        let dataset = self.site.dataset;
        let storage = &*dataset.storage;
        self.check(path, new)?;
        let is_gone = new.report.rows_removed == new.rows_before
            && dataset.config.empty_shards == EmptyShards::Remove;
        let job = self.jobs.get(path).cloned().unwrap_or_default();
        let swap = Swap {
            path: path.to_owned(),
            before: new.before.hash.clone(),
            after: (!is_gone).then(|| new.after.hash.clone()),
            of_request: job.of_request,
            of_subject: job.of_subject,
            suppressed: job.suppressed,
            report: new.report.clone(),
        };
        self.log(&Progress::Swap(Box::new(swap.clone())))?;
        let hash = storage.open(path).map(|file| Footer::read_hash(&*file));
        let is_same = matches!(hash, Ok(Ok(hash)) if hash == new.before.footer_hash);
        // Last, so that next to nothing can happen between this and the swap.
        let info = storage.info(path)?;
        if !(is_same && info.is_some_and(|info| new.before.is_of(&info))) {
            return Ok(false);
        }
        if is_gone {
            storage.remove(path)?;
            storage.remove(&new.temporary)?;
        } else {
            storage.replace(&new.temporary, path)?;
        }
        if self.checked.shards.contains_key(path) {
            let footer_hash = new.after.footer_hash;
            self.checked.shards.insert(path.to_owned(), footer_hash);
        }
        self.swaps.push(swap);
        Ok(true)
    }

    /// Checks that the new shard is the one that was told of, and that no row of a covered id is left where it
    /// was made anew.
    fn check(&self, path: &str, new: &NewShard) -> Result<()> {
        let failed = |reason: String| Error::CheckFailed {
            path: path.to_owned(),
            reason,
        };
        let dataset = self.site.dataset;
        let file = dataset.storage.open(&new.temporary)?;
        let shard = Shard::new(path, file).map_err(doubted(path))?;
        if shard.footer.hash != new.after.footer_hash {
            return Err(failed("it is not the file that was written".to_owned()));
        }
        let classes = self.classes.iter();
        let removing = classes.filter(|class| class.action == Action::Remove);
        for class in removing {
            let columns = dataset.subject_columns(&shard)?;
            fresh_groups(&shard, &new.fresh)
                .par_bridge()
                .try_for_each(|(number, _)| {
                    let left = select(&shard, [number], &columns, &class.wanted, None)?;
                    match left.rows.len() {
                        0 => Ok(()),
                        rows => Err(failed(format!(
                            "{rows} rows to delete are still in row group {number}"
                        ))),
                    }
                })?;
        }
        Ok(())
    }

    /// What is to be done with a shard that another process replaced.
    fn again(&mut self, path: &str) -> Result<Committed> {
        let attempt = self.attempts.entry(path.to_owned()).or_default();
        *attempt += 1;
        let attempt = *attempt;
        if attempt > ATTEMPTS_MAX {
            return Err(Error::ShardChanged {
                path: path.to_owned(),
            });
        }
        let dataset = self.site.dataset;
        if dataset.storage.info(path)?.is_none() {
            // Its rows went with it.
            self.jobs.remove(path);
            return Ok(Committed::Done);
        }
        let shard = dataset.open(path)?;
        let mut job = Job {
            footer_hash: shard.footer.hash,
            ..Job::default()
        };
        for class in &self.classes {
            let all = (0..).take(shard.footer.row_groups().len()).collect();
            let found = search::in_shard(dataset, &shard, all, &class.wanted, None)?;
            let counts = found.of_subject.iter().copied().enumerate();
            let counts: Vec<(usize, u64)> = counts.filter(|(_, rows)| *rows > 0).collect();
            if !found.rows.is_empty() {
                class.add_to(&mut job, found.rows, &counts);
            }
        }
        self.suppress_in(&shard, &mut job)?;
        if job.rows.is_empty() {
            self.jobs.remove(path);
            return Ok(Committed::Done);
        }
        let task = self.task(path, &job, attempt);
        self.jobs.insert(path.to_owned(), job);
        Ok(Committed::Again(Box::new(task)))
    }
}

/// Whether `error` says something of the shard, so that the others can still be done.
pub(super) fn is_of_shard(error: &Error) -> bool {
    unreadable(error).is_some()
        || matches!(
            error,
            Error::CannotBeNull { .. } | Error::CheckFailed { .. } | Error::LinkedShard { .. }
        )
}

fn join<T>(handle: ScopedJoinHandle<'_, T>) -> T {
    match handle.join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
