//! What types are called, for people.

use arrow::datatypes::{DataType, Field};

use super::arrow_types::{UUID, is_interval};
use super::temporal::symbol;

/// The type of a field, with what only its metadata says of it.
pub(super) fn field_type_name(field: &Field) -> String {
    match field.data_type() {
        DataType::FixedSizeBinary(16) if field.extension_type_name() == Some(UUID) => {
            "uuid".to_owned()
        }
        DataType::FixedSizeBinary(12) if is_interval(field) => "interval".to_owned(),
        other => type_name(other),
    }
}

/// A type in words that people know from SQL and JSON.
pub(super) fn type_name(data_type: &DataType) -> String {
    let of = |item: &Field| field_type_name(item);
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "binary".to_owned(),
        DataType::FixedSizeBinary(len) => format!("binary({len})"),
        DataType::Float16 => "half".to_owned(),
        DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Timestamp(unit, zone) => match zone {
            Some(zone) => format!("timestamp({}, {zone})", symbol(*unit)),
            None => format!("timestamp({})", symbol(*unit)),
        },
        DataType::Date32 | DataType::Date64 => "date".to_owned(),
        DataType::Time32(unit) | DataType::Time64(unit) => format!("time({})", symbol(*unit)),
        DataType::Duration(unit) => format!("duration({})", symbol(*unit)),
        DataType::Interval(_) => "interval".to_owned(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => format!("decimal({precision}, {scale})"),
        DataType::Dictionary(_, values) => type_name(values),
        DataType::RunEndEncoded(_, values) => of(values),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => format!("list<{}>", of(item)),
        DataType::Map(entry, _) => match entry.data_type() {
            DataType::Struct(fields) => {
                let parts: Vec<String> = fields.iter().map(|field| of(field)).collect();
                format!("map<{}>", parts.join(", "))
            }
            other => format!("map<{}>", type_name(other)),
        },
        DataType::Struct(fields) => {
            let part = |field: &Field| format!("{}: {}", field.name(), of(field));
            let parts: Vec<String> = fields.iter().map(|field| part(field)).collect();
            format!("struct<{}>", parts.join(", "))
        }
        // Boolean, Null, the integers.
        other => other.to_string().to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn types_are_called_as_people_know_them() {
        let text = Field::new("item", DataType::Utf8View, true);
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let number = Field::new("n", DataType::UInt8, true);
        let both = DataType::Struct(vec![text.clone(), number].into());
        let entries = Field::new("entries", both.clone(), false);
        for (data_type, name) in [
            (DataType::List(Arc::new(text)), "list<string>"),
            (time, "timestamp(us, UTC)"),
            (DataType::Decimal128(20, 2), "decimal(20, 2)"),
            (
                DataType::Map(Arc::new(entries), false),
                "map<string, uint8>",
            ),
            (both, "struct<item: string, n: uint8>"),
            (DataType::Boolean, "boolean"),
        ] {
            assert_eq!(type_name(&data_type), name);
        }
        let name = ("ARROW:extension:name".to_owned(), UUID.to_owned());
        let uuid = Field::new("id", DataType::FixedSizeBinary(16), true);
        let uuid = uuid.with_metadata([name].into());
        assert_eq!(field_type_name(&uuid), "uuid");
    }
}
