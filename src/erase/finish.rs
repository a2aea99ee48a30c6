//! The end of a pass, once all its shards are done: index, suppression list, alias rows, receipts, and the removal of
//! the raw ids.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::class::{Action, Member, share_trouble};
use super::staging::unreadable;
use super::{CompactReport, Compaction};
use crate::dataset::AliasFile;
use crate::error::{Error, Result};
use crate::identity::{AliasTable, TableFormat, removal};
use crate::index::changes::RewrittenShard;
use crate::pass::{Pass, Progress};
use crate::queue::{Entry, Held, Part, Status};
use crate::receipts::{Cause, Ended, Outcome, Receipt, Receipts, ShardEvidence};
use crate::shard::Shard;
use crate::shard::rewrite::{RewriteOptions, RewriteReport, rewrite};
use crate::subject::SubjectId;
use crate::table::{Replacement, Staging};

impl Compaction {
    pub(super) fn end(&mut self) -> Result<(CompactReport, BTreeMap<String, Error>)> {
        // The last task may have failed while others of a table that changes as a whole waited for it.
        let again = self.swap_complete()?;
        if !again.is_empty() || !self.outstanding.is_empty() {
            let shards = self.outstanding.iter().cloned().collect();
            return Err(Error::Outstanding { shards });
        }
        self.confirm()?;
        share_trouble(&mut self.members);
        // The order of receipts does not depend on how many runs the pass took.
        self.swaps.sort_by(|left, right| left.path.cmp(&right.path));
        let state = Arc::clone(&self.site.dataset.state);
        if !self.swaps.is_empty() {
            self.refresh_index()?;
        }
        self.suppress()?;
        let mut requests = self.hold()?;
        self.remove_alias_rows()?;
        self.store_checked()?;
        let receipts = self.receipts();
        let of_requests = receipts
            .iter()
            .filter(|receipt| receipt.cause == Cause::Delete);
        requests.extend(of_requests.map(Status::ended));
        let ended = self.members.iter().filter(|member| member.ends());
        let entries: Vec<Entry> = ended.map(|member| member.entry.clone()).collect();
        {
            let queue = self.site.queue();
            let _lease = queue.lease()?;
            Receipts::new(&*state).append(receipts, || queue.leave(&entries))?;
            Pass::remove(&*state)?;
        }
        if self.pass.elsewhere {
            self.discard_leftovers();
        }
        self.lease = None;
        Ok(self.report(requests))
    }

    /// Removes what runs of tasks on other machines staged that died or came too late. A run that goes on from here
    /// finds that the pass has ended.
    fn discard_leftovers(&self) {
        let table = &self.site.dataset.table;
        let discarded = table
            .snapshot()
            .and_then(|snapshot| table.discard(&snapshot.leftovers));
        if let Err(error) = discarded {
            // The pass has ended all the same, and whoever works next tries again.
            tracing::warn!(%error, "what tasks left behind could not be removed");
        }
    }

    /// Writes down what is known of the requests that can't be ended, with the ids that they cover: links that lead to
    /// these go below. Gives how they stand.
    fn hold(&self) -> Result<Vec<Status>> {
        let mut held = Vec::new();
        let mut statuses = Vec::new();
        for (place, member) in self.members.iter().enumerate() {
            let trouble = member.trouble.as_ref().filter(|_| !member.ends());
            let Some(trouble) = trouble else {
                continue;
            };
            let before = member.before.clone();
            let mut known = before.unwrap_or_else(|| Held::new(None, member.expansion.clone()));
            known.reason = Some(trouble.reason.clone());
            known.kind = Some(trouble.kind);
            known.covered = member.expansion.clone();
            known.done.push(self.part(place, member));
            statuses.push(Status::waiting(
                &member.entry,
                Some(&known),
                None,
                self.options.now,
            ));
            held.push((member.entry.tracking_id, known));
        }
        if !held.is_empty() {
            let queue = self.site.queue();
            let _lease = queue.lease()?;
            queue.hold(held)?;
        }
        Ok(statuses)
    }

    /// What this pass did for a request.
    fn part(&self, place: usize, member: &Member) -> Part {
        let rows = |subject: usize| -> u64 {
            let counts = self.swaps.iter().flat_map(|swap| &swap.of_subject);
            let ours = counts.filter(|(of, at, _)| (*of, *at) == (place, subject));
            ours.map(|(_, _, rows)| rows).sum()
        };
        let subjects = member.planned.subjects.iter().enumerate();
        let swaps = self.swaps.iter();
        let shards = swaps.flat_map(|swap| {
            let ours = swap.of_request.iter().filter(|(of, _)| *of == place);
            ours.map(|(_, rows)| ShardEvidence {
                path: swap.path.clone(),
                rows: *rows,
                before: swap.before.clone(),
                after: swap.after.clone(),
                other_names: swap.other_names,
            })
        });
        Part {
            pass: self.pass.id,
            started_at: self.pass.started_at,
            zstd_level: self.options.zstd_level,
            digest: member.planned.digest.clone(),
            subjects: subjects
                .map(|(at, subject)| (subject.found || rows(at) > 0, rows(at)))
                .collect(),
            shards: shards.collect(),
        }
    }

