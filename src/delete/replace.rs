//! Replacing shards by what a delete leaves of them, one after the other.
//!
//! ```text
//!   shard n:      write ──> sync ──> read back, check ──> still as it was? ──> rename over, sync directory
//!   shard n + 1:            write ─────────────────────────────────────────> sync ──> ..
//! ```
//! While the disk takes in one shard the next one is written; the sync has a thread of its own.
//!
//! # Crash behaviour
//! At most two temporary files are there at a time; the next run removes them.
//!
//! Memory: that of one rewrite.

use std::ops::Range;
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};

use rayon::prelude::*;
use roaring::RoaringBitmap;

use crate::config::EmptyShards;
use crate::dataset::Dataset;
use crate::error::{Error, FormatError, Result};
use crate::parquet_bytes::codec::Codecs;
use crate::parquet_bytes::footer::{Chunk, Footer};
use crate::parquet_bytes::page_walk::PageWalk;
use crate::plan::ShardPlan;
use crate::plan::search;
use crate::request::Request;
use crate::shard::Shard;
use crate::shard::clear::Clearing;
use crate::shard::rewrite::{RewriteOptions, RewriteReport, clear, is_clear, rewrite};
use crate::shard::select::{Wanted, select};
use crate::storage::{FileInfo, Sink, temporary_name};

/// How often a shard that other processes keep replacing is tried.
const ATTEMPTS_MAX: usize = 5;
/// Bytes that one read of a walk over headers asks for.
const HEADER_READ_BYTES: u64 = 512;

/// Replaces shards by what is left of them without the rows of the wanted ids, or with values cleared in those.
pub(super) struct Replacer<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) request: &'a Request,
    pub(super) wanted: &'a Wanted,
    pub(super) options: RewriteOptions,
}

/// A shard that was replaced.
#[derive(Default)]
pub(super) struct Replaced {
    pub(super) report: RewriteReport,
    /// It had no rows left and was removed.
    pub(super) is_gone: bool,
    /// A new one is in its place.
    pub(super) is_new: bool,
}

/// A new shard beside the old one.
struct Written {
    /// The old one.
    shard: Shard,
    /// What was known of its file before it was opened.
    info: Option<FileInfo>,
    /// The rows that go, or that lose values.
    rows: RoaringBitmap,
    /// How they lose values, if they stay.
    clearing: Option<Clearing>,
    temporary: String,
    report: RewriteReport,
}

