//! One shard's part of a pass, written down so that it can run anywhere.
//!
//! ```text
//!   ShardTask ── write ──> staged file ── settle (a batch of them) ──> durable ── check ──> TaskResult
//! ```
//! Nothing is replaced here: [`commit`](super::Compaction::commit) does that, and it alone knows the subject ids.
//!
//! # Invariants
//! * A task holds everything that it was decided with: the version of the shard, the rows, and the configuration that
//!   says which columns are cleared. The configuration of whoever runs it does not count.
//! * A task can run any number of times, also at the same time: each run stages a file of its own.
//! * A span that was copied is compared with the old shard after the new one is durable.
//!
//! Memory: that of one rewrite, see [`RewriteOptions::memory`].

use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use super::rows;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::io::Sink;
use crate::request::{Disclosure, RequiredColumns};
use crate::shard::Shard;
use crate::shard::chunk::level::ZstdLevel;
use crate::shard::clear::Clearing;
use crate::shard::readback::{self, Compared};
use crate::shard::rewrite::{RewriteOptions, RewriteReport, clear, is_clear, rewrite};
use crate::table::{ShardRef, Staging, Table, inside};
use crate::tracking::TrackingId;

/// The version of tasks and results, and the only one that is run or accepted.
pub const FORMAT: u32 = 1;

/// The work on one shard. Holds no subject id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShardTask {
    /// The version of this format, [`FORMAT`].
    pub format: u32,
    /// The pass that the task belongs to.
    pub pass: TrackingId,
    /// The shard, in the version that the rows were found in.
    pub shard: ShardRef,
    /// The hash of that version's footer.
    pub footer_hash: u64,
    /// The configuration that the pass was planned with: it says what the columns are for.
    pub config: Config,
    /// Values to clear, in this order.
    pub clear: Vec<ClearStep>,
    /// Rows to remove, counted in the shard as it is before anything is cleared.
    #[serde(with = "rows")]
    pub remove: RoaringBitmap,
    /// Memory that new chunks may take, in bytes.
    pub memory: u64,
    /// The level at which zstd pages are compressed again.
    pub zstd_level: ZstdLevel,
}

/// Values that are cleared in some rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClearStep {
    /// What to clear in them.
    pub cleared: Cleared,
    /// The rows, counted in the shard as it is before all steps.
    #[serde(with = "rows")]
    pub rows: RoaringBitmap,
}

/// Says which values of a row are cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cleared {
    /// Which columns are cleared.
    pub disclosure: Disclosure,
    /// Refuses columns that can't hold null, or says what is written there.
    pub required_columns: RequiredColumns,
}

/// A shard as it was at some moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The length in bytes.
    pub bytes: u64,
    /// The hash of the footer's bytes.
    pub footer_hash: u64,
    /// The BLAKE3 hash of the whole file.
    pub hash: String,
}

/// The result of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    /// The version of this format, [`FORMAT`].
    pub format: u32,
    /// The pass.
    pub pass: TrackingId,
    /// The shard, in the version that was rewritten.
    pub shard: ShardRef,
    /// The new shard; `None` when there was nothing to do.
    pub written: Option<NewShard>,
}

/// A staged shard, durable and checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewShard {
    /// Its name in the table.
    #[serde(deserialize_with = "inside")]
    pub staged: String,
    /// The old shard.
    pub before: Content,
    /// The new one.
    pub after: Content,
    /// The figures of the rewrite.
    pub report: RewriteReport,
}

/// What a run did to a shard.
struct Rewrite {
    old: Shard,
    of: ShardRef,
    removed: RoaringBitmap,
    cleared: Vec<(RoaringBitmap, Clearing)>,
    report: RewriteReport,
}

/// A staged shard that is not yet durable.
pub(super) struct Written {
    rewrite: Rewrite,
    staging: Box<dyn Staging>,
}

/// A staged shard that is durable.
pub(super) struct Settled {
    rewrite: Rewrite,
    new: Shard,
    name: String,
    compared: Compared,
}

/// Carries a task out. When this returns, the new shard is staged, durable and checked.
///
/// # Errors
/// [`ShardChanged`](Error::ShardChanged) when the shard is no longer the one that the task was made for;
/// [`State`](Error::State) when another version of efface made the task; faults of the shard; failures of the table.
pub fn run(table: &dyn Table, task: &ShardTask) -> Result<TaskResult> {
    let written = match write(table, task)? {
        None => None,
        Some(written) => {
            let mut settled = settle(table, vec![written])?;
            settled
                .pop()
                .map(|settled| shared(table, settled?.checked(table)?))
                .transpose()?
        }
    };
    Ok(TaskResult {
        format: FORMAT,
        pass: task.pass,
        shard: task.shard.clone(),
        written,
    })
}

