//! The writer's Arrow schema in a file's key-values (`ARROW:schema`): whether the `arrow` crate can take it.
//!
//! ```text
//!   "ARROW:schema" -> base64 ( FF FF FF FF, length, Message { Schema { fields: [Field { name, type, children }] } } )
//! ```
//! The crate checks that the message is a flatbuffer, and panics at what a well-formed one may say all the same: an
//! integer of 7 bits, a list of two children. Tables and strings of a flatbuffer may be referred to many times, so
//! that a short one can unfold to gigabytes. And a list of fixed size takes its memory where it is null, too.
//! So all of that is looked at first; a hint is only a hint, and a file is read without one as well.
//!
//! Source: `Schema.fbs` in the Apache Arrow repository.

use arrow::ipc::{self, Endianness, Field, Type};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use parquet::arrow::ARROW_SCHEMA_META_KEY;
use parquet::file::metadata::KeyValue;

use super::footer::Footer;
use crate::limits::FIXED_BYTES_MAX;

/// How many times its own bytes a message may unfold to; writers refer to each part once.
const UNFOLDED_TIMES: usize = 4;

/// The key-values of a file, if the Arrow schema in them (should there be one) can be taken.
pub(crate) fn hints(footer: &Footer) -> Option<&Vec<KeyValue>> {
    let hints = footer.metadata().file_metadata().key_value_metadata()?;
    let is_usable = |hint: &KeyValue| {
        hint.key != ARROW_SCHEMA_META_KEY || hint.value.as_ref().is_none_or(|text| is_usable(text))
    };
    hints.iter().all(is_usable).then_some(hints)
}

fn is_usable(text: &str) -> bool {
    let Ok(bytes) = BASE64_STANDARD.decode(text) else {
        return false;
    };
    let message = match bytes.split_at_checked(8) {
        Some((front, rest)) if front.starts_with(&[0xFF; 4]) && !rest.is_empty() => rest,
        _ => &bytes,
    };
    let Ok(message) = ipc::root_as_message(message) else {
        return false;
    };
    let mut looked = Looked {
        left: bytes.len().saturating_mul(UNFOLDED_TIMES),
    };
    let schema = message.header_as_schema();
    schema.and_then(|schema| looked.schema(schema)).is_some()
}

/// What of a message was looked at.
struct Looked {
    /// Bytes that it may still unfold to.
    left: usize,
}

impl Looked {
    fn take(&mut self, bytes: usize) -> Option<()> {
        self.left = self.left.checked_sub(bytes)?;
        Some(())
    }

    fn schema(&mut self, schema: ipc::Schema<'_>) -> Option<()> {
        let is_big = schema.endianness() == Endianness::Big;
        self.metadata(schema.custom_metadata())?;
        for field in schema.fields()? {
            self.field(field)?;
            (!is_big || field.type_type() != Type::Decimal).then_some(())?;
        }
        Some(())
    }

    fn metadata<'a>(
        &mut self,
        pairs: Option<impl IntoIterator<Item = ipc::KeyValue<'a>>>,
    ) -> Option<()> {
        for pair in pairs.into_iter().flatten() {
            let len = |text: Option<&str>| text.map_or(0, str::len);
            self.take(8 + len(pair.key()) + len(pair.value()))?;
        }
        Some(())
    }

    /// Bytes that each value of the field takes whatever it is; `None` where it can't be taken.
    fn field(&mut self, field: Field<'_>) -> Option<u64> {
        self.take(8 + field.name().map_or(0, str::len))?;
        self.metadata(field.custom_metadata())?;
        if let Some(dictionary) = field.dictionary() {
            is_integer(dictionary.indexType()?.bitWidth()).then_some(())?;
        }
        let mut children = Vec::new();
        for child in field.children().into_iter().flatten() {
            children.push(self.field(child)?);
        }
        let width = width(field, &children)?;
        (width <= FIXED_BYTES_MAX).then_some(width)
    }
}

fn is_integer(bits: i32) -> bool {
    matches!(bits, 8 | 16 | 32 | 64)
}

