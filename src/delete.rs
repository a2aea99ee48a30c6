//! Carrying out a delete of rows.
//!
//! ```text
//!   lock ─> leftovers removed ─> index refreshed ─> plan, guards, digest
//!     ─> per shard: new file beside it, fsync, read back and checked
//!                   ─> old one unchanged? (else from its new content) ─> rename over, fsync directory
//!     ─> index refreshed (erased ids' hashes leave it) ─> alias rows removed
//! ```
//!
//! # Crash behaviour
//! The rename of one shard is the only commit point: a shard has all its rows or none of the victims. A
//! rerun finds the rows that are left and ends the work; temporary files of the interrupted run are removed.
//! Alias rows go last, so that a rerun still finds every id that has one. An id without an alias row may
//! have lost all its rows already: a rerun takes it for an unknown one, and must be told to report those
//! ([`Unknown::Report`](crate::request::Unknown::Report)) rather than to refuse.

use std::io::Write;
use std::sync::Arc;

use rayon::prelude::*;
use roaring::RoaringBitmap;
use serde::Serialize;

use crate::config::EmptyShards;
use crate::dataset::{Dataset, Files};
use crate::error::{Error, Result};
use crate::identity::{Expansion, TableFormat, removal};
use crate::index::upkeep::Upkeep;
use crate::parquet_bytes::chunk_reader::ChunkPages;
use crate::parquet_bytes::footer::Footer;
use crate::plan::search::{self, Knowledge, touched_row_groups, wanted};
use crate::plan::{Plan, ShardPlan, SubjectPlan};
use crate::request::{Disclosure, Kind, Request};
use crate::shard::Shard;
use crate::shard::chunk::level::ZstdLevel;
use crate::shard::rewrite::{RewriteOptions, RewriteReport, rewrite};
use crate::shard::select::{Wanted, select};
use crate::storage::{Storage, temporary_name};

/// How often a shard that other processes keep replacing is tried.
const ATTEMPTS_MAX: usize = 5;

/// How to delete.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// The level at which zstd pages are compressed again.
    pub zstd_level: ZstdLevel,
}

/// What a delete did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DeleteReport {
    /// Rows that are gone.
    pub rows_removed: u64,
    /// Shards that were replaced.
    pub shards_rewritten: u64,
    /// Shards that were removed since they had no rows left.
    pub shards_removed: u64,
    /// Row groups that were made anew.
    pub row_groups_rewritten: u64,
    /// Row groups that lost all their rows.
    pub row_groups_dropped: u64,
    /// Pages of the chunks that were made anew.
    pub pages_rewritten: u64,
    /// Bytes that were copied as they were.
    pub bytes_copied: u64,
    /// Bytes that were encoded anew.
    pub bytes_encoded: u64,
    /// Rows of the alias table that are gone.
    pub alias_rows_removed: u64,
    /// Other aliases that also map to a covered id and were left out.
    pub left_out: u64,
    /// Summaries of footers (`_metadata`) that would have been stale and were removed.
    pub summaries_removed: Vec<String>,
    /// Keys of footer key-values that were left out since they held record keys.
    pub dropped_key_values: Vec<String>,
    /// The digest of the plan that was carried out.
    pub digest: String,
    /// What was found of each subject.
    pub subjects: Vec<SubjectPlan>,
}

/// Deletes from one dataset.
pub(crate) struct Deleter<'a> {
    pub(crate) dataset: &'a Dataset,
    /// What others are told of who holds the lock.
    pub(crate) holder: &'a str,
    pub(crate) seed_if_new: u64,
    /// Memory that it may use, in bytes.
    pub(crate) memory: u64,
    pub(crate) zstd_level: ZstdLevel,
}

