//! The record of a pass: the requests that are being carried out together, and how far they are.
//!
//! ```text
//! _efface/pass/pass.json                 which requests, and (once it is started) what was planned for each
//! _efface/pass/<pass id>-000001.json     steps that are about to be made: written before each batch of swaps
//! _efface/pass/tasks/, results/          tasks that are run elsewhere, and what came of them
//! ```
//!
//! # Invariants
//! Neither holds a subject id: subjects are named by request and position.
//!
//! # Crash behaviour
//! `pass.json` is replaced as a whole. Until it says `started`, nothing of the dataset was touched, and the record is
//! dropped after a crash. From then on, whoever opens the dataset for writing next carries the pass on to its end.
//! Steps are recorded durably before they are made: after a crash, the content of a shard shows whether it was swapped.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::shard::chunk::level::ZstdLevel;
use crate::shard::rewrite::RewriteReport;
use crate::state::{self, Expect, State, document};
use crate::subject::KeyId;
use crate::table::is_zero;
use crate::tracking::TrackingId;

/// Where the record of a pass lies, relative to the dataset.
pub const DIRECTORY: &str = "_efface/pass";

/// The version of the record that is written.
const FORMAT: u32 = 3;
/// The earliest version that is read: 0.1 wrote no configuration, and progress as lines; 2 had no level and no key.
const FORMAT_MIN: u32 = 1;
const PATH: &str = "_efface/pass/pass.json";

/// The stage of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It is being planned; nothing was touched.
    Staging,
    /// Shards are being replaced.
    Started,
}

/// Requests that are carried out together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    format: u32,
    /// Its id: for a delete at once, the tracking id of that delete; otherwise one of its own.
    pub id: TrackingId,
    /// Its stage.
    pub stage: Stage,
    /// When it was started.
    pub started_at: Timestamp,
    /// The requests.
    pub requests: Vec<TrackingId>,
    /// The plan of each request; empty until the pass is started.
    pub planned: Vec<Planned>,
    /// The configuration that the pass was planned with. Version 0.1 wrote none.
    #[serde(default)]
    pub config: Option<Config>,
    /// Whether its tasks lie in the state, to be run elsewhere: it is open then, though nobody holds the lease.
    #[serde(default)]
    pub elsewhere: bool,
    /// The level at which it compresses zstd pages.
    #[serde(default)]
    pub zstd_level: Option<ZstdLevel>,
    /// The key under which it hashes ids.
    #[serde(default)]
    pub key: Option<KeyId>,
    /// The fingerprint of the suppression list that it was planned with.
    #[serde(default)]
    pub suppression: Option<String>,
    /// The other names that the alias table has: a removal of rows leaves what lies under them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub alias_other_names: u64,
    /// What stopped the last run of it, if that was neither a crash nor the caller.
    #[serde(default)]
    pub trouble: Option<String>,
}

/// All that a pass is decided with, and that whoever carries it on uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The configuration.
    pub config: Config,
    /// The level at which zstd pages are compressed again.
    pub zstd_level: ZstdLevel,
    /// The key under which ids are hashed.
    pub key: KeyId,
}

/// The plan of one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Why it is refused, if it is.
    pub refused: Option<String>,
    /// The kind of that error. Version 0.1 wrote none.
    #[serde(default)]
    pub refused_kind: Option<ErrorKind>,
    /// Other aliases that also map to a covered id and were left out.
    pub left_out: u64,
    /// The digest of its plan, if it was planned on its own.
    pub digest: Option<String>,
    /// Its subjects, in the order of the request.
    pub subjects: Vec<PlannedSubject>,
}

/// The plan of one submitted id.
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
    /// The alias table is about to lose this number of rows.
    AliasRows(u64),
}

/// A shard that is about to be swapped, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    /// The shard.
    pub path: String,
    /// The other names that the old file has, which stay.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub other_names: u64,
    /// The BLAKE3 hash of the whole old file.
    pub before: String,
    /// The BLAKE3 hash of the whole new file; `None` if the shard has no rows left and is removed.
    pub after: Option<String>,
    /// Rows of each request, by its place in the pass.
    pub of_request: Vec<(usize, u64)>,
    /// Rows of each subject, by the places of its request and of itself there.
    pub of_subject: Vec<(usize, usize, u64)>,
    /// Rows that were removed because their ids are suppressed.
    pub suppressed: u64,
    /// The figures of the rewrite.
    pub report: RewriteReport,
}

