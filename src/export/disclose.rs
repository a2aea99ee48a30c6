//! What of a shard an export shows: everything, or only whose, when, and how it was collected.
//!
//! ```text
//!   Clearing (what a delete of sources would take out) ──> per column: Edit ──> leaves to read, schema, batches
//! ```
//!
//! An export of sources shows just what a delete of sources takes out, and whose and when each row is: what is a
//! source is decided in one place, [`Clearing`]. A JSON object that holds no source is null here, a map that holds
//! none is empty.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, GenericListArray, LargeBinaryArray, MapArray,
    OffsetSizeTrait, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{CastOptions, cast_with_options, filter};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ProjectionMask;

use super::conform::conform;
use super::partitions::{Partition, partitions};
use super::schema::Unified;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::shard::Shard;
use crate::shard::clear::{Action, Cleared, Clearing};
use crate::shard::json::{json_leaves, only_members};
use crate::shard::sources::Sources;

/// What an export shows of one shard.
pub(super) struct Shown {
    /// The schema of what is shown.
    pub(super) schema: SchemaRef,
    /// The columns that its path stands for.
    pub(super) partitions: Vec<Partition>,
    /// The leaves that are read.
    pub(super) leaves: ProjectionMask,
    /// How each column that is read becomes what is shown; without, as it is.
    edits: Option<Vec<Edit>>,
}

/// How an array becomes what is shown of it.
#[derive(Debug, Clone)]
enum Edit {
    /// It is shown as it is.
    Keep,
    /// A struct: of each field, nothing or what is shown.
    Fields(Vec<Option<Edit>>),
    /// A list: its items.
    Items(Box<Edit>),
    /// A map: its keys and values.
    Entries(Box<Edit>),
    /// A map of which only the sources are shown.
    Keys(Arc<Sources>, String),
    /// JSON objects of which only the sources are shown.
    Members(Arc<Sources>, String),
}

impl Shown {
    /// All of a shard with this Arrow schema.
    pub(super) fn everything(path: &str, schema: SchemaRef) -> Self {
        Self {
            partitions: partitions(path, &schema),
            schema,
            leaves: ProjectionMask::all(),
            edits: None,
        }
    }

    /// What says whose and when each row of `shard` is, and how it was collected.
    ///
    /// # Errors
    /// When a column that has a role isn't there or has a wrong type, or a page that had to be looked at is damaged.
    pub(super) fn sources(shard: &Shard, schema: &Schema, config: &Config) -> Result<Self> {
        let roles = config.roles();
        let stay: BTreeSet<usize> = roles
            .subjects(shard)?
            .iter()
            .map(|column| column.leaf)
            .chain(roles.time(shard)?.map(|column| column.leaf))
            .collect();
        let sources = Arc::new(Sources::new(&config.source));
        let json = json_leaves(shard, &config.json_column)?;
        let mut walk = Walk {
            clearing: Clearing::of(shard, Cleared::Sources(&sources, &json), &stay),
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
        let is_shown =
            |partition: &Partition| sources.column(&partition.name, &partition.name, Some(0));
        let mut partitions = partitions(&shard.path, schema);
        partitions.retain(|partition| is_shown(partition).is_some());
        Ok(Self {
            schema: Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())),
            partitions,
            leaves: ProjectionMask::leaves(shard.footer.schema(), walk.read),
            edits: Some(edits.into_iter().flatten().collect()),
        })
    }

    /// A batch of the leaves that were read from the shard at `path`, in the schema of the export.
    ///
    /// # Errors
    /// When a value doesn't fit the common type.
    pub(super) fn conform(
        &self,
        path: &str,
        batch: &RecordBatch,
        unified: &Unified,
    ) -> Result<RecordBatch> {
        let edited = match &self.edits {
            None => None,
            Some(edits) => {
                let columns = edits.iter().zip(batch.columns()).zip(self.schema.fields());
                let columns = columns.map(|((edit, column), field)| edit.apply(column, field));
                let columns = columns.collect::<Result<Vec<_>, _>>();
                Some(columns.map_err(|source| Error::Arrow {
                    context: path.to_owned(),
                    source,
                })?)
            }
        };
        let columns = edited.as_deref().unwrap_or(batch.columns());
        let shown = (self.schema.as_ref(), columns);
        conform(path, shown, batch.num_rows(), &self.partitions, unified)
    }
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

