//! A table that is a directory of Parquet files: every file with a shard's name is live, and a rename is the commit.
//!
//! ```text
//!   commit:  summaries unlinked, synced ─> per shard: still as it was? ─> sidecars unlinked ─> rename over
//!            ─> each directory synced once
//! ```
//!
//! # Invariants
//! A file is durable before a rename puts it in place. The last look at the old shard stands directly before its
//! rename, however many shards a commit has. A checksum that lies beside a shard goes before the shard is replaced: names
//! in one directory change on the disk in the order in which they were changed, so no new shard ever has an old one's.
//!
//! # Assumptions
//! A rename is atomic; a file's bytes are durable after fsync(2) of it, and names after fsync(2) of their directory,
//! or both after syncfs(2) on the file systems that [`disk`](crate::file_system::disk) names.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{
    CommitUnit, Committed, Obstacle, Replacement, ShardRef, ShardVersion, Snapshot, Staging, Table,
    catalogs,
};
use crate::error::{Catalog, Error, Result};
use crate::file_system::{
    Access, FileInfo, FileSystem, TEMPORARY_SUFFIX, Walk, is_temporary, is_temporary_of,
};
use crate::io::{ReadAt, Sink};
use crate::state;

/// Extensions of shards.
const ENDINGS: [&str; 3] = [".parquet", ".parq", ".pq"];

/// Files that are synced at the same time: a disk takes many at once, and a thread that waits costs next to nothing.
const SYNCS_AT_A_TIME: usize = 32;

/// How the files of a batch are made durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Syncing {
    /// Each by a sync of its own, many at the same time. Assumes nothing of the file system.
    #[default]
    SideBySide,
    /// All by one sync of the whole file system, where that is known to be enough. It also waits for the data of
    /// other programs there.
    Whole,
}

/// A directory of Parquet files.
#[derive(Clone)]
pub struct Directory {
    files: Arc<dyn FileSystem>,
    /// The only file of the table, if the table is no directory.
    only: Option<String>,
    syncing: Syncing,
}

impl Directory {
    /// All shards below the root of `files`.
    pub fn new(files: impl FileSystem + 'static) -> Self {
        Self {
            files: Arc::new(files),
            only: None,
            syncing: Syncing::default(),
        }
    }

    /// The table, with another way to make batches durable.
    #[must_use]
    pub fn with_syncing(self, syncing: Syncing) -> Self {
        Self { syncing, ..self }
    }

    /// The list of something else that lies beside the root or above it.
    fn list_above(&self) -> Result<Option<Catalog>> {
        match catalogs::above(&*self.files, "")? {
            None => catalogs::summary_above(&*self.files),
            list => Ok(list),
        }
    }

    /// Puts a staged file in the place of a shard, whose sidecars go. Returns whether the shard was still the same.
    fn replace(&self, replacement: &Replacement, sidecars: &mut Vec<String>) -> Result<bool> {
        let Replacement { old, new } = replacement;
        if !self.is_as_before(old)? {
            return Ok(false);
        }
        let before = sidecars.len();
        self.unlink_sidecars(&old.path, sidecars)?;
        // The last look at the shard stands directly before its rename.
        if sidecars.len() > before && !self.is_as_before(old)? {
            return Ok(false);
        }
        match new {
            Some(staged) => self.files.rename(staged, &old.path)?,
            None => drop(self.files.unlink(&old.path)?),
        }
        Ok(true)
    }

    /// Whether the shard is still the same, as far as can be seen without reading it.
    fn is_as_before(&self, shard: &ShardRef) -> Result<bool> {
        let now = match self.find(&shard.path) {
            // Something else took its place.
            Err(Error::Place { .. }) => None,
            found => found?,
        };
        Ok(now.is_some_and(|now| now.obstacle != Some(Obstacle::Link) && shard.is_same(&now)))
    }