/// The new shard, as other processes can open it, too.
fn shared(table: &dyn Table, new: NewShard) -> Result<NewShard> {
    let name = std::slice::from_ref(&new.staged);
    if let Err(error) = table.share(name) {
        // The first error is the one to report.
        let _ignored = table.discard(name);
        return Err(error);
    }
    Ok(new)
}

/// Writes the new shard; `None` when there is nothing to do.
pub(super) fn write(table: &dyn Table, task: &ShardTask) -> Result<Option<Written>> {
    if task.format != FORMAT {
        return Err(Error::State {
            path: task.shard.path.clone(),
            reason: format!(
                "its task has version {}, but this efface runs tasks of version {FORMAT}",
                task.format
            ),
        });
    }
    let old = Shard::new(&task.shard.path, table.open(&task.shard)?)?;
    if old.footer.hash != task.footer_hash {
        return Err(task.shard.changed());
    }
    let mut steps = Steps {
        table,
        task,
        old: &old,
        last: None,
        total: RewriteReport::default(),
    };
    let mut cleared = Vec::new();
    for step in &task.clear {
        let rows = &step.rows - &task.remove;
        if rows.is_empty() {
            continue;
        }
        let Cleared {
            disclosure,
            required_columns,
        } = step.cleared;
        let clearing = task.config.clearing(&old, disclosure, required_columns)?;
        steps.add(|source, sink, options| clear(source, &rows, &clearing, sink, options))?;
        cleared.push((rows, clearing));
    }
    if !task.remove.is_empty() {
        steps.add(|source, sink, options| rewrite(source, &task.remove, sink, options))?;
    }
    let Some((staging, report)) = steps.end()? else {
        return Ok(None);
    };
    Ok(Some(Written {
        rewrite: Rewrite {
            old,
            of: task.shard.clone(),
            removed: task.remove.clone(),
            cleared,
            report,
        },
        staging,
    }))
}

/// The steps of a task: each reads what the one before it staged.
struct Steps<'a> {
    table: &'a dyn Table,
    task: &'a ShardTask,
    old: &'a Shard,
    last: Option<Box<dyn Staging>>,
    total: RewriteReport,
}

impl Steps<'_> {
    fn add(
        &mut self,
        step: impl FnOnce(&Shard, &mut dyn Sink, &RewriteOptions) -> Result<RewriteReport>,
    ) -> Result<()> {
        let options = RewriteOptions {
            memory: self.task.memory,
            zstd_level: self.task.zstd_level,
        };
        let before = match self.last.take() {
            None => None,
            Some(mut staging) => {
                let read = self.read_back(&mut *staging);
                // Only this step reads it, so it can go as soon as it is open.
                let name = staging.name().to_owned();
                drop(staging);
                let read = read.and_then(|file| Shard::new(&self.task.shard.path, file));
                self.table.discard(&[name])?;
                Some(read?)
            }
        };
        let source = before.as_ref().unwrap_or(self.old);
        let mut staging = self.table.stage(&self.task.shard)?;
        let report = step(source, &mut *staging, &options);
        let report = report.and_then(|report| {
            if before.is_some() {
                // The file in between is gone before the next step is durable, so it is compared now.
                let file = self.read_back(&mut *staging)?;
                readback::compare_copied(&*source.file, &*file, &report.copied)
                    .map_err(|error| Error::io("read back", &self.task.shard.path)(error))?
                    .then_some(())
                    .ok_or_else(|| readback::copied_wrong(&self.task.shard.path))?;
            }
            Ok(report)
        });
        match report {
            Ok(mut report) => {
                if before.is_some() {
                    // This step may have copied what an earlier one encoded, so everything is checked.
                    report.new_ranges = std::iter::once(0..u64::MAX).collect();
                    report.copied = Vec::new();
                }
                self.total.follow(report);
                self.last = Some(staging);
                Ok(())
            }
            Err(error) => {
                let name = staging.name().to_owned();
                drop(staging);
                // The first error is the one to report.
                let _ignored = self.table.discard(&[name]);
                Err(error)
            }
        }
    }

    fn read_back(
        &self,
        staging: &mut dyn Staging,
    ) -> Result<std::sync::Arc<dyn crate::io::ReadAt>> {
        let flushed = staging.flush();
        flushed.map_err(Error::io("write", staging.name()))?;
        self.table.open_staged(staging.name())
    }

    /// The file that the last step staged, if anything had to be done.
    fn end(mut self) -> Result<Option<(Box<dyn Staging>, RewriteReport)>> {
        let Some(mut staging) = self.last.take() else {
            return Ok(None);
        };
        if self.total.rows_removed == 0 && self.total.pages_rewritten == 0 {
            let name = staging.name().to_owned();
            drop(staging);
            self.table.discard(&[name])?;
            return Ok(None);
        }
        // A file that waits for its sync needs no buffer.
        let flushed = staging.flush();
        flushed.map_err(Error::io("write", staging.name()))?;
        self.total.attributes_left_out = staging.left_out().to_vec();
        Ok(Some((staging, self.total)))
    }
}

