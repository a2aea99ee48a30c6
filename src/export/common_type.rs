//! The type that holds the values of two types exactly.
//!
//! | types | common type |
//! |---|---|
//! | integers | the wider one; of 64 bits for both signs, a decimal of 20 digits where that doesn't do |
//! | decimals, and integers with them | a decimal with enough digits on both sides of the point |
//! | floats | the wider one |
//! | timestamps, times, durations | the finer unit, which a value may be too far away for; zones that differ are UTC, as is none |
//! | kinds of text, of binary, of lists | the plain one, which is large if one is |
//! | structs, maps, lists | of the common types inside; a field that one lacks may be null |
//! | all others | text, as CSV has the values |

use std::sync::Arc;

use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Field, FieldRef, Fields, TimeUnit,
};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

/// A field that holds the values of both; its name and field id are the left one's, other metadata is what they share.
pub(super) fn common_field(left: &Field, right: &Field) -> Field {
    let data_type = common_type(left.data_type(), right.data_type());
    let nullable = left.is_nullable() || right.is_nullable();
    let mut metadata = left.metadata().clone();
    metadata.retain(|key, value| {
        key == PARQUET_FIELD_ID_META_KEY || right.metadata().get(key) == Some(value)
    });
    left.clone()
        .with_data_type(data_type)
        .with_nullable(nullable)
        .with_metadata(metadata)
}

fn common_type(left: &DataType, right: &DataType) -> DataType {
    use DataType::{
        Binary, BinaryView, Date32, Date64, Dictionary, Duration, FixedSizeBinary, LargeBinary,
        LargeUtf8, Map, Null, Struct, Time32, Time64, Timestamp, Utf8, Utf8View,
    };
    if left == right {
        return left.clone();
    }
    match (left, right) {
        (Null, other) | (other, Null) => other.clone(),
        (Dictionary(_, values), other) | (other, Dictionary(_, values)) => {
            common_type(values, other)
        }
        (LargeUtf8, Utf8 | Utf8View) | (Utf8 | Utf8View, LargeUtf8) => LargeUtf8,
        (
            Binary | LargeBinary | BinaryView | FixedSizeBinary(_),
            Binary | LargeBinary | BinaryView | FixedSizeBinary(_),
        ) => {
            let large = matches!(left, LargeBinary) || matches!(right, LargeBinary);
            if large { LargeBinary } else { Binary }
        }
        (Date32, Date64) | (Date64, Date32) => Date64,
        (Timestamp(left, zone), Timestamp(right, other)) => {
            let zone = if zone == other {
                zone.clone()
            } else {
                Some("UTC".into())
            };
            Timestamp(finer(*left, *right), zone)
        }
        (Time32(left) | Time64(left), Time32(right) | Time64(right)) => {
            match finer(*left, *right) {
                unit @ (TimeUnit::Second | TimeUnit::Millisecond) => Time32(unit),
                unit => Time64(unit),
            }
        }
        (Duration(left), Duration(right)) => Duration(finer(*left, *right)),
        (Struct(left), Struct(right)) => Struct(common_fields(left, right)),
        (Map(left, sorted), Map(right, other)) => match (left.data_type(), right.data_type()) {
            // The key and the value go by position: writers name them differently.
            (Struct(ours), Struct(theirs)) if ours.len() == theirs.len() => {
                let both = ours.iter().zip(theirs);
                let entry = both.map(|(left, right)| common_field(left, right));
                let entry = (**left).clone().with_data_type(Struct(entry.collect()));
                Map(Arc::new(entry), *sorted && *other)
            }
            _ => Utf8,
        },
        _ => common_list(left, right)
            .or_else(|| common_number(left, right))
            .unwrap_or(Utf8),
    }
}

/// The fields of both, by name; what one side lacks is nullable.
fn common_fields(left: &Fields, right: &Fields) -> Fields {
    let lacking = |field: &Field| Arc::new(field.clone().with_nullable(true));
    let ours = left.iter().map(|field| match right.find(field.name()) {
        Some((_, other)) => Arc::new(common_field(field, other)),
        None => lacking(field),
    });
    let theirs = right
        .iter()
        .filter(|field| left.find(field.name()).is_none())
        .map(|field| lacking(field));
    ours.chain(theirs).collect()
}

fn common_list(left: &DataType, right: &DataType) -> Option<DataType> {
    let (item, is_large) = list_item(left)?;
    let (other, is_other_large) = list_item(right)?;
    let item = Arc::new(common_field(item, other));
    Some(if is_large || is_other_large {
        DataType::LargeList(item)
    } else {
        DataType::List(item)
    })
}

