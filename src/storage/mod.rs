//! The only way to files: a small trait, so that everything above it can be tested without a disk.
//!
//! ```text
//!   Storage ── list, info ──> FileInfo
//!      │── open ──> ReadAt (positioned reads; safe to share between threads)
//!      │── create ──> Sink (write, copy a span of a ReadAt, sync)
//!      │── replace (rename over, then sync the directory): the one commit point
//!      │── map ──> Mapped (an immutable file as bytes)
//!      └── lock ──> Lock (held until dropped)
//! ```
//!
//! Paths are relative to the root of the storage, separated by `/`, and UTF-8.
//!
//! * [`disk`]: the local file system
//! * [`sim`]: in memory, for tests: fails, loses power and runs out of space when it is told to
//! * [`document`]: small sealed JSON documents
//!
//! # Invariants
//! A published file is never modified, only replaced, so a [`ReadAt`] or a [`Mapped`] keeps its
//! content for as long as it lives, whatever happens to the path.
//!
//! # Crash behaviour
//! Durable is what [`Sink::sync`] was done with, under the name that [`Storage::replace`] gave it. A file that
//! was never synced may have any content after a power cut, and one that was never replaced into its name may
//! be gone. A name that was being changed has either its old file or its new one. Changes that a process made and
//! did not live to see durable are made so by the next [`Storage::lock`], before anything builds on them.

use std::io::{self, Write};
use std::ops::{Deref, Range};
use std::sync::Arc;

use crate::error::{Error, Result};

pub mod disk;
pub mod document;
pub mod sim;

/// What is known of a file without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Relative to the root of the storage.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// Time of the last modification, in nanoseconds since 1970, or 0 where it is not known.
    pub modified_ns: i64,
    /// Time of the last change that no program can set back (Unix: ctime), in nanoseconds since 1970, or 0
    /// where there is none: content that was replaced under the same size and modification time shows here.
    pub changed_ns: i64,
    /// Whether the path is a symbolic link, or lies behind one (size and time are those of what it points to).
    pub is_link: bool,
}

/// Files below one root.
pub trait Storage: Send + Sync {
    /// How messages name the root.
    fn root(&self) -> String;

    /// All files below `dir` (`""` for the root), in the order of their paths.
    ///
    /// # Errors
    /// When a directory can't be read, or a name is not UTF-8. A `dir` that isn't there has no files.
    fn list(&self, dir: &str) -> Result<Vec<FileInfo>>;

    /// What is known of one file; `None` when there is no such file.
    ///
    /// # Errors
    /// When the file system can't tell.
    fn info(&self, path: &str) -> Result<Option<FileInfo>>;

    /// The path at which [`list`](Self::list) has the file that `path` names, which may be absolute or hold
    /// `.` and `..`; `None` when that file isn't there or isn't below the root.
    ///
    /// # Errors
    /// When the file system can't tell.
    fn resolve(&self, path: &str) -> Result<Option<String>> {
        Ok(self.info(path)?.map(|file| file.path))
    }

    /// Opens a file for positioned reads.
    ///
    /// # Errors
    /// When it isn't there or can't be opened.
    fn open(&self, path: &str) -> Result<Arc<dyn ReadAt>>;

    /// Makes a new file with the directories it needs, which are durable; a file that is there is emptied.
    ///
    /// `like` names a file whose permissions the new one gets.
    ///
    /// # Errors
    /// When it can't be made.
    fn create(&self, path: &str, like: Option<&str>) -> Result<Box<dyn Sink>>;

    /// Puts `from` in the place of `to`, in the same directory, in one step that is durable when this returns.
    /// The content of `from` is durable only if it was synced.
    ///
    /// # Errors
    /// When the rename or the sync of the directory fails; after the latter `to` may be either file.
    fn replace(&self, from: &str, to: &str) -> Result<()>;

    /// Removes a file durably. A file that isn't there is no error.
    ///
    /// # Errors
    /// When it can't be removed, or the sync of the directory fails: it is gone then, but may come back.
    fn remove(&self, path: &str) -> Result<()>;

    /// Removes files durably, as [`remove`](Self::remove) would one by one. A storage that syncs directories does
    /// so once for all of them.
    ///
    /// # Errors
    /// When one can't be removed; some of the others may be gone then.
    fn remove_all(&self, paths: &[String]) -> Result<()> {
        paths.iter().try_for_each(|path| self.remove(path))
    }

    /// A file that is never modified in place, as bytes.
    ///
    /// # Errors
    /// When it isn't there or can't be mapped.
    fn map(&self, path: &str) -> Result<Mapped>;

