//! Rows of suppressed ids: those that came in after the last pass are removed together with the requested rows. Ids of
//! requests that ask for it are put on the list.

use std::collections::BTreeSet;

use super::class::Job;
use super::staging::{Staged, is_of_shard, unreadable};
use super::{Compaction, Site};
use crate::error::Result;
use crate::plan::check_match;
use crate::receipts::{Cause, Ended, Receipt, ShardEvidence};
use crate::request::{Disclosure, Identity, Provenance, Regulation};
use crate::shard::Shard;
use crate::suppression::rows::suppressed_rows;
use crate::suppression::{Checked, Suppression};
use crate::table::ShardRef;

/// Adds the suppressed rows of every shard that was not scanned yet to its job. `max_match` is the part of the
/// dataset's rows that may go in this way.
pub(super) fn add_suppressed(
    site: &Site,
    (list, checked): (&Suppression, &mut Checked),
    shards: &[ShardRef],
    staged: &mut Staged,
    max_match: Option<f64>,
) -> Result<()> {
    if list.is_empty() {
        return Ok(());
    }
    let paths: BTreeSet<&str> = shards.iter().map(|shard| shard.path.as_str()).collect();
    checked
        .shards
        .retain(|path, _| paths.contains(path.as_str()));
    let (mut suppressed, mut rows) = (0, 0);
    for of in shards {
        let path = &of.path;
        let shard = match site.dataset.open(of) {
            Ok(shard) => shard,
            Err(error) if unreadable(&error).is_some() => {
                staged.failed.insert(path.clone(), error);
                continue;
            }
            Err(error) => return Err(error),
        };
        rows += shard.footer.rows();
        if checked.holds(path, shard.footer.hash) {
            continue;
        }
        let job = staged.jobs.remove(path);
        let mut job = job.unwrap_or_else(|| Job::new(of.clone(), shard.footer.hash));
        match suppress_in(site, (list, checked), &shard, &mut job) {
            Ok(()) => {}
            Err(error) if unreadable(&error).is_some() => {
                staged.failed.insert(path.clone(), error);
            }
            Err(error) => return Err(error),
        }
        if job.suppressed > 0
            && let Err(error) = site.dataset.check_replaceable(&*site.dataset.table, of)
        {
            if !is_of_shard(&error) {
                return Err(error);
            }
            staged.failed.insert(path.clone(), error);
            continue;
        }
        suppressed += job.suppressed;
        if !job.is_empty() {
            staged.jobs.insert(path.clone(), job);
        }
    }
    match max_match {
        Some(max_match) => check_match(suppressed, rows, max_match),
        None => Ok(()),
    }
}

/// Adds the suppressed rows of `shard` to its job; the shard then counts as scanned.
pub(super) fn suppress_in(
    site: &Site,
    (list, checked): (&Suppression, &mut Checked),
    shard: &Shard,
    job: &mut Job,
) -> Result<()> {
    if list.is_empty() {
        return Ok(());
    }
    let mut rows = suppressed_rows(&site.dataset.config, shard, list, &site.key)?;
    rows -= &job.remove;
    job.suppressed = rows.len();
    job.remove |= rows;
    let path = shard.path.clone();
    checked.shards.insert(path, shard.footer.hash);
    Ok(())
}

impl Compaction {
    /// Puts the covered ids of requests that ask for it on the list.
    pub(super) fn suppress(&self) -> Result<()> {
        let asks = self.members.iter().filter_map(|member| {
            let suppress = member.entry.request.suppress.filter(|_| member.is_done())?;
            Some((&member.expansion.ids, suppress.before))
        });
        let mut asks = asks.peekable();
        if asks.peek().is_none() {
            return Ok(());
        }
        let state = &*self.site.dataset.state;
        let _lease = self.site.queue().lease()?;
        let mut list = Suppression::load(state, &self.site.key)?;
        for (ids, before) in asks {
            list.add(&self.site.key, ids, before, self.options.now);
        }
        list.store(state)
    }

    /// Writes down which shards were scanned.
    pub(super) fn store_checked(&mut self) -> Result<()> {
        if self.suppression.is_empty() {
            return Ok(());
        }
        let failed = &self.failed;
        let shards = &mut self.checked.shards;
        shards.retain(|path, _| !failed.contains_key(path));
        self.checked.store(&*self.site.dataset.state)
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
                other_names: swap.other_names,
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
            reason_kind: None,
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
            alias_other_names: 0,
            left_out: 0,
            suppressed: true,
            digest: None,
            shards,
            key: None,
            subjects: Vec::new(),
            by: Provenance::default(),
            extension: None,
            engine: crate::receipts::ENGINE.to_owned(),
        })
    }
}
