//! The local file system: with its parts the only module that calls `std::fs`.
//!
//! * `held`: a file is found from directories that are held open, so that no link leads elsewhere
//! * `walk`: what lies in directories
//! * `made`: new files and directories; `attributes`: who may read them
//! * `lock`: locks
//! * `file`: open files
//! * `map`: files as bytes
//!
//! # Invariants
//! Whoever else may write below the root can't make us read, write or change anything outside of it: no link is
//! followed below the root, except those that a list names as such, and those only to be read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Stat, fstat, openat, renameat,
    renameat_with, statat,
};
use rustix::io::Errno;

use super::{Access, FileInfo, FileSystem, Lock, NewFile, Walk};
use crate::error::{Error, PlaceFault, Result};
use crate::io::{Mapped, ReadAt};

mod attributes;
mod file;
mod held;
mod lock;
mod made;
mod map;
mod walk;

pub use file::{FileSink, PositionedFile};
use held::{check_is_file, is_absent};
use walk::Walker;

/// Files below a directory of the local file system.
#[derive(Debug, Clone)]
pub struct Disk {
    root: PathBuf,
    /// A sync of a directory failed, so names may not last.
    is_doubtful: Arc<AtomicBool>,
}

impl Disk {
    /// The files below `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            is_doubtful: Arc::default(),
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// What is known of a file that is a link or lies behind one.
    fn info_linked(&self, path: &str) -> Result<FileInfo> {
        let found = statat(CWD, self.at(path), AtFlags::empty());
        let found = found.map_err(|errno| led_astray("look at", path, errno))?;
        check_is_file(&found, path)?;
        Ok(info_of(path.to_owned(), &found, true))
    }
}

impl FileSystem for Disk {
    fn root(&self) -> String {
        self.root.display().to_string()
    }

    fn list(&self, dir: &str, walk: Walk<'_>) -> Result<Vec<FileInfo>> {
        let mut walker = Walker::new(walk);
        walker.walk(self, dir, &mut |_, _| Ok(()))?;
        let mut files = walker.files;
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    fn names(&self, dir: &str, after: &str, limit: usize) -> Result<Vec<String>> {
        self.first_names(dir, after, limit)
    }

    fn info(&self, path: &str) -> Result<Option<FileInfo>> {
        let held = match self.hold("look at", path) {
            Err(error) if is_absent(&error) => return Ok(None),
            // A directory above it is a link.
            Err(Error::Place {
                fault: PlaceFault::NotADirectory { .. },
                ..
            }) => return self.info_linked(path).map(Some),
            held => held?,
        };
        let Some(found) = held.look()? else {
            return Ok(None);
        };
        if FileType::from_raw_mode(found.st_mode) == FileType::Symlink {
            return self.info_linked(path).map(Some);
        }
        check_is_file(&found, path)?;
        Ok(Some(info_of(path.to_owned(), &found, false)))
    }

    fn resolve(&self, path: &str) -> Result<Option<String>> {
        let real = |path: &Path| match fs::canonicalize(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        };
        let find = || Ok(real(&self.root)?.zip(real(&self.at(path))?));
        let Some((root, file)) = find().map_err(Error::io("look at", path))? else {
            return Ok(None);
        };
        let below = file.strip_prefix(root).ok().and_then(Path::to_str);
        Ok(below.map(str::to_owned))
    }

    fn above(&self, dir: &str) -> Result<Vec<String>> {
        let dir = self.at(dir);
        let found = absolute(&dir).and_then(|called| match fs::canonicalize(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((called.clone(), called)),
            real => Ok((called, real?)),
        });
        let (called, real) = found.map_err(Error::io("look at", &dir.to_string_lossy()))?;
        let mut above: Vec<String> = Vec::new();
        for path in called.ancestors().chain(real.ancestors()) {
            // A path that isn't UTF-8 can't be told; those above it may be.
            let new = path
                .to_str()
                .filter(|path| !above.iter().any(|known| known == path));
            above.extend(new.map(str::to_owned));
        }
        Ok(above)
    }

    fn open(&self, path: &str) -> Result<Arc<dyn ReadAt>> {
        positioned(path, self.open_file("open", path)?)
    }

    fn open_linked(&self, path: &str) -> Result<Arc<dyn ReadAt>> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let failed = |errno: Errno| led_astray("open", path, errno);
        let file = openat(CWD, self.at(path), flags, Mode::empty()).map_err(failed)?;
        check_is_file(&fstat(&file).map_err(failed)?, path)?;
        positioned(path, file.into())
    }

    fn create(&self, beside: &str, access: Access<'_>) -> Result<NewFile> {
        self.create_file(beside, access)
    }

    fn try_access(&self, path: &str) -> Result<()> {
        self.try_attributes(path)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (old, new) = (self.hold("replace", from)?, self.hold("replace", to)?);
        renameat(&old.directory, old.name, &new.directory, new.name)
            .map_err(|errno| Error::io("replace", to)(errno.into()))
    }

