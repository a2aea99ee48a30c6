//! Lists of files that something else than efface keeps.

use std::fmt;

/// A list of files that something else keeps: changing one of them would make it wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    /// The list: a file or a directory, relative to the dataset, or absolute if it lies above.
    pub path: String,
    /// Who keeps it.
    pub keeper: Keeper,
}

/// Who keeps a list of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Keeper {
    /// Delta's log.
    Delta,
    /// Iceberg's metadata.
    Iceberg,
    /// Hudi's timeline.
    Hudi,
    /// Paimon's snapshots and schemas.
    Paimon,
    /// The log of a sink of Spark's Structured Streaming.
    SparkSink,
    /// The directories of Hive's transactions, which its metastore lists.
    Hive,
    /// The database of a `DuckLake`, which lists files and their sizes.
    DuckLake,
    /// Manifests for readers that list no directories.
    Manifests,
    /// A summary of the footers of all files in a directory above the dataset.
    Summary,
}

impl Catalog {
    /// What the caller can do instead.
    pub(super) fn advice(&self) -> &'static str {
        match self.keeper {
            Keeper::Delta
            | Keeper::Iceberg
            | Keeper::Hudi
            | Keeper::Paimon
            | Keeper::DuckLake
            | Keeper::Manifests => {
                "let the table's own engine delete the rows, or rewrite single files and commit them through the catalog"
            }
            Keeper::Hive => "let Hive delete the rows and compact the table",
            Keeper::SparkSink => {
                "when no stream writes or reads it any more, remove that directory, so that readers list the files"
            }
            Keeper::Summary => {
                "open the directory that it lies in, so that the summary goes with the old shards, or remove it"
            }
        }
    }
}

impl fmt::Display for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delta => "a Delta table",
            Self::Iceberg => "an Iceberg table",
            Self::Hudi => "a Hudi table",
            Self::Paimon => "a Paimon table",
            Self::SparkSink => "the output of a Spark stream",
            Self::Hive => "a transactional Hive table",
            Self::DuckLake => "a DuckLake",
            Self::Manifests => "a table with manifests",
            Self::Summary => "a directory with a summary",
        })
    }
}
