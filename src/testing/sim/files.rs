//! Files and names as the running system sees them, and as the disk would have them after a power cut.
//!
//! ```text
//!   names seen by the running system ── changes, in order ──> names that are durable
//!          │                                                         │
//!          └──> inodes: bytes, of which the first `synced` are durable <┘
//! ```
//!
//! # Crash behaviour
//! A power cut keeps, of each directory, the first so many changes of its names that were not synced, as a
//! journaling file system does; and of each file its synced bytes and a torn rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::file_system::{FileInfo, temporary_path};

/// What each operation adds to the clock.
const TICK_NS: i64 = 1_000_000;
/// When the clock starts: 2026-01-01.
const START_NS: i64 = 1_767_225_600_000_000_000;

/// The number of an inode.
pub(super) type Id = u64;

#[derive(Clone)]
pub(super) struct Files {
    seed: u64,
    pub(super) now_ns: i64,
    /// Bytes that all files together may have.
    pub(super) limit_bytes: u64,
    next_id: Id,
    inodes: BTreeMap<Id, Inode>,
    seen: BTreeMap<String, Id>,
    durable: BTreeMap<String, Id>,
    /// What `durable` lacks of `seen`, oldest first.
    pending: Vec<NameChange>,
}

#[derive(Clone)]
struct Inode {
    bytes: Arc<Vec<u8>>,
    synced: usize,
    modified_ns: i64,
    changed_ns: i64,
}

/// One step of a directory: it happens as a whole or not at all.
#[derive(Clone)]
struct NameChange {
    directory: String,
    path: String,
    /// What has the name now.
    id: Option<Id>,
    /// The name that it had before.
    from: Option<String>,
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, Id>) {
        if let Some(from) = &self.from {
            names.remove(from);
        }
        match self.id {
            Some(id) => names.insert(self.path.clone(), id),
            None => names.remove(&self.path),
        };
    }
}

