//! Ids in the names of shards and of the directories that they lie in: what a delete of rows would leave there.

use crate::config::EmptyShards;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::subject::names::Names;
use crate::table::ShardRef;

/// The error that a name with one of the ids of `names` would stay, if a delete removes just the shards that are
/// `gone`: of all their rows nothing is left.
///
/// # Errors
/// When the table can't tell.
pub(crate) fn stays(
    dataset: &Dataset,
    shards: &[ShardRef],
    names: &Names,
    gone: &dyn Fn(&str) -> bool,
) -> Result<Option<Error>> {
    let removes = dataset.config.empty_shards == EmptyShards::Remove;
    for shard in shards {
        let path = shard.path.as_str();
        let Some((position, end)) = names.find(path) else {
            continue;
        };
        let is_file = end == path.len();
        let goes = removes
            && gone(path)
            && (is_file
                || dataset
                    .table
                    .goes_with(path.get(..end).unwrap_or(path), gone)?);
        if !goes {
            let what = if is_file { "file" } else { "directory" };
            return Ok(Some(Error::NameStays { position, what }));
        }
    }
    Ok(None)
}