impl Pass {
    /// A pass of these requests that is about to be planned.
    pub fn staging(
        id: TrackingId,
        requests: Vec<TrackingId>,
        started_at: Timestamp,
        decided: Decided,
    ) -> Self {
        Self {
            format: FORMAT,
            id,
            stage: Stage::Staging,
            started_at,
            requests,
            planned: Vec::new(),
            config: Some(decided.config),
            zstd_level: Some(decided.zstd_level),
            key: Some(decided.key),
            suppression: None,
            alias_other_names: 0,
            trouble: None,
            elsewhere: false,
        }
    }

    /// The pass that is in progress; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::State`] when its record is damaged, or of another version.
    pub fn load(state: &dyn State) -> Result<Option<Self>> {
        match stored(state, |pass: &Self| pass.format)? {
            Some(pass)
                if pass.stage == Stage::Started && pass.planned.len() != pass.requests.len() =>
            {
                Err(damage("it has not a plan for each request"))
            }
            pass => Ok(pass),
        }
    }

    /// How far the pass is that carries out the request `id`, if there is one, and what stopped it. What was planned is
    /// passed over.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn stage_of(state: &dyn State, id: TrackingId) -> Result<Option<(Stage, Option<String>)>> {
        #[derive(Deserialize)]
        struct Members {
            format: u32,
            stage: Stage,
            requests: Vec<TrackingId>,
            #[serde(default)]
            trouble: Option<String>,
        }
        let members = stored(state, |members: &Members| members.format)?;
        let pass = members.filter(|pass| pass.requests.contains(&id));
        Ok(pass.map(|pass| (pass.stage, pass.trouble)))
    }

    /// Whether a pass left anything: its record, or progress that a crash while it was removed left behind.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn has_files(state: &dyn State) -> Result<bool> {
        Ok(!state.list(DIRECTORY)?.is_empty())
    }

    /// Writes the record, in one durable step.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn store(&self, state: &dyn State) -> Result<()> {
        document::store(state, PATH, self, Expect::Any)
    }

    /// Ends the pass by removing its record.
    ///
    /// # Errors
    /// When a file can't be removed.
    pub fn remove(state: &dyn State) -> Result<()> {
        // The progress goes last: without `pass.json` it means nothing, but `pass.json` needs the progress.
        state.remove(&[PATH.to_owned()])?;
        let files = state.list(DIRECTORY)?;
        let paths: Vec<String> = files.into_iter().map(|file| file.path).collect();
        state.remove(&paths)
    }
}

/// The record, or a part of it that has its version; `None` when there is none.
fn stored<T: DeserializeOwned>(state: &dyn State, format: fn(&T) -> u32) -> Result<Option<T>> {
    let record: Option<T> = match document::load(state, PATH, limits::PASS_BYTES_MAX) {
        Err(Error::State { reason, .. }) => {
            return Err(damage(&format!(
                "{reason}: remove it, and what waits is planned and carried out again"
            )));
        }
        loaded => loaded?,
    };
    match record {
        Some(record) if !(FORMAT_MIN..=FORMAT).contains(&format(&record)) => Err(damage(
            "another version of efface wrote it: end the pass with that one",
        )),
        record => Ok(record),
    }
}

fn damage(reason: &str) -> Error {
    Error::State {
        path: PATH.to_owned(),
        reason: reason.to_owned(),
    }
}

/// The progress of a pass: numbered batches of steps, each written once and never changed.
#[derive(Debug)]
pub struct ProgressLog {
    pass: TrackingId,
    next: u32,
}

