//! One Arrow schema over shards whose schemas differ, and batches brought into it.
//!
//! ```text
//!   Unifier::add(path, schema of a shard) ... ──> finish ──> schema of the export
//!   conform(batch of a shard, its partition values, that schema) ──> batch of the export
//! ```
//!
//! * Columns go by name, in the order of their first appearance; a column that a shard lacks is null there.
//! * Types that differ become a type that holds both exactly (integers and floats widen, every kind of string
//!   becomes a plain one, timestamps get the finer unit); where there is none, the error names both shards.
//! * A directory `name=value` adds a column of strings, unless the file has a column of that name: it
//!   is data held about the rows.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StructArray, new_null_array};
use arrow::array::{GenericListArray, MapArray, OffsetSizeTrait};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use super::disclose::Shown;
use crate::error::{Error, FormatError, Result};

/// What Hive writes for a partition whose value is null.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// A column that a shard's path holds, and its value in every row of the shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Partition {
    pub(super) name: String,
    value: Option<String>,
}

/// Gathers the schema of an export, shard by shard.
#[derive(Default)]
pub(super) struct Unifier {
    columns: Vec<Column>,
    places: HashMap<String, usize>,
    shards: usize,
}

struct Column {
    field: Field,
    /// The first shard that has it.
    path: String,
    /// How many shards have it.
    shards: usize,
}

impl Unifier {
    /// Adds the columns that are shown of the shard at `path`.
    ///
    /// # Errors
    /// When the shard has two columns of one name, or a column has no type in common with an earlier shard's.
    pub(super) fn add(&mut self, path: &str, shown: &Shown) -> Result<()> {
        self.shards += 1;
        let schema = &shown.schema;
        let derived = shown.partitions.iter().map(|partition| {
            Field::new(&partition.name, DataType::Utf8, partition.value.is_none())
        });
        for field in schema
            .fields()
            .iter()
            .map(|field| (**field).clone())
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
                    shards: 1,
                });
                continue;
            };
            column.shards += 1;
            if column.path == path {
                return Err(FormatError::Unsupported {
                    feature: format!("a file with two columns named {:?}", field.name()),
                }
                .in_shard(path));
            }
            column.field =
                common_field(&column.field, &field).ok_or_else(|| Error::SchemaConflict {
                    column: field.name().clone(),
                    left_path: column.path.clone(),
                    left: column.field.data_type().to_string(),
                    right_path: path.to_owned(),
                    right: field.data_type().to_string(),
                })?;
        }
        Ok(())
    }

    /// The schema that holds the rows of every shard that was added.
    pub(super) fn finish(self) -> SchemaRef {
        let shards = self.shards;
        let fields: Vec<Field> = self
            .columns
            .into_iter()
            .map(|column| {
                let nullable = column.field.is_nullable() || column.shards < shards;
                column.field.with_nullable(nullable)
            })
            .collect();
        Arc::new(Schema::new(fields))
    }
}

/// The columns that the directories of `path` stand for and that `schema` doesn't have.
pub(super) fn partitions(path: &str, schema: &Schema) -> Vec<Partition> {
    let directories = path
        .rsplit_once('/')
        .map_or("", |(directories, _)| directories);
    let mut found: Vec<Partition> = Vec::new();
    for component in directories.split('/') {
        let Some((name, value)) = component.split_once('=') else {
            continue;
        };
        let name = percent_decoded(name);
        let known = found.iter().any(|partition| partition.name == name);
        if name.is_empty() || known || schema.column_with_name(&name).is_some() {
            continue;
        }
        let value = (value != HIVE_NULL).then(|| percent_decoded(value));
        found.push(Partition { name, value });
    }
    found
}

/// A shard's batch in the schema of the export.
///
/// # Errors
/// When a value doesn't fit the common type (a timestamp too far away for the finer unit).
pub(super) fn conform(
    batch: &RecordBatch,
    partitions: &[Partition],
    schema: &SchemaRef,
) -> Result<RecordBatch, ArrowError> {
    let rows = batch.num_rows();
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            if let Some(column) = batch.column_by_name(field.name()) {
                return conform_array(column, field);
            }
            match partitions
                .iter()
                .find(|partition| partition.name == *field.name())
            {
                Some(partition) => {
                    let value = partition.value.as_deref();
                    let column: ArrayRef =
                        Arc::new(std::iter::repeat_n(value, rows).collect::<StringArray>());
                    conform_array(&column, field)
                }
                None => Ok(new_null_array(field.data_type(), rows)),
            }
        })
        .collect::<Result<Vec<_>, ArrowError>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