    /// Takes the exclusive lock of `path` (made if need be) and writes `holder` into it until it is released.
    ///
    /// A lock goes with its process, so it can't be stale. If its last holder did not release it, or saw a sync
    /// of a directory fail, then what that holder replaced and removed is made durable first.
    ///
    /// # Errors
    /// [`Locked`](Error::Locked) when another process has it.
    fn lock(&self, path: &str, holder: &str) -> Result<Box<dyn Lock>>;
}

/// A file that is read at positions.
#[expect(
    clippy::len_without_is_empty,
    reason = "no caller treats an empty file differently from one that is too short"
)]
pub trait ReadAt: Send + Sync {
    /// Bytes of the file.
    fn len(&self) -> u64;

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// When the file ends before, or reading fails.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// The open file behind this, where there is one, for copies inside the kernel.
    fn file(&self) -> Option<&std::fs::File> {
        None
    }
}

/// A file that is being written.
pub trait Sink: Write + Send {
    /// Appends `range` of `source`, inside the kernel where that is possible.
    ///
    /// # Errors
    /// When reading or writing fails.
    fn copy_from(&mut self, source: &dyn ReadAt, range: Range<u64>) -> io::Result<()>;

    /// Makes all that was written durable.
    ///
    /// # Errors
    /// When writing out or the sync fails.
    fn sync(&mut self) -> io::Result<()>;
}

/// A lock that is held until this is dropped.
pub trait Lock: Send {}

/// How the bytes of a [`Mapped`] will be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Here and there: nothing beside what is asked for is worth reading.
    Random,
    /// In order: what follows is worth reading ahead.
    Sequential,
}

/// Something that holds the bytes of a file.
pub trait Mapping: AsRef<[u8]> + Send + Sync {
    /// Takes note of how the bytes will be read from now on, which changes nothing but the speed.
    fn advise(&self, access: Access);
}

/// An immutable file as bytes.
pub struct Mapped(Arc<dyn Mapping>);

impl Mapped {
    /// Wraps bytes that are in memory.
    pub fn new(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self::of(InMemory(bytes))
    }

    /// Wraps whatever holds the bytes.
    pub fn of(mapping: impl Mapping + 'static) -> Self {
        Self(Arc::new(mapping))
    }

    /// Says how the bytes will be read from now on.
    pub fn advise(&self, access: Access) {
        self.0.advise(access);
    }
}

struct InMemory<B>(B);

impl<B: AsRef<[u8]>> AsRef<[u8]> for InMemory<B> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl<B: AsRef<[u8]> + Send + Sync> Mapping for InMemory<B> {
    fn advise(&self, _: Access) {}
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

impl std::fmt::Debug for Mapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mapped({} bytes)", self.len())
    }
}

/// Reads a small file whole.
///
/// # Errors
/// When it isn't there, can't be read, or has more than `limit` bytes.
pub fn read_all(storage: &dyn Storage, path: &str, limit: u64) -> Result<Vec<u8>> {
    let file = storage.open(path)?;
    let size = usize::try_from(file.len().min(limit.saturating_add(1))).unwrap_or(usize::MAX);
    if file.len() > limit {
        return Err(Error::State {
            path: path.to_owned(),
            reason: format!("has {} bytes, more than the limit of {limit}", file.len()),
        });
    }
    let mut bytes = vec![0; size];
    file.read_at(0, &mut bytes)
        .map_err(Error::io("read", path))?;
    Ok(bytes)
}

/// Puts `bytes` in the place of `path` in one durable step.
///
/// # Errors
/// When writing or replacing fails; the old file is then still in place.
pub fn publish(storage: &dyn Storage, path: &str, bytes: &[u8]) -> Result<()> {
    let temporary = temporary_name(path);
    let write = || {
        let mut sink = storage.create(&temporary, None)?;
        sink.write_all(bytes)
            .and_then(|()| sink.sync())
            .map_err(Error::io("write", &temporary))
    };
    let result = write().and_then(|()| storage.replace(&temporary, path));
    if result.is_err() {
        // The error that is told is the first one; what is left over is removed at the next open.
        let _ignored = storage.remove(&temporary);
    }
    result
}

/// The ending of every temporary file; the name before it begins with a dot, so readers skip it.
pub const TEMPORARY_SUFFIX: &str = ".efface-tmp";

/// The temporary file beside `path`.
pub fn temporary_name(path: &str) -> String {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    let separator = if dir.is_empty() { "" } else { "/" };
    format!("{dir}{separator}.{name}{TEMPORARY_SUFFIX}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_files_stand_beside_their_target_and_are_hidden() {
        assert_eq!(temporary_name("a/b.parquet"), "a/.b.parquet.efface-tmp");
        assert_eq!(temporary_name("b.parquet"), ".b.parquet.efface-tmp");
    }
}
