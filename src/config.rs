//! A dataset's configuration, `_efface/dataset.toml`.
//!
//! ```toml
//! subject = ["distinct_id", "device_id"]
//! time = "time"
//! time_unit = "ms"                  # of a time column of plain integers
//! source = ["lib", "utm_source"]
//! json_column = ["properties"]
//! text_column = ["comment"]         # which holds no JSON, whatever its first values look like
//! aliases = "../aliases.parquet"    # relative to the dataset
//! empty_shards = "keep"             # or "remove": what becomes of a shard that loses all its rows
//! hard_links = "wait"               # or "keep": what becomes of a shard that has other names
//! ignore = ["legacy/"]              # shards that may lack the subject column
//! key_file = "/etc/efface/key"      # of the hashes in receipts, rather than _efface/key
//! state_group = "privacy"           # its members may read _efface; otherwise only who runs efface
//! ```

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::identity::AliasTable;
use crate::shard::roles::Roles;
use crate::shard::time::UnitName;
use crate::state::{Expect, State};

mod columns;

pub use columns::partition_names;

/// What the columns of a dataset are for, and how it is to be treated. What is empty has its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Subject columns, by dotted path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subject: Vec<String>,
    /// The time column, by dotted path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The unit of a time column of plain integers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_unit: Option<UnitName>,
    /// Source columns, by dotted path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source: Vec<String>,
    /// String columns that hold JSON objects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub json_column: Vec<String>,
    /// String columns that hold no JSON, whatever their values look like.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub text_column: Vec<String>,
    /// The alias table, relative to the dataset or absolute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aliases: Option<String>,
    /// Its column of aliases, unless it is called `alias`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias_column: Option<String>,
    /// Its column of distinct ids, unless it is called `distinct_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias_distinct_id_column: Option<String>,
    /// What becomes of a shard that loses all its rows.
    pub empty_shards: EmptyShards,
    /// What becomes of a shard that has other names.
    #[serde(skip_serializing_if = "HardLinks::is_default")]
    pub hard_links: HardLinks,
    /// Paths, or beginnings of paths, of shards that may lack the subject column.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// Where the secret key of the hashes of ids lies, relative to the dataset or absolute, unless it is
    /// [`key_file::PATH`](crate::key_file::PATH).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// The group, by name or number, whose members may read efface's own files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_group: Option<String>,
}

/// What becomes of a shard that loses all its rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmptyShards {
    /// It stays, as a valid file of its schema without rows.
    #[default]
    Keep,
    /// It is removed.
    Remove,
}

/// What becomes of a shard that has other names (hard links), under which its rows stay when it is replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HardLinks {
    /// It is left as it is, and the requests that have rows in it wait until it has one name.
    #[default]
    Wait,
    /// It is replaced all the same: the other names are known, such as those of backups. Receipts count them.
    Keep,
}

impl HardLinks {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde hands over a reference"
    )]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// No configuration is longer than this.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

impl Config {
    /// Where it is in a dataset.
    pub const PATH: &str = "_efface/dataset.toml";

    /// The configuration of a dataset; `None` when it has none.
    ///
    /// # Errors
    /// When it can't be read or understood.
    pub fn load(state: &dyn State) -> Result<Option<Self>> {
        let Some(stored) = state.get(Self::PATH, CONFIG_BYTES_MAX)? else {
            return Ok(None);
        };
        let text = String::from_utf8(stored.bytes).map_err(|_| Error::State {
            path: Self::PATH.to_owned(),
            reason: "it is not UTF-8".into(),
        })?;
        toml::from_str(&text)
            .map(Some)
            .map_err(|source| Error::Config {
                path: Self::PATH.to_owned(),
                source: Box::new(source),
            })
    }