fn shown_fields(edits: &[Option<Edit>], fields: &Fields) -> Fields {
    let shown = edits.iter().zip(fields);
    let shown = shown.filter_map(|(edit, field)| Some(Arc::new(edit.as_ref()?.field(field))));
    shown.collect()
}

impl Edit {
    /// The field of what is shown of `field`.
    fn field(&self, field: &Field) -> Field {
        let data_type = match (self, field.data_type()) {
            (Self::Fields(edits), DataType::Struct(fields)) => {
                DataType::Struct(shown_fields(edits, fields))
            }
            (Self::Items(edit), DataType::List(item)) => DataType::List(edit.item(item)),
            (Self::Items(edit), DataType::LargeList(item)) => DataType::LargeList(edit.item(item)),
            (Self::Items(edit), DataType::FixedSizeList(item, len)) => {
                DataType::FixedSizeList(edit.item(item), *len)
            }
            (Self::Entries(edit), DataType::Map(entry, sorted)) => {
                DataType::Map(edit.item(entry), *sorted)
            }
            (Self::Members(..), DataType::Dictionary(_, values)) => values.as_ref().clone(),
            (_, other) => other.clone(),
        };
        let is_nullable = field.is_nullable() || matches!(self, Self::Members(..));
        field
            .clone()
            .with_data_type(data_type)
            .with_nullable(is_nullable)
    }

    fn item(&self, item: &FieldRef) -> FieldRef {
        Arc::new(self.field(item))
    }

    /// What is shown of `array`, which holds just the leaves that are read, as `field`.
    fn apply(&self, array: &ArrayRef, field: &Field) -> Result<ArrayRef, ArrowError> {
        match (self, array.data_type(), field.data_type()) {
            (Self::Fields(edits), DataType::Struct(_), DataType::Struct(fields)) => {
                let array = fields_of(edits, array.as_struct(), fields)?;
                Ok(Arc::new(array))
            }
            (Self::Items(edit), DataType::List(_), DataType::List(item)) => {
                items::<i32>(edit, array, item)
            }
            (Self::Items(edit), DataType::LargeList(_), DataType::LargeList(item)) => {
                items::<i64>(edit, array, item)
            }
            (Self::Entries(edit), DataType::Map(..), DataType::Map(entry, sorted)) => {
                let map = array.as_map();
                let entries: ArrayRef = Arc::new(map.entries().clone());
                let entries = edit.apply(&entries, entry)?;
                let map = MapArray::try_new(
                    Arc::clone(entry),
                    map.offsets().clone(),
                    entries.as_struct().clone(),
                    map.nulls().cloned(),
                    *sorted,
                )?;
                Ok(Arc::new(map))
            }
            (Self::Keys(sources, path), DataType::Map(..), DataType::Map(entry, sorted)) => {
                let map = array.as_map();
                let is_kept = are_sources(map.keys(), sources, path)?;
                let offsets = kept_offsets(map.offsets(), &is_kept, |row| map.is_null(row));
                let is_kept = within(map.offsets(), &is_kept, |row| map.is_null(row));
                let entries = filter(map.entries(), &is_kept)?;
                let map = MapArray::try_new(
                    Arc::clone(entry),
                    offsets,
                    entries.as_struct().clone(),
                    map.nulls().cloned(),
                    *sorted,
                )?;
                Ok(Arc::new(map))
            }
            (Self::Keys(sources, path), DataType::List(_), DataType::List(item)) => {
                let list = array.as_list::<i32>();
                let is_kept = are_sources(list.values(), sources, path)?;
                let offsets = kept_offsets(list.offsets(), &is_kept, |row| list.is_null(row));
                let is_kept = within(list.offsets(), &is_kept, |row| list.is_null(row));
                let values = filter(list.values(), &is_kept)?;
                let nulls = list.nulls().cloned();
                let list =
                    GenericListArray::<i32>::try_new(Arc::clone(item), offsets, values, nulls)?;
                Ok(Arc::new(list))
            }
            (Self::Members(sources, path), ..) => members(array, field, sources, path),
            (Self::Keep, ..) => Ok(Arc::clone(array)),
            (_, found, _) => Err(ArrowError::NotYetImplemented(format!(
                "the sources inside of column {:?}, which is {found}",
                field.name()
            ))),
        }
    }
}