impl Files {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            now_ns: START_NS,
            limit_bytes: u64::MAX,
            next_id: 0,
            inodes: BTreeMap::new(),
            seen: BTreeMap::new(),
            durable: BTreeMap::new(),
            pending: Vec::new(),
        }
    }

    pub(super) fn tick(&mut self) {
        self.now_ns = self.now_ns.saturating_add(TICK_NS);
    }

    /// Paths that are `dir` or lie below it.
    pub(super) fn below(&self, dir: &str) -> Vec<FileInfo> {
        let paths = self
            .seen
            .keys()
            .filter(|path| is_below(dir, path) && *path != dir);
        paths.filter_map(|path| self.info(path)).collect()
    }

    pub(super) fn info(&self, path: &str) -> Option<FileInfo> {
        let inode = self.inodes.get(self.seen.get(path)?)?;
        Some(FileInfo {
            path: path.to_owned(),
            size: inode.bytes.len() as u64,
            modified_ns: inode.modified_ns,
            changed_ns: inode.changed_ns,
            is_link: false,
            is_file: true,
            names: 1,
        })
    }

    pub(super) fn bytes(&self, path: &str) -> Option<Arc<Vec<u8>>> {
        let inode = self.inodes.get(self.seen.get(path)?)?;
        Some(Arc::clone(&inode.bytes))
    }

    pub(super) fn all(&self) -> BTreeMap<String, Vec<u8>> {
        let bytes = |path: &String| Some((path.clone(), self.bytes(path)?.to_vec()));
        self.seen.keys().filter_map(bytes).collect()
    }

    /// A new, empty file in the directory of `beside`.
    pub(super) fn create_temporary(&mut self, beside: &str) -> (String, Id) {
        let path = temporary_path(beside, self.next_id);
        let id = self.create(&path);
        (path, id)
    }

    /// A new, empty file under this name.
    fn create(&mut self, path: &str) -> Id {
        let id = self.next_id;
        self.next_id += 1;
        let inode = Inode {
            bytes: Arc::default(),
            synced: 0,
            modified_ns: self.now_ns,
            changed_ns: self.now_ns,
        };
        self.inodes.insert(id, inode);
        self.change(path, Some(id), None);
        id
    }

    /// Appends as much of `bytes` as there is room for; says whether that was all.
    pub(super) fn append(&mut self, id: Id, bytes: &[u8]) -> bool {
        let room = self.room().unwrap_or(u64::MAX);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let fits = bytes.get(..room).unwrap_or(bytes);
        if let Some(inode) = self.inodes.get_mut(&id) {
            Arc::make_mut(&mut inode.bytes).extend_from_slice(fits);
            inode.modified_ns = self.now_ns;
            inode.changed_ns = self.now_ns;
        }
        fits.len() == bytes.len()
    }

    /// Bytes that there is room for; `None` without a limit.
    pub(super) fn room(&self) -> Option<u64> {
        let limit = Some(self.limit_bytes).filter(|limit| *limit < u64::MAX)?;
        let sizes = self.seen.values().filter_map(|id| self.inodes.get(id));
        let used: u64 = sizes.map(|inode| inode.bytes.len() as u64).sum();
        Some(limit.saturating_sub(used))
    }

    /// Makes the bytes of a file durable, but not its name.
    pub(super) fn sync(&mut self, id: Id) {
        if let Some(inode) = self.inodes.get_mut(&id) {
            inode.synced = inode.bytes.len();
        }
    }

    /// Whether there was a file `from` to rename.
    pub(super) fn rename(&mut self, from: &str, to: &str) -> bool {
        let Some(id) = self.seen.get(from).copied() else {
            return false;
        };
        if let Some(inode) = self.inodes.get_mut(&id) {
            inode.changed_ns = self.now_ns;
        }
        self.change(to, Some(id), Some(from.to_owned()));
        true
    }

    /// Whether there was such a file.
    pub(super) fn remove(&mut self, path: &str) -> bool {
        let was_there = self.seen.contains_key(path);
        if was_there {
            self.change(path, None, None);
        }
        was_there
    }

    /// Makes the names of the directory that `path` lies in durable.
    pub(super) fn sync_directory_of(&mut self, path: &str) {
        let directory = directory_of(path);
        self.settle(|change| change.directory == directory);
    }

    /// Makes the names of `directory` and of all below it durable.
    pub(super) fn sync_directories_below(&mut self, directory: &str) {
        self.settle(|change| is_below(directory, &change.directory));
    }

    /// A file as another process leaves it: whole and durable.
    pub(super) fn put(&mut self, path: &str, bytes: Vec<u8>) {
        let id = self.create(path);
        if let Some(inode) = self.inodes.get_mut(&id) {
            inode.synced = bytes.len();
            inode.bytes = Arc::new(bytes);
        }
        self.sync_directory_of(path);
    }

    /// Changes the bytes of a file where they are; `false` when there is no such file.
    pub(super) fn alter(&mut self, path: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let now_ns = self.now_ns;
        let Some(inode) = self.inode_mut(path) else {
            return false;
        };
        change(Arc::make_mut(&mut inode.bytes));
        inode.synced = inode.bytes.len();
        inode.modified_ns = now_ns;
        inode.changed_ns = now_ns;
        true
    }

    /// Sets the time of modification, as programs may; `false` when there is no such file.
    pub(super) fn set_modified_ns(&mut self, path: &str, modified_ns: i64) -> bool {
        let now_ns = self.now_ns;
        let Some(inode) = self.inode_mut(path) else {
            return false;
        };
        inode.modified_ns = modified_ns;
        inode.changed_ns = now_ns;
        true
    }

    /// What the disk has after a power cut.
    pub(super) fn after_power_cut(&self) -> Self {
        let mut after = self.clone();
        let mut left: BTreeMap<&str, usize> = BTreeMap::new();
        for change in &self.pending {
            *left.entry(&change.directory).or_default() += 1;
        }
        for (directory, count) in &mut left {
            *count = self.draw(directory, 0, *count + 1);
        }
        for change in &self.pending {
            if let Some(count) = left.get_mut(change.directory.as_str())
                && *count > 0
            {
                *count -= 1;
                change.apply(&mut after.durable);
            }
        }
        after.pending.clear();
        after.seen.clone_from(&after.durable);
        for (path, id) in &after.seen {
            if let Some(inode) = after.inodes.get_mut(id) {
                self.tear(path, inode);
            }
        }
        after
    }

    fn inode_mut(&mut self, path: &str) -> Option<&mut Inode> {
        self.inodes.get_mut(self.seen.get(path)?)
    }

    fn change(&mut self, path: &str, id: Option<Id>, from: Option<String>) {
        let change = NameChange {
            directory: directory_of(path).to_owned(),
            path: path.to_owned(),
            id,
            from,
        };
        change.apply(&mut self.seen);
        self.pending.push(change);
    }

    fn settle(&mut self, is_synced: impl Fn(&NameChange) -> bool) {
        let durable = &mut self.durable;
        self.pending.retain(|change| {
            let stays = !is_synced(change);
            if !stays {
                change.apply(durable);
            }
            stays
        });
    }

    /// Gives what was not synced one of the ends that a power cut gives it.
    fn tear(&self, path: &str, inode: &mut Inode) {
        let tail = inode.bytes.len().saturating_sub(inode.synced);
        if tail > 0 {
            let kept = inode.synced + self.draw(path, 1, tail + 1);
            let bytes = Arc::make_mut(&mut inode.bytes);
            match self.draw(path, 2, 4) {
                0 => bytes.truncate(inode.synced),
                1 => bytes.truncate(kept),
                2 => bytes.iter_mut().skip(kept).for_each(|byte| *byte = 0),
                _ => bytes.iter_mut().skip(kept).for_each(|byte| *byte ^= 0x5a),
            }
        }
        inode.synced = inode.bytes.len();
    }

    /// A number below `end`, the same for the same seed, path and purpose.
    fn draw(&self, path: &str, purpose: u64, end: usize) -> usize {
        let drawn = xxh3_64_with_seed(path.as_bytes(), self.seed.wrapping_mul(31) ^ purpose);
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(drawn % end).unwrap_or(0)
    }

    /// Draws differently from now on.
    pub(super) fn reseed(&mut self, seed: u64) {
        self.seed = seed;
    }
}

/// Whether a path is `directory` or lies below it.
fn is_below(directory: &str, path: &str) -> bool {
    let rest = path.strip_prefix(directory);
    directory.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) fn directory_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}
