//! The part of a pass that is one shard's: written down, so that it can be done anywhere.
//!
//! ```text
//!   ShardTask ── write ──> new shard beside the old one ── sync, hash, read back ──> TaskResult
//! ```
//! Nothing is replaced here: that is for [`commit`](super::Compaction::commit), which alone knows the subject ids.
//! A task can be run again at any time; what an earlier attempt left behind is overwritten, or removed by the pass.
//!
//! Memory: that of one rewrite, see [`RewriteOptions::memory`].

use std::io;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, ErrorKind, FormatError, Result};
use crate::limits;
use crate::parquet_bytes::codec::Codecs;
use crate::parquet_bytes::footer::Chunk;
use crate::parquet_bytes::page_walk::PageWalk;
use crate::request::{Disclosure, RequiredColumns};
use crate::shard::Shard;
use crate::shard::chunk::level::ZstdLevel;
use crate::shard::clear::Clearing;
use crate::shard::rewrite::{RewriteOptions, RewriteReport, clear, is_clear, rewrite};
use crate::storage::{FileInfo, ReadAt, Sink, Storage, temporary_name};

/// Bytes that one read of a walk over headers asks for.
const HEADER_READ_BYTES: u64 = 512;

/// What is to be done with one shard. Holds no subject id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardTask {
    /// The shard, relative to the dataset.
    pub path: String,
    /// Stands for the content in which the rows were found.
    pub footer_hash: u64,
    /// What is done, in this order.
    pub steps: Vec<Step>,
    /// Tells the files of different attempts apart.
    pub attempt: u32,
    /// Memory that new chunks may take, in bytes.
    pub memory: u64,
    /// The level at which zstd pages are compressed again.
    pub zstd_level: ZstdLevel,
}

/// Something that is done to rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// The rows, counted in the shard as it is before all steps.
    #[serde(with = "ranges")]
    pub rows: RoaringBitmap,
}

/// What is done to rows. Removing comes last, since it moves the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Values in them are cleared.
    Clear(Disclosure, RequiredColumns),
    /// They are removed.
    Remove,
}

/// A file as it was at some moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// In bytes.
    pub size: u64,
    /// Time of the last modification, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// Time of the last change that can't be set back, in nanoseconds since 1970.
    pub changed_ns: i64,
    /// Hash of the footer's bytes.
    pub footer_hash: u64,
    /// BLAKE3 of the whole file.
    pub hash: String,
}

/// What came of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskResult {
    /// The shard, relative to the dataset.
    pub path: String,
    /// The new shard; `None` when there was nothing to do.
    pub written: Option<NewShard>,
}

/// A new shard beside the old one, durable and checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewShard {
    /// Where it lies, relative to the dataset.
    pub temporary: String,
    /// The old one.
    pub before: Content,
    /// The new one.
    pub after: Content,
    /// Rows of the old one.
    pub rows_before: u64,
    /// Where the new one's bytes are that were not copied from the old one.
    pub fresh: Vec<Range<u64>>,
    /// What the rewrite did.
    pub report: RewriteReport,
}

/// A new shard that is not yet durable.
pub(super) struct Written {
    shard: Shard,
    info: FileInfo,
    temporary: String,
    sink: Box<dyn Sink>,
    removed: RoaringBitmap,
    cleared: Vec<(RoaringBitmap, Clearing)>,
    fresh: Vec<Range<u64>>,
    report: RewriteReport,
}

/// A new shard that is durable.
pub(super) struct Settled {
    written: Written,
    new: Shard,
    before: Content,
    after: Content,
}

/// Carries a task out: the new shard lies beside the old one, durable and checked, when this returns.
///
/// # Errors
/// [`ShardChanged`](Error::ShardChanged) when the shard is no longer the one that the task was made for; what is
/// wrong with it; failures of the storage.
pub fn run(dataset: &Dataset, task: &ShardTask) -> Result<TaskResult> {
    let written = write(dataset, task)?;
    let settled = written.map(|written| settle(dataset, written)?.checked(dataset));
    let written = settled.transpose()?;
    Ok(TaskResult {
        path: task.path.clone(),
        written,
    })
}