fn fields_of(
    edits: &[Option<Edit>],
    array: &StructArray,
    fields: &Fields,
) -> Result<StructArray, ArrowError> {
    let shown = edits.iter().flatten().zip(array.columns()).zip(fields);
    let columns = shown
        .map(|((edit, column), field)| edit.apply(column, field))
        .collect::<Result<Vec<_>, _>>()?;
    StructArray::try_new_with_length(fields.clone(), columns, array.nulls().cloned(), array.len())
}

fn items<O: OffsetSizeTrait>(
    edit: &Edit,
    array: &ArrayRef,
    item: &FieldRef,
) -> Result<ArrayRef, ArrowError> {
    let list = array.as_list::<O>();
    let values = edit.apply(list.values(), item)?;
    let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
    let list = GenericListArray::<O>::try_new(Arc::clone(item), offsets, values, nulls)?;
    Ok(Arc::new(list))
}

fn are_sources(keys: &ArrayRef, sources: &Sources, path: &str) -> Result<BooleanArray, ArrowError> {
    let is_source = |key: &[u8]| {
        let key = std::str::from_utf8(key);
        key.is_ok_and(|key| sources.name_key(path, key))
    };
    let keys = text_bytes(keys)?;
    Ok(keys
        .iter()
        .map(|key| Some(key.is_some_and(is_source)))
        .collect())
}

/// Whether each element belongs to a row that isn't null and is kept.
fn within(
    offsets: &OffsetBuffer<i32>,
    is_kept: &BooleanArray,
    is_null: impl Fn(usize) -> bool,
) -> BooleanArray {
    let mut kept = vec![false; is_kept.len()];
    for (_, range) in ranges(offsets)
        .enumerate()
        .filter(|(row, _)| !is_null(*row))
    {
        for at in range {
            if let Some(kept) = kept.get_mut(at) {
                *kept = is_kept.value(at);
            }
        }
    }
    kept.into()
}

/// The offsets of lists of which only some elements are kept.
fn kept_offsets(
    offsets: &OffsetBuffer<i32>,
    is_kept: &BooleanArray,
    is_null: impl Fn(usize) -> bool,
) -> OffsetBuffer<i32> {
    let lengths = ranges(offsets).enumerate().map(|(row, range)| {
        if is_null(row) {
            return 0;
        }
        range.filter(|at| is_kept.value(*at)).count()
    });
    OffsetBuffer::from_lengths(lengths)
}

fn ranges(offsets: &OffsetBuffer<i32>) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
    let place = |offset: i32| usize::try_from(offset).unwrap_or(0);
    let pairs = offsets.iter().zip(offsets.iter().skip(1));
    pairs.map(move |(start, end)| place(*start)..place(*end))
}

fn members(
    array: &ArrayRef,
    field: &Field,
    sources: &Sources,
    path: &str,
) -> Result<ArrayRef, ArrowError> {
    let texts = text_bytes(array)?;
    let only = |text| only_members(text, |key| sources.name_key(path, key));
    let shown: LargeBinaryArray = texts.iter().map(|text| text.and_then(only)).collect();
    let shown: ArrayRef = Arc::new(shown);
    match field.data_type() {
        DataType::Utf8 | DataType::Utf8View => {
            exactly(&exactly(&shown, &DataType::LargeUtf8)?, field.data_type())
        }
        other => exactly(&shown, other),
    }
}

/// The bytes of an array of text or binary, however it is encoded.
pub(super) fn text_bytes(array: &ArrayRef) -> Result<LargeBinaryArray, ArrowError> {
    match array.data_type() {
        DataType::Dictionary(_, values) => text_bytes(&exactly(array, values)?),
        DataType::Utf8View => text_bytes(&exactly(array, &DataType::LargeUtf8)?),
        _ => {
            let bytes = exactly(array, &DataType::LargeBinary)?;
            Ok(bytes.as_binary::<i64>().clone())
        }
    }
}

/// The array as another type, or an error if a value has none there.
fn exactly(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(array, to, &options)
}
