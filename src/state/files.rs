//! A state in a system of files.
//!
//! ```text
//!   put, publish:  temporary file ── write, sync ── rename ── sync of the directory
//!   lease:         a lock that ends with its process
//! ```

use std::io::{self, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use xxhash_rust::xxh3::xxh3_128;

use super::{DIRECTORY, Draft, Expect, Lease, State, StateFile, Stored, Version};
use crate::error::{Error, Result};
use crate::file_system::{
    Access, FileSystem, Lock, NewFile, TEMPORARY_SUFFIX, Walk, is_temporary, is_temporary_of,
};
use crate::io::{Mapped, ReadAt, Sink};

/// A state in a system of files. Only the user who runs it can read it, unless it is opened to a group.
#[derive(Clone)]
pub struct StateFiles {
    files: Arc<dyn FileSystem>,
    group: Arc<OnceLock<u32>>,
    /// The mode of files that belong to their maker.
    mode: Option<u32>,
    /// Whether [`DIRECTORY`] was looked at.
    is_private: Arc<AtomicBool>,
}

impl StateFiles {
    /// The state below the root of `files`.
    pub fn new(files: impl FileSystem + 'static) -> Self {
        Self {
            files: Arc::new(files),
            group: Arc::default(),
            mode: None,
            is_private: Arc::default(),
        }
    }

    /// Files for others than efface, such as exports, below the root of `files`: they belong to whoever makes them, and
    /// have this mode.
    pub fn with_mode(files: impl FileSystem + 'static, mode: u32) -> Self {
        Self {
            mode: Some(mode),
            ..Self::new(files)
        }
    }

    /// Removes what writers of the file `path` left beside it when they died.
    ///
    /// # Errors
    /// When the directory can't be read, or a file can't be removed.
    pub fn remove_dead_drafts(&self, path: &str) -> Result<()> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        // Names of version 0.1 had the target's name in them.
        let old = format!(".{name}.");
        let is_draft = |beside: &str| {
            let name = beside.rsplit('/').next().unwrap_or_default();
            is_temporary_of(beside, path)
                || (name.starts_with(&old) && name.ends_with(TEMPORARY_SUFFIX))
        };
        let walk = Walk {
            enters: &|_| false,
            wants: &is_draft,
        };
        self.remove_dead(directory, walk)
    }

    fn remove_dead(&self, directory: &str, walk: Walk<'_>) -> Result<()> {
        let left = self.files.list(directory, walk)?.into_iter();
        let mut gone = Vec::new();
        for file in left.filter(|file| file.is_file && !file.is_link) {
            if self.files.unlink_dead(&file.path)? {
                gone.push(file.path);
            }
        }
        let gone: Vec<&str> = gone.iter().map(String::as_str).collect();
        self.files.sync_directories(&gone)
    }

    /// Sees to it before the first write that nobody else can read what is written.
    fn access(&self, path: &str) -> Result<Access<'static>> {
        if let Some(mode) = self.mode {
            return Ok(Access::Maker(mode));
        }
        let group = self.group.get().copied();
        let is_in_it = path.split('/').next() == Some(DIRECTORY);
        if is_in_it && !self.is_private.load(Ordering::Relaxed) {
            self.files.make_private(DIRECTORY, group)?;
            self.is_private.store(true, Ordering::Relaxed);
        }
        Ok(Access::State(group))
    }

    fn begin(&self, path: &str) -> Result<FileDraft<'_>> {
        let new = self.files.create(path, self.access(path)?)?;
        Ok(FileDraft {
            files: &*self.files,
            new,
            path: path.to_owned(),
            is_published: false,
        })
    }
}

impl State for StateFiles {
    fn name(&self) -> String {
        self.files.root()
    }

