//! The local file system: with its parts the only module that calls `std::fs`.
//!
//! * `file`: open files
//! * `map`: files as bytes

use std::collections::{BTreeMap, BinaryHeap};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::UNIX_EPOCH;

use rustix::fs::{
    CWD, FileType, FlockOperation, OFlags, RawDir, RenameFlags, flock, renameat_with,
};
use rustix::io::Errno;

use super::{FileInfo, FileSystem, Lock, NewFile, temporary_path};
use crate::error::{Error, Result};
use crate::io::{Mapped, ReadAt};

mod file;
mod map;

pub use file::{FileSink, PositionedFile};

/// Bytes of names that are asked for at a time.
const LISTING_BYTES: usize = 64 << 10;

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

    /// Creates the missing directories of the file at `path`, durably.
    fn make_parents(&self, path: &str) -> Result<()> {
        let full = self.at(path);
        let missing = parent(&full)
            .ancestors()
            .take_while(|directory| !directory.as_os_str().is_empty() && !directory.is_dir());
        let missing: Vec<&Path> = missing.collect();
        let make = || {
            fs::create_dir_all(parent(&full))?;
            let made_in = missing.iter().map(|directory| parent(directory));
            made_in.rev().try_for_each(sync_directory)
        };
        make().map_err(Error::io("make the directory of", path))
    }

    /// `above` holds the real directories that contain this one, and this one.
    fn list_into(
        &self,
        dir: &str,
        enters: &dyn Fn(&str) -> bool,
        above: &mut Vec<PathBuf>,
        files: &mut Vec<FileInfo>,
    ) -> Result<()> {
        let entries = match fs::read_dir(self.at(dir)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("list", dir)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(Error::io("list", dir))?;
            let path = join(dir, &entry.file_name())?;
            let kind = entry.file_type().map_err(Error::io("look at", &path))?;
            let full = self.at(&path);
            let is_linked = kind.is_symlink() && full.is_dir();
            if kind.is_dir() || is_linked {
                if !enters(&path) {
                    continue;
                }
                let real = fs::canonicalize(&full).map_err(Error::io("look at", &path))?;
                // A link to a directory that contains it leads nowhere new.
                if above.contains(&real) {
                    continue;
                }
                above.push(real);
                let first = files.len();
                self.list_into(&path, enters, above, files)?;
                above.pop();
                if is_linked {
                    let behind = files.iter_mut().skip(first);
                    behind.for_each(|file| file.is_link = true);
                }
            } else if kind.is_symlink() {
                files.extend(self.info(&path)?);
            } else {
                // Found from its directory: the path is not walked again.
                match entry.metadata() {
                    Ok(metadata) if metadata.is_file() => {
                        files.push(info_of(path, &metadata, false));
                    }
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(Error::io("look at", &path)(error)),
                }
            }
        }
        Ok(())
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Syncs a directory and all below it, but not those behind links.
fn sync_directories(directory: &Path) -> io::Result<()> {
    sync_directory(directory)?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_directories(&entry.path())?;
        }
    }
    Ok(())
}

fn join(dir: &str, name: &OsStr) -> Result<String> {
    let Some(text) = name.to_str() else {
        return Err(Error::Io {
            operation: "use the name",
            path: format!("{dir}/{}", name.to_string_lossy()),
            source: io::Error::new(io::ErrorKind::InvalidFilename, "it is not UTF-8"),
        });
    };
    Ok(if dir.is_empty() {
        text.to_owned()
    } else {
        format!("{dir}/{text}")
    })
}

impl FileSystem for Disk {
    fn root(&self) -> String {
        self.root.display().to_string()
    }

