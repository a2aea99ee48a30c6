//! Carrying out deletes: one at once, or all that wait, each touched shard rewritten once for all of them.
//!
//! ```text
//!   lease ─> an unfinished pass is finished first ─> pass.json (staging) ─> index refreshed, requests planned, refused
//!     ─> pass.json (started): from here on nothing can be cancelled
//!     ─> per batch: tasks (new shards staged beside the old ones) ─> made durable together ─> read back, checked
//!                   ─> progress ─> commit: each still as it was? ─> renamed over
//!     ─> index (hashes of erased ids leave it) ─> suppression list ─> alias rows ─> receipts
//!     ─> waiting requests, and with them the raw ids, removed ─> record of the pass removed
//! ```
//!
//! A pass goes through stages, each with a type of its own:
//!
//! * `round`: which requests go together in a pass
//! * `begin`, `staging`: a pass is planned, and requests are refused or held; `class`: requests that do the same
//! * [`Compaction`]: a pass that was started. [`task`]: one shard's part, which can be run anywhere;
//!   `batch`: tasks that are run here, many at a time; `commit`: checks what came of tasks and swaps new shards in
//! * `finish`: what follows when every task is accounted for
//! * `elsewhere`, `published`: tasks that lie in the state, to be run on other machines, and what came of them
//! * `precedence`: exports that come before a delete, and archives that it removes
//! * `suppressing`: rows of suppressed ids that came in since the last pass
//! * [`delete`]: one delete at once
//!
//! # Crash behaviour
//! The commit of the table is the only commit point: a shard has all its rows or none of the victims. Whoever opens
//! the dataset for writing next carries a started pass on, with all that it was decided with (the
//! configuration, the key, the level of compression). Shards that were swapped have no victims left, so planning again finds the others;
//! the progress says which ones were swapped. Alias rows go after all events, so that every id is still found. Receipts come before the requests go,
//! so none is forgotten, and a pass that has receipts gets no second ones.
//!
//! Memory: that of the rewrites of two batches, the covered ids, and a few numbers for each shard.

use crate::error::Result;

mod batch;
mod begin;
mod class;
mod commit;
pub mod delete;
mod elsewhere;
mod finish;
mod precedence;
mod published;
mod ready;
mod report;
mod round;
mod rows;
mod running;
mod site;
mod staging;
mod suppressing;
pub mod task;

pub(crate) use elsewhere::run_numbered;
pub use elsewhere::{PassEnd, Published};
pub use report::CompactReport;
use round::Round;
pub use running::Compaction;
pub use site::CompactOptions;
pub(crate) use site::{Purpose, Site};

/// The pass that an interrupted run left, or a new one of the next requests that go together; `None` when none wait.
pub(crate) fn begin(
    site: &Site,
    options: &CompactOptions,
    purpose: Purpose,
) -> Result<Option<Compaction>> {
    if let Some(unfinished) = Compaction::unfinished(site.clone(), options, purpose)? {
        return Ok(Some(unfinished));
    }
    let mut round = Round::default();
    let begun = Compaction::of_pending(site, options, &mut round, purpose)?;
    if begun.is_none() {
        round.end()?;
    }
    Ok(begun)
}

/// Finishes the pass that an interrupted run left, then carries out all requests that wait.
pub(crate) fn compact(site: &Site, options: &CompactOptions) -> Result<CompactReport> {
    let (mut round, purpose) = (Round::default(), Purpose::RunHere);
    if let Some(unfinished) = Compaction::unfinished(site.clone(), options, purpose)? {
        round.tried(unfinished.requests());
        round.report = unfinished.run_to_end()?.0;
    }
    while let Some(pending) = Compaction::of_pending(site, options, &mut round, purpose)? {
        let (done, _) = pending.run_to_end()?;
        round.report.add(done);
    }
    let mut report = round.end()?;
    let queue = site.queue();
    let damaged = queue.entries()?.into_iter().filter_map(Result::err);
    let held = queue.held_ids()?.into_iter();
    let damaged = damaged.chain(held.filter_map(|id| queue.held(id).err()));
    report.requests_damaged = damaged.map(|error| error.to_string()).collect();
    Ok(report)
}
