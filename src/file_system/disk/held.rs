//! Finding a file from directories that are held open, so that nobody can put a link in its way.
//!
//! ```text
//!   root (as the caller names it) ── openat, no link ──> d=1 ── openat, no link ──> .. ── the name, no link
//! ```
//! A path that is absolute or holds `..` leads out of the root. Only the owner of a dataset can have configured it, so
//! its directories may be links.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

use super::Disk;
use crate::error::{Error, PlaceFault, Result};

/// How a directory is held that is only passed through.
const PASSED: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// How a directory is opened that is read or synced.
pub(super) const READ: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// A directory that is held open, and the name of something in it.
pub(super) struct Held<'p> {
    pub(super) directory: OwnedFd,
    pub(super) name: &'p str,
    path: &'p str,
}

impl Disk {
    /// Holds the directory of `path`. `operation` is what is to be done there.
    pub(super) fn hold<'p>(&self, operation: &'static str, path: &'p str) -> Result<Held<'p>> {
        let (above, name) = split(path);
        let directory = self.directory(operation, above)?;
        Ok(Held {
            directory,
            name,
            path,
        })
    }

    /// Opens the directory `path`, to pass through it.
    pub(super) fn directory(&self, operation: &'static str, path: &str) -> Result<OwnedFd> {
        let failed = |errno: Errno| Error::io(operation, path)(errno.into());
        if is_outside(path) {
            return openat(CWD, self.at(path), PASSED, Mode::empty()).map_err(failed);
        }
        let mut directory = self.root_directory().map_err(failed)?;
        for (name, here) in parts(path) {
            let opened = openat(&directory, name, PASSED | OFlags::NOFOLLOW, Mode::empty());
            directory = match opened {
                Ok(opened) => opened,
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    return Err(not_a_directory(&directory, name, here));
                }
                Err(errno) => return Err(failed(errno)),
            };
        }
        Ok(directory)
    }

    /// Opens the root, as the caller names it: it may be a link.
    pub(super) fn root_directory(&self) -> Result<OwnedFd, Errno> {
        openat(CWD, self.at("."), PASSED, Mode::empty())
    }

    /// Opens a file to read it, and neither waits for anybody nor follows a link below the root.
    pub(super) fn open_file(&self, operation: &'static str, path: &str) -> Result<File> {
        self.hold(operation, path)?.open(operation, OFlags::RDONLY)
    }
}

impl Held<'_> {
    /// Opens the file, which must be one.
    pub(super) fn open(&self, operation: &'static str, flags: OFlags) -> Result<File> {
        // A named pipe would wait for somebody to write into it; what is opened is looked at.
        let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | self.following();
        let mode = Mode::RUSR | Mode::WUSR;
        let opened = match openat(&self.directory, self.name, flags, mode) {
            Ok(opened) => opened,
            Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => return Err(self.not_a_file()),
            Err(errno) => return Err(Error::io(operation, self.path)(errno.into())),
        };
        let found =
            fstat(&opened).map_err(|errno| Error::io(operation, self.path)(errno.into()))?;
        check_is_file(&found, self.path)?;
        Ok(opened.into())
    }

    /// What lies there, not followed; `None` when nothing does.
    pub(super) fn look(&self) -> Result<Option<Stat>> {
        match statat(&self.directory, self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::io("look at", self.path)(errno.into())),
        }
    }

    /// The directory, opened to be synced.
    pub(super) fn readable(&self) -> io::Result<File> {
        Ok(openat(&self.directory, ".", READ, Mode::empty())?.into())
    }

    /// Where the owner of a dataset has configured a file outside of it, that may be a link: a mounted secret is one.
    fn following(&self) -> OFlags {
        if is_outside(self.path) {
            OFlags::empty()
        } else {
            OFlags::NOFOLLOW
        }
    }

    fn not_a_file(&self) -> Error {
        let found = match self.look() {
            Ok(Some(found)) => kind(&found),
            _ => "something else",
        };
        Error::Place {
            path: self.path.to_owned(),
            fault: PlaceFault::NotAFile { found },
        }
    }
}

/// # Errors
/// [`PlaceFault::NotAFile`] when it is none.
pub(super) fn check_is_file(found: &Stat, path: &str) -> Result<()> {
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => Ok(()),
        _ => Err(Error::Place {
            path: path.to_owned(),
            fault: PlaceFault::NotAFile { found: kind(found) },
        }),
    }
}

/// Whether a path leads out of the root.
pub(super) fn is_outside(path: &str) -> bool {
    path.starts_with('/') || path.split('/').any(|part| part == "..")
}

/// What something is, in a message.
fn kind(found: &Stat) -> &'static str {
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "something else",
    }
}

fn not_a_directory(above: &impl AsFd, name: &str, path: &str) -> Error {
    match statat(above, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Error::Place {
            path: path.to_owned(),
            fault: PlaceFault::NotADirectory {
                found: kind(&found),
            },
        },
        Err(errno) => Error::io("look at", path)(errno.into()),
    }
}

/// The directory of a path, and the name there.
pub(super) fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        // Directly below the root of the file system.
        Some(("", name)) => ("/", name),
        Some(split) => split,
        None => ("", path),
    }
}

/// The names of a path from the root, each with the path that ends there.
pub(super) fn parts(path: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut start = 0;
    let ends = path.match_indices('/').map(|(end, _)| end);
    ends.chain([path.len()]).filter_map(move |end| {
        let name = path.get(start..end)?;
        start = end + 1;
        let is_name = !name.is_empty() && name != ".";
        is_name.then_some((name, path.get(..end)?))
    })
}

/// The path of something in a directory.
pub(super) fn join(directory: &str, name: &str) -> String {
    match directory {
        "" => name.to_owned(),
        directory => format!("{}/{name}", directory.trim_end_matches('/')),
    }
}

/// Whether nothing was there.
pub(super) fn is_absent(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}