    /// Brings the index up to date with the swaps, so that hashes of erased ids leave it.
    fn refresh_index(&mut self) -> Result<()> {
        let upkeep = self.site.upkeep();
        let mut snapshot = match self.site.dataset.snapshot() {
            Ok(snapshot) => snapshot,
            // Every shard was removed: the index of nothing is no index.
            Err(Error::NoShards { .. }) => {
                let state = &self.site.dataset.state;
                let files = state.list(crate::index::DIRECTORY)?;
                let paths: Vec<String> = files.into_iter().map(|file| file.path).collect();
                return state.remove(&paths);
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
            snapshot.shards.retain(|shard| readable(&shard.path));
            match upkeep.after_rewrite(&snapshot, &rewritten) {
                Err(error) => {
                    // A shard that arrived in the meantime and can't be read does not concern this pass.
                    let Some(path) = unreadable(&error).map(str::to_owned) else {
                        return Err(error);
                    };
                    let before = snapshot.shards.len();
                    snapshot.shards.retain(|shard| shard.path != path);
                    if snapshot.shards.len() == before {
                        return Err(error);
                    }
                    tracing::warn!(%path, %error, "a shard could not be indexed");
                }
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Removes the rows of the alias table that name an id of which everything was deleted.
    fn remove_alias_rows(&mut self) -> Result<()> {
        let dataset = &self.site.dataset;
        let Some(table) = dataset.config.alias_table() else {
            return Ok(());
        };
        let ends = |member: &&Member| member.is_done() && member.action() == Action::Remove;
        let members = self.members.iter().filter(ends);
        let ids: BTreeSet<&SubjectId> = members.flat_map(|member| &member.expansion.ids).collect();
        let ids: Vec<SubjectId> = ids.into_iter().cloned().collect();
        if ids.is_empty() {
            return Ok(());
        }
        let file = dataset.open_aliases(&table)?;
        // Files that died runs left beside the table hold rows of others.
        file.files.discard(&file.snapshot.leftovers)?;
        let Some((staging, removed)) = self.stage_aliases(&table, &file, &ids)? else {
            return Ok(());
        };
        let name = staging.name().to_owned();
        let mut stagings = [staging];
        let settled = file.files.settle(&mut stagings);
        drop(stagings);
        let swapped = settled.and_then(|()| {
            // Earlier runs only announced this removal: the rows are still here.
            self.alias_rows = removed;
            let step = Progress::AliasRows(removed);
            self.log.announce(&*self.site.dataset.state, &[step])?;
            let replacement = Replacement {
                old: file.shard.clone(),
                new: Some(name.clone()),
            };
            let committed = file.files.commit(&file.snapshot, &[replacement])?;
            if committed.changed.is_empty() {
                self.sidecars_removed.extend(committed.sidecars);
                Ok(())
            } else {
                Err(file.shard.changed())
            }
        });
        if swapped.is_err() {
            // The first error is the one to report.
            let _ignored = file.files.discard(&[name]);
        }
        swapped
    }

    /// The alias table without the rows that name one of `ids`, and how many those are; `None` if there are none.
    fn stage_aliases(
        &self,
        table: &AliasTable,
        file: &AliasFile,
        ids: &[SubjectId],
    ) -> Result<Option<(Box<dyn Staging>, u64)>> {
        let bytes = file.open()?;
        let rows = removal::rows_naming(Arc::clone(&bytes), table, ids)?;
        if rows.is_empty() {
            return Ok(None);
        }
        let format = table.format_of(&*bytes)?;
        let mut staging = file.files.stage(&file.shard)?;
        let written = match format {
            TableFormat::Parquet => {
                let shard = Shard::new(&table.path, Arc::clone(&bytes))?;
                let options = RewriteOptions {
                    memory: self.site.memory,
                    zstd_level: self.options.zstd_level,
                };
                rewrite(&shard, &rows, &mut *staging, &options).map(|report| report.rows_removed)
            }
            TableFormat::Csv => removal::csv_without(&bytes, table, ids, &mut *staging),
        };
        match written {
            Ok(removed) => Ok(Some((staging, removed))),
            Err(error) => {
                let name = staging.name().to_owned();
                drop(staging);
                // The first error is the one to report.
                let _ignored = file.files.discard(&[name]);
                Err(error)
            }
        }
    }

    /// The evidence of every request that ends, in the order of the pass.
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
                    other_names: swap.other_names,
                });
            }
        }
        let receipt = |(place, member): (usize, &Member)| {
            let planned = &member.planned;
            let parts = member.before.iter().flat_map(|held| &held.done);
            let parts: Vec<&Part> = parts.collect();
            let state = match &planned.refused {
                Some(_) => Ended::Failure,
                None => Ended::Success,
            };
            let base = member
                .entry
                .receipt(&self.site.key, state, self.options.now);
            let before = parts.iter().flat_map(|part| part.shards.iter().cloned());
            let shards: Vec<ShardEvidence> = before
                .chain(shards.remove(&place).unwrap_or_default())
                .collect();
            let rows: u64 = shards.iter().map(|shard| shard.rows).sum();
            let is_removal = member.action() == Action::Remove;
            let subjects = base.subjects.into_iter().zip(&planned.subjects).enumerate();
            Receipt {
                pass: Some(self.pass.id),
                reason: planned.refused.clone(),
                reason_kind: planned.refused_kind,
                started_at: Some(
                    parts
                        .first()
                        .map_or(self.pass.started_at, |part| part.started_at),
                ),
                rows_removed: if is_removal { rows } else { 0 },
                rows_cleared: if is_removal { 0 } else { rows },
                alias_rows_removed: if is_removal { self.alias_rows } else { 0 },
                alias_other_names: if is_removal {
                    self.alias_other_names()
                } else {
                    0
                },
                suppressed: state == Ended::Success && member.entry.request.suppress.is_some(),
                left_out: planned.left_out,
                digest: parts
                    .first()
                    .map_or_else(|| planned.digest.clone(), |part| part.digest.clone()),
                subjects: subjects
                    .map(|(subject, (evidence, planned))| {
                        let before = parts.iter().filter_map(|part| part.subjects.get(subject));
                        let before: u64 = before.map(|(_, rows)| rows).sum();
                        let now = of_subject.get(&(place, subject)).copied().unwrap_or(0);
                        let rows = before + now;
                        let outcome = match (planned.merged_into, planned.found) {
                            _ if state == Ended::Failure && rows == 0 => Outcome::Untouched,
                            // A shard that couldn't be read at first may have had the rows.
                            (_, false) if rows == 0 => Outcome::NotFound,
                            (Some(_), _) => Outcome::Merged,
                            (None, _) => Outcome::Deleted,
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
        let ended = self.members.iter().enumerate();
        let ended = ended.filter(|(_, member)| member.ends());
        let mut receipts: Vec<Receipt> = ended.map(receipt).collect();
        receipts.extend(self.suppression_receipt());
        receipts
    }

    /// Other names of the alias table under which rows lie that went.
    fn alias_other_names(&self) -> u64 {
        if self.alias_rows > 0 {
            self.pass.alias_other_names
        } else {
            0
        }
    }

    /// What was replaced and still lies under other names, with how many those are.
    fn other_names(&self) -> Vec<(String, u64)> {
        let swaps = self.swaps.iter();
        let shards = swaps.map(|swap| (swap.path.clone(), swap.other_names));
        let table = self.site.dataset.config.aliases.clone();
        let table = table.map(|table| (table, self.alias_other_names()));
        shards
            .chain(table)
            .filter(|(_, names)| *names > 0)
            .collect()
    }

    fn report(&mut self, requests: Vec<Status>) -> (CompactReport, BTreeMap<String, Error>) {
        let mut total = RewriteReport::default();
        for swap in &self.swaps {
            total.add(swap.report.clone());
        }
        total.dropped_key_values.sort_unstable();
        total.dropped_key_values.dedup();
        total.sources_left.sort_unstable();
        total.sources_left.dedup();
        let gone = self
            .swaps
            .iter()
            .filter(|swap| swap.after.is_none())
            .count() as u64;
        let failed = self.failed.iter();
        let held = self.members.iter().filter(|member| !member.ends());
        let held = held.filter_map(|member| Some(member.trouble.as_ref()?.kind));
        let troubles = self.failed.values().map(Error::kind).chain(held);
        let report = CompactReport {
            troubles: troubles.collect(),
            tracking_id: Some(self.pass.id),
            rows_removed: total.rows_removed,
            rows_suppressed: self.swaps.iter().map(|swap| swap.suppressed).sum(),
            values_cleared: total.values_cleared,
            values_cleared_whole: total.values_cleared_whole,
            shards_rewritten: self.swaps.len() as u64 - gone,
            shards_removed: gone,
            row_groups_rewritten: total.row_groups_rewritten,
            row_groups_dropped: total.row_groups_dropped,
            pages_rewritten: total.pages_rewritten,
            bytes_copied: total.bytes_copied,
            bytes_encoded: total.bytes_encoded,
            alias_rows_removed: self.alias_rows,
            partitions_left: self.partitions_left(),
            other_names: self.other_names(),
            shards_failed: failed
                .map(|(path, error)| (path.clone(), error.to_string()))
                .collect(),
            summaries_removed: std::mem::take(&mut self.summaries_removed),
            sidecars_removed: std::mem::take(&mut self.sidecars_removed),
            dropped_key_values: total.dropped_key_values,
            sources_left: total.sources_left,
            requests,
            requests_damaged: Vec::new(),
        };
        (report, std::mem::take(&mut self.failed))
    }
}
