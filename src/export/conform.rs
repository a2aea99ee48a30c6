//! A shard's batches in the schema of the export: the same values, in the common types.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, GenericListArray, IntervalMonthDayNanoArray, LargeStringBuilder,
    MapArray, OffsetSizeTrait, StringArray, StructArray, new_null_array,
};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{
    DataType, Field, FieldRef, Fields, Int64Type, IntervalMonthDayNano, IntervalUnit, Schema,
    TimeUnit,
};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::cells::Cells;
use super::common_type::list_item;
use super::json::encoder_options;
use super::schema::Unified;
use super::shown::Shown;
use super::temporal::per_second;
use crate::error::{Error, Result};

/// A batch of the leaves that `shown` reads from the shard at `path`, in the schema of the export.
///
/// # Errors
/// When a value doesn't fit the common type (a timestamp too far away for the finer unit).
pub(super) fn conform(
    path: &str,
    shown: &Shown,
    batch: &RecordBatch,
    unified: &Unified,
) -> Result<RecordBatch> {
    let failed = |source| Error::Arrow {
        context: path.to_owned(),
        source,
    };
    let columns = shown.columns(batch).map_err(failed)?;
    let rows = batch.num_rows();
    let source = |name: &str| -> Option<(ArrayRef, Cow<'_, Field>)> {
        if let Some((at, from)) = shown.schema.column_with_name(name) {
            return Some((Arc::clone(columns.get(at)?), Cow::Borrowed(from)));
        }
        let mut of_path = shown.partitions.iter();
        let partition = of_path.find(|partition| partition.name == name)?;
        let value = partition.value.as_deref();
        let column = std::iter::repeat_n(value, rows).collect::<StringArray>();
        let from = Field::new(name, DataType::Utf8, true);
        Some((Arc::new(column), Cow::Owned(from)))
    };
    let column = |(place, field): (usize, &FieldRef)| {
        let Some((column, from)) = source(field.name()) else {
            return Ok(new_null_array(field.data_type(), rows));
        };
        conform_array(&column, &from, field).map_err(|_| Error::SchemaConflict {
            column: field.name().clone(),
            left_path: unified.other_path(place, path),
            left: field.data_type().to_string(),
            right_path: path.to_owned(),
            right: from.data_type().to_string(),
        })
    };
    let fields = unified.schema.fields().iter().enumerate();
    let columns = fields.map(column).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(&unified.schema), columns, &options)
        .map_err(failed)
}

/// The values of `array`, whose field is `from`, as `to` has them.
///
/// # Errors
/// When one doesn't fit.
pub(super) fn conform_array(
    array: &ArrayRef,
    from: &Field,
    to: &Field,
) -> Result<ArrayRef, ArrowError> {
    use DataType::{
        Dictionary, Duration, FixedSizeBinary, Interval, LargeList, LargeUtf8, List, Map, Null,
        Struct, Time32, Time64, Timestamp, Utf8, Utf8View,
    };
    if array.data_type() == to.data_type() {
        return Ok(Arc::clone(array));
    }
    match (array.data_type(), to.data_type()) {
        (Null, to) => Ok(new_null_array(to, array.len())),
        (Dictionary(_, values), _) => conform_array(&cast(array, values)?, from, to),
        (Struct(_), Struct(fields)) => {
            let array = conform_struct(array.as_struct(), fields)?;
            Ok(Arc::new(array))
        }
        (of, List(item)) if let Some((from, _)) = list_item(of) => {
            let list = cast(array, &List(Arc::clone(from)))?;
            conform_list::<i32>(&list, from, item)
        }
        (of, LargeList(item)) if let Some((from, _)) = list_item(of) => {
            let list = cast(array, &LargeList(Arc::clone(from)))?;
            conform_list::<i64>(&list, from, item)
        }
        (Map(..), Map(entry, sorted)) => {
            let map = array.as_map();
            let Struct(fields) = entry.data_type() else {
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
        (Timestamp(unit, _), Timestamp(finer, _))
        | (Time32(unit) | Time64(unit), Time32(finer) | Time64(finer))
        | (Duration(unit), Duration(finer)) => rescale(array, *unit, *finer, to.data_type()),
        (FixedSizeBinary(12), Interval(IntervalUnit::MonthDayNano)) => intervals(array),
        (Utf8 | LargeUtf8 | Utf8View, to) => exact_cast(array, to),
        (_, text @ (Utf8 | LargeUtf8)) => exact_cast(&texts(array, from)?, text),
        (_, to) => exact_cast(array, to),
    }
}

fn exact_cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(array, to, &options)
}

/// Values as the cells of CSV have them.
fn texts(array: &ArrayRef, from: &Field) -> Result<ArrayRef, ArrowError> {
    let field = from.clone().with_data_type(array.data_type().clone());
    let schema = Schema::new(vec![field.with_nullable(true)]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::clone(array)])?;
    let options = encoder_options();
    let mut cells = Cells::of(&batch, &options)?;
    let mut texts = LargeStringBuilder::new();
    let mut text = String::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            texts.append_null();
            continue;
        }
        text.clear();
        cells.push(row, 0, &mut text);
        texts.append_value(&text);
    }
    Ok(Arc::new(texts.finish()))
}

