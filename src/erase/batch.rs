//! Running the tasks of a pass here, many at a time.
//!
//! ```text
//!   batch n:      written, in parallel ──> made durable together, hashed ──> checked ──> progress ──> committed
//!   batch n + 1:                           written ─────────────────────────────────────────────> made durable ..
//! ```
//! While the disk takes in one batch, the next one is written. A thread of its own syncs and hashes.
//!
//! # Crash behaviour
//! The staged files of at most two batches are there at a time; the next run removes them.
//!
//! Memory: a batch of several shards shares the memory of one rewrite. Together its files are at most
//! [`BATCH_BYTES_MAX`] long.

use std::collections::BTreeMap;
use std::thread::{self, ScopedJoinHandle};

use rayon::prelude::*;

use super::class::Job;
use super::ready::Outcome;
use super::running::Compaction;
use super::task::{self, Settled, ShardTask, Written};
use crate::error::{Error, Result};
use crate::limits::BATCH_BYTES_MAX;
use crate::table::{CommitUnit, Table};

/// Shards of a batch, where the process may have enough files open.
const BATCH_SHARDS_MAX: u64 = 64;

/// Files that are open for a shard: the old one, the staged one, and the staged one as it is read back, in each of the
/// two batches that are under way.
const FILES_A_SHARD: u64 = 6;

/// Files that are open besides: the standard streams, the lease, the index, directories that are being synced.
const FILES_BESIDES: u64 = 32;

/// A batch's files may be as long as one part in so many of the memory: their footers take some of it.
const MEMORY_PART: u64 = 16;

/// A batch by path: the new shards that were written, and the errors of the others.
type Batch = Vec<(String, Result<Option<Written>>)>;

/// A batch that is durable.
type SettledBatch = Vec<(String, Result<Option<Settled>>)>;

impl Compaction {
    /// Runs all outstanding tasks here, on the thread pool of the caller, and commits them.
    ///
    /// # Errors
    /// [`Cancelled`](Error::Cancelled); failures of the table; [`ShardChanged`](Error::ShardChanged) when another
    /// process keeps replacing a shard. The pass can be carried on later.
    pub fn run_all(&mut self) -> Result<()> {
        let observer = std::sync::Arc::clone(&self.site.dataset.observer);
        let table = std::sync::Arc::clone(&self.site.dataset.table);
        let table = &*table;
        observer.begin("rewriting", self.outstanding.len() as u64);
        let jobs = self
            .outstanding
            .iter()
            .filter_map(|path| self.jobs.get(path));
        let batches = batches(jobs, self.site.memory, shards_max(table));
        let done = thread::scope(|scope| {
            let mut in_flight: Option<ScopedJoinHandle<'_, Result<SettledBatch>>> = None;
            for paths in &batches {
                let next = if self.options.is_cancelled() {
                    Err(Error::Cancelled)
                } else {
                    Ok(self.write(table, paths))
                };
                if let Some(settled) = in_flight.take()
                    && let Err(error) = self.conclude(join(settled))
                {
                    // The error of the next batch is reported only when this one is done.
                    for (_, written) in next.into_iter().flatten() {
                        if let Ok(Some(written)) = written {
                            written.discard(table);
                        }
                    }
                    return Err(error);
                }
                let batch = next?;
                let handle = thread::Builder::new()
                    .spawn_scoped(scope, move || settle(table, batch))
                    .map_err(Error::io("start a thread to sync", &table.name()))?;
                in_flight = Some(handle);
            }
            match in_flight {
                Some(settled) => self.conclude(join(settled)),
                None => Ok(()),
            }
        });
        observer.end();
        done
    }

    fn write(&self, table: &dyn Table, paths: &[String]) -> Batch {
        let at_a_time = paths.len().min(rayon::current_num_threads()).max(1) as u64;
        let tasks = paths.iter().filter_map(|path| {
            let mut task = self.task(self.jobs.get(path)?);
            task.memory /= at_a_time;
            Some(task)
        });
        let tasks: Vec<ShardTask> = tasks.collect();
        tasks
            .into_par_iter()
            .map(|task| {
                let written = task::write(table, &task);
                (task.shard.path, written)
            })
            .collect()
    }

