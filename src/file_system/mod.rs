//! The few operations that the directory table and the state need: so few that they can be simulated in full.
//!
//! ```text
//!   FileSystem ── list, info ──> FileInfo
//!      │── open ──> ReadAt;  map ──> Mapped
//!      │── create ──> NewFile: a sink under a name that nobody else has, which only those may read whom Access names
//!      │── rename, rename_new, unlink: what readers see changes at once, and lasts ...
//!      │── sync_directories: ... once this returns
//!      └── lock ──> Lock (held until dropped)
//! ```
//!
//! Paths are relative to the root, separated by `/`, and UTF-8.
//!
//! * [`disk`]: the local file system
//!
//! # Invariants
//! * A published file is never modified, only replaced.
//! * A new file has one writer: nobody else ever gets the name that [`FileSystem::create`] drew.
//!
//! # Crash behaviour
//! A file's bytes are durable once [`Sink::sync`] returns; its name is durable once [`FileSystem::sync_directories`]
//! of it returns. After a power cut, a file that was not synced may hold anything. Of the changes of names in a
//! directory that were not synced, some are there: the first ones, in their order.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};
use crate::io::{Mapped, ReadAt, Sink};

pub mod disk;

/// Facts about a file that need no read of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// The path, relative to the root.
    pub path: String,
    /// The length in bytes.
    pub size: u64,
    /// The time of the last modification, in nanoseconds since 1970; 0 if it is not known.
    pub modified_ns: i64,
    /// The time of the last change, which no program can set back (Unix: ctime), in nanoseconds since 1970; 0 if
    /// there is none. It shows content that was replaced under the same size and modification time.
    pub changed_ns: i64,
    /// Whether the path is a symbolic link, or lies behind one (size and time are those of what it points to).
    pub is_link: bool,
    /// Whether it has bytes to read; a named pipe, a socket, a device and a link that leads nowhere haven't.
    pub is_file: bool,
    /// The names that the file has: several are hard links.
    pub names: u64,
}

impl FileInfo {
    /// Whether `now` is the same file with the same content, as far as its length and times tell.
    pub fn is_same(&self, now: &Self) -> bool {
        let told = |file: &Self| (file.size, file.modified_ns, file.changed_ns);
        told(self) == told(now)
    }

    /// A link of which nobody knows what it leads to.
    pub(crate) fn astray(path: String) -> Self {
        Self {
            path,
            size: 0,
            modified_ns: 0,
            changed_ns: 0,
            is_link: true,
            is_file: false,
            names: 1,
        }
    }
}

/// What a walk through directories looks at.
#[derive(Clone, Copy)]
pub struct Walk<'a> {
    /// Whether it enters a directory: one that it is to enter and can't is an error.
    pub enters: &'a dyn Fn(&str) -> bool,
    /// Whether it looks at what has such a name, if that is no directory. Nothing else is looked at, so that nothing
    /// else can be an error.
    pub wants: &'a dyn Fn(&str) -> bool,
}

impl Walk<'static> {
    /// Every directory, and everything in them.
    pub const ALL: Self = Self {
        enters: &|_| true,
        wants: &|_| true,
    };
}

/// Who may read a new file. Until this is settled, nobody but its maker can open it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access<'a> {
    /// Who may read this file: its owner, group, mode, access control list and other attributes are those of the new one,
    /// except for attributes that describe the content. It must still be the same: whoever put another one in its place
    /// would decide who reads what the new one holds.
    Of(&'a FileInfo),
    /// Its maker; with a group its members may read it. If root makes it, it belongs to whom its directory belongs to.
    /// So do the directories that are made for it.
    State(Option<u32>),
    /// It belongs to its maker, and has this mode. Who may read it may enter the directories that are made for it.
    Maker(u32),
}

/// A file that is being written under a name of its own.
pub struct NewFile {
    /// The name, relative to the root.
    pub path: String,
    /// Takes the bytes.
    pub sink: Box<dyn Sink>,
    /// Attributes of the file whose access it has that were left out.
    pub left_out: Vec<String>,
}

/// A lock that is held until this is dropped.
pub trait Lock: Send + Sync {}

/// Files below one root.
pub trait FileSystem: Send + Sync {
    /// The name of the root in messages.
    fn root(&self) -> String;