/// Instants, times and durations in a finer unit; a zone only says how instants are shown.
fn rescale(
    array: &ArrayRef,
    unit: TimeUnit,
    finer: TimeUnit,
    to: &DataType,
) -> Result<ArrayRef, ArrowError> {
    let factor = per_second(finer) / per_second(unit);
    let values = cast(array, &DataType::Int64)?;
    let values = values.as_primitive::<Int64Type>();
    let scaled = values.try_unary::<_, Int64Type, _>(|value| {
        let scaled = value.checked_mul(factor);
        scaled.ok_or_else(|| ArrowError::CastError("it is beyond the finer unit".to_owned()))
    })?;
    let scaled: ArrayRef = Arc::new(scaled);
    match to {
        DataType::Time32(_) => exact_cast(&exact_cast(&scaled, &DataType::Int32)?, to),
        _ => exact_cast(&scaled, to),
    }
}

/// Parquet's intervals of months, days and milliseconds, each a little-endian `u32`.
fn intervals(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let interval = |bytes: &[u8]| {
        let (parts, _) = bytes.as_chunks::<4>();
        let [months, days, ms] = *parts else {
            return None;
        };
        let [months, days] = [months, days].map(|part| i32::try_from(u32::from_le_bytes(part)));
        let ns = i64::from(u32::from_le_bytes(ms)) * 1_000_000;
        Some(IntervalMonthDayNano::new(months.ok()?, days.ok()?, ns))
    };
    let values = array.as_fixed_size_binary().iter();
    let values = values.map(|bytes| match bytes {
        None => Ok(None),
        Some(bytes) => interval(bytes).map(Some).ok_or_else(|| {
            ArrowError::CastError("its months or days are beyond 31 bits".to_owned())
        }),
    });
    let values = values.collect::<Result<IntervalMonthDayNanoArray, _>>()?;
    Ok(Arc::new(values))
}

fn conform_struct(array: &StructArray, fields: &Fields) -> Result<StructArray, ArrowError> {
    let column = |field: &FieldRef| {
        let found = array.fields().find(field.name());
        let found = found.and_then(|(at, from)| Some((array.columns().get(at)?, from)));
        match found {
            Some((column, from)) => conform_array(column, from, field),
            None => Ok(new_null_array(field.data_type(), array.len())),
        }
    };
    let columns = fields.iter().map(column).collect::<Result<Vec<_>, _>>()?;
    StructArray::try_new_with_length(fields.clone(), columns, array.nulls().cloned(), array.len())
}

/// The key and the value of a map go by position: writers name them differently.
fn conform_entries(array: &StructArray, fields: &Fields) -> Result<StructArray, ArrowError> {
    let columns = array.columns().iter().zip(array.fields()).zip(fields);
    let columns = columns
        .map(|((column, from), field)| conform_array(column, from, field))
        .collect::<Result<Vec<_>, _>>()?;
    StructArray::try_new_with_length(fields.clone(), columns, array.nulls().cloned(), array.len())
}

/// `array` is a list of items as `from` has them.
fn conform_list<O: OffsetSizeTrait>(
    array: &ArrayRef,
    from: &Field,
    item: &FieldRef,
) -> Result<ArrayRef, ArrowError> {
    let list = array.as_list::<O>();
    let values = conform_array(list.values(), from, item)?;
    let list = GenericListArray::<O>::try_new(
        Arc::clone(item),
        list.offsets().clone(),
        values,
        list.nulls().cloned(),
    )?;
    Ok(Arc::new(list))
}