/// The width of a field whose children have those `widths`.
fn width(field: Field<'_>, widths: &[u64]) -> Option<u64> {
    let is_known = match field.type_type() {
        Type::Null
        | Type::Bool
        | Type::Binary
        | Type::BinaryView
        | Type::LargeBinary
        | Type::Utf8
        | Type::Utf8View
        | Type::LargeUtf8 => true,
        Type::Int => is_integer(field.type_as_int()?.bitWidth()),
        Type::FloatingPoint => {
            let precision = field.type_as_floating_point()?.precision();
            precision.variant_name().is_some()
        }
        Type::Date => field.type_as_date()?.unit().variant_name().is_some(),
        Type::Time => {
            let time = field.type_as_time()?;
            match time.unit() {
                ipc::TimeUnit::SECOND | ipc::TimeUnit::MILLISECOND => time.bitWidth() == 32,
                ipc::TimeUnit::MICROSECOND | ipc::TimeUnit::NANOSECOND => time.bitWidth() == 64,
                _ => false,
            }
        }
        Type::Timestamp => field.type_as_timestamp()?.unit().variant_name().is_some(),
        Type::Interval => field.type_as_interval()?.unit().variant_name().is_some(),
        Type::Duration => field.type_as_duration()?.unit().variant_name().is_some(),
        Type::List | Type::LargeList | Type::ListView | Type::LargeListView => widths.len() == 1,
        Type::Map => field.type_as_map().is_some() && widths.len() == 1,
        Type::RunEndEncoded => widths.len() == 2,
        Type::Decimal => {
            let decimal = field.type_as_decimal()?;
            matches!(decimal.bitWidth(), 32 | 64 | 128 | 256)
                && u8::try_from(decimal.precision()).is_ok()
                && i8::try_from(decimal.scale()).is_ok()
        }
        Type::Struct_ => {
            return Some(
                widths
                    .iter()
                    .fold(1, |sum, width| sum.saturating_add(*width)),
            );
        }
        Type::FixedSizeBinary => {
            return u64::try_from(field.type_as_fixed_size_binary()?.byteWidth()).ok();
        }
        Type::FixedSizeList => {
            let len = u64::try_from(field.type_as_fixed_size_list()?.listSize()).ok()?;
            let [width] = widths else { return None };
            return Some(len.saturating_mul(*width));
        }
        // No column is a union.
        _ => false,
    };
    is_known.then_some(16)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field as ArrowField, IntervalUnit, Schema, TimeUnit};
    use parquet::arrow::encode_arrow_schema;

    use super::*;

    fn field(data_type: DataType) -> ArrowField {
        ArrowField::new("c", data_type, true)
    }

    fn is_taken(data_type: DataType) -> bool {
        is_usable(&encode_arrow_schema(&Schema::new(vec![field(data_type)])))
    }

    fn lists(depth: usize) -> DataType {
        (0..depth).fold(DataType::Utf8, |inner, _| {
            DataType::List(Arc::new(field(inner)))
        })
    }

    #[test]
    fn what_writers_write_is_taken() {
        use DataType::*;
        let entries = Struct(vec![field(Utf8), field(Int64)].into());
        for data_type in [
            Null,
            Boolean,
            Int8,
            UInt64,
            Float16,
            Float64,
            Utf8View,
            LargeBinary,
            Date32,
            Date64,
            Time32(TimeUnit::Second),
            Time64(TimeUnit::Nanosecond),
            Timestamp(TimeUnit::Microsecond, Some("Europe/Vienna".into())),
            Duration(TimeUnit::Second),
            Interval(IntervalUnit::MonthDayNano),
            Decimal32(9, 2),
            Decimal256(76, -3),
            FixedSizeBinary(16),
            FixedSizeList(Arc::new(field(Float32)), 1536),
            Dictionary(Box::new(UInt32), Box::new(Utf8)),
            Map(Arc::new(field(entries.clone())), false),
            entries,
            lists(15),
        ] {
            assert!(is_taken(data_type.clone()), "{data_type}");
        }
    }

    #[test]
    fn what_takes_its_memory_where_it_is_null_is_not_taken_beyond_a_limit() {
        let many = |of: DataType, len| DataType::FixedSizeList(Arc::new(field(of)), len);
        assert!(!is_taken(DataType::FixedSizeBinary(i32::MAX)));
        assert!(!is_taken(many(DataType::Int8, i32::MAX)));
        assert!(!is_taken(many(many(DataType::Int8, 100_000), 100_000)));
        assert!(!is_taken(many(DataType::Int8, -1)));
    }

    /// Every byte of a message changed in some ways: what is taken doesn't make the crate panic.
    #[test]
    fn nothing_that_is_taken_is_a_panic() {
        let entries = DataType::Struct(vec![field(DataType::Utf8), field(DataType::Int64)].into());
        let fields = vec![
            field(DataType::Timestamp(TimeUnit::Second, None)),
            field(DataType::Decimal128(10, 2)),
            field(DataType::Dictionary(
                Box::new(DataType::Int8),
                Box::new(DataType::Utf8),
            )),
            field(DataType::Map(Arc::new(field(entries)), false)),
            field(DataType::FixedSizeList(
                Arc::new(field(DataType::Float32)),
                3,
            )),
            field(lists(2)),
            field(DataType::Time32(TimeUnit::Second)),
        ];
        let whole = BASE64_STANDARD
            .decode(encode_arrow_schema(&Schema::new(fields)))
            .unwrap();
        let mut taken = 0;
        for at in 0..whole.len() {
            for value in [0, 1, 2, 5, 7, 0x7F, 0x80, 0xFF] {
                let mut bytes = whole.clone();
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
                if !is_usable(&BASE64_STANDARD.encode(&bytes)) {
                    continue;
                }
                taken += 1;
                let message = ipc::root_as_message(bytes.get(8..).unwrap()).unwrap();
                let schema = message.header_as_schema().unwrap();
                ipc::convert::fb_to_schema(schema);
            }
        }
        assert!(taken > whole.len(), "{taken} of {}", whole.len() * 8);
    }

    #[test]
    fn nothing_that_is_no_message_is_taken() {
        for text in [
            "",
            "AAAA",
            "no base64",
            "/////wAAAAA=",
            "/////xAAAAAMAAAACAAMAAAAAAA=",
        ] {
            assert!(!is_usable(text), "{text}");
        }
    }
}
