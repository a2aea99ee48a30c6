//! Rows as the `parquet` crate's own Arrow reader gives them, and values written as JSON compared with them.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::*;
use arrow::compute::{cast, concat_batches, take_record_batch};
use arrow::datatypes::*;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::value::RawValue;

/// All rows of a file, as one batch.
pub(crate) fn read(file: Bytes) -> Result<RecordBatch, String> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| e.to_string())?;
    let reader = reader.build().map_err(|e| e.to_string())?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<_>, _>>();
    let batches = batches.map_err(|e| e.to_string())?;
    concat_batches(&schema, &batches).map_err(|e| e.to_string())
}

/// Just these rows.
pub(crate) fn only(batch: &RecordBatch, rows: &[usize]) -> RecordBatch {
    let rows: UInt64Array = rows.iter().map(|row| Some(*row as u64)).collect();
    take_record_batch(batch, &rows).unwrap()
}

/// Panics unless each line is the JSON object of the row of the same number.
pub(crate) fn assert_lines(text: &str, rows: &RecordBatch, what: &str) {
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), rows.num_rows(), "{what}");
    for (row, line) in lines.iter().enumerate() {
        let object: ArrayRef = std::sync::Arc::new(StructArray::from(rows.clone()));
        let value: Box<RawValue> = serde_json::from_str(line).unwrap();
        assert_value(Some(&value), &object, row, &format!("{what}, row {row}"));
    }
}

fn assert_value(json: Option<&RawValue>, array: &ArrayRef, row: usize, what: &str) {
    let json = json.filter(|json| json.get() != "null");
    if array.is_null(row) || *array.data_type() == DataType::Null {
        assert!(json.is_none(), "{what}: {json:?} for null");
        return;
    }
    let float = match array.data_type() {
        DataType::Float16 => Some(f64::from(array.as_primitive::<Float16Type>().value(row))),
        DataType::Float32 => Some(f64::from(array.as_primitive::<Float32Type>().value(row))),
        DataType::Float64 => Some(array.as_primitive::<Float64Type>().value(row)),
        _ => None,
    };
    let Some(json) = json else {
        panic!("{what}: nothing for a value of {}", array.data_type());
    };
    if let Some(float) = float.filter(|float| !float.is_finite()) {
        let expected = match float {
            f64::INFINITY => "\"Infinity\"",
            f64::NEG_INFINITY => "\"-Infinity\"",
            _ => "\"NaN\"",
        };
        assert_eq!(json.get(), expected, "{what}");
        return;
    }
    let text =
        || serde_json::from_str::<String>(json.get()).unwrap_or_else(|_| panic!("{what}: {json}"));
    match array.data_type() {
        DataType::Float16 | DataType::Float32 => {
            #[expect(clippy::cast_possible_truncation, reason = "the value was narrower")]
            let expected = float.unwrap() as f32;
            let found: f32 = json.get().parse().unwrap();
            assert_eq!(found.to_bits(), expected.to_bits(), "{what}");
        }
        DataType::Float64 => {
            let found: f64 = json.get().parse().unwrap();
            assert_eq!(found.to_bits(), float.unwrap().to_bits(), "{what}");
        }
        DataType::Utf8 => assert_eq!(text(), array.as_string::<i32>().value(row), "{what}"),
        DataType::LargeUtf8 => assert_eq!(text(), array.as_string::<i64>().value(row), "{what}"),
        DataType::Utf8View => assert_eq!(text(), array.as_string_view().value(row), "{what}"),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::FixedSizeBinary(_)
        | DataType::BinaryView => {
            let bytes = cast(array, &DataType::LargeBinary).unwrap();
            assert_eq!(
                base64(&text()),
                bytes.as_binary::<i64>().value(row),
                "{what}"
            );
        }
        DataType::Timestamp(unit, zone) => {
            let value = cast(array, &DataType::Int64).unwrap();
            let value = i128::from(value.as_primitive::<Int64Type>().value(row));
            let zone = if zone.is_some() { "" } else { "Z" };
            let (scale, symbol) = match unit {
                TimeUnit::Second => (1_000_000_000, "s"),
                TimeUnit::Millisecond => (1_000_000, "ms"),
                TimeUnit::Microsecond => (1000, "us"),
                TimeUnit::Nanosecond => (1, "ns"),
            };
            if jiff::Timestamp::from_nanosecond(value * scale).is_err() {
                let beyond = format!("{value} {symbol} since 1970-01-01");
                assert_eq!(text(), beyond, "{what}");
                return;
            }
            let found: jiff::Timestamp = format!("{}{zone}", text()).parse().unwrap();
            assert_eq!(found.as_nanosecond(), value * scale, "{what}");
        }
        DataType::Struct(fields) => {
            let object: BTreeMap<String, Box<RawValue>> = serde_json::from_str(json.get()).unwrap();
            for (field, column) in fields.iter().zip(array.as_struct().columns()) {
                let value = object.get(field.name()).map(|value| &**value);
                assert_value(value, column, row, &format!("{what}, {}", field.name()));
            }
            assert!(
                object.keys().all(|name| fields.find(name).is_some()),
                "{what}"
            );
        }
        DataType::List(_) => {
            let items: Vec<Box<RawValue>> = serde_json::from_str(json.get()).unwrap();
            assert_items(
                items.iter().map(|item| &**item),
                &array.as_list::<i32>().value(row),
                what,
            );
        }
        DataType::Map(..) => assert_entries(json, &array.as_map().value(row), what),
        DataType::Dictionary(_, values) => {
            assert_value(Some(json), &cast(array, values).unwrap(), row, what);
        }
        _ => {
            let expected = cast(array, &DataType::Utf8).unwrap();
            let found = json.get().trim_matches('"');
            assert_eq!(found, expected.as_string::<i32>().value(row), "{what}");
        }
    }
}

