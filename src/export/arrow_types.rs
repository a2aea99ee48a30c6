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
//! | INT96 | a timestamp of nanoseconds; of microseconds if Spark wrote it, or if a value needs that; text if no unit tells all ([`int96`](super::int96)) | nothing: it is deprecated |
//!
//! Where Arrow has no type for a group that is annotated as a list or a map (a map that repeats, say), the group is what
//! it physically is: a struct, or a list of structs. The second column or field of one name, `x`, is `x_2`.

use std::collections::{HashMap, HashSet};
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

use super::int96::{Instants, Told};
use crate::error::{FormatError, Result};
use crate::parquet_bytes::footer::Footer;
use crate::parquet_bytes::guard::guarded;
use crate::parquet_bytes::hint::hints;

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

/// The value of [`ANNOTATION`] of an INT96 that is read as its bytes, to become text.
const INT96: &str = "INT96";

/// Whether a field of 12 bytes is an INT96.
pub(super) fn is_int96(field: &Field) -> bool {
    let annotation = field.metadata().get(ANNOTATION);
    annotation.is_some_and(|of| of == INT96) && *field.data_type() == DataType::FixedSizeBinary(12)
}

/// The field of what is shown of a field that is read.
pub(super) fn told_field(field: &Field) -> Field {
    edit_leaves(field, &mut |leaf| {
        if !is_int96(leaf) {
            return leaf.clone();
        }
        let mut metadata = leaf.metadata().clone();
        metadata.remove(ANNOTATION);
        let text = leaf.clone().with_data_type(DataType::Utf8);
        text.with_metadata(metadata)
    })
}

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

/// The Arrow schema of a shard whose INT96 leaves are told by `instants`, or by the file's own unit.
pub(super) fn arrow_schema(path: &str, footer: &Footer, instants: &Instants) -> Result<Schema> {
    read_schema(footer, instants)
        .map(|(_, schema)| schema)
        .map_err(|error| error.in_shard(path))
}

/// How leaves are read into fields of the shard's Arrow schema.
pub(super) fn field_levels(
    path: &str,
    footer: &Footer,
    leaves: ProjectionMask,
    instants: &Instants,
) -> Result<FieldLevels> {
    let levels = |(readable, schema): (SchemaDescriptor, Schema)| {
        guarded("schema", || {
            parquet_to_arrow_field_levels(&readable, leaves, Some(schema.fields()))
        })
    };
    read_schema(footer, instants)
        .and_then(levels)
        .map_err(|error| error.in_shard(path))
}

/// What Parquet schema a shard is read by, and the Arrow schema that it becomes. A hint of the writer that doesn't fit
/// the file is ignored, and so are annotations of groups where Arrow has nothing for them.
fn read_schema(
    footer: &Footer,
    instants: &Instants,
) -> std::result::Result<(SchemaDescriptor, Schema), FormatError> {
    let read = |hints: Option<&Vec<KeyValue>>, groups: Groups| {
        guarded("schema", || {
            let readable = readable(footer.schema(), instants, groups)?;
            let schema = parquet_to_arrow_schema(&readable, hints)?;
            let schema = Annotator::of(footer, instants).schema(&schema);
            let hints = Some(schema.fields());
            parquet_to_arrow_field_levels(&readable, ProjectionMask::all(), hints)?;
            Ok((readable, schema))
        })
    };
    read(hints(footer), Groups::Annotated).or_else(|_| {
        let found = read(None, Groups::Annotated);
        found.or_else(|error| read(None, Groups::Plain).map_err(|_| error))
    })
}

/// Whether groups are read as the lists and maps that they are annotated as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Groups {
    Annotated,
    Plain,
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
        let root = plain.root_schema_ptr();
        let root = edit_columns(&root, Groups::Annotated, &mut |column| {
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
    leaf(column, physical, length)
        .with_logical_type(logical)
        .with_converted_type(converted)
        .build()
}

/// A schema of the same columns that the `parquet` crate reads without losing a part of a value.
fn readable(
    schema: &SchemaDescriptor,
    instants: &Instants,
    groups: Groups,
) -> Result<SchemaDescriptor, ParquetError> {
    let is_interval = |column: &Type| {
        column.get_basic_info().converted_type() == ConvertedType::INTERVAL
            && column.get_physical_type() == Physical::FIXED_LEN_BYTE_ARRAY
    };
    let mut next = 0;
    let root = edit_columns(&schema.root_schema_ptr(), groups, &mut |column| {
        let is_text = instants.get(&next) == Some(&Told::AsText);
        next += 1;
        let plain = if is_interval(column) {
            leaf(column, Physical::FIXED_LEN_BYTE_ARRAY, 12).build()
        } else if is_text && column.get_physical_type() == Physical::INT96 {
            // Its plain values are the same bytes.
            leaf(column, Physical::FIXED_LEN_BYTE_ARRAY, 12).build()
        } else {
            return Ok(None);
        };
        plain.map(Some)
    })?;
    Ok(SchemaDescriptor::new(root))
}

fn leaf(
    column: &Type,
    physical: Physical,
    length: i32,
) -> parquet::schema::types::PrimitiveTypeBuilder<'_> {
    let info = column.get_basic_info();
    Type::primitive_type_builder(info.name(), physical)
        .with_repetition(info.repetition())
        .with_length(length)
        .with_id(info.has_id().then(|| info.id()))
}

