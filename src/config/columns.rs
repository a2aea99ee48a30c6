//! What the columns of one shard are for, by the configuration, and how they are cleared.

use std::collections::BTreeSet;

use super::Config;
use crate::error::{CannotClear, Error, Result};
use crate::request::{Disclosure, Request, RequiredColumns};
use crate::shard::Shard;
use crate::shard::clear::{Cleared, Clearing};
use crate::shard::json::{Said, json_leaves};
use crate::shard::roles::SubjectColumn;
use crate::shard::schema::column_names;
use crate::shard::sources::Sources;

impl Config {
    /// The subject columns of a shard; none where the configuration says that it may lack them.
    ///
    /// # Errors
    /// When a column isn't there, or has a type that can't be compared with an id.
    pub fn subject_columns(&self, shard: &Shard) -> Result<Vec<SubjectColumn>> {
        match self.roles().subjects(shard) {
            Err(Error::MissingColumn { .. }) if self.may_lack_subject(&shard.path) => {
                Ok(Vec::new())
            }
            result => result,
        }
    }

    /// What the configuration says of string columns; `is_doubt_refused` where keys of JSON count.
    pub fn said(&self, is_doubt_refused: bool) -> Said<'_> {
        Said {
            json: &self.json_column,
            text: &self.text_column,
            is_doubt_refused,
        }
    }

    /// What `request` clears, as far as the configuration and its options say.
    pub fn cleared(&self, request: &Request) -> String {
        if !request.clears() {
            return String::new();
        }
        let Self {
            time,
            source,
            json_column,
            text_column,
            ..
        } = self;
        format!(
            "{time:?} {source:?} {json_column:?} {text_column:?} {}",
            request.required_columns
        )
    }

    /// How the columns of a shard would lose what a delete of `disclosure` clears, whether that is allowed or not.
    ///
    /// # Errors
    /// What is wrong with a column that has a role.
    pub fn would_clear(&self, shard: &Shard, disclosure: Disclosure) -> Result<Clearing> {
        let roles = self.roles();
        let subjects = self.subject_columns(shard)?;
        let stay: BTreeSet<usize> = subjects
            .iter()
            .map(|column| column.leaf)
            .chain(roles.time_leaves(shard)?)
            .collect();
        Ok(match disclosure {
            Disclosure::Data => Clearing::default(),
            Disclosure::Categories => Clearing::of(shard, Cleared::All, &stay),
            Disclosure::Sources => {
                let sources = Sources::of(&self.source, shard)?;
                let json = json_leaves(shard, self.said(true))?;
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
        let sources = Sources::of(&self.source, shard)?;
        let refuse = |column: &str, reason| Error::CannotBeNull {
            path: shard.path.clone(),
            column: column.to_owned(),
            reason,
        };
        if let Some(partition) =
            partition_names(&shard.path).find(|name| sources.column(name, name).is_some())
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
        if needs_time && !is_ignored && self.roles().time(shard)?.is_none() {
            return Err(Error::NoTimeColumn {
                path: shard.path.clone(),
                columns: column_names(shard.footer.schema()),
            });
        }
        Ok(())
    }
}

/// The columns that the directories of a shard's path stand for.
pub fn partition_names(path: &str) -> impl Iterator<Item = &str> {
    let directories = path.rsplit_once('/').map_or("", |(front, _)| front);
    directories
        .split('/')
        .filter_map(|part| Some(part.split_once('=')?.0))
}