fn conform_array(array: &ArrayRef, field: &Field) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == field.data_type() {
        return Ok(Arc::clone(array));
    }
    match (array.data_type(), field.data_type()) {
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let array = conform_struct(array.as_struct(), fields)?;
            Ok(Arc::new(array))
        }
        (DataType::List(_), DataType::List(item)) => conform_list::<i32>(array, item),
        (DataType::LargeList(_), DataType::LargeList(item)) => conform_list::<i64>(array, item),
        (DataType::Map(..), DataType::Map(entry, sorted)) => {
            let map = array.as_map();
            let DataType::Struct(fields) = entry.data_type() else {
                return Err(ArrowError::SchemaError(
                    "a map whose entries are no struct".into(),
                ));
            };
            let entries = conform_entries(map.entries(), fields)?;
            let map = MapArray::try_new(
                Arc::clone(entry),
                map.offsets().clone(),
                entries,
                map.nulls().cloned(),
                *sorted,
            )?;
            Ok(Arc::new(map))
        }
        (_, to) => {
            let options = CastOptions {
                safe: false,
                ..CastOptions::default()
            };
            cast_with_options(array, to, &options)
        }
    }
}

fn conform_struct(array: &StructArray, fields: &Fields) -> Result<StructArray, ArrowError> {
    let columns = fields
        .iter()
        .map(|field| match array.column_by_name(field.name()) {
            Some(column) => conform_array(column, field),
            None => Ok(new_null_array(field.data_type(), array.len())),
        })
        .collect::<Result<Vec<_>, _>>()?;
    StructArray::try_new_with_length(fields.clone(), columns, array.nulls().cloned(), array.len())
}

/// The key and the value of a map go by position: writers name them differently.
fn conform_entries(array: &StructArray, fields: &Fields) -> Result<StructArray, ArrowError> {
    let columns = array
        .columns()
        .iter()
        .zip(fields)
        .map(|(column, field)| conform_array(column, field))
        .collect::<Result<Vec<_>, _>>()?;
    StructArray::try_new_with_length(fields.clone(), columns, array.nulls().cloned(), array.len())
}

fn conform_list<O: OffsetSizeTrait>(
    array: &ArrayRef,
    item: &FieldRef,
) -> Result<ArrayRef, ArrowError> {
    let list = array.as_list::<O>();
    let values = conform_array(list.values(), item)?;
    let list = GenericListArray::<O>::try_new(
        Arc::clone(item),
        list.offsets().clone(),
        values,
        list.nulls().cloned(),
    )?;
    Ok(Arc::new(list))
}

/// A field that holds the values of both; its name and field id are the left one's, other metadata is what they share.
fn common_field(left: &Field, right: &Field) -> Option<Field> {
    let data_type = common_type(left.data_type(), right.data_type())?;
    let nullable = left.is_nullable() || right.is_nullable();
    let mut metadata = left.metadata().clone();
    metadata.retain(|key, value| {
        key == PARQUET_FIELD_ID_META_KEY || right.metadata().get(key) == Some(value)
    });
    Some(
        left.clone()
            .with_data_type(data_type)
            .with_nullable(nullable)
            .with_metadata(metadata),
    )
}

/// The narrowest type that holds every value of both exactly.
fn common_type(left: &DataType, right: &DataType) -> Option<DataType> {
    use DataType::{
        Binary, BinaryView, Decimal128, Dictionary, FixedSizeBinary, LargeBinary, LargeList,
        LargeUtf8, List, Map, Null, Struct, Timestamp, Utf8, Utf8View,
    };
    if left == right {
        return Some(left.clone());
    }
    match (left, right) {
        (Null, other) | (other, Null) => Some(other.clone()),
        (Dictionary(_, values), other) | (other, Dictionary(_, values)) => {
            common_type(values, other)
        }
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View) => {
            let large = matches!(left, LargeUtf8) || matches!(right, LargeUtf8);
            Some(if large { LargeUtf8 } else { Utf8 })
        }
        (
            Binary | LargeBinary | BinaryView | FixedSizeBinary(_),
            Binary | LargeBinary | BinaryView | FixedSizeBinary(_),
        ) => {
            let large = matches!(left, LargeBinary) || matches!(right, LargeBinary);
            Some(if large { LargeBinary } else { Binary })
        }
        (Timestamp(left, zone), Timestamp(right, other)) if zone == other => {
            Some(Timestamp(finer(*left, *right), zone.clone()))
        }
        (Decimal128(left, scale), Decimal128(right, other)) if scale == other => {
            Some(Decimal128(*left.max(right), *scale))
        }
        (List(left), List(right)) => common_field(left, right).map(|item| List(Arc::new(item))),
        (LargeList(left), LargeList(right)) => {
            common_field(left, right).map(|item| LargeList(Arc::new(item)))
        }
        (Struct(left), Struct(right)) => common_fields(left, right).map(Struct),
        (Map(left, sorted), Map(right, other)) => {
            let (Struct(left_entry), Struct(right_entry)) = (left.data_type(), right.data_type())
            else {
                return None;
            };
            let entry = left_entry
                .iter()
                .zip(right_entry)
                .map(|(left, right)| common_field(left, right))
                .collect::<Option<Fields>>()?;
            let entry = (**left).clone().with_data_type(Struct(entry));
            Some(Map(Arc::new(entry), *sorted && *other))
        }
        _ => common_number(left, right),
    }
}

