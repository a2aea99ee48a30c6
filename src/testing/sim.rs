//! A file system in memory that fails when a test says so: for tests of crashes, full disks and other processes.
//!
//! ```text
//!   Sim ── each operation ──> faults (counted; fails? power cut? a hook to run?) ──> files
//!                                                                                    │
//!          reboot: what was synced, and torn rests of what wasn't <──────────────────┤
//!          restart: what the process saw last <──────────────────────────────────────┘
//! ```
//! Run once counting [`changes`](Sim::changes) and [`operations`](Sim::operations), then once for each with the
//! power cut there, or with that one operation failing; reopen, run to the end, and compare:
//!
//! ```
//! use std::io::Write;
//!
//! use efface::state::{Expect, State, files::StateFiles};
//! use efface::testing::sim::Sim;
//!
//! let put = |sim: &Sim| StateFiles::new(sim.clone()).put("a", b"new", Expect::Any);
//! let sim = Sim::new(1);
//! sim.put("a", "old");
//! let counted = sim.fork(1);
//! put(&counted)?;
//! for cut in 0..counted.changes() {
//!     let sim = sim.fork(cut);
//!     sim.cut_at(cut);
//!     put(&sim).unwrap_err();
//!     let found = sim.reboot().bytes("a").unwrap();
//!     assert!(found == b"old" || found == b"new");
//! }
//! # Ok::<(), efface::Error>(())
//! ```
//!
//! * `files`: names and bytes, and what of them is durable
//! * `faults`: which operation fails
//! * `handles`: files that are open, and locks
//!
//! # Invariants
//! With the same seed, one thread always does the same, with the same times of files. With several threads, only the
//! order of operations may differ.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::faults::Faults;
use self::files::Files;
use self::handles::{SharedBytes, SimFile, SimLock, SimSink};
use crate::error::{Error, Result};
use crate::file_system::{Access, FileInfo, FileSystem, Lock, NewFile, Walk};
use crate::io::{Mapped, ReadAt};

mod faults;
mod files;
mod handles;
#[cfg(test)]
mod tests;

/// What is counted, and can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// [`FileSystem::list`].
    List,
    /// [`FileSystem::info`].
    Info,
    /// [`FileSystem::open`].
    Open,
    /// [`ReadAt::read_at`].
    Read,
    /// [`FileSystem::map`].
    Map,
    /// [`FileSystem::create`].
    Create,
    /// One call of [`write`](std::io::Write::write). Half of the bytes of one that fails are written.
    Write,
    /// [`copy_from`](crate::io::Sink::copy_from). Half of the bytes of one that fails are copied.
    Copy,
    /// [`sync`](crate::io::Sink::sync).
    Sync,
    /// [`FileSystem::rename`] and [`FileSystem::rename_new`].
    Rename,
    /// [`FileSystem::unlink`].
    Unlink,
    /// [`FileSystem::sync_directories`], once for each directory.
    SyncDirectory,
    /// [`FileSystem::lock`].
    Lock,
}

impl Operation {
    const ALL: [Self; 13] = [
        Self::List,
        Self::Info,
        Self::Open,
        Self::Read,
        Self::Map,
        Self::Create,
        Self::Write,
        Self::Copy,
        Self::Sync,
        Self::Rename,
        Self::Unlink,
        Self::SyncDirectory,
        Self::Lock,
    ];
    const COUNT: usize = Self::ALL.len();

    fn slot(self) -> usize {
        self as usize
    }

    /// Whether it may change what is on the disk.
    pub fn is_change(self) -> bool {
        !matches!(
            self,
            Self::List | Self::Info | Self::Open | Self::Read | Self::Map
        )
    }
}

/// A file system in memory. Clones share it.
#[derive(Clone)]
pub struct Sim(Arc<Shared>);

struct Shared {
    files: Mutex<Files>,
    faults: Mutex<Faults>,
    locked: Mutex<BTreeSet<String>>,
    /// A sync of a directory failed, so names may not last.
    is_doubtful: AtomicBool,
}

impl Sim {
    /// An empty file system. `seed` decides what becomes of un-synced data in a power cut.
    pub fn new(seed: u64) -> Self {
        Self::of(Files::new(seed))
    }

    /// A copy that goes its own way from here, with another seed and without faults, counts and locks.
    #[must_use]
    pub fn fork(&self, seed: u64) -> Self {
        let mut files = self.files().clone();
        files.reseed(seed);
        Self::of(files)
    }

    /// The file system after a power cut now: un-synced data is lost or torn. This one is off from now on.
    #[must_use]
    pub fn reboot(&self) -> Self {
        self.faults().is_off = true;
        Self::of(self.files().after_power_cut())
    }

