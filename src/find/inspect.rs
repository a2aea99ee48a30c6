//! What there is in a dataset, and how its index stands to it.
//!
//! Memory: one footer for each thread, and a line for each shard.

use std::collections::HashMap;

use rayon::prelude::*;
use serde::Serialize;

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::subject::names::stored;
use crate::table::{ShardRef, Snapshot};

/// What there is in a dataset.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// The shards.
    pub shards: Vec<ShardInfo>,
    /// The subject columns of the first shard that has some, as they are called there.
    pub subject: Vec<String>,
    /// The time column of that shard.
    pub time: Option<String>,
    /// How the index stands to the shards.
    pub index: IndexState,
    /// A list of these files that something else keeps: then no delete may change them, and files may be among them
    /// that the list has given up.
    pub managed_by: Option<String>,
}

/// One shard.
#[derive(Debug, Clone, Serialize)]
pub struct ShardInfo {
    /// The path, relative to the dataset.
    pub path: String,
    /// The length of the file in bytes.
    pub bytes: u64,
    /// The number of its row groups.
    pub row_groups: u64,
    /// The number of its rows.
    pub rows: u64,
}

/// Whether the index is fresh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IndexState {
    /// There is none yet.
    Missing,
    /// It knows every shard as it is.
    Fresh,
    /// The next run will refresh it.
    Stale {
        /// Shards that it doesn't know.
        added: usize,
        /// Shards that have changed.
        changed: usize,
        /// Shards that it knows, but that are gone.
        removed: usize,
    },
    /// The next run will rebuild it, for this reason.
    Damaged(String),
}

/// What is kept of a shard that was looked at.
struct Seen {
    info: ShardInfo,
    footer_hash: u64,
    subject: Vec<String>,
    time: Option<String>,
}

/// Looks at every shard, and at the index.
pub(crate) fn inspect(dataset: &Dataset) -> Result<Inspection> {
    let snapshot = dataset.snapshot()?;
    let shards = snapshot.shards.par_iter();
    // All of them are looked at, so that the error is that of the first shard, whichever thread is faster.
    let seen: Vec<Result<Seen>> = shards.map(|shard| look(dataset, shard)).collect();
    let seen: Vec<Seen> = seen.into_iter().collect::<Result<_>>()?;
    let index = index_state(dataset, &snapshot, &seen)?;
    let named = seen.iter().find(|seen| !seen.subject.is_empty());
    Ok(Inspection {
        subject: named.map(|seen| seen.subject.clone()).unwrap_or_default(),
        time: named.and_then(|seen| seen.time.clone()),
        shards: seen.into_iter().map(|seen| seen.info).collect(),
        index,
        managed_by: snapshot.managed_by.map(|catalog| catalog.path),
    })
}

fn look(dataset: &Dataset, of: &ShardRef) -> Result<Seen> {
    let shard = dataset.open(of)?;
    let columns = dataset.config.subject_columns(&shard)?;
    let time = dataset.config.roles().time(&shard)?;
    Ok(Seen {
        info: ShardInfo {
            path: dataset.config.names([]).shown(&of.path).into_owned(),
            bytes: of.bytes,
            row_groups: shard.footer.row_groups().len() as u64,
            rows: shard.footer.rows(),
        },
        footer_hash: shard.footer.hash,
        subject: columns
            .iter()
            .map(|column| column.descriptor.path().string())
            .collect(),
        time: time.map(|column| column.descriptor.path().string()),
    })
}

fn index_state(dataset: &Dataset, snapshot: &Snapshot, seen: &[Seen]) -> Result<IndexState> {
    match Index::open(&*dataset.state, &dataset.config.index_key()) {
        Ok(None) => Ok(IndexState::Missing),
        Ok(Some(index)) => Ok(compared(&index, snapshot, seen)),
        Err(Error::State { reason, .. }) => Ok(IndexState::Damaged(reason)),
        Err(error) => Err(error),
    }
}

fn compared(index: &Index, snapshot: &Snapshot, seen: &[Seen]) -> IndexState {
    let known: HashMap<&str, _> = index
        .shards()
        .iter()
        .map(|entry| (entry.path.as_str(), entry))
        .collect();
    let (mut added, mut changed) = (0, 0);
    for (file, seen) in snapshot.shards.iter().zip(seen) {
        match known.get(stored(&file.path).as_str()) {
            None => added += 1,
            Some(entry) if !entry.is_like(file) || entry.footer_hash != seen.footer_hash => {
                changed += 1;
            }
            Some(_) => {}
        }
    }
    let removed = (known.len() + added).saturating_sub(snapshot.shards.len());
    if added + changed + removed == 0 {
        IndexState::Fresh
    } else {
        IndexState::Stale {
            added,
            changed,
            removed,
        }
    }
}