    /// Removes the files that describe the bytes of the one at `path`, and adds them to `gone`.
    fn unlink_sidecars(&self, path: &str, gone: &mut Vec<String>) -> Result<()> {
        for sidecar in catalogs::sidecars(path) {
            match self.files.unlink(&sidecar) {
                Ok(true) => gone.push(sidecar),
                Ok(false) => {}
                Err(Error::Io { source, .. }) if is_no_file(&source) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn unlink_all(&self, paths: &[String]) -> Result<()> {
        self.remove(paths, |path| self.files.unlink(path))
    }

    /// Removes what runs left behind. A living one may be writing there: an export into the dataset, or a task.
    fn unlink_dead(&self, paths: &[String]) -> Result<()> {
        self.remove(paths, |path| self.files.unlink_dead(path))
    }

    fn remove(&self, paths: &[String], unlink: impl Fn(&str) -> Result<bool>) -> Result<()> {
        let mut gone = Vec::new();
        for path in paths {
            if unlink(path)? {
                gone.push(path.as_str());
            }
        }
        self.files.sync_directories(&gone)
    }
}

impl Table for Directory {
    fn name(&self) -> String {
        self.files.root()
    }

    fn snapshot(&self) -> Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        if let Some(path) = &self.only {
            snapshot.shards.extend(self.find(path)?);
            let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            let walk = Walk {
                enters: &|_| false,
                wants: &|beside| is_left_over_of(beside, path),
            };
            let left = self.files.list(directory, walk)?.into_iter();
            let left = left.filter(|file| !file.is_link);
            snapshot.leftovers = left.map(|file| file.path).collect();
            snapshot.managed_by = catalogs::above(&*self.files, directory)?;
            return Ok(snapshot);
        }
        let walk = Walk {
            enters: &is_entered,
            wants: &is_of_a_table,
        };
        for file in self.files.list("", walk)? {
            if is_left_over(&file.path) {
                // Behind a link it may belong to another dataset, whose lease we don't hold.
                if !file.is_link {
                    snapshot.leftovers.push(file.path);
                }
                continue;
            }
            if let Some(catalog) = catalogs::of_file(&file.path) {
                snapshot.managed_by.get_or_insert(catalog);
            }
            if catalogs::is_summary(&file.path) {
                snapshot.summaries.push(file.path);
            } else if is_shard(&file.path) {
                // Also what is no file, but has a shard's name: whoever opens it learns what is wrong.
                snapshot.shards.push(shard_of(file));
            }
        }
        if snapshot.managed_by.is_none() {
            snapshot.managed_by = self.list_above()?;
        }
        Ok(snapshot)
    }

    fn check_changeable(&self) -> Result<()> {
        let above = Snapshot {
            managed_by: self.list_above()?,
            ..Snapshot::default()
        };
        above.check_changeable()
    }

    fn find(&self, path: &str) -> Result<Option<ShardRef>> {
        let found = self.files.info(path)?;
        Ok(found.map(shard_of))
    }

    fn open(&self, shard: &ShardRef) -> Result<Arc<dyn ReadAt>> {
        let opened = match shard.obstacle {
            Some(Obstacle::Link) => self.files.open_linked(&shard.path),
            Some(Obstacle::Names(_)) | None => self.files.open(&shard.path),
        };
        let file = match opened {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(shard.changed());
            }
            opened => opened?,
        };
        // Callers that need more than the length compare the hash of the footer, which they read in any case.
        if file.len() != shard.bytes {
            return Err(shard.changed());
        }
        Ok(file)
    }

    fn clock_ns(&self) -> Result<Option<i64>> {
        self.files.clock_ns()
    }

    fn check_replaceable(&self, shard: &ShardRef) -> Result<()> {
        if shard.obstacle == Some(Obstacle::Link) {
            shard.check_obstacle()?;
        }
        self.files.try_access(&shard.path)
    }

    fn stage(&self, of: &ShardRef) -> Result<Box<dyn Staging>> {
        let new = self.files.create(&of.path, Access::Of(&file_of(of)))?;
        Ok(Box::new(StagedFile {
            name: new.path,
            sink: new.sink,
            left_out: new.left_out,
        }))
    }

    fn settle(&self, staged: &mut [Box<dyn Staging>]) -> Result<()> {
        if self.syncing == Syncing::Whole && staged.len() > 1 {
            for staged in &mut *staged {
                let flushed = staged.flush();
                flushed.map_err(Error::io("write", staged.name()))?;
            }
            if self.files.sync_whole()? {
                return Ok(());
            }
        }
        sync_side_by_side(staged)
    }

    fn open_staged(&self, name: &str) -> Result<Arc<dyn ReadAt>> {
        if !is_temporary(name) {
            return Err(Error::State {
                path: name.to_owned(),
                reason: "is no name of a staged file".to_owned(),
            });
        }
        self.files.open(name)
    }

    fn discard(&self, names: &[String]) -> Result<()> {
        let is_ours = |name: &&String| match &self.only {
            Some(path) => is_left_over_of(name, path),
            None => is_left_over(name),
        };
        let staged = names.iter().filter(is_ours);
        self.unlink_dead(&staged.cloned().collect::<Vec<_>>())
    }

    fn commit(&self, base: &Snapshot, replacements: &[Replacement]) -> Result<Committed> {
        base.check_changeable()?;
        self.unlink_all(&base.summaries)?;
        let mut committed = Committed::default();
        for summary in &base.summaries {
            self.unlink_sidecars(summary, &mut committed.sidecars)?;
        }
        let mut renamed = Vec::with_capacity(replacements.len());
        let mut done = Ok(());
        for (position, replacement) in replacements.iter().enumerate() {
            match self.replace(replacement, &mut committed.sidecars) {
                Ok(true) => renamed.push(replacement.old.path.as_str()),
                Ok(false) => committed.changed.push(position),
                Err(error) => {
                    done = Err(error);
                    break;
                }
            }
        }
        // Also the directories of those before the one that failed.
        self.files.sync_directories(&renamed).and(done)?;
        Ok(committed)
    }

    fn commit_unit(&self) -> CommitUnit {
        CommitUnit::EachShard
    }

    fn recover(&self, base: &Snapshot, announced: &[String]) -> Result<()> {
        let live = base.shards.iter();
        let live = live.filter(|shard| shard.obstacle != Some(Obstacle::Link));
        let mut paths: Vec<&str> = live.map(|shard| shard.path.as_str()).collect();
        paths.extend(announced.iter().map(String::as_str));
        self.unlink_dead(&base.leftovers)?;
        self.files.sync_directories(&paths)
    }

    fn room(&self) -> Result<Option<u64>> {
        self.files.room()
    }

    fn open_files_max(&self) -> Option<u64> {
        self.files.open_files_max()
    }

    fn neighbour(&self, path: &str) -> Result<Arc<dyn Table>> {
        Ok(Arc::new(Self {
            only: Some(path.to_owned()),
            ..self.clone()
        }))
    }

    fn resolve(&self, path: &str) -> Result<Option<String>> {
        self.files.resolve(path)
    }
}

/// Syncs files, several at the same time, and returns the first error in their order.
fn sync_side_by_side(staged: &mut [Box<dyn Staging>]) -> Result<()> {
    let sync = |staged: &mut Box<dyn Staging>| {
        let synced = staged.sync();
        synced.map_err(Error::io("sync", staged.name()))
    };
    if let [only] = staged {
        return sync(only);
    }
    let threads = staged.len().min(SYNCS_AT_A_TIME);
    let next = AtomicUsize::new(0);
    let errors: Mutex<BTreeMap<usize, Error>> = Mutex::default();
    let slots: Vec<Mutex<&mut Box<dyn Staging>>> = staged.iter_mut().map(Mutex::new).collect();
    let work = || {
        while let Some((place, slot)) = {
            let place = next.fetch_add(1, Ordering::Relaxed);
            slots.get(place).map(|slot| (place, slot))
        } {
            let mut staged = slot.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = sync(*staged) {
                let mut errors = errors.lock().unwrap_or_else(PoisonError::into_inner);
                errors.insert(place, error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // If no more threads can be started, the others do their part.
            let _ignored = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    let errors = errors.into_inner().unwrap_or_else(PoisonError::into_inner);
    errors.into_values().next().map_or(Ok(()), Err)
}

/// Whether a file couldn't be removed because there is none, or can't be one of this name.
fn is_no_file(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::IsADirectory | io::ErrorKind::InvalidFilename
    )
}

fn shard_of(file: FileInfo) -> ShardRef {
    ShardRef {
        path: file.path,
        bytes: file.size,
        version: ShardVersion::Times {
            modified_ns: file.modified_ns,
            changed_ns: file.changed_ns,
        },
        obstacle: if file.is_link {
            Some(Obstacle::Link)
        } else {
            (file.names > 1).then_some(Obstacle::Names(file.names))
        },
    }
}

/// The file that a shard was when it was found.
fn file_of(shard: &ShardRef) -> FileInfo {
    let (modified_ns, changed_ns) = shard.version.stamp();
    FileInfo {
        path: shard.path.clone(),
        size: shard.bytes,
        modified_ns,
        changed_ns,
        is_link: shard.obstacle == Some(Obstacle::Link),
        is_file: true,
        names: shard.other_names() + 1,
    }
}

struct StagedFile {
    name: String,
    sink: Box<dyn Sink>,
    left_out: Vec<String>,
}

impl Staging for StagedFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn left_out(&self) -> &[String] {
        &self.left_out
    }
}

impl Write for StagedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sink.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

impl Sink for StagedFile {
    fn copy_from(&mut self, source: &dyn ReadAt, range: Range<u64>) -> io::Result<()> {
        self.sink.copy_from(source, range)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sink.sync()
    }
}

/// The places of files that describe the bytes of the one at `path`: whoever replaces that removes these first.
pub fn sidecars(path: &str) -> impl Iterator<Item = String> {
    catalogs::sidecars(path)
}

/// Whether a file at this path counts as a shard.
pub fn is_shard(path: &str) -> bool {
    ends_as_shard(path) && !path.split('/').any(is_hidden)
}

/// Readers skip names that begin in this way, except partitions of a column with such a name.
fn is_hidden(name: &str) -> bool {
    name.starts_with('.') || (name.starts_with('_') && !name.contains('='))
}

/// What a file is to a table whose shards are told by their names.
#[expect(
    clippy::struct_excessive_bools,
    reason = "a file can be several of these at once"
)]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileKind {
    /// It is a shard.
    pub is_shard: bool,
    /// It was staged, and its run did not live to commit it.
    pub is_leftover: bool,
    /// It describes all shards together.
    pub is_summary: bool,
    /// It may describe the bytes of one shard (see [`sidecars`]).
    pub is_sidecar: bool,
    /// The list of files that it is a part of.
    pub catalog: Option<Catalog>,
}

/// What a file is, by its path.
pub fn kind_of(path: &str) -> FileKind {
    let mut directories = path.match_indices('/');
    if !directories.all(|(end, _)| is_entered(path.split_at(end).0)) {
        return FileKind::default();
    }
    FileKind {
        is_shard: is_shard(path),
        is_leftover: is_left_over(path),
        is_summary: catalogs::is_summary(path),
        is_sidecar: catalogs::is_sidecar(path),
        catalog: catalogs::of_file(path),
    }
}

/// Names of directories in which there may be the list of a catalog; [`kind_of`] says whether a file in it is of one.
pub fn list_names() -> impl Iterator<Item = &'static str> {
    catalogs::list_names()
}