impl Replacer<'_> {
    /// Replaces every planned shard; `done` is told of each.
    pub(super) fn replace_all(
        &self,
        shards: &[ShardPlan],
        done: &mut dyn FnMut(Replaced),
    ) -> Result<()> {
        thread::scope(|scope| {
            let mut in_flight: Option<(&ShardPlan, Written, ScopedJoinHandle<'_, Result<()>>)> =
                None;
            for planned in shards {
                let next = self.write_planned(planned);
                if let Some((planned, written, sync)) = in_flight.take() {
                    // The next one's error is told only when this one is done.
                    match self.conclude(planned, written, join(sync)) {
                        Ok(replaced) => done(replaced),
                        Err(error) => {
                            if let Ok(Some((next, _))) = next {
                                self.discard(&next.temporary);
                            }
                            return Err(error);
                        }
                    }
                }
                let Some((written, mut sink)) = next? else {
                    done(Replaced::default());
                    continue;
                };
                let temporary = written.temporary.clone();
                let sync = move || sink.sync().map_err(Error::io("sync", &temporary));
                let handle = thread::Builder::new()
                    .spawn_scoped(scope, sync)
                    .map_err(Error::io("start a thread to sync", &written.temporary))?;
                in_flight = Some((planned, written, handle));
            }
            if let Some((planned, written, sync)) = in_flight {
                done(self.conclude(planned, written, join(sync))?);
            }
            Ok(())
        })
    }

    fn write_planned(&self, planned: &ShardPlan) -> Result<Option<(Written, Box<dyn Sink>)>> {
        let info = self.dataset.storage.info(&planned.path)?;
        let shard = self.dataset.open(&planned.path)?;
        if shard.footer.hash == planned.footer_hash {
            self.write(shard, info, planned.rows.clone())
        } else {
            self.write_from_new_content(shard, info)
        }
    }

    /// Writes what is left of a shard whose rows were not found by the plan.
    fn write_from_new_content(
        &self,
        shard: Shard,
        info: Option<FileInfo>,
    ) -> Result<Option<(Written, Box<dyn Sink>)>> {
        let all = (0..).take(shard.footer.row_groups().len()).collect();
        let found = search::in_shard(self.dataset, &shard, all, self.wanted, None)?;
        if found.rows.is_empty() {
            return Ok(None);
        }
        self.write(shard, info, found.rows)
    }

    /// Writes what is left of the shard beside it; `None` when nothing goes from it.
    fn write(
        &self,
        shard: Shard,
        info: Option<FileInfo>,
        rows: RoaringBitmap,
    ) -> Result<Option<(Written, Box<dyn Sink>)>> {
        let clearing = self.request.clears();
        let clearing = clearing
            .then(|| self.dataset.clearing(&shard, self.request))
            .transpose()?;
        let temporary = temporary_name(&shard.path);
        let write = || {
            let storage = &self.dataset.storage;
            let mut sink = storage.create(&temporary, Some(&shard.path))?;
            let report = match &clearing {
                Some(clearing) => clear(&shard, &rows, clearing, &mut *sink, &self.options)?,
                None => rewrite(&shard, &rows, &mut *sink, &self.options)?,
            };
            Ok((report, sink))
        };
        match write() {
            Ok((report, _)) if report.rows_removed == 0 && report.pages_rewritten == 0 => {
                self.dataset.storage.remove(&temporary)?;
                Ok(None)
            }
            Ok((report, sink)) => {
                let written = Written {
                    shard,
                    info,
                    rows,
                    clearing,
                    temporary,
                    report,
                };
                Ok(Some((written, sink)))
            }
            Err(error) => {
                self.discard(&temporary);
                Err(error)
            }
        }
    }

    /// The error that is told is another one; the next run removes what is left over.
    fn discard(&self, temporary: &str) {
        let _ignored = self.dataset.storage.remove(temporary);
    }

    /// Checks what was written and puts it in the place of the old shard. One that another process
    /// replaced meanwhile is taken from its new content.
    fn conclude(
        &self,
        planned: &ShardPlan,
        mut written: Written,
        mut synced: Result<()>,
    ) -> Result<Replaced> {
        for _ in 0..ATTEMPTS_MAX {
            let swapped = synced
                .and_then(|()| self.check(&written))
                .and_then(|()| self.swap(&written));
            match swapped {
                Ok(Some(is_gone)) => {
                    return Ok(Replaced {
                        report: written.report,
                        is_gone,
                        is_new: !is_gone,
                    });
                }
                Ok(None) => self.dataset.storage.remove(&written.temporary)?,
                Err(error) => {
                    self.discard(&written.temporary);
                    return Err(error);
                }
            }
            let info = self.dataset.storage.info(&planned.path)?;
            let shard = self.dataset.open(&planned.path)?;
            let Some((next, mut sink)) = self.write_from_new_content(shard, info)? else {
                return Ok(Replaced::default());
            };
            synced = sink.sync().map_err(Error::io("sync", &next.temporary));
            written = next;
        }
        self.discard(&written.temporary);
        Err(Error::ShardChanged {
            path: planned.path.clone(),
        })
    }

    /// Swaps the new shard in, unless another process changed the old one; says whether it is gone
    /// altogether.
    fn swap(&self, written: &Written) -> Result<Option<bool>> {
        let storage = &*self.dataset.storage;
        let path = &written.shard.path;
        if written.info.is_none() || storage.info(path)? != written.info {
            return Ok(None);
        }
        let hash = Footer::read_hash(&*storage.open(path)?);
        if !hash.is_ok_and(|hash| hash == written.shard.footer.hash) {
            return Ok(None);
        }
        let is_gone = written.report.rows_removed == written.shard.footer.rows()
            && self.dataset.config.empty_shards == EmptyShards::Remove;
        if is_gone {
            storage.remove(path)?;
            storage.remove(&written.temporary)?;
        } else {
            storage.replace(&written.temporary, path)?;
        }
        Ok(Some(is_gone))
    }

    /// Reads the new shard back and checks it: its rows add up, pages that were made anew can be
    /// decompressed (with their CRC, where there is one), and no wanted id is left in their row groups.
    fn check(&self, written: &Written) -> Result<()> {
        let failed = |reason| Error::CheckFailed {
            path: written.shard.path.clone(),
            reason,
        };
        let new = self
            .dataset
            .open(&written.temporary)
            .map_err(|error| failed(error.to_string()))?;
        let removed = match written.clearing {
            None => written.rows.len(),
            Some(_) => 0,
        };
        let expected = written.shard.footer.rows().saturating_sub(removed);
        if new.footer.rows() != expected {
            let found = new.footer.rows();
            return Err(failed(format!("it has {found} rows instead of {expected}")));
        }
        // What stays must be cleared, and nobody's row may be left otherwise.
        let columns = match &written.clearing {
            None => self.dataset.subject_columns(&new)?,
            Some(clearing) if is_clear(&new, &written.rows, clearing)? => Vec::new(),
            Some(_) => return Err(failed("values to clear are still there".to_owned())),
        };
        let fresh = &written.report.new_ranges;
        let groups = new.footer.row_groups();
        (0_u32..)
            .zip(groups)
            .par_bridge()
            .filter(|(_, group)| group.chunks.iter().any(|chunk| is_among(chunk, fresh)))
            .try_for_each(|(number, group)| {
                let left = select(&new, [number], &columns, self.wanted, None)?;
                if !left.rows.is_empty() {
                    let rows = left.rows.len();
                    return Err(failed(format!(
                        "{rows} rows to delete are still in row group {number}"
                    )));
                }
                let check = |chunk| check_pages(&new, chunk, fresh);
                group
                    .chunks
                    .par_iter()
                    .try_for_each(check)
                    .map_err(|error| failed(error.to_string()))
            })
    }
}

