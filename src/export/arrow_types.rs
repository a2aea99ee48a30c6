//! How Parquet's types become Arrow's and come back, so that an export keeps what Arrow has no type for.
//!
//! ```text
//!   schema of a shard ── arrow_schema ──> Arrow fields, with metadata ── parquet_schema ──> schema of the export
//! ```
//!
//! | Parquet | Arrow | kept by |
//! |---|---|---|
//! | UUID, JSON | fixed-size binary, text | the extensions `arrow.uuid` and `arrow.json` |
//! | ENUM | text | [`ANNOTATION`] |
//! | BSON | binary | [`ANNOTATION`] |
//! | INTERVAL | its 12 bytes, since the `parquet` crate reads none with months and days; in an Arrow stream months, days and nanoseconds | [`ANNOTATION`] |
//! | TIME that is adjusted to UTC | time | `adjusted_to_utc`, which the `parquet` crate writes by |
//! | DATE | days, whatever the writer's hint says | |
//! | INT96 | a timestamp of nanoseconds; of microseconds if Spark wrote it, which then may be of any year | nothing: it is deprecated |

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit, Schema, TimeUnit};
use parquet::arrow::{
    ARROW_SCHEMA_META_KEY, ArrowSchemaConverter, FieldLevels, ProjectionMask,
    parquet_to_arrow_field_levels, parquet_to_arrow_schema,
};
use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor, Type, TypePtr};

use crate::error::{FormatError, Result};
use crate::parquet_bytes::footer::Footer;
use crate::parquet_bytes::guard::guarded;

/// The key of the metadata of a field by which it keeps Parquet's annotation.
const ANNOTATION: &str = "PARQUET:annotation";
/// Its value for months, days and milliseconds, each a little-endian `u32`.
const INTERVAL: &str = "INTERVAL";
/// The Arrow extension of UUIDs.
pub(super) const UUID: &str = "arrow.uuid";

const ENUM: &str = "ENUM";
const BSON: &str = "BSON";
const JSON: &str = "arrow.json";
/// By this the `parquet` crate's writer knows a TIME that is adjusted to UTC.
const ADJUSTED: &str = "adjusted_to_utc";

/// Whether a field of 12 bytes is an INTERVAL of Parquet.
pub(super) fn is_interval(field: &Field) -> bool {
    let annotation = field.metadata().get(ANNOTATION);
    annotation.is_some_and(|of| of == INTERVAL)
}

/// The fields with INTERVALs as those of Arrow, for readers that don't know Parquet's.
pub(super) fn stream_schema(schema: &Schema) -> Schema {
    let mut told = |field: &Field| {
        if !is_interval(field) || *field.data_type() != DataType::FixedSizeBinary(12) {
            return field.clone();
        }
        let mut metadata = field.metadata().clone();
        metadata.remove(ANNOTATION);
        let interval = DataType::Interval(IntervalUnit::MonthDayNano);
        field
            .clone()
            .with_data_type(interval)
            .with_metadata(metadata)
    };
    let fields = schema.fields().iter();
    let fields = fields.map(|field| edit_leaves(field, &mut told));
    Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone())
}

/// The Arrow schema of a shard. A schema hint of the writer that doesn't fit the file is ignored.
pub(super) fn arrow_schema(path: &str, footer: &Footer) -> Result<Schema> {
    let hints = footer.metadata().file_metadata().key_value_metadata();
    let read = |hints: Option<&Vec<KeyValue>>| {
        guarded("schema", || {
            let readable = readable(footer.schema())?;
            let schema = parquet_to_arrow_schema(&readable, hints)?;
            Ok(Annotator::of(footer).schema(&schema))
        })
    };
    read(hints)
        .or_else(|_| read(None))
        .map_err(|error| error.in_shard(path))
}