    /// The file system after the process was killed, but not the system: what was written is there, though what was
    /// not synced may be lost yet. This one is off from now on.
    #[must_use]
    pub fn restart(&self) -> Self {
        self.faults().is_off = true;
        Self::of(self.files().clone())
    }

    /// Operations so far, whether they failed or not.
    pub fn operations(&self) -> u64 {
        self.faults().operations()
    }

    /// Operations so far that may change what is on the disk.
    pub fn changes(&self) -> u64 {
        self.faults().changes()
    }

    /// Operations of one kind so far.
    pub fn operations_of(&self, operation: Operation) -> u64 {
        self.faults().count(operation)
    }

    /// Cuts the power at a change, counted from now and from 0: it is done by half or not at all, and everything
    /// after it fails. A cut at an operation that only reads would leave what one at the next change leaves.
    pub fn cut_at(&self, change: u64) {
        self.faults().cut_at(change);
    }

    /// Lets one operation fail, counted from now and from 0; those after it don't.
    pub fn fail_at(&self, operation: u64) {
        self.faults().fail_at(operation);
    }

    /// Runs `hook` directly before an operation, counted from now and from 0: it stands for another process.
    pub fn run_at(&self, operation: u64, hook: impl FnOnce(&Self) + Send + 'static) {
        self.faults().run_at(operation, Box::new(hook));
    }

    /// Whether the power is off.
    pub fn is_off(&self) -> bool {
        self.faults().is_off
    }

    /// Refuses every change from now on, or no longer.
    pub fn set_read_only(&self, is_read_only: bool) {
        self.faults().is_read_only = is_read_only;
    }

    /// All files together may have so many bytes; writing more fails with [`io::ErrorKind::StorageFull`].
    pub fn set_limit_bytes(&self, limit: u64) {
        self.files().limit_bytes = limit;
    }

    /// The current time, in nanoseconds since 1970: each operation takes a millisecond.
    pub fn clock_ns(&self) -> i64 {
        self.files().now_ns
    }

    /// Sets the clock, also back.
    pub fn set_clock_ns(&self, now_ns: i64) {
        self.files().now_ns = now_ns;
    }