/// Whether there can be shards in a directory, or the list of a catalog.
fn is_entered(directory: &str) -> bool {
    let name = directory.rsplit('/').next().unwrap_or_default();
    // What a check of the file system found has no name that it had.
    name != "lost+found" && (!is_hidden(name) || catalogs::is_list(name))
}

/// Whether what has such a path is of any concern to a table.
fn is_of_a_table(path: &str) -> bool {
    is_shard(path)
        || is_left_over(path)
        || catalogs::is_summary(path)
        || catalogs::of_file(path).is_some()
}

fn ends_as_shard(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    ENDINGS.iter().any(|ending| lower.ends_with(ending))
}

/// Whether a run of a pass staged this file. Exports that are being written into the directory have other names.
fn is_left_over(path: &str) -> bool {
    if path.split('/').next() == Some(state::DIRECTORY) {
        return false;
    }
    is_temporary(path) || is_left_over_of_0_1(path)
}

/// Whether a run staged this file to replace `target`.
fn is_left_over_of(path: &str, target: &str) -> bool {
    let (front, name) = match target.rfind('/') {
        Some(end) => target.split_at(end + 1),
        None => ("", target),
    };
    is_temporary_of(path, target) || path == format!("{front}.{name}{TEMPORARY_SUFFIX}")
}