impl Deleter<'_> {
    /// Removes every row of the request's subjects; see [`Engine::delete`](crate::Engine::delete).
    pub(crate) fn delete(
        &self,
        request: &Request,
        expected_digest: Option<&str>,
    ) -> Result<DeleteReport> {
        request.check()?;
        if request.kind != Kind::Delete || request.disclosure != Disclosure::Data {
            return Err(Error::Option {
                option: "--disclosure",
                reason: "only `data` can be deleted by this version".into(),
            });
        }
        // A directory without shards is left as it is, without a lock file.
        self.dataset.list()?;
        let _lock = self.dataset.lock(self.holder)?;
        let storage = &*self.dataset.storage;
        let files = self.dataset.list()?;
        if let Some(path) = files.catalog {
            return Err(Error::ManagedTable { path });
        }
        for leftover in &files.leftovers {
            storage.remove(leftover)?;
        }
        let expansion = self.dataset.expand(request)?;
        let plan = self.upkeep().with_index(&files, |index| {
            let knowledge = Knowledge::Fresh(index);
            search::plan(self.dataset, request, &expansion, &files, knowledge)
        })?;
        plan.check()?;
        if let Some(expected) = expected_digest.filter(|expected| *expected != plan.digest) {
            return Err(Error::PlanChanged {
                expected: expected.to_owned(),
                found: plan.digest,
            });
        }
        self.refuse_links(&files, &plan)?;
        let mut report = DeleteReport {
            left_out: plan.left_out,
            digest: plan.digest.clone(),
            subjects: plan.subjects.clone(),
            ..DeleteReport::default()
        };
        if !plan.shards.is_empty() {
            for summary in files.summaries {
                storage.remove(&summary)?;
                report.summaries_removed.push(summary);
            }
        }
        self.rewrite_all(&plan, &wanted(&expansion), &mut report)?;
        if !plan.shards.is_empty() {
            self.refresh_after(&report)?;
        }
        report.alias_rows_removed = self.remove_aliases(&expansion)?;
        Ok(report)
    }

    /// What is replaced must be the file itself: behind a link the rows would stay.
    fn refuse_links(&self, files: &Files, plan: &Plan) -> Result<()> {
        for file in files.shards.iter().filter(|file| file.is_link) {
            if plan.shards.iter().any(|shard| shard.path == file.path) {
                return Err(Error::LinkedShard {
                    path: file.path.clone(),
                });
            }
        }
        if let Some(table) = self.dataset.config.alias_table()
            && let Some(file) = self.dataset.storage.info(&table.path)?
            && file.is_link
        {
            return Err(Error::LinkedShard { path: file.path });
        }
        Ok(())
    }

    fn upkeep(&self) -> Upkeep<'_> {
        Upkeep {
            dataset: self.dataset,
            seed_if_new: self.seed_if_new,
            memory: self.memory,
            needs_time: false,
        }
    }

    fn rewrite_options(&self) -> RewriteOptions {
        RewriteOptions {
            memory: self.memory,
            zstd_level: self.zstd_level,
        }
    }

    fn rewrite_all(&self, plan: &Plan, wanted: &Wanted, report: &mut DeleteReport) -> Result<()> {
        let observer = &self.dataset.observer;
        observer.begin("rewriting", plan.shards.len() as u64);
        for shard in &plan.shards {
            let done = self.replace_shard(shard, wanted)?;
            report.rows_removed += done.rows_removed;
            report.row_groups_rewritten += done.row_groups_rewritten;
            report.row_groups_dropped += done.row_groups_dropped;
            report.pages_rewritten += done.pages_rewritten;
            report.bytes_copied += done.bytes_copied;
            report.bytes_encoded += done.bytes_encoded;
            report.dropped_key_values.extend(done.dropped_key_values);
            let is_gone = self.dataset.storage.info(&shard.path)?.is_none();
            report.shards_removed += u64::from(is_gone);
            report.shards_rewritten += u64::from(!is_gone);
            observer.advance(1);
        }
        report.dropped_key_values.sort_unstable();
        report.dropped_key_values.dedup();
        observer.end();
        Ok(())
    }

    /// Replaces one shard; one that another process replaced meanwhile is taken from its new content.
    fn replace_shard(&self, plan: &ShardPlan, wanted: &Wanted) -> Result<RewriteReport> {
        let storage = &*self.dataset.storage;
        let mut shard = self.dataset.open(&plan.path)?;
        let mut rows = plan.rows.clone();
        let mut is_as_planned = shard.footer.hash == plan.footer_hash;
        for _ in 0..ATTEMPTS_MAX {
            if !is_as_planned {
                let all = (0..).take(shard.footer.row_groups().len()).collect();
                rows = search::in_shard(self.dataset, &shard, all, wanted, None)?
                    .selection
                    .rows;
                if rows.is_empty() {
                    return Ok(RewriteReport::default());
                }
            }
            let temporary = temporary_name(&plan.path);
            let written = self.write_new(&shard, &rows, &temporary, wanted);
            let swapped = written.and_then(|report| {
                if is_unchanged(storage, &plan.path, shard.footer.hash)? {
                    self.swap(&shard, rows.len(), &temporary)?;
                    Ok(Some(report))
                } else {
                    Ok(None)
                }
            });
            match swapped {
                Ok(Some(report)) => return Ok(report),
                Ok(None) => self.dataset.storage.remove(&temporary)?,
                Err(error) => {
                    // The error that is told is the first one; the next run removes what is left over.
                    let _ignored = self.dataset.storage.remove(&temporary);
                    return Err(error);
                }
            }
            shard = self.dataset.open(&plan.path)?;
            is_as_planned = false;
        }
        Err(Error::ShardChanged {
            path: plan.path.clone(),
        })
    }

    fn swap(&self, shard: &Shard, dropped: u64, temporary: &str) -> Result<()> {
        if dropped == shard.footer.rows() && self.dataset.config.empty_shards == EmptyShards::Remove
        {
            self.dataset.storage.remove(&shard.path)?;
            self.dataset.storage.remove(temporary)
        } else {
            self.dataset.storage.replace(temporary, &shard.path)
        }
    }

    /// Writes the shard without `rows` to `temporary`, durably, reads it back and checks it.
    fn write_new(
        &self,
        shard: &Shard,
        rows: &RoaringBitmap,
        temporary: &str,
        wanted: &Wanted,
    ) -> Result<RewriteReport> {
        let mut sink = self.dataset.storage.create(temporary, Some(&shard.path))?;
        let report = rewrite(shard, rows, &mut *sink, &self.rewrite_options())?;
        sink.sync().map_err(Error::io("sync", temporary))?;
        drop(sink);
        let new = self.dataset.open(temporary)?;
        self.check(shard, rows, &new, wanted)
            .map_err(|reason| Error::CheckFailed {
                path: shard.path.clone(),
                reason,
            })?;
        Ok(report)
    }

    /// Checks a new shard against the old one: its rows add up, what was made anew can be decoded in
    /// full, and no wanted id is left in it.
    fn check(
        &self,
        old: &Shard,
        rows: &RoaringBitmap,
        new: &Shard,
        wanted: &Wanted,
    ) -> Result<(), String> {
        let expected = old.footer.rows().saturating_sub(rows.len());
        if new.footer.rows() != expected {
            return Err(format!(
                "it has {} rows instead of {expected}",
                new.footer.rows()
            ));
        }
        let selection = crate::shard::select::Selection {
            rows: rows.clone(),
            ..Default::default()
        };
        let touched = touched_row_groups(old, &selection);
        let mut made_anew = Vec::new();
        let mut number = 0;
        for (position, (group, base)) in old
            .footer
            .row_groups()
            .iter()
            .zip(old.row_bases())
            .enumerate()
        {
            let row = |row: u64| u32::try_from(row).unwrap_or(u32::MAX);
            let is_touched = touched.contains(&position);
            let is_dropped = is_touched
                && rows.range_cardinality(row(base)..=row(base + group.rows - 1)) == group.rows;
            if is_touched && !is_dropped {
                made_anew.push(number);
            }
            number += u32::from(!is_dropped);
        }
        let columns = self
            .dataset
            .subject_columns(new)
            .map_err(|error| error.to_string())?;
        made_anew.par_iter().try_for_each(|group| {
            let left =
                select(new, [*group], &columns, wanted, None).map_err(|error| error.to_string())?;
            if !left.rows.is_empty() {
                return Err(format!(
                    "{} rows to delete are still in row group {group}",
                    left.rows.len()
                ));
            }
            let chunks = new
                .footer
                .row_groups()
                .get(*group as usize)
                .map(|group| &group.chunks);
            let chunks = chunks
                .into_iter()
                .flatten()
                .zip(new.footer.schema().columns());
            chunks.par_bridge().try_for_each(|(chunk, descriptor)| {
                let path = descriptor.path().string();
                let mut pages = ChunkPages::new(Arc::clone(&new.file), chunk, &path);
                pages
                    .try_for_each(|page| page.map(drop))
                    .map_err(|error| error.to_string())
            })
        })
    }

    /// Refreshes the index after the swaps, so that hashes of erased ids leave it.
    fn refresh_after(&self, report: &DeleteReport) -> Result<()> {
        match self.dataset.list() {
            Ok(files) => self.upkeep().refresh(&files).map(drop),
            // Every shard was removed: the index of nothing is no index.
            Err(Error::NoShards { .. }) => {
                let stale = self.dataset.storage.list(crate::index::DIRECTORY)?;
                debug_assert!(
                    report.shards_removed > 0,
                    "shards vanish only when they are removed"
                );
                stale
                    .iter()
                    .try_for_each(|file| self.dataset.storage.remove(&file.path))
            }
            Err(error) => Err(error),
        }
    }

    /// Removes the rows of the alias table that name a covered id.
    fn remove_aliases(&self, expansion: &Expansion) -> Result<u64> {
        let Some(table) = self.dataset.config.alias_table() else {
            return Ok(0);
        };
        let storage = &*self.dataset.storage;
        let temporary = temporary_name(&table.path);
        let before = storage.info(&table.path)?;
        let write = || -> Result<u64> {
            let removed = match table.format(storage)? {
                TableFormat::Parquet => {
                    let rows = removal::rows_naming(storage, &table, &expansion.ids)?;
                    if rows.is_empty() {
                        return Ok(0);
                    }
                    let shard = Shard::open(storage, &table.path)?;
                    let mut sink = storage.create(&temporary, Some(&table.path))?;
                    let report = rewrite(&shard, &rows, &mut *sink, &self.rewrite_options())?;
                    sink.sync().map_err(Error::io("sync", &temporary))?;
                    report.rows_removed
                }
                TableFormat::Csv => {
                    let mut sink = storage.create(&temporary, Some(&table.path))?;
                    let removed = removal::csv_without(storage, &table, &expansion.ids, &mut sink)?;
                    sink.flush()
                        .and_then(|()| sink.sync())
                        .map_err(Error::io("sync", &temporary))?;
                    removed
                }
            };
            if storage.info(&table.path)? != before {
                return Err(Error::ShardChanged {
                    path: table.path.clone(),
                });
            }
            if removed > 0 {
                storage.replace(&temporary, &table.path)?;
            }
            Ok(removed)
        };
        let result = write();
        storage.remove(&temporary)?;
        result
    }
}
/// Whether the shard at `path` still has the content whose footer hash is `expected`.
fn is_unchanged(storage: &dyn Storage, path: &str, expected: u64) -> Result<bool> {
    if storage.info(path)?.is_none() {
        return Ok(false);
    }
    let file = storage.open(path)?;
    Ok(Footer::read_hash(&*file).is_ok_and(|hash| hash == expected))
}
