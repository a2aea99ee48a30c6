//! efface's own small files: the configuration, the index, the queue, the receipts, the record of a pass.
//!
//! ```text
//!   State ── get ──> Stored { bytes, version }     put(bytes, expect) ──> version
//!      │── create ──> Draft ── publish ──> a large file, whole or not there at all
//!      │── list, map, remove
//!      └── lease ──> Lease (held until dropped; `confirm` says whether it still is)
//! ```
//!
//! Paths are separated by `/` and are UTF-8; those of the engine begin with [`DIRECTORY`]. A state lies beside the
//! shards of a dataset, or elsewhere.
//!
//! * [`files`]: a state in a system of files
//! * [`document`]: small sealed JSON documents
//!
//! # Invariants
//! A file is never modified, only replaced as a whole: nobody ever reads half of one.
//!
//! # Crash behaviour
//! The changes of `put`, `publish` and `remove` are durable when they return. If a process dies before that, each of
//! its files is the old one or the new one, and the next holder of the lease makes that durable.
//! [`crate::testing::state`] checks all of this for any implementation.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::io::{Mapped, ReadAt, Sink};

pub mod document;
pub mod files;

/// The directory of efface's own files.
pub const DIRECTORY: &str = "_efface";

/// Distinguishes one content of a file from every other.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub String);

/// A file with its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The content.
    pub bytes: Vec<u8>,
    /// Its version.
    pub version: Version,
}

/// What a path must hold for a file to be put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect<'a> {
    /// Anything, or nothing.
    Any,
    /// Nothing.
    Absent,
    /// This version.
    Version(&'a Version),
}

/// A file of the state, in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFile {
    /// The path.
    pub path: String,
    /// The length in bytes.
    pub bytes: u64,
}

/// Where efface keeps its own files.
pub trait State: Send + Sync {
    /// The name of the place in messages.
    fn name(&self) -> String;

    /// Reads a small file whole; `None` when there is none.
    ///
    /// # Errors
    /// When it can't be read; [`Error::State`] when it has more than `bytes_max` bytes; [`Error::Place`] when
    /// something else has its name.
    fn get(&self, path: &str, bytes_max: u64) -> Result<Option<Stored>>;

    /// Puts `bytes` at `path` in one durable step, if `expect` holds for what is there.
    ///
    /// # Errors
    /// [`Error::StateChanged`] when `expect` does not hold; any failure to write. The old file is then still in
    /// place.
    fn put(&self, path: &str, bytes: &[u8], expect: Expect<'_>) -> Result<Version>;

    /// Whether there is a file.
    ///
    /// # Errors
    /// When the place can't be read.
    fn has(&self, path: &str) -> Result<bool>;

    /// The files below `directory`, in the order of their paths; none if it isn't there.
    ///
    /// # Errors
    /// When it can't be read.
    fn list(&self, directory: &str) -> Result<Vec<StateFile>>;

    /// The names of the first `limit` files directly in `directory` that sort behind `after`, in their order; none if
    /// it isn't there. The default lists them all.
    ///
    /// # Errors
    /// When it can't be read.
    fn names(&self, directory: &str, after: &str, limit: usize) -> Result<Vec<String>> {
        let names = self.list(directory)?.into_iter().filter_map(|file| {
            let name = file.path.strip_prefix(directory)?.strip_prefix('/')?;
            (!name.contains('/') && name > after).then(|| name.to_owned())
        });
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        names.truncate(limit);
        Ok(names)
    }

    /// Removes files durably. One that isn't there is no error.
    ///
    /// # Errors
    /// When one can't be removed; some of the others may be gone then.
    fn remove(&self, paths: &[String]) -> Result<()>;

    /// Begins a large file. It gets the name `path` when it is published; until then only the caller has it.
    ///
    /// # Errors
    /// When it can't be begun.
    fn create(&self, path: &str) -> Result<Box<dyn Draft + '_>>;

    /// A file as bytes. They stay as they are, whatever happens to the path.
    ///
    /// # Errors
    /// When it isn't there or can't be read.
    fn map(&self, path: &str) -> Result<Mapped>;

    /// Takes the exclusive lease of `path`; `holder` is what others learn of who has it.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has it.
    fn lease(&self, path: &str, holder: &str) -> Result<Box<dyn Lease>>;

    /// Removes drafts below `directory` whose writers died before they published them. The caller holds the lease
    /// that guards the directory, so no live process is writing there.
    ///
    /// # Errors
    /// When they can't be listed or removed.
    fn clean_up(&self, directory: &str) -> Result<()>;

    /// Lets the members of a group read what is written from now on, where the place has groups. Otherwise only the
    /// user who runs this can.
    ///
    /// # Errors
    /// [`Error::NoGroup`] when there is no such group.
    fn open_to(&self, group: &str) -> Result<()> {
        let _ = group;
        Ok(())
    }
}

/// A file that is being written, and has no name yet. Dropped, it leaves nothing behind.
pub trait Draft: Sink {
    /// Its name in messages.
    fn path(&self) -> &str;

    /// The bytes that were written so far.
    ///
    /// # Errors
    /// When it can't be read.
    fn read_back(&mut self) -> Result<Arc<dyn ReadAt>>;

    /// Gives it its name, durably. A file that had the name before is replaced.
    ///
    /// # Errors
    /// When that fails; the old file is then still in place.
    fn publish(self: Box<Self>) -> Result<()>;
}

/// A lease, held until this is dropped.
pub trait Lease: Send + Sync {
    /// Checks that it is still held. A lease that ends with its process always is.
    ///
    /// # Errors
    /// [`Error::Locked`] when somebody else took it over.
    fn confirm(&self) -> Result<()> {
        Ok(())
    }
}

/// Reads a small file that must be there.
///
/// # Errors
/// Those of [`State::get`], and [`Error::Io`] when it isn't there.
pub fn read(state: &dyn State, path: &str, bytes_max: u64) -> Result<Vec<u8>> {
    let missing = || Error::io("open", path)(std::io::ErrorKind::NotFound.into());
    let stored = state.get(path, bytes_max)?;
    stored.map(|stored| stored.bytes).ok_or_else(missing)
}
