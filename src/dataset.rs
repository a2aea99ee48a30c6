//! A dataset: its files, its configuration, and which of its files are shards.

use std::collections::BTreeSet;
use std::sync::Arc;

use rayon::prelude::*;

use crate::config::Config;
use crate::error::{CannotClear, Error, Result};
use crate::identity::{Expansion, IdentityGraph};
use crate::observe::Observer;
use crate::request::{Disclosure, Request, RequiredColumns};
use crate::shard::Shard;
use crate::shard::clear::{Cleared, Clearing};
use crate::shard::json::json_leaves;
use crate::shard::roles::SubjectColumn;
use crate::shard::schema::column_names;
use crate::shard::sources::Sources;
use crate::storage::{FileInfo, Lock, Storage, TEMPORARY_SUFFIX};

/// Directory of efface's own files in a dataset.
pub const STATE_DIRECTORY: &str = "_efface";

/// Endings of shards.
const ENDINGS: [&str; 3] = [".parquet", ".parq", ".pq"];

/// What belongs to table formats that keep their own list of files and statistics of them.
const CATALOGS: [&str; 3] = ["_delta_log", ".hoodie", "metadata"];

/// A set of event shards with one configuration.
pub struct Dataset {
    /// Where its files are.
    pub storage: Arc<dyn Storage>,
    /// What its columns are for.
    pub config: Config,
    /// Is told how far work on it is.
    pub observer: Arc<dyn Observer>,
}

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

impl Dataset {
    /// Takes the lock of all work that changes the dataset; `holder` is what others are told. A directory
    /// without shards is left as it is, without a lock file.
    ///
    /// # Errors
    /// [`Locked`](Error::Locked), or what keeps the lock file from being made; when there are no shards.
    pub fn lock(&self, holder: &str) -> Result<Box<dyn Lock>> {
        let path = format!("{STATE_DIRECTORY}/lock");
        if self.storage.info(&path)?.is_none() {
            self.list()?;
        }
        self.storage.lock(&path, holder)
    }

    /// Its name: that of its directory.
    pub fn name(&self) -> String {
        let root = self.storage.root();
        // `.` has no name of its own.
        let path = std::path::absolute(&root);
        let name = path.as_ref().ok().and_then(|path| path.file_name());
        name.map_or(root, |name| name.to_string_lossy().into_owned())
    }