fn assert_entries(json: &RawValue, entries: &StructArray, what: &str) {
    let (keys, values) = (entries.column(0), entries.column(1));
    let is_text = matches!(keys.data_type(), DataType::Utf8 | DataType::LargeUtf8);
    let distinct = |keys: &ArrayRef| {
        let keys = cast(keys, &DataType::Utf8).unwrap();
        let keys: BTreeSet<_> = keys
            .as_string::<i32>()
            .iter()
            .map(|key| key.map(str::to_owned))
            .collect();
        keys.len()
    };
    if is_text && distinct(keys) == keys.len() {
        let object: BTreeMap<String, Box<RawValue>> = serde_json::from_str(json.get()).unwrap();
        let keys = cast(keys, &DataType::Utf8).unwrap();
        assert_eq!(object.len(), values.len(), "{what}");
        for at in 0..keys.len() {
            let key = keys.as_string::<i32>().value(at);
            assert_value(object.get(key).map(|value| &**value), values, at, what);
        }
        return;
    }
    let list: Vec<BTreeMap<String, Box<RawValue>>> = serde_json::from_str(json.get()).unwrap();
    assert_eq!(list.len(), entries.len(), "{what}");
    for (at, entry) in list.iter().enumerate() {
        let part = |name| entry.get(name).map(|value| &**value);
        assert_value(part("key"), keys, at, what);
        assert_value(part("value"), values, at, what);
    }
}

fn assert_items<'a>(
    json: impl ExactSizeIterator<Item = &'a RawValue>,
    array: &ArrayRef,
    what: &str,
) {
    assert_eq!(json.len(), array.len(), "{what}");
    for (at, item) in json.enumerate() {
        assert_value(Some(item), array, at, what);
    }
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| -> u32 {
        match byte {
            b'A'..=b'Z' => u32::from(byte - b'A'),
            b'a'..=b'z' => u32::from(byte - b'a') + 26,
            b'0'..=b'9' => u32::from(byte - b'0') + 52,
            b'+' => 62,
            b'/' => 63,
            other => panic!("{other} is no digit"),
        }
    };
    let mut bytes = Vec::new();
    for group in text.as_bytes().chunks(4) {
        assert_eq!(group.len(), 4);
        let digits: Vec<u32> = group
            .iter()
            .filter(|byte| **byte != b'=')
            .map(|byte| digit(*byte))
            .collect();
        let bits =
            digits.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - digits.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..digits.len()]);
    }
    bytes
}