    /// Puts a file in place, durably and behind the back of everybody: no operation.
    pub fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.files().put(path, bytes.into());
    }

    /// Removes a file behind the back of everybody; says whether it was there.
    pub fn vanish(&self, path: &str) -> bool {
        let mut files = self.files();
        let was_there = files.remove(path);
        files.sync_directory_of(path);
        was_there
    }

    /// Inverts the bits of `mask` in one byte of a file, in place; says whether there is such a byte.
    pub fn flip(&self, path: &str, offset: usize, mask: u8) -> bool {
        let mut is_there = false;
        self.files().alter(path, |bytes| {
            if let Some(byte) = bytes.get_mut(offset) {
                *byte ^= mask;
                is_there = true;
            }
        });
        is_there
    }

    /// Sets a file's time of modification, as any program can; says whether it is there.
    pub fn set_modified_ns(&self, path: &str, modified_ns: i64) -> bool {
        self.files().set_modified_ns(path, modified_ns)
    }

    /// The bytes of a file, without an operation.
    pub fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        self.files().bytes(path).map(|bytes| bytes.to_vec())
    }

    /// All files with their bytes, without an operation.
    pub fn all(&self) -> BTreeMap<String, Vec<u8>> {
        self.files().all()
    }

    fn of(files: Files) -> Self {
        Self(Arc::new(Shared {
            files: Mutex::new(files),
            faults: Mutex::default(),
            locked: Mutex::default(),
            is_doubtful: AtomicBool::new(false),
        }))
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        guard(&self.0.files)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        guard(&self.0.faults)
    }

    fn step(&self, operation: Operation) -> io::Result<()> {
        let due = self.faults().due();
        for hook in due {
            hook(self);
        }
        self.files().tick();
        self.faults().step(operation)
    }

    fn write_lock(&self, path: &str, holder: &str) {
        let mut files = self.files();
        if !files.alter(path, |bytes| *bytes = holder.into()) {
            files.put(path, holder.into());
        }
    }

    fn unlock(&self, path: &str) {
        if !self.is_off() && !self.0.is_doubtful.load(Ordering::Relaxed) {
            self.write_lock(path, "");
        }
        guard(&self.0.locked).remove(path);
    }

    fn find(&self, path: &str) -> io::Result<Arc<Vec<u8>>> {
        let found = self.files().bytes(path);
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FileSystem for Sim {
    fn root(&self) -> String {
        "(simulated)".to_owned()
    }

    fn list(&self, dir: &str, walk: Walk<'_>) -> Result<Vec<FileInfo>> {
        self.step(Operation::List).map_err(Error::io("list", dir))?;
        let mut files = self.files().below(dir);
        files.retain(|file| {
            let mut directories = file.path.match_indices('/').map(|(end, _)| end);
            (walk.wants)(&file.path)
                && directories.all(|end| {
                    let directory = file.path.get(..end).unwrap_or_default();
                    directory.len() <= dir.len() || (walk.enters)(directory)
                })
        });
        Ok(files)
    }

    fn info(&self, path: &str) -> Result<Option<FileInfo>> {
        let step = self.step(Operation::Info);
        step.map_err(Error::io("look at", path))?;
        Ok(self.files().info(path))
    }

    fn open(&self, path: &str) -> Result<Arc<dyn ReadAt>> {
        let open = self.step(Operation::Open).and_then(|()| self.find(path));
        let bytes = open.map_err(Error::io("open", path))?;
        let sim = self.clone();
        Ok(Arc::new(SimFile { sim, bytes }))
    }

    fn create(&self, beside: &str, access: Access<'_>) -> Result<NewFile> {
        let create = self.step(Operation::Create);
        create.map_err(Error::io("create a file beside", beside))?;
        if let Access::Of(like) = access {
            let path = &like.path;
            self.find(path).map_err(Error::io("open", path))?;
            let now = self.files().info(path);
            if !now.is_some_and(|now| like.is_same(&now)) {
                return Err(Error::ShardChanged { path: path.clone() });
            }
        }
        let (path, id) = self.files().create_temporary(beside);
        let sink = Box::new(SimSink::new(self.clone(), id));
        Ok(NewFile {
            path,
            sink,
            left_out: Vec::new(),
        })
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let rename = self.step(Operation::Rename).and_then(|()| {
            let was_there = self.files().rename(from, to);
            was_there
                .then_some(())
                .ok_or(io::ErrorKind::NotFound.into())
        });
        rename.map_err(Error::io("replace", to))
    }

    fn rename_new(&self, from: &str, to: &str) -> Result<bool> {
        let rename = self.step(Operation::Rename).and_then(|()| {
            let mut files = self.files();
            if files.info(to).is_some() {
                return Ok(false);
            }
            let was_there = files.rename(from, to);
            was_there
                .then_some(true)
                .ok_or(io::ErrorKind::NotFound.into())
        });
        rename.map_err(Error::io("name", to))
    }

    fn unlink(&self, path: &str) -> Result<bool> {
        let step = self.step(Operation::Unlink);
        step.map_err(Error::io("remove", path))?;
        Ok(self.files().remove(path))
    }

    fn sync_directories(&self, files: &[&str]) -> Result<()> {
        let by_directory: BTreeMap<&str, &str> = files
            .iter()
            .map(|path| (files::directory_of(path), *path))
            .collect();
        for path in by_directory.into_values() {
            if let Err(error) = self.step(Operation::SyncDirectory) {
                self.0.is_doubtful.store(true, Ordering::Relaxed);
                return Err(Error::io("sync the directory of", path)(error));
            }
            self.files().sync_directory_of(path);
        }
        Ok(())
    }

    fn clock_ns(&self) -> Result<Option<i64>> {
        Ok(Some(self.files().now_ns))
    }

    fn room(&self) -> Result<Option<u64>> {
        Ok(self.files().room())
    }

    fn map(&self, path: &str) -> Result<Mapped> {
        let map = self.step(Operation::Map).and_then(|()| self.find(path));
        let bytes = map.map_err(Error::io("map", path))?;
        Ok(Mapped::new(SharedBytes(bytes)))
    }

    fn lock(&self, path: &str, holder: &str) -> Result<Box<dyn Lock>> {
        let step = self.step(Operation::Lock);
        step.map_err(Error::io("lock", path))?;
        let found = self.files().bytes(path).unwrap_or_default();
        if !guard(&self.0.locked).insert(path.to_owned()) {
            return Err(Error::Locked {
                path: path.to_owned(),
                holder: String::from_utf8_lossy(&found).into_owned(),
            });
        }
        let lock = SimLock {
            sim: self.clone(),
            path: path.to_owned(),
        };
        if !found.is_empty() {
            let step = self.step(Operation::SyncDirectory);
            step.map_err(Error::io("sync the directories beside", path))?;
            let directory = files::directory_of(path);
            self.files().sync_directories_below(directory);
            self.0.is_doubtful.store(false, Ordering::Relaxed);
        }
        self.write_lock(path, holder);
        Ok(Box::new(lock))
    }
}