/// A schema with some of its leaves replaced, and no two fields of one name beside each other.
fn edit_columns(
    node: &TypePtr,
    groups: Groups,
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
        .map(|field| edit_columns(field, groups, edit));
    let fields = apart(fields.collect::<Result<_, _>>()?)?;
    group(node, info.name(), fields, groups)
}

/// A group with other fields.
fn group(
    node: &Type,
    name: &str,
    fields: Vec<TypePtr>,
    groups: Groups,
) -> Result<TypePtr, ParquetError> {
    let info = node.get_basic_info();
    let mut group = Type::group_type_builder(name)
        .with_fields(fields)
        .with_id(info.has_id().then(|| info.id()));
    if groups == Groups::Annotated {
        group = group
            .with_converted_type(info.converted_type())
            .with_logical_type(info.logical_type_ref().cloned());
    }
    if info.has_repetition() {
        group = group.with_repetition(info.repetition());
    }
    group.build().map(Arc::new)
}

/// Fields of different names: the second `x` is `x_2`.
fn apart(mut fields: Vec<TypePtr>) -> Result<Vec<TypePtr>, ParquetError> {
    let names = fields.iter().map(|field| field.name().to_owned());
    let mut names: HashSet<String> = names.collect();
    if names.len() == fields.len() {
        return Ok(fields);
    }
    let mut seen: HashSet<String> = HashSet::new();
    for field in &mut fields {
        if seen.insert(field.name().to_owned()) {
            continue;
        }
        let numbered = (2..).map(|number: u64| format!("{}_{number}", field.name()));
        let mut free = numbered.filter(|name| !names.contains(name));
        let name = free.next().unwrap_or_default();
        names.insert(name.clone());
        *field = renamed(field, &name)?;
    }
    Ok(fields)
}

fn renamed(field: &Type, name: &str) -> Result<TypePtr, ParquetError> {
    if field.is_group() {
        return group(field, name, field.get_fields().to_vec(), Groups::Annotated);
    }
    let info = field.get_basic_info();
    let column = Type::primitive_type_builder(name, field.get_physical_type())
        .with_repetition(info.repetition())
        .with_converted_type(info.converted_type())
        .with_logical_type(info.logical_type_ref().cloned())
        .with_id(info.has_id().then(|| info.id()));
    let Type::PrimitiveType {
        type_length,
        scale,
        precision,
        ..
    } = field
    else {
        return column.build().map(Arc::new);
    };
    let column = column
        .with_length(*type_length)
        .with_precision(*precision)
        .with_scale(*scale);
    column.build().map(Arc::new)
}

/// A field with its leaves edited, which come in the order of Parquet's columns.
pub(super) fn edit_leaves(field: &Field, edit: &mut dyn FnMut(&Field) -> Field) -> Field {
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
    columns: std::iter::Enumerate<std::slice::Iter<'a, Arc<ColumnDescriptor>>>,
    instants: &'a Instants,
    is_of_spark: bool,
    is_hinted: bool,
}

impl<'a> Annotator<'a> {
    fn of(footer: &'a Footer, instants: &'a Instants) -> Self {
        let pairs = footer.metadata().file_metadata().key_value_metadata();
        let has = |front: &str| {
            let mut keys = pairs.into_iter().flatten().map(|pair| pair.key.as_str());
            keys.any(|key| key.starts_with(front))
        };
        Self {
            is_of_spark: has("org.apache.spark."),
            is_hinted: has(ARROW_SCHEMA_META_KEY),
            columns: footer.schema().columns().iter().enumerate(),
            instants,
        }
    }

    fn schema(mut self, schema: &Schema) -> Schema {
        let fields = schema.fields().iter();
        let fields = fields.map(|field| edit_leaves(field, &mut |leaf| self.leaf(leaf)));
        Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone())
    }

    fn leaf(&mut self, field: &Field) -> Field {
        let Some((leaf, column)) = self.columns.next() else {
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
            _ if let Some(told) = self.instants.get(&leaf) => match told {
                Told::By(unit) => field
                    .clone()
                    .with_data_type(DataType::Timestamp(*unit, None)),
                Told::AsText => with(&[(ANNOTATION, INT96)]),
            },
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

#[cfg(test)]
mod tests {
    use parquet::schema::parser::parse_message_type;

    use super::*;

    #[test]
    fn annotations_go_to_the_leaves_that_they_came_from() {
        let message = "message m {
            optional group l (LIST) { repeated group list { optional binary element (ENUM); } }
            required fixed_len_byte_array(12) i (INTERVAL);
            optional binary b (BSON);
            optional int32 n;
        }";
        let before = SchemaDescriptor::new(Arc::new(parse_message_type(message).unwrap()));
        let none = Instants::new();
        let readable = readable(&before, &none, Groups::Annotated).unwrap();
        let arrow = parquet_to_arrow_schema(&readable, None).unwrap();
        let annotator = Annotator {
            columns: before.columns().iter().enumerate(),
            instants: &none,
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
