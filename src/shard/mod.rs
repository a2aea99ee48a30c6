//! One shard as the engine sees it: which rows belong to a set of ids, and the shard without them.
//!
//! ```text
//!   Shard::open ──> roles (which leaf is the subject, the time, a source)
//!              ├──> ids      canonical bytes of an id column: of dictionaries alone, or of every row
//!              ├──> select   exact rows of a set of ids, inside a time window
//!              └──> rewrite  the shard without some rows
//! ```
//!
//! * [`schema`]: columns by name; [`roles`]: what a column is for, and whether its type can be that
//! * [`ids`], [`select`], [`time`]: finding rows; [`batch_ids`]: ids of a shard that is being written
//! * [`chunk`], [`rewrite`]: dropping them, or clearing values in them; [`lineage`]: which row groups that touched
//! * [`clear`], [`sources`], [`json`]: which values are cleared
//! * [`residue`]: is a value left anywhere in the file

use std::sync::Arc;

use crate::error::{Error, FormatError, Result};
use crate::io::{self, ReadAt};
use crate::parquet_bytes::footer::Footer;

pub mod batch_ids;
pub mod chunk;
pub mod clear;
mod fate;
pub(crate) mod held;
pub mod ids;
pub mod json;
mod json_parts;
pub mod lineage;
mod output;
pub mod readback;
mod relay;
pub mod residue;
pub mod rewrite;
pub mod roles;
pub mod schema;
pub mod select;
mod shared;
pub mod sources;
pub mod time;

/// An open shard: its bytes and its footer, which has been checked.
#[derive(Clone)]
pub struct Shard {
    /// Relative to the dataset; for messages.
    pub path: String,
    /// The bytes. They stay those of this version of the shard, whatever happens to the path.
    pub file: Arc<dyn ReadAt>,
    /// The metadata.
    pub footer: Arc<Footer>,
}

impl Shard {
    /// A shard from any positioned reader; `path` names it in messages.
    ///
    /// # Errors
    /// When it can't be read, is not Parquet, is encrypted, or its footer is damaged or contradicts itself.
    pub fn new(path: &str, file: Arc<dyn ReadAt>) -> Result<Self> {
        let file = in_memory_if_short(path, file)?;
        let footer = Footer::read(&*file).map_err(|error| error.in_shard(path))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            footer: Arc::new(footer),
        })
    }

    /// The shard of which `footer` was read before.
    ///
    /// # Errors
    /// [`ShardChanged`](crate::error::Error::ShardChanged) when it has another footer now, or what keeps it from
    /// being read.
    pub fn with_footer(path: &str, file: Arc<dyn ReadAt>, footer: Arc<Footer>) -> Result<Self> {
        let file = in_memory_if_short(path, file)?;
        let hash = Footer::read_hash(&*file).map_err(|error| error.in_shard(path))?;
        if hash != footer.hash {
            return Err(Error::ShardChanged {
                path: path.to_owned(),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            footer,
        })
    }

    /// The number of the first row of each row group, and one more for the end.
    pub fn row_bases(&self) -> Vec<u64> {
        let mut base = 0;
        let mut bases = vec![0];
        for group in self.footer.row_groups() {
            base += group.rows;
            bases.push(base);
        }
        bases
    }
}

fn in_memory_if_short(path: &str, file: Arc<dyn ReadAt>) -> Result<Arc<dyn ReadAt>> {
    let read = io::short_in_memory(file);
    read.map_err(|source| FormatError::Read { offset: 0, source }.in_shard(path))
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