    fn get(&self, path: &str, bytes_max: u64) -> Result<Option<Stored>> {
        let file = match self.files.open(path) {
            Ok(file) => file,
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if file.len() > bytes_max {
            return Err(Error::State {
                path: path.to_owned(),
                reason: format!(
                    "has {} bytes, more than the limit of {bytes_max}",
                    file.len()
                ),
            });
        }
        let mut bytes = vec![0; usize::try_from(file.len()).unwrap_or(usize::MAX)];
        file.read_at(0, &mut bytes)
            .map_err(Error::io("read", path))?;
        let version = version_of(&bytes);
        Ok(Some(Stored { bytes, version }))
    }

    fn put(&self, path: &str, bytes: &[u8], expect: Expect<'_>) -> Result<Version> {
        let changed = || Error::StateChanged {
            path: path.to_owned(),
        };
        if let Expect::Version(expected) = expect {
            let stored = self.get(path, u64::MAX)?;
            if stored.is_none_or(|stored| stored.version != *expected) {
                return Err(changed());
            }
        }
        let mut draft = self.begin(path)?;
        draft
            .write_all(bytes)
            .and_then(|()| draft.sync())
            .map_err(Error::io("write", path))?;
        if !draft.name(expect == Expect::Absent)? {
            return Err(changed());
        }
        Ok(version_of(bytes))
    }

    fn has(&self, path: &str) -> Result<bool> {
        Ok(self.files.info(path)?.is_some())
    }

    fn list(&self, directory: &str) -> Result<Vec<StateFile>> {
        let files = self.files.list(directory, Walk::ALL)?.into_iter();
        Ok(files
            .map(|file| StateFile {
                path: file.path,
                bytes: file.size,
            })
            .collect())
    }

    fn names(&self, directory: &str, after: &str, limit: usize) -> Result<Vec<String>> {
        self.files.names(directory, after, limit)
    }

    fn remove(&self, paths: &[String]) -> Result<()> {
        let mut gone = Vec::new();
        let mut failed = Ok(());
        for path in paths {
            match self.files.unlink(path) {
                Ok(true) => gone.push(path.as_str()),
                Ok(false) => {}
                Err(error) => {
                    failed = Err(error);
                    break;
                }
            }
        }
        // Whoever tries again finds no name to unlink, and would sync nothing.
        failed.and(self.files.sync_directories(&gone))
    }

    fn create(&self, path: &str) -> Result<Box<dyn Draft + '_>> {
        Ok(Box::new(self.begin(path)?))
    }

    fn map(&self, path: &str) -> Result<Mapped> {
        self.files.map(path)
    }

    fn lease(&self, path: &str, holder: &str) -> Result<Box<dyn Lease>> {
        self.access(path)?;
        let lock = self.files.lock(path, holder)?;
        Ok(Box::new(Locked { _lock: lock }))
    }

    fn clean_up(&self, directory: &str) -> Result<()> {
        // Names of version 0.1 had the target's name in them.
        let walk = Walk {
            wants: &|path| path.ends_with(TEMPORARY_SUFFIX),
            ..Walk::ALL
        };
        self.remove_dead(directory, walk)
    }

    fn open_to(&self, group: &str) -> Result<()> {
        let number = self.files.group(group)?;
        // An engine has one configuration.
        let _ignored = self.group.set(number);
        Ok(())
    }
}

struct Locked {
    _lock: Box<dyn Lock>,
}

// The lock is only ever dropped.
impl Lease for Locked {}

fn version_of(bytes: &[u8]) -> Version {
    Version(format!("{:032x}", xxh3_128(bytes)))
}

/// A temporary file that goes when this is dropped, unless it got its name.
struct FileDraft<'a> {
    files: &'a dyn FileSystem,
    new: NewFile,
    path: String,
    is_published: bool,
}

impl FileDraft<'_> {
    /// Gives it its name, durably; says whether it did.
    fn name(mut self, only_if_absent: bool) -> Result<bool> {
        if only_if_absent {
            self.is_published = self.files.rename_new(&self.new.path, &self.path)?;
        } else {
            self.files.rename(&self.new.path, &self.path)?;
            self.is_published = true;
        }
        if self.is_published {
            self.files.sync_directories(&[&self.path])?;
        }
        Ok(self.is_published)
    }
}

impl Write for FileDraft<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.new.sink.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.new.sink.flush()
    }
}

impl Sink for FileDraft<'_> {
    fn copy_from(&mut self, source: &dyn ReadAt, range: Range<u64>) -> io::Result<()> {
        self.new.sink.copy_from(source, range)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.new.sink.sync()
    }
}

impl Draft for FileDraft<'_> {
    fn path(&self) -> &str {
        &self.path
    }

    fn read_back(&mut self) -> Result<Arc<dyn ReadAt>> {
        let flushed = self.new.sink.flush();
        flushed.map_err(Error::io("write", &self.path))?;
        self.files.open(&self.new.path)
    }

    fn publish(mut self: Box<Self>) -> Result<()> {
        let synced = self.new.sink.sync();
        synced.map_err(Error::io("write", &self.path))?;
        (*self).name(false).map(drop)
    }
}

impl Drop for FileDraft<'_> {
    fn drop(&mut self) {
        if !self.is_published {
            debug_assert!(is_temporary(&self.new.path));
            // The first error is the one to report. What stays is removed by `clean_up`.
            let _ignored = self
                .files
                .unlink(&self.new.path)
                .and_then(|_| self.files.sync_directories(&[&self.new.path]));
        }
    }
}
