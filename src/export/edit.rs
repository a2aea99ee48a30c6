//! How an array becomes what an export shows of it.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, GenericListArray, LargeBinaryArray, MapArray,
    OffsetSizeTrait, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{CastOptions, cast_with_options, filter};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use arrow::error::ArrowError;

use crate::shard::json::only_members;
use crate::shard::sources::Sources;

/// How an array becomes what is shown of it.
#[derive(Debug, Clone)]
pub(super) enum Edit {
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

/// The fields of what `edits` show of `fields`.
pub(super) fn shown_fields(edits: &[Option<Edit>], fields: &Fields) -> Fields {
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

    /// The part of `array` that is shown, as `field`. `array` holds only the leaves that are read.
    ///
    /// # Errors
    /// When its type does not let sources be separated, or it isn't the text that it should be.
    pub(super) fn apply(&self, array: &ArrayRef, field: &Field) -> Result<ArrayRef, ArrowError> {
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
        key.is_ok_and(|key| sources.name_key(path, key, key))
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
    let only = |text| only_members(text, |inside, key| sources.name_key(path, inside, key));
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
