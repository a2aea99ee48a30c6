//! One chunk that is rebuilt, and the values that leave it.

use crate::error::FormatError;
use crate::shard::Shard;
use crate::shard::chunk::elements;
use crate::shard::chunk::erasure::{Erasure, What};
use crate::shard::chunk::{Source, Tools};
use crate::shard::clear::{Action, Clearing};

/// One chunk that is rebuilt.
pub(in crate::shard) struct ChunkTask<'a> {
    /// Its row group.
    pub(in crate::shard) group: usize,
    /// Its column.
    pub(in crate::shard) leaf: usize,
    /// The rows that it loses, or whose values it loses, counted in the row group.
    pub(in crate::shard) rows: &'a [u32],
    /// Whether dictionary entries go that nothing referred to before.
    pub(in crate::shard) scrub: bool,
}

impl ChunkTask<'_> {
    /// Bytes of the chunk as it is.
    pub(in crate::shard) fn bytes(&self, shard: &Shard) -> u64 {
        let group = shard.footer.row_groups().get(self.group);
        let chunk = group.and_then(|group| group.chunks.get(self.leaf));
        chunk.map_or(0, |chunk| chunk.range.end - chunk.range.start)
    }
}

/// Shows `then` what goes from a chunk in the rows `rows` of its row group.
///
/// # Errors
/// Those of `then`, and when the column of a map's keys is damaged.
pub(in crate::shard) fn with_erasure<T>(
    shard: &Shard,
    (group, leaf): (usize, usize),
    rows: &[u32],
    clearing: Option<&Clearing>,
    tools: &mut Tools,
    then: impl FnOnce(&Erasure<'_>, &mut Tools) -> Result<T, FormatError>,
) -> Result<T, FormatError> {
    let Some(clearing) = clearing else {
        let what = What::Rows;
        return then(&Erasure { rows, what }, tools);
    };
    match clearing.action(leaf) {
        None => then(&Erasure::NONE, tools),
        Some(Action::Null {
            repetition,
            definition,
        }) => {
            let what = What::Null {
                repetition: *repetition,
                definition: *definition,
            };
            then(&Erasure { rows, what }, tools)
        }
        Some(Action::Members(edit) | Action::Empty(edit)) => {
            let what = What::Replace(&**edit);
            then(&Erasure { rows, what }, tools)
        }
        Some(Action::Keys {
            key,
            levels,
            sources,
            path,
        }) => {
            let chunk = |leaf| Source::of(shard, group, leaf);
            let (Some(key), Some(source)) = (chunk(*key), chunk(leaf)) else {
                return then(&Erasure::NONE, tools);
            };
            let is_gone = |key: &[u8]| {
                std::str::from_utf8(key).is_ok_and(|key| sources.name_key(path, key, key))
            };
            let elements = elements::find(&key, &source, rows, *levels, &is_gone, tools)?;
            let what = What::Elements(&elements);
            then(&Erasure { rows, what }, tools)
        }
    }
}
