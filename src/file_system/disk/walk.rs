//! Walking through directories: in time that grows with what is there, however deep it lies, and with few of them open.
//!
//! # Invariants
//! A directory is entered from the one that it lies in, which is held open, so that no path is walked twice. Only what
//! the caller wants is looked at; nothing else can stop the walk.

use std::collections::BinaryHeap;
use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat, fstat, openat, statat};
use rustix::io::Errno;

use super::held::{READ, join};
use super::{Disk, info_of};
use crate::error::{Error, Result};
use crate::file_system::{FileInfo, Walk};

/// Directories that stay open while those below them are walked through.
const OPEN_MAX: usize = 8;

/// Bytes of names that are read at a time.
const NAMES_BYTES: usize = 32 << 10;

/// A walk, and what it found so far.
pub(super) struct Walker<'a> {
    walk: Walk<'a>,
    /// Whether it looks at what links lead to.
    follows: bool,
    levels: Vec<Level>,
    pub(super) files: Vec<FileInfo>,
}

/// A directory that the walk is in.
struct Level {
    path: String,
    /// Opened again when it is needed.
    directory: Option<OwnedFd>,
    /// Tells it from all others.
    id: (u64, u64),
    /// The directories in it that are still to be walked through.
    left: Vec<Entry>,
    /// It is a link, or lies behind one.
    is_link: bool,
    /// Its path can't be used, because a name in it isn't UTF-8.
    is_unnameable: bool,
}

/// Something in a directory.
struct Entry {
    name: CString,
    kind: FileType,
}

impl<'a> Walker<'a> {
    pub(super) fn new(walk: Walk<'a>) -> Self {
        Self {
            walk,
            follows: true,
            levels: Vec::new(),
            files: Vec::new(),
        }
    }

    /// A walk that leaves links alone.
    pub(super) fn inside(walk: Walk<'a>) -> Self {
        Self {
            follows: false,
            ..Self::new(walk)
        }
    }

    /// Walks through `dir` and what lies below it; `see` gets each directory. One that isn't there is empty.
    pub(super) fn walk(
        &mut self,
        disk: &Disk,
        dir: &str,
        see: &mut dyn FnMut(&OwnedFd, &str) -> Result<()>,
    ) -> Result<()> {
        let Some(directory) = disk.readable(dir)? else {
            return Ok(());
        };
        self.enter(
            directory,
            dir.trim_end_matches('/').to_owned(),
            (false, false),
            see,
        )?;
        while let Some(level) = self.levels.last_mut() {
            let Some(entry) = level.left.pop() else {
                self.leave()?;
                continue;
            };
            let Some(above) = &level.directory else {
                return Err(moved(&level.path));
            };
            let (path, is_nameable) = path_of(&level.path, &entry.name);
            let flags = match entry.kind {
                FileType::Symlink => READ,
                _ => READ | OFlags::NOFOLLOW,
            };
            let opened = match openat(above, &*entry.name, flags, Mode::empty()) {
                Ok(opened) => opened,
                // It went, or was replaced, since its name was read.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(errno) => return Err(Error::io("list", &path)(errno.into())),
            };
            let is_link = level.is_link || entry.kind == FileType::Symlink;
            let is_unnameable = level.is_unnameable || !is_nameable;
            self.enter(opened, path, (is_link, is_unnameable), see)?;
        }
        Ok(())
    }

    fn enter(
        &mut self,
        directory: OwnedFd,
        path: String,
        (is_link, is_unnameable): (bool, bool),
        see: &mut dyn FnMut(&OwnedFd, &str) -> Result<()>,
    ) -> Result<()> {
        let failed = |errno: Errno| Error::io("list", &path)(errno.into());
        let id = id_of(&fstat(&directory).map_err(failed)?);
        // A link to where it lies itself leads nowhere new.
        if self.levels.iter().any(|level| level.id == id) {
            return Ok(());
        }
        let entries = entries(&directory).map_err(failed)?;
        see(&directory, &path)?;
        let mut level = Level {
            path,
            directory: None,
            id,
            left: Vec::new(),
            is_link,
            is_unnameable,
        };
        for entry in entries {
            self.look(&directory, entry, &mut level)?;
        }
        level.directory = Some(directory);
        self.levels.push(level);
        self.close_upper();
        Ok(())
    }

