//! Why a request could not be ended, what it covered then, and what was done for it so far.
//!
//! ```text
//! _efface/queue/held/<tracking id>.json
//! ```
//!
//! # Invariants
//! What is wrong with a shard, a file or the machine never ends a request: it waits on, and this file says why. Its
//! covered ids are kept from before a pass begins with it, because the links that lead to them may go in the meantime, with
//! another request or by somebody else. Like the file of the request it holds raw ids, and goes before it.
//!
//! # Crash behaviour
//! It is replaced as a whole, before the pass that it tells of ends. If that pass is carried on, its part is written
//! once more.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::ErrorKind;
use crate::identity::{Cover, Expansion};
use crate::receipts::ShardEvidence;
use crate::shard::chunk::level::ZstdLevel;
use crate::subject::SubjectId;
use crate::tracking::TrackingId;

/// The version of the file, and the only one that is read.
pub(super) const FORMAT: u32 = 1;

/// What is known of a request that could not be ended.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(super) format: u32,
    /// What was in the way; `None` if it was only looked at.
    pub(crate) reason: Option<String>,
    /// The kind of that error.
    pub(crate) kind: Option<ErrorKind>,
    /// What it covered.
    #[serde(with = "covered")]
    pub(crate) covered: Expansion,
    /// What each pass did for it.
    pub(crate) done: Vec<Part>,
}

/// What one pass did for a request that it could not end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) pass: TrackingId,
    pub(crate) started_at: Timestamp,
    pub(crate) zstd_level: ZstdLevel,
    /// The digest of its plan, if it was planned on its own.
    pub(crate) digest: Option<String>,
    /// For each subject, whether it was found, and how many rows of it were deleted or cleared.
    pub(crate) subjects: Vec<(bool, u64)>,
    /// The shards that were rewritten for it.
    pub(crate) shards: Vec<ShardEvidence>,
}

impl Held {
    /// Looked at, and nothing done.
    pub(crate) fn new(reason: Option<String>, covered: Expansion) -> Self {
        Self {
            format: FORMAT,
            reason,
            kind: None,
            covered,
            done: Vec::new(),
        }
    }

    /// Whether it was carried out in some shard.
    pub(crate) fn is_begun(&self) -> bool {
        self.done.iter().any(|part| !part.shards.is_empty())
    }
}

/// An expansion as JSON.
mod covered {
    use super::{Cover, Deserialize, Deserializer, Expansion, Serialize, Serializer, SubjectId};

    #[derive(Serialize, Deserialize)]
    struct Stored {
        ids: Vec<String>,
        covers: Vec<(usize, Vec<u32>, bool)>,
        left_out: u64,
    }

    pub(super) fn serialize<S: Serializer>(
        covered: &Expansion,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let ids = covered.ids.iter();
        let covers = covered.covers.iter();
        let stored = Stored {
            ids: ids.map(|id| id.reveal().to_owned()).collect(),
            covers: covers
                .map(|cover| (cover.position, cover.ids.clone(), cover.linked))
                .collect(),
            left_out: covered.left_out,
        };
        stored.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Expansion, D::Error> {
        let stored = Stored::deserialize(deserializer)?;
        let ids: Vec<SubjectId> = stored.ids.into_iter().map(SubjectId::new).collect();
        let covers = stored.covers.into_iter();
        let covers: Vec<Cover> = covers
            .map(|(position, ids, linked)| Cover {
                position,
                ids,
                linked,
            })
            .collect();
        let mut places = covers.iter().flat_map(|cover| &cover.ids);
        if places.any(|place| *place as usize >= ids.len()) {
            return Err(serde::de::Error::custom("it covers an id that it lacks"));
        }
        Ok(Expansion {
            ids,
            covers,
            left_out: stored.left_out,
        })
    }
}