/// Makes new shards durable together, then reads each whole, beside the old one: both are hashed, and copied spans are
/// compared. Does not use the thread pool.
///
/// # Errors
/// When they can't be made durable: none of them is left then. The error of a single one stands in its place.
pub(super) fn settle(table: &dyn Table, written: Vec<Written>) -> Result<Vec<Result<Settled>>> {
    let mut stagings = Vec::with_capacity(written.len());
    let mut rewrites = Vec::with_capacity(written.len());
    for Written { rewrite, staging } in written {
        stagings.push(staging);
        rewrites.push(rewrite);
    }
    let settled = table.settle(&mut stagings);
    let names: Vec<String> = stagings
        .iter()
        .map(|staging| staging.name().to_owned())
        .collect();
    drop(stagings);
    if let Err(error) = settled {
        // The first error is the one to report.
        let _ignored = table.discard(&names);
        return Err(error);
    }
    let measured = rewrites.into_iter().zip(names).map(|(rewrite, name)| {
        let path = &rewrite.of.path;
        let measure = || {
            let file = table.open_staged(&name)?;
            let new = Shard::new(path, file).map_err(doubted(path))?;
            let compared =
                readback::compare(&*rewrite.old.file, &*new.file, &rewrite.report.copied)
                    .map_err(Error::io("read back", path))?;
            Ok((new, compared))
        };
        match measure() {
            Ok((new, compared)) => Ok(Settled {
                rewrite,
                new,
                name,
                compared,
            }),
            Err(error) => {
                let _ignored = table.discard(&[name]);
                Err(error)
            }
        }
    });
    Ok(measured.collect())
}

impl Settled {
    /// Checks the new shard, on the thread pool: its rows add up, copied spans are unchanged, new pages can be
    /// decompressed (with their CRCs, where there are some), and no value is left that was to be cleared.
    pub(super) fn checked(self, table: &dyn Table) -> Result<NewShard> {
        if let Err(error) = self.check() {
            // The first error is the one to report.
            let _ignored = table.discard(&[self.name]);
            return Err(error);
        }
        let content = |shard: &Shard, hash| Content {
            bytes: shard.file.len(),
            footer_hash: shard.footer.hash,
            hash,
        };
        Ok(NewShard {
            before: content(&self.rewrite.old, self.compared.old_hash),
            after: content(&self.new, self.compared.new_hash),
            staged: self.name,
            report: self.rewrite.report,
        })
    }

    /// The old shard and the new one.
    pub(super) fn shards(&self) -> (Shard, Shard) {
        (self.rewrite.old.clone(), self.new.clone())
    }

    fn check(&self) -> Result<()> {
        let rewrite = &self.rewrite;
        let path = &rewrite.of.path;
        let failed = |reason: String| Error::CheckFailed {
            path: path.clone(),
            reason,
        };
        if !self.compared.is_copied_right {
            return Err(readback::copied_wrong(path));
        }
        let removed = rewrite.removed.len();
        let (found, expected) = (
            self.new.footer.rows(),
            rewrite.old.footer.rows().saturating_sub(removed),
        );
        if found != expected {
            return Err(failed(format!("it has {found} rows instead of {expected}")));
        }
        for (rows, clearing) in &rewrite.cleared {
            check_cleared(&self.new, &rewrite.removed, rows, clearing)?;
        }
        readback::check_pages(&self.new, &rewrite.report.new_ranges).map_err(doubted(path))
    }
}

impl Written {
    /// Gives up the new shard.
    pub(super) fn discard(self, table: &dyn Table) {
        let name = self.staging.name().to_owned();
        drop(self.staging);
        // Another error is reported; the next run removes what is left.
        let _ignored = table.discard(&[name]);
    }
}

/// Checks that no value is left in `new` that was to be cleared in `rows`, which are counted in the old shard: it had
/// the `removed` ones, too.
pub(super) fn check_cleared(
    new: &Shard,
    removed: &RoaringBitmap,
    rows: &RoaringBitmap,
    clearing: &Clearing,
) -> Result<()> {
    // The place of a row after the removed rows before it are gone.
    let moved = |row: u32| {
        let before = removed.rank(row);
        u32::try_from(u64::from(row).saturating_sub(before)).unwrap_or(u32::MAX)
    };
    if is_clear(new, &rows.iter().map(moved).collect(), clearing)? {
        return Ok(());
    }
    Err(Error::CheckFailed {
        path: new.path.clone(),
        reason: "values to clear are still there".to_owned(),
    })
}

/// A fault of a new shard is a failed check. A new shard that can't be read may still be right: that error stays.
pub(super) fn doubted(path: &str) -> impl FnOnce(Error) -> Error {
    move |error| match error.kind() {
        ErrorKind::Io | ErrorKind::Unavailable => error,
        _ => Error::CheckFailed {
            path: path.to_owned(),
            reason: error.to_string(),
        },
    }
}
