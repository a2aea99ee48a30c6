//! How a request stands.

use jiff::Timestamp;
use serde::Serialize;

use super::entry::Entry;
use super::held::Held;
use crate::error::ErrorKind;
use crate::pass::Stage;
use crate::receipts::{Ended, Extension, Outcome, Receipt};
use crate::request::{Disclosure, Kind, Provenance, Regulation};
use crate::table::is_zero;
use crate::tracking::TrackingId;

/// Where a request is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RequestState {
    /// It waits for a compaction.
    Pending,
    /// A compaction finds out what it touches. It can still be cancelled.
    Staging,
    /// A compaction carries it out.
    Started,
    /// It was carried out.
    Success,
    /// It was not, or not in every shard.
    Failure,
    /// It was cancelled.
    Revoked,
    /// There is no such request.
    NotFound,
}

/// How a request stands. Holds no subject id.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The request.
    pub tracking_id: TrackingId,
    /// Where it is.
    pub state: RequestState,
    /// Export or delete; `None` if nothing is known of it.
    pub kind: Option<Kind>,
    /// The law that it is made under.
    pub regulation: Option<Regulation>,
    /// How much of the rows it is about.
    pub disclosure: Option<Disclosure>,
    /// Who asked, and how.
    #[serde(flatten)]
    pub by: Provenance,
    /// Subject ids that it names.
    pub subjects: usize,
    /// When it was asked.
    pub requested_at: Option<Timestamp>,
    /// When it was handed over.
    pub submitted_at: Option<Timestamp>,
    /// Its deadline.
    pub due: Option<Timestamp>,
    /// How its deadline was extended, if it was.
    pub extension: Option<Extension>,
    /// Whether the deadline has passed and it has not ended.
    pub overdue: bool,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Rows that were removed, so far if it has not ended.
    pub rows_removed: u64,
    /// Rows in which values were cleared, so far if it has not ended.
    pub rows_cleared: u64,
    /// Other aliases that also map to a covered id and were left out.
    pub left_out: u64,
    /// Other names (hard links) of replaced files, under which rows of it still lie.
    #[serde(skip_serializing_if = "is_zero")]
    pub other_names: u64,
    /// The digest of the plan that was carried out, if it was planned on its own.
    pub digest: Option<String>,
    /// Why it failed, or what keeps it from being ended.
    pub reason: Option<String>,
    /// The kind of that error, which says what can be done; `None` for what version 0.1 ended.
    pub reason_kind: Option<ErrorKind>,
    /// What became of each id, once it has ended.
    pub outcomes: Vec<SubjectOutcome>,
    /// Whether a file of it can't be read: the reason says which, and what to do.
    #[serde(rename = "damaged")]
    pub is_damaged: bool,
}

/// What became of one submitted id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SubjectOutcome {
    /// Its position in the request, counted from 1.
    pub position: usize,
    /// What became of it.
    pub outcome: Outcome,
    /// Rows of it that were deleted or cleared.
    pub rows: u64,
    /// The request that counts its rows, if it was merged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<TrackingId>,
}

impl RequestState {
    /// How it is spelled.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Staging => "STAGING",
            Self::Started => "STARTED",
            Self::Success => "SUCCESS",
            Self::Failure => "FAILURE",
            Self::Revoked => "REVOKED",
            Self::NotFound => "NOT_FOUND",
        }
    }
}

impl From<Stage> for RequestState {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Staging => Self::Staging,
            Stage::Started => Self::Started,
        }
    }
}

impl From<Ended> for RequestState {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Success => Self::Success,
            Ended::Failure => Self::Failure,
            Ended::Revoked => Self::Revoked,
        }
    }
}

impl Status {
    pub(super) fn unknown(id: TrackingId) -> Self {
        Self {
            tracking_id: id,
            state: RequestState::NotFound,
            kind: None,
            regulation: None,
            disclosure: None,
            by: Provenance::default(),
            subjects: 0,
            requested_at: None,
            submitted_at: None,
            due: None,
            extension: None,
            overdue: false,
            ended_at: None,
            rows_removed: 0,
            rows_cleared: 0,
            left_out: 0,
            other_names: 0,
            digest: None,
            reason: None,
            reason_kind: None,
            outcomes: Vec::new(),
            is_damaged: false,
        }
    }

    /// A request that has not ended; `stage` is that in the pass that has it, if one has.
    pub(crate) fn waiting(
        entry: &Entry,
        held: Option<&Held>,
        stage: Option<RequestState>,
        now: Timestamp,
    ) -> Self {
        let parts = held.iter().flat_map(|held| &held.done);
        let shards: Vec<_> = parts.flat_map(|part| &part.shards).collect();
        let rows = shards.iter().map(|shard| shard.rows).sum();
        let is_begun = held.is_some_and(Held::is_begun);
        let clears = entry.request.clears();
        Self {
            state: match stage {
                _ if is_begun => RequestState::Started,
                Some(stage) => stage,
                None => RequestState::Pending,
            },
            rows_removed: if clears { 0 } else { rows },
            rows_cleared: if clears { rows } else { 0 },
            other_names: shards.iter().map(|shard| shard.other_names).sum(),
            reason: held.and_then(|held| held.reason.clone()),
            reason_kind: held.and_then(|held| held.kind),
            kind: Some(entry.request.kind),
            regulation: Some(entry.request.regulation),
            disclosure: Some(entry.request.disclosure),
            by: entry.by.clone(),
            extension: entry.extension.clone(),
            subjects: entry.request.subjects.len(),
            requested_at: Some(entry.request.requested_at),
            submitted_at: Some(entry.submitted_at),
            due: Some(entry.due),
            overdue: entry.due < now,
            ..Self::unknown(entry.tracking_id)
        }
    }

    /// A request of which nothing is known but that it waits: its file is damaged.
    pub(super) fn damaged(id: TrackingId, stage: Option<RequestState>, reason: String) -> Self {
        Self {
            state: stage.unwrap_or(RequestState::Pending),
            reason: Some(reason),
            reason_kind: Some(ErrorKind::Damaged),
            is_damaged: true,
            ..Self::unknown(id)
        }
    }

    /// What a receipt says.
    pub fn ended(receipt: &Receipt) -> Self {
        let outcome = receipt.subjects.iter().map(|subject| SubjectOutcome {
            position: subject.position,
            outcome: subject.outcome,
            rows: subject.rows,
            merged_into: subject.merged_into,
        });
        Self {
            tracking_id: receipt.tracking_id,
            state: receipt.state.into(),
            kind: Some(Kind::Delete),
            regulation: Some(receipt.regulation),
            disclosure: Some(receipt.disclosure),
            by: receipt.by.clone(),
            extension: receipt.extension.clone(),
            subjects: receipt.subjects.len(),
            requested_at: Some(receipt.requested_at),
            submitted_at: Some(receipt.submitted_at),
            due: Some(receipt.due),
            overdue: false,
            ended_at: Some(receipt.ended_at),
            rows_removed: receipt.rows_removed,
            rows_cleared: receipt.rows_cleared,
            left_out: receipt.left_out,
            other_names: receipt.alias_other_names
                + receipt
                    .shards
                    .iter()
                    .map(|shard| shard.other_names)
                    .sum::<u64>(),
            digest: receipt.digest.clone(),
            reason: receipt.reason.clone(),
            reason_kind: receipt.reason_kind,
            outcomes: outcome.collect(),
            is_damaged: false,
        }
    }
}
