//! What follows when all shards of a pass are done: index, suppression list, alias rows, receipts, and the end of
//! the raw ids.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use super::class::Member;
use super::staging::unreadable;
use super::task::Action;
use super::{CompactReport, Compaction};
use crate::dataset::Files;
use crate::error::{Error, Result};
use crate::identity::{AliasTable, TableFormat, removal};
use crate::index::changes::RewrittenShard;
use crate::pass::{Pass, Progress};
use crate::queue::{Entry, Status};
use crate::receipts::{Cause, Ended, Outcome, Receipt, Receipts, ShardEvidence};
use crate::shard::Shard;
use crate::shard::rewrite::{RewriteOptions, RewriteReport, rewrite};
use crate::storage::temporary_name;
use crate::subject::SubjectId;

impl Compaction<'_> {
    /// Ends the pass, once every task was committed or has failed.
    ///
    /// # Errors
    /// Failures of the storage, and [`ShardChanged`](Error::ShardChanged) when another process changes the alias
    /// table: the pass can be carried on later.
    pub fn finish(self) -> Result<CompactReport> {
        self.end().map(|(report, _)| report)
    }

    pub(super) fn end(mut self) -> Result<(CompactReport, BTreeMap<String, Error>)> {
        let storage = &*self.site.dataset.storage;
        if !self.swaps.is_empty() {
            self.refresh_index()?;
        }
        self.suppress()?;
        self.remove_alias_rows()?;
        self.store_checked()?;
        let receipts = self.receipts();
        let of_requests = receipts
            .iter()
            .filter(|receipt| receipt.cause == Cause::Delete);
        let requests = of_requests.map(Status::ended).collect();
        let entries = self.members.iter().map(|member| member.entry.clone());
        let entries: Vec<Entry> = entries.collect();
        {
            let queue = self.site.queue();
            let _lock = queue.lock()?;
            Receipts::new(storage).append(receipts, || queue.leave(&entries))?;
            Pass::remove(storage)?;
        }
        Ok(self.report(requests))
    }

    /// Brings the index up to date with the swaps, so that hashes of erased ids leave it.
    fn refresh_index(&mut self) -> Result<()> {
        let upkeep = self.site.upkeep(self.options.memory);
        let mut files = match self.site.dataset.list() {
            Ok(files) => files,
            // Every shard was removed: the index of nothing is no index.
            Err(Error::NoShards { .. }) => {
                let stale = self.site.dataset.storage.list(crate::index::DIRECTORY)?;
                let paths: Vec<String> = stale.into_iter().map(|file| file.path).collect();
                return self.site.dataset.storage.remove_all(&paths);
            }
            Err(error) => return Err(error),
        };
        let rewritten = self.swaps.iter().filter_map(|swap| {
            Some(RewrittenShard {
                path: swap.path.clone(),
                lineage: swap.report.lineage.clone()?,
            })
        });
        let rewritten: Vec<RewrittenShard> = rewritten.collect();
        loop {
            let readable = |path: &str| !self.failed.contains_key(path);
            files.shards.retain(|file| readable(&file.path));
            match upkeep.after_rewrite(&files, &rewritten) {
                Err(error) => {
                    // One that came meanwhile and can't be read is none of this pass's business.
                    let Some(path) = unreadable(&error).map(str::to_owned) else {
                        return Err(error);
                    };
                    tracing::warn!(%path, %error, "a shard could not be indexed");
                    remove_shard(&mut files, &path);
                }
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Removes the rows of the alias table that name an id of which everything was deleted.
    fn remove_alias_rows(&mut self) -> Result<()> {
        let Some(table) = self.site.dataset.config.alias_table() else {
            return Ok(());
        };
        let ends = |member: &&Member| {
            member.planned.refused.is_none() && member.action() == Action::Remove
        };
        let members = self.members.iter().filter(ends);
        let ids: BTreeSet<&SubjectId> = members.flat_map(|member| &member.expansion.ids).collect();
        let ids: Vec<SubjectId> = ids.into_iter().cloned().collect();
        if ids.is_empty() {
            return Ok(());
        }
        let storage = &*self.site.dataset.storage;
        let temporary = temporary_name(&table.path);
        let before = storage.info(&table.path)?;
        let result = self
            .write_aliases(&table, &ids, &temporary)
            .and_then(|removed| {
                if storage.info(&table.path)? != before {
                    return Err(Error::ShardChanged {
                        path: table.path.clone(),
                    });
                }
                if removed > 0 {
                    // What earlier runs announced was not done then, or these rows would be gone.
                    self.alias_rows = removed;
                    self.log(&Progress::AliasRows(self.alias_rows))?;
                    storage.replace(&temporary, &table.path)?;
                }
                Ok(())
            });
        storage.remove(&temporary)?;
        result
    }

    fn write_aliases(&self, table: &AliasTable, ids: &[SubjectId], temporary: &str) -> Result<u64> {
        let storage = &*self.site.dataset.storage;
        match table.format(storage)? {
            TableFormat::Parquet => {
                let rows = removal::rows_naming(storage, table, ids)?;
                if rows.is_empty() {
                    return Ok(0);
                }
                let shard = Shard::open(storage, &table.path)?;
                let mut sink = storage.create(temporary, Some(&table.path))?;
                let options = RewriteOptions {
                    memory: self.options.memory,
                    zstd_level: self.options.zstd_level,
                };
                let report = rewrite(&shard, &rows, &mut *sink, &options)?;
                sink.sync().map_err(Error::io("sync", temporary))?;
                Ok(report.rows_removed)
            }
            TableFormat::Csv => {
                let mut sink = storage.create(temporary, Some(&table.path))?;
                let removed = removal::csv_without(storage, table, ids, &mut sink)?;
                sink.flush()
                    .and_then(|()| sink.sync())
                    .map_err(Error::io("sync", temporary))?;
                Ok(removed)
            }
        }
    }

    /// The evidence of every request, in the order of the pass.
    fn receipts(&self) -> Vec<Receipt> {
        let mut of_subject: BTreeMap<(usize, usize), u64> = BTreeMap::new();
        let mut shards: BTreeMap<usize, Vec<ShardEvidence>> = BTreeMap::new();
        for swap in &self.swaps {
            for (member, subject, rows) in &swap.of_subject {
                *of_subject.entry((*member, *subject)).or_default() += rows;
            }
            for (member, rows) in &swap.of_request {
                shards.entry(*member).or_default().push(ShardEvidence {
                    path: swap.path.clone(),
                    rows: *rows,
                    before: swap.before.clone(),
                    after: swap.after.clone(),
                });
            }
        }
        let receipt = |(place, member): (usize, &Member)| {
            let planned = &member.planned;
            let state = match &planned.refused {
                Some(_) => Ended::Failure,
                None => Ended::Success,
            };
            let base = member
                .entry
                .receipt(&self.site.key, state, self.options.now);
            let shards = shards.remove(&place).unwrap_or_default();
            let rows: u64 = shards.iter().map(|shard| shard.rows).sum();
            let is_removal = member.action() == Action::Remove;
            let subjects = base.subjects.into_iter().zip(&planned.subjects).enumerate();
            Receipt {
                pass: Some(self.pass.id),
                reason: planned.refused.clone(),
                started_at: Some(self.pass.started_at),
                rows_removed: if is_removal { rows } else { 0 },
                rows_cleared: if is_removal { 0 } else { rows },
                alias_rows_removed: if is_removal { self.alias_rows } else { 0 },
                suppressed: state == Ended::Success && member.entry.request.suppress.is_some(),
                left_out: planned.left_out,
                digest: planned.digest.clone(),
                subjects: subjects
                    .map(|(subject, (evidence, planned))| {
                        let rows = of_subject.get(&(place, subject)).copied().unwrap_or(0);
                        let outcome = match (planned.merged_into, planned.found) {
                            _ if state == Ended::Failure && rows == 0 => Outcome::Untouched,
                            (_, false) => Outcome::NotFound,
                            (Some(_), true) => Outcome::Merged,
                            (None, true) => Outcome::Deleted,
                        };
                        crate::receipts::SubjectEvidence {
                            outcome,
                            rows,
                            merged_into: planned.merged_into,
                            ..evidence
                        }
                    })
                    .collect(),
                shards,
                ..base
            }
        };
        let mut receipts: Vec<Receipt> = self.members.iter().enumerate().map(receipt).collect();
        receipts.extend(self.suppression_receipt());
        receipts
    }

    fn report(self, requests: Vec<Status>) -> (CompactReport, BTreeMap<String, Error>) {
        let mut total = RewriteReport::default();
        for swap in &self.swaps {
            total.add(swap.report.clone());
        }
        total.dropped_key_values.sort_unstable();
        total.dropped_key_values.dedup();
        let gone = self
            .swaps
            .iter()
            .filter(|swap| swap.after.is_none())
            .count() as u64;
        let failed = self.failed.iter();
        let report = CompactReport {
            tracking_id: Some(self.pass.id),
            rows_removed: total.rows_removed,
            rows_suppressed: self.swaps.iter().map(|swap| swap.suppressed).sum(),
            values_cleared: total.values_cleared,
            shards_rewritten: self.swaps.len() as u64 - gone,
            shards_removed: gone,
            row_groups_rewritten: total.row_groups_rewritten,
            row_groups_dropped: total.row_groups_dropped,
            pages_rewritten: total.pages_rewritten,
            bytes_copied: total.bytes_copied,
            bytes_encoded: total.bytes_encoded,
            alias_rows_removed: self.alias_rows,
            partitions_left: self.partitions_left(),
            shards_failed: failed
                .map(|(path, error)| (path.clone(), error.to_string()))
                .collect(),
            summaries_removed: self.summaries_removed,
            dropped_key_values: total.dropped_key_values,
            requests,
            requests_damaged: Vec::new(),
        };
        (report, self.failed)
    }
}

fn remove_shard(files: &mut Files, path: &str) {
    files.shards.retain(|file| file.path != path);
}