    /// Lists the files.
    ///
    /// # Errors
    /// When they can't be listed, or there are no shards.
    pub fn list(&self) -> Result<Files> {
        let mut files = Files {
            shards: Vec::new(),
            leftovers: Vec::new(),
            catalog: None,
            summaries: Vec::new(),
        };
        let aliases = self.config.aliases.as_deref();
        let resolved_aliases = match aliases {
            Some(path) => self.storage.resolve(path)?,
            None => None,
        };
        let is_alias_table =
            |path: &str| aliases == Some(path) || resolved_aliases.as_deref() == Some(path);
        for file in self.storage.list("")? {
            let name = file.path.rsplit('/').next().unwrap_or_default();
            if name.ends_with(TEMPORARY_SUFFIX) {
                // Behind a link it may be another dataset's, whose lock we don't have.
                if file.is_link {
                    continue;
                }
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
                path: self.storage.root(),
            });
        }
        Ok(files)
    }

    /// Opens a shard.
    ///
    /// # Errors
    /// Those of [`Shard::open`].
    pub fn open(&self, path: &str) -> Result<Shard> {
        Shard::open(&*self.storage, path)
    }

    /// Opens all shards, in their order.
    ///
    /// # Errors
    /// Those of [`Shard::open`].
    pub fn open_all(&self, files: &Files) -> Result<Vec<Shard>> {
        let open = |file: &FileInfo| self.open(&file.path);
        // All of them, so that the error is that of the first shard whoever is faster.
        let opened: Vec<Result<Shard>> = files.shards.par_iter().map(open).collect();
        opened.into_iter().collect()
    }

    /// The subject columns of a shard; none where the configuration says that it may lack them.
    ///
    /// # Errors
    /// When a column isn't there, or has a type that can't be compared with an id.
    pub fn subject_columns(&self, shard: &Shard) -> Result<Vec<SubjectColumn>> {
        match self.config.roles().subjects(shard) {
            Err(Error::MissingColumn { .. }) if self.config.may_lack_subject(&shard.path) => {
                Ok(Vec::new())
            }
            result => result,
        }
    }

    /// The links of the alias table.
    ///
    /// # Errors
    /// When the table can't be read.
    pub fn identities(&self) -> Result<IdentityGraph> {
        match self.config.alias_table() {
            Some(table) => IdentityGraph::load(&*self.storage, &table),
            None => Ok(IdentityGraph::empty()),
        }
    }

    /// The ids that a request covers, by the alias table.
    ///
    /// # Errors
    /// When the table can't be read, or an id expands too far.
    pub fn expand(&self, request: &Request) -> Result<Expansion> {
        let graph = self.identities()?;
        graph.expand(&request.subjects, request.identity, request.identity_cap)
    }

    /// What `request` clears, as far as the configuration and its options say.
    pub fn cleared(&self, request: &Request) -> String {
        if !request.clears() {
            return String::new();
        }
        let Config {
            time,
            source,
            json_column,
            ..
        } = &self.config;
        format!(
            "{time:?} {source:?} {json_column:?} {}",
            request.required_columns
        )
    }

    /// How the columns of a shard would lose what a delete of `disclosure` clears, whether that is allowed or not.
    ///
    /// # Errors
    /// What is wrong with a column that has a role.
    pub fn would_clear(&self, shard: &Shard, disclosure: Disclosure) -> Result<Clearing> {
        let roles = self.config.roles();
        let subjects = self.subject_columns(shard)?;
        let stay: BTreeSet<usize> = subjects
            .iter()
            .map(|column| column.leaf)
            .chain(roles.time(shard)?.map(|column| column.leaf))
            .collect();
        Ok(match disclosure {
            Disclosure::Data => Clearing::default(),
            Disclosure::Categories => Clearing::of(shard, Cleared::All, &stay),
            Disclosure::Sources => {
                let sources = Sources::new(&self.config.source);
                let json = json_leaves(shard, &self.config.json_column)?;
                Clearing::of(shard, Cleared::Sources(&sources, &json), &stay)
            }
        })
    }

    /// How the columns of a shard lose what a delete of `disclosure` clears.
    ///
    /// # Errors
    /// [`CannotBeNull`](Error::CannotBeNull), or what is wrong with a column that has a role.
    pub fn clearing(
        &self,
        shard: &Shard,
        disclosure: Disclosure,
        required_columns: RequiredColumns,
    ) -> Result<Clearing> {
        let sources = Sources::new(&self.config.source);
        let refuse = |column: &str, reason| Error::CannotBeNull {
            path: shard.path.clone(),
            column: column.to_owned(),
            reason,
        };
        if let Some(partition) =
            partition_names(&shard.path).find(|name| sources.column(name, name, Some(0)).is_some())
        {
            return Err(refuse(partition, CannotClear::Partition));
        }
        let clearing = self.would_clear(shard, disclosure)?;
        if let Some(column) = clearing.kept().first() {
            return Err(refuse(column, CannotClear::Role));
        }
        if let Some(column) = clearing.tangled().first() {
            return Err(refuse(column, CannotClear::Tangled));
        }
        match (clearing.required(), required_columns) {
            ([first, ..], RequiredColumns::Refuse) => Err(refuse(first, CannotClear::Required)),
            _ => Ok(clearing),
        }
    }

    /// Checks that a shard has the columns that have a role, with types that can have it; with
    /// `needs_time`, also that it has a time column.
    ///
    /// # Errors
    /// The first column that hasn't, or [`NoTimeColumn`](Error::NoTimeColumn).
    pub fn check_roles(&self, shard: &Shard, needs_time: bool) -> Result<()> {
        let is_ignored = self.subject_columns(shard)?.is_empty();
        if needs_time && !is_ignored && self.config.roles().time(shard)?.is_none() {
            return Err(Error::NoTimeColumn {
                path: shard.path.clone(),
                columns: column_names(shard.footer.schema()),
            });
        }
        Ok(())
    }
}

/// Whether a file of a dataset at this path counts as one of its shards.
pub fn is_shard(path: &str) -> bool {
    // Readers skip what begins so, but for partitions of a column with such a name.
    let is_hidden =
        |part: &str| part.starts_with('.') || (part.starts_with('_') && !part.contains('='));
    let lower = path.to_ascii_lowercase();
    ENDINGS.iter().any(|ending| lower.ends_with(ending)) && !path.split('/').any(is_hidden)
}

/// The columns that the directories of a shard's path stand for.
pub fn partition_names(path: &str) -> impl Iterator<Item = &str> {
    let directories = path.rsplit_once('/').map_or("", |(front, _)| front);
    directories
        .split('/')
        .filter_map(|part| Some(part.split_once('=')?.0))
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