    /// All that `walk` wants below `dir` (`""` for the root), in the order of the paths. Links are followed.
    ///
    /// # Errors
    /// When a directory can't be read, or the name of a file that is wanted is not UTF-8. A `dir` that isn't there has
    /// no files.
    fn list(&self, dir: &str, walk: Walk<'_>) -> Result<Vec<FileInfo>>;

    /// The names of the first `limit` files directly in `dir` that sort behind `after`, in their order. The default
    /// looks at every file.
    ///
    /// # Errors
    /// When `dir` can't be read, or a name is not UTF-8. A `dir` that isn't there has no files.
    fn names(&self, dir: &str, after: &str, limit: usize) -> Result<Vec<String>> {
        let walk = Walk {
            enters: &|_| false,
            ..Walk::ALL
        };
        let files = self.list(dir, walk)?.into_iter();
        let names = files.filter_map(|file| file.path.rsplit('/').next().map(str::to_owned));
        Ok(names
            .filter(|name| name.as_str() > after)
            .take(limit)
            .collect())
    }

    /// What is known of one file; `None` when nothing is there.
    ///
    /// # Errors
    /// [`NotAFile`](crate::error::PlaceFault::NotAFile) when something else is there; when the file system can't tell.
    fn info(&self, path: &str) -> Result<Option<FileInfo>>;

    /// The path at which [`list`](Self::list) has the file that `path` names, which may be absolute or hold
    /// `.` and `..`; `None` when that file isn't there or isn't below the root.
    ///
    /// # Errors
    /// When the file system fails.
    fn resolve(&self, path: &str) -> Result<Option<String>> {
        Ok(self.info(path)?.map(|file| file.path))
    }

    /// The absolute paths of the directory `dir` and of those in which it lies, from there to the top: as they are
    /// called, then where links lead. The default knows of none.
    ///
    /// # Errors
    /// When the file system fails.
    fn above(&self, dir: &str) -> Result<Vec<String>> {
        let _ = dir;
        Ok(Vec::new())
    }

    /// Opens a file for positioned reads. No link is followed, except out of the root.
    ///
    /// # Errors
    /// When it isn't there or can't be opened; [`NotAFile`](crate::error::PlaceFault::NotAFile) when it is something else.
    fn open(&self, path: &str) -> Result<Arc<dyn ReadAt>>;

    /// The same, for a file that [`is_link`](FileInfo::is_link): links are followed.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    fn open_linked(&self, path: &str) -> Result<Arc<dyn ReadAt>> {
        self.open(path)
    }

    /// A file that is never modified in place, as bytes.
    ///
    /// # Errors
    /// When it isn't there or can't be mapped.
    fn map(&self, path: &str) -> Result<Mapped>;

