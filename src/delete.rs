//! Carrying out a delete: of rows, or of values in them.
//!
//! ```text
//!   lock ─> leftovers removed ─> index refreshed ─> plan, guards, digest
//!     ─> per shard: new file beside it, fsync, read back and checked
//!                   ─> old one unchanged? (else from its new content) ─> rename over, fsync directory
//!     ─> index refreshed (erased ids' hashes leave it) ─> alias rows removed, if the rows were
//! ```
//!
//! # Crash behaviour
//! The rename of one shard is the only commit point: a shard has all its rows or none of the victims. A
//! rerun finds the rows that are left and ends the work; temporary files of the interrupted run are removed.
//! Alias rows go last, so that a rerun still finds every id that has one. An id without an alias row may
//! have lost all its rows already: a rerun takes it for an unknown one, and must be told to report those
//! ([`Unknown::Report`](crate::request::Unknown::Report)) rather than to refuse.

use std::collections::BTreeSet;
use std::io::Write;

use serde::Serialize;

use self::replace::Replacer;
use crate::dataset::{Dataset, Files, partition_names};
use crate::error::{Error, Result};
use crate::identity::{Expansion, TableFormat, removal};
use crate::index::upkeep::Upkeep;
use crate::plan::search::{self, Knowledge, wanted};
use crate::plan::{Plan, SubjectPlan};
use crate::request::{Disclosure, Kind, Request};
use crate::shard::Shard;
use crate::shard::chunk::level::ZstdLevel;
use crate::shard::rewrite::{RewriteOptions, rewrite};
use crate::shard::select::Wanted;
use crate::storage::temporary_name;

mod replace;

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
    /// Values that were cleared, or that lost JSON members.
    pub values_cleared: u64,
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
    /// Partitions whose directories still say something of rows of which every column was cleared.
    pub partitions_left: Vec<String>,
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
        if request.kind != Kind::Delete {
            return Err(Error::Option {
                option: "kind",
                reason: "an export can't be carried out as a delete".into(),
            });
        }
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
        self.refuse_links(request, &files, &plan)?;
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
        if request.disclosure == Disclosure::Categories {
            let paths = plan.shards.iter().map(|shard| shard.path.as_str());
            let names: BTreeSet<&str> = paths.flat_map(partition_names).collect();
            report.partitions_left = names.into_iter().map(str::to_owned).collect();
        }
        self.rewrite_all(request, &plan, &wanted(&expansion), &mut report)?;
        if !plan.shards.is_empty() {
            self.refresh_after(&report)?;
        }
        if !request.clears() {
            report.alias_rows_removed = self.remove_aliases(&expansion)?;
        }
        Ok(report)
    }

    /// What is replaced must be the file itself: behind a link the rows would stay.
    fn refuse_links(&self, request: &Request, files: &Files, plan: &Plan) -> Result<()> {
        for file in files.shards.iter().filter(|file| file.is_link) {
            if plan.shards.iter().any(|shard| shard.path == file.path) {
                return Err(Error::LinkedShard {
                    path: file.path.clone(),
                });
            }
        }
        if !request.clears()
            && let Some(table) = self.dataset.config.alias_table()
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

    fn rewrite_all(
        &self,
        request: &Request,
        plan: &Plan,
        wanted: &Wanted,
        report: &mut DeleteReport,
    ) -> Result<()> {
        let observer = &self.dataset.observer;
        observer.begin("rewriting", plan.shards.len() as u64);
        let replacer = Replacer {
            dataset: self.dataset,
            request,
            wanted,
            options: self.rewrite_options(),
        };
        replacer.replace_all(&plan.shards, &mut |replaced| {
            let done = replaced.report;
            report.rows_removed += done.rows_removed;
            report.values_cleared += done.values_cleared;
            report.row_groups_rewritten += done.row_groups_rewritten;
            report.row_groups_dropped += done.row_groups_dropped;
            report.pages_rewritten += done.pages_rewritten;
            report.bytes_copied += done.bytes_copied;
            report.bytes_encoded += done.bytes_encoded;
            report.dropped_key_values.extend(done.dropped_key_values);
            report.shards_removed += u64::from(replaced.is_gone);
            report.shards_rewritten += u64::from(replaced.is_new);
            observer.advance(1);
        })?;
        report.dropped_key_values.sort_unstable();
        report.dropped_key_values.dedup();
        observer.end();
        Ok(())
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