/// Version 0.1 staged `.NAME.efface-tmp`, and `.NAME.ATTEMPT.STEP.efface-tmp`.
fn is_left_over_of_0_1(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let Some(name) = name
        .strip_prefix('.')
        .and_then(|name| name.strip_suffix(TEMPORARY_SUFFIX))
    else {
        return false;
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let numbered = name.rsplit_once('.').and_then(|(front, step)| {
        let (name, attempt) = front.rsplit_once('.')?;
        (digits(step) && digits(attempt)).then_some(name)
    });
    ends_as_shard(numbered.unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_files_are_no_shards() {
        for path in ["a.parquet", "d=1/b.PARQUET", "_d=1/c.pq"] {
            assert!(is_shard(path), "{path}");
        }
        for path in [
            "_a.parquet",
            ".a.parquet",
            "_efface/a.parquet",
            "x/.y/a.parquet",
            "a.csv",
        ] {
            assert!(!is_shard(path), "{path}");
        }
    }

    #[test]
    fn what_runs_left_behind_is_told_from_exports_and_the_state() {
        for path in [
            "d/.00000000000000ff00000000000000ff.efface-tmp",
            ".a.parquet.efface-tmp",
            "x/.a.parquet.1.0.efface-tmp",
        ] {
            assert!(is_left_over(path), "{path}");
        }
        for path in [
            ".a.parquet.8Qx1fT.efface-tmp",
            ".out.csv.efface-tmp",
            "_efface/queue/.00000000000000ff00000000000000ff.efface-tmp",
            "a.parquet",
        ] {
            assert!(!is_left_over(path), "{path}");
        }
    }
}