    /// Writes the configuration into a dataset, in one step.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn store(&self, state: &dyn State) -> Result<()> {
        let text = toml::to_string(self).map_err(|error| Error::State {
            path: Self::PATH.to_owned(),
            reason: error.to_string(),
        })?;
        state
            .put(Self::PATH, text.as_bytes(), Expect::Any)
            .map(drop)
    }

    /// What was decided under this configuration, in a dataset that is configured as `now`: which shards may lack the
    /// subject column, where the key lies and what becomes of other names are its owner's word at any time.
    #[must_use]
    pub fn carried_into(&self, now: &Self) -> Self {
        Self {
            ignore: now.ignore.clone(),
            hard_links: now.hard_links,
            key_file: now.key_file.clone(),
            ..self.clone()
        }
    }

    /// The keys whose values differ in `other`.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        // Plain values can always be written as TOML.
        let [left, right] =
            [self, other].map(|config| toml::Table::try_from(config).unwrap_or_default());
        let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
        let differ = keys
            .into_iter()
            .filter(|key| left.get(*key) != right.get(*key));
        differ.cloned().collect()
    }

    /// The first configured source that can be the name of nothing, if there is one.
    pub fn empty_source(&self) -> Option<&str> {
        let is_empty = |name: &&String| name.split('.').any(str::is_empty);
        self.source.iter().find(is_empty).map(String::as_str)
    }

    /// The columns that have a role.
    pub fn roles(&self) -> Roles {
        Roles {
            subjects: self.subject.clone(),
            time: self.time.clone(),
            time_unit: self.time_unit,
        }
    }

    /// The alias table, if there is one.
    pub fn alias_table(&self) -> Option<AliasTable> {
        let mut table = AliasTable::new(self.aliases.as_ref()?);
        if let Some(column) = &self.alias_column {
            table.alias_column.clone_from(column);
        }
        if let Some(column) = &self.alias_distinct_id_column {
            table.distinct_id_column.clone_from(column);
        }
        Some(table)
    }

    /// Whether the shard at `path` may lack the subject column.
    pub fn may_lack_subject(&self, path: &str) -> bool {
        self.ignore
            .iter()
            .any(|start| path.starts_with(start.as_str()))
    }

    /// What the index depends on: another one makes it worthless.
    pub(crate) fn index_key(&self) -> String {
        // Indexes that were built of the first column of a name alone are worthless where there are two.
        let mut key = "every column of a name\n".to_owned() + &self.subject.join("\n");
        // A shard that may no longer lack the subject column must be looked at again.
        for path in &self.ignore {
            key.push_str("\n\nignore ");
            key.push_str(path);
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_system::disk::Disk;
    use crate::state::files::StateFiles;

    #[test]
    fn a_configuration_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let disk = StateFiles::new(Disk::new(dir.path()));
        assert_eq!(Config::load(&disk).unwrap(), None);
        let config = Config {
            subject: vec!["distinct_id".into(), "user.id".into()],
            time_unit: Some(UnitName::Milliseconds),
            empty_shards: EmptyShards::Remove,
            ..Config::default()
        };
        config.store(&disk).unwrap();
        assert_eq!(Config::load(&disk).unwrap(), Some(config));
    }

    #[test]
    fn what_was_decided_is_carried_along_except_for_what_is_the_owners_word() {
        let decided = Config {
            aliases: Some("a.csv".into()),
            ignore: vec!["old/".into()],
            ..Config::default()
        };
        let now = Config {
            subject: vec!["email".into()],
            ignore: vec!["legacy/".into()],
            hard_links: HardLinks::Keep,
            key_file: Some("/etc/key".into()),
            ..Config::default()
        };
        let carried = decided.carried_into(&now);
        assert_eq!(carried.differences(&now), ["aliases", "subject"]);
        assert_eq!(carried.differences(&carried), [""; 0]);
        assert_eq!(carried.ignore, ["legacy/"]);
        assert_eq!(carried.hard_links, HardLinks::Keep);
    }

    #[test]
    fn a_misspelt_key_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let disk = StateFiles::new(Disk::new(dir.path()));
        disk.put(Config::PATH, b"subjects = [\"x\"]", Expect::Any)
            .unwrap();
        assert!(
            Config::load(&disk)
                .unwrap_err()
                .to_string()
                .contains("subjects")
        );
    }
}
