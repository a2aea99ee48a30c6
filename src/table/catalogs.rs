//! Files that tell of shards: lists of files that other programs keep, and files that describe the bytes of one shard.
//!
//! ```text
//!   a path below the table ─────────> is it a part of a list? whose?
//!   the directories above the table ─> does a list lie beside one of them?
//!   the path of a shard ────────────> its sidecars: checksums, which are wrong once the shard is another
//! ```
//!
//! # Invariants
//! A list whose keeper is known makes every change of the table's files an error that names it. A sidecar goes before
//! its shard is replaced, so that no crash leaves a new shard beside the checksum of the old one.

use std::io;

use crate::error::{Catalog, Error, Keeper, Result};
use crate::file_system::FileSystem;

/// Directories that hold nothing but a list, whatever the files in them are called.
const LISTS: [(&str, Keeper); 4] = [
    ("_delta_log", Keeper::Delta),
    (".hoodie", Keeper::Hudi),
    ("_spark_metadata", Keeper::SparkSink),
    ("_symlink_format_manifest", Keeper::Manifests),
];

/// A directory, whether a file in it of such a name is of a list, and whose.
type NamedList = (&'static str, fn(&str) -> bool, Keeper);

/// Directories that hold a list if a file in them has such a name.
const NAMED_LISTS: [NamedList; 3] = [
    ("metadata", is_iceberg, Keeper::Iceberg),
    ("snapshot", is_snapshot, Keeper::Paimon),
    ("schema", is_schema, Keeper::Paimon),
];

/// Files that describe all shards of a directory and those below it together.
const SUMMARIES: [&str; 2] = ["_metadata", "_common_metadata"];

/// What the names of checksums add to the name of their file. Hadoop hides its own, and reads no file that differs.
const SIDECARS: [(&str, &str); 7] = [
    (".", ".crc"),
    ("", ".crc"),
    ("", ".crc32c"),
    ("", ".md5"),
    ("", ".sha1"),
    ("", ".sha256"),
    ("", ".sha512"),
];

/// The list that the file at `path` is a part of.
pub(super) fn of_file(path: &str) -> Option<Catalog> {
    let catalog = |end: usize, keeper| Catalog {
        path: path.get(..end).unwrap_or(path).to_owned(),
        keeper,
    };
    let (directory, name) = split(path);
    let mut end = 0;
    for part in directory.split('/') {
        end += part.len();
        let list = LISTS.iter().find(|(list, _)| *list == part);
        if let Some((_, keeper)) = list {
            return Some(catalog(end, *keeper));
        }
        if is_of_hive(part) {
            return Some(catalog(end, Keeper::Hive));
        }
        end += 1;
    }
    let last = split(directory).1;
    let named = NAMED_LISTS
        .iter()
        .find(|(list, is_of_it, _)| *list == last && is_of_it(name));
    if let Some((_, _, keeper)) = named {
        return Some(catalog(directory.len(), *keeper));
    }
    is_of_ducklake(name).then(|| catalog(path.len(), Keeper::DuckLake))
}

/// Whether there can be the list of a catalog in a directory of this name, which readers skip otherwise.
pub(super) fn is_list(name: &str) -> bool {
    LISTS.iter().any(|(list, _)| *list == name)
}

/// Names of directories in which there may be a list.
pub(super) fn list_names() -> impl Iterator<Item = &'static str> {
    let named = NAMED_LISTS.iter().map(|(name, _, _)| *name);
    LISTS.iter().map(|(name, _)| *name).chain(named)
}

/// The nearest list that lies beside the directory `dir` or one of those above it.
///
/// # Errors
/// When the file system fails. What may not be read is a list if nothing else has its name.
pub(super) fn above(files: &dyn FileSystem, dir: &str) -> Result<Option<Catalog>> {
    for above in files.above(dir)? {
        let catalog = |name: &str, keeper| Catalog {
            path: format!("{}/{name}", above.trim_end_matches('/')),
            keeper,
        };
        let names = |name: &str, limit| files.names(&catalog(name, Keeper::Delta).path, "", limit);
        for (list, keeper) in LISTS {
            match names(list, 1) {
                Ok(names) if names.is_empty() => {}
                Err(error) if is_forbidden(&error) => return Ok(Some(catalog(list, keeper))),
                Err(error) if !is_no_directory(&error) => return Err(error),
                Err(_) => {}
                Ok(_) => return Ok(Some(catalog(list, keeper))),
            }
        }
        for (list, is_of_it, keeper) in NAMED_LISTS {
            match names(list, usize::MAX) {
                Ok(names) if names.iter().any(|name| is_of_it(name)) => {
                    return Ok(Some(catalog(list, keeper)));
                }
                Err(error) if !is_no_directory(&error) && !is_forbidden(&error) => {
                    return Err(error);
                }
                Ok(_) | Err(_) => {}
            }
        }
        if is_of_hive(split(&above).1) {
            let path = above;
            let keeper = Keeper::Hive;
            return Ok(Some(Catalog { path, keeper }));
        }
    }
    Ok(None)
}

/// The nearest summary that lies in a directory above the root of `files`: it describes the shards in there, too.
///
/// # Errors
/// When the file system fails.
pub(super) fn summary_above(files: &dyn FileSystem) -> Result<Option<Catalog>> {
    for above in files.above("")?.into_iter().skip(1) {
        for name in SUMMARIES {
            let path = format!("{}/{name}", above.trim_end_matches('/'));
            match files.info(&path) {
                Ok(None) => {}
                Err(error) if is_forbidden(&error) || is_no_directory(&error) => {}
                Err(error) => return Err(error),
                Ok(Some(_)) => {
                    let keeper = Keeper::Summary;
                    return Ok(Some(Catalog { path, keeper }));
                }
            }
        }
    }
    Ok(None)
}