    /// Checks and commits a batch, trying again where another process replaced a shard.
    fn conclude(&mut self, settled: Result<SettledBatch>) -> Result<()> {
        let settled = settled?;
        let this = &*self;
        let outcomes: Vec<(String, Result<Outcome>)> = settled
            .into_par_iter()
            .map(|(path, settled)| {
                let outcome = settled.and_then(|settled| this.examine(&path, settled));
                (path, outcome)
            })
            .collect();
        let count = outcomes.len() as u64;
        let mut again = self.take(outcomes)?;
        loop {
            if again.is_empty() {
                // The last task may have failed while the others waited for it.
                again = self.swap_complete()?;
            }
            let Some(task) = again.pop() else {
                break;
            };
            let path = task.shard.path.clone();
            let table = &*std::sync::Arc::clone(&self.site.dataset.table);
            let settled = task::write(table, &task)
                .map(|written| vec![(path.clone(), Ok(written))])
                .and_then(|batch| settle(table, batch));
            match settled {
                Ok(settled) => self.conclude(Ok(settled))?,
                Err(error) => again.extend(self.retry(&path, error)?),
            }
        }
        self.site.dataset.observer.advance(count);
        Ok(())
    }
}

fn settle(table: &dyn Table, batch: Batch) -> Result<SettledBatch> {
    let mut written = Vec::with_capacity(batch.len());
    let mut results = Vec::with_capacity(batch.len());
    for (path, result) in batch {
        match result {
            Ok(Some(new)) => {
                written.push(new);
                results.push((path, Ok(true)));
            }
            Ok(None) => results.push((path, Ok(false))),
            Err(error) => results.push((path, Err(error))),
        }
    }
    let mut settled = task::settle(table, written)?.into_iter();
    let results = results.into_iter().map(|(path, result)| {
        let settled = match result {
            Ok(true) => settled.next().transpose(),
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        };
        (path, settled)
    });
    Ok(results.collect())
}

/// The shards of a batch that the process can have open.
fn shards_max(table: &dyn Table) -> usize {
    let by_files = table.open_files_max().map_or(u64::MAX, |max| {
        max.saturating_sub(FILES_BESIDES) / FILES_A_SHARD
    });
    usize::try_from(by_files.clamp(1, BATCH_SHARDS_MAX)).unwrap_or(1)
}

/// The paths of jobs, batch by batch: of few long shards, or of many short ones.
fn batches<'a>(
    jobs: impl Iterator<Item = &'a Job>,
    memory: u64,
    shards_max: usize,
) -> Vec<Vec<String>> {
    let bytes_max = BATCH_BYTES_MAX.min(memory / MEMORY_PART);
    let mut batches: Vec<Vec<String>> = Vec::new();
    let mut bytes = 0;
    for job in jobs {
        let path = job.shard.path.clone();
        match batches.last_mut() {
            Some(batch) if batch.len() < shards_max && bytes + job.shard.bytes <= bytes_max => {
                bytes += job.shard.bytes;
                batch.push(path);
            }
            _ => {
                bytes = job.shard.bytes;
                batches.push(vec![path]);
            }
        }
    }
    batches
}

/// Whether there is room for the new shards that lie beside the old ones at a time: those of two batches if `memory`
/// says how long these are, else all.
pub(super) fn check_room(table: &dyn Table, jobs: &[&Job], memory: Option<u64>) -> Result<()> {
    let Some(available) = table.room()? else {
        return Ok(());
    };
    let needed = match (table.commit_unit(), memory) {
        (CommitUnit::WholeTable, _) | (_, None) => jobs.iter().map(|job| job.room()).sum(),
        // One batch is written while the one before it is committed.
        (CommitUnit::EachShard, Some(memory)) => {
            let rooms: BTreeMap<&str, u64> = jobs
                .iter()
                .map(|job| (job.shard.path.as_str(), job.room()))
                .collect();
            let bytes_of = |path: &String| rooms.get(path.as_str()).copied().unwrap_or(0);
            let batches = batches(jobs.iter().copied(), memory, shards_max(table));
            let bytes: Vec<u64> = batches
                .iter()
                .map(|batch| batch.iter().map(bytes_of).sum())
                .collect();
            let pairs = bytes.windows(2).map(|pair| pair.iter().sum());
            let most: Option<u64> = pairs.chain(bytes.first().copied()).max();
            most.unwrap_or(0)
        }
    };
    if needed > available {
        return Err(Error::NoRoom { needed, available });
    }
    Ok(())
}

fn join<T>(handle: ScopedJoinHandle<'_, T>) -> T {
    match handle.join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
