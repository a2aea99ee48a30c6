//! The figures of a compaction.

use serde::{Serialize, Serializer};

use crate::error::ErrorKind;
use crate::queue::{RequestState, Status, SubjectOutcome};
use crate::tracking::TrackingId;

/// The figures of a compaction.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CompactReport {
    /// The pass; `None` when there was nothing to do.
    pub tracking_id: Option<TrackingId>,
    /// Rows that are gone.
    pub rows_removed: u64,
    /// Those of them that went because their ids are suppressed.
    pub rows_suppressed: u64,
    /// Values that were cleared, or that lost JSON members.
    pub values_cleared: u64,
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
    /// Summaries of footers (`_metadata`) that would have been stale and were removed.
    pub summaries_removed: Vec<String>,
    /// Files that described the bytes of single old shards (`.NAME.crc`) and went with them.
    pub sidecars_removed: Vec<String>,
    /// Keys of footer key-values that were left out because they were made of rows, or `KEY: MEMBER` where a member of
    /// their JSON was.
    pub dropped_key_values: Vec<String>,
    /// Attributes of old files that the new ones lack, because they describe the old bytes or can't be set.
    pub attributes_left_out: Vec<String>,
    /// Partitions whose directories still say something of rows of which every column was cleared.
    pub partitions_left: Vec<String>,
    /// Files that were replaced and still lie, with all their rows, under other names (hard links), and how many names
    /// those are.
    pub other_names: Vec<(String, u64)>,
    /// How each request ended, or why it waits on.
    #[serde(serialize_with = "ends")]
    pub requests: Vec<Status>,
    /// Shards that could not be read or rewritten, with the reason. The requests that have or could have rows there wait
    /// on.
    #[serde(serialize_with = "failures")]
    pub shards_failed: Vec<(String, String)>,
    /// Files of waiting requests that can't be read, with what to do. The other requests were carried out.
    pub requests_damaged: Vec<String>,
    /// The kinds of what kept shards from being read or rewritten, and requests from being ended.
    #[serde(skip)]
    pub troubles: Vec<ErrorKind>,
}

impl CompactReport {
    /// Adds the figures of a later pass.
    pub(super) fn add(&mut self, later: Self) {
        let add = |total: &mut u64, more: u64| *total = total.saturating_add(more);
        self.tracking_id = later.tracking_id.or(self.tracking_id);
        add(&mut self.rows_removed, later.rows_removed);
        add(&mut self.rows_suppressed, later.rows_suppressed);
        add(&mut self.values_cleared, later.values_cleared);
        add(&mut self.shards_rewritten, later.shards_rewritten);
        add(&mut self.shards_removed, later.shards_removed);
        add(&mut self.row_groups_rewritten, later.row_groups_rewritten);
        add(&mut self.row_groups_dropped, later.row_groups_dropped);
        add(&mut self.pages_rewritten, later.pages_rewritten);
        add(&mut self.bytes_copied, later.bytes_copied);
        add(&mut self.bytes_encoded, later.bytes_encoded);
        add(&mut self.alias_rows_removed, later.alias_rows_removed);
        self.summaries_removed.extend(later.summaries_removed);
        self.sidecars_removed.extend(later.sidecars_removed);
        self.dropped_key_values.extend(later.dropped_key_values);
        self.attributes_left_out.extend(later.attributes_left_out);
        self.partitions_left.extend(later.partitions_left);
        self.other_names.extend(later.other_names);
        self.requests.extend(later.requests);
        for failed in later.shards_failed {
            // Each pass meets what can't be read.
            if !self.shards_failed.contains(&failed) {
                self.shards_failed.push(failed);
            }
        }
        self.requests_damaged.extend(later.requests_damaged);
        self.troubles.extend(later.troubles);
    }
}

/// What a report says of a request; [`Status`] says more.
#[derive(Serialize)]
struct End<'a> {
    tracking_id: TrackingId,
    state: RequestState,
    rows_removed: u64,
    rows_cleared: u64,
    left_out: u64,
    reason: Option<&'a str>,
    reason_kind: Option<ErrorKind>,
    subjects: &'a [SubjectOutcome],
}

fn ends<S: Serializer>(requests: &[Status], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(requests.iter().map(|request| End {
        tracking_id: request.tracking_id,
        state: request.state,
        rows_removed: request.rows_removed,
        rows_cleared: request.rows_cleared,
        left_out: request.left_out,
        reason: request.reason.as_deref(),
        reason_kind: request.reason_kind,
        subjects: &request.outcomes,
    }))
}

fn failures<S: Serializer>(shards: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Failure<'a> {
        path: &'a str,
        reason: &'a str,
    }
    let failures = shards.iter();
    serializer.collect_seq(failures.map(|(path, reason)| Failure { path, reason }))
}
