//! What a receipt says.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::ErrorKind;
use crate::request::{Disclosure, Identity, Provenance, Regulation};
use crate::subject::{KeyId, KeyedHash};
use crate::table::is_zero;
use crate::tracking::TrackingId;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Ended {
    /// It was carried out.
    Success,
    /// It was not, or not in every shard: the reason says why.
    Failure,
    /// It was cancelled before anything was touched.
    Revoked,
}

/// What a receipt is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A request to delete.
    Delete,
    /// Rows of ids on the suppression list that came in later, and were removed.
    Suppression,
}

/// What became of one submitted id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its rows were deleted, or cleared.
    Deleted,
    /// There was no row and no alias of it.
    NotFound,
    /// An earlier request that was carried out at the same time names it too, and counts its rows.
    Merged,
    /// Nothing was done about it.
    Untouched,
}

/// How a deadline was extended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// The deadline before.
    pub due_before: Timestamp,
    /// When it was extended.
    pub extended_at: Timestamp,
    /// Why.
    pub reason: String,
}

/// What became of one submitted id, as evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectEvidence {
    /// Its position in the request, counted from 1.
    pub position: usize,
    /// Its hash under the dataset's key.
    pub id: KeyedHash,
    /// What became of it.
    pub outcome: Outcome,
    /// Rows of it that were deleted or cleared.
    pub rows: u64,
    /// The request that counts its rows, if it was merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<TrackingId>,
}

/// A shard that was rewritten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardEvidence {
    /// Relative to the dataset.
    pub path: String,
    /// Rows of the request that were removed from it, or cleared in it.
    pub rows: u64,
    /// BLAKE3 of the whole file before.
    pub before: String,
    /// BLAKE3 of the whole file after; `None` when it had no rows left and was removed.
    pub after: Option<String>,
    /// Other names (hard links) of the file before, under which its rows still lie.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub other_names: u64,
}

/// The evidence of one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Its place in the chain, counted from 1.
    #[serde(default)]
    pub number: u64,
    /// The hash of the receipt before it.
    #[serde(default)]
    pub previous: String,
    /// The request; of suppressed rows the pass.
    pub tracking_id: TrackingId,
    /// What it is about.
    pub cause: Cause,
    /// The pass that it was carried out in, together with others.
    pub pass: Option<TrackingId>,
    /// How it ended.
    pub state: Ended,
    /// Why it failed.
    pub reason: Option<String>,
    /// The kind of that error. Version 0.1 wrote none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_kind: Option<ErrorKind>,
    /// The law that it was made under.
    pub regulation: Regulation,
    /// What was deleted.
    pub disclosure: Disclosure,
    /// How its ids were expanded.
    pub identity: Identity,
    /// When it was asked.
    pub requested_at: Timestamp,
    /// When it was handed over.
    pub submitted_at: Timestamp,
    /// When it was carried out; `None` if it was not begun.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Its deadline.
    pub due: Timestamp,
    /// Rows that were removed.
    pub rows_removed: u64,
    /// Rows in which values were cleared.
    pub rows_cleared: u64,
    /// Rows of the alias table that were removed, for all requests of the pass together.
    pub alias_rows_removed: u64,
    /// Other names (hard links) of the alias table before, under which these rows still lie.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub alias_other_names: u64,
    /// Other aliases that also map to a covered id and were left out.
    pub left_out: u64,
    /// Whether the covered ids were put on the suppression list.
    pub suppressed: bool,
    /// The digest of the plan that was carried out.
    pub digest: Option<String>,
    /// The rewritten shards that held rows of it.
    pub shards: Vec<ShardEvidence>,
    /// The key under which its ids are hashed. Version 0.1 wrote none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
    /// Its ids.
    pub subjects: Vec<SubjectEvidence>,
    /// Who asked, and how.
    #[serde(flatten)]
    pub by: Provenance,
    /// How its deadline was extended, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<Extension>,
    /// The program and its version.
    pub engine: String,
}
