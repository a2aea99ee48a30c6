//! Which files of a directory tree are shards, and what else there matters to a delete.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::storage::{FileInfo, Storage, TEMPORARY_SUFFIX};

/// Directory of efface's own files in a dataset.
pub const STATE_DIRECTORY: &str = "_efface";

/// Endings of shards.
const ENDINGS: [&str; 3] = [".parquet", ".parq", ".pq"];

/// What belongs to table formats that keep their own list of files and statistics of them.
const CATALOGS: [&str; 3] = ["_delta_log", ".hoodie", "metadata"];

/// A dataset's files.
#[derive(Debug, Clone)]
pub struct Files {
    /// The shards, in the order of their paths.
    pub shards: Vec<FileInfo>,
    /// Temporary files that an interrupted run left behind.
    pub leftovers: Vec<String>,
    /// The catalog of a table format, if the dataset is such a table.
    pub catalog: Option<String>,
    /// Summaries of all footers (`_metadata`), which a rewrite of any shard makes stale.
    pub summaries: Vec<String>,
}

/// Lists a dataset.
///
/// # Errors
/// When it can't be listed, or has no shards.
pub fn list(storage: &dyn Storage, config: &Config) -> Result<Files> {
    let mut files = Files {
        shards: Vec::new(),
        leftovers: Vec::new(),
        catalog: None,
        summaries: Vec::new(),
    };
    let aliases = config.aliases.as_deref();
    let resolved_aliases = aliases.and_then(|path| storage.resolve(path));
    let is_alias_table =
        |path: &str| aliases == Some(path) || resolved_aliases.as_deref() == Some(path);
    for file in storage.list("")? {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        if name.ends_with(TEMPORARY_SUFFIX) {
            files.leftovers.push(file.path);
        } else if let Some(catalog) = catalog(&file.path) {
            files.catalog.get_or_insert(catalog);
        } else if matches!(name, "_metadata" | "_common_metadata") {
            files.summaries.push(file.path);
        } else if is_shard(&file.path) && !is_alias_table(&file.path) {
            files.shards.push(file);
        }
    }
    if files.shards.is_empty() {
        return Err(Error::NoShards {
            path: storage.root(),
        });
    }
    Ok(files)
}

/// Whether a file of a dataset at this path counts as one of its shards.
pub fn is_shard(path: &str) -> bool {
    // Readers skip what begins so, but for partitions of a column with such a name.
    let is_hidden =
        |part: &str| part.starts_with('.') || (part.starts_with('_') && !part.contains('='));
    let lower = path.to_ascii_lowercase();
    ENDINGS.iter().any(|ending| lower.ends_with(ending)) && !path.split('/').any(is_hidden)
}

fn catalog(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').collect();
    let at = parts.iter().position(|part| CATALOGS.contains(part))?;
    let (dirs, rest) = parts.split_at(at + 1);
    let is_iceberg = dirs.last() == Some(&"metadata");
    if is_iceberg
        && !rest
            .last()
            .is_some_and(|name| name.ends_with(".metadata.json"))
    {
        return None;
    }
    (!rest.is_empty()).then(|| dirs.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_files_and_those_of_catalogs_are_no_shards() {
        for path in ["a.parquet", "d=1/b.PARQUET", "_d=1/c.pq"] {
            assert!(is_shard(path), "{path}");
        }
        for path in [
            "_a.parquet",
            ".a.parquet",
            "_efface/a.parquet",
            "x/.y/a.parquet",
            "a.csv",
        ] {
            assert!(!is_shard(path), "{path}");
        }
        assert_eq!(catalog("_delta_log/0.json").as_deref(), Some("_delta_log"));
        assert_eq!(
            catalog("t/metadata/v1.metadata.json").as_deref(),
            Some("t/metadata")
        );
        assert_eq!(catalog("metadata/part.parquet"), None);
        assert_eq!(catalog("metadata"), None);
    }
}