impl ProgressLog {
    /// Continues after the batches that earlier runs of the pass `id` wrote.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn begin(state: &dyn State, id: TrackingId) -> Result<Self> {
        let written = log_paths(state, id)?;
        let last = written.iter().filter_map(|path| number_of(path, id)).max();
        Ok(Self {
            pass: id,
            next: last.unwrap_or(0).saturating_add(1),
        })
    }

    /// Writes down steps that are about to be made, durably.
    ///
    /// # Errors
    /// When writing fails, or another process is carrying the pass on.
    pub fn announce(&mut self, state: &dyn State, steps: &[Progress]) -> Result<()> {
        let path = format!("{DIRECTORY}/{}-{:06}.json", self.pass, self.next);
        document::store(state, &path, &steps, Expect::Absent)?;
        self.next = self.next.saturating_add(1);
        Ok(())
    }

    /// All steps that earlier runs of the pass `id` announced, in their order.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn read(state: &dyn State, id: TrackingId) -> Result<Vec<Progress>> {
        let mut steps = Vec::new();
        for path in log_paths(state, id)? {
            if path.ends_with(LINES_OF_0_1) {
                let bytes = state::read(state, &path, limits::PASS_BYTES_MAX)?;
                let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
                // Nothing counts from the first torn line on.
                let whole = lines.by_ref().map_while(|line| {
                    let line = line.strip_suffix(b"\n")?;
                    document::parse(line).ok()
                });
                steps.extend(whole);
            } else {
                let batch: Option<Vec<Progress>> =
                    document::load(state, &path, limits::PASS_BYTES_MAX)?;
                steps.extend(batch.unwrap_or_default());
            }
        }
        Ok(steps)
    }
}

/// Version 0.1 appended lines to files with this extension.
const LINES_OF_0_1: &str = ".jsonl";

/// The files of a pass's progress, in their order: those of 0.1 first.
fn log_paths(state: &dyn State, id: TrackingId) -> Result<Vec<String>> {
    let files = state.list(DIRECTORY)?.into_iter();
    let mut paths: Vec<String> = files
        .map(|file| file.path)
        .filter(|path| number_of(path, id).is_some())
        .collect();
    paths.sort_by_key(|path| (!path.ends_with(LINES_OF_0_1), number_of(path, id)));
    Ok(paths)
}

/// The number of a file of the progress of the pass `id`; `None` for any other file.
fn number_of(path: &str, id: TrackingId) -> Option<u32> {
    let name = path.strip_prefix(&format!("{DIRECTORY}/{id}-"))?;
    let number = name
        .strip_suffix(LINES_OF_0_1)
        .or_else(|| name.strip_suffix(".json"))?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_system::disk::Disk;
    use crate::state::files::StateFiles;
    use crate::subject::SubjectKey;

    #[test]
    fn a_pass_and_its_progress_read_back_also_lines_of_0_1_except_a_torn_one() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateFiles::new(Disk::new(dir.path()));
        assert_eq!(Pass::load(&state).unwrap(), None);
        let time: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let id = TrackingId::new(time, [1; 10]);
        let decided = Decided {
            config: Config::default(),
            zstd_level: ZstdLevel::Fixed(1),
            key: SubjectKey::new([1; 32]).id(),
        };
        let pass = Pass::staging(id, vec![id], time, decided);
        pass.store(&state).unwrap();
        assert_eq!(Pass::load(&state).unwrap(), Some(pass));

        let old = b"{\"alias_rows\":1}\n{\"alias_ro";
        let path = format!("{DIRECTORY}/{id}-0001.jsonl");
        state.put(&path, old, Expect::Absent).unwrap();
        let step = Progress::AliasRows;
        let mut log = ProgressLog::begin(&state, id).unwrap();
        log.announce(&state, &[step(2), step(3)]).unwrap();
        let mut again = ProgressLog::begin(&state, id).unwrap();
        again.announce(&state, &[step(4)]).unwrap();
        assert!(log.announce(&state, &[step(5)]).is_err(), "two of a number");
        let read = || ProgressLog::read(&state, id).unwrap();
        assert_eq!(read(), [step(1), step(2), step(3), step(4)]);

        Pass::remove(&state).unwrap();
        assert_eq!(Pass::load(&state).unwrap(), None);
        assert_eq!(read(), []);
    }
}
