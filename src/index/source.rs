//! How shards are read to index them.

use roaring::RoaringBitmap;

use crate::error::Result;
use crate::subject::SubjectHash;
use crate::table::ShardRef;

/// How a refresh reads shards. It is called from several threads at once.
pub trait ShardSource: Sync {
    /// What time it is by the clock that gives shards their times; `None` where that isn't known.
    ///
    /// # Errors
    /// When the clock can't be read.
    fn clock_ns(&self) -> Result<Option<i64>>;

    /// Reads a shard's footer, and no more.
    ///
    /// # Errors
    /// When it can't be read; the refresh then ends with this error.
    fn footer(&self, file: &ShardRef) -> Result<ShardFooter>;

    /// Gives `emit` every subject id of the row groups `row_groups` of a shard: its hash under `seed`, and the
    /// row group, counted from 0 within the shard. The same pair may come any number of times.
    ///
    /// # Errors
    /// When the shard can't be read; the refresh then ends with this error.
    fn scan(
        &self,
        file: &ShardRef,
        row_groups: &RoaringBitmap,
        seed: u64,
        emit: &mut dyn FnMut(SubjectHash, u32),
    ) -> Result<ShardFooter>;
}

/// What a shard's footer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardFooter {
    /// A hash of all its bytes.
    pub hash: u64,
    /// Row groups of the shard.
    pub row_groups: u32,
    /// Rows of the shard.
    pub rows: u64,
}