    fn rename_new(&self, from: &str, to: &str) -> Result<bool> {
        let (old, new) = (self.hold("name", from)?, self.hold("name", to)?);
        let flags = RenameFlags::NOREPLACE;
        match renameat_with(&old.directory, old.name, &new.directory, new.name, flags) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            // Not every file system can. There, callers that give names take turns by a lock.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                if new.look()?.is_some() {
                    return Ok(false);
                }
                self.rename(from, to).map(|()| true)
            }
            Err(error) => Err(Error::io("name", to)(error.into())),
        }
    }

    fn unlink(&self, path: &str) -> Result<bool> {
        self.unlink_at(path)
    }

    fn unlink_dead(&self, path: &str) -> Result<bool> {
        self.unlink_if_dead(path)
    }

    fn make_private(&self, dir: &str, group: Option<u32>) -> Result<()> {
        self.make_directory_private(dir, group)
    }

    fn group(&self, name: &str) -> Result<u32> {
        if let Ok(number) = name.parse() {
            return Ok(number);
        }
        let known = fs::read_to_string(GROUPS).map_err(Error::io("read", GROUPS))?;
        let number = known.lines().find_map(|line| {
            let mut fields = line.split(':');
            let is_it = fields.next() == Some(name);
            fields.nth(1).filter(|_| is_it)?.parse().ok()
        });
        number.ok_or_else(|| Error::NoGroup {
            name: name.to_owned(),
        })
    }

    fn sync_directories(&self, files: &[&str]) -> Result<()> {
        let by_directory: BTreeMap<&str, &str> = files
            .iter()
            .map(|path| {
                (
                    path.rsplit_once('/').map_or("", |(directory, _)| directory),
                    *path,
                )
            })
            .collect();
        for path in by_directory.into_values() {
            let held = self.hold("sync the directory of", path);
            let synced = held.and_then(|held| {
                let synced = held.readable().and_then(|directory| directory.sync_all());
                synced.map_err(Error::io("sync the directory of", path))
            });
            if synced.is_err() {
                self.is_doubtful.store(true, Ordering::Relaxed);
            }
            synced?;
        }
        Ok(())
    }

    fn sync_whole(&self) -> Result<bool> {
        let sync = || {
            let root = File::open(self.at("."))?;
            let kind = rustix::fs::fstatfs(&root)?.f_type;
            if !SYNCED_WHOLE.contains(&kind) {
                return Ok(false);
            }
            rustix::fs::syncfs(&root)?;
            io::Result::Ok(true)
        };
        sync().map_err(Error::io("sync the file system of", "."))
    }

    fn clock_ns(&self) -> Result<Option<i64>> {
        // A file without a name leaves nothing behind. Without the right to write here, the time stays unknown.
        let probe = File::options()
            .write(true)
            .custom_flags(OFlags::TMPFILE.bits().cast_signed())
            .mode(0o600)
            .open(self.at("."));
        let now = probe.and_then(|probe| probe.metadata());
        Ok(now.ok().map(|found| {
            let seconds = found.ctime().saturating_mul(1_000_000_000);
            seconds.saturating_add(found.ctime_nsec())
        }))
    }

    fn room(&self) -> Result<Option<u64>> {
        let found = rustix::fs::statvfs(self.at("."))
            .map_err(|error| Error::io("ask for the room in", ".")(error.into()))?;
        Ok(Some(found.f_bavail.saturating_mul(found.f_frsize)))
    }

    fn open_files_max(&self) -> Option<u64> {
        rustix::process::getrlimit(rustix::process::Resource::Nofile).current
    }

    fn map(&self, path: &str) -> Result<Mapped> {
        let file = self.open_file("open", path)?;
        map::map(&file).map_err(Error::io("map", path))
    }

    fn lock(&self, path: &str, holder: &str) -> Result<Box<dyn Lock>> {
        self.take_lock(path, holder)
    }
}

/// Where the system keeps the names of groups.
const GROUPS: &str = "/etc/group";

/// File systems whose `syncfs` waits until files and names are on the disk (`f_type` of statfs(2)): ext2 to ext4, XFS
/// and Btrfs.
const SYNCED_WHOLE: [i64; 3] = [0xef53, 0x5846_5342, 0x9123_683e];

/// A path from the top on, by the names that it is called by, without `..`: where that leads is up to links.
fn absolute(path: &Path) -> io::Result<PathBuf> {
    let mut absolute = PathBuf::new();
    for part in std::path::absolute(path)?.components() {
        absolute.push(part);
        if part == Component::ParentDir {
            absolute = fs::canonicalize(&absolute)?;
        }
    }
    Ok(absolute)
}

/// The error of a link that can't be followed.
fn led_astray(operation: &'static str, path: &str, errno: Errno) -> Error {
    match errno {
        Errno::NOENT | Errno::LOOP | Errno::NXIO => Error::Place {
            path: path.to_owned(),
            fault: PlaceFault::NotAFile {
                found: "a symbolic link that leads to none",
            },
        },
        errno => Error::io(operation, path)(errno.into()),
    }
}

fn positioned(path: &str, file: File) -> Result<Arc<dyn ReadAt>> {
    let file = PositionedFile::new(file).map_err(Error::io("open", path))?;
    Ok(Arc::new(file))
}

fn info_of(path: String, found: &Stat, is_link: bool) -> FileInfo {
    let since_1970 = |seconds: i64, nanoseconds: i64| {
        let seconds = seconds.saturating_mul(1_000_000_000);
        seconds.saturating_add(nanoseconds)
    };
    FileInfo {
        path,
        size: u64::try_from(found.st_size).unwrap_or(0),
        modified_ns: since_1970(found.st_mtime, nanoseconds(found.st_mtime_nsec)).max(0),
        changed_ns: since_1970(found.st_ctime, nanoseconds(found.st_ctime_nsec)),
        is_link,
        is_file: FileType::from_raw_mode(found.st_mode) == FileType::RegularFile,
        names: found.st_nlink,
    }
}

/// Systems count them in different types.
fn nanoseconds(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(0)
}

#[cfg(test)]
mod tests;