/// Walks the pages of a chunk and decompresses those that are `fresh`.
fn check_pages(
    shard: &Shard,
    chunk: &Chunk,
    fresh: &[Range<u64>],
) -> std::result::Result<(), FormatError> {
    let range = chunk.range.clone();
    let mut walk = PageWalk::with_read_len(Arc::clone(&shard.file), range, HEADER_READ_BYTES);
    let mut codecs = Codecs::default();
    let mut body = Vec::new();
    let mut values = 0;
    while let Some(page) = walk.peek()? {
        values += u64::from(page.kind.data_values().unwrap_or(0));
        if overlaps(fresh, page.offset..page.end()) {
            body.clear();
            page.decompress(walk.body(&page)?, chunk.codec, &mut codecs, &mut body)?;
        }
        walk.skip(&page);
    }
    if values == chunk.values {
        return Ok(());
    }
    Err(FormatError::Contradiction {
        what: "values of a new chunk".into(),
        claimed: chunk.values,
        counted: values,
    })
}

fn is_among(chunk: &Chunk, fresh: &[Range<u64>]) -> bool {
    overlaps(fresh, chunk.range.clone())
}

/// Whether one of the ascending `ranges` overlaps `range`.
fn overlaps(ranges: &[Range<u64>], range: Range<u64>) -> bool {
    let next = ranges.partition_point(|other| other.end <= range.start);
    ranges
        .get(next)
        .is_some_and(|other| other.start < range.end)
}

fn join(sync: ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    match sync.join() {
        Ok(synced) => synced,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
