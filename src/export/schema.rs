//! One Arrow schema over shards whose schemas differ.
//!
//! ```text
//!   Unifier::add(path, what is shown of a shard) ... ──> finish ──> Unified ── conform ──> batches of the export
//! ```
//!
//! * Columns go by name, in the order of their first appearance; a column that a shard lacks is null there.
//! * Types that differ become their [common type](super::common_type).
//! * A directory `name=value` adds a column of strings, unless the file has a column of that name.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::arrow_types::told_field;
use super::common_type::common_field;
use super::shown::Shown;
use crate::error::{Error, Result};

/// Gathers the schema of an export, shard by shard.
#[derive(Default)]
pub(super) struct Unifier {
    columns: Vec<Column>,
    places: HashMap<String, usize>,
    shards: usize,
}

/// The schema of an export, and where it comes from.
pub(super) struct Unified {
    pub(super) schema: SchemaRef,
    /// For each column, two shards whose types it has in common (or one twice).
    paths: Vec<[String; 2]>,
}

impl Unified {
    /// A shard other than the one at `path`, if there is one, that the type of a column comes from.
    pub(super) fn other_path(&self, column: usize, path: &str) -> String {
        let paths = self.paths.get(column).into_iter().flatten();
        let other = paths.rev().find(|other| *other != path);
        other.map_or(path, String::as_str).to_owned()
    }
}

struct Column {
    field: Field,
    /// The first shard that has it.
    path: String,
    /// The last shard that changed its type.
    changed_by: String,
    /// The last shard that was looked at.
    seen_in: String,
    /// How many shards have it.
    shards: usize,
}

impl Unifier {
    /// Adds the columns that are shown of the shard at `path`.
    ///
    /// # Errors
    /// When the shard has two columns of one name, which are told apart before.
    pub(super) fn add(&mut self, path: &str, shown: &Shown) -> Result<()> {
        self.shards += 1;
        let schema = &shown.schema;
        let derived = shown.partitions.iter().map(|partition| {
            Field::new(&partition.name, DataType::Utf8, partition.value.is_none())
        });
        for field in schema
            .fields()
            .iter()
            .map(|field| told_field(field))
            .chain(derived)
        {
            let Some(column) = self
                .places
                .get(field.name())
                .and_then(|place| self.columns.get_mut(*place))
            else {
                self.places.insert(field.name().clone(), self.columns.len());
                self.columns.push(Column {
                    field,
                    path: path.to_owned(),
                    changed_by: path.to_owned(),
                    seen_in: path.to_owned(),
                    shards: 1,
                });
                continue;
            };
            column.shards += 1;
            if column.seen_in == path {
                return Err(Error::Internal {
                    path: path.to_owned(),
                    invariant: "columns of one shard have different names",
                });
            }
            path.clone_into(&mut column.seen_in);
            let common = common_field(&column.field, &field);
            if common.data_type() != column.field.data_type() {
                path.clone_into(&mut column.changed_by);
            }
            column.field = common;
        }
        Ok(())
    }

    /// The schema that holds the rows of every shard that was added.
    pub(super) fn finish(self) -> Unified {
        let shards = self.shards;
        let mut fields = Vec::with_capacity(self.columns.len());
        let mut paths = Vec::with_capacity(self.columns.len());
        for column in self.columns {
            let nullable = column.field.is_nullable() || column.shards < shards;
            fields.push(column.field.with_nullable(nullable));
            paths.push([column.path, column.changed_by]);
        }
        Unified {
            schema: Arc::new(Schema::new(fields)),
            paths,
        }
    }
}