    /// Takes note of a file that is wanted, or of a directory to enter.
    fn look(&mut self, above: &OwnedFd, mut entry: Entry, level: &mut Level) -> Result<()> {
        let (path, is_nameable) = path_of(&level.path, &entry.name);
        let is_wanted = (self.walk.wants)(&path);
        let failed = |errno: Errno| Error::io("look at", &path)(errno.into());
        let stat = |flags| match statat(above, &*entry.name, flags) {
            Err(Errno::NOENT) => Ok(None),
            found => found.map(Some),
        };
        if entry.kind == FileType::Unknown {
            // Not every file system says it beside the name.
            let Some(found) = stat(AtFlags::SYMLINK_NOFOLLOW).map_err(failed)? else {
                return Ok(());
            };
            entry.kind = FileType::from_raw_mode(found.st_mode);
        }
        let is_link = entry.kind == FileType::Symlink;
        if is_link && !self.follows {
            return Ok(());
        }
        let found = match (is_link, is_wanted) {
            // What a link points to may be gone, or lead in a circle.
            (true, _) => match stat(AtFlags::empty()) {
                Ok(Some(found)) => Some(found),
                // It could be what it is called, so it must be seen; whoever opens it learns where it leads.
                Ok(None) | Err(_) if is_wanted => {
                    if level.is_unnameable || !is_nameable {
                        return Err(not_utf8(&path));
                    }
                    self.files.push(FileInfo::astray(path));
                    return Ok(());
                }
                Err(Errno::ACCESS) if (self.walk.enters)(&path) => {
                    return Err(failed(Errno::ACCESS));
                }
                Ok(None) | Err(_) => return Ok(()),
            },
            (false, true) if entry.kind != FileType::Directory => {
                stat(AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?
            }
            (false, _) => None,
        };
        let kind = found.map_or(entry.kind, |found| FileType::from_raw_mode(found.st_mode));
        if kind == FileType::Directory {
            if (self.walk.enters)(&path) {
                level.left.push(entry);
            }
            return Ok(());
        }
        let Some(found) = found.filter(|_| is_wanted) else {
            return Ok(());
        };
        if level.is_unnameable || !is_nameable {
            return Err(not_utf8(&path));
        }
        self.files
            .push(info_of(path, &found, is_link || level.is_link));
        Ok(())
    }

    /// Leaves a directory for the one that it lies in.
    fn leave(&mut self) -> Result<()> {
        let Some(left) = self.levels.pop() else {
            return Ok(());
        };
        let Some(level) = self.levels.last_mut() else {
            return Ok(());
        };
        if level.directory.is_none() && !level.left.is_empty() {
            let below = left.directory.ok_or_else(|| moved(&left.path))?;
            let failed = |errno: Errno| Error::io("list", &level.path)(errno.into());
            let above = openat(below, "..", READ, Mode::empty()).map_err(failed)?;
            if id_of(&fstat(&above).map_err(failed)?) != level.id {
                return Err(moved(&left.path));
            }
            level.directory = Some(above);
        } else if level.directory.is_none() {
            // Nothing is left there: only its own way up is needed.
            level.directory = left.directory.and_then(|below| {
                let above = openat(below, "..", READ | OFlags::PATH, Mode::empty()).ok()?;
                (id_of(&fstat(&above).ok()?) == level.id).then_some(above)
            });
        }
        Ok(())
    }

    /// Closes a directory that is far above: the way back to it is `..`, except from behind a link.
    fn close_upper(&mut self) {
        let Some(at) = self.levels.len().checked_sub(OPEN_MAX + 1) else {
            return;
        };
        let is_behind_link = self.levels.get(at + 1).is_none_or(|below| below.is_link);
        if let Some(level) = self.levels.get_mut(at)
            && !is_behind_link
        {
            level.directory = None;
        }
    }
}

impl Disk {
    /// Opens a directory to read it, following no link below the root; `None` when there is none.
    pub(super) fn readable(&self, dir: &str) -> Result<Option<OwnedFd>> {
        let failed = |errno: Errno| Error::io("list", dir)(errno.into());
        let held = match self.directory("list", dir) {
            Err(error) if super::held::is_absent(&error) => return Ok(None),
            held => held?,
        };
        let opened = openat(&held, ".", READ, Mode::empty());
        opened.map(Some).map_err(failed)
    }

    pub(super) fn first_names(&self, dir: &str, after: &str, limit: usize) -> Result<Vec<String>> {
        let failed = |errno: Errno| Error::io("list", dir)(errno.into());
        let Some(directory) = self.readable(dir)? else {
            return Ok(Vec::new());
        };
        let mut buffer = vec![MaybeUninit::uninit(); NAMES_BYTES];
        let mut entries = RawDir::new(&directory, &mut buffer);
        // The last of those that are kept is at the top.
        let mut first: BinaryHeap<String> = BinaryHeap::new();
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            let is_full = first.len() >= limit;
            if name <= after.as_bytes()
                || (is_full && first.peek().is_none_or(|last| name >= last.as_bytes()))
            {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    let found = statat(&directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
                    FileType::from_raw_mode(found.map_err(failed)?.st_mode)
                }
                kind => kind,
            };
            if kind == FileType::Directory {
                continue;
            }
            let (path, is_nameable) = path_of(dir, entry.file_name());
            if !is_nameable {
                return Err(not_utf8(&path));
            }
            first.extend(path.rsplit('/').next().map(str::to_owned));
            if first.len() > limit {
                first.pop();
            }
        }
        Ok(first.into_sorted_vec())
    }
}

/// All that is in a directory. It is read to the end at once, so that nothing needs to stay open for it.
fn entries(directory: &OwnedFd) -> Result<Vec<Entry>, Errno> {
    let mut names = vec![MaybeUninit::uninit(); NAMES_BYTES];
    let mut read = RawDir::new(directory.as_fd(), &mut names);
    let mut entries = Vec::new();
    while let Some(entry) = read.next() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            entries.push(Entry {
                name: entry.file_name().to_owned(),
                kind: entry.file_type(),
            });
        }
    }
    Ok(entries)
}

/// The path of something in a directory, and whether it is that to the letter.
fn path_of(directory: &str, name: &CStr) -> (String, bool) {
    let text = name.to_string_lossy();
    (join(directory, &text), name.to_str().is_ok())
}

fn id_of(found: &Stat) -> (u64, u64) {
    (found.st_dev, found.st_ino)
}

fn not_utf8(path: &str) -> Error {
    let source = io::Error::new(io::ErrorKind::InvalidFilename, "it is not UTF-8");
    Error::io("use the name", path)(source)
}

fn moved(path: &str) -> Error {
    Error::io("list", path)(io::Error::other("it was moved in the meantime"))
}