/// How leaves are read into fields of `schema`, which is the shard's.
pub(super) fn field_levels(
    path: &str,
    footer: &Footer,
    leaves: ProjectionMask,
    schema: &Schema,
) -> Result<FieldLevels> {
    guarded("schema", || {
        let readable = readable(footer.schema())?;
        parquet_to_arrow_field_levels(&readable, leaves, Some(schema.fields()))
    })
    .map_err(|error| error.in_shard(path))
}

/// The Parquet schema of fields with such metadata.
pub(super) fn parquet_schema(schema: &Schema) -> Result<SchemaDescriptor, FormatError> {
    guarded("schema", || {
        let plain = ArrowSchemaConverter::new().convert(schema)?;
        let mut annotations = Vec::new();
        let mut note = |field: &Field| {
            annotations.push(field.metadata().get(ANNOTATION).cloned());
            field.clone()
        };
        for field in schema.fields() {
            edit_leaves(field, &mut note);
        }
        let mut annotations = annotations.into_iter();
        let root = edit_columns(&plain.root_schema_ptr(), &mut |column| {
            let annotation = annotations.next().flatten();
            annotation.map(|name| annotated(column, &name)).transpose()
        })?;
        Ok(SchemaDescriptor::new(root))
    })
}

/// A column with an annotation that its type can have.
fn annotated(column: &Type, annotation: &str) -> Result<Type, ParquetError> {
    let physical = column.get_physical_type();
    let (logical, converted, length) = match (annotation, physical) {
        (ENUM, Physical::BYTE_ARRAY) => (Some(LogicalType::Enum), ConvertedType::ENUM, -1),
        (BSON, Physical::BYTE_ARRAY) => (Some(LogicalType::Bson), ConvertedType::BSON, -1),
        (INTERVAL, Physical::FIXED_LEN_BYTE_ARRAY) => (None, ConvertedType::INTERVAL, 12),
        _ => return Ok(column.clone()),
    };
    leaf(column, length)
        .with_logical_type(logical)
        .with_converted_type(converted)
        .build()
}

/// A schema of the same columns that the `parquet` crate reads without losing a part of a value.
fn readable(schema: &SchemaDescriptor) -> Result<SchemaDescriptor, ParquetError> {
    let is_interval = |column: &Type| {
        column.get_basic_info().converted_type() == ConvertedType::INTERVAL
            && column.get_physical_type() == Physical::FIXED_LEN_BYTE_ARRAY
    };
    let root = edit_columns(&schema.root_schema_ptr(), &mut |column| {
        let plain = is_interval(column).then(|| leaf(column, 12).build());
        plain.transpose()
    })?;
    Ok(SchemaDescriptor::new(root))
}

fn leaf(column: &Type, length: i32) -> parquet::schema::types::PrimitiveTypeBuilder<'_> {
    let info = column.get_basic_info();
    Type::primitive_type_builder(info.name(), column.get_physical_type())
        .with_repetition(info.repetition())
        .with_length(length)
        .with_id(info.has_id().then(|| info.id()))
}

/// A schema with some of its leaves replaced.
fn edit_columns(
    node: &TypePtr,
    edit: &mut dyn FnMut(&Type) -> Result<Option<Type>, ParquetError>,
) -> Result<TypePtr, ParquetError> {
    if node.is_primitive() {
        let edited = edit(node)?;
        return Ok(edited.map_or_else(|| Arc::clone(node), Arc::new));
    }
    let info = node.get_basic_info();
    let fields = node
        .get_fields()
        .iter()
        .map(|field| edit_columns(field, edit));
    let mut group = Type::group_type_builder(info.name())
        .with_fields(fields.collect::<Result<_, _>>()?)
        .with_converted_type(info.converted_type())
        .with_logical_type(info.logical_type_ref().cloned())
        .with_id(info.has_id().then(|| info.id()));
    if info.has_repetition() {
        group = group.with_repetition(info.repetition());
    }
    group.build().map(Arc::new)
}

