//! Carrying out one delete at once: of rows, or of values in them.
//!
//! It is a compaction of one request, which is refused with its own error rather than written down as failed. If a
//! shard turns out to be damaged half-way, the request waits on.
//! After a crash, the same delete, asked again, continues where it was.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use jiff::Timestamp;
use serde::Serialize;

use super::begin::One;
use super::{CompactOptions, CompactReport, Compaction, Purpose, Site};
use crate::error::{Error, RequestFault, Result};
use crate::plan::SubjectPlan;
use crate::queue::{Entry, RequestState, Submission};
use crate::receipts::Outcome;
use crate::request::{Kind, Request};
use crate::shard::chunk::level::ZstdLevel;
use crate::tracking::TrackingId;

/// How to delete.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// The current time; `None` stands for the time at which the request was asked.
    pub now: Option<Timestamp>,
    /// The tracking id of the delete; `None` draws one at random.
    pub tracking_id: Option<TrackingId>,
    /// The level at which zstd pages are compressed again.
    pub zstd_level: ZstdLevel,
    /// Set it to stop between two batches: the pass can be carried on later.
    pub cancel: Option<Arc<AtomicBool>>,
}

/// The figures of a delete.
#[derive(Debug, Clone, Serialize)]
pub struct DeleteReport {
    /// The tracking id of the delete, which its receipt has, too.
    pub tracking_id: TrackingId,
    /// Rows that are gone.
    pub rows_removed: u64,
    /// Values that were cleared, or that lost JSON members.
    pub values_cleared: u64,
    /// Those of them of which nothing is left, since they are no JSON object though their column holds these.
    pub values_cleared_whole: u64,
    /// Shards that were replaced.
    pub shards_rewritten: u64,
    /// Shards that were removed because they had no rows left.
    pub shards_removed: u64,
    /// Row groups that were rebuilt.
    pub row_groups_rewritten: u64,
    /// Row groups that lost all their rows.
    pub row_groups_dropped: u64,
    /// Pages of the chunks that were rebuilt.
    pub pages_rewritten: u64,
    /// Bytes that were copied as they were.
    pub bytes_copied: u64,
    /// Bytes that were encoded again.
    pub bytes_encoded: u64,
    /// Rows of the alias table that are gone.
    pub alias_rows_removed: u64,
    /// Other aliases that also map to a covered id and were left out.
    pub left_out: u64,
    /// Summaries of footers (`_metadata`) that would have been stale and were removed.
    pub summaries_removed: Vec<String>,
    /// Files that described the bytes of single old shards (`.NAME.crc`) and went with them.
    pub sidecars_removed: Vec<String>,
    /// Keys of footer key-values that were left out because they were made of rows, or `KEY: MEMBER` where a member of
    /// their JSON was.
    pub dropped_key_values: Vec<String>,
    /// Columns that have the name of a usual source, and were left.
    pub sources_left: Vec<String>,
    /// Partitions whose directories still say something of rows of which every column was cleared.
    pub partitions_left: Vec<String>,
    /// Files that were replaced and still lie, with all their rows, under other names (hard links), and how many names
    /// those are.
    pub other_names: Vec<(String, u64)>,
    /// The digest of the plan that was carried out.
    pub digest: String,
    /// Each subject: whether it was found, and its rows.
    pub subjects: Vec<SubjectPlan>,
}

/// Carries out `request`; see [`Engine::delete`](crate::Engine::delete).
pub(crate) fn delete(
    site: &Site,
    request: &Request,
    expected_digest: Option<&str>,
    options: &DeleteOptions,
) -> Result<DeleteReport> {
    request.check()?;
    if request.kind != Kind::Delete {
        return Err(RequestFault::NotADelete.into());
    }
    let now = options.now.unwrap_or(request.requested_at);
    let tracking_id = options.tracking_id.unwrap_or_else(|| TrackingId::draw(now));
    let asked = Submission::new(tracking_id, request.clone(), now);
    let asked = Entry::new(&asked, site.dataset.config.clone());
    let compact = CompactOptions {
        pass: tracking_id,
        zstd_level: options.zstd_level,
        cancel: options.cancel.clone(),
        ..CompactOptions::at(now)
    };
    if let Some(unfinished) = Compaction::unfinished(site.clone(), &compact, Purpose::RunHere)? {
        let same = unfinished.same(&asked);
        let (report, _) = unfinished.run_to_end()?;
        if let Some(done) = same.and_then(|id| DeleteReport::of(&report, id)) {
            return Ok(done);
        }
    }
    let (id, started) = loop {
        // The same request, if it waits, is carried out now, unless somebody cancels it before it is started.
        let waiting = {
            let queue = site.queue();
            let _lease = queue.lease()?;
            queue.same(&asked)?
        };
        let one = match waiting {
            Some(entry) => One::Waiting(entry),
            None => One::New(asked.clone()),
        };
        let (One::New(entry) | One::Waiting(entry)) = &one;
        let id = entry.tracking_id;
        let (site, compact) = (site.clone(), compact.clone());
        if let Some(started) = Compaction::of_one(site, compact, &one, expected_digest)? {
            break (id, started);
        }
    };
    let (report, failed) = started.run_to_end()?;
    let waits = report.requests.iter().find(|status| {
        let is_ours = status.tracking_id == id;
        is_ours && matches!(status.state, RequestState::Pending | RequestState::Started)
    });
    match (
        DeleteReport::of(&report, id),
        failed.into_values().next(),
        waits,
    ) {
        (Some(done), ..) => Ok(done),
        (None, Some(error), Some(status)) => Err(Error::Held {
            tracking_id: id,
            state: status.state.as_str(),
            source: Box::new(error),
        }),
        (None, Some(error), None) => Err(error),
        (None, None, _) => Err(Error::Internal {
            path: site.dataset.table.name(),
            invariant: "a pass of one request did not say how that ended",
        }),
    }
}

impl DeleteReport {
    /// The report of a pass as that of its request `id`; `None` if the request failed.
    fn of(report: &CompactReport, id: TrackingId) -> Option<Self> {
        let mut requests = report.requests.iter();
        let status = requests.find(|status| status.tracking_id == id)?;
        if status.state != RequestState::Success {
            return None;
        }
        let subjects = status.outcomes.iter().map(|subject| SubjectPlan {
            position: subject.position,
            found: subject.outcome != Outcome::NotFound,
            rows: subject.rows,
        });
        Some(Self {
            tracking_id: id,
            rows_removed: report.rows_removed,
            values_cleared: report.values_cleared,
            values_cleared_whole: report.values_cleared_whole,
            shards_rewritten: report.shards_rewritten,
            shards_removed: report.shards_removed,
            row_groups_rewritten: report.row_groups_rewritten,
            row_groups_dropped: report.row_groups_dropped,
            pages_rewritten: report.pages_rewritten,
            bytes_copied: report.bytes_copied,
            bytes_encoded: report.bytes_encoded,
            alias_rows_removed: report.alias_rows_removed,
            left_out: status.left_out,
            summaries_removed: report.summaries_removed.clone(),
            sidecars_removed: report.sidecars_removed.clone(),
            dropped_key_values: report.dropped_key_values.clone(),
            sources_left: report.sources_left.clone(),
            partitions_left: report.partitions_left.clone(),
            other_names: report.other_names.clone(),
            digest: status.digest.clone().unwrap_or_default(),
            subjects: subjects.collect(),
        })
    }
}
