//! The record of a pass: the requests that are being carried out together, and how far it is.
//!
//! ```text
//! _efface/pass/pass.json                 which requests, and (once it is started) what was planned for each
//! _efface/pass/<pass id>-0001.jsonl      a line before each swap of a shard; another file for each resumption
//! ```
//!
//! # Invariants
//! Neither holds a subject id: subjects are named by request and position.
//!
//! # Crash behaviour
//! `pass.json` is replaced as a whole. Before it says `started` nothing of the dataset was touched, and it is
//! simply dropped; from then on the pass is carried on to its end by whoever opens the dataset for writing next.
//! A line is durable before the swap that it announces: after a crash the content of the shard says whether that
//! was done. A last line that is torn announces nothing.

use std::io::Write;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::limits;
use crate::shard::rewrite::RewriteReport;
use crate::storage::{self, Sink, Storage, document, temporary_name};
use crate::tracking::TrackingId;

/// Where the record of a pass lies, relative to the dataset.
pub const DIRECTORY: &str = "_efface/pass";

/// The version of the record, and the only one that is read.
const FORMAT: u32 = 1;
const PATH: &str = "_efface/pass/pass.json";

/// How far a pass is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It finds out what is to be done; nothing was touched.
    Staging,
    /// Shards are being replaced.
    Started,
}

/// Requests that are carried out together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    format: u32,
    /// How it is known: the tracking id of a delete that is carried out at once, else one of its own.
    pub id: TrackingId,
    /// How far it is.
    pub stage: Stage,
    /// When it was started.
    pub started_at: Timestamp,
    /// The requests.
    pub requests: Vec<TrackingId>,
    /// What was planned for each of them; none before it is started.
    pub planned: Vec<Planned>,
}

/// What was planned for one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Why it is not carried out, if it is not.
    pub refused: Option<String>,
    /// Other aliases that also map to a covered id and were left out.
    pub left_out: u64,
    /// The digest of its plan, if it was planned on its own.
    pub digest: Option<String>,
    /// Its subjects, in the order of the request.
    pub subjects: Vec<PlannedSubject>,
}

/// What was planned for one submitted id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedSubject {
    /// Its position in the request, counted from 1.
    pub position: usize,
    /// Whether it has rows or an alias link.
    pub found: bool,
    /// The request that counts its rows, if an earlier one of the pass names it too.
    pub merged_into: Option<TrackingId>,
}

/// One step of a pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// A shard is about to be swapped.
    Swap(Box<Swap>),
    /// The alias table is about to lose so many rows.
    AliasRows(u64),
}

/// A shard that is about to be swapped, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    /// The shard.
    pub path: String,
    /// BLAKE3 of the whole file before.
    pub before: String,
    /// BLAKE3 of the whole file after; `None` when it has no rows left and is removed.
    pub after: Option<String>,
    /// Rows of each request, by its place in the pass.
    pub of_request: Vec<(usize, u64)>,
    /// Rows of each subject, by the places of its request and of itself there.
    pub of_subject: Vec<(usize, usize, u64)>,
    /// Rows that were removed since their ids are suppressed.
    pub suppressed: u64,
    /// What the rewrite did.
    pub report: RewriteReport,
}

impl Pass {
    /// A pass of these requests that is about to be planned.
    pub fn staging(id: TrackingId, requests: Vec<TrackingId>, started_at: Timestamp) -> Self {
        Self {
            format: FORMAT,
            id,
            stage: Stage::Staging,
            started_at,
            requests,
            planned: Vec::new(),
        }
    }

    /// The pass that is under way; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::State`] when its record is damaged, or of another version.
    pub fn load(storage: &dyn Storage) -> Result<Option<Self>> {
        let damage = |reason: &str| Error::State {
            path: PATH.to_owned(),
            reason: reason.to_owned(),
        };
        let pass: Option<Self> = match document::load(storage, PATH, limits::PASS_BYTES_MAX) {
            Err(Error::State { reason, .. }) => {
                return Err(damage(&format!(
                    "{reason}: remove it, and what waits is planned and carried out anew"
                )));
            }
            loaded => loaded?,
        };
        match pass {
            Some(pass) if pass.format != FORMAT => Err(damage(
                "another version of efface wrote it: end the pass with that one",
            )),
            Some(pass)
                if pass.stage == Stage::Started && pass.planned.len() != pass.requests.len() =>
            {
                Err(damage("it has not a plan for each request"))
            }
            pass => Ok(pass),
        }
    }

