//! Rows of suppressed ids: those that came in since the shards were last looked through are removed along with
//! what is asked; ids of requests that ask for it are put on the list.

use std::collections::BTreeSet;

use roaring::RoaringBitmap;

use super::Compaction;
use super::class::Job;
use super::staging::unreadable;
use super::task::Action;
use crate::error::Result;
use crate::plan::check_match;
use crate::receipts::{Cause, Ended, Receipt, ShardEvidence};
use crate::request::{Disclosure, Identity, Regulation};
use crate::shard::Shard;
use crate::suppression::Suppression;
use crate::suppression::rows::suppressed_rows;

impl Compaction<'_> {
    /// Adds the suppressed rows of every shard that was not looked through yet to what is to be done.
    pub(super) fn plan_suppression(&mut self, is_resumed: bool) -> Result<()> {
        if self.suppression.is_empty() {
            return Ok(());
        }
        let dataset = self.site.dataset;
        let paths: BTreeSet<&str> = self
            .files
            .shards
            .iter()
            .map(|file| file.path.as_str())
            .collect();
        self.checked
            .shards
            .retain(|path, _| paths.contains(path.as_str()));
        let (mut suppressed, mut rows) = (0, 0);
        for file in self.files.shards.clone() {
            let shard = match dataset.open(&file.path) {
                Ok(shard) => shard,
                Err(error) if unreadable(&error).is_some() => {
                    self.failed.insert(file.path, error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            rows += shard.footer.rows();
            if self.checked.holds(&file.path, shard.footer.hash) {
                continue;
            }
            let mut job = self.jobs.remove(&file.path).unwrap_or_default();
            job.footer_hash = shard.footer.hash;
            match self.suppress_in(&shard, &mut job) {
                Ok(()) => {}
                Err(error) if unreadable(&error).is_some() => {
                    self.failed.insert(file.path.clone(), error);
                }
                Err(error) => return Err(error),
            }
            suppressed += job.suppressed;
            if !job.rows.is_empty() {
                self.jobs.insert(file.path, job);
            }
        }
        if is_resumed {
            return Ok(());
        }
        check_match(suppressed, rows, self.options.max_match)
    }

    /// Adds the suppressed rows of `shard` to its job; it counts as looked through then.
    pub(super) fn suppress_in(&mut self, shard: &Shard, job: &mut Job) -> Result<()> {
        if self.suppression.is_empty() {
            return Ok(());
        }
        let (dataset, key) = (self.site.dataset, &self.site.key);
        let mut rows = suppressed_rows(dataset, shard, &self.suppression, key)?;
        rows -= job
            .rows
            .get(&Action::Remove)
            .unwrap_or(&RoaringBitmap::new());
        job.suppressed = rows.len();
        if !rows.is_empty() {
            *job.rows.entry(Action::Remove).or_default() |= rows;
        }
        let path = shard.path.clone();
        self.checked.shards.insert(path, shard.footer.hash);
        Ok(())
    }

    /// Puts the covered ids of requests that ask for it on the list.
    pub(super) fn suppress(&self) -> Result<()> {
        let asks = self.members.iter().filter_map(|member| {
            let is_done = member.planned.refused.is_none();
            let suppress = member.entry.request.suppress.filter(|_| is_done)?;
            Some((&member.expansion.ids, suppress.before))
        });
        let mut asks = asks.peekable();
        if asks.peek().is_none() {
            return Ok(());
        }
        let storage = &*self.site.dataset.storage;
        let _lock = self.site.queue().lock()?;
        let mut list = Suppression::load(storage)?;
        for (ids, before) in asks {
            list.add(&self.site.key, ids, before, self.options.now);
        }
        list.store(storage)
    }

    /// Writes down which shards were looked through.
    pub(super) fn store_checked(&mut self) -> Result<()> {
        if self.suppression.is_empty() {
            return Ok(());
        }
        let failed = &self.failed;
        let shards = &mut self.checked.shards;
        shards.retain(|path, _| !failed.contains_key(path));
        self.checked.store(&*self.site.dataset.storage)
    }

    /// The evidence of suppressed rows that were removed.
    pub(super) fn suppression_receipt(&self) -> Option<Receipt> {
        let swaps = self.swaps.iter().filter(|swap| swap.suppressed > 0);
        let shards: Vec<ShardEvidence> = swaps
            .map(|swap| ShardEvidence {
                path: swap.path.clone(),
                rows: swap.suppressed,
                before: swap.before.clone(),
                after: swap.after.clone(),
            })
            .collect();
        let now = self.options.now;
        (!shards.is_empty()).then(|| Receipt {
            number: 0,
            previous: String::new(),
            tracking_id: self.pass.id,
            cause: Cause::Suppression,
            pass: Some(self.pass.id),
            state: Ended::Success,
            reason: None,
            regulation: Regulation::default(),
            disclosure: Disclosure::Data,
            identity: Identity::Exact,
            requested_at: now,
            submitted_at: now,
            started_at: Some(self.pass.started_at),
            ended_at: now,
            due: now,
            rows_removed: shards.iter().map(|shard| shard.rows).sum(),
            rows_cleared: 0,
            alias_rows_removed: 0,
            left_out: 0,
            suppressed: true,
            digest: None,
            shards,
            subjects: Vec::new(),
            engine: crate::receipts::ENGINE.to_owned(),
        })
    }
}
