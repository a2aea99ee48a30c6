//! Which shards of a dataset are live, and the one way to change that.
//!
//! ```text
//!   snapshot ──> ShardRef .. ── open ──> ReadAt of that version
//!                   │
//!                 stage ──> Staging (a sink that nobody else has) ── settle ──> durable
//!                                                                      │
//!                                      commit(swaps): old ones out, new ones in, or Changed
//! ```
//!
//! * [`directory`]: a directory of files, where the name of a file is its place
//! * `catalogs`: files that tell of shards
//! * [`throttled`]: any table, at a rate
//!
//! # Invariants
//! * A staged file belongs to one run: no two calls of [`Table::stage`] ever give the same one, so a run that comes
//!   back from the dead writes where nobody reads.
//! * A commit swaps a shard only if it still has the version that the swap names.
//! * A staged file is invisible to readers until it is committed.
//!
//! # Crash behaviour
//! What a commit swapped is durable when it returns. If a process dies before that, each shard (or, by
//! [`CommitUnit::WholeTable`], all of them) is the old one or the new one; [`Table::recover`] makes what is there
//! durable, and removes what was staged and is not wanted.
//! [`crate::testing::table`] checks all of this for any implementation.

use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Catalog, Error, PlaceFault, Result};
use crate::io::{ReadAt, Sink};

mod catalogs;
pub mod directory;
pub mod throttled;

/// Distinguishes one content of a shard from every other.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardVersion {
    /// By the times of a file. Two changes within one tick of the clock have the same times.
    Times {
        /// The last modification, in nanoseconds since 1970.
        modified_ns: i64,
        /// The last change that no program can set back, in nanoseconds since 1970; 0 where there is none.
        changed_ns: i64,
    },
    /// By a tag that no other content ever has: an entity tag, a version, a name that is never used again.
    Tag(String),
}

/// A live shard, in one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRef {
    /// The shard, relative to the table.
    #[serde(deserialize_with = "inside")]
    pub path: String,
    /// The length in bytes.
    pub bytes: u64,
    /// The version.
    pub version: ShardVersion,
    /// Why its rows would stay where it points to, or under other names, when it is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<Obstacle>,
}

/// Why rows of a shard stay when it is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Obstacle {
    /// It is a symbolic link, or lies behind one: the rows would stay in the file that the link points to. No table
    /// replaces it.
    Link,
    /// It has so many names (hard links): the rows would stay under the others.
    Names(u64),
}

/// The content of a table at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The live shards, in the order of their paths.
    pub shards: Vec<ShardRef>,
    /// The version of the table, if it has one as a whole.
    pub version: Option<String>,
    /// A list of these files that something else keeps, so that a commit here would make it wrong. It may lie above the
    /// table.
    pub managed_by: Option<Catalog>,
    /// Files that describe all shards together (`_metadata`). A commit removes them, because it makes them wrong.
    pub summaries: Vec<String>,
    /// Files that a run staged and did not live to commit.
    pub leftovers: Vec<String>,
}

/// One change of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// The shard that goes.
    pub old: ShardRef,
    /// The staged file that takes its place; `None` if nothing does.
    pub new: Option<String>,
}

/// The outcome of a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// The positions of the replacements that were not done, because another process had changed or removed their
    /// shards. With [`CommitUnit::WholeTable`], nothing was done if there are any.
    pub changed: Vec<usize>,
    /// Files that described the bytes of single old shards (`.NAME.crc`) and went with them.
    pub sidecars: Vec<String>,
}

/// How much a commit changes in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitUnit {
    /// Each shard on its own: a commit of some shards is as valid as a commit of all.
    EachShard,
    /// The whole table: all replacements of a pass must be in one commit.
    WholeTable,
}

/// A new shard that is being written, and that no reader sees.
pub trait Staging: Sink {
    /// Its name in the table, which other processes can use, too.
    fn name(&self) -> &str;

    /// Attributes of the old shard that it lacks, because they describe the old content or can't be set.
    fn left_out(&self) -> &[String] {
        &[]
    }
}

/// Which shards are live, and the one way to change that.
pub trait Table: Send + Sync {
    /// The name of the table in messages.
    fn name(&self) -> String;

    /// The shards that are live now.
    ///
    /// # Errors
    /// When the table can't be read.
    fn snapshot(&self) -> Result<Snapshot>;

    /// Whether a commit may change files of the table, as far as can be seen without listing them: nothing else keeps a
    /// list of them. A [`snapshot`](Self::snapshot) knows for certain.
    ///
    /// # Errors
    /// [`Error::ManagedTable`]; when the table can't tell.
    fn check_changeable(&self) -> Result<()> {
        Ok(())
    }

    /// One shard as it is now; `None` if it isn't live.
    ///
    /// # Errors
    /// When the table can't be read.
    fn find(&self, path: &str) -> Result<Option<ShardRef>>;

    /// Opens a shard in the version of `shard`.
    ///
    /// # Errors
    /// [`Error::ShardChanged`] when that version is no longer there; any failure to open it.
    fn open(&self, shard: &ShardRef) -> Result<Arc<dyn ReadAt>>;

    /// The current time by the clock of [`ShardVersion::Times`]; `None` if it isn't known, or if no version is made of
    /// times.
    ///
    /// # Errors
    /// When the clock can't be read.
    fn clock_ns(&self) -> Result<Option<i64>>;

    /// Whether a new file can take the place of `shard`, and nobody can read it who couldn't read the old one. Asked
    /// before anything is touched. Whether rows may stay under other names is the caller's to judge.
    ///
    /// # Errors
    /// Why it can't: [`Error::Place`]; when the table can't tell.
    fn check_replaceable(&self, shard: &ShardRef) -> Result<()> {
        match shard.obstacle {
            Some(Obstacle::Link) => shard.check_obstacle(),
            Some(Obstacle::Names(_)) | None => Ok(()),
        }
    }