/// Whether a file describes all shards of a directory together.
pub(super) fn is_summary(path: &str) -> bool {
    SUMMARIES.contains(&split(path).1)
}

/// The places of files that describe the bytes of the one at `path`.
pub(super) fn sidecars(path: &str) -> impl Iterator<Item = String> {
    let (front, name) = match path.rfind('/') {
        Some(end) => path.split_at(end + 1),
        None => ("", path),
    };
    SIDECARS
        .iter()
        .map(move |(before, behind)| format!("{front}{before}{name}{behind}"))
}

/// Whether a file has a name as a sidecar has.
pub(super) fn is_sidecar(path: &str) -> bool {
    SIDECARS.iter().any(|(_, behind)| path.ends_with(behind))
}

fn is_iceberg(name: &str) -> bool {
    name.contains(".metadata.json")
}

fn is_snapshot(name: &str) -> bool {
    is_numbered(name, "snapshot-")
}

fn is_schema(name: &str) -> bool {
    is_numbered(name, "schema-")
}

fn is_numbered(name: &str, front: &str) -> bool {
    name.strip_prefix(front).is_some_and(is_digits)
}

/// `base_0000005`, `delta_0000006_0000007`, `delete_delta_0000006_0000007_0000`, also with `_v0000123` behind it.
fn is_of_hive(directory: &str) -> bool {
    let Some((front, visible)) = directory.split_once("_v").or(Some((directory, "0"))) else {
        return false;
    };
    let kinds: [(&str, &[usize]); 3] = [
        ("base_", &[1]),
        ("delta_", &[2, 3]),
        ("delete_delta_", &[2, 3]),
    ];
    kinds.iter().any(|(kind, counts)| {
        front.strip_prefix(kind).is_some_and(|numbers| {
            let numbers: Vec<&str> = numbers.split('_').collect();
            let writes = numbers.iter().take(2);
            counts.contains(&numbers.len())
                && is_digits(visible)
                && numbers.iter().all(|number| is_digits(number))
                && writes.into_iter().all(|number| number.len() >= 7)
        })
    })
}

/// `ducklake-<UUID>.parquet`.
fn is_of_ducklake(name: &str) -> bool {
    name.strip_prefix("ducklake-")
        .and_then(|name| name.strip_suffix(".parquet"))
        .is_some_and(|id| {
            id.len() == 36
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
        })
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_forbidden(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
}

/// Something else has the name.
fn is_no_directory(error: &Error) -> bool {
    match error {
        Error::Place { .. } => true,
        Error::Io { source, .. } => matches!(
            source.kind(),
            io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename
        ),
        _ => false,
    }
}

/// The directory of a path, and the name in it.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_every_keeper_are_known_by_the_paths_of_their_files() {
        for (path, list, keeper) in [
            ("_delta_log/0.json", "_delta_log", Keeper::Delta),
            ("a/_delta_log/b/c", "a/_delta_log", Keeper::Delta),
            ("t/metadata/v1.metadata.json", "t/metadata", Keeper::Iceberg),
            (
                "metadata/00001-x.gz.metadata.json",
                "metadata",
                Keeper::Iceberg,
            ),
            (".hoodie/hoodie.properties", ".hoodie", Keeper::Hudi),
            ("snapshot/snapshot-1", "snapshot", Keeper::Paimon),
            ("t/schema/schema-0", "t/schema", Keeper::Paimon),
            ("_spark_metadata/0", "_spark_metadata", Keeper::SparkSink),
            (
                "_symlink_format_manifest/manifest",
                "_symlink_format_manifest",
                Keeper::Manifests,
            ),
            (
                "t/delta_0000001_0000001_0000/a.parquet",
                "t/delta_0000001_0000001_0000",
                Keeper::Hive,
            ),
            (
                "base_0000005_v0000012/a.parquet",
                "base_0000005_v0000012",
                Keeper::Hive,
            ),
            (
                "ducklake-0190a9c4-7a3b-7c5d-8e6f-0123456789ab.parquet",
                "ducklake-0190a9c4-7a3b-7c5d-8e6f-0123456789ab.parquet",
                Keeper::DuckLake,
            ),
        ] {
            let found = of_file(path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!((found.path.as_str(), found.keeper), (list, keeper));
        }
        for path in [
            "metadata/part.parquet",
            "metadata",
            "metadata/x/v1.metadata.json",
            "snapshot/snapshot-x.parquet",
            "schema/schema.json",
            "delta_1/a.parquet",
            "delta_2024_01/a.parquet",
            "base_v2/a.parquet",
            "ducklake-events.parquet",
        ] {
            assert_eq!(of_file(path), None, "{path}");
        }
    }

    #[test]
    fn sidecars_lie_beside_their_shard() {
        let all: Vec<String> = sidecars("d=1/a.parquet").collect();
        assert!(all.contains(&"d=1/.a.parquet.crc".to_owned()), "{all:?}");
        assert!(all.contains(&"d=1/a.parquet.sha256".to_owned()), "{all:?}");
        assert!(sidecars("a.parquet").any(|path| path == ".a.parquet.crc"));
    }
}
