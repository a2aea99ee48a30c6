//! The archives that exports became: where they lie, of whom they are, and until when they are kept.
//!
//! ```text
//! _efface/archives/<tracking id>.json    the record: keyed hashes of the covered ids, where the archive lies, its facts
//! _efface/archives/<tracking id>.zip     the archive, unless its record names another directory
//!
//!   begin ─> (record: in the making) ─> archive published ─> made ─> fetched ... ─> withdrawn or expired
//! ```
//!
//! An archive is residue: it holds the rows of a person. So whoever deletes these looks through the records, and what is
//! in the making is there, too, before the first row is read.
//!
//! # Invariants
//! A record holds no subject id; its archive does. It comes before the archive, and goes after it: there is no archive
//! without a record. Whoever changes a record holds the queue's lock.
//!
//! # Crash behaviour
//! An archive gets its name when it is whole and durable. One in the making has a record that says so: it is made from
//! the beginning by whoever carries out exports next.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::file_system::disk::Disk;
use crate::io::Mapped;
use crate::limits;
use crate::receipts::ArchiveEvidence;
use crate::state::files::StateFiles;
use crate::state::{Expect, State, document};
use crate::subject::{KeyedHash, SubjectId, SubjectKey};
use crate::tracking::TrackingId;

/// Where records lie, and archives that have no other place, relative to the dataset.
pub const DIRECTORY: &str = "_efface/archives";
/// Held by who makes archives.
pub(crate) const LOCK: &str = "_efface/archives.lock";

/// The version of a record, and the only one that is read.
const FORMAT: u32 = 1;

/// What is known of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    format: u32,
    /// The export.
    pub tracking_id: TrackingId,
    /// The directory that it lies in; `None` stands for [`DIRECTORY`].
    pub directory: Option<String>,
    /// When making it was begun.
    pub begun_at: Timestamp,
    /// Its facts; `None` while it is in the making.
    pub made: Option<ArchiveEvidence>,
    /// When it was last fetched.
    pub fetched_at: Option<Timestamp>,
    /// How often it was fetched.
    pub fetches: u64,
    /// The hashes of the covered ids, in all their forms.
    ids: BTreeSet<KeyedHash>,
}

/// The archives of a dataset.
pub struct Archives<'a> {
    state: &'a dyn State,
}

impl Archive {
    /// One that is about to be made, of the rows of `ids`.
    pub(crate) fn begun(
        tracking_id: TrackingId,
        directory: Option<String>,
        begun_at: Timestamp,
        (key, ids): (&SubjectKey, &[SubjectId]),
    ) -> Self {
        Self {
            format: FORMAT,
            tracking_id,
            directory,
            begun_at,
            made: None,
            fetched_at: None,
            fetches: 0,
            ids: ids.iter().flat_map(|id| key.hashes_of(id)).collect(),
        }
    }

    /// Whether it holds, or is to hold, rows of an id with one of these hashes.
    pub fn is_of(&self, hashes: &BTreeSet<KeyedHash>) -> bool {
        !self.ids.is_disjoint(hashes)
    }

    /// The same, made.
    pub(crate) fn made(&self, evidence: ArchiveEvidence) -> Self {
        Self {
            made: Some(evidence),
            ..self.clone()
        }
    }

    /// Whether its time is over.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.made
            .as_ref()
            .is_some_and(|made| made.expires_at <= now)
    }

    /// When an archive expires that is made now.
    pub(crate) fn expiry(now: Timestamp) -> Timestamp {
        let days = SignedDuration::from_hours(24 * limits::ARCHIVE_DAYS);
        now.checked_add(days).unwrap_or(Timestamp::MAX)
    }

    /// The name of its file, in its directory.
    pub(crate) fn name(&self) -> String {
        match self.directory {
            Some(_) => format!("{}.zip", self.tracking_id),
            None => format!("{DIRECTORY}/{}.zip", self.tracking_id),
        }
    }

    /// Where its file is, for people.
    pub fn path(&self) -> String {
        match &self.directory {
            Some(directory) => format!("{directory}/{}", self.name()),
            None => self.name(),
        }
    }
}

