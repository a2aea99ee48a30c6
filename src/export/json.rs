//! Values as JSON: what this crate writes differently from `arrow-json`, and what JSON can't hold.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, make_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Fields, Int64Type, TimeUnit};
use arrow::error::ArrowError;
use arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};
use arrow::record_batch::RecordBatch;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::arrow_types::{ANNOTATION, INTERVAL, UUID};

/// An encoder for each column of a batch.
pub(super) fn encoders<'a>(
    batch: &'a RecordBatch,
    options: &'a EncoderOptions,
) -> Result<Vec<NullableEncoder<'a>>, ArrowError> {
    let schema = batch.schema_ref();
    let columns = schema.fields().iter().zip(batch.columns());
    columns
        .map(|(field, column)| make_encoder(field, column, options))
        .collect()
}

/// How values are encoded.
pub(super) fn encoder_options() -> EncoderOptions {
    EncoderOptions::default().with_encoder_factory(Arc::new(Encoders))
}

/// Why JSON can't hold a type, if it can't.
pub(super) fn unwritable(data_type: &DataType) -> Option<String> {
    match data_type {
        DataType::Union(..) => Some("it is a union".to_owned()),
        DataType::Map(entry, _) => {
            let DataType::Struct(fields) = entry.data_type() else {
                return Some("it is a map without entries".to_owned());
            };
            fields
                .iter()
                .find_map(|field| unwritable(field.data_type()))
        }
        DataType::Struct(fields) => fields
            .iter()
            .find_map(|field| unwritable(field.data_type())),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::RunEndEncoded(_, item) => unwritable(item.data_type()),
        DataType::Dictionary(_, values) => unwritable(values),
        _ => None,
    }
}

/// What this crate writes differently from `arrow-json`: binary as base64 (not hex), but UUIDs and intervals as
/// text; maps whose keys aren't text; and timestamps without a time zone database and without its error text (which
/// holds quotes) where the calendar ends.
#[derive(Debug)]
pub(super) struct Encoders;

impl EncoderFactory for Encoders {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::FixedSizeBinary(16) if field.extension_type_name() == Some(UUID) => {
                Box::new(Uuids(array.as_fixed_size_binary()))
            }
            DataType::FixedSizeBinary(12)
                if field
                    .metadata()
                    .get(ANNOTATION)
                    .is_some_and(|of| of == INTERVAL) =>
            {
                Box::new(Intervals(array.as_fixed_size_binary()))
            }
            DataType::Map(entry, _) => match entry.data_type() {
                DataType::Struct(fields) => match Entries::of(fields, array, options)? {
                    Some(entries) => Box::new(entries),
                    None => return Ok(None),
                },
                _ => return Ok(None),
            },
            DataType::Timestamp(unit, zone) => Box::new(Instants {
                values: cast(array, &DataType::Int64)?,
                unit: *unit,
                local: zone.is_none(),
            }),
            DataType::Binary => Box::new(Base64(make_array(array.to_data()))),
            DataType::LargeBinary | DataType::FixedSizeBinary(_) | DataType::BinaryView => {
                Box::new(Base64(cast(array, &DataType::LargeBinary)?))
            }
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

struct Instants {
    values: ArrayRef,
    unit: TimeUnit,
    /// Whether the timestamps are of no zone.
    local: bool,
}

impl Encoder for Instants {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let value = self.values.as_primitive::<Int64Type>().value(row);
        let instant = match self.unit {
            TimeUnit::Second => Timestamp::from_second(value),
            TimeUnit::Millisecond => Timestamp::from_millisecond(value),
            TimeUnit::Microsecond => Timestamp::from_microsecond(value),
            TimeUnit::Nanosecond => Timestamp::from_nanosecond(i128::from(value)),
        };
        let text = match instant {
            Ok(instant) if self.local => {
                format!("\"{}\"", instant.to_zoned(TimeZone::UTC).datetime())
            }
            Ok(instant) => format!("\"{instant}\""),
            // Beyond the year 9999 there is no RFC 3339: the number as it is stored.
            Err(_) => value.to_string(),
        };
        out.extend_from_slice(text.as_bytes());
    }
}

/// As RFC 9562 writes them.
struct Uuids<'a>(&'a FixedSizeBinaryArray);

impl Encoder for Uuids<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let bytes = self.0.value(row).try_into().unwrap_or_default();
        let text = uuid::Uuid::from_bytes(bytes).hyphenated().to_string();
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
}

/// Months, days and milliseconds, as ISO 8601 writes durations.
struct Intervals<'a>(&'a FixedSizeBinaryArray);

impl Encoder for Intervals<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let (parts, _) = self.0.value(row).as_chunks::<4>();
        let mut parts = parts.iter().map(|part| u32::from_le_bytes(*part));
        let mut next = || parts.next().unwrap_or(0);
        let (months, days, ms) = (next(), next(), next());
        let (seconds, rest) = (ms / 1000, ms % 1000);
        let text = format!("\"P{months}M{days}DT{seconds}.{rest:03}S\"");
        out.extend_from_slice(text.as_bytes());
    }
}

/// A map whose keys are no text, which an object couldn't hold: a list of keys and values.
struct Entries<'a> {
    offsets: &'a OffsetBuffer<i32>,
    key: NullableEncoder<'a>,
    value: NullableEncoder<'a>,
}

impl<'a> Entries<'a> {
    /// `None` when the keys are text.
    fn of(
        fields: &'a Fields,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Option<Self>, ArrowError> {
        let map = array.as_map();
        let [key, value] = &**fields else {
            return Ok(None);
        };
        if matches!(
            key.data_type(),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
        ) {
            return Ok(None);
        }
        Ok(Some(Self {
            offsets: map.offsets(),
            key: make_encoder(key, map.keys(), options)?,
            value: make_encoder(value, map.values(), options)?,
        }))
    }
}

impl Encoder for Entries<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let offset = |at: usize| {
            let offset = self.offsets.get(at).copied();
            usize::try_from(offset.unwrap_or(0)).unwrap_or(0)
        };
        let range = offset(row)..offset(row + 1);
        out.push(b'[');
        for at in range.clone() {
            if at > range.start {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"key\":");
            push(&mut self.key, at, out);
            out.extend_from_slice(b",\"value\":");
            push(&mut self.value, at, out);
            out.push(b'}');
        }
        out.push(b']');
    }
}

fn push(encoder: &mut NullableEncoder<'_>, at: usize, out: &mut Vec<u8>) {
    if encoder.is_null(at) {
        out.extend_from_slice(b"null");
    } else {
        encoder.encode(at, out);
    }
}

/// A `Binary` or `LargeBinary` array.
struct Base64(ArrayRef);

impl Encoder for Base64 {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let bytes = match self.0.as_binary_opt::<i32>() {
            Some(array) => array.value(row),
            None => self.0.as_binary::<i64>().value(row),
        };
        out.push(b'"');
        push_base64(bytes, out);
        out.push(b'"');
    }
}

/// Base64 with padding (RFC 4648, section 4).
fn push_base64(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in bytes.chunks(3) {
        let byte = |place: usize| u32::from(group.get(place).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (place, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let digit = DIGITS.get((bits >> shift & 63) as usize).copied();
            out.push(if place <= group.len() {
                digit.unwrap_or(b'=')
            } else {
                b'='
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_padded() {
        for (bytes, expected) in [
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut out = Vec::new();
            push_base64(bytes.as_bytes(), &mut out);
            assert_eq!(out, expected.as_bytes());
        }
    }
}