    /// Creates a new file in the directory of `beside`, under a hidden name that nobody can predict
    /// ([`is_temporary`]). Missing directories are created, durably.
    ///
    /// `access` says who may read it.
    ///
    /// # Errors
    /// When it can't be made; [`Attribute`](crate::error::PlaceFault::Attribute) when it can't get an attribute;
    /// [`ShardChanged`](Error::ShardChanged) when the file that it is to have the access of is another one by now.
    fn create(&self, beside: &str, access: Access<'_>) -> Result<NewFile>;

    /// Tries whether a new file can get the attributes of the one at `path`, and leaves nothing behind.
    ///
    /// # Errors
    /// [`Attribute`](crate::error::PlaceFault::Attribute) when it can't.
    fn try_access(&self, path: &str) -> Result<()> {
        self.info(path).map(drop)
    }

    /// Gives `from` the name `to`, in one step. A file that has that name is replaced.
    ///
    /// # Errors
    /// When `from` isn't there, or the rename fails.
    fn rename(&self, from: &str, to: &str) -> Result<()>;

    /// Gives `from` the name `to`, in one step, unless a file has that name; says whether it did.
    ///
    /// # Errors
    /// When `from` isn't there, or the rename fails.
    fn rename_new(&self, from: &str, to: &str) -> Result<bool>;

    /// Removes a file; says whether it was there.
    ///
    /// # Errors
    /// When it can't be removed.
    fn unlink(&self, path: &str) -> Result<bool>;

    /// Removes a file of [`create`](Self::create) that was left behind; says whether it did. One that a living process
    /// is writing stays, as far as the file system can tell.
    ///
    /// # Errors
    /// When it can't be removed.
    fn unlink_dead(&self, path: &str) -> Result<bool> {
        self.unlink(path)
    }

    /// Lets nobody but the owner of the directory `dir` into it, and the members of `group` if there is one; makes it if
    /// it isn't there. What lies in it gets the same access.
    ///
    /// # Errors
    /// When that can't be done, or the directory belongs to somebody who is not to be trusted with it.
    fn make_private(&self, dir: &str, group: Option<u32>) -> Result<()> {
        let _ = (dir, group);
        Ok(())
    }

    /// The number of a group.
    ///
    /// # Errors
    /// [`NoGroup`](crate::Error::NoGroup) when there is none of that name.
    fn group(&self, name: &str) -> Result<u32> {
        Err(Error::NoGroup {
            name: name.to_owned(),
        })
    }

    /// Makes the names in the directories of these files durable, each directory once.
    ///
    /// # Errors
    /// When a sync fails: then names there may not last until the next [`lock`](Self::lock), or another sync.
    fn sync_directories(&self, files: &[&str]) -> Result<()>;

    /// Makes everything in the whole file system durable at once, names too. Returns `false` if it isn't known that
    /// this file system does so.
    ///
    /// # Errors
    /// When the sync fails.
    fn sync_whole(&self) -> Result<bool> {
        Ok(false)
    }

    /// The current time by the clock that gives files their times, in nanoseconds since 1970; `None` if it can't be
    /// read.
    ///
    /// # Errors
    /// When the file system fails.
    fn clock_ns(&self) -> Result<Option<i64>>;

    /// Bytes of free room; `None` if that isn't known.
    ///
    /// # Errors
    /// When the file system fails.
    fn room(&self) -> Result<Option<u64>>;

    /// Files that the process may have open at a time; `None` where that has no bound, or none that is known.
    fn open_files_max(&self) -> Option<u64> {
        None
    }

    /// Takes the exclusive lock of `path` (made if need be) and writes `holder` into it until it is released.
    ///
    /// A lock ends with its process, so it can't be stale. If its last holder did not release it, or saw a sync of a
    /// directory fail, the names in the directory of the lock and in all directories below it are made durable first.
    ///
    /// # Errors
    /// [`Locked`](crate::error::Error::Locked) when another process has it.
    fn lock(&self, path: &str, holder: &str) -> Result<Box<dyn Lock>>;
}

/// The extension of every temporary file. Its name begins with a dot, so readers skip it.
pub const TEMPORARY_SUFFIX: &str = ".efface-tmp";

/// Hexadecimal digits of a temporary file's name: 16 for the file that it will replace, 16 that distinguish it.
const TEMPORARY_DIGITS: usize = 32;

/// A name for a temporary file that will replace `target`, distinguished from others by `number`. It is short and does
/// not show the target's name, whatever that is.
pub fn temporary_path(target: &str, number: u64) -> String {
    format!("{}{number:016x}{TEMPORARY_SUFFIX}", temporary_front(target))
}

/// Whether `path` is a temporary file that will replace `target`.
pub fn is_temporary_of(path: &str, target: &str) -> bool {
    is_temporary(path) && path.starts_with(&temporary_front(target))
}

/// The beginning of the paths of temporary files that will replace `target`.
fn temporary_front(target: &str) -> String {
    let (directory, name) = match target.rfind('/') {
        Some(end) => target.split_at(end + 1),
        None => ("", target),
    };
    format!("{directory}.{:016x}", xxh3_64(name.as_bytes()))
}

/// Whether [`FileSystem::create`] gave a file this path.
pub fn is_temporary(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let digits = name
        .strip_prefix('.')
        .and_then(|name| name.strip_suffix(TEMPORARY_SUFFIX));
    digits.is_some_and(|digits| {
        digits.len() == TEMPORARY_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_files_stand_beside_their_target_and_are_hidden_and_known() {
        let path = temporary_path("a/b.parquet", 255);
        assert!(path.starts_with("a/.") && path.ends_with("00000000000000ff.efface-tmp"));
        assert!(is_temporary(&path) && is_temporary_of(&path, "a/b.parquet"));
        assert!(!is_temporary_of(&path, "b.parquet") && !is_temporary_of(&path, "a/c.parquet"));
        let path = temporary_path("b.parquet", u64::MAX);
        assert!(path.starts_with('.') && is_temporary_of(&path, "b.parquet"));
        for other in [
            ".b.parquet.efface-tmp",
            "00000000000000ff00000000000000ff.efface-tmp",
            ".00000000000000ff00000000000000fg.efface-tmp",
            ".00000000000000ff.efface-tmp",
        ] {
            assert!(!is_temporary(other), "{other}");
        }
    }
}