/// A field with its leaves edited, which come in the order of Parquet's columns.
fn edit_leaves(field: &Field, edit: &mut dyn FnMut(&Field) -> Field) -> Field {
    let mut inside = |item: &FieldRef| Arc::new(edit_leaves(item, edit));
    let data_type = match field.data_type() {
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(&mut inside).collect::<Fields>())
        }
        DataType::List(item) => DataType::List(inside(item)),
        DataType::LargeList(item) => DataType::LargeList(inside(item)),
        DataType::ListView(item) => DataType::ListView(inside(item)),
        DataType::LargeListView(item) => DataType::LargeListView(inside(item)),
        DataType::FixedSizeList(item, len) => DataType::FixedSizeList(inside(item), *len),
        DataType::Map(entry, sorted) => DataType::Map(inside(entry), *sorted),
        _ => return edit(field),
    };
    field.clone().with_data_type(data_type)
}

/// Gives the leaves of an Arrow schema what Parquet says of their columns.
struct Annotator<'a> {
    columns: std::slice::Iter<'a, Arc<ColumnDescriptor>>,
    is_of_spark: bool,
    is_hinted: bool,
}

impl<'a> Annotator<'a> {
    fn of(footer: &'a Footer) -> Self {
        let pairs = footer.metadata().file_metadata().key_value_metadata();
        let has = |front: &str| {
            let mut keys = pairs.into_iter().flatten().map(|pair| pair.key.as_str());
            keys.any(|key| key.starts_with(front))
        };
        Self {
            is_of_spark: has("org.apache.spark."),
            is_hinted: has(ARROW_SCHEMA_META_KEY),
            columns: footer.schema().columns().iter(),
        }
    }

    fn schema(mut self, schema: &Schema) -> Schema {
        let fields = schema.fields().iter();
        let fields = fields.map(|field| edit_leaves(field, &mut |leaf| self.leaf(leaf)));
        Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone())
    }

    fn leaf(&mut self, field: &Field) -> Field {
        let Some(column) = self.columns.next() else {
            return field.clone();
        };
        let (logical, converted) = (column.logical_type_ref(), column.converted_type());
        let with = |pairs: &[(&str, &str)]| {
            let mut metadata: HashMap<String, String> = field.metadata().clone();
            for (key, value) in pairs {
                metadata.insert((*key).to_owned(), (*value).to_owned());
            }
            field.clone().with_metadata(metadata)
        };
        match (logical, converted) {
            (Some(LogicalType::Enum), _) | (None, ConvertedType::ENUM) => {
                let field = with(&[(ANNOTATION, ENUM)]);
                match field.data_type() {
                    DataType::Binary => field.with_data_type(DataType::Utf8),
                    _ => field,
                }
            }
            (Some(LogicalType::Bson), _) | (None, ConvertedType::BSON) => {
                with(&[(ANNOTATION, BSON)])
            }
            (_, ConvertedType::INTERVAL) => with(&[(ANNOTATION, INTERVAL)]),
            (Some(LogicalType::Time(time)), _) if time.is_adjusted_to_u_t_c => {
                with(&[(ADJUSTED, "true")])
            }
            (None, ConvertedType::TIME_MILLIS | ConvertedType::TIME_MICROS) => {
                with(&[(ADJUSTED, "true")])
            }
            (None, ConvertedType::JSON) => with(&[
                ("ARROW:extension:name", JSON),
                ("ARROW:extension:metadata", ""),
            ]),
            // A hint may say milliseconds; a DATE has days.
            (Some(LogicalType::Date), _) | (None, ConvertedType::DATE) => {
                field.clone().with_data_type(DataType::Date32)
            }
            _ if column.physical_type() == Physical::INT96
                && self.is_of_spark
                && !self.is_hinted =>
            {
                let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
                field.clone().with_data_type(micros)
            }
            _ => field.clone(),
        }
    }
}

