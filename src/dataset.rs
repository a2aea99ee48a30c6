//! A dataset: a table of shards, efface's own state, and the configuration that says what the columns are for.

use std::sync::Arc;

use crate::config::{Config, HardLinks};
use crate::error::{Error, Result};
use crate::identity::{AliasTable, Expansion, IdentityGraph};
use crate::io::ReadAt;
use crate::observe::Observer;
use crate::request::Request;
use crate::shard::Shard;
use crate::state::{DIRECTORY, Lease, State};
use crate::table::{ShardRef, Snapshot, Table};

/// A set of event shards with one configuration.
#[derive(Clone)]
pub struct Dataset {
    /// The shards.
    pub table: Arc<dyn Table>,
    /// Where efface's own files lie.
    pub state: Arc<dyn State>,
    /// What the columns are for.
    pub config: Config,
    /// Takes note of how far work is.
    pub observer: Arc<dyn Observer>,
}

impl Dataset {
    /// Takes the lease of all work that changes the dataset; `holder` names the caller in the messages that others
    /// get. A place without shards is left as it is, without a file of efface's.
    ///
    /// # Errors
    /// [`Locked`](Error::Locked), or what keeps the lease from being taken; when there are no shards.
    pub fn lease(&self, holder: &str) -> Result<Box<dyn Lease>> {
        let path = format!("{DIRECTORY}/lock");
        if !self.state.has(&path)? {
            self.snapshot()?;
        }
        self.state.lease(&path, holder)
    }

    /// Its name: the last part of the table's.
    pub fn name(&self) -> String {
        let name = self.table.name();
        let mut parts = name.rsplit('/').filter(|part| !part.is_empty());
        parts.next().unwrap_or(&name).to_owned()
    }

    /// The shards as they are now.
    ///
    /// # Errors
    /// When they can't be listed, or there are none.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let mut snapshot = self.table.snapshot()?;
        if let Some(aliases) = self.config.aliases.as_deref() {
            let resolved = self.table.resolve(aliases)?;
            let is_alias_table = |path: &str| aliases == path || resolved.as_deref() == Some(path);
            snapshot.shards.retain(|shard| !is_alias_table(&shard.path));
        }
        if snapshot.shards.is_empty() {
            return Err(Error::NoShards {
                path: self.table.name(),
            });
        }
        Ok(snapshot)
    }

    /// Whether a new file can take the place of a shard of `table`, by what is configured of other names.
    ///
    /// # Errors
    /// Why it can't; when the table can't tell.
    pub(crate) fn check_replaceable(&self, table: &dyn Table, shard: &ShardRef) -> Result<()> {
        self.check_names(shard)?;
        table.check_replaceable(shard)
    }

    /// The error that rows of a shard would stay elsewhere, unless that is configured to be right.
    pub(crate) fn check_names(&self, shard: &ShardRef) -> Result<()> {
        match self.config.hard_links {
            HardLinks::Keep if shard.other_names() > 0 => Ok(()),
            HardLinks::Keep | HardLinks::Wait => shard.check_obstacle(),
        }
    }

    /// Opens a shard.
    ///
    /// # Errors
    /// Those of [`Table::open`] and [`Shard::new`].
    pub fn open(&self, shard: &ShardRef) -> Result<Shard> {
        Shard::new(&shard.path, self.table.open(shard)?)
    }

    /// The file of the alias table, as a table of its own.
    ///
    /// # Errors
    /// When it isn't there.
    pub(crate) fn open_aliases(&self, table: &AliasTable) -> Result<AliasFile> {
        let files = self.table.neighbour(&table.path)?;
        let missing = || Error::io("open", &table.path)(std::io::ErrorKind::NotFound.into());
        let snapshot = files.snapshot()?;
        let shard = snapshot.shards.first().cloned().ok_or_else(missing)?;
        Ok(AliasFile {
            files,
            snapshot,
            shard,
        })
    }

    /// The links of the alias table.
    ///
    /// # Errors
    /// When the table can't be read.
    pub fn identities(&self) -> Result<IdentityGraph> {
        match self.config.alias_table() {
            Some(table) => IdentityGraph::load(self.open_aliases(&table)?.open()?, &table),
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
}

/// The file of an alias table, in one version.
pub(crate) struct AliasFile {
    /// The table that is made of it alone.
    pub(crate) files: Arc<dyn Table>,
    /// The snapshot of that table: the file alone.
    pub(crate) snapshot: Snapshot,
    /// The file.
    pub(crate) shard: ShardRef,
}

impl AliasFile {
    /// Opens the file.
    pub(crate) fn open(&self) -> Result<Arc<dyn ReadAt>> {
        self.files.open(&self.shard)
    }
}