/// Writes the new shard; `None` when nothing is to be done.
pub(super) fn write(dataset: &Dataset, task: &ShardTask) -> Result<Option<Written>> {
    let storage = &*dataset.storage;
    let changed = || Error::ShardChanged {
        path: task.path.clone(),
    };
    let info = storage.info(&task.path)?.ok_or_else(changed)?;
    let shard = dataset.open(&task.path)?;
    if shard.footer.hash != task.footer_hash {
        return Err(changed());
    }
    let mut files = Intermediates {
        storage,
        paths: Vec::new(),
    };
    let name = |step: usize| {
        let path = &task.path;
        match (task.attempt, step) {
            (0, 0) => temporary_name(path),
            (attempt, step) => temporary_name(&format!("{path}.{attempt}.{step}")),
        }
    };
    let mut removed = RoaringBitmap::new();
    for step in &task.steps {
        if step.action == Action::Remove {
            removed |= &step.rows;
        }
    }
    let mut total = RewriteReport::default();
    let mut fresh = Vec::new();
    let mut cleared = Vec::new();
    let mut last: Option<(String, Box<dyn Sink>)> = None;
    let options = RewriteOptions {
        memory: task.memory,
        zstd_level: task.zstd_level,
    };
    for (number, step) in task.steps.iter().enumerate() {
        let source = match last.take() {
            None => None,
            Some((path, mut sink)) => {
                sink.flush().map_err(Error::io("write", &path))?;
                Some(Shard::new(&task.path, storage.open(&path)?)?)
            }
        };
        let source = source.as_ref().unwrap_or(&shard);
        let path = name(number);
        files.paths.push(path.clone());
        let mut sink = storage.create(&path, Some(&task.path))?;
        let report = match step.action {
            Action::Remove => rewrite(source, &step.rows, &mut *sink, &options)?,
            Action::Clear(disclosure, required) => {
                let clearing = dataset.clearing(source, disclosure, required)?;
                let rows = &step.rows - &removed;
                let report = clear(source, &rows, &clearing, &mut *sink, &options)?;
                cleared.push((rows, clearing));
                report
            }
        };
        fresh.clone_from(&report.new_ranges);
        total.lineage = match (total.lineage.take(), &report.lineage) {
            (Some(earlier), Some(later)) => Some(earlier.then(later)),
            (_, only) => only.clone(),
        };
        total.add(report);
        last = Some((path, sink));
    }
    let Some((temporary, sink)) = last else {
        return Ok(None);
    };
    if total.rows_removed == 0 && total.pages_rewritten == 0 {
        return Ok(None);
    }
    files.paths.retain(|path| *path != temporary);
    if task.steps.len() > 1 {
        // What the last step copied may be what an earlier one made.
        fresh = std::iter::once(0..u64::MAX).collect();
    }
    Ok(Some(Written {
        fresh,
        shard,
        info,
        temporary,
        sink,
        removed,
        cleared,
        report: total,
    }))
}

/// Makes the new shard durable, and hashes both. Takes nothing of the thread pool.
pub(super) fn settle(dataset: &Dataset, mut written: Written) -> Result<Settled> {
    let storage = &*dataset.storage;
    let temporary = written.temporary.clone();
    let settle = |written: &mut Written| {
        written.sink.sync().map_err(Error::io("sync", &temporary))?;
        let vanished = || Error::io("find", &temporary)(io::ErrorKind::NotFound.into());
        let info = storage.info(&temporary)?.ok_or_else(vanished)?;
        let path = &written.shard.path;
        let new = Shard::new(path, storage.open(&temporary)?).map_err(doubted(path))?;
        let before = content(&written.info, &written.shard)?;
        let after = content(&info, &new)?;
        Ok((new, before, after))
    };
    match settle(&mut written) {
        Ok((new, before, after)) => Ok(Settled {
            written,
            new,
            before,
            after,
        }),
        Err(error) => {
            written.discard(dataset);
            Err(error)
        }
    }
}

impl Content {
    /// Whether the file is still as it was, as far as can be told without reading it.
    pub(super) fn is_of(&self, info: &FileInfo) -> bool {
        !info.is_link
            && self.size == info.size
            && self.modified_ns == info.modified_ns
            && self.changed_ns == info.changed_ns
    }
}

impl Settled {
    /// Reads the new shard back and checks it.
    pub(super) fn checked(self, dataset: &Dataset) -> Result<NewShard> {
        if let Err(error) = check(&self.written, &self.new) {
            self.written.discard(dataset);
            return Err(error);
        }
        let Written {
            shard,
            temporary,
            fresh,
            report,
            ..
        } = self.written;
        Ok(NewShard {
            temporary,
            before: self.before,
            after: self.after,
            rows_before: shard.footer.rows(),
            fresh,
            report,
        })
    }
}

impl Written {
    /// The new shard is not wanted.
    pub(super) fn discard(self, dataset: &Dataset) {
        // Another error is told; the next run removes what is left over.
        let _ignored = dataset.storage.remove(&self.temporary);
    }
}

