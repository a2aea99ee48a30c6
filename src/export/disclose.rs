//! The part of a shard that an export shows: everything, or only whose, when, and how it was collected.
//!
//! ```text
//!   Clearing (what a delete of sources would take out) ──> per column: Edit ──> leaves to read, schema, batches
//! ```
//!
//! An export of sources shows exactly the values that a delete of sources removes, and whose and when each row is.
//! [`Clearing`] alone decides what is a source. A JSON object that holds no source is null here, a map that holds
//! none is empty.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Fields, Schema};
use parquet::arrow::ProjectionMask;

use super::edit::{Edit, shown_fields};
use super::partitions::{Partition, partitions};
use super::shown::Shown;
use crate::config::Config;
use crate::error::{CannotClear, Error, Result};
use crate::shard::Shard;
use crate::shard::clear::{Action, Cleared, Clearing};
use crate::shard::json::json_leaves;
use crate::shard::sources::Sources;

/// What says whose and when each row of `shard` is, and how it was collected.
///
/// # Errors
/// When a column that has a role isn't there or has a wrong type, or a page that had to be looked at is damaged.
pub(super) fn sources(shard: &Shard, schema: &Schema, config: &Config) -> Result<Shown> {
    let roles = config.roles();
    let stay: BTreeSet<usize> = roles
        .subjects(shard)?
        .iter()
        .map(|column| column.leaf)
        .chain(roles.time_leaves(shard)?)
        .collect();
    let sources = Arc::new(Sources::of(&config.source, shard)?);
    let json = json_leaves(shard, config.said(true))?;
    let clearing = Clearing::of(shard, Cleared::Sources(&sources, &json), &stay);
    if let Some(column) = clearing.tangled().first() {
        // What a delete can't take out alone, an export can't show alone.
        return Err(Error::CannotBeNull {
            path: shard.path.clone(),
            column: column.clone(),
            reason: CannotClear::Tangled,
        });
    }
    let mut walk = Walk {
        clearing,
        stay,
        sources: Arc::clone(&sources),
        leaf: 0,
        read: Vec::new(),
    };
    let top = Place {
        path: "",
        is_named: true,
    };
    let edits = walk.fields(schema.fields(), top);
    let fields = shown_fields(&edits, schema.fields());
    let is_shown = |partition: &Partition| sources.column(&partition.name, &partition.name);
    let mut partitions = partitions(&shard.path, schema);
    partitions.retain(|partition| is_shown(partition).is_some());
    Ok(Shown {
        schema: Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())),
        partitions,
        leaves: ProjectionMask::leaves(shard.footer.schema(), walk.read),
        edits: Some(edits.into_iter().flatten().collect()),
    })
}

/// Where a column stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// Its dotted path, as users write it.
    path: &'a str,
    /// Whether names below it are part of the path: those of fields are, until a map.
    is_named: bool,
}

/// Goes through an Arrow schema leaf by leaf, as the Parquet schema has them.
struct Walk {
    clearing: Clearing,
    stay: BTreeSet<usize>,
    sources: Arc<Sources>,
    /// The next leaf.
    leaf: usize,
    /// The leaves that are read.
    read: Vec<usize>,
}

impl Walk {
    fn fields(&mut self, fields: &Fields, around: Place<'_>) -> Vec<Option<Edit>> {
        let each = fields.iter().map(|field| {
            let path = match around.path {
                _ if !around.is_named => around.path.to_owned(),
                "" => field.name().clone(),
                path => format!("{path}.{}", field.name()),
            };
            let place = Place {
                path: &path,
                ..around
            };
            self.node(field.data_type(), place)
        });
        each.collect()
    }

    fn node(&mut self, data_type: &DataType, place: Place<'_>) -> Option<Edit> {
        match data_type {
            DataType::Struct(fields) => {
                let edits = self.fields(fields, place);
                let is_whole = edits.iter().all(|edit| matches!(edit, Some(Edit::Keep)));
                match edits.iter().any(Option::is_some) {
                    true if is_whole => Some(Edit::Keep),
                    is_shown => is_shown.then_some(Edit::Fields(edits)),
                }
            }
            DataType::Map(entry, _) => self.keys(entry.data_type()).or_else(|| {
                let inside = Place {
                    is_named: false,
                    ..place
                };
                // Half of a map can't be read.
                let first = self.leaf;
                let edit = self.node(entry.data_type(), inside)?;
                self.read.retain(|leaf| *leaf < first);
                self.read.extend(first..self.leaf);
                Some(match edit {
                    Edit::Fields(mut edits) => {
                        for edit in &mut edits {
                            edit.get_or_insert(Edit::Keep);
                        }
                        Edit::Entries(Box::new(Edit::Fields(edits)))
                    }
                    edit => edit,
                })
            }),
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                // A map without values comes as the list of its keys.
                let keys = self.keys(item.data_type());
                keys.or_else(|| match self.node(item.data_type(), place)? {
                    Edit::Keep => Some(Edit::Keep),
                    edit => Some(Edit::Items(Box::new(edit))),
                })
            }
            DataType::Dictionary(_, values) => self.node(values, place),
            _ => self.leaf(place),
        }
    }

    /// The map that begins at the next leaf, if it loses keys.
    fn keys(&mut self, entries: &DataType) -> Option<Edit> {
        let Some(Action::Keys {
            key, sources, path, ..
        }) = self.clearing.action(self.leaf)
        else {
            return None;
        };
        // Only at the map itself, not at lists that are its values.
        if *key != self.leaf {
            return None;
        }
        let edit = Edit::Keys(Arc::clone(sources), path.clone());
        let leaves = leaf_count(entries);
        self.read.extend(self.leaf..self.leaf + leaves);
        self.leaf += leaves;
        Some(edit)
    }

    fn leaf(&mut self, place: Place<'_>) -> Option<Edit> {
        let leaf = self.leaf;
        self.leaf += 1;
        let edit = match self.clearing.action(leaf) {
            _ if self.stay.contains(&leaf) => Edit::Keep,
            None => return None,
            Some(Action::Null { .. } | Action::Empty(_) | Action::Keys { .. }) => Edit::Keep,
            Some(Action::Members(_)) => {
                Edit::Members(Arc::clone(&self.sources), place.path.to_owned())
            }
        };
        self.read.push(leaf);
        Some(edit)
    }
}

/// Leaves of a type, as Parquet counts them.
pub(super) fn leaf_count(data_type: &DataType) -> usize {
    match data_type {
        DataType::Struct(fields) => fields
            .iter()
            .map(|field| leaf_count(field.data_type()))
            .sum(),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => leaf_count(item.data_type()),
        DataType::Dictionary(_, values) => leaf_count(values),
        _ => 1,
    }
}