/// The items of a list, and whether its offsets have 64 bits.
pub(super) fn list_item(data_type: &DataType) -> Option<(&FieldRef, bool)> {
    match data_type {
        DataType::List(item) | DataType::ListView(item) | DataType::FixedSizeList(item, _) => {
            Some((item, false))
        }
        DataType::LargeList(item) | DataType::LargeListView(item) => Some((item, true)),
        _ => None,
    }
}

fn common_number(left: &DataType, right: &DataType) -> Option<DataType> {
    use DataType::{Float16, Float32, Float64, Int64, UInt64};
    let wider = if left.primitive_width() >= right.primitive_width() {
        left
    } else {
        right
    };
    match (left, right) {
        (Float16 | Float32 | Float64, Float16 | Float32 | Float64) => return Some(wider.clone()),
        _ if !left.is_integer() || !right.is_integer() => {}
        _ if left.is_signed_integer() == right.is_signed_integer() => return Some(wider.clone()),
        // No 64-bit type holds both negative numbers and the upper half of UInt64.
        (UInt64, _) | (_, UInt64) => {}
        _ => return Some(Int64),
    }
    let ((whole, places), (other, others)) = (digits(left)?, digits(right)?);
    let places = places.max(others);
    let precision = u8::try_from(whole.max(other) + i16::from(places)).ok()?;
    if precision <= DECIMAL128_MAX_PRECISION {
        Some(DataType::Decimal128(precision, places))
    } else if precision <= DECIMAL256_MAX_PRECISION {
        Some(DataType::Decimal256(precision, places))
    } else {
        None
    }
}

/// Digits before the point and behind it.
fn digits(number: &DataType) -> Option<(i16, i8)> {
    match number {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            Some((i16::from(*precision) - i16::from(*scale), *scale))
        }
        DataType::Int8 | DataType::UInt8 => Some((3, 0)),
        DataType::Int16 | DataType::UInt16 => Some((5, 0)),
        DataType::Int32 | DataType::UInt32 => Some((10, 0)),
        DataType::Int64 => Some((19, 0)),
        DataType::UInt64 => Some((20, 0)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_types_hold_both_sides() {
        use DataType::*;
        let dictionary = Dictionary(Box::new(Int32), Box::new(Utf8));
        let stamp = |unit, zone: Option<&str>| Timestamp(unit, zone.map(Into::into));
        let second = TimeUnit::Second;
        let ns = TimeUnit::Nanosecond;
        let item = |of| Arc::new(Field::new("item", of, true));
        let fields = |of| Struct(vec![Field::new("f", of, true)].into());
        for (left, right, expected) in [
            (Int8, Int32, Int32),
            (UInt32, Int8, Int64),
            (UInt64, Int8, Decimal128(20, 0)),
            (UInt8, UInt64, UInt64),
            (Int64, Float64, Utf8),
            (Float32, Float64, Float64),
            (Int64, Utf8, Utf8),
            (Boolean, Int8, Utf8),
            (Int64, Date32, Utf8),
            (dictionary.clone(), dictionary.clone(), dictionary.clone()),
            (dictionary.clone(), LargeUtf8, LargeUtf8),
            (Utf8View, dictionary.clone(), Utf8),
            (dictionary, Int64, Utf8),
            (FixedSizeBinary(2), Binary, Binary),
            (Binary, Utf8, Utf8),
            (stamp(second, None), stamp(ns, None), stamp(ns, None)),
            (
                stamp(second, None),
                stamp(ns, Some("UTC")),
                stamp(ns, Some("UTC")),
            ),
            (
                stamp(ns, Some("Europe/Berlin")),
                stamp(ns, Some("America/Lima")),
                stamp(ns, Some("UTC")),
            ),
            (Time32(second), Time64(ns), Time64(ns)),
            (
                Time32(second),
                Time32(TimeUnit::Millisecond),
                Time32(TimeUnit::Millisecond),
            ),
            (Duration(second), Duration(ns), Duration(ns)),
            (Decimal128(5, 2), Decimal128(10, 3), Decimal128(10, 3)),
            (Decimal128(38, 0), Decimal128(10, 9), Decimal256(47, 9)),
            (Decimal256(76, 0), Decimal128(10, 9), Utf8),
            (Decimal128(5, 2), Int32, Decimal128(12, 2)),
            (
                List(item(Int8)),
                LargeList(item(Int64)),
                LargeList(item(Int64)),
            ),
            (
                FixedSizeList(item(Int8), 2),
                FixedSizeList(item(Int8), 3),
                List(item(Int8)),
            ),
            (List(item(Int8)), List(item(Boolean)), List(item(Utf8))),
            (fields(Int8), Int8, Utf8),
            (fields(Int8), fields(Boolean), fields(Utf8)),
            (fields(Int8), List(item(Int8)), Utf8),
        ] {
            assert_eq!(common_type(&left, &right), expected, "{left} {right}");
            assert_eq!(common_type(&right, &left), expected, "{right} {left}");
        }
    }
}