/// Checks that the new shard's rows add up, that what was made anew can be decompressed (with its CRC, where there
/// is one), and that nothing is left of what was to be cleared.
fn check(written: &Written, new: &Shard) -> Result<()> {
    let failed = |reason: String| Error::CheckFailed {
        path: written.shard.path.clone(),
        reason,
    };
    let removed = written.removed.len();
    let (found, expected) = (
        new.footer.rows(),
        written.shard.footer.rows().saturating_sub(removed),
    );
    if found != expected {
        return Err(failed(format!("it has {found} rows instead of {expected}")));
    }
    for (rows, clearing) in &written.cleared {
        // Where the rows are now that those before them are gone.
        let moved = |row: u32| {
            let before = written.removed.rank(row);
            u32::try_from(u64::from(row).saturating_sub(before)).unwrap_or(u32::MAX)
        };
        if !is_clear(new, &rows.iter().map(moved).collect(), clearing)? {
            return Err(failed("values to clear are still there".to_owned()));
        }
    }
    let fresh = written.fresh.as_slice();
    let chunks: Vec<&Chunk> = fresh_groups(new, fresh)
        .flat_map(|(_, chunks)| chunks)
        .collect();
    chunks
        .into_par_iter()
        .try_for_each(|chunk| check_pages(new, chunk, fresh))
        .map_err(|error| doubted(&new.path)(error.in_shard(&new.path)))
}

/// What is wrong with a new shard is a failed check, but one that can't be read says nothing of what was written.
pub(super) fn doubted(path: &str) -> impl FnOnce(Error) -> Error {
    move |error| match error.kind() {
        ErrorKind::Io | ErrorKind::Unavailable => error,
        _ => Error::CheckFailed {
            path: path.to_owned(),
            reason: error.to_string(),
        },
    }
}

/// The row groups of `shard` with a chunk that overlaps `fresh`.
pub(super) fn fresh_groups<'a>(
    shard: &'a Shard,
    fresh: &'a [Range<u64>],
) -> impl Iterator<Item = (u32, &'a [Chunk])> {
    let is_fresh = |chunk: &Chunk| overlaps(fresh, chunk.range.clone());
    (0_u32..)
        .zip(shard.footer.row_groups())
        .map(|(number, group)| (number, group.chunks.as_slice()))
        .filter(move |(_, chunks)| chunks.iter().any(is_fresh))
}

/// Walks the pages of a chunk and decompresses those that are `fresh`.
fn check_pages(
    shard: &Shard,
    chunk: &Chunk,
    fresh: &[Range<u64>],
) -> std::result::Result<(), FormatError> {
    let range = chunk.range.clone();
    let mut walk = PageWalk::with_read_len(Arc::clone(&shard.file), range, HEADER_READ_BYTES);
    let mut codecs = Codecs::default();
    let mut body = Vec::new();
    let mut values = 0;
    while let Some(page) = walk.peek()? {
        values += u64::from(page.kind.data_values().unwrap_or(0));
        if overlaps(fresh, page.offset..page.end()) {
            body.clear();
            page.decompress(walk.body(&page)?, chunk.codec, &mut codecs, &mut body)?;
        }
        walk.skip(&page);
    }
    if values == chunk.values {
        return Ok(());
    }
    Err(FormatError::Contradiction {
        what: "values of a new chunk".into(),
        claimed: chunk.values,
        counted: values,
    })
}

/// Whether one of the ascending `ranges` overlaps `range`.
fn overlaps(ranges: &[Range<u64>], range: Range<u64>) -> bool {
    let next = ranges.partition_point(|other| other.end <= range.start);
    ranges
        .get(next)
        .is_some_and(|other| other.start < range.end)
}

fn content(info: &FileInfo, shard: &Shard) -> Result<Content> {
    let hash = hash_file(&*shard.file).map_err(Error::io("read", &info.path))?;
    Ok(Content {
        size: info.size,
        modified_ns: info.modified_ns,
        changed_ns: info.changed_ns,
        footer_hash: shard.footer.hash,
        hash,
    })
}

/// BLAKE3 of a whole file, as `b3sum` prints it.
pub(super) fn hash_file(file: &dyn ReadAt) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; limits::WRITE_BYTES];
    let mut offset = 0;
    while offset < file.len() {
        let left = usize::try_from(file.len() - offset).unwrap_or(usize::MAX);
        let len = left.min(buffer.len());
        let (part, _) = buffer.split_at_mut(len);
        file.read_at(offset, part)?;
        hasher.update(part);
        offset += len as u64;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Files between the steps of a task, removed when they are no longer needed.
struct Intermediates<'a> {
    storage: &'a dyn Storage,
    paths: Vec<String>,
}

impl Drop for Intermediates<'_> {
    fn drop(&mut self) {
        // The next run removes what is left over.
        let _ignored = self.storage.remove_all(&self.paths);
    }
}

/// Rows as pairs of the first and the last of each run.
mod ranges {
    use roaring::RoaringBitmap;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        rows: &RoaringBitmap,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for row in rows {
            match runs.last_mut() {
                Some(run) if run.1.checked_add(1) == Some(row) => run.1 = row,
                _ => runs.push((row, row)),
            }
        }
        serializer.collect_seq(runs)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<RoaringBitmap, D::Error> {
        let runs = Vec::<(u32, u32)>::deserialize(deserializer)?;
        let mut rows = RoaringBitmap::new();
        for (first, last) in runs {
            rows.insert_range(first..=last);
        }
        Ok(rows)
    }
}