impl<'a> Archives<'a> {
    /// Those that `state` knows of. Reads nothing yet.
    pub fn new(state: &'a dyn State) -> Self {
        Self { state }
    }

    /// All of them, also in the making, in the order of their requests.
    ///
    /// # Errors
    /// When a record is damaged, or can't be read.
    pub fn all(&self) -> Result<Vec<Archive>> {
        let mut all = Vec::new();
        for id in self.ids()? {
            all.extend(self.get(id)?);
        }
        Ok(all)
    }

    /// The exports that have a record.
    pub(crate) fn ids(&self) -> Result<BTreeSet<TrackingId>> {
        let files = self.state.list(DIRECTORY)?;
        let names = files
            .iter()
            .filter_map(|file| file.path.strip_prefix(DIRECTORY)?.strip_prefix('/'));
        Ok(names
            .filter_map(|name| name.strip_suffix(".json")?.parse().ok())
            .collect())
    }

    /// The record of an export's archive.
    ///
    /// # Errors
    /// When it is damaged, or can't be read.
    pub fn get(&self, id: TrackingId) -> Result<Option<Archive>> {
        let path = record_path(id);
        let damaged = |reason: &str| Error::State {
            path: path.clone(),
            reason: format!(
                "{reason}: whose rows that archive holds can't be told any more; remove the archive, then this file"
            ),
        };
        match document::load::<Archive>(self.state, &path, limits::QUEUE_ENTRY_BYTES_MAX) {
            Ok(Some(archive)) if archive.format != FORMAT => {
                Err(damaged("another version of efface wrote it"))
            }
            Err(Error::State { reason, .. }) => Err(damaged(&reason)),
            loaded => loaded,
        }
    }

    /// Writes a record, durably. The caller holds the queue's lock.
    pub(crate) fn store(&self, archive: &Archive) -> Result<()> {
        let path = record_path(archive.tracking_id);
        document::store(self.state, &path, archive, Expect::Any)
    }

    /// The bytes of a whole archive; they stay, whatever happens to it. `None` when it is not there (any more).
    ///
    /// # Errors
    /// When it can't be read.
    pub fn open(&self, archive: &Archive) -> Result<Option<Mapped>> {
        if archive.made.is_none() {
            return Ok(None);
        }
        self.in_place(archive, |state, name| {
            Ok(if state.has(name)? {
                Some(state.map(name)?)
            } else {
                None
            })
        })
    }

    /// Removes the files of archives, but not the records.
    pub(crate) fn withdraw(&self, archives: &[Archive]) -> Result<()> {
        let mut by_directory: BTreeMap<Option<&String>, Vec<String>> = BTreeMap::new();
        for archive in archives {
            let names = by_directory.entry(archive.directory.as_ref()).or_default();
            names.push(archive.name());
        }
        for (directory, names) in by_directory {
            match directory {
                Some(directory) => place(directory).remove(&names)?,
                None => self.state.remove(&names)?,
            }
        }
        Ok(())
    }

    /// Forgets archives that were withdrawn.
    pub(crate) fn forget(&self, archives: &[Archive]) -> Result<()> {
        let records = archives
            .iter()
            .map(|archive| record_path(archive.tracking_id));
        self.state.remove(&records.collect::<Vec<_>>())
    }

    /// Does something with the file of an archive, where it lies.
    pub(crate) fn in_place<T>(
        &self,
        archive: &Archive,
        what: impl FnOnce(&dyn State, &str) -> Result<T>,
    ) -> Result<T> {
        let name = archive.name();
        match &archive.directory {
            Some(directory) => what(&place(directory), &name),
            None => what(self.state, &name),
        }
    }
}

/// Whether a file of the state is an archive.
pub(crate) fn is_archive(path: &str) -> bool {
    path.starts_with(DIRECTORY) && path.ends_with(".zip")
}

/// A directory of archives. What is written there can be read by nobody else.
fn place(directory: &str) -> StateFiles {
    StateFiles::new(Disk::new(directory))
}

fn record_path(id: TrackingId) -> String {
    format!("{DIRECTORY}/{id}.json")
}