    fn list(&self, dir: &str, enters: &dyn Fn(&str) -> bool) -> Result<Vec<FileInfo>> {
        let mut files = Vec::new();
        let mut above: Vec<PathBuf> = fs::canonicalize(self.at(dir)).into_iter().collect();
        self.list_into(dir, enters, &mut above, &mut files)?;
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    fn names(&self, dir: &str, after: &str, limit: usize) -> Result<Vec<String>> {
        let failed = |error: Errno| Error::io("list", dir)(error.into());
        let directory = match File::open(self.at(dir)) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("list", dir)(error)),
        };
        let mut buffer = vec![MaybeUninit::uninit(); LISTING_BYTES];
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
            let path = join(dir, OsStr::from_bytes(name))?;
            let is_file = match entry.file_type() {
                FileType::RegularFile => true,
                FileType::Directory => false,
                // A link, or a file system that doesn't tell.
                _ => self.info(&path)?.is_some(),
            };
            if is_file {
                first.extend(path.rsplit('/').next().map(str::to_owned));
            }
            if first.len() > limit {
                first.pop();
            }
        }
        Ok(first.into_sorted_vec())
    }

    fn info(&self, path: &str) -> Result<Option<FileInfo>> {
        let full = self.at(path);
        let is_link = match fs::symlink_metadata(&full) {
            Ok(metadata) => metadata.is_symlink(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("look at", path)(error)),
        };
        let metadata = fs::metadata(&full).map_err(Error::io("look at", path))?;
        if !metadata.is_file() {
            return Ok(None);
        }
        Ok(Some(info_of(path.to_owned(), &metadata, is_link)))
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

    fn open(&self, path: &str) -> Result<Arc<dyn ReadAt>> {
        let open = || {
            let file = File::open(self.at(path))?;
            io::Result::Ok(Arc::new(PositionedFile::new(file)?))
        };
        Ok(open().map_err(Error::io("open", path))?)
    }

    fn create(&self, beside: &str, like: Option<&str>) -> Result<NewFile> {
        self.make_parents(beside)?;
        let mut options = File::options();
        // A file or a link that somebody else put there is never opened.
        options
            .read(true)
            .write(true)
            .create_new(true)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        if like.is_some() {
            options.mode(0o600);
        }
        let (path, file) = loop {
            let path = temporary_path(beside, RandomState::new().hash_one(beside));
            match options.open(self.at(&path)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                opened => {
                    break (
                        path,
                        opened.map_err(Error::io("create a file beside", beside))?,
                    );
                }
            }
        };
        if let Some(like) = like {
            let permitted = fs::metadata(self.at(like))
                .and_then(|metadata| file.set_permissions(metadata.permissions()));
            if let Err(error) = permitted {
                let _ignored = self.unlink(&path);
                return Err(Error::io(
                    "set the permissions of the new file beside",
                    beside,
                )(error));
            }
        }
        let sink = Box::new(FileSink::new(file));
        Ok(NewFile { path, sink })
    }

    #[expect(clippy::disallowed_methods, reason = "this is their one home")]
    fn rename(&self, from: &str, to: &str) -> Result<()> {
        fs::rename(self.at(from), self.at(to)).map_err(Error::io("replace", to))
    }

    fn rename_new(&self, from: &str, to: &str) -> Result<bool> {
        let renamed = renameat_with(CWD, self.at(from), CWD, self.at(to), RenameFlags::NOREPLACE);
        match renamed {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            // Not every file system can. There, callers that give names take turns by a lock.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                if self.info(to)?.is_some() {
                    return Ok(false);
                }
                self.rename(from, to).map(|()| true)
            }
            Err(error) => Err(Error::io("name", to)(error.into())),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is their one home")]
    fn unlink(&self, path: &str) -> Result<bool> {
        match fs::remove_file(self.at(path)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("remove", path)(error)),
        }
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
            sync_directory(parent(&self.at(path))).map_err(|error| {
                self.is_doubtful.store(true, Ordering::Relaxed);
                Error::io("sync the directory of", path)(error)
            })?;
        }
        Ok(())
    }

    fn sync_whole(&self) -> Result<bool> {
        let sync = || {
            let root = File::open(&self.root)?;
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
            .open(&self.root);
        let now = probe.and_then(|probe| probe.metadata());
        Ok(now.ok().map(|metadata| changed_ns(&metadata)))
    }

    fn room(&self) -> Result<Option<u64>> {
        let found = rustix::fs::statvfs(&self.root)
            .map_err(|error| Error::io("ask for the room in", ".")(error.into()))?;
        Ok(Some(found.f_bavail.saturating_mul(found.f_frsize)))
    }

    fn open_files_max(&self) -> Option<u64> {
        rustix::process::getrlimit(rustix::process::Resource::Nofile).current
    }

    fn map(&self, path: &str) -> Result<Mapped> {
        let file = File::open(self.at(path)).map_err(Error::io("open", path))?;
        map::map(&file).map_err(Error::io("map", path))
    }

    fn lock(&self, path: &str, holder: &str) -> Result<Box<dyn Lock>> {
        let full = self.at(path);
        self.make_parents(path)?;
        // Whoever created the directory may have died before it was durable.
        let is_first = !full.exists();
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&full)
            .map_err(Error::io("open", path))?;
        let taken = flock(&file, FlockOperation::NonBlockingLockExclusive);
        if !matches!(taken, Ok(()) | Err(Errno::WOULDBLOCK)) {
            taken.map_err(|error| Error::io("lock", path)(error.into()))?;
        }
        let mut left = String::new();
        // If this can't be read, the message lacks the holder, or the last holder did not end well.
        let is_read = file.read_to_string(&mut left).is_ok();
        if taken.is_err() {
            return Err(Error::Locked {
                path: path.to_owned(),
                // Between taking the lock and writing into it.
                holder: match left.trim() {
                    "" => "just begun".to_owned(),
                    holder => holder.to_owned(),
                },
            });
        }
        if is_first || !is_read || !left.is_empty() {
            sync_directories(parent(&full))
                .map_err(Error::io("sync the directories beside", path))?;
            self.is_doubtful.store(false, Ordering::Relaxed);
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(holder.as_bytes()))
            .map_err(Error::io("write", path))?;
        Ok(Box::new(DiskLock {
            file,
            is_doubtful: Arc::clone(&self.is_doubtful),
        }))
    }
}

/// File systems whose `syncfs` waits until files and names are on the disk (`f_type` of statfs(2)): ext2 to ext4, XFS
/// and Btrfs.
const SYNCED_WHOLE: [i64; 3] = [0xef53, 0x5846_5342, 0x9123_683e];

/// The lock goes with the file: the system releases it when the process ends, however it ends.
struct DiskLock {
    file: File,
    is_doubtful: Arc<AtomicBool>,
}

impl Lock for DiskLock {}

impl Drop for DiskLock {
    fn drop(&mut self) {
        if !self.is_doubtful.load(Ordering::Relaxed) {
            // A file that still names its holder only costs the next one a sync of directories.
            let _ignored = self.file.set_len(0);
        }
    }
}

fn info_of(path: String, metadata: &fs::Metadata, is_link: bool) -> FileInfo {
    let modified_ns = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .and_then(|since| i64::try_from(since.as_nanos()).ok())
        .unwrap_or(0);
    FileInfo {
        path,
        size: metadata.len(),
        modified_ns,
        changed_ns: changed_ns(metadata),
        is_link,
    }
}

#[cfg(unix)]
fn changed_ns(metadata: &fs::Metadata) -> i64 {
    use std::os::unix::fs::MetadataExt;
    let seconds = metadata.ctime().saturating_mul(1_000_000_000);
    seconds.saturating_add(metadata.ctime_nsec())
}

#[cfg(not(unix))]
fn changed_ns(_metadata: &fs::Metadata) -> i64 {
    0
}

#[cfg(test)]
mod tests;