/// The unit of each leaf that is an INT96, in the order of Parquet's columns.
pub(super) fn int96_units(schema: &Schema, footer: &Footer) -> Vec<Option<TimeUnit>> {
    let mut columns = footer.schema().columns().iter();
    let mut units = Vec::new();
    let mut note = |field: &Field| {
        let column = columns.next();
        let is_int96 = column.is_some_and(|column| column.physical_type() == Physical::INT96);
        units.push(match field.data_type() {
            DataType::Timestamp(unit, _) if is_int96 => Some(*unit),
            _ => None,
        });
        field.clone()
    };
    for field in schema.fields() {
        edit_leaves(field, &mut note);
    }
    units
}

/// Checks that the INT96 values, which follow one another, are instants that the unit can tell.
///
/// # Errors
/// [`FormatError::Unsupported`] at the first that isn't.
pub(super) fn check_int96(values: &[u8], unit: TimeUnit, column: &str) -> Result<(), FormatError> {
    /// The Julian day of 1970-01-01.
    const EPOCH_DAY: i128 = 2_440_588;
    const DAY_NS: i128 = 86_400_000_000_000;
    let scale = match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1000,
        TimeUnit::Nanosecond => 1,
    };
    let (values, _) = values.as_chunks::<12>();
    let can_be_told = |value: &[u8; 12]| {
        let (Some(of_day), Some(day)) = (value.first_chunk(), value.last_chunk()) else {
            return false;
        };
        let day = i128::from(i32::from_le_bytes(*day));
        let ns = (day - EPOCH_DAY) * DAY_NS + i128::from(i64::from_le_bytes(*of_day));
        ns % scale == 0 && i64::try_from(ns / scale).is_ok()
    };
    if values.iter().all(can_be_told) {
        return Ok(());
    }
    Err(FormatError::Unsupported {
        feature: format!(
            "an INT96 timestamp of column {column} that no 64-bit number of its unit ({unit:?}) can tell"
        ),
    })
}

#[cfg(test)]
mod tests {
    use parquet::schema::parser::parse_message_type;

    use super::*;

    #[test]
    fn instants_that_a_unit_cannot_tell_are_no_others() {
        let int96 = |day: i32, ns: i64| {
            let mut value = ns.to_le_bytes().to_vec();
            value.extend_from_slice(&day.to_le_bytes());
            value
        };
        let is_told = |value: &[u8], unit| check_int96(value, unit, "c").is_ok();
        let now = int96(2_460_000, 1_001);
        assert!(is_told(&now, TimeUnit::Nanosecond));
        assert!(!is_told(&now, TimeUnit::Microsecond));
        let year_1 = int96(1_721_426, 1_000);
        assert!(!is_told(&year_1, TimeUnit::Nanosecond));
        assert!(is_told(&year_1, TimeUnit::Microsecond));
        let both = [int96(2_440_588, 0), year_1].concat();
        assert!(!is_told(&both, TimeUnit::Nanosecond));
    }

    #[test]
    fn annotations_go_to_the_leaves_that_they_came_from() {
        let message = "message m {
            optional group l (LIST) { repeated group list { optional binary element (ENUM); } }
            required fixed_len_byte_array(12) i (INTERVAL);
            optional binary b (BSON);
            optional int32 n;
        }";
        let before = SchemaDescriptor::new(Arc::new(parse_message_type(message).unwrap()));
        let arrow = parquet_to_arrow_schema(&readable(&before).unwrap(), None).unwrap();
        let annotator = Annotator {
            columns: before.columns().iter(),
            is_of_spark: false,
            is_hinted: false,
        };
        let after = parquet_schema(&annotator.schema(&arrow)).unwrap();
        for (before, after) in before.columns().iter().zip(after.columns()) {
            assert_eq!(before.converted_type(), after.converted_type());
            assert_eq!(before.physical_type(), after.physical_type());
            assert_eq!(before.max_def_level(), after.max_def_level());
        }
    }
}