    /// Begins a file that is to take the place of `of`, with its permissions. Nobody else ever gets it.
    ///
    /// # Errors
    /// When it can't be begun; [`Error::ShardChanged`] when that version of `of` is no longer there, if the table can tell.
    fn stage(&self, of: &ShardRef) -> Result<Box<dyn Staging>>;

    /// Makes the staged files of a batch durable together. They can still be opened by their names.
    ///
    /// # Errors
    /// When one of them can't be made durable.
    fn settle(&self, staged: &mut [Box<dyn Staging>]) -> Result<()>;

    /// Lets other processes open settled files by their names, until they are discarded or committed. The default does
    /// nothing: they can.
    ///
    /// # Errors
    /// When that fails.
    fn share(&self, names: &[String]) -> Result<()> {
        let _ = names;
        Ok(())
    }

    /// Opens a staged file by its name.
    ///
    /// # Errors
    /// When it isn't there, or no longer, or can't be opened.
    fn open_staged(&self, name: &str) -> Result<Arc<dyn ReadAt>>;

    /// Removes staged files that are not wanted. One that isn't there is no error; one that a commit has put in place
    /// stays, also if that commit ended in an error.
    ///
    /// # Errors
    /// When one can't be removed.
    fn discard(&self, names: &[String]) -> Result<()>;

    /// Carries out `replacements` of shards of `base`, after removing its [`summaries`](Snapshot::summaries).
    ///
    /// # Errors
    /// [`Error::ManagedTable`], or any failure of the table. Some of the replacements may have been done then.
    fn commit(&self, base: &Snapshot, replacements: &[Replacement]) -> Result<Committed>;

    /// How much a commit changes in one step.
    fn commit_unit(&self) -> CommitUnit;

    /// Makes durable what a process that died had committed or was about to (`announced`), and removes the
    /// [`leftovers`](Snapshot::leftovers) of `base`: nothing else that was staged, because other machines may still
    /// hand it in. The caller has the lease of all work that changes the dataset.
    ///
    /// # Errors
    /// When something can't be made durable or removed.
    fn recover(&self, base: &Snapshot, announced: &[String]) -> Result<()>;

    /// Bytes of free room; `None` if there is no bound, or none that is known.
    ///
    /// # Errors
    /// When the table can't tell.
    fn room(&self) -> Result<Option<u64>>;

    /// Files that the process may have open at a time; `None` where open shards take none, or no bound is known.
    fn open_files_max(&self) -> Option<u64> {
        None
    }

    /// The table of one file or directory that lies at `path` as seen from this one.
    ///
    /// # Errors
    /// When there can't be one.
    fn neighbour(&self, path: &str) -> Result<Arc<dyn Table>>;

    /// The path that a snapshot uses for the file that `path` names; `None` if that file isn't in the table.
    ///
    /// # Errors
    /// When the table can't tell.
    fn resolve(&self, path: &str) -> Result<Option<String>>;
}

impl Snapshot {
    /// The error that the files can't be changed, if something else keeps a list of them.
    ///
    /// # Errors
    /// [`Error::ManagedTable`].
    pub fn check_changeable(&self) -> Result<()> {
        match &self.managed_by {
            None => Ok(()),
            Some(catalog) => Err(Error::ManagedTable {
                catalog: catalog.clone(),
            }),
        }
    }
}

impl ShardVersion {
    /// The version as two numbers. Equal versions give equal numbers; different ones differ, as far as a hash can tell.
    pub fn stamp(&self) -> (i64, i64) {
        match self {
            Self::Times {
                modified_ns,
                changed_ns,
            } => (*modified_ns, *changed_ns),
            Self::Tag(tag) => {
                let bytes = xxhash_rust::xxh3::xxh3_128(tag.as_bytes()).to_le_bytes();
                let half = |at: usize| {
                    let half = bytes.get(at..at + 8).and_then(|half| half.try_into().ok());
                    i64::from_le_bytes(half.unwrap_or_default())
                };
                (half(0), half(8))
            }
        }
    }
}

/// A count of other names is left out of what is written where there are none.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
pub(crate) fn is_zero(names: &u64) -> bool {
    *names == 0
}

/// A path of a task or a result, which may have been written by anybody: it must not lead out of the table.
pub(crate) fn inside<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<String, D::Error> {
    let path = String::deserialize(deserializer)?;
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(D::Error::custom("a path leads out of the table"));
    }
    Ok(path)
}

impl ShardRef {
    /// Whether `now` is the same shard, in the same version.
    pub fn is_same(&self, now: &Self) -> bool {
        self.path == now.path && self.bytes == now.bytes && self.version == now.version
    }

    /// The names that it has besides this one.
    pub fn other_names(&self) -> u64 {
        match self.obstacle {
            Some(Obstacle::Names(names)) => names.saturating_sub(1),
            Some(Obstacle::Link) | None => 0,
        }
    }

    /// The error that rows would stay elsewhere if the shard were replaced, if they would.
    ///
    /// # Errors
    /// [`Error::Place`].
    pub fn check_obstacle(&self) -> Result<()> {
        let path = self.path.clone();
        match self.obstacle {
            None => Ok(()),
            Some(Obstacle::Link) => Err(Error::Place {
                path,
                fault: PlaceFault::Link,
            }),
            Some(Obstacle::Names(names)) => Err(Error::Place {
                path,
                fault: PlaceFault::HardLinks { names },
            }),
        }
    }

    /// The error that the shard is no longer this version.
    pub fn changed(&self) -> Error {
        Error::ShardChanged {
            path: self.path.clone(),
        }
    }
}