    /// Whether a pass left anything: its record, or progress that a crash while it was removed left behind.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn has_files(storage: &dyn Storage) -> Result<bool> {
        Ok(!storage.list(DIRECTORY)?.is_empty())
    }

    /// Writes the record, in one durable step.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn store(&self, storage: &dyn Storage) -> Result<()> {
        document::store(storage, PATH, self)
    }

    /// Ends the pass: its record goes.
    ///
    /// # Errors
    /// When a file can't be removed.
    pub fn remove(storage: &dyn Storage) -> Result<()> {
        // The progress goes last: without `pass.json` it means nothing, but not the other way round.
        storage.remove(PATH)?;
        let files = storage.list(DIRECTORY)?;
        let paths: Vec<String> = files.into_iter().map(|file| file.path).collect();
        storage.remove_all(&paths)
    }
}

/// The progress of a pass, as it is written.
pub struct ProgressLog {
    path: String,
    sink: Box<dyn Sink>,
}

impl ProgressLog {
    /// Begins a new file of it, for the pass `id`.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn begin(storage: &dyn Storage, id: TrackingId) -> Result<Self> {
        let number = log_paths(storage, id)?.len() + 1;
        let path = format!("{DIRECTORY}/{id}-{number:04}.jsonl");
        // It gets its name while it is empty, so that the name is durable before the first line.
        let temporary = temporary_name(&path);
        let mut sink = storage.create(&temporary, None)?;
        sink.sync().map_err(Error::io("sync", &temporary))?;
        storage.replace(&temporary, &path)?;
        Ok(Self { path, sink })
    }

    /// Writes a step down, durably.
    ///
    /// # Errors
    /// When writing fails.
    pub fn append(&mut self, step: &Progress) -> Result<()> {
        let line = serde_json::to_vec(step).map_err(std::io::Error::from);
        let written = line.and_then(|mut line| {
            line.push(b'\n');
            self.sink.write_all(&line)?;
            self.sink.sync()
        });
        written.map_err(Error::io("write", &self.path))
    }

    /// All that earlier runs of the pass `id` wrote down.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn read(storage: &dyn Storage, id: TrackingId) -> Result<Vec<Progress>> {
        let mut steps = Vec::new();
        for path in log_paths(storage, id)? {
            let bytes = storage::read_all(storage, &path, limits::PASS_BYTES_MAX)?;
            let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
            // What follows a torn line was never written.
            let whole = lines.by_ref().map_while(|line| {
                let line = line.strip_suffix(b"\n")?;
                document::parse(line).ok()
            });
            steps.extend(whole);
        }
        Ok(steps)
    }
}

/// The files of a pass's progress, in their order.
fn log_paths(storage: &dyn Storage, id: TrackingId) -> Result<Vec<String>> {
    let front = format!("{DIRECTORY}/{id}-");
    let files = storage.list(DIRECTORY)?;
    let paths = files.into_iter().map(|file| file.path);
    Ok(paths.filter(|path| path.starts_with(&front)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::Disk;

    #[test]
    fn a_pass_and_its_progress_read_back_but_for_a_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(dir.path());
        assert_eq!(Pass::load(&disk).unwrap(), None);
        let time: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let id = TrackingId::new(time, [1; 10]);
        let pass = Pass::staging(id, vec![id], time);
        pass.store(&disk).unwrap();
        assert_eq!(Pass::load(&disk).unwrap(), Some(pass));

        let step = Progress::AliasRows(3);
        let mut log = ProgressLog::begin(&disk, id).unwrap();
        log.append(&step).unwrap();
        log.append(&step).unwrap();
        log.sink.write_all(b"{\"alias_ro").unwrap();
        log.sink.sync().unwrap();
        let mut log = ProgressLog::begin(&disk, id).unwrap();
        log.append(&step).unwrap();
        assert_eq!(
            ProgressLog::read(&disk, id).unwrap(),
            [step.clone(), step.clone(), step]
        );

        Pass::remove(&disk).unwrap();
        assert_eq!(Pass::load(&disk).unwrap(), None);
        assert_eq!(ProgressLog::read(&disk, id).unwrap(), []);
    }
}