/// The fields of both, by name; what one side lacks is nullable.
fn common_fields(left: &Fields, right: &Fields) -> Option<Fields> {
    let mut fields = Vec::new();
    for field in left {
        fields.push(match right.find(field.name()) {
            Some((_, other)) => common_field(field, other)?,
            None => (**field).clone().with_nullable(true),
        });
    }
    for field in right {
        if left.find(field.name()).is_none() {
            fields.push((**field).clone().with_nullable(true));
        }
    }
    Some(fields.into())
}

fn common_number(left: &DataType, right: &DataType) -> Option<DataType> {
    use DataType::{Float16, Float32, Float64, Int64, UInt64};
    let width = |number: &DataType| number.primitive_width();
    let wider = if width(left) >= width(right) {
        left
    } else {
        right
    };
    if left.is_integer() && right.is_integer() {
        let same_sign = left.is_signed_integer() == right.is_signed_integer();
        return match (left, right) {
            _ if same_sign => Some(wider.clone()),
            // No 64-bit type holds both negative numbers and the upper half of UInt64.
            (UInt64, _) | (_, UInt64) => None,
            _ => Some(Int64),
        };
    }
    match (left, right) {
        (Float16 | Float32 | Float64, Float16 | Float32 | Float64) => Some(wider.clone()),
        _ => None,
    }
}

fn finer(left: TimeUnit, right: TimeUnit) -> TimeUnit {
    [
        TimeUnit::Nanosecond,
        TimeUnit::Microsecond,
        TimeUnit::Millisecond,
    ]
    .into_iter()
    .find(|unit| *unit == left || *unit == right)
    .unwrap_or(TimeUnit::Second)
}

/// `text` with its `%XX` decoded, or as it is when that isn't UTF-8.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%'
            && let Some(([high, low], after)) = after
                .split_first_chunk::<2>()
                .map(|(pair, rest)| (*pair, rest))
            && let (Some(high), Some(low)) = (hex(high), hex(low))
        {
            bytes.push(high << 4 | low);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_columns_unless_the_file_has_them() {
        let schema = Schema::new(vec![Field::new("day", DataType::Utf8, true)]);
        let found = partitions(
            "a/day=1/country=C%C3%B4te%20d/x=__HIVE_DEFAULT_PARTITION__/z=1.parquet",
            &schema,
        );
        assert_eq!(
            found,
            [
                Partition {
                    name: "country".into(),
                    value: Some("Côte d".into())
                },
                Partition {
                    name: "x".into(),
                    value: None
                },
            ]
        );
    }

    #[test]
    fn a_broken_percent_escape_stays_as_it_is() {
        assert_eq!(percent_decoded("100%"), "100%");
        assert_eq!(percent_decoded("%zz%4"), "%zz%4");
        assert_eq!(percent_decoded("%ff"), "%ff");
    }

    #[test]
    fn common_types_hold_both_sides() {
        use DataType::*;
        let dictionary = Dictionary(Box::new(Int32), Box::new(Utf8));
        let ns = |zone: Option<&str>| Timestamp(TimeUnit::Nanosecond, zone.map(Into::into));
        for (left, right, expected) in [
            (Int8, Int32, Some(Int32)),
            (UInt32, Int8, Some(Int64)),
            (UInt64, Int8, None),
            (Int64, Float64, None),
            (Float32, Float64, Some(Float64)),
            (Int64, Utf8, None),
            (
                dictionary.clone(),
                dictionary.clone(),
                Some(dictionary.clone()),
            ),
            (dictionary.clone(), LargeUtf8, Some(LargeUtf8)),
            (Utf8View, dictionary, Some(Utf8)),
            (FixedSizeBinary(2), Binary, Some(Binary)),
            (Timestamp(TimeUnit::Second, None), ns(None), Some(ns(None))),
            (Timestamp(TimeUnit::Second, None), ns(Some("UTC")), None),
        ] {
            assert_eq!(common_type(&left, &right), expected, "{left} {right}");
            assert_eq!(common_type(&right, &left), expected, "{right} {left}");
        }
    }
}
