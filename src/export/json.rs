//! Values as JSON: what this crate writes differently from `arrow-json`, and what JSON can't hold.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, LargeStringArray, ListLikeArray, StringArray,
    StringViewArray, make_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Fields, Float64Type};
use arrow::error::ArrowError;
use arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};
use arrow::record_batch::RecordBatch;

use super::arrow_types::{UUID, is_int96, is_interval};
use super::decimals::Decimals;
use super::int96::Int96Texts;
use super::temporal::Temporal;

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
/// text; all entries of maps; the floats that JSON lacks; and what `arrow-json` has an error text for, or a wrong
/// value: dates, times and durations beyond its calendar, decimals of more digits than their type has.
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
            DataType::FixedSizeBinary(12) if is_int96(field) => {
                Box::new(Int96Texts(array.as_fixed_size_binary()))
            }
            DataType::FixedSizeBinary(12) if is_interval(field) => {
                Box::new(Intervals(array.as_fixed_size_binary()))
            }
            DataType::Map(entry, _) => match entry.data_type() {
                DataType::Struct(fields) => match Entries::of(fields, array, options)? {
                    Some(entries) => Box::new(entries),
                    None => return Ok(None),
                },
                _ => return Ok(None),
            },
            DataType::List(item) => Items::boxed(array.as_list::<i32>(), item, options)?,
            DataType::LargeList(item) => Items::boxed(array.as_list::<i64>(), item, options)?,
            DataType::ListView(item) => Items::boxed(array.as_list_view::<i32>(), item, options)?,
            DataType::LargeListView(item) => {
                Items::boxed(array.as_list_view::<i64>(), item, options)?
            }
            DataType::FixedSizeList(item, _) => {
                Items::boxed(array.as_fixed_size_list(), item, options)?
            }
            DataType::Float16 | DataType::Float32 | DataType::Float64 => Box::new(Floats {
                values: cast(array, &DataType::Float64)?,
                finite: make_encoder(field, array, &PLAIN)?,
            }),
            DataType::Binary => Box::new(Base64(make_array(array.to_data()))),
            DataType::LargeBinary | DataType::FixedSizeBinary(_) | DataType::BinaryView => {
                Box::new(Base64(cast(array, &DataType::LargeBinary)?))
            }
            _ => match (Decimals::of(array), Temporal::of(array)?) {
                (Some(decimals), _) => Box::new(decimals),
                (None, Some(temporal)) => Box::new(temporal),
                (None, None) => return Ok(None),
            },
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

/// How `arrow-json` encodes by itself.
static PLAIN: LazyLock<EncoderOptions> = LazyLock::new(EncoderOptions::default);

/// Floats; those that JSON has no number for are text, as in JSON of Protocol Buffers.
struct Floats<'a> {
    /// An array of `Float64`.
    values: ArrayRef,
    finite: NullableEncoder<'a>,
}

impl Encoder for Floats<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let value = self.values.as_primitive::<Float64Type>().value(row);
        if value.is_finite() {
            self.finite.encode(row, out);
        } else if value.is_nan() {
            out.extend_from_slice(b"\"NaN\"");
        } else if value > 0.0 {
            out.extend_from_slice(b"\"Infinity\"");
        } else {
            out.extend_from_slice(b"\"-Infinity\"");
        }
    }
}

/// The items of lists, by their own field: `arrow-json` would take that of the list.
struct Items<'a, L> {
    list: &'a L,
    item: NullableEncoder<'a>,
}

impl<'a, L: ListLikeArray> Items<'a, L> {
    fn boxed(
        list: &'a L,
        item: &'a FieldRef,
        options: &'a EncoderOptions,
    ) -> Result<Box<dyn Encoder + 'a>, ArrowError> {
        let item = make_encoder(item, list.values(), options)?;
        Ok(Box::new(Self { list, item }))
    }
}

impl<L: ListLikeArray> Encoder for Items<'_, L> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let range = self.list.element_range(row);
        out.push(b'[');
        for at in range.clone() {
            if at > range.start {
                out.push(b',');
            }
            push(&mut self.item, at, out);
        }
        out.push(b']');
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

/// Maps: an object where the keys are text and each is there once, else a list of keys and values.
struct Entries<'a> {
    offsets: &'a OffsetBuffer<i32>,
    names: Option<Names<'a>>,
    key: NullableEncoder<'a>,
    value: NullableEncoder<'a>,
    /// Those of the map that is written.
    seen: HashSet<&'a str>,
}

/// Keys that are text.
enum Names<'a> {
    Small(&'a StringArray),
    Large(&'a LargeStringArray),
    View(&'a StringViewArray),
}

impl<'a> Names<'a> {
    fn of(keys: &'a dyn Array) -> Option<Self> {
        Some(match keys.data_type() {
            DataType::Utf8 => Self::Small(keys.as_string()),
            DataType::LargeUtf8 => Self::Large(keys.as_string()),
            DataType::Utf8View => Self::View(keys.as_string_view()),
            _ => return None,
        })
    }

    fn get(&self, at: usize) -> &'a str {
        match self {
            Self::Small(keys) => keys.value(at),
            Self::Large(keys) => keys.value(at),
            Self::View(keys) => keys.value(at),
        }
    }
}

impl<'a> Entries<'a> {
    fn of(
        fields: &'a Fields,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Option<Self>, ArrowError> {
        let map = array.as_map();
        let [key, value] = &**fields else {
            return Ok(None);
        };
        Ok(Some(Self {
            offsets: map.offsets(),
            names: Names::of(map.keys()),
            key: make_encoder(key, map.keys(), options)?,
            value: make_encoder(value, map.values(), options)?,
            seen: HashSet::new(),
        }))
    }

    /// Whether an object of these entries holds them all.
    fn are_members(&mut self, range: Range<usize>) -> bool {
        let Some(names) = &self.names else {
            return false;
        };
        self.seen.clear();
        for at in range {
            if self.key.is_null(at) || !self.seen.insert(names.get(at)) {
                return false;
            }
        }
        true
    }
}

impl Encoder for Entries<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let offset = |at: usize| {
            let offset = self.offsets.get(at).copied();
            usize::try_from(offset.unwrap_or(0)).unwrap_or(0)
        };
        let range = offset(row)..offset(row + 1);
        let is_object = self.are_members(range.clone());
        out.push(if is_object { b'{' } else { b'[' });
        for at in range.clone() {
            if at > range.start {
                out.push(b',');
            }
            if is_object {
                self.key.encode(at, out);
                out.push(b':');
                push(&mut self.value, at, out);
                continue;
            }
            out.extend_from_slice(b"{\"key\":");
            push(&mut self.key, at, out);
            out.extend_from_slice(b",\"value\":");
            push(&mut self.value, at, out);
            out.push(b'}');
        }
        out.push(if is_object { b'}' } else { b']' });
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
